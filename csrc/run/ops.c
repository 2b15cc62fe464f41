/* ops.c - the ops of a step on some rows of the batch: each forward beside its way back. */
#include <string.h>

#include "run/normalization.h"

/* What is done by one op with rows [from, from + rows) of the batch. */
typedef void op_on_rows(thread_context *c, const vg_op *op, size_t from, size_t rows);

/* Where the rows of a matrix of samples begin: with an order at the first sample, which the order
 * then chooses from. */
static size_t first_sample(const thread_context *c, size_t from) {
    return c->run->order ? 0 : c->first_row + from;
}
static const int64_t *order_of(const thread_context *c, size_t from) {
    return c->run->order ? c->run->order + c->first_row + from : NULL;
}

vg_sparse_rows vg_sparse_input(const thread_context *c, size_t from, size_t rows) {
    return (vg_sparse_rows){c->run->x, order_of(c, from), first_sample(c, from), rows};
}

/* Sparse rows are read where they are: only their check is made here. */
static void check_sparse(thread_context *c, size_t from, size_t rows) {
    const vg_sparse_rows x = vg_sparse_input(c, from, rows);
    for (size_t r = 0; r < rows; r++) {
        size_t first, last;
        vg_entries_of_row(&x, r, &first, &last);
        c->kernels->check_finite(last - first, at(c, x.csr->values, first), &c->tools.check);
    }
}

static void input_forward(thread_context *c, const vg_op *op, size_t from, size_t rows) {
    const vg_tensor *const out = tensor_of(c, op->out);
    if (c->run->plan->sparse)
        check_sparse(c, from, rows);
    else
        c->kernels->gather(rows, out->cols, at(c, c->run->x, first_sample(c, from) * out->cols),
                           order_of(c, from), value(c, op->out, from), out->ld, &c->tools.check);
    lap(c, op->layer, VG_GATHER);
}

/* The columns [*first, *first + n) of so many that this thread makes of its rows: all, unless it
 * shares its rows with others (see vg_share_columns). Returns n. */
static size_t own_columns(const thread_context *c, size_t cols, size_t *first) {
    size_t last;
    vg_share_columns(cols, c->column, c->n_columns, first, &last);
    return last - *first;
}

static vg_matrix columns_of(const thread_context *c, vg_matrix m, size_t first, size_t n) {
    return (vg_matrix){at(c, m.p, first), m.rows, n, m.ld};
}

static void dense_forward(thread_context *c, const vg_op *op, size_t from, size_t rows) {
    const vg_run *const run = c->run;
    size_t first;
    const size_t n = own_columns(c, tensor_of(c, op->out)->cols, &first);
    if (n == 0) return;
    const vg_matrix W = columns_of(c, weights(c, op), first, n),
                    y = columns_of(c, values(c, op->out, from, rows), first, n);
    const void *const biases =
        op->biases == VG_NONE ? NULL
                              : at(c, run->params, run->plan->params[op->biases].offset + first);
    void *const derivatives = at(c, stored_derivative(c, op->out, from), first);
    if (vg_is_sparse(run->plan, op))
        c->kernels->sparse_forward(vg_sparse_input(c, from, rows), W, biases, op->activation, y,
                                   derivatives, &c->tools);
    else
        c->kernels->dense_forward(values(c, op->in, from, rows), W, biases, op->activation, y,
                                  derivatives, &c->tools);
    lap_of_product(c, op->layer, VG_FORWARD, op->layer);
}

static void dense_backward(thread_context *c, const vg_op *op, size_t from, size_t rows) {
    const vg_op *const before = maker_of(c, op->in);
    size_t first;
    const size_t n = own_columns(c, tensor_of(c, op->in)->cols, &first);
    if (n == 0) return;
    vg_matrix W = weights(c, op); /* columns of the gradient are rows of W */
    W.p = at(c, W.p, first * W.ld);
    W.rows = n;
    c->kernels->dense_backward(gradients(c, op->out, from, rows), W, slope_of(before),
                               columns_of(c, derivative_sources(c, op->in, from, rows), first, n),
                               columns_of(c, gradients(c, op->in, from, rows), first, n), &c->tools,
                               c->inspected ? row_norms(c, before->layer) + from : NULL);
    lap_of_product(c, op->layer, VG_BACKWARD, before->layer);
}

/* The draws are those of a layer and of rows of the batch: whoever makes them, in whatever part. */
static void dropout_forward(thread_context *c, const vg_op *op, size_t from, size_t rows) {
    const vg_key key = {
        .seed = c->run->draws[0],
        .step = c->draw,
        .draw = (uint32_t)op->layer,
        .row = c->first_row - c->start + from,
    };
    const vg_dropout dropout = vg_dropout_of(op->keep, op->alpha_dropout);
    c->kernels->dropout(op->activation, values(c, op->out, from, rows),
                        stored_derivative(c, op->out, from), &dropout, key, &c->tools.check);
    lap(c, op->layer, VG_ACTIVATION);
}

/* What an addition multiplies what it adds by. */
static double scale_of(const thread_context *c, const vg_op *op) {
    return vg_scale_of(c->run->plan, op, c->run->params);
}

static void add_forward(thread_context *c, const vg_op *op, size_t from, size_t rows) {
    const vg_matrix none = {0};
    c->kernels->add_scaled(op->skip == VG_NONE ? none : values(c, op->skip, from, rows),
                           scale_of(c, op), values(c, op->in, from, rows),
                           values(c, op->out, from, rows), &c->tools.check);
    lap(c, op->layer, VG_ACTIVATION);
}

static void add_backward(thread_context *c, const vg_op *op, size_t from, size_t rows) {
    c->kernels->chain(gradients(c, op->out, from, rows), scale_of(c, op),
                      slope_of(maker_of(c, op->in)), derivative_sources(c, op->in, from, rows), 0,
                      gradients(c, op->in, from, rows), &c->tools.check);
    lap(c, op->layer, VG_ACTIVATION);
}

/* The gradient by the way through the layers is there; to it comes that of the way around. */
static void fork_backward(thread_context *c, const vg_op *op, size_t from, size_t rows) {
    const vg_op *const addition = &c->run->plan->ops[op->adds];
    c->kernels->chain(gradients(c, addition->out, from, rows), 1, slope_of(maker_of(c, op->in)),
                      derivative_sources(c, op->in, from, rows), 1,
                      gradients(c, op->in, from, rows), &c->tools.check);
    lap(c, op->layer, VG_ACTIVATION);
}

static void clear_losses(thread_context *c, size_t from, size_t rows) {
    memset(row_losses(c) + from, 0, rows * sizeof(double));
    memset(row_correct(c) + from, 0, rows * sizeof(double));
}

/* The gradient of the outputs from outside, where there is no loss. */
static void take_given_gradient(thread_context *c, const vg_op *op, size_t from, size_t rows) {
    const vg_run *const run = c->run;
    const vg_tensor *const out = tensor_of(c, op->in);
    c->kernels->gather(rows, out->cols, at(c, run->dz, first_sample(c, from) * out->cols),
                       order_of(c, from), gradient(c, op->in, from), out->ld, &c->tools.check);
    clear_losses(c, from, rows);
}

/* With weights, the sums over the rows are of weight x loss, and of the weight predicted
 * rightly. */
static void weigh_rows(thread_context *c, vg_targets targets, size_t from, size_t rows) {
    if (!targets.weights) return;
    for (size_t r = 0; r < rows; r++) {
        const double weight = targets.weights[targets.order ? (size_t)targets.order[r] : r];
        row_losses(c)[from + r] *= weight;
        row_correct(c)[from + r] *= weight;
    }
}

/* The rows' losses, and their gradient: the way back begins here. */
static void loss_forward(thread_context *c, const vg_op *op, size_t from, size_t rows) {
    const vg_run *const run = c->run;
    const size_t skip = first_sample(c, from);
    if (run->mode == VG_OUTPUTS) {
        clear_losses(c, from, rows);
    } else if (run->dz) {
        take_given_gradient(c, op, from, rows);
    } else {
        const vg_targets targets = {
            .labels = run->labels ? run->labels + skip : NULL,
            .targets = at(c, run->targets, skip * tensor_of(c, op->in)->cols),
            .weights = run->weights ? run->weights + skip : NULL,
            .order = order_of(c, from),
            .total = c->total,
        };
        c->kernels->loss(run->plan->loss, values(c, op->in, from, rows), targets,
                         row_losses(c) + from, row_correct(c) + from, gradient(c, op->in, from),
                         &c->tools.check);
        weigh_rows(c, targets, from, rows);
    }
    lap(c, op->layer, VG_LOSS);
}

/* By kind; NULL: there is nothing to do. */
static op_on_rows *const FORWARD[] = {
    [VG_OP_INPUT] = input_forward,
    [VG_OP_DENSE] = dense_forward,
    [VG_OP_LAYER_NORM] = vg_normalize_rows,
    [VG_OP_RMS_NORM] = vg_normalize_rows,
    [VG_OP_MOMENTS] = vg_take_moments,
    [VG_OP_BATCH_NORM] = vg_normalize_columns,
    [VG_OP_DROPOUT] = dropout_forward,
    [VG_OP_ADD] = add_forward,
    [VG_OP_FORK] = NULL,
    [VG_OP_LOSS] = loss_forward,
};
static op_on_rows *const BACKWARD[] = {
    [VG_OP_INPUT] = NULL,
    [VG_OP_DENSE] = dense_backward,
    [VG_OP_LAYER_NORM] = vg_normalize_rows_back,
    [VG_OP_RMS_NORM] = vg_normalize_rows_back,
    [VG_OP_MOMENTS] = vg_normalize_columns_back,
    [VG_OP_BATCH_NORM] = vg_take_products,
    [VG_OP_DROPOUT] = NULL,
    [VG_OP_ADD] = add_backward,
    [VG_OP_FORK] = fork_backward,
    [VG_OP_LOSS] = NULL,
};

int vg_goes_forward(const vg_op *op) { return FORWARD[op->kind] != NULL; }
int vg_goes_back(const vg_plan *plan, const vg_op *op) {
    return BACKWARD[op->kind] && !(op->kind == VG_OP_DENSE && vg_is_first(plan, op));
}

void vg_op_forward(thread_context *c, const vg_op *op, size_t from, size_t rows) {
    if (vg_goes_forward(op)) FORWARD[op->kind](c, op, from, rows);
}

void vg_op_backward(thread_context *c, const vg_op *op, size_t from, size_t rows) {
    if (vg_goes_back(c->run->plan, op)) BACKWARD[op->kind](c, op, from, rows);
}

void vg_stage_forward(thread_context *c, const vg_stage *stage, size_t from, size_t rows) {
    const vg_op *const ops = c->run->plan->ops;
    for (size_t i = stage->first; i < stage->last; i++) vg_op_forward(c, &ops[i], from, rows);
}

void vg_stage_backward(thread_context *c, const vg_stage *stage, size_t from, size_t rows) {
    const vg_op *const ops = c->run->plan->ops;
    for (size_t i = stage->last; i > stage->first; i--) vg_op_backward(c, &ops[i - 1], from, rows);
}
