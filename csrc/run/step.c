/* step.c - one training step, of which each thread of the team does its part.
 *
 *   A  each thread takes rows of the batch through the stages of the plan and back (ops.c). A plan
 *      without ops that cross rows, such as a chain of dense layers, is one stage
 *      -- barrier --
 *   B  each thread takes units of the parameters: gradient and update, in registers (update.c)
 *      -- barrier --
 *
 * Where there are many threads for the rows, some take the same ones and each makes columns of
 * their values; then a barrier parts all ops. Where the batch is large and the parameters are
 * few, threads take chunks of the batch through A and B, each chunk with a gradient of its
 * own, which who is last in a group of chunks adds up; what is left for B is the sum of the
 * groups, in order, and the update.
 *
 * A batch for which there is not memory at once is taken in parts: A, and B that only adds to the
 * gradient in memory, until with the last part B is as above.
 *
 * If the update needs to know the whole gradient first (clip_norm), or if a finite check has
 * failed, B writes the gradient to memory and
 *      -- barrier --
 *   C  each thread applies it to its units. (After a failed check: twice, the first time without
 *      storing.)
 *
 * Where gradients are exchanged, the call ends behind B, and C is done by the next one.
 *
 * How a sum over the batch is split depends on sizes alone, and sums over threads are taken in a
 * fixed order. */
#include <string.h>

#include "run/normalization.h"
#include "run/rules.h"
#include "team/team.h"
#include "team/shares.h"

/* ---- what takes how long --------------------------------------------------------------------- */

/* All that a thread does between two laps is time of the latter's phase: nothing is left out. Of n
 * threads each counts 1/n, so that the phases of all add up to the time of the step. */
static void add_time(thread_context *c, size_t l, vg_phase phase, double ticks) {
    c->times[l * VG_PHASES + phase] += ticks / c->n_threads;
}
void vg_book_lap(thread_context *c, size_t l, vg_phase phase, size_t l_phi) {
    const uint64_t now = vg_ticks();
    add_time(c, l, phase, (double)(now - c->since) - c->epilogues);
    add_time(c, l_phi, VG_ACTIVATION, c->epilogues);
    c->epilogues = 0;
    c->since = now;
}
/* What belongs to no phase is time at barriers. */
static void barrier(thread_context *c) {
    vg_team_barrier(c->n_threads);
    lap(c, 0, VG_BARRIER);
}

/* The ticks of products' epilogues are read only where they are asked for. */
static void time_epilogues(thread_context *c, int wanted) {
    c->tools.ticks = wanted && c->times ? &c->epilogues : NULL;
}

/* ---- A: rows of the batch -------------------------------------------------------------------- */

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
        if (s > 0) barrier(c);
        if (from < to) vg_stage_forward(c, &plan->stages[s], from, to - from);
    }
    if (c->run->mode == VG_OUTPUTS) return;
    for (size_t s = plan->n_stages; s > 0; s--) {
        if (from < to) vg_stage_backward(c, &plan->stages[s - 1], from, to - from);
        if (s > 1) barrier(c);
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
        if (i > 0) barrier(c);
        if (rows > 0) vg_op_forward(c, op, start, rows);
    }
    if (c->run->mode == VG_OUTPUTS) return;
    for (size_t i = plan->n_ops; i > 0; i--) {
        const vg_op *const op = &plan->ops[i - 1];
        const int columns = op->kind == VG_OP_DENSE;
        const size_t start = columns ? from : from + first,
                     rows = columns ? to - from : last - first;
        if (!vg_goes_back(plan, op)) continue;
        barrier(c);
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

/* ---- B and C: parameters --------------------------------------------------------------------- */

static vg_update update_of(const thread_context *c, double scale, vg_pass pass) {
    return vg_update_at(&c->run->optimizer, c->moment, scale, pass);
}

/* ---- one step -------------------------------------------------------------------------------- */

/* A barrier, and whether all threads' checks are finite: every thread gets the same answer. A check
 * is written before this barrier only, and there is another barrier before the next time. */
static int barrier_all_finite(thread_context *c) {
    const vg_run *const run = c->run;
    run->notes[vg_check_at(run->workspace, c->thread)] = c->tools.check;
    c->tools.check = 0;
    barrier(c);
    for (int t = 0; t < c->n_threads; t++)
        if (!isfinite(run->notes[vg_check_at(run->workspace, t)])) return 0;
    return 1;
}

/* What an update adds to must be of moderate size too. Before the first barrier of a call, because
 * the parameters change after it; each thread looks at its share. */
static void check_parameters(thread_context *c) {
    const vg_run *const run = c->run;
    const size_t n = run->plan->n_params, threads = (size_t)c->n_threads, t = (size_t)c->thread;
    const size_t from = n / threads * t,
                 to = c->thread + 1 < c->n_threads ? n / threads * (t + 1) : n;
    c->kernels->check_finite(to - from, at(c, run->params, from), &c->tools.check);
    for (size_t k = 0; k < VG_STATES_MOST; k++)
        if (run->optimizer.states[k])
            c->kernels->check_finite(to - from, at(c, run->optimizer.states[k], from),
                                     &c->tools.check);
    c->checked = 1;
}

/* Whether the checks' bounds hold for the rates of this step. */
static int moderate_rates(const thread_context *c) {
    return vg_moderate_rates(&c->run->optimizer, c->moment);
}

/* What the optimizer goes by in this step of the epoch. How many it has taken is read before the
 * first barrier of a step and written after it. */
static void read_moment(thread_context *c, size_t step) {
    const vg_optimizer *const o = &c->run->optimizer;
    c->moment = (vg_moment){
        .lr = o->rates ? o->rates[step] : o->lr,
        .decay = o->penalty > 0 ? o->weight_decay + o->penalty / c->total : o->weight_decay,
        .taken = o->n_taken ? *o->n_taken : 0,
    };
}
static void count_step(const thread_context *c) {
    int64_t *const n_taken = c->run->optimizer.n_taken;
    if (c->thread == 0 && n_taken) *n_taken = c->moment.taken + 1;
}

/* Of the whole gradient in memory, of all weights, then of all biases, and so on, by units in their
 * order: the same bits in every thread. */
static vg_norm gradient_norm(const thread_context *c) {
    const vg_plan *const plan = c->run->plan;
    vg_norm total = {0, 0};
    for (int role = VG_WEIGHTS; role < VG_ROLES; role++)
        for (size_t i = 0; i < plan->n_param_arrays; i++) {
            const vg_param *const p = &plan->params[i];
            if (p->role != (vg_role)role) continue;
            for (size_t u = 0; u < vg_n_units(p); u++)
                vg_norm_add(&total, summary(c, p->unit + u)->gradient);
        }
    return total;
}

/* C: the update by a gradient in memory, of which the units' norms are known. A NaN or an infinity
 * in it makes its norm non-finite. */
static vg_status update_by_gradient(thread_context *c, int well) {
    const vg_run *const run = c->run;
    const vg_norm norm = gradient_norm(c);
    if (!isfinite(norm.sum)) return VG_NON_FINITE;
    barrier(c); /* the norms' places are about to be used again */
    if (run->mode == VG_GRADIENT) return VG_DONE;

    const double size = vg_norm_root(norm), most = run->optimizer.clip_norm;
    const double scale = size > most ? most / size : 1;
    if (!well) {
        const vg_update trial = update_of(c, scale, VG_TRY);
        vg_apply_gradient(c, &trial);
        if (!barrier_all_finite(c)) return VG_NON_FINITE;
    }
    const vg_pass pass = run->mode == VG_INSPECT ? VG_REPORT : VG_STORE;
    const vg_update update = update_of(c, scale, pass);
    vg_apply_gradient(c, &update);
    return VG_DONE;
}

/* B by way of memory, and C. */
static vg_status two_passes(thread_context *c, int well) {
    if (c->chunk_rows > 0)
        vg_fold_gradient(c);
    else
        vg_write_gradient(c);
    barrier(c);
    return update_by_gradient(c, well);
}

/* The one step of VG_APPLY, which has no rows to divide a penalty by. */
static vg_status apply_given(thread_context *c) {
    c->total = 1;
    read_moment(c, 0);
    check_parameters(c);
    vg_measure_gradient(c);
    const int well = barrier_all_finite(c) && moderate_rates(c);
    const vg_status status = update_by_gradient(c, well);
    if (status == VG_DONE) count_step(c);
    if (c->thread == 0 && status == VG_DONE && c->run->draws) c->run->draws[1]++;
    barrier(c);
    return status;
}

/* What the rows of a batch add up to, losses and right predictions, and whether all checks are
 * finite. */
typedef struct {
    double of_rows[2];
    int finite;
} batch_sums;

/* A for all of the batch, and what B does between its parts. */
static batch_sums parts_forward_and_back(thread_context *c, size_t first) {
    const vg_run *const run = c->run;
    const vg_workspace *const w = run->workspace;
    batch_sums sums = {{0, 0}, 1};
    c->sums = run->gradient;
    c->begun = 0;
    for (size_t done = 0;; done += c->rows) {
        c->first_row = first + done;
        c->rows = c->batch - done < w->rows ? c->batch - done : w->rows;
        c->sorted = 0;
        time_epilogues(c, 1);
        rows_forward_and_back(c);
        time_epilogues(c, 0);
        if (!barrier_all_finite(c)) sums.finite = 0;
        add_rows_in_order(c, sums.of_rows);
        if (done + c->rows == c->batch) return sums;
        vg_sum_gradient(c);
        c->begun = 1;
        barrier(c);
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
static batch_sums chunks_forward_and_back(thread_context *c, size_t first) {
    const size_t n = n_chunks(c);
    vg_units units = vg_share_units(n, c->thread, c->n_threads);
    time_epilogues(c, 1);
    for (size_t chunk; vg_take_unit(&units, &chunk);) {
        chunk_forward_and_back(c, first, chunk);
        if (vg_group_done(&units, chunk, VG_GROUP_CHUNKS)) vg_fold_group(c, chunk);
    }
    time_epilogues(c, 0);
    c->place = 0;
    c->first_row = first;
    c->rows = c->batch;
    batch_sums sums = {{0, 0}, barrier_all_finite(c)};
    for (size_t chunk = 0; chunk < n; chunk++) {
        sums.of_rows[0] += chunk_losses(c, chunk)[0];
        sums.of_rows[1] += chunk_losses(c, chunk)[1];
    }
    return sums;
}

/* The weight of the batch; of one without any, which has no loss and no gradient, 1. */
static double weight_of_batch(const thread_context *c, size_t step, size_t first) {
    const vg_run *const run = c->run;
    double total = run->batches ? run->batches[step].total : 0;
    if (run->batches) return total > 0 ? total : 1;
    if (!run->weights) return (double)c->batch;
    for (size_t i = first; i < first + c->batch; i++)
        total += run->weights[run->order ? (size_t)run->order[i] : i];
    return total > 0 ? total : 1;
}

/* What this step is about. Returns the first of its rows in the epoch. */
static size_t begin_step(thread_context *c, size_t step) {
    const vg_run *const run = c->run;
    const vg_batch *const given = run->batches ? &run->batches[step] : NULL;
    const size_t first = given ? given->first : step * run->batch_size, left = run->n_rows - first;
    c->batch = given ? given->rows : left < run->batch_size ? left : run->batch_size;
    c->start = given ? first - given->offset : first;
    c->draw = run->draws ? run->draws[1] : 0;
    c->total = weight_of_batch(c, step, first);
    c->chunk_rows = run->mode == VG_OUTPUTS ? 0 : vg_chunk_rows(run->plan, c->batch);
    c->inspected = run->mode == VG_INSPECT ||
                   (run->inspect_every && (run->steps_before + step) % run->inspect_every == 0);
    read_moment(c, step);
    if (!c->checked) check_parameters(c);
    return first;
}

/* Whether the first row of the batch is among these: who has that counts the penalty. */
static int begins_batch(const thread_context *c, size_t step) {
    const vg_batch *const batches = c->run->batches;
    return !batches || (batches[step].offset == 0 && c->batch > 0);
}

/* What there is to do when the parameters are those after the step, if it changes them. */
static vg_status end_step(thread_context *c, size_t step, double loss, double correct) {
    vg_run *const run = c->run;
    if (run->mode == VG_TRAIN) {
        vg_renew_running(c);
        count_step(c);
    }
    if (c->thread == 0) {
        run->losses[step] = loss + (begins_batch(c, step) ? vg_penalty_of_weights(c) : 0);
        run->correct[step] = correct;
        if (run->totals) run->totals[step] = c->total;
        if (run->draws && run->mode == VG_TRAIN) run->draws[1]++;
        if (c->until < INFINITY && ++c->unwatched >= c->look_every) {
            *c->pause = vg_seconds() > c->until;
            c->unwatched = 0;
        }
    }
    barrier(c);
    const vg_status status = *c->pause ? VG_PAUSED : VG_DONE;
    if (c->inspected) {
        vg_write_records(c);
        barrier(c);
        if (c->thread == 0) run->n_records++;
    }
    return status;
}

/* The half of an exchanged step before the exchange, after A: B by way of memory. */
static vg_status give_gradient(thread_context *c, size_t step, batch_sums sums) {
    vg_run *const run = c->run;
    const double loss = sums.of_rows[0] / c->total;
    if (c->batch == 0) {
        if (c->thread == 0) memset(run->gradient, 0, run->plan->n_params * c->item);
    } else if (c->chunk_rows > 0) {
        vg_fold_gradient(c);
    } else {
        vg_write_gradient(c);
    }
    barrier(c);
    if (c->thread == 0) {
        run->losses[step] = loss;
        run->correct[step] = sums.of_rows[1];
        if (!isfinite(loss)) memset(run->gradient, 0xFF, c->item);
    }
    return VG_EXCHANGE;
}

/* The half behind the exchange. */
static vg_status take_gradient(thread_context *c, size_t step, size_t first) {
    const vg_run *const run = c->run;
    c->exchanged = 0;
    c->first_row = first;
    c->rows = c->batch;
    vg_measure_gradient(c);
    const int well = barrier_all_finite(c) && moderate_rates(c);
    const vg_status status = update_by_gradient(c, well);
    if (status != VG_DONE) return status;
    return end_step(c, step, run->losses[step], run->correct[step]);
}

vg_status vg_take_step(thread_context *c, size_t step) {
    vg_run *const run = c->run;
    if (run->mode == VG_APPLY) return apply_given(c);
    const size_t first = begin_step(c, step);
    if (c->exchanged) return take_gradient(c, step, first);
    const int needs_gradient =
        c->batch > run->workspace->rows || c->chunk_rows > 0 || run->exchanges;
    if (needs_gradient && !run->gradient) return VG_NEEDS_GRADIENT;

    if (run->optimizer.penalty > 0) vg_square_weights(c);
    const batch_sums sums = c->batch == 0      ? (batch_sums){{0, 0}, 1}
                            : c->chunk_rows > 0 ? chunks_forward_and_back(c, first)
                                                : parts_forward_and_back(c, first);
    if (run->mode == VG_OUTPUTS) {
        vg_renew_running(c);
        barrier(c);
        return VG_DONE;
    }
    if (run->exchanges) return give_gradient(c, step, sums);
    const int well = sums.finite && moderate_rates(c);
    const double loss = sums.of_rows[0] / c->total;
    if (!isfinite(loss)) return VG_NON_FINITE;

    const int fused =
        run->mode == VG_TRAIN && run->optimizer.clip_norm == INFINITY && !run->unblocked;
    if (well && fused && !(c->chunk_rows > 0 && c->inspected)) {
        const vg_update update = update_of(c, 1, VG_STORE);
        if (c->chunk_rows > 0)
            vg_fold_update(c, &update);
        else
            vg_update_fused(c, &update);
    } else {
        if (!run->gradient) return VG_NEEDS_GRADIENT;
        const vg_status status = two_passes(c, well);
        if (status != VG_DONE) return status;
    }
    return end_step(c, step, loss, sums.of_rows[1]);
}
