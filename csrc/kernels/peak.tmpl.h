/* peak.tmpl.h - the limit: FMAs on registers alone, as many chains as a tile of the product. */

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
