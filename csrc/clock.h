/* clock.h - what time it is: by the system's clock, and by the processor's, which takes some 25
 * cycles to read instead of some 25 ns. */
#ifndef VG_CLOCK_H
#define VG_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline double vg_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Counts at a constant rate, which is for the caller to find out. */
static inline uint64_t vg_ticks(void) {
#if defined(__x86_64__) || defined(__i386__)
    return __builtin_ia32_rdtsc();
#else
    return (uint64_t)(1e9 * vg_seconds());
#endif
}

#endif
