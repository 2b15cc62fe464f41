/* workspace.c - sizes -> where everything lies; every product and sum checked for overflow. */
#include "kernels.h"
#include "plan/plan.h"
#include "pretrain/pretrain.h"

int vg_pretrain_lay_out(vg_dtype dtype, size_t m, size_t n, size_t rows, size_t k, int n_threads,
                        vg_pretrain_workspace *w) {
    int fits = 1;
    const size_t threads = (size_t)n_threads;
    *w = (vg_pretrain_workspace){
        .dtype = dtype, .m = m, .n = n, .rows = rows, .n_threads = n_threads};
    w->ldm = vg_round_up(m, &fits);
    w->ldn = vg_round_up(n, &fits);
    const size_t widest = w->ldm > w->ldn ? w->ldm : w->ldn;
    const size_t twice = vg_add_product(0, rows, 2, &fits);
    w->hidden = vg_add_product(w->visible, twice, w->ldm, &fits);
    w->states = vg_add_product(w->hidden, twice, w->ldn, &fits);
    w->outputs = vg_add_product(w->states, rows, w->ldn, &fits);
    w->sums = vg_add_product(w->outputs, rows, w->ldm, &fits);
    w->each_sums = vg_add_product(0, widest, 2, &fits);
    w->scratch = vg_add_product(w->sums, w->each_sums, threads, &fits);
    w->per_thread = vg_product_scratch(dtype, widest, twice, &fits);
    w->n_elements = vg_add_product(w->scratch, w->per_thread, threads, &fits);
    vg_add_product(vg_add_product(n, m, n, &fits), m, 1, &fits); /* the parameters */

    w->checks = twice;
    w->summaries = vg_add_product(w->checks, threads, VG_CHECK_STRIDE, &fits);
    const size_t units = (m + VG_UNIT_ROWS - 1) / VG_UNIT_ROWS;
    w->n_notes = vg_add_product(w->summaries, units, sizeof(vg_summary) / sizeof(double), &fits);
    w->flops = 2.0 * (double)rows * (double)m * (double)n * (1 + 2 * (double)k + 2);
    return fits ? 0 : -1;
}
