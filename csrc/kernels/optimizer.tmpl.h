/* optimizer.tmpl.h - one update of parameters, by any rule of the catalog (see
 * vgfast/training/optimizers.py).
 *
 * One text for both ways that an update is reached: from registers in the epilogue of the dW
 * product, and from a gradient in memory; and for inspected ones and others. The arithmetic is the
 * same, so are the bits. */

typedef struct {
    vec lr, hyper[VG_HYPER_MOST], decay, clip, scale, check_scale;
    vg_rule rule;
    int plain, commit, checked, usual;
} NAME(update_vecs);

/* What there is to do: anything; what is usual, which stores, neither scales nor clips, and is
 * checked; or W -= lr g alone. Constants where loops are made. */
enum { NAME(ANY), NAME(USUAL), NAME(PLAIN) };

/* Whether W -= lr g is all that there is to do. */
static inline int NAME(just_plain)(const NAME(update_vecs) *u) {
    return u->plain && u->commit && !u->checked;
}

/* Of what is just plain, only lr: to set all would take as long as some tiles of a small layer. */
static inline void NAME(set_in_vecs)(const vg_update *u, NAME(update_vecs) *to) {
    to->lr = v_set((real)u->lr);
    to->rule = u->rule;
    to->plain = u->plain;
    to->commit = u->pass == VG_STORE;
    to->checked = u->pass == VG_TRY || !u->plain;
    to->usual = to->commit && to->checked && u->scale == 1 && u->clip_value == INFINITY;
    if (NAME(just_plain)(to)) return;
    to->decay = v_set((real)u->decay);
    to->clip = v_set((real)u->clip_value);
    to->scale = v_set((real)u->scale);
    to->check_scale = NAME(check_scale)(u->pass == VG_TRY);
    for (size_t i = 0; i < VG_HYPER_MOST; i++) to->hyper[i] = v_set((real)u->hyper[i]);
}

/* share old + (1 - share) g^2, or what else is to be made of old and g by two factors; at most the
 * largest number, so that no finite gradient makes it infinite (a NaN stays one). */
static inline vec NAME(add_square)(vec share, vec old, vec part, vec g) {
    return v_min(v_set(LARGEST), v_fma(share, old, v_mul(v_mul(part, g), g)));
}

/* RULE(name) { ... } returns the step s of W -= lr s, and renews the states. What hyper holds
 * is said in run/rules.c. */
#define RULE(name)                                                                                 \
    static inline __attribute__((always_inline)) vec NAME(rule_##name)(                            \
        vec g, vec * state __attribute__((unused)), const vec *hyper __attribute__((unused)))

RULE(sgd) { return g; }
RULE(momentum) {
    state[0] = v_fma(hyper[0], state[0], g);
    return state[0];
}
RULE(nesterov) {
    state[0] = v_fma(hyper[0], state[0], g);
    return v_fma(hyper[0], state[0], g);
}
RULE(adam) {
    state[0] = v_fma(hyper[1], g, v_mul(hyper[0], state[0]));
    state[1] = NAME(add_square)(hyper[2], state[1], hyper[3], g);
    return v_div(state[0], v_fma(v_sqrt(state[1]), hyper[4], hyper[5]));
}
RULE(adamw) { return NAME(rule_adam)(g, state, hyper); }
RULE(rmsprop) {
    state[0] = NAME(add_square)(hyper[0], state[0], hyper[1], g);
    return v_div(g, v_add(v_sqrt(v_add(state[0], hyper[2])), hyper[3]));
}
RULE(rmsprop_momentum) {
    state[1] = v_fma(hyper[4], state[1], NAME(rule_rmsprop)(g, state, hyper));
    return state[1];
}
RULE(adagrad) {
    state[0] = NAME(add_square)(v_set(1), state[0], v_set(1), g);
    return v_div(g, v_add(v_sqrt(v_add(state[0], hyper[0])), hyper[1]));
}

#define RULE_CASE(macro, symbol, name, states, decoupled)                                          \
    case VG_##symbol:                                                                              \
        if (!decoupled) g = v_fma(u->decay, w, g);                                                 \
        g = NAME(rule_##name)(g, state, u->hyper);                                                 \
        return decoupled ? v_fma(u->decay, w, g) : g;
static inline __attribute__((always_inline)) vec NAME(step_of)(const int usual, const vg_rule rule,
                                                               vec g, vec w, vec *state,
                                                               const NAME(update_vecs) *u) {
    if (!usual) {
        if (u->plain) return g;
        g = v_mul(g, u->scale);
        g = v_max(v_sub(v_zero(), u->clip), v_min(u->clip, g));
    }
    switch (rule) { VG_RULES(RULE_CASE, ) }
    return g;
}
#undef RULE
#undef RULE_CASE

/* The statement `run(kind, rule, states)` of constants, so that the compiler makes one loop for
 * each rule, and one for what is just plain. */
#define RUN_RULE(run, symbol, name, states, decoupled)                                             \
    case VG_##symbol: run(NAME(ANY), VG_##symbol, states); break;
#define BY_RULE(u, run)                                                                            \
    if (NAME(just_plain)(u))                                                                       \
        run(NAME(PLAIN), VG_SGD, 0);                                                               \
    else                                                                                           \
        switch ((u)->rule) { VG_RULES(RUN_RULE, run) }

/* Rows of parameters, ld apart, with their gradient and the states that the rule has. */
typedef struct {
    const real *gradient;
    size_t ld_gradient;
    real *params, *states[VG_STATES_MOST];
    size_t ld;
} NAME(patch);

/* The states of a patch, which begins with element `at` of those given. */
static inline void NAME(set_states)(NAME(patch) *patch, void *const *states, size_t at) {
    for (size_t k = 0; k < VG_STATES_MOST; k++)
        patch->states[k] = states && states[k] ? (real *)states[k] + at : NULL;
}

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

/* What comes of an update beside the parameters: the check; and, if it is recorded, the sum of the
 * squares of a plain one's gradient, scaled, the largest |g|, and tallies. steps: where to put s of
 * one that is not plain, NR apart; NULL if it is not recorded. */
typedef struct {
    vec check, sum, most, scale;
    NAME(tallies) tallies;
    real *steps;
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

/* The update of `rows` rows and, from column j on, `vecs` vectors, of the last of which n lanes
 * exist. All but the rows and j are constants where this is called. recorded: 0, 1, or 2 for
 * squares that need no scale. A weight without a gradient stays as it is under a plain update, so
 * that those need no tally of their own. */
static inline __attribute__((always_inline)) void NAME(update_columns)(
    const int kind, const vg_rule rule, const int states, const int recorded, const NAME(patch) *p,
    const NAME(update_vecs) *u, size_t rows, size_t j, const size_t vecs, const size_t n,
    NAME(measures) *m) {
    const real *gradient = p->gradient + j;
    real *params = p->params + j, *steps = m->steps;
    const size_t ld_gradient = p->ld_gradient, ld = p->ld;
    const vec lr = u->lr, scale = m->scale;
    NAME(tallies) tallies = m->tallies;
    const int plain = kind == NAME(PLAIN), usual = kind == NAME(USUAL);
    const int checked = usual || (!plain && u->checked), commit = usual || plain || u->commit;
    /* One for each array: a sum of all in turn would wait for itself longer than the rest takes. */
    vec sum[NV], most[NV], checks[1 + VG_STATES_MOST] = {m->check};
    real *state[VG_STATES_MOST];
    for (int k = 0; k < states; k++) {
        state[k] = p->states[k] + j;
        checks[1 + k] = v_zero();
    }
#pragma GCC unroll 3
    for (size_t v = 0; v < vecs; v++) sum[v] = most[v] = v_zero();
    for (size_t r = 0; r < rows; r++, gradient += ld_gradient, params += ld) {
#pragma GCC unroll 3
        for (size_t v = 0; v < vecs; v++) {
            const vec g = v_load_n(gradient + v * LANES, n);
            const vec w = v_load_n(params + v * LANES, n);
            vec s[VG_STATES_MOST];
            for (int k = 0; k < states; k++) s[k] = v_load_n(state[k] + v * LANES, n);
            const vec step = plain ? g : NAME(step_of)(usual, rule, g, w, s, u);
            const vec new = v_fnma(lr, step, w);
            if (checked) {
                checks[0] = NAME(check_finite)(checks[0], new, u->check_scale);
                for (int k = 0; k < states; k++)
                    checks[1 + k] = NAME(check_finite)(checks[1 + k], s[k], u->check_scale);
            }
            if (commit) {
                v_store_n(params + v * LANES, new, n);
                for (int k = 0; k < states; k++) v_store_n(state[k] + v * LANES, s[k], n);
            }
            if (!recorded) continue;
            const vec size = v_abs(g);
            const flags none = NAME(tally_gradient)(g, size, n, &tallies);
            const flags same = v_first(v_equal(new, w), n);
            tallies.frozen = v_tally(tallies.frozen, same);
            if (plain) {
                const vec in_range = recorded == 1 ? v_mul(g, scale) : g;
                sum[v] = v_fma(in_range, in_range, sum[v]);
                most[v] = v_max(size, most[v]);
            } else {
                tallies.idle = v_tally(tallies.idle, v_both(same, none));
                v_store(steps + v * LANES, step);
            }
        }
        for (int k = 0; k < states; k++) state[k] += ld;
        if (recorded && !plain) steps += NR;
    }
    for (int k = 0; k < states; k++) checks[0] = v_add(checks[0], checks[1 + k]);
    m->check = checks[0];
    if (!recorded) return;
    m->tallies = tallies;
    if (!plain) return;
#pragma GCC unroll 3
    for (size_t v = 0; v < vecs; v++) {
        m->sum = v_add(sum[v], m->sum);
        m->most = v_max(most[v], m->most);
    }
}

/* Every column of a patch, of `cols` columns, a vector at a time. */
#define EACH_COLUMN(run)                                                                           \
    for (size_t j = 0; j < cols; j += LANES)                                                       \
        if (cols - j >= LANES)                                                                     \
            run(LANES);                                                                            \
        else                                                                                       \
            run(cols - j)

/* Not recorded; returns the check. */
#define UPDATE_OF(n)                                                                               \
    NAME(update_columns)(kind_, (vg_rule)rule_, states_, 0, p, u, rows, j, 1, n, &m)
#define USUAL_OF(n)                                                                                \
    NAME(update_columns)(NAME(USUAL), (vg_rule)rule_, states_, 0, p, u, rows, j, 1, n, &m)
#define UPDATE(kind, rule, states)                                                                 \
    do {                                                                                           \
        enum { kind_ = kind, rule_ = rule, states_ = states };                                     \
        if (u->usual && (int)kind_ == NAME(ANY))                                                   \
            EACH_COLUMN(USUAL_OF);                                                                 \
        else                                                                                       \
            EACH_COLUMN(UPDATE_OF);                                                                \
    } while (0)
static inline
    __attribute__((always_inline)) vec NAME(update_patch)(const NAME(patch) *p,
                                                          const NAME(update_vecs) *u, size_t rows,
                                                          size_t cols, vec check) {
    NAME(measures) m = {.check = check};
    BY_RULE(u, UPDATE);
    return m.check;
}

#define WEIGH(n) weight = v_add(NAME(weigh_columns)(p, rows, j, 1, n), weight)
#define RECORDED(n) NAME(update_columns)(NAME(PLAIN), VG_SGD, 0, 1, p, u, rows, j, 1, n, &m)

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

    NAME(measures)
    m = {v_zero(), v_zero(), v_zero(), s->gradient.scale, s->tallies, NULL};
    if (whole)
        NAME(update_columns)(NAME(PLAIN), VG_SGD, 0, 2, p, u, rows, 0, NV, LANES, &m);
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
#define GENERAL_OF(n)                                                                              \
    do {                                                                                           \
        m.steps = steps + j;                                                                       \
        NAME(update_columns)(NAME(ANY), (vg_rule)rule_, states_, 1, p, u, rows, j, 1, n, &m);      \
    } while (0)
#define GENERAL(kind, rule, states)                                                                \
    do {                                                                                           \
        enum { rule_ = rule, states_ = states };                                                   \
        EACH_COLUMN(GENERAL_OF);                                                                   \
    } while (0)
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
    NAME(measures) m = {.check = check, .scale = v_zero(), .tallies = s->tallies};
    BY_RULE(u, GENERAL);
    s->tallies = m.tallies;
    NAME(add_tile)(&s->step, rows, cols, steps, NR);
    return m.check;
}

/* The norm of the steps lr s, from that of s; where s is g, from that of the gradient. */
static void NAME(flush_step)(const NAME(update_vecs) *u, vg_summary *summary) {
    int exponent;
    const double part = frexp((double)v_largest(u->lr), &exponent);
    const vg_norm steps = NAME(just_plain)(u) ? summary->gradient : summary->step;
    summary->step = (vg_norm){steps.sum * part * part, steps.exponent + (double)exponent};
}

/* params (n) -= lr gradient */
static void NAME(subtract_scaled)(size_t n, const real *gradient, vec lr, real *params) {
    for (size_t i = 0; i < n; i += LANES)
        v_store_n(params + i,
                  v_fnma(lr, v_load_n(gradient + i, n - i), v_load_n(params + i, n - i)), n - i);
}

static void NAME(update)(size_t n, const void *gradient, void *params, void *const *states,
                         const vg_update *update, double *check, vg_summary *summary) {
    if (!summary && update->plain && update->pass == VG_STORE) { /* a call may be of two biases */
        NAME(subtract_scaled)(n, gradient, v_set((real)update->lr), params);
        return;
    }
    NAME(update_vecs) words;
    NAME(set_in_vecs)(update, &words);
    if (!summary) {
        NAME(patch) all = {.gradient = gradient, .params = params};
        NAME(set_states)(&all, states, 0);
        *check += v_sum(NAME(update_patch)(&all, &words, 1, n, v_zero()));
        return;
    }
    *summary = (vg_summary){0};
    NAME(summary_vecs) in_vecs = NAME(begin_summary)(summary, NAME(just_plain)(&words));
    vec in_lanes = v_zero();
    for (size_t i = 0; i < n; i += NR) {
        NAME(patch) patch = {
            .gradient = (const real *)gradient + i,
            .params = (real *)params + i,
        };
        NAME(set_states)(&patch, states, i);
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
#undef BY_RULE
#undef RUN_RULE
#undef EACH_COLUMN
#undef UPDATE_OF
#undef USUAL_OF
#undef UPDATE
#undef WEIGH
#undef RECORDED
#undef GENERAL_OF
#undef GENERAL
#undef LARGEST
#undef LEAST_NORMAL
