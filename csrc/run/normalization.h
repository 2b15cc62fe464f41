/* normalization.h - ops that normalize, for the other files of run/. */
#ifndef VG_NORMALIZATION_H
#define VG_NORMALIZATION_H

#include "run/thread_context.h"

/* What the kernels need of such an op, with these parameters. */
vg_row_norm vg_row_norm_of(const vg_plan *plan, const vg_op *op, const void *params);

/* Rows [from, from + rows) of the part in work, and back. */
void vg_normalize_rows(thread_context *c, const vg_op *op, size_t from, size_t rows);
void vg_normalize_rows_back(thread_context *c, const vg_op *op, size_t from, size_t rows);

/* A batch norm by these moments: of a batch, or those that run. */
vg_column_norm vg_column_norm_of(const vg_plan *plan, const vg_op *op, const void *params,
                                 const void *high, const void *low, const void *rate);

/* Batch norm: the op VG_OP_MOMENTS forward, VG_OP_BATCH_NORM forward and back, and the former
 * back. */
void vg_take_moments(thread_context *c, const vg_op *op, size_t from, size_t rows);
void vg_normalize_columns(thread_context *c, const vg_op *op, size_t from, size_t rows);
void vg_take_products(thread_context *c, const vg_op *op, size_t from, size_t rows);
void vg_normalize_columns_back(thread_context *c, const vg_op *moments, size_t from, size_t rows);

/* The running statistics of this thread's ops, after a step. */
void vg_renew_running(thread_context *c);

/* sums (cols): the gradient of its gains or shifts over all rows of the part in work, or
 * c->begun, what is added to them. */
void vg_sum_gains_or_shifts(thread_context *c, const vg_op *op, vg_role role, void *sums);

#endif
