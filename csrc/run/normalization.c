/* normalization.c - the ops that normalize, each forward beside its way back. */
#include <string.h>

#include "run/normalization.h"

/* Gains or shifts; NULL for none. */
static const void *of_param(const vg_plan *plan, size_t param, const void *params) {
    if (param == VG_NONE) return NULL;
    return (const char *)params + plan->params[param].offset * vg_item_size(plan->dtype);
}

vg_row_norm vg_row_norm_of(const vg_plan *plan, const vg_op *op, const void *params) {
    return (vg_row_norm){
        .centred = op->kind == VG_OP_LAYER_NORM,
        .eps = op->eps,
        .gains = of_param(plan, op->gains, params),
        .shifts = of_param(plan, op->shifts, params),
    };
}

void vg_normalize_rows(thread_context *c, const vg_op *op, size_t from, size_t rows) {
    const vg_row_norm norm = vg_row_norm_of(c->run->plan, op, c->run->params);
    c->kernels->normalize_rows(values(c, op->in, from, rows), &norm, op->activation,
                               values(c, op->out, from, rows), stored_derivative(c, op->out, from),
                               row_moments(c, op) + from, &c->tools.check);
    lap(c, op->layer, VG_NORMALIZATION);
}

/* Norms of the rows between the normalization and the activation: of its gradient behind the
 * activation, of its input's before that. */
static void record_rows(thread_context *c, const vg_op *op, vg_matrix between, size_t from) {
    vg_norm *const norms = row_norms(c, c->run->plan->n_layers + 1 + op->moments) + from;
    if (!c->inspected) return;
    for (size_t r = 0; r < between.rows; r++)
        norms[r] = c->kernels->square_norm(between.cols, at(c, between.p, r * between.ld));
}

void vg_normalize_rows_back(thread_context *c, const vg_op *op, size_t from, size_t rows) {
    const vg_row_norm norm = vg_row_norm_of(c->run->plan, op, c->run->params);
    const vg_matrix dy = gradients(c, op->out, from, rows), dx = gradients(c, op->in, from, rows);
    const vg_op *const before = maker_of(c, op->in);
    c->kernels->normalize_rows_back(dy, values(c, op->in, from, rows), &norm,
                                    row_moments(c, op) + from, dx, &c->tools.check);
    record_rows(c, op, op->activated ? dy : dx, from);
    if (before->activation.phi != VG_IDENTITY)
        c->kernels->times_derivative(slope_of(before), derivative_sources(c, op->in, from, rows),
                                     dx, &c->tools.check);
    lap(c, op->layer, VG_NORMALIZATION);
}

/* ---- batch norm: two ops, between which, forward and back, all threads meet ------------------ */

vg_column_norm vg_column_norm_of(const vg_plan *plan, const vg_op *op, const void *params,
                                 const void *high, const void *low, const void *rate) {
    return (vg_column_norm){
        .high = high,
        .low = low,
        .rate = rate,
        .gains = of_param(plan, op->gains, params),
        .shifts = of_param(plan, op->shifts, params),
    };
}

/* By what a thread has kept of the batch's moments. */
static vg_column_norm column_norm(const thread_context *c, const vg_op *op, void *kept) {
    const size_t ld = tensor_of(c, op->in)->ld;
    return vg_column_norm_of(c->run->plan, op, c->run->params, kept, at(c, kept, ld),
                             at(c, kept, 2 * ld));
}

/* Chunks are whole: a thread's rows begin with one. Each [first, first + n). */
typedef struct {
    size_t first, n, number;
} chunk_of_rows;
static int next_chunk(const thread_context *c, size_t from, size_t rows, chunk_of_rows *chunk) {
    const size_t size = vg_moment_rows(c->batch);
    const size_t done = chunk->n == 0 ? from : chunk->first + chunk->n;
    if (done == from + rows) return 0;
    *chunk =
        (chunk_of_rows){done, from + rows - done < size ? from + rows - done : size, done / size};
    return 1;
}

void vg_take_moments(thread_context *c, const vg_op *op, size_t from, size_t rows) {
    for (chunk_of_rows k = {0, 0, 0}; next_chunk(c, from, rows, &k);)
        c->kernels->column_moments(values(c, op->in, k.first, k.n),
                                   kept_of_chunk(c, op + 1, k.number), tensor_of(c, op->in)->ld);
    lap(c, op->layer, VG_NORMALIZATION);
}

void vg_normalize_columns(thread_context *c, const vg_op *op, size_t from, size_t rows) {
    const vg_tensor *const in = tensor_of(c, op->in);
    void *const kept = kept_by_thread(c, op, c->thread);
    c->kernels->fold_moments(in->cols, c->batch, vg_moment_rows(c->batch), kept_of_chunk(c, op, 0),
                             in->ld, (VG_MOMENTS + VG_SUMS) * in->ld, op->eps, kept);
    const vg_column_norm norm = column_norm(c, op, kept);
    c->kernels->normalize_columns(values(c, op->in, from, rows), &norm, op->activation,
                                  values(c, op->out, from, rows),
                                  stored_derivative(c, op->out, from), &c->tools.check);
    lap(c, op->layer, VG_NORMALIZATION);
}

void vg_take_products(thread_context *c, const vg_op *op, size_t from, size_t rows) {
    const size_t ld = tensor_of(c, op->in)->ld;
    const vg_column_norm norm = column_norm(c, op, kept_by_thread(c, op, c->thread));
    for (chunk_of_rows k = {0, 0, 0}; next_chunk(c, from, rows, &k);)
        c->kernels->column_products(gradients(c, op->out, k.first, k.n),
                                    values(c, op->in, k.first, k.n), &norm,
                                    at(c, kept_of_chunk(c, op, k.number), VG_MOMENTS * ld), ld);
    lap(c, op->layer, VG_NORMALIZATION);
}

void vg_normalize_columns_back(thread_context *c, const vg_op *moments, size_t from, size_t rows) {
    const vg_op *const op = moments + 1;
    const size_t ld = tensor_of(c, op->in)->ld, size = vg_moment_rows(c->batch);
    void *const kept = kept_by_thread(c, op, c->thread), *const sums =
                                                             at(c, kept, VG_OF_BATCH * ld);
    const vg_matrix dy = gradients(c, op->out, from, rows), dx = gradients(c, op->in, from, rows);
    const vg_column_norm norm = column_norm(c, op, kept);
    const vg_op *const before = maker_of(c, op->in);
    c->kernels->fold(VG_SUMS * ld, (c->batch + size - 1) / size,
                     at(c, kept_of_chunk(c, op, 0), VG_MOMENTS * ld), (VG_MOMENTS + VG_SUMS) * ld,
                     sums);
    c->kernels->normalize_columns_back(dy, values(c, op->in, from, rows), &norm, sums, ld, c->batch,
                                       dx, &c->tools.check);
    record_rows(c, op, op->activated ? dy : dx, from);
    if (before->activation.phi != VG_IDENTITY)
        c->kernels->times_derivative(slope_of(before), derivative_sources(c, op->in, from, rows),
                                     dx, &c->tools.check);
    lap(c, op->layer, VG_NORMALIZATION);
}

/* The last thread always has rows. */
static void *kept_of_batch(const thread_context *c, const vg_op *op) {
    return kept_by_thread(c, op, c->n_threads - 1);
}

void vg_renew_running(thread_context *c) {
    const vg_plan *const plan = c->run->plan;
    for (size_t i = (size_t)c->thread; i < plan->n_ops; i += (size_t)c->n_threads) {
        const vg_op *const op = &plan->ops[i];
        if (op->kind != VG_OP_BATCH_NORM) continue;
        const vg_tensor *const in = tensor_of(c, op->in);
        c->kernels->renew_running(in->cols, kept_of_batch(c, op), in->ld, op->weight, c->batch,
                                  at(c, c->run->params, op->running),
                                  at(c, c->run->params, op->running + in->cols));
    }
}

/* ---- parameters ------------------------------------------------------------------------------ */

void vg_sum_gains_or_shifts(thread_context *c, const vg_op *op, vg_role role, void *sums) {
    const vg_tensor *const in = tensor_of(c, op->in);
    if (op->kind == VG_OP_BATCH_NORM) { /* on the way back they were added up */
        const size_t skip = (VG_OF_BATCH + (size_t)(role == VG_GAINS)) * in->ld;
        memcpy(sums, at(c, kept_of_batch(c, op), skip), in->cols * c->item);
        return;
    }
    const vg_matrix dy = gradients(c, op->out, 0, c->rows);
    if (role == VG_SHIFTS) {
        c->kernels->column_sums(dy.rows, dy.cols, dy.p, dy.ld, c->begun, sums);
        return;
    }
    c->kernels->gain_sums(dy, values(c, op->in, 0, c->rows), row_moments(c, op), c->begun, sums);
}
