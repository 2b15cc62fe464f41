/* rules.h - the numbers of an optimizer's rule, step by step. */
#ifndef VG_RULES_H
#define VG_RULES_H

#include "kernels.h"

/* Which step of an optimizer: its rate, its weight decay, that by the penalty included, and how
 * many it has taken before. */
typedef struct {
    double lr, decay;
    int64_t taken;
} vg_moment;

/* The update of a step. scale: of the gradient, as by clip_norm. */
vg_update vg_update_at(const vg_optimizer *optimizer, vg_moment moment, double scale, vg_pass pass);

/* Whether a check that has passed proves the same update finite (finite_check.tmpl.h). */
int vg_moderate_rates(const vg_optimizer *optimizer, vg_moment moment);

#endif
