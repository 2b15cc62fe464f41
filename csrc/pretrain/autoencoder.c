/* autoencoder.c - a denoising autoencoder of tied weights, there and back. */
#include "pretrain/thread_part.h"

void vg_autoencoder_rows(thread_part *t, size_t from, size_t rows) {
    const vg_pretrain *const run = t->run;
    const vg_pretrain_workspace *const w = run->workspace;
    const size_t first = t->first_row + from;
    const vg_matrix x = visible(t, 0, from, rows), dz = visible(t, 1, from, rows);
    const vg_matrix dh = hidden(t, 0, from, rows), h = hidden(t, 1, from, rows);
    const vg_matrix derivative = states(t, from, rows);
    const vg_matrix z = {in_memory(t, w->outputs + from * w->ldm), rows, w->m, w->ldm};
    const vg_key key = {.seed = run->seed, .step = run->steps_before + t->step, .row = from};

    vg_gather_visible(t, from, rows);
    if (run->keep < 1) t->kernels->drop(x, run->keep, key, x);
    t->kernels->dense_forward(x, weights(t), hidden_biases(t), vg_activation_of(VG_SIGMOID), h,
                              derivative.p, &t->tools);
    t->kernels->decoder_forward(h, weights(t).p, visible_biases(t), vg_activation_of(VG_IDENTITY),
                                z, &t->tools);

    const vg_targets clean = {
        .targets = at(t, run->x, run->order ? 0 : first * w->m),
        .order = run->order ? run->order + first : NULL,
        .total = (double)t->rows,
    };
    double *const right = run->notes + w->rows; /* which nobody asks for */
    t->kernels->loss(run->loss, z, clean, run->notes + from, right + from, dz.p, &t->tools.check);
    t->kernels->decoder_backward(dz, weights(t).p, vg_activation_of(VG_SIGMOID), derivative, dh,
                                 &t->tools);
}
