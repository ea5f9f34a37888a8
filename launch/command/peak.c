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

/* The best slice counts, in which the worker had a core for itself, times its share of that core:
 * less than 1 where workers share cores, or a quota stops them. */
static double rate_with_share(enum tine_gemm_type type, double seconds) {
    double wall = clock_read(CLOCK_MONOTONIC), cpu = clock_read(CLOCK_THREAD_CPUTIME_ID);
    double rate = tine_peak_gflops(TINE_ISA_AUTO, type, seconds);
    cpu = clock_read(CLOCK_THREAD_CPUTIME_ID) - cpu;
    wall = clock_read(CLOCK_MONOTONIC) - wall;
    return cpu < wall ? rate * cpu / wall : rate;
}

TINE_FUNCTION(bench_peak, "type, seconds") {
    enum tine_gemm_type type = (enum tine_gemm_type)tine_arg_int(task, 0);
    if (tine_peak_gflops(TINE_ISA_AUTO, type, MARGIN_SECONDS) == 0) { /* it has no such loop */
        type = TINE_GEMM_F32;
        tine_peak_gflops(TINE_ISA_AUTO, type, MARGIN_SECONDS);
    }
    double rate = rate_with_share(type, tine_arg_float(task, 1));
    tine_peak_gflops(TINE_ISA_AUTO, type, MARGIN_SECONDS);
    return tine_float(rate);
}

tine_error tine_workers_peak(enum tine_gemm_type type, double seconds, double *out) {
    tine_value *rates = NULL;
    tine_future *all = tine_fork_everywhere("bench_peak", (int)type, seconds);
    tine_error failed = tine_wait(all, &rates);
    *out = 0;
    for (size_t i = 0; !failed && i < tine_length(rates); i++)
        *out += tine_as_float(tine_at(rates, i));
    tine_release(rates);
    tine_release(all);
    return failed;
}
