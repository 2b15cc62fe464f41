/* dense.tmpl.h - the dense layer: y = phi(x W + b), dx = (dy W^T) * phi', dW = x^T dy. Each is
 * one matrix product whose epilogue finishes a tile while it is in the L1 cache. */

/* Rows of a shuffled batch lie anywhere in memory: while one is copied, the row is fetched whose
 * turn comes a page later. (10 rows of 784: 3.2 and 1.9 us.) */
static void NAME(gather)(size_t rows, size_t n, const void *from, const int64_t *order, void *to,
                         size_t ld, double *check) {
    enum { LINE = 64 / sizeof(real) };
    const vec scale = NAME(check_scale)(0);
    const size_t ahead = 1 + 4096 / (n * sizeof(real));
    vec in_lanes = v_zero();
    for (size_t r = 0; r < rows; r++) {
        const size_t later = r + ahead < rows ? r + ahead : rows - 1;
        const real *const source = (const real *)from + (order ? (size_t)order[r] : r) * n;
        const real *const next = (const real *)from + (order ? (size_t)order[later] : later) * n;
        real *const row = (real *)to + r * ld;
        size_t j = 0;
        for (; n - j >= LINE; j += LINE) {
            __builtin_prefetch(next + j);
            for (size_t i = j; i < j + LINE; i += LANES) {
                const vec x = v_load(source + i);
                in_lanes = NAME(check_finite)(in_lanes, x, scale);
                v_store(row + i, x);
            }
        }
        for (; j < n; j += LANES) {
            const vec x = v_load_n(source + j, n - j);
            in_lanes = NAME(check_finite)(in_lanes, x, scale);
            v_store_n(row + j, x, n - j);
        }
    }
    *check += v_sum(in_lanes);
}

typedef struct {
    const real *biases;
    vg_activation activation;
    real *y;
    size_t ldy;
    real *derivatives;
    vec check, scale;
} NAME(forward_context);

/* One vector of columns, of which n exist, down COUNT rows of a tile. */
SIDE_BY_SIDE NAME(forward_rows)(const int count, const vg_activation kind, const size_t n,
                                const real *tile, vec bias, size_t ld, real *y, real *derivatives,
                                vec scale, vec *check) {
    vec z[GROUP], a[GROUP], derivative[GROUP];
    EACH z[k] = v_add(v_load(tile + k * NR), bias);
    NAME(phi)(count, kind, z, a, derivatives ? derivative : NULL);
    EACH *check = NAME(check_finite)(*check, a[k], scale);
    EACH v_store_n(y + (size_t)k * ld, a[k], n);
    if (derivatives) EACH v_store_n(derivatives + (size_t)k * ld, derivative[k], n);
}

/* Down all rows. Whole tiles are made of whole groups: of 6 rows, 4 and twice 1 take 1.15 times as
 * long as twice 3. */
enum { NAME(ROWS) = MR % 4 == 0 ? 4 : 3 };
_Static_assert(MR % NAME(ROWS) == 0 && NAME(ROWS) <= GROUP, "rows would be left over in each tile");
#define ROWS(count)                                                                                \
    NAME(forward_rows)(count, kind, n, tile + r * NR, bias, c->ldy, y + r * c->ldy,                \
                       derivatives ? derivatives + r * c->ldy : NULL, c->scale, &check)
SIDE_BY_SIDE NAME(forward_column)(const vg_activation kind, NAME(forward_context) *c, size_t rows,
                                  const size_t n, const real *tile, const real *biases, real *y,
                                  real *derivatives) {
    const vec bias = v_load_n(biases, n);
    vec check = c->check;
    size_t r = 0;
    for (; rows - r >= NAME(ROWS); r += NAME(ROWS)) ROWS(NAME(ROWS));
    for (; r < rows; r++) ROWS(1);
    c->check = check;
}
#undef ROWS

/* A loop for each activation, with phi' stored or not, of whole vectors or not. */
#define COLUMN(kind, n, derivatives)                                                               \
    NAME(forward_column)(kind, c, rows, n, tile + v, c->biases + j + v, c->y + at, derivatives)
#define FORWARD(kind, form)                                                                        \
    for (size_t v = 0; v < cols; v += LANES) {                                                     \
        const size_t at = i * c->ldy + j + v;                                                      \
        if (form == VG_STORED && c->derivatives && cols - v >= LANES)                              \
            COLUMN(kind, LANES, c->derivatives + at);                                              \
        else if (form == VG_STORED && c->derivatives)                                              \
            COLUMN(kind, cols - v, c->derivatives + at);                                           \
        else if (cols - v >= LANES)                                                                \
            COLUMN(kind, LANES, NULL);                                                             \
        else                                                                                       \
            COLUMN(kind, cols - v, NULL);                                                          \
    }
static void NAME(forward_epilogue)(void *context, size_t i, size_t j, size_t rows, size_t cols,
                                   real *tile) {
    NAME(forward_context) *const c = context;
    BY_ACTIVATION(c->activation, FORWARD);
}
#undef FORWARD
#undef COLUMN

static inline
    __attribute__((always_inline)) void NAME(forward)(const NAME(operands) *ab, size_t n_in,
                                                      const void *biases, vg_activation activation,
                                                      vg_matrix y, void *derivatives,
                                                      vg_tools *tools) {
    NAME(forward_context) c = {
        .biases = biases,
        .activation = activation,
        .y = y.p,
        .ldy = y.ld,
        .derivatives = derivatives,
        .check = v_zero(),
        .scale = NAME(check_scale)(0),
    };
    NAME(finish) finish;
    finish.epilogue = NAME(forward_epilogue);
    finish.context = &c;
    finish.to = y.p;
    finish.source = derivatives;
    finish.ld = finish.ld_source = y.ld;
    NAME(gemm)(y.rows, y.cols, n_in, ab, NULL, tools, &finish);
    tools->check += v_sum(c.check);
}

static void NAME(dense_forward)(vg_matrix x, vg_matrix weights, const void *biases,
                                vg_activation activation, vg_matrix y, void *derivatives,
                                vg_tools *tools) {
    const NAME(operands) ab = {
        .a = x.p, .a_row = x.ld, .a_col = 1, .b = weights.p, .ldb = weights.ld};
    NAME(forward)(&ab, x.cols, biases, activation, y, derivatives, tools);
}

static void NAME(decoder_forward)(vg_matrix x, const void *weights, const void *biases,
                                  vg_activation activation, vg_matrix y, vg_tools *tools) {
    const NAME(operands) ab = {
        .a = x.p, .a_row = x.ld, .a_col = 1, .b = weights, .ldb = x.cols, .transposed = 1};
    NAME(forward)(&ab, x.cols, biases, activation, y, NULL, tools);
}

typedef struct {
    vg_derivative form;
    vec alpha;
    const real *source;
    size_t ld_source;
    real *dx;
    size_t lddx;
    vg_norm *norms;
    NAME(squares) squares;
    vec check, scale;
} NAME(backward_context);

static inline __attribute__((always_inline)) void NAME(backward_column)(
    const vg_derivative form, NAME(backward_context) *c, size_t rows, const size_t n,
    const real *source, real *dx, const real *tile) {
    const vec alpha = c->alpha;
    vec check = c->check;
    for (size_t r = 0; r < rows; r++, source += c->ld_source, dx += c->lddx, tile += NR) {
        const vec d = v_mul(v_load(tile), NAME(derivative_of)(form, v_load_n(source, n), alpha));
        check = NAME(check_finite)(check, d, c->scale);
        v_store_n(dx, d, n);
    }
    c->check = check;
}

#define BACKWARD(form)                                                                             \
    for (size_t v = 0; v < cols; v += LANES) {                                                     \
        const real *const source = c->source + i * c->ld_source + j + v;                           \
        real *const dx = c->dx + i * c->lddx + j + v;                                              \
        if (cols - v >= LANES)                                                                     \
            NAME(backward_column)(form, c, rows, LANES, source, dx, tile + v);                     \
        else                                                                                       \
            NAME(backward_column)(form, c, rows, cols - v, source, dx, tile + v);                  \
    }
static void NAME(backward_epilogue)(void *context, size_t i, size_t j, size_t rows, size_t cols,
                                    real *tile) {
    NAME(backward_context) *const c = context;
    if (c->norms && cols == NR)
        NAME(add_to_rows)(&c->squares, rows, NR, tile, j == 0, c->norms + i);
    else if (c->norms)
        NAME(add_to_rows)(&c->squares, rows, cols, tile, j == 0, c->norms + i);
    BY_DERIVATIVE(c->form, BACKWARD);
}
#undef BACKWARD

/* By way of tiles in memory, whose rows' norms are taken and whose epilogues are timed. */
static void NAME(backward_by_tiles)(const NAME(operands) *ab, vg_matrix dy,
                                    vg_activation activation, vg_matrix source, vg_matrix dx,
                                    vg_tools *tools, vg_norm *norms) {
    NAME(backward_context) c = {
        .form = vg_activations[activation].derivative,
        .alpha = v_set((real)vg_activations[activation].alpha),
        .source = source.p,
        .ld_source = source.ld,
        .dx = dx.p,
        .lddx = dx.ld,
        .norms = norms,
        .squares = NAME(no_squares)(),
        .check = v_zero(),
        .scale = NAME(check_scale)(0),
    };
    NAME(gemm)(dy.rows, dx.cols, dy.cols, ab, NULL, tools,
               &(NAME(finish)){.epilogue = NAME(backward_epilogue), .context = &c});
    tools->check += v_sum(c.check);
}

/* phi' left of 0, where it is not stored; right of it, it is 1. */
static real NAME(left_slope)(vg_activation activation) {
    switch (vg_activations[activation].derivative) {
        case VG_STEP: return 0;
        case VG_LEAK: return (real)vg_activations[activation].alpha;
        case VG_ONE:
        case VG_STORED: break;
    }
    return 1;
}

static void NAME(backward)(const NAME(operands) *ab, vg_matrix dy, vg_activation activation,
                           vg_matrix source, vg_matrix dx, vg_tools *tools, vg_norm *norms) {
    if (norms || tools->ticks) {
        NAME(backward_by_tiles)(ab, dy, activation, source, dx, tools, norms);
        return;
    }
    NAME(finish) finish = {
        .alpha = v_set(NAME(left_slope)(activation)),
        .check = v_zero(),
        .scale = NAME(check_scale)(0),
        .to = dx.p,
        .ld = dx.ld,
        .source = source.p,
        .ld_source = source.ld,
    };
    const int stored = vg_stores_derivative(activation);
    NAME(gemm_to_deltas)(dy.rows, dx.cols, dy.cols, ab, tools, stored, &finish);
    tools->check += v_sum(finish.check);
}

static void NAME(dense_backward)(vg_matrix dy, vg_matrix weights, vg_activation activation,
                                 vg_matrix source, vg_matrix dx, vg_tools *tools, vg_norm *norms) {
    const NAME(operands) ab = {
        .a = dy.p, .a_row = dy.ld, .a_col = 1, .b = weights.p, .ldb = weights.ld, .transposed = 1};
    NAME(backward)(&ab, dy, activation, source, dx, tools, norms);
}

static void NAME(decoder_backward)(vg_matrix dy, const void *weights, vg_activation activation,
                                   vg_matrix source, vg_matrix dx, vg_tools *tools) {
    const NAME(operands) ab = {.a = dy.p, .a_row = dy.ld, .a_col = 1, .b = weights, .ldb = dx.cols};
    NAME(backward)(&ab, dy, activation, source, dx, tools, NULL);
}

typedef struct {
    real *weights, *state, *gradient; /* of row `first` */
    size_t n_out;
    NAME(update_vecs) update;
    vec check;
    NAME(summary_vecs) words;
    vg_summary *summaries; /* one for each VG_UNIT_ROWS rows from `first` on */
    size_t panel;          /* the first column of the tiles that are counted */
    uint32_t *exponents;
} NAME(update_context);

static void NAME(gradient_epilogue)(void *context, size_t i, size_t j, size_t rows, size_t cols,
                                    real *tile) {
    const NAME(update_context) *const c = context;
    for (size_t r = 0; r < rows; r++)
        for (size_t v = 0; v < cols; v += LANES)
            v_store_n(c->gradient + (i + r) * c->n_out + j + v, v_load(tile + r * NR + v),
                      cols - v);
}

/* The weights of the next tile lie in as many pages as it has rows: fetched while that is summed,
 * they make a step of 784-1000-500-100-10 4 to 7 % shorter, and others change by their noise. */
static inline void NAME(fetch_next)(const real *weights, size_t ld) {
    for (size_t r = 0; r < MR; r++, weights += ld) {
        for (size_t line = 0; line < NR; line += 64 / sizeof(real))
            __builtin_prefetch(weights + line, 1);
        __builtin_prefetch(weights + NR - 1, 1);
    }
}

/* Of a tile's gradient, from row i and column j on. */
static inline NAME(patch)
    NAME(patch_of)(const NAME(update_context) *c, size_t i, size_t j, const real *tile) {
    const size_t at = i * c->n_out + j;
    return (NAME(patch)){
        .gradient = tile,
        .ld_gradient = NR,
        .params = c->weights + at,
        .state = c->state ? c->state + at : NULL,
        .ld = c->n_out,
    };
}

static void NAME(update_epilogue)(void *context, size_t i, size_t j, size_t rows, size_t cols,
                                  real *tile) {
    NAME(update_context) *const c = context;
    const NAME(patch) patch = NAME(patch_of)(c, i, j, tile);
    NAME(fetch_next)(patch.params + rows * c->n_out, c->n_out);
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

/* The gradient lies where a product of more columns has its panel, and is not larger. */
static void NAME(narrow_update)(vg_matrix x, vg_matrix dy, real *weights, real *state,
                                const vg_update *update, vg_tools *tools) {
    real *const gradient = (real *)tools->scratch + VG_TILE_SIZE;
    const NAME(operands) ab = {.a = dy.p, .a_row = 1, .a_col = dy.ld, .b = x.p, .ldb = x.ld};
    NAME(narrow_context) c = {gradient, dy.cols};
    NAME(gemm)(dy.cols, x.cols, x.rows, &ab, NULL, tools,
               &(NAME(finish)){.epilogue = NAME(narrow_epilogue), .context = &c});
    NAME(update)(x.cols * dy.cols, gradient, weights, state, update, &tools->check, NULL);
}
_Static_assert(MR < VG_TILE_COLS, "the gradient of few outputs must fit a panel");

/* By way of tiles in memory: any update, recorded or not; or the gradient alone. */
static void NAME(update_by_tiles)(const NAME(operands) *ab, vg_matrix x, vg_matrix dy,
                                  vg_parameters parameters, const vg_update *update,
                                  vg_tools *tools, vg_recording recording) {
    vg_summary *const summaries = recording.summaries;
    NAME(update_context) c; /* `words` only where they are asked for */
    c.weights = parameters.weights;
    c.state = parameters.state;
    c.gradient = parameters.gradient;
    c.n_out = dy.cols;
    NAME(set_in_vecs)(update, &c.update);
    c.check = v_zero();
    c.summaries = summaries;
    c.panel = 0;
    c.exponents = recording.exponents;
    if (summaries) c.words = NAME(begin_summary)(summaries, NAME(just_plain)(&c.update));
    const size_t n_units = summaries ? (x.cols + VG_UNIT_ROWS - 1) / VG_UNIT_ROWS : 0;
    for (size_t b = 0; b < n_units; b++) summaries[b] = (vg_summary){0};
    NAME(epilogue) *const epilogue = c.gradient  ? NAME(gradient_epilogue)
                                     : summaries ? NAME(inspected_epilogue)
                                                 : NAME(update_epilogue);
    NAME(gemm)(x.cols, dy.cols, x.rows, ab, parameters.begun, tools,
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

static void NAME(weight_update)(vg_matrix x, vg_matrix dy, size_t first, size_t last,
                                vg_parameters parameters, const vg_update *update, vg_tools *tools,
                                vg_recording recording) {
    const size_t skip = first * dy.cols, m = last - first, n = dy.cols;
    const vg_parameters p = {
        .weights = NAME(from)(parameters.weights, skip),
        .state = NAME(from)(parameters.state, skip),
        .gradient = NAME(from)(parameters.gradient, skip),
        .begun = NAME(from)(parameters.begun, skip),
    };
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
        NAME(narrow_update)(rows, dy, p.weights, p.state, update, tools);
    else if (plain && !p.begun && x.rows == 1)
        NAME(rank_one_update)(m, n, rows.p, dy.p, v_set((real)update->lr), p.weights);
    else if (plain)
        NAME(gemm_to_weights)(m, n, x.rows, &ab, p.begun, tools, v_set((real)update->lr),
                              p.weights);
    else
        NAME(update_by_tiles)(&ab, rows, dy, p, update, tools, recording);
}

/* Of `vecs` vectors of columns, of whose last n exist. */
static inline
    __attribute__((always_inline)) void NAME(sum_columns)(const size_t vecs, size_t rows,
                                                          const size_t n, const real *dy, size_t ld,
                                                          int begun, real *sums) {
    vec sum[8];
#pragma GCC unroll 8
    for (size_t v = 0; v < vecs; v++)
        sum[v] = begun ? v_load_n(sums + v * LANES, v + 1 < vecs ? LANES : n) : v_zero();
    for (size_t r = 0; r < rows; r++, dy += ld) {
#pragma GCC unroll 8
        for (size_t v = 0; v + 1 < vecs; v++) sum[v] = v_add(sum[v], v_load(dy + v * LANES));
        sum[vecs - 1] = v_add(sum[vecs - 1], v_load_n(dy + (vecs - 1) * LANES, n));
    }
#pragma GCC unroll 8
    for (size_t v = 0; v + 1 < vecs; v++) v_store(sums + v * LANES, sum[v]);
    v_store_n(sums + (vecs - 1) * LANES, sum[vecs - 1], n);
}

/* Eight vectors at a time: one alone means a page for each row. */
static void NAME(column_sums)(size_t rows, size_t n, const void *dy, size_t ld, int begun,
                              void *sums) {
    const real *const from = dy;
    real *const to = sums;
    size_t j = 0;
    for (; n - j >= 8 * LANES; j += 8 * LANES)
        NAME(sum_columns)(8, rows, LANES, from + j, ld, begun, to + j);
    for (; n - j >= 2 * LANES; j += 2 * LANES)
        NAME(sum_columns)(2, rows, LANES, from + j, ld, begun, to + j);
    for (; j < n; j += LANES) NAME(sum_columns)(1, rows, n - j, from + j, ld, begun, to + j);
}

static void NAME(fold)(size_t n, size_t count, const void *vectors, size_t stride, void *sums) {
    for (size_t i = 0; i < n; i += LANES) {
        const real *from = (const real *)vectors + i;
        vec sum = v_load_n(from, n - i);
        for (size_t k = 1; k < count; k++) sum = v_add(sum, v_load_n(from += stride, n - i));
        v_store_n((real *)sums + i, sum, n - i);
    }
}

static void NAME(subtract)(size_t n, const void *a, const void *b, void *to) {
    for (size_t i = 0; i < n; i += LANES)
        v_store_n((real *)to + i,
                  v_sub(v_load_n((const real *)a + i, n - i), v_load_n((const real *)b + i, n - i)),
                  n - i);
}

/* The mean of h over the rows is penalty - sums / rows. */
static void NAME(renew_penalty)(size_t n, const void *sums, double rows, vg_sparsity sparsity,
                                void *activity, void *penalty) {
    const vec keep = v_set((real)sparsity.decay), give = v_set((real)(1 - sparsity.decay));
    const vec target = v_set((real)sparsity.target), cost = v_set((real)sparsity.cost);
    const vec each = v_set((real)(1 / rows));
    for (size_t i = 0; i < n; i += LANES) {
        real *const p = (real *)penalty + i, *const a = (real *)activity + i;
        const vec sum = v_load_n((const real *)sums + i, n - i);
        const vec mean = v_fnma(each, sum, v_load_n(p, n - i));
        const vec active = v_fma(keep, v_load_n(a, n - i), v_mul(give, mean));
        v_store_n(a, active, n - i);
        v_store_n(p, v_mul(cost, v_sub(active, target)), n - i);
    }
}
