/* dropout.tmpl.h - outputs that a step does without: a / keep with the probability keep, else 0, and
 * phi' likewise (Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout", 2014; that it
 * is training which divides by keep, section 10). The draws are those of random.tmpl.h, 24 bits of
 * each. */

/* factors (32) = scale where a draw keeps, else -0 */
static inline void NAME(factors)(const uint32_t words[NAME(DRAWN)], int32_t below, real scale,
                                 real factors[NAME(DRAWN)]) {
    for (int i = 0; i < NAME(DRAWN); i++)
        factors[i] = (int32_t)(words[i] >> 8) < below ? scale : -(real)0;
}

/* n columns of one row. What is dropped, 0 times as much, is NaN where it is not finite: the check has
 * seen that before. + 0 makes 0 of a derivative of -0, so that only what is dropped has that one. */
static inline
    __attribute__((always_inline)) void NAME(drop_columns)(const vg_derivative form, vec alpha,
                                                           const size_t n, const real *factors,
                                                           real *y, real *d, vec check_scale,
                                                           vec *check) {
    for (size_t i = 0; i < n; i += LANES) {
        const vec factor = v_load(factors + i), a = v_load_n(y + i, n - i);
        const vec source = form == VG_STORED ? v_load_n(d + i, n - i) : a;
        const vec derivative = v_mul(NAME(derivative_of)(form, source, alpha), factor);
        const vec dropped = v_mul(a, factor);
        *check = NAME(check_finite)(*check, dropped, check_scale);
        v_store_n(y + i, dropped, n - i);
        v_store_n(d + i, v_by_sign(factor, v_add(derivative, v_zero()), factor), n - i);
    }
}

static inline
    __attribute__((always_inline)) void NAME(drop_all)(const vg_derivative form, vg_slope slope,
                                                       vg_matrix y, real *derivatives, double keep,
                                                       const vg_key *key, double *check) {
    const vec check_scale = NAME(check_scale)(0), alpha = v_set((real)slope.alpha);
    const int32_t below = (int32_t)ceil(keep * 0x1p24);
    const real scale = (real)(1 / keep);
    vec in_lanes = v_zero();
    for (size_t r = 0; r < y.rows; r += NAME(ROWS_DRAWN))
        for (size_t j = 0; j < y.cols; j += NAME(DRAWN)) {
            uint32_t words[NAME(ROWS_DRAWN)][NAME(DRAWN)];
            NAME(draw_words)(key, r, j, words);
            for (size_t i = 0; r + i < y.rows && i < NAME(ROWS_DRAWN); i++) {
                real factors[NAME(DRAWN)];
                real *const row = (real *)y.p + (r + i) * y.ld + j;
                real *const d = derivatives + (r + i) * y.ld + j;
                NAME(factors)(words[i], below, scale, factors);
                if (y.cols - j >= NAME(DRAWN))
                    NAME(drop_columns)(form, alpha, NAME(DRAWN), factors, row, d, check_scale,
                                       &in_lanes);
                else
                    NAME(drop_columns)(form, alpha, y.cols - j, factors, row, d, check_scale,
                                       &in_lanes);
            }
        }
    *check += v_sum(in_lanes);
}

#define DROP_ALL(form) NAME(drop_all)(form, slope, y, derivatives, keep, &key, check)
static void NAME(dropout)(vg_activation activation, vg_matrix y, void *derivatives, double keep,
                          vg_key key, double *check) {
    const vg_slope slope = vg_slope_of(activation);
    BY_DERIVATIVE(slope.form, DROP_ALL);
}
#undef DROP_ALL
