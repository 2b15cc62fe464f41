/* sanitize.c - run every kernel around the edges of its tiles, and whole trainings, for the
 * sanitizers to check.
 *
 * Each array is allocated by itself at its exact length, so that one element too far is an error.
 *
 *     driver kernels | training | odd | pretraining | stress [SECONDS]
 *
 * stress: some threads at once, each with nets of its own and one that all share; without SECONDS
 * a few rounds of it. Prints what it did. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"
#include "pretrain/pretrain.h"
#include "team/tuner.h"

static _Thread_local vg_dtype dtype;
static _Thread_local size_t item;
static _Thread_local unsigned long long seed = 1;

static void use_type(int type) {
    dtype = (vg_dtype)type;
    item = vg_item_size(dtype);
}

static unsigned long long drawn(void) {
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return seed;
}
static size_t below(size_t n) { return (size_t)(drawn() >> 33) % n; }

static void *reals(size_t n) {
    char *const p = malloc(n * item + (n == 0));
    for (size_t i = 0; i < n; i++) {
        const double x = (double)(drawn() >> 11) / 9007199254740992.0 - 0.5;
        const float f = (float)x;
        memcpy(p + i * item, dtype == VG_F32 ? (const void *)&f : (const void *)&x, item);
    }
    return p;
}

#include "sanitize_kernels.h"

/* ---- whole trainings ------------------------------------------------------------------------- */

enum { CUTS = 8 };
typedef struct {
    size_t sizes[7], n_layers, batch;
    vg_activation activation;
    vg_rule rule;
    int n_threads;
    double lr, clip_norm;
    size_t inspect_every;
    double seconds; /* after about which a run pauses */
    unsigned cuts;  /* bit i: op i ends its stage; of the first CUTS ops */
    int n_columns;  /* of vg_run */
    double keep;    /* of dropout; 0: there is none */
    int skips;      /* whether layers of equal width are gone around */
    unsigned norms; /* bits: before the activation, RMS, affine, whether any; batch */
    int sparse;     /* whether zeros of x are left out */
} setup;

static int batch_normed(const setup *s) { return (s->norms & 24) == 24; }

static void normalize(vg_plan *plan, const setup *s) {
    const int affine = s->norms >> 2 & 1;
    if (batch_normed(s))
        vg_plan_normalize_batch(plan, 1e-5, affine, 0.1);
    else
        vg_plan_normalize(plan, s->norms & 2 ? VG_OP_RMS_NORM : VG_OP_LAYER_NORM, 1e-5, affine);
}

/* Cut into stages anywhere: with what parts them, barriers, the bits are the same. */
static vg_plan plan_of(const setup *s) {
    vg_plan plan = {
        .dtype = dtype,
        .sparse = s->sparse,
        .ops = calloc(6 * s->n_layers + 3, sizeof(vg_op)),
        .tensors = calloc(3 * s->n_layers + 2, sizeof(vg_tensor)),
        .params = calloc(5 * s->n_layers, sizeof(vg_param)),
        .stages = calloc(6 * s->n_layers + 3, sizeof(vg_stage)),
    };
    vg_plan_input(&plan, s->sizes[0]);
    for (size_t l = 1; l <= s->n_layers; l++) {
        const int before = s->norms & 1, any = s->norms >> 3 & 1;
        const int around = s->skips && l > 1 && l < s->n_layers && s->sizes[l] == s->sizes[l - 1];
        if (around && plan.n_additions == 0) vg_plan_open(&plan);
        if (around) vg_plan_fork(&plan);
        vg_plan_dense(&plan, s->sizes[l], l == s->n_layers || !(any && before && batch_normed(s)));
        if (l == s->n_layers) break;
        if (any && before) normalize(&plan, s);
        vg_plan_activate(&plan, s->activation);
        if (any && !before) normalize(&plan, s);
        if (s->keep > 0) vg_plan_dropout(&plan, s->keep, s->n_layers % 2);
        if (around) vg_plan_add(&plan, 0.5, l % 2);
    }
    vg_plan_loss(&plan, VG_CROSS_ENTROPY);
    for (size_t i = 0; i < plan.n_ops && i < CUTS; i++)
        if (s->cuts >> i & 1) plan.ops[i].ends_stage = 1;
    if (vg_plan_lay_out(&plan)) abort();
    return plan;
}

static void free_plan(vg_plan *plan) {
    free(plan->ops), free(plan->tensors), free(plan->params), free(plan->stages);
}

/* x (rows, n), most of it 0. */
static void *mostly_zeros(size_t rows, size_t n) {
    char *const x = reals(rows * n);
    for (size_t i = 0; i < rows * n; i++)
        if (below(4)) memset(x + i * item, 0, item);
    return x;
}

/* The same without its zeros, and how many values a row has at most. */
static vg_csr without_zeros(const char *x, size_t rows, size_t n, size_t *most) {
    static const double zero = 0;
    int64_t *const starts = calloc(rows + 1, sizeof *starts);
    size_t count = 0;
    *most = 0;
    for (size_t i = 0; i < rows * n; i++) {
        count += memcmp(x + i * item, &zero, item) != 0;
        starts[i / n + 1] = (int64_t)count;
    }
    char *const values = malloc(count * item + 1);
    int32_t *const columns = malloc(count * sizeof *columns + 1);
    for (size_t i = 0, e = 0; i < rows * n; i++) {
        const size_t length = (size_t)(starts[i / n + 1] - starts[i / n]);
        if (length > *most) *most = length;
        if (memcmp(x + i * item, &zero, item) == 0) continue;
        memcpy(values + e * item, x + i * item, item);
        columns[e++] = (int32_t)(i % n);
    }
    return (vg_csr){values, columns, starts};
}

/* Of bits, by FNV-1a on words of 32; goes on from `so_far`. */
static uint64_t digest(uint64_t so_far, const void *p, size_t bytes) {
    const char *const from = p;
    for (size_t i = 0; i < bytes; i += sizeof(uint32_t)) {
        uint32_t word;
        memcpy(&word, from + i, sizeof word);
        so_far = (so_far ^ word) * 1099511628211u;
    }
    return so_far;
}

static uint64_t predicted(const vg_plan *plan, const void *params, const void *x, size_t rows,
                          int n_threads) {
    const size_t n = rows * plan->tensors[plan->n_tensors - 1].cols;
    void *const z = reals(n), *const scratch = malloc(vg_forward_scratch(plan, n_threads) * item);
    vg_forward(plan, params, x, rows, z, scratch, n_threads);
    const uint64_t found = digest(0, z, n * item);
    free(z), free(scratch);
    return found;
}

static uint32_t next_bits(void *state) {
    uint64_t *const s = state;
    *s = *s * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*s >> 32);
}

/* Two epochs of a net on twice a batch and three rows, a gradient from outside, and predictions: what comes out, which
 * depends on neither threads nor pauses, nor on whether zeros are left out. */
static uint64_t training(const setup *s) {
    const size_t rows = 2 * s->batch + 3, steps = (rows + s->batch - 1) / s->batch;
    const size_t part = s->inspect_every || batch_normed(s) ? s->batch : 1 + below(s->batch);
    vg_plan plan = plan_of(s);
    vg_workspace workspace;
    if (vg_workspace_lay_out(&plan, s->batch, part, s->n_threads, &workspace)) abort();
    int32_t *labels = malloc(rows * sizeof *labels);
    double *weights = malloc(rows * sizeof *weights);
    int64_t *order = malloc(rows * sizeof *order);
    for (size_t i = 0; i < rows; i++) labels[i] = (int32_t)below(s->sizes[s->n_layers]);
    for (size_t i = 0; i < rows; i++) weights[i] = (double)below(3);
    uint64_t state = rows, draws[2] = {rows, 0};
    vg_permute(&(vg_bit_generator){.state = &state, .next_uint32 = next_bits}, rows, order);
    const size_t records = 2 * steps * s->n_layers;
    int64_t n_taken = 0;
    size_t most;
    void *const x = mostly_zeros(rows, s->sizes[0]);
    vg_csr csr = without_zeros(x, rows, s->sizes[0], &most);
    const size_t n_entries = most * (workspace.rows < rows ? workspace.rows : rows);
    vg_run run = {
        .plan = &plan,
        .workspace = &workspace,
        .mode = VG_TRAIN,
        .n_threads = s->n_threads,
        .n_columns = s->n_columns,
        .x = s->sparse ? (const void *)&csr : x,
        .entries = malloc((size_t)s->n_threads * 2 * n_entries * sizeof(vg_entry) + 1),
        .n_entries = n_entries,
        .labels = labels,
        .weights = s->batch % 2 ? weights : NULL,
        .draws = draws,
        .order = order,
        .n_rows = rows,
        .batch_size = s->batch,
        .params = reals(plan.n_params + plan.n_running),
        .gradient = reals(plan.n_params),
        .memory = malloc(workspace.n_elements * item),
        .notes = malloc(workspace.n_notes * sizeof(double)),
        .losses = malloc(steps * sizeof(double)),
        .correct = malloc(steps * sizeof(double)),
        .totals = malloc(steps * sizeof(double)),
        .optimizer = {.rule = s->rule,
                      .lr = s->lr,
                      .hyper = {0.9, 0.999, 1e-8},
                      .clip_norm = s->clip_norm,
                      .clip_value = INFINITY,
                      .states = {reals(plan.n_params),
                                 vg_rules[s->rule].states > 1 ? calloc(plan.n_params, item) : NULL},
                      .n_taken = &n_taken},
        .inspect_every = s->inspect_every,
        .records = malloc(records * sizeof(vg_record)),
        .times = calloc((size_t)s->n_threads * (s->n_layers + 1) * VG_PHASES, sizeof(double)),
        .unblocked = (int)below(2),
        .exponents = calloc(records * vg_exponent_bins(dtype), sizeof(uint32_t)),
        .seconds = s->seconds,
    };
    for (size_t epoch = 0; epoch < 2; epoch++) {
        run.step = 0, run.n_steps = steps, run.steps_before = epoch * steps;
        do vg_train(&run);
        while (run.status == VG_PAUSED);
    }
    void *const dz = reals(rows * s->sizes[s->n_layers]);
    run.inspect_every = 0;
    run.n_rows = s->batch;
    run.dz = dz;
    for (int mode = VG_GRADIENT; mode <= VG_APPLY; mode++) { /* a gradient from outside, applied */
        run.mode = (vg_mode)mode;
        run.step = 0, run.n_steps = 1;
        vg_train(&run);
    }
    free(dz);
    run.dz = NULL;
    if (workspace.rows >= s->batch) { /* and the outputs of a step alone */
        run.mode = VG_OUTPUTS;
        run.step = 0;
        vg_train(&run);
    }
    uint64_t found = digest(0, run.params, (plan.n_params + plan.n_running) * item);
    found = digest(found, run.exponents,
                   run.n_records * s->n_layers * vg_exponent_bins(dtype) * sizeof(uint32_t));
    found ^= predicted(&plan, run.params, run.x, rows, s->n_threads);
    free(x), free(run.params), free(run.gradient), free(run.entries);
    free((void *)(uintptr_t)csr.values), free((void *)(uintptr_t)csr.columns);
    free((void *)(uintptr_t)csr.starts);
    free(run.optimizer.states[0]), free(run.optimizer.states[1]);
    free(run.memory), free(run.notes), free_plan(&plan), free(labels), free(order);
    free(weights), free(run.totals);
    free(run.losses), free(run.correct), free(run.records), free(run.times), free(run.exponents);
    return found;
}

/* Every mode of the update, inspected or not, in one thread, unless nothing but races is looked for, and in three. */
static long every_mode(void) {
#ifdef __SANITIZE_THREAD__
    enum { FEWEST = 3 };
#else
    enum { FEWEST = 1 };
#endif
    long calls = 0;
    for (int threads = FEWEST; threads <= 3; threads += 2)
        for (int mode = 0; mode < 24; mode++, calls++) {
            const setup s = {
                .sizes = {13, 60, 51, 4},
                .n_layers = 3,
                .batch = 16,
                .activation = {.phi = VG_TANH},
                .n_threads = threads,
                .rule = mode < 12 ? VG_MOMENTUM : VG_ADAM,
                .lr = mode % 12 < 6 ? 0.1 : 1e29,
                .clip_norm = mode & 1 ? 0.1 : INFINITY,
                .inspect_every = (size_t)(mode / 2 % 3),
                .n_columns = mode % threads,
                .keep = mode % 2 ? 0.5 : 0,
                .norms = (unsigned)(threads + 2 * mode),
                .sparse = mode / 3 % 2,
            };
            training(&s);
        }
    return calls;
}

/* 1 to 2^powers, of each power of two as many. */
static size_t any_size(size_t powers) { return 1 + below((size_t)1 << (1 + below(powers))); }

/* A net of one to six layers, widths 1 to 256, and batches of 1 to 128. */
static setup any_setup(void) {
    setup s = {.n_layers = 1 + below(6), .batch = any_size(7), .lr = 0.01};
    for (size_t l = 0; l <= s.n_layers; l++) s.sizes[l] = any_size(8);
    s.rule = below(2) ? VG_MOMENTUM : VG_ADAMW;
    s.activation = vg_activation_of((vg_phi)below(VG_N_ACTIVATIONS));
    s.n_threads = 1 + (int)below(3);
    s.clip_norm = below(2) ? 0.1 : INFINITY;
    s.inspect_every = below(3);
    s.cuts = (unsigned)below(1 << CUTS);
    s.n_columns = (int)below(4);
    s.keep = below(2) ? 0.7 : 0;
    s.skips = (int)below(2);
    for (size_t l = 2; l < s.n_layers && s.skips; l++) s.sizes[l] = s.sizes[1];
    s.norms = (unsigned)below(32);
    s.sparse = (int)below(2);
    return s;
}

/* One whose batch is taken in chunks. */
enum { LARGE_BATCH = 1024 };
static setup large_batch(void) {
    setup s = any_setup();
    s.batch = LARGE_BATCH + below(300);
    s.cuts = 0;
    for (size_t l = 0; l <= s.n_layers; l++) s.sizes[l] = any_size(4);
    return s;
}

static long odd_nets(void) {
    enum { NETS = 40, LARGE = 2 };
    for (int i = 0; i < NETS + LARGE; i++) {
        const setup s = i < NETS ? any_setup() : large_batch();
        training(&s);
    }
    return NETS + LARGE;
}

static void must_be(uint64_t found, uint64_t expected, const char *what) {
    if (found == expected) return;
    fprintf(stderr, "%s: other bits at another time\n", what);
    abort();
}

#include "sanitize_layers.h"

/* ---- at once --------------------------------------------------------------------------------- */

/* What all threads read. */
typedef struct {
    vg_plan plan;
    void *params, *x;
    size_t rows;
    uint64_t expected;
} shared_net;

enum { THREADS = 4, ROUNDS = 4, MOST_TASK_THREADS = 5 };

typedef struct {
    const shared_net *shared; /* one of each type */
    unsigned long long seed;
    double until; /* 0: so many ROUNDS */
    long calls;
} stress;

/* Train a net twice, with any number of threads and any pauses; predict by the shared one. */
static void *stressed(void *argument) {
    stress *const self = argument;
    seed = self->seed;
    for (int i = 0; self->until > 0 ? vg_seconds() < self->until : i < ROUNDS; i++) {
        use_type(i % 2);
        const shared_net *const shared = &self->shared[dtype];
        setup s = below(20) ? any_setup() : large_batch();
        const int in_stages = s.batch < LARGE_BATCH;
        uint64_t found[2];
        const unsigned long long from = drawn();
        for (unsigned t = 0; t < 2; t++) {
            s.n_threads = 1 + (int)below(MOST_TASK_THREADS);
            s.seconds = below(2) ? 1e-4 : 0;
            s.cuts = in_stages ? (unsigned)below(256) : 0;
            s.n_columns = (int)below(4);
            s.sparse = (int)below(2);
            const unsigned long long after = drawn();
            seed = from;
            found[t] = training(&s);
            seed = after;
            must_be(predicted(&shared->plan, shared->params, shared->x, shared->rows,
                              1 + (int)below(MOST_TASK_THREADS)),
                    shared->expected, "predicting");
        }
        must_be(found[0], found[1], "training");
        self->calls += 4;
    }
    return NULL;
}

static long all_at_once(double seconds) {
    const setup s = {.sizes = {70, 90, 50, 10}, .n_layers = 3, .activation = {.phi = VG_SIGMOID}};
    shared_net shared[2];
    for (int type = 0; type < 2; type++) {
        use_type(type);
        shared_net *const of = &shared[type];
        *of = (shared_net){.plan = plan_of(&s), .rows = 3 * VG_FORWARD_ROWS + 5};
        of->params = reals(of->plan.n_params + of->plan.n_running);
        of->x = reals(of->rows * s.sizes[0]);
        of->expected = predicted(&of->plan, of->params, of->x, of->rows, 1);
    }
    const double until = seconds > 0 ? vg_seconds() + seconds : 0;
    stress each[THREADS];
    pthread_t ids[THREADS];
    for (int t = 0; t < THREADS; t++) {
        each[t] = (stress){.shared = shared, .seed = drawn(), .until = until};
        if (pthread_create(&ids[t], NULL, stressed, &each[t]) != 0) abort();
    }
    long calls = 0;
    for (int t = 0; t < THREADS; t++) {
        pthread_join(ids[t], NULL);
        calls += each[t].calls;
    }
    for (int type = 0; type < 2; type++)
        free_plan(&shared[type].plan), free(shared[type].params), free(shared[type].x);
    return calls;
}

int main(int argc, char **argv) {
    const char *const what = argc > 1 ? argv[1] : "";
    const int stressing = strcmp(what, "stress") == 0;
    int n_isa = 0;
    while (vg_isa_available(n_isa)) n_isa++;
    vg_tuner_force(!stressing); /* as many threads as asked for; else as in use */
    for (int i = 0; i < n_isa; i++) {
        vg_isa_use(vg_isa_available(i));
        if (stressing) {
            const double seconds = argc > 2 ? atof(argv[2]) / n_isa : 0;
            printf("%s, %d threads: %ld calls\n", vg_isa_name(), THREADS, all_at_once(seconds));
            continue;
        }
        for (int type = 0; type < 2; type++) {
            use_type(type);
            const long calls = strcmp(what, "kernels") == 0       ? every_edge()
                               : strcmp(what, "odd") == 0         ? odd_nets()
                               : strcmp(what, "pretraining") == 0 ? odd_layers()
                                                                  : every_mode();
            printf("%s %s: %ld calls\n", vg_isa_name(), type == 0 ? "f32" : "f64", calls);
        }
    }
    return 0;
}
