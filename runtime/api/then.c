/* Callbacks when a future is done, and futures of what they return.
 *
 * A callback runs once: at once where the future is done, otherwise on the thread that runs the
 * event loop, without the lock. In a task it is counted, so that the task does not end before. */
#include <stdlib.h>

#include "runtime/api/context.h"
#include "runtime/api/forked.h"
#include "runtime/api/promise.h"

typedef void on_done_fn(tine_future *f, void *ctx);
typedef tine_value *then_fn(tine_future *f, void *ctx);

typedef struct callback {
    tine_waiter waiter;
    tine_future *future; /* a reference */
    on_done_fn *on_done; /* this one */
    then_fn *then;       /* or this one, which completes `result` */
    void *ctx;
    tine_future *result; /* a reference */
    void *parent;
} callback;

/* What `then` returned is a reference that it gives away, as a function's result is. */
static void complete_with_returned(tine_future *result, tine_value *v) {
    tine_context *c = result->context;
    if (!v && tine_last_error() == TINE_OK)
        tine_error_set(TINE_EFAILED, "a callback of tine_then returned NULL and did not say why");
    bool foreign = v && tine_value_is_foreign(v, c);
    if (foreign) tine_future_foreign();
    if (v && tine_current.pool && !tine_pool_gives(&v->handle)) tine_value_ref(v);
    if (c) c->ops->lock(c);
    if (tine_future_is_done(result))
        ;
    else if (v && !foreign)
        tine_future_settle(c, result, v);
    else
        tine_future_complete(result, tine_last_error(), NULL, tine_error_text());
    if (c && c->ops->completed) c->ops->completed(c);
    if (c) c->ops->unlock(c);
    tine_value_unref(v);
}

/* The callback begins without an error, and leaves the thread's last error as it was. */
static void then_call(then_fn *fn, tine_future *f, void *ctx, tine_future *result) {
    tine_failure before = tine_current.failure;
    tine_current.failure = (tine_failure){0};
    complete_with_returned(result, fn(f, ctx));
    tine_failure_fini(&tine_current.failure);
    tine_current.failure = before;
}

static void callback_run(void *arg) {
    callback *cb = arg;
    tine_context *c = cb->future->context;
    if (cb->then)
        then_call(cb->then, cb->future, cb->ctx, cb->result);
    else
        cb->on_done(cb->future, cb->ctx);
    if (cb->parent) {
        c->ops->lock(c);
        c->ops->unhold(c, cb->parent, 0);
        c->ops->unlock(c);
    }
    tine_future_unref(cb->future);
    tine_future_unref(cb->result);
    free(cb);
}

static void callback_due(tine_waiter *w, tine_future *f) {
    callback *cb = (callback *)w;
    f->context->ops->defer(f->context, callback_run, cb, cb->parent);
}

static tine_future *callback_result(const tine_waiter *w) { return ((const callback *)w)->result; }

/* With the lock. */
static tine_error callback_await(tine_context *c, tine_future *f, const callback *made) {
    callback *cb = malloc(sizeof *cb);
    if (!cb) return tine_error_set(TINE_ENOMEM, "no memory for a callback");
    *cb = *made;
    cb->waiter = (tine_waiter){.fn = callback_due, .dependent = callback_result};
    cb->future = tine_ref_future_(f);
    if (cb->result) tine_ref_future_(cb->result)->follows = true;
    cb->parent = tine_context_parent();
    if (cb->parent) c->ops->hold(c, cb->parent, 0);
    tine_future_await(f, &cb->waiter);
    return TINE_OK;
}

/* *done: the callback is the caller's to run. */
static tine_error callback_add(tine_future *f, const callback *cb, bool *done) {
    tine_error e = TINE_OK;
    *done = false;
    if (tine_forked()) return tine_forked_refuse();
    if (!f || (!cb->on_done && !cb->then))
        return tine_error_set(TINE_EINVAL, "a callback needs a future and a function");
    tine_context *c = f->context;
    if (!tine_future_is_done(f) && tine_context_current() != c) return tine_future_foreign();
    if (c) c->ops->lock(c);
    *done = tine_future_is_done(f);
    if (!*done) e = callback_await(c, f, cb);
    if (c) c->ops->unlock(c);
    return e;
}

tine_error tine_on_done(tine_future *f, on_done_fn *fn, void *ctx) {
    bool done;
    tine_error e = callback_add(f, &(callback){.on_done = fn, .ctx = ctx}, &done);
    if (done) {
        tine_future_observe(f);
        fn(f, ctx);
    }
    return e;
}

tine_future *tine_then(tine_future *f, then_fn *fn, void *ctx) {
    bool done;
    tine_future *result = tine_future_new(f ? f->context : NULL);
    if (!result) return NULL;
    tine_error e = callback_add(f, &(callback){.then = fn, .ctx = ctx, .result = result}, &done);
    if (e != TINE_OK) {
        tine_future_unref(result);
        return NULL;
    }
    if (done) {
        tine_future_observe(f);
        then_call(fn, f, ctx, result);
    }
    tine_pool_adopt(&result->handle);
    return result;
}
