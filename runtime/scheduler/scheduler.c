/* The scheduler's events: what a fork, a message, a lost peer or the clock does. See scheduler.h
 * for the contract, types.h for the structures, internal.h for the other files.
 *
 * Every event ends with a dispatch. So between events no worker has credit for a ready task that it
 * serves. */
#include "runtime/scheduler/internal.h"
#include "runtime/trace/trace.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

tine_error tine_scheduler_new(tine_scheduler **out, const tine_scheduler_config *config) {
    tine_scheduler *s = calloc(1, sizeof *s);
    if (!s) return TINE_ENOMEM;
    s->config = *config;
    tine_scheduler_config *c = &s->config;
    if (!c->max_attempts) c->max_attempts = 1;
    if (!c->max_credit) c->max_credit = 256;
    if (!c->max_credit_bytes) c->max_credit_bytes = 256 << 20;
    if (!c->prefetch_ns) c->prefetch_ns = 1000000;
    if (!c->window) c->window = 4096;
    if (!c->hello_timeout_ns) c->hello_timeout_ns = 5000000000;
    if (!c->look_ns) c->look_ns = 1000000000;
    if (c->look_ns < 0) s->look_at = INT64_MAX;
    s->last_object = s->stats.objects_made = c->objects_made;
    s->ns_to_load = SCHED_LOAD_ONE / (double)c->prefetch_ns;
    s->bytes_to_load = SCHED_LOAD_ONE / (double)c->max_credit_bytes;
    s->tasks_to_load = SCHED_LOAD_ONE / (double)c->max_credit;
    s->actions = TINE_RING(sched_action);
    s->actions.keep = SCHED_ACTIONS_KEEP;
    TAILQ_INIT(&s->all);
    TAILQ_INIT(&s->active);
    TAILQ_INIT(&s->wanting);
    TAILQ_INIT(&s->idle);
    TAILQ_INIT(&s->handshakes);
    TAILQ_INIT(&s->workers);
    TAILQ_INIT(&s->flush_queue);
    TAILQ_INIT(&s->object_list);
    TAILQ_INIT(&s->answers);
    TAILQ_INIT(&s->aim_queue);
    TAILQ_INIT(&s->pin_queue);
    TAILQ_INIT(&s->saving);
    TAILQ_INIT(&s->offer_queue);
    TAILQ_INIT(&s->turns);
    STAILQ_INIT(&s->initialisers);
    TAILQ_INIT(&s->demand_queue);
    STAILQ_INIT(&s->settled);
    *out = s;
    return TINE_OK;
}

static void sched_peers_free(tine_scheduler *s) {
    for (sched_worker *w; (w = TAILQ_FIRST(&s->workers));) {
        free(tine_idmap_remove(&s->peers, w->peer));
        tine_scheduler_worker_free(s, w);
    }
    for (sched_handshake *g; (g = TAILQ_FIRST(&s->handshakes));) {
        free(tine_idmap_remove(&s->peers, g->peer));
        tine_scheduler_handshake_free(s, g);
    }
    tine_idmap_fini(&s->peers);
    tine_idmap_fini(&s->epochs);
    free(s->slots);
}

void tine_scheduler_free(tine_scheduler *s) {
    if (!s) return;
    if (!s->stopped) tine_scheduler_tasks_cancel(s);
    tine_scheduler_actions_free(s);
    sched_peers_free(s);
    tine_scheduler_initialisers_free(s);
    free(s->refusal);
    tine_scheduler_objects_free(s);
    while (!TAILQ_EMPTY(&s->all)) tine_scheduler_callable_free(s, TAILQ_FIRST(&s->all));
    tine_idmap_fini(&s->callables);
    for (size_t i = 0; i < s->n_groups; i++) tine_scheduler_group_fini(&s->groups[i]);
    tine_scheduler_tasks_free(s);
    free(s);
}

/* ---- this process ---- */

static bool sched_target_complete(const tine_target *t) {
    return t->name && !t->method == !t->object;
}

/* What is wrong with the resources that it takes; NULL: nothing. */
static const char *sched_terms_wrong(const tine_terms *terms) {
    tine_resources takes;
    if (!terms || !terms->resources) return NULL;
    const char *wrong = tine_resources_parse(terms->resources, &takes);
    return wrong || takes.n > 0 ? wrong : "no resource is named";
}

tine_error tine_scheduler_fork(tine_scheduler *s, uint64_t ticket, uint64_t flow,
                               const tine_target *target, uint32_t flags, tine_payload *payload,
                               const tine_terms *terms, uint64_t *task) {
    if (s->stopped) return TINE_ESTATE;
    if (!ticket || !payload || !sched_target_complete(target)) return TINE_EINVAL;
    if (sched_terms_wrong(terms)) return TINE_EINVAL;
    if (!tine_scheduler_refs_known(s, NULL, payload, target->object)) return TINE_EINVAL;
    sched_task *t = tine_scheduler_task_new(s, target, flags, payload, terms);
    t->ticket = ticket;
    t->flow = flow;
    t->result_id = ++s->last_object << 1;
    s->stats.objects_made = s->last_object;
    if (task) *task = t->id;
    tine_scheduler_enqueue(s, t);
    tine_scheduler_dispatch(s);
    return TINE_OK;
}

void tine_scheduler_stop(tine_scheduler *s) {
    if (s->stopped) return;
    s->stopped = true;
    tine_scheduler_tasks_cancel(s);
    sched_worker *w;
    TAILQ_FOREACH (w, &s->workers, link) {
        tine_scheduler_objects_unkeep(s, w);
        tine_scheduler_send(s, w, TINE_MSG_STOP);
    }
}

/* ---- the clock ---- */

int64_t tine_scheduler_deadline(const tine_scheduler *s) {
    int64_t first = INT64_MAX;
    const sched_handshake *g;
    TAILQ_FOREACH (g, &s->handshakes, link)
        if (g->deadline < first) first = g->deadline;
    if (tine_scheduler_looks(s) && s->look_at < first) first = s->look_at;
    return first;
}

void tine_scheduler_tick(tine_scheduler *s, int64_t now) {
    bool dropped = false;
    for (sched_handshake *g = TAILQ_FIRST(&s->handshakes), *next; g; g = next) {
        next = TAILQ_NEXT(g, link);
        if (g->deadline > now) continue;
        dropped = true;
        tine_scheduler_drop(s, g->peer, !g->rejected,
                            g->rejected ? "its HELLO was rejected"
                                        : "it did not send HELLO in time");
    }
    if (dropped) tine_scheduler_dispatch(s);
    if (tine_scheduler_looks(s) && s->look_at <= now) tine_scheduler_look(s, now);
}

/* ---- messages ---- */

/* The most SUBMIT, OBJECT and YIELD messages of t that may be on their way from w. */
static uint64_t sched_messages_left(const sched_worker *w, const sched_task *t) {
    return (uint64_t)w->window_left + SCHED_MAX_EARLY + tine_scheduler_stream_left(t);
}

/* The worker keeps a result that nothing refers to. */
static void sched_drop_unknown(tine_scheduler *s, sched_worker *w, tine_object id) {
    const sched_object *o = tine_scheduler_object_find(s, id);
    if (id && !o) /* one that is there may be on its way to w */
        tine_scheduler_object_drop_at(s, w, id);
}

static void sched_on_done(tine_scheduler *s, sched_worker *w, const tine_message *m) {
    sched_task *t = tine_scheduler_task_find(s, m->task);
    if (!t || t->worker != w || t->state != SCHED_RUNNING || t->attempt != m->attempt ||
        w->epoch != m->epoch) {
        s->stats.stale++;
        if (!t || t->worker != w) sched_drop_unknown(s, w, m->object);
    } else if (m->seq > t->received && m->seq - t->received > sched_messages_left(w, t)) {
        tine_scheduler_drop(s, w->peer, true, "its DONE counts messages that it cannot have sent");
    } else {
        tine_scheduler_task_done(s, t, m);
    }
}

static void sched_on_suspend(tine_scheduler *s, sched_worker *w, const tine_message *m) {
    for (size_t i = 0; i < m->n_ids; i++) {
        sched_task *t = tine_scheduler_task_find(s, m->ids[i]);
        if (t && t->worker == w) tine_scheduler_task_suspend(s, t);
    }
}

static void sched_fork_refuse(tine_scheduler *s, sched_worker *w, uint64_t seq, tine_error e,
                              const char *why) {
    sched_action *a = tine_scheduler_send(s, w, TINE_MSG_RESULT);
    a->a.message.seq = seq;
    a->a.message.status = e;
    a->a.message.text = a->owned.memory = tine_scheduler_copy(why);
    w->ungranted++;
    tine_scheduler_flush_enqueue(s, w);
}

/* The level of a fork without a priority of its own: one deeper, at its parent's priority. */
static uint32_t sched_level_below(uint32_t level) {
    bool last = level < SCHED_LEVEL || level == SCHED_LEVEL_HIGH - 1 ||
                (level > SCHED_LEVEL_HIGH && level % SCHED_LEVEL_DEPTHS == SCHED_LEVEL_DEPTHS - 1);
    return last ? level : level + 1;
}

static void sched_fork_submit(tine_scheduler *s, sched_worker *w, sched_task *parent,
                              const tine_message *m) {
    sched_task *t = tine_scheduler_task_new(s, &m->target, m->flags, m->payload, m->terms);
    t->ticket = m->seq;
    t->flow = tine_trace_flow(w->epoch, m->seq);
    t->owner = w;
    if (!m->terms || !m->terms->priority) t->link.depth = sched_level_below(parent->link.depth);
    t->windowed = true;
    w->unstarted++;
    tine_scheduler_task_adopt(parent, t);
    tine_scheduler_enqueue(s, t);
}

static void sched_on_submit(tine_scheduler *s, sched_worker *w, const tine_message *m) {
    if (!m->payload || !sched_target_complete(&m->target)) {
        tine_scheduler_drop(s, w->peer, true, "it sent a SUBMIT without a function or arguments");
        return;
    }
    if (!w->window_left) {
        tine_scheduler_drop(s, w->peer, true, "it sent more SUBMITs than its window allows");
        return;
    }
    w->window_left--;
    w->submits++;
    if (w->keeps) tine_scheduler_demand_submitted(s, w);
    if (w->ungranted) tine_scheduler_flush_enqueue(s, w); /* its CREDIT may be due now */
    sched_task *parent = tine_scheduler_task_find(s, m->task);
    if (parent && parent->worker != w) parent = NULL;
    bool cancelled = tine_recent_take(&w->cancels, m->seq);
    const char *wrong = sched_terms_wrong(m->terms);
    if (!parent || parent->cancelled || cancelled)
        sched_fork_refuse(
            s, w, m->seq, TINE_ECANCELED,
            "the fork was cancelled: by the task that made it, or that has ended or was "
            "lost");
    else if (wrong)
        sched_fork_refuse(s, w, m->seq, TINE_EINVAL, wrong);
    else if (!tine_scheduler_refs_known(s, w, m->payload, m->target.object))
        sched_fork_refuse(s, w, m->seq, TINE_EINVAL,
                          "an argument references a put value or module that has been freed");
    else
        sched_fork_submit(s, w, parent, m);
    if (parent) tine_scheduler_task_received(s, parent);
}

static void sched_on_object(tine_scheduler *s, sched_worker *w, const tine_message *m) {
    const char *bad =
        m->task ? tine_scheduler_object_arrived(s, w, m) : tine_scheduler_result_arrived(s, w, m);
    if (bad) tine_scheduler_drop(s, w->peer, true, bad);
}

static void sched_on_worker_message(tine_scheduler *s, sched_worker *w, const tine_message *m) {
    if (m->payload) w->bytes_in += tine_payload_bytes(m->payload);
    w->n_received += tine_message_counts(m->type);
    switch (m->type) {
    case TINE_MSG_DONE:
    case TINE_MSG_DONE_PASSED: sched_on_done(s, w, m); break;
    case TINE_MSG_SUSPEND: sched_on_suspend(s, w, m); break;
    case TINE_MSG_SUBMIT:
    case TINE_MSG_SUBMIT_WITH: sched_on_submit(s, w, m); break;
    case TINE_MSG_CANCEL: tine_scheduler_cancel_message(s, w, m); break;
    case TINE_MSG_YIELD: tine_scheduler_yield(s, w, m); break;
    case TINE_MSG_PULL: tine_scheduler_pull_message(s, w, m); break;
    case TINE_MSG_DEMAND: tine_scheduler_demand_begin(s, w); break;
    case TINE_MSG_FETCH: tine_scheduler_object_fetch(s, w, m->object); break;
    case TINE_MSG_OBJECT: sched_on_object(s, w, m); break;
    case TINE_MSG_REACH: tine_scheduler_reach_message(s, w, m); break;
    case TINE_MSG_PASS: tine_scheduler_pass_message(s, w, m); break;
    case TINE_MSG_HOLD:
    case TINE_MSG_RELEASE:
        for (size_t i = 0; i < m->n_ids; i++)
            tine_scheduler_object_keep(s, w, m->ids[i], m->type == TINE_MSG_HOLD);
        break;
    case TINE_MSG_LEAVE: tine_scheduler_worker_leave(s, w, m); break;
    case TINE_MSG_EVENTS: break; /* handled by the event loop */
    case TINE_MSG_OBSERVE:
        tine_scheduler_drop(s, w->peer, true, "it sent OBSERVE after HELLO");
        break;
    case TINE_MSG_HELLO: tine_scheduler_drop(s, w->peer, true, "it sent HELLO twice"); break;
    default:
        tine_scheduler_drop(s, w->peer, true, "it sent a message that only a coordinator may send");
    }
}

void tine_scheduler_message(tine_scheduler *s, tine_peer peer, const tine_message *m, int64_t now) {
    sched_peer *p = tine_scheduler_peer(s, peer);
    if (!p) return;                              /* dropped before this message arrived */
    if (p->worker && m->type == TINE_MSG_PONG) { /* nothing has changed: no dispatch */
        tine_scheduler_pong(s, p->worker, m);
        return;
    }
    if (p->worker)
        sched_on_worker_message(s, p->worker, m);
    else if (m->type == TINE_MSG_HELLO)
        tine_scheduler_hello(s, p->handshake, m->hello, now);
    else if (!p->handshake->rejected)
        tine_scheduler_drop(s, peer, true, "its first message is not HELLO");
    tine_scheduler_dispatch(s);
}

void tine_scheduler_trace(tine_scheduler *s, bool on) { s->trace = on; }

const tine_scheduler_stats *tine_scheduler_stats_get(const tine_scheduler *s) { return &s->stats; }
