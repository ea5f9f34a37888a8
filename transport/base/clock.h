/* The monotonic clock in nanoseconds, and what a timeout becomes for poll. Deadlines, durations and
 * the times in a trace all come from this clock. */
#ifndef TINE_TRANSPORT_BASE_CLOCK_H
#define TINE_TRANSPORT_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

enum { TINE_NS_PER_SECOND = 1000000000 };

static inline int64_t tine_clock_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * TINE_NS_PER_SECOND + ts.tv_nsec;
}

/* The same clock as of the kernel's last tick, some milliseconds ago: a fifth of the cost. */
static inline int64_t tine_clock_coarse_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
    return (int64_t)ts.tv_sec * TINE_NS_PER_SECOND + ts.tv_nsec;
}

/* The shorter of two timeouts where negative means none. */
static inline int64_t tine_timeout_min(int64_t a, int64_t b) {
    if (a < 0) return b;
    if (b < 0) return a;
    return a < b ? a : b;
}

/* How long it is until `due`; INT64_MAX, which never comes: negative. */
static inline int64_t tine_timeout_until(int64_t due) {
    if (due == INT64_MAX) return -1;
    int64_t left = due - tine_clock_ns();
    return left > 0 ? left : 0;
}

/* ns must not be negative. */
static inline struct timespec tine_timespec(int64_t ns) {
    return (struct timespec){.tv_sec = (time_t)(ns / TINE_NS_PER_SECOND),
                             .tv_nsec = (long)(ns % TINE_NS_PER_SECOND)};
}

#endif
