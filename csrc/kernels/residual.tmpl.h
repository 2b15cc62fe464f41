/* residual.tmpl.h - what goes around layers and is added to what they make, and the way back. */

/* to = x + scale f; without x, scale f */
static void NAME(add_scaled)(vg_matrix x, double scale, vg_matrix f, vg_matrix to, double *check) {
    const vec check_scale = NAME(check_scale)(0), s = v_set((real)scale);
    vec in_lanes = v_zero();
    for (size_t r = 0; r < to.rows; r++) {
        const real *const of_x = x.p ? (const real *)x.p + r * x.ld : NULL;
        const real *const of_f = (const real *)f.p + r * f.ld;
        real *const row = (real *)to.p + r * to.ld;
        for (size_t j = 0; j < to.cols; j += LANES) {
            const vec first = of_x ? v_load_n(of_x + j, to.cols - j) : v_zero();
            const vec sum = v_add(first, v_mul(s, v_load_n(of_f + j, to.cols - j)));
            in_lanes = NAME(check_finite)(in_lanes, sum, check_scale);
            v_store_n(row + j, sum, to.cols - j);
        }
    }
    *check += v_sum(in_lanes);
}

static inline
    __attribute__((always_inline)) void NAME(chain_all)(const vg_derivative form, vg_matrix g,
                                                        vec scale, vec alpha, vg_matrix source,
                                                        int adds, vg_matrix to, double *check) {
    const vec check_scale = NAME(check_scale)(0);
    vec in_lanes = v_zero();
    for (size_t r = 0; r < to.rows; r++) {
        const real *const of_g = (const real *)g.p + r * g.ld;
        const real *const of_source = (const real *)source.p + r * source.ld;
        real *const row = (real *)to.p + r * to.ld;
        for (size_t j = 0; j < to.cols; j += LANES) {
            const size_t n = to.cols - j;
            const vec slope = NAME(derivative_of)(form, v_load_n(of_source + j, n), alpha);
            const vec passed = v_mul(v_mul(scale, v_load_n(of_g + j, n)), slope);
            const vec sum = adds ? v_add(v_load_n(row + j, n), passed) : passed;
            in_lanes = NAME(check_finite)(in_lanes, sum, check_scale);
            v_store_n(row + j, sum, n);
        }
    }
    *check += v_sum(in_lanes);
}

/* to = scale g * phi', or that much more of it */
#define CHAIN(form) NAME(chain_all)(form, g, s, alpha, source, adds, to, check)
static void NAME(chain)(vg_matrix g, double scale, vg_slope slope, vg_matrix source, int adds,
                        vg_matrix to, double *check) {
    const vec s = v_set((real)scale), alpha = v_set((real)slope.alpha);
    BY_DERIVATIVE(slope.form, CHAIN);
}
#undef CHAIN

/* *sum = the sum over all rows of g f, or begun, it goes on */
static void NAME(inner_product)(vg_matrix g, vg_matrix f, int begun, void *sum) {
    double total = begun ? (double)*(real *)sum : 0;
    for (size_t r = 0; r < g.rows; r++) {
        const real *const of_g = (const real *)g.p + r * g.ld, *const of_f =
                                                                   (const real *)f.p + r * f.ld;
        vec in_lanes = v_zero();
        for (size_t j = 0; j < g.cols; j += LANES)
            in_lanes =
                v_fma(v_load_n(of_g + j, g.cols - j), v_load_n(of_f + j, g.cols - j), in_lanes);
        total += v_sum(in_lanes);
    }
    *(real *)sum = (real)total;
}
