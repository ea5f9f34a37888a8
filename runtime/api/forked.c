/* A process that the program has made with fork() or daemon() while Tine ran. See forked.h.
 *
 * It has a copy of the coordinator's memory and its descriptors, but none of its threads. So the
 * contexts get operations that do nothing: no lock that another thread held is taken, no wake-up
 * is consumed, and what the child releases is not reported. */
#include "runtime/api/forked.h"

#include <pthread.h>

#include "runtime/api/context.h"

static bool forked; /* written in a process that has one thread */

static void forked_ignore(tine_context *c) { (void)c; }

static tine_error forked_admit(tine_context *c, bool may_wait) {
    (void)c, (void)may_wait;
    return tine_forked_refuse();
}

static tine_error forked_wait(tine_context *c, tine_future *const *f, size_t n, tine_wait_mode mode,
                              int64_t deadline) {
    (void)c, (void)f, (void)n, (void)mode, (void)deadline;
    return tine_forked_refuse();
}

static void forked_hold(tine_context *c, void *host, size_t bytes) {
    (void)c, (void)host, (void)bytes;
}

static void forked_defer(tine_context *c, void (*fn)(void *arg), void *arg, void *host) {
    (void)c, (void)fn, (void)arg, (void)host;
}

static tine_error forked_object_payload(tine_context *c, tine_object id, tine_payload **payload,
                                        char **class_name) {
    (void)c, (void)id, (void)payload, (void)class_name;
    return tine_forked_refuse();
}

static bool forked_instance_may_await(tine_context *c) {
    (void)c;
    return false;
}

static void forked_handle(tine_object_owner *owner, tine_object id) { (void)owner, (void)id; }

/* The public calls refuse before they submit a fork or make an object. */
static const tine_context_ops forked_ops = {
    .lock = forked_ignore,
    .unlock = forked_ignore,
    .admit = forked_admit,
    .hold = forked_hold,
    .unhold = forked_hold,
    .wait = forked_wait,
    .defer = forked_defer,
    .object_payload = forked_object_payload,
    .instance_await = forked_ignore,
    .instance_may_await = forked_instance_may_await,
    .instance_made = forked_ignore,
};

static void context_disable(tine_context *c) {
    if (!c) return;
    forked = true;
    c->ops = &forked_ops;
    if (c->owner) c->owner->retained = c->owner->released = forked_handle;
}

static void forked_child(void) {
    context_disable(tine_context_installed());
    context_disable(tine_current.context);
}

static void __attribute__((constructor)) forked_watch(void) {
    pthread_atfork(NULL, NULL, forked_child);
}

bool tine_forked(void) { return forked; }

tine_error tine_forked_refuse(void) {
    return tine_error_set(TINE_ESTATE,
                          "this process was forked from one in which Tine runs, and Tine does not "
                          "run here: fork before tine_init, or start another program");
}
