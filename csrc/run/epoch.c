/* epoch.c - a run of steps, in slices of time. */
#include <string.h>

#include "run/thread_context.h"
#include "team/slices.h"
#include "team/team.h"

/* To read the clock takes as long as 3 kFLOP; some microseconds of steps go by without. */
static size_t steps_between_looks(double flops) { return 1 + (size_t)(100e3 / (1 + flops)); }

static void train(vg_slices *slices, int thread, int n_threads) {
    vg_run *const run = slices->run;
    thread_context c = {
        .run = run,
        .pause = &slices->pause,
        .until = slices->until,
        .look_every = steps_between_looks(run->workspace->flops),
        .kernels = vg_kernels_of(run->plan->dtype),
        .thread = thread,
        .n_threads = n_threads,
        .item = vg_item_size(run->plan->dtype),
        .checked = run->checked,
        .exchanged = run->exchanged,
        .tools = {.unblocked = run->unblocked},
        .since = vg_ticks(),
    };
    const vg_workspace *const w = run->workspace;
    const size_t rows = run->batch_size < w->rows ? run->batch_size : w->rows;
    c.columns_chosen = vg_choose_columns(run->plan, rows, n_threads);
    if (run->plan->n_batch_norms > 0)
        c.columns_chosen = 1;
    else if (run->n_columns > 0)
        c.columns_chosen = n_threads % run->n_columns ? 1 : run->n_columns;
    c.n_columns = 1;
    c.tools.scratch = at(&c, run->memory, w->scratch + (size_t)thread * w->per_thread);
    if (run->times) c.times = run->times + (size_t)thread * (run->plan->n_layers + 1) * VG_PHASES;
    size_t step = run->step, n;
    uint32_t *const tables = exponent_tables(&c, &n);
    if (run->exponents) memset(tables, 0, n * sizeof *tables);
    vg_status status = VG_DONE;
    while (step < run->n_steps && status == VG_DONE) {
        status = vg_take_step(&c, step);
        step += status == VG_DONE || status == VG_PAUSED;
    }
    if (thread > 0) return;
    run->status = status == VG_PAUSED && step == run->n_steps ? VG_DONE : status;
    run->step = step;
    run->checked = status == VG_PAUSED || status == VG_EXCHANGE;
    run->exchanged = status != VG_EXCHANGE ? 0 : c.given_well ? 1 : 2;
}

static void simulate(void *context, int thread, int n_threads) {
    train(context, thread, n_threads);
}

size_t vg_simulate(vg_run *run, double *seconds, size_t most) {
    vg_slices slices = {.run = run, .until = INFINITY};
    return vg_team_simulate(simulate, &slices, run->n_threads, seconds, most);
}

void vg_train(vg_run *run) {
    vg_slices slices = {
        .slice = train,
        .run = run,
        .tuner = run->mode == VG_TRAIN ? &run->tuner : NULL,
        .flops = run->workspace->flops,
        .n_threads = run->n_threads,
        .seconds = run->seconds,
        .step = &run->step,
        .status = &run->status,
    };
    vg_run_slices(&slices);
}
