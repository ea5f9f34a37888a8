/* The objects of a worker: put values that it has decoded, and what its tasks put. */
#include <stdlib.h>
#include <string.h>

#include "runtime/api/instances.h"
#include "transport/base/log.h"
#include "transport/base/memory.h"
#include "workers/internal.h"

static void value_keep(tine_worker *w, tine_object id, const tine_value *value) {
    worker_value *k = tine_must_alloc(sizeof *k);
    k->id = id;
    k->value = tine_value_ref(value);
    LIST_INSERT_HEAD(&w->values, k, entry);
    tine_idmap_put(&w->value_by_id, id, k);
}

static void value_drop(worker_value *k) {
    LIST_REMOVE(k, entry);
    tine_value_unref(k->value);
    tine_block_free(k, sizeof *k);
}

/* As tine_executor_fetch. */
static bool worker_fetch_object(tine_worker *w, tine_object id, tine_payload **payload,
                                const char **class_name) {
    bool here = tine_executor_fetch(tine_worker_executor(w), id, payload, class_name);
    if (w->current && !w->acting) tine_progress_offer(&w->progress);
    return here;
}

tine_value *tine_worker_put_value(void *ctx, tine_object id) {
    tine_worker *w = ctx;
    worker_value *k = tine_idmap_get(&w->value_by_id, id);
    tine_value *plain = k ? tine_value_ref(k->value) : NULL, *value;
    tine_payload *payload;
    const char *class_name;
    if (!plain) {
        if (!worker_fetch_object(w, id, &payload, &class_name) ||
            tine_payload_value(payload, &w->context.decoder, &plain) != TINE_OK)
            return NULL;
        value_keep(w, id, plain);
    }
    value = tine_value_as_object(plain, id, w->context.owner);
    if (value) tine_pool_forget(&value->handle);
    tine_value_unref(plain);
    return value;
}

void tine_worker_forget(tine_worker *w, tine_object id) {
    worker_value *k = tine_idmap_remove(&w->value_by_id, id);
    if (k) value_drop(k);
    if (w->reach) tine_reach_forget(w->reach, id);
    tine_instance_forget(&w->context, id);
}

/* A handle on a dropped object may live on in a task's own memory: then the value itself is
 * sent. */
bool tine_worker_by_reference(void *ctx, tine_object id) {
    tine_worker *w = ctx;
    tine_payload *payload;
    const char *class_name;
    return tine_object_is_module(id) || tine_idmap_get(&w->value_by_id, id) ||
           worker_fetch_object(w, id, &payload, &class_name);
}

tine_error tine_worker_object(tine_context *c, void *parent, const char *class_name,
                              tine_payload *payload, tine_object *out) {
    tine_worker *w = tine_worker_of(c);
    tine_attempt *a = parent;
    if (!a) return tine_error_set(TINE_ESTATE, "an object on a worker must come from a task");
    tine_error e =
        tine_executor_put(tine_worker_executor(w), a->task.task, class_name, payload, out);
    if (e == TINE_OK) c->owner->retained(c->owner, *out);
    if (e == TINE_OK && w->current) tine_worker_act(w);
    return e;
}

tine_error tine_worker_object_payload(tine_context *c, tine_object id, tine_payload **payload,
                                      char **class_name) {
    tine_worker *w = tine_worker_of(c);
    tine_attempt *a = w->current;
    const char *class;
    if (!a)
        return tine_error_set(TINE_ESTATE, "a callback cannot call a module that has not arrived "
                                           "at this worker");
    while (!worker_fetch_object(w, id, payload, &class)) {
        if (w->stopping) return tine_error_set(TINE_ECANCELED, "%s", tine_worker_over(w));
        a->wants = id;
        tine_failure_fini(&a->object_failure);
        tine_worker_act(w);
        while (a->wants != 0) tine_attempt_suspend(a);
        if (a->object_failure.code != TINE_OK)
            return tine_error_set(a->object_failure.code, "%s",
                                  a->object_failure.text ? a->object_failure.text : "");
    }
    *class_name = strdup(class ? class : "");
    if (!*class_name) return tine_error_set(TINE_ENOMEM, "no memory for a module");
    tine_payload_ref(*payload);
    return TINE_OK;
}

void tine_worker_object_came(tine_worker *w, tine_object id, tine_error status, const char *text) {
    tine_attempt *a;
    LIST_FOREACH (a, &w->attempts, live) {
        if (a->wants != id) continue;
        a->wants = 0;
        if (status != TINE_OK)
            a->object_failure = (tine_failure){.code = status, .text = strdup(text ? text : "")};
        tine_attempt_wake(a);
    }
}

/* ---- results of other workers ---- */

static void reach_wake(void *link) { tine_link_wake(link); }

/* On the coordinator's host results are lent: they need not stay. */
void tine_worker_reachable(tine_worker *w) {
    const tine_transport *t = w->link.transport;
    const tine_transport_config *c = &t->config;
    char url[256], why[192] = "";
    uint64_t secret = 0;
    int other = t->ops->own_url ? t->ops->own_url(t, url, sizeof url) : -1;
    if (other < 0 || !(w->reach = tine_reach_new(&w->config->transport, reach_wake, &w->link)))
        return;
    const char *at = "";
    if (t->ops->join)
        at = tine_reach_open(w->reach, &secret, why, sizeof why) ? url : NULL;
    else if (other || c->lane < 0 || c->arena == 0)
        at = tine_reach_listen(w->reach, url, &secret, why, sizeof why);
    if (!at)
        tine_log(TINE_LOG_INFO, "results of this worker pass the coordinator: %s: %s", url, why);
    tine_executor_reachable(w->executor, at ? at : "", secret);
}

void tine_worker_reach(tine_worker *w, const tine_executor_action *a) {
    if (w->reach && w->link.transport->ops->join)
        tine_worker_joined_fetch(w, a);
    else if (w->reach)
        tine_reach_fetch(w->reach, a->object, a->ticket, a->text);
    else
        tine_executor_reached(w->executor, a->object, NULL, "this worker has said that it cannot",
                              true);
}

void tine_worker_reached(tine_worker *w) {
    for (tine_reached r; tine_reach_take(w->reach, &r);) {
        tine_executor_reached(w->executor, r.id, r.payload, r.why, r.own);
        tine_payload_unref(r.payload);
    }
}

void tine_worker_values_fini(tine_worker *w) {
    while (!LIST_EMPTY(&w->values)) value_drop(LIST_FIRST(&w->values));
    tine_idmap_fini(&w->value_by_id);
}
