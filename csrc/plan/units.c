/* units.c - which units of work each thread takes. The units are the plan's; only who takes them
 * depends on the number of threads. */
#include "plan/plan.h"

void vg_share_rows(size_t rows, int thread, int n_threads, size_t *first, size_t *last) {
    const size_t n = (size_t)n_threads, t = (size_t)thread;
    *first = rows * t / n;
    *last = rows * (t + 1) / n;
}

/* Rows of p before those of the thread whose share of all parameters begins there. */
static size_t rows_before(const vg_param *p, size_t unit, double begin) {
    const double from = begin - (double)p->offset, cols = (double)p->cols;
    if (from <= 0) return 0;
    if (from >= (double)p->rows * cols) return p->rows;
    const size_t rows = (size_t)(from / ((double)unit * cols) + 0.5) * unit;
    return rows < p->rows ? rows : p->rows;
}

void vg_share_param(const vg_plan *plan, const vg_param *p, size_t unit, int thread, int n_threads,
                    size_t *first, size_t *last) {
    const double share = (double)plan->n_params / n_threads;
    *first = rows_before(p, unit, share * thread);
    *last = thread + 1 == n_threads ? p->rows : rows_before(p, unit, share * (thread + 1));
}

/* Of the smaller type, elements in a cache line: no two threads write to the same one. */
enum { LINE = 16 };

void vg_share_columns(size_t cols, int column, int n_columns, size_t *first, size_t *last) {
    if (n_columns == 1) {
        *first = 0;
        *last = cols;
        return;
    }
    const size_t lines = (cols + LINE - 1) / LINE;
    vg_share_rows(lines, column, n_columns, first, last);
    *first *= LINE;
    *last = *last * LINE < cols ? *last * LINE : cols;
}

/* Reading and packing a column of W takes about as long as multiplying so many rows by it, and
 * reading a row, as multiplying it by so many columns: less where W stays in an L2 cache. (Ten
 * layers of 256, 128 rows, 16 simulated threads: 470 to 540 us by rows, 520 to 560 by 4 columns;
 * two layers of 1024: 1,680 and 1,190.) A barrier takes as long as so many multiply-adds for each
 * thread that comes to it. */
static const double READING_NEAR = 4, READING_FAR = 16, NEAR_BYTES = 1024 * 1024, BARRIER = 10e3;
/* Where threads are late now and then, each barrier waits for the last: so much of the work must be
 * left for that to pay. */
static const double ENOUGH = 0.85;

/* The most columns that a thread makes. */
static double columns_each(size_t cols, int n_columns) {
    const size_t lines = (cols + LINE - 1) / LINE, n = (size_t)n_columns;
    return n_columns == 1 ? (double)cols : (double)((lines + n - 1) / n * LINE);
}

/* What a thread does, in multiply-adds, if so many share the same rows. */
static double work(const vg_plan *plan, size_t rows, int n_threads, int n_columns) {
    const size_t groups = (size_t)(n_threads / n_columns);
    const double each = (double)((rows + groups - 1) / groups);
    double sum = n_columns > 1 ? BARRIER * n_threads * 2 * (double)plan->n_layers : 0;
    for (size_t i = 0; i < plan->n_ops; i++) {
        const vg_op *const op = &plan->ops[i];
        if (op->kind != VG_OP_DENSE || vg_is_sparse(plan, op)) continue;
        const size_t n_in = plan->tensors[op->in].cols, n_out = plan->tensors[op->out].cols;
        const double n_bytes = (double)n_in * (double)n_out * (double)vg_item_size(plan->dtype);
        const double reading = n_bytes > NEAR_BYTES ? READING_FAR : READING_NEAR;
        const double rows_read = each + reading;
        sum += rows_read * (double)n_in * (columns_each(n_out, n_columns) + reading);
        if (!vg_is_first(plan, op))
            sum += rows_read * (double)n_out * (columns_each(n_in, n_columns) + reading);
    }
    return sum;
}

int vg_choose_columns(const vg_plan *plan, size_t rows, int n_threads) {
    int best = 1;
    double least = ENOUGH * work(plan, rows, n_threads, 1);
    for (int n = 2; n <= n_threads; n++) {
        if (n_threads % n != 0) continue;
        const double sum = work(plan, rows, n_threads, n);
        if (sum < least) least = sum, best = n;
    }
    return best;
}
