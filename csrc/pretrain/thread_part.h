/* thread_part.h - what one thread knows in a step of pre-training. */
#ifndef VG_THREAD_PART_H
#define VG_THREAD_PART_H

#include "kernels.h"
#include "pretrain/pretrain.h"

typedef struct {
    const vg_pretrain *run;
    const vg_kernels *kernels;
    int thread, n_threads;
    size_t item; /* bytes of an element */
    size_t step, first_row, rows;
    vg_tools tools;
} thread_part;

static inline void *at(const thread_part *t, const void *base, size_t offset) {
    return base ? (char *)(uintptr_t)base + offset * t->item : NULL;
}
static inline void *in_memory(const thread_part *t, size_t offset) {
    return at(t, t->run->memory, offset);
}
static inline vg_matrix weights(const thread_part *t) {
    const vg_pretrain_workspace *const w = t->run->workspace;
    return (vg_matrix){t->run->params, w->m, w->n, w->n};
}
static inline void *hidden_biases(const thread_part *t) {
    const vg_pretrain_workspace *const w = t->run->workspace;
    return at(t, t->run->params, w->m * w->n);
}
static inline void *visible_biases(const thread_part *t) {
    return at(t, hidden_biases(t), t->run->workspace->n);
}

/* Rows of A and D: of half 0 from a row of the batch on, or of half 1. */
static inline vg_matrix visible(const thread_part *t, int half, size_t from, size_t rows) {
    const vg_pretrain_workspace *const w = t->run->workspace;
    const size_t row = (half ? t->rows : 0) + from;
    return (vg_matrix){in_memory(t, w->visible + row * w->ldm), rows, w->m, w->ldm};
}
static inline vg_matrix hidden(const thread_part *t, int half, size_t from, size_t rows) {
    const vg_pretrain_workspace *const w = t->run->workspace;
    const size_t row = (half ? t->rows : 0) + from;
    return (vg_matrix){in_memory(t, w->hidden + row * w->ldn), rows, w->n, w->ldn};
}
/* The samples of h, which may persist; of an autoencoder, h (1 - h). */
static inline vg_matrix states(const thread_part *t, size_t from, size_t rows) {
    const vg_pretrain_workspace *const w = t->run->workspace;
    void *const all = t->run->chains ? t->run->chains : in_memory(t, w->states);
    return (vg_matrix){at(t, all, from * w->ldn), rows, w->n, w->ldn};
}

/* Rows [from, from + rows) of the batch, as A = x. */
void vg_gather_visible(thread_part *t, size_t from, size_t rows);

/* rbm.c, autoencoder.c. A and D of rows [from, from + rows) of the batch. */
void vg_rbm_rows(thread_part *t, size_t from, size_t rows);
void vg_autoencoder_rows(thread_part *t, size_t from, size_t rows);

#endif
