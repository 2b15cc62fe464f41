/* pretrain.h - one layer taught without labels: a restricted Boltzmann machine, or a denoising
 * autoencoder of tied weights.
 *
 * m visible units v, n hidden units h; s is the logistic function. Parameters are one vector: W
 * (m, n), c (n), b (m), of which the first two are a layer of a net.
 *
 * Both are taught by one update, dW = A^T D over twice the batch (2 B rows):
 *                A (2 B, m)      D (2 B, n)                 db                   dc
 *   machine      v_0; v_k        -P(h | v_0); P(h | v_k)    sums of v_k - v_0    of D
 *   autoencoder  masked x; dz    dh; h                      of dz                of dh
 * with P(h | v) = s(v W + c), P(v | h) = s(h W^T + b), or v = h W^T + b of Gaussian units; the
 * chain from v_0, or from what the chain before has left (persistent); h = s(x W + c), z = h W^T +
 * b, dz = dloss/dz, dh = dz W * h (1 - h). */
#ifndef VG_PRETRAIN_H
#define VG_PRETRAIN_H

#include "vgfast.h"

typedef enum { VG_RBM, VG_AUTOENCODER } vg_pretrain_kind;

/* Where everything lies in memory for batches of `rows`: elements of the type, and doubles. */
typedef struct {
    vg_dtype dtype;
    size_t m, n, rows;
    int n_threads; /* at most */
    size_t ldm, ldn;
    size_t visible, hidden; /* A and D */
    size_t states;          /* (rows, ldn) samples of h; of an autoencoder, h (1 - h) */
    size_t outputs;         /* (rows, ldm) z */
    size_t sums;            /* of each thread, (ldm or ldn) twice */
    size_t each_sums;
    size_t scratch, per_thread, n_elements;
    size_t checks, summaries, n_notes; /* the rows' losses come first */
    double flops;                      /* of a step */
} vg_pretrain_workspace;

/* Returns 0, or -1 if that does not fit the address space. k: steps of the chain, 1 of an
 * autoencoder. */
int vg_pretrain_lay_out(vg_dtype dtype, size_t m, size_t n, size_t rows, size_t k, int n_threads,
                        vg_pretrain_workspace *workspace);

/* What the last step of an epoch shows of the weights: Euclidean norms, and the number that
 * the step did not change. */
typedef struct {
    double gradient, weight, step, frozen;
} vg_pretrain_record;

typedef struct {
    const vg_pretrain_workspace *workspace;
    vg_pretrain_kind kind;
    int n_threads; /* at most */
    vg_tuner tuner;
    uint64_t seed;

    /* a machine's */
    size_t k;
    int gaussian, draws_visible; /* not both: v is the mean then */
    void *chains;                /* (rows, ldn) the states of h that persist; or NULL */
    void *penalty;               /* (n,) added to the gradient of each hidden unit's input, and */
    void *activity;              /* (n,) the mean activity; or both NULL */
    double target, cost, decay;  /* penalty = cost (activity - target) */
    /* an autoencoder's */
    vg_loss loss;
    double
        scale; /* what its gradient is multiplied by: a loss of the catalog is a mean over units */
    double keep; /* the probability with which an input is not masked */

    const void *x;        /* (n_samples, m), contiguous */
    const int64_t *order; /* (n_rows,) samples of this epoch, or NULL for 0, 1, 2, ... */
    size_t n_rows, batch_size;
    void *params; /* (m n + n + m,) */
    void *memory; /* workspace->n_elements */
    double *notes;
    vg_optimizer optimizer; /* clip_norm and clip_value are not used */

    size_t step, n_steps;
    uint64_t steps_before;      /* steps of the whole run before this epoch */
    double *losses;             /* (n_steps,) of an autoencoder */
    vg_pretrain_record *record; /* of the last step of this epoch; or NULL */
    double seconds;             /* pause after about this time; 0: do not */

    vg_status status; /* out: VG_DONE, VG_PAUSED, VG_NON_FINITE */
} vg_pretrain;

/* Steps run->step .. run->n_steps - 1; the parameters are always those after a whole number of
 * steps. */
void vg_pretrain_run(vg_pretrain *run);

/* Rows through the layer: up, y (rows, n) = phi(x W + b); or down, y (rows, m) = phi(x W^T + b). */
typedef struct {
    vg_dtype dtype;
    size_t m, n, rows;
    int down;
    vg_activation activation;
    const void *weights, *biases, *x;
    void *y, *scratch;
} vg_propagation;

/* Elements of scratch for n_threads; 0 if that does not fit. And the work, by at most so many. */
size_t vg_propagation_scratch(const vg_propagation *propagation, int n_threads);
void vg_propagate(const vg_propagation *propagation, int n_threads);

#endif
