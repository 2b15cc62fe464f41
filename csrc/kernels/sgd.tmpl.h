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
    if (u->plain) return g;
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

/* Returns the guard. velocity may be NULL. */
static inline vec NAME(update)(size_t n, const real *gradient, real *params, real *velocity,
                               const NAME(update_words) *u, vec guard) {
    if (NAME(just_plain)(u)) {
        for (size_t i = 0; i < n; i += LANES)
            v_store_n(params + i,
                      v_fnma(u->lr, v_load_n(gradient + i, n - i), v_load_n(params + i, n - i)),
                      n - i);
        return guard;
    }
    for (size_t i = 0; i < n; i += LANES) {
        const vec w = v_load_n(params + i, n - i);
        vec v = velocity ? v_load_n(velocity + i, n - i) : v_zero();
        const vec new = v_fnma(u->lr, NAME(step_of)(v_load_n(gradient + i, n - i), w, &v, u), w);
        if (u->watched)
            guard = NAME(watch)(NAME(watch)(guard, new, u->guard_scale), v, u->guard_scale);
        if (u->commit) v_store_n(params + i, new, n - i);
        if (u->commit && velocity) v_store_n(velocity + i, v, n - i);
    }
    return guard;
}

/* Rows of parameters, ld apart, with their gradient. */
typedef struct {
    const real *gradient;
    size_t ld_gradient;
    real *params, *velocity;
    size_t ld;
} NAME(patch);

/* What is told of a patch before it is updated: sums of squares, the largest and the least |g|. */
typedef struct {
    vec gradient, weight, most, least;
} NAME(measures);

/* Of one vector of columns, of which n exist. */
static inline
    __attribute__((always_inline)) void NAME(measure_column)(const NAME(patch) *p, size_t rows,
                                                             size_t j, const size_t n, vec scale_g,
                                                             vec scale_w, NAME(measures) *m) {
    const vec one = v_set(1);
    const real *gradient = p->gradient + j, *params = p->params + j;
    const size_t ld_gradient = p->ld_gradient, ld = p->ld;
    vec sum_g = v_zero(), sum_w = v_zero(), most = v_zero(), least = one;
    for (size_t r = 0; r < rows; r++, gradient += ld_gradient, params += ld) {
        const vec g = v_load_n(gradient, n), scaled_g = v_mul(g, scale_g);
        const vec scaled_w = v_mul(v_load_n(params, n), scale_w);
        sum_g = v_fma(scaled_g, scaled_g, sum_g);
        sum_w = v_fma(scaled_w, scaled_w, sum_w);
        most = v_max(v_abs(g), most);
        least = v_min(v_abs(v_load_or(gradient, n, one)), least);
    }
    m->gradient = v_add(sum_g, m->gradient);
    m->weight = v_add(sum_w, m->weight);
    m->most = v_max(most, m->most);
    m->least = v_min(least, m->least);
}

/* The update of one vector of columns, and what it leaves as it is. `low`: there may be zeros and
 * subnormals among g. `steps`, unless NULL: where to put s, NR apart; if it is NULL, s is g. */
static inline __attribute__((always_inline)) vec NAME(inspected_column)(
    const NAME(patch) *p, const NAME(update_words) *u, size_t rows, size_t j, const size_t n,
    const int low, real *const steps, NAME(summary_words) *s, vec guard) {
    const vec least = v_set(LEAST_NORMAL), lr = u->lr;
    vec zero = v_zero(), tiny = v_zero(), frozen = v_zero(), idle = v_zero();
    const real *gradient = p->gradient + j;
    real *params = p->params + j, *velocity = steps && p->velocity ? p->velocity + j : NULL;
    const size_t ld_gradient = p->ld_gradient, ld = p->ld;
    for (size_t r = 0; r < rows; r++, gradient += ld_gradient, params += ld) {
        const vec g = v_load_n(gradient, n), w = v_load_n(params, n);
        vec v = velocity ? v_load_n(velocity, n) : v_zero();
        const vec step = steps ? NAME(step_of)(g, w, &v, u) : g, new = v_fnma(lr, step, w);
        if (steps && u->watched)
            guard = NAME(watch)(NAME(watch)(guard, new, u->guard_scale), v, u->guard_scale);
        if (!steps || u->commit) v_store_n(params, new, n);
        if (velocity && u->commit) v_store_n(velocity, v, n);
        if (velocity) velocity += ld;
        if (steps) v_store(steps + r * NR, step);

        const flags same = v_first(v_same(new, w), n);
        frozen = v_count(frozen, same);
        if (!low) continue;
        const flags none = v_first(v_equal(g, v_zero()), n);
        zero = v_count(zero, none);
        tiny = v_count(tiny, v_first(v_less(v_abs(g), least), n));
        idle = v_count(idle, v_both(same, none));
    }
    s->frozen = v_add(frozen, s->frozen);
    if (!low) return guard;
    s->zero = v_add(zero, s->zero);
    s->tiny = v_add(tiny, s->tiny);
    s->idle = v_add(idle, s->idle);
    return guard;
}

#define EACH_COLUMN(run)                                                                           \
    for (size_t j = 0; j < cols; j += LANES)                                                       \
        if (cols - j >= LANES)                                                                     \
            run(LANES);                                                                            \
        else                                                                                       \
            run(cols - j)
#define MEASURE(n) NAME(measure_column)(p, rows, j, n, scale_g, scale_w, &m)
#define QUICK(n) NAME(inspected_column)(p, u, rows, j, n, 0, NULL, s, guard)
#define PLAIN(n) NAME(inspected_column)(p, u, rows, j, n, 1, NULL, s, guard)
#define FULL(n) guard = NAME(inspected_column)(p, u, rows, j, n, 1, steps + j, s, guard)

static NAME(measures)
    NAME(measure)(const NAME(patch) *p, size_t rows, size_t cols, vec scale_g, vec scale_w) {
    NAME(measures) m = {v_zero(), v_zero(), v_zero(), v_set(1)};
    EACH_COLUMN(MEASURE);
    return m;
}

/* Update a patch of at most TALL rows of at most NR columns, and sum up; returns the guard. */
static vec NAME(inspected_update)(const NAME(patch) *p, const NAME(update_words) *u, size_t rows,
                                  size_t cols, NAME(summary_words) *s, vec guard) {
    NAME(measures) m = NAME(measure)(p, rows, cols, s->gradient.scale, s->weight.scale);
    int again = NAME(prepare)(&s->gradient, m.most, &s->block->gradient);
    if (!NAME(in_range)(m.weight)) {
        vec sizes = v_zero();
        for (size_t r = 0; r < rows; r++)
            sizes = v_max(NAME(sizes_of)(cols, p->params + r * p->ld), sizes);
        again |= NAME(prepare)(&s->weight, sizes, &s->block->weight);
    }
    if (again) m = NAME(measure)(p, rows, cols, s->gradient.scale, s->weight.scale);
    s->gradient.sum = v_add(m.gradient, s->gradient.sum);
    s->weight.sum = v_add(m.weight, s->weight.sum);

    if (!NAME(just_plain)(u)) {
        real steps[TALL * NR];
        EACH_COLUMN(FULL);
        NAME(add_squares)(&s->step, rows, cols, steps, NR, &s->block->step);
    } else if (v_bits(v_less(m.least, v_set(LEAST_NORMAL)))) {
        EACH_COLUMN(PLAIN);
    } else {
        EACH_COLUMN(QUICK);
    }
    return guard;
}

/* The norm of the steps lr s, from that of s; where s is g, from that of the gradient. */
static void NAME(tell_step)(const NAME(update_words) *u, vg_summary *summary) {
    int exponent;
    const double part = frexp((double)v_largest(u->lr), &exponent);
    const vg_norm steps = NAME(just_plain)(u) ? summary->gradient : summary->step;
    summary->step = (vg_norm){steps.sum * part * part, steps.exponent + (double)exponent};
}

static void NAME(sgd)(size_t n, const void *gradient, void *params, void *velocity,
                      const vg_update *update, double *guard, vg_summary *summary) {
    const NAME(update_words) words = NAME(update_in_words)(update);
    if (!summary) {
        *guard += v_sum(NAME(update)(n, gradient, params, velocity, &words, v_zero()));
        return;
    }
    *summary = (vg_summary){0};
    NAME(summary_words) in_words = NAME(begin_summary)(summary);
    vec trip = v_zero();
    for (size_t i = 0; i < n; i += NR) {
        const NAME(patch) patch = {
            .gradient = (const real *)gradient + i,
            .params = (real *)params + i,
            .velocity = velocity ? (real *)velocity + i : NULL,
        };
        trip = NAME(inspected_update)(&patch, &words, 1, n - i < NR ? n - i : NR, &in_words, trip);
        if (i / NR % VG_BLOCK_ROWS == 0) {
            NAME(tell_norms)(&in_words, summary);
            NAME(tell_counts)(&in_words, summary);
        }
    }
    NAME(tell_norms)(&in_words, summary);
    NAME(tell_counts)(&in_words, summary);
    NAME(tell_step)(&words, summary);
    *guard += v_sum(trip);
}
#undef EACH_COLUMN
#undef MEASURE
#undef QUICK
#undef PLAIN
#undef FULL
#undef LEAST_NORMAL
