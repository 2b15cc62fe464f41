/* tuner.h - how many threads pay: by the size of a step, by trying, and by what a team did. */
#ifndef VG_TUNER_H
#define VG_TUNER_H

#include "team/team.h"
#include "vgfast.h"

/* How many threads, of at most `limit`, are worth trying for steps of so many operations. */
int vg_tuner_worth_trying(double flops, int limit);

/* Trials of one run, whose steps do so many operations, on `most` threads at most. Whether the
 * number of its threads is found by trying; that for the steps until tuner->until, which is after
 * `now`; and what they took. Times are in seconds. */
int vg_tuner_tries(double flops, int most);
int vg_tuner_threads(vg_tuner *tuner, double flops, int most, double now);
void vg_tuner_record(vg_tuner *tuner, int most, double seconds, size_t steps);

/* Of the team, whose owner calls them. How many of `wanted` threads are allowed at present; and
 * what n_threads did together in a task: nanoseconds, of the task and of work by all. */
int vg_tuner_allowed(vg_kind kind, int wanted);
void vg_tuner_assess(vg_kind kind, int n_threads, long long wall, long long worked);

/* For tests: as many threads as wanted, whether they pay or not. */
void vg_tuner_force(int force);

#endif
