/* summary.tmpl.h - inspection's kernels: norms that cannot overflow or vanish, and counts.
 *
 * All is summed in the lanes of registers and told rarely: what a step tells of itself must not
 * cost more than a few per cent of it. Tallies are told before a lane has 2^24, and sums of squares
 * before roundings add up. */

/* A sum of squares of x 2^-exponent, in lanes; scale = 2^-exponent is about 1 / the largest x. */
typedef struct {
    vec sum, scale, most, enough;
    int exponent;
} NAME(squares);

/* Beyond these, x times 2^-exponent is in range all the same. */
#if REAL_BITS == 32
enum { NAME(exponent_most) = 100, NAME(exponent_slack) = 20 };
#define LEAST_NORMAL FLT_MIN
#else
enum { NAME(exponent_most) = 900, NAME(exponent_slack) = 100 };
#define LEAST_NORMAL DBL_MIN
#endif

/* Terms of one lane's sum before it is told, so that roundings in the type do not add up: those of
 * one panel of a block. */
enum { NAME(terms_most) = VG_BLOCK_ROWS * NV };

static inline NAME(squares) NAME(no_squares)(void) {
    return (NAME(squares)){v_zero(), v_set(1), v_zero(), v_zero(), 0};
}

/* A NaN or an infinity among the values has made their sum not finite. */
static inline vg_norm NAME(norm_of)(double sum, int exponent) {
    return isfinite(sum) ? (vg_norm){sum, exponent} : (vg_norm){NAN, 0};
}

/* Add the sum so far to `total`; begin anew. */
static inline void NAME(tell)(NAME(squares) *s, vg_norm *total) {
    vg_norm_add(total, NAME(norm_of)(v_sum(s->sum), s->exponent));
    s->sum = v_zero();
}

static void NAME(choose_scale)(NAME(squares) *s, vec sizes) {
    const int exact = ilogb((double)v_largest(sizes)), most = NAME(exponent_most);
    s->exponent = exact > most ? most : exact < -most ? -most : exact;
    s->scale = v_set((real)ldexp(1, -s->exponent));
    s->enough = v_set((real)ldexp(1, s->exponent + NAME(exponent_slack)));
}

/* Before values of these sizes: where the scale does not do for them, tell the sum and choose
 * another; returns whether. Values so far below what it was chosen by that their squares vanish do
 * not count. */
static inline int NAME(prepare)(NAME(squares) *s, vec sizes, vg_norm *total) {
    s->most = v_max(sizes, s->most);
    if (v_bits(v_less(s->enough, sizes)) == 0) return 0;
    NAME(tell)(s, total);
    NAME(choose_scale)(s, sizes);
    return 1;
}

/* Whether a sum of squares shows that none has left the range of the type, and few have vanished
 * beside it. */
static inline int NAME(in_range)(vec sum) {
    const real least = (real)ldexp(1, -2 * NAME(exponent_slack));
    return v_bits(v_less(v_set(least), sum)) && !v_bits(v_less(v_set(1 / least), sum));
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

/* Of n columns of rows that lie ld apart. Never more terms at a time than terms_most. */
static void NAME(add_squares)(NAME(squares) *s, size_t rows, size_t n, const real *x, size_t ld,
                              vg_norm *total) {
    const size_t most = LANES * NAME(terms_most), width = n < most ? n : most;
    const size_t height = width > 0 ? NAME(terms_most) / ((width + LANES - 1) / LANES) : 1;
    for (size_t r = 0; r < rows; r += height)
        for (size_t j = 0; j < n; j += width) {
            const size_t end = rows - r < height ? rows : r + height;
            const size_t part = n - j < width ? n - j : width;
            vec sizes = v_zero();
            for (size_t i = r; i < end; i++)
                sizes = v_max(NAME(sizes_of)(part, x + i * ld + j), sizes);
            NAME(prepare)(s, sizes, total);
            vec sum = s->sum;
            for (size_t i = r; i < end; i++)
                sum = v_add(NAME(squares_of)(part, x + i * ld + j, s->scale), sum);
            s->sum = sum;
            NAME(tell)(s, total);
        }
}

/* Of the rows of a tile, each to its own norm; first: these begin. */
static void NAME(add_to_rows)(NAME(squares) *s, size_t rows, size_t cols, const real *tile,
                              int first, vg_norm *norms) {
    vg_norm nothing = {0, 0};
    vec sizes = v_zero();
    for (size_t r = 0; r < rows; r++) sizes = v_max(NAME(sizes_of)(cols, tile + r * NR), sizes);
    NAME(prepare)(s, sizes, &nothing);
    for (size_t r = 0; r < rows; r++) {
        const double sum = v_sum(NAME(squares_of)(cols, tile + r * NR, s->scale));
        if (first) norms[r] = (vg_norm){0, 0};
        vg_norm_add(&norms[r], NAME(norm_of)(sum, s->exponent));
    }
}

static vg_norm NAME(square_norm)(size_t n, const void *x) {
    NAME(squares) squares = NAME(no_squares)();
    vg_norm total = {0, 0};
    NAME(add_squares)(&squares, 1, n, x, n, &total);
    return total;
}

/* Of gradients: zeros, these and subnormals, weights that keep their bits, those of them that have
 * no gradient. */
typedef struct {
    vec zero, tiny, frozen, idle;
} NAME(tallies);

static inline NAME(tallies) NAME(no_tallies)(void) {
    return (NAME(tallies)){v_zero(), v_zero(), v_zero(), v_zero()};
}

static inline void NAME(add_tallies)(NAME(tallies) *a, const NAME(tallies) *b) {
    a->zero = v_tallies(a->zero, b->zero);
    a->tiny = v_tallies(a->tiny, b->tiny);
    a->frozen = v_tallies(a->frozen, b->frozen);
    a->idle = v_tallies(a->idle, b->idle);
}

/* Summaries in the making. */
typedef struct {
    NAME(squares) gradient, weight, step;
    NAME(tallies) tallies;
    vg_summary *block; /* where the norms belong */
} NAME(summary_words);

static NAME(summary_words) NAME(begin_summary)(vg_summary *block) {
    const NAME(squares) none = NAME(no_squares)();
    return (NAME(summary_words)){none, none, none, NAME(no_tallies)(), block};
}

/* Tell the sums of squares, and go on with the block `next`. */
static inline void NAME(tell_norms)(NAME(summary_words) *s, vg_summary *next) {
    NAME(tell)(&s->gradient, &s->block->gradient);
    NAME(tell)(&s->weight, &s->block->weight);
    s->block = next;
}

/* Counts are whole numbers, and any block's: in whatever order they are added, the bits are the
 * same. */
static void NAME(tell_counts)(NAME(summary_words) *s, vg_summary *any) {
    const NAME(tallies) *const t = &s->tallies;
    const double zero = v_tallied(t->zero), frozen = v_tallied(t->frozen);
    any->zero += zero;
    any->subnormal += v_tallied(t->tiny) - zero;
    any->frozen += frozen;
    any->stuck += frozen - v_tallied(t->idle);
    s->tallies = NAME(no_tallies)();
    const double largest = (double)v_largest(s->gradient.most);
    if (largest > any->max_abs) any->max_abs = largest;
}

/* Of one vector of columns of slopes, of which n exist, told from source. */
static inline
    __attribute__((always_inline)) void NAME(derivatives)(const vg_activation kind, vec least,
                                                          size_t rows, const size_t n,
                                                          const real *source, size_t ld,
                                                          vg_statistics *statistics) {
    vec sum = v_zero(), most = v_zero(), low = v_zero();
    for (size_t r = 0; r < rows; r++, source += ld) {
        const vec d = NAME(slope_of)(kind, v_load_n(source, n));
        sum = v_add(sum, d);
        most = v_max(d, most);
        low = v_count(low, v_less(d, least));
    }
    statistics->derivative += v_sum(v_first_n(sum, n));
    statistics->saturated += v_sum(v_first_n(low, n));
    statistics->dead += v_sum(v_count(v_zero(), v_first(v_equal(most, v_zero()), n)));
}

#define DERIVATIVES(kind)                                                                          \
    for (size_t j = 0; j < n; j += LANES)                                                          \
        if (n - j >= LANES)                                                                        \
            NAME(derivatives)(kind, least, rows, LANES, source + j, ld_source, statistics);        \
        else                                                                                       \
            NAME(derivatives)(kind, least, rows, n - j, source + j, ld_source, statistics);

/* The sum of the squares of x scaled, n of them. */
static double NAME(square_of_row)(size_t n, const real *x, vec scale) {
    const size_t most = LANES * NAME(terms_most);
    double sum = 0;
    for (size_t j = 0; j < n; j += most)
        sum += v_sum(NAME(squares_of)(n - j < most ? n - j : most, x + j, scale));
    return sum;
}

/* delta: the sum of the squares of delta. samples: that of |delta_i|^2 (|a_i|^2 + 1) over the rows,
 * which are the squared norms of what each adds to dW and db (Goodfellow, "Efficient per-example
 * gradient computations", 2015). An a whose square vanishes does so beside the 1. */
static void NAME(sample_squares)(size_t rows, size_t n, const real *delta, size_t ld_delta,
                                 size_t n_in, const real *a, size_t ld_a,
                                 vg_statistics *statistics) {
    NAME(squares) s = NAME(no_squares)();
    vec sizes = v_zero();
    for (size_t r = 0; r < rows; r++) sizes = v_max(NAME(sizes_of)(n, delta + r * ld_delta), sizes);
    NAME(prepare)(&s, sizes, &statistics->delta);
    double deltas = 0, samples = 0;
    for (size_t r = 0; r < rows; r++, delta += ld_delta, a += ld_a) {
        const double d = NAME(square_of_row)(n, delta, s.scale);
        double input = NAME(square_of_row)(n_in, a, v_set(1));
        if (!isfinite(input)) {
            const vg_norm exact = NAME(square_norm)(n_in, a);
            input = ldexp(exact.sum, 2 * (int)exact.exponent);
        }
        deltas += d;
        samples += d * (input + 1);
    }
    statistics->delta = NAME(norm_of)(deltas, s.exponent);
    statistics->samples = NAME(norm_of)(samples, s.exponent);
}

static void NAME(statistics)(vg_activation activation, size_t rows, size_t n, const void *slopes,
                             size_t ld_source, const void *deltas, size_t ld_delta, size_t n_in,
                             const void *inputs, size_t ld_inputs, vg_statistics *statistics) {
    const real *const source = slopes;
    const vec least = v_set((real)0.01 * NAME(slope_most)(activation));
    *statistics = (vg_statistics){0};
    SPECIALISE(activation, DERIVATIVES);
    NAME(sample_squares)(rows, n, deltas, ld_delta, n_in, inputs, ld_inputs, statistics);
}
#undef DERIVATIVES

#if REAL_BITS == 32
enum { NAME(exponent_bins) = 1 << 8 };
typedef uint32_t NAME(pattern);
#else
enum { NAME(exponent_bins) = 1 << 11 };
typedef uint64_t NAME(pattern);
#endif

static inline void NAME(count_exponent)(const real *x, uint32_t *table) {
    NAME(pattern) bits;
    memcpy(&bits, x, sizeof bits);
    table[(NAME(pattern))(bits << 1) >> (REAL_BITS == 32 ? 24 : 53)]++;
}
static void NAME(count_exponents)(size_t rows, size_t n, const void *x, size_t ld,
                                  uint32_t *tables) {
    enum { BINS = NAME(exponent_bins) };
    for (size_t r = 0; r < rows; r++) {
        const real *const row = (const real *)x + r * ld;
        size_t j = 0;
        for (; n - j >= VG_EXPONENT_TABLES; j += VG_EXPONENT_TABLES)
            for (size_t t = 0; t < VG_EXPONENT_TABLES; t++)
                NAME(count_exponent)(row + j + t, tables + t * BINS);
        for (; j < n; j++) NAME(count_exponent)(row + j, tables);
    }
}
