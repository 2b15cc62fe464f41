/* tile.tmpl.h - one tile of a product, MR x NR in registers (of up to TALL rows where it has less
 * than NV vectors), and what becomes of it: it goes to memory, or ends as weights or gradients.
 *
 * A is read through two strides, so the same text serves forward (A = a), dX (A = delta) and dW
 * (A = a transposed). Every element is one chain of FMAs over k, so its bits depend neither on the
 * tile that it falls into nor on the split of the rows among threads. */

#define NR (NV * LANES)

/* What is done with tile (rows, cols; NR) of the product, whose first element is (i, j). */
typedef void NAME(epilogue)(void *context, size_t i, size_t j, size_t rows, size_t cols,
                            real *tile);

/* What becomes of the sums of a tile: they go to memory, for an epilogue; or, from registers,
 * W -= lr sum, or dx = sum * phi', with phi' stored or made of the outputs. */
typedef enum { NAME(TO_TILE), NAME(TO_WEIGHTS), NAME(TO_STORED), NAME(TO_LEAK) } NAME(finish_kind);
typedef struct {
    NAME(epilogue) *epilogue;
    void *context;
    vec lr, alpha, check, scale;
    real *to; /* W or dx; of an epilogue what it writes, or NULL */
    size_t ld;
    const real *source; /* of phi'; of an epilogue what it writes besides, or NULL */
    size_t ld_source;
} NAME(finish);

/* What the tiles of a panel of columns have in common: A and B as in `operands`, k long, where the
 * first `whole` rows of B can be read by whole vectors, and the last vector has `last` lanes. */
typedef struct {
    size_t k, whole, a_row, a_col;
    const real *b;
    size_t ldb, last;
    const real *begun; /* (m, n): unless NULL, the sums go on from there */
    size_t n;
    real *tile;
} NAME(panel);

typedef void NAME(micro)(const NAME(panel) *panel, const real *a, size_t i, size_t j,
                         NAME(finish) *finish);

/* sum (rows, vecs) += a column of A (rows) times a row of B (vecs) */
static inline __attribute__((always_inline)) void NAME(outer)(const size_t rows, const size_t vecs,
                                                              const real *a, size_t a_row,
                                                              const vec *row, vec sum[TALL][NV]) {
#pragma GCC unroll 12
    for (size_t r = 0; r < rows; r++) {
        const vec x = v_set(a[r * a_row]);
#pragma GCC unroll 3
        for (size_t v = 0; v < vecs; v++) sum[r][v] = v_fma(x, row[v], sum[r][v]);
    }
}

/* sum (rows, vecs) = A (rows, k) B (k, vecs * LANES). B is read by whole vectors, whatever the
 * lanes beyond hold, up to its last rows: a masked load takes two of the slots that FMAs need. */
static inline
    __attribute__((always_inline)) void NAME(sum_up)(const size_t rows, const size_t vecs,
                                                     const NAME(panel) *panel, const real *a,
                                                     const real *begun, vec sum[TALL][NV]) {
    const size_t k = panel->k, whole = panel->whole, a_row = panel->a_row, a_col = panel->a_col;
    const size_t ldb = panel->ldb, last = panel->last;
    const real *b = panel->b;
    vec row[NV];
    if (begun) {
#pragma GCC unroll 12
        for (size_t r = 0; r < rows; r++, begun += panel->n)
#pragma GCC unroll 3
            for (size_t v = 0; v < vecs; v++)
                sum[r][v] = v_load_n(begun + v * LANES, v + 1 < vecs ? LANES : last);
    } else {
#pragma GCC unroll 12
        for (size_t r = 0; r < rows; r++)
#pragma GCC unroll 3
            for (size_t v = 0; v < vecs; v++) sum[r][v] = v_zero();
    }

    size_t p = 0;
    for (; p < whole; p++, a += a_col, b += ldb) {
#pragma GCC unroll 3
        for (size_t v = 0; v < vecs; v++) row[v] = v_load(b + v * LANES);
        NAME(outer)(rows, vecs, a, a_row, row, sum);
    }
    for (; p < k; p++, a += a_col, b += ldb) {
#pragma GCC unroll 3
        for (size_t v = 0; v + 1 < vecs; v++) row[v] = v_load(b + v * LANES);
        row[vecs - 1] = v_load_n(b + (vecs - 1) * LANES, last);
        NAME(outer)(rows, vecs, a, a_row, row, sum);
    }
}

/* tile (rows, vecs * LANES; NR) = sum, zero in the lanes that do not exist. */
static inline __attribute__((always_inline)) void NAME(store_tile)(const size_t rows,
                                                                   const size_t vecs, size_t last,
                                                                   vec sum[TALL][NV], real *tile) {
#pragma GCC unroll 12
    for (size_t r = 0; r < rows; r++, tile += NR) {
        sum[r][vecs - 1] = v_first_n(sum[r][vecs - 1], last);
#pragma GCC unroll 3
        for (size_t v = 0; v < vecs; v++) v_store(tile + v * LANES, sum[r][v]);
    }
}

/* to (rows, vecs * LANES; ld) = sum; of the last vector, n lanes exist. */
static inline
    __attribute__((always_inline)) void NAME(store_sums)(const size_t rows, const size_t vecs,
                                                         const size_t n, vec sum[TALL][NV],
                                                         real *to, size_t ld) {
#pragma GCC unroll 12
    for (size_t r = 0; r < rows; r++, to += ld) {
#pragma GCC unroll 3
        for (size_t v = 0; v + 1 < vecs; v++) v_store(to + v * LANES, sum[r][v]);
        v_store_n(to + (vecs - 1) * LANES, sum[r][vecs - 1], n);
    }
}

/* W -= lr sum. All is loaded before any is stored: a load waits until a store of some lanes just
 * before it has reached memory. */
static inline
    __attribute__((always_inline)) void NAME(subtract_sums)(const size_t rows, const size_t vecs,
                                                            const size_t n,
                                                            const NAME(finish) *finish,
                                                            vec sum[TALL][NV], real *w) {
    const size_t ld = finish->ld;
    const vec lr = finish->lr;
#pragma GCC unroll 12
    for (size_t r = 0; r < rows; r++)
#pragma GCC unroll 3
        for (size_t v = 0; v < vecs; v++) {
            const real *const from = w + r * ld + v * LANES;
            sum[r][v] = v_fnma(lr, sum[r][v], v + 1 < vecs ? v_load(from) : v_load_n(from, n));
        }
    NAME(store_sums)(rows, vecs, n, sum, w, ld);
}

/* sum * phi', which is stored, or 1 right of 0 and alpha left of it. */
static inline vec NAME(times_slope)(vec sum, vec source, const int stored, vec alpha) {
    return v_mul(sum, stored ? source : v_if_positive(source, v_set(1), alpha));
}

/* dx = sum * phi'. */
static inline
    __attribute__((always_inline)) void NAME(multiply_sums)(const size_t rows, const size_t vecs,
                                                            const size_t n, const int stored,
                                                            NAME(finish) *finish, vec sum[TALL][NV],
                                                            real *dx, const real *source) {
    const size_t ld = finish->ld_source;
    const vec scale = finish->scale, alpha = finish->alpha;
    vec check = finish->check;
#pragma GCC unroll 12
    for (size_t r = 0; r < rows; r++)
#pragma GCC unroll 3
        for (size_t v = 0; v < vecs; v++) {
            const real *const from = source + r * ld + v * LANES;
            const vec x = v + 1 < vecs ? v_load(from) : v_load_n(from, n);
            sum[r][v] = NAME(times_slope)(sum[r][v], x, stored, alpha);
            check = v_fma(sum[r][v], scale, check);
        }
    finish->check = check;
    NAME(store_sums)(rows, vecs, n, sum, dx, finish->ld);
}

/* What is read and written when the sums are made is fetched meanwhile. */
static inline __attribute__((always_inline)) void NAME(fetch)(const size_t rows, const size_t vecs,
                                                              const real *p, size_t ld) {
    for (size_t r = 0; r < rows; r++, p += ld)
        for (size_t i = 0; i < vecs * LANES; i += 64 / sizeof(real)) __builtin_prefetch(p + i, 1);
}
static inline
    __attribute__((always_inline)) void NAME(fetch_for)(const size_t rows, const size_t vecs,
                                                        const NAME(finish_kind) kind,
                                                        const NAME(finish) *finish, size_t i,
                                                        size_t j) {
    if (kind != NAME(TO_TILE) || finish->to)
        NAME(fetch)(rows, vecs, finish->to + i * finish->ld + j, finish->ld);
    if (kind == NAME(TO_WEIGHTS)) /* whose rows may end a line further */
        for (size_t r = 0; r < rows; r++)
            __builtin_prefetch(finish->to + (i + r) * finish->ld + j + vecs * LANES - 1, 1);
    else if (kind != NAME(TO_TILE) || finish->source)
        NAME(fetch)(rows, vecs, finish->source + i * finish->ld_source + j, finish->ld_source);
}

static inline
    __attribute__((always_inline)) void NAME(micro_tile)(const size_t rows, const size_t vecs,
                                                         const NAME(finish_kind) kind,
                                                         const NAME(panel) *panel, const real *a,
                                                         size_t i, size_t j, NAME(finish) *finish) {
    vec sum[TALL][NV];
    const size_t last = panel->last;
    real *const to = kind == NAME(TO_TILE) ? panel->tile : finish->to + i * finish->ld + j;
    if (panel->k >= 4) NAME(fetch_for)(rows, vecs, kind, finish, i, j);
    NAME(sum_up)(rows, vecs, panel, a, panel->begun ? panel->begun + i * panel->n + j : NULL, sum);
    if (kind == NAME(TO_TILE))
        NAME(store_tile)(rows, vecs, last, sum, to);
    else if (kind == NAME(TO_WEIGHTS) &&last == LANES)
        NAME(subtract_sums)(rows, vecs, LANES, finish, sum, to);
    else if (kind == NAME(TO_WEIGHTS))
        NAME(subtract_sums)(rows, vecs, last, finish, sum, to);
    else {
        const real *const source = finish->source + i * finish->ld_source + j;
        const int stored = kind == NAME(TO_STORED);
        if (last == LANES)
            NAME(multiply_sums)(rows, vecs, LANES, stored, finish, sum, to, source);
        else
            NAME(multiply_sums)(rows, vecs, last, stored, finish, sum, to, source);
    }
}

#define MICRO_OF(r, v, kind)                                                                       \
    static void NAME(micro_##kind##_##r##x##v)(const NAME(panel) *panel, const real *a, size_t i,  \
                                               size_t j, NAME(finish) *finish) {                   \
        NAME(micro_tile)(r, v, NAME(kind), panel, a, i, j, finish);                                \
    }
#define MICRO(r, v)                                                                                \
    MICRO_OF(r, v, TO_TILE)                                                                        \
    MICRO_OF(r, v, TO_WEIGHTS)                                                                     \
    MICRO_OF(r, v, TO_STORED) MICRO_OF(r, v, TO_LEAK)
#define MICRO_COLUMN(v) EACH_ROW(MICRO, v)
EACH_VEC(MICRO_COLUMN)
EACH_TALL(MICRO)
#undef MICRO
#define MICRO(r, v)                                                                                \
    [NAME(TO_TILE)][v][r] = NAME(micro_TO_TILE_##r##x##v),                                         \
    [NAME(TO_WEIGHTS)][v][r] = NAME(micro_TO_WEIGHTS_##r##x##v),                                   \
    [NAME(TO_STORED)][v][r] = NAME(micro_TO_STORED_##r##x##v),                                     \
    [NAME(TO_LEAK)][v][r] = NAME(micro_TO_LEAK_##r##x##v),
static NAME(micro) *const NAME(micros)[4][NV + 1][TALL + 1] = {EACH_VEC(MICRO_COLUMN)
                                                                   EACH_TALL(MICRO)};
#undef MICRO
#undef MICRO_OF
#undef MICRO_COLUMN
