/* Objects at a worker: fetched once, kept until the coordinator says DROP.
 *
 * A put value may mention further put values, and is of use only when all are here; modules inside
 * are fetched by the call that needs them. So an object is settled (READY, or FAILED with the
 * reason) when its frame and everything it mentions has settled, and settling goes upwards by a
 * list of work, because chains may be long.
 *
 * DROP is small and may overtake the large OBJECT that it is about: then the object is forgotten
 * when it has come. */
#include "workers/executor_internal.h"

#include <stdlib.h>

static executor_object *find(const tine_executor *x, tine_object id) {
    return tine_idmap_get(&x->objects, id);
}

static executor_object *object_new(tine_executor *x, tine_object id, executor_object_state state) {
    executor_object *o = tine_executor_alloc(sizeof *o);
    o->id = id;
    o->state = state;
    o->waiter.kind = WAITER_OBJECT;
    tine_idmap_put(&x->objects, id, o);
    EXECUTOR_APPEND(x->object_first, x->object_last, o);
    return o;
}

void tine_executor_object_free(executor_object *o) {
    tine_payload_unref(o->payload);
    free(o->class_name);
    free(o->waiter.text);
    free(o->waiters);
    free(o);
}

static void forget(tine_executor *x, executor_object *o) {
    tine_idmap_remove(&x->objects, o->id);
    EXECUTOR_UNLINK(x->object_first, x->object_last, o);
    executor_action *action = tine_executor_push(x, TINE_EXECUTOR_FORGET);
    action->a.object = o->id;
    action->object = o;
}

/* Tells the program about an object that it asked for. */
static void deliver(tine_executor *x, executor_object *o) {
    if (!o->wanted) return;
    o->wanted = false;
    executor_action *action = tine_executor_push(x, TINE_EXECUTOR_OBJECT);
    action->a.object = o->id;
    action->a.status = o->waiter.status;
    action->a.payload = o->state == EXECUTOR_READY ? o->payload : NULL;
    action->keeps = tine_payload_ref(o->payload);
    action->memory =
        tine_executor_copy(o->state == EXECUTOR_READY ? o->class_name : o->waiter.text);
    action->a.text = action->memory;
}

static void fail(executor_waiter *w, tine_error status, const char *text) {
    if (w->status) return;
    w->status = status;
    w->text = tine_executor_copy(text ? text : "an object that it needs is not there");
}

/* One reason less for w to wait. An object that is settled by it goes to *work, for its own
 * waiters. */
static void settle_waiter(tine_executor *x, executor_waiter *w, executor_object **work) {
    TINE_ASSERT(w->missing, >, 0);
    if (--w->missing) return;
    if (w->kind == WAITER_TASK) {
        tine_executor_task_settled(x,
                                   (executor_task *)((char *)w - offsetof(executor_task, waiter)));
    } else if (w->kind == WAITER_RESULT) {
        tine_executor_result_settled(
            x, (executor_result *)((char *)w - offsetof(executor_result, waiter)));
    } else {
        executor_object *o = (executor_object *)((char *)w - offsetof(executor_object, waiter));
        o->state = w->status ? EXECUTOR_FAILED : EXECUTOR_READY;
        o->work = *work;
        *work = o;
    }
}

/* A failed object is not kept: the next one who needs it asks anew. */
static void settle(tine_executor *x, executor_waiter *w) {
    executor_object *work = NULL;
    settle_waiter(x, w, &work);
    while (work) {
        executor_object *o = work;
        work = o->work;
        for (size_t i = 0; i < o->n_waiters; i++) {
            if (o->state == EXECUTOR_FAILED) fail(o->waiters[i], o->waiter.status, o->waiter.text);
            settle_waiter(x, o->waiters[i], &work);
        }
        o->n_waiters = 0;
        deliver(x, o);
        if (o->dropped || o->state == EXECUTOR_FAILED) forget(x, o);
    }
}

static executor_object *fetch(tine_executor *x, tine_object id) {
    executor_object *o = object_new(x, id, EXECUTOR_FETCHING);
    o->waiter.missing = 1; /* its frame */
    tine_executor_send(x, TINE_MSG_FETCH)->a.message.object = id;
    return o;
}

static void wait_for(executor_object *o, executor_waiter *w) {
    o->waiters = tine_executor_grow(o->waiters, &o->room_waiters, o->n_waiters + 1,
                                    sizeof(executor_waiter *));
    o->waiters[o->n_waiters++] = w;
    w->missing++;
}

static void await_refs(tine_executor *x, executor_waiter *w, const tine_payload *p) {
    for (uint32_t i = 0; p && i < p->n_refs; i++) {
        if (tine_object_is_module(p->refs[i])) continue;
        executor_object *o = find(x, p->refs[i]);
        if (!o) o = fetch(x, p->refs[i]);
        if (o->state != EXECUTOR_READY) wait_for(o, w);
    }
}

void tine_executor_await(tine_executor *x, executor_waiter *w, const tine_payload *p) {
    w->missing = 1;
    await_refs(x, w, p);
    settle(x, w);
}

void tine_executor_object_put(tine_executor *x, tine_object id, const char *class_name,
                              tine_payload *payload) {
    executor_object *o = object_new(x, id, EXECUTOR_INCOMPLETE);
    o->payload = tine_payload_ref(payload);
    o->class_name = tine_executor_copy(class_name);
    tine_executor_await(x, &o->waiter, payload);
}

/* What nobody has asked for (or has long) is ignored: it does no harm. */
void tine_executor_object_arrived(tine_executor *x, const tine_message *m) {
    executor_object *o = find(x, m->object);
    if (!o || o->state != EXECUTOR_FETCHING) return;
    o->state = EXECUTOR_INCOMPLETE;
    if (m->status || !m->payload) {
        fail(&o->waiter, m->status ? m->status : TINE_EPROTO, m->text);
    } else {
        o->payload = tine_payload_ref(m->payload);
        o->class_name = m->text && *m->text ? tine_executor_copy(m->text) : NULL;
        await_refs(x, &o->waiter, o->payload);
    }
    settle(x, &o->waiter);
}

void tine_executor_object_dropped(tine_executor *x, tine_object id) {
    executor_object *o = find(x, id);
    if (!o) return;
    if (o->state == EXECUTOR_READY)
        forget(x, o);
    else
        o->dropped = true;
}

static void refuse(tine_executor *x, tine_object id) {
    executor_action *action = tine_executor_push(x, TINE_EXECUTOR_OBJECT);
    action->a.object = id;
    action->a.status = TINE_ECANCELED;
    action->a.text = action->memory = tine_executor_copy("the coordinator has ended");
}

void tine_executor_objects_stop(tine_executor *x) {
    for (executor_object *o = x->object_first; o; o = o->next) {
        if (o->wanted) refuse(x, o->id);
        o->wanted = false;
        o->n_waiters = 0; /* they are gone: tasks will not start, results were cancelled */
    }
}

bool tine_executor_fetch(tine_executor *x, tine_object id, tine_payload **payload,
                         const char **class_name) {
    executor_object *o = find(x, id);
    if (o && o->state == EXECUTOR_READY) {
        if (payload) *payload = o->payload;
        if (class_name) *class_name = o->class_name;
        return true;
    }
    if (x->stopped) {
        refuse(x, id);
        return false;
    }
    if (!o) o = fetch(x, id);
    o->wanted = true;
    return false;
}
