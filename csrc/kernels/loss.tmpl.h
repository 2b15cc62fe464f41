/* loss.tmpl.h - each row's loss and dloss/dz in one pass over it.
 *
 * cross_entropy         sum_j t_j (log sum_k e^z_k - z_j)           dz = softmax(z) sum(t) - t
 * binary_cross_entropy  mean_j (max(z, 0) - z t + log(1 + e^-|z|))  dz = (sigmoid(z) - t) / n
 * mse                   mean_j (z - t)^2                            dz = 2 (z - t) / n */

/* y (n) = softmax(z): e^(z - max), with what the subtraction rounded away, over a sum with its
 * rounding errors (Kahan) in each lane. Returns log sum_k e^(z_k - max). */
static double NAME(softmax_row)(size_t n, const real *z, real *y, double *max) {
    vec most = v_set(z[0]);
    for (size_t j = 0; j < n; j += LANES) most = v_max(most, v_load_or(z + j, n - j, most));
    const real top = v_largest(most);
    const vec peak = v_set(top), nothing = v_set(-INFINITY);
    vec sum = v_zero(), lost = v_zero();
    for (size_t j = 0; j < n; j += LANES) {
        const vec a = v_load_or(z + j, n - j, nothing), x = v_sub(a, peak);
        const vec back = v_sub(x, a); /* Knuth's two-sum: a - peak = x + low exactly */
        const vec low = v_sub(v_sub(a, v_sub(x, back)), v_add(peak, back));
        const vec e = NAME(exp_sum)(x, low);
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

static double NAME(cross_entropy_label)(size_t n, const real *z, size_t label, real share, real *dz,
                                        double *correct) {
    double max;
    const double log_sum = NAME(softmax_row)(n, z, dz, &max);
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
    int right = 0;
    for (size_t j = 0; j < n; j += LANES) {
        const unsigned lanes = NAME(lanes)(n - j);
        const vec x = v_load_n(z + j, n - j), target = v_load_n(t + j, n - j);
        vec slope;
        const vec e = NAME(exp)(v_sub(v_zero(), v_abs(x))), p = NAME(sigmoid)(x, &slope);
        v_store_n(dz + j, v_mul(v_sub(p, target), scale), n - j);
        const vec terms = v_add(v_fnma(x, target, v_max(v_zero(), x)), NAME(log1p)(v_min(one, e)));
        real each[LANES];
        v_store(each, terms);
        for (size_t i = 0; i < LANES && i < n - j; i++) loss += (double)each[i];
        right += __builtin_popcount(~(v_less(v_zero(), x) ^ v_less(half, target)) & lanes);
    }
    *correct = (double)right / (double)n;
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
