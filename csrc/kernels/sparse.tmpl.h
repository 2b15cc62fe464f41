/* sparse.tmpl.h - the products of a first layer whose inputs are mostly zeros, which are left out:
 * x W of the rows of W that x has an entry for, and dW = x^T dy of those rows alone.
 *
 * Each element is the chain of FMAs over k that the dense product makes of it, without those by
 * zero, which change no sum: the bits are the same. (A sum that has underflowed to -0 may have the
 * other sign.) What is done with the sums is in dense.tmpl.h and weight_update.tmpl.h. */

/* Vectors of columns that are summed up at a time: so many chains do not wait for each other. */
enum { NAME(SPARSE_VECS) = 8 };
_Static_assert(NAME(SPARSE_VECS) *LANES <= VG_TILE_SIZE, "the sums of a row must fit a tile");

/* Rows of W lie anywhere in memory: they are fetched some entries before their turn comes. */
enum { NAME(AHEAD) = 8 };
static inline void NAME(fetch_row)(const real *row, size_t vecs) {
    for (size_t i = 0; i < vecs * LANES; i += 64 / sizeof(real)) __builtin_prefetch(row + i);
}

/* to (vecs * LANES) = the sum of values[e] times row columns[e] of w; of the last vector, n lanes
 * exist, and the others are 0. */
static inline
    __attribute__((always_inline)) void NAME(sum_rows)(const size_t vecs, const size_t n,
                                                       size_t n_entries, const int32_t *columns,
                                                       const real *values, const real *w, size_t ld,
                                                       real *to) {
    vec sum[NAME(SPARSE_VECS)];
#pragma GCC unroll 8
    for (size_t v = 0; v < vecs; v++) sum[v] = v_zero();
    for (size_t e = 0; e < n_entries; e++) {
        const vec x = v_set(values[e]);
        const real *const row = w + (size_t)columns[e] * ld;
        if (e + NAME(AHEAD) < n_entries)
            NAME(fetch_row)(w + (size_t)columns[e + NAME(AHEAD)] * ld, vecs);
#pragma GCC unroll 8
        for (size_t v = 0; v + 1 < vecs; v++) sum[v] = v_fma(x, v_load(row + v * LANES), sum[v]);
        sum[vecs - 1] = v_fma(x, v_load_n(row + (vecs - 1) * LANES, n), sum[vecs - 1]);
    }
#pragma GCC unroll 8
    for (size_t v = 0; v < vecs; v++) v_store(to + v * LANES, sum[v]);
}

/* The same of the entries of one column of x, by rows of dy; from `begun`, unless that is NULL. */
static inline
    __attribute__((always_inline)) void NAME(sum_deltas)(const size_t vecs, const size_t n,
                                                         const vg_entry *entries,
                                                         const vg_entry *end, const real *dy,
                                                         size_t ld, const real *begun, real *to) {
    vec sum[NAME(SPARSE_VECS)];
#pragma GCC unroll 8
    for (size_t v = 0; v < vecs; v++)
        sum[v] = begun ? v_load_n(begun + v * LANES, v + 1 < vecs ? LANES : n) : v_zero();
    for (; entries < end; entries++) {
        const vec x = v_set((real)entries->value);
        const real *const row = dy + entries->row * ld;
#pragma GCC unroll 8
        for (size_t v = 0; v + 1 < vecs; v++) sum[v] = v_fma(x, v_load(row + v * LANES), sum[v]);
        sum[vecs - 1] = v_fma(x, v_load_n(row + (vecs - 1) * LANES, n), sum[vecs - 1]);
    }
#pragma GCC unroll 8
    for (size_t v = 0; v + 1 < vecs; v++) v_store(to + v * LANES, sum[v]);
    v_store_n(to + (vecs - 1) * LANES, sum[vecs - 1], n);
}

/* `run(vecs, n)` from each column j on: eight vectors at a time, then four, then one. */
#define BY_VECS(cols, run)                                                                         \
    do {                                                                                           \
        size_t j = 0;                                                                              \
        for (; (cols) - j >= 8 * LANES; j += 8 * LANES) run(8, LANES);                             \
        for (; (cols) - j >= 4 * LANES; j += 4 * LANES) run(4, LANES);                             \
        for (; (cols) - j >= LANES; j += LANES) run(1, LANES);                                     \
        if (j < (cols)) run(1, (cols) - j);                                                        \
    } while (0)

/* The columns [j, j + cols) of row i, summed up in `sums`, to their epilogue: a tile of one row at
 * a time. */
static void NAME(finish_row)(NAME(forward_context) *c, size_t i, size_t j, size_t cols, real *sums,
                             double *ticks) {
    const uint64_t start = ticks ? vg_ticks() : 0;
    for (size_t v = 0; v < cols; v += NR)
        NAME(forward_epilogue)(c, i, j + v, 1, cols - v < NR ? cols - v : NR, sums + v);
    if (ticks) *ticks += (double)(vg_ticks() - start);
}

#define FORWARD(vecs, n)                                                                           \
    do {                                                                                           \
        NAME(sum_rows)(vecs, n, to - from, csr->columns + from, values + from, w + j, weights.ld,  \
                       sums);                                                                      \
        NAME(finish_row)(&c, r, j, ((vecs) - 1) * LANES + (n), sums, tools->ticks);                \
    } while (0)
static void NAME(sparse_forward)(vg_sparse_rows x, vg_matrix weights, const void *biases,
                                 vg_activation activation, vg_matrix y, void *derivatives,
                                 vg_tools *tools) {
    NAME(forward_context)
    c = NAME(forward_context_of)(biases, activation, y, derivatives);
    const vg_csr *const csr = x.csr;
    const real *const values = csr->values, *const w = weights.p;
    real *const sums = tools->scratch;
    for (size_t r = 0; r < x.rows; r++) {
        size_t from, to;
        vg_entries_of_row(&x, r, &from, &to);
        BY_VECS(y.cols, FORWARD);
    }
    tools->check += v_sum(c.check);
}
#undef FORWARD

/* The end of those that have the same column as the first. */
static inline const vg_entry *NAME(end_of_column)(const vg_entry *entry, const vg_entry *end) {
    const uint32_t column = entry->column;
    while (entry < end && entry->column == column) entry++;
    return entry;
}

/* to (dy.cols) = the row of dW that these entries, of one column of x, give; begun as above. */
#define ROW(vecs, n)                                                                               \
    NAME(sum_deltas)(vecs, n, entries, end, (const real *)dy->p + j, dy->ld,                       \
                     begun ? begun + j : NULL, to + j)
static void NAME(sparse_row)(const vg_entry *entries, const vg_entry *end, const vg_matrix *dy,
                             const real *begun, real *to) {
    BY_VECS(dy->cols, ROW);
}
#undef ROW
#undef BY_VECS

/* The entries of a product dW in rows [first, last). */
typedef struct {
    const vg_entry *entries, *end;
    size_t first, last;
    vg_matrix dy;
} NAME(sparse_product);

/* The rows of a gradient (last - first, n). */
static void NAME(sparse_gradient)(const NAME(sparse_product) *p, int begun, real *gradient) {
    const size_t n = p->dy.cols;
    if (!begun) memset(gradient, 0, (p->last - p->first) * n * sizeof(real));
    for (const vg_entry *e = p->entries, *next; e < p->end; e = next) {
        real *const row = gradient + (e->column - p->first) * n;
        next = NAME(end_of_column)(e, p->end);
        NAME(sparse_row)(e, next, &p->dy, begun ? row : NULL, row);
    }
}

/* The product tile by tile, as that of dense rows is made where it is recorded: what is summed up
 * of tiles then has the same bits. */
static void NAME(sparse_tiles)(const NAME(sparse_product) *p, vg_tools *tools,
                               NAME(epilogue) *epilogue, void *context) {
    real *const tile = tools->scratch;
    for (size_t j = 0, width; j < p->dy.cols; j += width) {
        width = NAME(panel_width)(p->dy.cols - j, !tools->unblocked);
        const size_t cols = p->dy.cols - j < width ? p->dy.cols - j : width;
        const vg_matrix dy = {(real *)p->dy.p + j, p->dy.rows, cols, p->dy.ld};
        const vg_entry *e = p->entries, *next;
        for (size_t i = p->first; i < p->last; i += MR) {
            const size_t rows = p->last - i < MR ? p->last - i : MR;
            memset(tile, 0, MR * NR * sizeof(real));
            for (; e < p->end && e->column < i + rows; e = next) {
                next = NAME(end_of_column)(e, p->end);
                NAME(sparse_row)(e, next, &dy, NULL, tile + (e->column - i) * NR);
            }
            epilogue(context, i - p->first, j, rows, cols, tile);
        }
    }
}

/* What a rule keeps of a layer's weights, from so many elements on. */
static inline void NAME(states_at)(const vg_parameters *p, size_t skip, void **states) {
    for (size_t k = 0; k < VG_STATES_MOST; k++)
        states[k] = p->states && p->states[k] ? (real *)p->states[k] + skip : NULL;
}

/* The update of the rows that there are entries for: the others rest. The next rows are fetched
 * meanwhile. (A step on 20,000 entries of 100,000 x 100 weights: 7.4 and 5.3 ms.) */
static void NAME(sparse_update_present)(const NAME(sparse_product) *p, const vg_parameters *of,
                                        const vg_update *update, vg_tools *tools) {
    const size_t n = p->dy.cols, bytes = n * sizeof(real) < 4096 ? n * sizeof(real) : 4096;
    real *const sums = (real *)tools->scratch + VG_TILE_SIZE;
    for (const vg_entry *e = p->entries, *next; e < p->end; e = next) {
        const size_t skip = (e->column - p->first) * n;
        if (p->end - e > NAME(AHEAD)) {
            const real *const later =
                (const real *)of->weights + (e[NAME(AHEAD)].column - p->first) * n;
            for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch((const char *)later + i, 1);
        }
        void *states[VG_STATES_MOST];
        NAME(states_at)(of, skip, states);
        next = NAME(end_of_column)(e, p->end);
        NAME(sparse_row)(e, next, &p->dy, NULL, sums);
        NAME(update)(n, sums, (real *)of->weights + skip, states, update, &tools->check, NULL);
    }
}

/* The update of all rows, some at a time: their gradient, mostly of zeros, stays in the L1
 * cache. */
enum { NAME(BLOCK) = 8192 / sizeof(real) };
static void NAME(sparse_update_all)(const NAME(sparse_product) *p, const vg_parameters *of,
                                    const vg_update *update, vg_tools *tools) {
    const size_t n = p->dy.cols, some = NAME(BLOCK) / n;
    const size_t height = some < 1 ? 1 : some < VG_UNIT_ROWS ? some : VG_UNIT_ROWS;
    real *const gradient = (real *)tools->scratch + VG_TILE_SIZE;
    const vg_entry *e = p->entries, *next;
    for (size_t i = p->first, rows; i < p->last; i += rows) {
        rows = p->last - i < height ? p->last - i : height;
        const size_t skip = (i - p->first) * n;
        void *states[VG_STATES_MOST];
        NAME(states_at)(of, skip, states);
        if (of->begun)
            memcpy(gradient, (const real *)of->begun + skip, rows * n * sizeof(real));
        else
            memset(gradient, 0, rows * n * sizeof(real));
        for (; e < p->end && e->column < i + rows; e = next) {
            real *const row = gradient + (e->column - i) * n;
            next = NAME(end_of_column)(e, p->end);
            NAME(sparse_row)(e, next, &p->dy, of->begun ? row : NULL, row);
        }
        NAME(update)(rows * n, gradient, (real *)of->weights + skip, states, update, &tools->check,
                     NULL);
    }
}
