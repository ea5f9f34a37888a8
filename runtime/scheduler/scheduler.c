/* The scheduler's events: what a fork, a message, a loss or the clock does. See scheduler.h for the
 * contract, sched_internal.h for the structures and where the rest is.
 *
 * Every event ends with a dispatch, so between events there is never both a worker with credit and
 * a task that it could take. */
#include "runtime/scheduler/internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

tine_error tine_scheduler_new(tine_scheduler **out, const tine_scheduler_config *config) {
    tine_scheduler *h = calloc(1, sizeof *h);
    if (!h) return TINE_ENOMEM;
    h->config = *config;
    tine_scheduler_config *c = &h->config;
    if (!c->max_attempts) c->max_attempts = 1;
    if (!c->max_credit) c->max_credit = 256;
    if (!c->max_credit_bytes) c->max_credit_bytes = 256 << 20;
    if (!c->prefetch_ns) c->prefetch_ns = 1000000;
    if (!c->window) c->window = 4096;
    if (!c->hello_timeout_ns) c->hello_timeout_ns = 5000000000;
    h->handles = h->stats.objects_made = c->objects_made;
    *out = h;
    return TINE_OK;
}

static void free_peers(tine_scheduler *h) {
    while (h->workers) {
        free(tine_idmap_remove(&h->peers, h->workers->peer));
        tine_scheduler_worker_free(h, h->workers);
    }
    while (h->guests) {
        free(tine_idmap_remove(&h->peers, h->guests->peer));
        tine_scheduler_guest_free(h, h->guests);
    }
    tine_idmap_fini(&h->peers);
    free(h->slots);
}

void tine_scheduler_free(tine_scheduler *h) {
    if (!h) return;
    if (!h->stopped) tine_scheduler_tasks_cancel(h);
    tine_scheduler_action_fini(h, &h->current);
    for (; h->ring_n; h->ring_n--, h->ring_at = (h->ring_at + 1) & (h->ring_room - 1))
        tine_scheduler_action_fini(h, &h->ring[h->ring_at]);
    free(h->ring);
    free_peers(h);
    tine_scheduler_objects_free(h);
    while (h->all) tine_scheduler_callable_free(h, h->all);
    tine_idmap_fini(&h->callables);
    for (size_t i = 0; i < h->n_groups; i++) tine_scheduler_group_fini(&h->groups[i]);
    tine_scheduler_tasks_free(h);
    free(h->gone_reason);
    free(h);
}

/* ---- this process ---- */

static bool complete_target(const tine_target *t) { return t->name && !t->method == !t->object; }

tine_error tine_scheduler_fork(tine_scheduler *h, uint64_t ticket, const tine_target *target,
                               uint32_t flags, tine_payload *payload, int64_t now) {
    (void)now;
    if (h->stopped) return TINE_ESTATE;
    if (!ticket || !payload || !complete_target(target)) return TINE_EINVAL;
    if (!tine_scheduler_mentions(h, NULL, payload, target->object)) return TINE_EINVAL;
    sched_task *t = tine_scheduler_task_new(h, target, flags, payload);
    t->ticket = ticket;
    tine_scheduler_enqueue(h, t);
    tine_scheduler_dispatch(h);
    return TINE_OK;
}

void tine_scheduler_stop(tine_scheduler *h, int64_t now) {
    (void)now;
    if (h->stopped) return;
    h->stopped = true;
    tine_scheduler_tasks_cancel(h);
    for (sched_worker *w = h->workers; w; w = w->next)
        tine_scheduler_send(h, w->peer, TINE_MSG_STOP);
}

void tine_scheduler_workers_gone(tine_scheduler *h, const char *reason, int64_t now) {
    (void)now;
    h->gone = true;
    h->config.workers_return = false;
    free(h->gone_reason);
    h->gone_reason = tine_scheduler_copy(reason);
    tine_scheduler_sweep(h);
    tine_scheduler_dispatch(h);
}

/* ---- the clock ---- */

int64_t tine_scheduler_deadline(const tine_scheduler *h) {
    int64_t first = INT64_MAX;
    for (const sched_guest *g = h->guests; g; g = g->next)
        if (g->deadline < first) first = g->deadline;
    return first;
}

void tine_scheduler_tick(tine_scheduler *h, int64_t now) {
    for (sched_guest *g = h->guests, *next; g; g = next) {
        next = g->next;
        if (g->deadline <= now)
            tine_scheduler_cut(h, g->peer, !g->rejected,
                               g->rejected ? "it was rejected" : "it did not say hello in time");
    }
    tine_scheduler_dispatch(h);
}

/* ---- messages ---- */

static void on_done(tine_scheduler *h, sched_worker *w, const tine_message *m) {
    sched_task *t = tine_scheduler_task_find(h, m->task);
    if (!t || t->worker != w || t->state != SCHED_RUNNING || t->attempt != m->attempt ||
        w->epoch != m->epoch)
        h->stats.stale++;
    else
        tine_scheduler_task_done(h, t, m);
}

static void on_suspend(tine_scheduler *h, sched_worker *w, const tine_message *m) {
    for (size_t i = 0; i < m->n_ids; i++) {
        sched_task *t = tine_scheduler_task_find(h, m->ids[i]);
        if (t && t->worker == w) tine_scheduler_task_suspend(h, t);
    }
}

static void refuse(tine_scheduler *h, sched_worker *w, uint64_t seq, tine_error e,
                   const char *why) {
    sched_action *a = tine_scheduler_send(h, w->peer, TINE_MSG_RESULT);
    a->a.message.seq = seq;
    a->a.message.status = e;
    a->a.message.text = a->memory = tine_scheduler_copy(why);
    w->owed++;
    tine_scheduler_dirty(h, w);
}

static void submit(tine_scheduler *h, sched_worker *w, sched_task *parent, const tine_message *m) {
    sched_task *t = tine_scheduler_task_new(h, &m->target, m->flags, m->payload);
    t->ticket = m->seq;
    t->owner = w;
    t->link.depth = parent->link.depth + 1;
    t->windowed = true;
    w->unstarted++;
    tine_scheduler_task_adopt(parent, t);
    tine_scheduler_enqueue(h, t);
}

static void on_submit(tine_scheduler *h, sched_worker *w, const tine_message *m) {
    if (!m->payload || !complete_target(&m->target)) {
        tine_scheduler_cut(h, w->peer, true, "it submitted a fork without function or arguments");
        return;
    }
    if (!w->window_left) {
        tine_scheduler_cut(h, w->peer, true, "it submitted more forks than its credit allows");
        return;
    }
    w->window_left--;
    if (w->owed) tine_scheduler_dirty(h, w); /* what was too little to be sent may be due now */
    sched_task *parent = tine_scheduler_task_find(h, m->task);
    if (parent && parent->worker != w) parent = NULL;
    if (!parent || parent->doomed)
        refuse(h, w, m->seq, TINE_ECANCELED, "the task that forked this is over");
    else if (!tine_scheduler_mentions(h, w, m->payload, m->target.object))
        refuse(h, w, m->seq, TINE_EINVAL,
               "an argument is a put value or module that is no longer there");
    else
        submit(h, w, parent, m);
    if (parent) tine_scheduler_task_received(h, parent);
}

static void on_object(tine_scheduler *h, sched_worker *w, const tine_message *m) {
    if (m->status) return; /* the answer to a fetch, which we never send */
    const char *bad = tine_scheduler_object_arrived(h, w, m);
    if (bad) tine_scheduler_cut(h, w->peer, true, bad);
}

static void on_worker(tine_scheduler *h, sched_worker *w, const tine_message *m) {
    switch (m->type) {
    case TINE_MSG_DONE: on_done(h, w, m); break;
    case TINE_MSG_SUSPEND: on_suspend(h, w, m); break;
    case TINE_MSG_SUBMIT: on_submit(h, w, m); break;
    case TINE_MSG_FETCH: tine_scheduler_object_fetch(h, w, m->object); break;
    case TINE_MSG_OBJECT: on_object(h, w, m); break;
    case TINE_MSG_PONG:
    case TINE_MSG_EVENTS: break; /* the loop's own affair */
    case TINE_MSG_HELLO: tine_scheduler_cut(h, w->peer, true, "it said hello twice"); break;
    default:
        tine_scheduler_cut(h, w->peer, true, "it sent a message that only a coordinator may send");
    }
}

void tine_scheduler_message(tine_scheduler *h, tine_peer peer, const tine_message *m, int64_t now) {
    sched_peer *p = tine_scheduler_peer(h, peer);
    if (!p) return; /* cut off before this came */
    if (p->worker)
        on_worker(h, p->worker, m);
    else if (m->type == TINE_MSG_HELLO)
        tine_scheduler_hello(h, p->guest, m->hello, now);
    else if (!p->guest->rejected)
        tine_scheduler_cut(h, peer, true, "its first message is no hello");
    tine_scheduler_dispatch(h);
}

void tine_scheduler_trace(tine_scheduler *h, bool on) { h->trace = on; }

void tine_scheduler_stats_get(const tine_scheduler *h, tine_scheduler_stats *out) {
    *out = h->stats;
}
