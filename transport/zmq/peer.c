/* Peers of a ZeroMQ transport. A listener's peer is one connection, known by the routing id that
 * ROUTER gave it, which no other connection gets. It exists from its first message until its
 * connection is closed. In between it may be lost (dropped, or bad), and then its messages are
 * discarded, because libzmq has no call that closes one connection of a socket.
 *
 * How a death is seen: libzmq's monitor reports at once that a connection with some file descriptor
 * was closed. ROUTER tells which: it refuses a message to a closed connection with EHOSTUNREACH.
 * The monitor may report a moment before ROUTER knows, and the descriptor may be another
 * connection's by then. So all peers with that descriptor are suspected: each is probed every
 * millisecond, until ROUTER refuses it, or has not for PROBES. They are counted, since the time in
 * which this process does not run (a paused virtual machine) shows nothing. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport/zmq/lane.h"

enum { PROBES = 2000 };
static const int64_t BETWEEN_NS = 1000000;
/* ROUTER takes the messages of its connections in turn. So many of others, more than a process has
 * connections: nothing is left of a closed one. */
enum { DRAINED_AFTER = 65536 };

static struct tine_zmq_peer_list *routing_bucket(tine_zmq *t, uint64_t routing) {
    return &t->by_routing[(routing * UINT64_C(0x9e3779b97f4a7c15)) >> 54];
}

static struct tine_zmq_peer_list *id_bucket(tine_zmq *t, tine_peer id) {
    return &t->by_id[id % TINE_ZMQ_BUCKETS];
}

tine_zmq_peer *tine_zmq_peer_by_routing(tine_zmq *t, uint64_t routing) {
    tine_zmq_peer *p;
    LIST_FOREACH (p, routing_bucket(t, routing), by_routing)
        if (p->routing == routing) return p;
    return NULL;
}

tine_zmq_peer *tine_zmq_peer_by_id(tine_zmq *t, tine_peer id) {
    tine_zmq_peer *p;
    LIST_FOREACH (p, id_bucket(t, id), by_id)
        if (p->id == id) return p;
    return NULL;
}

tine_zmq_peer *tine_zmq_peer_add(tine_zmq *t, uint64_t routing, int fd,
                                 const tine_framing_peer *hello) {
    tine_zmq_peer *p = calloc(1, sizeof *p);
    tine_zmq_flight *f = malloc(sizeof *f);
    if (!p || !f) {
        free(p);
        free(f);
        return NULL;
    }
    atomic_init(&f->bytes, 0);
    atomic_init(&f->refs, 1);
    f->transport = t;
    p->id = t->next_id++;
    p->routing = routing;
    p->fd = fd;
    p->flight = f;
    p->window = hello->window;
    p->leases = hello->flags & FRAMING_ASKS_LEASES;
    p->others = hello->flags & FRAMING_ASKS_OTHERS;
    p->pairs = hello->flags & FRAMING_ASKS_PAIRS;
    p->patient = t->listener ? hello->flags & FRAMING_PATIENT : t->base.config.patient;
    p->chunk = hello->chunk < t->base.config.chunk ? hello->chunk : t->base.config.chunk;
    p->checked = hello->window && ((hello->flags & FRAMING_ASKS_CHECKS) || t->asks_checks);
    p->small = p->large = TINE_RING(tine_frame *);
    LIST_INSERT_HEAD(routing_bucket(t, routing), p, by_routing);
    LIST_INSERT_HEAD(id_bucket(t, p->id), p, by_id);
    return p;
}

static void peer_watch(tine_zmq *t, tine_zmq_peer *p) {
    if (p->is_watched) return;
    p->is_watched = true;
    LIST_INSERT_HEAD(&t->watched, p, watched);
}

static void peer_unwatch(tine_zmq_peer *p) {
    if (p->is_watched) LIST_REMOVE(p, watched);
    p->is_watched = false;
}

static void peer_free(tine_zmq *t, tine_zmq_peer *p) {
    LIST_REMOVE(p, by_routing);
    LIST_REMOVE(p, by_id);
    if (t->last == p) t->last = NULL;
    peer_unwatch(p);
    if (p->is_waiting) TAILQ_REMOVE(&t->waiting, p, waiting);
    if (p->is_reporting) TAILQ_REMOVE(&t->reporting, p, reporting);
    tine_zmq_queues_free(p);
    tine_zmq_incoming_free(t, p);
    tine_zmq_lane_close(t, p);
    tine_zmq_flight_unref(p->flight);
    free(p);
}

void tine_zmq_peers_free(tine_zmq *t) {
    for (size_t i = 0; i < TINE_ZMQ_BUCKETS; i++)
        while (!LIST_EMPTY(&t->by_id[i])) peer_free(t, LIST_FIRST(&t->by_id[i]));
}

static void peer_report(tine_zmq *t, tine_zmq_peer *p) {
    if (p->is_reporting) return;
    p->is_reporting = true;
    TAILQ_INSERT_TAIL(&t->reporting, p, reporting);
}

void tine_zmq_peer_writable(tine_zmq *t, tine_zmq_peer *p) {
    p->want_writable = false;
    p->writable_due = true;
    peer_report(t, p);
}

void tine_zmq_peer_silence(tine_zmq *t, tine_zmq_peer *p, tine_event_kind kind,
                           const char *reason) {
    p->silence_due = kind;
    snprintf(p->reason, sizeof p->reason, "%s", reason);
    peer_report(t, p);
}

void tine_zmq_peer_lose(tine_zmq *t, tine_zmq_peer *p, bool bad, const char *reason) {
    if (p->state == TINE_ZMQ_PEER_LOST) return;
    p->state = TINE_ZMQ_PEER_LOST;
    p->bad = bad;
    p->lost_due = true;
    p->writable_due = false;
    p->silence_due = TINE_EVENT_NONE;
    snprintf(p->reason, sizeof p->reason, "%s", reason);
    tine_zmq_queues_free(p);
    tine_zmq_incoming_free(t, p);
    tine_zmq_lane_close(t, p);
    if (!p->disconnected) tine_zmq_send_bye(t, p, p->reason);
    if (!p->disconnected) tine_zmq_stranger_parts(t, p);
    peer_report(t, p);
}

void tine_zmq_peer_disconnected(tine_zmq *t, tine_zmq_peer *p) {
    if (p->disconnected) return;
    p->disconnected = true;
    p->suspect = false;
    p->last_message = t->received;
    peer_watch(t, p);
}

void tine_zmq_suspect(tine_zmq *t, int fd) {
    tine_zmq_peer *p;
    for (size_t i = 0; i < TINE_ZMQ_BUCKETS; i++)
        LIST_FOREACH (p, &t->by_id[i], by_id) {
            if (p->disconnected || (p->fd != fd && p->fd >= 0)) continue;
            p->suspect = true;
            p->probes = 0;
            peer_watch(t, p);
        }
}

/* True: ROUTER says that the suspect's connection is closed. */
static bool suspect_probe(tine_zmq *t, tine_zmq_peer *p) {
    int64_t now = tine_clock_ns();
    if (now - p->probed_at < BETWEEN_NS) return false;
    p->probed_at = now;
    p->probes++;
    /* The routing id it chose is not kept. The peer is already lost; if it is still connected, its
     * next message adds it again. */
    if (p->routing >> 32) return true;
    return tine_zmq_send_short(t, p, FRAMING_NOOP, NULL, 0) == -EPIPE;
}

bool tine_zmq_is_drained(const tine_zmq *t, uint64_t received, bool dry) {
    return dry || t->received - received > DRAINED_AFTER;
}

static void peer_lose_closed(tine_zmq *t, tine_zmq_peer *p) {
    char reason[sizeof p->reason];
    double seconds = tine_zmq_silent_for(t, p);
    if (seconds > 0)
        snprintf(reason, sizeof reason,
                 "its connection was closed, after it had sent nothing for %g s", seconds);
    tine_zmq_peer_lose(t, p, false,
                       seconds > 0 ? reason
                                   : "its connection was closed: it ended, "
                                     "or sent a part that was too large");
}

/* The disconnected that are drained, and whose lanes are empty, are lost now. Suspects found to be
 * disconnected are lost at a later call, after what they have sent meanwhile. */
bool tine_zmq_check_watched(tine_zmq *t, bool dry) {
    bool again = false;
    tine_zmq_peer *p = LIST_FIRST(&t->watched), *next;
    for (; p; p = next) {
        next = LIST_NEXT(p, watched);
        if (p->disconnected &&
            (tine_zmq_lane_pending(p) || !tine_zmq_is_drained(t, p->last_message, dry))) {
            again = true;
        } else if (p->disconnected) {
            peer_unwatch(p);
            if (p->state == TINE_ZMQ_PEER_UP)
                peer_lose_closed(t, p);
            else if (!p->lost_due)
                peer_free(t, p);
            again = true;
        } else if (p->suspect && suspect_probe(t, p)) {
            p->disconnected = true;
            p->last_message = t->received;
            again = true;
        } else if (!p->suspect || p->probes > PROBES) {
            p->suspect = false;
            peer_unwatch(p);
        }
    }
    return again;
}

static void report_lost(tine_zmq *t, tine_zmq_peer *p, tine_event *ev) {
    *ev = (tine_event){.kind = TINE_EVENT_LOST, .peer = p->id, .bad = p->bad};
    memcpy(ev->reason, p->reason, sizeof ev->reason);
    t->stats.peers_lost++;
    t->stats.peers_bad += p->bad;
    p->lost_due = false;
    if (!t->listener) tine_zmq_disconnect(t);
    if (p->disconnected || !t->listener) peer_free(t, p);
}

bool tine_zmq_next_report(tine_zmq *t, tine_event *ev) {
    tine_zmq_peer *p;
    while ((p = TAILQ_FIRST(&t->reporting))) {
        TAILQ_REMOVE(&t->reporting, p, reporting);
        p->is_reporting = false;
        if (p->lost_due) {
            report_lost(t, p, ev);
            return true;
        }
        if (p->silence_due) {
            *ev = (tine_event){.kind = p->silence_due, .peer = p->id};
            memcpy(ev->reason, p->reason, sizeof ev->reason);
            p->silence_due = TINE_EVENT_NONE;
            if (p->writable_due) peer_report(t, p);
            return true;
        }
        if (p->writable_due) {
            p->writable_due = false;
            *ev = (tine_event){.kind = TINE_EVENT_WRITABLE, .peer = p->id};
            return true;
        }
    }
    return false;
}
