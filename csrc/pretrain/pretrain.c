/* pretrain.c - a step of pre-training, of which each thread of the team does its part.
 *
 *   A  each thread takes rows of the batch: what is in A and D (see pretrain.h)
 *      -- barrier --
 *   B  each thread takes rows of W: dW = A^T D and the update, in registers; the first takes c, the
 *      last b
 *      -- barrier --
 *
 * No sum over the batch is ever split, and random numbers belong to rows and units, so that the
 * bits do not depend on the number of threads. */
#include "pretrain/pretrain.h"

#include "plan/plan.h"
#include "pretrain/thread_part.h"
#include "team/slices.h"

void vg_gather_visible(thread_part *t, size_t from, size_t rows) {
    const vg_pretrain *const run = t->run;
    const vg_pretrain_workspace *const w = run->workspace;
    const size_t first = t->first_row + from;
    t->kernels->gather(rows, w->m, at(t, run->x, run->order ? 0 : first * w->m),
                       run->order ? run->order + first : NULL, visible(t, 0, from, rows).p, w->ldm,
                       &t->tools.check);
}

/* ---- B: parameters --------------------------------------------------------------------------- */

static vg_update update_of(const thread_part *t) {
    const vg_optimizer *const o = &t->run->optimizer;
    /* The loss of an autoencoder has been divided by the rows already. */
    const double scale = t->run->kind == VG_RBM ? 1 / (double)t->rows : t->run->scale;
    const int plain = o->rule == VG_SGD && o->weight_decay == 0;
    vg_update update = {
        .rule = o->rule,
        .lr = plain ? o->lr * scale : o->lr,
        .decay = o->weight_decay,
        .clip_value = INFINITY,
        .scale = plain ? 1 : scale,
        .plain = plain,
        .pass = VG_STORE,
    };
    for (size_t i = 0; i < VG_HYPER_MOST; i++) update.hyper[i] = o->hyper[i];
    return update;
}

static vg_summary *summaries(const thread_part *t) {
    return (vg_summary *)(void *)(t->run->notes + t->run->workspace->summaries);
}

/* On the last step of an epoch the weights are recorded by units, so that the sums do not depend on
 * the number of threads; else any rows will do. */
static void update_weights(thread_part *t, const vg_update *update, int recorded) {
    const vg_pretrain *const run = t->run;
    const size_t m = run->workspace->m, unit = recorded ? VG_UNIT_ROWS : t->kernels->tile_rows;
    size_t first, last;
    vg_share_rows((m + unit - 1) / unit, t->thread, t->n_threads, &first, &last);
    first *= unit;
    last = last * unit < m ? last * unit : m;
    if (first >= last) return;
    const vg_recording recording = {recorded ? summaries(t) + first / VG_UNIT_ROWS : NULL, NULL};
    t->kernels->weight_update(
        visible(t, 0, 0, 2 * t->rows), hidden(t, 0, 0, 2 * t->rows), first, last,
        (vg_parameters){.weights = run->params, .states = run->optimizer.states}, update, &t->tools,
        recording);
}

/* Of so many biases, whose place in the parameters is `offset`, by the sums over the batch. */
static void update_biases(thread_part *t, size_t offset, size_t n, const void *sums,
                          const vg_update *update) {
    vg_update of_biases = *update;
    of_biases.decay = 0;
    void *states[VG_STATES_MOST];
    for (size_t k = 0; k < VG_STATES_MOST; k++)
        states[k] = at(t, t->run->optimizer.states[k], offset);
    t->kernels->update(n, sums, at(t, t->run->params, offset), states, &of_biases, &t->tools.check,
                       NULL);
}

static void *sums_of(const thread_part *t, int i) {
    const vg_pretrain_workspace *const w = t->run->workspace;
    return in_memory(t, w->sums + (size_t)t->thread * w->each_sums + (i ? w->each_sums / 2 : 0));
}

static void sum_columns(const thread_part *t, vg_matrix x, void *sums) {
    t->kernels->column_sums(x.rows, x.cols, x.p, x.ld, 0, sums);
}

static void update_hidden_biases(thread_part *t, const vg_update *update) {
    const vg_pretrain *const run = t->run;
    const vg_pretrain_workspace *const w = run->workspace;
    const size_t halves = run->kind == VG_RBM ? 2 : 1;
    sum_columns(t, hidden(t, 0, 0, halves * t->rows), sums_of(t, 0));
    update_biases(t, w->m * w->n, w->n, sums_of(t, 0), update);
    if (!run->activity) return;
    sum_columns(t, hidden(t, 0, 0, t->rows), sums_of(t, 0));
    const vg_sparsity sparsity = {run->target, run->cost, run->decay};
    t->kernels->renew_penalty(w->n, sums_of(t, 0), (double)t->rows, sparsity, run->activity,
                              run->penalty);
}

static void update_visible_biases(thread_part *t, const vg_update *update) {
    const vg_pretrain_workspace *const w = t->run->workspace;
    sum_columns(t, visible(t, 1, 0, t->rows), sums_of(t, 0));
    if (t->run->kind == VG_RBM) {
        sum_columns(t, visible(t, 0, 0, t->rows), sums_of(t, 1));
        t->kernels->subtract(w->m, sums_of(t, 0), sums_of(t, 1), sums_of(t, 0));
    }
    update_biases(t, w->m * w->n + w->n, w->m, sums_of(t, 0), update);
}

/* ---- a step ---------------------------------------------------------------------------------- */

/* A barrier, and whether all threads' checks are finite. A check that fails says that values have
 * left moderate size, which in pre-training is the end of it. */
static int barrier_all_moderate(thread_part *t) {
    double *const checks = t->run->notes + t->run->workspace->checks;
    checks[t->thread * VG_CHECK_STRIDE] = t->tools.check;
    t->tools.check = 0;
    vg_team_barrier(t->n_threads);
    for (int i = 0; i < t->n_threads; i++)
        if (!isfinite(checks[i * VG_CHECK_STRIDE])) return 0;
    return 1;
}

/* Each thread its share, before the first step of a slice. */
static void check_parameters(thread_part *t) {
    const vg_pretrain_workspace *const w = t->run->workspace;
    size_t first, last;
    vg_share_rows(w->m * w->n + w->n + w->m, t->thread, t->n_threads, &first, &last);
    t->kernels->check_finite(last - first, at(t, t->run->params, first), &t->tools.check);
    for (size_t k = 0; k < VG_STATES_MOST; k++)
        if (t->run->optimizer.states[k])
            t->kernels->check_finite(last - first, at(t, t->run->optimizer.states[k], first),
                                     &t->tools.check);
}

static double mean_in_order(const double *x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i];
    return sum / (double)n;
}

static void write_record(const thread_part *t) {
    const size_t units = (t->run->workspace->m + VG_UNIT_ROWS - 1) / VG_UNIT_ROWS;
    vg_summary sum = {0};
    for (size_t i = 0; i < units; i++) vg_summary_add(&sum, &summaries(t)[i]);
    *t->run->record = (vg_pretrain_record){
        .gradient = vg_norm_root(sum.gradient),
        .weight = vg_norm_root(sum.weight),
        .step = vg_norm_root(sum.step),
        .frozen = sum.frozen,
    };
}

static vg_status take_step(thread_part *t, vg_slices *slices) {
    const vg_pretrain *const run = t->run;
    size_t from, to;
    t->first_row = t->step * run->batch_size;
    t->rows = run->n_rows - t->first_row;
    if (t->rows > run->batch_size) t->rows = run->batch_size;
    vg_share_rows(t->rows, t->thread, t->n_threads, &from, &to);
    if (from < to) (run->kind == VG_RBM ? vg_rbm_rows : vg_autoencoder_rows)(t, from, to - from);
    if (!barrier_all_moderate(t)) return VG_NON_FINITE;

    const int recorded = run->record && t->step + 1 == run->n_steps;
    const vg_update update = update_of(t);
    update_weights(t, &update, recorded);
    if (t->thread == 0) {
        update_hidden_biases(t, &update);
        if (run->kind == VG_AUTOENCODER) run->losses[t->step] = mean_in_order(run->notes, t->rows);
        slices->pause = slices->until < INFINITY && vg_seconds() > slices->until;
    }
    if (t->thread == t->n_threads - 1) update_visible_biases(t, &update);
    vg_team_barrier(t->n_threads);
    if (recorded && t->thread == 0) write_record(t);
    return slices->pause ? VG_PAUSED : VG_DONE;
}

static void pretrain(vg_slices *slices, int thread, int n_threads) {
    vg_pretrain *const run = slices->run;
    const vg_pretrain_workspace *const w = run->workspace;
    thread_part t = {
        .run = run,
        .kernels = vg_kernels_of(w->dtype),
        .thread = thread,
        .n_threads = n_threads,
        .item = vg_item_size(w->dtype),
        .step = run->step,
    };
    t.tools.scratch = in_memory(&t, w->scratch + (size_t)thread * w->per_thread);
    check_parameters(&t);
    vg_status status = VG_DONE;
    while (t.step < run->n_steps && status == VG_DONE) {
        status = take_step(&t, slices);
        t.step += status != VG_NON_FINITE;
    }
    if (thread > 0) return;
    run->status = status == VG_PAUSED && t.step == run->n_steps ? VG_DONE : status;
    run->step = t.step;
}

void vg_pretrain_run(vg_pretrain *run) {
    vg_slices slices = {
        .slice = pretrain,
        .run = run,
        .tuner = &run->tuner,
        .flops = run->workspace->flops,
        .n_threads = run->n_threads,
        .seconds = run->seconds,
        .step = &run->step,
        .status = &run->status,
    };
    vg_run_slices(&slices);
}
