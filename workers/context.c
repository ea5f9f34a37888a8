/* The worker as a context: what a task's calls do. Fork goes to the executor, wait suspends the
 * fiber. A worker is one thread, so there is nothing to lock; "the lock" of the contract
 * (context.h) is that nothing here is interrupted except where a fiber suspends. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/api/cancel.h"
#include "runtime/api/instances.h"
#include "runtime/api/promise.h"
#include "runtime/trace/trace.h"
#include "transport/base/assert.h"
#include "transport/base/clock.h"
#include "workers/internal.h"

/* Limits for one task, past which its next fork waits: forks that wait for their arguments plus
 * callbacks to come, and the bytes of these arguments. Counted per task: with one limit for all,
 * tasks could wait for each other. */
enum { HELD_MAX = 65536, HELD_MAX_BYTES = 1 << 30 };

static void worker_no_lock(tine_context *c) { (void)c; }

/* ---- fork ---- */

static void worker_hold(tine_context *c, void *parent, size_t bytes) {
    (void)c;
    tine_attempt *a = parent;
    a->held++;
    a->held_bytes += bytes;
}

static bool attempt_is_full(const tine_attempt *a) {
    return a->held >= HELD_MAX || a->held_bytes >= HELD_MAX_BYTES;
}

static void worker_unhold(tine_context *c, void *parent, size_t bytes) {
    (void)c;
    tine_attempt *a = parent;
    a->held--;
    a->held_bytes -= bytes;
    if (a->finishing ? a->held == 0 : a->waits_for_credit && !attempt_is_full(a))
        tine_attempt_wake(a);
}

/* ---- forks that wait for credit ---- */

static void worker_fork_free(worker_fork *f) {
    tine_payload_unref(f->payload);
    free(f);
}

/* Takes the first one off the queue. */
static void worker_fork_drop(tine_worker *w) {
    worker_fork *f = STAILQ_FIRST(&w->forks);
    STAILQ_REMOVE_HEAD(&w->forks, entry);
    worker_unhold(&w->context, f->parent, tine_payload_bytes(f->payload));
    worker_fork_free(f);
}

static tine_error worker_fork_queue(tine_worker *w, uint64_t ticket, tine_attempt *parent,
                                    const tine_target *t, uint32_t flags, tine_payload *payload,
                                    const tine_terms *terms) {
    size_t size = tine_target_size(t);
    worker_fork *f = malloc(sizeof *f + size + tine_terms_size(terms));
    if (!f) return tine_error_set(TINE_ENOMEM, "no memory for a fork");
    *f = (worker_fork){.ticket = ticket,
                       .parent = parent,
                       .target = tine_target_copy((char *)(f + 1), t),
                       .flags = flags,
                       .payload = tine_payload_ref(payload)};
    f->has_terms = terms;
    if (terms) f->terms = tine_terms_copy((char *)(f + 1) + size, terms);
    worker_hold(&w->context, parent, tine_payload_bytes(payload));
    STAILQ_INSERT_TAIL(&w->forks, f, entry);
    return TINE_OK;
}

static tine_error worker_fork_submit(tine_worker *w, uint64_t ticket, const tine_attempt *parent,
                                     const tine_target *t, uint32_t flags, tine_payload *payload,
                                     const tine_terms *terms) {
    tine_error e = tine_executor_fork(tine_worker_executor(w), parent->task.task, ticket, t, flags,
                                      payload, terms);
    if (e == TINE_OK && terms && terms->graced && terms->timed)
        tine_worker_overdue_watch(w, tine_idmap_get(&w->tickets, ticket));
    return e;
}

void tine_worker_credit(tine_worker *w) {
    while (!STAILQ_EMPTY(&w->forks)) {
        worker_fork *f = STAILQ_FIRST(&w->forks);
        tine_error e = worker_fork_submit(w, f->ticket, f->parent, &f->target, f->flags, f->payload,
                                          f->has_terms ? &f->terms : NULL);
        if (e == TINE_EAGAIN) return;
        if (e != TINE_OK) tine_worker_complete(w, f->ticket, e, NULL, tine_worker_over(w));
        worker_fork_drop(w);
    }
    tine_attempt *a;
    LIST_FOREACH (a, &w->attempts, live)
        if (a->waits_for_credit) tine_attempt_wake(a);
}

void tine_worker_forks_drop(tine_worker *w) {
    while (!STAILQ_EMPTY(&w->forks)) worker_fork_drop(w);
}

/* ---- fork ---- */

static bool worker_is_full(const tine_worker *w, const tine_attempt *a) {
    return !STAILQ_EMPTY(&w->forks) || attempt_is_full(a);
}

static tine_error attempt_cancelled(const tine_attempt *a) {
    return tine_error_set(TINE_ECANCELED, "task \"%s\" was cancelled: its waits fail",
                          a->task.target.name);
}

static tine_error worker_admit(tine_context *c, bool may_wait) {
    tine_worker *w = tine_worker_of(c);
    tine_attempt *a = w->current;
    if (!a || !worker_is_full(w, a)) return TINE_OK;
    if (!may_wait)
        return tine_error_set(TINE_EAGAIN, "too many forks of this worker have not started yet");
    a->waits_for_credit = true;
    while (worker_is_full(w, a) && !w->stopping && !a->cancelled) tine_attempt_suspend(a);
    a->waits_for_credit = false;
    return a->cancelled ? attempt_cancelled(a) : TINE_OK;
}

static tine_error worker_submit(tine_context *c, tine_future *f, void *parent, const tine_target *t,
                                uint32_t flags, tine_payload *payload, const tine_terms *terms) {
    tine_worker *w = tine_worker_of(c);
    tine_attempt *a = parent;
    if (!a) return tine_error_set(TINE_ESTATE, "a fork on a worker must come from a task");
    if (w->stopping) return tine_error_set(TINE_ECANCELED, "%s", tine_worker_over(w));
    int64_t began = tine_trace_begin();
    uint64_t ticket = f->ticket = ++w->last_ticket;
    f->flow = tine_trace_flow(tine_executor_epoch(w->executor), ticket);
    tine_idmap_put(&w->tickets, ticket, tine_ref_future_(f));
    tine_error e = TINE_EAGAIN;
    if (STAILQ_EMPTY(&w->forks)) e = worker_fork_submit(w, ticket, a, t, flags, payload, terms);
    if (e == TINE_EAGAIN) e = worker_fork_queue(w, ticket, a, t, flags, payload, terms);
    if (e != TINE_OK) {
        tine_future_unref(tine_idmap_remove(&w->tickets, ticket));
        return e;
    }
    f->task = a->task.task;
    const char *name = terms && terms->name && *terms->name ? terms->name : t->name;
    tine_trace_fork(f->flow, name);
    if (w->current) tine_worker_act(w); /* sends it now: this task may compute for a long time */
    tine_trace_end(TINE_TRACE_FORK, began, name);
    return TINE_OK;
}

/* ---- cancel ---- */

/* Takes a fork that waits for credit off the queue; false: it is not there. */
static bool worker_fork_remove(tine_worker *w, uint64_t ticket) {
    worker_fork *f;
    STAILQ_FOREACH (f, &w->forks, entry)
        if (f->ticket == ticket) break;
    if (!f) return false;
    STAILQ_REMOVE(&w->forks, f, worker_fork, entry);
    worker_unhold(&w->context, f->parent, tine_payload_bytes(f->payload));
    worker_fork_free(f);
    return true;
}

/* The coordinator is told, and sends no result. */
static tine_error worker_cancel(tine_context *c, tine_future *f, tine_error status, const char *why,
                                uint64_t grace_ns) {
    tine_worker *w = tine_worker_of(c);
    bool open = worker_fork_remove(w, f->ticket) ||
                tine_executor_cancel(tine_worker_executor(w), f->ticket, grace_ns);
    if (open) {
        char text[256 + 2 * TINE_MAX_NAME];
        const char *name = f->extra ? f->extra->name : NULL;
        snprintf(text, sizeof text, "%s%s%s was cancelled: %s", name ? "task \"" : "a nested fork",
                 name ? name : "", name ? "\"" : "", why);
        tine_worker_complete(w, f->ticket, status, NULL, text);
    }
    if (w->current) tine_worker_act(w);
    return open ? TINE_OK : TINE_ESTATE;
}

static bool worker_take_back(tine_context *c, tine_future *f) {
    return tine_executor_is_queued(tine_worker_executor(tine_worker_of(c)), f->ticket) &&
           worker_cancel(c, f, TINE_ECANCELED, "its task runs it itself", UINT64_MAX) == TINE_OK;
}

void tine_worker_cancelled(tine_worker *w, uint64_t task) {
    tine_attempt *a = tine_idmap_get(&w->attempt_by_task, task);
    if (!a) return;
    a->cancelled = true;
    if (a->waits || a->waits_for_credit) tine_attempt_wake(a);
}

/* A task that computes receives nothing otherwise. One that asks in a loop must not pay for it each
 * time: a look at an empty socket costs about a microsecond. */
enum { CANCEL_ASK_NS = 100000 };

static bool worker_is_cancelled(tine_context *c, void *attempt) {
    tine_worker *w = tine_worker_of(c);
    tine_attempt *a = attempt;
    if (a->cancelled || a != w->current) return a->cancelled;
    int64_t now = tine_clock_ns();
    if (now - a->cancel_asked < CANCEL_ASK_NS) return false;
    a->cancel_asked = now;
    tine_progress_reclaim(&w->progress);
    tine_worker_receive(w);
    tine_worker_act(w);
    tine_worker_end_late_forks(w, now); /* it may be a fork of this worker itself */
    return a->cancelled || w->stopping;
}

/* ---- streams ---- */

static tine_error worker_yield(tine_context *c, void *attempt, tine_payload *payload) {
    tine_worker *w = tine_worker_of(c);
    tine_attempt *a = attempt;
    if (a != w->current) return tine_error_set(TINE_ESTATE, "a callback cannot yield values");
    for (;;) {
        if (a->cancelled) return attempt_cancelled(a);
        tine_error e = tine_executor_yield(tine_worker_executor(w), a->task.task, payload);
        if (e == TINE_OK) tine_worker_act(w);
        if (e != TINE_EAGAIN)
            return e == TINE_OK ? e : tine_error_set(e, "%s", tine_worker_over(w));
        a->waits_for_credit = a->yields = true;
        tine_attempt_suspend(a);
        a->waits_for_credit = a->yields = false;
    }
}

void tine_worker_pulled(tine_worker *w, uint64_t task) {
    tine_attempt *a = tine_idmap_get(&w->attempt_by_task, task);
    if (a && a->waits_for_credit) tine_attempt_wake(a);
}

static void worker_pull(tine_context *c, const tine_future *f, uint64_t item) {
    tine_worker *w = tine_worker_of(c);
    tine_executor_pull(tine_worker_executor(w), f->ticket, item);
    if (w->current) tine_worker_act(w);
}

/* ---- wait ---- */

static void awaited_are_done(void *attempt) { tine_attempt_wake(attempt); }

static tine_error worker_wait(tine_context *c, tine_future *const *f, size_t n, tine_wait_mode mode,
                              int64_t deadline) {
    tine_worker *w = tine_worker_of(c);
    tine_attempt *a = w->current;
    if (a && a->cancelled) return attempt_cancelled(a);
    if (deadline != INT64_MAX && deadline <= tine_clock_ns()) return TINE_ETIMEDOUT;
    if (!a)
        return tine_error_set(TINE_ESTATE, "a callback cannot wait: it runs on the "
                                           "thread that receives the result");
    tine_wait_set set;
    tine_error e = tine_wait_begin(&set, f, n, mode, awaited_are_done, a);
    if (e != TINE_OK) return e;
    a->deadline = deadline;
    a->timed_out = false;
    w->n_timed += deadline != INT64_MAX;
    a->waits = true;
    a->awaited = f;
    a->n_awaited = n;
    while (set.missing > 0 && !a->timed_out && !a->cancelled) tine_attempt_suspend(a);
    a->waits = false;
    w->n_timed -= deadline != INT64_MAX;
    a->deadline = INT64_MAX;
    bool timed_out = set.missing > 0;
    tine_wait_end(&set, f, n);
    for (size_t i = 0; tine_tracing() && i < n; i++)
        if (tine_future_is_done(f[i])) tine_trace_wait(f[i]->flow, "");
    if (timed_out && a->cancelled) return attempt_cancelled(a);
    return timed_out ? TINE_ETIMEDOUT : TINE_OK;
}

/* ---- the rest of the table ---- */

static void worker_defer(tine_context *c, void (*fn)(void *arg), void *arg, void *parent) {
    tine_worker *w = tine_worker_of(c);
    worker_callback *callback = malloc(sizeof *callback);
    if (!callback) {
        fn(arg);
        return;
    }
    callback->fn = fn;
    callback->arg = arg;
    callback->attempt = parent;
    STAILQ_INSERT_TAIL(&w->callbacks, callback, entry);
}

static void worker_instance_await(tine_context *c) {
    tine_worker *w = tine_worker_of(c);
    STAILQ_INSERT_TAIL(&w->awaiting_instance, w->current, queue);
    tine_attempt_suspend(w->current);
}

static bool worker_instance_may_await(tine_context *c) { return tine_worker_of(c)->current; }

static void worker_instance_made(tine_context *c) {
    tine_worker *w = tine_worker_of(c);
    while (!STAILQ_EMPTY(&w->awaiting_instance)) {
        tine_attempt *a = STAILQ_FIRST(&w->awaiting_instance);
        STAILQ_REMOVE_HEAD(&w->awaiting_instance, queue);
        tine_attempt_wake(a);
    }
}

static const tine_context_ops worker_ops = {
    .lock = worker_no_lock,
    .unlock = worker_no_lock,
    .admit = worker_admit,
    .submit = worker_submit,
    .hold = worker_hold,
    .unhold = worker_unhold,
    .cancel = worker_cancel,
    .take_back = worker_take_back,
    .cancelled = worker_is_cancelled,
    .yield = worker_yield,
    .pull = worker_pull,
    .wait = worker_wait,
    .defer = worker_defer,
    .object = tine_worker_object,
    .object_payload = tine_worker_object_payload,
    .instance_await = worker_instance_await,
    .instance_may_await = worker_instance_may_await,
    .instance_made = worker_instance_made,
};

static void worker_wake(void *link) { tine_link_wake(link); }

void tine_worker_context_init(tine_worker *w) {
    w->context.ops = &worker_ops;
    w->context.mailbox = tine_mailbox_new(worker_wake, &w->link);
    w->context.encoder = (tine_encoder){.by_reference = tine_worker_by_reference, .ctx = w};
    w->handles = tine_handles_new();
    w->context.owner = tine_handles_owner(w->handles);
    w->context.decoder = (tine_decoder){tine_worker_put_value, w->context.owner, w, 0};
    LIST_INIT(&w->attempts);
    STAILQ_INIT(&w->runnable);
    STAILQ_INIT(&w->awaiting_instance);
    STAILQ_INIT(&w->forks);
    STAILQ_INIT(&w->callbacks);
    STAILQ_INIT(&w->requests);
    LIST_INIT(&w->values);
}

void tine_worker_context_fini(tine_worker *w) {
    tine_mailbox_close(&w->context);
    tine_timers_fini(&w->context.deadlines);
    tine_timers_fini(&w->graced);
    tine_worker_values_fini(w);
    tine_instances_end(&w->context);
    tine_instances_free(&w->context);
    tine_handles_end(w->handles);
}
