/* scalar.c - every kernel for both types, compiled for scalar with flags of its own (setup.py). */
#include "kernels.h"
#define ISA scalar
#define SIMD "../simd/scalar.h"

#define REAL_BITS 32
#include "../kernels/instance.tmpl.h"

#define REAL_BITS 64
#include "../kernels/instance.tmpl.h"
