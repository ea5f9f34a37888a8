/* Local tasks: nested forks that stay at the worker that made them.
 *
 * Such a fork is queued here and starts like any other task: when its parent waits, deepest first.
 * The coordinator does not know of it. It gets the oldest queued ones, as SUBMITs, while it wants
 * any (DEMAND), those that are queued when the task above them ends, and all of them when this
 * worker leaves. A fork is submitted at
 * once if this worker does not serve what it calls, if a value among its arguments is not here, if
 * it is a stream, or for a certain worker or label, if it calls a module with one instance, if it
 * has a priority, which is compared with tasks of other workers, or a grace, after which only the
 * coordinator can end this worker.
 *
 * The nearest task above that the coordinator knows stands for a local task: it sends the SUBMITs
 * and holds the objects, its run time contains that of the local ones, and its DONE is sent once
 * the local ones that have begun are done. So when a worker dies, a task is lost together with all
 * that ran below it there, and nothing else.
 *
 * A queued local task counts against the window, so that it can be submitted at any time. The bytes
 * of the arguments of queued ones are bounded too: past the bound a fork waits until one of them
 * starts. The forking task is suspended meanwhile, so it does not prevent that. */
#include "workers/executor/internal.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/trace/trace.h"
#include "transport/base/memory.h"
#include "transport/base/text.h"

enum { LOCAL_ID_SHIFT = 32 }; /* ids of the coordinator's tasks have low bits that are not 0 */

/* ---- which forks stay ---- */

static bool executor_serves(tine_executor *x, const tine_target *t) {
    if (x->last_served && !t->method && !strcmp(x->last_served, t->name)) return true;
    const char *name = tine_idmap_get(&x->served, executor_name_key(t->name, t->method));
    if (!name || strcmp(name, t->name) != 0) return false;
    if (!t->method) x->last_served = name;
    return true;
}

bool tine_executor_may_keep(tine_executor *x, const tine_target *target, uint32_t flags,
                            const tine_payload *payload, const tine_terms *terms) {
    bool anywhere = !terms || (!terms->priority && !terms->worker && !terms->label &&
                               !terms->resources && !terms->stream && !terms->graced);
    return x->keeps && !x->leaving && anywhere && !(flags & TINE_MODULE_SINGLE) &&
           executor_serves(x, target) && (!payload->n_refs || tine_executor_refs_here(x, payload));
}

void tine_executor_keep(tine_executor *x, executor_task *parent, uint64_t ticket,
                        const tine_target *target, uint32_t flags, tine_payload *payload,
                        const tine_terms *terms) {
    executor_task *t = tine_executor_task_new(x, ++x->locals << LOCAL_ID_SHIFT, target,
                                              tine_terms_size(terms), payload);
    t->flow = tine_trace_flow(x->epoch, ticket);
    t->attempt = 1;
    t->link.depth =
        parent->link.depth < TINE_READY_MAX_DEPTH ? parent->link.depth + 1 : parent->link.depth;
    t->unread = true; /* it is no stream */
    t->ticket = ticket;
    t->flags = flags;
    t->has_terms = terms;
    if (terms) t->terms = tine_terms_copy((char *)(t + 1) + tine_target_size(target), terms);
    t->known = parent->known;
    t->known->n_queued++;
    LIST_INSERT_HEAD(&parent->children, t, child);
    TAILQ_INSERT_TAIL(&x->local, t, local);
    x->local_bytes += tine_payload_bytes(payload);
    tine_executor_fork_find(x, ticket)->local = t;
    tine_ready_push(&x->ready, &t->link);
    tine_executor_give(x);
}

/* ---- leaving the queue ---- */

/* For a task that has not begun: one that is tried again is not in the queue of local tasks. */
static void executor_local_unqueue(tine_executor *x, executor_task *t) {
    TAILQ_REMOVE(&x->local, t, local);
    x->local_bytes -= tine_payload_bytes(t->payload);
    tine_executor_credit(x, 0);
    t->known->n_queued--;
}

static void executor_local_submit(tine_executor *x, executor_task *t) {
    tine_executor_submit(x, t->known, t->ticket, &t->target, t->flags, t->payload,
                         t->has_terms ? &t->terms : NULL);
    tine_executor_fork_find(x, t->ticket)->local = NULL;
    tine_ready_remove(&x->ready, &t->link);
    executor_local_unqueue(x, t);
    LIST_REMOVE(t, child);
    tine_executor_task_free(x, t);
}

void tine_executor_give(tine_executor *x) {
    while ((x->leaving || x->submits < x->allowed) && !TAILQ_EMPTY(&x->local))
        executor_local_submit(x, TAILQ_FIRST(&x->local));
}

void tine_executor_demand(tine_executor *x, const tine_message *m) {
    x->keeps = true;
    x->allowed = m->seq;
    x->attempts = m->attempt;
    tine_executor_give(x);
}

void tine_executor_local_started(tine_executor *x, executor_task *t) {
    if (t->attempt > 1) return;
    executor_local_unqueue(x, t);
    t->known->n_begun++;
    tine_executor_credit(x, 1);
}

/* ---- ending ---- */

/* Moves the children of a local task whose attempt has ended to the known task: from now on they
 * are cancelled with that one only. */
static void executor_leave_children(executor_task *t) {
    for (executor_task *c; (c = LIST_FIRST(&t->children));) {
        LIST_REMOVE(c, child);
        LIST_INSERT_HEAD(&t->known->children, c, child);
    }
}

static void executor_submit_below(tine_executor *x, const executor_task *known) {
    for (executor_task *t = TAILQ_FIRST(&x->local), *next; t && known->n_queued > 0; t = next) {
        next = TAILQ_NEXT(t, local);
        if (t->known == known) executor_local_submit(x, t);
    }
}

void tine_executor_known_ended(tine_executor *x, executor_task *t, tine_error status,
                               tine_payload *payload, const char *text, uint64_t run_ns) {
    if (!x->stopped) executor_submit_below(x, t);
    if (t->n_begun == 0) {
        tine_executor_task_end(x, t, status, payload, text, run_ns + t->local_ns);
        return;
    }
    t->end = tine_must_alloc(sizeof *t->end);
    t->end->status = status;
    t->end->payload = tine_payload_ref(payload);
    t->end->text = text ? tine_must_copy(text) : NULL;
    t->end->run_ns = run_ns;
    tine_executor_report_suspended(x, t);
}

static void executor_known_settle(tine_executor *x, executor_task *t) {
    if (--t->n_begun > 0 || !t->end) return;
    executor_end end = *t->end;
    free(t->end);
    t->end = NULL;
    tine_executor_known_ended(x, t, end.status, end.payload, end.text, end.run_ns);
    tine_payload_unref(end.payload);
    free(end.text);
}

static bool executor_local_retries(const tine_executor *x, const executor_task *t,
                                   tine_error status) {
    return status == TINE_EFAILED && t->has_terms && t->terms.failure_retries > 0 &&
           t->flags & TINE_REPEATABLE && !t->cancelled && !x->stopped;
}

static void executor_local_retry(tine_executor *x, executor_task *t) {
    t->terms.failure_retries--;
    t->attempt++;
    t->started = false;
    executor_leave_children(t);
    tine_ready_push(&x->ready, &t->link);
}

/* In the coordinator's words. */
static char *executor_failed_text(const tine_executor *x, const executor_task *t,
                                  const char *cause) {
    const tine_target *to = &t->target;
    uint32_t most = t->has_terms && t->terms.retries ? t->terms.retries : x->attempts;
    char *method = to->method ? tine_text_format("%s.%s", to->name, to->method) : NULL;
    tine_failed failed = {.name = t->has_terms && t->terms.name && t->terms.name[0] ? t->terms.name
                                  : method                                          ? method
                                                                                    : to->name,
                          .cause = cause,
                          .host = x->hello.host,
                          .pid = x->hello.pid,
                          .rank = x->hello.rank,
                          .attempt = t->attempt};
    failed.attempts = t->attempt - 1 + (t->flags & TINE_REPEATABLE ? most : 1) +
                      (t->has_terms ? t->terms.failure_retries : 0);
    char *text = tine_failed_text(&failed);
    free(method);
    return text;
}

static void executor_local_answer(tine_executor *x, const executor_task *t, tine_error status,
                                  tine_payload *payload, const char *cause) {
    if (!tine_executor_fork_close(x, t->ticket)) return; /* it was cancelled */
    if (status == TINE_OK) {
        tine_executor_answer(x, t->ticket, payload);
        return;
    }
    char *text = executor_failed_text(x, t, cause);
    tine_executor_complete(x, t->ticket, status, NULL, text);
    free(text);
}

void tine_executor_local_ended(tine_executor *x, executor_task *t, tine_error status,
                               tine_payload *payload, const char *text, uint64_t run_ns) {
    executor_task *known = t->known;
    known->local_ns += run_ns;
    if (executor_local_retries(x, t, status)) {
        executor_local_retry(x, t);
        return;
    }
    executor_local_answer(x, t, status, payload, text);
    executor_leave_children(t);
    LIST_REMOVE(t, child);
    tine_executor_task_free(x, t);
    executor_known_settle(x, known);
}

/* ---- cancelling ---- */

SLIST_HEAD(executor_stack, executor_task);

/* Frees a task that is not running and will not start. */
static void executor_local_drop(tine_executor *x, executor_task *t) {
    executor_task *known = t->known;
    bool begun = t->attempt > 1;
    tine_ready_remove(&x->ready, &t->link);
    if (!begun) executor_local_unqueue(x, t);
    LIST_REMOVE(t, child);
    tine_executor_task_free(x, t);
    if (begun)
        executor_known_settle(x, known);
    else
        tine_executor_credit(x, 1);
}

static void executor_cancel_open(tine_executor *x, uint64_t ticket) {
    if (tine_executor_fork_close(x, ticket))
        tine_executor_complete(x, ticket, TINE_ECANCELED, NULL,
                               "a nested fork was cancelled: the task that forked it, or one above "
                               "it, was cancelled");
}

/* Cancels the forks that t, a local task, has submitted. */
static void executor_cancel_submitted(tine_executor *x, const executor_task *t) {
    for (size_t i = 0; i < x->n_forks; i++) {
        executor_fork f = x->forks[i];
        if (!f.ticket || f.local || f.task != t->id) continue;
        tine_executor_send_cancel(x, f.known, f.ticket, UINT64_MAX);
        executor_cancel_open(x, f.ticket);
    }
}

static void executor_cancel_cut(tine_executor *x, executor_task *t, struct executor_stack *stack) {
    if (!t->started) {
        executor_local_drop(x, t);
    } else if (!t->cancelled) {
        t->cancelled = true;
        tine_executor_push(x, TINE_EXECUTOR_CANCEL)->a.ticket = t->id;
        SLIST_INSERT_HEAD(stack, t, stacked);
    }
}

/* An explicit stack, not recursion: chains of nested forks may be long. */
static void executor_stack_cancel(tine_executor *x, struct executor_stack *stack) {
    for (executor_task *t; (t = SLIST_FIRST(stack));) {
        SLIST_REMOVE_HEAD(stack, stacked);
        if (executor_task_is_local(t)) executor_cancel_submitted(x, t);
        for (executor_task *c = LIST_FIRST(&t->children), *next; c; c = next) {
            next = LIST_NEXT(c, child);
            executor_cancel_open(x, c->ticket);
            executor_cancel_cut(x, c, stack);
        }
    }
}

void tine_executor_cancel_below(tine_executor *x, executor_task *t) {
    struct executor_stack stack = SLIST_HEAD_INITIALIZER(stack);
    SLIST_INSERT_HEAD(&stack, t, stacked);
    executor_stack_cancel(x, &stack);
}

void tine_executor_cancel_local(tine_executor *x, executor_task *t) {
    struct executor_stack stack = SLIST_HEAD_INITIALIZER(stack);
    executor_cancel_cut(x, t, &stack);
    executor_stack_cancel(x, &stack);
}
