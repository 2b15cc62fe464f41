/* loss.tmpl.h - each row's loss and dloss/dz in one pass over it.
 *
 * cross_entropy         sum_j t_j (log sum_k e^z_k - z_j)           dz = softmax(z) sum(t) - t
 * binary_cross_entropy  mean_j (max(z, 0) - z t + log(1 + e^-|z|))  dz = (sigmoid(z) - t) / n
 * mse                   mean_j (z - t)^2                            dz = 2 (z - t) / n */

/* e^(a - peak), with what the subtraction rounded away (Knuth's two-sum: a - peak = x + low) */
static inline vec NAME(exp_below)(vec a, vec peak) {
    const vec x = v_sub(a, peak), back = v_sub(x, a);
    return NAME(exp_sum)(x, v_sub(v_sub(a, v_sub(x, back)), v_add(peak, back)));
}

/* Of a row in one register, n <= LANES: softmax(z), its largest entry and the lanes that hold it.
 * Returns log sum_k e^(z_k - max). The lanes beyond n hold e^0, which is taken off the sum again:
 * filled with e^-inf they cost an underflow a row, which takes 70 ns on some processors (32 rows of
 * 3 classes: 3.2 us). */
static inline double NAME(softmax_lanes)(size_t n, const real *z, vec *p, double *max,
                                         unsigned *places) {
    const real top = v_largest(v_load_or(z, n, v_set(-INFINITY)));
    const vec peak = v_set(top), a = v_load_or(z, n, peak);
    const vec e = NAME(exp_below)(a, peak);
    const NAME(wide) total = NAME(wide_sum)(e) - (NAME(wide))(LANES - n);
    *p = v_div(e, v_set((real)total));
    *max = (double)top;
    *places = v_bits(v_equal(a, peak));
    return log((double)total);
}

/* y (n) = softmax(z): e^(z - max) over a sum with its rounding errors (Kahan) in each lane. Returns
 * log sum_k e^(z_k - max). */
static double NAME(softmax_row)(size_t n, const real *z, real *y, double *max) {
    if (n <= LANES) {
        vec p;
        unsigned places;
        const double log_sum = NAME(softmax_lanes)(n, z, &p, max, &places);
        v_store_n(y, p, n);
        return log_sum;
    }
    vec most = v_set(z[0]);
    for (size_t j = 0; j < n; j += LANES) most = v_max(most, v_load_or(z + j, n - j, most));
    const real top = v_largest(most);
    const vec peak = v_set(top), nothing = v_set(-INFINITY);
    vec sum = v_zero(), lost = v_zero();
    for (size_t j = 0; j < n; j += LANES) {
        const vec e = NAME(exp_below)(v_load_or(z + j, n - j, nothing), peak);
        v_store_n(y + j, e, n - j);
        const vec term = v_sub(e, lost), total = v_add(sum, term);
        lost = v_sub(v_sub(total, sum), term);
        sum = total;
    }
    const NAME(wide) total = NAME(wide_sum)(sum) - NAME(wide_sum)(lost);
    const vec divisor = v_set((real)total);
    for (size_t j = 0; j < n; j += LANES)
        v_store_n(y + j, v_div(v_load_n(y + j, n - j), divisor), n - j);
    *max = (double)top;
    return log((double)total);
}

static void NAME(softmax)(size_t rows, size_t n, const void *z, void *y) {
    double max;
    for (size_t r = 0; r < rows; r++)
        NAME(softmax_row)(n, (const real *)z + r * n, (real *)y + r * n, &max);
}

/* The first place of the largest of z (n); 0 if there is none. */
static size_t NAME(argmax)(size_t n, const real *z) {
    size_t best = 0;
    for (size_t j = 1; j < n; j++)
        if (z[j] > z[best]) best = j;
    return best;
}

/* A one among zeros: loaded from LANES - i on, it is in lane i. */
static const real NAME(one_hot)[2 * LANES] = {[LANES] = 1};

static double NAME(cross_entropy_label)(size_t n, const real *z, size_t label, real share, real *dz,
                                        double *correct) {
    double max, log_sum;
    if (n <= LANES) {
        vec p;
        unsigned places;
        log_sum = NAME(softmax_lanes)(n, z, &p, &max, &places);
        const vec hot = v_load(NAME(one_hot) + LANES - label);
        v_store_n(dz, v_mul(v_sub(p, hot), v_set(share)), n);
        *correct = places && (size_t)__builtin_ctz(places) == label;
        return log_sum + (max - (double)z[label]);
    }
    log_sum = NAME(softmax_row)(n, z, dz, &max);
    const real wrong = dz[label] - 1;
    for (size_t j = 0; j < n; j += LANES)
        v_store_n(dz + j, v_mul(v_load_n(dz + j, n - j), v_set(share)), n - j);
    dz[label] = wrong * share;
    *correct = NAME(argmax)(n, z) == label;
    return log_sum + (max - (double)z[label]);
}

static double NAME(cross_entropy)(size_t n, const real *z, const real *t, real share, real *dz,
                                  double *correct) {
    double max, loss = 0, mass = 0;
    const double log_sum = NAME(softmax_row)(n, z, dz, &max);
    for (size_t j = 0; j < n; j++) {
        mass += (double)t[j];
        loss += (double)t[j] * (log_sum + (max - (double)z[j]));
    }
    for (size_t j = 0; j < n; j++) dz[j] = (dz[j] * (real)mass - t[j]) * share;
    *correct = NAME(argmax)(n, z) == NAME(argmax)(n, t);
    return loss;
}

static double NAME(binary_cross_entropy)(size_t n, const real *z, const real *t, real share,
                                         real *dz, double *correct) {
    const vec one = v_set(1), half = v_set((real)0.5), scale = v_set(share / (real)n);
    double loss = 0;
    int wrong = 0;
    for (size_t j = 0; j < n; j += LANES) {
        const vec x = v_load_n(z + j, n - j), target = v_load_n(t + j, n - j);
        vec slope;
        const vec e = NAME(exp)(v_sub(v_zero(), v_abs(x))), p = NAME(sigmoid)(x, &slope);
        v_store_n(dz + j, v_mul(v_sub(p, target), scale), n - j);
        const vec terms = v_add(v_fnma(x, target, v_max(v_zero(), x)), NAME(log1p)(v_min(one, e)));
        real each[LANES];
        v_store(each, terms);
        for (size_t i = 0; i < LANES && i < n - j; i++) loss += (double)each[i];
        const unsigned yes = v_bits(v_less(v_zero(), x)), wanted = v_bits(v_less(half, target));
        wrong += __builtin_popcount(yes ^ wanted); /* lanes beyond n hold two zeros */
    }
    *correct = 1 - (double)wrong / (double)n;
    return loss / (double)n;
}

static double NAME(mse)(size_t n, const real *z, const real *t, real share, real *dz) {
    const vec scale = v_set(2 * share / (real)n);
    double loss = 0;
    for (size_t j = 0; j < n; j += LANES) {
        const vec off = v_sub(v_load_n(z + j, n - j), v_load_n(t + j, n - j));
        v_store_n(dz + j, v_mul(off, scale), n - j);
        loss += v_sum(v_mul(off, off));
    }
    if (!isfinite(loss)) { /* squares can leave the range of float where the loss does not */
        loss = 0;
        for (size_t j = 0; j < n; j++) loss += ((double)z[j] - t[j]) * ((double)z[j] - t[j]);
    }
    return loss / (double)n;
}

static void NAME(loss)(vg_loss kind, size_t rows, size_t n, const void *outputs, size_t ld,
                       const int32_t *labels, const void *targets, const int64_t *order,
                       double batch, double *losses, double *correct, void *deltas, double *guard) {
    const real share = (real)(1 / batch);
    const vec scale = NAME(guard_scale)(0);
    vec trip = v_zero();
    for (size_t r = 0; r < rows; r++) {
        const size_t sample = order ? (size_t)order[r] : r;
        const real *const z = (const real *)outputs + r * ld;
        const real *const t = targets ? (const real *)targets + sample * n : NULL;
        real *const dz = (real *)deltas + r * ld;
        correct[r] = 0;
        if (kind == VG_MSE)
            losses[r] = NAME(mse)(n, z, t, share, dz);
        else if (kind == VG_BINARY_CROSS_ENTROPY)
            losses[r] = NAME(binary_cross_entropy)(n, z, t, share, dz, correct + r);
        else if (t)
            losses[r] = NAME(cross_entropy)(n, z, t, share, dz, correct + r);
        else
            losses[r] =
                NAME(cross_entropy_label)(n, z, (size_t)labels[sample], share, dz, correct + r);
        for (size_t j = 0; j < n; j += LANES)
            trip = NAME(watch)(trip, v_load_n(dz + j, n - j), scale);
    }
    *guard += v_sum(trip);
}
