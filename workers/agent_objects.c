/* Objects at a worker: fetched once, kept until the coordinator says DROP.
 *
 * A put value may mention further put values, and is of use only when all are here; modules inside are fetched by the call that needs
 * them. So an object is settled (READY, or FAILED with the reason) when its frame and everything it mentions has settled, and
 * settling goes upwards by a list of work, because chains may be long.
 *
 * DROP is small and may overtake the large OBJECT that it is about: then the object is forgotten when it has come. */
#include "workers/agent_internal.h"

#include <stdlib.h>

static agent_object *find(const tine_agent *a, tine_object id) { return tine_idmap_get(&a->objects, id); }

static agent_object *object_new(tine_agent *a, tine_object id, agent_object_state state) {
    agent_object *o = tine_agent_alloc(sizeof *o);
    o->id = id;
    o->state = state;
    o->waiter.kind = WAITER_OBJECT;
    tine_idmap_put(&a->objects, id, o);
    AGENT_APPEND(a->object_first, a->object_last, o);
    return o;
}

void tine_agent_object_free(agent_object *o) {
    tine_payload_unref(o->payload);
    free(o->class_name);
    free(o->waiter.text);
    free(o->waiters);
    free(o);
}

static void forget(tine_agent *a, agent_object *o) {
    tine_idmap_remove(&a->objects, o->id);
    AGENT_UNLINK(a->object_first, a->object_last, o);
    agent_action *action = tine_agent_push(a, TINE_AGENT_FORGET);
    action->a.object = o->id;
    action->object = o;
}

/* Tells the program about an object that it asked for. */
static void deliver(tine_agent *a, agent_object *o) {
    if (!o->wanted) return;
    o->wanted = false;
    agent_action *action = tine_agent_push(a, TINE_AGENT_OBJECT);
    action->a.object = o->id;
    action->a.status = o->waiter.status;
    action->a.payload = o->state == AGENT_READY ? o->payload : NULL;
    action->keeps = tine_payload_ref(o->payload);
    action->memory = tine_agent_copy(o->state == AGENT_READY ? o->class_name : o->waiter.text);
    action->a.text = action->memory;
}

static void fail(agent_waiter *w, tine_error status, const char *text) {
    if (w->status) return;
    w->status = status;
    w->text = tine_agent_copy(text ? text : "an object that it needs is not there");
}

/* One reason less for w to wait. An object that is settled by it goes to *work, for its own waiters. */
static void settle_waiter(tine_agent *a, agent_waiter *w, agent_object **work) {
    TINE_ASSERT(w->missing, >, 0);
    if (--w->missing) return;
    if (w->kind == WAITER_TASK) {
        tine_agent_task_settled(a, (agent_task *)((char *)w - offsetof(agent_task, waiter)));
    } else if (w->kind == WAITER_RESULT) {
        tine_agent_result_settled(a, (agent_result *)((char *)w - offsetof(agent_result, waiter)));
    } else {
        agent_object *o = (agent_object *)((char *)w - offsetof(agent_object, waiter));
        o->state = w->status ? AGENT_FAILED : AGENT_READY;
        o->work = *work;
        *work = o;
    }
}

/* A failed object is not kept: the next one who needs it asks anew. */
static void settle(tine_agent *a, agent_waiter *w) {
    agent_object *work = NULL;
    settle_waiter(a, w, &work);
    while (work) {
        agent_object *o = work;
        work = o->work;
        for (size_t i = 0; i < o->n_waiters; i++) {
            if (o->state == AGENT_FAILED) fail(o->waiters[i], o->waiter.status, o->waiter.text);
            settle_waiter(a, o->waiters[i], &work);
        }
        o->n_waiters = 0;
        deliver(a, o);
        if (o->dropped || o->state == AGENT_FAILED) forget(a, o);
    }
}

static agent_object *fetch(tine_agent *a, tine_object id) {
    agent_object *o = object_new(a, id, AGENT_FETCHING);
    o->waiter.missing = 1; /* its frame */
    tine_agent_send(a, TINE_MSG_FETCH)->a.message.object = id;
    return o;
}

static void wait_for(agent_object *o, agent_waiter *w) {
    o->waiters = tine_agent_grow(o->waiters, &o->room_waiters, o->n_waiters + 1, sizeof(agent_waiter *));
    o->waiters[o->n_waiters++] = w;
    w->missing++;
}

static void await_refs(tine_agent *a, agent_waiter *w, const tine_payload *p) {
    for (uint32_t i = 0; p && i < p->n_refs; i++) {
        if (tine_object_is_module(p->refs[i])) continue;
        agent_object *o = find(a, p->refs[i]);
        if (!o) o = fetch(a, p->refs[i]);
        if (o->state != AGENT_READY) wait_for(o, w);
    }
}

void tine_agent_await(tine_agent *a, agent_waiter *w, const tine_payload *p) {
    w->missing = 1;
    await_refs(a, w, p);
    settle(a, w);
}

void tine_agent_object_put(tine_agent *a, tine_object id, const char *class_name, tine_payload *payload) {
    agent_object *o = object_new(a, id, AGENT_INCOMPLETE);
    o->payload = tine_payload_ref(payload);
    o->class_name = tine_agent_copy(class_name);
    tine_agent_await(a, &o->waiter, payload);
}

/* What nobody has asked for (or has long) is ignored: it does no harm. */
void tine_agent_object_arrived(tine_agent *a, const tine_message *m) {
    agent_object *o = find(a, m->object);
    if (!o || o->state != AGENT_FETCHING) return;
    o->state = AGENT_INCOMPLETE;
    if (m->status || !m->payload) {
        fail(&o->waiter, m->status ? m->status : TINE_EPROTO, m->text);
    } else {
        o->payload = tine_payload_ref(m->payload);
        o->class_name = m->text && *m->text ? tine_agent_copy(m->text) : NULL;
        await_refs(a, &o->waiter, o->payload);
    }
    settle(a, &o->waiter);
}

void tine_agent_object_dropped(tine_agent *a, tine_object id) {
    agent_object *o = find(a, id);
    if (!o) return;
    if (o->state == AGENT_READY)
        forget(a, o);
    else
        o->dropped = true;
}

static void refuse(tine_agent *a, tine_object id) {
    agent_action *action = tine_agent_push(a, TINE_AGENT_OBJECT);
    action->a.object = id;
    action->a.status = TINE_ECANCELED;
    action->a.text = action->memory = tine_agent_copy("the coordinator has ended");
}

void tine_agent_objects_stop(tine_agent *a) {
    for (agent_object *o = a->object_first; o; o = o->next) {
        if (o->wanted) refuse(a, o->id);
        o->wanted = false;
        o->n_waiters = 0; /* they are gone: tasks will not start, results were cancelled */
    }
}

bool tine_agent_fetch(tine_agent *a, tine_object id, tine_payload **payload, const char **class_name) {
    agent_object *o = find(a, id);
    if (o && o->state == AGENT_READY) {
        if (payload) *payload = o->payload;
        if (class_name) *class_name = o->class_name;
        return true;
    }
    if (a->stopped) {
        refuse(a, id);
        return false;
    }
    if (!o) o = fetch(a, id);
    o->wanted = true;
    return false;
}
