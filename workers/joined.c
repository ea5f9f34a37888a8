/* What workers say to each other over the link to the coordinator, where its transport connects
 * them: results that are passed on, and, if it has a join (mpi, rank to rank), requests for kept
 * ones and the answers. Whoever has the link handles them, so also the progress thread while a task
 * computes. */
#include <stdlib.h>

#include "transport/base/memory.h"
#include "workers/internal.h"

typedef struct worker_request {
    STAILQ_ENTRY(worker_request) entry;
    tine_object id;
    uint64_t secret;
    tine_peer peer;
    bool sent;
} worker_request;

static void joined_ask(tine_worker *w, worker_request *q) {
    tine_message m = {.type = TINE_MSG_REACH, .object = q->id, .seq = q->secret};
    q->sent = true;
    if (tine_link_send(&w->link, q->peer, &m) != TINE_OK)
        tine_link_drop(&w->link, q->peer, false, "a request could not be sent");
}

void tine_worker_joined_fetch(tine_worker *w, const tine_executor_action *a) {
    tine_transport *t = w->link.transport;
    tine_peer peer;
    int up = t->ops->join(t, a->text, &peer);
    if (up < 0) {
        tine_executor_reached(w->executor, a->object, NULL, "there is no connection", false);
        return;
    }
    worker_request *q = tine_must_alloc(sizeof *q);
    *q = (worker_request){.id = a->object, .secret = a->ticket, .peer = peer};
    STAILQ_INSERT_TAIL(&w->requests, q, entry);
    if (up) joined_ask(w, q);
}

void tine_worker_joined_up(tine_worker *w, tine_peer peer) {
    worker_request *q;
    STAILQ_FOREACH (q, &w->requests, entry)
        if (q->peer == peer && !q->sent) joined_ask(w, q);
}

/* Ends the first request to `peer`, for `id` unless that is 0. False: there is none. */
static bool joined_end(tine_worker *w, tine_peer peer, tine_object id, tine_payload *payload,
                       const char *why) {
    worker_request *q;
    STAILQ_FOREACH (q, &w->requests, entry)
        if (q->peer == peer && (!id || q->id == id)) break;
    if (!q) return false;
    STAILQ_REMOVE(&w->requests, q, worker_request, entry);
    tine_executor_reached(w->executor, q->id, payload, why, false);
    free(q);
    return true;
}

void tine_worker_joined_message(tine_worker *w, tine_peer peer, const tine_message *m) {
    if (m->type == TINE_MSG_REACH && w->reach && w->link.transport->ops->join)
        tine_reach_answer(w->reach, &w->link, peer, m);
    if (m->type != TINE_MSG_OBJECT) return;
    tine_payload *value = m->status ? NULL : m->payload;
    if (!joined_end(w, peer, m->object, value, m->text ? m->text : ""))
        (void)tine_executor_passed(w->executor, m);
}

void tine_worker_joined_lost(tine_worker *w, tine_peer peer, const char *reason) {
    while (joined_end(w, peer, 0, NULL, reason)) {
    }
    tine_executor_not_passed(w->executor, 0, tine_peer_number(peer));
}

void tine_worker_joined_fini(tine_worker *w) {
    for (worker_request *q; (q = STAILQ_FIRST(&w->requests));) {
        STAILQ_REMOVE_HEAD(&w->requests, entry);
        free(q);
    }
}
