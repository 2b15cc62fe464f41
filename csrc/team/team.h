/* team.h - the team: workers that sleep between tasks, and a barrier that gives way. */
#ifndef VG_TEAM_H
#define VG_TEAM_H

#include <stddef.h>

/* The most threads that a team can have. */
enum { VG_THREADS_MOST = 256 };

typedef void vg_task(void *context, int thread, int n_threads);

/* Kinds of tasks, of which the tuner learns, each for itself, how many threads pay at present;
 * measuring takes as many as wanted. */
typedef enum { VG_TRAINING, VG_PREDICTING, VG_MEASURING } vg_kind;

/* Call task(context, t, n) for t = 0..n-1 at the same time, the caller being thread 0; return n
 * when all have. n <= wanted: it is 1 if the team is busy with another caller's task, after
 * fork(), or if the core was built without threads, and less than wanted if the system refuses
 * more or if the tuner allows fewer. All compute in one mode (float_mode.h), and the caller's
 * is as it was afterwards. */
int vg_team_run(vg_task *task, void *context, int wanted, vg_kind kind);

/* Within a task: wait until all n_threads of it are here. */
void vg_team_barrier(int n_threads);

/* The same as vg_team_run, but of n_threads only one runs at a time: a thread runs up to a barrier,
 * then the next does, and after the last the first goes on. seconds (most): the time that each took
 * for each such turn, in their order. Returns the number of turns; 0 if the team is busy with
 * another caller's task, after fork(), without threads, or if the system refuses as many. */
size_t vg_team_simulate(vg_task *task, void *context, int n_threads, double *seconds, size_t most);

/* Whether the core was built with threads. Exported, as the mark by which threadpoolctl knows the
 * library among others of its file's name. */
#ifdef __GNUC__
__attribute__((visibility("default")))
#endif
int vg_team_exists(void);

#endif
