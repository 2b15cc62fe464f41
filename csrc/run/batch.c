/* batch.c - phase A of a step: the rows of the batch forward and back, by parts or by chunks. */
#include "run/normalization.h"
#include "team/shares.h"

/* Rows [*from, *to) of the part in work that this thread takes, together with those that share
 * columns with it. */
static void own_rows(const thread_context *c, size_t *from, size_t *to) {
    if (c->run->plan->n_batch_norms > 0) { /* whole chunks, of which moments are taken */
        const size_t chunk = vg_moment_rows(c->batch);
        vg_share_rows((c->rows + chunk - 1) / chunk, c->thread, c->n_threads, from, to);
        *from = *from * chunk < c->rows ? *from * chunk : c->rows;
        *to = *to * chunk < c->rows ? *to * chunk : c->rows;
        return;
    }
    vg_share_rows(c->rows, c->thread / c->n_columns, c->n_threads / c->n_columns, from, to);
}

/* Each thread takes rows of its own through all ops. */
static void by_rows(thread_context *c) {
    const vg_plan *const plan = c->run->plan;
    size_t from, to;
    own_rows(c, &from, &to);
    for (size_t s = 0; s < plan->n_stages; s++) {
        if (s > 0) vg_barrier(c);
        if (from < to) vg_stage_forward(c, &plan->stages[s], from, to - from);
    }
    if (c->run->mode == VG_OUTPUTS) return;
    for (size_t s = plan->n_stages; s > 0; s--) {
        if (from < to) vg_stage_backward(c, &plan->stages[s - 1], from, to - from);
        if (s > 1) vg_barrier(c);
    }
}

/* Some threads take the same rows, and each makes columns of what an op makes of them; what cannot
 * be made by columns, they share by rows. */
static void by_rows_and_columns(thread_context *c) {
    const vg_plan *const plan = c->run->plan;
    size_t from, to, first, last;
    own_rows(c, &from, &to);
    vg_share_rows(to - from, c->column, c->n_columns, &first, &last);
    for (size_t i = 0; i < plan->n_ops; i++) {
        const vg_op *const op = &plan->ops[i];
        const int columns = op->kind == VG_OP_DENSE;
        if (!vg_goes_forward(op)) continue;
        const size_t start = columns ? from : from + first,
                     rows = columns ? to - from : last - first;
        if (i > 0) vg_barrier(c);
        if (rows > 0) vg_op_forward(c, op, start, rows);
    }
    if (c->run->mode == VG_OUTPUTS) return;
    for (size_t i = plan->n_ops; i > 0; i--) {
        const vg_op *const op = &plan->ops[i - 1];
        const int columns = op->kind == VG_OP_DENSE;
        const size_t start = columns ? from : from + first,
                     rows = columns ? to - from : last - first;
        if (!vg_goes_back(plan, op)) continue;
        vg_barrier(c);
        if (rows > 0) vg_op_backward(c, op, start, rows);
    }
}

/* Of the part of the batch in work, all threads together. */
static void rows_forward_and_back(thread_context *c) {
    c->n_columns = c->inspected ? 1 : c->columns_chosen;
    c->column = c->thread % c->n_columns;
    if (c->n_columns > 1)
        by_rows_and_columns(c);
    else
        by_rows(c);
    c->n_columns = 1;
    c->column = 0;
}

/* sums (2) += those of the rows in work: their losses, and which are predicted rightly. Both at
 * once, as an addition waits for the one before. */
static void add_rows_in_order(const thread_context *c, double *sums) {
    const double *const losses = row_losses(c), *const correct = row_correct(c);
    double loss = sums[0], right = sums[1];
    for (size_t r = 0; r < c->rows; r++) {
        loss += losses[r];
        right += correct[r];
    }
    sums[0] = loss;
    sums[1] = right;
}

/* A for all of the batch, and what B does between its parts. */
static vg_batch_sums parts_forward_and_back(thread_context *c, size_t first) {
    const vg_run *const run = c->run;
    const vg_workspace *const w = run->workspace;
    vg_batch_sums sums = {{0, 0}, 1};
    c->sums = run->gradient;
    c->begun = 0;
    for (size_t done = 0;; done += c->rows) {
        c->first_row = first + done;
        c->rows = c->batch - done < w->rows ? c->batch - done : w->rows;
        c->sorted = 0;
        vg_time_epilogues(c, 1);
        rows_forward_and_back(c);
        vg_time_epilogues(c, 0);
        if (!vg_barrier_all_finite(c)) sums.finite = 0;
        add_rows_in_order(c, sums.of_rows);
        if (done + c->rows == c->batch) return sums;
        vg_sum_gradient(c);
        c->begun = 1;
        vg_barrier(c);
    }
}

/* A for a chunk of the batch, which begins with a row of the epoch, and its gradient. A thread
 * takes all its chunks through the same memory, unless somebody will look at all rows of the batch;
 * by parts, if there is not memory for a chunk. */
static void chunk_forward_and_back(thread_context *c, size_t first, size_t chunk) {
    const vg_run *const run = c->run;
    const vg_workspace *const w = run->workspace;
    const size_t start = chunk * c->chunk_rows, left = c->batch - start;
    const size_t rows = left < c->chunk_rows ? left : c->chunk_rows;
    const size_t each = w->rows / (size_t)w->n_threads, own = (size_t)c->thread * each;
    const int looked_at = run->mode != VG_TRAIN || c->inspected;
    const int in_place = w->rows >= c->batch && (looked_at || each < c->chunk_rows);
    double *const losses = chunk_losses(c, chunk);
    losses[0] = losses[1] = 0;
    c->sums = chunk_sums(c, chunk);
    c->begun = 0;
    for (size_t done = 0; done < rows; done += c->rows) {
        c->rows = in_place || rows - done < each ? rows - done : each;
        c->place = in_place ? start + done : own;
        c->first_row = first + start + done;
        c->sorted = 0;
        vg_stage_forward(c, &run->plan->stages[0], 0, c->rows);
        vg_stage_backward(c, &run->plan->stages[0], 0, c->rows);
        add_rows_in_order(c, losses);
        vg_sum_gradient_alone(c);
        c->begun = 1;
    }
}

_Static_assert(VG_CHUNKS_MOST <= VG_GROUP_CHUNKS * VG_GROUPS_MOST, "there are more groups");

/* A for all of the batch, chunk by chunk, each by one thread. */
static vg_batch_sums chunks_forward_and_back(thread_context *c, size_t first) {
    const size_t n = n_chunks(c);
    vg_units units = vg_share_units(n, c->thread, c->n_threads);
    vg_time_epilogues(c, 1);
    for (size_t chunk; vg_take_unit(&units, &chunk);) {
        chunk_forward_and_back(c, first, chunk);
        if (vg_group_done(&units, chunk, VG_GROUP_CHUNKS)) vg_fold_group(c, chunk);
    }
    vg_time_epilogues(c, 0);
    c->place = 0;
    c->first_row = first;
    c->rows = c->batch;
    vg_batch_sums sums = {{0, 0}, vg_barrier_all_finite(c)};
    for (size_t chunk = 0; chunk < n; chunk++) {
        sums.of_rows[0] += chunk_losses(c, chunk)[0];
        sums.of_rows[1] += chunk_losses(c, chunk)[1];
    }
    return sums;
}

vg_batch_sums vg_forward_and_back(thread_context *c, size_t first) {
    if (c->batch == 0) return (vg_batch_sums){{0, 0}, vg_barrier_all_finite(c)};
    return c->chunk_rows > 0 ? chunks_forward_and_back(c, first) : parts_forward_and_back(c, first);
}
