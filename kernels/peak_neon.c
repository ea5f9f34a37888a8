/* The loops of peak.h for NEON: 24 sums cover the latency of four FMA pipes. */
#include "kernels/isa.h"
#include "kernels/peak.h"
#include "kernels/unroll.h"

#ifdef TINE_KERNELS_ARM64
#include <arm_neon.h>

enum { SUMS = 24, LANES = 4 };

static float neon_sum_lanes(const float32x4_t *sum, int n) {
    float32x4_t v = sum[0];
    for (int i = 1; i < n; i++) v = vaddq_f32(v, sum[i]);
    return vaddvq_f32(v);
}

static float neon_fma(size_t iterations, const float *seed) {
    float32x4_t sum[SUMS];
    const float32x4_t a = vdupq_n_f32(seed[0]), b = vdupq_n_f32(-seed[1]);
    TINE_UNROLL(SUMS)
    for (int i = 0; i < SUMS; i++) sum[i] = vld1q_f32(seed + LANES * i);
    for (size_t n = 0; n < iterations; n++) {
        TINE_UNROLL(SUMS)
        for (int i = 0; i < SUMS; i++) sum[i] = vfmaq_f32(sum[i], a, b);
    }
    return neon_sum_lanes(sum, SUMS);
}

static float neon_read(const float *data, size_t count) {
    float32x4_t sum[8];
    TINE_UNROLL(8)
    for (int i = 0; i < 8; i++) sum[i] = vdupq_n_f32(0);
    for (size_t n = 0; n < count; n += 8 * LANES) {
        TINE_UNROLL(8)
        for (int i = 0; i < 8; i++)
            sum[i] = vaddq_f32(sum[i], vld1q_f32(data + n + (size_t)(LANES * i)));
    }
    return neon_sum_lanes(sum, 8);
}

const struct tine_peak_loops tine_peak_neon = {
    .flops = 2.0 * SUMS * LANES,
    .fma = neon_fma,
    .read = neon_read,
};
#endif
