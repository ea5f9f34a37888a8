/* Workers that are to be ended because a task that was cancelled does not leave them. A worker that
 * this process has started is killed only while it runs just that task: while the task has not
 * begun, or waits, the kill would hit another task. Until then the worker is checked again. A
 * worker of another host is disconnected. Threads and ranks cannot be ended alone. */
#include <stdlib.h>

#include "runtime/coordinator/internal.h"
#include "transport/base/clock.h"
#include "transport/base/log.h"

enum {
    AGAIN_NS = 10000000,
    /* in which a worker of another host may answer that the task had not begun */
    REMOTE_GRACE_NS = 500000000,
};

void tine_coordinator_on_task_end(tine_coordinator *c,
                                  void (*fn)(const char *token, uint64_t task)) {
    c->end_task = fn;
}

static void end_insert(tine_coordinator *c, coordinator_end *end, int64_t due) {
    end->link.order = (uint64_t)due;
    tine_ready_push(&c->ends, &end->link);
}

/* NULL: none is due. */
static coordinator_end *end_take(tine_coordinator *c, int64_t now) {
    tine_ready_link *first = tine_ready_first(&c->ends);
    if (!first || first->order > (uint64_t)now) return NULL;
    tine_ready_remove(&c->ends, first);
    return (coordinator_end *)first;
}

void tine_coordinator_end_later(tine_coordinator *c, uint64_t task, uint64_t grace_ns) {
    tine_worker_info info;
    if (!tine_scheduler_task_worker(c->scheduler, task, &info)) return;
    coordinator_end *end = calloc(1, sizeof *end);
    if (!end) return;
    if (!info.token[0] && grace_ns < REMOTE_GRACE_NS) grace_ns = REMOTE_GRACE_NS;
    if (grace_ns > INT64_MAX / 2) grace_ns = INT64_MAX / 2;
    end->task = task;
    end_insert(c, end, tine_clock_ns() + (int64_t)grace_ns);
}

int64_t tine_coordinator_ends_due(tine_coordinator *c) {
    const tine_ready_link *first = tine_ready_first(&c->ends);
    return first ? (int64_t)first->order : INT64_MAX;
}

bool tine_coordinator_cannot_end(const tine_coordinator *c) {
    const char *url = c->link.transport->ops->url(c->link.transport);
    return tine_transport_flags(url) & (TINE_TRANSPORT_THREADS | TINE_TRANSPORT_RANKS);
}

/* Whether nothing is left to do. */
static bool end_worker(tine_coordinator *c, uint64_t task) {
    tine_worker_info info;
    if (!tine_scheduler_task_worker(c->scheduler, task, &info) || tine_coordinator_cannot_end(c))
        return true;
    if (info.token[0]) {
        if (c->end_task) c->end_task(info.token, task);
        return !c->end_task;
    }
    tine_log(TINE_LOG_WARN,
             "worker pid %u (host %s) is disconnected: it runs a task that was "
             "cancelled, and does not end it",
             info.pid, info.host);
    tine_link_drop(&c->link, info.peer, false, "it ran a cancelled task and did not end it");
    return true;
}

void tine_coordinator_ends_run(tine_coordinator *c, int64_t now) {
    for (coordinator_end *end; (end = end_take(c, now));) {
        if (end_worker(c, end->task))
            free(end);
        else
            end_insert(c, end, now + AGAIN_NS);
    }
}

void tine_coordinator_ends_free(tine_coordinator *c) {
    for (coordinator_end *end; (end = end_take(c, INT64_MAX));) free(end);
    tine_ready_fini(&c->ends);
}
