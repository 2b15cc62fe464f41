/* machine.c - what the machine could do at best. */
#include "kernels.h"
#include "threads.h"

typedef struct {
    const vg_kernels *kernels;
    double rates[VG_THREADS_MOST]; /* operations per second */
} peak_call;

/* A processor runs at full speed some microseconds after the first wide instructions: the first
 * turns do not count. */
static void measure_peak(void *context, int thread, int n_threads) {
    enum { TURNS = 20000 };
    const double WARM_UP = 1e-3, LONG_ENOUGH = 20e-3;
    peak_call *const call = context;
    double sink = 1, flops = 0, passed = 0;
    vg_team_meet(n_threads);
    for (const double start = vg_seconds(); vg_seconds() - start < WARM_UP;)
        call->kernels->fma_loop(TURNS, &sink);
    for (const double start = vg_seconds(); passed < LONG_ENOUGH; passed = vg_seconds() - start)
        flops += call->kernels->fma_loop(TURNS, &sink);
    call->rates[thread] = sink != 0 ? flops / passed : 0;
    vg_team_meet(n_threads);
    if (thread > 0) return;
    for (int t = 1; t < n_threads; t++) call->rates[0] += call->rates[t];
}

double vg_fma_peak(vg_dtype dtype, int n_threads) {
    peak_call call = {.kernels = vg_kernels_of(dtype)};
    vg_team_run(measure_peak, &call, n_threads, VG_MEASURING);
    return call.rates[0];
}
