/* Nested forks that workers keep for themselves.
 *
 * A worker that says so (DEMAND) keeps the forks of its tasks in a queue of its own and runs them
 * there when their parents wait, without a message. It sends the oldest of them here as SUBMITs up
 * to a number that it is told. The number is raised while fewer tasks are ready, here or at a
 * worker behind another one, than STOCK for each worker and STOCK_ALL: so a worker that becomes
 * idle finds a task at once, whatever the others compute, and once there are so many nothing is
 * sent while all are busy. While a worker is idle although enough
 * tasks are ready, the number is raised by one at a time. It counts from the connection's first
 * SUBMIT, so that messages that cross do no harm. */
#include "runtime/scheduler/internal.h"

enum {
    STOCK = 2,     /* ready tasks wanted for each worker, */
    STOCK_ALL = 2, /* and for all together */
};
_Static_assert(SCHED_BEHIND_MAX == STOCK + STOCK_ALL, "a single worker's stock");

static uint64_t sched_stock(const tine_scheduler *s) {
    return (uint64_t)s->stats.workers * STOCK + STOCK_ALL;
}

static bool sched_group_idle(const sched_group *g) {
    const sched_heap *open = &g->heaps[SCHED_OPEN];
    return open->n && !open->of[0]->outstanding;
}

static bool sched_any_idle(const tine_scheduler *s) {
    for (size_t i = 0; i < s->n_groups; i++)
        if (sched_group_idle(&s->groups[i])) return true;
    return false;
}

/* What a worker has beside the task that it runs keeps it from being idle: it counts, else short
 * tasks, of which many are sent ahead, would be replaced at once and never be enough. At most
 * the stock of one worker counts for each: its tasks may be for it alone. What waits for slots may
 * wait for long, and is nothing for other workers. */
static uint64_t sched_stocked(const tine_scheduler *s) {
    return s->stats.ready - s->n_wanting + s->n_behind;
}

/* How many forks more are wanted of w. A single worker would get its own back. What is ready while
 * a worker is idle cannot run there: it is pinned, say. What w forks probably can. */
static uint64_t sched_demand(const tine_scheduler *s, const sched_worker *w) {
    uint64_t stock = sched_stock(s), ready = sched_stocked(s);
    if (s->stats.workers < 2 || s->stopped) return 0;
    return ready < stock ? stock - ready : sched_group_idle(w->group);
}

static void sched_demand_send(tine_scheduler *s, sched_worker *w) {
    tine_message *m = &tine_scheduler_send(s, w, TINE_MSG_DEMAND)->a.message;
    m->seq = w->allowed;
    m->attempt = s->config.max_attempts;
}

static void sched_demand_enqueue(tine_scheduler *s, sched_worker *w) {
    if (w->demand_queued) return;
    w->demand_queued = true;
    TAILQ_INSERT_TAIL(&s->demand_queue, w, demand_link);
}

void tine_scheduler_demand_dequeue(tine_scheduler *s, sched_worker *w) {
    if (!w->demand_queued) return;
    w->demand_queued = false;
    TAILQ_REMOVE(&s->demand_queue, w, demand_link);
}

void tine_scheduler_demand_begin(tine_scheduler *s, sched_worker *w) {
    if (w->keeps) return;
    w->keeps = true;
    w->allowed = w->submits + sched_demand(s, w);
    sched_demand_send(s, w); /* also if none is wanted: it keeps them from then on */
    tine_scheduler_demand_submitted(s, w);
}

/* The worker gets a new number when less than half of the stock is left of the last one. So in a
 * burst at most every second SUBMIT leads to a DEMAND. */
void tine_scheduler_demand_submitted(tine_scheduler *s, sched_worker *w) {
    if (w->allowed < w->submits + sched_stock(s) / 2) sched_demand_enqueue(s, w);
}

void tine_scheduler_demand_all(tine_scheduler *s) {
    if (sched_stocked(s) >= sched_stock(s) && !sched_any_idle(s)) return;
    for (sched_worker *w = TAILQ_FIRST(&s->demand_queue), *next; w; w = next) {
        next = TAILQ_NEXT(w, demand_link);
        uint64_t demand = sched_demand(s, w);
        if (!demand) continue;
        tine_scheduler_demand_dequeue(s, w);
        if (w->submits + demand <= w->allowed) continue;
        w->allowed = w->submits + demand;
        sched_demand_send(s, w);
    }
}
