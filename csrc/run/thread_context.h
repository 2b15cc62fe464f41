/* thread_context.h - what one thread knows during a run of steps, where in memory its tensors are,
 * and what the files of run/ give each other. */
#ifndef VG_THREAD_CONTEXT_H
#define VG_THREAD_CONTEXT_H

#include "kernels.h"
#include "plan/plan.h"
#include "run/rules.h"

/* What one thread knows while the team runs. */
typedef struct {
    vg_run *run;
    int *pause;   /* written by thread 0 before the last barrier of a step, read by all after it */
    double until; /* seconds */
    size_t look_every, unwatched; /* steps: between two looks at the clock, and since the last */
    const vg_kernels *kernels;
    int thread, n_threads;
    int columns_chosen;     /* threads that share rows where that is possible; and at present: */
    int column, n_columns;  /* of so many threads that share its rows, it is this one */
    size_t item;            /* bytes of an element */
    size_t batch, start;    /* rows of this step's batch, and where in the epoch it begins; or,
                             * where the batch has other rows too, would */
    uint64_t draw;          /* number of this step's random draws */
    double total;           /* weight of its rows, each 1 without weights; of 0 in all, 1 */
    vg_moment moment;       /* of the optimizer */
    size_t chunk_rows;      /* of a chunk of it, or 0: see vg_chunk_rows */
    size_t first_row, rows; /* its part in work, in the order of the epoch */
    size_t place;           /* row of the workspace where that begins */
    void *sums;             /* of the gradient, (n_params,): the run's, or a chunk's */
    int begun;              /* whether they have been begun by parts before */
    int sorted;             /* whether this thread's entries of the part are sorted already, of */
    size_t sorted_first, sorted_last, n_sorted; /* these rows of the weights, so many */
    size_t share_first, share_last; /* rows of the parameter in work that are this thread's */
    int inspected, checked, exchanged;
    int given_well; /* whether all checks were finite when the gradient was given away */
    int unmeasured; /* whether nobody asks for the norm of the gradient that is in work */
    vg_tools tools;
    double *times;    /* of this thread, (L + 1, VG_PHASES), or NULL */
    double epilogues; /* ticks in the epilogues of the product in work */
    uint64_t since;
} thread_context;

static inline void *at(const thread_context *c, const void *base, size_t offset) {
    return base ? (char *)(uintptr_t)base + offset * c->item : NULL;
}

static inline const vg_tensor *tensor_of(const thread_context *c, size_t t) {
    return &c->run->plan->tensors[t];
}

/* Where in the workspace a row of the part in work is. */
static inline size_t place(const thread_context *c, size_t row) { return c->place + row; }

/* Of tensor t, from a row of the part in work on: the value, dloss/dz, the op that makes it,
 * and phi', which is NULL if it is recomputed from the value; the source of phi' is where it
 * is stored, or the value. */
static inline void *value(const thread_context *c, size_t t, size_t row) {
    const vg_tensor *const tensor = tensor_of(c, t);
    return at(c, c->run->memory,
              tensor->value * c->run->workspace->rows + place(c, row) * tensor->ld);
}
static inline void *gradient(const thread_context *c, size_t t, size_t row) {
    const vg_tensor *const tensor = tensor_of(c, t);
    const vg_workspace *const w = c->run->workspace;
    return at(c, c->run->memory,
              w->gradients + tensor->grad * w->rows + place(c, row) * tensor->ld);
}
static inline const vg_op *maker_of(const thread_context *c, size_t t) {
    return &c->run->plan->ops[tensor_of(c, t)->op];
}
static inline vg_slope slope_of(const vg_op *op) {
    return op->stores ? (vg_slope){.form = VG_STORED} : vg_slope_of(op->activation);
}
static inline void *stored_derivative(const thread_context *c, size_t t, size_t row) {
    const vg_tensor *const tensor = tensor_of(c, t);
    const vg_workspace *const w = c->run->workspace;
    if (!maker_of(c, t)->stores) return NULL;
    return at(c, c->run->memory,
              w->derivatives + tensor->derivative * w->rows + place(c, row) * tensor->ld);
}
/* W of a dense layer. */
static inline vg_matrix weights(const thread_context *c, const vg_op *op) {
    const vg_param *const p = &c->run->plan->params[op->weights];
    return (vg_matrix){at(c, c->run->params, p->offset), p->rows, p->cols, p->cols};
}
/* The same as matrices of so many rows. */
static inline vg_matrix values(const thread_context *c, size_t t, size_t row, size_t rows) {
    return (vg_matrix){value(c, t, row), rows, tensor_of(c, t)->cols, tensor_of(c, t)->ld};
}
static inline vg_matrix gradients(const thread_context *c, size_t t, size_t row, size_t rows) {
    return (vg_matrix){gradient(c, t, row), rows, tensor_of(c, t)->cols, tensor_of(c, t)->ld};
}
static inline vg_matrix derivative_sources(const thread_context *c, size_t t, size_t row,
                                           size_t rows) {
    void *const stored = stored_derivative(c, t, row);
    return (vg_matrix){stored ? stored : value(c, t, row), rows, tensor_of(c, t)->cols,
                       tensor_of(c, t)->ld};
}

/* The losses of the rows of the part in work, and whether they were predicted rightly. */
static inline double *row_losses(const thread_context *c) { return c->run->notes + c->place; }
static inline double *row_correct(const thread_context *c) {
    return c->run->notes + c->run->workspace->row_correct + c->place;
}
static inline size_t n_chunks(const thread_context *c) {
    return (c->batch + c->chunk_rows - 1) / c->chunk_rows;
}
/* The same of a chunk, one after the other, summed. */
static inline double *chunk_losses(const thread_context *c, size_t chunk) {
    return c->run->notes + c->run->workspace->chunk_losses + 2 * chunk;
}
/* The gradient of a chunk, as a vector like the parameters. */
static inline size_t chunk_stride(const thread_context *c) {
    const vg_workspace *const w = c->run->workspace;
    return (w->batch_norms - w->chunk_sums) / w->n_chunks;
}
static inline void *chunk_sums(const thread_context *c, size_t chunk) {
    return at(c, c->run->memory, c->run->workspace->chunk_sums + chunk * chunk_stride(c));
}

/* Of a parameter, an element of any vector that is like the parameter vector. */
static inline void *part_of(const thread_context *c, void *vector, const vg_param *p, size_t row) {
    return at(c, vector, p->offset + row * p->cols);
}

/* Of a parameter, the same of the optimizer's states (VG_STATES_MOST), each NULL if the rule has
 * none. */
static inline void states_of(const thread_context *c, const vg_param *p, size_t row,
                             void **states) {
    for (size_t k = 0; k < VG_STATES_MOST; k++)
        states[k] = part_of(c, c->run->optimizer.states[k], p, row);
}

/* The moments of the rows of the part in work, of what an op normalizes. */
static inline vg_moments *row_moments(const thread_context *c, const vg_op *op) {
    const vg_workspace *const w = c->run->workspace;
    return (vg_moments *)(void *)(c->run->notes + w->row_moments) + op->moments * w->rows +
           c->place;
}

/* What is kept for a batch norm: of a chunk of the batch, and of all of it, by each thread for
 * itself. */
static inline void *kept_of_chunk(const thread_context *c, const vg_op *op, size_t chunk) {
    const vg_workspace *const w = c->run->workspace;
    const size_t each = vg_kept_of_column(w->n_moment_chunks, (size_t)w->n_threads);
    return at(c, c->run->memory,
              w->batch_norms + op->columns * each +
                  chunk * (VG_MOMENTS + VG_SUMS) * tensor_of(c, op->in)->ld);
}
static inline void *kept_by_thread(const thread_context *c, const vg_op *op, int thread) {
    const size_t ld = tensor_of(c, op->in)->ld;
    return at(c, kept_of_chunk(c, op, c->run->workspace->n_moment_chunks),
              (size_t)thread * VG_FOLDED * ld);
}

/* What inspection sums up. Of each row of what layer l gets from the next one's weights; and, of
 * L + 1 + an op's number among normalizations, of what lies between that and the activation: */
static inline vg_norm *row_norms(const thread_context *c, size_t l) {
    const vg_workspace *const w = c->run->workspace;
    return (vg_norm *)(void *)(c->run->notes + w->row_norms) + (l - 1) * w->rows + c->place;
}
/* Of a unit of a parameter. */
static inline vg_summary *summary(const thread_context *c, size_t unit) {
    return (vg_summary *)(void *)(c->run->notes + c->run->workspace->summaries) + unit;
}
/* Of the weights of a unit, where there is a penalty. */
static inline vg_norm *squares(const thread_context *c, size_t unit) {
    return (vg_norm *)(void *)(c->run->notes + c->run->workspace->squares) + unit;
}
/* Of layer l's values and gradients. */
static inline vg_statistics *statistics(const thread_context *c, size_t l) {
    return (vg_statistics *)(void *)(c->run->notes + c->run->workspace->statistics) + (l - 1);
}

/* Where this thread counts the exponents of a layer's gradient, and how many tables' bins that is;
 * wanted_exponents: NULL unless they are asked for on this step. */
static inline uint32_t *exponent_tables(const thread_context *c, size_t *n) {
    *n = VG_EXPONENT_TABLES * vg_exponent_bins(c->run->plan->dtype);
    return (uint32_t *)(void *)(c->run->notes + c->run->workspace->tallies) +
           (size_t)c->thread * *n;
}
static inline uint32_t *wanted_exponents(const thread_context *c) {
    size_t n;
    return c->inspected && c->run->exponents ? exponent_tables(c, &n) : NULL;
}

/* ---- times: what a thread does between two laps is time of the latter's phase ---------------- */

/* laps.c. Book the ticks since the last lap; those of products' epilogues are time of the
 * activation of layer l_phi. */
void vg_book_lap(thread_context *c, size_t l, vg_phase phase, size_t l_phi);

static inline void lap(thread_context *c, size_t l, vg_phase phase) {
    if (c->times) vg_book_lap(c, l, phase, l);
}
static inline void lap_of_product(thread_context *c, size_t l, vg_phase phase, size_t l_phi) {
    if (c->times) vg_book_lap(c, l, phase, l_phi);
}

/* laps.c. Wait for all threads; and, too, say whether all threads' checks are finite: every thread
 * gets the same answer. Whether the ticks of products' epilogues are wanted. */
void vg_barrier(thread_context *c);
int vg_barrier_all_finite(thread_context *c);
void vg_time_epilogues(thread_context *c, int wanted);

/* ---- what the files of run/ give each other -------------------------------------------------- */

/* step.c. Take this thread's part in step number `step` of the epoch. */
vg_status vg_take_step(thread_context *c, size_t step);

/* What the rows of a batch add up to, losses and right predictions, and whether all checks are
 * finite. */
typedef struct {
    double of_rows[2];
    int finite;
} vg_batch_sums;

/* batch.c. Take this thread's part of a batch, which begins with a row of the epoch, forward and
 * back, and add up what goes through memory meanwhile. */
vg_batch_sums vg_forward_and_back(thread_context *c, size_t first);

/* ops.c. Whether there is something to do, on the way forward and back. */
int vg_goes_forward(const vg_op *op);
int vg_goes_back(const vg_plan *plan, const vg_op *op);

/* ops.c. Take rows of the batch through one op, or through the ops of a stage, and back. */
void vg_op_forward(thread_context *c, const vg_op *op, size_t from, size_t rows);
void vg_op_backward(thread_context *c, const vg_op *op, size_t from, size_t rows);
void vg_stage_forward(thread_context *c, const vg_stage *stage, size_t from, size_t rows);
void vg_stage_backward(thread_context *c, const vg_stage *stage, size_t from, size_t rows);

/* ops.c. Of a sparse plan, rows of the part in work. */
vg_sparse_rows vg_sparse_input(const thread_context *c, size_t from, size_t rows);

/* entries.c. Of a sparse plan, the entries of the part in work in these columns, which are among
 * this thread's share of rows of the weights: by ascending columns, of each by ascending rows. */
const vg_entry *vg_sorted_entries(thread_context *c, size_t first, size_t last, size_t *n);

/* update.c. The gradient of the part in work, of all parameters, into c->sums; and that of the
 * group of chunks to which one belongs, when all of them are done. */
void vg_sum_gradient_alone(thread_context *c);
void vg_fold_group(thread_context *c, size_t chunk);

/* update.c. Of a penalty: the squares of this thread's weights; and, when all have theirs, what
 * the loss has of them. */
void vg_square_weights(thread_context *c);
double vg_penalty_of_weights(const thread_context *c);

/* update.c. What is done with this thread's units of the parameters: the gradient of the batch in
 * registers, and the update by it; its sums so far into c->sums; all of it, with its norms; the
 * same, as the sum of those of chunks, or the update by that sum; the norms and the check of a
 * gradient that is there; the update by it. */
void vg_update_fused(thread_context *c, const vg_update *update);
void vg_sum_gradient(thread_context *c);
void vg_write_gradient(thread_context *c);
void vg_fold_gradient(thread_context *c);
void vg_fold_update(thread_context *c, const vg_update *update);
void vg_measure_gradient(thread_context *c);
void vg_apply_gradient(thread_context *c, const vg_update *update);

/* records.c. Add what this thread has counted, of layer l, to the step's histogram; forget it. */
void vg_record_exponents(const thread_context *c, size_t l);

/* records.c. What is recorded of a layer's values and gradients. */
void vg_record_values(const thread_context *c, const vg_op *op);

/* records.c. The record of the step: each thread writes those of its layers, after a barrier. */
void vg_write_records(const thread_context *c);

#endif
