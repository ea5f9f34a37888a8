/* The loops of peak.h in plain C, which the compiler may vectorise. */
#include "kernels/isa.h"
#include "kernels/peak.h"

enum { LANES = 64 };

static float portable_fma(size_t iterations, const float *seed) {
    float sum[LANES];
    const float a = seed[0], b = seed[1];
    for (int i = 0; i < LANES; i++) sum[i] = seed[2 + i];
    for (size_t n = 0; n < iterations; n++)
        for (int i = 0; i < LANES; i++) sum[i] = sum[i] * a + b;
    float all = 0;
    for (int i = 0; i < LANES; i++) all += sum[i];
    return all;
}

static float portable_read(const float *data, size_t count) {
    float sum[LANES] = {0}, all = 0;
    for (size_t n = 0; n < count; n += LANES)
        for (int i = 0; i < LANES; i++) sum[i] += data[n + (size_t)i];
    for (int i = 0; i < LANES; i++) all += sum[i];
    return all;
}

const struct tine_peak_loops tine_peak_portable = {
    .flops = 2.0 * LANES,
    .fma = portable_fma,
    .read = portable_read,
};
