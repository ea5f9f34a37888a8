/* Round trips between two processes without any transport: the floor under what one can reach. */
#ifndef TINE_LAUNCH_BENCH_FLAG_H
#define TINE_LAUNCH_BENCH_FLAG_H

#include <stdbool.h>
#include <stddef.h>

typedef struct tine_bare_trip {
    double p50, p99; /* seconds; 0: not measured */
} tine_bare_trip;

/* `sleeps`: each side sleeps in a futex until the other has answered; else both poll a flag in
 * shared memory. Ends after TINE_BENCH_SECONDS with fewer rounds. Forks: call it while this process
 * has one thread. False: no memory, or no process. */
bool tine_bare_flag(size_t rounds, bool sleeps, tine_bare_trip *out);

#endif
