/* kernels.h - how names are joined, and the table of kernels that each isa/ file fills twice.
 *
 * NAME(exp) is exp_f32_avx2, TYPED(exp) is exp_f32: profilers and nm show which text ran. Kernels
 * take void pointers, so that one table, and one step.c, serves both types. */
#ifndef VG_KERNELS_H
#define VG_KERNELS_H

#include <float.h>
#include <math.h>

#include "clock.h"
#include "vgfast.h"

/* x87 registers would keep digits that simd/scalar.h counts on being rounded away. */
_Static_assert(FLT_EVAL_METHOD == 0, "on 32-bit x86, add -msse2 -mfpmath=sse to CFLAGS");

#define VG_JOIN_(a, b) a##_##b
#define VG_JOIN(a, b) VG_JOIN_(a, b)
#define TYPED(name) VG_JOIN(name, SFX)
#define NAME(name) VG_JOIN(TYPED(name), ISA)

/* How phi' is made of its source: the form, and alpha if that needs one. */
typedef struct {
    vg_derivative form;
    double alpha;
} vg_slope;
static inline vg_slope vg_slope_of(vg_activation activation) {
    return (vg_slope){vg_activations[activation.phi].derivative, activation.alpha};
}

/* The largest value of |phi'|: of those with a parameter, 1 right of 0, and alpha left of it. */
static inline double vg_steepest(vg_activation activation) {
    const vg_activation_facts *const facts = &vg_activations[activation.phi];
    return facts->alpha == 0 ? facts->largest : fmax(1, activation.alpha);
}

/* What a step does to outputs: with the probability `keep`, a becomes scale a + shift and phi'
 * scale phi', else a becomes `dropped` and phi' 0. whole: 1 / scale. */
typedef struct {
    double keep, scale, whole, shift, dropped;
} vg_dropout;
/* Dropout: a / keep, or 0. Alpha dropout: what is dropped goes to where selu ends on the left, and
 * all is scaled and shifted so that outputs of mean 0 and variance 1 keep both (Klambauer,
 * Unterthiner, Mayr, Hochreiter, "Self-normalizing neural networks", 2017). */
static inline vg_dropout vg_dropout_of(double keep, int alpha) {
    const double end = -1.7580993408473766, left = 1 - keep;
    const double scale = 1 / sqrt(keep + end * end * keep * left), shift = -scale * end * left;
    if (!alpha) return (vg_dropout){keep, 1 / keep, keep, 0, 0};
    return (vg_dropout){keep, scale, 1 / scale, shift, scale * end + shift};
}

/* The statement `run(name, derivative)`, so that the compiler makes one loop for each activation;
 * on the way back, `run(derivative)`, one loop for each form of the derivative. */
#define VG_RUN_KIND(run, symbol, name, alpha, derivative, ...)                                     \
    case VG_##symbol: run(name, VG_##derivative); break;
#define BY_ACTIVATION(activation, run)                                                             \
    switch ((activation).phi) { VG_ACTIVATIONS(VG_RUN_KIND, run) }
/* The same of those whose loop is in the product itself. */
#define VG_IF_0(statement)
#define VG_IF_1(statement) statement
#define VG_RUN_FUSED(run, symbol, name, alpha, derivative, largest, operations, functions,         \
                     squashing, joint, fused)                                                      \
    case VG_##symbol: VG_IF_##fused(run(name, VG_##derivative)) break;
#define BY_FUSED_ACTIVATION(activation, run)                                                       \
    switch ((activation).phi) { VG_ACTIVATIONS(VG_RUN_FUSED, run) }
#define BY_DERIVATIVE(derivative, run)                                                             \
    switch (derivative) {                                                                          \
        case VG_ONE: run(VG_ONE); break;                                                           \
        case VG_STEP: run(VG_STEP); break;                                                         \
        case VG_LEAK: run(VG_LEAK); break;                                                         \
        case VG_STORED: run(VG_STORED); break;                                                     \
    }

/* Rows of a transposed A, k long, that are packed at a time: a multiple of every tile height, as
 * many as stay in an L2 cache of 2 MB. (Of 512 x 2048 x 2048, 192 rows: 32.4 ms; 384: 30.5; 768:
 * 29.7; 1152: 30.2.) */
enum { VG_PACKED_BYTES = 768 * 512 * 4, VG_PACKED_MOST = 768 };
static inline size_t vg_packed_rows(size_t k, size_t item) {
    const size_t blocks = VG_PACKED_BYTES / item / k / VG_UNIT_ROWS;
    const size_t rows = VG_UNIT_ROWS * (blocks > 0 ? blocks : 1);
    return rows < VG_PACKED_MOST ? rows : VG_PACKED_MOST;
}

/* Scratch for one tile of a product, in elements: the largest of all instances, because the
 * instruction set can change under a workspace. */
enum { VG_TILE_ROWS = 12, VG_TILE_COLS = 48, VG_TILE_SIZE = VG_TILE_ROWS * VG_TILE_COLS };

/* Tables of one histogram of exponents that take turns: with one, an entry would wait for the one
 * before whenever both fall into the same bin. */
enum { VG_EXPONENT_TABLES = 4 };

/* A sum of squares as sum * 4^exponent: neither 1e-200 nor 1e+200 squared leaves its range. */
typedef struct {
    double sum, exponent;
} vg_norm;

/* The largest lr and decay for which a passed check proves that an update is finite. */
enum { VG_RATE_MOST = 1 << 20 };
#define VG_REACH_MOST 0x1p40 /* of 1 and lr over what a rule divides by at least */

/* What inspection adds up over some rows of a weight matrix. */
typedef struct {
    vg_norm gradient, weight, step;
    double max_abs;
    double zero, subnormal, frozen, stuck; /* counts */
} vg_summary;

/* What inspection adds up over the outputs and deltas of a layer. */
typedef struct {
    vg_norm delta, samples; /* the latter: of the samples' gradients, dW and db */
    double derivative;      /* sum */
    double saturated, dead; /* entries, units */
    double entries;         /* of which there is a derivative: that were not dropped */
} vg_statistics;

/* What a pass over the parameters is for. */
typedef enum {
    VG_STORE,  /* the update */
    VG_REPORT, /* what would come of it: to record it, store nothing */
    VG_TRY     /* whether all would be finite, value by value: store nothing */
} vg_pass;

/* One update: g' = clip(g * scale) + decay * W; a step s of g' and the states, by the rule, of
 * which the decay is a part if it is decoupled; W -= lr * s. Of the biases, decay is 0. lr, decay
 * and hyper are those of one step (run/rules.c). */
typedef struct {
    vg_rule rule;
    double lr, hyper[VG_HYPER_MOST], decay, clip_value, scale;
    int plain; /* nothing but W -= lr * g */
    vg_pass pass;
} vg_update;

/* Rows of numbers, ld apart. Kernels read or write as many rows and columns as there are. */
typedef struct {
    void *p;
    size_t rows, cols, ld;
} vg_matrix;

/* Rows of a vg_csr: row r is sample order[r], or first + r without an order. */
typedef struct {
    const vg_csr *csr;
    const int64_t *order;
    size_t first, rows;
} vg_sparse_rows;
/* The entries [*from, *to) of row r. */
static inline void vg_entries_of_row(const vg_sparse_rows *x, size_t r, size_t *from, size_t *to) {
    const size_t sample = x->order ? (size_t)x->order[r] : x->first + r;
    *from = (size_t)x->csr->starts[sample];
    *to = (size_t)x->csr->starts[sample + 1];
}

/* How rows are normalized: their mean, if they are centred, becomes 0, and their deviation 1; then
 * come gains and shifts (n), each of which may be NULL (normalization.tmpl.h). */
typedef struct {
    int centred;
    double eps;
    const void *gains, *shifts;
} vg_row_norm;

/* How columns are normalized: h = (x - high - low) rate, low being what the mean is off the nearest
 * number, or NULL; then gains and shifts. Each (n). */
typedef struct {
    const void *high, *low, *rate, *gains, *shifts;
} vg_column_norm;

/* Vectors that are kept of the columns of a chunk, and of a batch: high, low, rate, variance, and
 * sums of dy and dy h (batch_norm.tmpl.h). */
enum { VG_MOMENTS = 3, VG_SUMS = 2, VG_OF_BATCH = 4, VG_FOLDED = VG_OF_BATCH + VG_SUMS };

/* Of a row: h = (x - mean) rate */
typedef struct {
    double mean, rate;
} vg_moments;

/* What the rows of a batch should be: row i of it is sample order[i], or i without an order. */
typedef struct {
    const int32_t *labels; /* or NULL, where there are targets */
    const void *targets;
    const double *weights; /* of the samples, or NULL: each counts 1 */
    const int64_t *order;
    double total; /* weight of the whole batch, above 0 */
} vg_targets;

/* One layer's, each (n_in, n_out). */
typedef struct {
    void *weights, *const
                       *states; /* (VG_STATES_MOST) pointers, each NULL if the rule has no such */
    void *gradient;    /* unless NULL, the gradient is written there, and nothing applied */
    const void *begun; /* unless NULL, its sums go on from these, of rows before */
} vg_parameters;

/* Whether weights without a gradient stay as they are, and so does what the rule keeps of them. */
static inline int vg_rests(const vg_update *u) {
    return u->pass == VG_STORE && u->decay == 0 && (u->rule == VG_SGD || u->rule == VG_ADAGRAD);
}

/* Where an inspected update is recorded, both NULL without inspection. */
typedef struct {
    vg_summary *summaries; /* one for each VG_UNIT_ROWS rows */
    uint32_t *exponents;   /* tables to count in; may be NULL */
} vg_recording;

/* The aim of hidden units' mean activity: its value, what missing it costs, and the share that the
 * mean keeps of itself from step to step. */
typedef struct {
    double target, cost, decay;
} vg_sparsity;

/* Which random numbers: what is drawn for a row and a column depends on these alone
 * (kernels/random.tmpl.h). */
typedef struct {
    uint64_t seed, step;
    uint32_t draw; /* among those of a step */
    size_t row;    /* of the batch, that the first row of the matrix is */
} vg_key;

/* What a thread brings along for products. */
typedef struct {
    void *scratch;
    double check;
    double *ticks; /* those that epilogues of products take are added, if it is not NULL */
    int unblocked; /* as in vg_run */
} vg_tools;

typedef struct {
    size_t tile_rows, tile_cols, lanes;

    /* A `check` becomes non-finite when a value is not finite or huge (finite_check.tmpl.h). */

    void (*check_finite)(size_t n, const void *x, double *check);

    /* to (rows, n; ld) = the rows order[..] of from (.., n), or its first rows without an order */
    void (*gather)(size_t rows, size_t n, const void *from, const int64_t *order, void *to,
                   size_t ld, double *check);

    /* y (rows, n_out) = phi(x W + b), x (rows, n_in), W (n_in, n_out), b NULL for none; derivatives
     * (rows, n_out; ld of y), unless NULL: phi', if it is stored */
    void (*dense_forward)(vg_matrix x, vg_matrix weights, const void *biases,
                          vg_activation activation, vg_matrix y, void *derivatives,
                          vg_tools *tools);

    /* dx (rows, n_in) = (dy W^T) * phi', dy (rows, n_out), phi' from source (rows, n_in): the
     * derivatives if they are stored, else the outputs. norms, unless NULL: the sums of squares of
     * the rows of dy W^T. */
    void (*dense_backward)(vg_matrix dy, vg_matrix weights, vg_slope slope, vg_matrix source,
                           vg_matrix dx, vg_tools *tools, vg_norm *norms);

    /* The decoder of tied weights: y (rows, n_in) = phi(x W^T + b), x (rows, n_out), b (n_in); and
     * dx (rows, n_out) = (dy W) * phi' of dy (rows, n_in), phi' from source (rows, n_out). */
    void (*decoder_forward)(vg_matrix x, const void *weights, const void *biases,
                            vg_activation activation, vg_matrix y, vg_tools *tools);
    void (*decoder_backward)(vg_matrix dy, const void *weights, vg_activation activation,
                             vg_matrix source, vg_matrix dx, vg_tools *tools);

    /* Rows [first, last) of dW = x^T dy, of x (rows, n_in) and dy (rows, n_out). */
    void (*weight_update)(vg_matrix x, vg_matrix dy, size_t first, size_t last,
                          vg_parameters parameters, const vg_update *update, vg_tools *tools,
                          vg_recording recording);

    /* The same of rows x whose zeros are left out; and of dW, from x's entries in these rows of
     * it, by ascending columns, of each column by ascending rows. What is begun goes on in its
     * place. */
    void (*sparse_forward)(vg_sparse_rows x, vg_matrix weights, const void *biases,
                           vg_activation activation, vg_matrix y, void *derivatives,
                           vg_tools *tools);
    void (*sparse_update)(const vg_entry *entries, size_t n_entries, vg_matrix dy, size_t first,
                          size_t last, vg_parameters parameters, const vg_update *update,
                          vg_tools *tools, vg_recording recording);

    /* sums (n) = the column sums of dy (rows, n; ld); or begun, they go on from what they are */
    void (*column_sums)(size_t rows, size_t n, const void *dy, size_t ld, int begun, void *sums);

    /* sums (n) = the sum of so many vectors, `stride` elements apart, in their order */
    void (*fold)(size_t n, size_t count, const void *vectors, size_t stride, void *sums);

    /* y = phi(the rows of x, normalized); derivatives as for dense_forward; moments (rows),
     * unless NULL: those of the rows. And dx of dy, which is d(loss)/d(what phi is of), not
     * yet times the phi' of what made x; and sums (n), of gains, over the rows, or begun, they
     * go on from what they are. */
    void (*normalize_rows)(vg_matrix x, const vg_row_norm *norm, vg_activation activation,
                           vg_matrix y, void *derivatives, vg_moments *moments, double *check);
    void (*normalize_rows_back)(vg_matrix dy, vg_matrix x, const vg_row_norm *norm,
                                const vg_moments *moments, vg_matrix dx, double *check);
    void (*gain_sums)(vg_matrix dy, vg_matrix x, const vg_moments *moments, int begun, void *sums);

    /* The moments of the columns of a chunk of rows; those of a batch of so many rows from those of
     * its chunks, which lie `stride` apart, in folded (VG_OF_BATCH, ld); rates (n) of variances. */
    void (*column_moments)(vg_matrix x, void *moments, size_t ld);
    void (*fold_moments)(size_t cols, size_t rows, size_t chunk, const void *moments, size_t ld,
                         size_t stride, double eps, void *folded);
    void (*rates_of)(size_t n, const void *variances, double eps, void *rates);

    /* y = phi(the columns of x, normalized). Back: sums (VG_SUMS, ld) of dy and dy h over a chunk;
     * and dx, as for rows, by the sums over the batch. */
    void (*normalize_columns)(vg_matrix x, const vg_column_norm *norm, vg_activation activation,
                              vg_matrix y, void *derivatives, double *check);
    void (*column_products)(vg_matrix dy, vg_matrix x, const vg_column_norm *norm, void *sums,
                            size_t ld);
    void (*normalize_columns_back)(vg_matrix dy, vg_matrix x, const vg_column_norm *norm,
                                   const void *sums, size_t ld, size_t rows, vg_matrix dx,
                                   double *check);

    /* means and variances (n) = their moving averages, of which those of this batch,
     * folded, get so much weight */
    void (*renew_running)(size_t n, const void *folded, size_t ld, double weight, size_t rows,
                          void *means, void *variances);

    /* d *= phi', from source as for dense_backward */
    void (*times_derivative)(vg_slope slope, vg_matrix source, vg_matrix d, double *check);

    /* to (n) = a - b; to may be either */
    void (*subtract)(size_t n, const void *a, const void *b, void *to);

    /* to (rows, cols) = 1 with probability p (rows, cols), else 0; to may be p. And: x with the
     * probability keep, else 0. The draws are those of the key, for the rows from its row on. */
    void (*sample)(vg_matrix p, vg_key key, vg_matrix to);
    void (*drop)(vg_matrix x, double keep, vg_key key, vg_matrix to);

    /* y (rows, n) of phi becomes what dropout makes of it; derivatives (rows, n; ld of y), which
     * hold phi' if they are stored, become scale phi' or -0, which no other is. */
    void (*dropout)(vg_activation activation, vg_matrix y, void *derivatives,
                    const vg_dropout *dropout, vg_key key, double *check);

    /* to = x + scale f, matrices of one shape; without x (NULL), scale f */
    void (*add_scaled)(vg_matrix x, double scale, vg_matrix f, vg_matrix to, double *check);
    /* to = scale g * phi', of phi' from source; or, if it adds, that much more */
    void (*chain)(vg_matrix g, double scale, vg_slope slope, vg_matrix source, int adds,
                  vg_matrix to, double *check);
    /* *sum = the sum of all of g * f; or begun, it goes on */
    void (*inner_product)(vg_matrix g, vg_matrix f, int begun, void *sum);

    /* activity (n) = its moving mean; penalty (n) = cost (activity - target). sums (n): of
     * penalty - h over so many rows, with the penalty of before. */
    void (*renew_penalty)(size_t n, const void *sums, double rows, vg_sparsity sparsity,
                          void *activity, void *penalty);

    /* Apply gradient (n,) to params and states (n,), pointers as in vg_parameters.
     * summary: NULL, or what to fill. */
    void (*update)(size_t n, const void *gradient, void *params, void *const *states,
                   const vg_update *update, double *check, vg_summary *summary);

    /* Loss of each row of z (rows, n), whether its prediction is right (1 or 0), and
     * dz (rows, n; ld of z) = dloss/dz divided by the rows of the batch. */
    void (*loss)(vg_loss loss, vg_matrix z, vg_targets targets, double *losses, double *correct,
                 void *dz, double *check);

    /* tables (VG_EXPONENT_TABLES, bins) += the exponents of x (rows, n; ld) */
    void (*count_exponents)(size_t rows, size_t n, const void *x, size_t ld, uint32_t *tables);

    void (*exponential)(size_t n, const void *x, void *y);
    /* y = phi(z) and, unless NULL, derivatives = phi'(z), n elements */
    void (*activate)(vg_activation activation, size_t n, const void *z, void *y, void *derivatives);
    /* rows of z (rows, n) become probabilities: softmax along the row */
    void (*softmax)(size_t rows, size_t n, const void *z, void *y);

    /* turns rounds of independent FMAs; returns the number of operations. sink: in and out, so that
     * none can be left out */
    double (*fma_loop)(size_t turns, double *sink);
    /* the sum of x (n);  x (n) = 0 */
    double (*read_loop)(size_t n, const void *x);
    void (*write_loop)(size_t n, void *x);

    vg_norm (*square_norm)(size_t n, const void *x);
    /* source and delta (rows, n), as for dense_backward, and of a `keep` below 1 as dropout leaves
     * them; inputs (rows, n_in), or, unless NULL, these */
    void (*statistics)(vg_activation activation, const vg_dropout *dropout, vg_matrix source,
                       vg_matrix delta, vg_matrix inputs, const vg_sparse_rows *sparse,
                       vg_statistics *statistics);
} vg_kernels;

extern const vg_kernels vg_kernels_f32_scalar, vg_kernels_f64_scalar;
extern const vg_kernels vg_kernels_f32_avx2, vg_kernels_f64_avx2;
extern const vg_kernels vg_kernels_f32_avx512, vg_kernels_f64_avx512;

/* The table in use; that of an instruction set, NULL if it is not available. */
const vg_kernels *vg_kernels_of(vg_dtype dtype);
const vg_kernels *vg_kernels_named(const char *isa, vg_dtype dtype);

/* a += b, in the one order that the caller chooses. */
void vg_norm_add_unlike(vg_norm *a, vg_norm b);
static inline void vg_norm_add(vg_norm *a, vg_norm b) {
    if (b.sum == 0) return;
    if (a->sum == 0 || a->exponent == b.exponent)
        *a = (vg_norm){a->sum + b.sum, b.exponent};
    else
        vg_norm_add_unlike(a, b);
}
void vg_summary_add(vg_summary *a, const vg_summary *b);
double vg_norm_root(vg_norm a);

#endif
