/* Objects of the program: making them, finding them again, and counting the handles on them. */
#include <stdlib.h>
#include <string.h>

#include "runtime/coordinator/internal.h"
#include "transport/base/vector.h"

enum {
    /* A program may keep values for long, and what it keeps of a worker's memory takes a lease, and
     * all of that memory once the worker has ended. Its functions, which keep what they wait for
     * until they return, take it as it is. */
    COPY_BELOW = TINE_BUFFER_LARGE
};

tine_error tine_coordinator_object(tine_context *context, void *parent, const char *class_name,
                                   tine_payload *payload, tine_object *out) {
    (void)parent;
    tine_coordinator *c = coordinator_of(context);
    if (c->stopping) return tine_coordinator_over();
    /* so that a loop of puts and releases needs no more memory than one put */
    tine_coordinator_count_handles(c);
    tine_error e = tine_scheduler_object(c->scheduler, out, class_name, payload);
    tine_coordinator_push(c);
    return e == TINE_OK ? e : tine_coordinator_refused(e, "an object");
}

typedef struct coming {
    tine_coordinator *c;
    tine_object id;
} coming;

static bool object_is_here(void *arg) {
    const coming *o = arg;
    const char *text;
    return tine_scheduler_object_payload(o->c->scheduler, o->id, NULL) ||
           tine_scheduler_object_error(o->c->scheduler, o->id, &text) != TINE_EAGAIN;
}

/* With the lock: until the object is here, or cannot be had. */
static tine_error await_object(tine_coordinator *c, tine_object id) {
    coming o = {c, id};
    const char *text;
    if (c->stopping && !tine_object_is_module(id))
        return tine_error_set(TINE_ESTATE, "the result has stayed at its worker, and Tine has been "
                                           "shut down: take results before tine_shutdown");
    if (c->stopping) return TINE_OK;
    if (!object_is_here(&o)) {
        tine_scheduler_object_want(c->scheduler, id);
        tine_coordinator_push(c);
        tine_error waited = tine_coordinator_until_fetched(c, object_is_here, &o);
        if (waited != TINE_OK) return waited;
    }
    if (tine_object_is_module(id) || tine_scheduler_object_payload(c->scheduler, id, NULL))
        return TINE_OK;
    tine_error e = tine_scheduler_object_error(c->scheduler, id, &text);
    return tine_error_set(e, "%s", text);
}

tine_error tine_coordinator_object_payload(tine_context *context, tine_object id,
                                           tine_payload **payload, char **class_name) {
    tine_coordinator *c = coordinator_of(context);
    const char *class = NULL;
    tine_payload *p = NULL;
    tine_coordinator_lock(c);
    tine_error e = await_object(c, id);
    if (e != TINE_OK) {
        tine_coordinator_unlock(c);
        return e;
    }
    if (!c->stopping) p = tine_payload_ref(tine_scheduler_object_payload(c->scheduler, id, &class));
    char *name = p ? strdup(class ? class : "") : NULL;
    bool over = c->stopping;
    tine_coordinator_unlock(c);
    if (over) return tine_coordinator_over();
    if (!name) {
        tine_payload_unref(p);
        return tine_error_set(TINE_EINVAL,
                              "the module has been freed: its last handle was released");
    }
    *payload = p;
    *class_name = name;
    return TINE_OK;
}

bool tine_coordinator_object_gone(tine_context *context, tine_object id) {
    tine_coordinator *c = coordinator_of(context);
    if (c->stopping) return false;
    tine_coordinator_count_handles(c);
    return !tine_scheduler_object_payload(c->scheduler, id, NULL);
}

/* ---- while values are encoded and decoded, with the lock ---- */

static tine_payload *payload_of(tine_coordinator *c, tine_object id) {
    return c->scheduler ? tine_scheduler_object_payload(c->scheduler, id, NULL) : NULL;
}

/* Whether an object is encoded as a reference. A put value that was made before Tine was shut down
 * and started again is encoded by value. */
static bool coordinator_by_reference(void *ctx, tine_object id) {
    tine_coordinator *c = ctx;
    const char *text;
    return tine_object_is_module(id) ||
           (c->scheduler && tine_scheduler_object_error(c->scheduler, id, &text) != TINE_EINVAL);
}

static tine_value *coordinator_put_value(void *ctx, tine_object id) {
    tine_coordinator *c = ctx;
    tine_payload *p = payload_of(c, id);
    tine_value *plain = NULL;
    if (!p || tine_payload_value(p, &c->context.decoder, &plain) != TINE_OK) return NULL;
    tine_value *v = tine_value_as_object(plain, id, c->context.owner);
    if (v) tine_pool_forget(&v->handle);
    tine_value_unref(plain);
    return v;
}

/* ---- handles ---- */

/* Any thread, also with the coordinator's lock. The scheduler is told in the order of these
 * calls, at the next turn of the loop; what the object holds may be large, so a thread that is
 * blocked in the loop is woken. */
static void handle_changed(tine_coordinator *c, tine_object id, int change) {
    pthread_mutex_lock(&c->handles_lock);
    struct coordinator_handle *more =
        tine_grow(c->handles, &c->room_handles, c->n_handles + 1, sizeof *more);
    if (more) {
        c->handles = more;
        c->handles[c->n_handles++] = (struct coordinator_handle){id, change};
    }
    if (!atomic_exchange(&c->handles_changed, true)) tine_link_wake(&c->link);
    pthread_mutex_unlock(&c->handles_lock);
}

void tine_coordinator_count_handles(tine_coordinator *c) {
    if (!atomic_load(&c->handles_changed)) return;
    pthread_mutex_lock(&c->handles_lock);
    struct coordinator_handle *changes = c->handles;
    size_t n = c->n_handles;
    c->handles = NULL;
    c->n_handles = c->room_handles = 0;
    atomic_store(&c->handles_changed, false);
    pthread_mutex_unlock(&c->handles_lock);
    for (size_t i = 0; i < n; i++) {
        if (changes[i].change > 0)
            tine_scheduler_object_retain(c->scheduler, changes[i].id);
        else
            tine_scheduler_object_release(c->scheduler, changes[i].id);
    }
    free(changes);
}

/* Handles outlive the coordinator where a program releases values after tine_shutdown: then
 * there is no scheduler to tell. */
typedef struct handle_owner {
    tine_object_owner owner;
    pthread_mutex_t lock;
    tine_coordinator *coordinator; /* NULL when none runs */
} handle_owner;

static void owner_changed(tine_object_owner *o, tine_object id, int change) {
    handle_owner *owner = (handle_owner *)o;
    pthread_mutex_lock(&owner->lock);
    if (owner->coordinator) handle_changed(owner->coordinator, id, change);
    pthread_mutex_unlock(&owner->lock);
}
static void owner_retained(tine_object_owner *o, tine_object id) { owner_changed(o, id, 1); }
static void owner_released(tine_object_owner *o, tine_object id) { owner_changed(o, id, -1); }
static handle_owner the_owner = {{owner_retained, owner_released}, PTHREAD_MUTEX_INITIALIZER, NULL};

void tine_coordinator_set_owner(tine_coordinator *c) {
    pthread_mutex_lock(&the_owner.lock);
    the_owner.coordinator = c;
    pthread_mutex_unlock(&the_owner.lock);
}

void tine_coordinator_objects_init(tine_coordinator *c) {
    c->context.encoder =
        (tine_encoder){coordinator_by_reference, c, c->link.transport->config.max_frame};
    c->context.owner = &the_owner.owner;
    c->context.decoder = (tine_decoder){coordinator_put_value, &the_owner.owner, c, COPY_BELOW};
}
