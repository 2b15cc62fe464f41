/* threads.h - the team: workers that sleep between tasks, and a meeting that gives way. */
#ifndef VG_THREADS_H
#define VG_THREADS_H

/* The most threads that a team can have. */
enum { VG_THREADS_MOST = 256 };

typedef void vg_task(void *context, int thread, int n_threads);

/* Call task(context, t, n) for t = 0..n-1 at the same time, the caller being thread 0; return when
 * all have. n <= wanted: it is 1 if the team is busy with another caller's task, after fork(), or
 * if the core was built without threads, and less than wanted if the system refuses more. */
void vg_team_run(vg_task *task, void *context, int wanted);

/* Within a task: wait until all n_threads of it are here. */
void vg_team_meet(int n_threads);

/* Whether the core was built with threads. */
int vg_team_exists(void);

#endif
