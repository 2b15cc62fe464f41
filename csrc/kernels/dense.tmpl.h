/* dense.tmpl.h - the dense layer: y = phi(x W + b), dx = (dy W^T) * phi'; dW is in
 * weight_update.tmpl.h. Each is one matrix product whose epilogue finishes a tile while it is in
 * the L1 cache. */

/* Rows of a shuffled batch lie anywhere in memory: while one is copied, the row is fetched whose
 * turn comes a page later, or some rows later if they are so short. (10 rows of 784: 3.2 and 1.9
 * us.) */
static void NAME(gather)(size_t rows, size_t n, const void *from, const int64_t *order, void *to,
                         size_t ld, double *check) {
    enum { LINE = 64 / sizeof(real), MOST_AHEAD = 16 };
    const vec scale = NAME(check_scale)(0);
    const size_t page = 1 + 4096 / (n * sizeof(real)),
                 ahead = page < MOST_AHEAD ? page : MOST_AHEAD;
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
        if (j < n) __builtin_prefetch(next + j);
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
SIDE_BY_SIDE NAME(forward_rows)(const int count, NAME(phi) phi, vec alpha, const size_t n,
                                const real *tile, vec bias, size_t ld, real *y, real *derivatives,
                                vec scale, vec *check) {
    vec z[GROUP], a[GROUP], derivative[GROUP];
    EACH z[k] = v_add(v_load(tile + k * NR), bias);
    phi(count, z, alpha, a, derivatives ? derivative : NULL);
    EACH *check = NAME(check_finite)(*check, a[k], scale);
    EACH v_store_n(y + (size_t)k * ld, a[k], n);
    if (derivatives) EACH v_store_n(derivatives + (size_t)k * ld, derivative[k], n);
}

/* Down all rows. Whole tiles are made of whole groups: of 6 rows, 4 and twice 1 take 1.15 times as
 * long as twice 3. */
enum { NAME(ROWS) = MR % 4 == 0 ? 4 : 3 };
_Static_assert(MR % NAME(ROWS) == 0 && NAME(ROWS) <= GROUP, "rows would be left over in each tile");
#define ROWS(count)                                                                                \
    NAME(forward_rows)(count, phi, alpha, n, tile + r * NR, bias, c->ldy, y + r * c->ldy,          \
                       derivatives ? derivatives + r * c->ldy : NULL, c->scale, &check)
SIDE_BY_SIDE NAME(forward_column)(NAME(phi) phi, vec alpha, NAME(forward_context) *c, size_t rows,
                                  const size_t n, const real *tile, const real *biases, real *y,
                                  real *derivatives) {
    const vec bias = biases ? v_load_n(biases, n) : v_zero();
    vec check = c->check;
    size_t r = 0;
    for (; rows - r >= NAME(ROWS); r += NAME(ROWS)) ROWS(NAME(ROWS));
    for (; r < rows; r++) ROWS(1);
    c->check = check;
}
#undef ROWS

/* A loop for each activation, with phi' stored or not, of whole vectors or not. */
#define COLUMN(name, n, derivatives)                                                               \
    NAME(forward_column)(NAME(phi_##name), alpha, c, rows, n, tile + v,                            \
                         c->biases ? c->biases + j + v : NULL, c->y + at, derivatives)
#define FORWARD(name, form)                                                                        \
    for (size_t v = 0; v < cols; v += LANES) {                                                     \
        const size_t at = i * c->ldy + j + v;                                                      \
        if (form == VG_STORED && c->derivatives && cols - v >= LANES)                              \
            COLUMN(name, LANES, c->derivatives + at);                                              \
        else if (form == VG_STORED && c->derivatives)                                              \
            COLUMN(name, cols - v, c->derivatives + at);                                           \
        else if (cols - v >= LANES)                                                                \
            COLUMN(name, LANES, NULL);                                                             \
        else                                                                                       \
            COLUMN(name, cols - v, NULL);                                                          \
    }

/* One that is not fused: the bias, and its function, row by row. */
static void NAME(forward_apart)(NAME(forward_context) *c, size_t i, size_t j, size_t rows,
                                size_t cols, real *tile) {
    vec check = c->check;
    for (size_t r = 0; r < rows; r++, tile += NR) {
        const size_t at = (i + r) * c->ldy + j;
        for (size_t v = 0; v < cols; v += LANES)
            v_store(tile + v, v_add(v_load(tile + v), v_load_n(c->biases + j + v, cols - v)));
        NAME(activate)(c->activation, cols, tile, c->y + at,
                       c->derivatives ? c->derivatives + at : NULL);
        for (size_t v = 0; v < cols; v += LANES)
            check = NAME(check_finite)(check, v_load_n(c->y + at + v, cols - v), c->scale);
    }
    c->check = check;
}

static void NAME(forward_epilogue)(void *context, size_t i, size_t j, size_t rows, size_t cols,
                                   real *tile) {
    NAME(forward_context) *const c = context;
    const vec alpha = v_set((real)c->activation.alpha);
    if (!vg_activations[c->activation.phi].fused)
        NAME(forward_apart)(c, i, j, rows, cols, tile);
    else
        BY_FUSED_ACTIVATION(c->activation, FORWARD);
}
#undef FORWARD
#undef COLUMN

static inline NAME(forward_context)
    NAME(forward_context_of)(const void *biases, vg_activation activation, vg_matrix y,
                             void *derivatives) {
    return (NAME(forward_context)){
        .biases = biases,
        .activation = activation,
        .y = y.p,
        .ldy = y.ld,
        .derivatives = derivatives,
        .check = v_zero(),
        .scale = NAME(check_scale)(0),
    };
}

static inline
    __attribute__((always_inline)) void NAME(forward)(const NAME(operands) *ab, size_t n_in,
                                                      const void *biases, vg_activation activation,
                                                      vg_matrix y, void *derivatives,
                                                      vg_tools *tools) {
    NAME(forward_context)
    c = NAME(forward_context_of)(biases, activation, y, derivatives);
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
static void NAME(backward_by_tiles)(const NAME(operands) *ab, vg_matrix dy, vg_slope slope,
                                    vg_matrix source, vg_matrix dx, vg_tools *tools,
                                    vg_norm *norms) {
    NAME(backward_context) c = {
        .form = slope.form,
        .alpha = v_set((real)slope.alpha),
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
static real NAME(left_slope)(vg_slope slope) {
    switch (slope.form) {
        case VG_STEP: return 0;
        case VG_LEAK: return (real)slope.alpha;
        case VG_ONE:
        case VG_STORED: break;
    }
    return 1;
}

static void NAME(backward)(const NAME(operands) *ab, vg_matrix dy, vg_slope slope, vg_matrix source,
                           vg_matrix dx, vg_tools *tools, vg_norm *norms) {
    if (norms || tools->ticks) {
        NAME(backward_by_tiles)(ab, dy, slope, source, dx, tools, norms);
        return;
    }
    NAME(finish) finish = {
        .alpha = v_set(NAME(left_slope)(slope)),
        .check = v_zero(),
        .scale = NAME(check_scale)(0),
        .to = dx.p,
        .ld = dx.ld,
        .source = source.p,
        .ld_source = source.ld,
    };
    NAME(gemm_to_deltas)(dy.rows, dx.cols, dy.cols, ab, tools, slope.form == VG_STORED, &finish);
    tools->check += v_sum(finish.check);
}

static void NAME(dense_backward)(vg_matrix dy, vg_matrix weights, vg_slope slope, vg_matrix source,
                                 vg_matrix dx, vg_tools *tools, vg_norm *norms) {
    const NAME(operands) ab = {
        .a = dy.p, .a_row = dy.ld, .a_col = 1, .b = weights.p, .ldb = weights.ld, .transposed = 1};
    NAME(backward)(&ab, dy, slope, source, dx, tools, norms);
}

static void NAME(decoder_backward)(vg_matrix dy, const void *weights, vg_activation activation,
                                   vg_matrix source, vg_matrix dx, vg_tools *tools) {
    const NAME(operands) ab = {.a = dy.p, .a_row = dy.ld, .a_col = 1, .b = weights, .ldb = dx.cols};
    NAME(backward)(&ab, dy, vg_slope_of(activation), source, dx, tools, NULL);
}
