/* vgfast.h - the contract of the C core. Read this first.
 *
 * Letters: B rows of the batch, L layers, n_l units of layer l; layer l (1..L, stored at l-1) maps
 * a[l-1] (B, n_in) to a[l] (B, n_out) by z = a W + b, a = phi(z). W is (n_in, n_out). Layer L is
 * linear: its non-linearity belongs to the loss. d means gradient: dW, db; delta_l = dloss/dz_l,
 * (B, n_l).
 *
 * The core allocates nothing, prints nothing and cannot fail: whoever calls owns every byte and has
 * checked every size. All matrices are row-major; ld is the distance between rows, in elements. */
#ifndef VGFAST_H
#define VGFAST_H

#include <stddef.h>
#include <stdint.h>

#include "catalog.def"

typedef enum { VG_F32, VG_F64 } vg_dtype;

/* ---- the catalog (catalog.def) --------------------------------------------------------------- */

#define VG_SYMBOL(w, symbol, ...) VG_##symbol,
#define VG_ONE_MORE(...) +1
typedef enum { VG_ACTIVATIONS(VG_SYMBOL, ) } vg_phi;
typedef enum { VG_LOSSES(VG_SYMBOL, ) } vg_loss;
typedef enum { VG_RULES(VG_SYMBOL, ) } vg_rule;
typedef enum { VG_ONE, VG_STEP, VG_LEAK, VG_STORED } vg_derivative;
enum {
    VG_N_ACTIVATIONS = VG_ACTIVATIONS(VG_ONE_MORE, ),
    VG_N_LOSSES = VG_LOSSES(VG_ONE_MORE, ),
    VG_N_RULES = VG_RULES(VG_ONE_MORE, )
};

typedef struct {
    const char *name;
    double alpha;
    vg_derivative derivative;
    double largest;
    int operations, functions, squashing;
    double joint;
    int fused;
} vg_activation_facts;
typedef struct {
    const char *name, *link;
    int operations, functions, row_operations, row_functions;
} vg_loss_facts;

typedef struct {
    const char *name;
    int states, decoupled;
} vg_rule_facts;

extern const vg_activation_facts vg_activations[VG_N_ACTIVATIONS];
extern const vg_loss_facts vg_losses[VG_N_LOSSES];
extern const vg_rule_facts vg_rules[VG_N_RULES];

/* Which activation, and its parameter, if it has one: finite and at least 0. */
typedef struct {
    vg_phi phi;
    double alpha;
} vg_activation;
/* With the parameter that the catalog says. */
static inline vg_activation vg_activation_of(vg_phi phi) {
    return (vg_activation){phi, vg_activations[phi].alpha};
}

/* ---- the plan: what a step does, as a list of ops over tensors and parameters ---------------- */

/* (rows of the batch, cols). The three places are offsets in elements for a batch of one row: times
 * the rows of the workspace they are those in its memory. */
typedef struct {
    size_t op;         /* that makes it */
    size_t cols, ld;   /* ld: cols rounded up to a cache line, or one more */
    size_t value;      /* what its op has made, behind phi if that is fused into it */
    size_t grad;       /* dloss/dz, from where the gradients begin; the input has none */
    size_t derivative; /* phi'(z), from where the derivatives begin, if its op stores it */
} vg_tensor;

/* How the gradient of a parameter is made of its op's input x and output's gradient dz: x^T dz, or
 * the column sums of dz; of the scale of a residual connection, the sum of all of x * dz; of a
 * normalization, the column sums of dz h, h being x normalized, or again of dz. */
typedef enum { VG_WEIGHTS, VG_BIASES, VG_SCALES, VG_GAINS, VG_SHIFTS, VG_ROLES } vg_role;

/* A matrix (rows, cols) in the parameter vector, which is W1 b1 W2 b2 ..., gains and shifts of a
 * layer behind its biases. */
typedef struct {
    vg_role role;
    size_t rows, cols, offset;
    size_t op;   /* whose it is */
    size_t unit; /* number of its first unit of work, see VG_UNIT_ROWS */
    int decays;  /* by weight_decay and penalty */
} vg_param;

typedef enum {
    VG_OP_INPUT,      /* out = rows of x */
    VG_OP_DENSE,      /* out = phi(in W + b); its activation is fused into it */
    VG_OP_LAYER_NORM, /* out = phi(gain (in - mean) / deviation + shift), of each row */
    VG_OP_RMS_NORM,   /* out = phi(gain in / root mean square), of each row */
    VG_OP_MOMENTS,    /* of the columns of in, over all rows. Crosses rows: ends its stage */
    VG_OP_BATCH_NORM, /* behind that: out = phi(gain (in - mean) / deviation + shift), by columns */
    VG_OP_DROPOUT,    /* out, which is in, = in with what is dropped of it, see vg_dropout; phi' of
                    * what made it likewise, so that there is nothing to do on the way back */
    VG_OP_ADD,        /* out = skip + scale in, of a residual connection; without skip, scale in */
    VG_OP_FORK,       /* out, which is in, goes on, and around to the addition numbered `adds` */
    VG_OP_LOSS /* of in, which is z; gives the gradient of it. Crosses rows: ends its stage */
} vg_op_kind;

/* In place of a tensor or parameter that an op has not. */
#define VG_NONE SIZE_MAX

typedef struct {
    vg_op_kind kind;
    size_t in, out;         /* tensors */
    size_t weights, biases; /* params of a dense layer; biases may be VG_NONE */
    size_t gains, shifts;   /* params of a normalization, or VG_NONE */
    double eps;             /* of a normalization, beside the variance */
    size_t moments;         /* its number among normalizations */
    size_t columns;         /* of a batch norm: so many, ld, have those before it */
    size_t running; /* of a batch norm: offset, from the parameters, of its running means, behind
                     * which are the variances */
    double weight;  /* of a batch norm: of a batch in these */
    vg_activation activation; /* fused into it */
    int activated;            /* whether one is, be it the identity */
    int stores;               /* phi' has a place in memory: it is not seen from the output */
    double keep;              /* of dropout; of all others 1 */
    int alpha_dropout;        /* whether it is alpha dropout */
    size_t skip;              /* of an addition: the tensor that goes around, or VG_NONE */
    double scale;             /* of what is added, unless it is a parameter: */
    size_t scales;            /* that, or VG_NONE */
    size_t adds;              /* of a fork: the op that its tensor goes around to */
    size_t layer;             /* in records and times: 0 for the input, L for the loss */
    int ends_stage;
} vg_op;

/* Ops [first, last) that no barrier parts: each thread takes its rows through all of them. */
typedef struct {
    size_t first, last;
} vg_stage;

/* The arrays belong to the caller. Room is needed for an op and a tensor for the input, for each
 * dense layer and for each normalization (two ops for a batch norm), two params for each of the
 * latter, an op for each dropout and for the loss, and as many stages as ops. */
typedef struct {
    vg_dtype dtype;
    vg_loss loss;
    vg_op *ops;
    vg_tensor *tensors;
    vg_param *params;
    vg_stage *stages;
    size_t n_ops, n_tensors, n_param_arrays, n_stages, n_layers, n_additions, n_norms;
    size_t n_params;      /* elements of the parameter vector */
    size_t n_running;     /* elements of running statistics, which lie right behind it */
    size_t n_batch_norms; /* the ld of all tensors that are batch normalized */
    size_t n_columns;     /* the ld of all tensors together */
    size_t n_derivatives; /* the ld of those whose derivatives are stored */
    size_t widest;        /* the largest ld of all */
    size_t n_units;       /* of work on parameters */
    size_t panel; /* elements of scratch that the widest layer needs when its W is transposed */
    double flops; /* operations of a step's products on one row */
    int sparse;   /* rows of the input are those of a vg_csr, and have no place in memory */
} vg_plan;

/* Rows in which what is not there is 0 (compressed sparse rows): those of sample i are the entries
 * [starts[i], starts[i + 1]), by ascending columns, each at most once. */
typedef struct {
    const void *values; /* of the plan's dtype */
    const int32_t *columns;
    const int64_t *starts; /* (n_samples + 1,) */
} vg_csr;

/* One of them in the part of a batch that is in work, of which `row` counts. */
typedef struct {
    uint32_t column, row;
    double value;
} vg_entry;

/* A unit of work on parameters: so many rows of one of them, or the rest. Units are fixed by the
 * plan, so that no sum depends on which thread takes which; the rows are a multiple of every tile's
 * height. (The other unit, of work on the batch, is one of its rows.) */
enum { VG_UNIT_ROWS = 48 };

/* Append to a plan, which is all 0 but for its arrays and dtype: an input, then dense layers, with
 * biases or without, each of which can be activated and then normalized, or the other
 * way round, and its outputs be dropped with the probability 1 - keep; then a loss.
 * affine: whether a normalization has gains, and, but for RMS norm, shifts. weight: of a
 * batch in running statistics. */
void vg_plan_input(vg_plan *plan, size_t cols);
void vg_plan_dense(vg_plan *plan, size_t cols, int biased);
void vg_plan_normalize(vg_plan *plan, vg_op_kind kind, double eps, int affine);
void vg_plan_normalize_batch(vg_plan *plan, double eps, int affine, double weight);
void vg_plan_activate(vg_plan *plan, vg_activation activation);
void vg_plan_dropout(vg_plan *plan, double keep, int alpha);
/* Residual connections: what the last op makes begins to go around, once (`open`) and for each
 * connection (`fork`), and is added to what has been made since then, times a scale, or times a
 * parameter. Of a fork and its addition there are as many columns. */
void vg_plan_open(vg_plan *plan);
void vg_plan_fork(vg_plan *plan);
void vg_plan_add(vg_plan *plan, double scale, int learned);
void vg_plan_loss(vg_plan *plan, vg_loss loss);

/* Cut the plan into stages, and say where everything lies. Returns 0, or -1 if the sizes do not fit
 * the address space. */
int vg_plan_lay_out(vg_plan *plan);

size_t vg_item_size(vg_dtype dtype);

/* Bins of a histogram of exponents: 256 or 2048. */
enum { VG_F32_BINS = 1 << 8, VG_F64_BINS = 1 << 11 };
size_t vg_exponent_bins(vg_dtype dtype);

/* ---- the workspace: memory for one batch in flight ------------------------------------------- */

typedef struct {
    size_t batch;  /* rows of the largest batch */
    size_t rows;   /* that there is memory for: of a larger batch, one part after the other is taken
                    * forward and back, and the sums of its gradient go on from part to part */
    int n_threads; /* at most */
    size_t
        gradients; /* offset, in elements, of the first tensor's gradient; the values lie before */
    size_t derivatives; /* offset of the first derivatives that are stored */
    size_t scratch;     /* offset of the first thread's scratch */
    size_t per_thread;
    size_t chunk_sums;  /* offset of the gradient of the first chunk, see vg_chunk_rows */
    size_t n_chunks;    /* of which there is memory for so many */
    size_t batch_norms; /* offset of what is kept for batch norms, and of how many chunks */
    size_t n_moment_chunks;
    size_t n_elements; /* of the plan's dtype */
    double flops;      /* of one training step */

    /* Offsets in a second piece of memory, of n_notes doubles. First there, the rows' losses. */
    size_t row_correct, row_norms, row_moments, chunk_losses, summaries, statistics, checks,
        tallies, squares;
    size_t n_notes;
} vg_workspace;

/* Memory for so many rows of batches. Fewer rows than a batch has will do for training without
 * inspection. Returns 0, or -1 if that does not fit the address space. */
int vg_workspace_lay_out(const vg_plan *plan, size_t batch, size_t rows, int n_threads,
                         vg_workspace *workspace);

/* Rows of a chunk of the batch, or 0. Where the batch is large and the parameters are few, each
 * thread can take a chunk through all of the step. The gradient is the sum, in order, of those of
 * groups of chunks, each of which is the sum, in order, of its chunks': between two processors it
 * is slow to fetch what the other has just written, and a group often is of one thread. All this
 * depends on sizes, batch and type alone, and so do the bits. */
enum { VG_CHUNKS_MOST = 64, VG_GROUP_CHUNKS = 8 };
size_t vg_chunk_rows(const vg_plan *plan, size_t batch);

/* Rows of a chunk of a batch whose moments are taken for batch norm, and how many
 * chunks there are at most. */
enum { VG_MOMENT_ROWS = 16, VG_MOMENT_CHUNKS = 64 };
size_t vg_moment_rows(size_t batch);

/* How many rows of a batch are best in memory at a time; with batch norm, all. */
size_t vg_part_of_batch(const vg_plan *plan, size_t batch, int n_threads);

/* Rows that vg_forward takes through all layers at a time: their activations stay in the cache. */
enum { VG_FORWARD_ROWS = 64 };

/* Elements of scratch that vg_forward needs for n_threads; 0 if that does not fit. */
size_t vg_forward_scratch(const vg_plan *plan, int n_threads);

/* How many threads, of at most `limit`, pay for a training step on `rows` rows anywhere; and how
 * many are worth trying. */
int vg_threads_for(const vg_plan *plan, size_t rows, int limit);
int vg_threads_to_try(const vg_plan *plan, size_t rows, int limit);

/* ---- inspection: what one step knows about one layer (see vgfast/inspection) ----------------- */

typedef struct {
    double grad_norm, bias_grad_norm, weight_norm, delta_norm, speed;
    double weight_gain, activation_gain, gain;
    double mean_derivative, saturated, dead;
    double update_ratio, frozen, stuck, zero, subnormal, max_abs;
    double sample_norm, noise_scale;
    double skip_gain;
    double normalization_gain;
} vg_record;

/* ---- training -------------------------------------------------------------------------------- */

enum { VG_HYPER_MOST = 6, VG_STATES_MOST = 2 };
typedef struct {
    vg_rule rule;
    double lr, weight_decay;
    double penalty; /* of 1/2 penalty |W|^2 / (rows of a batch, or their weights), a part
                                   * of the loss */
    double hyper[VG_HYPER_MOST];  /* of the rule, see catalog.def */
    double clip_norm, clip_value; /* INFINITY: none */
    void *states[VG_STATES_MOST]; /* (n_params,) each; NULL for those that the rule has not */
    int64_t *n_taken;             /* steps that it has taken, to be counted on; or NULL: none, and
                                   * nobody counts */
    const double *rates;          /* (n_steps,) of this epoch, in place of lr; or NULL */
} vg_optimizer;

/* What a run has found out about how many threads pay (tuner.c); at first all 0. */
enum { VG_TRIED_MOST = 9 };
typedef struct {
    int n_threads, chosen; /* now; by the last trial */
    int half;              /* turn of a trial; 0: none */
    double until, rest;    /* seconds */
    double seconds[VG_TRIED_MOST], steps[VG_TRIED_MOST];
} vg_tuner;

typedef enum {
    VG_TRAIN,    /* steps that change the parameters */
    VG_GRADIENT, /* one batch: loss, deltas and the whole gradient; no update */
    VG_APPLY,    /* one update by the gradient that is there; of the data, nothing is read */
    VG_INSPECT,  /* one batch: the records of the step that would be taken; no update */
    VG_OUTPUTS   /* one batch, in memory at once: the way forward of that step, up to z, and batch
                  * norms' running statistics are renewed; no labels, targets or dz are read */
} vg_mode;

/* What a thread spends its time on, by layers; gathering and barriers belong to layer 0. The
 * epilogues of products are the activation: of forward phi, of backward phi'. Of a normalization
 * both ways are one phase, the activation that is fused into it included. */
typedef enum {
    VG_FORWARD,
    VG_ACTIVATION,
    VG_LOSS,
    VG_BACKWARD,
    VG_UPDATE,
    VG_NORMALIZATION,
    VG_GATHER,
    VG_BARRIER,
    VG_PHASES
} vg_phase;

typedef enum {
    VG_DONE,           /* all steps */
    VG_PAUSED,         /* out of time: call again */
    VG_NEEDS_GRADIENT, /* and run.gradient is NULL: give it memory and call again */
    VG_EXCHANGE,       /* of run.exchanges: a step's gradient is in memory, see there */
    VG_NON_FINITE      /* the next step would leave a non-finite loss, gradient or parameter */
} vg_status;

/* Rows [first, first + rows) of an epoch: they are those of a batch from its row `offset` on, and
 * `total` is the weight of all rows of that. There may be none: a step then changes nothing, unless
 * what it exchanges does. */
typedef struct {
    uint64_t first, rows, offset;
    double total;
} vg_batch;

typedef struct {
    const vg_plan *plan;
    const vg_workspace *workspace;
    vg_mode mode;
    int n_threads; /* at most; <= workspace->n_threads */
    int n_columns; /* threads that share the same rows, a divisor of their number; 0: as pays */
    vg_tuner tuner;

    const void *x;         /* (n_samples, n_0), contiguous; of a sparse plan, a vg_csr */
    const int32_t *labels; /* (n_samples,), or NULL where there are targets */
    const void *targets;   /* (n_samples, n_L), or NULL where there are labels */
    /* (n_samples,) of the samples in the mean loss, from 0 on, of which no sum is
     * infinite; or NULL: each counts 1 */
    const double *weights;
    /* Of dropout: the seed, and the number of the next step, on which the masks depend, and which
     * is counted on by steps that change the parameters; or NULL in a plan without any */
    uint64_t *draws;
    const void *dz;       /* (n_samples, n_L): delta_L from outside, instead of a loss; or NULL */
    const int64_t *order; /* (n_rows,) samples of this epoch, or NULL for 0, 1, 2, ... */
    size_t n_rows, batch_size;
    const vg_batch *batches; /* (n_steps,), of batch_size rows at most; or NULL: of batch_size rows
                              * each, and no others' */

    /* Whether the gradient of each step is given away before the update: the status is then
     * VG_EXCHANGE, and the next call goes on with what `gradient` holds. Of a loss that is not
     * finite it begins with NaN, so that whoever adds up gradients finds out. exchanged: 1 where it
     * has been given, or 2 where a check had failed before; read and written, 0 at first. */
    int exchanges, exchanged;

    void *params;   /* (n_params + n_running,) */
    void *gradient; /* (n_params,), or NULL. VG_APPLY reads it; else it is written where clip_norm,
                     * the mode, a failed finite check, a batch in parts or chunks, `exchanges` or
                     * `unblocked` needs it, or where it is quicker */
    void *memory;   /* workspace->n_elements */
    double *notes;  /* workspace->n_notes */
    /* Of a sparse plan, where the gradient of weights is wanted: each thread's, two of n_entries,
     * which any rows of a workspace have at most */
    vg_entry *entries;
    size_t n_entries;
    vg_optimizer optimizer;

    size_t step, n_steps; /* the next step of this epoch, and the step to stop before */
    double *losses;       /* (n_steps,) (weighted) mean loss of the batch, before its update */
    double *correct;      /* (n_steps,) sum over the rows of weight x share predicted rightly */
    double *totals;       /* (n_steps,) weight of the batch, or 1 if that is 0; or NULL */
    size_t inspect_every; /* 0: never; else steps whose number in the whole run divides by it */
    size_t steps_before;  /* steps of the run before this epoch */
    vg_record *records;   /* (.., L), filled from n_records on */
    uint32_t *exponents;  /* (.., L, bins), likewise added to; or NULL. By the exponent bits of dW's
                           * entries: 0 for zeros and subnormals, the last bin for the non-finite */
    size_t n_records;
    double seconds; /* pause after about this time; 0: do not */
    double *times;  /* (workspace->n_threads, L + 1, VG_PHASES) ticks, added to; or NULL */
    int unblocked;  /* products one row by one vector at a time, and the gradient by way of memory:
                     * the same numbers, to see what tiles and fused updates are for */

    /* Whether parameters and states are known to be of moderate size, and as the last call left
     * them: read, and written, so that not every slice of an epoch looks at them all */
    int checked;
    vg_status status; /* out */
} vg_run;

/* Steps run->step .. run->n_steps - 1. run->step, n_records and status say how far it came; the
 * parameters are always those after a whole number of steps. */
void vg_train(vg_run *run);

/* The same with as many threads as run->n_threads says, of which only one runs at a time, to see
 * what machines with more processors would do: seconds (most) are those that each thread took from
 * one barrier to the next, one thread after the other. Returns how many there are, or 0 if the team
 * of threads is busy or the system refuses as many. */
size_t vg_simulate(vg_run *run, double *seconds, size_t most);

/* ---- the order of rows ----------------------------------------------------------------------- */

/* What makes random bits: laid out as the bitgen_t of NumPy's bit generators. */
typedef struct {
    void *state;
    uint64_t (*next_uint64)(void *state);
    uint32_t (*next_uint32)(void *state);
    double (*next_double)(void *state);
    uint64_t (*next_raw)(void *state);
} vg_bit_generator;

/* order (n,) = 0 to n - 1 in random order. */
void vg_permute(const vg_bit_generator *bits, size_t n, int64_t *order);

/* A random number from 0 to `most`. */
uint64_t vg_random_at_most(const vg_bit_generator *bits, uint64_t most);

/* ---- predictions ----------------------------------------------------------------------------- */

/* z (n_rows, n_L) = the plan's ops up to the loss applied to x (n_rows, n_0), of a sparse plan a
 * vg_csr, batch norms by their running statistics; params as in vg_run, scratch as
 * vg_forward_scratch says. */
void vg_forward(const vg_plan *plan, const void *params, const void *x, size_t n_rows, void *z,
                void *scratch, int n_threads);

/* ---- the choice of machine ------------------------------------------------------------------- */

/* The n-th instruction set that was built and that can run here, narrow to wide; or NULL. */
const char *vg_isa_available(int n);
const char *vg_isa_name(void);
int vg_isa_use(const char *name); /* 0, or -1 if it is not available */

#endif
