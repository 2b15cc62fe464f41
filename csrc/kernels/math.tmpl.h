/* math.tmpl.h - exp, tanh, sigmoid, log(1 + u): at most 3 ULP, subnormal results included.
 *
 * e^x = 2^n (1 + rest): n is the multiple of 1 / TABLE next to x log2(e), r = x - n ln2 is what
 * remains, at most ln2 / 2 / TABLE, and rest = e^r - 1. 2^n is looked up, but for whole powers,
 * which go into the exponent: with a table that fits a register the series is half as long. (Tang,
 * "Table-driven implementation of the exponential function in IEEE floating-point arithmetic",
 * 1989.)
 *
 * COUNT vectors go side by side: each step is taken for all of them, EACH, before the next, which
 * waits for it. A vector of tanh and its derivative takes 12.9 cycles in fours and 15.5 alone with
 * AVX2, 16.4 and 19.7 with AVX-512. */
#define GROUP 4 /* the most */
#define EACH for (int k = 0; k < count; k++)
#define SIDE_BY_SIDE static inline __attribute__((always_inline)) void

/* The high part of ln2 has so few bits that n times it is exact (Cody & Waite). ROUND, added,
 * leaves no place for less than 1 / TABLE; for BIAS see v_ldexp in simd/words.h. */
#if REAL_BITS == 32
#define LN2_HIGH 0x1.62ep-1f
#define LN2_LOW 0x1.0bfbe8p-15f
#define LOG2_E 0x1.715476p+0f
#define EXP_LEAST -110.0f /* e^x is 0 below, infinity above */
#define EXP_MOST 90.0f
#define ROUND (0x1.8p23f / TABLE + BIAS)
#else
#define LN2_HIGH 0x1.62e42fefap-1
#define LN2_LOW 0x1.cf79abc9e3b3ap-40
#define LOG2_E 0x1.71547652b82fep+0
#define EXP_LEAST -760.0
#define EXP_MOST 720.0
#define ROUND (0x1.8p52 / TABLE + BIAS)
#endif

/* roots: 2^(j / TABLE); missed: log(2^(j / TABLE) / root), what rounding took from it.
 * series: e^r - 1 = r + r^2 (c0 + c1 r + ...), |r| <= ln2 / 2 / TABLE; artanh: artanh(s) / s = 1
 * + q (c0 + c1 q + ...), q = s^2 <= 1/9. Coefficients of the least relative error, by linear
 * programming: 2^-27.5 for both in float; in double 2^-61.3 with a table and 2^-54.7 without one,
 * and 2^-58.5. */
#if REAL_BITS == 32
static const real NAME(series)[] = {0x1p-1f, 0x1.555c22p-3f, 0x1.555374p-5f};
static const real NAME(roots)[TABLE] = {0x1p+0f,        0x1.172b84p+0f, 0x1.306fep+0f,
                                        0x1.4bfdaep+0f, 0x1.6a09e6p+0f, 0x1.8ace54p+0f,
                                        0x1.ae89fap+0f, 0x1.d5818ep+0f};
static const real NAME(missed)[TABLE] = {0,
                                         -0x1.9c0c22p-27f,
                                         0x1.125002p-25f,
                                         -0x1.0a3552p-25f,
                                         0x1.26055cp-26f,
                                         0x1.67a1cap-28f,
                                         -0x1.f9c306p-27f,
                                         -0x1.a5217cp-28f};
static const real NAME(artanh)[] = {0x1.555502p-2f, 0x1.99d208p-3f, 0x1.1ebd12p-3f, 0x1.1ed7acp-3f};
#else
static const real NAME(artanh)[] = {
    0x1.5555555555535p-2, 0x1.99999999a06bep-3, 0x1.2492492091238p-3, 0x1.c71c741a008f4p-4,
    0x1.745cb45a4c875p-4, 0x1.3b1dd3a31bd76p-4, 0x1.10682f3aaba8p-4,  0x1.efd1886fa082bp-5,
    0x1.55cf69a0a3715p-5, 0x1.5c5c1581afb6ep-4};
#if TABLE_BITS == 3
static const real NAME(series)[] = {0x1p-1,
                                    0x1.55555555555cep-3,
                                    0x1.55555555553cbp-5,
                                    0x1.1111110b1cfdep-7,
                                    0x1.6c16c1767ea53p-10,
                                    0x1.a01f585fcf512p-13,
                                    0x1.a019a48b1e859p-16};
static const real NAME(roots)[TABLE] = {0x1p+0,
                                        0x1.172b83c7d517bp+0,
                                        0x1.306fe0a31b715p+0,
                                        0x1.4bfdad5362a27p+0,
                                        0x1.6a09e667f3bcdp+0,
                                        0x1.8ace5422aa0dbp+0,
                                        0x1.ae89f995ad3adp+0,
                                        0x1.d5818dcfba487p+0};
static const real NAME(missed)[TABLE] = {0,
                                         -0x1.01b15eaa59348p-55,
                                         0x1.34d754db0abb6p-55,
                                         0x1.690cebb7aafbp-56,
                                         -0x1.3b3efbf5e2229p-54,
                                         0x1.db72fc1f0eab4p-55,
                                         0x1.c1a7792cb3387p-55,
                                         0x1.4a385a63d07a7p-56};
#else
static const real NAME(series)[] = {
    0x1.0000000000005p-1,  0x1.5555555555539p-3,  0x1.555555555228fp-5,  0x1.1111111118ffcp-7,
    0x1.6c16c17ee6efdp-10, 0x1.a01a01750360fp-13, 0x1.a019a74b03ea4p-16, 0x1.71de880ff240fp-19,
    0x1.28a2060fa1735p-22, 0x1.ae6bd052bb577p-26};
static const real NAME(roots)[TABLE] = {0x1p+0};
static const real NAME(missed)[TABLE] = {0};
#endif
#endif
enum {
    NAME(SERIES) = sizeof NAME(series) / sizeof(real),
    NAME(ARTANH) = sizeof NAME(artanh) / sizeof(real),
    NAME(EXP_FAR_OUT) = REAL_BITS == 32 ? 110 : 760 /* e^-x is 0 from here on */
};

/* x = n ln2 + r, and the sum whose last bits are those of n; exactly: r with what is missed of 2^n,
 * which is half an ULP of e^x, and several of e^x - 1. */
SIDE_BY_SIDE NAME(split)(const int count, const int exactly, const vec *x, vec *sum, vec *n,
                         vec *r) {
    vec low[GROUP];
    EACH sum[k] = v_fma(x[k], v_set(LOG2_E), v_set(ROUND));
    EACH n[k] = v_sub(sum[k], v_set(ROUND));
    EACH r[k] = v_fnma(n[k], v_set(LN2_HIGH), x[k]);
    if (exactly && TABLE > 1) {
        EACH low[k] = v_fnma(n[k], v_set(LN2_LOW), v_lookup(NAME(missed), sum[k]));
        EACH r[k] = v_add(r[k], low[k]);
    } else
        EACH r[k] = v_fnma(n[k], v_set(LN2_LOW), r[k]);
}

/* The same, and 2^n. */
SIDE_BY_SIDE NAME(reduce)(const int count, const int exactly, const vec *x, vec *power, vec *r) {
    vec sum[GROUP], n[GROUP];
    NAME(split)(count, exactly, x, sum, n, r);
    EACH power[k] = v_ldexp(v_lookup(NAME(roots), sum[k]), n[k], sum[k]);
}

/* Two terms of the series, or its last: in pairs, because who waits for exp waits for them all. */
static inline vec NAME(pair)(int i, vec r) {
    const vec even = v_set(NAME(series)[i]);
    return i + 1 < NAME(SERIES) ? v_fma(v_set(NAME(series)[i + 1]), r, even) : even;
}

/* e^r - 1 */
SIDE_BY_SIDE NAME(expm1)(const int count, const vec *r, vec *rest) {
    vec square[GROUP], sum[GROUP];
    const int last = (NAME(SERIES) - 1) / 2 * 2;
    EACH square[k] = v_mul(r[k], r[k]);
    EACH sum[k] = NAME(pair)(last, r[k]);
#pragma GCC unroll 8
    for (int i = last - 2; i >= 0; i -= 2)
        EACH sum[k] = v_fma(sum[k], square[k], NAME(pair)(i, r[k]));
    EACH rest[k] = v_fma(square[k], sum[k], r[k]);
}

/* e^x, x at most 0; a NaN passes through */
SIDE_BY_SIDE NAME(exp_below)(const int count, const int exactly, const vec *x, vec *e) {
    vec within[GROUP], power[GROUP], r[GROUP], rest[GROUP];
    EACH within[k] = v_max(v_set(EXP_LEAST), x[k]);
    NAME(reduce)(count, exactly, within, power, r);
    NAME(expm1)(count, r, rest);
    EACH e[k] = v_fma(rest[k], power[k], power[k]);
}

/* e^x = (e^(x/2))^2, as v_ldexp comes to 2^n, but not to 2^2n. */
SIDE_BY_SIDE NAME(exp)(const int count, const vec *x, vec *e) {
    vec root[GROUP];
    EACH root[k] = v_mul(v_min(v_set(EXP_MOST), x[k]), v_set((real)0.5));
    NAME(exp_below)(count, 1, root, root);
    EACH e[k] = v_mul(root[k], root[k]);
}

/* e^(x + low), x at most 0, low what rounding took from x. Where the result is 0 anyway, low may be
 * anything: an x of 1e9 has lost whole numbers, and one of -infinity has no low. */
static inline vec NAME(exp_sum)(vec x, vec low) {
    const vec least = v_set(EXP_LEAST), kept = v_if_positive(v_sub(x, least), low, v_zero());
    const vec within = v_max(least, x);
    vec power, r, rest;
    NAME(reduce)(1, 1, &within, &power, &r);
    r = v_add(r, kept);
    NAME(expm1)(1, &r, &rest);
    return v_fma(rest, power, power);
}

/* e^(x + low) = m p, x at most 0: p is a whole power of 2, which may be subnormal while m times
 * something else, times p, is not. low: what rounding took from x, or NULL. */
SIDE_BY_SIDE NAME(exp_parts)(const int count, const vec *x, const vec *low, vec *m, vec *p) {
    vec within[GROUP], sum[GROUP], n[GROUP], r[GROUP], rest[GROUP], root[GROUP];
    EACH within[k] = v_max(v_set(EXP_LEAST), x[k]);
    NAME(split)(count, 1, within, sum, n, r);
    if (low) EACH r[k] = v_add(r[k], low[k]);
    NAME(expm1)(count, r, rest);
    EACH root[k] = v_lookup(NAME(roots), sum[k]);
    EACH m[k] = v_fma(rest[k], root[k], root[k]);
    EACH p[k] = v_ldexp(v_set(1), n[k], sum[k]);
}

/* e^(x + low) - 1, x at most 0, and accurate near 0. */
SIDE_BY_SIDE NAME(exp_minus_1)(const int count, const vec *x, const vec *low, vec *y) {
    vec within[GROUP], power[GROUP], r[GROUP], rest[GROUP];
    EACH within[k] = v_max(v_set(EXP_LEAST), x[k]);
    NAME(reduce)(count, 1, within, power, r);
    if (low) EACH r[k] = v_add(r[k], low[k]);
    NAME(expm1)(count, r, rest);
    EACH y[k] = v_fma(rest[k], power[k], v_sub(power[k], v_set(1)));
}

/* tanh(-|x|) = m / (1 + e), e = exp(-2 |x|), m = e - 1, not by subtraction: accurate near 0.
 * 1 - tanh^2 = e (2 / (1 + e))^2 = e (1 + |tanh|)^2: accurate in the tails, where tanh is 1. */
SIDE_BY_SIDE NAME(tanh)(const int count, const vec *x, vec *y, vec *derivative) {
    vec twice[GROUP], power[GROUP], r[GROUP], rest[GROUP], e[GROUP], m[GROUP], t[GROUP];
    EACH t[k] = v_max(v_set(EXP_LEAST / 2), v_minus_abs(x[k]));
    EACH twice[k] = v_add(t[k], t[k]);
    NAME(reduce)(count, 1, twice, power, r);
    NAME(expm1)(count, r, rest);
    EACH e[k] = v_fma(rest[k], power[k], power[k]);
    EACH m[k] = v_fma(rest[k], power[k], v_sub(power[k], v_set(1)));
    EACH t[k] = v_div(m[k], v_add(v_set(1), e[k]));
    EACH y[k] = v_copysign(t[k], x[k]);
    if (!derivative) return;
    EACH t[k] = v_sub(v_set(1), t[k]);
    EACH derivative[k] = v_mul(v_mul(e[k], t[k]), t[k]);
}

/* Left of 0 e / (1 + e), e = exp(-|x|), and right 1 less that: accurate tails. Their product is the
 * derivative, where s (1 - s) would be 0 as soon as s is 1. */
SIDE_BY_SIDE NAME(sigmoid)(const int count, const vec *x, vec *y, vec *derivative) {
    vec e[GROUP], left[GROUP], right[GROUP];
    EACH e[k] = v_minus_abs(x[k]);
    NAME(exp_below)(count, 0, e, e);
    EACH left[k] = v_div(e[k], v_add(v_set(1), e[k]));
    EACH right[k] = v_sub(v_set(1), left[k]);
    EACH y[k] = v_by_sign(x[k], right[k], left[k]);
    if (derivative) EACH derivative[k] = v_mul(left[k], right[k]);
}

/* log(1 + u), 0 <= u <= 1, = 2 artanh(s), s = u / (2 + u) <= 1/3 */
static inline vec NAME(log1p)(vec u) {
    const vec s = v_div(u, v_add(v_set(2), u)), square = v_mul(s, s);
    vec sum = v_set(NAME(artanh)[NAME(ARTANH) - 1]);
#pragma GCC unroll 16
    for (int i = NAME(ARTANH) - 2; i >= 0; i--) sum = v_fma(sum, square, v_set(NAME(artanh)[i]));
    sum = v_fma(v_mul(sum, square), s, s);
    return v_add(sum, sum);
}

/* The sum over the lanes, in more digits than the type has. */
#if REAL_BITS == 32
typedef double NAME(wide);
static inline double NAME(wide_sum)(vec x) { return v_sum(x); }
#else
typedef long double NAME(wide);
static inline long double NAME(wide_sum)(vec x) {
    real lanes[LANES];
    v_store(lanes, x);
    long double sum = 0;
    for (int i = 0; i < LANES; i++) sum += (long double)lanes[i];
    return sum;
}
#endif

#undef LN2_HIGH
#undef LN2_LOW
#undef LOG2_E
#undef EXP_LEAST
#undef EXP_MOST
#undef ROUND
