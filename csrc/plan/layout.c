/* layout.c - sizes -> where everything lies; every product and sum checked for overflow. */
#include "kernels.h"

/* Elements in a cache line of 64 bytes of the smaller type: rows and pieces start at multiples of
 * it. */
enum { LINE = 16 };
/* Threads' checks lie a cache line apart, in doubles. */
enum { CHECK_STRIDE = 8 };

/* No array may have more bytes than a signed offset can hold. */
static const size_t MOST = PTRDIFF_MAX / sizeof(double);

/* total + a * b; *fits becomes 0 if that leaves the range. What is summed without it is bounded by
 * what is summed with it: derivatives by columns, blocks by weights. */
static size_t add_product(size_t total, size_t a, size_t b, int *fits) {
    size_t product, sum;
    if (__builtin_mul_overflow(a, b, &product) || __builtin_add_overflow(total, product, &sum) ||
        sum > MOST) {
        *fits = 0;
        return 0;
    }
    return sum;
}

static size_t round_up(size_t n, int *fits) {
    return add_product(0, n / LINE + (n % LINE != 0), LINE, fits);
}

size_t vg_item_size(vg_dtype dtype) { return dtype == VG_F32 ? sizeof(float) : sizeof(double); }
size_t vg_exponent_bins(vg_dtype dtype) { return dtype == VG_F32 ? VG_F32_BINS : VG_F64_BINS; }

int vg_net_lay_out(vg_net *net) {
    int fits = 1;
    net->n_params = net->n_blocks = net->n_derivatives = 0;
    net->input_ld = net->n_columns = net->widest = round_up(net->layers[0].n_in, &fits);
    for (size_t l = 0; l < net->n_layers; l++) {
        vg_layer *const layer = &net->layers[l];
        layer->weights = net->n_params;
        layer->biases = add_product(layer->weights, layer->n_in, layer->n_out, &fits);
        net->n_params = add_product(layer->biases, layer->n_out, 1, &fits);
        layer->ld = round_up(layer->n_out, &fits);
        layer->column = net->n_columns;
        net->n_columns = add_product(net->n_columns, layer->ld, 1, &fits);
        layer->derivatives = net->n_derivatives;
        if (vg_stores_derivative(layer->activation)) net->n_derivatives += layer->ld;
        layer->block = net->n_blocks;
        net->n_blocks += (layer->n_in + VG_BLOCK_ROWS - 1) / VG_BLOCK_ROWS;
        if (layer->ld > net->widest) net->widest = layer->ld;
    }
    net->panel = add_product(0, net->widest, VG_TILE_COLS, &fits);
    return fits ? 0 : -1;
}

/* Elements that packing takes at most of A = x^T, for any k up to rows: the last batch of an epoch
 * is shorter, and of a shorter k more rows may be packed. */
static size_t packed_size(const vg_net *net, size_t rows, int *fits) {
    const size_t share = VG_PACKED_BYTES / vg_item_size(net->dtype);
    const size_t least = add_product(0, rows, VG_BLOCK_ROWS, fits);
    const size_t all = add_product(0, net->widest + VG_BLOCK_ROWS, rows, fits);
    const size_t some = share > least ? share : least;
    return some < all ? some : all;
}

double vg_step_flops(const vg_net *net, size_t rows) {
    double flops = 0;
    for (size_t l = 0; l < net->n_layers; l++)
        flops += (l == 0 ? 4.0 : 6.0) * (double)rows * (double)net->layers[l].n_in *
                 (double)net->layers[l].n_out;
    return flops;
}

int vg_workspace_lay_out(const vg_net *net, size_t rows, int n_threads, vg_workspace *w) {
    int fits = 1;
    const size_t threads = (size_t)n_threads;
    size_t panel = add_product(0, rows, VG_TILE_COLS, &fits);
    panel = panel > net->panel ? panel : net->panel;
    w->rows = rows;
    w->n_threads = n_threads;
    w->flops = vg_step_flops(net, rows);
    w->deltas = add_product(0, rows, net->n_columns, &fits);
    w->derivatives = add_product(w->deltas, rows, net->n_columns - net->input_ld, &fits);
    w->scratch = add_product(w->derivatives, rows, net->n_derivatives, &fits);
    panel = add_product(panel, packed_size(net, rows, &fits), 1, &fits);
    w->per_thread = add_product(panel, VG_TILE_SIZE, 1, &fits);
    w->n_elements = add_product(w->scratch, w->per_thread, threads, &fits);

    w->row_correct = rows;
    w->row_norms = add_product(0, rows, 2, &fits);
    w->summaries =
        add_product(w->row_norms, rows * net->n_layers, sizeof(vg_norm) / sizeof(double), &fits);
    w->statistics = add_product(w->summaries, net->n_blocks + net->n_layers,
                                sizeof(vg_summary) / sizeof(double), &fits);
    w->checks =
        add_product(w->statistics, net->n_layers, sizeof(vg_statistics) / sizeof(double), &fits);
    w->tallies = add_product(w->checks, threads, CHECK_STRIDE, &fits);
    const size_t tables = VG_EXPONENT_TABLES * vg_exponent_bins(net->dtype);
    w->n_notes =
        add_product(w->tallies, threads, tables * sizeof(uint32_t) / sizeof(double), &fits);
    return fits ? 0 : -1;
}

size_t vg_check_at(const vg_workspace *w, int thread) {
    return w->checks + (size_t)thread * CHECK_STRIDE;
}

size_t vg_forward_scratch(const vg_net *net, int n_threads) {
    int fits = 1;
    const size_t tile = add_product(net->panel, VG_TILE_SIZE, 1, &fits);
    const size_t each = add_product(tile, net->widest, 2 * VG_FORWARD_ROWS, &fits);
    const size_t all = add_product(0, each, (size_t)n_threads, &fits);
    return fits ? all : 0;
}
