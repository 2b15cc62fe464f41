/* sums.tmpl.h - sums of rows: the gradient of biases, that of chunks of a batch; and what else is
 * done with vectors of a number for each unit. */

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
