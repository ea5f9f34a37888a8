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

/* One of the loops: of arithmetic, or of reading `count` values at `data`. */
struct loop {
    float (*compute)(size_t iterations, const float *seed);
    float (*read)(const float *data, size_t count);
    const float *data;
    size_t count;
};

static void loop_run(const struct loop *loop, size_t iterations) {
    if (loop->compute)
        sink = loop->compute(iterations, loop->data);
    else
        for (size_t i = 0; i < iterations; i++) sink = loop->read(loop->data, loop->count);
}

/* `unit` is 10^-9 of what one iteration does. A slice is about a millisecond. */
static struct tine_peak_rate loop_measure(const struct loop *loop, double unit, double seconds) {
    const double slice = 1e-3;
    double best = 0, all = 0, passed = 0;
    size_t iterations = 1;
    while (passed < seconds || best == 0) {
        double cpu = cpu_seconds(), begin = wall_seconds();
        loop_run(loop, iterations);
        double took = wall_seconds() - begin;
        if (took < slice / 2) { /* reading the clocks would count */
            iterations *= 2;
            continue;
        }
        passed += cpu_seconds() - cpu;
        all += (double)iterations;
        best = (double)iterations / took > best ? (double)iterations / took : best;
    }
    return (struct tine_peak_rate){unit * best, unit * all / passed};
}

struct tine_peak_rate tine_peak_gflops(enum tine_isa isa, enum tine_gemm_type type,
                                       double seconds) {
    if (isa == TINE_ISA_AUTO) isa = tine_gemm_isa(type);
    if (tine_isa_obstacle(tine_cpu(), isa)) return (struct tine_peak_rate){0};
    const struct tine_peak_loops *loops = peak_loops(isa);
    const double flops = type == TINE_GEMM_INT8   ? loops->int8_ops
                         : type == TINE_GEMM_BF16 ? loops->bf16_flops
                                                  : loops->flops;
    float seed[TINE_PEAK_SEEDS];
    for (int i = 0; i < TINE_PEAK_SEEDS; i++) seed[i] = 0.5f + (float)i / 4096;
    seed[0] = 0.5f;
    const struct loop loop = {.compute = type == TINE_GEMM_INT8   ? loops->int8
                                         : type == TINE_GEMM_BF16 ? loops->dot
                                                                  : loops->fma,
                              .data = seed};
    return loop.compute ? loop_measure(&loop, 1e-9 * flops, seconds) : (struct tine_peak_rate){0};
}

struct tine_peak_rate tine_peak_read_gbs(size_t bytes, double seconds) {
    struct tine_mem mem;
    const size_t count = (bytes / sizeof(float) + 1023) / 1024 * 1024;
    if (count == 0 || !tine_mem_alloc(&mem, count * sizeof(float)))
        return (struct tine_peak_rate){0};
    float *data = mem.data;
    for (size_t i = 0; i < count; i++) data[i] = (float)(i & 7);
    const struct loop loop = {.read = peak_best()->read, .data = data, .count = count};
    loop_run(&loop, 1); /* into the caches that are large enough */
    struct tine_peak_rate rate = loop_measure(&loop, 1e-9 * (double)count * sizeof(float), seconds);
    tine_mem_free(&mem);
    return rate;
}
