/* inproc://NAME: the reference transport. Listener and connectors are in one process, usually in
 * threads of their own. A frame is handed over by pointer; nothing is copied.
 *
 * Each transport has an inbox of events (a frame, a peer that came or went) and a doorbell. A
 * connection joins a connector to its listener and counts the bytes that lie in either inbox
 * because of it, which max_queued bounds. One lock guards all of it: the lists of transports, the
 * connections and the inboxes. It is a leaf lock, held for a few operations; frames are freed
 * outside it.
 *
 * A frame is in the receiver's inbox as soon as it is sent: there is nothing to flush, and what a
 * transport sent before it was freed still arrives, followed by TINE_EVENT_LOST. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "transport/base/clock.h"
#include "transport/inproc/internal.h"

/* What a frame counts for in max_queued beside its bytes, so that empty frames are bounded too. */
enum { FRAME_COST = 64 };

static const char *inproc_version(void) { return "built in"; }

static const char *inproc_url(const tine_transport *base) {
    return ((const inproc_transport *)base)->url;
}

/* ---- frames and events ---- */

/* A frame past the receiver's limit breaks the framing, as it would over a wire. */
static void connection_refuse(inproc_connection *c, int receiver, size_t bytes) {
    char reason[64];
    snprintf(reason, sizeof reason, "it sent a frame of %zu bytes, past max_frame", bytes);
    tine_inproc_lose(c, receiver, true, reason);
    tine_inproc_lose(c, !receiver, false, "the peer dropped the connection");
}

static int inproc_send_locked(inproc_transport *t, inproc_connection *c, tine_frame *f,
                              size_t bytes, bool *refused) {
    int other = !t->side;
    if (t->closed || !c || !c->sides[other]) return -EPIPE;
    if (c->queued[other] && c->queued[other] + bytes + FRAME_COST > t->base.config.max_queued) {
        c->want_writable[t->side] = true;
        return -EAGAIN;
    }
    *refused = bytes > c->sides[other]->base.config.max_frame;
    if (*refused) {
        connection_refuse(c, other, bytes);
        return 0;
    }
    inproc_event e = {.kind = TINE_EVENT_FRAME, .connection = c, .frame = f};
    if (!tine_inproc_add(c->sides[other], e)) {
        c->want_writable[t->side] = true;
        return -EAGAIN;
    }
    c->queued[other] += bytes + FRAME_COST;
    t->stats.frames_out++;
    t->stats.bytes_out += bytes;
    return 0;
}

static int inproc_send(tine_transport *base, tine_peer peer, tine_frame *f) {
    inproc_transport *t = (inproc_transport *)base;
    size_t bytes = tine_frame_bytes(f);
    bool refused = false;
    if (!tine_transport_may_send(base, f, bytes)) return -EINVAL;
    pthread_mutex_lock(&tine_inproc_lock);
    int rc = inproc_send_locked(t, tine_inproc_connection(t, peer), f, bytes, &refused);
    pthread_mutex_unlock(&tine_inproc_lock);
    if (refused) tine_frame_free(f);
    return rc;
}

/* A frame leaves the inbox: its bytes no longer count, which may make its sender writable. */
static void inproc_count_in(inproc_transport *t, inproc_connection *c, const tine_frame *f) {
    int me = t->side;
    size_t bytes = tine_frame_bytes(f);
    c->queued[me] -= bytes + FRAME_COST;
    t->stats.frames_in++;
    t->stats.bytes_in += bytes;
    inproc_transport *sender = c->sides[!me];
    if (!sender || !c->want_writable[!me]) return;
    if (c->queued[me] > sender->base.config.max_queued / 2) return;
    /* Without memory the next frame tries again. */
    inproc_event e = {.kind = TINE_EVENT_WRITABLE, .connection = c};
    c->want_writable[!me] = !tine_inproc_add(sender, e);
}

static void inproc_report_lost(inproc_transport *t, inproc_connection *c, tine_event *ev) {
    t->stats.peers_lost++;
    ev->bad = c && c->bad[t->side];
    if (!c) {
        snprintf(ev->reason, sizeof ev->reason, "no listener exists at %.90s", t->url);
        return;
    }
    memcpy(ev->reason, c->reason[t->side], sizeof ev->reason);
    t->stats.peers_bad += ev->bad;
    t->connections[ev->peer - 1] = NULL;
    c->sides[t->side] = NULL;
    tine_inproc_unref(c);
}

/* False: the event is about a peer that was dropped or lost since; its frame is to be freed. */
static bool inproc_report(inproc_transport *t, const inproc_event *e, tine_event *ev) {
    inproc_connection *c = e->connection;
    if (e->kind == TINE_EVENT_WRITABLE && c->lost[t->side]) return false;
    if (e->kind == TINE_EVENT_FRAME && c->dropped[t->side]) return false;
    ev->kind = e->kind;
    ev->peer = c && t->side == INPROC_LISTENER ? c->id : 1;
    ev->frame = e->frame;
    if (e->kind == TINE_EVENT_FRAME) inproc_count_in(t, c, e->frame);
    if (e->kind == TINE_EVENT_LOST) inproc_report_lost(t, c, ev);
    return true;
}

static int inproc_recv(tine_transport *base, tine_event *ev) {
    inproc_transport *t = (inproc_transport *)base;
    bool any, reported = false;
    ev->kind = TINE_EVENT_NONE;
    if (atomic_load(&t->added) == t->taken && !t->searching) return 0;
    do {
        inproc_event e = {.frame = NULL};
        pthread_mutex_lock(&tine_inproc_lock);
        if (t->searching) tine_inproc_search(t);
        const inproc_event *first = tine_ring_first(&t->inbox);
        any = first;
        if (first) {
            e = *first;
            tine_ring_drop(&t->inbox);
            t->taken++;
            reported = inproc_report(t, &e, ev);
            tine_inproc_unref(e.connection);
        }
        pthread_mutex_unlock(&tine_inproc_lock);
        if (!reported) tine_frame_free(e.frame);
    } while (any && !reported);
    return 0;
}

/* Whether the listener is there; else the wait ends when the search does. */
static bool inproc_may_find(const inproc_transport *t, int64_t *timeout_ns) {
    pthread_mutex_lock(&tine_inproc_lock);
    bool found = tine_inproc_find(t->url);
    pthread_mutex_unlock(&tine_inproc_lock);
    int64_t left = t->deadline - tine_clock_ns();
    if (t->deadline >= 0) *timeout_ns = tine_timeout_min(*timeout_ns, left > 0 ? left : 0);
    return found;
}

static void inproc_wait(tine_transport *base, int64_t timeout_ns) {
    inproc_transport *t = (inproc_transport *)base;
    if (atomic_load(&t->added) != t->taken) return;
    if (t->searching && inproc_may_find(t, &timeout_ns)) return;
    struct pollfd p = {.fd = t->doorbell.fd, .events = POLLIN};
    struct timespec ts = tine_timespec(timeout_ns < 0 ? 0 : timeout_ns);
    if (ppoll(&p, 1, timeout_ns < 0 ? NULL : &ts, NULL) > 0) tine_doorbell_clear(&t->doorbell);
}

/* A frame is handed over whole, and send wakes a peer that was answered -EAGAIN. */
static bool inproc_busy(tine_transport *base) {
    (void)base;
    return false;
}

static void inproc_wake(tine_transport *base) {
    tine_doorbell_ring(&((inproc_transport *)base)->doorbell);
}

/* ---- closing ---- */

static void inproc_drop(tine_transport *base, tine_peer peer, bool bad, const char *reason) {
    inproc_transport *t = (inproc_transport *)base;
    pthread_mutex_lock(&tine_inproc_lock);
    inproc_connection *c = tine_inproc_connection(t, peer);
    if (c) {
        c->dropped[t->side] = true;
        tine_inproc_lose(c, t->side, bad, reason);
        tine_inproc_lose(c, !t->side, false, "the peer dropped the connection");
    }
    pthread_mutex_unlock(&tine_inproc_lock);
}

static void inproc_close(tine_transport *base) {
    pthread_mutex_lock(&tine_inproc_lock);
    ((inproc_transport *)base)->closed = true;
    pthread_mutex_unlock(&tine_inproc_lock);
}

static bool inproc_stop(tine_transport *base) {
    (void)base; /* every frame is in its receiver's inbox already */
    return true;
}

static void inproc_fini(tine_transport *base) {
    inproc_transport *t = (inproc_transport *)base;
    inproc_event e;
    if (!t) return;
    pthread_mutex_lock(&tine_inproc_lock);
    if (t->side == INPROC_LISTENER || t->searching) LIST_REMOVE(t, entry);
    for (size_t i = 0; i < t->n_connections; i++) {
        inproc_connection *c = t->connections[i];
        if (!c) continue;
        c->sides[t->side] = NULL; /* nothing is added to the inbox from here on */
        tine_inproc_lose(c, !t->side, false, "the peer closed the connection");
        tine_inproc_unref(c);
    }
    for (size_t i = 0; i < t->inbox.n; i++)
        tine_inproc_unref(((inproc_event *)tine_ring_at(&t->inbox, i))->connection);
    pthread_mutex_unlock(&tine_inproc_lock);
    while (tine_ring_pop(&t->inbox, &e)) tine_frame_free(e.frame);
    tine_inproc_free(t);
}

static void inproc_stats(const tine_transport *base, tine_transport_stats *out) {
    pthread_mutex_lock(&tine_inproc_lock);
    *out = ((const inproc_transport *)base)->stats;
    pthread_mutex_unlock(&tine_inproc_lock);
}

const tine_transport_ops tine_transport_inproc = {
    .version = inproc_version,
    .listen = tine_inproc_listen,
    .connect = tine_inproc_connect,
    .url = inproc_url,
    .send = inproc_send,
    .recv = inproc_recv,
    .wait = inproc_wait,
    .busy = inproc_busy,
    .wake = inproc_wake,
    .drop = inproc_drop,
    .close = inproc_close,
    .stop = inproc_stop,
    .fini = inproc_fini,
    .stats = inproc_stats,
};
