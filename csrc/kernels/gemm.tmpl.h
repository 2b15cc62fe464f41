/* gemm.tmpl.h - C = A B, one tile of MR x NR in registers at a time (of up to TALL rows where it
 * has less than NV vectors); an epilogue takes what is finished.
 *
 * A is read through two strides, so the same text serves forward (A = a), dX (A = delta) and dW
 * (A = a transposed). B is read in place where its rows are near each other, else copied into a
 * panel (k, NR); a transposed B always is. Every element is one chain of FMAs over k, so its bits
 * depend neither on the tile that it falls into nor on the split of the rows among threads. */
#include <string.h>

#define NR (NV * LANES)

typedef void NAME(micro)(size_t k, size_t whole, const real *a, size_t a_row, size_t a_col,
                         const real *b, size_t ldb, size_t last, int begun, real *tile);

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

/* tile (rows, NR) = A (rows, k) B (k, vecs * LANES), of whose last vector `last` lanes exist and
 * the others become zero. The first `whole` rows of B can be read by whole vectors, whatever the
 * lanes beyond hold: a masked load takes two of the slots that FMAs need. begun: the sums go on from
 * what the tile holds. */
static inline __attribute__((always_inline)) void NAME(micro_tile)(
    const size_t rows, const size_t vecs, size_t k, size_t whole, const real *a, size_t a_row,
    size_t a_col, const real *b, size_t ldb, size_t last, int begun, real *tile) {
    vec sum[TALL][NV], row[NV];
    if (begun) {
#pragma GCC unroll 12
        for (size_t r = 0; r < rows; r++)
#pragma GCC unroll 3
            for (size_t v = 0; v < vecs; v++) sum[r][v] = v_load(tile + r * NR + v * LANES);
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
#pragma GCC unroll 12
    for (size_t r = 0; r < rows; r++) {
        sum[r][vecs - 1] = v_first_n(sum[r][vecs - 1], last);
#pragma GCC unroll 3
        for (size_t v = 0; v < vecs; v++) v_store(tile + r * NR + v * LANES, sum[r][v]);
    }
}

#define MICRO(r, v)                                                                                \
    static void NAME(micro_##r##x##v)(size_t k, size_t whole, const real *a, size_t a_row,         \
                                      size_t a_col, const real *b, size_t ldb, size_t last,        \
                                      int begun, real *tile) {                                     \
        NAME(micro_tile)(r, v, k, whole, a, a_row, a_col, b, ldb, last, begun, tile);              \
    }
#define MICRO_COLUMN(v) EACH_ROW(MICRO, v)
EACH_VEC(MICRO_COLUMN)
EACH_TALL(MICRO)
#undef MICRO
#define MICRO(r, v) [r][v] = NAME(micro_##r##x##v),
static NAME(micro) *const NAME(micros)[TALL + 1][NV + 1] = {EACH_VEC(MICRO_COLUMN)
                                                                EACH_TALL(MICRO)};
#undef MICRO
#undef MICRO_COLUMN

/* panel (k, NR) = the transpose of w (cols, k; ldw), zero beyond cols */
static void NAME(pack_transposed)(size_t cols, size_t k, const real *w, size_t ldw, real *panel) {
    for (size_t c = 0; c < cols; c += LANES)
        for (size_t p = 0; p < k; p += LANES) {
            vec block[LANES];
            for (size_t r = 0; r < LANES; r++)
                block[r] = c + r < cols ? v_load_n(w + (c + r) * ldw + p, k - p) : v_zero();
            v_transpose(block);
            const size_t rows = k - p < LANES ? k - p : LANES;
            for (size_t r = 0; r < rows; r++) v_store(panel + (p + r) * NR + c, block[r]);
        }
}

/* panel (k, NR) = b (k, cols; ldb), zero beyond cols */
static void NAME(pack)(size_t cols, size_t k, const real *b, size_t ldb, real *panel) {
    for (size_t p = 0; p < k; p++, b += ldb, panel += NR)
        if (cols == NR)
            for (size_t c = 0; c < NR; c += LANES) v_store(panel + c, v_load(b + c));
        else
            for (size_t c = 0; c < cols; c += LANES) v_store(panel + c, v_load_n(b + c, cols - c));
}

/* Tiles of MR rows each (k, MR) = columns of a transposed A: rows of it lie at a[p * a_col]. */
static void NAME(pack_columns)(size_t rows, size_t k, const real *a, size_t a_col, real *tiles) {
    for (size_t i = 0; i < rows; i += MR) {
        const real *from = a + i;
        real *to = tiles + i * k;
        if (i + MR <= rows)
            for (size_t p = 0; p < k; p++, from += a_col, to += MR)
                memcpy(to, from, MR * sizeof(real));
        else
            for (size_t p = 0; p < k; p++, from += a_col, to += MR)
                memcpy(to, from, (rows - i) * sizeof(real));
    }
}

/* tile (rows, NR) = c (rows, cols; ldc), zero beyond cols of the last vector */
static void NAME(load_tile)(size_t rows, size_t cols, const real *c, size_t ldc, real *tile) {
    for (size_t r = 0; r < rows; r++)
        for (size_t v = 0; v < cols; v += LANES)
            v_store(tile + r * NR + v, v_load_n(c + r * ldc + v, cols - v));
}

/* What is done with tile (rows, cols; NR) of the product, whose first element is (i, j). */
typedef void NAME(epilogue)(void *context, size_t i, size_t j, size_t rows, size_t cols,
                            real *tile);

/* An epilogue that is timed: the wrapping costs nothing where nobody asks for it. */
typedef struct {
    NAME(epilogue) *epilogue;
    void *context;
    double *ticks;
} NAME(timed_context);

static void NAME(timed_epilogue)(void *context, size_t i, size_t j, size_t rows, size_t cols,
                                 real *tile) {
    const NAME(timed_context) *const c = context;
    const uint64_t start = vg_ticks();
    c->epilogue(c->context, i, j, rows, cols, tile);
    *c->ticks += (double)(vg_ticks() - start);
}

/* Whether k rows of some cache lines each, ld apart, do not stay in the L1 cache: those that lie a
 * multiple of 4 KiB apart share its 8 or 12 places for a line. Rows of half a page or more need a
 * page each besides. A copy may be twice as large as the L1 cache where the rows would crowd in an
 * L2 cache of 512 KiB likewise. (16 columns of 784 x 256: a step of 784-256-128-10 took 1.56 and
 * 1.61 ms.) */
static inline int NAME(crowded)(size_t k, size_t ld) {
    const size_t bytes = ld * sizeof(real), power = bytes & (~bytes + 1);
    const size_t copy = k * NR * sizeof(real), most = power * k > 512 * 1024 ? 65536 : 32768;
    return bytes >= 2048 || (power * k > 6 * 4096 && copy <= most);
}

/* The columns of the next panel, of n that are left: as even as whole vectors allow, because a
 * panel of one vector waits for its loads. */
static inline size_t NAME(panel_width)(size_t n, size_t vecs_most) {
    const size_t vecs = (n + LANES - 1) / LANES, panels = (vecs + vecs_most - 1) / vecs_most;
    return (vecs + panels - 1) / panels * LANES;
}

/* A (m, k) at a[r * a_row + p * a_col]; B (k, n) at b[p * ldb + j], transposed b[j * ldb + p].
 * aligned: tiles start at multiples of MR rows; else the rows are cut evenly into tiles, because
 * short ones wait for their FMAs, and of less than NV vectors those may have TALL rows: ten rows
 * then take 784 x 30 weights through once instead of twice (3.1 and 5.4 us). */
typedef struct {
    const real *a;
    size_t a_row, a_col;
    const real *b;
    size_t ldb;
    int transposed, aligned;
} NAME(operands);

/* C = A B, by tiles that the epilogue takes; begun (m, n): unless NULL, its sums go on from there.
 *
 * Rows that lie half a page apart crowd into a few sets of the L1 cache and need a page each: they
 * are copied, if the copy is read more than once. Of a transposed A, so many columns that their
 * copies and a panel of B stay in the L2 cache.
 * What lost against this is in benchmarks/notes.md. */
static inline
    __attribute__((always_inline)) void NAME(product)(size_t m, size_t n, size_t k,
                                                      const NAME(operands) *ab, const real *begun,
                                                      vg_tools *tools, NAME(epilogue) *epilogue,
                                                      void *context) {
    const real *const a = ab->a, *const b = ab->b;
    const size_t a_row = ab->a_row, a_col = ab->a_col, ldb = ab->ldb;
    const int transposed = ab->transposed, aligned = ab->aligned;
    const int go_on = begun != NULL;
    real *const tile = tools->scratch, *const panel = tile + VG_TILE_SIZE;
    const int blocked = !tools->unblocked;
    const int far_b = blocked && !transposed && m >= 4 * MR && NAME(crowded)(k, ldb);
    const int far_a = blocked && a_row == 1 && n > NR && NAME(crowded)(k, a_col);
    NAME(timed_context) timed = {epilogue, context, tools->ticks};
    if (tools->ticks) epilogue = NAME(timed_epilogue), context = &timed;
    const int packed = transposed || far_b;
    real *const tiles = panel + (packed ? k * NR : 0);
    const size_t step = far_a ? vg_packed_rows(k, sizeof(real)) : m;

    for (size_t start = 0; start < m; start += step) {
        const size_t stop = m - start < step ? m : start + step;
        if (far_a) NAME(pack_columns)(stop - start, k, a + start, a_col, tiles);
        for (size_t j = 0, width; j < n; j += width) {
            width = NAME(panel_width)(n - j, blocked ? NV : 1);
            const size_t cols = n - j < width ? n - j : width, vecs = width / LANES;
            if (transposed) NAME(pack_transposed)(cols, k, b + j * ldb, ldb, panel);
            if (far_b) NAME(pack)(cols, k, b + j, ldb, panel);
            const real *const columns = packed ? panel : b + j;
            const size_t ld = packed ? NR : ldb, last = packed ? LANES : cols - (vecs - 1) * LANES;
            const size_t beyond = (LANES - last + ld - 1) / ld; /* rows that end B */
            const size_t whole = k > beyond ? k - beyond : 0;
            const int even = blocked && !far_a && !aligned;
            const size_t most = even && vecs < NV ? TALL : MR;
            const size_t n_tiles = (stop - start + most - 1) / most;
            const size_t height = even ? (stop - start) / n_tiles : blocked ? MR : 1;
            size_t taller = even ? (stop - start) % n_tiles : 0; /* tiles of one row more */
            for (size_t i = start, rows; i < stop; i += rows) {
                rows = height + (taller > 0);
                taller -= taller > 0;
                if (rows > stop - i) rows = stop - i;
                NAME(micro) *const micro = NAME(micros)[rows][vecs];
                if (begun) NAME(load_tile)(rows, cols, begun + i * n + j, n, tile);
                if (far_a)
                    micro(k, whole, tiles + (i - start) * k, 1, MR, columns, ld, last, go_on, tile);
                else
                    micro(k, whole, a + i * a_row, a_row, a_col, columns, ld, last, go_on, tile);
                epilogue(context, i, j, rows, cols, tile);
            }
        }
    }
}

/* One copy for the ways forward and back; that of the update, with its other epilogues, is its own. */
static __attribute__((noinline)) void NAME(gemm)(size_t m, size_t n, size_t k,
                                                 const NAME(operands) *ab, vg_tools *tools,
                                                 NAME(epilogue) *epilogue, void *context) {
    NAME(product)(m, n, k, ab, NULL, tools, epilogue, context);
}
