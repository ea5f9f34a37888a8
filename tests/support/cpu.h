/* The CPU time of this process, from which tests take ratios within one run. */
#ifndef TINE_TESTS_SUPPORT_CPU_H
#define TINE_TESTS_SUPPORT_CPU_H

#include <time.h>

static inline double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
