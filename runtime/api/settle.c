/* Values that hold futures, where they are needed whole: arguments of a call in this process, of a
 * module or of a put value, and the result of a task. Waits for every future and puts the results
 * in their places, or fails as soon as one has failed, as a fork does. */
#include <stdlib.h>

#include "runtime/api/context.h"

/* Completed when all futures are done, or one has failed: what the caller waits for. */
typedef struct settle_gate {
    tine_future *open;
    size_t missing;
} settle_gate;

typedef struct settle_waiter {
    tine_waiter waiter;
    settle_gate *gate;
} settle_waiter;

static void settle_future_done(tine_waiter *w, tine_future *f) {
    settle_gate *g = ((settle_waiter *)w)->gate;
    g->missing--;
    if (tine_future_is_done(g->open) || (f->status == TINE_OK && g->missing > 0)) return;
    tine_future_complete(g->open, f->status, NULL, f->text);
}

static tine_error settle_failed(tine_future *f) {
    tine_future_observe(f);
    return tine_error_set(f->status, "%s", f->text ? f->text : tine_error_name(f->status));
}

/* With the lock: waits until all are done, or one has failed. */
static tine_error settle_wait(tine_context *c, const tine_future_list *futures, settle_gate *g,
                              settle_waiter *waiters) {
    for (size_t i = 0; i < futures->n; i++) {
        tine_future *f = futures->items[i];
        if (tine_future_is_done(f) && f->status != TINE_OK) return settle_failed(f);
    }
    for (size_t i = 0; i < futures->n; i++) {
        waiters[i] = (settle_waiter){.waiter.fn = settle_future_done, .gate = g};
        if (tine_future_is_done(futures->items[i])) continue;
        tine_future_await(futures->items[i], &waiters[i].waiter);
        g->missing++;
    }
    tine_error e = g->missing > 0 ? c->ops->wait(c, &g->open, 1, false, INT64_MAX) : TINE_OK;
    for (size_t i = 0; i < futures->n; i++)
        tine_future_forget(futures->items[i], &waiters[i].waiter);
    if (e == TINE_OK && tine_future_is_done(g->open) && g->open->status != TINE_OK)
        return settle_failed(g->open);
    return e;
}

static tine_error settle_pending(tine_context *c, const tine_future_list *futures) {
    for (size_t i = 0; i < futures->n; i++)
        if (futures->items[i]->context != c && !tine_future_is_done(futures->items[i]))
            return tine_error_set(TINE_EINVAL, "a future can be used only in the process or worker "
                                               "that forked it");
    settle_gate g = {.open = tine_future_new(c)};
    settle_waiter *waiters = calloc(futures->n, sizeof *waiters);
    tine_error e = g.open && waiters ? TINE_OK
                                     : tine_error_set(TINE_ENOMEM,
                                                      "no memory to wait for %zu "
                                                      "futures",
                                                      futures->n);
    if (e == TINE_OK) {
        c->ops->lock(c);
        e = settle_wait(c, futures, &g, waiters);
        c->ops->unlock(c);
    }
    free(waiters);
    tine_future_unref(g.open);
    return e;
}

/* With no lock held. */
static tine_error settle_all(const tine_future_list *futures) {
    size_t done = 0;
    for (; done < futures->n && tine_future_is_done(futures->items[done]); done++) {
    }
    if (done == futures->n) return TINE_OK; /* a failed one is found when its result is taken */
    tine_context *c = tine_context_acquire();
    tine_error e = c ? settle_pending(c, futures) : TINE_ESTATE;
    tine_context_release(c);
    return e;
}

/* Takes the lock: the caller holds none. */
static const tine_value *settled_result(tine_future *f, void *ctx) {
    (void)ctx;
    const tine_value *v = NULL;
    if (f->context) f->context->ops->lock(f->context);
    tine_error e = tine_future_value_of(f, &v);
    if (f->context) f->context->ops->unlock(f->context);
    return e == TINE_OK ? v : NULL;
}

tine_error tine_arguments_futures(const tine_arguments *a, tine_future_list *out) {
    tine_error e = TINE_OK;
    for (size_t i = 0; i < a->n_positional && e == TINE_OK; i++)
        e = tine_future_list_add(out, a->positional[i]);
    for (size_t i = 0; i < a->n_named && e == TINE_OK; i++)
        e = tine_future_list_add(out, a->named[i]);
    return e;
}

static tine_error settle_value(tine_value **v, tine_result_of *result) {
    tine_value *settled = tine_value_resolve(*v, result, NULL);
    if (!settled) return tine_last_error();
    tine_value_unref(*v);
    *v = settled;
    return TINE_OK;
}

tine_error tine_arguments_resolve(tine_arguments *a, tine_result_of *result) {
    tine_error e = TINE_OK;
    for (size_t i = 0; i < a->n_positional && e == TINE_OK; i++)
        e = settle_value(&a->positional[i], result);
    for (size_t i = 0; i < a->n_named && e == TINE_OK; i++) e = settle_value(&a->named[i], result);
    return e;
}

tine_error tine_value_settle(tine_value **v) {
    tine_arguments one = {.positional = v, .n_positional = 1};
    return tine_arguments_settle(&one);
}

tine_error tine_arguments_settle(tine_arguments *a) {
    tine_future_list futures = {0};
    tine_error e = tine_arguments_futures(a, &futures);
    if (e == TINE_OK && futures.n > 0) e = settle_all(&futures);
    if (e == TINE_OK && futures.n > 0) e = tine_arguments_resolve(a, settled_result);
    tine_future_list_fini(&futures);
    return e;
}
