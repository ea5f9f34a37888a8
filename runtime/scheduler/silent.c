/* Workers that are silent while their connection still exists, as where a link is down. A lost
 * worker's tasks run again elsewhere, if they may. So a silent one is given up as soon as
 * nothing that it has would be lost for good, and is waited for otherwise: its tasks go on, and
 * what it has sent arrives when the link is back. */
#include "runtime/scheduler/internal.h"

#include <inttypes.h>

/* Whether no attempt would follow its loss. */
static bool sched_task_runs_once(const tine_scheduler *s, const sched_task *t) {
    if (t->orphan || t->abandoned || (t->terms && t->terms->initialiser)) return false;
    return !(t->flags & TINE_REPEATABLE) || (t->terms && t->terms->worker) ||
           t->attempt - t->uncounted >= tine_scheduler_max_attempts(s, t);
}

/* The next task, in preorder, of those below `top`. What is at w is left out, with all below it. */
static const sched_task *sched_task_below(const sched_task *top, const sched_task *at,
                                          const sched_worker *w) {
    const sched_task *next = at == top || at->worker != w ? LIST_FIRST(&at->children) : NULL;
    for (; !next && at != top; at = at->parent) next = LIST_NEXT(at, sibling);
    return next;
}

/* Tasks there, and those elsewhere that would end as its forks, or as forks of these. */
static size_t sched_worker_runs_once(const tine_scheduler *s, const sched_worker *w) {
    size_t n = 0;
    const sched_task *t, *fork;
    TAILQ_FOREACH (t, &w->running, run_link) {
        n += sched_task_runs_once(s, t);
        for (fork = sched_task_below(t, t, w); fork; fork = sched_task_below(t, fork, w))
            n += fork->worker && fork->worker != w && sched_task_runs_once(s, fork);
    }
    /* nothing would fork them again */
    LIST_FOREACH (t, &w->detached, sibling) n += t->worker != w && !t->abandoned;
    return n;
}

/* Results that no task makes again, and the state of modules with one instance. */
static bool sched_worker_has_more(tine_scheduler *s, const sched_worker *w) {
    const sched_single *g;
    LIST_FOREACH (g, &w->singles, link)
        if (!g->renew) return true;
    const sched_object *o;
    TAILQ_FOREACH (o, &s->object_list, link) {
        if (o->state != SCHED_OBJECT_REMOTE || !tine_scheduler_object_replica_at(o, w)) continue;
        const sched_task *p = o->producer;
        if (!p || !tine_scheduler_refs_known(s, NULL, p->payload, p->object)) return true;
    }
    return false;
}

static sched_worker *sched_worker_of_peer(const tine_scheduler *s, tine_peer peer) {
    const sched_peer *p = tine_scheduler_peer(s, peer);
    return p ? p->worker : NULL;
}

bool tine_scheduler_worker_silent(tine_scheduler *s, tine_peer peer, const char *reason) {
    sched_worker *w = sched_worker_of_peer(s, peer);
    size_t tasks = w ? sched_worker_runs_once(s, w) : 0;
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
    w->unreachable = false;
    tine_scheduler_worker_pause(s, w, SCHED_CLOSED_SILENT, false);
}
