/* Values that hold futures, where they are needed whole: arguments of a call in this process, of a
 * module or of a put value, and the result of a task. Waits for every future and puts the results
 * in their places, or fails as soon as one has failed, as a fork does. */
#include <math.h>

#include "runtime/api/context.h"

/* Takes the lock: the caller holds none. */
static const tine_value *settled_result(tine_future *f, void *ctx) {
    (void)ctx;
    const tine_value *v = NULL;
    tine_error e = tine_future_fetch(f);
    if (e != TINE_OK) return NULL;
    if (f->context) f->context->ops->lock(f->context);
    e = tine_future_value_of(f, &v);
    if (f->context) f->context->ops->unlock(f->context);
    return e == TINE_OK ? v : NULL;
}

static tine_error add_futures(tine_value *const *values, size_t n, tine_future_list *out) {
    tine_error e = TINE_OK;
    for (size_t i = 0; i < n && e == TINE_OK; i++)
        if (tine_value_holds_futures(values[i])) e = tine_future_list_add(out, values[i]);
    return e;
}

tine_error tine_arguments_futures(const tine_arguments *a, tine_future_list *out) {
    tine_error e = add_futures(a->positional, a->n_positional, out);
    return e == TINE_OK ? add_futures(a->named, a->n_named, out) : e;
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
    return tine_value_holds_futures(*v) ? tine_arguments_settle(&one) : TINE_OK;
}

tine_error tine_arguments_settle(tine_arguments *a) {
    tine_future_list futures = {0};
    tine_error e = tine_arguments_futures(a, &futures);
    if (e == TINE_OK && futures.n > 0)
        e = tine_wait_failure(futures.items, futures.n, INFINITY, NULL);
    if (e == TINE_OK && futures.n > 0) e = tine_arguments_resolve(a, settled_result);
    tine_future_list_fini(&futures);
    return e;
}
