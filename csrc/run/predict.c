/* predict.c - predictions: rows through all layers, with nothing stored for a way back. */
#include "kernels.h"
#include "team/team.h"

typedef struct {
    const vg_net *net;
    const void *params, *x;
    size_t n_rows;
    void *z, *scratch;
} forward_call;

/* Thread t takes every n_threads-th piece of VG_FORWARD_ROWS rows through all layers. Of the hidden
 * activations only the last and the next are in memory. */
static void forward(void *context, int thread, int n_threads) {
    const forward_call *const call = context;
    const vg_net *const net = call->net;
    const vg_kernels *const kernels = vg_kernels_of(net->dtype);
    const size_t item = vg_item_size(net->dtype), n_layers = net->n_layers;
    const size_t buffer = VG_FORWARD_ROWS * net->widest * item;
    const size_t per_thread = 2 * buffer + (net->panel + VG_TILE_SIZE) * item;
    char *const buffers = (char *)call->scratch + (size_t)thread * per_thread;
    /* Its check is not looked at: a prediction may be infinite. */
    vg_tools tools = {.scratch = buffers + 2 * buffer};

    const size_t stride = (size_t)n_threads * VG_FORWARD_ROWS;
    for (size_t from = (size_t)thread * VG_FORWARD_ROWS; from < call->n_rows; from += stride) {
        const size_t left = call->n_rows - from,
                     rows = left < VG_FORWARD_ROWS ? left : VG_FORWARD_ROWS;
        const char *const params = call->params;
        vg_matrix x = {(char *)(uintptr_t)call->x + from * net->layers[0].n_in * item, rows,
                       net->layers[0].n_in, net->layers[0].n_in};
        for (size_t l = 1; l <= n_layers; l++) {
            const vg_layer *const layer = &net->layers[l - 1];
            vg_matrix y = {buffers + (l % 2) * buffer, rows, layer->n_out, layer->ld};
            if (l == n_layers) {
                y.p = (char *)call->z + from * layer->n_out * item;
                y.ld = layer->n_out;
            }
            kernels->dense_forward(x, params + layer->weights * item, params + layer->biases * item,
                                   layer->activation, y, NULL, &tools);
            x = y;
        }
    }
}

void vg_forward(const vg_net *net, const void *params, const void *x, size_t n_rows, void *z,
                void *scratch, int n_threads) {
    forward_call call = {net, params, x, n_rows, z, scratch};
    vg_team_run(forward, &call, n_threads, VG_PREDICTING);
}
