/* sanitize.c - run every kernel at every size, and whole trainings, for the sanitizers to watch.
 *
 * Each array is allocated by itself at its exact length, so that one element too far is an error.
 * Argument: "kernels", "training" or "odd". Prints what it did. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"
#include "threads.h"

static size_t item;
static vg_dtype dtype;
static unsigned long long seed = 1;

static void *reals(size_t n) {
    char *const p = malloc(n * item + (n == 0));
    for (size_t i = 0; i < n; i++) {
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        const double x = (double)(seed >> 11) / 9007199254740992.0 - 0.5;
        const float f = (float)x;
        memcpy(p + i * item, dtype == VG_F32 ? (const void *)&f : (const void *)&x, item);
    }
    return p;
}

static long products(size_t m, size_t n, size_t k, int unblocked) {
    const vg_kernels *const kernels = vg_kernels_of(dtype);
    void *a = reals(m * k), *at = reals(k * m), *b = reals(k * n), *bt = reals(n * k),
         *c = reals(m * n);
    void *bias = reals(n), *x = reals(m * n), *v = reals(m * n);
    void *scratch =
        reals(VG_TILE_SIZE + (n > k ? n : k) * VG_TILE_COLS + vg_packed_rows(k, item) * k);
    double ticks = 0;
    vg_tools tools = {.scratch = scratch, .ticks = &ticks, .unblocked = unblocked};
    vg_norm *norms = malloc(m * sizeof(vg_norm));
    vg_summary *summaries = malloc((m + VG_BLOCK_ROWS - 1) / VG_BLOCK_ROWS * sizeof(vg_summary));
    uint32_t *tables = calloc(VG_EXPONENT_TABLES * vg_exponent_bins(dtype), sizeof(uint32_t));
    vg_update update = {
        .lr = 0.1, .momentum = 0.9, .decay = 0.1, .clip_value = 1, .scale = 1, .commit = 1};
    kernels->dense_forward(m, k, n, a, k, b, bias, VG_SIGMOID, c, n, x, &tools);
    kernels->dense_backward(m, n, k, a, k, bt, VG_TANH, x, n, c, n, &tools, norms);
    kernels->weight_update(k, 0, m, n, at, m, b, n, c, v, NULL, &update, &tools, summaries, tables);
    kernels->weight_update(k, 0, m, n, at, m, b, n, NULL, NULL, c, &update, &tools, NULL, NULL);
    free(a), free(at), free(b), free(bt), free(c), free(bias), free(x), free(v), free(scratch),
        free(norms), free(summaries), free(tables);
    return 4;
}

static long vectors(size_t n) {
    const vg_kernels *const kernels = vg_kernels_of(dtype);
    double guard = 0, losses[3], correct[3];
    void *x = reals(3 * n), *y = reals(3 * n), *t = reals(3 * n), *one = reals(n);
    const int32_t labels[3] = {0, (int32_t)(n - 1), (int32_t)(n / 2)};
    const int64_t order[3] = {2, 0, 1};
    vg_update update = {.lr = 0.1, .clip_value = INFINITY, .scale = 1, .commit = 1};
    vg_summary summary = {0};
    vg_statistics statistics;
    for (int i = VG_IDENTITY; i <= VG_LEAKY_RELU; i++) {
        kernels->activate((vg_activation)i, 3 * n, x, y, t);
        kernels->statistics((vg_activation)i, 3, n, y, n, t, n, n, x, n, &statistics);
    }
    for (int i = VG_CROSS_ENTROPY; i <= VG_MSE; i++)
        kernels->loss((vg_loss)i, 3, n, x, n, NULL, t, order, 3, losses, correct, y, &guard);
    kernels->loss(VG_CROSS_ENTROPY, 3, n, x, n, labels, NULL, NULL, 3, losses, correct, y, &guard);
    kernels->exponential(3 * n, x, y);
    kernels->softmax(3, n, x, y);
    kernels->gather(3, n, x, order, y, n, &guard);
    kernels->watch(n, one, &guard);
    kernels->column_sums(3, n, x, n, one);
    kernels->sgd(n, one, x, y, &update, &guard, NULL);
    kernels->sgd(n, one, x, y, &update, &guard, &summary);
    (void)kernels->square_norm(n, one);
    free(x), free(y), free(t), free(one);
    return 27;
}

static size_t below(size_t n) {
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return (size_t)(seed >> 33) % n;
}

/* Two epochs of a net on twice a batch and three rows, and its predictions. */
static long training(const size_t *sizes, size_t n_layers, vg_activation activation, size_t batch,
                     int n_threads, double clip_norm, size_t inspect_every, double lr) {
    const size_t rows = 2 * batch + 3, steps = (rows + batch - 1) / batch, n_out = sizes[n_layers];
    vg_layer *layers = calloc(n_layers, sizeof *layers);
    for (size_t l = 0; l < n_layers; l++) {
        layers[l].n_in = sizes[l];
        layers[l].n_out = sizes[l + 1];
        layers[l].activation = l + 1 < n_layers ? activation : VG_IDENTITY;
    }
    vg_net net = {.dtype = dtype, .loss = VG_CROSS_ENTROPY, .n_layers = n_layers, .layers = layers};
    vg_workspace workspace;
    if (vg_net_lay_out(&net) || vg_workspace_lay_out(&net, batch, n_threads, &workspace)) abort();
    int32_t *labels = malloc(rows * sizeof *labels);
    int64_t *order = malloc(rows * sizeof *order);
    for (size_t i = 0; i < rows; i++) {
        labels[i] = (int32_t)below(n_out);
        order[i] = (int64_t)(rows - 1 - i);
    }
    vg_run run = {
        .net = &net,
        .workspace = &workspace,
        .mode = VG_TRAIN,
        .n_threads = n_threads,
        .x = reals(rows * sizes[0]),
        .labels = labels,
        .order = order,
        .n_rows = rows,
        .batch_size = batch,
        .params = reals(net.n_params),
        .velocity = reals(net.n_params),
        .gradient = reals(net.n_params),
        .memory = reals(workspace.n_elements),
        .notes = malloc(workspace.n_notes * sizeof(double)),
        .losses = malloc(steps * sizeof(double)),
        .correct = malloc(steps * sizeof(double)),
        .sgd = {.lr = lr, .momentum = 0.9, .clip_norm = clip_norm, .clip_value = INFINITY},
        .inspect_every = inspect_every,
        .records = malloc(2 * steps * n_layers * sizeof(vg_record)),
        .times = calloc((size_t)n_threads * (n_layers + 1) * VG_PHASES, sizeof(double)),
        .unblocked = (int)below(2),
        .exponents = calloc(2 * steps * n_layers * vg_exponent_bins(dtype), sizeof(uint32_t)),
    };
    for (size_t epoch = 0; epoch < 2; epoch++) {
        run.step = 0, run.n_steps = steps, run.steps_before = epoch * steps;
        vg_train(&run);
    }
    void *z = reals(rows * n_out), *scratch = reals(vg_forward_scratch(&net, n_threads));
    vg_forward(&net, run.params, run.x, rows, z, scratch, n_threads);
    free((void *)(uintptr_t)run.x), free(run.params), free(run.velocity), free(run.gradient);
    free(run.memory), free(run.notes), free(z), free(scratch), free(layers), free(labels);
    free(order), free(run.losses), free(run.correct), free(run.records), free(run.times);
    free(run.exponents);
    return 1;
}

/* Every mode of the update, inspected or not, in one to four threads. */
static long every_mode(void) {
    static const size_t sizes[] = {13, 60, 51, 4};
    long calls = 0;
    for (int threads = 1; threads <= 4; threads++)
        for (int mode = 0; mode < 12; mode++)
            calls += training(sizes, 3, VG_TANH, 16, threads, mode & 1 ? 0.1 : INFINITY,
                              (size_t)(mode / 2 % 3), mode < 6 ? 0.1 : 1e29);
    return calls;
}

/* Nets of one to six layers, widths 1 to 257, batches of 1 to 130. */
static long odd_nets(int n) {
    long calls = 0;
    while (calls < n) {
        size_t sizes[7];
        const size_t n_layers = 1 + below(6);
        for (size_t l = 0; l <= n_layers; l++) sizes[l] = 1 + below(257);
        calls += training(sizes, n_layers, (vg_activation)below(5), 1 + below(130),
                          1 + (int)below(3), below(2) ? 0.1 : INFINITY, below(3), 0.01);
    }
    return calls;
}

/* Every size around the edges of the tiles, and some for which A or B is copied. */
static long every_size(void) {
    const vg_kernels *const kernels = vg_kernels_of(dtype);
    const size_t m_most = 2 * kernels->tile_rows + 1, n_most = 2 * kernels->tile_cols + 1;
    const size_t k_most = 2 * kernels->lanes + 1;
    long calls = 0;
    for (size_t m = 1; m <= m_most; m++)
        for (size_t n = 1; n <= n_most; n++)
            for (size_t k = 1; k <= k_most; k++)
                calls += products(m, n, k, 0) + (m <= 2 ? products(m, n, k, 1) : 0);
    for (size_t n = 1; n <= n_most; n++) calls += vectors(n);
    return calls + products(4 * kernels->tile_rows, 700, 3, 0) + products(700, 700, 5, 0);
}

int main(int argc, char **argv) {
    const char *const what = argc > 1 ? argv[1] : "";
    vg_team_insist(1);
    int n_isa = 0;
    while (vg_isa_available(n_isa)) n_isa++;
    for (int i = 0; i < n_isa; i++)
        for (int type = 0; type < 2; type++) {
            vg_isa_use(vg_isa_available(i));
            dtype = (vg_dtype)type;
            item = vg_item_size(dtype);
            const long calls = strcmp(what, "kernels") == 0 ? every_size()
                               : strcmp(what, "odd") == 0   ? odd_nets(1 + 1000 / (2 * n_isa))
                                                            : every_mode();
            printf("%s %s: %ld calls\n", vg_isa_name(), dtype == VG_F32 ? "f32" : "f64", calls);
        }
    return 0;
}
