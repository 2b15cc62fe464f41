/* layout.c - sizes -> where everything lies; every product and sum checked for overflow. */
#include "kernels.h"
#include "plan/plan.h"

/* Elements in a cache line of 64 bytes of the smaller type: rows and pieces start at multiples of
 * it. */
enum { LINE = 16 };

/* No array may have more bytes than a signed offset can hold. */
static const size_t MOST = PTRDIFF_MAX / sizeof(double);

/* total + a * b; *fits becomes 0 if that leaves the range. What is summed without it is bounded by
 * what is summed with it: derivatives by columns, units by weights. */
size_t vg_add_product(size_t total, size_t a, size_t b, int *fits) {
    size_t product, sum;
    if (__builtin_mul_overflow(a, b, &product) || __builtin_add_overflow(total, product, &sum) ||
        sum > MOST) {
        *fits = 0;
        return 0;
    }
    return sum;
}

size_t vg_round_up(size_t n, int *fits) {
    return vg_add_product(0, n / LINE + (n % LINE != 0), LINE, fits);
}

/* The distance of rows of so many columns. Where it is a multiple of 1 KiB, the rows of a tile
 * crowd into a few sets of the L1 cache; a line more parts them. (A step of 784-512-512-10 on 128
 * rows takes 2.5 % less, of three layers of 1024 4 %, of 784-2048-2048-10 on 512 rows 1 %.) */
enum { CROWDED = 1024 };
static size_t row_distance(const vg_plan *plan, size_t cols, int *fits) {
    const size_t ld = vg_round_up(cols, fits);
    const int crowded = ld % (CROWDED / vg_item_size(plan->dtype)) == 0;
    return vg_add_product(ld, LINE, (size_t)crowded, fits);
}

size_t vg_item_size(vg_dtype dtype) { return dtype == VG_F32 ? sizeof(float) : sizeof(double); }
size_t vg_exponent_bins(vg_dtype dtype) { return dtype == VG_F32 ? VG_F32_BINS : VG_F64_BINS; }

/* Inputs of a dense layer that are multiplied. Of a sparse row nobody knows how many there are
 * before the data; by this, only the number of threads is chosen. */
static const double SPARSE_COLUMNS = 100;
static double columns_of_row(const vg_plan *plan, const vg_op *op) {
    const double n = (double)plan->tensors[op->in].cols;
    return vg_is_sparse(plan, op) && n > SPARSE_COLUMNS ? SPARSE_COLUMNS : n;
}

static double flops_of_row(const vg_plan *plan) {
    double flops = 0;
    for (size_t i = 0; i < plan->n_ops; i++) {
        const vg_op *const op = &plan->ops[i];
        if (op->kind != VG_OP_DENSE) continue;
        const double products = vg_is_first(plan, op) ? 2 : 3;
        flops += 2 * products * columns_of_row(plan, op) * (double)plan->tensors[op->out].cols;
    }
    return flops;
}

/* Running statistics lie behind the parameters. */
static void lay_out_running(vg_plan *plan, int *fits) {
    plan->n_running = plan->n_batch_norms = 0;
    for (size_t i = 0; i < plan->n_ops; i++) {
        vg_op *const op = &plan->ops[i];
        if (op->kind != VG_OP_BATCH_NORM) continue;
        op->running = plan->n_params + plan->n_running;
        op->columns = plan->n_batch_norms;
        plan->n_running = vg_add_product(plan->n_running, plan->tensors[op->in].cols, 2, fits);
        plan->n_batch_norms += plan->tensors[op->in].ld;
    }
    vg_add_product(plan->n_params, plan->n_running, 1, fits);
}

int vg_plan_lay_out(vg_plan *plan) {
    int fits = 1;
    plan->n_params = plan->n_units = 0;
    plan->n_columns = plan->n_derivatives = plan->widest = 0;
    for (size_t i = 0; i < plan->n_tensors; i++) {
        vg_tensor *const tensor = &plan->tensors[i];
        tensor->ld = i == 0 && plan->sparse ? 0 : row_distance(plan, tensor->cols, &fits);
        tensor->value = plan->n_columns;
        tensor->grad = i == 0 ? 0 : tensor->value - plan->tensors[0].ld;
        tensor->derivative = plan->n_derivatives;
        plan->n_columns = vg_add_product(plan->n_columns, tensor->ld, 1, &fits);
        if (plan->ops[tensor->op].stores) plan->n_derivatives += tensor->ld;
        if (tensor->ld > plan->widest) plan->widest = tensor->ld;
    }
    for (size_t i = 0; i < plan->n_param_arrays; i++) {
        vg_param *const param = &plan->params[i];
        param->offset = plan->n_params;
        param->unit = plan->n_units;
        plan->n_units += vg_n_units(param);
        plan->n_params = vg_add_product(plan->n_params, param->rows, param->cols, &fits);
    }
    lay_out_running(plan, &fits);
    vg_plan_cut_stages(plan);
    plan->flops = flops_of_row(plan);
    plan->panel = vg_add_product(0, plan->widest, VG_TILE_COLS, &fits);
    return fits ? 0 : -1;
}

/* Elements that packing takes at most of A = x^T, for any k up to rows: the last batch of an epoch
 * is shorter, and of a shorter k more rows may be packed. */
static size_t packed_size(vg_dtype dtype, size_t widest, size_t rows, int *fits) {
    const size_t share = VG_PACKED_BYTES / vg_item_size(dtype);
    const size_t least = vg_add_product(0, rows, VG_UNIT_ROWS, fits);
    const size_t all = vg_add_product(0, widest + VG_UNIT_ROWS, rows, fits);
    const size_t some = share > least ? share : least;
    return some < all ? some : all;
}

size_t vg_product_scratch(vg_dtype dtype, size_t widest, size_t rows, int *fits) {
    const size_t deepest = rows > widest ? rows : widest;
    const size_t panel =
        vg_add_product(packed_size(dtype, widest, rows, fits), deepest, VG_TILE_COLS, fits);
    return vg_add_product(panel, VG_TILE_SIZE, 1, fits);
}

/* Chunks have to be worth their share of the sum, and their gradient has to stay in the L1 or L2
 * cache. */
enum { CHUNK_LEAST = 128, CHUNKS_LEAST = 8, CHUNK_SUMS_BYTES = 16 * 1024 };
size_t vg_chunk_rows(const vg_plan *plan, size_t batch) {
    if (batch < CHUNK_LEAST * CHUNKS_LEAST || plan->n_stages > 1) return 0;
    if (plan->n_params > CHUNK_SUMS_BYTES / vg_item_size(plan->dtype)) return 0;
    const size_t rows = (batch / VG_CHUNKS_MOST / LINE + 1) * LINE;
    return rows > CHUNK_LEAST ? rows : CHUNK_LEAST;
}

/* Of a batch of at most so many rows. */
static size_t n_chunks_most(const vg_plan *plan, size_t batch) {
    if (vg_chunk_rows(plan, batch) == 0) return 0;
    return batch < VG_CHUNKS_MOST * CHUNK_LEAST ? (batch - 1) / CHUNK_LEAST + 1 : VG_CHUNKS_MOST;
}

/* How large the chunks are depends on the batch alone. */
size_t vg_moment_rows(size_t batch) {
    const size_t least = (batch - 1) / VG_MOMENT_CHUNKS + 1;
    return ((least - 1) / VG_MOMENT_ROWS + 1) * VG_MOMENT_ROWS;
}

/* Rows that a thread takes forward and back at a time: as many as stay in an L2 cache of 1 MB, but
 * enough for the products to be worth the weights that they read. */
enum { PART_BYTES = 768 * 1024, PART_LEAST = 128 };
/* Rows left empty behind those of a thread: of the narrowest array, whose rows are numbers, a page.
 * A processor that reads on beyond the end of a thread's rows takes the next thread's from its
 * cache. (4-32-16-4 on 10,000 rows by two threads: 572 us without, 507 with these.) */
enum { APART = 512 };
size_t vg_part_of_batch(const vg_plan *plan, size_t batch, int n_threads) {
    const size_t row = (2 * plan->n_columns + plan->n_derivatives) * vg_item_size(plan->dtype);
    /* Each part reads and writes the sums of the gradient: it has to be as large as they are. */
    const size_t like_sums = plan->n_params / plan->n_columns / (size_t)n_threads;
    const size_t least = like_sums > PART_LEAST ? like_sums : PART_LEAST;
    const size_t most = PART_BYTES / row > least ? PART_BYTES / row : least;
    const size_t chunk = vg_chunk_rows(plan, batch);
    const size_t apart = n_threads > 1 ? APART : 0;
    if (plan->n_batch_norms > 0) return batch;
    if (chunk > 0) return ((chunk < most ? chunk : most) + apart) * (size_t)n_threads;
    return batch / (size_t)n_threads > most ? most * (size_t)n_threads : batch;
}

int vg_workspace_lay_out(const vg_plan *plan, size_t batch, size_t rows, int n_threads,
                         vg_workspace *w) {
    int fits = 1;
    const size_t threads = (size_t)n_threads;
    w->batch = batch;
    w->rows = rows;
    w->n_threads = n_threads;
    w->flops = plan->flops * (double)batch;
    w->gradients = vg_add_product(0, rows, plan->n_columns, &fits);
    w->derivatives =
        vg_add_product(w->gradients, rows, plan->n_columns - plan->tensors[0].ld, &fits);
    w->scratch = vg_add_product(w->derivatives, rows, plan->n_derivatives, &fits);
    w->per_thread = vg_product_scratch(plan->dtype, plan->widest, rows, &fits);
    w->chunk_sums = vg_add_product(w->scratch, w->per_thread, threads, &fits);
    w->n_chunks = n_chunks_most(plan, batch);
    w->batch_norms =
        vg_add_product(w->chunk_sums, w->n_chunks, vg_round_up(plan->n_params, &fits), &fits);
    /* Of a smaller batch there are no more: its chunks have at least as many rows, or 16. */
    w->n_moment_chunks = (batch - 1) / VG_MOMENT_ROWS + 1;
    if (w->n_moment_chunks > VG_MOMENT_CHUNKS) w->n_moment_chunks = VG_MOMENT_CHUNKS;
    w->n_elements = vg_add_product(w->batch_norms, plan->n_batch_norms,
                                   vg_kept_of_column(w->n_moment_chunks, threads), &fits);

    w->row_correct = rows;
    w->row_norms = vg_add_product(0, rows, 2, &fits);
    /* Of a layer with a normalization, also those between that and the activation. */
    w->row_moments = vg_add_product(w->row_norms, rows * (plan->n_layers + plan->n_norms),
                                    sizeof(vg_norm) / sizeof(double), &fits);
    w->chunk_losses = vg_add_product(w->row_moments, rows * plan->n_norms,
                                     sizeof(vg_moments) / sizeof(double), &fits);
    w->summaries = vg_add_product(w->chunk_losses, w->n_chunks, 2, &fits);
    w->statistics =
        vg_add_product(w->summaries, plan->n_units, sizeof(vg_summary) / sizeof(double), &fits);
    w->checks = vg_add_product(w->statistics, plan->n_layers,
                               sizeof(vg_statistics) / sizeof(double), &fits);
    w->tallies = vg_add_product(w->checks, threads, VG_CHECK_STRIDE, &fits);
    const size_t tables = VG_EXPONENT_TABLES * vg_exponent_bins(plan->dtype);
    w->squares =
        vg_add_product(w->tallies, threads, tables * sizeof(uint32_t) / sizeof(double), &fits);
    w->n_notes = vg_add_product(w->squares, plan->n_units, sizeof(vg_norm) / sizeof(double), &fits);
    return fits ? 0 : -1;
}

size_t vg_check_at(const vg_workspace *w, int thread) {
    return w->checks + (size_t)thread * VG_CHECK_STRIDE;
}

size_t vg_forward_scratch(const vg_plan *plan, int n_threads) {
    int fits = 1;
    const size_t tile = vg_add_product(plan->panel, VG_TILE_SIZE, 1, &fits);
    const size_t buffers = plan->n_additions > 0 ? 3 : 2;
    const size_t each = vg_add_product(tile, plan->widest, buffers * VG_FORWARD_ROWS, &fits);
    const size_t all = vg_add_product(0, each, (size_t)n_threads, &fits);
    return fits ? all : 0;
}
