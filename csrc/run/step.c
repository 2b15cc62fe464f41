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
 * If the update needs to know the whole gradient first (clip_norm), if a finite check has failed,
 * or where it is quicker (see `streams`), B writes the gradient to memory and
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

static vg_update update_of(const thread_context *c, double scale, vg_pass pass) {
    return vg_update_at(&c->run->optimizer, c->moment, scale, pass);
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

/* C: the update by a gradient in memory, of which the units' norms are known, or not asked for. A
 * NaN or an infinity in it makes its norm non-finite, and the check fail. */
static vg_status update_by_gradient(thread_context *c, int well) {
    const vg_run *const run = c->run;
    const vg_norm norm = c->unmeasured ? (vg_norm){0, 0} : gradient_norm(c);
    if (!isfinite(norm.sum)) return VG_NON_FINITE;
    vg_barrier(c); /* the norms' places are about to be used again */
    if (run->mode == VG_GRADIENT) return VG_DONE;

    const double size = vg_norm_root(norm), most = run->optimizer.clip_norm;
    const double scale = size > most ? most / size : 1;
    if (!well) {
        const vg_update trial = update_of(c, scale, VG_TRY);
        vg_apply_gradient(c, &trial);
        if (!vg_barrier_all_finite(c)) return VG_NON_FINITE;
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
    vg_barrier(c);
    return update_by_gradient(c, well);
}

/* The one step of VG_APPLY, which has no rows to divide a penalty by. */
static vg_status apply_given(thread_context *c) {
    c->total = 1;
    read_moment(c, 0);
    check_parameters(c);
    vg_measure_gradient(c);
    const int well = vg_barrier_all_finite(c) && moderate_rates(c);
    const vg_status status = update_by_gradient(c, well);
    if (status == VG_DONE) count_step(c);
    if (c->thread == 0 && status == VG_DONE && c->run->draws) c->run->draws[1]++;
    vg_barrier(c);
    return status;
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
    c->unmeasured = 0;
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
    vg_barrier(c);
    const vg_status status = *c->pause ? VG_PAUSED : VG_DONE;
    if (c->inspected) {
        vg_write_records(c);
        vg_barrier(c);
        if (c->thread == 0) run->n_records++;
    }
    return status;
}

/* The half of an exchanged step before the exchange, after A: B by way of memory. */
static vg_status give_gradient(thread_context *c, size_t step, vg_batch_sums sums) {
    vg_run *const run = c->run;
    const double loss = sums.of_rows[0] / c->total;
    c->given_well = sums.finite;
    c->unmeasured = 1; /* another gradient will come back */
    if (c->batch == 0) {
        if (c->thread == 0) memset(run->gradient, 0, run->plan->n_params * c->item);
    } else if (c->chunk_rows > 0) {
        vg_fold_gradient(c);
    } else {
        vg_write_gradient(c);
    }
    vg_barrier(c);
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
    const double loss = run->losses[step], correct = run->correct[step];
    const int was_well = c->exchanged == 1;
    c->exchanged = 0;
    c->unmeasured = !c->inspected && run->optimizer.clip_norm == INFINITY;
    c->first_row = first;
    c->rows = c->batch;
    vg_measure_gradient(c);
    const int well = vg_barrier_all_finite(c) && was_well && moderate_rates(c);
    const vg_status status = update_by_gradient(c, well);
    if (status != VG_DONE) return status;
    return end_step(c, step, loss, correct);
}

/* Whether an update that is more than W -= lr g goes by way of memory, though nothing asks for it:
 * where weights and states do not stay in the caches, the rows of a tile lie in as many pages of
 * each of them, and whole rows are quicker to read and write. */
enum { STREAMED_BYTES = 768 << 10 }; /* as found with L2 caches of 512 KiB */
static int streams(const thread_context *c) {
    const vg_run *const run = c->run;
    const size_t vectors = 1 + (size_t)vg_rules[run->optimizer.rule].states;
    return vectors > 1 && run->mode == VG_TRAIN && !run->plan->sparse && !c->inspected &&
           c->chunk_rows == 0 && vectors * run->plan->n_params * c->item > STREAMED_BYTES;
}

vg_status vg_take_step(thread_context *c, size_t step) {
    vg_run *const run = c->run;
    if (run->mode == VG_APPLY) return apply_given(c);
    const size_t first = begin_step(c, step);
    if (c->exchanged) return take_gradient(c, step, first);
    if (c->batch == 0 && !run->exchanges) return end_step(c, step, 0, 0); /* counted, and no more */
    const int streamed = streams(c), needs_gradient = c->batch > run->workspace->rows ||
                                                      c->chunk_rows > 0 || run->exchanges ||
                                                      streamed;
    if (needs_gradient && !run->gradient) return VG_NEEDS_GRADIENT;

    if (run->optimizer.penalty > 0) vg_square_weights(c);
    const vg_batch_sums sums = vg_forward_and_back(c, first);
    if (run->mode == VG_OUTPUTS) {
        vg_renew_running(c);
        vg_barrier(c);
        return VG_DONE;
    }
    if (run->exchanges) return give_gradient(c, step, sums);
    const int well = sums.finite && moderate_rates(c);
    const double loss = sums.of_rows[0] / c->total;
    if (!isfinite(loss)) return VG_NON_FINITE;

    const int fused =
        run->mode == VG_TRAIN && run->optimizer.clip_norm == INFINITY && !run->unblocked;
    if (well && fused && !streamed && !(c->chunk_rows > 0 && c->inspected)) {
        const vg_update update = update_of(c, 1, VG_STORE);
        if (c->chunk_rows > 0)
            vg_fold_update(c, &update);
        else
            vg_update_fused(c, &update);
    } else {
        if (!run->gradient) return VG_NEEDS_GRADIENT;
        c->unmeasured = well && fused && !c->inspected;
        const vg_status status = two_passes(c, well);
        if (status != VG_DONE) return status;
    }
    return end_step(c, step, loss, sums.of_rows[1]);
}
