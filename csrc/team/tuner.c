/* tuner.c - how many threads a task takes: what is worth sharing anywhere, what a run of small
 * steps has found by trying, and what teams of late have shown.
 *
 * Trying. Whether more threads pay depends on the net and on the machine: where threads share a
 * cache, a step of 784-30-10 took two of them 16 us and one 21; where they do not, they lose. So a
 * run begins with the number that pays anywhere, tries 1, 2, 4, ... threads for two short turns
 * each, of which the quicker counts, as others may disturb one; goes on with what was quickest, and
 * tries again after a rest that grows fourfold as long as the answer stays the same. (Twofold,
 * three trials in 0.2 s made 4-16-16-3 on 32 rows 7 % slower than one thread.)
 *
 * Backing off. Where another process keeps a processor busy, threads take turns on the others, and
 * each barrier waits for the last: two threads on one free processor took 1.3 times as long as one.
 * So who runs a team looks at what it did: if n threads did the work of less than 5/8 n, the next
 * tasks get one less, for 4 times as long as it took to see that, and twice as long each time that
 * it is so again, but never more than a second. (How long: benchmarks/notes.md.)
 *
 * The bits depend on none of it. */
#include "team/tuner.h"

#include "clock.h"

/* The shortest and the longest rest, and half a turn, in seconds. In the first half, threads
 * wake up and fetch what they need: with it, those 16 us looked like 20 to 28. Trying takes two
 * threads 4 ms in all. */
static const double REST_LEAST = 20e-3, REST_MOST = 1, HALF_TURN = 0.5e-3;
/* More threads have to save a tenth of the time. */
static const double ENOUGH = 0.9;
/* A step of this many operations for each thread is worth sharing anywhere. */
static const double SMALL = 32e6;

/* A barrier of two threads costs some microseconds, in which one thread with AVX-512 does about 100
 * kFLOP each: below about a MFLOP a thread, a second one costs more than it brings. Where threads
 * share a cache, it can bring something from 30 kFLOP each on. */
static const double PAYS = 1e6, MAY_PAY = 30e3;

static int threads_of(double flops, double each, int limit) {
    const double n = flops / each;
    return n >= limit ? limit : n > 1 ? (int)n : 1;
}

int vg_threads_for(const vg_plan *plan, size_t rows, int limit) {
    return threads_of(plan->flops * (double)rows, PAYS, limit);
}
int vg_threads_to_try(const vg_plan *plan, size_t rows, int limit) {
    return threads_of(plan->flops * (double)rows, MAY_PAY, limit);
}

/* Written by tests only. */
static int forced;
void vg_tuner_force(int force) { forced = force; }

int vg_tuner_worth_trying(double flops, int limit) {
    return forced ? limit : threads_of(flops, MAY_PAY, limit);
}

/* ---- trying ---------------------------------------------------------------------------------- */

int vg_tuner_tries(double flops, int most) { return !forced && most > 1 && flops < SMALL * most; }

/* The i-th number of threads to try. */
static int candidate(int i, int most) { return 1 << i < most ? 1 << i : most; }

static int n_candidates(int most) {
    int n = 1;
    while (candidate(n - 1, most) < most) n++;
    return n;
}

/* The least number of threads that more would not beat. */
static int best(const vg_tuner *tuner, int most) {
    int found = 0;
    for (int i = 1; i < n_candidates(most); i++)
        if (tuner->seconds[i] * tuner->steps[found] <
            ENOUGH * tuner->seconds[found] * tuner->steps[i])
            found = i;
    return candidate(found, most);
}

static void rest(vg_tuner *tuner, int chosen, double now) {
    tuner->rest = chosen == tuner->chosen ? 4 * tuner->rest : REST_LEAST;
    if (tuner->rest > REST_MOST) tuner->rest = REST_MOST;
    tuner->n_threads = tuner->chosen = chosen;
    tuner->until = now + tuner->rest;
    tuner->half = 0;
}

int vg_tuner_threads(vg_tuner *tuner, double flops, int most, double now) {
    const int n = n_candidates(most);
    if (now < tuner->until) return tuner->n_threads;
    if (tuner->chosen == 0) {
        rest(tuner, threads_of(flops, PAYS, most), now);
    } else if (tuner->half == 4 * n) {
        rest(tuner, best(tuner, most), now);
    } else {
        const int i = tuner->half / 2 % n;
        if (tuner->half < 2 * n) tuner->seconds[i] = tuner->steps[i] = 0;
        tuner->n_threads = candidate(i, most);
        tuner->until = now + HALF_TURN;
        tuner->half++;
    }
    return tuner->n_threads;
}

void vg_tuner_record(vg_tuner *tuner, int most, double seconds, size_t steps) {
    if (tuner->half % 2 == 1 || tuner->half == 0) return;
    const int i = (tuner->half - 1) / 2 % n_candidates(most);
    const double n = (double)steps;
    if (tuner->steps[i] > 0 && seconds * tuner->steps[i] >= tuner->seconds[i] * n) return;
    tuner->seconds[i] = seconds;
    tuner->steps[i] = n;
}

/* ---- backing off ----------------------------------------------------------------------------- */

/* What teams of a kind have shown of late. */
typedef struct {
    int n_threads;          /* in them */
    long long wall, worked; /* nanoseconds of their tasks, and of work in them by all together */
    int most;               /* threads from now on, 0: no limit */
    double until, backoff;  /* seconds: when that ends, and how long it lasts */
} showing;

static showing of_kind[VG_MEASURING];

static const long long WATCHED_NS = 10000000;
static const double BACKOFF_MOST = 1, ENOUGH_WORK = 0.625;

int vg_tuner_allowed(vg_kind kind, int wanted) {
    if (kind == VG_MEASURING || forced) return wanted;
    showing *const s = &of_kind[kind];
    if (s->most > 0 && vg_seconds() > s->until) s->most = 0;
    return s->most > 0 && s->most < wanted ? s->most : wanted;
}

void vg_tuner_assess(vg_kind kind, int n_threads, long long wall, long long worked) {
    if (kind == VG_MEASURING || forced) return;
    showing *const s = &of_kind[kind];
    if (s->n_threads != n_threads) s->wall = s->worked = 0;
    s->n_threads = n_threads;
    s->wall += wall;
    s->worked += worked;
    if (s->wall < WATCHED_NS) return;
    if ((double)s->worked >= ENOUGH_WORK * n_threads * (double)s->wall) {
        if (s->most == 0) s->backoff = 0;
    } else {
        s->backoff = s->backoff > 0 ? 2 * s->backoff : 4e-9 * (double)s->wall;
        if (s->backoff > BACKOFF_MOST) s->backoff = BACKOFF_MOST;
        s->until = vg_seconds() + s->backoff;
        s->most = n_threads - 1;
    }
    s->wall = s->worked = 0;
}
