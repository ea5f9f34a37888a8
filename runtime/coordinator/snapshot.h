/* A snapshot: the state of a job as one value, which `tine top`, its JSON and the metrics show.
 * WIRE.md describes it. It has no values of tasks, except what the first line of an error says. */
#ifndef TINE_RUNTIME_COORDINATOR_SNAPSHOT_H
#define TINE_RUNTIME_COORDINATOR_SNAPSHOT_H

#include "runtime/scheduler/scheduler.h"
#include "transport/transport.h"

enum { TINE_SNAPSHOT_FUNCTIONS = 256 }; /* at most, those with most run time */

/* What the scheduler does not know. */
typedef struct tine_snapshot_place {
    const char *endpoint, *host;
    int64_t now, began; /* ns, the clock of tine_scheduler_time */
    tine_transport_stats transport;
    /* whether a worker was started by this process, and can be restarted; NULL: none was */
    bool (*local)(void *ctx, const tine_worker_info *w);
    void *ctx;
} tine_snapshot_place;

/* ENOMEM. The encoder writes it without values in between: 230 us for 1,000 workers
 * (tests/bench/bench_scheduler.c), which at 20 a second is 0.5 % of a core. */
tine_error tine_snapshot_encode(const tine_scheduler *s, const tine_snapshot_place *place,
                                tine_payload **out);

#endif
