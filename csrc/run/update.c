/* update.c - what is done with the parameters: each thread takes its units of them. */
#include "run/normalization.h"

/* What is done with rows [first, last) of a parameter, which are the units from `unit` on. */
typedef void visit(thread_context *c, const vg_param *p, size_t first, size_t last, size_t unit,
                   const vg_update *update);

/* Visit this thread's units: all of a parameter's at once, or one by one when something is summed.
 * Where nothing is, tiles will do for units, which share a small net more evenly. */
static void visit_units(thread_context *c, int one_by_one, const vg_update *update, visit *visit) {
    const vg_plan *const plan = c->run->plan;
    const size_t unit = one_by_one || c->inspected ? VG_UNIT_ROWS : c->kernels->tile_rows;
    for (size_t i = 0; i < plan->n_param_arrays; i++) {
        const vg_param *const p = &plan->params[i];
        size_t first = 0, last = p->rows;
        if (c->n_threads > 1) vg_share_param(plan, p, unit, c->thread, c->n_threads, &first, &last);
        c->share_first = first;
        c->share_last = last;
        while (first < last) {
            const size_t next = one_by_one && last - first > unit ? first + unit : last;
            visit(c, p, first, next, p->unit + first / VG_UNIT_ROWS, update);
            lap(c, plan->ops[p->op].layer, VG_UPDATE);
            first = next;
        }
    }
}

static const vg_op *op_of(const thread_context *c, const vg_param *p) {
    return &c->run->plan->ops[p->op];
}

static vg_update update_of_param(const vg_update *update, const vg_param *p) {
    vg_update u = *update;
    if (!p->decays) u.decay = 0;
    return u;
}

/* The summary to fill; NULL if this pass is not inspected. Of others than weights only the
 * gradient's norm is recorded. */
static vg_summary *wanted_summary(const thread_context *c, const vg_param *p, size_t unit,
                                  const vg_update *update) {
    return c->inspected && update->pass != VG_TRY && p->role == VG_WEIGHTS ? summary(c, unit)
                                                                           : NULL;
}

/* The gradient of biases, gains or shifts, or of the scale of an addition. */
static void sum_up(thread_context *c, const vg_param *p, void *sums) {
    const vg_op *const op = op_of(c, p);
    const vg_matrix dz = gradients(c, op->out, 0, c->rows);
    if (p->role == VG_SCALES)
        c->kernels->inner_product(dz, values(c, op->in, 0, c->rows), c->begun, sums);
    else if (p->role != VG_BIASES)
        vg_sum_gains_or_shifts(c, op, p->role, sums);
    else
        c->kernels->column_sums(dz.rows, dz.cols, dz.p, dz.ld, c->begun, sums);
}

/* The sums of a parameter's gradient over the parts of the batch before; NULL if this is the
 * first. */
static void *begun_sums(const thread_context *c, const vg_param *p) {
    return c->begun ? part_of(c, c->sums, p, 0) : NULL;
}

/* Once for each layer, what its values and gradients show: with its biases, or else
 * with its first weights. */
static void record_values(const thread_context *c, const vg_param *p, size_t first) {
    const vg_op *const op = op_of(c, p);
    const int first_weights = p->role == VG_WEIGHTS && first == 0 && op->biases == VG_NONE;
    if (c->inspected && (p->role == VG_BIASES || first_weights)) vg_record_values(c, op);
}

/* What is recorded when a gradient is known, which begins with row `first`: its norm, and the
 * values; where nobody asks for it, nothing. */
static void record_gradient(const thread_context *c, const vg_param *p, size_t first, size_t unit,
                            size_t n, const void *gradient) {
    if (c->unmeasured) return;
    summary(c, unit)->gradient = c->kernels->square_norm(n, gradient);
    record_values(c, p, first);
}

static void square_visit(thread_context *c, const vg_param *p, size_t first, size_t last,
                         size_t unit, const vg_update *update) {
    (void)update;
    if (!p->decays) return;
    const void *const weights = part_of(c, c->run->params, p, first);
    *squares(c, unit) = c->kernels->square_norm((last - first) * p->cols, weights);
}

/* Rows [first, last) of dW, and what is done with them. */
static void weight_update(thread_context *c, const vg_param *p, size_t first, size_t last,
                          vg_parameters parameters, const vg_update *update,
                          vg_recording recording) {
    const vg_op *const op = op_of(c, p);
    const vg_matrix dz = gradients(c, op->out, 0, c->rows);
    if (vg_is_sparse(c->run->plan, op)) {
        size_t n;
        const vg_entry *const entries = vg_sorted_entries(c, first, last, &n);
        c->kernels->sparse_update(entries, n, dz, first, last, parameters, update, &c->tools,
                                  recording);
    } else {
        c->kernels->weight_update(values(c, op->in, 0, c->rows), dz, first, last, parameters,
                                  update, &c->tools, recording);
    }
}

void vg_square_weights(thread_context *c) { visit_units(c, 1, NULL, square_visit); }

/* What the loss has besides that of the rows, of the weights before the step. */
double vg_penalty_of_weights(const thread_context *c) {
    const vg_run *const run = c->run;
    vg_norm total = {0, 0};
    if (run->optimizer.penalty == 0) return 0;
    for (size_t i = 0; i < run->plan->n_param_arrays; i++) {
        const vg_param *const p = &run->plan->params[i];
        if (!p->decays) continue;
        for (size_t u = 0; u < vg_n_units(p); u++) vg_norm_add(&total, *squares(c, p->unit + u));
    }
    const double size = vg_norm_root(total);
    return run->optimizer.penalty / c->total / 2 * size * size;
}

static void fused_visit(thread_context *c, const vg_param *p, size_t first, size_t last,
                        size_t unit, const vg_update *update) {
    const vg_run *const run = c->run;
    const vg_op *const op = op_of(c, p);
    void *const params = part_of(c, run->params, p, 0);
    void *states[VG_STATES_MOST];
    states_of(c, p, 0, states);
    if (p->role == VG_WEIGHTS) {
        const vg_recording recording = {wanted_summary(c, p, unit, update), wanted_exponents(c)};
        weight_update(c, p, first, last, (vg_parameters){params, states, NULL, begun_sums(c, p)},
                      update, recording);
        vg_record_exponents(c, op->layer);
        record_values(c, p, first);
    } else {
        const vg_update of_biases = update_of_param(update, p);
        void *const sums = c->begun ? begun_sums(c, p) : c->tools.scratch;
        sum_up(c, p, sums);
        c->kernels->update(p->cols, sums, params, states, &of_biases, &c->tools.check, NULL);
        if (c->inspected) record_gradient(c, p, first, unit, p->cols, sums);
    }
}

static void sum_visit(thread_context *c, const vg_param *p, size_t first, size_t last, size_t unit,
                      const vg_update *update) {
    void *const whole = part_of(c, c->sums, p, 0);
    (void)unit;
    if (p->role == VG_WEIGHTS)
        weight_update(c, p, first, last, (vg_parameters){NULL, NULL, whole, begun_sums(c, p)},
                      update, (vg_recording){NULL, NULL});
    else
        sum_up(c, p, whole);
}

static void gradient_visit(thread_context *c, const vg_param *p, size_t first, size_t last,
                           size_t unit, const vg_update *update) {
    sum_visit(c, p, first, last, unit, update);
    record_gradient(c, p, first, unit, (last - first) * p->cols,
                    part_of(c, c->run->gradient, p, first));
}

/* The gradient as the sum of those of the groups, each of which lies where its first chunk's
 * did. */
static void *fold(const thread_context *c, const vg_param *p, size_t first, size_t n) {
    void *const gradient = part_of(c, c->run->gradient, p, first);
    const size_t groups = (n_chunks(c) + VG_GROUP_CHUNKS - 1) / VG_GROUP_CHUNKS;
    c->kernels->fold(n, groups, part_of(c, chunk_sums(c, 0), p, first),
                     VG_GROUP_CHUNKS * chunk_stride(c), gradient);
    return gradient;
}

static void fold_visit(thread_context *c, const vg_param *p, size_t first, size_t last, size_t unit,
                       const vg_update *update) {
    const size_t n = (last - first) * p->cols;
    (void)update;
    record_gradient(c, p, first, unit, n, fold(c, p, first, n));
}

static void fold_update_visit(thread_context *c, const vg_param *p, size_t first, size_t last,
                              size_t unit, const vg_update *update) {
    const vg_run *const run = c->run;
    const size_t n = (last - first) * p->cols;
    const vg_update of_param = update_of_param(update, p);
    void *states[VG_STATES_MOST];
    states_of(c, p, first, states);
    (void)unit;
    c->kernels->update(n, fold(c, p, first, n), part_of(c, run->params, p, first), states,
                       &of_param, &c->tools.check, NULL);
}

static void measure_visit(thread_context *c, const vg_param *p, size_t first, size_t last,
                          size_t unit, const vg_update *update) {
    const size_t n = (last - first) * p->cols;
    const void *const gradient = part_of(c, c->run->gradient, p, first);
    (void)update;
    c->kernels->check_finite(n, gradient, &c->tools.check);
    record_gradient(c, p, first, unit, n, gradient);
}

static void apply_visit(thread_context *c, const vg_param *p, size_t first, size_t last,
                        size_t unit, const vg_update *update) {
    const vg_run *const run = c->run;
    const size_t n = (last - first) * p->cols;
    const void *const gradient = part_of(c, run->gradient, p, first);
    vg_summary *const s = wanted_summary(c, p, unit, update);
    const vg_update of_param = update_of_param(update, p);
    void *states[VG_STATES_MOST];
    states_of(c, p, first, states);
    c->kernels->update(n, gradient, part_of(c, run->params, p, first), states, &of_param,
                       &c->tools.check, s);
    if (!s || !wanted_exponents(c)) return;
    c->kernels->count_exponents(1, n, gradient, 0, wanted_exponents(c));
    vg_record_exponents(c, op_of(c, p)->layer);
}

void vg_update_fused(thread_context *c, const vg_update *update) {
    visit_units(c, 0, update, fused_visit);
}
static const vg_update NONE = {.plain = 1};
void vg_sum_gradient(thread_context *c) { visit_units(c, 0, &NONE, sum_visit); }
void vg_sum_gradient_alone(thread_context *c) {
    const vg_plan *const plan = c->run->plan;
    for (size_t i = 0; i < plan->n_param_arrays; i++) {
        const vg_param *const p = &plan->params[i];
        c->share_first = 0;
        c->share_last = p->rows;
        sum_visit(c, p, 0, p->rows, 0, &NONE);
        lap(c, plan->ops[p->op].layer, VG_UPDATE);
    }
}
void vg_fold_group(thread_context *c, size_t chunk) {
    const size_t first = chunk / VG_GROUP_CHUNKS * VG_GROUP_CHUNKS, left = n_chunks(c) - first;
    for (size_t i = 0; i < c->run->plan->n_param_arrays; i++) {
        const vg_param *const p = &c->run->plan->params[i];
        void *const sums = part_of(c, chunk_sums(c, first), p, 0);
        c->kernels->fold(p->rows * p->cols, left < VG_GROUP_CHUNKS ? left : VG_GROUP_CHUNKS, sums,
                         chunk_stride(c), sums);
        lap(c, op_of(c, p)->layer, VG_UPDATE);
    }
}
void vg_fold_gradient(thread_context *c) { visit_units(c, 1, &NONE, fold_visit); }
void vg_fold_update(thread_context *c, const vg_update *update) {
    visit_units(c, 0, update, fold_update_visit);
}
void vg_write_gradient(thread_context *c) { visit_units(c, 1, &NONE, gradient_visit); }
void vg_measure_gradient(thread_context *c) { visit_units(c, 1, NULL, measure_visit); }
void vg_apply_gradient(thread_context *c, const vg_update *update) {
    visit_units(c, 1, update, apply_visit);
}
