/* limits.c - what the machine can do at best: operations, bytes, and barriers. */
#define _GNU_SOURCE /* for nanosleep */
#include "limits/limits.h"

#include "kernels.h"
#include "team/team.h"

/* A processor runs at full speed some microseconds after the first wide instructions: what is done
 * in the first of these times, in seconds, does not count. */
static const double WARM_UP = 1e-3, LONG_ENOUGH = 10e-3, SHORT = 3e-3;

typedef struct {
    const vg_kernels *kernels;
    vg_activation activation;
    vg_access access;
    char *memory;
    size_t bytes; /* each thread's */
    size_t item;
    double rates[VG_THREADS_MOST];
    int n_threads; /* that took part */
} call;

/* A thread's rate, once all are done; that of all together goes to the first. */
static void tell_rate(call *c, int thread, int n_threads, double rate) {
    c->rates[thread] = rate;
    vg_team_barrier(n_threads);
    if (thread > 0) return;
    c->n_threads = n_threads;
    for (int t = 1; t < n_threads; t++) c->rates[0] += c->rates[t];
}

/* The rate of what a thread does again and again. (No barrier before it: who waits for a thread
 * that has yet to wake up falls asleep, and may itself wake up on that one's processor; two threads
 * then did 1.1 threads' work.) */
typedef double turn(call *c, int thread);

static void measure_rate(call *c, int thread, int n_threads, double long_enough, turn *turn) {
    double done = 0, passed = 0;
    for (const double start = vg_seconds(); vg_seconds() - start < WARM_UP;) turn(c, thread);
    for (const double start = vg_seconds(); passed < long_enough; passed = vg_seconds() - start)
        done += turn(c, thread);
    tell_rate(c, thread, n_threads, done / passed);
}

static double rate_of(double value, int wanted, int n_threads) {
    return n_threads == wanted ? value : -value;
}

/* ---- operations ------------------------------------------------------------------------------ */

static double fma_turn(call *c, int thread) {
    (void)thread;
    double sink = 1;
    return c->kernels->fma_loop(20000, &sink);
}
static void fma_task(void *context, int thread, int n_threads) {
    measure_rate(context, thread, n_threads, LONG_ENOUGH, fma_turn);
}

double vg_fma_peak(const char *isa, vg_dtype dtype, int n_threads) {
    call c = {.kernels = vg_kernels_named(isa, dtype)};
    if (!c.kernels) return 0;
    vg_team_run(fma_task, &c, n_threads, VG_MEASURING);
    return rate_of(c.rates[0], n_threads, c.n_threads);
}

/* Of middle size; each thread's operands: x, W, b, y and scratch. */
enum { PRODUCT_K = 256, PRODUCT_TILES = 4, PRODUCT_ROWS = PRODUCT_TILES * VG_TILE_ROWS };
enum {
    PRODUCT_SIZE = PRODUCT_ROWS * PRODUCT_K + PRODUCT_K * VG_TILE_COLS + VG_TILE_COLS +
    PRODUCT_ROWS * VG_TILE_COLS + VG_TILE_SIZE + PRODUCT_K * VG_TILE_COLS
};
size_t vg_product_peak_memory(int n_threads) { return (size_t)n_threads * PRODUCT_SIZE; }

static double product_turn(call *c, int thread) {
    const vg_kernels *const k = c->kernels;
    const size_t rows = PRODUCT_TILES * k->tile_rows, cols = k->tile_cols;
    char *const x = c->memory + (size_t)thread * PRODUCT_SIZE * c->item;
    char *const w = x + PRODUCT_ROWS * PRODUCT_K * c->item;
    char *const b = w + PRODUCT_K * VG_TILE_COLS * c->item, *const y = b + VG_TILE_COLS * c->item;
    vg_tools tools = {.scratch = y + PRODUCT_ROWS * VG_TILE_COLS * c->item};
    for (int i = 0; i < 4; i++)
        k->dense_forward((vg_matrix){x, rows, PRODUCT_K, PRODUCT_K},
                         (vg_matrix){w, PRODUCT_K, cols, cols}, b, vg_activation_of(VG_IDENTITY),
                         (vg_matrix){y, rows, cols, cols}, NULL, &tools);
    return 8.0 * (double)(rows * cols) * PRODUCT_K;
}
static void product_task(void *context, int thread, int n_threads) {
    measure_rate(context, thread, n_threads, LONG_ENOUGH, product_turn);
}

double vg_product_peak(vg_dtype dtype, void *memory, int n_threads) {
    call c = {.kernels = vg_kernels_of(dtype), .item = vg_item_size(dtype), .memory = memory};
    vg_team_run(product_task, &c, n_threads, VG_MEASURING);
    return rate_of(c.rates[0], n_threads, c.n_threads);
}

/* In and out of the L1 cache. */
enum { FUNCTION_VALUES = 512 };

static double function_turn(call *c, int thread) {
    double z[FUNCTION_VALUES], y[FUNCTION_VALUES], derivatives[FUNCTION_VALUES];
    (void)thread;
    for (int i = 0; i < FUNCTION_VALUES; i++) z[i] = 0;
    for (int i = 0; i < 20; i++)
        c->kernels->activate(c->activation, FUNCTION_VALUES, z, y, derivatives);
    return 20 * FUNCTION_VALUES;
}
static void function_task(void *context, int thread, int n_threads) {
    measure_rate(context, thread, n_threads, SHORT, function_turn);
}

double vg_function_peak(vg_dtype dtype, vg_activation activation, int n_threads) {
    call c = {.kernels = vg_kernels_of(dtype), .activation = activation};
    vg_team_run(function_task, &c, n_threads, VG_MEASURING);
    return rate_of(c.rates[0], n_threads, c.n_threads);
}

enum { LINE = 64 };

/* ---- bytes ----------------------------------------------------------------------------------- */

static double memory_turn(call *c, int thread) {
    char *const mine = c->memory + (size_t)thread * c->bytes;
    const size_t n = c->bytes / sizeof(float);
    double done = 0;
    /* Of small pieces many, so that the clock is not read too often. */
    do {
        if (c->access == VG_READ)
            c->kernels->read_loop(n, mine);
        else
            c->kernels->write_loop(n, mine);
        done += (double)c->bytes;
    } while (done < 1 << 18);
    return done;
}
static void memory_task(void *context, int thread, int n_threads) {
    call *const c = context;
    /* Written first: untouched pages would all be one. */
    c->kernels->write_loop(c->bytes / sizeof(float), c->memory + (size_t)thread * c->bytes);
    measure_rate(c, thread, n_threads, SHORT, memory_turn);
}

/* By the widest instructions, or they would be the limit in the nearest caches. */
static call with_memory(void *memory, size_t bytes) {
    int widest = 0;
    while (vg_isa_available(widest + 1)) widest++;
    const vg_kernels *const kernels = vg_kernels_named(vg_isa_available(widest), VG_F32);
    return (call){.kernels = kernels, .memory = memory, .bytes = bytes};
}

double vg_bandwidth(vg_access access, void *memory, size_t bytes, int n_threads) {
    call c = with_memory(memory, bytes);
    c.access = access;
    vg_team_run(memory_task, &c, n_threads, VG_MEASURING);
    return rate_of(c.rates[0], n_threads, c.n_threads);
}

/* Line by line down the columns of a matrix, as products read panels and write tiles. */
enum { EXCHANGES = 100, ROW = 1024 };

static double read_columns(const char *matrix, size_t bytes) {
    double sum = 0;
    for (size_t column = 0; column < ROW; column += LINE)
        for (size_t row = 0; row < bytes; row += ROW)
            sum += *(const double *)(const void *)(matrix + row + column);
    return sum;
}
static void write_columns(char *matrix, size_t bytes, double value) {
    for (size_t column = 0; column < ROW; column += LINE)
        for (size_t row = 0; row < bytes; row += ROW)
            *(double *)(void *)(matrix + row + column) = value;
}

static void exchange_task(void *context, int thread, int n_threads) {
    call *const c = context;
    char *const mine = c->memory + (size_t)thread * c->bytes;
    const char *const others = c->memory + (size_t)((thread + 1) % n_threads) * c->bytes;
    double passed = 0, value = 0;
    for (int i = -EXCHANGES; i < EXCHANGES; i++) { /* the first half to warm up */
        const double start = vg_seconds();
        write_columns(mine, c->bytes, value);
        const double written = vg_seconds();
        vg_team_barrier(n_threads);
        const double met = vg_seconds();
        value = read_columns(others, c->bytes);
        if (i >= 0) passed += vg_seconds() - met + written - start;
        vg_team_barrier(n_threads);
    }
    tell_rate(c, thread, n_threads, 2 * EXCHANGES * (double)c->bytes / passed);
}

double vg_exchange_bandwidth(void *memory, size_t bytes, int n_threads) {
    call c = with_memory(memory, bytes);
    vg_team_run(exchange_task, &c, n_threads, VG_MEASURING);
    return rate_of(c.rates[0], n_threads, c.n_threads);
}

/* A ring through all lines of the memory in random order, so that nothing can be fetched ahead
 * (Sattolo, "An algorithm to generate a random cyclic permutation", 1986). */
static void **lay_ring(char *memory, size_t lines, uint32_t *order) {
    uint64_t seed = 1;
    for (size_t i = 0; i < lines; i++) order[i] = (uint32_t)i;
    for (size_t i = lines - 1; i > 0; i--) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        const size_t other = (size_t)(seed >> 32) % i;
        const uint32_t line = order[i];
        order[i] = order[other];
        order[other] = line;
    }
    for (size_t i = 0; i < lines; i++)
        *(void **)(void *)(memory + i * LINE) = memory + (size_t)order[i] * LINE;
    return (void **)(void *)memory;
}

double vg_latency(void *memory, size_t bytes, uint32_t *order) {
    enum { TURNS = 4096 };
    void **here = lay_ring(memory, bytes / LINE, order);
    double loads = 0, passed = 0;
    for (const double start = vg_seconds(); vg_seconds() - start < WARM_UP;)
        for (int i = 0; i < TURNS; i++) here = *here;
    for (const double start = vg_seconds(); passed < SHORT; passed = vg_seconds() - start) {
        for (int i = 0; i < TURNS; i++) here = *here;
        loads += TURNS;
    }
    return here ? passed / loads : 0; /* so that the walk cannot be left out */
}

/* ---- barriers -------------------------------------------------------------------------------- */

enum { BARRIERS = 1000 };

typedef struct {
    double seconds;
    int n_threads; /* that took part */
} barrier_call;

static void meeting_task(void *context, int thread, int n_threads) {
    barrier_call *const c = context;
    vg_team_barrier(n_threads);
    const double start = vg_seconds();
    for (int i = 0; i < BARRIERS; i++) vg_team_barrier(n_threads);
    if (thread == 0) *c = (barrier_call){(vg_seconds() - start) / BARRIERS, n_threads};
}

double vg_barrier_seconds(int n_threads) {
    barrier_call c;
    vg_team_run(meeting_task, &c, n_threads, VG_MEASURING);
    return rate_of(c.seconds, n_threads, c.n_threads);
}

static void no_task(void *context, int thread, int n_threads) {
    if (thread == 0) ((barrier_call *)context)->n_threads = n_threads;
}

double vg_waking_seconds(int n_threads) {
    const struct timespec rest = {0, 300000}; /* by then the workers sleep */
    barrier_call c;
    vg_team_run(no_task, &c, n_threads, VG_MEASURING);
    nanosleep(&rest, NULL);
    const double start = vg_seconds();
    vg_team_run(no_task, &c, n_threads, VG_MEASURING);
    return rate_of(vg_seconds() - start, n_threads, c.n_threads);
}
