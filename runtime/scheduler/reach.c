/* Results that workers fetch from each other, without this process in between.
 *
 * A worker says once where others can reach it, or only that it can reach others. If other tasks
 * take the result of a task that runs at a worker that can be reached, the worker is told so and
 * keeps a large result. A worker that needs the result is told where it is, and counts as having it
 * from then on. If it cannot fetch the result there (the other worker has died, or a network is in
 * between), it says so and receives the result from here: this process then fetches it from a
 * worker, or has it made again. Only the worker that made a result is named as its source: so no
 * two workers wait for each other, each for what the other one does not have yet.
 *
 * A small result goes through this process. Where two workers of a host have a direct way the one
 * that makes it also passes it to the other one, whose task, sent ahead, then starts without this
 * process. Nothing depends on that: the result arrives here and is sent on as without it. */
#include "runtime/scheduler/internal.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { REACH_URL_MAX = 256 };

/* ---- results that stay ---- */

void tine_scheduler_reach_keep(tine_scheduler *s, sched_task *t) {
    if (t->state != SCHED_RUNNING || t->reach_told || t->wanted || !t->result) return;
    if (TAILQ_EMPTY(&t->result->inputs) || !t->worker->reach || !*t->worker->reach) return;
    t->reach_told = true;
    tine_message *m = &tine_scheduler_send(s, t->worker, TINE_MSG_REACH)->a.message;
    m->object = t->result_id;
    m->seq = t->id;
}

/* ---- fetched from their source ---- */

bool tine_scheduler_reach(tine_scheduler *s, sched_worker *w, sched_object *o) {
    const sched_worker *source = o->source;
    if (o->state != SCHED_OBJECT_REMOTE || !source || source == w || !w->reach) return false;
    if (!*source->reach) return false; /* others could not reach it */
    sched_action *a = tine_scheduler_send(s, w, TINE_MSG_REACH);
    a->a.message.object = o->id;
    a->a.message.seq = source->reach_secret;
    a->a.message.text = a->owned.memory = tine_scheduler_copy(source->reach);
    tine_scheduler_object_replica(o, w);
    return true;
}

/* From here on this process relays the object. Unless the reason is w's own it relays further
 * results of the source, too: they come with their DONE. */
static void sched_reach_give_up(tine_scheduler *s, const sched_worker *w, sched_object *o,
                                const char *why, bool own) {
    sched_worker *source = o->source;
    if (!source) return;
    tine_scheduler_result_request(s, o); /* while it is known who made it */
    o->source = NULL;
    if (own || !*source->reach) return;
    tine_scheduler_log(s, 2,
                       tine_scheduler_text("results of worker pid %u (host %.64s) pass the "
                                           "coordinator from now on: worker pid %u (host %.64s) "
                                           "cannot fetch one there: %.160s",
                                           source->pid, source->host, w->pid, w->host,
                                           why ? why : "it does not say why"));
    *source->reach = 0;
}

static void sched_reach_failed(tine_scheduler *s, sched_worker *w, const tine_message *m) {
    sched_object *o = tine_scheduler_object_find(s, m->object);
    if (!o || !tine_scheduler_object_replica_at(o, w) || o->state != SCHED_OBJECT_REMOTE) {
        if (o) tine_scheduler_object_unreplica(o, w);
        tine_scheduler_object_fetch(s, w, m->object);
        return;
    }
    sched_reach_give_up(s, w, o, m->text, m->seq == 1);
    tine_scheduler_object_wait(o, w);
    tine_scheduler_result_lost(s, o, w, m->text ? m->text : "it could not be fetched");
}

/* ---- passed on ---- */

/* Workers that the two sets of a worker have room for. */
enum { REACH_PAIRS = 64 };

static sched_worker *sched_pair_worker(const tine_scheduler *s, tine_peer peer) {
    const sched_peer *p = tine_scheduler_peer(s, peer);
    return p ? p->worker : NULL;
}

void tine_scheduler_paired(tine_scheduler *s, tine_peer a, tine_peer b) {
    sched_worker *x = sched_pair_worker(s, a), *y = sched_pair_worker(s, b);
    if (!x || !y || x->slot >= REACH_PAIRS || y->slot >= REACH_PAIRS) return;
    x->paired |= UINT64_C(1) << y->slot;
    y->paired |= UINT64_C(1) << x->slot;
}

void tine_scheduler_pair_later(tine_scheduler *s, tine_peer a, tine_peer b) {
    sched_worker *x = sched_pair_worker(s, a), *y = sched_pair_worker(s, b);
    if (!x || !y || x->slot >= REACH_PAIRS || y->slot >= REACH_PAIRS) return;
    x->asked &= ~(UINT64_C(1) << y->slot);
    y->asked &= ~(UINT64_C(1) << x->slot);
}

void tine_scheduler_unpair(tine_scheduler *s, const sched_worker *w) {
    sched_worker *other;
    if (w->slot >= REACH_PAIRS) return;
    TAILQ_FOREACH (other, &s->workers, link) {
        other->asked &= ~(UINT64_C(1) << w->slot);
        other->paired &= ~(UINT64_C(1) << w->slot);
    }
}

/* Asks for a direct way, once. */
static void sched_pair_ask(tine_scheduler *s, sched_worker *w, sched_worker *other) {
    if (w->asked >> other->slot & 1) return;
    w->asked |= UINT64_C(1) << other->slot;
    other->asked |= UINT64_C(1) << w->slot;
    sched_action *a = tine_scheduler_push(s, TINE_SCHEDULER_PAIR);
    a->a.peer = w->peer;
    a->a.other = other->peer;
}

void tine_scheduler_pass(tine_scheduler *s, const sched_object *o, sched_worker *w) {
    const sched_task *t = o->producer;
    if (o->state != SCHED_OBJECT_PENDING || !t || t->state != SCHED_RUNNING) return;
    sched_worker *from = t->worker;
    if (from == w || t->callable->stays) return;
    if (w->slot >= REACH_PAIRS || from->slot >= REACH_PAIRS) return;
    if (!(from->paired >> w->slot & 1)) {
        sched_pair_ask(s, from, w);
        return;
    }
    tine_message *m = &tine_scheduler_send(s, from, TINE_MSG_PASS)->a.message;
    m->task = t->id;
    m->seq = w->peer;
}

/* Workers connect there: a number, and no name that each of them would have to look up. A rank's is
 * that of its connection here: another's would end the connections of others with that one. */
static bool sched_reach_is_url(const char *text, tine_peer peer) {
    char host[INET6_ADDRSTRLEN], own[32], more;
    unsigned port;
    struct in6_addr address;
    if (strlen(text) >= REACH_URL_MAX) return false;
    snprintf(own, sizeof own, "mpi://%" PRIu64, peer);
    if (!strcmp(text, own)) return true;
    bool six = strncmp(text, "tcp://[", 7) == 0;
    int n = six ? sscanf(text, "tcp://[%45[0-9a-fA-F:.]]:%5u%c", host, &port, &more)
                : sscanf(text, "tcp://%45[0-9.]:%5u%c", host, &port, &more);
    return n == 2 && port > 0 && port <= UINT16_MAX &&
           inet_pton(six ? AF_INET6 : AF_INET, host, &address) == 1;
}

void tine_scheduler_reach_message(tine_scheduler *s, sched_worker *w, const tine_message *m) {
    if (m->object) {
        sched_reach_failed(s, w, m);
    } else if (!w->reach && m->text && (!*m->text || sched_reach_is_url(m->text, w->peer))) {
        w->reach = tine_scheduler_copy(m->text);
        w->reach_secret = m->seq;
    }
}
