/* Measuring the peaks, and the portable loops; see peak.h. */
#include "kernels/peak.h"
#include "kernels/mem.h"

#include <time.h>

static _Thread_local volatile float
    sink; /* keeps the loops' results wanted; each core measures with a thread of its own */

static double seconds_of(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Slices are timed on the wall clock: on a virtual machine the CPU clock can run slow and promise
 * more than there is. */
static double now(void) { return seconds_of(CLOCK_MONOTONIC); }

/* How long to measure is counted in CPU time, which stands still while another process has the
 * core: else a short measurement on a busy machine may be that process's turn and nothing more. */
static double used(void) { return seconds_of(CLOCK_THREAD_CPUTIME_ID); }

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

static const struct tine_peak_loops portable = {
    .flops = 2.0 * LANES,
    .fma = portable_fma,
    .read = portable_read,
};

static const struct tine_peak_loops *loops_of(enum tine_isa isa) {
#if defined(__x86_64__)
    if (isa == TINE_ISA_AVX512_BF16) return &tine_peak_avx512_bf16;
    if (isa == TINE_ISA_AVX512) return &tine_peak_avx512;
    if (isa == TINE_ISA_AVX2) return &tine_peak_avx2;
#endif
    (void)isa;
    return &portable;
}

static enum tine_isa best_float(void) {
    if (!tine_isa_obstacle(tine_cpu(), TINE_ISA_AVX512)) return TINE_ISA_AVX512;
    if (!tine_isa_obstacle(tine_cpu(), TINE_ISA_AVX2)) return TINE_ISA_AVX2;
    return TINE_ISA_PORTABLE;
}

/* Iterations a second: slices of about a millisecond, the best one counts. */
static double best_rate(float (*loop)(size_t, const float *), const float *seed, double seconds) {
    const double start = used(), slice = 1e-3;
    size_t iterations = 1000;
    double best = 0;
    do {
        double begin = now();
        sink = loop(iterations, seed);
        double took = now() - begin;
        if (took < slice / 2) {
            iterations *= 2;
            continue;
        }
        if ((double)iterations / took > best) best = (double)iterations / took;
    } while (used() - start < seconds || best == 0);
    return best;
}

double tine_peak_gflops(enum tine_isa isa, enum tine_gemm_type type, double seconds) {
    const struct tine_kernel_choice *choice = tine_kernel_choice();
    if (isa == TINE_ISA_AUTO) isa = type == TINE_GEMM_BF16 ? choice->bf16 : choice->f32;
    if (isa == TINE_ISA_AUTO || isa == TINE_ISA_OPENBLAS) isa = best_float();
    if (tine_isa_obstacle(tine_cpu(), isa)) return 0;
    const struct tine_peak_loops *loops = loops_of(isa);
    float seed[TINE_PEAK_SEEDS];
    for (int i = 0; i < TINE_PEAK_SEEDS; i++) seed[i] = 0.5f + (float)i / 4096;
    seed[0] = 0.5f;
    if (type == TINE_GEMM_BF16)
        return loops->dot ? 1e-9 * loops->bf16_flops * best_rate(loops->dot, seed, seconds) : 0;
    return loops->fma ? 1e-9 * loops->flops * best_rate(loops->fma, seed, seconds) : 0;
}

double tine_peak_read_gbs(size_t bytes, double seconds) {
    struct tine_mem mem;
    const size_t count = (bytes / sizeof(float) + 1023) / 1024 * 1024;
    if (count == 0 || !tine_mem_alloc(&mem, count * sizeof(float))) return 0;
    float *data = mem.data;
    for (size_t i = 0; i < count; i++) data[i] = (float)(i & 7);
    const struct tine_peak_loops *loops = loops_of(best_float());
    const double start = used();
    double best = 0;
    do {
        double begin = now();
        sink = loops->read(data, count);
        double rate = (double)count * sizeof(float) / (now() - begin);
        if (rate > best) best = rate;
    } while (used() - start < seconds);
    tine_mem_free(&mem);
    return 1e-9 * best;
}
