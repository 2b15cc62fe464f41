/* tails.tmpl.h - softplus, silu, mish, gelu and others that are made of exp, with phi'(z): at most
 * 4 ULP from -104 to 104 (gelu, left of -1: 8) wherever the result is a normal number.
 *
 * Left of 0 each is something small, e^-|z| or e^(-z^2 / 2) times a rest. It is computed as that,
 * not as 1 less something that is 1 but for rounding. The exponent's own rounding error is an error
 * of the result as many times as large as the exponent is, so where it is a product it comes in two
 * parts, x + low. The power of 2 is multiplied last: 90 e^-90 is normal, e^-90 is not in float.
 *
 * phi' of silu, mish and gelu is 0 at one z, next to which its terms cancel; there it is
 * (z - root) q(z - root), with a polynomial q. */

/* For each: root, what rounding took from it, how far on both sides q is used, and q. mills: of t =
 * (x - MILLS) / (x + MILLS), (1 + x) (1 - Phi(x)) e^(x^2 / 2) for 0 <= x <= FAR_OUT, with Phi the
 * normal distribution (Shepherd & Laframboise, "Chebyshev approximation of (1 + 2x) exp(x^2) erfc x
 * in 0 <= x < infinity", 1981). All by interpolation in Chebyshev's points; of relative error below
 * 2^-28 in float, 2^-58 in double. FAR_OUT and CUBE_FAR_OUT: beyond, gelu is 0 or z. A and B: z
 * (B + A z^2) = 2 sqrt(2 / pi) (z + 0.044715 z^3). */
#if REAL_BITS == 32
#define MILLS 3
#define FAR_OUT 16
#define CUBE_FAR_OUT 12
#define A_HIGH 0x1.2444f2p-4f
#define A_LOW 0x1.49b16ap-29f
#define B_HIGH 0x1.988454p+0f
#define B_LOW -0x1.857936p-25f
#define THIRDS_HIGH 0x1.555556p+0f /* 4 / 3 */
#define THIRDS_LOW -0x1.555556p-25f
#define HEIGHT 1.7159f
#define HEIGHT_LOW 0x1.de69ae0000000p-25f
#define C_HIGH 0x1.988454p-2f /* 1 / sqrt(2 pi) */
#define C_LOW -0x1.857936p-27f
static const real NAME(gelu_root)[] = {
    -0x1.80ead2p-1f, 0x1.a03fd4p-27f,  0x1p-1f,         0x1.b9d99p-2f,  0x1.8d9a94p-2f,
    -0x1.2a2f1cp-6f, -0x1.d2fa4ap-4f,  -0x1.e40024p-7f, 0x1.3e33dep-6f, 0x1.28bf4p-8f,
    -0x1.25580cp-9f, -0x1.6b4706p-11f, 0x1.78506p-13f};
static const real NAME(silu_root)[] = {-0x1.474974p+0f, 0x1.bdf6fap-27f, 0x1p-3f,
                                       0x1.be141p-3f,   0x1.2c5634p-3f,  0x1.353e74p-6f,
                                       -0x1.f2bbaap-7f, -0x1.aff2bap-8f};
static const real NAME(mish_root)[] = {-0x1.31432cp+0f, -0x1.a25b08p-29f, 0x1p-3f,
                                       0x1.115accp-2f,  0x1.a34a26p-3f,   0x1.574ec2p-5f,
                                       -0x1.4c22c2p-6f, -0x1.02cacap-6f,  -0x1.b57408p-9f};
static const real NAME(gelu_tanh_root)[] = {
    -0x1.8142ap-1f,  0x1.85a06cp-27f,  0x1p-1f,         0x1.b8bacep-2f, 0x1.8cd1a2p-2f,
    -0x1.029646p-6f, -0x1.d2b77p-4f,   -0x1.10449cp-6f, 0x1.4277f8p-6f, 0x1.57bf76p-8f,
    -0x1.3cfab4p-9f, -0x1.bf8d3ap-11f, 0x1.fea904p-13f};
static const real NAME(mills)[] = {0x1.f1b89cp-2f,  -0x1.8b5fa6p-4f,  -0x1.0d398p-6f,
                                   0x1.71fbd4p-5f,  -0x1.74676p-6f,   0x1.2fe224p-10f,
                                   0x1.8a65cep-9f,  -0x1.6c6fecp-12f, -0x1.0d6b64p-11f,
                                   0x1.2d5308p-18f, 0x1.675c5p-14f,   0x1.654492p-16f};
#else
#define MILLS 5
#define FAR_OUT 40
#define CUBE_FAR_OUT 24
#define A_HIGH 0x1.2444f2a4d8b4bp-4
#define A_LOW -0x1.6c843a29d1c7p-61
#define B_HIGH 0x1.9884533d43651p+0
#define B_LOW -0x1.cbc0d30ebfd15p-54
#define THIRDS_HIGH 0x1.5555555555555p+0
#define THIRDS_LOW 0x1.5555555555555p-54
#define HEIGHT 1.7159
#define HEIGHT_LOW 0x1.61e4f765fd8aep-56
#define C_HIGH 0x1.9884533d43651p-2
#define C_LOW -0x1.cbc0d30ebfd15p-56
static const real NAME(gelu_root)[] = {
    -0x1.80ead197f00b4p-1,  0x1.13e74c58cada8p-56, 0x1p-1,
    0x1.b9d98fa5a3215p-2,   0x1.8d9a941de3ac6p-2,  -0x1.2a2ef9bb865bp-6,
    -0x1.d2fa4c17c7ec9p-4,  -0x1.e4088244f8d04p-7, 0x1.3e346def45c5p-6,
    0x1.297b9d6fe4f7fp-8,   -0x1.258a6d8856f91p-9, -0x1.8680f73d58c43p-11,
    0x1.86c8662e8ecd3p-13,  0x1.69610204ba3dbp-14, -0x1.784bf786b8996p-17,
    -0x1.03fd164788d5fp-17, 0x1.d167345e7554cp-22, 0x1.31b541d84ad11p-21,
    -0x1.9bb1345fbdc5ep-29, -0x1.1fba6feab184p-25};
static const real NAME(silu_root)[] = {
    -0x1.474973c84120bp+0,  -0x1.f8d74bc9ac154p-54, 0x1p-3,
    0x1.be1410460527fp-3,   0x1.2c563458cc0adp-3,   0x1.353eb573ca45ap-6,
    -0x1.f2d0e32bc6d3p-7,   -0x1.b0f82c4992e8ep-8,  0x1.098e9433939fep-13,
    0x1.a2a7cb137f9c1p-11,  0x1.8573f8d69c5e1p-13,  -0x1.5724c9f7fc7e5p-15,
    -0x1.f127ca07b640bp-16, -0x1.860224d86f7bcp-19};
static const real NAME(mish_root)[] = {
    -0x1.31432c0d12d84p+0,  -0x1.bf319154da21p-55,  0x1p-3,
    0x1.115acb42500bbp-2,   0x1.a34a251d8ad7bp-3,   0x1.574f121a868ep-5,
    -0x1.4c222fe64d4ep-6,   -0x1.03369d4acac44p-6,  -0x1.b87ddfb54380cp-9,
    0x1.1e5e18671875p-10,   0x1.037991d821844p-10,  0x1.0a791d2ebc807p-12,
    -0x1.6004c67f6ab5bp-15, -0x1.d3f1a2477821bp-15, -0x1.1ff2079478a0bp-16};
static const real NAME(gelu_tanh_root)[] = {
    -0x1.81429f9e97e4dp-1,  0x1.4f523ed77dbdcp-55,  0x1p-1,
    0x1.b8bacd2c96b91p-2,   0x1.8cd1a2b2fff32p-2,   -0x1.029615edb077ap-6,
    -0x1.d2b7734647063p-4,  -0x1.104a83edc0d1cp-6,  0x1.427996dc1fab5p-6,
    0x1.58c9ed7127405p-8,   -0x1.3d8d641217e0ap-9,  -0x1.e63f2935e2952p-11,
    0x1.14bf86a9c262dp-12,  0x1.04936b70a70bep-13,  -0x1.253af291f2611p-15,
    -0x1.0b9b6c15319dcp-16, 0x1.8d065ef8c9f98p-18,  0x1.4666a279e8389p-19,
    -0x1.07407370d6d21p-20, -0x1.c81f4663a1e32p-22, 0x1.07ad3c48ccd13p-23,
    0x1.0bb4155962138p-24};
static const real NAME(mills)[] = {
    0x1.d8979b0f2b39dp-2,   -0x1.76ff86859eb14p-4, 0x1.fc66cc64a146p-6,    0x1.47c1d03054939p-7,
    -0x1.b08e0007b6b21p-6,  0x1.92037bab4699bp-6,  -0x1.f11aab02b0bf5p-7,  0x1.ab6d038d761e2p-8,
    -0x1.b75f4fa261497p-10, 0x1.05719ebf6330cp-17, 0x1.7e61e860a59bep-13,  -0x1.c1b1c2050c687p-15,
    -0x1.4c0fd4b6ec479p-17, 0x1.30035605eb0f4p-17, -0x1.2c47faa601372p-24, -0x1.5f2f9f18a289ep-20,
    0x1.10940d6569ce2p-23,  0x1.a7409726c64dbp-23, -0x1.ae4b5e235e613p-26, -0x1.0cb349ac9e9b7p-25,
    0x1.77ec130b5aed1p-29,  0x1.2806fa80b5652p-28, -0x1.45587cea66577p-37, -0x1.3a07a002cae32p-32};
#endif

/* c0 + c1 x + ... */
SIDE_BY_SIDE NAME(polynomial)(const int count, const int n, const real *c, const vec *x, vec *sum) {
    EACH sum[k] = v_set(c[n - 1]);
#pragma GCC unroll 32
    for (int i = n - 2; i >= 0; i--) EACH sum[k] = v_fma(sum[k], x[k], v_set(c[i]));
}

#define NEAR_ROOT(name)                                                                            \
    NAME(near_root)(count, (int)(sizeof NAME(name##_root) / sizeof(real)) - 3, NAME(name##_root),  \
                    z, derivative)
SIDE_BY_SIDE NAME(near_root)(const int count, const int n, const real *c, const vec *z,
                             vec *derivative) {
    vec off[GROUP], q[GROUP];
    EACH off[k] = v_sub(v_sub(z[k], v_set(c[0])), v_set(c[1]));
    NAME(polynomial)(count, n, c + 3, off, q);
    EACH derivative[k] =
        v_if_positive(v_sub(v_set(c[2]), v_abs(off[k])), v_mul(off[k], q[k]), derivative[k]);
}

/* |z|, at most so much; e^-|z| of that; and its parts. */
SIDE_BY_SIDE NAME(decay)(const int count, const vec *z, vec *size, vec *m, vec *p, vec *e) {
    vec x[GROUP];
    EACH size[k] = v_min(v_set(NAME(EXP_FAR_OUT)), v_abs(z[k]));
    EACH x[k] = v_minus_abs(size[k]);
    NAME(exp_parts)(count, x, NULL, m, p);
    EACH e[k] = v_mul(m[k], p[k]);
}

/* log(1 + e^z) = max(z, 0) + log(1 + e^-|z|) */
SIDE_BY_SIDE NAME(softplus)(const int count, const vec *z, vec *y, vec *derivative) {
    vec size[GROUP], m[GROUP], p[GROUP], e[GROUP], top[GROUP];
    NAME(decay)(count, z, size, m, p, e);
    EACH y[k] = v_add(v_max(v_zero(), z[k]), NAME(log1p)(e[k]));
    if (!derivative) return;
    EACH top[k] = v_by_sign(z[k], v_set(1), e[k]);
    EACH derivative[k] = v_div(top[k], v_add(v_set(1), e[k]));
}

/* 1 + e, and its square without the error that would come of squaring a rounded sum. */
SIDE_BY_SIDE NAME(one_plus)(const int count, const vec *e, vec *sum, vec *square) {
    vec lost[GROUP];
    EACH sum[k] = v_add(v_set(1), e[k]);
    EACH lost[k] = v_sub(e[k], v_sub(sum[k], v_set(1)));
    EACH square[k] = v_mul(sum[k], v_add(lost[k], lost[k]));
    EACH square[k] = v_fma(sum[k], sum[k], square[k]);
}

/* z s(w), s the sigmoid, w of the sign of z and e^-|w| = m p, and its derivative with g + low =
 * |z| w'. Left of 0 they are z e / (1 + e) and e (1 + e - g) / (1 + e)^2, right z / (1 + e) and
 * (1 + e + g e) / (1 + e)^2. size: |z|, or as much of it as matters where e is 0. */
SIDE_BY_SIDE NAME(gated)(const int count, const vec *z, const vec *size, const vec *m, const vec *p,
                         const vec *g, const vec *low, vec *y, vec *derivative) {
    vec e[GROUP], sum[GROUP], square[GROUP], left[GROUP], right[GROUP], top[GROUP], scale[GROUP];
    EACH e[k] = v_mul(m[k], p[k]);
    NAME(one_plus)(count, e, sum, square);
    EACH scale[k] = v_by_sign(z[k], v_set(1), p[k]);
    EACH left[k] = v_minus_abs(v_mul(size[k], m[k]));
    EACH top[k] = v_by_sign(z[k], z[k], left[k]);
    EACH y[k] = v_mul(v_div(top[k], sum[k]), scale[k]);
    if (!derivative) return;
    EACH left[k] = v_add(v_sub(v_set(1), g[k]), e[k]);
    if (low) EACH left[k] = v_sub(left[k], low[k]);
    EACH left[k] = v_mul(left[k], m[k]);
    EACH right[k] = v_fma(g[k], e[k], sum[k]);
    EACH top[k] = v_by_sign(z[k], right[k], left[k]);
    EACH derivative[k] = v_mul(v_div(top[k], square[k]), scale[k]);
}

SIDE_BY_SIDE NAME(silu)(const int count, const vec *z, vec *y, vec *derivative) {
    vec size[GROUP], m[GROUP], p[GROUP], e[GROUP];
    NAME(decay)(count, z, size, m, p, e);
    NAME(gated)(count, z, size, m, p, size, NULL, y, derivative);
    if (derivative) NEAR_ROOT(silu);
}

/* a + b, and low with what rounding took from it (Knuth). */
SIDE_BY_SIDE NAME(two_sum)(const int count, const vec *a, const vec *b, vec *sum, vec *low) {
    vec back[GROUP], of_a[GROUP];
    EACH sum[k] = v_add(a[k], b[k]);
    EACH back[k] = v_sub(sum[k], a[k]);
    EACH of_a[k] = v_sub(a[k], v_sub(sum[k], back[k]));
    EACH low[k] = v_add(low[k], v_add(of_a[k], v_sub(b[k], back[k])));
}

/* z s(w), w = z (B + A z^2), which differs from gelu by 0.00047 at most. |z| w' = w + |z| 2 A
 * z^2. */
SIDE_BY_SIDE NAME(gelu_tanh)(const int count, const vec *z, vec *y, vec *derivative) {
    const vec a = v_set(A_HIGH);
    vec size[GROUP], square[GROUP], cube[GROUP], of_cube[GROUP], b[GROUP], sum[GROUP], low[GROUP];
    vec w[GROUP], of_w[GROUP], m[GROUP], p[GROUP], slope[GROUP];
    EACH size[k] = v_min(v_set(CUBE_FAR_OUT), v_abs(z[k]));
    EACH square[k] = v_mul(size[k], size[k]);
    EACH cube[k] = v_mul(square[k], a);
    EACH of_cube[k] = v_mul(v_missed(size[k], size[k], square[k]), a);
    EACH of_cube[k] = v_fma(square[k], v_set(A_LOW), of_cube[k]);
    EACH of_cube[k] = v_add(of_cube[k], v_missed(square[k], a, cube[k]));
    EACH b[k] = v_set(B_HIGH);
    EACH low[k] = v_add(v_set(B_LOW), of_cube[k]);
    NAME(two_sum)(count, b, cube, sum, low);
    EACH w[k] = v_mul(sum[k], size[k]);
    EACH of_w[k] = v_fma(low[k], size[k], v_missed(sum[k], size[k], w[k]));
    EACH w[k] = v_minus_abs(w[k]);
    EACH of_w[k] = v_sub(v_zero(), of_w[k]);
    NAME(exp_parts)(count, w, of_w, m, p);
    EACH low[k] = v_fma(v_set(2), of_cube[k], low[k]);
    EACH cube[k] = v_add(cube[k], cube[k]);
    NAME(two_sum)(count, sum, cube, slope, low);
    EACH w[k] = v_mul(size[k], slope[k]);
    EACH low[k] = v_fma(size[k], low[k], v_missed(size[k], slope[k], w[k]));
    NAME(gated)(count, z, size, m, p, w, low, y, derivative);
    if (derivative) NEAR_ROOT(gelu_tanh);
}

/* z tanh(softplus(z)). With e = e^-|z|, left of 0 it is z e (e + 2) / d, d = (1 + e)^2 + 1, with
 * the derivative e (4 (z + 1) + e (4 z + 6 + e (4 + e))) / d^2; right of it z (1 + 2 e) / d,
 * d = (1 + e)^2 + e^2, with (1 + e (4 + e (4 z + 6 + 4 (z + 1) e))) / d^2. */
SIDE_BY_SIDE NAME(mish)(const int count, const vec *z, vec *y, vec *derivative) {
    const vec two = v_set(2), four = v_set(4), six = v_set(6), one = v_set(1);
    vec size[GROUP], m[GROUP], p[GROUP], e[GROUP], sum[GROUP], left[GROUP], right[GROUP];
    vec top[GROUP], d[GROUP], low[GROUP], scale[GROUP], at[GROUP];
    NAME(decay)(count, z, size, m, p, e);
    NAME(one_plus)(count, e, sum, at);
    EACH top[k] = v_by_sign(z[k], v_mul(e[k], e[k]), one);
    EACH d[k] = v_add(at[k], top[k]);
    EACH low[k] = v_add(v_sub(top[k], v_sub(d[k], at[k])), v_missed(sum[k], sum[k], at[k]));
    EACH scale[k] = v_by_sign(z[k], one, p[k]);
    EACH left[k] = v_fma(m[k], e[k], v_add(m[k], m[k]));
    EACH left[k] = v_minus_abs(v_mul(size[k], left[k]));
    EACH right[k] = v_mul(z[k], v_fma(two, e[k], one));
    EACH top[k] = v_by_sign(z[k], right[k], left[k]);
    EACH y[k] = v_mul(v_div(top[k], d[k]), scale[k]);
    if (!derivative) return;
    EACH low[k] = v_fma(v_sub(e[k], v_sub(sum[k], one)), v_add(sum[k], sum[k]), low[k]);
    EACH d[k] = v_fma(d[k], d[k], v_mul(d[k], v_add(low[k], low[k])));
    EACH at[k] = v_copysign(size[k], z[k]);
    EACH sum[k] = v_fma(four, at[k], six);
    EACH at[k] = v_mul(four, v_add(at[k], one));
    EACH left[k] = v_fma(e[k], v_add(four, e[k]), sum[k]);
    EACH left[k] = v_mul(v_fma(e[k], left[k], at[k]), m[k]);
    EACH right[k] = v_fma(e[k], v_fma(at[k], e[k], sum[k]), four);
    EACH right[k] = v_fma(e[k], right[k], one);
    EACH top[k] = v_by_sign(z[k], right[k], left[k]);
    EACH derivative[k] = v_mul(v_div(top[k], d[k]), scale[k]);
    NEAR_ROOT(mish);
}

/* z Phi(z). With x = |z|, density e^(-x^2 / 2) / sqrt(2 pi) = m p c and Phi(-x) = m p tail: left of
 * 0 -x m p tail and m p (tail - c x), right z (1 - m p tail) and 1 less the other. */
SIDE_BY_SIDE NAME(gelu)(const int count, const vec *z, vec *y, vec *derivative) {
    const vec half = v_set((real)-0.5), one = v_set(1), middle = v_set(MILLS), c = v_set(C_HIGH);
    vec x[GROUP], square[GROUP], low[GROUP], m[GROUP], p[GROUP], tail[GROUP], t[GROUP];
    vec left[GROUP], right[GROUP];
    EACH x[k] = v_min(v_set(FAR_OUT), v_abs(z[k]));
    EACH square[k] = v_mul(x[k], x[k]);
    EACH low[k] = v_mul(half, v_missed(x[k], x[k], square[k]));
    EACH square[k] = v_mul(half, square[k]);
    NAME(exp_parts)(count, square, low, m, p);
    EACH t[k] = v_div(v_sub(x[k], middle), v_add(x[k], middle));
    NAME(polynomial)(count, (int)(sizeof NAME(mills) / sizeof(real)), NAME(mills), t, tail);
    EACH tail[k] = v_div(tail[k], v_add(one, x[k]));
    EACH left[k] = v_mul(v_minus_abs(v_mul(v_mul(x[k], tail[k]), m[k])), p[k]);
    EACH right[k] = v_mul(z[k], v_sub(one, v_mul(v_mul(tail[k], m[k]), p[k])));
    EACH y[k] = v_by_sign(z[k], right[k], left[k]);
    if (!derivative) return;
    EACH t[k] = v_mul(c, x[k]);
    EACH low[k] = v_fma(v_set(C_LOW), x[k], v_missed(c, x[k], t[k]));
    EACH left[k] = v_sub(v_sub(tail[k], t[k]), low[k]);
    EACH left[k] = v_mul(v_mul(left[k], m[k]), p[k]);
    EACH derivative[k] = v_by_sign(z[k], v_sub(one, left[k]), left[k]);
    NEAR_ROOT(gelu);
}

/* e^z - 1 left of 0, times `below`, and z right of it, times `above`. */
SIDE_BY_SIDE NAME(elu)(const int count, vec above, vec below, const vec *z, vec *y,
                       vec *derivative) {
    vec x[GROUP], left[GROUP], m[GROUP], p[GROUP];
    EACH x[k] = v_min(v_zero(), z[k]);
    NAME(exp_minus_1)(count, x, NULL, left);
    EACH y[k] = v_if_positive(z[k], v_mul(above, z[k]), v_mul(below, left[k]));
    if (!derivative) return;
    NAME(exp_parts)(count, x, NULL, m, p);
    EACH left[k] = v_mul(v_mul(below, m[k]), p[k]);
    EACH derivative[k] = v_if_positive(z[k], above, left[k]);
}

/* 1.7159 tanh(2 z / 3) = 1.7159 (1 - e) / (1 + e), e = e^(-4 |z| / 3), with the derivative
 * 4 / 3 x 1.7159 x 2 e / (1 + e)^2. */
SIDE_BY_SIDE NAME(scaled_tanh)(const int count, const vec *z, vec *y, vec *derivative) {
    const vec thirds = v_set(THIRDS_HIGH);
    vec size[GROUP], x[GROUP], low[GROUP], m[GROUP], p[GROUP], e[GROUP], sum[GROUP], square[GROUP];
    vec minus_1[GROUP];
    EACH size[k] = v_minus_abs(v_min(v_set(NAME(EXP_FAR_OUT)), v_abs(z[k])));
    EACH x[k] = v_mul(size[k], thirds);
    EACH low[k] = v_fma(size[k], v_set(THIRDS_LOW), v_missed(size[k], thirds, x[k]));
    NAME(exp_minus_1)(count, x, low, minus_1);
    EACH sum[k] = v_div(minus_1[k], v_add(v_set(2), minus_1[k]));
    EACH y[k] = v_fma(sum[k], v_set(HEIGHT_LOW), v_mul(sum[k], v_set(HEIGHT)));
    EACH y[k] = v_copysign(y[k], z[k]);
    if (!derivative) return;
    NAME(exp_parts)(count, x, low, m, p);
    EACH e[k] = v_mul(m[k], p[k]);
    NAME(one_plus)(count, e, sum, square);
    EACH m[k] = v_mul(v_set((real)(8 * 1.7159 / 3)), m[k]);
    EACH derivative[k] = v_mul(v_div(m[k], square[k]), p[k]);
}

#undef NEAR_ROOT
#undef MILLS
#undef FAR_OUT
#undef CUBE_FAR_OUT
#undef A_HIGH
#undef A_LOW
#undef B_HIGH
#undef B_LOW
#undef THIRDS_HIGH
#undef THIRDS_LOW
#undef HEIGHT
#undef HEIGHT_LOW
#undef C_HIGH
#undef C_LOW
