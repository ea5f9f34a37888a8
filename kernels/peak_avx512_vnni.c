/* The int8 loop of peak.h for AVX512_VNNI. */
#include "kernels/isa.h"
#include "kernels/peak.h"
#include "kernels/unroll.h"

#ifdef TINE_KERNELS_X86
#include <immintrin.h>
#include <string.h>

enum { SUMS = 24, LANES = 16 };

/* In assembly: GCC 12 copies the sums around its intrinsic, which halves the speed. */
TINE_INLINE void peak_dot(__m512i *sum, __m512i a, __m512i b) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(*sum) : "v"(a), "v"(b));
}

static float avx512_vnni_int8(size_t iterations, const float *seed) {
    __m512i sum[SUMS];
    const __m512i a = _mm512_castps_si512(_mm512_set1_ps(seed[0])),
                  b = _mm512_castps_si512(_mm512_set1_ps(seed[1]));
    TINE_UNROLL(SUMS)
    for (int i = 0; i < SUMS; i++) sum[i] = _mm512_loadu_si512(seed + LANES * i);
    TINE_UNROLL_BY_4
    for (size_t n = 0; n < iterations; n++) {
        TINE_UNROLL(SUMS)
        for (int i = 0; i < SUMS; i++) peak_dot(&sum[i], a, b);
    }
    int32_t lanes[LANES];
    float all = 0;
    TINE_UNROLL(SUMS)
    for (int i = 1; i < SUMS; i++) sum[0] = _mm512_add_epi32(sum[0], sum[i]);
    memcpy(lanes, &sum[0], sizeof lanes);
    for (int i = 0; i < LANES; i++) all += (float)lanes[i];
    return all;
}

const struct tine_peak_loops tine_peak_avx512_vnni = {
    .int8_ops = 8.0 * SUMS * LANES,
    .int8 = avx512_vnni_int8,
};
#endif
