/* The loops of peak.h for AVX-512: 24 sums cover the latency of two FMA pipes. */
#include "kernels/isa.h"
#include "kernels/peak.h"
#include "kernels/unroll.h"

#ifdef TINE_KERNELS_X86
#include <immintrin.h>

enum { SUMS = 24, LANES = 16 };

static float avx512_sum_lanes(const __m512 *sum, int n) {
    float lanes[LANES], all = 0;
    __m512 v = sum[0];
    for (int i = 1; i < n; i++) v = _mm512_add_ps(v, sum[i]);
    _mm512_storeu_ps(lanes, v);
    for (int i = 0; i < LANES; i++) all += lanes[i];
    return all;
}

static float avx512_fma(size_t iterations, const float *seed) {
    __m512 sum[SUMS];
    const __m512 a = _mm512_set1_ps(seed[0]), b = _mm512_set1_ps(seed[1]);
    TINE_UNROLL(SUMS)
    for (int i = 0; i < SUMS; i++) sum[i] = _mm512_loadu_ps(seed + LANES * i);
    TINE_UNROLL_BY_4
    for (size_t n = 0; n < iterations; n++) {
        TINE_UNROLL(SUMS)
        for (int i = 0; i < SUMS; i++) sum[i] = _mm512_fmadd_ps(sum[i], a, b);
    }
    return avx512_sum_lanes(sum, SUMS);
}

static float avx512_read(const float *data, size_t count) {
    __m512 sum[8];
    TINE_UNROLL(8)
    for (int i = 0; i < 8; i++) sum[i] = _mm512_setzero_ps();
    for (size_t n = 0; n < count; n += 8 * LANES) {
        TINE_UNROLL(8)
        for (int i = 0; i < 8; i++)
            sum[i] = _mm512_add_ps(sum[i], _mm512_loadu_ps(data + n + (size_t)(LANES * i)));
    }
    return avx512_sum_lanes(sum, 8);
}

const struct tine_peak_loops tine_peak_avx512 = {
    .flops = 2.0 * SUMS * LANES,
    .fma = avx512_fma,
    .read = avx512_read,
};
#endif
