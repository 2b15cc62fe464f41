/* activation.tmpl.h - phi(z), and phi' from the output a = phi(z): z itself is not kept. */

/* The share of a negative input that leaky ReLU lets through. */
#define LEAK ((real)0.01)

static inline __attribute__((always_inline)) vec NAME(phi)(const vg_activation activation, vec z) {
    switch (activation) {
        case VG_SIGMOID: return NAME(sigmoid)(z);
        case VG_TANH: return NAME(tanh)(z);
        case VG_RELU: return v_max(v_zero(), z); /* in this order a NaN gets through */
        case VG_LEAKY_RELU: return v_if_positive(z, z, v_mul(z, v_set(LEAK)));
        case VG_IDENTITY: break;
    }
    return z;
}

static inline __attribute__((always_inline)) vec NAME(dphi)(const vg_activation activation, vec a) {
    const vec one = v_set(1);
    switch (activation) {
        case VG_SIGMOID: return v_mul(a, v_sub(one, a));
        case VG_TANH: return v_mul(v_sub(one, a), v_add(one, a));
        case VG_RELU: return v_if_positive(a, one, v_zero());
        case VG_LEAKY_RELU: return v_if_positive(a, one, v_set(LEAK));
        case VG_IDENTITY: break;
    }
    return one;
}

/* The largest value of phi'. */
static inline real NAME(dphi_most)(vg_activation activation) {
    return activation == VG_SIGMOID ? (real)0.25 : (real)1;
}

#define ACTIVATE(kind)                                                                             \
    for (size_t i = 0; i < n; i += LANES) {                                                        \
        v_store_n((real *)y + i, NAME(phi)(kind, v_load_n((const real *)x + i, n - i)), n - i);    \
    }
static void NAME(activate)(vg_activation activation, size_t n, const void *x, void *y) {
    SPECIALISE(activation, ACTIVATE);
}
#undef ACTIVATE

#define DERIVATIVE(kind)                                                                           \
    for (size_t i = 0; i < n; i += LANES) {                                                        \
        v_store_n((real *)y + i, NAME(dphi)(kind, v_load_n((const real *)x + i, n - i)), n - i);   \
    }
static void NAME(derivative)(vg_activation activation, size_t n, const void *x, void *y) {
    SPECIALISE(activation, DERIVATIVE);
}
#undef DERIVATIVE

static void NAME(exponential)(size_t n, const void *x, void *y) {
    for (size_t i = 0; i < n; i += LANES)
        v_store_n((real *)y + i, NAME(exp)(v_load_n((const real *)x + i, n - i)), n - i);
}

#undef LEAK
