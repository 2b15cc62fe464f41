/* avx512.h - AVX-512F: 16 floats or 8 doubles. No include guard: read once for each type. */
#include <immintrin.h>

#define MR 8
#define NV 3
#define EACH_ROW(f, v) f(1, v) f(2, v) f(3, v) f(4, v) f(5, v) f(6, v) f(7, v) f(8, v)
#define EACH_VEC(f) f(1) f(2) f(3)
#define TALL 12
#define EACH_TALL(f) f(9, 1) f(10, 1) f(11, 1) f(12, 1) f(9, 2) f(10, 2) f(11, 2) f(12, 2)

#if REAL_BITS == 32
#define LANES 16
#define MM(op) _mm512_##op##_ps
#define MASK(op) _mm512_##op##_ps_mask
#define AS_BITS(x) _mm512_castps_si512(x)
#define FROM_BITS(x) _mm512_castsi512_ps(x)
typedef __m512 vec;
typedef __mmask16 flags;
#define TABLE_BITS 3
static inline vec v_lookup(const real *table, vec sum) {
    const __m512d twice = _mm512_broadcast_f64x4(_mm256_castps_pd(_mm256_loadu_ps(table)));
    return _mm512_permutexvar_ps(AS_BITS(sum), _mm512_castpd_ps(twice));
}
static inline double v_sum(vec x) {
    const __m256 high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(x), 1));
    return _mm512_reduce_add_pd(
        _mm512_add_pd(_mm512_cvtps_pd(_mm512_castps512_ps256(x)), _mm512_cvtps_pd(high)));
}
static inline void v_transpose(vec *r) {
    vec a[16];
    for (int i = 0; i < 8; i++) { /* pairs of rows */
        a[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        a[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 4; i++) { /* columns 4q + 0..3 of four rows, q = 128-bit lane */
        r[4 * i] = _mm512_shuffle_ps(a[4 * i], a[4 * i + 2], 0x44);
        r[4 * i + 1] = _mm512_shuffle_ps(a[4 * i], a[4 * i + 2], 0xEE);
        r[4 * i + 2] = _mm512_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0x44);
        r[4 * i + 3] = _mm512_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0xEE);
    }
    for (int i = 0; i < 4; i++) { /* 4 x 4 transpose of the lanes, in two steps */
        a[i] = _mm512_shuffle_f32x4(r[i], r[4 + i], 0x88);
        a[4 + i] = _mm512_shuffle_f32x4(r[i], r[4 + i], 0xDD);
        a[8 + i] = _mm512_shuffle_f32x4(r[8 + i], r[12 + i], 0x88);
        a[12 + i] = _mm512_shuffle_f32x4(r[8 + i], r[12 + i], 0xDD);
    }
    for (int i = 0; i < 4; i++) {
        r[i] = _mm512_shuffle_f32x4(a[i], a[8 + i], 0x88);
        r[4 + i] = _mm512_shuffle_f32x4(a[4 + i], a[12 + i], 0x88);
        r[8 + i] = _mm512_shuffle_f32x4(a[i], a[8 + i], 0xDD);
        r[12 + i] = _mm512_shuffle_f32x4(a[4 + i], a[12 + i], 0xDD);
    }
}
/* Of 8 rows beside the 8 rows after them, the 8 columns: first within 128 bits, of four rows
 * each. */
static inline void NAME(columns_of)(const vec *r, vec *columns) {
    const __m512i low = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27);
    const __m512i high = _mm512_or_si512(low, _mm512_set1_epi32(4));
    vec a[8];
    for (int i = 0; i < 8; i += 4) {
        const vec even = _mm512_unpacklo_ps(r[i], r[i + 1]),
                  odd = _mm512_unpackhi_ps(r[i], r[i + 1]);
        const vec even_2 = _mm512_unpacklo_ps(r[i + 2], r[i + 3]),
                  odd_2 = _mm512_unpackhi_ps(r[i + 2], r[i + 3]);
        a[i] = _mm512_shuffle_ps(even, even_2, 0x44);
        a[i + 1] = _mm512_shuffle_ps(even, even_2, 0xEE);
        a[i + 2] = _mm512_shuffle_ps(odd, odd_2, 0x44);
        a[i + 3] = _mm512_shuffle_ps(odd, odd_2, 0xEE);
    }
    for (int i = 0; i < 4; i++) {
        columns[i] = _mm512_permutex2var_ps(a[i], low, a[i + 4]);
        columns[i + 4] = _mm512_permutex2var_ps(a[i], high, a[i + 4]);
    }
}
#else
#define LANES 8
#define MM(op) _mm512_##op##_pd
#define MASK(op) _mm512_##op##_pd_mask
#define AS_BITS(x) _mm512_castpd_si512(x)
#define FROM_BITS(x) _mm512_castsi512_pd(x)
typedef __m512d vec;
typedef __mmask8 flags;
#define TABLE_BITS 3
static inline vec v_lookup(const real *table, vec sum) {
    return _mm512_permutexvar_pd(AS_BITS(sum), _mm512_loadu_pd(table));
}
static inline double v_sum(vec x) { return _mm512_reduce_add_pd(x); }
static inline void v_transpose(vec *r) {
    vec a[8];
    for (int i = 0; i < 4; i++) {
        a[2 * i] = _mm512_unpacklo_pd(r[2 * i], r[2 * i + 1]);
        a[2 * i + 1] = _mm512_unpackhi_pd(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) { /* i: even or odd columns; r: [rows 0-3: lanes 0,2 | 1,3] */
        r[i] = _mm512_shuffle_f64x2(a[i], a[2 + i], 0x88);
        r[2 + i] = _mm512_shuffle_f64x2(a[i], a[2 + i], 0xDD);
        r[4 + i] = _mm512_shuffle_f64x2(a[4 + i], a[6 + i], 0x88);
        r[6 + i] = _mm512_shuffle_f64x2(a[4 + i], a[6 + i], 0xDD);
    }
    for (int i = 0; i < 4; i++) {
        a[i] = _mm512_shuffle_f64x2(r[i], r[4 + i], 0x88);
        a[4 + i] = _mm512_shuffle_f64x2(r[i], r[4 + i], 0xDD);
    }
    for (int i = 0; i < 8; i++) r[i] = a[i];
}
/* Of 4 rows beside the 4 rows after them, the 4 columns. */
static inline void NAME(columns_of)(const vec *r, vec *columns) {
    const __m512i low = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
    const __m512i high = _mm512_or_si512(low, _mm512_set1_epi64(2));
    const vec even = _mm512_unpacklo_pd(r[0], r[1]), odd = _mm512_unpackhi_pd(r[0], r[1]);
    const vec even_2 = _mm512_unpacklo_pd(r[2], r[3]), odd_2 = _mm512_unpackhi_pd(r[2], r[3]);
    columns[0] = _mm512_permutex2var_pd(even, low, even_2);
    columns[1] = _mm512_permutex2var_pd(odd, low, odd_2);
    columns[2] = _mm512_permutex2var_pd(even, high, even_2);
    columns[3] = _mm512_permutex2var_pd(odd, high, odd_2);
}
#endif

/* Whether the compiler knows that all lanes exist: a mask would cost it two instructions more. */
#define WHOLE(n) (__builtin_constant_p(n) && (n) >= LANES)
static inline flags NAME(mask)(size_t n) {
    return (flags)(n < LANES ? (1u << n) - 1u : (1u << LANES) - 1u);
}
static inline vec v_zero(void) { return MM(setzero)(); }
static inline vec v_set(real s) { return MM(set1)(s); }
static inline vec v_load(const real *p) { return MM(loadu)(p); }
static inline void v_store(real *p, vec x) { MM(storeu)(p, x); }
static inline vec v_load_n(const real *p, size_t n) {
    return WHOLE(n) ? v_load(p) : MM(maskz_loadu)(NAME(mask)(n), p);
}
static inline vec v_load_or(const real *p, size_t n, vec fill) {
    return MM(mask_loadu)(fill, NAME(mask)(n), p);
}
static inline void v_store_n(real *p, vec x, size_t n) {
    if (WHOLE(n))
        v_store(p, x);
    else
        MM(mask_storeu)(p, NAME(mask)(n), x);
}
static inline vec v_first_n(vec x, size_t n) {
    return WHOLE(n) ? x : MM(maskz_mov)(NAME(mask)(n), x);
}
/* By halves of columns: what joins two halves of rows is a load, of lanes that lie before it. */
static inline
    __attribute__((always_inline)) vec NAME(join)(const real *low, const real *high, size_t n) {
    enum { HALF = LANES / 2 };
    if (n >= HALF)
        return FROM_BITS(_mm512_inserti64x4(
            _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(const void *)low)),
            _mm256_loadu_si256((const __m256i *)(const void *)high), 1));
    const flags some = NAME(mask)(n);
    return MM(mask_loadu)(MM(maskz_loadu)(some, low), (flags)(some << HALF), high - HALF);
}
static inline __attribute__((always_inline)) void NAME(half_columns)(const real *p, size_t ld,
                                                                     const size_t rows,
                                                                     const size_t n, vec *columns) {
    enum { HALF = LANES / 2 };
    vec joined[HALF];
    for (size_t r = 0; r < HALF; r++)
        joined[r] =
            NAME(join)(p + (r < rows ? r * ld : 0), p + (r + HALF < rows ? (r + HALF) * ld : 0), n);
    NAME(columns_of)(joined, columns);
    for (size_t i = 0; i < HALF; i++) columns[i] = v_first_n(columns[i], rows);
}
static inline __attribute__((always_inline)) void v_load_columns(const real *p, size_t ld,
                                                                 const size_t rows,
                                                                 const size_t cols, vec *columns) {
    enum { HALF = LANES / 2 };
#pragma GCC unroll 2
    for (size_t c = 0; c < LANES; c += HALF)
        if (cols >= c + HALF)
            NAME(half_columns)(p + c, ld, rows, HALF, columns + c);
        else if (cols > c)
            NAME(half_columns)(p + c, ld, rows, cols - c, columns + c);
        else
            for (size_t i = c; i < c + HALF; i++) columns[i] = v_zero();
}
static inline vec v_add(vec a, vec b) { return MM(add)(a, b); }
static inline vec v_sub(vec a, vec b) { return MM(sub)(a, b); }
static inline vec v_mul(vec a, vec b) { return MM(mul)(a, b); }
static inline vec v_div(vec a, vec b) { return MM(div)(a, b); }
static inline vec v_sqrt(vec x) { return MM(sqrt)(x); }
static inline vec v_abs(vec x) { return MM(abs)(x); }
static inline vec v_fma(vec a, vec b, vec c) { return MM(fmadd)(a, b, c); }
static inline vec v_fnma(vec a, vec b, vec c) { return MM(fnmadd)(a, b, c); }
static inline vec v_missed(vec a, vec b, vec p) { return MM(fmsub)(a, b, p); }
static inline vec v_max(vec a, vec b) { return MM(max)(a, b); }
static inline vec v_min(vec a, vec b) { return MM(min)(a, b); }
static inline vec v_power(vec n) { return MM(scalef)(v_set(1), n); }
#define BIAS 0
static inline vec v_ldexp(vec x, vec n, vec sum) {
    (void)sum;
    return MM(scalef)(x, n);
}
#if REAL_BITS == 32
#define SIGN_OF _mm512_set1_epi32(INT32_MIN)
#define ALL_SIGN(x) _mm512_srai_epi32(AS_BITS(x), 31)
#else
#define SIGN_OF _mm512_set1_epi64(INT64_MIN)
#define ALL_SIGN(x) _mm512_srai_epi64(AS_BITS(x), 63)
#endif
static inline vec v_minus_abs(vec x) { return FROM_BITS(_mm512_or_si512(SIGN_OF, AS_BITS(x))); }
static inline vec v_by_sign(vec s, vec a, vec b) {
    return FROM_BITS(_mm512_ternarylogic_epi32(ALL_SIGN(s), AS_BITS(b), AS_BITS(a), 0xCA));
}
static inline vec v_copysign(vec x, vec s) { /* bitwise: s where the sign bit is, else x */
    return FROM_BITS(_mm512_ternarylogic_epi32(SIGN_OF, AS_BITS(s), AS_BITS(x), 0xCA));
}
static inline vec v_if_positive(vec x, vec a, vec b) {
    return MM(mask_blend)(MASK(cmp)(x, v_zero(), _CMP_GT_OQ), b, a);
}
static inline flags v_equal(vec a, vec b) { return MASK(cmp)(a, b, _CMP_EQ_OQ); }
static inline flags v_less(vec a, vec b) { return MASK(cmp)(a, b, _CMP_LT_OQ); }
static inline flags v_both(flags f, flags g) { return f & g; }
static inline flags v_first(flags f, size_t n) { return WHOLE(n) ? f : f & NAME(mask)(n); }
static inline vec v_count(vec x, flags f) { return MM(mask_add)(x, f, x, v_set(1)); }
static inline vec v_tally(vec t, flags f) { return v_count(t, f); }
static inline double v_tallied(vec t) { return v_sum(t); }
static inline unsigned v_bits(flags f) { return f; }
static inline real v_largest(vec x) { return MM(reduce_max)(x); }

typedef uint64_t ints __attribute__((vector_size(64), may_alias));
static inline ints v_mul_low(ints a, ints b) {
    return (ints)_mm512_mul_epu32((__m512i)a, (__m512i)b);
}
