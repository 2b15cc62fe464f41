/* laps.c - what takes how long, and where threads wait for each other. */
#include "team/team.h"

#include "run/thread_context.h"

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
void vg_barrier(thread_context *c) {
    vg_team_barrier(c->n_threads);
    lap(c, 0, VG_BARRIER);
}

/* The ticks of products' epilogues are read only where they are asked for. */
void vg_time_epilogues(thread_context *c, int wanted) {
    c->tools.ticks = wanted && c->times ? &c->epilogues : NULL;
}

/* A barrier, and whether all threads' checks are finite: every thread gets the same answer. A check
 * is written before this barrier only, and there is another barrier before the next time. */
int vg_barrier_all_finite(thread_context *c) {
    const vg_run *const run = c->run;
    run->notes[vg_check_at(run->workspace, c->thread)] = c->tools.check;
    c->tools.check = 0;
    vg_barrier(c);
    for (int t = 0; t < c->n_threads; t++)
        if (!isfinite(run->notes[vg_check_at(run->workspace, t)])) return 0;
    return 1;
}
