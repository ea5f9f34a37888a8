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
 * Small results are passed instead: pass.c. */
#include "runtime/scheduler/internal.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { REACH_URL_MAX = 256 };

static bool sched_worker_is_reachable(const sched_worker *w) {
    return w->reach && *w->reach && !w->unreachable;
}

/* ---- results that stay ---- */

void tine_scheduler_reach_keep(tine_scheduler *s, sched_task *t) {
    if (t->state != SCHED_RUNNING || t->reach_told || t->wanted || !t->result) return;
    if (TAILQ_EMPTY(&t->result->inputs) || !sched_worker_is_reachable(t->worker)) return;
    t->reach_told = true;
    tine_message *m = &tine_scheduler_send(s, t->worker, TINE_MSG_REACH)->a.message;
    m->object = t->result_id;
    m->seq = t->id;
}

/* ---- fetched from their source ---- */

bool tine_scheduler_reach(tine_scheduler *s, sched_worker *w, sched_object *o) {
    const sched_worker *source = o->source;
    if (o->state != SCHED_OBJECT_REMOTE || !source || source == w || !w->reach) return false;
    if (!sched_worker_is_reachable(source)) return false; /* others could not reach it */
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
    if (own || !sched_worker_is_reachable(source)) return;
    tine_scheduler_log(s, 2,
                       tine_scheduler_text("results of worker pid %u (host %.64s) pass the "
                                           "coordinator from now on: worker pid %u (host %.64s) "
                                           "cannot fetch one there: %.160s",
                                           source->pid, source->host, w->pid, w->host,
                                           why ? why : "it does not say why"));
    source->unreachable = true;
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
