/* dropout.tmpl.h - outputs that a step does without: a / keep with the probability keep, else 0,
 * and phi' likewise (Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout", 2014;
 * that it is training which divides by keep, section 10); or alpha dropout (vg_dropout_of). The
 * draws are those of random.tmpl.h, 24 bits of each. */

/* factors (32) = scale where a draw keeps, else -0 */
static inline void NAME(factors)(const uint32_t words[NAME(DRAWN)], int32_t below, real scale,
                                 real factors[NAME(DRAWN)]) {
    for (int i = 0; i < NAME(DRAWN); i++)
        factors[i] = (int32_t)(words[i] >> 8) < below ? scale : -(real)0;
}

typedef struct {
    vec alpha, shift, dropped, check_scale;
} NAME(drop_vecs);

/* n columns of one row. moved: by alpha dropout. Else what is dropped, 0 times as much, is NaN
 * where it is not finite: the check has seen that before. + 0 makes 0 of a derivative of -0, so
 * that only what is dropped has that one. */
static inline __attribute__((always_inline)) void NAME(drop_columns)(
    const vg_derivative form, const int moved, const NAME(drop_vecs) *of, const size_t n,
    const real *factors, real *y, real *d, vec *check) {
    for (size_t i = 0; i < n; i += LANES) {
        const vec factor = v_load(factors + i), a = v_load_n(y + i, n - i);
        const vec source = form == VG_STORED ? v_load_n(d + i, n - i) : a;
        const vec derivative = v_mul(NAME(derivative_of)(form, source, of->alpha), factor);
        const vec scaled = v_mul(a, factor);
        const vec left =
            moved ? v_if_positive(factor, v_add(scaled, of->shift), of->dropped) : scaled;
        *check = NAME(check_finite)(*check, left, of->check_scale);
        v_store_n(y + i, left, n - i);
        v_store_n(d + i, v_by_sign(factor, v_add(derivative, v_zero()), factor), n - i);
    }
}

static inline
    __attribute__((always_inline)) void NAME(drop_all)(const vg_derivative form, const int moved,
                                                       vg_slope slope, vg_matrix y,
                                                       real *derivatives, const vg_dropout *dropout,
                                                       const vg_key *key, double *check) {
    const NAME(drop_vecs) of = {v_set((real)slope.alpha), v_set((real)dropout->shift),
                                v_set((real)dropout->dropped), NAME(check_scale)(0)};
    const int32_t below = (int32_t)ceil(dropout->keep * 0x1p24);
    const real scale = (real)dropout->scale;
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
                    NAME(drop_columns)(form, moved, &of, NAME(DRAWN), factors, row, d, &in_lanes);
                else
                    NAME(drop_columns)(form, moved, &of, y.cols - j, factors, row, d, &in_lanes);
            }
        }
    *check += v_sum(in_lanes);
}

#define DROP_ALL(form) NAME(drop_all)(form, 0, slope, y, derivatives, dropout, &key, check)
#define MOVE_ALL(form) NAME(drop_all)(form, 1, slope, y, derivatives, dropout, &key, check)
static void NAME(dropout)(vg_activation activation, vg_matrix y, void *derivatives,
                          const vg_dropout *dropout, vg_key key, double *check) {
    const vg_slope slope = vg_slope_of(activation);
    if (dropout->dropped == 0) {
        BY_DERIVATIVE(slope.form, DROP_ALL);
    } else {
        BY_DERIVATIVE(slope.form, MOVE_ALL);
    }
}
#undef MOVE_ALL
#undef DROP_ALL
