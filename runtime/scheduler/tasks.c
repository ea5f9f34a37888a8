/* The life of a task in the scheduler: made, started, suspended, held, ended; or lost and queued
 * again.
 *
 * Every task ends in exactly one place, tine_scheduler_task_end (or tine_scheduler_task_discard,
 * when nobody is left to be told), so that an answer cannot be given twice. A task's id names its
 * slot and the slot's generation: a late reply finds another generation. */
#include "runtime/scheduler/internal.h"
#include "runtime/trace/trace.h"

#include <stdlib.h>
#include <string.h>

sched_task *tine_scheduler_task_find(const tine_scheduler *h, uint64_t id) {
    uint64_t slot = (id & UINT32_MAX) - 1;
    if (slot / SCHED_CHUNK >= h->n_chunks) return NULL;
    sched_task *t = &h->chunks[slot / SCHED_CHUNK][slot % SCHED_CHUNK];
    return t->id == id && t->state != SCHED_FREE ? t : NULL;
}

static void more_tasks(tine_scheduler *h) {
    sched_task *chunk = tine_scheduler_alloc(SCHED_CHUNK * sizeof *chunk);
    h->chunks = realloc(h->chunks, (h->n_chunks + 1) * sizeof(sched_task *));
    TINE_ASSERT_TRUE(h->chunks);
    for (size_t i = SCHED_CHUNK; i-- > 0;) {
        chunk[i].id = h->n_chunks * SCHED_CHUNK + i + 1;
        chunk[i].work = h->free_tasks;
        h->free_tasks = &chunk[i];
    }
    h->chunks[h->n_chunks++] = chunk;
}

sched_task *tine_scheduler_task_new(tine_scheduler *h, const tine_target *target, uint32_t flags,
                                    tine_payload *payload) {
    if (!h->free_tasks) more_tasks(h);
    sched_task *t = h->free_tasks;
    h->free_tasks = t->work;
    *t = (sched_task){
        .id = t->id + (UINT64_C(1) << 32), .attempt = 1, .flags = flags, .state = SCHED_READY};
    t->callable = tine_scheduler_callable_get(h, target->name, target->method);
    t->callable->uses++;
    t->payload = tine_payload_ref(payload);
    t->bytes = tine_payload_bytes(payload);
    t->object = target->object;
    t->link.order = ++h->orders;
    tine_scheduler_hold_refs(h, payload);
    if (t->object) tine_scheduler_hold(h, t->object);
    h->stats.forked++;
    return t;
}

void tine_scheduler_task_adopt(sched_task *parent, sched_task *child) {
    child->parent = parent;
    sched_task **list = parent ? &parent->children : &child->owner->strays;
    child->sibling = *list;
    child->sibling_of = list;
    if (*list) (*list)->sibling_of = &child->sibling;
    *list = child;
}

static void leave_parent(sched_task *t) {
    if (!t->sibling_of) return;
    *t->sibling_of = t->sibling;
    if (t->sibling) t->sibling->sibling_of = t->sibling_of;
    t->sibling = NULL;
    t->sibling_of = NULL;
    t->parent = NULL;
}

void tine_scheduler_task_hold(tine_scheduler *h, sched_task *t, tine_object id) {
    size_t room = t->room_holds;
    t->holds = tine_scheduler_grow(t->holds, &room, (size_t)t->n_holds + 1, sizeof *t->holds);
    t->room_holds = (uint32_t)room;
    t->holds[t->n_holds++] = id;
    tine_scheduler_hold(h, id);
}

static void drop_holds(tine_scheduler *h, sched_task *t) {
    for (uint32_t i = 0; i < t->n_holds; i++) tine_scheduler_unhold(h, t->holds[i]);
    free(t->holds);
    t->holds = NULL;
    t->n_holds = t->room_holds = 0;
}

static void drop_done(sched_task *t) {
    if (!t->done) return;
    tine_payload_unref(t->done->payload);
    free(t->done->text);
    free(t->done);
    t->done = NULL;
}

/* What it forked goes on, and answers the worker that it ran on; only nobody waits for it any
 * more. */
static void leave_children(sched_task *t) {
    while (t->children) {
        sched_task *child = t->children;
        leave_parent(child);
        tine_scheduler_task_adopt(NULL, child);
    }
}

static void free_task(tine_scheduler *h, sched_task *t) {
    TINE_ASSERT_TRUE(t->state != SCHED_FREE && !t->children && !t->worker && !t->link.queued);
    leave_parent(t);
    drop_done(t);
    drop_holds(h, t);
    tine_scheduler_unhold_refs(h, t->payload);
    if (t->object) tine_scheduler_unhold(h, t->object);
    tine_payload_unref(t->payload);
    tine_scheduler_callable_unuse(h, t->callable);
    t->payload = NULL;
    t->callable = NULL;
    t->state = SCHED_FREE;
    t->work = h->free_tasks;
    h->free_tasks = t;
}

/* ---- running ---- */

static void keep_refs_only(tine_scheduler *h, sched_task *t) {
    for (uint32_t i = 0; i < t->payload->n_refs; i++)
        tine_scheduler_task_hold(h, t, t->payload->refs[i]);
    tine_scheduler_unhold_refs(h, t->payload);
    tine_payload_unref(t->payload);
    t->payload = NULL;
}

void tine_scheduler_task_started(tine_scheduler *h, sched_task *t, sched_worker *w) {
    t->state = SCHED_RUNNING;
    t->worker = w;
    t->received = 0;
    t->suspended = false;
    SCHED_APPEND(w->run_first, w->run_last, t, run_prev, run_next);
    h->stats.running++;
    sched_action *a = tine_scheduler_send(h, w->peer, TINE_MSG_TASK);
    tine_message *m = &a->a.message;
    m->task = t->id;
    m->attempt = t->attempt;
    m->epoch = w->epoch;
    m->depth = t->link.depth;
    m->flow = tine_trace_flow(t->owner ? t->owner->epoch : 0, t->ticket);
    m->target = (tine_target){t->callable->name, t->callable->method, t->object};
    m->payload = tine_payload_ref(t->payload);
    a->callable = t->callable;
    a->callable->uses++;
    if (t->payload && !(t->flags & TINE_REPEATABLE))
        keep_refs_only(h, t); /* it cannot run again: do not keep its arguments */
}

static void leave_credit(tine_scheduler *h, sched_task *t) {
    if (t->suspended) {
        h->stats.suspended--;
        t->worker->suspended--;
        tine_scheduler_worker_update(h, t->worker);
    } else {
        h->stats.running--;
        tine_scheduler_uncharge(h, t);
    }
}

void tine_scheduler_task_stopped(tine_scheduler *h, sched_task *t) {
    sched_worker *w = t->worker;
    if (t->state == SCHED_RUNNING) leave_credit(h, t);
    SCHED_UNLINK(w->run_first, w->run_last, t, run_prev, run_next);
    t->worker = NULL;
}

void tine_scheduler_task_suspend(tine_scheduler *h, sched_task *t) {
    if (t->state != SCHED_RUNNING || t->suspended) return;
    t->worker->suspended++;
    leave_credit(h, t);
    t->suspended = true;
    h->stats.suspended++;
}

/* ---- ending ---- */

static void complete(tine_scheduler *h, const sched_task *t, tine_error status,
                     tine_payload *payload, char *text) {
    sched_action *a = tine_scheduler_push(h, TINE_SCHEDULER_COMPLETE);
    a->a.ticket = t->ticket;
    a->a.status = status;
    a->a.payload = tine_payload_ref(payload);
    a->owns_payload = true;
    a->a.text = a->memory = text;
    for (uint32_t i = 0; payload && i < payload->n_refs; i++)
        tine_scheduler_object_retain(h, payload->refs[i]);
}

static void answer(tine_scheduler *h, sched_task *t, tine_error status, tine_payload *payload,
                   char *text) {
    sched_action *a = tine_scheduler_send(h, t->owner->peer, TINE_MSG_RESULT);
    a->a.message.seq = t->ticket;
    a->a.message.status = status;
    a->a.message.payload = tine_payload_ref(payload);
    a->a.message.text = a->memory = text;
    for (uint32_t i = 0; payload && t->parent && i < payload->n_refs; i++)
        tine_scheduler_task_hold(h, t->parent, payload->refs[i]);
}

/* A fork that has not started leaves the window of its owner: by starting, or by ending before. */
static void leave_queue(tine_scheduler *h, sched_task *t) {
    if (t->link.queued) tine_scheduler_dequeue(h, t);
    tine_scheduler_leave_window(h, t);
}

void tine_scheduler_task_end(tine_scheduler *h, sched_task *t, tine_error status,
                             tine_payload *payload, char *text) {
    leave_queue(h, t);
    if (status == TINE_OK)
        h->stats.completed++;
    else
        h->stats.failed++;
    if (t->orphan || (t->owner && t->owner->dead))
        free(text);
    else if (t->owner)
        answer(h, t, status, payload, text);
    else
        complete(h, t, status, payload, text);
    if (t->worker) {
        leave_children(t);
        tine_scheduler_task_stopped(h, t);
    }
    free_task(h, t);
}

void tine_scheduler_task_discard(tine_scheduler *h, sched_task *t) {
    leave_queue(h, t);
    if (t->worker) tine_scheduler_task_stopped(h, t);
    /* whoever discards a parent has seen to its forks */
    while (t->children) leave_parent(t->children);
    free_task(h, t);
}

static void finish(tine_scheduler *h, sched_task *t, tine_error status, tine_payload *payload,
                   const char *cause) {
    sched_worker *w = t->worker;
    if (status == TINE_OK && !payload) {
        status = TINE_EPROTO;
        cause = "its reply has no value";
    } else if (status == TINE_OK && !tine_scheduler_mentions(h, NULL, payload, 0)) {
        status = TINE_EINVAL;
        cause = "its result mentions a put value or module that is no longer there";
    }
    w->tasks_done++;
    if (status == TINE_OK)
        tine_scheduler_task_end(h, t, TINE_OK, payload, NULL);
    else
        tine_scheduler_task_end(h, t, status, NULL, tine_scheduler_text_failed(h, t, w, cause));
}

void tine_scheduler_task_done(tine_scheduler *h, sched_task *t, const tine_message *m) {
    tine_error status = m->status > TINE_ESTATE ? TINE_EPROTO : m->status;
    tine_scheduler_measure(t->callable, m->run_ns);
    if (m->seq <= t->received) {
        finish(h, t, status, m->payload, m->text);
        return;
    }
    leave_credit(h, t);
    t->state = SCHED_HELD;
    t->done = tine_scheduler_alloc(sizeof *t->done);
    t->done->status = status;
    t->done->payload = tine_payload_ref(m->payload);
    t->done->text = m->text ? tine_scheduler_copy(m->text) : NULL;
    t->done->expects = m->seq;
}

void tine_scheduler_task_received(tine_scheduler *h, sched_task *t) {
    t->received++;
    if (t->state != SCHED_HELD || t->received < t->done->expects) return;
    sched_done done = *t->done;
    *t->done = (sched_done){0};
    finish(h, t, done.status, done.payload, done.text);
    tine_payload_unref(done.payload);
    free(done.text);
}

/* ---- losing ---- */

/* The forks below an orphan: those that wait are cancelled, so that what runs comes to its end
 * soon, instead of computing a tree that nobody will look at. A list of work, not recursion: chains
 * of nested forks may be long. */
static void doom_children(tine_scheduler *h, sched_task *t) {
    t->work = NULL;
    for (sched_task *work = t; work;) {
        sched_task *at = work, *child = at->children, *after;
        work = at->work;
        at->work = NULL;
        at->doomed = true;
        for (; child; child = after) {
            after = child->sibling;
            if (child->state == SCHED_READY) {
                tine_scheduler_task_end(
                    h, child, TINE_ECANCELED, NULL,
                    tine_scheduler_copy("the task that this fork was for has been lost"));
            } else if (!child->doomed) {
                child->work = work;
                work = child;
            }
        }
    }
}

void tine_scheduler_task_orphan(tine_scheduler *h, sched_task *t) {
    leave_parent(t);
    t->owner = NULL;
    t->orphan = true;
    if (t->state == SCHED_READY)
        tine_scheduler_task_discard(h, t);
    else
        doom_children(h, t);
}

void tine_scheduler_task_lost(tine_scheduler *h, sched_task *t, const sched_worker *w,
                              const char *reason) {
    bool again = t->flags & TINE_REPEATABLE && t->attempt < h->config.max_attempts;
    if (t->orphan || t->doomed || !again) {
        char *text = t->orphan ? NULL : tine_scheduler_text_lost(h, t, w, reason);
        if (t->orphan)
            tine_scheduler_task_discard(h, t);
        else
            tine_scheduler_task_end(h, t, TINE_ELOST, NULL, text);
        return;
    }
    tine_scheduler_task_stopped(h, t);
    drop_done(t);
    drop_holds(h, t);
    t->state = SCHED_READY;
    t->attempt++;
    h->stats.retried++;
    tine_scheduler_enqueue(h, t);
}

/* ---- the end of all ---- */

static sched_task *each(const tine_scheduler *h, size_t i) {
    sched_task *t = &h->chunks[i / SCHED_CHUNK][i % SCHED_CHUNK];
    return t->state == SCHED_FREE ? NULL : t;
}

void tine_scheduler_tasks_cancel(tine_scheduler *h) {
    for (size_t i = 0; i < h->n_chunks * SCHED_CHUNK; i++)
        if (each(h, i)) leave_parent(each(h, i));
    for (size_t i = 0; i < h->n_chunks * SCHED_CHUNK; i++) {
        sched_task *t = each(h, i);
        if (!t) continue;
        if (t->owner || t->orphan)
            tine_scheduler_task_discard(h, t);
        else
            tine_scheduler_task_end(
                h, t, TINE_ECANCELED, NULL,
                tine_scheduler_text("task \"%s\" was cancelled: Tine was shut down first",
                                    t->callable->shown));
    }
}

void tine_scheduler_tasks_free(tine_scheduler *h) {
    for (size_t i = 0; i < h->n_chunks; i++) free(h->chunks[i]);
    free(h->chunks);
}
