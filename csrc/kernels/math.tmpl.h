/* math.tmpl.h - exp, tanh, sigmoid, log(1 + u): at most 3 ULP, subnormal results included.
 *
 * exp: x = n ln2 + r with |r| <= ln2 / 2 (Cody & Waite: the high part of ln2 has so few bits that
 * n times it is exact), e^r by its Taylor series to below a tenth of an ULP, times 2^n rounded
 * once. */
#if REAL_BITS == 32
#define LN2_HIGH 0x1.62e4p-1f /* 15 bits, and n has 8 */
#define LN2_LOW 0x1.7f7d1cp-20f
#define LOG2_E 0x1.715476p+0f
#define EXP_LEAST -110.0f /* e^x is 0 below, infinity above */
#define EXP_MOST 90.0f
#define EXP_TERMS 8
#define ROUND 0x1.8p23f /* added, it leaves no place for a fraction */
#define TANH_MOST 44.1f /* beyond, tanh is 1 and its derivative below twice the least normal */
#define LOG1P_TERMS 8
#else
#define LN2_HIGH 0x1.62e42feep-1 /* 32 bits, and n has 11 */
#define LN2_LOW 0x1.a39ef35793c76p-33
#define LOG2_E 0x1.71547652b82fep+0
#define EXP_LEAST -760.0
#define EXP_MOST 720.0
#define EXP_TERMS 14
#define ROUND 0x1.8p52
#define TANH_MOST 354.6
#define LOG1P_TERMS 17
#endif

/* (e^r - 1) = r + r^2 (1 / 2! + r / 3! + r^2 (1 / 4! + r / 5! + ...)): in pairs, because who waits
 * for exp waits for this chain. */
static inline vec NAME(expm1_series)(vec r) {
    const vec square = v_mul(r, r);
    double factorial = 1;
    for (int i = 2; i < EXP_TERMS; i++) factorial *= i;
    vec sum = v_zero();
#pragma GCC unroll 7
    for (int i = EXP_TERMS - 2; i >= 2; i -= 2) {
        const vec odd = v_set((real)(1 / factorial));
        factorial /= i + 1;
        const vec pair = v_fma(odd, r, v_set((real)(1 / factorial)));
        factorial /= i;
        sum = i == EXP_TERMS - 2 ? pair : v_fma(sum, square, pair);
    }
    return v_fma(square, sum, r);
}

/* x = n ln2 + r; returns r. */
static inline vec NAME(reduce)(vec x, vec *n) {
    *n = v_sub(v_fma(x, v_set(LOG2_E), v_set(ROUND)), v_set(ROUND));
    return v_fnma(*n, v_set(LN2_LOW), v_fnma(*n, v_set(LN2_HIGH), x));
}
/* e^(x + low), x at most EXP_MOST, low what rounding took from x. Where the result is 0 anyway, low
 * may be anything: an x of 1e9 has lost whole numbers, and one of -infinity has no low. */
static inline vec NAME(exp_sum)(vec x, vec low) {
    vec n;
    const vec least = v_set(EXP_LEAST), kept = v_if_positive(v_sub(x, least), low, v_zero());
    const vec r = v_add(NAME(reduce)(v_max(least, x), &n), kept);
    return v_ldexp(v_add(v_set(1), NAME(expm1_series)(r)), n);
}

/* e^x, x at most EXP_MOST; a NaN passes through */
static inline vec NAME(exp_below)(vec x) {
    vec n;
    const vec r = NAME(reduce)(v_max(v_set(EXP_LEAST), x), &n);
    return v_ldexp(v_add(v_set(1), NAME(expm1_series)(r)), n);
}
static inline vec NAME(exp)(vec x) { return NAME(exp_below)(v_min(v_set(EXP_MOST), x)); }

/* tanh = (e - 1) / (e + 1), e = exp(2 |x|), as m / d with m = e - 1, d = m + 2: accurate near 0;
 * 1 - tanh^2 = 4 e / d^2 = 4 / d (1 - 1 / d): accurate in the tails, where tanh has become 1. */
static inline vec NAME(tanh)(vec x, vec *derivative) {
    vec n;
    const vec size = v_abs(x), one = v_set(1), most = v_set(TANH_MOST);
    const vec kept = v_min(most, size);
    const vec r = NAME(reduce)(v_add(kept, kept), &n);
    const vec power = v_power(n);
    const vec m = v_fma(power, NAME(expm1_series)(r), v_sub(power, one)), d = v_add(m, v_set(2));
    const vec part = v_div(one, d), product = v_mul(v_mul(v_set(4), part), v_sub(one, part));
    *derivative = v_if_positive(v_sub(size, most), v_zero(), product);
    const vec quotient = v_mul(m, part); /* and its remainder: quicker than a second division */
    return v_copysign(v_fma(v_fnma(quotient, d, m), part, quotient), x);
}

/* 1 / (1 + e) right of 0 and e / (1 + e) left, e = exp(-|x|): accurate tails; and their product is
 * the derivative, where s (1 - s) would be 0 as soon as s is 1. */
static inline vec NAME(sigmoid)(vec x, vec *derivative) {
    const vec e = NAME(exp_below)(v_sub(v_zero(), v_abs(x)));
    const vec right = v_div(v_set(1), v_add(v_set(1), e)), left = v_mul(e, right);
    *derivative = v_mul(left, right);
    return v_if_positive(x, right, left);
}

/* log(1 + u), 0 <= u <= 1, = 2 artanh(s) = 2 (s + s^3 / 3 + ...), s = u / (2 + u) <= 1/3 */
static inline vec NAME(log1p)(vec u) {
    const vec s = v_div(u, v_add(v_set(2), u)), square = v_mul(s, s);
    vec sum = v_set((real)(1.0 / (2 * LOG1P_TERMS - 1)));
#pragma GCC unroll 17
    for (int i = LOG1P_TERMS - 2; i > 0; i--)
        sum = v_fma(sum, square, v_set((real)(1.0 / (2 * i + 1))));
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
#undef EXP_TERMS
#undef ROUND
#undef TANH_MOST
#undef LOG1P_TERMS
