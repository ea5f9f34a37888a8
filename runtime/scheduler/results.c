/* Results as objects: what the arguments of other tasks refer to.
 *
 * A fork's result has an id from the start, which its worker is told, and a record here once
 * something refers to it: the program (tine_scheduler_result), or the worker that keeps it. A small
 * result comes with DONE. A large one stays at its worker until this process or another worker
 * needs it, and is then fetched once. The task of a result that only workers have is kept, if it is
 * repeatable, and runs again when the last of them is lost; but it holds none of the objects that
 * its arguments mention, so that no chain of tasks is kept for its last result. */
#include "runtime/scheduler/internal.h"

#include <stdlib.h>

tine_object tine_scheduler_result(tine_scheduler *s, uint64_t task) {
    sched_task *t = tine_scheduler_task_find(s, task);
    if (!t || !t->result_id || t->state == SCHED_KEPT) return 0;
    if (!t->result) {
        t->result = tine_scheduler_object_new(s, t->result_id, SCHED_OBJECT_PENDING);
        t->result->producer = t;
    }
    t->result->holders++;
    t->result->handles++;
    return t->result_id;
}

/* ---- made ---- */

static void sched_result_present(tine_scheduler *s, sched_object *o, tine_payload *payload) {
    o->state = SCHED_OBJECT_PRESENT;
    free(o->text);
    o->text = NULL;
    o->payload = tine_payload_ref(payload);
    o->bytes = tine_payload_bytes(payload);
    tine_scheduler_hold_refs(s, payload);
}

sched_object *tine_scheduler_result_made(tine_scheduler *s, sched_task *t, tine_error status,
                                         tine_payload *payload, const char *text) {
    bool stays = status == TINE_OK && !payload;
    if (t->withheld && t->worker && !t->keeps)
        tine_scheduler_object_drop_at(s, t->worker, t->result_id);
    t->withheld = false;
    if (!t->result && !stays) {
        if (t->keeps) tine_scheduler_object_drop_at(s, t->worker, t->result_id);
        return NULL;
    }
    if (!t->result) {
        t->result = tine_scheduler_object_new(s, t->result_id, SCHED_OBJECT_PENDING);
        t->result->producer = t;
    }
    sched_object *o = t->result;
    o->holders++;
    if (t->keeps) tine_scheduler_object_replica(o, t->worker);
    if (status != TINE_OK) {
        tine_scheduler_object_fail(o, status, text);
    } else if (payload) {
        sched_result_present(s, o, payload);
    } else {
        o->state = SCHED_OBJECT_REMOTE;
        if (t->worker->reach && *t->worker->reach && !t->worker->unreachable) o->source = t->worker;
        if (!o->name) o->name = tine_scheduler_copy(tine_scheduler_task_name(t));
        t->callable->stays = true;
    }
    return o;
}

/* ---- fetched ---- */

/* The one that made it: others may still fetch it from there, behind a task that they run. */
void tine_scheduler_result_request(tine_scheduler *s, sched_object *o) {
    sched_worker *w = o->source;
    for (size_t i = 0; i < o->words && !w; i++)
        if (o->replicas[i]) w = s->slots[i * 64 + (size_t)__builtin_ctzll(o->replicas[i])];
    if (o->asked || !w) return;
    tine_scheduler_send(s, w, TINE_MSG_FETCH)->a.message.object = o->id;
    o->asked = w->epoch;
}

void tine_scheduler_result_ask(tine_scheduler *s, const sched_task *t) {
    if (t->result_id && t->state == SCHED_RUNNING && t->callable->stays)
        tine_scheduler_send(s, t->worker, TINE_MSG_FETCH)->a.message.object = t->result_id;
}

void tine_scheduler_result_want(tine_scheduler *s, uint64_t task) {
    sched_task *t = tine_scheduler_task_find(s, task);
    if (!t || t->wanted || t->state == SCHED_KEPT) return;
    t->wanted = true;
    tine_scheduler_result_ask(s, t);
}

void tine_scheduler_object_want(tine_scheduler *s, tine_object id) {
    sched_object *o = tine_scheduler_object_find(s, id);
    if (!o || o->wanted) return;
    o->wanted = true;
    if (o->state == SCHED_OBJECT_REMOTE) tine_scheduler_result_request(s, o);
}

static void sched_result_drop_producer(tine_scheduler *s, sched_object *o) {
    sched_task *t = o->producer;
    o->producer = NULL;
    if (t) tine_scheduler_task_forget(s, t);
}

const char *tine_scheduler_result_arrived(tine_scheduler *s, sched_worker *w,
                                          const tine_message *m) {
    sched_object *o = tine_scheduler_object_find(s, m->object);
    if (!o || o->state != SCHED_OBJECT_REMOTE || o->asked != w->epoch) return NULL;
    if (m->status || !m->payload) {
        tine_scheduler_result_lost(s, o, w, "the worker does not have it");
        return NULL;
    }
    if (m->payload->n_refs) return "it kept a result that mentions put values or modules";
    o->asked = 0;
    o->source = NULL;
    sched_result_present(s, o, m->payload);
    sched_result_drop_producer(s, o);
    tine_scheduler_inputs_settle(s, o);
    return NULL;
}

/* ---- lost ---- */

void tine_scheduler_result_lost(tine_scheduler *s, sched_object *o, const sched_worker *w,
                                const char *reason) {
    tine_scheduler_object_unreplica(o, w);
    if (o->asked == w->epoch) o->asked = 0;
    if (o->state != SCHED_OBJECT_REMOTE) return;
    if (tine_scheduler_object_anywhere(o)) {
        /* the others may be about to fetch it from w, and fail */
        if (w->lost && !o->text) o->text = tine_scheduler_text_result_lost(o, w, reason);
        tine_scheduler_object_answer(s, o);
        return;
    }
    s->lost_results++;
    o->state = SCHED_OBJECT_PENDING;
    tine_scheduler_inputs_pend(s, o);
    char *text = o->text ? o->text : tine_scheduler_text_result_lost(o, w, reason);
    o->text = NULL;
    if (o->producer && tine_scheduler_task_repeat(s, o->producer)) {
        free(text);
        return;
    }
    tine_scheduler_object_fail(o, TINE_ELOST, text);
    free(text);
    sched_result_drop_producer(s, o);
    tine_scheduler_inputs_settle(s, o);
}
