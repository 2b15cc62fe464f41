/* sgd.tmpl.h - stochastic gradient descent on n neighbouring parameters (defined in sgd.py).
 *
 * One text for both ways that an update is reached: from registers in the tail of the dW product,
 * and from a gradient in memory. The arithmetic is the same, so are the bits. */

typedef struct {
    vec lr, momentum, decay, clip, scale, guard_scale;
    int nesterov, plain, commit, watched;
} NAME(update_words);

static NAME(update_words) NAME(update_in_words)(const vg_update *u) {
    return (NAME(update_words)){
        .lr = v_set((real)u->lr),
        .momentum = v_set((real)u->momentum),
        .decay = v_set((real)u->decay),
        .clip = v_set((real)u->clip_value),
        .scale = v_set((real)u->scale),
        .guard_scale = NAME(guard_scale)(u->exact),
        .nesterov = u->nesterov,
        .plain = u->plain,
        .commit = u->commit,
        .watched = u->exact || !u->plain,
    };
}

/* The step s of W -= lr s, and the new velocity. */
static inline vec NAME(step_of)(vec g, vec w, vec *velocity, const NAME(update_words) *u) {
    g = v_mul(g, u->scale);
    g = v_max(v_sub(v_zero(), u->clip), v_min(u->clip, g));
    g = v_fma(u->decay, w, g);
    *velocity = v_fma(u->momentum, *velocity, g);
    return u->nesterov ? v_fma(u->momentum, *velocity, g) : *velocity;
}

/* Whether W -= lr g is all that there is to do. */
static inline int NAME(just_plain)(const NAME(update_words) *u) {
    return u->plain && u->commit && !u->watched;
}

/* Returns the guard. velocity may be NULL; summary too. n <= NR if there is a summary. */
static inline vec NAME(update)(size_t n, const real *gradient, real *params, real *velocity,
                               const NAME(update_words) *u, vec guard, vg_summary *summary) {
    if (NAME(just_plain)(u) && !summary) {
        for (size_t i = 0; i < n; i += LANES)
            v_store_n(params + i,
                      v_fnma(u->lr, v_load_n(gradient + i, n - i), v_load_n(params + i, n - i)),
                      n - i);
        return guard;
    }
    if (summary) NAME(summarise)(n, gradient, params, summary);
    real steps[NR];
    for (size_t i = 0; i < n; i += LANES) {
        const vec g = v_load_n(gradient + i, n - i), w = v_load_n(params + i, n - i);
        vec v = velocity ? v_load_n(velocity + i, n - i) : v_zero();
        const vec step = u->plain ? g : NAME(step_of)(g, w, &v, u);
        const vec new = v_fnma(u->lr, step, w);
        if (u->watched)
            guard = NAME(watch)(NAME(watch)(guard, new, u->guard_scale), v, u->guard_scale);
        if (u->commit) v_store_n(params + i, new, n - i);
        if (u->commit && velocity) v_store_n(velocity + i, v, n - i);
        if (summary) {
            v_store_n(steps + i, v_mul(u->lr, step), n - i);
            const unsigned same = v_same(new, w) & NAME(lanes)(n - i);
            summary->frozen += __builtin_popcount(same);
            summary->stuck += __builtin_popcount(same & ~v_equal(g, v_zero()));
        }
    }
    if (summary) vg_norm_add(&summary->step, NAME(square_norm)(n, steps));
    return guard;
}

static void NAME(sgd)(size_t n, const void *gradient, void *params, void *velocity,
                      const vg_update *update, double *guard, vg_summary *summary) {
    const NAME(update_words) words = NAME(update_in_words)(update);
    vec trip = v_zero();
    const size_t part = summary ? NR : n;
    for (size_t i = 0; i < n; i += part)
        trip = NAME(update)(n - i < part ? n - i : part, (const real *)gradient + i,
                            (real *)params + i, velocity ? (real *)velocity + i : NULL, &words,
                            trip, summary);
    *guard += v_sum(trip);
}
