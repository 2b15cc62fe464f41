/* predict.c - predictions: rows through all layers, with nothing stored for a way back. */
#include "plan/plan.h"
#include "run/normalization.h"
#include "team/team.h"

typedef struct {
    const vg_plan *plan;
    const void *params, *x;
    size_t n_rows;
    void *z, *scratch;
} forward_call;

/* What one thread goes through the layers with: rows of their outputs in turn in two buffers, and
 * what goes around layers in a third. */
typedef struct {
    const forward_call *call;
    const vg_kernels *kernels;
    size_t item, buffer, turn;
    char *buffers;
    vg_tools tools;
} forward_thread;

/* Where the rows of an op's output go: to the next buffer, or they are z. */
static vg_matrix next_rows(forward_thread *t, const vg_op *op, vg_matrix x, size_t from) {
    const vg_plan *const plan = t->call->plan;
    const vg_tensor *const out = &plan->tensors[op->out];
    vg_matrix y = {t->buffers + t->turn++ % 2 * t->buffer, x.rows, out->cols, out->ld};
    if (op->out == plan->n_tensors - 1) {
        y.p = (char *)t->call->z + from * out->cols * t->item;
        y.ld = out->cols;
    }
    return y;
}

/* The outputs of a dense layer of x. */
static vg_matrix dense(forward_thread *t, const vg_op *op, vg_matrix x, size_t from) {
    const vg_plan *const plan = t->call->plan;
    const char *const params = t->call->params;
    const vg_matrix y = next_rows(t, op, x, from);
    const vg_matrix weights = {
        (char *)(uintptr_t)params + plan->params[op->weights].offset * t->item, x.cols, y.cols,
        y.cols};
    const void *const biases =
        op->biases == VG_NONE ? NULL : params + plan->params[op->biases].offset * t->item;
    const vg_sparse_rows rows = {.csr = t->call->x, .first = from, .rows = x.rows};
    if (vg_is_sparse(plan, op))
        t->kernels->sparse_forward(rows, weights, biases, op->activation, y, NULL, &t->tools);
    else
        t->kernels->dense_forward(x, weights, biases, op->activation, y, NULL, &t->tools);
    return y;
}

static vg_matrix normalized_rows(forward_thread *t, const vg_op *op, vg_matrix x, size_t from) {
    const vg_matrix y = next_rows(t, op, x, from);
    const vg_row_norm norm = vg_row_norm_of(t->call->plan, op, t->call->params);
    t->kernels->normalize_rows(x, &norm, op->activation, y, NULL, NULL, &t->tools.check);
    return y;
}

/* By running statistics, whose rates lie in the scratch of products. */
static vg_matrix normalized_columns(forward_thread *t, const vg_op *op, vg_matrix x, size_t from) {
    const vg_matrix y = next_rows(t, op, x, from);
    const char *const means = (const char *)t->call->params + op->running * t->item;
    void *const rates = t->tools.scratch;
    t->kernels->rates_of(x.cols, means + x.cols * t->item, op->eps, rates);
    const vg_column_norm norm =
        vg_column_norm_of(t->call->plan, op, t->call->params, means, NULL, rates);
    t->kernels->normalize_columns(x, &norm, op->activation, y, NULL, &t->tools.check);
    return y;
}

/* What goes around layers, and x times a scale, in the third buffer. */
static vg_matrix sum(forward_thread *t, const vg_op *op, vg_matrix x) {
    const vg_plan *const plan = t->call->plan;
    const vg_tensor *const out = &plan->tensors[op->out];
    const vg_matrix y = {t->buffers + 2 * t->buffer, x.rows, out->cols, out->ld}, none = {0};
    t->kernels->add_scaled(op->skip == VG_NONE ? none : y, vg_scale_of(plan, op, t->call->params),
                           x, y, &t->tools.check);
    return y;
}

static size_t n_buffers(const vg_plan *plan) { return plan->n_additions > 0 ? 3 : 2; }

/* Thread t takes every n_threads-th piece of VG_FORWARD_ROWS rows through all layers. Of the hidden
 * activations only the last and the next are in memory. */
static void forward(void *context, int thread, int n_threads) {
    const forward_call *const call = context;
    const vg_plan *const plan = call->plan;
    const size_t item = vg_item_size(plan->dtype), n_0 = plan->tensors[0].cols;
    const size_t buffer = VG_FORWARD_ROWS * plan->widest * item;
    const size_t per_thread = n_buffers(plan) * buffer + (plan->panel + VG_TILE_SIZE) * item;
    char *const buffers = (char *)call->scratch + (size_t)thread * per_thread;
    forward_thread t = {
        .call = call,
        .kernels = vg_kernels_of(plan->dtype),
        .item = item,
        .buffer = buffer,
        .buffers = buffers,
        /* Its check is not looked at: a prediction may be infinite. */
        .tools = {.scratch = buffers + n_buffers(plan) * buffer},
    };
    const size_t stride = (size_t)n_threads * VG_FORWARD_ROWS;
    for (size_t from = (size_t)thread * VG_FORWARD_ROWS; from < call->n_rows; from += stride) {
        const size_t left = call->n_rows - from,
                     rows = left < VG_FORWARD_ROWS ? left : VG_FORWARD_ROWS;
        vg_matrix x = {NULL, rows, n_0, n_0};
        if (!plan->sparse) x.p = (char *)(uintptr_t)call->x + from * n_0 * item;
        for (size_t i = 0; i < plan->n_ops; i++) {
            const vg_op *const op = &plan->ops[i];
            switch (op->kind) { /* without a default: the compiler names an op that is not here */
                case VG_OP_INPUT:
                case VG_OP_DROPOUT: /* of training alone */
                case VG_OP_MOMENTS:
                case VG_OP_FORK:
                case VG_OP_LOSS: break;
                case VG_OP_DENSE: x = dense(&t, op, x, from); break;
                case VG_OP_LAYER_NORM:
                case VG_OP_RMS_NORM: x = normalized_rows(&t, op, x, from); break;
                case VG_OP_BATCH_NORM: x = normalized_columns(&t, op, x, from); break;
                case VG_OP_ADD: x = sum(&t, op, x); break;
            }
        }
    }
}

void vg_forward(const vg_plan *plan, const void *params, const void *x, size_t n_rows, void *z,
                void *scratch, int n_threads) {
    forward_call call = {plan, params, x, n_rows, z, scratch};
    vg_team_run(forward, &call, n_threads, VG_PREDICTING);
}
