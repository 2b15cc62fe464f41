/* ops.c - the ops of a step on some rows of the batch: each forward beside its way back. */
#include <string.h>

#include "run/thread_context.h"

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

static void input_forward(thread_context *c, const vg_op *op, size_t from, size_t rows) {
    const vg_tensor *const out = tensor_of(c, op->out);
    c->kernels->gather(rows, out->cols, at(c, c->run->x, first_sample(c, from) * out->cols),
                       order_of(c, from), value(c, op->out, from), out->ld, &c->tools.check);
    lap(c, op->layer, VG_GATHER);
}

static void dense_forward(thread_context *c, const vg_op *op, size_t from, size_t rows) {
    const vg_run *const run = c->run;
    c->kernels->dense_forward(
        values(c, op->in, from, rows), at(c, run->params, run->plan->params[op->weights].offset),
        at(c, run->params, run->plan->params[op->biases].offset), op->activation,
        values(c, op->out, from, rows), stored_derivative(c, op->out, from), &c->tools);
    lap_of_product(c, op->layer, VG_FORWARD, op->layer);
}

static void dense_backward(thread_context *c, const vg_op *op, size_t from, size_t rows) {
    const vg_run *const run = c->run;
    const vg_op *const before = &run->plan->ops[tensor_of(c, op->in)->op];
    if (before->kind == VG_OP_INPUT) return; /* nobody asks for its gradient */
    c->kernels->dense_backward(gradients(c, op->out, from, rows),
                               at(c, run->params, run->plan->params[op->weights].offset),
                               before->activation, derivative_sources(c, op->in, from, rows),
                               gradients(c, op->in, from, rows), &c->tools,
                               c->inspected ? row_norms(c, before->layer) + from : NULL);
    lap_of_product(c, op->layer, VG_BACKWARD, before->layer);
}

/* The gradient of the outputs from outside, where there is no loss. */
static void take_given_gradient(thread_context *c, const vg_op *op, size_t from, size_t rows) {
    const vg_run *const run = c->run;
    const vg_tensor *const out = tensor_of(c, op->in);
    c->kernels->gather(rows, out->cols, at(c, run->dz, first_sample(c, from) * out->cols),
                       order_of(c, from), gradient(c, op->in, from), out->ld, &c->tools.check);
    memset(run->notes + from, 0, rows * sizeof(double));
    memset(run->notes + run->workspace->row_correct + from, 0, rows * sizeof(double));
}

/* The rows' losses, and their gradient: the way back begins here. */
static void loss_forward(thread_context *c, const vg_op *op, size_t from, size_t rows) {
    const vg_run *const run = c->run;
    const size_t skip = first_sample(c, from);
    if (run->dz) {
        take_given_gradient(c, op, from, rows);
    } else {
        const vg_targets targets = {
            .labels = run->labels ? run->labels + skip : NULL,
            .targets = at(c, run->targets, skip * tensor_of(c, op->in)->cols),
            .order = order_of(c, from),
            .batch = (double)c->batch,
        };
        c->kernels->loss(run->plan->loss, values(c, op->in, from, rows), targets, run->notes + from,
                         run->notes + run->workspace->row_correct + from, gradient(c, op->in, from),
                         &c->tools.check);
    }
    lap(c, op->layer, VG_LOSS);
}

/* By kind; NULL: there is nothing to do. */
static op_on_rows *const FORWARD[] = {
    [VG_OP_INPUT] = input_forward, [VG_OP_DENSE] = dense_forward, [VG_OP_LOSS] = loss_forward};
static op_on_rows *const BACKWARD[] = {
    [VG_OP_INPUT] = NULL, [VG_OP_DENSE] = dense_backward, [VG_OP_LOSS] = NULL};

void vg_stage_forward(thread_context *c, const vg_stage *stage, size_t from, size_t rows) {
    const vg_op *const ops = c->run->plan->ops;
    for (size_t i = stage->first; i < stage->last; i++)
        FORWARD[ops[i].kind](c, &ops[i], from, rows);
}

void vg_stage_backward(thread_context *c, const vg_stage *stage, size_t from, size_t rows) {
    const vg_op *const ops = c->run->plan->ops;
    for (size_t i = stage->last; i > stage->first; i--) {
        op_on_rows *const back = BACKWARD[ops[i - 1].kind];
        if (back) back(c, &ops[i - 1], from, rows);
    }
}
