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

/* What is told of a patch: sums of squares, the largest |g|, and tallies. */
typedef struct {
    vec gradient, weight, most;
    NAME(tallies) tallies;
} NAME(measures);

/* Of one vector of columns, of which n exist. */
static inline
    __attribute__((always_inline)) void NAME(measure_column)(const NAME(patch) *p, size_t rows,
                                                             size_t j, const size_t n, vec scale_g,
                                                             vec scale_w, NAME(measures) *m) {
    const real *gradient = p->gradient + j, *params = p->params + j;
    const size_t ld_gradient = p->ld_gradient, ld = p->ld;
    vec sum_g = v_zero(), sum_w = v_zero(), most = v_zero();
    for (size_t r = 0; r < rows; r++, gradient += ld_gradient, params += ld) {
        const vec g = v_load_n(gradient, n), scaled_g = v_mul(g, scale_g);
        const vec scaled_w = v_mul(v_load_n(params, n), scale_w);
        sum_g = v_fma(scaled_g, scaled_g, sum_g);
        sum_w = v_fma(scaled_w, scaled_w, sum_w);
        most = v_max(v_abs(g), most);
    }
    m->gradient = v_add(sum_g, m->gradient);
    m->weight = v_add(sum_w, m->weight);
    m->most = v_max(most, m->most);
}

/* One more weight w, which became `new`, and its gradient; of the lanes, n exist. */
static inline __attribute__((always_inline)) void NAME(tally)(vec g, vec w, vec new, const size_t n,
                                                              NAME(tallies) *t) {
    const flags same = v_first(v_same(new, w), n), none = v_first(v_equal(g, v_zero()), n);
    t->zero = v_tally(t->zero, none);
    t->tiny = v_tally(t->tiny, v_first(v_less(v_abs(g), v_set(LEAST_NORMAL)), n));
    t->frozen = v_tally(t->frozen, same);
    t->idle = v_tally(t->idle, v_both(same, none));
}

/* The plain update of one vector of columns, and all that is told of it, in one pass: 8 % of a step
 * of 784-1000-500-100-10 with AVX2; two passes took 12, and the update alone takes 3. `old`: where
 * to put the weights as they were, NR apart. */
static inline
    __attribute__((always_inline)) void NAME(told_column)(const NAME(patch) *p, vec lr, size_t rows,
                                                          size_t j, const size_t n, vec scale_g,
                                                          vec scale_w, real *old,
                                                          NAME(measures) *m) {
    const real *gradient = p->gradient + j;
    real *params = p->params + j;
    const size_t ld_gradient = p->ld_gradient, ld = p->ld;
    vec sum_g = v_zero(), sum_w = v_zero(), most = m->most;
    NAME(tallies) tallies = m->tallies;
    for (size_t r = 0; r < rows; r++, gradient += ld_gradient, params += ld, old += NR) {
        const vec g = v_load_n(gradient, n), w = v_load_n(params, n), new = v_fnma(lr, g, w);
        const vec scaled_g = v_mul(g, scale_g), scaled_w = v_mul(w, scale_w);
        v_store(old, w);
        v_store_n(params, new, n);
        sum_g = v_fma(scaled_g, scaled_g, sum_g);
        sum_w = v_fma(scaled_w, scaled_w, sum_w);
        most = v_max(v_abs(g), most);
        NAME(tally)(g, w, new, n, &tallies);
    }
    m->gradient = v_add(sum_g, m->gradient);
    m->weight = v_add(sum_w, m->weight);
    m->most = most;
    m->tallies = tallies;
}

/* The update of one vector of columns by any rule, and its tallies. `steps`: where to put s, NR
 * apart. */
static inline __attribute__((always_inline)) vec NAME(ruled_column)(
    const NAME(patch) *p, const NAME(update_words) *u, size_t rows, size_t j, const size_t n,
    real *const steps, NAME(tallies) *tallies, vec guard) {
    const real *gradient = p->gradient + j;
    real *params = p->params + j, *velocity = p->velocity ? p->velocity + j : NULL;
    const size_t ld_gradient = p->ld_gradient, ld = p->ld;
    for (size_t r = 0; r < rows; r++, gradient += ld_gradient, params += ld) {
        const vec g = v_load_n(gradient, n), w = v_load_n(params, n);
        vec v = velocity ? v_load_n(velocity, n) : v_zero();
        const vec step = NAME(step_of)(g, w, &v, u), new = v_fnma(u->lr, step, w);
        if (u->watched)
            guard = NAME(watch)(NAME(watch)(guard, new, u->guard_scale), v, u->guard_scale);
        if (u->commit) v_store_n(params, new, n);
        if (velocity && u->commit) v_store_n(velocity, v, n);
        if (velocity) velocity += ld;
        v_store(steps + r * NR, step);
        NAME(tally)(g, w, new, n, tallies);
    }
    return guard;
}

#define EACH_COLUMN(run)                                                                           \
    for (size_t j = 0; j < cols; j += LANES)                                                       \
        if (cols - j >= LANES)                                                                     \
            run(LANES);                                                                            \
        else                                                                                       \
            run(cols - j)
#define TOLD(n) NAME(told_column)(p, u->lr, rows, j, n, scale_g, scale_w, old + j, &m)
#define MEASURE(n) NAME(measure_column)(p, rows, j, n, scale_g, scale_w, &m)
#define RULED(n) guard = NAME(ruled_column)(p, u, rows, j, n, steps + j, &s->tallies, guard)

/* `old` (TALL, NR): the weights before. */
static NAME(measures)
    NAME(told_update)(const NAME(patch) *p, const NAME(update_words) *u, size_t rows, size_t cols,
                      vec scale_g, vec scale_w, real *old) {
    NAME(measures) m = {v_zero(), v_zero(), v_zero(), NAME(no_tallies)()};
    EACH_COLUMN(TOLD);
    return m;
}

static NAME(measures)
    NAME(measure)(const NAME(patch) *p, size_t rows, size_t cols, vec scale_g, vec scale_w) {
    NAME(measures) m = {v_zero(), v_zero(), v_zero(), NAME(no_tallies)()};
    EACH_COLUMN(MEASURE);
    return m;
}

/* Choose the scales anew if what was measured shows that they do not do; returns whether. The
 * weights that were measured lie ld apart. */
static inline int NAME(scales_fail)(const NAME(measures) *m, size_t rows, size_t cols,
                                    const real *weights, size_t ld, NAME(summary_words) *s) {
    int fail = NAME(prepare)(&s->gradient, m->most, &s->block->gradient);
    if (NAME(in_range)(m->weight)) return fail;
    vec sizes = v_zero();
    for (size_t r = 0; r < rows; r++) sizes = v_max(NAME(sizes_of)(cols, weights + r * ld), sizes);
    return fail | NAME(prepare)(&s->weight, sizes, &s->block->weight);
}

/* Update a patch of at most TALL rows of at most NR columns, and sum up; returns the guard. */
static vec NAME(inspected_update)(const NAME(patch) *p, const NAME(update_words) *u, size_t rows,
                                  size_t cols, NAME(summary_words) *s, vec guard) {
    real kept[TALL * NR]; /* old weights, or steps */
    const vec *const scale_g = &s->gradient.scale, *const scale_w = &s->weight.scale;
    NAME(measures) m;
    if (NAME(just_plain)(u)) {
        m = NAME(told_update)(p, u, rows, cols, *scale_g, *scale_w, kept);
        if (NAME(scales_fail)(&m, rows, cols, kept, NR, s)) {
            for (size_t r = 0; r < rows; r++)
                for (size_t j = 0; j < cols; j += LANES)
                    v_store_n(p->params + r * p->ld + j, v_load(kept + r * NR + j), cols - j);
            m = NAME(told_update)(p, u, rows, cols, *scale_g, *scale_w, kept);
        }
        NAME(add_tallies)(&s->tallies, &m.tallies);
    } else {
        real *const steps = kept;
        m = NAME(measure)(p, rows, cols, *scale_g, *scale_w);
        if (NAME(scales_fail)(&m, rows, cols, p->params, p->ld, s))
            m = NAME(measure)(p, rows, cols, *scale_g, *scale_w);
        EACH_COLUMN(RULED);
        NAME(add_squares)(&s->step, rows, cols, steps, NR, &s->block->step);
    }
    s->gradient.sum = v_add(m.gradient, s->gradient.sum);
    s->weight.sum = v_add(m.weight, s->weight.sum);
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
#undef TOLD
#undef MEASURE
#undef RULED
#undef LEAST_NORMAL
