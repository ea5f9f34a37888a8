/* See peak.h. */
#include "launch/command/peak.h"

#include <time.h>

/* A worker also runs the loop for so long before and after what counts. Workers begin and end some
 * milliseconds apart, and one that runs alone may be faster. */
static const double MARGIN_SECONDS = 0.02;

static double clock_read(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* By the wall clock: the mean times the worker's share of its core, which is less than 1 where
 * workers share cores, or a quota stops them. */
static struct tine_peak_rate rate_by_wall(enum tine_gemm_type type, double seconds) {
    double wall = clock_read(CLOCK_MONOTONIC), cpu = clock_read(CLOCK_THREAD_CPUTIME_ID);
    struct tine_peak_rate rate = tine_peak_gflops(TINE_ISA_AUTO, type, seconds);
    cpu = clock_read(CLOCK_THREAD_CPUTIME_ID) - cpu;
    wall = clock_read(CLOCK_MONOTONIC) - wall;
    if (cpu < wall) rate.mean *= cpu / wall;
    return rate;
}

TINE_FUNCTION(bench_peak, "type, seconds") {
    enum tine_gemm_type type = (enum tine_gemm_type)tine_arg_int(task, 0);
    if (tine_peak_gflops(TINE_ISA_AUTO, type, MARGIN_SECONDS).best == 0) { /* no such loop */
        type = TINE_GEMM_F32;
        tine_peak_gflops(TINE_ISA_AUTO, type, MARGIN_SECONDS);
    }
    struct tine_peak_rate rate = rate_by_wall(type, tine_arg_float(task, 1));
    tine_peak_gflops(TINE_ISA_AUTO, type, MARGIN_SECONDS);
    return tine_list(rate.mean, rate.best);
}

tine_error tine_workers_peak(enum tine_gemm_type type, double seconds, struct tine_peak_rate *out) {
    tine_value *rates = NULL;
    tine_future *all = tine_fork_everywhere("bench_peak", (int)type, seconds);
    tine_error failed = tine_wait(all, &rates);
    *out = (struct tine_peak_rate){0};
    for (size_t i = 0; !failed && i < tine_length(rates); i++) {
        out->mean += tine_as_float(tine_at(tine_at(rates, i), 0));
        out->best += tine_as_float(tine_at(tine_at(rates, i), 1));
    }
    tine_release(rates);
    tine_release(all);
    return failed;
}
