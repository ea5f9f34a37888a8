/* The life of a task in the scheduler: started, suspended, deferred, ended; or lost and queued
 * again.
 *
 * Every task ends in tine_scheduler_task_end, or in sched_task_discard when nothing waits for its
 * result: so it is completed once. */
#include "runtime/scheduler/internal.h"

#include <stdlib.h>

/* Its forks run on, and their results go to the worker that it ran on. */
static void sched_task_detach_children(sched_task *t) {
    for (sched_task *child; (child = LIST_FIRST(&t->children));) {
        tine_scheduler_task_leave_parent(child);
        tine_scheduler_task_adopt(NULL, child);
    }
}

/* ---- running ---- */

/* Frees the arguments and keeps the objects that they reference held until the task ends. */
static void sched_task_drop_arguments(tine_scheduler *s, sched_task *t) {
    for (uint32_t i = 0; i < t->payload->n_refs; i++)
        tine_scheduler_task_hold(s, t, t->payload->refs[i]);
    tine_scheduler_unhold_refs(s, t->payload);
    tine_payload_unref(t->payload);
    t->payload = NULL;
}

void tine_scheduler_task_started(tine_scheduler *s, sched_task *t, sched_worker *w) {
    t->state = SCHED_RUNNING;
    t->worker = w;
    t->received = 0;
    t->suspended = t->blamed = t->keeps = t->withheld = t->yields = t->reach_told = false;
    t->sent_number = ++w->tasks_sent;
    t->started = s->now;
    t->callable->running++;
    w->bytes_out += t->bytes;
    TAILQ_INSERT_TAIL(&w->running, t, run_link);
    if (t->ahead)
        s->stats.waiting++;
    else
        s->stats.running++;
    tine_scheduler_objects_push(s, t, w);
    tine_scheduler_reach_keep(s, t);
    sched_action *a = tine_scheduler_send(s, w, TINE_MSG_TASK);
    tine_message *m = &a->a.message;
    m->task = t->id;
    m->attempt = t->attempt;
    m->epoch = w->epoch;
    m->depth = t->link.depth > SCHED_LEVEL ? t->link.depth - SCHED_LEVEL : 0;
    m->flow = t->flow;
    m->target = (tine_target){t->callable->name, t->callable->method, t->object};
    m->object = t->result_id;
    m->payload = a->owned.payload = tine_payload_ref(t->payload);
    a->owned.callable = t->callable;
    t->callable->uses++;
    /* It cannot run again once it has begun, so it needs its arguments no more. One that is sent
     * ahead has not begun. */
    if (!(t->flags & TINE_REPEATABLE) && w->outstanding == 1 && !t->ahead &&
        t->bytes > SCHED_KEEP_BYTES)
        sched_task_drop_arguments(s, t);
    if (t->wanted) tine_scheduler_result_ask(s, t);
    if (!t->result) return;
    sched_input *i;
    TAILQ_FOREACH (i, &t->result->inputs, link) tine_scheduler_aim(s, i->task);
}

static void sched_task_leave_credit(tine_scheduler *s, sched_task *t) {
    if (t->suspended) {
        s->stats.suspended--;
        t->worker->suspended--;
        tine_scheduler_worker_update(s, t->worker);
    } else {
        s->stats.running--;
        tine_scheduler_uncharge(s, t);
    }
}

/* Takes it off its worker's list and credit. */
static void sched_task_stopped(tine_scheduler *s, sched_task *t) {
    sched_worker *w = t->worker;
    if (t->state == SCHED_RUNNING) sched_task_leave_credit(s, t);
    TAILQ_REMOVE(&w->running, t, run_link);
    t->callable->running--;
    w->turned = s->now;
    if (t->terms) tine_scheduler_slots_return(s, t);
    t->worker = NULL;
}

void tine_scheduler_task_suspend(tine_scheduler *s, sched_task *t) {
    if (t->state != SCHED_RUNNING || t->suspended) return;
    tine_scheduler_inputs_forget(s, t); /* it has begun */
    tine_scheduler_objects_had(s, t);   /* while it is known what they are */
    if (t->terms && t->terms->initialiser) tine_scheduler_initialiser_waits(s, t);
    t->worker->suspended++;
    sched_task_leave_credit(s, t);
    t->suspended = true;
    t->worker->turned = s->now;
    if (t->worker->saves) tine_scheduler_slots_offer(s, t->worker);
    s->stats.suspended++;
    if (t->payload && !(t->flags & TINE_REPEATABLE)) sched_task_drop_arguments(s, t);
}

/* ---- ending ---- */

static void sched_task_complete(tine_scheduler *s, const sched_task *t, tine_error status,
                                tine_payload *payload, char *text) {
    sched_action *a = tine_scheduler_push(s, TINE_SCHEDULER_COMPLETE);
    a->a.ticket = t->ticket;
    a->a.status = status;
    a->a.payload = tine_payload_ref(payload);
    a->a.text = a->owned.memory = text;
    if (status == TINE_OK && !payload) {
        a->a.object = t->result_id;
        tine_scheduler_object_retain(s, t->result_id);
    }
    for (uint32_t i = 0; payload && i < payload->n_refs; i++)
        tine_scheduler_object_retain(s, payload->refs[i]);
}

static void sched_task_answer(tine_scheduler *s, sched_task *t, tine_error status,
                              tine_payload *payload, char *text) {
    tine_scheduler_stream_end(s, t);
    sched_action *a = tine_scheduler_send(s, t->owner, TINE_MSG_RESULT);
    a->a.message.seq = t->ticket;
    a->a.message.status = status;
    a->a.message.payload = a->owned.payload = tine_payload_ref(payload);
    t->owner->bytes_out += tine_payload_bytes(payload);
    a->a.message.text = a->owned.memory = text;
    for (uint32_t i = 0; payload && t->parent && i < payload->n_refs; i++)
        tine_scheduler_task_hold(s, t->parent, payload->refs[i]);
}

/* For a task that may end before it has started. */
static void sched_task_leave_queue(tine_scheduler *s, sched_task *t) {
    if (t->link.queued) {
        tine_scheduler_dequeue(s, t);
        if (t->terms) tine_scheduler_slots_return(s, t);
    }
    if (t->state == SCHED_WAITING) tine_scheduler_waiting_end(s, t);
    if (t->state == SCHED_TURN) tine_scheduler_turn_leave(s, t);
    tine_scheduler_inputs_forget(s, t);
    tine_scheduler_leave_window(s, t);
}

/* Its arguments hold nothing any more. */
static void sched_task_keep(tine_scheduler *s, sched_task *t) {
    tine_scheduler_task_leave_parent(t);
    tine_scheduler_task_drop_done(t);
    tine_scheduler_task_drop_holds(s, t);
    tine_scheduler_task_unhold_arguments(s, t);
    t->state = SCHED_KEPT;
}

void tine_scheduler_task_forget(tine_scheduler *s, sched_task *t) {
    t->result = NULL;
    if (t->state == SCHED_KEPT) tine_scheduler_task_free(s, t);
}

/* Tells its owner, at most once. Takes text. */
static void sched_task_report(tine_scheduler *s, sched_task *t, tine_error status,
                              tine_payload *payload, char *text) {
    if (t->reported) {
        free(text);
        return;
    }
    t->reported = true;
    if (status == TINE_OK) {
        s->stats.completed++;
        t->callable->done++;
    } else {
        s->stats.failed++;
        t->callable->failed++;
        if (status != TINE_ECANCELED)
            tine_scheduler_failed(s, tine_scheduler_task_name(t), status, text);
    }
    if (t->terms && t->terms->initialiser) {
        tine_scheduler_initialised(s, t, status, text);
        free(text);
    } else if (t->orphan || (t->owner && t->owner->lost))
        free(text);
    else if (t->owner)
        sched_task_answer(s, t, status, payload, text);
    else
        sched_task_complete(s, t, status, payload, text);
}

static void sched_result_settle(tine_scheduler *s, sched_object *result) {
    if (!result) return;
    tine_scheduler_inputs_settle(s, result);
    tine_scheduler_unhold(s, result->id);
}

void tine_scheduler_task_end(tine_scheduler *s, sched_task *t, tine_error status,
                             tine_payload *payload, char *text) {
    sched_task_leave_queue(s, t);
    sched_object *result = tine_scheduler_result_made(s, t, status, payload, text);
    sched_task_report(s, t, status, payload, text);
    if (t->worker) {
        sched_task_detach_children(t);
        sched_task_stopped(s, t);
    }
    if (result && result->state == SCHED_OBJECT_REMOTE && t->payload &&
        (t->flags & TINE_REPEATABLE) && !(t->flags & TINE_MODULE_SINGLE)) {
        sched_task_keep(s, t);
    } else {
        if (result) result->producer = NULL;
        t->result = NULL;
        tine_scheduler_task_free(s, t);
    }
    sched_result_settle(s, result);
}

/* It stays at its worker, which may be busy, until DONE. */
void tine_scheduler_task_abandon(tine_scheduler *s, sched_task *t, tine_error status, char *text) {
    sched_object *result = tine_scheduler_result_made(s, t, status, NULL, text);
    sched_task_report(s, t, status, NULL, text);
    if (result) result->producer = NULL;
    t->result = NULL;
    t->result_id = 0;
    t->abandoned = true;
    sched_result_settle(s, result);
}

bool tine_scheduler_task_repeat(tine_scheduler *s, sched_task *t) {
    TINE_ASSERT(t->state, ==, SCHED_KEPT);
    if (s->stopped || !tine_scheduler_refs_known(s, NULL, t->payload, t->object)) return false;
    tine_scheduler_hold_refs(s, t->payload);
    if (t->object) tine_scheduler_hold(s, t->object);
    t->keeps = false;
    t->state = SCHED_READY;
    t->attempt++;
    t->uncounted++;
    s->stats.retried++;
    tine_scheduler_enqueue(s, t);
    return true;
}

/* Frees it without completing it. */
static void sched_task_discard(tine_scheduler *s, sched_task *t) {
    sched_task_leave_queue(s, t);
    if (t->worker) sched_task_stopped(s, t);
    TINE_ASSERT_TRUE(!t->result);
    /* they are orphans, or are cancelled too */
    for (sched_task *child; (child = LIST_FIRST(&t->children));)
        tine_scheduler_task_leave_parent(child);
    tine_scheduler_task_free(s, t);
}

/* Has the worker drop what it was told instead of the result, before a further attempt makes a
 * result there. */
static void sched_task_drop_reason(tine_scheduler *s, const sched_task *t) {
    if (!t->withheld || t->worker->lost) return;
    tine_scheduler_object_drop_at(s, t->worker, t->result_id);
    tine_scheduler_flush_drops(s, t->worker);
}

/* Queues it for another attempt. */
static void sched_task_again(tine_scheduler *s, sched_task *t, bool counts) {
    tine_scheduler_inputs_forget(s, t);
    sched_task_drop_reason(s, t);
    sched_task_stopped(s, t);
    tine_scheduler_task_drop_done(t);
    tine_scheduler_task_drop_holds(s, t);
    t->state = SCHED_READY;
    t->uncounted += !counts;
    t->attempt++;
    s->stats.retried++;
    tine_scheduler_enqueue(s, t);
}

/* Whether it has failed itself, and has further attempts for that. */
static bool sched_task_retries_failure(const sched_task *t, tine_error status) {
    return status == TINE_EFAILED && t->terms && t->terms->failure_retries > 0 &&
           t->flags & TINE_REPEATABLE && !t->orphan && !t->cancelled && !t->abandoned;
}

static void sched_task_retry_failure(tine_scheduler *s, sched_task *t) {
    t->terms->failure_retries--;
    sched_task_detach_children(t);
    sched_task_again(s, t, false);
}

/* The worker keeps the result of a task that was cancelled. If its object has failed, other objects
 * may still mention it: the worker drops it with the object's record. Otherwise it drops it now. */
static void sched_result_unkeep(tine_scheduler *s, sched_worker *w, tine_object id) {
    sched_object *o = tine_scheduler_object_find(s, id);
    if (o && o->state == SCHED_OBJECT_FAILED) {
        tine_scheduler_object_replica(o, w);
        return;
    }
    if (o) tine_scheduler_object_unreplica(o, w);
    tine_scheduler_object_drop_at(s, w, id);
}

static void sched_task_finish(tine_scheduler *s, sched_task *t, tine_error status,
                              tine_payload *payload, const char *cause, tine_object keeps) {
    sched_worker *w = t->worker;
    if (status == TINE_OK) tine_scheduler_objects_had(s, t);
    t->keeps = keeps && keeps == t->result_id;
    if (keeps && !t->keeps) sched_result_unkeep(s, w, keeps);
    if (status == TINE_OK && !payload && !t->keeps) {
        status = TINE_EPROTO;
        cause = "the worker's reply has no value";
    } else if (status == TINE_OK && payload && !tine_scheduler_refs_known(s, NULL, payload, 0)) {
        status = TINE_EINVAL;
        cause = "the result references a put value or module that has been freed";
    }
    w->tasks_done++;
    const sched_object *failed = status ? tine_scheduler_inputs_failed(s, t) : NULL;
    if (status == TINE_OK)
        tine_scheduler_task_end(s, t, TINE_OK, payload, NULL);
    else if (failed)
        tine_scheduler_task_end(s, t, failed->status, NULL, tine_scheduler_copy(failed->text));
    else if (sched_task_retries_failure(t, status))
        sched_task_retry_failure(s, t);
    else
        tine_scheduler_task_end(s, t, status, NULL, tine_scheduler_text_failed(s, t, w, cause));
}

void tine_scheduler_task_done(tine_scheduler *s, sched_task *t, const tine_message *m) {
    tine_error status = m->status >= TINE_ENDED ? TINE_EPROTO : m->status;
    tine_scheduler_callable_measure(t->callable, m->run_ns);
    tine_scheduler_inputs_forget(s, t);
    if (m->seq <= t->received) {
        if (m->n_ids > 0) tine_scheduler_passed(s, t, m);
        sched_task_finish(s, t, status, m->payload, m->text, m->object);
        return;
    }
    sched_task_leave_credit(s, t);
    t->state = SCHED_DEFERRED;
    t->done = tine_scheduler_alloc(sizeof *t->done);
    t->done->status = status;
    t->done->payload = tine_payload_ref(m->payload);
    t->done->text = m->text ? tine_scheduler_copy(m->text) : NULL;
    t->done->expects = m->seq;
    t->done->keeps = m->object;
}

void tine_scheduler_task_received(tine_scheduler *s, sched_task *t) {
    t->received++;
    if (t->state != SCHED_DEFERRED || t->received < t->done->expects) return;
    sched_done done = *t->done;
    *t->done = (sched_done){0};
    sched_task_finish(s, t, done.status, done.payload, done.text, done.keeps);
    tine_payload_unref(done.payload);
    free(done.text);
}

/* ---- losing ---- */

void tine_scheduler_task_orphan(tine_scheduler *s, sched_task *t) {
    tine_scheduler_task_leave_parent(t);
    t->owner = NULL;
    t->orphan = true;
    if (t->worker)
        tine_scheduler_cancel_forks(s, t, "the task that forked it, or one above it, was lost");
    else
        sched_task_discard(s, t);
}

uint32_t tine_scheduler_max_attempts(const tine_scheduler *s, const sched_task *t) {
    return t->terms && t->terms->max_attempts ? t->terms->max_attempts : s->config.max_attempts;
}

/* A suspect runs alone from now on, so that the next loss shows whether it is the cause; one that
 * is never alone, since it waits for forks, has as many attempts as others. */
static bool sched_task_counts(const tine_scheduler *s, sched_task *t, sched_part part) {
    if (part == SCHED_PART_BEGUN || part == SCHED_PART_QUEUED) return false;
    if (part == SCHED_PART_SUSPECT && t->suspected + 1 < tine_scheduler_max_attempts(s, t)) {
        t->suspected++;
        return false;
    }
    t->uncounted -= t->suspected;
    t->suspected = 0;
    return true;
}

void tine_scheduler_task_lost(tine_scheduler *s, sched_task *t, const sched_worker *w,
                              sched_part part, const char *reason) {
    bool counts = sched_task_counts(s, t, part);
    bool again = t->flags & TINE_REPEATABLE
                     ? !counts || t->attempt - t->uncounted < tine_scheduler_max_attempts(s, t)
                     : part == SCHED_PART_QUEUED && t->payload;
    if (t->orphan || t->abandoned) {
        sched_task_discard(s, t);
        return;
    }
    if (t->cancelled || !again) {
        char *text = tine_scheduler_text_lost(s, t, w, reason);
        tine_scheduler_task_end(s, t, TINE_ELOST, NULL, text);
        return;
    }
    sched_task_again(s, t, counts);
}

void tine_scheduler_task_returned(tine_scheduler *s, sched_task *t) {
    if (t->flags & TINE_MODULE_SINGLE) tine_scheduler_single_unbind(s, t);
    tine_scheduler_task_lost(s, t, t->worker, SCHED_PART_QUEUED, "it leaves");
}

/* ---- shutdown ---- */

static sched_task *sched_task_used_at(const tine_scheduler *s, size_t i) {
    sched_task *t = tine_scheduler_task_at(s, i);
    return t->state == SCHED_FREE || t->state == SCHED_KEPT ? NULL : t;
}

void tine_scheduler_tasks_cancel(tine_scheduler *s) {
    for (size_t i = 0; i < tine_scheduler_task_slots(s); i++)
        if (sched_task_used_at(s, i)) tine_scheduler_task_leave_parent(sched_task_used_at(s, i));
    for (size_t i = 0; i < tine_scheduler_task_slots(s); i++) {
        sched_task *t = sched_task_used_at(s, i);
        if (!t) continue;
        if (t->owner || t->orphan)
            sched_task_discard(s, t);
        else
            tine_scheduler_task_end(
                s, t, TINE_ECANCELED, NULL,
                tine_scheduler_text_cancelled(t, "Tine was shut down before it ended"));
    }
}
