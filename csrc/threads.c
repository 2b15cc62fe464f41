/* threads.c - see threads.h.
 *
 * Why not OpenMP: libgomp hangs after fork(), comes twice beside PyTorch, and gives false alarms
 * under TSan; two meetings a step and a sleeping team are all that is needed.
 *
 * Who waits spins for about SPIN_NS and then sleeps: on a busy machine the partner may not be
 * running, and a spinning thread would keep it from running. */
#include "threads.h"

#ifdef VG_NO_THREADS

void vg_team_run(vg_task *task, void *context, int wanted) {
    (void)wanted;
    task(context, 0, 1);
}
void vg_team_meet(int n_threads) { (void)n_threads; }
int vg_team_exists(void) { return 0; }

#else

#include <pthread.h>
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
    gate work, meeting;
    atomic_uint arrived;
    int n_workers;
    vg_task *task;
    void *context;
    int forked;
} team = {.owner = PTHREAD_MUTEX_INITIALIZER, .work = CLOSED_GATE, .meeting = CLOSED_GATE};

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

static long long now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (long long)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* The new value, once it differs from `seen`. Sleeper and opener each write their own variable
 * before they read the other's, in one total order: one of them sees the other, so no wake-up is
 * lost. */
static unsigned long long gate_wait(gate *g, unsigned long long seen) {
    const long long start = now_ns();
    do {
        for (int i = 0; i < SPINS_PER_LOOK; i++) {
            const unsigned long long value = atomic_load_explicit(&g->value, memory_order_acquire);
            if (value != seen) return value;
            relax();
        }
    } while (now_ns() - start < SPIN_NS);

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

void vg_team_meet(int n_threads) {
    if (n_threads == 1) return;
    const unsigned long long seen = atomic_load_explicit(&team.meeting.value, memory_order_acquire);
    if (atomic_fetch_add(&team.arrived, 1) + 1 == (unsigned)n_threads) {
        atomic_store(&team.arrived, 0);
        gate_open(&team.meeting, seen + 1);
    } else {
        gate_wait(&team.meeting, seen);
    }
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

static void *work(void *argument) {
    const worker *const self = argument;
    for (unsigned long long seen = self->seen;;) {
        seen = gate_wait(&team.work, seen);
        const int n_threads = (int)(seen & N_THREADS_MASK);
        if (self->thread >= n_threads) continue;
        team.task(team.context, self->thread, n_threads);
        vg_team_meet(n_threads);
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

void vg_team_run(vg_task *task, void *context, int wanted) {
    if (wanted == 1 || team.forked || pthread_mutex_trylock(&team.owner) != 0) {
        task(context, 0, 1);
        return;
    }
    if (team.n_workers + 1 < wanted) grow(wanted);
    const int n_threads = wanted < team.n_workers + 1 ? wanted : team.n_workers + 1;
    if (n_threads == 1) {
        task(context, 0, 1);
    } else {
        team.task = task;
        team.context = context;
        const unsigned long long number = (atomic_load(&team.work.value) >> LOW) + 1;
        gate_open(&team.work, number << LOW | (unsigned)n_threads);
        task(context, 0, n_threads);
        vg_team_meet(n_threads);
    }
    pthread_mutex_unlock(&team.owner);
}

int vg_team_exists(void) { return 1; }

#endif
