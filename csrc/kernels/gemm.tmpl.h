/* gemm.tmpl.h - C = A B, tile by tile (tile.tmpl.h); what is finished goes to an epilogue, or ends
 * in registers. B is read in place where its rows are near each other, else copied into a panel (k,
 * NR); a transposed B always is. */
#include <string.h>

/* panel (k, NR) = the transpose of w (cols, k; ldw), zero beyond cols */
static void NAME(pack_transposed)(size_t cols, size_t k, const real *w, size_t ldw, real *panel) {
    for (size_t c = 0; c < cols; c += LANES)
        for (size_t p = 0; p < k; p += LANES) {
            vec columns[LANES];
            const real *const from = w + c * ldw + p;
            real *const to = panel + p * NR + c;
            if (cols - c >= LANES && k - p >= LANES) {
                v_load_columns(from, ldw, LANES, LANES, columns);
                for (size_t i = 0; i < LANES; i++) v_store(to + i * NR, columns[i]);
            } else {
                v_load_columns(from, ldw, cols - c, k - p, columns);
                for (size_t i = 0; i < LANES && i < k - p; i++) v_store(to + i * NR, columns[i]);
            }
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
static inline size_t NAME(panel_width)(size_t n, int blocked) {
    const size_t vecs = (n + LANES - 1) / LANES;
    if (!blocked) return LANES;
    if (vecs <= NV) return vecs * LANES; /* most often, and without a division */
    const size_t panels = (vecs + NV - 1) / NV;
    return (vecs + panels - 1) / panels * LANES;
}

/* The first rows of B (k, ..; ld) that whole vectors can read, where the last has so many lanes:
 * beyond it lie those of the next row, but not of the last rows. */
static inline size_t NAME(whole_rows)(size_t k, size_t ld, size_t last) {
    const size_t beyond = LANES - last;
    if (beyond == 0) return k;
    const size_t rows = beyond <= ld ? 1 : (beyond + ld - 1) / ld;
    return k > rows ? k - rows : 0;
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

/* Rows [start, stop) of a panel of columns [j, j + cols): tiles of `most` rows; or even, as many
 * that differ by one row at most. Of A the rows lie `row` apart, from a on. */
static inline __attribute__((always_inline)) void NAME(take_tiles)(
    const NAME(panel) *panel, const real *a, size_t row, size_t start, size_t stop, size_t j,
    size_t cols, size_t most, int even, const NAME(finish_kind) kind, NAME(finish) *finish) {
    NAME(micro) *const *const micros = NAME(micros)[kind][(cols + LANES - 1) / LANES];
    const size_t all = stop - start;
    size_t height = most, taller_until = start;
    if (even && all > most) {
        const size_t n_tiles = most == MR ? (all + MR - 1) / MR : (all + TALL - 1) / TALL;
        height = all / n_tiles;
        taller_until = start + all % n_tiles * (height + 1);
    }
    for (size_t i = start, rows; i < stop; i += rows, a += rows * row) {
        rows = height + (i < taller_until);
        if (rows > stop - i) rows = stop - i;
        micros[rows](panel, a, i, j, finish);
        if (kind == NAME(TO_TILE)) finish->epilogue(finish->context, i, j, rows, cols, panel->tile);
    }
}

/* C = A B, by tiles; begun (m, n): unless NULL, its sums go on from there.
 *
 * Rows that lie half a page apart crowd into a few sets of the L1 cache and need a page each: they
 * are copied, if the copy is read more than once. Of a transposed A, so many columns that their
 * copies and a panel of B stay in the L2 cache.
 * What lost against this is in benchmarks/notes.md. */
static inline
    __attribute__((always_inline)) void NAME(product)(size_t m, size_t n, size_t k,
                                                      const NAME(operands) *ab, const real *begun,
                                                      vg_tools *tools, const NAME(finish_kind) kind,
                                                      NAME(finish) *finish) {
    const real *const a = ab->a, *const b = ab->b;
    const size_t a_row = ab->a_row, a_col = ab->a_col, ldb = ab->ldb;
    const int transposed = ab->transposed;
    real *const copy = (real *)tools->scratch + VG_TILE_SIZE;
    const int blocked = !tools->unblocked;
    const int far_b = blocked && !transposed && m >= 4 * MR && NAME(crowded)(k, ldb);
    const int far_a = blocked && a_row == 1 && n > NR && NAME(crowded)(k, a_col);
    const int packed = transposed || far_b, even = blocked && !far_a && !ab->aligned;
    real *const tiles = copy + (packed ? k * NR : 0);
    const size_t step = far_a ? vg_packed_rows(k, sizeof(real)) : m;
    NAME(panel) panel;
    panel.k = k;
    panel.a_row = far_a ? 1 : a_row;
    panel.a_col = far_a ? MR : a_col;
    panel.begun = begun;
    panel.n = n;
    panel.tile = tools->scratch;

    for (size_t start = 0; start < m; start += step) {
        const size_t stop = m - start < step ? m : start + step;
        if (far_a) NAME(pack_columns)(stop - start, k, a + start, a_col, tiles);
        for (size_t j = 0, width; j < n; j += width) {
            width = NAME(panel_width)(n - j, blocked);
            const size_t cols = n - j < width ? n - j : width;
            if (transposed) NAME(pack_transposed)(cols, k, b + j * ldb, ldb, copy);
            if (far_b) NAME(pack)(cols, k, b + j, ldb, copy);
            panel.b = packed ? copy : b + j;
            panel.ldb = packed ? NR : ldb;
            panel.last = cols - (width - LANES);
            panel.whole = packed ? k : NAME(whole_rows)(k, ldb, panel.last);
            NAME(take_tiles)(&panel, far_a ? tiles : a + start * a_row, far_a ? k : a_row, start,
                             stop, j, cols,
                             !blocked             ? 1
                             : even && width < NR ? TALL
                                                  : MR,
                             even, kind, finish);
        }
    }
}

/* sums (LANES) of row a (k) and as many rows of W (cols, k; ldw): each block of W is used as it
 * comes transposed, in registers. */
static inline __attribute__((always_inline)) vec NAME(row_by_block)(vec sum, size_t cols, size_t k,
                                                                    const real *a, const real *w,
                                                                    size_t ldw) {
    vec x[LANES];
    if (cols >= LANES && k >= LANES) {
        v_load_columns(w, ldw, LANES, LANES, x);
        for (size_t i = 0; i < LANES; i++) sum = v_fma(v_set(a[i]), x[i], sum);
    } else {
        v_load_columns(w, ldw, cols, k, x);
        for (size_t i = 0; i < LANES && i < k; i++) sum = v_fma(v_set(a[i]), x[i], sum);
    }
    return sum;
}

/* dx (n) = a W^T * phi', of one row a (k), with W (n, k; ldw): a panel would be read but once. */
static void NAME(row_to_deltas)(size_t n, size_t k, const real *a, const real *w, size_t ldw,
                                int stored, NAME(finish) *finish) {
    for (size_t j = 0; j < n; j += NR) {
        const size_t cols = n - j < NR ? n - j : NR;
        vec sum[NV]; /* chains that do not wait for each other */
        for (size_t v = 0; v < NV; v++) sum[v] = v_zero();
        for (size_t p = 0; p < k; p += LANES)
            for (size_t c = 0; c < cols; c += LANES)
                sum[c / LANES] = NAME(row_by_block)(sum[c / LANES], cols - c, k - p, a + p,
                                                    w + (j + c) * ldw + p, ldw);
        for (size_t c = 0; c < cols; c += LANES) {
            const vec x = v_load_n(finish->source + j + c, cols - c);
            const vec d = NAME(times_slope)(sum[c / LANES], x, stored, finish->alpha);
            finish->check = v_fma(d, finish->scale, finish->check);
            v_store_n(finish->to + j + c, d, cols - c);
        }
    }
}

/* One copy of it for each way to finish the tiles. */
static __attribute__((noinline)) void NAME(gemm)(size_t m, size_t n, size_t k,
                                                 const NAME(operands) *ab, const real *begun,
                                                 vg_tools *tools, NAME(finish) *finish) {
    NAME(timed_context) timed = {finish->epilogue, finish->context, tools->ticks};
    if (tools->ticks) {
        finish->epilogue = NAME(timed_epilogue);
        finish->context = &timed;
    }
    NAME(product)(m, n, k, ab, begun, tools, NAME(TO_TILE), finish);
    finish->epilogue = timed.epilogue; /* the caller's never points into this frame */
    finish->context = timed.context;
}
static __attribute__((noinline)) void NAME(gemm_to_weights)(size_t m, size_t n, size_t k,
                                                            const NAME(operands) *ab,
                                                            const real *begun, vg_tools *tools,
                                                            vec lr, real *weights) {
    NAME(finish) finish;
    finish.lr = lr;
    finish.to = weights;
    finish.ld = n;
    NAME(product)(m, n, k, ab, begun, tools, NAME(TO_WEIGHTS), &finish);
}
static
    __attribute__((noinline)) void NAME(gemm_to_deltas)(size_t m, size_t n, size_t k,
                                                        const NAME(operands) *ab, vg_tools *tools,
                                                        int stored, NAME(finish) *finish) {
    const NAME(finish_kind) kind = stored ? NAME(TO_STORED) : NAME(TO_LEAK);
    if (m == 1 && ab->transposed)
        NAME(row_to_deltas)(n, k, ab->a, ab->b, ab->ldb, stored, finish);
    else
        NAME(product)(m, n, k, ab, NULL, tools, kind, finish);
}
