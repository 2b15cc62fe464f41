/* finite_check.tmpl.h - one FMA a vector that shows, at the end of a pass, whether all was finite
 * and of moderate size.
 *
 * A value of 2^33 (float64: 2^129) or more, times the scale, overflows, and neither infinity nor
 * NaN ever leaves a sum again. While the activations and deltas of a step, the weights and the
 * states of the rule before it stay below that, and lr and the decay below VG_RATE_MOST, gradients
 * of up to 2^20 rows stay below 2^86 and updates below 2^106 (float64: 2^278, 2^298): nothing can
 * overflow, and nothing else needs to be looked at. A rule that divides by sqrt(v) + eps, of
 * squares v that end at the largest number, makes no more of the gradient than 1 / eps, or lr / eps
 * with its rate: up to VG_REACH_MOST of either, updates stay below 2^126 (2^318). A check that
 * fails proves nothing bad: the step is then taken the careful way, with every value checked
 * (step.c). Counting lanes that compare as non-finite costs three instructions instead of one and
 * sees the harm too late. */
#if REAL_BITS == 32
#define CHECK_SCALE 0x1p96f
#define LARGEST 0x1.fffffep127f
#else
#define CHECK_SCALE 0x1p896
#define LARGEST 0x1.fffffffffffffp1023
#endif

/* exact: it fails only by what is not finite (0 * inf = NaN) */
static inline vec NAME(check_scale)(int exact) { return v_set(exact ? 0 : CHECK_SCALE); }

static inline vec NAME(check_finite)(vec check, vec x, vec scale) { return v_fma(x, scale, check); }

static void NAME(check_all_finite)(size_t n, const void *x, double *check) {
    const vec scale = NAME(check_scale)(0);
    vec in_lanes = v_zero();
    for (size_t i = 0; i < n; i += LANES)
        in_lanes = NAME(check_finite)(in_lanes, v_load_n((const real *)x + i, n - i), scale);
    *check += v_sum(in_lanes);
}

#undef CHECK_SCALE
