/* The limit of a worker's memory, TINE_MAX_MEMORY.
 *
 * While tasks run, the processes of workers on this host are looked at every LOOK_NS; others report
 * theirs in PONGs, when they do not compute. Past SOFT_PERCENT of the limit a worker gets no more
 * tasks, until it has fallen below that. Past the limit it is killed, as the kernel would do
 * somewhat later, but with a reason. A worker that is past SOFT_PERCENT and has no task is killed,
 * too: its memory would not be freed. What it has mapped of others' arenas, tensors that it reads
 * where they are, does not count: to end it would free nothing. */
#include <stdio.h>
#include <stdlib.h>

#include "runtime/coordinator/internal.h"
#include "transport/base/clock.h"
#include "transport/base/log.h"
#include "transport/base/process.h"

enum { LOOK_NS = 250000000, SOFT_PERCENT = 80 };

static uint64_t memory_of(tine_coordinator *c, const tine_worker_info *w) {
    if (w->token[0]) return tine_process_memory_of((int)w->pid);
    tine_coordinator_memory_want(c, tine_clock_coarse_ns());
    return w->memory;
}

static double mib(uint64_t bytes) { return (double)bytes / (1024 * 1024); }

static void end_for_memory(tine_coordinator *c, const tine_worker_info *w, uint64_t bytes) {
    char reason[160];
    snprintf(reason, sizeof reason, "was ended: its memory, %.0f MiB, is past %.0f MiB (%s)",
             mib(bytes), mib(c->max_memory), "TINE_MAX_MEMORY");
    tine_log(TINE_LOG_WARN, "worker pid %u (host %s) %s", w->pid, w->host, reason);
    if (tine_coordinator_restarts(c, w)) {
        tine_coordinator_death_reason(c, w->pid, reason);
        c->unreachable(w->pid, w->token);
    } else {
        /* one that would come back (tine_options::rejoin) does not after a REJECT */
        const tine_message reject = {.type = TINE_MSG_REJECT, .text = reason};
        (void)tine_link_send(&c->link, w->peer, &reject);
        tine_scheduler_worker_died(c->scheduler, w->peer, reason, NULL);
        tine_link_drop(&c->link, w->peer, false, reason);
    }
}

/* A rank gets tasks again once it has none: nothing else would free its memory. So does a worker
 * whose tasks all wait for their forks, which may have no other place, once no worker computes:
 * before, it might be given others' tasks, and be ended for what they take. */
static void look_at(tine_coordinator *c, const tine_worker_info *w, bool computing) {
    uint64_t bytes = memory_of(c, w);
    const uint64_t soft = c->max_memory / 100 * SOFT_PERCENT;
    if (w->token[0] && bytes > soft) /* to find that out takes longer */
        bytes -= tine_process_memory_borrowed((int)w->pid, bytes);
    bool full = bytes > soft;
    bool idle = w->running + w->suspended == 0, stays = tine_coordinator_cannot_end(c);
    if (full && !stays && (bytes > c->max_memory || idle)) end_for_memory(c, w, bytes);
    bool waits = !computing && w->suspended > 0;
    tine_scheduler_worker_hold(c->scheduler, w->epoch, full && !waits && !(stays && idle));
}

static bool somebody_works(const tine_coordinator *c) {
    const tine_scheduler_stats *s = tine_scheduler_stats_get(c->scheduler);
    return s->running + s->suspended + s->ready > 0 && s->workers > 0;
}

int64_t tine_coordinator_memory_due(tine_coordinator *c) {
    if (!c->max_memory || !somebody_works(c)) return INT64_MAX;
    if (!c->memory_look) c->memory_look = tine_clock_ns() + LOOK_NS;
    return c->memory_look;
}

void tine_coordinator_memory_look(tine_coordinator *c, int64_t now) {
    if (tine_coordinator_memory_due(c) > now) return;
    c->memory_look = 0;
    size_t n = tine_scheduler_workers(c->scheduler, NULL, 0);
    tine_worker_info *all = calloc(n + 1, sizeof *all);
    if (all) tine_scheduler_workers(c->scheduler, all, n);
    bool computing = false;
    for (size_t i = 0; all && i < n; i++) computing |= all[i].running > 0;
    for (size_t i = 0; all && i < n; i++) look_at(c, &all[i], computing);
    free(all);
}
