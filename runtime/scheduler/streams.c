/* Streams: the values that a task yields, and how many its owner takes.
 *
 * Values are numbered from 1. A task may yield as many as its owner has pulled (PULL). The first
 * one needs no PULL: the scheduler answers it with the number for this attempt, so that TASK needs
 * no field for it. Each value goes on to the owner as it comes, once: a further attempt yields from
 * the first one again, and what has arrived of an earlier attempt is dropped by its number.
 *
 * Where the values are not taken (of a plain fork, or of a task that was cancelled), the worker is
 * told by PULL with item 0, and they are dropped. */
#include "runtime/scheduler/internal.h"

static sched_stream *sched_stream_of(const sched_task *t) {
    return t->terms && t->terms->stream.limit ? &t->terms->stream : NULL;
}

/* NULL: its values are dropped. */
static sched_stream *sched_stream_read(const sched_task *t) {
    return t->reported || t->orphan || (t->owner && t->owner->lost) ? NULL : sched_stream_of(t);
}

bool tine_scheduler_stream_full(const sched_task *t) {
    const sched_stream *stream = sched_stream_read(t);
    return t->yields && stream && stream->limit <= stream->arrivals.low + stream->arrivals.n;
}

void tine_scheduler_stream_tell(tine_scheduler *s, const sched_task *t) {
    if (!t->yields || t->state != SCHED_RUNNING || t->worker->lost) return;
    const sched_stream *stream = sched_stream_read(t);
    sched_action *a = tine_scheduler_send(s, t->worker, TINE_MSG_PULL);
    a->a.message.task = t->id;
    a->a.message.item = stream ? stream->limit : 0;
}

/* ---- values ---- */

static void sched_stream_forward(tine_scheduler *s, const sched_task *t, const tine_message *m) {
    sched_action *a;
    if (t->owner) {
        a = tine_scheduler_send(s, t->owner, TINE_MSG_YIELD);
        a->a.message.seq = t->ticket;
        a->a.message.item = m->item;
        a->a.message.payload = a->owned.payload = tine_payload_ref(m->payload);
    } else {
        a = tine_scheduler_push(s, TINE_SCHEDULER_YIELD);
        a->a.ticket = t->ticket;
        a->a.item = m->item;
        a->a.payload = tine_payload_ref(m->payload);
    }
    for (uint32_t i = 0; i < m->payload->n_refs; i++) {
        if (!t->owner)
            tine_scheduler_object_retain(s, m->payload->refs[i]);
        else if (t->parent)
            tine_scheduler_task_hold(s, t->parent, m->payload->refs[i]);
    }
}

/* Why the message breaks the protocol, or NULL. */
static const char *sched_stream_take(tine_scheduler *s, sched_task *t, sched_stream *stream,
                                     const tine_message *m) {
    if (m->item > stream->limit) return "it yielded more values than it may";
    if (tine_scheduler_arrived(&stream->arrivals, m->item)) return NULL; /* of an earlier attempt */
    if (!tine_scheduler_refs_known(s, t->worker, m->payload, 0)) {
        tine_scheduler_task_cancel(s, t, TINE_EINVAL,
                                   tine_scheduler_text_cancelled(
                                       t, "it yielded a put value or module that has been freed"),
                                   UINT64_MAX);
        return NULL;
    }
    if (!tine_scheduler_arrive(&stream->arrivals, m->item))
        return "it does not number its values consecutively";
    sched_stream_forward(s, t, m);
    return NULL;
}

void tine_scheduler_yield(tine_scheduler *s, sched_worker *w, const tine_message *m) {
    sched_task *t = tine_scheduler_task_find(s, m->task);
    if (!t || t->worker != w || t->attempt != m->attempt || w->epoch != m->epoch) {
        s->stats.stale++;
        return;
    }
    if (t->state == SCHED_RUNNING) tine_scheduler_inputs_forget(s, t); /* it has begun */
    sched_stream *stream = sched_stream_read(t);
    const char *bad = stream       ? sched_stream_take(s, t, stream, m)
                      : m->payload ? NULL
                                   : "it yielded nothing";
    if (bad) {
        tine_scheduler_drop(s, w->peer, true, bad);
        return;
    }
    if (!t->yields) {
        t->yields = true;
        tine_scheduler_stream_tell(s, t);
    }
    tine_scheduler_task_received(s, t);
}

uint64_t tine_scheduler_stream_left(const sched_task *t) {
    const sched_stream *stream = sched_stream_read(t);
    return stream && stream->limit < UINT32_MAX ? stream->limit : UINT32_MAX;
}

void tine_scheduler_stream_end(tine_scheduler *s, const sched_task *t) {
    const sched_stream *stream = sched_stream_of(t);
    if (!stream) return;
    sched_action *a = tine_scheduler_send(s, t->owner, TINE_MSG_YIELD);
    a->a.message.seq = t->ticket;
    a->a.message.item = stream->arrivals.low + stream->arrivals.n + 1;
}

/* ---- how many are taken ---- */

static void sched_stream_pull(tine_scheduler *s, sched_task *t, uint64_t item) {
    sched_stream *stream = sched_stream_read(t);
    if (!stream || item <= stream->limit) return;
    stream->limit = item;
    tine_scheduler_stream_tell(s, t);
}

void tine_scheduler_pull(tine_scheduler *s, uint64_t task, uint64_t item) {
    sched_task *t = tine_scheduler_task_find(s, task);
    if (t && !t->owner) sched_stream_pull(s, t, item);
}

void tine_scheduler_pull_message(tine_scheduler *s, const sched_worker *w, const tine_message *m) {
    sched_task *t = tine_scheduler_fork_of(s, w, m);
    if (t) sched_stream_pull(s, t, m->item);
}
