/* Round trips between two processes without any transport: the floor under what one can reach. */
#ifndef TINE_LAUNCH_BENCH_FLAG_H
#define TINE_LAUNCH_BENCH_FLAG_H

#include <stdbool.h>
#include <stddef.h>

#include "launch/bench/estimate.h"

typedef struct tine_bare_trip {
    tine_estimate p50, p99; /* us */
} tine_bare_trip;

/* `sleeps`: each side sleeps in a futex until the other has answered; else both poll a flag in
 * shared memory. Ends after TINE_BENCH_SECONDS with fewer rounds. The process that it forks calls
 * nothing that threads of this one could have locked. False: no memory, or no process. */
bool tine_bare_flag(size_t rounds, bool sleeps, tine_bare_trip *out);

#endif
