/* guard.tmpl.h - one FMA a vector that tells, at the end of a pass, whether all was well.
 *
 * A value of 2^33 (float64: 2^129) or more, times the scale, overflows, and neither infinity nor
 * NaN ever leaves a sum again. While the activations and deltas of a step, the weights and the
 * velocity before it stay below that, and lr and the decay below VG_RATE_MOST, gradients of up to
 * 2^20 rows stay below 2^86 and updates below 2^106 (float64: 2^278, 2^298): nothing can overflow,
 * and nothing else needs to be looked at. A guard that trips proves nothing bad: the step is then
 * taken the careful way, with every value checked (step.c). Counting lanes that compare as
 * non-finite costs three instructions instead of one and sees the harm too late. */
#if REAL_BITS == 32
#define GUARD_SCALE 0x1p96f
#else
#define GUARD_SCALE 0x1p896
#endif

/* exact: only what is not finite trips it (0 * inf = NaN) */
static inline vec NAME(guard_scale)(int exact) { return v_set(exact ? 0 : GUARD_SCALE); }

static inline vec NAME(watch)(vec guard, vec x, vec scale) { return v_fma(x, scale, guard); }

static void NAME(watch_all)(size_t n, const void *x, double *guard) {
    const vec scale = NAME(guard_scale)(0);
    vec trip = v_zero();
    for (size_t i = 0; i < n; i += LANES)
        trip = NAME(watch)(trip, v_load_n((const real *)x + i, n - i), scale);
    *guard += v_sum(trip);
}

#undef GUARD_SCALE
