/* The int8 loop of peak.h for AVX-VNNI. */
#include "kernels/isa.h"
#include "kernels/peak.h"
#include "kernels/unroll.h"

#ifdef TINE_KERNELS_X86
#include <immintrin.h>
#include <string.h>

enum { SUMS = 12, LANES = 8 };

/* In assembly: GCC 12 copies the sums around its intrinsic, which halves the speed. */
TINE_INLINE void peak_vex_dot(__m256i *sum, __m256i a, __m256i b) {
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(*sum) : "x"(a), "x"(b));
}

static float avx_vnni_int8(size_t iterations, const float *seed) {
    __m256i sum[SUMS];
    const __m256i a = _mm256_castps_si256(_mm256_set1_ps(seed[0])),
                  b = _mm256_castps_si256(_mm256_set1_ps(seed[1]));
    TINE_UNROLL(SUMS)
    for (int i = 0; i < SUMS; i++) sum[i] = _mm256_loadu_si256((const __m256i *)(seed + LANES * i));
    TINE_UNROLL_BY_4
    for (size_t n = 0; n < iterations; n++) {
        TINE_UNROLL(SUMS)
        for (int i = 0; i < SUMS; i++) peak_vex_dot(&sum[i], a, b);
    }
    int32_t lanes[LANES];
    float all = 0;
    TINE_UNROLL(SUMS)
    for (int i = 1; i < SUMS; i++) sum[0] = _mm256_add_epi32(sum[0], sum[i]);
    memcpy(lanes, &sum[0], sizeof lanes);
    for (int i = 0; i < LANES; i++) all += (float)lanes[i];
    return all;
}

const struct tine_peak_loops tine_peak_avx_vnni = {
    .int8_ops = 8.0 * SUMS * LANES,
    .int8 = avx_vnni_int8,
};
#endif
