/* float_mode.h - the mode in which a thread computes: rounding to nearest, subnormals, no traps.
 *
 * Each thread has a mode of its own and starts with that of its creator, so another library or the
 * user may have set any: flushing of subnormals, another rounding, traps. Work of the core begins
 * with vg_enter_float_mode and ends with vg_leave_float_mode, so that neither its bits nor the
 * caller's mode depend on the other. */
#ifndef VG_FLOAT_MODE_H
#define VG_FLOAT_MODE_H

#if defined(__x86_64__) || defined(__SSE__)

#include <xmmintrin.h>

typedef unsigned vg_float_mode;
/* The low bits of the register tell of exceptions that were; the others are the mode. */
enum { VG_FLOAT_FLAGS = 0x3F, VG_FLOAT_DEFAULT = 0x1F80 };

static inline vg_float_mode vg_enter_float_mode(void) {
    const vg_float_mode before = _mm_getcsr();
    if ((before & ~(unsigned)VG_FLOAT_FLAGS) != VG_FLOAT_DEFAULT) _mm_setcsr(VG_FLOAT_DEFAULT);
    return before;
}
static inline void vg_leave_float_mode(vg_float_mode before) {
    if ((before & ~(unsigned)VG_FLOAT_FLAGS) != VG_FLOAT_DEFAULT) _mm_setcsr(before);
}

#else

#include <fenv.h>

typedef fenv_t vg_float_mode;

static inline vg_float_mode vg_enter_float_mode(void) {
    vg_float_mode before;
    fegetenv(&before);
    fesetenv(FE_DFL_ENV);
    return before;
}
static inline void vg_leave_float_mode(vg_float_mode before) { fesetenv(&before); }

#endif
#endif
