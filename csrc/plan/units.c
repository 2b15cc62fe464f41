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
