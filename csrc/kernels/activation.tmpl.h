/* activation.tmpl.h - a = phi(z) and its derivative phi'(z). That of the ReLUs can be told from a.
 * Those of sigmoid and tanh are computed beside a, and kept (vg_keeps_slopes): told from an a that
 * has been rounded to 1 they would be 0 where the gradient is only small. */

/* The share of a negative input that leaky ReLU lets through. */
#define LEAK ((real)0.01)

static inline
    __attribute__((always_inline)) vec NAME(slope_of)(const vg_activation activation, vec a) {
    switch (activation) {
        case VG_RELU: return v_if_positive(a, v_set(1), v_zero());
        case VG_LEAKY_RELU: return v_if_positive(a, v_set(1), v_set(LEAK));
        case VG_SIGMOID:
        case VG_TANH: return a; /* what was kept is the slope itself */
        case VG_IDENTITY: break;
    }
    return v_set(1);
}

static inline __attribute__((always_inline)) vec NAME(phi)(const vg_activation activation, vec z,
                                                           vec *slope) {
    switch (activation) {
        case VG_SIGMOID: return NAME(sigmoid)(z, slope);
        case VG_TANH: return NAME(tanh)(z, slope);
        case VG_RELU: return v_max(v_zero(), z); /* in this order a NaN gets through */
        case VG_LEAKY_RELU: return v_if_positive(z, z, v_mul(z, v_set(LEAK)));
        case VG_IDENTITY: break;
    }
    return z;
}

/* The largest value of phi'. */
static inline real NAME(slope_most)(vg_activation activation) {
    return activation == VG_SIGMOID ? (real)0.25 : (real)1;
}

#define ACTIVATE(kind)                                                                             \
    for (size_t i = 0; i < n; i += LANES) {                                                        \
        vec slope = v_zero();                                                                      \
        const vec a = NAME(phi)(kind, v_load_n((const real *)z + i, n - i), &slope);               \
        if (!vg_keeps_slopes(kind)) slope = NAME(slope_of)(kind, a);                               \
        if (y) v_store_n((real *)y + i, a, n - i);                                                 \
        if (slopes) v_store_n((real *)slopes + i, slope, n - i);                                   \
    }
static void NAME(activate)(vg_activation activation, size_t n, const void *z, void *y,
                           void *slopes) {
    SPECIALISE(activation, ACTIVATE);
}
#undef ACTIVATE

static void NAME(exponential)(size_t n, const void *x, void *y) {
    for (size_t i = 0; i < n; i += LANES)
        v_store_n((real *)y + i, NAME(exp)(v_load_n((const real *)x + i, n - i)), n - i);
}

#undef LEAK
