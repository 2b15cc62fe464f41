/* predict.c - predictions: rows through all layers, with nothing stored for a way back. */
#include "kernels.h"
#include "team/team.h"

typedef struct {
    const vg_plan *plan;
    const void *params, *x;
    size_t n_rows;
    void *z, *scratch;
} forward_call;

/* Thread t takes every n_threads-th piece of VG_FORWARD_ROWS rows through all layers. Of the hidden
 * activations only the last and the next are in memory. */
static void forward(void *context, int thread, int n_threads) {
    const forward_call *const call = context;
    const vg_plan *const plan = call->plan;
    const vg_kernels *const kernels = vg_kernels_of(plan->dtype);
    const size_t item = vg_item_size(plan->dtype), n_0 = plan->tensors[0].cols;
    const size_t buffer = VG_FORWARD_ROWS * plan->widest * item;
    const size_t per_thread = 2 * buffer + (plan->panel + VG_TILE_SIZE) * item;
    char *const buffers = (char *)call->scratch + (size_t)thread * per_thread;
    /* Its check is not looked at: a prediction may be infinite. */
    vg_tools tools = {.scratch = buffers + 2 * buffer};

    const size_t stride = (size_t)n_threads * VG_FORWARD_ROWS;
    for (size_t from = (size_t)thread * VG_FORWARD_ROWS; from < call->n_rows; from += stride) {
        const size_t left = call->n_rows - from,
                     rows = left < VG_FORWARD_ROWS ? left : VG_FORWARD_ROWS;
        char *const params = (char *)(uintptr_t)call->params;
        vg_matrix x = {(char *)(uintptr_t)call->x + from * n_0 * item, rows, n_0, n_0};
        for (size_t i = 0; i < plan->n_ops; i++) {
            const vg_op *const op = &plan->ops[i];
            switch (op->kind) { /* without a default: the compiler names an op that is not here */
                case VG_OP_INPUT:
                case VG_OP_DROPOUT: /* of training alone */
                case VG_OP_LOSS: continue;
                case VG_OP_DENSE: break;
            }
            const vg_tensor *const out = &plan->tensors[op->out];
            vg_matrix y = {buffers + (op->layer % 2) * buffer, rows, out->cols, out->ld};
            if (op->out == plan->n_tensors - 1) {
                y.p = (char *)call->z + from * out->cols * item;
                y.ld = out->cols;
            }
            const vg_matrix weights = {params + plan->params[op->weights].offset * item, x.cols,
                                       y.cols, y.cols};
            kernels->dense_forward(x, weights, params + plan->params[op->biases].offset * item,
                                   op->activation, y, NULL, &tools);
            x = y;
        }
    }
}

void vg_forward(const vg_plan *plan, const void *params, const void *x, size_t n_rows, void *z,
                void *scratch, int n_threads) {
    forward_call call = {plan, params, x, n_rows, z, scratch};
    vg_team_run(forward, &call, n_threads, VG_PREDICTING);
}
