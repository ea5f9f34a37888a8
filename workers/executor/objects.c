/* Objects at a worker: received once, kept until the coordinator sends DROP.
 *
 * Those that a task mentions come unasked, before the TASK or behind it: a small message overtakes
 * a large one. So an object that comes unasked is kept as well, and so is the reason why there is
 * none. A result that is made here becomes an object when its task ends, if it stays or is waited
 * for.
 *
 * A put value may refer to further put values, and is usable when all of them are here; modules
 * inside are fetched by the call that needs them. So an object is settled (READY, or FAILED with
 * the reason) when its own message and all that it refers to are settled. Settling uses a list of
 * work instead of recursion, because chains may be long.
 *
 * DROP is small and may overtake the large OBJECT that it is about: then the object is freed on
 * arrival. */
#include "workers/executor/internal.h"

#include <stdlib.h>
#include <string.h>

#include "transport/base/memory.h"

static executor_object *executor_object_new(tine_executor *x, tine_object id,
                                            executor_object_state state) {
    executor_object *o = tine_must_alloc(sizeof *o);
    o->id = id;
    o->state = state;
    o->waiter.kind = WAITER_OBJECT;
    tine_idmap_put(&x->objects, id, o);
    LIST_INSERT_HEAD(&x->object_list, o, entry);
    return o;
}

void tine_executor_object_free(executor_object *o) {
    tine_payload_unref(o->payload);
    if (o->class_name) free(o->class_name);
    if (o->waiter.text) free(o->waiter.text);
    free(o->waiters);
    tine_block_free(o, sizeof *o);
}

void tine_executor_objects_free(tine_executor *x) {
    while (!LIST_EMPTY(&x->object_list)) {
        executor_object *o = LIST_FIRST(&x->object_list);
        LIST_REMOVE(o, entry);
        tine_executor_object_free(o);
    }
}

static void executor_object_forget(tine_executor *x, executor_object *o) {
    if (o->kept) x->kept_bytes -= tine_payload_bytes(o->payload);
    if (o->reaching) x->n_reaching--;
    tine_idmap_remove(&x->objects, o->id);
    LIST_REMOVE(o, entry);
    executor_action *action = tine_executor_push(x, TINE_EXECUTOR_FORGET);
    action->a.object = o->id;
    action->owned.object = o;
}

/* Reports an object that tine_executor_fetch asked for. */
static void executor_object_deliver(tine_executor *x, executor_object *o) {
    if (!o->wanted) return;
    o->wanted = false;
    executor_action *action = tine_executor_push(x, TINE_EXECUTOR_OBJECT);
    action->a.object = o->id;
    action->a.status = o->waiter.status;
    action->a.payload = o->state == EXECUTOR_READY ? o->payload : NULL;
    action->owned.payload = tine_payload_ref(o->payload);
    action->owned.memory =
        tine_must_copy(o->state == EXECUTOR_READY ? o->class_name : o->waiter.text);
    action->a.text = action->owned.memory;
}

static void executor_waiter_fail(executor_waiter *w, tine_error status, const char *text) {
    if (w->status) return;
    w->status = status;
    w->text = tine_must_copy(text ? text : "an object that it references has been freed");
}

/* w has one object less to wait for. An object that is settled by it is added to *work, for its own
 * waiters. */
static void executor_waiter_settle(tine_executor *x, executor_waiter *w, executor_object **work) {
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

/* A task fails at once, whatever it waits for as well. */
static void executor_object_missed(tine_executor *x, const executor_object *o, executor_waiter *w) {
    executor_waiter_fail(w, o->waiter.status, o->waiter.text);
    if (w->kind == WAITER_TASK)
        tine_executor_task_failed(x,
                                  (executor_task *)((char *)w - offsetof(executor_task, waiter)));
}

/* A failed object is kept with the reason, until DROP: a task that mentions it may be on its
 * way. */
void tine_executor_settle(tine_executor *x, executor_waiter *w) {
    executor_object *work = NULL;
    executor_waiter_settle(x, w, &work);
    while (work) {
        executor_object *o = work;
        work = o->work;
        for (size_t i = 0; i < o->n_waiters; i++) {
            if (o->state == EXECUTOR_FAILED) executor_object_missed(x, o, o->waiters[i]);
            executor_waiter_settle(x, o->waiters[i], &work);
        }
        o->n_waiters = 0;
        executor_object_deliver(x, o);
        if (o->dropped) executor_object_forget(x, o);
    }
}

/* An object that comes unasked, or is the result of a task that runs here. */
static executor_object *executor_object_expect(tine_executor *x, tine_object id) {
    executor_object *o = executor_object_new(x, id, EXECUTOR_FETCHING);
    o->waiter.missing = 1; /* its frame, or its task */
    return o;
}

executor_object *tine_executor_object_fetch(tine_executor *x, tine_object id) {
    executor_object *o = executor_object_expect(x, id);
    tine_executor_send(x, TINE_MSG_FETCH)->a.message.object = id;
    return o;
}

static void executor_object_await(executor_object *o, executor_waiter *w) {
    o->waiters =
        tine_must_grow(o->waiters, &o->room_waiters, o->n_waiters + 1, sizeof(executor_waiter *));
    o->waiters[o->n_waiters++] = w;
    w->missing++;
}

static void executor_await_refs(tine_executor *x, executor_waiter *w, const tine_payload *p) {
    for (uint32_t i = 0; p && i < p->n_refs; i++) {
        if (tine_object_is_module(p->refs[i])) continue;
        executor_object *o = executor_object_find(x, p->refs[i]);
        if (!o && w->kind == WAITER_TASK) o = executor_object_expect(x, p->refs[i]);
        if (!o) o = tine_executor_object_fetch(x, p->refs[i]);
        if (o->state == EXECUTOR_FAILED)
            executor_object_missed(x, o, w);
        else if (o->state != EXECUTOR_READY)
            executor_object_await(o, w);
    }
}

bool tine_executor_refs_here(const tine_executor *x, const tine_payload *p) {
    for (uint32_t i = 0; i < p->n_refs; i++) {
        if (tine_object_is_module(p->refs[i])) continue;
        const executor_object *o = executor_object_find(x, p->refs[i]);
        if (!o || o->state != EXECUTOR_READY || o->dropped) return false;
    }
    return true;
}

void tine_executor_await(tine_executor *x, executor_waiter *w, const tine_payload *p) {
    w->missing = 1;
    executor_await_refs(x, w, p);
    tine_executor_settle(x, w);
}

void tine_executor_object_put(tine_executor *x, tine_object id, const char *class_name,
                              tine_payload *payload) {
    executor_object *o = executor_object_new(x, id, EXECUTOR_INCOMPLETE);
    o->payload = tine_payload_ref(payload);
    o->class_name = tine_must_copy(class_name);
    tine_executor_await(x, &o->waiter, payload);
}

void tine_executor_object_arrived(tine_executor *x, const tine_message *m) {
    executor_object *o = executor_object_find(x, m->object);
    if (!o && !tine_object_is_module(m->object)) o = executor_object_expect(x, m->object);
    if (!o || o->state != EXECUTOR_FETCHING) return;
    o->state = EXECUTOR_INCOMPLETE;
    if (m->status || !m->payload) {
        executor_waiter_fail(&o->waiter, m->status ? m->status : TINE_EPROTO, m->text);
    } else {
        o->payload = tine_payload_ref(m->payload);
        o->class_name = m->text && *m->text ? tine_must_copy(m->text) : NULL;
        executor_await_refs(x, &o->waiter, o->payload);
    }
    tine_executor_settle(x, &o->waiter);
}

void tine_executor_object_dropped(tine_executor *x, tine_object id) {
    executor_object *o = executor_object_find(x, id);
    if (!o) return;
    if (o->state == EXECUTOR_READY || o->state == EXECUTOR_FAILED)
        executor_object_forget(x, o);
    else
        o->dropped = true;
}

/* ---- results ---- */

static bool executor_result_stays(const tine_executor *x, const executor_task *t,
                                  const tine_payload *payload) {
    size_t bytes = tine_payload_bytes(payload);
    return t->taken && bytes > x->stays && bytes <= x->most_bytes - x->kept_bytes;
}

/* Others may fetch it from now on. */
static void executor_object_keep(tine_executor *x, executor_object *o) {
    o->kept = true;
    x->kept_bytes += tine_payload_bytes(o->payload);
    executor_action *action = tine_executor_push(x, TINE_EXECUTOR_KEEP);
    action->a.object = o->id;
    action->a.payload = action->owned.payload = tine_payload_ref(o->payload);
}

bool tine_executor_result_keep(tine_executor *x, const executor_task *t, tine_payload *payload,
                               bool *send) {
    executor_object *o = t->result ? executor_object_find(x, t->result) : NULL;
    bool stays = executor_result_stays(x, t, payload);
    if (!t->result || payload->n_refs > 0 || (!o && !stays)) return false;
    if (o && o->state == EXECUTOR_FAILED) return false; /* the coordinator has no use for it */
    if (!o) o = executor_object_expect(x, t->result);
    *send = !stays || o->asked;
    if (o->state != EXECUTOR_FETCHING) return true; /* the coordinator had sent it, too */
    o->state = EXECUTOR_INCOMPLETE;
    o->payload = tine_payload_ref(payload);
    if (!*send) executor_object_keep(x, o);
    tine_executor_settle(x, &o->waiter);
    return true;
}

/* For tasks that wait for it here the coordinator sends the object, or the reason why there is
 * none; it does not know of other waiters here. */
void tine_executor_result_unkept(tine_executor *x, tine_object id) {
    executor_object *o = executor_object_find(x, id);
    if (!o || o->state != EXECUTOR_FETCHING) return;
    if (o->n_waiters > 0 || o->wanted)
        tine_executor_send(x, TINE_MSG_FETCH)->a.message.object = id;
    else
        executor_object_forget(x, o);
}

/* o may be NULL. */
static void executor_result_send(tine_executor *x, const executor_object *o, tine_object id) {
    executor_action *action = tine_executor_send(x, TINE_MSG_OBJECT);
    tine_message *m = &action->a.message;
    m->object = id;
    if (o && o->payload && o->state != EXECUTOR_FAILED) {
        m->payload = action->owned.payload = tine_payload_ref(o->payload);
        return;
    }
    m->status = TINE_EINVAL;
    m->text = action->owned.memory = tine_must_copy("this worker does not keep that result");
}

bool tine_executor_has(const tine_executor *x, tine_object id) {
    const executor_object *o = executor_object_find(x, id);
    return o && (o->reaching || (o->payload && o->state != EXECUTOR_FAILED));
}

static bool executor_makes(const tine_executor *x, tine_object id) {
    const executor_task *t;
    LIST_FOREACH (t, &x->task_list, entry)
        if (t->result == id) return true;
    return false;
}

void tine_executor_result_fetch(tine_executor *x, tine_object id) {
    executor_object *o = executor_object_find(x, id);
    bool coming = o && o->state == EXECUTOR_FETCHING && o->reaching;
    if (coming || ((!o || o->state == EXECUTOR_FETCHING) && executor_makes(x, id))) {
        if (!o) o = executor_object_expect(x, id);
        o->asked = true;
        return;
    }
    executor_result_send(x, o, id);
}

/* ---- results at other workers ---- */

void tine_executor_reachable(tine_executor *x, const char *url, uint64_t secret) {
    if (x->stopped) return;
    executor_action *action = tine_executor_send(x, TINE_MSG_REACH);
    action->a.message.seq = secret;
    action->a.message.text = action->owned.memory = tine_must_copy(url);
}

static void executor_object_reach(tine_executor *x, const tine_message *m) {
    executor_object *o = executor_object_find(x, m->object);
    if (!o) o = executor_object_expect(x, m->object);
    if (o->state != EXECUTOR_FETCHING || o->reaching) return;
    o->reaching = true;
    x->n_reaching++;
    executor_action *action = tine_executor_push(x, TINE_EXECUTOR_REACH);
    action->a.object = m->object;
    action->a.ticket = m->seq;
    action->a.text = action->owned.memory = tine_must_copy(m->text);
}

void tine_executor_reach(tine_executor *x, const tine_message *m) {
    if (m->text) {
        if (!tine_object_is_module(m->object)) executor_object_reach(x, m);
        return;
    }
    executor_task *t = executor_task_find(x, m->seq);
    if (t)
        t->taken = true;
    else if (m->seq)
        tine_recent_add(&x->taken, m->seq);
}

/* The coordinator's own FETCH of it is answered by the REACH as well. */
static void executor_reach_failed(tine_executor *x, executor_object *o, const char *why, bool own) {
    o->asked = false;
    executor_action *action = tine_executor_send(x, TINE_MSG_REACH);
    action->a.message.object = o->id;
    action->a.message.seq = own;
    action->a.message.text = action->owned.memory = tine_must_copy(why);
}

void tine_executor_reached(tine_executor *x, tine_object id, tine_payload *payload, const char *why,
                           bool own) {
    executor_object *o = executor_object_find(x, id);
    if (!o || !o->reaching || x->stopped) return;
    o->reaching = false;
    x->n_reaching--;
    if (o->state != EXECUTOR_FETCHING) return; /* it was made here meanwhile */
    if (!payload || payload->n_refs > 0) {
        executor_reach_failed(x, o, payload ? "it mentions other objects" : why, own);
        return;
    }
    o->state = EXECUTOR_INCOMPLETE;
    o->payload = tine_payload_ref(payload);
    if (o->asked) executor_result_send(x, o, id);
    tine_executor_settle(x, &o->waiter);
}

static void executor_object_refuse(tine_executor *x, tine_object id) {
    executor_action *action = tine_executor_push(x, TINE_EXECUTOR_OBJECT);
    action->a.object = id;
    action->a.status = TINE_ECANCELED;
    action->a.text = action->owned.memory = tine_must_copy("the coordinator has ended");
}

void tine_executor_objects_stop(tine_executor *x) {
    executor_object *o;
    LIST_FOREACH (o, &x->object_list, entry) {
        if (o->wanted) executor_object_refuse(x, o->id);
        o->wanted = false;
        o->n_waiters = 0; /* tasks will not start, results were cancelled */
    }
}

/* HOLD must not be overtaken by the DONE that follows, so it is small (see WIRE.md). */
enum { EXECUTOR_IDS_PER_MESSAGE = 256 };

static void executor_send_ids(tine_executor *x, tine_message_type type, const tine_object *ids,
                              size_t n) {
    for (size_t i = 0, some; i < n && !x->stopped; i += some) {
        some = n - i < EXECUTOR_IDS_PER_MESSAGE ? n - i : EXECUTOR_IDS_PER_MESSAGE;
        executor_action *action = tine_executor_send(x, type);
        tine_object *copy = action->owned.memory = tine_must_alloc(some * sizeof *ids);
        memcpy(copy, ids + i, some * sizeof *ids);
        action->a.message.ids = copy;
        action->a.message.n_ids = some;
    }
}

void tine_executor_hold(tine_executor *x, const tine_object *ids, size_t n) {
    executor_send_ids(x, TINE_MSG_HOLD, ids, n);
}

void tine_executor_release(tine_executor *x, const tine_object *ids, size_t n) {
    executor_send_ids(x, TINE_MSG_RELEASE, ids, n);
}

bool tine_executor_fetch(tine_executor *x, tine_object id, tine_payload **payload,
                         const char **class_name) {
    executor_object *o = executor_object_find(x, id);
    if (o && o->state == EXECUTOR_READY) {
        if (payload) *payload = o->payload;
        if (class_name) *class_name = o->class_name;
        return true;
    }
    if (x->stopped) {
        executor_object_refuse(x, id);
        return false;
    }
    if (!o) o = tine_executor_object_fetch(x, id);
    o->wanted = true;
    if (o->state == EXECUTOR_FAILED) executor_object_deliver(x, o);
    return false;
}
