/* team.c - see team.h.
 *
 * Why not OpenMP: libgomp hangs after fork(), comes twice beside PyTorch, and gives false alarms
 * under TSan; two barriers a step and a sleeping team are all that is needed.
 *
 * Who waits spins for about SPIN_NS and then sleeps: on a busy machine the partner may not be
 * running, and a spinning thread would keep it from running. */
#define _GNU_SOURCE /* for the processor that a thread is on */
#include "team/team.h"

#include "team/float_mode.h"
#include "team/tuner.h"

/* The caller does it all. */
static int run_alone(vg_task *task, void *context) {
    const vg_float_mode before = vg_enter_float_mode();
    task(context, 0, 1);
    vg_leave_float_mode(before);
    return 1;
}

#ifdef VG_NO_THREADS

int vg_team_run(vg_task *task, void *context, int wanted, vg_kind kind) {
    (void)wanted, (void)kind;
    return run_alone(task, context);
}
void vg_team_barrier(int n_threads) { (void)n_threads; }
size_t vg_team_simulate(vg_task *task, void *context, int n_threads, double *seconds, size_t most) {
    (void)task, (void)context, (void)n_threads, (void)seconds, (void)most;
    return 0;
}
int vg_team_exists(void) { return 0; }

#else

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

enum { SPIN_NS = 20000, SPINS_PER_LOOK = 16 };

/* A counter that threads wait on until it changes. */
typedef struct {
    atomic_ullong value;
    atomic_uint sleepers;
    pthread_mutex_t lock;
    pthread_cond_t changed;
} gate;

#define CLOSED_GATE {0, 0, PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER}

static struct {
    pthread_mutex_t owner; /* held by the caller whose task runs */
    gate work, barrier;
    atomic_uint arrived;
    atomic_llong worked; /* in this task, by those who have done their part */
    int n_workers;
    int processor; /* of the caller */
    vg_task *task;
    void *context;
    int forked;
} team = {.owner = PTHREAD_MUTEX_INITIALIZER, .work = CLOSED_GATE, .barrier = CLOSED_GATE};

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

static long long clock_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (long long)t.tv_sec * 1000000000 + t.tv_nsec;
}
static long long now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

/* What this thread has spun, waiting, since its task began. */
static _Thread_local long long spun;

/* The new value, once it differs from `seen`. Sleeper and opener each write their own variable
 * before they read the other's, in one total order: one of them sees the other, so no wake-up is
 * lost. */
static unsigned long long gate_wait(gate *g, unsigned long long seen) {
    const long long start = now_ns();
    long long passed;
    do {
        for (int i = 0; i < SPINS_PER_LOOK; i++) {
            const unsigned long long value = atomic_load_explicit(&g->value, memory_order_acquire);
            if (value != seen) {
                spun += now_ns() - start;
                return value;
            }
            relax();
        }
        passed = now_ns() - start;
    } while (passed < SPIN_NS);
    spun += passed;

    pthread_mutex_lock(&g->lock);
    atomic_fetch_add(&g->sleepers, 1);
    while (atomic_load(&g->value) == seen) pthread_cond_wait(&g->changed, &g->lock);
    atomic_fetch_sub(&g->sleepers, 1);
    const unsigned long long value = atomic_load(&g->value);
    pthread_mutex_unlock(&g->lock);
    return value;
}

static void gate_open(gate *g, unsigned long long value) {
    atomic_store(&g->value, value);
    if (atomic_load(&g->sleepers) == 0) return;
    pthread_mutex_lock(&g->lock);
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
}

/* Wait until all n_threads are here. */
static void meet(int n_threads) {
    const unsigned long long seen = atomic_load_explicit(&team.barrier.value, memory_order_acquire);
    if (atomic_fetch_add(&team.arrived, 1) + 1 == (unsigned)n_threads) {
        atomic_store(&team.arrived, 0);
        gate_open(&team.barrier, seen + 1);
    } else {
        gate_wait(&team.barrier, seen);
    }
}

/* ---- a simulated team: only the thread whose turn it is runs --------------------------------- */

static struct {
    int on;
    double *seconds; /* that threads took from barrier to barrier, in the order of their turns */
    size_t n, most;
    long long since; /* the turn began */
    sem_t turns[VG_THREADS_MOST];
} simulation;

/* The number of the calling thread in its task. */
static _Thread_local int own_number;

static void wait_for_turn(void) {
    while (sem_wait(&simulation.turns[own_number]) != 0) continue; /* a signal may end it early */
    simulation.since = clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

/* The next one's turn begins. After the last it is the first one's again, behind the barrier. */
static void end_turn(int n_threads) {
    const long long took = clock_ns(CLOCK_THREAD_CPUTIME_ID) - simulation.since;
    if (simulation.n < simulation.most) simulation.seconds[simulation.n] = 1e-9 * (double)took;
    simulation.n++;
    sem_post(&simulation.turns[(own_number + 1) % n_threads]);
}

void vg_team_barrier(int n_threads) {
    if (n_threads == 1) return;
    if (!simulation.on) {
        meet(n_threads);
        return;
    }
    end_turn(n_threads);
    wait_for_turn();
}

/* The value of the gate to work is a task's number and, in its low bits, its number of threads.
 * Thread t takes part if it is among them; else it may not look at the team, which can be given its
 * next task meanwhile. */
enum { LOW = 16, N_THREADS_MASK = (1 << LOW) - 1 };

typedef struct {
    int thread;
    unsigned long long seen;
} worker;
static worker workers[VG_THREADS_MOST];

/* Linux likes to wake a thread on the processor of its waker. Two threads that wait for each other
 * in turn can stay there, for seconds and beside an idle processor, as never more than one of them
 * wants to run: 0.9 threads' work of two. A worker that finds itself with the caller moves away. */
static int processor(void) {
#ifdef __linux__
    return sched_getcpu();
#else
    return -1;
#endif
}
static void move_away_from(int taken) {
#ifdef __linux__
    cpu_set_t all, others;
    if (taken < 0 || processor() != taken || sched_getaffinity(0, sizeof all, &all) != 0) return;
    others = all;
    CPU_CLR((size_t)taken, &others);
    if (CPU_COUNT(&others) == 0 || sched_setaffinity(0, sizeof others, &others) != 0) return;
    sched_setaffinity(0, sizeof all, &all); /* it may go anywhere again, but is not there now */
#else
    (void)taken;
#endif
}

/* A thread's part of a task, and the time that the processor gave it for work. */
static void take_part(int thread, int n_threads) {
    const vg_float_mode before = vg_enter_float_mode();
    own_number = thread;
    if (simulation.on) wait_for_turn();
    const long long start = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    spun = 0;
    team.task(team.context, thread, n_threads);
    const long long worked = clock_ns(CLOCK_THREAD_CPUTIME_ID) - start - spun;
    if (worked > 0) atomic_fetch_add(&team.worked, worked); /* it may have slept while it spun */
    if (simulation.on) end_turn(n_threads);
    vg_leave_float_mode(before);
    meet(n_threads);
}

static void *work(void *argument) {
    const worker *const self = argument;
    for (unsigned long long seen = self->seen;;) {
        seen = gate_wait(&team.work, seen);
        const int n_threads = (int)(seen & N_THREADS_MASK);
        if (self->thread >= n_threads) continue;
        move_away_from(team.processor);
        take_part(self->thread, n_threads);
    }
    return NULL;
}

static void forget_team(void) { /* in the child, where only the calling thread lives on */
    team.forked = 1;
    pthread_mutex_init(&team.owner, NULL);
}

/* Start workers until there are `wanted` threads or the system refuses. They take no signals: those
 * belong to the interpreter's threads. */
static void grow(int wanted) {
    static int fork_handled = 0;
    if (!fork_handled) fork_handled = pthread_atfork(NULL, NULL, forget_team) == 0;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (fork_handled && team.n_workers + 1 < wanted && team.n_workers + 1 < VG_THREADS_MOST) {
        worker *const next = &workers[team.n_workers + 1];
        *next = (worker){team.n_workers + 1, atomic_load(&team.work.value)};
        pthread_t id;
        if (pthread_create(&id, NULL, work, next) != 0) break;
        pthread_detach(id);
        team.n_workers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* Of the owner: all n_threads, which there are, do the task. */
static void run_team(vg_task *task, void *context, int n_threads) {
    team.task = task;
    team.context = context;
    team.processor = processor();
    atomic_store(&team.worked, 0);
    const unsigned long long number = (atomic_load(&team.work.value) >> LOW) + 1;
    gate_open(&team.work, number << LOW | (unsigned)n_threads);
    take_part(0, n_threads);
}

int vg_team_run(vg_task *task, void *context, int wanted, vg_kind kind) {
    if (wanted <= 1 || team.forked || pthread_mutex_trylock(&team.owner) != 0)
        return run_alone(task, context);
    wanted = vg_tuner_allowed(kind, wanted);
    if (team.n_workers + 1 < wanted) grow(wanted);
    const int n_threads = wanted < team.n_workers + 1 ? wanted : team.n_workers + 1;
    if (n_threads == 1) {
        run_alone(task, context);
    } else {
        const long long start = now_ns();
        run_team(task, context, n_threads);
        vg_tuner_assess(kind, n_threads, now_ns() - start, atomic_load(&team.worked));
    }
    pthread_mutex_unlock(&team.owner);
    return n_threads;
}

size_t vg_team_simulate(vg_task *task, void *context, int n_threads, double *seconds, size_t most) {
    if (team.forked || pthread_mutex_trylock(&team.owner) != 0) return 0;
    if (team.n_workers + 1 < n_threads) grow(n_threads);
    simulation.n = 0;
    if (n_threads <= team.n_workers + 1) {
        simulation.on = 1;
        simulation.seconds = seconds;
        simulation.most = most;
        for (int t = 0; t < n_threads; t++) sem_init(&simulation.turns[t], 0, t == 0);
        run_team(task, context, n_threads);
        for (int t = 0; t < n_threads; t++) sem_destroy(&simulation.turns[t]);
        simulation.on = 0;
    }
    const size_t n = simulation.n;
    pthread_mutex_unlock(&team.owner);
    return n;
}

int vg_team_exists(void) { return 1; }

#endif
