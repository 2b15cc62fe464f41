/* sgd.tmpl.h - stochastic gradient descent on n neighbouring parameters (see vgfast/training/optimizers.py).
 *
 * One text for both ways that an update is reached: from registers in the epilogue of the dW
 * product, and from a gradient in memory. The arithmetic is the same, so are the bits. */

typedef struct {
    vec lr, momentum, decay, clip, scale, check_scale;
    int nesterov, plain, commit, checked;
} NAME(update_vecs);

static NAME(update_vecs) NAME(update_in_vecs)(const vg_update *u) {
    return (NAME(update_vecs)){
        .lr = v_set((real)u->lr),
        .momentum = v_set((real)u->momentum),
        .decay = v_set((real)u->decay),
        .clip = v_set((real)u->clip_value),
        .scale = v_set((real)u->scale),
        .check_scale = NAME(check_scale)(u->exact),
        .nesterov = u->nesterov,
        .plain = u->plain,
        .commit = u->commit,
        .checked = u->exact || !u->plain,
    };
}

/* The step s of W -= lr s, and the new velocity. */
static inline vec NAME(step_of)(vec g, vec w, vec *velocity, const NAME(update_vecs) *u) {
    if (u->plain) return g;
    g = v_mul(g, u->scale);
    g = v_max(v_sub(v_zero(), u->clip), v_min(u->clip, g));
    g = v_fma(u->decay, w, g);
    *velocity = v_fma(u->momentum, *velocity, g);
    return u->nesterov ? v_fma(u->momentum, *velocity, g) : *velocity;
}

/* Whether W -= lr g is all that there is to do. */
static inline int NAME(just_plain)(const NAME(update_vecs) *u) {
    return u->plain && u->commit && !u->checked;
}

/* Returns the check. velocity may be NULL. */
static inline vec NAME(update)(size_t n, const real *gradient, real *params, real *velocity,
                               const NAME(update_vecs) *u, vec check) {
    if (NAME(just_plain)(u)) {
        for (size_t i = 0; i < n; i += LANES)
            v_store_n(params + i,
                      v_fnma(u->lr, v_load_n(gradient + i, n - i), v_load_n(params + i, n - i)),
                      n - i);
        return check;
    }
    for (size_t i = 0; i < n; i += LANES) {
        const vec w = v_load_n(params + i, n - i);
        vec v = velocity ? v_load_n(velocity + i, n - i) : v_zero();
        const vec new = v_fnma(u->lr, NAME(step_of)(v_load_n(gradient + i, n - i), w, &v, u), w);
        if (u->checked)
            check = NAME(check_finite)(NAME(check_finite)(check, new, u->check_scale), v,
                                       u->check_scale);
        if (u->commit) v_store_n(params + i, new, n - i);
        if (u->commit && velocity) v_store_n(velocity + i, v, n - i);
    }
    return check;
}

/* Rows of parameters, ld apart, with their gradient. */
typedef struct {
    const real *gradient;
    size_t ld_gradient;
    real *params, *velocity;
    size_t ld;
} NAME(patch);

/* The sum of the squares of the weights of `rows` rows and, from column j on, `vecs` vectors, of
 * the last of which n lanes exist. */
static inline
    __attribute__((always_inline)) vec NAME(weigh_columns)(const NAME(patch) *p, const size_t rows,
                                                           size_t j, const size_t vecs,
                                                           const size_t n) {
    const real *params = p->params + j;
    vec sum[NV];
#pragma GCC unroll 3
    for (size_t v = 0; v < vecs; v++) sum[v] = v_zero();
    for (size_t r = 0; r < rows; r++, params += p->ld)
#pragma GCC unroll 3
        for (size_t v = 0; v < vecs; v++) {
            const vec w = v_load_n(params + v * LANES, n);
            sum[v] = v_fma(w, w, sum[v]);
        }
#pragma GCC unroll 3
    for (size_t v = 1; v < vecs; v++) sum[0] = v_add(sum[v], sum[0]);
    return sum[0];
}

/* What is recorded of a gradient: the sum of the squares, scaled, the largest |g|, and tallies. */
typedef struct {
    vec sum, most;
    NAME(tallies) tallies;
} NAME(measures);

/* One more g; of the lanes, n exist. */
static inline
    __attribute__((always_inline)) flags NAME(tally_gradient)(vec g, vec size, const size_t n,
                                                              NAME(tallies) *t) {
    const flags none = v_first(v_equal(g, v_zero()), n);
    t->zero = v_tally(t->zero, none);
    t->tiny = v_tally(t->tiny, v_first(v_less(size, v_set(LEAST_NORMAL)), n));
    return none;
}

/* W -= lr g, and what is recorded of it. A weight without a gradient stays as it is, so that those
 * need no tally of their own. */
static inline __attribute__((always_inline)) void NAME(recorded_columns)(
    const NAME(patch) *p, vec lr, const size_t rows, size_t j, const size_t vecs, const size_t n,
    const int scaled, vec scale, NAME(measures) *m) {
    const real *gradient = p->gradient + j;
    real *params = p->params + j;
    const size_t ld_gradient = p->ld_gradient, ld = p->ld;
    NAME(tallies) tallies = m->tallies;
    vec sum[NV], most[NV];
#pragma GCC unroll 3
    for (size_t v = 0; v < vecs; v++) sum[v] = most[v] = v_zero();
    for (size_t r = 0; r < rows; r++, gradient += ld_gradient, params += ld)
#pragma GCC unroll 3
        for (size_t v = 0; v < vecs; v++) {
            const vec g = v_load_n(gradient + v * LANES, n), size = v_abs(g);
            const vec w = v_load_n(params + v * LANES, n), new = v_fnma(lr, g, w);
            const vec in_range = scaled ? v_mul(g, scale) : g;
            v_store_n(params + v * LANES, new, n);
            sum[v] = v_fma(in_range, in_range, sum[v]);
            most[v] = v_max(size, most[v]);
            tallies.frozen = v_tally(tallies.frozen, v_first(v_equal(new, w), n));
            NAME(tally_gradient)(g, size, n, &tallies);
        }
    m->tallies = tallies;
#pragma GCC unroll 3
    for (size_t v = 0; v < vecs; v++) {
        m->sum = v_add(sum[v], m->sum);
        m->most = v_max(most[v], m->most);
    }
}

/* The update of one vector of columns by any rule, and its tallies. `steps`: where to put s, NR
 * apart. */
static inline __attribute__((always_inline)) vec NAME(general_column)(
    const NAME(patch) *p, const NAME(update_vecs) *u, size_t rows, size_t j, const size_t n,
    real *const steps, NAME(tallies) *tallies, vec check) {
    const real *gradient = p->gradient + j;
    real *params = p->params + j, *velocity = p->velocity ? p->velocity + j : NULL;
    const size_t ld_gradient = p->ld_gradient, ld = p->ld;
    for (size_t r = 0; r < rows; r++, gradient += ld_gradient, params += ld) {
        const vec g = v_load_n(gradient, n), w = v_load_n(params, n);
        vec v = velocity ? v_load_n(velocity, n) : v_zero();
        const vec step = NAME(step_of)(g, w, &v, u), new = v_fnma(u->lr, step, w);
        if (u->checked)
            check = NAME(check_finite)(NAME(check_finite)(check, new, u->check_scale), v,
                                       u->check_scale);
        if (u->commit) v_store_n(params, new, n);
        if (velocity && u->commit) v_store_n(velocity, v, n);
        if (velocity) velocity += ld;
        v_store(steps + r * NR, step);
        const flags none = NAME(tally_gradient)(g, v_abs(g), n, tallies);
        const flags same = v_first(v_equal(new, w), n);
        tallies->frozen = v_tally(tallies->frozen, same);
        tallies->idle = v_tally(tallies->idle, v_both(same, none));
    }
    return check;
}

#define EACH_COLUMN(run)                                                                           \
    for (size_t j = 0; j < cols; j += LANES)                                                       \
        if (cols - j >= LANES)                                                                     \
            run(LANES);                                                                            \
        else                                                                                       \
            run(cols - j)
#define WEIGH(n) weight = v_add(NAME(weigh_columns)(p, rows, j, 1, n), weight)
#define RECORDED(n) NAME(recorded_columns)(p, u->lr, rows, j, 1, n, 1, s->gradient.scale, &m)
#define GENERAL(n) check = NAME(general_column)(p, u, rows, j, n, steps + j, &s->tallies, check)

/* The plain update of a patch in one pass; the weights are summed up in another, before it, and
 * scaled only if that shows the need. Of a whole tile with AVX2 that is 32 instructions a vector
 * in all; one pass that scaled everything, and held the weights for a second attempt, took 51.
 * Counting zeros and subnormals only where the least |g| shows some was slower: four of five tiles
 * of 784-1000-500-100-10 have a unit at rest. whole: it has MR rows and NR columns, and the
 * gradient's scale is 1. */
static inline __attribute__((always_inline)) void NAME(recorded_update)(
    const NAME(patch) *p, const NAME(update_vecs) *u, const size_t rows, const size_t cols,
    const int whole, NAME(summary_vecs) *s) {
    vec weight = v_zero();
    if (whole)
        weight = NAME(weigh_columns)(p, rows, 0, NV, LANES);
    else
        EACH_COLUMN(WEIGH);
    if (s->weight.exponent == 0 && NAME(in_range)(weight))
        NAME(add_unscaled)(&s->weight, weight);
    else
        NAME(add_tile)(&s->weight, rows, cols, p->params, p->ld);

    NAME(measures) m = {v_zero(), v_zero(), s->tallies};
    if (whole)
        NAME(recorded_columns)(p, u->lr, rows, 0, NV, LANES, 0, s->gradient.scale, &m);
    else
        EACH_COLUMN(RECORDED);
    s->tallies = m.tallies;
    if (NAME(fits)(&s->gradient, m.most))
        s->gradient.sum = v_add(m.sum, s->gradient.sum);
    else
        NAME(add_tile)(&s->gradient, rows, cols, p->gradient, p->ld_gradient);
}

/* Any update of a patch of at most TALL rows of at most NR columns; returns the check. Not inlined,
 * because whole tiles that need none of it would save its registers. */
static __attribute__((noinline)) vec NAME(inspected_update)(const NAME(patch) *p,
                                                            const NAME(update_vecs) *u, size_t rows,
                                                            size_t cols, NAME(summary_vecs) *s,
                                                            vec check) {
    if (s->plain) {
        NAME(recorded_update)(p, u, rows, cols, 0, s);
        return check;
    }
    real steps[TALL * NR];
    NAME(add_tile)(&s->gradient, rows, cols, p->gradient, p->ld_gradient);
    NAME(add_tile)(&s->weight, rows, cols, p->params, p->ld);
    EACH_COLUMN(GENERAL);
    NAME(add_tile)(&s->step, rows, cols, steps, NR);
    return check;
}

/* The norm of the steps lr s, from that of s; where s is g, from that of the gradient. */
static void NAME(flush_step)(const NAME(update_vecs) *u, vg_summary *summary) {
    int exponent;
    const double part = frexp((double)v_largest(u->lr), &exponent);
    const vg_norm steps = NAME(just_plain)(u) ? summary->gradient : summary->step;
    summary->step = (vg_norm){steps.sum * part * part, steps.exponent + (double)exponent};
}

static void NAME(sgd)(size_t n, const void *gradient, void *params, void *velocity,
                      const vg_update *update, double *check, vg_summary *summary) {
    const NAME(update_vecs) words = NAME(update_in_vecs)(update);
    if (!summary) {
        *check += v_sum(NAME(update)(n, gradient, params, velocity, &words, v_zero()));
        return;
    }
    *summary = (vg_summary){0};
    NAME(summary_vecs) in_vecs = NAME(begin_summary)(summary, NAME(just_plain)(&words));
    vec in_lanes = v_zero();
    for (size_t i = 0; i < n; i += NR) {
        const NAME(patch) patch = {
            .gradient = (const real *)gradient + i,
            .params = (real *)params + i,
            .velocity = velocity ? (real *)velocity + i : NULL,
        };
        in_lanes =
            NAME(inspected_update)(&patch, &words, 1, n - i < NR ? n - i : NR, &in_vecs, in_lanes);
        if (i / NR % VG_UNIT_ROWS == 0) {
            NAME(flush_norms)(&in_vecs, summary);
            NAME(flush_counts)(&in_vecs, summary);
        }
    }
    NAME(flush_norms)(&in_vecs, summary);
    NAME(flush_counts)(&in_vecs, summary);
    NAME(flush_step)(&words, summary);
    *check += v_sum(in_lanes);
}
#undef EACH_COLUMN
#undef WEIGH
#undef RECORDED
#undef GENERAL
#undef LEAST_NORMAL
