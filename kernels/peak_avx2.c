/* The loops of peak.h for AVX2 + FMA: 12 sums cover the latency of two FMA pipes. */
#include "kernels/isa.h"
#include "kernels/peak.h"
#include "kernels/unroll.h"

#ifdef TINE_KERNELS_X86
#include <immintrin.h>

enum { SUMS = 12, LANES = 8 };

static float avx2_sum_lanes(const __m256 *sum, int n) {
    float lanes[LANES], all = 0;
    __m256 v = sum[0];
    for (int i = 1; i < n; i++) v = _mm256_add_ps(v, sum[i]);
    _mm256_storeu_ps(lanes, v);
    for (int i = 0; i < LANES; i++) all += lanes[i];
    return all;
}

static float avx2_fma(size_t iterations, const float *seed) {
    __m256 sum[SUMS];
    const __m256 a = _mm256_set1_ps(seed[0]), b = _mm256_set1_ps(seed[1]);
    TINE_UNROLL(SUMS)
    for (int i = 0; i < SUMS; i++) sum[i] = _mm256_loadu_ps(seed + LANES * i);
    TINE_UNROLL_BY_4
    for (size_t n = 0; n < iterations; n++) {
        TINE_UNROLL(SUMS)
        for (int i = 0; i < SUMS; i++) sum[i] = _mm256_fmadd_ps(sum[i], a, b);
    }
    return avx2_sum_lanes(sum, SUMS);
}

static float avx2_read(const float *data, size_t count) {
    __m256 sum[8];
    TINE_UNROLL(8)
    for (int i = 0; i < 8; i++) sum[i] = _mm256_setzero_ps();
    for (size_t n = 0; n < count; n += 8 * LANES) {
        TINE_UNROLL(8)
        for (int i = 0; i < 8; i++)
            sum[i] = _mm256_add_ps(sum[i], _mm256_loadu_ps(data + n + (size_t)(LANES * i)));
    }
    return avx2_sum_lanes(sum, 8);
}

const struct tine_peak_loops tine_peak_avx2 = {
    .flops = 2.0 * SUMS * LANES,
    .fma = avx2_fma,
    .read = avx2_read,
};
#endif
