/* What a task's calls do: fork goes to the executor, wait suspends the fiber. One thread, so there
 * is nothing to lock; "the lock" of the context's contract is that nothing here is interrupted
 * except where a fiber suspends. */
#include <stdlib.h>
#include <string.h>

#include "runtime/api/instances.h"
#include "runtime/trace/trace.h"
#include "transport/base/assert.h"
#include "transport/base/clock.h"
#include "workers/worker_internal.h"

static tine_worker *worker_of(tine_context *c) { return (tine_worker *)c; }
static void no_lock(tine_context *c) { (void)c; }

/* ---- fork ---- */

static void hold(tine_context *c, void *host) {
    (void)c;
    ((tine_attempt *)host)->held++;
}

static void unhold(tine_context *c, void *host) {
    (void)c;
    tine_attempt *j = host;
    if (--j->held == 0 && j->finishing) tine_attempt_wake(j);
}

static tine_error keep_surplus(tine_worker *w, uint64_t ticket, tine_attempt *parent,
                               const tine_target *t, uint32_t flags, tine_payload *payload) {
    tine_surplus *s = calloc(1, sizeof *s);
    if (!s) goto no_memory;
    s->name = strdup(t->name);
    s->method = t->method ? strdup(t->method) : NULL;
    if (!s->name || (t->method && !s->method)) goto no_memory;
    s->ticket = ticket;
    s->parent = parent;
    s->object = t->object;
    s->flags = flags;
    s->payload = tine_payload_ref(payload);
    hold(&w->context, parent);
    *w->surplus_end = s;
    w->surplus_end = &s->next;
    return TINE_OK;
no_memory:
    if (s) {
        free(s->name);
        free(s->method);
    }
    free(s);
    return tine_error_set(TINE_ENOMEM, "no memory for a fork");
}

static tine_error submit(tine_context *c, tine_future *f, void *host, const tine_target *t,
                         uint32_t flags, tine_payload *payload) {
    tine_worker *w = worker_of(c);
    tine_attempt *j = host;
    if (!j) return tine_error_set(TINE_ESTATE, "a fork on a worker must come from a task");
    if (w->stopping) return tine_error_set(TINE_ECANCELED, "the coordinator has stopped");
    int64_t began = tine_trace_begin();
    uint64_t ticket = ++w->last_ticket;
    f->flow = tine_trace_flow(tine_executor_epoch(w->executor), ticket);
    tine_idmap_put(&w->tickets, ticket, tine_ref_future_(f));
    tine_error e = w->surplus
                       ? TINE_EAGAIN
                       : tine_executor_fork(w->executor, j->task.task, ticket, t, flags, payload);
    if (e == TINE_EAGAIN) e = keep_surplus(w, ticket, j, t, flags, payload);
    if (e != TINE_OK) {
        tine_future_unref(tine_idmap_remove(&w->tickets, ticket));
        return e;
    }
    tine_trace_fork(f->flow, t->name);
    if (w->current) tine_worker_act(w); /* it leaves now: this task may compute for long */
    tine_trace_end(TINE_TRACE_FORK, began, t->name);
    return TINE_OK;
}

static void surplus_free(tine_worker *w, tine_surplus *s) {
    unhold(&w->context, s->parent);
    tine_payload_unref(s->payload);
    free(s->name);
    free(s->method);
    free(s);
}

void tine_worker_credit(tine_worker *w) {
    while (w->surplus) {
        tine_surplus *s = w->surplus;
        tine_target t = {s->name, s->method, s->object};
        tine_error e = tine_executor_fork(w->executor, s->parent->task.task, s->ticket, &t,
                                          s->flags, s->payload);
        if (e == TINE_EAGAIN) return;
        w->surplus = s->next;
        if (!w->surplus) w->surplus_end = &w->surplus;
        if (e != TINE_OK) {
            tine_future *f = tine_idmap_remove(&w->tickets, s->ticket);
            tine_future_complete(f, e, NULL, "the coordinator has stopped");
            tine_future_unref(f);
        }
        surplus_free(w, s);
    }
    for (tine_attempt *j = w->newest; j; j = j->older)
        if (j->waits_for_credit) tine_attempt_wake(j);
}

void tine_worker_drop_surplus(tine_worker *w) {
    while (w->surplus) {
        tine_surplus *s = w->surplus;
        w->surplus = s->next;
        surplus_free(w, s);
    }
    w->surplus_end = &w->surplus;
}

static tine_error admit(tine_context *c, bool may_wait) {
    tine_worker *w = worker_of(c);
    if (!w->surplus || !w->current) return TINE_OK;
    if (!may_wait)
        return tine_error_set(TINE_EAGAIN, "too many forks of this worker have not started yet");
    tine_attempt *j = w->current;
    j->waits_for_credit = true;
    while (w->surplus && !w->stopping) tine_attempt_suspend(j);
    j->waits_for_credit = false;
    return TINE_OK;
}

/* ---- wait ---- */

typedef struct attempt_waiter {
    tine_waiter waiter;
    tine_attempt *attempt;
} attempt_waiter;

static void future_done(tine_waiter *w, tine_future *f) {
    (void)f;
    tine_attempt *j = ((attempt_waiter *)w)->attempt;
    if (j->missing > 0 && --j->missing == 0) tine_attempt_wake(j);
}

static void await_all(tine_attempt *j, tine_future *const *f, size_t n, bool any,
                      attempt_waiter *waiters) {
    size_t pending = 0;
    for (size_t i = 0; i < n; i++) {
        waiters[i] = (attempt_waiter){.waiter.fn = future_done, .attempt = j};
        if (tine_future_is_done(f[i])) continue;
        tine_future_await(f[i], &waiters[i].waiter);
        pending++;
    }
    j->missing = any ? 1 : pending;
}

static tine_error wait(tine_context *c, tine_future *const *f, size_t n, bool any,
                       int64_t deadline) {
    tine_worker *w = worker_of(c);
    tine_attempt *j = w->current;
    if (!j)
        return tine_error_set(
            TINE_ESTATE, "a callback cannot wait: it runs on the thread that would have to answer");
    if (deadline != INT64_MAX && deadline <= tine_clock_ns()) return TINE_ETIMEDOUT;
    attempt_waiter few[8], *waiters = n <= 8 ? few : malloc(n * sizeof *waiters);
    if (!waiters) return tine_error_set(TINE_ENOMEM, "no memory to wait for %zu futures", n);
    await_all(j, f, n, any, waiters);
    j->deadline = deadline;
    j->timed_out = false;
    w->n_timed += deadline != INT64_MAX;
    while (j->missing > 0 && !j->timed_out) tine_attempt_suspend(j);
    w->n_timed -= deadline != INT64_MAX;
    j->deadline = INT64_MAX;
    bool late = j->missing > 0;
    j->missing = 0;
    for (size_t i = 0; i < n; i++) {
        tine_future_forget(f[i], &waiters[i].waiter);
        if (tine_tracing() && tine_future_is_done(f[i])) tine_trace_wait(f[i]->flow, "");
    }
    if (waiters != few) free(waiters);
    return late ? TINE_ETIMEDOUT : TINE_OK;
}

/* ---- objects ---- */

static void keep(tine_worker *w, tine_object id, tine_value *value) {
    tine_kept *k = calloc(1, sizeof *k);
    if (!k) return; /* it is decoded again the next time */
    *k = (tine_kept){.after = w->kept_first, .id = id, .value = tine_value_ref(value)};
    if (k->after) k->after->before = k;
    w->kept_first = k;
    tine_idmap_put(&w->kept, id, k);
}

static tine_value *put_value(void *ctx, tine_object id) {
    tine_worker *w = ctx;
    tine_kept *k = tine_idmap_get(&w->kept, id);
    if (k) return tine_value_ref(k->value);
    tine_payload *payload;
    const char *class_name;
    if (!tine_executor_fetch(w->executor, id, &payload, &class_name)) return NULL;
    tine_value *plain = NULL, *value;
    if (tine_payload_value(payload, &w->context.decoder, &plain) != TINE_OK) return NULL;
    value = tine_value_as_object(plain, id, NULL);
    if (value) tine_pool_forget(&value->handle);
    tine_value_unref(plain);
    if (value) keep(w, id, value);
    return value;
}

static void kept_free(tine_worker *w, tine_kept *k) {
    if (k->before)
        k->before->after = k->after;
    else
        w->kept_first = k->after;
    if (k->after) k->after->before = k->before;
    tine_value_unref(k->value);
    free(k);
}

void tine_worker_forget(tine_worker *w, tine_object id) {
    tine_kept *k = tine_idmap_remove(&w->kept, id);
    if (k) kept_free(w, k);
    tine_instance_forget(&w->context, id);
}

/* A handle on a dropped object may live on in a task's own memory: then the value itself is
 * sent. */
static bool by_reference(void *ctx, tine_object id) {
    tine_worker *w = ctx;
    tine_payload *payload;
    const char *class_name;
    return tine_object_is_module(id) || tine_idmap_get(&w->kept, id) ||
           tine_executor_fetch(w->executor, id, &payload, &class_name);
}

static tine_error object(tine_context *c, void *host, const char *class_name, tine_payload *payload,
                         tine_object *out) {
    tine_worker *w = worker_of(c);
    tine_attempt *j = host;
    if (!j) return tine_error_set(TINE_ESTATE, "an object on a worker must come from a task");
    tine_error e = tine_executor_put(w->executor, j->task.task, class_name, payload, out);
    if (e == TINE_OK && w->current) tine_worker_act(w);
    return e;
}

static tine_error object_payload(tine_context *c, tine_object id, tine_payload **payload,
                                 char **class_name) {
    tine_worker *w = worker_of(c);
    tine_attempt *j = w->current;
    const char *class;
    if (!j)
        return tine_error_set(TINE_ESTATE, "a callback cannot call a module that is not here yet");
    while (!tine_executor_fetch(w->executor, id, payload, &class)) {
        if (w->stopping) return tine_error_set(TINE_ECANCELED, "the coordinator has stopped");
        j->wants = id;
        tine_failure_fini(&j->object_failure);
        tine_worker_act(w);
        while (j->wants != 0) tine_attempt_suspend(j);
        if (j->object_failure.code != TINE_OK)
            return tine_error_set(j->object_failure.code, "%s",
                                  j->object_failure.text ? j->object_failure.text : "");
    }
    *class_name = strdup(class ? class : "");
    if (!*class_name) return tine_error_set(TINE_ENOMEM, "no memory for a module");
    tine_payload_ref(*payload);
    return TINE_OK;
}

void tine_worker_object_came(tine_worker *w, tine_object id, tine_error status, const char *text) {
    for (tine_attempt *j = w->newest; j; j = j->older) {
        if (j->wants != id) continue;
        j->wants = 0;
        if (status != TINE_OK) j->object_failure = (tine_failure){status, strdup(text ? text : "")};
        tine_attempt_wake(j);
    }
}

/* ---- the rest of the table ---- */

static void later(tine_context *c, void (*fn)(void *arg), void *arg, void *host) {
    tine_worker *w = worker_of(c);
    tine_due *d = malloc(sizeof *d);
    if (!d) {
        fn(arg);
        return;
    }
    *d = (tine_due){NULL, fn, arg, host};
    *w->due_end = d;
    w->due_end = &d->next;
}

static void pause(tine_context *c) {
    tine_worker *w = worker_of(c);
    tine_attempt_list_add(&w->pausing, w->current);
    tine_attempt_suspend(w->current);
}

static bool may_pause(tine_context *c) { return worker_of(c)->current; }

static void changed(tine_context *c) {
    tine_worker *w = worker_of(c);
    for (tine_attempt *j; (j = tine_attempt_list_take(&w->pausing)) != NULL;) tine_attempt_wake(j);
}

static const tine_context_ops worker_ops = {
    .lock = no_lock,
    .unlock = no_lock,
    .submit = submit,
    .hold = hold,
    .unhold = unhold,
    .admit = admit,
    .wait = wait,
    .object = object,
    .object_payload = object_payload,
    .later = later,
    .pause = pause,
    .may_pause = may_pause,
    .changed = changed,
};

void tine_worker_context_init(tine_worker *w) {
    w->context.ops = &worker_ops;
    w->context.encoder = (tine_encoder){by_reference, w};
    w->context.decoder = (tine_decoder){put_value, NULL, w};
    w->surplus_end = &w->surplus;
    w->due_end = &w->due;
}

void tine_worker_context_fini(tine_worker *w) {
    while (w->kept_first) kept_free(w, w->kept_first);
    tine_idmap_fini(&w->kept);
    tine_instances_free(&w->context);
}
