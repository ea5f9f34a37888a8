/* Measuring the peaks; see peak.h. */
#include "kernels/peak.h"
#include "kernels/mem.h"

#include <time.h>

/* Keeps the compiler from removing the loops. Each core is measured by a thread of its own. */
static _Thread_local volatile float sink;

static double clock_seconds(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Slices are timed by the wall clock: on a virtual machine the thread's CPU time can run slow, and
 * the rate would come out too high. */
static double wall_seconds(void) { return clock_seconds(CLOCK_MONOTONIC); }

/* The length of a measurement is CPU time, which stands still while another process has the core: a
 * short measurement on a busy machine would else consist of that process's time slice alone. */
static double cpu_seconds(void) { return clock_seconds(CLOCK_THREAD_CPUTIME_ID); }

/* The best loops of float32 that run; the portable ones always do. */
static const struct tine_peak_loops *peak_best(void) {
    enum tine_isa isa = TINE_ISA_COUNT - 1;
    while (!tine_isa_row(isa)->peak || !tine_isa_row(isa)->peak->fma ||
           tine_isa_obstacle(tine_cpu(), isa))
        isa--;
    return tine_isa_row(isa)->peak;
}

static const struct tine_peak_loops *peak_loops(enum tine_isa isa) {
    for (; isa != TINE_ISA_AUTO; isa = tine_isa_row(isa)->base)
        if (tine_isa_row(isa)->peak) return tine_isa_row(isa)->peak;
    return peak_best();
}

const char *tine_peak_defect(const struct tine_peak_loops *loops) {
    if (!loops->fma && !loops->dot && !loops->int8) return "its peak has no loop";
    if (loops->fma && !(loops->flops > 0)) return "its peak does not say how much fma computes";
    if (loops->dot && !(loops->bf16_flops > 0))
        return "its peak does not say how much dot computes";
    if (loops->int8 && !(loops->int8_ops > 0))
        return "its peak does not say how much int8 computes";
    if (loops->fma && !loops->read) return "its peak has no read loop";
    return NULL;
}

/* Iterations per second of the best slice; a slice is about a millisecond. */
static double peak_rate(float (*loop)(size_t, const float *), const float *seed, double seconds) {
    const double start = cpu_seconds(), slice = 1e-3;
    size_t iterations = 1000;
    double best = 0;
    do {
        double begin = wall_seconds();
        sink = loop(iterations, seed);
        double took = wall_seconds() - begin;
        if (took < slice / 2) {
            iterations *= 2;
            continue;
        }
        if ((double)iterations / took > best) best = (double)iterations / took;
    } while (cpu_seconds() - start < seconds || best == 0);
    return best;
}

double tine_peak_gflops(enum tine_isa isa, enum tine_gemm_type type, double seconds) {
    if (isa == TINE_ISA_AUTO) isa = tine_gemm_isa(type);
    if (tine_isa_obstacle(tine_cpu(), isa)) return 0;
    const struct tine_peak_loops *loops = peak_loops(isa);
    float seed[TINE_PEAK_SEEDS];
    for (int i = 0; i < TINE_PEAK_SEEDS; i++) seed[i] = 0.5f + (float)i / 4096;
    seed[0] = 0.5f;
    if (type == TINE_GEMM_INT8)
        return loops->int8 ? 1e-9 * loops->int8_ops * peak_rate(loops->int8, seed, seconds) : 0;
    if (type == TINE_GEMM_BF16)
        return loops->dot ? 1e-9 * loops->bf16_flops * peak_rate(loops->dot, seed, seconds) : 0;
    return loops->fma ? 1e-9 * loops->flops * peak_rate(loops->fma, seed, seconds) : 0;
}

double tine_peak_read_gbs(size_t bytes, double seconds) {
    struct tine_mem mem;
    const size_t count = (bytes / sizeof(float) + 1023) / 1024 * 1024;
    if (count == 0 || !tine_mem_alloc(&mem, count * sizeof(float))) return 0;
    float *data = mem.data;
    for (size_t i = 0; i < count; i++) data[i] = (float)(i & 7);
    const struct tine_peak_loops *loops = peak_best();
    const double start = cpu_seconds();
    double best = 0;
    do {
        double begin = wall_seconds();
        sink = loops->read(data, count);
        double rate = (double)count * sizeof(float) / (wall_seconds() - begin);
        if (rate > best) best = rate;
    } while (cpu_seconds() - start < seconds);
    tine_mem_free(&mem);
    return 1e-9 * best;
}
