/* plan.h - what the core itself asks of a plan, beside what vgfast.h says. */
#ifndef VG_PLAN_H
#define VG_PLAN_H

#include "kernels.h"

/* plan.c. Stages end where an op says so, and at the last. */
void vg_plan_cut_stages(vg_plan *plan);

/* layout.c. total + a * b, and n rounded up to a cache line; *fits becomes 0 if that leaves the
 * range. And the elements that a thread's products need, of so many rows and columns at most. */
size_t vg_add_product(size_t total, size_t a, size_t b, int *fits);
size_t vg_round_up(size_t n, int *fits);
size_t vg_product_scratch(vg_dtype dtype, size_t widest, size_t rows, int *fits);

/* Threads' checks lie a cache line apart in the notes, in doubles. */
enum { VG_CHECK_STRIDE = 8 };
/* layout.c. Where a thread's check lies. */
size_t vg_check_at(const vg_workspace *workspace, int thread);

/* units.c. The rows [*first, *last) of a parameter that one of n threads takes: of units of so many
 * rows, those whose middle lies in its share of all parameters. And of `rows`. */
void vg_share_param(const vg_plan *plan, const vg_param *p, size_t unit, int thread, int n_threads,
                    size_t *first, size_t *last);
void vg_share_rows(size_t rows, int thread, int n_threads, size_t *first, size_t *last);

/* units.c. The columns [*first, *last) that one of n threads makes of a matrix, by whole cache
 * lines. And how many threads should share the same rows of a batch: a divisor of n_threads. */
void vg_share_columns(size_t cols, int column, int n_columns, size_t *first, size_t *last);
int vg_choose_columns(const vg_plan *plan, size_t rows, int n_threads);

/* Whether a layer's input is that of the net, whose gradient nobody asks for. */
static inline int vg_is_first(const vg_plan *plan, const vg_op *op) {
    return plan->ops[plan->tensors[op->in].op].kind == VG_OP_INPUT;
}

/* Whether a layer's input is that of a sparse plan. */
static inline int vg_is_sparse(const vg_plan *plan, const vg_op *op) {
    return plan->sparse && vg_is_first(plan, op);
}

/* What an addition multiplies what it adds by. */
static inline double vg_scale_of(const vg_plan *plan, const vg_op *op, const void *params) {
    if (op->scales == VG_NONE) return op->scale;
    const size_t at = plan->params[op->scales].offset;
    return plan->dtype == VG_F32 ? (double)((const float *)params)[at]
                                 : ((const double *)params)[at];
}

/* The op that normalizes a dense layer, before or after its activation; or NULL. */
static inline const vg_op *vg_norm_of(const vg_op *dense) {
    switch (dense[1].kind) {
        case VG_OP_LAYER_NORM:
        case VG_OP_RMS_NORM: return dense + 1;
        case VG_OP_MOMENTS: return dense + 2;
        case VG_OP_INPUT:
        case VG_OP_DENSE:
        case VG_OP_BATCH_NORM:
        case VG_OP_DROPOUT:
        case VG_OP_ADD:
        case VG_OP_FORK:
        case VG_OP_LOSS: break;
    }
    return NULL;
}

/* Elements that are kept of each column that is batch normalized: of each chunk, and for
 * each thread of the batch. */
static inline size_t vg_kept_of_column(size_t chunks, size_t n_threads) {
    return chunks * (VG_MOMENTS + VG_SUMS) + n_threads * VG_FOLDED;
}

/* The tensor that the activation of a dense layer makes. */
static inline size_t vg_activated(const vg_op *dense) {
    const vg_op *const norm = vg_norm_of(dense);
    return norm && norm->activated ? norm->out : dense->out;
}

static inline size_t vg_n_units(const vg_param *param) {
    return (param->rows + VG_UNIT_ROWS - 1) / VG_UNIT_ROWS;
}

#endif
