/* avx2.c - every kernel for both types, compiled for avx2 with flags of its own (setup.py). */
#include "kernels.h"

#ifdef __AVX2__ /* else the compiler does not know it: see setup.py */
#define ISA avx2
#define SIMD "../simd/avx2.h"

#define REAL_BITS 32
#include "../kernels/instance.tmpl.h"

#define REAL_BITS 64
#include "../kernels/instance.tmpl.h"

#endif
