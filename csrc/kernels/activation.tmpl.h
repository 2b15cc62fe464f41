/* activation.tmpl.h - a = phi(z), by name as in catalog.def, and the derivative phi'(z) in the form
 * that it says. */

/* PHI(name) { ... } returns phi(z); where the catalog says STORED, it sets *derivative to phi'(z).
 */
#define UNUSED __attribute__((unused))
#define PHI(name)                                                                                  \
    SIDE_BY_SIDE NAME(phi_##name)(const int count, const vec *z, vec alpha UNUSED, vec *y,         \
                                  vec *derivative UNUSED)

PHI(identity) { EACH y[k] = z[k]; }
PHI(sigmoid) { NAME(sigmoid)(count, z, y, derivative); }
PHI(tanh) { NAME(tanh)(count, z, y, derivative); }
PHI(relu) { EACH y[k] = v_max(v_zero(), z[k]); } /* in this order a NaN gets through */
PHI(leaky_relu) { EACH y[k] = v_if_positive(z[k], z[k], v_mul(z[k], alpha)); }
PHI(softsign) { /* z / (1 + |z|), and 1 / (1 + |z|)^2 */
    vec size[GROUP];
    EACH size[k] = v_add(v_set(1), v_abs(z[k]));
    EACH y[k] = v_div(z[k], size[k]);
    if (derivative) {
        EACH size[k] = v_div(v_set(1), size[k]);
        EACH derivative[k] = v_mul(size[k], size[k]);
    }
}

PHI(scaled_tanh) { NAME(scaled_tanh)(count, z, y, derivative); }
PHI(elu) { NAME(elu)(count, v_set(1), alpha, z, y, derivative); }
PHI(selu) { /* Klambauer et al. 2017: lambda, and lambda alpha */
    NAME(elu)(count, v_set((real)1.0507009873554804934), v_set((real)1.7580993408473768600), z, y,
              derivative);
}
PHI(softplus) { NAME(softplus)(count, z, y, derivative); }
PHI(gelu) { NAME(gelu)(count, z, y, derivative); }
PHI(gelu_tanh) { NAME(gelu_tanh)(count, z, y, derivative); }
PHI(silu) { NAME(silu)(count, z, y, derivative); }
PHI(mish) { NAME(mish)(count, z, y, derivative); }
PHI(hardtanh) { /* z between -1 and 1 */
    EACH y[k] = v_max(v_set(-1), v_min(v_set(1), z[k]));
    if (derivative)
        EACH derivative[k] = v_if_positive(v_sub(v_set(1), v_abs(z[k])), v_set(1), v_zero());
}
/* (z + 3) / 6 between 0 and 1: z / 6 + 1 / 2 would lose its digits next to -3. */
SIDE_BY_SIDE NAME(ramp)(const int count, const vec *z, vec *y) {
    EACH y[k] = v_max(v_zero(), v_min(v_set(6), v_add(z[k], v_set(3))));
    EACH y[k] = v_div(y[k], v_set(6));
}
PHI(hardsigmoid) {
    NAME(ramp)(count, z, y);
    if (!derivative) return;
    EACH derivative[k] =
        v_if_positive(v_sub(v_set(3), v_abs(z[k])), v_div(v_set(1), v_set(6)), v_zero());
}
/* z (z + 3) / 6 between -3 and 3, with the derivative (2 z + 3) / 6; beyond 0, or z. */
PHI(hardswish) {
    vec ramp[GROUP], inner[GROUP], outer[GROUP];
    NAME(ramp)(count, z, ramp);
    EACH y[k] = v_mul(v_max(v_set(-3), z[k]), ramp[k]);
    if (!derivative) return;
    EACH inner[k] = v_div(v_add(v_add(z[k], z[k]), v_set(3)), v_set(6));
    EACH outer[k] = v_if_positive(z[k], v_set(1), v_zero());
    EACH derivative[k] = v_if_positive(v_sub(v_set(3), v_abs(z[k])), inner[k], outer[k]);
}

/* One of them, as a constant: the compiler makes a loop of each that is passed on. */
typedef void (*const NAME(phi))(int count, const vec *z, vec alpha, vec *y, vec *derivative);

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

/* COUNT whole vectors, or the first n elements of one. */
SIDE_BY_SIDE NAME(activate_vecs)(const int count, NAME(phi) phi, const vg_derivative form,
                                 vec alpha, size_t n, const real *z, real *y, real *derivatives) {
    vec x[GROUP], a[GROUP], derivative[GROUP];
    EACH x[k] = v_load_n(z + k * LANES, n);
    phi(count, x, alpha, a, derivatives && form == VG_STORED ? derivative : NULL);
    EACH v_store_n(y + k * LANES, a[k], n);
    if (!derivatives) return;
    if (form != VG_STORED) EACH derivative[k] = NAME(derivative_of)(form, a[k], alpha);
    EACH v_store_n(derivatives + k * LANES, derivative[k], n);
}

/* do_vecs(count, n) from element i on: as many groups of whole vectors as there are, and the rest
 * one by one. */
#define IN_GROUPS(do_vecs)                                                                         \
    size_t i = 0;                                                                                  \
    for (; n - i >= GROUP * LANES; i += GROUP * LANES) do_vecs(GROUP, LANES);                      \
    for (; i < n; i += LANES) do_vecs(1, n - i);

#define WITH(count, n)                                                                             \
    NAME(activate_vecs)(count, phi, form, alpha, n, z + i, y + i, derivatives + i)
#define WITHOUT(count, n) NAME(activate_vecs)(count, phi, form, alpha, n, z + i, y + i, NULL)
SIDE_BY_SIDE NAME(activate_all)(NAME(phi) phi, const vg_derivative form, vec alpha, size_t n,
                                const real *z, real *y, real *derivatives) {
    if (derivatives) {
        IN_GROUPS(WITH)
    } else {
        IN_GROUPS(WITHOUT)
    }
}
#undef WITH
#undef WITHOUT

#define ACTIVATE(name, form) NAME(activate_all)(NAME(phi_##name), form, alpha, n, z, y, derivatives)
static void NAME(activate)(vg_activation activation, size_t n, const void *z, void *y,
                           void *derivatives) {
    const vec alpha = v_set((real)activation.alpha);
    BY_ACTIVATION(activation, ACTIVATE);
}
#undef ACTIVATE

SIDE_BY_SIDE NAME(exponential_vecs)(const int count, size_t n, const real *x, real *y) {
    vec z[GROUP], e[GROUP];
    EACH z[k] = v_load_n(x + k * LANES, n);
    NAME(exp)(count, z, e);
    EACH v_store_n(y + k * LANES, e[k], n);
}

#define EXPONENTIAL(count, n) NAME(exponential_vecs)(count, n, (const real *)x + i, (real *)y + i)
static void NAME(exponential)(size_t n, const void *x, void *y) { IN_GROUPS(EXPONENTIAL) }
#undef EXPONENTIAL

#undef IN_GROUPS
#undef UNUSED
#undef PHI
