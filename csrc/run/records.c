/* records.c - a step's record: the quantities of vgfast/inspection, from what the passes have
 * summed. */
#include <stdatomic.h>

#include "run/thread_context.h"

/* Whole numbers: in whatever order threads add them, the sum is the same. */
void vg_record_exponents(const thread_context *c, size_t l) {
    uint32_t *const tables = wanted_exponents(c);
    if (!tables) return;
    const vg_run *const run = c->run;
    const size_t bins = vg_exponent_bins(run->plan->dtype);
    uint32_t *const histogram =
        run->exponents + (run->n_records * run->plan->n_layers + l - 1) * bins;
    for (size_t b = 0; b < bins; b++) {
        uint32_t count = 0;
        for (size_t t = 0; t < VG_EXPONENT_TABLES; t++) {
            count += tables[t * bins + b];
            tables[t * bins + b] = 0;
        }
        if (count > 0) atomic_fetch_add((_Atomic uint32_t *)(void *)&histogram[b], count);
    }
}

void vg_record_values(const thread_context *c, const vg_op *op) {
    const size_t activated = vg_activated(op);
    const vg_op *const maker = maker_of(c, activated);
    const vg_dropout dropout = vg_dropout_of(maker->keep, maker->alpha_dropout);
    const vg_sparse_rows sparse = vg_sparse_input(c, 0, c->rows);
    c->kernels->statistics(
        maker->activation, &dropout, derivative_sources(c, activated, 0, c->rows),
        gradients(c, op->out, 0, c->rows), values(c, op->in, 0, c->rows),
        vg_is_sparse(c->run->plan, op) ? &sparse : NULL, statistics(c, op->layer));
}

/* So many rows of equal weight have a mean of the same variance as those of the batch: Kish's
 * effective sample size, (sum w)^2 / sum w^2. */
static double effective_rows(const thread_context *c) {
    const vg_run *const run = c->run;
    double squares = 0;
    if (!run->weights) return (double)c->rows;
    for (size_t i = c->first_row; i < c->first_row + c->rows; i++) {
        const double weight = run->weights[run->order ? (size_t)run->order[i] : i] / c->total;
        squares += weight * weight;
    }
    return squares > 0 ? 1 / squares : (double)c->rows;
}

/* tr(Sigma) / |G|^2, both without bias, from the norm of the batch's gradient and the root mean
 * square of its samples' (McCandlish and others, "An empirical model of large-batch training",
 * 2018, appendix A). Where the batch cannot separate the gradient from noise, it is infinite. */
static double noise_scale(double batch_norm, double sample_norm, double rows) {
    const double ratio = batch_norm / sample_norm, square = ratio * ratio;
    const double noise = square < 1 ? 1 - square : 0, signal = rows * square - 1;
    if (rows == 1 || isnan(square)) return NAN;
    return signal > 0 ? rows * noise / signal : INFINITY;
}

/* The addition at which a layer ends, or NULL. */
static const vg_op *addition_of(const vg_op *dense) {
    const vg_op *const norm = vg_norm_of(dense), *after = (norm ? norm : dense) + 1;
    if (after->kind == VG_OP_DROPOUT) after++;
    return after->kind == VG_OP_ADD ? after : NULL;
}

/* Of the norms of all rows. */
static double norm_of_rows(const thread_context *c, const vg_norm *norms) {
    vg_norm all = {0, 0};
    for (size_t r = 0; r < c->rows; r++) vg_norm_add(&all, norms[r]);
    return vg_norm_root(all);
}

/* Of the gradient of a tensor. */
static double gradient_size(const thread_context *c, size_t tensor) {
    const vg_matrix g = gradients(c, tensor, 0, c->rows);
    vg_norm all = {0, 0};
    for (size_t r = 0; r < g.rows; r++)
        vg_norm_add(&all, c->kernels->square_norm(g.cols, at(c, g.p, r * g.ld)));
    return vg_norm_root(all);
}

static double delta_norm(const thread_context *c, const vg_op *dense) {
    return vg_norm_root(statistics(c, dense->layer)->delta);
}

/* The norm of the signal at a layer: of delta, or, where layers are gone around, of the gradient of
 * the sum that leaves it. */
static double signal_norm(const thread_context *c, const vg_op *dense) {
    const vg_op *const addition = addition_of(dense);
    return addition ? gradient_size(c, addition->out) : delta_norm(c, dense);
}

/* What a layer's activation and normalization do to a signal of norm `from` at the end of it, on
 * its way to delta. The scale of an addition, at which it comes in, counts as the activation's,
 * and so does dropout there. */
typedef struct {
    double activation, normalization;
} inner_gains;
static inner_gains gains_inside(const thread_context *c, const vg_op *dense, double from,
                                int sums) {
    const vg_op *const norm = vg_norm_of(dense);
    const double delta = delta_norm(c, dense);
    if (!norm) return (inner_gains){delta / from, 1};
    const double between =
        norm_of_rows(c, row_norms(c, c->run->plan->n_layers + 1 + norm->moments));
    if (norm->activated) return (inner_gains){between / from, delta / between};
    const double enters = sums ? gradient_size(c, norm->out) : from;
    return (inner_gains){enters / from * (delta / between), between / enters};
}

/* What weights, activation, normalization and the way around do to what comes from the next layer;
 * their product is the gain. */
static void write_gains(const thread_context *c, const vg_op *op, const vg_op *next,
                        vg_record *record) {
    const double arrives = norm_of_rows(c, row_norms(c, op->layer)), from = signal_norm(c, next);
    const int sums = addition_of(op) != NULL, next_sums = addition_of(next) != NULL;
    const inner_gains none = {1, 1}, here = sums ? none : gains_inside(c, op, arrives, 0),
                      behind = next_sums ? gains_inside(c, next, from, 1) : none;
    record->weight_gain = arrives / delta_norm(c, next);
    record->activation_gain = here.activation * behind.activation;
    record->normalization_gain = here.normalization * behind.normalization;
    record->skip_gain = sums ? record->delta_norm / arrives : 1;
    record->gain = record->delta_norm / from;
}

/* The quantities of a layer, from what the passes have summed; units and rows in their order. next:
 * the layer after it, or NULL; rows: effective ones. */
static void write_record(const thread_context *c, const vg_op *op, const vg_op *next, double rows,
                         vg_record *record) {
    const vg_param *const W = &c->run->plan->params[op->weights];
    const vg_op *const norm = vg_norm_of(op);
    /* Where batch norm stands in the place of biases, its shifts are what is added. */
    const size_t added = op->biases != VG_NONE ? op->biases : norm->shifts;
    const int alone = c->run->plan->n_batch_norms == 0; /* a row's gradient depends on it alone */
    vg_summary sum = {0};
    for (size_t u = 0; u < vg_n_units(W); u++) vg_summary_add(&sum, summary(c, W->unit + u));
    const double weights = (double)W->rows * (double)W->cols;
    const double units = (double)W->cols;
    const vg_statistics *const s = statistics(c, op->layer);
    const double db = added == VG_NONE
                          ? NAN
                          : vg_norm_root(summary(c, c->run->plan->params[added].unit)->gradient);
    const double dw = vg_norm_root(sum.gradient);
    const double sample_norm = vg_norm_root(s->samples) * sqrt(rows);
    *record = (vg_record){
        .grad_norm = dw,
        .bias_grad_norm = db,
        .weight_norm = vg_norm_root(sum.weight),
        .speed = db,
        .weight_gain = NAN,
        .activation_gain = NAN,
        .gain = NAN,
        .skip_gain = NAN,
        .mean_derivative = s->derivative / s->entries,
        .saturated = s->saturated / s->entries,
        .dead = s->dead / units,
        .update_ratio = vg_norm_root(sum.step) / vg_norm_root(sum.weight),
        .frozen = sum.frozen / weights,
        .stuck = sum.stuck / weights,
        .zero = sum.zero / weights,
        .subnormal = sum.subnormal / weights,
        .max_abs = sum.max_abs,
        .sample_norm = alone ? sample_norm : NAN,
        .noise_scale = alone ? noise_scale(hypot(dw, db), sample_norm, rows) : NAN,
        .normalization_gain = NAN,
    };
    record->delta_norm = signal_norm(c, op);
    if (next) write_gains(c, op, next, record);
}

/* The gains are those of a chain: what reaches a layer comes from the one after it. */
void vg_write_records(const thread_context *c) {
    const vg_plan *const plan = c->run->plan;
    vg_record *const records = c->run->records + c->run->n_records * plan->n_layers;
    const size_t step = (size_t)c->n_threads;
    const double rows = effective_rows(c);
    for (size_t i = (size_t)c->thread; i < plan->n_ops; i += step) {
        const vg_op *const op = &plan->ops[i], *next = op + 1;
        if (op->kind != VG_OP_DENSE) continue;
        while (next->kind != VG_OP_DENSE && next->kind != VG_OP_LOSS) next++;
        write_record(c, op, next->kind == VG_OP_DENSE ? next : NULL, rows, &records[op->layer - 1]);
    }
}
