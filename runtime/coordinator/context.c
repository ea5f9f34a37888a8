/* The coordinator as a context: what fork and wait do in the user's program. See context.h for
 * the contract of each operation, objects.c for puts and modules. */
#include <stdlib.h>

#include "runtime/api/held.h"
#include "runtime/coordinator/internal.h"
#include "runtime/trace/trace.h"
#include "transport/base/clock.h"
#include "transport/base/text.h"

static void coordinator_lock(tine_context *c) { tine_coordinator_lock(coordinator_of(c)); }
static void coordinator_unlock(tine_context *c) { tine_coordinator_unlock(coordinator_of(c)); }

/* ---- fork ---- */

/* The tasks that have not started, held forks included; *bytes: of their arguments. */
static size_t coordinator_pending(const tine_coordinator *c, size_t *bytes) {
    const tine_scheduler_stats *s = tine_scheduler_stats_get(c->scheduler);
    *bytes = s->ready_bytes + c->context.held_bytes;
    return s->waiting + s->ready + c->context.n_held;
}

static bool coordinator_has_room(void *arg) {
    const tine_coordinator *c = arg;
    size_t bytes;
    return coordinator_pending(c, &bytes) < c->max_pending && bytes < c->max_pending_bytes;
}

static tine_error coordinator_is_full(const tine_coordinator *c) {
    size_t bytes, n = coordinator_pending(c, &bytes);
    if (n >= c->max_pending)
        return tine_error_set(TINE_EAGAIN, "%zu tasks have not started yet (TINE_MAX_PENDING)", n);
    return tine_error_set(TINE_EAGAIN,
                          "%zu tasks with %zu bytes of arguments have not started yet "
                          "(TINE_MAX_PENDING_BYTES)",
                          n, bytes);
}

static tine_error coordinator_admit(tine_context *context, bool may_wait) {
    tine_coordinator *c = coordinator_of(context);
    tine_coordinator_preempt(c);
    if (c->stopping) return tine_coordinator_over();
    tine_coordinator_receive_some(c);
    if (coordinator_has_room(c)) return TINE_OK;
    if (!may_wait) {
        tine_coordinator_poll(c); /* a program may try in a loop */
        return coordinator_has_room(c) ? TINE_OK : coordinator_is_full(c);
    }
    tine_error e = tine_coordinator_until(c, coordinator_has_room, c, INT64_MAX);
    /* a callback cannot wait, so the limit does not apply to it */
    return e == TINE_ESTATE ? TINE_OK : e;
}

enum { INITIALISER = -1 }; /* its future's task */

static tine_error coordinator_submit(tine_context *context, tine_future *f, void *parent,
                                     const tine_target *t, uint32_t flags, tine_payload *payload,
                                     const tine_terms *terms) {
    (void)parent;
    tine_coordinator *c = coordinator_of(context);
    if (c->stopping) return tine_coordinator_over();
    f->flow = tine_trace_flow(0, ++c->last_flow);
    int64_t began = tine_trace_begin();
    tine_scheduler_time(c->scheduler, tine_clock_coarse_ns());
    bool everywhere = terms && terms->initialises;
    tine_error e =
        everywhere ? tine_scheduler_initialise(c->scheduler, (uintptr_t)f, t->name, flags, payload)
                   : tine_scheduler_fork(c->scheduler, (uintptr_t)f, f->flow, t, flags, payload,
                                         terms, &f->task);
    if (everywhere) f->task = (uint64_t)INITIALISER;
    if (e != TINE_OK) return tine_coordinator_refused(e, "a fork");
    tine_ref_future_(f); /* until COMPLETE */
    c->n_open++;
    if (tine_scheduler_stats_get(c->scheduler)->workers > 0)
        c->tell_ns = 0;
    else
        tine_coordinator_expect(c);
    const char *name = terms && terms->name && *terms->name ? terms->name : t->name;
    tine_trace_fork(f->flow, name);
    tine_trace_end(TINE_TRACE_FORK, began, name);
    tine_coordinator_push(c);
    return TINE_OK;
}

static tine_error coordinator_cancel(tine_context *context, tine_future *f, tine_error status,
                                     const char *why, uint64_t grace_ns) {
    tine_coordinator *c = coordinator_of(context);
    if (f->task == (uint64_t)INITIALISER)
        return tine_error_set(TINE_EINVAL,
                              "an initialiser cannot be cancelled: workers that join later run it");
    if (!tine_scheduler_cancel(c->scheduler, f->task, status, why, grace_ns)) return TINE_ESTATE;
    tine_coordinator_push(c);
    return TINE_OK;
}

static void coordinator_pull(tine_context *context, const tine_future *f, uint64_t item) {
    tine_coordinator *c = coordinator_of(context);
    if (c->stopping) return;
    tine_scheduler_pull(c->scheduler, f->task, item);
    tine_coordinator_push(c);
}

/* ---- results as arguments ---- */

/* A smaller result that is done is copied into the call: it costs less than an object's
 * messages. */
enum { REFERENCE_MIN = 4096 };

/* Makes an object of a result that is here; 0: it is small, or there is no memory. */
static tine_object object_of_result(tine_coordinator *c, const tine_future *f) {
    tine_object id = 0;
    tine_payload *p = tine_payload_ref(f->payload);
    if (!p && !f->value) return 0;
    if (!p && f->value->kind >= TINE_STRING &&
        tine_payload_of_value(f->value, &c->context.encoder, &p) != TINE_OK)
        return 0;
    if (tine_payload_bytes(p) > REFERENCE_MIN && tine_scheduler_object(c->scheduler, &id, NULL, p))
        id = 0;
    tine_payload_unref(p);
    return id;
}

static const tine_value *coordinator_reference(tine_context *context, tine_future *f) {
    tine_coordinator *c = coordinator_of(context);
    if (f->reference || c->stopping) return f->reference;
    bool done = tine_future_is_done(f);
    tine_object id = !done                  ? tine_scheduler_result(c->scheduler, f->task)
                     : f->status == TINE_OK ? object_of_result(c, f)
                                            : 0;
    if (!id) return NULL;
    f->reference = tine_value_of_object(id, c->context.owner);
    if (!f->reference) tine_scheduler_object_release(c->scheduler, id);
    tine_future_observe(f); /* what depends on it reports its failure */
    return f->reference;
}

static void coordinator_want(tine_context *context, tine_future *f) {
    tine_coordinator *c = coordinator_of(context);
    if (c->stopping) return;
    if (!tine_future_is_done(f))
        tine_scheduler_result_want(c->scheduler, f->task);
    else if (f->reference && f->reference->object && !f->payload && tine_future_has_stayed(f))
        tine_scheduler_object_want(c->scheduler, f->reference->object);
    if (tine_scheduler_actions(c->scheduler) > 0) tine_coordinator_push(c);
}

/* ---- wait ---- */

typedef struct awaited {
    tine_future *const *futures;
    size_t n, at; /* all before `at` are done */
} awaited;

static bool are_done(void *arg) {
    awaited *a = arg;
    while (a->at < a->n && tine_future_is_done(a->futures[a->at])) a->at++;
    return a->at == a->n;
}

static bool is_over(void *arg) { return ((tine_wait_set *)arg)->missing == 0; }

static const char *const wait_names[] = {"wait_all", "wait_any", "wait_failure"};

/* For all, looking at each once is cheaper than a waiter on each. */
static tine_error wait_until_over(tine_coordinator *c, tine_future *const *f, size_t n,
                                  tine_wait_mode mode, int64_t deadline) {
    if (mode == TINE_WAIT_ALL) {
        awaited a = {f, n, 0};
        return tine_coordinator_until(c, are_done, &a, deadline);
    }
    tine_wait_set set;
    tine_error e = tine_wait_begin(&set, f, n, mode, NULL, NULL);
    if (e == TINE_OK) e = tine_coordinator_until(c, is_over, &set, deadline);
    tine_wait_end(&set, f, n);
    return e;
}

static tine_error coordinator_wait(tine_context *context, tine_future *const *f, size_t n,
                                   tine_wait_mode mode, int64_t deadline) {
    int64_t began = tine_trace_begin();
    tine_error e = wait_until_over(coordinator_of(context), f, n, mode, deadline);
    if (tine_tracing()) {
        for (size_t i = 0; i < n; i++)
            if (tine_future_is_done(f[i])) tine_trace_wait(f[i]->flow, "");
        tine_trace_end(TINE_TRACE_WAIT, began, n == 1 ? "wait" : wait_names[mode]);
    }
    return e;
}

static void coordinator_completed(tine_context *context) {
    tine_coordinator_announce(coordinator_of(context));
}

static char *coordinator_describe(tine_context *context, const tine_future *f) {
    tine_coordinator *c = coordinator_of(context);
    if (f->held) return tine_held_fork_describe(f->held);
    char *text = tine_scheduler_describe(c->scheduler, (uintptr_t)f);
    if (!text || c->start_failures == 0 || tine_scheduler_workers(c->scheduler, NULL, 0) > 0)
        return text;
    char *longer = tine_text_format("%s; the last worker to be started %s", text, c->start_reason);
    if (!longer) return text;
    free(text);
    return longer;
}

/* ---- the rest of the table ---- */

static void coordinator_defer(tine_context *c, void (*fn)(void *arg), void *arg, void *parent) {
    (void)parent;
    tine_coordinator_defer(coordinator_of(c), fn, arg);
}

static void coordinator_instance_await(tine_context *context) {
    tine_coordinator *c = coordinator_of(context);
    pthread_cond_wait(&c->instance_made, &c->lock);
}

static bool coordinator_instance_may_await(tine_context *c) {
    (void)c;
    return !tine_coordinator_in_callback();
}

static void coordinator_instance_made(tine_context *c) {
    pthread_cond_broadcast(&coordinator_of(c)->instance_made);
}

static void coordinator_free(tine_context *c) { tine_coordinator_delete(coordinator_of(c)); }

const tine_context_ops tine_coordinator_ops = {
    .lock = coordinator_lock,
    .unlock = coordinator_unlock,
    .admit = coordinator_admit,
    .submit = coordinator_submit,
    .reference = coordinator_reference,
    .want = coordinator_want,
    .cancel = coordinator_cancel,
    .pull = coordinator_pull,
    .wait = coordinator_wait,
    .completed = coordinator_completed,
    .describe = coordinator_describe,
    .object = tine_coordinator_object,
    .object_payload = tine_coordinator_object_payload,
    .object_gone = tine_coordinator_object_gone,
    .defer = coordinator_defer,
    .instance_await = coordinator_instance_await,
    .instance_may_await = coordinator_instance_may_await,
    .instance_made = coordinator_instance_made,
    .free = coordinator_free,
};
