/* Cancelling. A task that has not started ends. One that runs is abandoned: its owner is told at
 * once, its worker gets a CANCEL, and it stays at the worker until DONE. Its forks are cancelled
 * likewise. */
#include "runtime/scheduler/internal.h"

static void sched_task_tell(tine_scheduler *s, const sched_task *t) {
    if (t->state != SCHED_RUNNING || t->worker->lost) return;
    sched_action *a = tine_scheduler_send(s, t->worker, TINE_MSG_CANCEL);
    a->a.message.task = t->id;
    tine_scheduler_stream_tell(s, t); /* for a worker that goes on nevertheless */
}

/* grace_ns later the event loop is to end the worker, if that still runs it. */
static void sched_task_end_later(tine_scheduler *s, const sched_task *t, uint64_t grace_ns) {
    if (t->state != SCHED_RUNNING || grace_ns == UINT64_MAX) return;
    sched_action *a = tine_scheduler_push(s, TINE_SCHEDULER_END);
    a->a.ticket = t->id;
    a->a.grace_ns = grace_ns;
}

/* Ends a task that has no worker. Abandons one that runs, and pushes it on the stack, from which
 * its worker is told and its forks are cancelled. Takes text. */
static void sched_task_cut(tine_scheduler *s, sched_task *t, tine_error status, char *text,
                           uint64_t grace_ns, struct sched_task_stack *stack) {
    if (!t->worker) {
        tine_scheduler_task_end(s, t, status, NULL, text);
        return;
    }
    sched_task_end_later(s, t, grace_ns);
    SLIST_INSERT_HEAD(stack, t, stacked);
    tine_scheduler_task_abandon(s, t, status, text);
}

/* An explicit stack, not recursion: chains of nested forks may be long. */
static void sched_stack_cancel(tine_scheduler *s, struct sched_task_stack *stack, uint64_t grace_ns,
                               const char *why) {
    for (sched_task *at; (at = SLIST_FIRST(stack));) {
        SLIST_REMOVE_HEAD(stack, stacked);
        at->cancelled = true;
        sched_task_tell(s, at);
        for (sched_task *child = LIST_FIRST(&at->children), *next; child; child = next) {
            next = LIST_NEXT(child, sibling);
            if (!child->cancelled)
                sched_task_cut(s, child, TINE_ECANCELED, tine_scheduler_text_cancelled(child, why),
                               grace_ns, stack);
        }
    }
}

void tine_scheduler_cancel_forks(tine_scheduler *s, sched_task *t, const char *why) {
    struct sched_task_stack stack = SLIST_HEAD_INITIALIZER(stack);
    SLIST_INSERT_HEAD(&stack, t, stacked);
    sched_stack_cancel(s, &stack, UINT64_MAX, why);
}

void tine_scheduler_task_cancel(tine_scheduler *s, sched_task *t, tine_error status, char *text,
                                uint64_t grace_ns) {
    struct sched_task_stack stack = SLIST_HEAD_INITIALIZER(stack);
    sched_task_cut(s, t, status, text, grace_ns, &stack);
    sched_stack_cancel(s, &stack, grace_ns,
                       "the task that forked it, or one above it, was cancelled");
}

/* ---- asked for by this process, and by workers ---- */

bool tine_scheduler_cancel(tine_scheduler *s, uint64_t task, tine_error status, const char *why,
                           uint64_t grace_ns) {
    sched_task *t = tine_scheduler_task_find(s, task);
    if (!t || t->owner || t->orphan || t->reported || t->state == SCHED_KEPT) return false;
    tine_scheduler_task_cancel(s, t, status, tine_scheduler_text_cancelled(t, why), grace_ns);
    tine_scheduler_dispatch(s);
    return true;
}

bool tine_scheduler_cancel_any(tine_scheduler *s, uint64_t task, const char *why) {
    sched_task *t = tine_scheduler_task_find(s, task);
    if (!t || t->orphan || t->reported || t->state == SCHED_KEPT) return false;
    tine_scheduler_task_cancel(s, t, TINE_ECANCELED, tine_scheduler_text_cancelled(t, why),
                               UINT64_MAX);
    tine_scheduler_dispatch(s);
    return true;
}

sched_task *tine_scheduler_fork_of(const tine_scheduler *s, const sched_worker *w,
                                   const tine_message *m) {
    const sched_task *parent = tine_scheduler_task_find(s, m->task);
    bool runs = parent && parent->worker == w;
    sched_task *t = runs ? LIST_FIRST(&parent->children) : LIST_FIRST(&w->detached);
    while (t && t->ticket != m->seq) t = LIST_NEXT(t, sibling);
    return t;
}

/* The fork is not found if it has been answered, or if a small CANCEL has overtaken its large
 * SUBMIT. */
void tine_scheduler_cancel_message(tine_scheduler *s, sched_worker *w, const tine_message *m) {
    sched_task *t = tine_scheduler_fork_of(s, w, m);
    if (t && !t->reported)
        tine_scheduler_task_cancel(
            s, t, TINE_ECANCELED,
            tine_scheduler_text_cancelled(t, "the task that forked it asked for it"), m->grace_ns);
    else if (!t && m->seq)
        tine_recent_add(&w->cancels, m->seq);
}
