/* sanitize_kernels.h - part of sanitize.c: every kernel around the edges of its tiles. */

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
    vg_summary *summaries = malloc((m + VG_UNIT_ROWS - 1) / VG_UNIT_ROWS * sizeof(vg_summary));
    uint32_t *tables = calloc(VG_EXPONENT_TABLES * vg_exponent_bins(dtype), sizeof(uint32_t));
    void *const states[VG_STATES_MOST] = {v};
    vg_update update = {
        .rule = VG_MOMENTUM, .lr = 0.1, .hyper = {0.9}, .decay = 0.1, .clip_value = 1, .scale = 1};
    const vg_matrix of_a = {a, m, k, k}, of_at = {at, k, m, m}, of_b = {b, k, n, n};
    const vg_matrix of_c = {c, m, n, n}, of_x = {x, m, n, n};
    kernels->dense_forward(of_a, of_b, bias, vg_activation_of(VG_SIGMOID), of_c, x, &tools);
    kernels->dense_backward(of_a, (vg_matrix){bt, n, k, k}, vg_slope_of(vg_activation_of(VG_TANH)),
                            of_x, of_c, &tools, norms);
    kernels->decoder_forward(of_a, bt, bias, vg_activation_of(VG_SIGMOID), of_c, &tools);
    kernels->decoder_backward(of_a, b, vg_activation_of(VG_TANH), of_x, of_c, &tools);
    kernels->weight_update(of_at, of_b, 0, m, (vg_parameters){.weights = c, .states = states},
                           &update, &tools, (vg_recording){summaries, tables});
    kernels->weight_update(of_at, of_b, 0, m, (vg_parameters){.gradient = c, .begun = c}, &update,
                           &tools, (vg_recording){NULL, NULL});
    tools.ticks = NULL; /* without times and norms, the tiles end in registers */
    kernels->dense_backward(of_a, (vg_matrix){bt, n, k, k}, vg_slope_of(vg_activation_of(VG_TANH)),
                            of_x, of_c, &tools, NULL);
    kernels->dense_backward(of_a, (vg_matrix){bt, n, k, k}, vg_slope_of(vg_activation_of(VG_RELU)),
                            of_x, of_c, &tools, NULL);
    const vg_update plain = {.lr = 0.1, .plain = 1};
    kernels->weight_update(of_at, of_b, 0, m, (vg_parameters){.weights = c}, &plain, &tools,
                           (vg_recording){NULL, NULL});
    free(a), free(at), free(b), free(bt), free(c), free(bias), free(x), free(v), free(scratch),
        free(norms), free(summaries), free(tables);
    return 9;
}

/* Rows x (m, k) of which every third value is kept, and their products. */
static long sparse_products(size_t m, size_t n, size_t k) {
    const vg_kernels *const kernels = vg_kernels_of(dtype);
    int64_t *starts = calloc(m + 1, sizeof *starts);
    int32_t *columns = malloc((m * k + 2) / 3 * sizeof *columns);
    vg_entry *entries = malloc((m * k + 2) / 3 * sizeof *entries);
    size_t n_entries = 0;
    for (size_t i = 0; i < m * k; i++) {
        if (i % 3 == 0) columns[n_entries++] = (int32_t)(i % k);
        starts[i / k + 1] = (int64_t)n_entries;
    }
    size_t sorted = 0;
    for (size_t c = 0; c < k; c++)
        for (size_t r = 0; r < m; r++)
            if ((r * k + c) % 3 == 0) entries[sorted++] = (vg_entry){(uint32_t)c, (uint32_t)r, 0.5};
    void *values = reals(n_entries), *w = reals(k * n), *v = reals(k * n), *bias = reals(n),
         *y = reals(m * n), *d = reals(m * n);
    void *scratch = reals(VG_TILE_SIZE + (n > 8192 / item ? n : 8192 / item));
    const vg_csr csr = {values, columns, starts};
    const vg_sparse_rows x = {.csr = &csr, .rows = m};
    const vg_matrix of_w = {w, k, n, n}, of_y = {y, m, n, n};
    vg_tools tools = {.scratch = scratch};
    vg_summary *summaries = malloc((k + VG_UNIT_ROWS - 1) / VG_UNIT_ROWS * sizeof *summaries);
    vg_statistics statistics;
    const vg_dropout none = vg_dropout_of(1, 0);
    void *const states[VG_STATES_MOST] = {v};
    const vg_parameters of = {.weights = w, .states = states}, begun = {.gradient = w, .begun = w};
    const vg_update plain = {.lr = 0.1, .plain = 1, .clip_value = INFINITY, .scale = 1};
    vg_update update = plain;
    update.plain = 0, update.rule = VG_MOMENTUM;
    kernels->sparse_forward(x, of_w, bias, vg_activation_of(VG_SIGMOID), of_y, d, &tools);
    kernels->statistics(vg_activation_of(VG_SIGMOID), &none, of_y, of_y, (vg_matrix){NULL, m, k, k},
                        &x, &statistics);
    const vg_recording nothing = {NULL, NULL}, recording = {summaries, NULL};
    kernels->sparse_update(entries, n_entries, of_y, 0, k, of, &plain, &tools, nothing);
    kernels->sparse_update(entries, n_entries, of_y, 0, k, of, &update, &tools, nothing);
    kernels->sparse_update(entries, n_entries, of_y, 0, k, of, &update, &tools, recording);
    kernels->sparse_update(entries, n_entries, of_y, 0, k, begun, &plain, &tools, nothing);
    free(starts), free(columns), free(entries), free(values), free(w), free(v), free(bias), free(y),
        free(d), free(scratch), free(summaries);
    return 6;
}

static long vectors(size_t n) {
    const vg_kernels *const kernels = vg_kernels_of(dtype);
    double check = 0, losses[3], correct[3];
    void *x = reals(3 * n), *y = reals(3 * n), *t = reals(3 * n), *one = reals(n);
    const int32_t labels[3] = {0, (int32_t)(n - 1), (int32_t)(n / 2)};
    const int64_t order[3] = {2, 0, 1};
    const double weights[3] = {0.5, 0, 1};
    vg_update update = {.lr = 0.1, .clip_value = INFINITY, .scale = 1};
    vg_summary summary = {0};
    vg_statistics statistics;
    const vg_matrix of_x = {x, 3, n, n}, of_y = {y, 3, n, n}, of_t = {t, 3, n, n};
    const vg_dropout none = vg_dropout_of(1, 0);
    for (int i = 0; i < VG_N_ACTIVATIONS; i++) {
        const vg_dropout dropout = vg_dropout_of(0.5, i % 2);
        kernels->activate(vg_activation_of((vg_phi)i), 3 * n, x, y, t);
        kernels->statistics(vg_activation_of((vg_phi)i), &none, of_y, of_t, of_x, NULL,
                            &statistics);
        kernels->dropout(vg_activation_of((vg_phi)i), of_y, t, &dropout,
                         (vg_key){.seed = 1, .row = n}, &check);
        kernels->statistics(vg_activation_of((vg_phi)i), &dropout, of_t, of_y, of_x, NULL,
                            &statistics);
    }
    for (int i = VG_CROSS_ENTROPY; i <= VG_MSE; i++)
        kernels->loss((vg_loss)i, of_x, (vg_targets){.targets = t, .order = order, .total = 3},
                      losses, correct, y, &check);
    const vg_targets weighted = {
        .labels = labels, .weights = weights, .order = order, .total = 1.5};
    kernels->loss(VG_CROSS_ENTROPY, of_x, (vg_targets){.labels = labels, .total = 3}, losses,
                  correct, y, &check);
    kernels->loss(VG_CROSS_ENTROPY, of_x, weighted, losses, correct, y, &check);
    kernels->exponential(3 * n, x, y);
    kernels->softmax(3, n, x, y);
    kernels->gather(3, n, x, order, y, n, &check);
    kernels->check_finite(n, one, &check);
    kernels->column_sums(3, n, x, n, 0, one);
    kernels->column_sums(3, n, x, n, 1, one);
    for (int i = 0; i < VG_N_RULES; i++) {
        update.rule = (vg_rule)i;
        void *const states[VG_STATES_MOST] = {y, t};
        kernels->update(n, one, x, states, &update, &check, NULL);
        kernels->update(n, one, x, states, &update, &check, &summary);
    }
    (void)kernels->square_norm(n, one);
    kernels->subtract(n, x, y, one);
    kernels->sample(of_x, (vg_key){.seed = 1, .row = n}, of_y);
    kernels->drop(of_x, 0.5, (vg_key){.seed = 1, .step = n}, of_x);
    kernels->renew_penalty(n, one, 3, (vg_sparsity){0.1, 0.2, 0.9}, x, y);
    free(x), free(y), free(t), free(one);
    return 35;
}

/* Near a multiple of `step`, or the least. */
static int edge(size_t n, size_t step) { return n == 1 || n % step <= 1 || n % step == step - 1; }

/* Products around the edges of the tiles: each size of m, n and k up to two tiles and one more,
 * with each edge of the two others; and some for which A or B is copied. */
static long every_edge(void) {
    const vg_kernels *const kernels = vg_kernels_of(dtype);
    const size_t m_step = kernels->tile_rows, n_step = kernels->tile_cols, k_step = kernels->lanes;
    long calls = 0;
    for (size_t m = 1; m <= 2 * m_step + 1; m++)
        for (size_t n = 1; n <= 2 * n_step + 1; n++)
            for (size_t k = 1; k <= 2 * k_step + 1; k++) {
                if (edge(m, m_step) + edge(n, k_step) + edge(k, k_step) < 2) continue;
                calls += products(m, n, k, 0) + (m <= 2 ? products(m, n, k, 1) : 0);
                calls += m <= 3 ? sparse_products(m, n, k) : 0;
            }
    for (size_t n = 1; n <= 2 * n_step + 1; n++) calls += vectors(n);
    calls += sparse_products(7, 300, 100) + sparse_products(5, 3, 3000);
    return calls + products(4 * m_step, 700, 3, 0) + products(700, 700, 5, 0);
}
