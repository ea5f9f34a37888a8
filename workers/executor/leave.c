/* A worker that leaves: it gives back the tasks that have not begun, and runs the others to their
 * ends.
 *
 * A LEAVE names the tasks that are given back; one that arrives later is named in a LEAVE of its
 * own. They stay on record here, because the coordinator may have freed the arguments of one that
 * it took to have begun: it asks for that one to be run after all. Forks that stayed here are
 * submitted. The coordinator sends STOP when nothing is left. */
#include "workers/executor/internal.h"

#include "transport/base/memory.h"

static void executor_send_leave(tine_executor *x, uint64_t *ids, size_t n) {
    executor_action *action = tine_executor_send(x, TINE_MSG_LEAVE);
    action->owned.memory = ids;
    action->a.message.ids = ids;
    action->a.message.n_ids = n;
}

/* Only tasks of the coordinator's: local ones have been submitted, or have begun. */
static bool executor_task_returns(tine_executor *x, executor_task *t) {
    if (t->started || t->failed || t->returned || executor_task_is_local(t)) return false;
    if (t->link.queued) tine_ready_remove(&x->ready, &t->link);
    return t->returned = true;
}

void tine_executor_leave_begin(tine_executor *x) {
    uint64_t *ids = NULL;
    size_t n = 0;
    tine_executor_give(x);
    executor_task *t;
    LIST_FOREACH (t, &x->task_list, entry) {
        if (!executor_task_returns(x, t)) continue;
        if (!ids) ids = tine_must_alloc(TINE_MESSAGE_IDS * sizeof *ids);
        ids[n++] = t->id;
        if (n < TINE_MESSAGE_IDS) continue;
        executor_send_leave(x, ids, n);
        ids = NULL;
        n = 0;
    }
    executor_send_leave(x, ids, n);
}

void tine_executor_leave(tine_executor *x) {
    if (x->leaving || x->stopped) return;
    x->leaving = true;
    if (x->epoch) tine_executor_leave_begin(x);
}

void tine_executor_return(tine_executor *x, executor_task *t) {
    t->returned = t->unasked = true;
    uint64_t *id = tine_must_alloc(sizeof *id);
    *id = t->id;
    executor_send_leave(x, id, 1);
}

static void executor_task_resume(tine_executor *x, executor_task *t) {
    t->returned = false;
    if (t->unasked)
        tine_executor_await(x, &t->waiter, t->payload);
    else if (t->waiter.missing == 0)
        tine_executor_task_settled(x, t);
}

void tine_executor_unreturn(tine_executor *x, const tine_message *m) {
    for (size_t i = 0; i < m->n_ids; i++) {
        executor_task *t = executor_task_find(x, m->ids[i]);
        if (t && t->returned) executor_task_resume(x, t);
    }
}
