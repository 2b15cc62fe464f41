/* loss.tmpl.h - each row's loss and dloss/dz in one pass over it. The loss of the batch is the mean
 * of its rows', so a row's share in it is 1 / rows or, with weights, w / sum(w): dz is scaled by
 * it.
 *
 * cross_entropy         sum_j t_j (log sum_k e^z_k - z_j)           dz = softmax(z) sum(t) - t
 * binary_cross_entropy  mean_j (max(z, 0) - z t + log(1 + e^-|z|))  dz = (sigmoid(z) - t) / n
 * mse                   mean_j (z - t)^2                            dz = 2 (z - t) / n */

/* e^(a - peak), with what the subtraction rounded away (Knuth's two-sum: a - peak = x + low) */
static inline vec NAME(exp_from)(vec a, vec peak) {
    const vec x = v_sub(a, peak), back = v_sub(x, a);
    return NAME(exp_sum)(x, v_sub(v_sub(a, v_sub(x, back)), v_add(peak, back)));
}

/* Of a row in one register, n <= LANES: softmax(z) and its largest entry. Returns
 * log sum_k e^(z_k - max). The lanes beyond n hold e^0, which is taken off the sum again:
 * filled with e^-inf they cost an underflow a row, which takes 70 ns on some processors (32 rows of
 * 3 classes: 3.2 us). */
static inline double NAME(softmax_lanes)(size_t n, const real *z, vec *p, double *max) {
    const real top = v_largest(v_load_or(z, n, v_set(-INFINITY)));
    const vec peak = v_set(top), a = v_load_or(z, n, peak);
    const vec e = NAME(exp_from)(a, peak);
    const NAME(wide) total = NAME(wide_sum)(e) - (NAME(wide))(LANES - n);
    *p = v_div(e, v_set((real)total));
    *max = (double)top;
    return log((double)total);
}

/* y (n) = softmax(z): e^(z - max) over a sum with its rounding errors (Kahan) in each lane. Returns
 * log sum_k e^(z_k - max). */
static double NAME(softmax_row)(size_t n, const real *z, real *y, double *max) {
    if (n <= LANES) {
        vec p;
        const double log_sum = NAME(softmax_lanes)(n, z, &p, max);
        v_store_n(y, p, n);
        return log_sum;
    }
    vec most = v_set(z[0]);
    for (size_t j = 0; j < n; j += LANES) most = v_max(most, v_load_or(z + j, n - j, most));
    const real top = v_largest(most);
    const vec peak = v_set(top), nothing = v_set(-INFINITY);
    vec sum = v_zero(), lost = v_zero();
    for (size_t j = 0; j < n; j += LANES) {
        const vec e = NAME(exp_from)(v_load_or(z + j, n - j, nothing), peak);
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

/* So few classes that those of LANES rows stay in the L1 cache, or in registers. */
enum { NAME(few) = 16 };

/* log(1 + rest), 0 <= rest < few: 1 + rest = 2^k (1 + u) with k = 0, 1, 2, ... found by comparing;
 * u = rest if k = 0, however small that is. */
static inline vec NAME(log_of_sum)(vec rest) {
    const vec one = v_set(1), sum = v_add(one, rest);
    vec k = v_zero();
    for (int power = 2; power < NAME(few); power *= 2)
        k = v_count(k, v_less(v_set((real)power), sum));
    const vec reduced = v_sub(v_mul(sum, v_power(v_sub(v_zero(), k))), one);
    return v_fma(k, v_set((real)0.69314718055994530942), /* ln 2 */
                 NAME(log1p)(v_if_positive(k, reduced, rest)));
}

/* cross_entropy of as many rows as there are lanes, or less, of few classes, with labels: a vector
 * holds one class of all rows. One row after the other, 32 rows of 3 classes took 956 ns, of which
 * 330 in log; so they take 210. */
static vec NAME(cross_entropy_block)(size_t rows, size_t n, const real *z, size_t ld,
                                     const real *labels, const real *shares, double *losses,
                                     double *correct, real *dz, vec check) {
    const vec one = v_set(1), zero = v_zero(), label = v_load(labels);
    vec class[NAME(few)];
    size_t from = 0;
    do {
        v_load_columns(z + from, ld, rows, n - from, class + from);
        from += LANES;
    } while (from < n);
    vec peak = class[0], first = zero, of_label = zero; /* first: the class of the first peak */
    for (size_t j = 0; j < n; j++) {
        first = v_if_positive(v_sub(class[j], peak), v_set((real)j), first);
        peak = v_max(class[j], peak);
        const vec here = v_count(zero, v_equal(label, v_set((real)j)));
        of_label = v_if_positive(here, class[j], of_label);
    }
    vec rest = zero, lost = zero; /* the sum of e^(z - peak) without the first peak's, which is 1 */
    for (size_t j = 0; j < n; j++) {
        const vec peaks = v_count(zero, v_equal(first, v_set((real)j)));
        class[j] = NAME(exp_from)(class[j], peak);
        const vec term = v_sub(v_if_positive(peaks, zero, class[j]), lost);
        const vec sum = v_add(rest, term);
        lost = v_sub(v_sub(sum, rest), term);
        rest = sum;
    }
    const vec total = v_add(one, rest), part = v_div(one, total), scale = v_load(shares);
    for (size_t j = 0; j < n; j++) {
        const vec p = v_mul(class[j], part), hot = v_count(zero, v_equal(label, v_set((real)j)));
        class[j] = v_mul(v_sub(v_fma(v_fnma(p, total, class[j]), part, p), hot), scale);
    }
    for (size_t j = 0; j < n; j += LANES) {
        v_transpose(class + j);
        for (size_t r = 0; r < rows; r++) {
            check = NAME(check_finite)(check, class[j + r], NAME(check_scale)(0));
            v_store_n(dz + r * ld + j, class[j + r], n - j);
        }
    }
    real logs[LANES], peaks[LANES], chosen[LANES], best[LANES];
    v_store(logs, NAME(log_of_sum)(rest));
    v_store(peaks, peak);
    v_store(chosen, of_label);
    v_store(best, first);
    for (size_t r = 0; r < rows; r++) {
        losses[r] = (double)logs[r] + ((double)peaks[r] - (double)chosen[r]);
        correct[r] = best[r] == labels[r];
    }
    return check;
}

/* Of a sample with a weight. */
static inline real NAME(share)(vg_targets wanted, size_t sample) {
    return (real)(wanted.weights[sample] / wanted.total);
}

/* Rows in blocks; returns the check. */
static vec NAME(cross_entropy_blocks)(vg_matrix outputs, vg_targets wanted, double *losses,
                                      double *correct, real *dz) {
    const size_t rows = outputs.rows, n = outputs.cols, ld = outputs.ld;
    const real *const z = outputs.p;
    vec check = v_zero();
    real labels[LANES] = {0}, shares[LANES];
    v_store(shares, v_set((real)(1 / wanted.total)));
    for (size_t r = 0; r < rows; r += LANES) {
        const size_t part = rows - r < LANES ? rows - r : LANES;
        for (size_t i = 0; i < part; i++) {
            const size_t sample = wanted.order ? (size_t)wanted.order[r + i] : r + i;
            labels[i] = (real)wanted.labels[sample];
            if (wanted.weights) shares[i] = NAME(share)(wanted, sample);
        }
        check = NAME(cross_entropy_block)(part, n, z + r * ld, ld, labels, shares, losses + r,
                                          correct + r, dz + r * ld, check);
    }
    return check;
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
        const vec size = v_minus_abs(x);
        vec p, e;
        NAME(sigmoid)(1, &x, &p, NULL);
        NAME(exp_below)(1, 0, &size, &e);
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

static void NAME(loss)(vg_loss kind, vg_matrix outputs, vg_targets wanted, double *losses,
                       double *correct, void *deltas, double *check) {
    const size_t rows = outputs.rows, n = outputs.cols, ld = outputs.ld;
    const int32_t *const labels = wanted.labels;
    const void *const targets = wanted.targets;
    const int64_t *const order = wanted.order;
    const real even = (real)(1 / wanted.total);
    const vec scale = NAME(check_scale)(0);
    if (kind == VG_CROSS_ENTROPY && !targets && n <= NAME(few)) {
        *check += v_sum(NAME(cross_entropy_blocks)(outputs, wanted, losses, correct, deltas));
        return;
    }
    vec in_lanes = v_zero();
    for (size_t r = 0; r < rows; r++) {
        const size_t sample = order ? (size_t)order[r] : r;
        const real share = wanted.weights ? NAME(share)(wanted, sample) : even;
        const real *const z = (const real *)outputs.p + r * ld;
        const real *const t = targets ? (const real *)targets + sample * n : NULL;
        real *const dz = (real *)deltas + r * ld;
        correct[r] = 0;
        switch (kind) { /* without a default: the compiler names a loss that is not here */
            case VG_CROSS_ENTROPY:
                losses[r] = t ? NAME(cross_entropy)(n, z, t, share, dz, correct + r)
                              : NAME(cross_entropy_label)(n, z, (size_t)labels[sample], share, dz,
                                                          correct + r);
                break;
            case VG_BINARY_CROSS_ENTROPY:
                losses[r] = NAME(binary_cross_entropy)(n, z, t, share, dz, correct + r);
                break;
            case VG_MSE: losses[r] = NAME(mse)(n, z, t, share, dz); break;
        }
        for (size_t j = 0; j < n; j += LANES)
            in_lanes = NAME(check_finite)(in_lanes, v_load_n(dz + j, n - j), scale);
    }
    *check += v_sum(in_lanes);
}
