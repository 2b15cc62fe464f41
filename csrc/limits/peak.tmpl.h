/* peak.tmpl.h - the limits: FMAs on registers alone, as many chains as a tile of the product; and
 * loads and stores with nothing else. */

/* turns rounds of MR * NV independent FMAs; returns their operations. */
static double NAME(fma_loop)(size_t turns, double *sink) {
    const vec x = v_set((real)*sink), y = v_set((real)1e-3);
    vec sum[MR * NV];
    double total = 0;
#pragma GCC unroll 24
    for (int i = 0; i < MR * NV; i++) sum[i] = v_set((real)i);
    for (size_t n = 0; n < turns; n++)
#pragma GCC unroll 24
        for (int i = 0; i < MR * NV; i++) sum[i] = v_fma(x, y, sum[i]);
#pragma GCC unroll 24
    for (int i = 0; i < MR * NV; i++) total += v_sum(sum[i]);
    *sink = 0.5 + 1e-12 * total; /* of moderate size for the next call */
    return 2.0 * (double)turns * MR * NV * LANES;
}

/* The sum of x (n). Eight chains, because an addition takes some cycles. */
static double NAME(read_loop)(size_t n, const void *x) {
    const real *const from = x;
    vec sum[8], all = v_zero();
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++) sum[v] = v_zero();
    size_t i = 0;
    for (; n - i >= 8 * LANES; i += 8 * LANES)
#pragma GCC unroll 8
        for (int v = 0; v < 8; v++) sum[v] = v_add(sum[v], v_load(from + i + (size_t)v * LANES));
    for (; i < n; i += LANES) all = v_add(all, v_load_n(from + i, n - i));
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++) all = v_add(all, sum[v]);
    return v_sum(all);
}

/* x (n) = 0 */
static void NAME(write_loop)(size_t n, void *x) {
    real *const to = x;
    size_t i = 0;
    for (; n - i >= 8 * LANES; i += 8 * LANES)
#pragma GCC unroll 8
        for (size_t v = 0; v < 8; v++) v_store(to + i + v * LANES, v_zero());
    for (; i < n; i += LANES) v_store_n(to + i, v_zero(), n - i);
}
