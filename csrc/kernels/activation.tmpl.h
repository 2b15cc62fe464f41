/* activation.tmpl.h - a = phi(z), by name as in catalog.def, and the derivative phi'(z) in the form
 * that it says. */

/* PHI(name) { ... } returns phi(z); where the catalog says STORED, it sets *derivative to phi'(z).
 */
#define UNUSED __attribute__((unused))
#define PHI(name)                                                                                  \
    static inline __attribute__((always_inline)) vec NAME(phi_##name)(vec z, vec alpha UNUSED,     \
                                                                      vec * derivative UNUSED)

PHI(identity) { return z; }
PHI(sigmoid) { return NAME(sigmoid)(z, derivative); }
PHI(tanh) { return NAME(tanh)(z, derivative); }
PHI(relu) { return v_max(v_zero(), z); } /* in this order a NaN gets through */
PHI(leaky_relu) { return v_if_positive(z, z, v_mul(z, alpha)); }
PHI(softsign) { /* z / (1 + |z|), and 1 / (1 + |z|)^2 */
    const vec size = v_add(v_set(1), v_abs(z)), part = v_div(v_set(1), size);
    *derivative = v_mul(part, part);
    return v_div(z, size);
}

#define CASE(w, symbol, name, alpha, ...)                                                          \
    case VG_##symbol: return NAME(phi_##name)(z, v_set((real)(alpha)), derivative);
static inline __attribute__((always_inline)) vec NAME(phi)(const vg_activation activation, vec z,
                                                           vec *derivative) {
    switch (activation) { VG_ACTIVATIONS(CASE, ) }
    return z;
}

/* phi', from what was stored or from the outputs. */
static inline __attribute__((always_inline)) vec NAME(derivative_of)(const vg_derivative form,
                                                                     vec source, vec alpha) {
    switch (form) {
        case VG_STEP: return v_if_positive(source, v_set(1), v_zero());
        case VG_LEAK: return v_if_positive(source, v_set(1), alpha);
        case VG_STORED: return source;
        case VG_ONE: break;
    }
    return v_set(1);
}

#define ACTIVATE(kind, form)                                                                       \
    for (size_t i = 0; i < n; i += LANES) {                                                        \
        vec derivative = v_zero();                                                                 \
        const vec a = NAME(phi)(kind, v_load_n((const real *)z + i, n - i), &derivative);          \
        if (form != VG_STORED) derivative = NAME(derivative_of)(form, a, alpha);                   \
        if (y) v_store_n((real *)y + i, a, n - i);                                                 \
        if (derivatives) v_store_n((real *)derivatives + i, derivative, n - i);                    \
    }
static void NAME(activate)(vg_activation activation, size_t n, const void *z, void *y,
                           void *derivatives) {
    const vec alpha = v_set((real)vg_activations[activation].alpha);
    BY_ACTIVATION(activation, ACTIVATE);
}
#undef ACTIVATE

static void NAME(exponential)(size_t n, const void *x, void *y) {
    for (size_t i = 0; i < n; i += LANES)
        v_store_n((real *)y + i, NAME(exp)(v_load_n((const real *)x + i, n - i)), n - i);
}

#undef UNUSED
#undef PHI
#undef CASE
