/* thread_context.h - what one thread knows during a run of steps, and where in memory things of
 * layer l are: shared by step.c, which takes the steps, and records.c, which records them. */
#ifndef VG_THREAD_CONTEXT_H
#define VG_THREAD_CONTEXT_H

#include "kernels.h"

/* What one thread knows while the team runs. */
typedef struct {
    vg_run *run;
    int *pause;   /* written by thread 0 before the last barrier of a step, read by all after it */
    double until; /* seconds */
    const vg_kernels *kernels;
    int thread, n_threads;
    size_t item;            /* bytes of an element */
    size_t first_row, rows; /* this step's batch, in the order of the epoch */
    int inspected, checked;
    vg_tools tools;
    double *times;    /* of this thread, (L + 1, VG_PHASES), or NULL */
    double epilogues; /* ticks in the epilogues of the product in work */
    uint64_t since;
} thread_context;

static inline void *at(const thread_context *c, const void *base, size_t offset) {
    return base ? (char *)(uintptr_t)base + offset * c->item : NULL;
}

/* a[l], with l = 0 the gathered input; delta_l */
static inline void *output(const thread_context *c, size_t l, size_t row) {
    const vg_net *const net = c->run->net;
    const size_t column = l ? net->layers[l - 1].column : 0;
    const size_t ld = l ? net->layers[l - 1].ld : net->input_ld;
    return at(c, c->run->memory, column * c->run->workspace->rows + row * ld);
}
static inline void *delta(const thread_context *c, size_t l, size_t row) {
    const vg_layer *const layer = &c->run->net->layers[l - 1];
    const size_t column = layer->column - c->run->net->input_ld;
    return at(c, c->run->memory,
              c->run->workspace->deltas + column * c->run->workspace->rows + row * layer->ld);
}
/* phi' of layer l, with the ld of its outputs; NULL if it is recomputed from these */
static inline void *stored_derivative(const thread_context *c, size_t l, size_t row) {
    const vg_layer *const layer = &c->run->net->layers[l - 1];
    const vg_workspace *const w = c->run->workspace;
    if (!vg_stores_derivative(layer->activation)) return NULL;
    return at(c, c->run->memory, w->derivatives + layer->derivatives * w->rows + row * layer->ld);
}
static inline void *derivative_source(const thread_context *c, size_t l, size_t row) {
    void *const derivatives = stored_derivative(c, l, row);
    return derivatives ? derivatives : output(c, l, row);
}
static inline size_t ld_of(const thread_context *c, size_t l) {
    return l ? c->run->net->layers[l - 1].ld : c->run->net->input_ld;
}
/* The same as matrices of so many rows, from `row` on. */
static inline size_t width_of(const thread_context *c, size_t l) {
    return l ? c->run->net->layers[l - 1].n_out : c->run->net->layers[0].n_in;
}
static inline vg_matrix outputs(const thread_context *c, size_t l, size_t row, size_t rows) {
    return (vg_matrix){output(c, l, row), rows, width_of(c, l), ld_of(c, l)};
}
static inline vg_matrix deltas(const thread_context *c, size_t l, size_t row, size_t rows) {
    return (vg_matrix){delta(c, l, row), rows, width_of(c, l), ld_of(c, l)};
}
static inline vg_matrix derivative_sources(const thread_context *c, size_t l, size_t row,
                                           size_t rows) {
    return (vg_matrix){derivative_source(c, l, row), rows, width_of(c, l), ld_of(c, l)};
}
/* Of delta_{l+1} W_{l+1}^T. */
static inline vg_norm *row_norms(const thread_context *c, size_t l) {
    const vg_workspace *const w = c->run->workspace;
    return (vg_norm *)(void *)(c->run->notes + w->row_norms) + (l - 1) * w->rows;
}
/* Of block b of the weights; after the blocks, of the biases of each layer. */
static inline vg_summary *summary(const thread_context *c, size_t b) {
    return (vg_summary *)(void *)(c->run->notes + c->run->workspace->summaries) + b;
}
static inline vg_statistics *statistics(const thread_context *c, size_t l) {
    return (vg_statistics *)(void *)(c->run->notes + c->run->workspace->statistics) + (l - 1);
}

/* Where this thread counts the exponents of a layer's gradient, and how many tables' bins that is;
 * wanted_exponents: NULL unless they are asked for on this step. */
static inline uint32_t *exponent_tables(const thread_context *c, size_t *n) {
    *n = VG_EXPONENT_TABLES * vg_exponent_bins(c->run->net->dtype);
    return (uint32_t *)(void *)(c->run->notes + c->run->workspace->tallies) +
           (size_t)c->thread * *n;
}
static inline uint32_t *wanted_exponents(const thread_context *c) {
    size_t n;
    return c->inspected && c->run->exponents ? exponent_tables(c, &n) : NULL;
}

/* records.c. Add what this thread has counted, of layer l, to the step's histogram; forget it. */
void vg_record_exponents(const thread_context *c, size_t l);

/* records.c. What is recorded of layer l beside its weights; with its db. */
void vg_record_layer(const thread_context *c, size_t l, const void *bias_gradient);

/* records.c. The record of the step: each thread writes those of its layers, after a barrier. */
void vg_write_records(const thread_context *c);

/* step.c. Take this thread's part in step number `step` of the epoch. */
vg_status vg_take_step(thread_context *c, size_t step);

#endif
