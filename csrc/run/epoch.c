/* epoch.c - a run of steps: one task of the team, in slices of time. */
#include <string.h>

#include "run/thread_context.h"
#include "team/tuner.h"

typedef struct {
    vg_run *run;
    double until;
    int pause;
} train_call;

static void train(void *context, int thread, int n_threads) {
    train_call *const call = context;
    vg_run *const run = call->run;
    thread_context c = {
        .run = run,
        .pause = &call->pause,
        .until = call->until,
        .kernels = vg_kernels_of(run->plan->dtype),
        .thread = thread,
        .n_threads = n_threads,
        .item = vg_item_size(run->plan->dtype),
        .tools = {.unblocked = run->unblocked},
        .since = vg_ticks(),
    };
    const vg_workspace *const w = run->workspace;
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
}

void vg_train(vg_run *run) {
    const int most = run->n_threads;
    const int trying = vg_tuner_tries(run);
    const double end = run->seconds > 0 ? vg_seconds() + run->seconds : INFINITY;
    do {
        train_call call = {.run = run, .until = end};
        const double start = trying ? vg_seconds() : 0;
        const int n_threads = trying ? vg_tuner_threads(&run->tuner, run, start) : most;
        const size_t first = run->step;
        if (trying && run->tuner.until < end) call.until = run->tuner.until;
        const int ran = vg_team_run(train, &call, n_threads, VG_TRAINING);
        if (trying && ran == n_threads) /* what fewer took says nothing of so many */
            vg_tuner_record(&run->tuner, most, vg_seconds() - start, run->step - first);
        if (call.until == end) return;
    } while (run->status == VG_PAUSED);
}
