/* records.c - a step's record: the quantities of vgfast/inspection, from what the passes have summed. */
#include <stdatomic.h>

#include "run/thread_context.h"

/* Whole numbers: in whatever order threads add them, the sum is the same. */
void vg_record_exponents(const thread_context *c, size_t l) {
    uint32_t *const tables = wanted_exponents(c);
    if (!tables) return;
    const vg_run *const run = c->run;
    const size_t bins = vg_exponent_bins(run->net->dtype);
    uint32_t *const histogram =
        run->exponents + (run->n_records * run->net->n_layers + l - 1) * bins;
    for (size_t b = 0; b < bins; b++) {
        uint32_t count = 0;
        for (size_t t = 0; t < VG_EXPONENT_TABLES; t++) {
            count += tables[t * bins + b];
            tables[t * bins + b] = 0;
        }
        if (count > 0) atomic_fetch_add((_Atomic uint32_t *)(void *)&histogram[b], count);
    }
}

void vg_record_layer(const thread_context *c, size_t l, const void *bias_gradient) {
    const vg_net *const net = c->run->net;
    const vg_layer *const layer = &net->layers[l - 1];
    summary(c, net->n_blocks + l - 1)->gradient =
        c->kernels->square_norm(layer->n_out, bias_gradient);
    if (!c->inspected) return;
    c->kernels->statistics(layer->activation, derivative_sources(c, l, 0, c->rows),
                           deltas(c, l, 0, c->rows), outputs(c, l - 1, 0, c->rows),
                           statistics(c, l));
}

/* tr(Sigma) / |G|^2, both without bias, from the norm of the batch's gradient and the root mean
 * square of its samples' (McCandlish and others, "An empirical model of large-batch training", 2018,
 * appendix A). Where the batch cannot separate the gradient from noise, it is infinite. */
static double noise_scale(double batch_norm, double sample_norm, double rows) {
    const double ratio = batch_norm / sample_norm, square = ratio * ratio;
    const double noise = square < 1 ? 1 - square : 0, signal = rows * square - 1;
    if (rows == 1 || isnan(square)) return NAN;
    return signal > 0 ? rows * noise / signal : INFINITY;
}

/* The quantities of layer l, from what the passes have summed; blocks and rows in their order. */
static void write_record(const thread_context *c, size_t l, vg_record *record) {
    const vg_net *const net = c->run->net;
    const vg_layer *const layer = &net->layers[l - 1];
    const size_t end = l < net->n_layers ? net->layers[l].block : net->n_blocks;
    vg_summary sum = {0};
    for (size_t b = layer->block; b < end; b++) vg_summary_add(&sum, summary(c, b));
    const double weights = (double)layer->n_in * (double)layer->n_out;
    const double units = (double)layer->n_out, entries = (double)c->rows * units;
    const vg_statistics *const s = statistics(c, l);
    const double db = vg_norm_root(summary(c, net->n_blocks + l - 1)->gradient);
    const double dw = vg_norm_root(sum.gradient), rows = (double)c->rows;
    const double sample_norm = vg_norm_root(s->samples) * sqrt(rows);
    *record = (vg_record){
        .grad_norm = dw,
        .bias_grad_norm = db,
        .weight_norm = vg_norm_root(sum.weight),
        .delta_norm = vg_norm_root(s->delta),
        .speed = db,
        .weight_gain = NAN,
        .activation_gain = NAN,
        .gain = NAN,
        .mean_derivative = s->derivative / entries,
        .saturated = s->saturated / entries,
        .dead = s->dead / units,
        .update_ratio = vg_norm_root(sum.step) / vg_norm_root(sum.weight),
        .frozen = sum.frozen / weights,
        .stuck = sum.stuck / weights,
        .zero = sum.zero / weights,
        .subnormal = sum.subnormal / weights,
        .max_abs = sum.max_abs,
        .sample_norm = sample_norm,
        .noise_scale = noise_scale(hypot(dw, db), sample_norm, rows),
    };
    if (l == net->n_layers) return;
    vg_norm raw = {0, 0};
    for (size_t r = 0; r < c->rows; r++) vg_norm_add(&raw, row_norms(c, l)[r]);
    const double next = vg_norm_root(statistics(c, l + 1)->delta);
    record->weight_gain = vg_norm_root(raw) / next;
    record->activation_gain = record->delta_norm / vg_norm_root(raw);
    record->gain = record->delta_norm / next;
}

void vg_write_records(const thread_context *c) {
    const vg_run *const run = c->run;
    const size_t n_layers = run->net->n_layers;
    for (size_t l = 1 + (size_t)c->thread; l <= n_layers; l += (size_t)c->n_threads)
        write_record(c, l, &run->records[run->n_records * n_layers + l - 1]);
}
