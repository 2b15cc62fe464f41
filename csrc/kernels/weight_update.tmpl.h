/* weight_update.tmpl.h - the gradient of a layer's weights, dW = x^T dy, and the update by it. */

typedef struct {
    real *weights, *gradient; /* of row `first`, and: */
    void *const *states;
    size_t n_out;
    NAME(update_vecs) update;
    vec check;
    NAME(summary_vecs) words;
    vg_summary *summaries; /* one for each VG_UNIT_ROWS rows from `first` on */
    size_t panel;          /* the first column of the tiles that are counted */
    uint32_t *exponents;
} NAME(update_context);

/* The weights of the next tile lie in as many pages as it has rows: fetched while that is summed,
 * they make a step of 784-1000-500-100-10 4 to 7 % shorter, and others change by their noise. */
static inline void NAME(fetch_next)(const real *weights, size_t ld) {
    for (size_t r = 0; r < MR; r++, weights += ld) {
        for (size_t line = 0; line < NR; line += 64 / sizeof(real))
            __builtin_prefetch(weights + line, 1);
        __builtin_prefetch(weights + NR - 1, 1);
    }
}

static void NAME(gradient_epilogue)(void *context, size_t i, size_t j, size_t rows, size_t cols,
                                    real *tile) {
    const NAME(update_context) *const c = context;
    NAME(fetch_next)(c->gradient + (i + rows) * c->n_out + j, c->n_out);
    for (size_t r = 0; r < rows; r++)
        for (size_t v = 0; v < cols; v += LANES)
            v_store_n(c->gradient + (i + r) * c->n_out + j + v, v_load(tile + r * NR + v),
                      cols - v);
}

/* Of a tile's gradient, from row i and column j on. */
static inline NAME(patch)
    NAME(patch_of)(const NAME(update_context) *c, size_t i, size_t j, const real *tile) {
    const size_t at = i * c->n_out + j;
    NAME(patch) patch = {
        .gradient = tile,
        .ld_gradient = NR,
        .params = c->weights + at,
        .ld = c->n_out,
    };
    NAME(set_states)(&patch, c->states, at);
    return patch;
}

static void NAME(update_epilogue)(void *context, size_t i, size_t j, size_t rows, size_t cols,
                                  real *tile) {
    NAME(update_context) *const c = context;
    const NAME(patch) patch = NAME(patch_of)(c, i, j, tile);
    NAME(fetch_next)(patch.params + rows * c->n_out, c->n_out);
    for (size_t k = 0; k < VG_STATES_MOST; k++)
        if (patch.states[k]) NAME(fetch_next)(patch.states[k] + rows * c->n_out, c->n_out);
    c->check = NAME(update_patch)(&patch, &c->update, rows, cols, c->check);
}

/* Flush what has been summed up when a unit of rows begins, and the counts with a panel and now
 * and then: a row adds at most NV to a lane, which can count to 2^24. */
enum { NAME(COUNTED_ROWS) = VG_UNIT_ROWS << 12 };
_Static_assert(NAME(COUNTED_ROWS) *NV < 1 << 24, "lanes of counts would overflow");
static void NAME(begin_unit)(NAME(update_context) *c, size_t i, size_t j) {
    if (j != c->panel || i % NAME(COUNTED_ROWS) == 0) NAME(flush_counts)(&c->words, c->summaries);
    c->panel = j;
    NAME(flush_norms)(&c->words, &c->summaries[i / VG_UNIT_ROWS]);
}

/* For whole tiles the compiler knows how many rows and columns there are. */
static void NAME(inspected_epilogue)(void *context, size_t i, size_t j, size_t rows, size_t cols,
                                     real *tile) {
    NAME(update_context) *const c = context;
    const NAME(patch) patch = NAME(patch_of)(c, i, j, tile);
    if (i % VG_UNIT_ROWS == 0) NAME(begin_unit)(c, i, j);
    NAME(fetch_next)(patch.params + rows * c->n_out, c->n_out);
    if (rows == MR && cols == NR && c->words.plain && c->words.gradient.exponent == 0)
        NAME(recorded_update)(&patch, &c->update, MR, NR, 1, &c->words);
    else
        c->check = NAME(inspected_update)(&patch, &c->update, rows, cols, &c->words, c->check);
    if (c->exponents) NAME(count_exponents)(rows, cols, tile, NR, c->exponents);
}

/* W (m, n) -= lr x d, of one row x (m) and one d (n): each vector of columns down all rows. */
static void NAME(rank_one_update)(size_t m, size_t n, const real *x, const real *d, vec lr,
                                  real *weights) {
    const vec zero = v_zero(); /* 0 + x d is never -0, like any sum */
    for (size_t j = 0; j < n; j += LANES) {
        const vec column = v_load_n(d + j, n - j);
        real *w = weights + j;
        if (n - j >= LANES)
            for (size_t i = 0; i < m; i++, w += n)
                v_store(w, v_fnma(lr, v_fma(v_set(x[i]), column, zero), v_load(w)));
        else
            for (size_t i = 0; i < m; i++, w += n)
                v_store_n(w, v_fnma(lr, v_fma(v_set(x[i]), column, zero), v_load_n(w, n - j)),
                          n - j);
    }
}

/* A few outputs would leave most lanes of a row of dW empty. So its transpose is made, dy^T x, and
 * turned tile by tile into gradient (.., n_out), where what is too much of a row lies under the
 * next. (53 x 3, 21 rows: 387 and 213 ns.) */
typedef struct {
    real *gradient;
    size_t n_out;
} NAME(narrow_context);

static void NAME(narrow_epilogue)(void *context, size_t i, size_t j, size_t rows, size_t cols,
                                  real *tile) {
    const NAME(narrow_context) *const c = context;
    real *to = c->gradient + j * c->n_out;
    (void)i; /* all outputs are in one tile */
    for (size_t v = 0; v < cols; v += LANES) {
        vec columns[LANES];
        v_load_columns(tile + v, NR, rows, LANES, columns);
        for (size_t r = 0; r < LANES && r < cols - v; r++, to += c->n_out) v_store(to, columns[r]);
    }
}

/* The gradient lies where a product of more columns has its panel, and is not larger; the columns
 * of dy may be copied before it, MR of each row. */
static void NAME(narrow_update)(vg_matrix x, vg_matrix dy, real *weights, void *const *states,
                                const vg_update *update, vg_tools *tools) {
    real *const gradient = (real *)tools->scratch + VG_TILE_SIZE + MR * dy.rows;
    const NAME(operands) ab = {.a = dy.p, .a_row = 1, .a_col = dy.ld, .b = x.p, .ldb = x.ld};
    NAME(narrow_context) c = {gradient, dy.cols};
    NAME(gemm)(dy.cols, x.cols, x.rows, &ab, NULL, tools,
               &(NAME(finish)){.epilogue = NAME(narrow_epilogue), .context = &c});
    NAME(update)(x.cols * dy.cols, gradient, weights, states, update, &tools->check, NULL);
}
_Static_assert(MR < VG_TILE_COLS, "the gradient of few outputs must fit a panel");

/* By way of tiles in memory: any update, recorded or not; or the gradient alone. The product is that
 * of ab, k long, or, unless NULL, that of the entries of m columns of x. */
static void NAME(update_by_tiles)(const NAME(operands) *ab, const NAME(sparse_product) *sparse,
                                  size_t m, size_t n, size_t k, vg_parameters parameters,
                                  const vg_update *update, vg_tools *tools,
                                  vg_recording recording) {
    vg_summary *const summaries = recording.summaries;
    NAME(update_context) c; /* `words` only where they are asked for */
    c.weights = parameters.weights;
    c.states = parameters.states;
    c.gradient = parameters.gradient;
    c.n_out = n;
    NAME(set_in_vecs)(update, &c.update);
    c.check = v_zero();
    c.summaries = summaries;
    c.panel = 0;
    c.exponents = recording.exponents;
    if (summaries) c.words = NAME(begin_summary)(summaries, NAME(just_plain)(&c.update));
    const size_t n_units = summaries ? (m + VG_UNIT_ROWS - 1) / VG_UNIT_ROWS : 0;
    for (size_t b = 0; b < n_units; b++) summaries[b] = (vg_summary){0};
    NAME(epilogue) *const epilogue = c.gradient  ? NAME(gradient_epilogue)
                                     : summaries ? NAME(inspected_epilogue)
                                                 : NAME(update_epilogue);
    if (sparse)
        NAME(sparse_tiles)(sparse, tools, epilogue, &c);
    else
        NAME(gemm)(m, n, k, ab, parameters.begun, tools,
                   &(NAME(finish)){.epilogue = epilogue, .context = &c});
    if (summaries) {
        NAME(flush_norms)(&c.words, NULL);
        NAME(flush_counts)(&c.words, summaries);
    }
    for (size_t b = 0; b < n_units; b++) NAME(flush_step)(&c.update, &summaries[b]);
    tools->check += v_sum(c.check);
}

static inline void *NAME(from)(const void *matrix, size_t skip) {
    return matrix ? (real *)(uintptr_t)matrix + skip : NULL;
}

/* The same from so many elements on; states: where they are then. */
static vg_parameters NAME(parameters_from)(const vg_parameters *p, size_t skip, void **states) {
    NAME(states_at)(p, skip, states);
    return (vg_parameters){
        .weights = NAME(from)(p->weights, skip),
        .states = states,
        .gradient = NAME(from)(p->gradient, skip),
        .begun = NAME(from)(p->begun, skip),
    };
}

static void NAME(weight_update)(vg_matrix x, vg_matrix dy, size_t first, size_t last,
                                vg_parameters parameters, const vg_update *update, vg_tools *tools,
                                vg_recording recording) {
    const size_t m = last - first, n = dy.cols;
    void *states[VG_STATES_MOST];
    const vg_parameters p = NAME(parameters_from)(&parameters, first * n, states);
    const vg_matrix rows = {(real *)x.p + first, x.rows, m, x.ld};
    const NAME(operands) ab = {
        .a = rows.p,
        .a_row = 1,
        .a_col = x.ld,
        .b = dy.p,
        .ldb = dy.ld,
        .aligned = recording.summaries != NULL,
    };
    const int alone = !p.gradient && !recording.summaries;
    const int plain = alone && update->plain && update->pass == VG_STORE;
    if (alone && !p.begun && n <= MR && n < LANES && !tools->unblocked)
        NAME(narrow_update)(rows, dy, p.weights, states, update, tools);
    else if (plain && !p.begun && x.rows == 1)
        NAME(rank_one_update)(m, n, rows.p, dy.p, v_set((real)update->lr), p.weights);
    else if (plain)
        NAME(gemm_to_weights)(m, n, x.rows, &ab, p.begun, tools, v_set((real)update->lr),
                              p.weights);
    else
        NAME(update_by_tiles)(&ab, NULL, m, n, x.rows, p, update, tools, recording);
}

/* Only what is recorded goes by tiles: along the rows of W, and of what the rule keeps, there are
 * fewer pages. */
static void NAME(sparse_update)(const vg_entry *entries, size_t n_entries, vg_matrix dy,
                                size_t first, size_t last, vg_parameters parameters,
                                const vg_update *update, vg_tools *tools, vg_recording recording) {
    void *states[VG_STATES_MOST];
    const vg_parameters p = NAME(parameters_from)(&parameters, first * dy.cols, states);
    const NAME(sparse_product) product = {entries, entries + n_entries, first, last, dy};
    if (p.gradient)
        NAME(sparse_gradient)(&product, p.begun != NULL, p.gradient);
    else if (recording.summaries)
        NAME(update_by_tiles)(NULL, &product, last - first, dy.cols, 0, p, update, tools,
                              recording);
    else if (vg_rests(update) && !p.begun)
        NAME(sparse_update_present)(&product, &p, update, tools);
    else
        NAME(sparse_update_all)(&product, &p, update, tools);
}
