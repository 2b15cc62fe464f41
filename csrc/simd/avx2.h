/* avx2.h - AVX2 with FMA: 8 floats or 4 doubles. No include guard: read once for each type. */
#include <immintrin.h>
#include <string.h>

/* 4 rows of 3 vectors are as quick: 115 GFLOP/s both, where FMAs alone have 107 to 115. */
#define MR 6
#define NV 2
#define EACH_ROW(f, v) f(1, v) f(2, v) f(3, v) f(4, v) f(5, v) f(6, v)
#define EACH_VEC(f) f(1) f(2)
#define TALL 6
#define EACH_TALL(f)

#define HALF_EXISTS(n) (__builtin_constant_p(n) && (n) >= LANES / 2)
#if REAL_BITS == 32
#define LANES 8
#define MM(op) _mm256_##op##_ps
#define AS_BITS(x) _mm256_castps_si256(x)
#define FROM_BITS(x) _mm256_castsi256_ps(x)
#define LESS_BITS(a, b) _mm256_sub_epi32(a, b)
typedef int32_t NAME(whole);
typedef uint32_t NAME(bits) __attribute__((vector_size(32)));
typedef __m256 vec;
typedef vec flags;
static inline __m256i NAME(mask)(size_t n) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n < LANES ? (int)n : LANES), lane);
}
static inline double v_sum(vec x) {
    const __m256d wide = _mm256_add_pd(_mm256_cvtps_pd(_mm256_castps256_ps128(x)),
                                       _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1)));
    const __m128d half = _mm_add_pd(_mm256_castpd256_pd128(wide), _mm256_extractf128_pd(wide, 1));
    return _mm_cvtsd_f64(_mm_add_sd(half, _mm_unpackhi_pd(half, half)));
}
static inline real v_largest(vec x) {
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}
#define MANTISSA_BITS 23
#define TABLE_BITS 3
#define BIAS 48
#define UNBIAS 0x1p-48f
#define BIASED ((real)(0x1.8p23 + 127)) /* added, it leaves n + 127 in the last bits */
#define TO_EXPONENT(x) FROM_BITS(_mm256_slli_epi32(AS_BITS(x), 23))
static inline vec v_lookup(const real *table, vec sum) {
    return _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), AS_BITS(sum));
}
/* Not by a mask, which some processors store slowly: 784-30-10 then takes 1.08 times as long. */
static inline void NAME(store_few)(real *p, vec x, size_t n) {
    __m128 half = _mm256_castps256_ps128(x);
    if (n & 4) {
        _mm_storeu_ps(p, half);
        half = _mm256_extractf128_ps(x, 1);
    }
    p += n & 4;
    if (n & 2) {
        _mm_storel_pi((__m64 *)(void *)p, half);
        half = _mm_movehl_ps(half, half);
    }
    if (n & 1) _mm_store_ss(p + (n & 2), half);
}
static inline void v_transpose(vec *r) {
    vec a[8], b[8];
    for (int i = 0; i < 4; i++) {
        a[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        a[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        b[4 * i] = _mm256_shuffle_ps(a[4 * i], a[4 * i + 2], 0x44);
        b[4 * i + 1] = _mm256_shuffle_ps(a[4 * i], a[4 * i + 2], 0xEE);
        b[4 * i + 2] = _mm256_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0x44);
        b[4 * i + 3] = _mm256_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0xEE);
    }
    for (int i = 0; i < 4; i++) {
        r[i] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x20);
        r[i + 4] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x31);
    }
}
typedef __m128 NAME(half);
static inline NAME(half) NAME(load_half)(const real *p, size_t n) {
    const __m128i lane = _mm_setr_epi32(0, 1, 2, 3);
    if (HALF_EXISTS(n)) return _mm_loadu_ps(p);
    return _mm_maskload_ps(p, _mm_cmpgt_epi32(_mm_set1_epi32(n < 4 ? (int)n : 4), lane));
}
static inline vec NAME(join)(NAME(half) low, NAME(half) high) {
    return _mm256_insertf128_ps(_mm256_castps128_ps256(low), high, 1);
}
/* Of 4 rows beside the 4 rows after them, the 4 columns. */
static inline void NAME(columns_of)(const vec *r, vec *columns) {
    const vec even = _mm256_unpacklo_ps(r[0], r[1]), odd = _mm256_unpackhi_ps(r[0], r[1]);
    const vec even_2 = _mm256_unpacklo_ps(r[2], r[3]), odd_2 = _mm256_unpackhi_ps(r[2], r[3]);
    columns[0] = _mm256_shuffle_ps(even, even_2, 0x44);
    columns[1] = _mm256_shuffle_ps(even, even_2, 0xEE);
    columns[2] = _mm256_shuffle_ps(odd, odd_2, 0x44);
    columns[3] = _mm256_shuffle_ps(odd, odd_2, 0xEE);
}
#else
#define LANES 4
#define MM(op) _mm256_##op##_pd
#define AS_BITS(x) _mm256_castpd_si256(x)
#define FROM_BITS(x) _mm256_castsi256_pd(x)
#define LESS_BITS(a, b) _mm256_sub_epi64(a, b)
typedef int64_t NAME(whole);
typedef uint64_t NAME(bits) __attribute__((vector_size(32)));
typedef __m256d vec;
typedef vec flags;
static inline __m256i NAME(mask)(size_t n) {
    const __m256i lane = _mm256_setr_epi64x(0, 1, 2, 3);
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n < LANES ? (int)n : LANES), lane);
}
static inline double v_sum(vec x) {
    const __m128d half = _mm_add_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd(x, 1));
    return _mm_cvtsd_f64(_mm_add_sd(half, _mm_unpackhi_pd(half, half)));
}
static inline real v_largest(vec x) {
    const __m128d m = _mm_max_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd(x, 1));
    return _mm_cvtsd_f64(_mm_max_sd(m, _mm_unpackhi_pd(m, m)));
}
#define MANTISSA_BITS 52
#define TABLE_BITS 0
#define BIAS 384
#define UNBIAS 0x1p-384
#define BIASED ((real)(0x1.8p52 + 1023))
#define TO_EXPONENT(x) FROM_BITS(_mm256_slli_epi64(AS_BITS(x), 52))
static inline vec v_lookup(const real *table, vec sum) {
    (void)sum;
    return MM(set1)(table[0]);
}
static inline void NAME(store_few)(real *p, vec x, size_t n) {
    __m128d half = _mm256_castpd256_pd128(x);
    if (n & 2) {
        _mm_storeu_pd(p, half);
        half = _mm256_extractf128_pd(x, 1);
    }
    if (n & 1) _mm_store_sd(p + (n & 2), half);
}
static inline void v_transpose(vec *r) {
    const vec a = _mm256_unpacklo_pd(r[0], r[1]), b = _mm256_unpackhi_pd(r[0], r[1]);
    const vec c = _mm256_unpacklo_pd(r[2], r[3]), d = _mm256_unpackhi_pd(r[2], r[3]);
    r[0] = _mm256_permute2f128_pd(a, c, 0x20);
    r[1] = _mm256_permute2f128_pd(b, d, 0x20);
    r[2] = _mm256_permute2f128_pd(a, c, 0x31);
    r[3] = _mm256_permute2f128_pd(b, d, 0x31);
}
typedef __m128d NAME(half);
static inline NAME(half) NAME(load_half)(const real *p, size_t n) {
    return n >= LANES / 2 ? _mm_loadu_pd(p) : _mm_load_sd(p);
}
static inline vec NAME(join)(NAME(half) low, NAME(half) high) {
    return _mm256_insertf128_pd(_mm256_castpd128_pd256(low), high, 1);
}
/* Of 2 rows beside the 2 rows after them, the 2 columns. */
static inline void NAME(columns_of)(const vec *r, vec *columns) {
    columns[0] = _mm256_unpacklo_pd(r[0], r[1]);
    columns[1] = _mm256_unpackhi_pd(r[0], r[1]);
}
#endif

static inline vec v_zero(void) { return MM(setzero)(); }
static inline vec v_set(real s) { return MM(set1)(s); }
static inline vec v_load(const real *p) { return MM(loadu)(p); }
static inline void v_store(real *p, vec x) { MM(storeu)(p, x); }
/* Whether the compiler knows that all lanes exist: a mask would cost it two instructions more. */
#define WHOLE(n) (__builtin_constant_p(n) && (n) >= LANES)
static inline vec v_load_n(const real *p, size_t n) {
    return WHOLE(n) ? v_load(p) : MM(maskload)(p, NAME(mask)(n));
}
static inline vec v_load_or(const real *p, size_t n, vec fill) {
    return MM(blendv)(fill, v_load_n(p, n), FROM_BITS(NAME(mask)(n)));
}
static inline void v_store_n(real *p, vec x, size_t n) {
    if (n >= LANES)
        v_store(p, x);
    else
        NAME(store_few)(p, x, n);
}
static inline vec v_first_n(vec x, size_t n) {
    return WHOLE(n) ? x : MM (and)(x, FROM_BITS(NAME(mask)(n)));
}
/* By halves of columns: what joins two halves of rows is a load. */
static inline __attribute__((always_inline)) void v_load_columns(const real *p, size_t ld,
                                                                 const size_t rows,
                                                                 const size_t cols, vec *columns) {
    enum { HALF = LANES / 2 };
#pragma GCC unroll 2
    for (size_t c = 0; c < LANES; c += HALF) {
        vec joined[HALF];
        if (c >= cols) {
            for (size_t i = c; i < c + HALF; i++) columns[i] = v_zero();
            continue;
        }
        for (size_t r = 0; r < HALF; r++) {
            const real *const low = p + (r < rows ? r * ld : 0) + c;
            const real *const high = p + (r + HALF < rows ? (r + HALF) * ld : 0) + c;
            joined[r] = NAME(join)(NAME(load_half)(low, cols - c), NAME(load_half)(high, cols - c));
        }
        NAME(columns_of)(joined, columns + c);
        for (size_t i = c; i < c + HALF; i++) columns[i] = v_first_n(columns[i], rows);
    }
}
static inline vec v_add(vec a, vec b) { return MM(add)(a, b); }
static inline vec v_sub(vec a, vec b) { return MM(sub)(a, b); }
static inline vec v_mul(vec a, vec b) { return MM(mul)(a, b); }
static inline vec v_div(vec a, vec b) { return MM(div)(a, b); }
static inline vec v_sqrt(vec x) { return MM(sqrt)(x); }
static inline vec v_abs(vec x) { return MM(andnot)(v_set((real)-0.0), x); }
static inline vec v_minus_abs(vec x) { return MM(or)(v_set((real)-0.0), x); }
static inline vec v_fma(vec a, vec b, vec c) { return MM(fmadd)(a, b, c); }
static inline vec v_fnma(vec a, vec b, vec c) { return MM(fnmadd)(a, b, c); }
static inline vec v_missed(vec a, vec b, vec p) { return MM(fmsub)(a, b, p); }
static inline vec v_max(vec a, vec b) { return MM(max)(a, b); }
static inline vec v_min(vec a, vec b) { return MM(min)(a, b); }
static inline vec v_power(vec n) { return TO_EXPONENT(v_add(n, v_set(BIASED))); }
/* 2^BIAS too large at first, and rounded once, by the product. */
static inline vec v_ldexp(vec x, vec n, vec sum) {
    (void)n;
    const NAME(bits) whole = (NAME(bits))sum / TABLE * TABLE;
    const NAME(bits) biased = (NAME(bits))x + (whole << (MANTISSA_BITS - TABLE_BITS));
    return v_mul((vec)biased, v_set(UNBIAS));
}
static inline vec v_copysign(vec x, vec s) {
    const vec sign = v_set((real)-0.0);
    return MM(or)(MM(andnot)(sign, x), MM (and)(sign, s));
}
static inline vec v_by_sign(vec s, vec a, vec b) { return MM(blendv)(a, b, s); }
static inline vec v_if_positive(vec x, vec a, vec b) {
    return MM(blendv)(b, a, MM(cmp)(x, v_zero(), _CMP_GT_OQ));
}
static inline flags v_equal(vec a, vec b) { return MM(cmp)(a, b, _CMP_EQ_OQ); }
static inline flags v_less(vec a, vec b) { return MM(cmp)(a, b, _CMP_LT_OQ); }
static inline flags v_both(flags f, flags g) { return MM (and)(f, g); }
static inline flags v_first(flags f, size_t n) { return WHOLE(n) ? f : v_first_n(f, n); }
static inline vec v_count(vec x, flags f) { return v_add(x, MM (and)(f, v_set(1))); }
/* Whole numbers: where f is, all bits are set, which is -1. Unless it is kept from that, gcc adds
 * the flags of a tile up first, and holds them in memory until then. */
static inline vec v_tally(vec t, flags f) {
    vec sum = FROM_BITS(LESS_BITS(AS_BITS(t), AS_BITS(f)));
    __asm__("" : "+x"(sum));
    return sum;
}
static inline double v_tallied(vec t) {
    NAME(whole) lanes[LANES];
    memcpy(lanes, &t, sizeof lanes);
    double sum = 0;
    for (int i = 0; i < LANES; i++) sum += (double)lanes[i];
    return sum;
}
static inline unsigned v_bits(flags f) { return (unsigned)MM(movemask)(f); }

typedef uint64_t ints __attribute__((vector_size(32), may_alias));
static inline ints v_mul_low(ints a, ints b) {
    return (ints)_mm256_mul_epu32((__m256i)a, (__m256i)b);
}
