/* sanitize_layers.h - part of sanitize.c: layers that learn without labels. */

typedef struct {
    vg_pretrain_kind kind;
    size_t m, n, batch, k;
    int gaussian, draws_visible, persistent, sparse, shuffled, keeps_velocity;
    vg_loss loss;
    double keep;
} layer;

static layer any_layer(void) {
    return (layer){
        .kind = below(2) ? VG_RBM : VG_AUTOENCODER,
        .m = any_size(8),
        .n = any_size(8),
        .batch = any_size(5),
        .k = 1 + below(3),
        .gaussian = below(4) == 0,
        .draws_visible = (int)below(2),
        .persistent = (int)below(2),
        .sparse = (int)below(2),
        .shuffled = (int)below(2),
        .keeps_velocity = (int)below(2),
        .loss = below(2) ? VG_MSE : VG_BINARY_CROSS_ENTROPY,
        .keep = below(2) ? 1 : 0.7,
    };
}

static uint64_t propagated(const layer *l, const void *params, const void *x, size_t rows, int down,
                           int n_threads) {
    vg_propagation p = {
        .dtype = dtype,
        .m = l->m,
        .n = l->n,
        .rows = rows,
        .down = down,
        .activation = {.phi = VG_SIGMOID},
        .weights = params,
        .biases = (const char *)params + (l->m * l->n + (down ? l->n : 0)) * item,
        .x = x,
        .y = malloc(rows * (down ? l->m : l->n) * item),
    };
    p.scratch = malloc(vg_propagation_scratch(&p, n_threads) * item);
    vg_propagate(&p, n_threads);
    const uint64_t found = digest(down ? 0 : propagated(l, params, p.y, rows, 1, n_threads), p.y,
                                  rows * (down ? l->m : l->n) * item);
    free(p.y), free(p.scratch);
    return found;
}

/* Two epochs on twice a batch and three rows, and these up and down again: what comes out, which
 * depends on neither threads nor pauses, nor on what was in memory before. */
static uint64_t pretrained(const layer *l, int n_threads, double seconds) {
    const int is_machine = l->kind == VG_RBM, draws_visible = l->draws_visible && !l->gaussian;
    const size_t rows = 2 * l->batch + 3, steps = (rows + l->batch - 1) / l->batch;
    const size_t n_params = l->m * l->n + l->n + l->m, k = is_machine ? l->k : 1;
    vg_pretrain_workspace workspace;
    if (vg_pretrain_lay_out(dtype, l->m, l->n, l->batch, k, n_threads, &workspace)) abort();
    int64_t *const order = malloc(rows * sizeof *order);
    for (size_t i = 0; i < rows; i++) order[i] = (int64_t)(rows - 1 - i);
    vg_pretrain_record record;
    vg_pretrain run = {
        .workspace = &workspace,
        .kind = l->kind,
        .n_threads = n_threads,
        .seed = drawn(),
        .k = l->k,
        .gaussian = l->gaussian,
        .draws_visible = draws_visible,
        .chains = is_machine && l->persistent ? calloc(l->batch * workspace.ldn, item) : NULL,
        .penalty = is_machine ? calloc(l->n, item) : NULL,
        .activity = is_machine && l->sparse ? calloc(l->n, item) : NULL,
        .target = 0.1,
        .cost = 0.2,
        .decay = 0.9,
        .loss = l->loss,
        .scale = (double)l->m,
        .keep = l->keep,
        .x = reals(rows * l->m),
        .order = l->shuffled ? order : NULL,
        .n_rows = rows,
        .batch_size = l->batch,
        .params = reals(n_params),
        .memory = malloc(workspace.n_elements * item),
        .notes = malloc(workspace.n_notes * sizeof(double)),
        .optimizer = {.rule = l->keeps_velocity ? VG_MOMENTUM : VG_SGD,
                      .lr = 0.01,
                      .hyper = {0.9},
                      .weight_decay = l->shuffled ? 0.1 : 0,
                      .states = {l->keeps_velocity ? calloc(n_params, item) : NULL}},
        .losses = malloc(steps * sizeof(double)),
        .record = &record,
        .seconds = seconds,
    };
    memset(run.memory, 0xFF, workspace.n_elements * item); /* NaN */
    uint64_t found = 0;
    for (size_t epoch = 0; epoch < 2; epoch++) {
        run.step = 0, run.n_steps = steps, run.steps_before = epoch * steps;
        do vg_pretrain_run(&run);
        while (run.status == VG_PAUSED);
        if (run.status != VG_DONE) abort();
        found = digest(found, &record, sizeof record);
        if (!is_machine) found = digest(found, run.losses, steps * sizeof(double));
    }
    found = digest(found, run.params, n_params * item);
    found ^= propagated(l, run.params, run.x, rows, 0, n_threads);
    free((void *)(uintptr_t)run.x), free(run.params), free(run.memory), free(run.notes);
    free(run.chains), free(run.penalty), free(run.activity), free(run.optimizer.states[0]);
    free(run.losses), free(order);
    return found;
}

/* Layers of any size and kind, each in one to four threads, with pauses after each step or none. */
static long odd_layers(void) {
    enum { LAYERS = 20 };
    for (int i = 0; i < LAYERS; i++) {
        const layer l = any_layer();
        const unsigned long long from = drawn();
        const uint64_t alone = pretrained(&l, 1, 0);
        for (int threads = 2; threads <= 4; threads++) {
            seed = from;
            must_be(pretrained(&l, threads, threads % 2 ? 0 : 1e-9), alone, "pre-training");
        }
    }
    return 4 * LAYERS;
}
