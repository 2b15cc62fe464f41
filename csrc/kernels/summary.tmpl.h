/* summary.tmpl.h - inspection's kernels: norms that cannot overflow or vanish, and counts. */

/* Squares are taken of x / 2^e, 2^e about the largest entry, in two factors because 2^-e of a
 * subnormal is itself out of range. A NaN or an infinity among them makes the sum NaN. */
static vg_norm NAME(square_norm_part)(size_t n, const real *x) {
    vec most = v_zero(), poison = v_zero();
    for (size_t i = 0; i < n; i += LANES) {
        const vec value = v_load_n(x + i, n - i);
        most = v_max(most, v_abs(value));
        poison = v_fma(value, v_zero(), poison);
    }
    const double largest = (double)v_largest(most);
    if (v_sum(poison) != 0) return (vg_norm){NAN, 0};
    if (largest == 0) return (vg_norm){0, 0};

    const int exponent = ilogb(largest), half = exponent / 2;
    const vec first = v_set((real)ldexp(1, -half)), second = v_set((real)ldexp(1, half - exponent));
    vec sum = v_zero();
    for (size_t i = 0; i < n; i += LANES) {
        const vec scaled = v_mul(v_mul(v_load_n(x + i, n - i), first), second);
        sum = v_fma(scaled, scaled, sum);
    }
    return (vg_norm){v_sum(sum), exponent};
}

/* In parts so short that rounding in the type does not add up; their sums are added in double. */
static vg_norm NAME(square_norm)(size_t n, const void *x) {
    enum { PART = 1024 };
    vg_norm total = {0, 0};
    for (size_t i = 0; i < n; i += PART)
        vg_norm_add(&total,
                    NAME(square_norm_part)(n - i < PART ? n - i : PART, (const real *)x + i));
    return total;
}

#if REAL_BITS == 32
#define LEAST_NORMAL FLT_MIN
#else
#define LEAST_NORMAL DBL_MIN
#endif

static inline unsigned NAME(lanes)(size_t n) {
    return n < LANES ? (1u << n) - 1u : (1u << LANES) - 1u;
}

/* Add what can be told of n gradient entries g and the weights w that they belong to. */
static void NAME(summarise)(size_t n, const real *g, const real *w, vg_summary *summary) {
    vec most = v_zero();
    unsigned zero = 0, tiny = 0;
    for (size_t i = 0; i < n; i += LANES) {
        const unsigned lanes = NAME(lanes)(n - i);
        const vec size = v_abs(v_load_n(g + i, n - i));
        most = v_max(most, size);
        zero += (unsigned)__builtin_popcount(v_equal(size, v_zero()) & lanes);
        tiny += (unsigned)__builtin_popcount(v_less(size, v_set(LEAST_NORMAL)) & lanes);
    }
    const double largest = (double)v_largest(most);
    summary->max_abs = largest > summary->max_abs ? largest : summary->max_abs;
    summary->zero += zero;
    summary->subnormal += tiny - zero;
    vg_norm_add(&summary->gradient, NAME(square_norm)(n, g));
    vg_norm_add(&summary->weight, NAME(square_norm)(n, w));
}

/* Of one layer's slopes, told from source (rows, n; ld_source), and delta (rows, n; ld_delta). */
#define DERIVATIVES(kind)                                                                          \
    for (size_t j = 0; j < n; j += LANES) {                                                        \
        unsigned idle = NAME(lanes)(n - j);                                                        \
        vec sum = v_zero();                                                                        \
        for (size_t r = 0; r < rows; r++) {                                                        \
            const vec d = NAME(slope_of)(kind, v_load_n(source + r * ld_source + j, n - j));       \
            sum = v_add(sum, d);                                                                   \
            saturated += __builtin_popcount(v_less(d, least) & NAME(lanes)(n - j));                \
            idle &= v_equal(d, v_zero());                                                          \
        }                                                                                          \
        dead += __builtin_popcount(idle);                                                          \
        real lanes[LANES];                                                                         \
        v_store(lanes, sum);                                                                       \
        for (size_t i = 0; i < LANES && i < n - j; i++) total += (double)lanes[i];                 \
    }
static void NAME(statistics)(vg_activation activation, size_t rows, size_t n, const void *slopes,
                             size_t ld_source, const void *deltas, size_t ld_delta,
                             vg_statistics *statistics) {
    const real *const source = slopes, *const delta = deltas;
    const vec least = v_set((real)0.01 * NAME(slope_most)(activation));
    double total = 0, saturated = 0, dead = 0;
    SPECIALISE(activation, DERIVATIVES);
    *statistics = (vg_statistics){{0, 0}, total, saturated, dead};
    for (size_t r = 0; r < rows; r++)
        vg_norm_add(&statistics->delta, NAME(square_norm)(n, delta + r * ld_delta));
}
#undef DERIVATIVES
#undef LEAST_NORMAL
