/* propagate.c - rows through a layer of tied weights, up or down, with nothing stored. */
#include "kernels.h"
#include "plan/plan.h"
#include "pretrain/pretrain.h"
#include "team/team.h"

/* Rows that a thread takes at a time: their outputs stay in the cache while W is read. */
enum { ROWS = 64 };

/* Elements of scratch of a thread: a tile, and a panel of W or its transpose. */
static size_t scratch_each(const vg_propagation *p, int *fits) {
    const size_t deepest = p->m > p->n ? p->m : p->n;
    return vg_add_product(VG_TILE_SIZE, deepest > ROWS ? deepest : ROWS, VG_TILE_COLS, fits);
}

size_t vg_propagation_scratch(const vg_propagation *p, int n_threads) {
    int fits = 1;
    const size_t all = vg_add_product(0, scratch_each(p, &fits), (size_t)n_threads, &fits);
    return fits ? all : 0;
}

static void propagate(void *context, int thread, int n_threads) {
    const vg_propagation *const p = context;
    const vg_kernels *const kernels = vg_kernels_of(p->dtype);
    const size_t item = vg_item_size(p->dtype), from_cols = p->down ? p->n : p->m,
                 to_cols = p->down ? p->m : p->n;
    /* Its check is not looked at: what comes of it is for the caller to judge. */
    int fits;
    vg_tools tools = {.scratch =
                          (char *)p->scratch + (size_t)thread * scratch_each(p, &fits) * item};
    const size_t stride = (size_t)n_threads * ROWS;
    for (size_t from = (size_t)thread * ROWS; from < p->rows; from += stride) {
        const size_t rows = p->rows - from < ROWS ? p->rows - from : ROWS;
        const vg_matrix x = {(char *)(uintptr_t)p->x + from * from_cols * item, rows, from_cols,
                             from_cols};
        const vg_matrix y = {(char *)p->y + from * to_cols * item, rows, to_cols, to_cols};
        const vg_matrix weights = {(void *)(uintptr_t)p->weights, p->m, p->n, p->n};
        if (p->down)
            kernels->decoder_forward(x, p->weights, p->biases, p->activation, y, &tools);
        else
            kernels->dense_forward(x, weights, p->biases, p->activation, y, NULL, &tools);
    }
}

void vg_propagate(const vg_propagation *p, int n_threads) {
    vg_team_run(propagate, (void *)(uintptr_t)p, n_threads, VG_PREDICTING);
}
