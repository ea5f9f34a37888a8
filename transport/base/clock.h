/* The monotonic clock in nanoseconds, and what a timeout becomes for poll. */
#ifndef TINE_TRANSPORT_BASE_CLOCK_H
#define TINE_TRANSPORT_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t tine_clock_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* The shorter of two timeouts where negative means none. */
static inline int64_t tine_timeout_min(int64_t a, int64_t b) {
    if (a < 0) return b;
    if (b < 0) return a;
    return a < b ? a : b;
}

static inline struct timespec tine_timespec(int64_t ns) {
    return (struct timespec){.tv_sec = (time_t)(ns / 1000000000),
                             .tv_nsec = (long)(ns % 1000000000)};
}

#endif
