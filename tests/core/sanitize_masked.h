/* sanitize_masked.h - masked loads and stores as AddressSanitizer should see them: gcc's looks at whole vectors, but
 * not at these. Read before each file of the core (-include). A macro is not expanded within itself, so that each ends
 * at the intrinsic of its name. Our masks are of lanes in a row: the first, or for a load that adds to a vector others. */
#if defined __AVX2__
#include <immintrin.h>
#include <stddef.h>

void __asan_loadN(void *p, long bytes);
void __asan_storeN(void *p, long bytes);

static inline long vg_bytes(unsigned mask, long lane) {
    return mask == 0 ? 0 : lane * (32 - __builtin_clz(mask));
}
static inline long vg_skipped(unsigned mask, long lane) {
    return mask == 0 ? 0 : lane * __builtin_ctz(mask);
}
static inline void vg_load_some(const void *p, unsigned mask, long lane) {
    const long skipped = vg_skipped(mask, lane);
    __asan_loadN((char *)(size_t)p + skipped, vg_bytes(mask, lane) - skipped);
}
static inline long vg_signs_ps(__m256i m) {
    return vg_bytes((unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(m)), 4);
}
static inline long vg_signs_pd(__m256i m) {
    return vg_bytes((unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(m)), 8);
}

#define _mm256_maskload_ps(p, m) \
    (__asan_loadN((void *)(size_t)(p), vg_signs_ps(m)), _mm256_maskload_ps(p, m))
#define _mm256_maskload_pd(p, m) \
    (__asan_loadN((void *)(size_t)(p), vg_signs_pd(m)), _mm256_maskload_pd(p, m))
#define _mm_maskload_ps(p, m) \
    (__asan_loadN((void *)(size_t)(p), vg_bytes((unsigned)_mm_movemask_ps(_mm_castsi128_ps(m)), 4)), \
     _mm_maskload_ps(p, m))
#define _mm_storel_pi(p, x) (__asan_storeN(p, 8), _mm_storel_pi(p, x))
#define _mm512_maskz_loadu_ps(m, p) \
    (__asan_loadN((void *)(size_t)(p), vg_bytes(m, 4)), _mm512_maskz_loadu_ps(m, p))
#define _mm512_maskz_loadu_pd(m, p) \
    (__asan_loadN((void *)(size_t)(p), vg_bytes(m, 8)), _mm512_maskz_loadu_pd(m, p))
#define _mm512_mask_loadu_ps(x, m, p) \
    (vg_load_some(p, m, 4), _mm512_mask_loadu_ps(x, m, p))
#define _mm512_mask_loadu_pd(x, m, p) \
    (vg_load_some(p, m, 8), _mm512_mask_loadu_pd(x, m, p))
#define _mm512_mask_storeu_ps(p, m, x) \
    (__asan_storeN(p, vg_bytes(m, 4)), _mm512_mask_storeu_ps(p, m, x))
#define _mm512_mask_storeu_pd(p, m, x) \
    (__asan_storeN(p, vg_bytes(m, 8)), _mm512_mask_storeu_pd(p, m, x))
#endif
