/* train.c - one training step, and runs of them: a run is a loop of steps in one task of the team.
 *
 *   A  each thread takes rows of the batch: gather, forward, loss, deltas back by the old weights
 *      -- meet --
 *   B  each thread takes blocks of weight rows: dW and its update, in registers
 *      -- meet --
 *
 * If the update needs to know the whole gradient first (clip_norm), or if a guard has tripped, B
 * writes the gradient to memory and
 *      -- meet --
 *   C  each thread applies it to its blocks. (After a trip: twice, the first time without storing.)
 *
 * No sum over the batch is ever split, and sums over threads are taken in a fixed order. */
#include <time.h>

#include "kernels.h"
#include "threads.h"

/* What one thread knows while the team runs. */
typedef struct {
    vg_run *run;
    int *pause;   /* told by thread 0 before the last meeting of a step, heard by all after it */
    double until; /* seconds */
    const vg_kernels *kernels;
    int thread, n_threads;
    size_t item;            /* bytes of an element */
    size_t first_row, rows; /* this step's batch, in the order of the epoch */
    int inspected, checked;
    double guard;
} crew;

static void *at(const crew *c, const void *base, size_t offset) {
    return base ? (char *)(uintptr_t)base + offset * c->item : NULL;
}

/* a[l], with l = 0 the gathered input; delta_l */
static void *output(const crew *c, size_t l, size_t row) {
    const vg_net *const net = c->run->net;
    const size_t column = l ? net->layers[l - 1].column : 0;
    const size_t ld = l ? net->layers[l - 1].ld : net->input_ld;
    return at(c, c->run->memory, column * c->run->workspace->rows + row * ld);
}
static void *delta(const crew *c, size_t l, size_t row) {
    const vg_layer *const layer = &c->run->net->layers[l - 1];
    const size_t column = layer->column - c->run->net->input_ld;
    return at(c, c->run->memory,
              c->run->workspace->deltas + column * c->run->workspace->rows + row * layer->ld);
}
/* phi' of layer l, with the ld of its outputs; NULL if it is not kept, but told from the outputs */
static void *kept_slopes(const crew *c, size_t l, size_t row) {
    const vg_layer *const layer = &c->run->net->layers[l - 1];
    const vg_workspace *const w = c->run->workspace;
    if (!vg_keeps_slopes(layer->activation)) return NULL;
    return at(c, c->run->memory, w->slopes + layer->slopes * w->rows + row * layer->ld);
}
static const void *slope_source(const crew *c, size_t l, size_t row) {
    const void *const slopes = kept_slopes(c, l, row);
    return slopes ? slopes : output(c, l, row);
}
static size_t ld_of(const crew *c, size_t l) {
    return l ? c->run->net->layers[l - 1].ld : c->run->net->input_ld;
}
static void *scratch(const crew *c) {
    const vg_workspace *const w = c->run->workspace;
    return at(c, c->run->memory, w->scratch + (size_t)c->thread * w->per_thread);
}
/* Of delta_{l+1} W_{l+1}^T, one for each tile of rows. */
static vg_norm *tile_norms(const crew *c, size_t l) {
    const vg_workspace *const w = c->run->workspace;
    return (vg_norm *)(void *)(c->run->notes + w->tile_norms) + (l - 1) * w->rows;
}
/* Of block b of the weights; after the blocks, of the biases of each layer. */
static vg_summary *summary(const crew *c, size_t b) {
    return (vg_summary *)(void *)(c->run->notes + c->run->workspace->summaries) + b;
}
static vg_statistics *statistics(const crew *c, size_t l) {
    return (vg_statistics *)(void *)(c->run->notes + c->run->workspace->statistics) + (l - 1);
}

/* ---- A: rows --------------------------------------------------------------------------------- */

/* The rows of this thread. Norms are summed by whole tiles, so that their bits do not depend on the
 * number of threads. */
static void share_rows(const crew *c, size_t *from, size_t *rows) {
    const size_t n = (size_t)c->n_threads, t = (size_t)c->thread;
    const size_t unit = c->inspected ? c->kernels->tile_rows : 1;
    const size_t units = (c->rows + unit - 1) / unit;
    *from = units * t / n * unit;
    const size_t to = units * (t + 1) / n * unit;
    *rows = (to < c->rows ? to : c->rows) - *from;
}

static void rows_forward_and_back(crew *c) {
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
                       net->input_ld, &c->guard);

    for (size_t l = 1; l <= n_layers; l++) {
        const vg_layer *const layer = &net->layers[l - 1];
        c->kernels->dense_forward(rows, layer->n_in, layer->n_out, output(c, l - 1, from),
                                  ld_of(c, l - 1), at(c, run->params, layer->weights),
                                  at(c, run->params, layer->biases), layer->activation,
                                  output(c, l, from), layer->ld, kept_slopes(c, l, from),
                                  scratch(c), &c->guard);
    }

    const vg_layer *const last = &net->layers[n_layers - 1];
    c->kernels->loss(net->loss, rows, last->n_out, output(c, n_layers, from), last->ld,
                     run->labels ? run->labels + skip : NULL,
                     at(c, run->targets, skip * last->n_out), order, (double)c->rows,
                     run->notes + from, run->notes + run->workspace->row_correct + from,
                     delta(c, n_layers, from), &c->guard);

    for (size_t l = n_layers; l > 1; l--) {
        const vg_layer *const layer = &net->layers[l - 1];
        c->kernels->dense_backward(
            rows, layer->n_in, layer->n_out, delta(c, l, from), layer->ld,
            at(c, run->params, layer->weights), net->layers[l - 2].activation,
            slope_source(c, l - 1, from), ld_of(c, l - 1), delta(c, l - 1, from), ld_of(c, l - 1),
            scratch(c), &c->guard,
            c->inspected ? tile_norms(c, l - 1) + from / c->kernels->tile_rows : NULL);
    }
}

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double sum_in_order(const double *x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i];
    return sum;
}

/* ---- B and C: blocks of weights -------------------------------------------------------------- */

/* The blocks [first, last) of this thread: those whose middle weight lies in its share of all
 * weights. */
static void share_blocks(const crew *c, size_t *first, size_t *last) {
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
typedef void visit(crew *c, size_t l, size_t first, size_t last, size_t block,
                   const vg_update *update);

/* Visit this thread's rows: all of a layer's at once, or by blocks when something is summed. */
static void visit_blocks(crew *c, int block_by_block, const vg_update *update, visit *visit) {
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
static void bias_gradient(const crew *c, size_t l, void *sums) {
    const vg_layer *const layer = &c->run->net->layers[l - 1];
    c->kernels->column_sums(c->rows, layer->n_out, delta(c, l, 0), layer->ld, sums);
}

/* The summary to fill; NULL if this pass is not inspected. */
static vg_summary *wanted_summary(const crew *c, size_t b, const vg_update *update) {
    return c->inspected && !update->exact ? summary(c, b) : NULL;
}

static void apply_biases(crew *c, size_t l, const void *gradient, const vg_update *update) {
    const vg_layer *const layer = &c->run->net->layers[l - 1];
    const vg_update of_biases = bias_update(update);
    c->kernels->sgd(layer->n_out, gradient, at(c, c->run->params, layer->biases),
                    at(c, c->run->velocity, layer->biases), &of_biases, &c->guard, NULL);
}

/* What is told of layer l beside its weights. */
static void layer_statistics(const crew *c, size_t l, const void *bias_gradient) {
    const vg_net *const net = c->run->net;
    const vg_layer *const layer = &net->layers[l - 1];
    summary(c, net->n_blocks + l - 1)->gradient =
        c->kernels->square_norm(layer->n_out, bias_gradient);
    if (!c->inspected) return;
    c->kernels->statistics(layer->activation, c->rows, layer->n_out, slope_source(c, l, 0),
                           layer->ld, delta(c, l, 0), layer->ld, layer->n_in, output(c, l - 1, 0),
                           ld_of(c, l - 1), statistics(c, l));
}

static void fused_visit(crew *c, size_t l, size_t first, size_t last, size_t block,
                        const vg_update *update) {
    const vg_run *const run = c->run;
    const vg_layer *const layer = &run->net->layers[l - 1];
    vg_summary *const s = wanted_summary(c, block, update);
    c->kernels->weight_update(
        c->rows, first, last, layer->n_out, output(c, l - 1, 0), ld_of(c, l - 1), delta(c, l, 0),
        layer->ld, at(c, run->params, layer->weights), at(c, run->velocity, layer->weights), NULL,
        update, scratch(c), &c->guard, s);
    if (first > 0) return;
    bias_gradient(c, l, scratch(c));
    apply_biases(c, l, scratch(c), update);
    if (c->inspected) layer_statistics(c, l, scratch(c));
}

static void gradient_visit(crew *c, size_t l, size_t first, size_t last, size_t block,
                           const vg_update *update) {
    const vg_run *const run = c->run;
    const vg_layer *const layer = &run->net->layers[l - 1];
    void *const dw = at(c, run->gradient, layer->weights);
    void *const db = at(c, run->gradient, layer->biases);
    c->kernels->weight_update(c->rows, first, last, layer->n_out, output(c, l - 1, 0),
                              ld_of(c, l - 1), delta(c, l, 0), layer->ld, NULL, NULL, dw, update,
                              scratch(c), &c->guard, NULL);
    summary(c, block)->gradient =
        c->kernels->square_norm((last - first) * layer->n_out, at(c, dw, first * layer->n_out));
    if (first > 0) return;
    bias_gradient(c, l, db);
    layer_statistics(c, l, db);
}

static void apply_visit(crew *c, size_t l, size_t first, size_t last, size_t block,
                        const vg_update *update) {
    const vg_run *const run = c->run;
    const vg_layer *const layer = &run->net->layers[l - 1];
    const size_t start = layer->weights + first * layer->n_out;
    vg_summary *const s = wanted_summary(c, block, update);
    c->kernels->sgd((last - first) * layer->n_out, at(c, run->gradient, start),
                    at(c, run->params, start), at(c, run->velocity, start), update, &c->guard, s);
    if (first == 0) apply_biases(c, l, at(c, run->gradient, layer->biases), update);
}

/* ---- inspection ------------------------------------------------------------------------------ */

/* tr(Sigma) / |G|^2, both without bias, from the squared norms of the batch's gradient and, in the
 * mean, of its samples' (McCandlish and others, "An empirical model of large-batch training", 2018,
 * appendix A). Where the batch cannot tell the gradient from noise, it is infinite. */
static double noise_scale(double batch_norm, double sample_norm, double rows) {
    const double ratio = batch_norm / sample_norm, square = ratio * ratio;
    const double noise = square < 1 ? 1 - square : 0, signal = rows * square - 1;
    if (rows == 1 || isnan(square)) return NAN;
    return signal > 0 ? rows * noise / signal : INFINITY;
}

/* The quantities of layer l, from what the passes have summed; blocks and rows in their order. */
static void write_record(const crew *c, size_t l, vg_record *record) {
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
    for (size_t r = 0; r < c->rows; r += c->kernels->tile_rows)
        vg_norm_add(&raw, tile_norms(c, l)[r / c->kernels->tile_rows]);
    const double next = vg_norm_root(statistics(c, l + 1)->delta);
    record->weight_gain = vg_norm_root(raw) / next;
    record->activation_gain = record->delta_norm / vg_norm_root(raw);
    record->gain = record->delta_norm / next;
}

/* Each thread writes those of its layers. */
static void write_records(const crew *c) {
    const vg_run *const run = c->run;
    const size_t n_layers = run->net->n_layers;
    for (size_t l = 1 + (size_t)c->thread; l <= n_layers; l += (size_t)c->n_threads)
        write_record(c, l, &run->records[run->n_records * n_layers + l - 1]);
}

/* ---- one step -------------------------------------------------------------------------------- */

/* Meet, and learn whether all threads' guards are well: every thread gets the same answer. A guard
 * is told before this meeting only, and there is another meeting before the next time. */
static int meet_well(crew *c) {
    const vg_run *const run = c->run;
    run->notes[vg_guard_at(run->workspace, c->thread)] = c->guard;
    c->guard = 0;
    vg_team_meet(c->n_threads);
    for (int t = 0; t < c->n_threads; t++)
        if (!isfinite(run->notes[vg_guard_at(run->workspace, t)])) return 0;
    return 1;
}

/* What an update adds to must be of moderate size too. Before the first meeting of a call, because
 * the parameters change after it; each thread looks at its share. */
static void check_parameters(crew *c) {
    const vg_run *const run = c->run;
    const size_t n = run->net->n_params, threads = (size_t)c->n_threads, t = (size_t)c->thread;
    const size_t from = n / threads * t,
                 to = c->thread + 1 < c->n_threads ? n / threads * (t + 1) : n;
    c->kernels->watch(to - from, at(c, run->params, from), &c->guard);
    if (run->velocity) c->kernels->watch(to - from, at(c, run->velocity, from), &c->guard);
    c->checked = 1;
}

/* Whether the guards' bounds hold for these rates (see guard.tmpl.h). */
static int moderate_rates(const crew *c) {
    const vg_sgd *const sgd = &c->run->sgd;
    return sgd->lr <= VG_RATE_MOST && sgd->weight_decay <= VG_RATE_MOST;
}

/* Of the whole gradient in memory, by blocks in their order: the same bits in every thread. */
static vg_norm gradient_norm(const crew *c) {
    vg_norm total = {0, 0};
    for (size_t b = 0; b < c->run->net->n_blocks + c->run->net->n_layers; b++)
        vg_norm_add(&total, summary(c, b)->gradient);
    return total;
}

/* B by way of memory, and C. A NaN or an infinity in the gradient makes its norm non-finite. */
static vg_status two_passes(crew *c, const vg_update *fused, int well) {
    const vg_run *const run = c->run;
    visit_blocks(c, 1, fused, gradient_visit);
    vg_team_meet(c->n_threads);
    const vg_norm norm = gradient_norm(c);
    if (!isfinite(norm.sum)) return VG_NON_FINITE;
    vg_team_meet(c->n_threads); /* the norms' places are about to be used again */
    if (run->mode == VG_GRADIENT) return VG_DONE;

    const double size = vg_norm_root(norm), most = run->sgd.clip_norm;
    vg_update update = update_of(&run->sgd, size > most ? most / size : 1);
    if (!well) {
        update.commit = 0;
        update.exact = 1;
        visit_blocks(c, 1, &update, apply_visit);
        if (!meet_well(c)) return VG_NON_FINITE;
        update.exact = 0;
    }
    update.commit = run->mode == VG_TRAIN;
    visit_blocks(c, 1, &update, apply_visit);
    return VG_DONE;
}

static vg_status take_step(crew *c, size_t step) {
    vg_run *const run = c->run;
    c->first_row = step * run->batch_size;
    c->rows = run->n_rows - c->first_row;
    if (c->rows > run->batch_size) c->rows = run->batch_size;
    c->inspected = run->mode == VG_INSPECT ||
                   (run->inspect_every && (run->steps_before + step) % run->inspect_every == 0);

    const vg_update update = update_of(&run->sgd, 1);
    if (!c->checked) check_parameters(c);
    rows_forward_and_back(c);
    const int well = meet_well(c) && moderate_rates(c);
    const double loss = sum_in_order(run->notes, c->rows) / (double)c->rows;
    if (!isfinite(loss)) return VG_NON_FINITE;

    if (well && run->mode == VG_TRAIN && run->sgd.clip_norm == INFINITY) {
        visit_blocks(c, 0, &update, fused_visit);
    } else {
        if (!run->gradient) return VG_WARY;
        const vg_status status = two_passes(c, &update, well);
        if (status != VG_DONE) return status;
    }

    if (c->thread == 0) {
        run->losses[step] = loss;
        run->correct[step] = sum_in_order(run->notes + run->workspace->row_correct, c->rows);
        *c->pause = c->until < INFINITY && seconds() > c->until;
    }
    vg_team_meet(c->n_threads);
    const vg_status status = *c->pause ? VG_PAUSED : VG_DONE;
    if (c->inspected) {
        write_records(c);
        vg_team_meet(c->n_threads);
        if (c->thread == 0) run->n_records++;
    }
    return status;
}

typedef struct {
    vg_run *run;
    double until;
    int pause;
} train_call;

static void train(void *context, int thread, int n_threads) {
    train_call *const call = context;
    vg_run *const run = call->run;
    crew c = {
        .run = run,
        .pause = &call->pause,
        .until = call->until,
        .kernels = vg_kernels_of(run->net->dtype),
        .thread = thread,
        .n_threads = n_threads,
        .item = vg_item_size(run->net->dtype),
    };
    size_t step = run->step;
    vg_status status = VG_DONE;
    while (step < run->n_steps && status == VG_DONE) {
        status = take_step(&c, step);
        step += status == VG_DONE || status == VG_PAUSED;
    }
    if (thread > 0) return;
    run->status = status == VG_PAUSED && step == run->n_steps ? VG_DONE : status;
    run->step = step;
}

void vg_train(vg_run *run) {
    const int most = run->n_threads;
    const int trying =
        run->mode == VG_TRAIN && !vg_team_insists() && vg_pace_pays(run->workspace, most);
    const double end = run->seconds > 0 ? seconds() + run->seconds : INFINITY;
    do {
        train_call call = {.run = run, .until = end};
        const double start = trying ? seconds() : 0;
        const int n_threads = trying ? vg_pace_threads(&run->pace, run, start) : most;
        const size_t first = run->step;
        if (trying && run->pace.until < end) call.until = run->pace.until;
        vg_team_run(train, &call, n_threads, VG_TRAINING);
        if (trying) vg_pace_tell(&run->pace, most, seconds() - start, run->step - first);
        if (call.until == end) return;
    } while (run->status == VG_PAUSED);
}
