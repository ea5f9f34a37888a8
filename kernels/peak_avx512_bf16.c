/* The dot-product loop of peak.h for AVX512_BF16. */
#include "kernels/isa.h"
#include "kernels/peak.h"
#include "kernels/unroll.h"

#ifdef TINE_KERNELS_X86
#include <immintrin.h>

enum { SUMS = 24, LANES = 16 };

static float avx512_bf16_dot(size_t iterations, const float *seed) {
    __m512 sum[SUMS];
    const __m512bh a = (__m512bh)_mm512_set1_ps(seed[0]), b = (__m512bh)_mm512_set1_ps(-seed[1]);
    TINE_UNROLL(SUMS)
    for (int i = 0; i < SUMS; i++) sum[i] = _mm512_loadu_ps(seed + LANES * i);
    TINE_UNROLL_BY_4
    for (size_t n = 0; n < iterations; n++) {
        TINE_UNROLL(SUMS)
        for (int i = 0; i < SUMS; i++) sum[i] = _mm512_dpbf16_ps(sum[i], a, b);
    }
    float lanes[LANES], all = 0;
    __m512 v = sum[0];
    for (int i = 1; i < SUMS; i++) v = _mm512_add_ps(v, sum[i]);
    _mm512_storeu_ps(lanes, v);
    for (int i = 0; i < LANES; i++) all += lanes[i];
    return all;
}

const struct tine_peak_loops tine_peak_avx512_bf16 = {
    .bf16_flops = 4.0 * SUMS * LANES,
    .dot = avx512_bf16_dot,
};
#endif
