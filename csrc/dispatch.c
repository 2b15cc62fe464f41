/* dispatch.c - which machine: CPUID and XGETBV, a table from narrow to wide, the choice. The only
 * state of the core beside the thread team; chosen at load, chosen again only by tests. */
#include "kernels.h"

#include <string.h>

enum { AVX2 = 1, FMA = 2, POPCNT = 4, AVX512F = 8 };

static const struct {
    const char *name;
    unsigned needs;
    const vg_kernels *f32, *f64;
} ISA[] = {
    {"scalar", 0, &vg_kernels_f32_scalar, &vg_kernels_f64_scalar},
#ifdef VG_HAVE_AVX2
    {"avx2", AVX2 | FMA | POPCNT, &vg_kernels_f32_avx2, &vg_kernels_f64_avx2},
#endif
#ifdef VG_HAVE_AVX512
    {"avx512", AVX2 | FMA | POPCNT | AVX512F, &vg_kernels_f32_avx512, &vg_kernels_f64_avx512},
#endif
};
enum { N_ISA = sizeof ISA / sizeof ISA[0] };

static int chosen = 0;

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>

/* What the processor can do and the operating system saves at a task switch. */
static unsigned features(void) {
    unsigned a, b, c, d, low, high, found = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return 0;
    const int fma = (c & bit_FMA) != 0, popcnt = (c & bit_POPCNT) != 0;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
    if ((low & 0x06) == 0x06) /* XMM and YMM registers */
        found |= (b & bit_AVX2 ? AVX2 : 0u) | (fma ? FMA : 0u) | (popcnt ? POPCNT : 0u);
    if ((low & 0xE6) == 0xE6 && (b & bit_AVX512F)) found |= AVX512F; /* and mask, ZMM registers */
    return found;
}
#else
static unsigned features(void) { return 0; }
#endif

const char *vg_isa_available(int n) {
    const unsigned found = features();
    for (int i = 0; i < N_ISA; i++)
        if ((ISA[i].needs & ~found) == 0 && n-- == 0) return ISA[i].name;
    return NULL;
}

const char *vg_isa_name(void) { return ISA[chosen].name; }

/* Its place in the table, or -1 if it is not available. */
static int find(const char *name) {
    const unsigned found = features();
    for (int i = 0; i < N_ISA; i++)
        if ((ISA[i].needs & ~found) == 0 && strcmp(ISA[i].name, name) == 0) return i;
    return -1;
}

int vg_isa_use(const char *name) {
    const int i = find(name);
    if (i < 0) return -1;
    chosen = i;
    return 0;
}

static const vg_kernels *kernels(int i, vg_dtype dtype) {
    return dtype == VG_F32 ? ISA[i].f32 : ISA[i].f64;
}
const vg_kernels *vg_kernels_of(vg_dtype dtype) { return kernels(chosen, dtype); }
const vg_kernels *vg_kernels_named(const char *isa, vg_dtype dtype) {
    const int i = find(isa);
    return i < 0 ? NULL : kernels(i, dtype);
}
