/* rules.h - the numbers of an optimizer's rule, step by step. */
#ifndef VG_RULES_H
#define VG_RULES_H

#include "kernels.h"

/* The update of the step after so many that the optimizer has taken. scale: of the gradient, as by
 * clip_norm. */
vg_update vg_update_at(const vg_optimizer *optimizer, int64_t taken, double scale, vg_pass pass);

/* Whether a check that has passed proves the same update finite (finite_check.tmpl.h). */
int vg_moderate_rates(const vg_optimizer *optimizer, int64_t taken);

#endif
