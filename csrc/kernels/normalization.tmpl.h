/* normalization.tmpl.h - rows of a matrix brought to mean 0 and deviation 1 (layer norm), or only
 * divided by their root mean square (RMS norm); or its columns (batch norm, in
 * batch_norm.tmpl.h); and the way back:
 *
 *   h = (x - mean) rate, rate = 1 / sqrt(variance + eps);   y = phi(gain h + shift)
 *   dx = rate (d - mean(d) - h mean(d h)), d = gain dy;     dgain = sum of dy h over the rows
 *
 * (Ba, Kiros, Hinton, "Layer normalization", 2016; Zhang, Sennrich, "Root mean square layer
 * normalization", 2019: mean = 0, and so is mean(d).) The variance takes a second pass, and the
 * first sums up differences from the row's first number: with a mean of 1e4 deviations float32
 * keeps all digits of h but for those that x has lost. */

/* A mean as the nearest number and the rest: x - high is exact where x is near, so that
 * (x - high) - low is rounded once, relative to itself. */
typedef struct {
    vec high, low, rate;
} NAME(centre);

static inline NAME(centre) NAME(centre_of)(vg_moments m) {
    const real high = (real)m.mean;
    return (NAME(centre)){v_set(high), v_set((real)(m.mean - (double)high)), v_set((real)m.rate)};
}
static inline vec NAME(centred)(NAME(centre) c, vec x) { return v_sub(v_sub(x, c.high), c.low); }

/* Sums of a row's differences from the centre, or of their squares, in four chains of additions
 * that do not wait for each other. */
static inline
    __attribute__((always_inline)) double NAME(sum_of_row)(const int squares, size_t n,
                                                           const real *x, NAME(centre) c) {
    const int count = GROUP;
    vec sum[GROUP];
    EACH sum[k] = v_zero();
    size_t i = 0;
    for (; n - i >= GROUP * LANES; i += GROUP * LANES) EACH {
            const vec d = NAME(centred)(c, v_load(x + i + (size_t)k * LANES));
            sum[k] = squares ? v_fma(d, d, sum[k]) : v_add(sum[k], d);
        }
    for (; i < n; i += LANES) {
        const vec d = v_first_n(NAME(centred)(c, v_load_n(x + i, n - i)), n - i);
        sum[0] = squares ? v_fma(d, d, sum[0]) : v_add(sum[0], d);
    }
    return v_sum(v_add(v_add(sum[0], sum[1]), v_add(sum[2], sum[3])));
}
_Static_assert(GROUP == 4, "sums of rows have four chains");

/* A variance beyond the range would leave h = 0, and nothing would show that: it makes h NaN. */
static inline double NAME(rate_of)(double variance, double eps) {
    return isfinite(variance) ? 1 / sqrt(variance + eps) : NAN;
}

static vg_moments NAME(moments_of_row)(size_t n, const real *x, const vg_row_norm *norm) {
    vg_moments m = {0, 1};
    if (norm->centred) {
        const vg_moments first = {(double)x[0], 1};
        m.mean = first.mean + NAME(sum_of_row)(0, n, x, NAME(centre_of)(first)) / (double)n;
    }
    const double squares = NAME(sum_of_row)(1, n, x, NAME(centre_of)(m));
    m.rate = NAME(rate_of)(squares / (double)n, norm->eps);
    return m;
}

/* Columns of gains and shifts, from column i on; without any, 1 and 0. */
static inline vec NAME(gain_at)(const real *gains, size_t i, size_t n) {
    return gains ? v_load_n(gains + i, n - i) : v_set(1);
}
static inline vec NAME(shift_at)(const real *shifts, size_t i, size_t n) {
    return shifts ? v_load_n(shifts + i, n - i) : v_zero();
}

static void NAME(normalize_rows)(vg_matrix x, const vg_row_norm *norm, vg_activation activation,
                                 vg_matrix y, void *derivatives, vg_moments *moments,
                                 double *check) {
    const vec scale = NAME(check_scale)(0);
    vec in_lanes = v_zero();
    for (size_t r = 0; r < x.rows; r++) {
        const real *const from = (const real *)x.p + r * x.ld;
        real *const to = (real *)y.p + r * y.ld;
        const vg_moments m = NAME(moments_of_row)(x.cols, from, norm);
        const NAME(centre) centre = NAME(centre_of)(m);
        if (moments) moments[r] = m;
        for (size_t i = 0; i < x.cols; i += LANES) {
            const size_t n = x.cols - i;
            const vec h = v_mul(NAME(centred)(centre, v_load_n(from + i, n)), centre.rate);
            const vec u = v_first_n(v_fma(h, NAME(gain_at)(norm->gains, i, x.cols),
                                          NAME(shift_at)(norm->shifts, i, x.cols)),
                                    n);
            in_lanes = NAME(check_finite)(in_lanes, u, scale);
            v_store_n(to + i, u, n);
        }
        if (activation.phi != VG_IDENTITY)
            NAME(activate)(activation, x.cols, to, to,
                           derivatives ? (real *)derivatives + r * y.ld : NULL);
    }
    *check += v_sum(in_lanes);
}

static void NAME(normalize_rows_back)(vg_matrix dy, vg_matrix x, const vg_row_norm *norm,
                                      const vg_moments *moments, vg_matrix dx, double *check) {
    const vec scale = NAME(check_scale)(0);
    const double each = 1 / (double)x.cols;
    vec in_lanes = v_zero();
    for (size_t r = 0; r < x.rows; r++) {
        const real *const from = (const real *)x.p + r * x.ld;
        const real *const given = (const real *)dy.p + r * dy.ld;
        real *const to = (real *)dx.p + r * dx.ld;
        const NAME(centre) centre = NAME(centre_of)(moments[r]);
        vec sum[2] = {v_zero(), v_zero()}, products[2] = {v_zero(), v_zero()};
        for (size_t i = 0, chain = 0; i < x.cols; i += LANES, chain ^= 1) {
            const size_t n = x.cols - i;
            const vec h = v_mul(NAME(centred)(centre, v_load_n(from + i, n)), centre.rate);
            const vec d = v_mul(v_load_n(given + i, n), NAME(gain_at)(norm->gains, i, x.cols));
            sum[chain] = v_add(sum[chain], d); /* beyond the last column d is 0 */
            products[chain] = v_fma(d, v_first_n(h, n), products[chain]);
        }
        const double all = norm->centred ? v_sum(v_add(sum[0], sum[1])) : 0;
        const vec mean = v_set((real)(all * each));
        const vec along = v_set((real)(v_sum(v_add(products[0], products[1])) * each));
        for (size_t i = 0; i < x.cols; i += LANES) {
            const size_t n = x.cols - i;
            const vec h = v_mul(NAME(centred)(centre, v_load_n(from + i, n)), centre.rate);
            const vec d = v_mul(v_load_n(given + i, n), NAME(gain_at)(norm->gains, i, x.cols));
            const vec across = v_fnma(h, along, v_sub(d, mean));
            const vec back = v_first_n(v_mul(centre.rate, across), n);
            in_lanes = NAME(check_finite)(in_lanes, back, scale);
            v_store_n(to + i, back, n);
        }
    }
    *check += v_sum(in_lanes);
}

/* sums (n) = those of dy h down the columns; or begun, they go on from what they are. Eight vectors
 * of columns at a time, as in sums.tmpl.h. */
static void NAME(gain_sums)(vg_matrix dy, vg_matrix x, const vg_moments *moments, int begun,
                            void *sums) {
    enum { MOST = 8 };
    for (size_t j = 0; j < x.cols; j += MOST * LANES) {
        const size_t left = x.cols - j, vecs = left < MOST * LANES ? (left - 1) / LANES + 1 : MOST;
        real *const to = (real *)sums + j;
        vec sum[MOST];
        for (size_t v = 0; v < vecs; v++)
            sum[v] = begun ? v_load_n(to + v * LANES, left - v * LANES) : v_zero();
        for (size_t r = 0; r < x.rows; r++) {
            const real *const from = (const real *)x.p + r * x.ld + j;
            const real *const given = (const real *)dy.p + r * dy.ld + j;
            const NAME(centre) centre = NAME(centre_of)(moments[r]);
            for (size_t v = 0; v < vecs; v++) {
                const size_t n = left - v * LANES;
                const vec h =
                    v_mul(NAME(centred)(centre, v_load_n(from + v * LANES, n)), centre.rate);
                sum[v] = v_fma(v_load_n(given + v * LANES, n), v_first_n(h, n), sum[v]);
            }
        }
        for (size_t v = 0; v < vecs; v++) v_store_n(to + v * LANES, sum[v], left - v * LANES);
    }
}

/* d *= phi', from what was stored or from the outputs */
#define TIMES(form)                                                                                \
    for (size_t i = 0; i < d.cols; i += LANES) {                                                   \
        const size_t n = d.cols - i;                                                               \
        const vec product =                                                                        \
            v_mul(v_load_n(to + i, n), NAME(derivative_of)(form, v_load_n(from + i, n), alpha));   \
        in_lanes = NAME(check_finite)(in_lanes, product, scale);                                   \
        v_store_n(to + i, product, n);                                                             \
    }
static void NAME(times_derivative)(vg_slope slope, vg_matrix source, vg_matrix d, double *check) {
    const vec scale = NAME(check_scale)(0), alpha = v_set((real)slope.alpha);
    vec in_lanes = v_zero();
    for (size_t r = 0; r < d.rows; r++) {
        const real *const from = (const real *)source.p + r * source.ld;
        real *const to = (real *)d.p + r * d.ld;
        BY_DERIVATIVE(slope.form, TIMES);
    }
    *check += v_sum(in_lanes);
}
#undef TIMES
