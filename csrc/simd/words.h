/* words.h - the vocabulary that kernels are written in. Each simd/<isa>.h defines every word here
 * as a static inline function NAME(word), for `real` = float and again for double; scalar.h is
 * their meaning.
 *
 *   vec, LANES                 LANES elements of type real
 *   v_zero() v_set(s)          all lanes alike
 *   v_load(p) v_store(p, x)    no alignment needed
 *   v_load_or(p, n, fill)      the first min(n, LANES) elements, fill beyond; reads no byte more
 *   v_load_n(p, n)             the same with zero
 *   v_store_n(p, x, n)         writes no byte more
 *   v_first_n(x, n)            the first n lanes of x, zero beyond
 *   v_add v_sub v_mul v_div v_sqrt v_abs
 *   v_fma(a, b, c)             a b + c;  v_fnma(a, b, c) = c - a b;  fused where the machine fuses
 *   v_missed(a, b, p)          a b - p of the product p = a b: what rounding took from it
 *   v_max(a, b) v_min(a, b)    b where either is NaN
 *   v_power(n)                 2^n for integral n, where that is a normal number
 *   TABLE                      2^TABLE_BITS elements, which one instruction looks up in; 1 without
 *                              one
 *   v_lookup(t, s)             t[s's last TABLE_BITS bits]
 *   v_ldexp(x, n, s)           x 2^floor(n), rounded once, 1 <= x < 2, -174 < n < 79 (float64:
 *                              -1406, 639); the last bits of s are those of the integer
 *                              TABLE (n + BIAS)
 *   v_copysign(x, s)           abs(x) with the sign of s;  v_minus_abs(x): -abs(x)
 *   v_by_sign(s, a, b)         b where the sign bit of s is set, else a
 *   v_if_positive(x, a, b)     a where x > 0, else b
 *   flags                      yes or no in each lane
 *   v_equal(a, b) v_less(a, b)
 *   v_both(f, g) v_first(f, n) and of flags;  the first n of them
 *   v_count(x, f)              x + 1 where f, else x
 *   v_tally(t, f)              the same of a tally, of which v_zero() is empty and a lane may come
 *                              to 2^24; v_tallied(t): across the lanes
 *   v_bits(f)                  one bit a lane
 *   v_sum(x) v_largest(x)      across the lanes; v_sum in double
 *   v_transpose(rows)          a LANES x LANES block, in place
 *   v_load_columns(p, ld, rows, cols, columns)
 *                              columns (LANES) of a matrix of at least one row and column: lane r
 *                              of the c-th is p[r ld + c]; zero beyond the rows and the columns
 *   ints                       integers of 64 bits, with C's operators; v_mul_low(a, b): the
 *                              products of their lower halves
 * and the tile of the matrix product: MR rows of NV vectors, with EACH_ROW(f, v), EACH_VEC(f),
 * which list f(1, v) .. f(MR, v), f(1) .. f(NV). With less than NV vectors a tile may have up to
 * TALL rows; EACH_TALL(f) lists f(r, v) for those of more than MR. */
#ifndef VG_WORDS_H
#define VG_WORDS_H

#define TABLE (1 << TABLE_BITS)
#define vec NAME(vec)
#define flags NAME(flags)
#define v_zero NAME(zero)
#define v_set NAME(set)
#define v_load NAME(load)
#define v_store NAME(store)
#define v_load_or NAME(load_or)
#define v_load_n NAME(load_n)
#define v_store_n NAME(store_n)
#define v_first_n NAME(first_n)
#define v_add NAME(add)
#define v_sub NAME(sub)
#define v_mul NAME(mul)
#define v_div NAME(div)
#define v_sqrt NAME(sqrt)
#define v_abs NAME(abs)
#define v_fma NAME(fma)
#define v_fnma NAME(fnma)
#define v_missed NAME(missed_by)
#define v_max NAME(max)
#define v_min NAME(min)
#define v_power NAME(power)
#define v_ldexp NAME(ldexp)
#define v_lookup NAME(lookup)
#define v_minus_abs NAME(minus_abs)
#define v_by_sign NAME(by_sign)
#define v_copysign NAME(copysign)
#define v_if_positive NAME(if_positive)
#define v_equal NAME(equal)
#define v_less NAME(less)
#define v_both NAME(both)
#define v_first NAME(first)
#define v_count NAME(count)
#define v_tally NAME(tally_of)
#define v_tallied NAME(tallied)
#define v_bits NAME(bits_of)
#define v_sum NAME(sum)
#define v_largest NAME(largest)
#define v_transpose NAME(transpose)
#define v_load_columns NAME(load_columns)
#define ints NAME(ints)
#define v_mul_low NAME(mul_low)

#endif
