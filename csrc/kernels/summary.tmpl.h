/* summary.tmpl.h - inspection's kernels: norms that cannot overflow or vanish, and counts.
 *
 * All is summed in the lanes of registers and flushed rarely: inspecting a step must not cost more
 * than a few per cent of it. Tallies are flushed before a lane has 2^24, and sums of squares
 * before roundings add up. */

/* A sum of squares of x 2^-exponent, in lanes; scale = 2^-exponent does for x up to `enough`. */
typedef struct {
    vec sum, scale, most, enough;
    int exponent;
} NAME(squares);

/* An exponent of the largest x from low to high needs no scale; beyond most, x times the scale for
 * most is in range all the same. */
#if REAL_BITS == 32
enum { NAME(exponent_low) = -40, NAME(exponent_high) = 20, NAME(exponent_most) = 100 };
#define LEAST_NORMAL FLT_MIN
#else
enum { NAME(exponent_low) = -200, NAME(exponent_high) = 100, NAME(exponent_most) = 900 };
#define LEAST_NORMAL DBL_MIN
#endif
/* So do sums of squares between these. */
#define LEAST_SUM (ldexp(1, 2 * NAME(exponent_low)))
#define MOST_SUM (ldexp(1, 2 * NAME(exponent_high)))

/* Terms of one lane's sum before it is flushed, so that roundings in the type do not add up: those
 * of one panel of a unit. */
enum { NAME(terms_most) = VG_UNIT_ROWS * NV };

static inline NAME(squares) NAME(no_squares)(void) {
    return (NAME(squares)){v_zero(), v_set(1), v_zero(), v_zero(), 0};
}

/* A NaN or an infinity among the values has made their sum not finite. */
static inline vg_norm NAME(norm_of)(double sum, int exponent) {
    return isfinite(sum) ? (vg_norm){sum, exponent} : (vg_norm){NAN, 0};
}

/* Add the sum so far to `total`; begin anew. */
static inline void NAME(flush)(NAME(squares) *s, vg_norm *total) {
    vg_norm_add(total, NAME(norm_of)(v_sum(s->sum), s->exponent));
    s->sum = v_zero();
}

static void NAME(choose_scale)(NAME(squares) *s, vec sizes) {
    const int exact = ilogb((double)v_largest(sizes)), most = NAME(exponent_most);
    const int plain = exact >= NAME(exponent_low) &&exact <= NAME(exponent_high);
    s->exponent = plain ? 0 : exact > most ? most : exact < -most ? -most : exact;
    s->scale = v_set((real)ldexp(1, -s->exponent));
    s->enough = v_set((real)ldexp(1, s->exponent + NAME(exponent_high)));
}

/* Whether the scale does for values of these sizes, which are remembered. Those so far below what
 * it was chosen by that their squares vanish do not count. */
static inline int NAME(fits)(NAME(squares) *s, vec sizes) {
    s->most = v_max(sizes, s->most);
    return v_bits(v_less(s->enough, sizes)) == 0;
}

/* Where the scale does not do, choose another. The sum so far goes with it, exactly or beside what
 * is so much larger that it vanishes: its bits do not show where it began. */
static inline void NAME(prepare)(NAME(squares) *s, vec sizes) {
    if (NAME(fits)(s, sizes)) return;
    const int before = s->exponent;
    NAME(choose_scale)(s, sizes);
    if (s->exponent <= before) return;
    const vec part = v_set((real)ldexp(1, before - s->exponent)); /* squared, it may vanish */
    s->sum = v_mul(v_mul(s->sum, part), part);
}

/* Whether a sum of squares shows that none has left the range of the type, and few have vanished
 * beside it. */
static inline int NAME(in_range)(vec sum) {
    return v_bits(v_less(v_set((real)LEAST_SUM), sum)) &&
           !v_bits(v_less(v_set((real)MOST_SUM), sum));
}

/* The largest |x|, and the sum of the squares of x scaled, of n values. Two chains each: one would
 * wait for itself. */
static inline vec NAME(sizes_of)(size_t n, const real *x) {
    vec a = v_zero(), b = v_zero();
    size_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        a = v_max(v_abs(v_load(x + i)), a);
        b = v_max(v_abs(v_load(x + i + LANES)), b);
    }
    for (; i < n; i += LANES) a = v_max(v_abs(v_load_n(x + i, n - i)), a);
    return v_max(a, b);
}
static inline vec NAME(squares_of)(size_t n, const real *x, vec scale) {
    vec a = v_zero(), b = v_zero();
    size_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        const vec first = v_mul(v_load(x + i), scale), second = v_mul(v_load(x + i + LANES), scale);
        a = v_fma(first, first, a);
        b = v_fma(second, second, b);
    }
    for (; i < n; i += LANES) {
        const vec scaled = v_mul(v_load_n(x + i, n - i), scale);
        a = v_fma(scaled, scaled, a);
    }
    return v_add(a, b);
}

/* A sum that is in range without a scale; from now on, the smaller the less it counts. */
static inline void NAME(add_unscaled)(NAME(squares) *s, vec sum) {
    s->sum = v_add(sum, s->sum);
    s->enough = v_set((real)ldexp(1, NAME(exponent_high)));
}

/* Of a tile: the rows of a vector of columns first, whichever way they are summed, so that the bits
 * do not depend on which scale the tile before has left. */
static void NAME(add_tile)(NAME(squares) *s, size_t rows, size_t cols, const real *x, size_t ld) {
    vec sizes = v_zero(), sum = v_zero();
    for (size_t r = 0; r < rows; r++) sizes = v_max(NAME(sizes_of)(cols, x + r * ld), sizes);
    NAME(prepare)(s, sizes);
    for (size_t j = 0; j < cols; j += LANES) {
        vec column = v_zero();
        for (size_t r = 0; r < rows; r++) {
            const vec scaled = v_mul(v_load_n(x + r * ld + j, cols - j), s->scale);
            column = v_fma(scaled, scaled, column);
        }
        sum = v_add(column, sum);
    }
    s->sum = v_add(sum, s->sum);
}

/* No more than terms_most of a lane before they are flushed. */
static void NAME(add_row)(NAME(squares) *s, size_t n, const real *x, vg_norm *total) {
    const size_t most = LANES * NAME(terms_most);
    for (size_t j = 0; j < n; j += most) {
        const size_t part = n - j < most ? n - j : most;
        NAME(prepare)(s, NAME(sizes_of)(part, x + j));
        s->sum = NAME(squares_of)(part, x + j, s->scale);
        NAME(flush)(s, total);
    }
}

/* Of n values, at most LANES * terms_most, by the scale of the row before if that does. */
static inline
    __attribute__((always_inline)) vg_norm NAME(norm_of_row)(NAME(squares) *s, const size_t n,
                                                             const real *x) {
    double sum = v_sum(NAME(squares_of)(n, x, s->scale));
    if (!(sum > LEAST_SUM && sum < MOST_SUM)) {
        NAME(choose_scale)(s, NAME(sizes_of)(n, x));
        sum = v_sum(NAME(squares_of)(n, x, s->scale));
    }
    return NAME(norm_of)(sum, s->exponent);
}

/* Of the rows of a tile, each to its own norm; first: these begin. */
static inline
    __attribute__((always_inline)) void NAME(add_to_rows)(NAME(squares) *s, size_t rows,
                                                          const size_t cols, const real *tile,
                                                          int first, vg_norm *norms) {
    for (size_t r = 0; r < rows; r++) {
        const vg_norm norm = NAME(norm_of_row)(s, cols, tile + r * NR);
        if (first) norms[r] = (vg_norm){0, 0};
        vg_norm_add(&norms[r], norm);
    }
}

static vg_norm NAME(square_norm)(size_t n, const void *x) {
    NAME(squares) squares = NAME(no_squares)();
    vg_norm total = {0, 0};
    NAME(add_row)(&squares, n, x, &total);
    return total;
}

/* Of gradients: zeros, these and subnormals, weights that stay as they are, those of them that have
 * no gradient. */
typedef struct {
    vec zero, tiny, frozen, idle;
} NAME(tallies);

static inline NAME(tallies) NAME(no_tallies)(void) {
    return (NAME(tallies)){v_zero(), v_zero(), v_zero(), v_zero()};
}

/* Summaries in the making. */
typedef struct {
    NAME(squares) gradient, weight, step;
    NAME(tallies) tallies;
    int plain;        /* so that zero gradients are all that is idle */
    vg_summary *unit; /* where the norms belong */
} NAME(summary_vecs);

static NAME(summary_vecs) NAME(begin_summary)(vg_summary *unit, int plain) {
    const NAME(squares) none = NAME(no_squares)();
    return (NAME(summary_vecs)){none, none, none, NAME(no_tallies)(), plain, unit};
}

/* Flush the sums of squares, and go on with the unit `next`. */
static inline void NAME(flush_norms)(NAME(summary_vecs) *s, vg_summary *next) {
    NAME(flush)(&s->gradient, &s->unit->gradient);
    NAME(flush)(&s->weight, &s->unit->weight);
    NAME(flush)(&s->step, &s->unit->step);
    s->unit = next;
}

/* Counts are whole numbers, and any unit's: in whatever order they are added, the bits are the
 * same. */
static void NAME(flush_counts)(NAME(summary_vecs) *s, vg_summary *any) {
    const NAME(tallies) *const t = &s->tallies;
    const double zero = v_tallied(t->zero), frozen = v_tallied(t->frozen);
    any->zero += zero;
    any->subnormal += v_tallied(t->tiny) - zero;
    any->frozen += frozen;
    any->stuck += frozen - (s->plain ? zero : v_tallied(t->idle));
    s->tallies = NAME(no_tallies)();
    const double largest = (double)v_largest(s->gradient.most);
    if (largest > any->max_abs) any->max_abs = largest;
}

/* Of `vecs` vectors of columns of derivatives, from source; of the last, n lanes exist. dropped:
 * those that are -0 are none. */
static inline __attribute__((always_inline)) void NAME(derivatives)(
    const vg_derivative form, const int dropped, vec alpha, vec least, size_t rows,
    const size_t vecs, const size_t n, const real *source, size_t ld, vg_statistics *statistics) {
    vec sum[4], most[4], low[4], none[4];
#pragma GCC unroll 4
    for (size_t v = 0; v < vecs; v++) sum[v] = most[v] = low[v] = none[v] = v_zero();
    for (size_t r = 0; r < rows; r++, source += ld)
#pragma GCC unroll 4
        for (size_t v = 0; v < vecs; v++) {
            const vec d = NAME(derivative_of)(form, v_load_n(source + v * LANES, n), alpha);
            sum[v] = v_add(sum[v], d);
            const vec size = form == VG_STORED ? v_abs(d) : d;
            most[v] = v_max(size, most[v]);
            low[v] = v_count(low[v], v_less(size, least));
            if (!dropped) continue;
            const flags negative = v_less(v_copysign(v_set(1), d), v_zero());
            none[v] = v_count(none[v], v_both(negative, v_equal(d, v_zero())));
        }
    /* Whole numbers: their sums are exact. */
    vec saturated = v_zero(), dead = v_zero(), missing = v_zero();
#pragma GCC unroll 4
    for (size_t v = 0; v < vecs; v++) {
        statistics->derivative += v_sum(v_first_n(sum[v], n));
        saturated = v_add(saturated, v_first_n(v_sub(low[v], none[v]), n));
        missing = v_add(missing, v_first_n(none[v], n));
        const flags shut = v_equal(most[v], v_zero()), seen = v_less(none[v], v_set((real)rows));
        dead = v_count(dead, v_first(dropped ? v_both(shut, seen) : shut, n));
    }
    statistics->saturated += v_sum(saturated);
    statistics->dead += v_sum(dead);
    if (dropped) statistics->entries -= v_sum(missing);
}

/* Four vectors at a time: one alone means a page for each row. */
#define DERIVATIVES_OF(form, dropped)                                                              \
    for (; n - j >= 4 * LANES; j += 4 * LANES)                                                     \
        NAME(derivatives)(form, dropped, alpha, least, rows, 4, LANES, source + j, ld_source,      \
                          statistics);                                                             \
    for (; j < n; j += LANES)                                                                      \
        NAME(derivatives)(form, dropped, alpha, least, rows, 1, n - j, source + j, ld_source,      \
                          statistics);
#define DERIVATIVES(form) DERIVATIVES_OF(form, 0)

/* The sum of the squares of n values, as many as may be. */
static inline vg_norm NAME(norm_of_long_row)(NAME(squares) *s, size_t n, const real *x) {
    const size_t most = LANES * NAME(terms_most);
    if (n <= most) return NAME(norm_of_row)(s, n, x);
    vg_norm total = {0, 0};
    for (size_t j = 0; j < n; j += most)
        vg_norm_add(&total, NAME(norm_of_row)(s, n - j < most ? n - j : most, x + j));
    return total;
}

/* The same of row r, n long, of those whose zeros are left out: of each part of it that is not all
 * zero. */
static vg_norm NAME(norm_of_sparse_row)(NAME(squares) *s, size_t n, const vg_sparse_rows *x,
                                        size_t r) {
    enum { MOST = LANES * NAME(terms_most) };
    real part[MOST];
    vg_norm total = {0, 0};
    size_t e, end;
    vg_entries_of_row(x, r, &e, &end);
    while (e < end) {
        const int32_t start = x->csr->columns[e] / MOST * MOST;
        const size_t left = n - (size_t)start;
        memset(part, 0, sizeof part);
        for (; e < end && x->csr->columns[e] - start < MOST; e++)
            part[x->csr->columns[e] - start] = ((const real *)x->csr->values)[e];
        vg_norm_add(&total, NAME(norm_of_row)(s, left < MOST ? left : MOST, part));
    }
    return total;
}

/* delta: the sum of the squares of delta. samples: that of |delta_i|^2 (|a_i|^2 + 1) over the rows,
 * which are the squared norms of what each adds to dW and db (Goodfellow, "Efficient per-example
 * gradient computations", 2015). */
static void NAME(sample_squares)(vg_matrix deltas, vg_matrix inputs, const vg_sparse_rows *sparse,
                                 vg_statistics *statistics) {
    NAME(squares) of_delta = NAME(no_squares)(), of_a = NAME(no_squares)();
    const real *delta = deltas.p, *a = inputs.p;
    for (size_t r = 0; r < deltas.rows; r++, delta += deltas.ld, a += inputs.ld) {
        const vg_norm d = NAME(norm_of_long_row)(&of_delta, deltas.cols, delta);
        vg_norm input = sparse ? NAME(norm_of_sparse_row)(&of_a, inputs.cols, sparse, r)
                               : NAME(norm_of_long_row)(&of_a, inputs.cols, a);
        vg_norm_add(&input, (vg_norm){1, 0});
        vg_norm_add(&statistics->delta, d);
        vg_norm_add(&statistics->samples,
                    (vg_norm){d.sum * input.sum, d.exponent + input.exponent});
    }
}

static void NAME(statistics)(vg_activation activation, const vg_dropout *dropout, vg_matrix sources,
                             vg_matrix deltas, vg_matrix inputs, const vg_sparse_rows *sparse,
                             vg_statistics *statistics) {
    const real *const source = sources.p;
    const size_t rows = sources.rows, n = sources.cols, ld_source = sources.ld;
    const vg_slope slope = vg_slope_of(activation);
    const vec least = v_set((real)0.01 * (real)vg_steepest(activation) / (real)dropout->whole);
    const vec alpha = v_set((real)slope.alpha);
    *statistics = (vg_statistics){.entries = (double)rows * (double)n};
    size_t j = 0;
    if (dropout->keep < 1) {
        DERIVATIVES_OF(VG_STORED, 1);
        statistics->derivative *= dropout->whole;
        if (statistics->entries == 0) statistics->entries = 1; /* all were dropped */
    } else {
        BY_DERIVATIVE(slope.form, DERIVATIVES);
    }
    NAME(sample_squares)(deltas, inputs, sparse, statistics);
}
#undef DERIVATIVES
#undef DERIVATIVES_OF
#undef LEAST_SUM
#undef MOST_SUM

#if REAL_BITS == 32
typedef uint32_t NAME(pattern);
#else
typedef uint64_t NAME(pattern);
#endif

static inline void NAME(count_exponent)(const real *x, uint32_t *table) {
    NAME(pattern) bits;
    memcpy(&bits, x, sizeof bits);
    table[(NAME(pattern))(bits << 1) >> (REAL_BITS == 32 ? 24 : 53)]++;
}
static void NAME(count_exponents)(size_t rows, size_t n, const void *x, size_t ld,
                                  uint32_t *tables) {
    enum { BINS = REAL_BITS == 32 ? VG_F32_BINS : VG_F64_BINS };
    for (size_t r = 0; r < rows; r++) {
        const real *const row = (const real *)x + r * ld;
        size_t j = 0;
        for (; n - j >= VG_EXPONENT_TABLES; j += VG_EXPONENT_TABLES)
            for (size_t t = 0; t < VG_EXPONENT_TABLES; t++)
                NAME(count_exponent)(row + j + t, tables + t * BINS);
        for (; j < n; j++) NAME(count_exponent)(row + j, tables);
    }
}
