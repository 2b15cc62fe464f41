/* units.c - which units of work each thread takes. The units are the plan's; only who takes them
 * depends on the number of threads. */
#include "plan/plan.h"

void vg_share_rows(size_t rows, int thread, int n_threads, size_t *first, size_t *last) {
    const size_t n = (size_t)n_threads, t = (size_t)thread;
    *first = rows * t / n;
    *last = rows * (t + 1) / n;
}

void vg_share_units(const vg_plan *plan, int thread, int n_threads, size_t *first, size_t *last) {
    const double share = (double)plan->n_params / n_threads;
    const double from = share * thread, to = share * (thread + 1);
    double done = 0;
    *first = *last = 0;
    if (n_threads == 1) {
        *last = plan->n_units;
        return;
    }
    for (size_t i = 0; i < plan->n_param_arrays; i++) {
        const vg_param *const p = &plan->params[i];
        for (size_t row = 0; row < p->rows; row += VG_UNIT_ROWS) {
            const size_t left = p->rows - row, rows = left < VG_UNIT_ROWS ? left : VG_UNIT_ROWS;
            const double size = (double)rows * (double)p->cols, middle = done + size / 2;
            done += size;
            *first += middle < from;
            *last += middle < to;
        }
    }
    if (thread == n_threads - 1) *last = plan->n_units;
}
