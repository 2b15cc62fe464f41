/* rbm.c - contrastive divergence: the chain of each row of the batch, k steps long. */
#include "pretrain/thread_part.h"

static vg_key key(const thread_part *t, size_t draw, size_t row) {
    return (vg_key){
        .seed = t->run->seed,
        .step = t->run->steps_before + t->step,
        .draw = (uint32_t)draw,
        .row = row,
    };
}

/* p = P(h | v) */
static void hidden_given(thread_part *t, vg_matrix v, vg_matrix p) {
    t->kernels->dense_forward(v, weights(t), hidden_biases(t), vg_activation_of(VG_SIGMOID), p,
                              NULL, &t->tools);
}

/* P(v | h), or v drawn from it; of Gaussian units the mean. */
static void visible_given(thread_part *t, vg_matrix h, vg_matrix v, vg_key key) {
    const int gaussian = t->run->gaussian;
    t->kernels->decoder_forward(h, weights(t).p, visible_biases(t),
                                vg_activation_of(gaussian ? VG_IDENTITY : VG_SIGMOID), v,
                                &t->tools);
    if (t->run->draws_visible) t->kernels->sample(v, key, v);
}

/* -P(h | v_0), and the penalty of units that are on too often */
static void negate_data(thread_part *t, vg_matrix p) {
    for (size_t r = 0; r < p.rows; r++) {
        void *const row = at(t, p.p, r * p.ld);
        t->kernels->subtract(p.cols, t->run->penalty, row, row);
    }
}

void vg_rbm_rows(thread_part *t, size_t from, size_t rows) {
    const vg_pretrain *const run = t->run;
    const vg_matrix data = visible(t, 0, from, rows), reached = visible(t, 1, from, rows);
    const vg_matrix of_data = hidden(t, 0, from, rows), of_reached = hidden(t, 1, from, rows);
    const vg_matrix h = states(t, from, rows);
    vg_gather_visible(t, from, rows);
    hidden_given(t, data, of_data);
    if (!run->chains) t->kernels->sample(of_data, key(t, 0, from), h);
    negate_data(t, of_data);
    for (size_t i = 0; i < run->k; i++) {
        visible_given(t, h, reached, key(t, 2 * i + 1, from));
        hidden_given(t, reached, of_reached);
        if (run->chains || i + 1 < run->k)
            t->kernels->sample(of_reached, key(t, 2 * i + 2, from), h);
    }
}
