/* Workers of which nothing comes while their connection still exists, as where a link is down. A
 * lost worker's tasks run again elsewhere, if they may. So a silent one is given up as soon as
 * nothing that it has would be lost for good, and is waited for otherwise: its tasks go on, and
 * what it has sent arrives when the link is back. */
#include "runtime/scheduler/internal.h"

#include <inttypes.h>

static bool sched_task_runs_once(const sched_task *t) {
    return !(t->flags & TINE_REPEATABLE) && !t->orphan && !t->abandoned;
}

/* Tasks there, and those elsewhere that would end as its forks. */
static size_t sched_worker_runs_once(const sched_worker *w) {
    size_t n = 0;
    const sched_task *t, *child;
    TAILQ_FOREACH (t, &w->running, run_link) {
        n += sched_task_runs_once(t);
        LIST_FOREACH (child, &t->children, sibling)
            n += child->worker && child->worker != w && sched_task_runs_once(child);
    }
    LIST_FOREACH (t, &w->detached, sibling) n += t->worker != w && sched_task_runs_once(t);
    return n;
}

/* Results that no task makes again, and the state of modules with one instance. */
static bool sched_worker_has_more(const tine_scheduler *s, const sched_worker *w) {
    const sched_single *g;
    LIST_FOREACH (g, &w->singles, link)
        if (!g->renew) return true;
    const sched_object *o;
    TAILQ_FOREACH (o, &s->object_list, link)
        if (o->state == SCHED_OBJECT_REMOTE && !o->producer &&
            tine_scheduler_object_replica_at(o, w))
            return true;
    return false;
}

static sched_worker *sched_worker_of_peer(const tine_scheduler *s, tine_peer peer) {
    const sched_peer *p = tine_scheduler_peer(s, peer);
    return p ? p->worker : NULL;
}

bool tine_scheduler_worker_silent(tine_scheduler *s, tine_peer peer, const char *reason) {
    sched_worker *w = sched_worker_of_peer(s, peer);
    size_t tasks = w ? sched_worker_runs_once(w) : 0;
    if (!w || s->stopped || (!tasks && !sched_worker_has_more(s, w))) return false;
    char what[64] = "what it has cannot be made again, and is";
    if (tasks)
        snprintf(what, sizeof what, "%zu task%s must not run twice, and %s", tasks,
                 tasks == 1 ? "" : "s", tasks == 1 ? "is" : "are");
    tine_scheduler_log(s, 1,
                       tine_scheduler_text("worker pid %" PRIu32
                                           " (host %.64s) is silent: %s; %s waited for",
                                           w->pid, w->host, reason, what));
    tine_scheduler_worker_pause(s, w, SCHED_CLOSED_SILENT, true);
    return true;
}

void tine_scheduler_worker_heard(tine_scheduler *s, tine_peer peer) {
    sched_worker *w = sched_worker_of_peer(s, peer);
    if (!w || !(w->closed & SCHED_CLOSED_SILENT)) return;
    tine_scheduler_log(s, 1,
                       tine_scheduler_text("worker pid %" PRIu32
                                           " (host %.64s) is heard again, and nothing is lost",
                                           w->pid, w->host));
    tine_scheduler_worker_pause(s, w, SCHED_CLOSED_SILENT, false);
}
