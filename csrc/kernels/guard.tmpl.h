/* guard.tmpl.h - one FMA a vector that tells, at the end of a pass, whether all was well.
 *
 * A value of 2^32 (float64: 2^128) or more, times the scale, overflows, and neither infinity nor NaN ever
 * leaves a sum again. While activations, deltas and weights stay below that, no gradient and no update of
 * any sensible batch can overflow, so nothing else needs to be looked at. A guard that trips proves
 * nothing bad: the step is then taken the careful way, with every value checked (train.c). Counting
 * lanes that compare as non-finite costs three instructions instead of one and sees the harm too late. */
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
