/* The coordinator's context: what fork, wait and put do in the user's program. See context.h for
 * the contract of each. */
#include "runtime/coordinator/coordinator.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/coordinator/coordinator_internal.h"
#include "runtime/api/instances.h"
#include "runtime/coordinator/loop_internal.h"
#include "runtime/trace/trace.h"
#include "transport/base/clock.h"

static tine_coordinator *coordinator_of(tine_context *c) { return (tine_coordinator *)c; }
static void lock(tine_context *c) { tine_loop_lock(coordinator_of(c)->loop); }
static void unlock(tine_context *c) { tine_loop_unlock(coordinator_of(c)->loop); }

static tine_error over(void) { return tine_error_set(TINE_ESTATE, "Tine has been shut down"); }

/* ---- fork ---- */

static tine_error submit(tine_context *c, tine_future *f, void *host, const tine_target *t,
                         uint32_t flags, tine_payload *payload) {
    (void)host;
    tine_loop *l = coordinator_of(c)->loop;
    if (l->stopping) return over();
    uint64_t ticket = ++l->last_ticket;
    f->ticket = ticket;
    f->flow = tine_trace_flow(0, ticket);
    int64_t began = tine_trace_begin();
    tine_idmap_put(&l->tickets, ticket, tine_ref_future_(f));
    tine_error e = tine_scheduler_fork(l->scheduler, ticket, t, flags, payload);
    if (e != TINE_OK) {
        tine_future_unref(tine_idmap_remove(&l->tickets, ticket));
        if (e == TINE_EINVAL)
            return tine_error_set(
                e, "it needs a module or a put value that is gone, as after tine_shutdown");
        return e == TINE_ESTATE ? over() : tine_error_set(e, "no memory for a fork");
    }
    tine_trace_fork(f->flow, t->name);
    tine_trace_end(TINE_TRACE_FORK, began, t->name);
    tine_loop_push(l);
    return TINE_OK;
}

static bool has_room(void *arg) {
    tine_coordinator *c = arg;
    tine_scheduler_stats s;
    tine_scheduler_stats_get(c->loop->scheduler, &s);
    return s.ready < c->max_pending && s.ready_bytes < c->max_pending_bytes;
}

static tine_error admit(tine_context *context, bool may_wait) {
    tine_coordinator *c = coordinator_of(context);
    tine_error e = TINE_OK;
    tine_loop_lock(c->loop);
    tine_loop_take(c->loop);
    if (c->loop->stopping) {
        e = over();
        goto out;
    }
    if (!may_wait && !has_room(c)) tine_loop_poll(c->loop); /* a program may try in a loop */
    if (!has_room(c)) {
        e = may_wait
                ? tine_loop_until(c->loop, has_room, c, INT64_MAX)
                : tine_error_set(TINE_EAGAIN, "%zu tasks have not started yet (TINE_MAX_PENDING)",
                                 c->max_pending);
        /* in a callback, which cannot wait: the limit gives way */
        if (e == TINE_ESTATE) e = TINE_OK;
    }
out:
    tine_loop_unlock(c->loop);
    return e;
}

/* ---- wait ---- */

typedef struct waited {
    tine_future *const *f;
    size_t n, at; /* all before `at` are done */
    bool any;
} waited;

static bool are_done(void *arg) {
    waited *w = arg;
    if (w->any) {
        for (size_t i = 0; i < w->n; i++)
            if (tine_future_is_done(w->f[i])) return true;
        return false;
    }
    while (w->at < w->n && tine_future_is_done(w->f[w->at])) w->at++;
    return w->at == w->n;
}

static tine_error wait(tine_context *context, tine_future *const *f, size_t n, bool any,
                       int64_t deadline) {
    tine_coordinator *c = coordinator_of(context);
    waited w = {f, n, 0, any};
    int64_t began = tine_trace_begin();
    tine_loop_lock(c->loop);
    tine_error e = tine_loop_until(c->loop, are_done, &w, deadline);
    tine_loop_unlock(c->loop);
    if (tine_tracing()) {
        for (size_t i = 0; i < n; i++)
            if (tine_future_is_done(f[i])) tine_trace_wait(f[i]->flow, "");
        tine_trace_end(TINE_TRACE_WAIT, began, n == 1 ? "wait" : any ? "wait_any" : "wait_all");
    }
    return e;
}

static char *describe(tine_context *c, const tine_future *f) {
    return tine_scheduler_describe(coordinator_of(c)->loop->scheduler, f->ticket);
}

/* ---- objects ---- */

static tine_error object(tine_context *context, void *host, const char *class_name,
                         tine_payload *payload, tine_object *out) {
    (void)host;
    tine_loop *l = coordinator_of(context)->loop;
    if (l->stopping) return over();
    tine_loop_count_handles(l); /* a loop of puts and releases needs no more memory than one */
    tine_error e = tine_scheduler_object(l->scheduler, out, class_name, payload);
    tine_loop_push(l);
    if (e == TINE_EINVAL)
        return tine_error_set(
            e, "it needs a module or a put value that is gone, as after tine_shutdown");
    return e == TINE_OK ? e : tine_error_set(e, "no memory for an object");
}

/* A put value that was made before Tine was shut down and started again is sent itself. */
static bool by_reference(void *ctx, tine_object id) {
    tine_coordinator *c = ctx;
    return tine_object_is_module(id) ||
           (c->loop->scheduler &&
            tine_scheduler_object_payload(c->loop->scheduler, id, NULL) != NULL);
}

static tine_error object_payload(tine_context *context, tine_object id, tine_payload **payload,
                                 char **class_name) {
    tine_coordinator *c = coordinator_of(context);
    const char *class = NULL;
    tine_loop_lock(c->loop);
    tine_payload *p = NULL;
    if (!c->loop->stopping)
        p = tine_payload_ref(tine_scheduler_object_payload(c->loop->scheduler, id, &class));
    char *name = p ? strdup(class ? class : "") : NULL;
    tine_loop_unlock(c->loop);
    if (!name) {
        tine_payload_unref(p);
        return tine_error_set(TINE_EINVAL, "the module is gone: its last handle was released");
    }
    *payload = p;
    *class_name = name;
    return TINE_OK;
}

static bool gone(tine_context *context, tine_object id) {
    tine_loop *l = coordinator_of(context)->loop;
    if (l->stopping) return false;
    tine_loop_count_handles(l);
    return !tine_scheduler_object_payload(l->scheduler, id, NULL);
}

/* With the lock. */
static tine_value *put_value(void *ctx, tine_object id) {
    tine_coordinator *c = ctx;
    tine_payload *p =
        c->loop->scheduler ? tine_scheduler_object_payload(c->loop->scheduler, id, NULL) : NULL;
    tine_value *plain = NULL;
    if (!p || tine_payload_value(p, &c->context.decoder, &plain) != TINE_OK) return NULL;
    tine_value *v = tine_value_as_object(plain, id, c->context.owner);
    if (v) tine_pool_forget(&v->handle);
    tine_value_unref(plain);
    return v;
}

/* Handles outlive the coordinator where a program releases values after tine_shutdown: nobody is
 * told then. */
static void change_handle(tine_object_owner *o, tine_object id, int change) {
    coordinator_owner *owner = (coordinator_owner *)o;
    pthread_mutex_lock(&owner->lock);
    if (owner->loop) tine_loop_object_held(owner->loop, id, change);
    pthread_mutex_unlock(&owner->lock);
}
static void retained(tine_object_owner *o, tine_object id) { change_handle(o, id, 1); }
static void released(tine_object_owner *o, tine_object id) { change_handle(o, id, -1); }
static coordinator_owner the_owner = {{retained, released}, PTHREAD_MUTEX_INITIALIZER, NULL};

static void set_owner_loop(tine_loop *l) {
    pthread_mutex_lock(&the_owner.lock);
    the_owner.loop = l;
    pthread_mutex_unlock(&the_owner.lock);
}

/* ---- the rest of the table ---- */

static void later(tine_context *c, void (*fn)(void *arg), void *arg, void *host) {
    (void)host;
    tine_loop_later(coordinator_of(c)->loop, fn, arg);
}

static void pause(tine_context *context) {
    tine_coordinator *c = coordinator_of(context);
    pthread_cond_wait(&c->changed, &c->loop->lock);
}

static bool may_pause(tine_context *c) {
    (void)c;
    return !tine_loop_in_callback();
}

static void changed(tine_context *c) { pthread_cond_broadcast(&coordinator_of(c)->changed); }

static void context_free(tine_context *context) {
    tine_coordinator *c = coordinator_of(context);
    tine_loop_free(c->loop);
    pthread_cond_destroy(&c->changed);
    free(c);
}

static const tine_context_ops coordinator_ops = {
    .lock = lock,
    .unlock = unlock,
    .submit = submit,
    .admit = admit,
    .wait = wait,
    .describe = describe,
    .object = object,
    .object_payload = object_payload,
    .gone = gone,
    .later = later,
    .pause = pause,
    .may_pause = may_pause,
    .changed = changed,
    .free = context_free,
};

/* Objects that coordinators of this process have made: a handle that outlives one must mean nothing
 * to the next. */
static uint64_t objects_made;

/* ---- life ---- */

tine_error tine_coordinator_new(tine_coordinator **out, const tine_settings *s,
                                tine_transport *transport, int expected, bool workers_return) {
    tine_scheduler *scheduler = NULL;
    tine_coordinator *c = calloc(1, sizeof *c);
    tine_error e = c ? TINE_OK : tine_error_set(TINE_ENOMEM, "no memory for a coordinator");
    if (e != TINE_OK) goto out;
    tine_scheduler_config config = {.expected_workers = (uint32_t)expected,
                                    .max_attempts = 1 + (uint32_t)s->retries,
                                    .workers_return = workers_return,
                                    .objects_made = objects_made};
    e = tine_scheduler_new(&scheduler, &config);
    if (e != TINE_OK) goto out;
    e = tine_loop_new(&c->loop, scheduler, transport);
    if (e != TINE_OK) goto out;
    pthread_cond_init(&c->changed, NULL);
    c->context.ops = &coordinator_ops;
    atomic_store(&c->context.refs, 1);
    c->context.encoder = (tine_encoder){by_reference, c};
    c->context.owner = &the_owner.owner;
    c->context.decoder = (tine_decoder){put_value, &the_owner.owner, c};
    c->max_pending = s->max_pending;
    c->max_pending_bytes = s->max_pending_bytes;
    *out = c;
    return TINE_OK;
out:
    tine_scheduler_free(scheduler);
    transport->ops->fini(transport);
    free(c);
    return e;
}

tine_loop *tine_coordinator_loop(tine_coordinator *c) { return c->loop; }

typedef struct joining {
    tine_coordinator *c;
    size_t n;
} joining;

static bool have_joined(void *arg) {
    joining *j = arg;
    return tine_scheduler_workers(j->c->loop->scheduler, NULL, 0) >= j->n || j->c->loop->gone;
}

tine_error tine_coordinator_open(tine_coordinator *c, int n, double seconds) {
    set_owner_loop(c->loop);
    tine_context_install(&c->context);
    joining j = {c, n > 0 ? (size_t)n : 0};
    tine_loop_lock(c->loop);
    tine_error e =
        tine_loop_until(c->loop, have_joined, &j, tine_clock_ns() + (int64_t)(seconds * 1e9));
    size_t joined = tine_scheduler_workers(c->loop->scheduler, NULL, 0);
    tine_loop_unlock(c->loop);
    if (joined >= j.n) return TINE_OK;
    if (e == TINE_OK)
        return tine_error_set(TINE_ELOST, "the workers could not be started: each ended at once");
    return tine_error_set(e, "%zu of %d workers have joined within %g s (TINE_CONNECT_TIMEOUT)",
                          joined, n, seconds);
}

int tine_coordinator_workers(tine_coordinator *c) {
    tine_loop_lock(c->loop);
    size_t n = tine_scheduler_workers(c->loop->scheduler, NULL, 0);
    tine_loop_unlock(c->loop);
    return (int)n;
}

uint64_t tine_coordinator_completed(tine_coordinator *c) {
    tine_scheduler_stats s;
    tine_loop_lock(c->loop);
    tine_scheduler_stats_get(c->loop->scheduler, &s);
    tine_loop_unlock(c->loop);
    return s.completed;
}

void tine_coordinator_stop(tine_coordinator *c, double seconds) {
    tine_loop_stop(c->loop, tine_clock_ns() + (int64_t)(seconds * 1e9));
    tine_context_install(NULL);
}

void tine_coordinator_free(tine_coordinator *c) {
    if (!c) return;
    tine_instances_free(&c->context);
    set_owner_loop(NULL);
    tine_scheduler_stats s;
    tine_scheduler_stats_get(c->loop->scheduler, &s);
    objects_made = s.objects_made;
    tine_loop_clear(c->loop);
    tine_context_unref(&c->context);
}
