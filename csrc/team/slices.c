/* slices.c - a run in slices of time: where the number of threads is found by trying, each on as
 * many as the tuner says. */
#include "team/slices.h"

#include <math.h>

#include "clock.h"
#include "team/tuner.h"

static void one_slice(void *context, int thread, int n_threads) {
    vg_slices *const s = context;
    s->slice(s, thread, n_threads);
}

void vg_run_slices(vg_slices *s) {
    const int trying = s->tuner && vg_tuner_tries(s->flops, s->n_threads);
    const double end = s->seconds > 0 ? vg_seconds() + s->seconds : INFINITY;
    do {
        const double start = trying ? vg_seconds() : 0;
        const int n_threads =
            trying ? vg_tuner_threads(s->tuner, s->flops, s->n_threads, start) : s->n_threads;
        const size_t first = *s->step;
        s->until = trying && s->tuner->until < end ? s->tuner->until : end;
        s->pause = 0;
        const int ran = vg_team_run(one_slice, s, n_threads, VG_TRAINING);
        if (trying && ran == n_threads) /* what fewer took says nothing of so many */
            vg_tuner_record(s->tuner, s->n_threads, vg_seconds() - start, *s->step - first);
        if (s->until == end) return;
    } while (*s->status == VG_PAUSED);
}
