/* batch_norm.tmpl.h - columns brought to mean 0 and deviation 1 over the rows of a batch, and
 * the way back (Ioffe, Szegedy, "Batch normalization", 2015), by the formulas of
 * normalization.tmpl.h with columns for rows.
 *
 * The rows are cut into chunks, whoever takes them. Of a chunk: its first row, the mean of the
 * differences from that, and the squares about the mean; and these are put together, in order,
 * by what each chunk's mean is off the whole one's (Chan, Golub, LeVeque, "Algorithms for
 * computing the sample variance", 1983). No large number is ever squared: a mean of 1e4
 * deviations costs float32 nothing. */

/* A vector of columns from j on, of which n exist. */
static inline NAME(centre) NAME(centre_at)(const vg_column_norm *norm, size_t j, size_t n) {
    return (NAME(centre)){
        v_load_n((const real *)norm->high + j, n),
        norm->low ? v_load_n((const real *)norm->low + j, n) : v_zero(),
        v_load_n((const real *)norm->rate + j, n),
    };
}

/* moments (VG_MOMENTS, ld): of a chunk, its first row, what the mean is off that, the sum of
 * squares. */
static void NAME(column_moments)(vg_matrix x, void *moments, size_t ld) {
    const vec each = v_set((real)(1 / (double)x.rows));
    for (size_t j = 0; j < x.cols; j += LANES) {
        const size_t n = x.cols - j;
        const real *const from = (const real *)x.p + j;
        const vec first = v_load_n(from, n);
        vec sum = v_zero(), squares = v_zero();
        for (size_t r = 1; r < x.rows; r++)
            sum = v_add(sum, v_sub(v_load_n(from + r * x.ld, n), first));
        const vec off = v_mul(sum, each);
        for (size_t r = 0; r < x.rows; r++) {
            const vec d = v_sub(v_sub(v_load_n(from + r * x.ld, n), first), off);
            squares = v_fma(d, d, squares);
        }
        v_store_n((real *)moments + j, first, n);
        v_store_n((real *)moments + ld + j, off, n);
        v_store_n((real *)moments + 2 * ld + j, squares, n);
    }
}

/* The sum of two numbers, rounded, and what that leaves (Knuth's). */
static inline vec NAME(exact_sum)(vec a, vec b, vec *rest) {
    const vec sum = v_add(a, b), from_b = v_sub(sum, a);
    *rest = v_add(v_sub(a, v_sub(sum, from_b)), v_sub(b, from_b));
    return sum;
}

/* Rows that chunk k has, of so many. */
static inline real NAME(rows_of_chunk)(size_t k, size_t chunk, size_t rows) {
    return (real)(rows - k * chunk < chunk ? rows - k * chunk : chunk);
}

static void NAME(fold_moments)(size_t cols, size_t rows, size_t chunk, const void *moments,
                               size_t ld, size_t stride, double eps, void *folded) {
    const size_t chunks = (rows + chunk - 1) / chunk;
    const vec each = v_set((real)(1 / (double)rows));
    for (size_t j = 0; j < cols; j += LANES) {
        const size_t n = cols - j;
        const real *const from = (const real *)moments + j;
        real *const to = (real *)folded + j;
        const vec first = v_load_n(from, n);
        vec sum = v_zero(), squares = v_zero(), low;
        for (size_t k = 0; k < chunks; k++) {
            const real *const of = from + k * stride;
            const vec off = v_add(v_sub(v_load_n(of, n), first), v_load_n(of + ld, n));
            sum = v_fma(v_set(NAME(rows_of_chunk)(k, chunk, rows)), off, sum);
        }
        const vec high = NAME(exact_sum)(first, v_mul(sum, each), &low);
        for (size_t k = 0; k < chunks; k++) {
            const real *const of = from + k * stride;
            const vec off = v_add(v_sub(v_sub(v_load_n(of, n), high), low), v_load_n(of + ld, n));
            const vec weight = v_mul(v_set(NAME(rows_of_chunk)(k, chunk, rows)), off);
            squares = v_add(v_fma(weight, off, squares), v_load_n(of + 2 * ld, n));
        }
        v_store_n(to, high, n);
        v_store_n(to + ld, low, n);
        v_store_n(to + 3 * ld, v_mul(squares, each), n);
    }
    const real *const variances = (const real *)folded + 3 * ld;
    real *const rates = (real *)folded + 2 * ld;
    for (size_t j = 0; j < cols; j++) rates[j] = (real)NAME(rate_of)((double)variances[j], eps);
}

static void NAME(rates_of)(size_t n, const void *variances, double eps, void *rates) {
    for (size_t j = 0; j < n; j++)
        ((real *)rates)[j] = (real)NAME(rate_of)((double)((const real *)variances)[j], eps);
}

static void NAME(normalize_columns)(vg_matrix x, const vg_column_norm *norm,
                                    vg_activation activation, vg_matrix y, void *derivatives,
                                    double *check) {
    const vec scale = NAME(check_scale)(0);
    vec in_lanes = v_zero();
    for (size_t r = 0; r < x.rows; r++) {
        const real *const from = (const real *)x.p + r * x.ld;
        real *const to = (real *)y.p + r * y.ld;
        for (size_t j = 0; j < x.cols; j += LANES) {
            const size_t n = x.cols - j;
            const NAME(centre) centre = NAME(centre_at)(norm, j, n);
            const vec h = v_mul(NAME(centred)(centre, v_load_n(from + j, n)), centre.rate);
            const vec u = v_fma(h, NAME(gain_at)(norm->gains, j, x.cols),
                                NAME(shift_at)(norm->shifts, j, x.cols));
            in_lanes = NAME(check_finite)(in_lanes, u, scale);
            v_store_n(to + j, u, n);
        }
        if (activation.phi != VG_IDENTITY)
            NAME(activate)(activation, x.cols, to, to,
                           derivatives ? (real *)derivatives + r * y.ld : NULL);
    }
    *check += v_sum(in_lanes);
}

/* sums (2, ld): of dy and of dy h over the rows of a chunk */
static void NAME(column_products)(vg_matrix dy, vg_matrix x, const vg_column_norm *norm, void *sums,
                                  size_t ld) {
    for (size_t j = 0; j < x.cols; j += LANES) {
        const size_t n = x.cols - j;
        const NAME(centre) centre = NAME(centre_at)(norm, j, n);
        const real *const from = (const real *)x.p + j, *const given = (const real *)dy.p + j;
        vec sum = v_zero(), products = v_zero();
        for (size_t r = 0; r < x.rows; r++) {
            const vec h = v_mul(NAME(centred)(centre, v_load_n(from + r * x.ld, n)), centre.rate);
            const vec g = v_load_n(given + r * dy.ld, n);
            sum = v_add(sum, g);
            products = v_fma(g, h, products);
        }
        v_store_n((real *)sums + j, sum, n);
        v_store_n((real *)sums + ld + j, products, n);
    }
}

/* sums (2, ld): of the whole batch, which has so many rows */
static void NAME(normalize_columns_back)(vg_matrix dy, vg_matrix x, const vg_column_norm *norm,
                                         const void *sums, size_t ld, size_t rows, vg_matrix dx,
                                         double *check) {
    const vec scale = NAME(check_scale)(0), each = v_set((real)(1 / (double)rows));
    vec in_lanes = v_zero();
    for (size_t r = 0; r < x.rows; r++) {
        const real *const from = (const real *)x.p + r * x.ld;
        const real *const given = (const real *)dy.p + r * dy.ld;
        real *const to = (real *)dx.p + r * dx.ld;
        for (size_t j = 0; j < x.cols; j += LANES) {
            const size_t n = x.cols - j;
            const NAME(centre) centre = NAME(centre_at)(norm, j, n);
            const vec h = v_mul(NAME(centred)(centre, v_load_n(from + j, n)), centre.rate);
            const vec mean = v_mul(v_load_n((const real *)sums + j, n), each);
            const vec along = v_mul(v_load_n((const real *)sums + ld + j, n), each);
            const vec across = v_fnma(h, along, v_sub(v_load_n(given + j, n), mean));
            const vec factor = v_mul(centre.rate, NAME(gain_at)(norm->gains, j, x.cols));
            const vec back = v_mul(factor, across);
            in_lanes = NAME(check_finite)(in_lanes, back, scale);
            v_store_n(to + j, back, n);
        }
    }
    *check += v_sum(in_lanes);
}

/* means and variances (n) = their moving averages, of which the new ones, folded (VG_FOLDED, ld),
 * have so much weight; the variance is that of a sample of so many rows, without bias. */
static void NAME(renew_running)(size_t n, const void *folded, size_t ld, double weight, size_t rows,
                                void *means, void *variances) {
    const double unbiased = rows > 1 ? (double)rows / ((double)rows - 1) : 1;
    const vec keep = v_set((real)(1 - weight)), give = v_set((real)weight);
    const vec give_variance = v_set((real)(weight * unbiased));
    for (size_t j = 0; j < n; j += LANES) {
        const size_t left = n - j;
        const real *const from = (const real *)folded + j;
        real *const m = (real *)means + j, *const v = (real *)variances + j;
        const vec mean = v_add(v_load_n(from, left), v_load_n(from + ld, left));
        const vec variance = v_load_n(from + 3 * ld, left);
        v_store_n(m, v_fma(keep, v_load_n(m, left), v_mul(give, mean)), left);
        v_store_n(v, v_fma(keep, v_load_n(v, left), v_mul(give_variance, variance)), left);
    }
}
