/* step.c - one training step, of which each thread of the team does its part.
 *
 *   A  each thread takes rows of the batch: gather, forward, loss, deltas back by the old weights
 *      -- barrier --
 *   B  each thread takes blocks of weight rows: dW and its update, in registers
 *      -- barrier --
 *
 * If the update needs to know the whole gradient first (clip_norm), or if a finite check has
 * tripped, B writes the gradient to memory and
 *      -- barrier --
 *   C  each thread applies it to its blocks. (After a trip: twice, the first time without storing.)
 *
 * No sum over the batch is ever split, and sums over threads are taken in a fixed order. */
#include <string.h>

#include "run/thread_context.h"
#include "team/team.h"

/* ---- what takes how long --------------------------------------------------------------------- */

/* All that a thread does between two laps is time of the latter's phase: nothing is left out. Of n
 * threads each counts 1/n, so that the phases of all add up to the time of the step. */
static void add_time(thread_context *c, size_t l, vg_phase phase, double ticks) {
    c->times[l * VG_PHASES + phase] += ticks / c->n_threads;
}
static void lap(thread_context *c, size_t l, vg_phase phase) {
    if (!c->times) return;
    const uint64_t now = vg_ticks();
    add_time(c, l, phase, (double)(now - c->since));
    c->since = now;
}
/* The epilogues of the product are time of the activation of layer l_phi. */
static void lap_of_product(thread_context *c, size_t l, vg_phase phase, size_t l_phi) {
    if (!c->times) return;
    lap(c, l, phase);
    add_time(c, l, phase, -c->epilogues);
    add_time(c, l_phi, VG_ACTIVATION, c->epilogues);
    c->epilogues = 0;
}
/* What belongs to no phase is time at barriers. */
static void barrier(thread_context *c) {
    vg_team_barrier(c->n_threads);
    lap(c, 0, VG_BARRIER);
}

/* The ticks of products' epilogues are read only where they are asked for. */
static void time_epilogues(thread_context *c, int wanted) {
    c->tools.ticks = wanted && c->times ? &c->epilogues : NULL;
}

/* ---- A: rows --------------------------------------------------------------------------------- */

/* The rows of this thread. */
static void share_rows(const thread_context *c, size_t *from, size_t *rows) {
    const size_t n = (size_t)c->n_threads, t = (size_t)c->thread;
    *from = c->rows * t / n;
    *rows = c->rows * (t + 1) / n - *from;
}

/* delta_L from outside, where there is no loss. */
static void take_given_deltas(thread_context *c, size_t from, size_t rows) {
    const vg_run *const run = c->run;
    const vg_layer *const last = &run->net->layers[run->net->n_layers - 1];
    const size_t sample = c->first_row + from, skip = run->order ? 0 : sample;
    c->kernels->gather(rows, last->n_out, at(c, run->dz, skip * last->n_out),
                       run->order ? run->order + sample : NULL, delta(c, run->net->n_layers, from),
                       last->ld, &c->tools.check);
    memset(run->notes + from, 0, rows * sizeof(double));
    memset(run->notes + run->workspace->row_correct + from, 0, rows * sizeof(double));
}

static void rows_forward_and_back(thread_context *c) {
    const vg_run *const run = c->run;
    const vg_net *const net = run->net;
    const size_t n_layers = net->n_layers;
    size_t from, rows;
    share_rows(c, &from, &rows);
    if (rows == 0) return;

    const size_t sample = c->first_row + from, n_0 = net->layers[0].n_in;
    const int64_t *const order = run->order ? run->order + sample : NULL;
    const size_t skip = order ? 0 : sample;
    c->kernels->gather(rows, n_0, at(c, run->x, skip * n_0), order, output(c, 0, from),
                       net->input_ld, &c->tools.check);
    lap(c, 0, VG_GATHER);

    for (size_t l = 1; l <= n_layers; l++) {
        const vg_layer *const layer = &net->layers[l - 1];
        c->kernels->dense_forward(outputs(c, l - 1, from, rows), at(c, run->params, layer->weights),
                                  at(c, run->params, layer->biases), layer->activation,
                                  outputs(c, l, from, rows), stored_derivative(c, l, from),
                                  &c->tools);
        lap_of_product(c, l, VG_FORWARD, l);
    }

    if (run->dz) {
        take_given_deltas(c, from, rows);
    } else {
        const vg_targets targets = {
            .labels = run->labels ? run->labels + skip : NULL,
            .targets = at(c, run->targets, skip * width_of(c, n_layers)),
            .order = order,
            .batch = (double)c->rows,
        };
        c->kernels->loss(net->loss, outputs(c, n_layers, from, rows), targets, run->notes + from,
                         run->notes + run->workspace->row_correct + from, delta(c, n_layers, from),
                         &c->tools.check);
    }
    lap(c, n_layers, VG_LOSS);

    for (size_t l = n_layers; l > 1; l--) {
        c->kernels->dense_backward(
            deltas(c, l, from, rows), at(c, run->params, net->layers[l - 1].weights),
            net->layers[l - 2].activation, derivative_sources(c, l - 1, from, rows),
            deltas(c, l - 1, from, rows), &c->tools,
            c->inspected ? row_norms(c, l - 1) + from : NULL);
        lap_of_product(c, l, VG_BACKWARD, l - 1);
    }
}

static double sum_in_order(const double *x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i];
    return sum;
}

/* ---- B and C: blocks of weights -------------------------------------------------------------- */

/* The blocks [first, last) of this thread: those whose middle weight lies in its share of all
 * weights. */
static void share_blocks(const thread_context *c, size_t *first, size_t *last) {
    const vg_net *const net = c->run->net;
    const double share = (double)net->n_params / c->n_threads;
    const double from = share * c->thread, to = share * (c->thread + 1);
    *first = *last = 0;
    double done = 0;
    for (size_t l = 1; l <= net->n_layers; l++) {
        const vg_layer *const layer = &net->layers[l - 1];
        for (size_t row = 0; row < layer->n_in; row += VG_BLOCK_ROWS) {
            const size_t left = layer->n_in - row;
            const double size =
                (double)(left < VG_BLOCK_ROWS ? left : VG_BLOCK_ROWS) * (double)layer->n_out;
            const double middle = done + size / 2;
            done += size;
            *first += middle < from;
            *last += middle < to;
        }
        done += (double)layer->n_out;
    }
    if (c->thread == c->n_threads - 1) *last = net->n_blocks;
}

/* What is done with rows [first, last) of the weights of layer l, which are the blocks from `block`
 * on. */
typedef void visit(thread_context *c, size_t l, size_t first, size_t last, size_t block,
                   const vg_update *update);

/* Visit this thread's rows: all of a layer's at once, or by blocks when something is summed. */
static void visit_blocks(thread_context *c, int block_by_block, const vg_update *update,
                         visit *visit) {
    const vg_net *const net = c->run->net;
    size_t first, last;
    share_blocks(c, &first, &last);
    for (size_t l = 1; l <= net->n_layers; l++) {
        const vg_layer *const layer = &net->layers[l - 1];
        const size_t end = l < net->n_layers ? net->layers[l].block : net->n_blocks;
        const size_t stop = last < end ? last : end;
        size_t b = first > layer->block ? first : layer->block;
        while (b < stop) {
            const size_t next = block_by_block ? b + 1 : stop;
            const size_t row = (b - layer->block) * VG_BLOCK_ROWS;
            const size_t row_end = (next - layer->block) * VG_BLOCK_ROWS;
            visit(c, l, row, row_end < layer->n_in ? row_end : layer->n_in, b, update);
            lap(c, l, VG_UPDATE);
            b = next;
        }
    }
}

static vg_update update_of(const vg_sgd *sgd, double scale) {
    const int plain =
        sgd->momentum == 0 && sgd->weight_decay == 0 && scale == 1 && sgd->clip_value == INFINITY;
    return (vg_update){
        .lr = sgd->lr,
        .momentum = sgd->momentum,
        .decay = sgd->weight_decay,
        .clip_value = sgd->clip_value,
        .scale = scale,
        .nesterov = sgd->nesterov,
        .plain = plain,
        .commit = 1,
        .exact = 0,
    };
}
static vg_update bias_update(const vg_update *update) { /* biases do not decay */
    vg_update u = *update;
    u.decay = 0;
    return u;
}

/* db of layer l, into memory; with the first block of the layer */
static void bias_gradient(const thread_context *c, size_t l, void *sums) {
    const vg_layer *const layer = &c->run->net->layers[l - 1];
    c->kernels->column_sums(c->rows, layer->n_out, delta(c, l, 0), layer->ld, sums);
}

/* The summary to fill; NULL if this pass is not inspected. */
static vg_summary *wanted_summary(const thread_context *c, size_t b, const vg_update *update) {
    return c->inspected && !update->exact ? summary(c, b) : NULL;
}

static void apply_biases(thread_context *c, size_t l, const void *gradient,
                         const vg_update *update) {
    const vg_layer *const layer = &c->run->net->layers[l - 1];
    const vg_update of_biases = bias_update(update);
    c->kernels->sgd(layer->n_out, gradient, at(c, c->run->params, layer->biases),
                    at(c, c->run->velocity, layer->biases), &of_biases, &c->tools.check, NULL);
}

static void fused_visit(thread_context *c, size_t l, size_t first, size_t last, size_t block,
                        const vg_update *update) {
    const vg_run *const run = c->run;
    const vg_layer *const layer = &run->net->layers[l - 1];
    const vg_parameters parameters = {
        .weights = at(c, run->params, layer->weights),
        .velocity = at(c, run->velocity, layer->weights),
    };
    const vg_recording recording = {wanted_summary(c, block, update), wanted_exponents(c)};
    c->kernels->weight_update(outputs(c, l - 1, 0, c->rows), deltas(c, l, 0, c->rows), first, last,
                              parameters, update, &c->tools, recording);
    vg_record_exponents(c, l);
    if (first > 0) return;
    bias_gradient(c, l, c->tools.scratch);
    apply_biases(c, l, c->tools.scratch, update);
    if (c->inspected) vg_record_layer(c, l, c->tools.scratch);
}

static void gradient_visit(thread_context *c, size_t l, size_t first, size_t last, size_t block,
                           const vg_update *update) {
    const vg_run *const run = c->run;
    const vg_layer *const layer = &run->net->layers[l - 1];
    void *const dw = at(c, run->gradient, layer->weights);
    void *const db = at(c, run->gradient, layer->biases);
    c->kernels->weight_update(outputs(c, l - 1, 0, c->rows), deltas(c, l, 0, c->rows), first, last,
                              (vg_parameters){.gradient = dw}, update, &c->tools,
                              (vg_recording){NULL, NULL});
    summary(c, block)->gradient =
        c->kernels->square_norm((last - first) * layer->n_out, at(c, dw, first * layer->n_out));
    if (first > 0) return;
    bias_gradient(c, l, db);
    vg_record_layer(c, l, db);
}

/* Of a gradient that is there. */
static void measure_visit(thread_context *c, size_t l, size_t first, size_t last, size_t block,
                          const vg_update *update) {
    const vg_run *const run = c->run;
    const vg_layer *const layer = &run->net->layers[l - 1];
    const size_t n = (last - first) * layer->n_out;
    const void *const dw = at(c, run->gradient, layer->weights + first * layer->n_out);
    const void *const db = at(c, run->gradient, layer->biases);
    (void)update;
    c->kernels->check_finite(n, dw, &c->tools.check);
    summary(c, block)->gradient = c->kernels->square_norm(n, dw);
    if (first > 0) return;
    c->kernels->check_finite(layer->n_out, db, &c->tools.check);
    vg_record_layer(c, l, db);
}

static void apply_visit(thread_context *c, size_t l, size_t first, size_t last, size_t block,
                        const vg_update *update) {
    const vg_run *const run = c->run;
    const vg_layer *const layer = &run->net->layers[l - 1];
    const size_t start = layer->weights + first * layer->n_out;
    vg_summary *const s = wanted_summary(c, block, update);
    c->kernels->sgd((last - first) * layer->n_out, at(c, run->gradient, start),
                    at(c, run->params, start), at(c, run->velocity, start), update, &c->tools.check,
                    s);
    if (s && wanted_exponents(c)) {
        c->kernels->count_exponents(1, (last - first) * layer->n_out, at(c, run->gradient, start),
                                    0, wanted_exponents(c));
        vg_record_exponents(c, l);
    }
    if (first == 0) apply_biases(c, l, at(c, run->gradient, layer->biases), update);
}

/* ---- one step -------------------------------------------------------------------------------- */

/* A barrier, and whether all threads' checks are finite: every thread gets the same answer. A check
 * is written before this barrier only, and there is another barrier before the next time. */
static int barrier_all_finite(thread_context *c) {
    const vg_run *const run = c->run;
    run->notes[vg_check_at(run->workspace, c->thread)] = c->tools.check;
    c->tools.check = 0;
    barrier(c);
    for (int t = 0; t < c->n_threads; t++)
        if (!isfinite(run->notes[vg_check_at(run->workspace, t)])) return 0;
    return 1;
}

/* What an update adds to must be of moderate size too. Before the first barrier of a call, because
 * the parameters change after it; each thread looks at its share. */
static void check_parameters(thread_context *c) {
    const vg_run *const run = c->run;
    const size_t n = run->net->n_params, threads = (size_t)c->n_threads, t = (size_t)c->thread;
    const size_t from = n / threads * t,
                 to = c->thread + 1 < c->n_threads ? n / threads * (t + 1) : n;
    c->kernels->check_finite(to - from, at(c, run->params, from), &c->tools.check);
    if (run->velocity)
        c->kernels->check_finite(to - from, at(c, run->velocity, from), &c->tools.check);
    c->checked = 1;
}

/* Whether the checks' bounds hold for these rates (see finite_check.tmpl.h). */
static int moderate_rates(const thread_context *c) {
    const vg_sgd *const sgd = &c->run->sgd;
    return sgd->lr <= VG_RATE_MOST && sgd->weight_decay <= VG_RATE_MOST;
}

/* Of the whole gradient in memory, by blocks in their order: the same bits in every thread. */
static vg_norm gradient_norm(const thread_context *c) {
    vg_norm total = {0, 0};
    for (size_t b = 0; b < c->run->net->n_blocks + c->run->net->n_layers; b++)
        vg_norm_add(&total, summary(c, b)->gradient);
    return total;
}

/* C: the update by a gradient in memory, of which the blocks' norms are known. A NaN or an infinity
 * in it makes its norm non-finite. */
static vg_status apply_gradient(thread_context *c, int well) {
    const vg_run *const run = c->run;
    const vg_norm norm = gradient_norm(c);
    if (!isfinite(norm.sum)) return VG_NON_FINITE;
    barrier(c); /* the norms' places are about to be used again */
    if (run->mode == VG_GRADIENT) return VG_DONE;

    const double size = vg_norm_root(norm), most = run->sgd.clip_norm;
    vg_update update = update_of(&run->sgd, size > most ? most / size : 1);
    if (!well) {
        update.commit = 0;
        update.exact = 1;
        visit_blocks(c, 1, &update, apply_visit);
        if (!barrier_all_finite(c)) return VG_NON_FINITE;
        update.exact = 0;
    }
    update.commit = run->mode != VG_INSPECT;
    visit_blocks(c, 1, &update, apply_visit);
    return VG_DONE;
}

/* B by way of memory, and C. */
static vg_status two_passes(thread_context *c, const vg_update *fused, int well) {
    visit_blocks(c, 1, fused, gradient_visit);
    barrier(c);
    return apply_gradient(c, well);
}

/* The one step of VG_APPLY. */
static vg_status apply_given(thread_context *c) {
    const vg_update none = update_of(&c->run->sgd, 1);
    check_parameters(c);
    visit_blocks(c, 1, &none, measure_visit);
    const int well = barrier_all_finite(c) && moderate_rates(c);
    const vg_status status = apply_gradient(c, well);
    barrier(c);
    return status;
}

vg_status vg_take_step(thread_context *c, size_t step) {
    vg_run *const run = c->run;
    if (run->mode == VG_APPLY) return apply_given(c);
    c->first_row = step * run->batch_size;
    c->rows = run->n_rows - c->first_row;
    if (c->rows > run->batch_size) c->rows = run->batch_size;
    c->inspected = run->mode == VG_INSPECT ||
                   (run->inspect_every && (run->steps_before + step) % run->inspect_every == 0);

    const vg_update update = update_of(&run->sgd, 1);
    if (!c->checked) check_parameters(c);
    time_epilogues(c, 1);
    rows_forward_and_back(c);
    time_epilogues(c, 0);
    const int well = barrier_all_finite(c) && moderate_rates(c);
    const double loss = sum_in_order(run->notes, c->rows) / (double)c->rows;
    if (!isfinite(loss)) return VG_NON_FINITE;

    const int fused = run->mode == VG_TRAIN && run->sgd.clip_norm == INFINITY && !run->unblocked;
    if (well && fused) {
        visit_blocks(c, 0, &update, fused_visit);
    } else {
        if (!run->gradient) return VG_NEEDS_GRADIENT;
        const vg_status status = two_passes(c, &update, well);
        if (status != VG_DONE) return status;
    }

    if (c->thread == 0) {
        run->losses[step] = loss;
        run->correct[step] = sum_in_order(run->notes + run->workspace->row_correct, c->rows);
        *c->pause = c->until < INFINITY && vg_seconds() > c->until;
    }
    barrier(c);
    const vg_status status = *c->pause ? VG_PAUSED : VG_DONE;
    if (c->inspected) {
        vg_write_records(c);
        barrier(c);
        if (c->thread == 0) run->n_records++;
    }
    return status;
}
