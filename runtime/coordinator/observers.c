/* Observers: connections that ask for the state of the job, as `tine top` does, and may cancel a
 * task or restart a local worker.
 *
 * An observer connects to the workers' endpoint, so it needs the job's key where they do. Its first
 * message is OBSERVE instead of HELLO. It cannot slow the job: a snapshot is encoded at most every
 * SNAPSHOT_NS however many observers and scrapers there are, and an observer that asks too often or
 * does not read is dropped. Workers are asked for their memory at most every MEMORY_NS, and only
 * while something asks for it. */
#include <stdlib.h>
#include <unistd.h>

#include "runtime/coordinator/internal.h"
#include "runtime/coordinator/snapshot.h"
#include "transport/base/clock.h"
#include "transport/base/log.h"
#include "transport/base/text.h"

enum {
    OBSERVERS_MAX = 16,
    SNAPSHOT_NS = 50000000,
    QUESTIONS_MAX = 100, /* of one observer in QUESTIONS_NS */
    QUESTIONS_NS = 1000000000,
    MEMORY_NS = 1000000000,
};

static coordinator_observer *observer_of(const tine_coordinator *c, tine_peer peer) {
    coordinator_observer *o;
    LIST_FOREACH (o, &c->observers, entry)
        if (o->peer == peer) return o;
    return NULL;
}

bool tine_coordinator_observer_gone(tine_coordinator *c, tine_peer peer) {
    coordinator_observer *o = observer_of(c, peer);
    if (!o) return false;
    LIST_REMOVE(o, entry);
    free(o);
    return true;
}

static void observer_drop(tine_coordinator *c, tine_peer peer, bool bad, const char *why) {
    tine_coordinator_observer_gone(c, peer);
    tine_link_drop(&c->link, peer, bad, why);
}

/* ---- the snapshot ---- */

bool tine_coordinator_restarts(void *ctx, const tine_worker_info *w) {
    const tine_coordinator *c = ctx;
    return c->unreachable && w->token[0] && c->known_local && c->known_local(w->pid, w->token);
}

bool tine_coordinator_has_ended(const tine_coordinator *c, const tine_worker_info *w) {
    return w->token[0] && c->known_local && !c->known_local(w->pid, w->token);
}

/* With the lock. */
static tine_error snapshot_take(tine_coordinator *c) {
    int64_t now = tine_clock_ns();
    tine_coordinator_memory_want(c, now);
    if (c->snapshot && now - c->snapshot_at < SNAPSHOT_NS) return TINE_OK;
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    tine_transport *t = c->link.transport;
    tine_snapshot_place place = {.endpoint = t->ops->url(t),
                                 .host = host,
                                 .now = now,
                                 .began = c->began,
                                 .local = tine_coordinator_restarts,
                                 .ctx = c};
    t->ops->stats(t, &place.transport);
    tine_payload *p;
    tine_error e = tine_snapshot_encode(c->scheduler, &place, &p);
    if (e != TINE_OK) return e;
    tine_payload_unref(c->snapshot);
    c->snapshot = p;
    c->snapshot_at = now;
    return TINE_OK;
}

tine_error tine_coordinator_snapshot(tine_coordinator *c, tine_payload **out) {
    *out = NULL;
    tine_coordinator_lock(c);
    tine_error e = c->stopping ? tine_coordinator_over() : snapshot_take(c);
    if (e == TINE_OK) *out = tine_payload_ref(c->snapshot);
    if (c->memory_wanted && c->blocked) tine_link_wake(&c->link);
    tine_coordinator_unlock(c);
    return e;
}

void tine_coordinator_memory_want(tine_coordinator *c, int64_t now) {
    c->memory_wanted |= now - c->memory_at >= MEMORY_NS;
}

void tine_coordinator_memory_ask(tine_coordinator *c) {
    size_t n = tine_scheduler_workers(c->scheduler, NULL, 0);
    tine_worker_info *all = calloc(n + 1, sizeof *all);
    c->memory_wanted = false;
    c->memory_at = tine_clock_ns();
    if (all) tine_scheduler_workers(c->scheduler, all, n);
    for (size_t i = 0; all && i < n; i++) /* seq 0: those of gather.c count from 1 */
        tine_coordinator_send(c, all[i].peer, &(tine_message){.type = TINE_MSG_PING});
    free(all);
}

/* ---- what is asked for ---- */

static char *observer_cancel(tine_coordinator *c, uint64_t task) {
    bool ended = tine_scheduler_cancel_any(c->scheduler, task, "`tine top` asked for it");
    return tine_text_format(ended ? "the task is cancelled" : "the task has ended already");
}

static char *observer_restart(tine_coordinator *c, uint32_t epoch) {
    size_t n = tine_scheduler_workers(c->scheduler, NULL, 0), i = 0;
    tine_worker_info *all = calloc(n + 1, sizeof *all);
    if (!all) return NULL;
    char *text;
    tine_scheduler_workers(c->scheduler, all, n);
    while (i < n && all[i].epoch != epoch) i++;
    if (i == n || tine_coordinator_has_ended(c, &all[i])) {
        text = tine_text_format("the worker has ended already");
    } else if (!tine_coordinator_restarts(c, &all[i])) {
        text = tine_text_format("worker pid %u (host %.64s) was not started by the job: restart "
                                "it where it runs",
                                all[i].pid, all[i].host);
    } else {
        c->unreachable(all[i].pid, all[i].token);
        text = tine_text_format("worker pid %u is ended, and another one started in its place",
                                all[i].pid);
    }
    free(all);
    return text;
}

static bool observer_asks_too_often(coordinator_observer *o, int64_t now) {
    if (now - o->since >= QUESTIONS_NS) {
        o->since = now;
        o->questions = 0;
    }
    return ++o->questions > QUESTIONS_MAX;
}

static void observer_answer(tine_coordinator *c, coordinator_observer *o, const tine_message *m) {
    char *text = NULL;
    if (m->flags == TINE_OBSERVE_CANCEL) text = observer_cancel(c, m->task);
    if (m->flags == TINE_OBSERVE_RESTART) text = observer_restart(c, m->epoch);
    if (text) tine_log(TINE_LOG_INFO, "an observer asked for it: %s", text);
    tine_message answer = {.type = TINE_MSG_SNAPSHOT, .seq = m->seq, .text = text};
    tine_error e = snapshot_take(c);
    if (e == TINE_OK) {
        answer.payload = c->snapshot;
        e = tine_link_send(&c->link, o->peer, &answer);
    }
    free(text);
    if (e != TINE_OK)
        observer_drop(c, o->peer, false,
                      "a snapshot of the job could not be sent (TINE_MAX_FRAME)");
    else if (tine_link_has_backlog_of(&c->link, o->peer))
        observer_drop(c, o->peer, true, "it does not read its snapshots");
}

/* ---- coming and going ---- */

static void observer_refuse(tine_coordinator *c, tine_peer peer, const char *why) {
    tine_link_send(&c->link, peer, &(tine_message){.type = TINE_MSG_REJECT, .text = why});
}

/* NULL: it was refused. */
static coordinator_observer *observer_new(tine_coordinator *c, tine_peer peer) {
    size_t n = 0;
    coordinator_observer *o;
    LIST_FOREACH (o, &c->observers, entry) n++;
    if (n >= OBSERVERS_MAX) {
        observer_refuse(c, peer, "16 observers watch this job already");
        return NULL;
    }
    /* The scheduler would drop the connection, because it sends no HELLO. */
    if (!tine_scheduler_peer_forget(c->scheduler, peer)) return NULL;
    o = calloc(1, sizeof *o);
    if (!o) {
        tine_link_drop(&c->link, peer, false, "no memory for an observer");
        return NULL;
    }
    o->peer = peer;
    LIST_INSERT_HEAD(&c->observers, o, entry);
    tine_log(TINE_LOG_INFO, "an observer has connected");
    return o;
}

bool tine_coordinator_observe(tine_coordinator *c, tine_peer peer, const tine_message *m) {
    coordinator_observer *o = observer_of(c, peer);
    tine_worker_info worker;
    if (m->type != TINE_MSG_OBSERVE) {
        if (o) observer_drop(c, peer, true, "an observer sent another message than OBSERVE");
        return o;
    }
    if (tine_scheduler_worker(c->scheduler, peer, &worker)) return false;
    if (!o && !(o = observer_new(c, peer))) return true;
    if (observer_asks_too_often(o, tine_clock_ns()))
        observer_drop(c, peer, true, "an observer asks too often");
    else
        observer_answer(c, o, m);
    return true;
}

void tine_coordinator_observers_stop(tine_coordinator *c) {
    coordinator_observer *o;
    LIST_FOREACH (o, &c->observers, entry)
        tine_link_send(&c->link, o->peer, &(tine_message){.type = TINE_MSG_STOP});
}

void tine_coordinator_observers_free(tine_coordinator *c) {
    while (!LIST_EMPTY(&c->observers))
        tine_coordinator_observer_gone(c, LIST_FIRST(&c->observers)->peer);
    tine_payload_unref(c->snapshot);
    c->snapshot = NULL;
}
