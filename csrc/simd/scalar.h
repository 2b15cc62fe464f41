/* scalar.h - one lane, any machine: the meaning that the other files must match. No include guard:
 * read once for each type. */
#include <math.h>
#include <string.h>

#define LANES 1
#define MR 4
#define NV 2
#define EACH_ROW(f, v) f(1, v) f(2, v) f(3, v) f(4, v)
#define EACH_VEC(f) f(1) f(2)
#define TALL 4
#define EACH_TALL(f)

typedef real vec;
typedef unsigned flags;
#if REAL_BITS == 32
typedef uint32_t NAME(bits);
#define MANTISSA_BITS 23
#define TABLE_BITS 3
#define BIAS 48
#define UNBIAS 0x1p-48f
#define EXPONENT_BIAS 127
#define ROOT sqrtf
#else
typedef uint64_t NAME(bits);
#define MANTISSA_BITS 52
#define TABLE_BITS 3
#define BIAS 384
#define UNBIAS 0x1p-384
#define EXPONENT_BIAS 1023
#define ROOT sqrt
#endif

static inline NAME(bits) NAME(to_bits)(vec x) {
    NAME(bits) b;
    memcpy(&b, &x, sizeof b);
    return b;
}
static inline vec NAME(from_bits)(NAME(bits) b) {
    vec x;
    memcpy(&x, &b, sizeof x);
    return x;
}

static inline vec v_zero(void) { return 0; }
static inline vec v_set(real s) { return s; }
static inline vec v_load(const real *p) { return *p; }
static inline void v_store(real *p, vec x) { *p = x; }
static inline vec v_load_or(const real *p, size_t n, vec fill) { return n > 0 ? *p : fill; }
static inline vec v_load_n(const real *p, size_t n) { return n > 0 ? *p : 0; }
static inline void v_store_n(real *p, vec x, size_t n) {
    if (n > 0) *p = x;
}
static inline vec v_first_n(vec x, size_t n) { return n > 0 ? x : 0; }
static inline vec v_add(vec a, vec b) { return a + b; }
static inline vec v_sub(vec a, vec b) { return a - b; }
static inline vec v_mul(vec a, vec b) { return a * b; }
static inline vec v_div(vec a, vec b) { return a / b; }
static inline vec v_sqrt(vec x) { return ROOT(x); }
static inline vec v_fma(vec a, vec b, vec c) { return a * b + c; }
static inline vec v_fnma(vec a, vec b, vec c) { return c - a * b; }
static inline vec v_missed(vec a, vec b, vec p) { return (real)fma(a, b, -p); }
static inline vec v_max(vec a, vec b) { return a > b ? a : b; }
static inline vec v_min(vec a, vec b) { return a < b ? a : b; }
static inline vec v_if_positive(vec x, vec a, vec b) { return x > 0 ? a : b; }
static inline flags v_equal(vec a, vec b) { return a == b; }
static inline flags v_less(vec a, vec b) { return a < b; }
static inline flags v_both(flags f, flags g) { return f & g; }
static inline flags v_first(flags f, size_t n) { return n > 0 ? f : 0; }
static inline vec v_count(vec x, flags f) { return x + (real)f; }
static inline unsigned v_bits(flags f) { return f; }
static inline double v_sum(vec x) { return (double)x; }
static inline vec v_tally(vec t, flags f) { return v_count(t, f); }
static inline double v_tallied(vec t) { return v_sum(t); }
static inline real v_largest(vec x) { return x; }
static inline void v_transpose(vec *rows) { (void)rows; }
static inline void v_load_columns(const real *p, size_t ld, size_t rows, size_t cols,
                                  vec *columns) {
    (void)ld, (void)rows, (void)cols;
    columns[0] = *p;
}

#define SIGN_BIT ((NAME(bits))1 << (REAL_BITS - 1))
static inline vec v_abs(vec x) { return NAME(from_bits)(NAME(to_bits)(x) & ~SIGN_BIT); }
static inline vec v_minus_abs(vec x) { return NAME(from_bits)(NAME(to_bits)(x) | SIGN_BIT); }
static inline vec v_by_sign(vec s, vec a, vec b) { return NAME(to_bits)(s) & SIGN_BIT ? b : a; }
static inline vec v_copysign(vec x, vec s) {
    return NAME(from_bits)((NAME(to_bits)(x) & ~SIGN_BIT) | (NAME(to_bits)(s) & SIGN_BIT));
}
static inline vec v_power(vec n) {
    const int whole = n == n ? (int)n : 0;
    return NAME(from_bits)((NAME(bits))(whole + EXPONENT_BIAS) << MANTISSA_BITS);
}
static inline vec v_lookup(const real *table, vec sum) { return table[NAME(to_bits)(sum) % TABLE]; }
/* 2^BIAS too large at first, and rounded once, by the product. */
static inline vec v_ldexp(vec x, vec n, vec sum) {
    (void)n;
    const NAME(bits) whole = NAME(to_bits)(sum) / TABLE * TABLE;
    return NAME(from_bits)(NAME(to_bits)(x) + (whole << (MANTISSA_BITS - TABLE_BITS))) * UNBIAS;
}

typedef uint64_t ints __attribute__((vector_size(8), may_alias));
static inline ints v_mul_low(ints a, ints b) { return (a & 0xFFFFFFFFu) * (b & 0xFFFFFFFFu); }
