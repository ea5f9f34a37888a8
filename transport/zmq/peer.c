/* Peers of a ZeroMQ end. A listener's peer is one connection, known by the routing id that ROUTER
 * gave it, which no other connection gets. It lives from its first message until its connection is
 * closed; in between it may be lost (dropped, or bad), and is mute from then on, because libzmq has
 * no call that cuts one connection of a socket.
 *
 * How a death is seen: libzmq's monitor tells at once that a connection with some file descriptor
 * was closed. Whose it was is asked of ROUTER: a message to a closed connection is refused with
 * EHOSTUNREACH. The monitor's word may come a moment before ROUTER knows, and the descriptor may be
 * another connection's by then; so the peers that had it are suspects and are asked again each
 * millisecond, until one is found or SUSPECT_NS has passed. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport/zmq/internal.h"

static const int64_t SUSPECT_NS = 2000000000;

static tine_zmq_peer **routing_bucket(tine_zmq *t, uint64_t routing) {
    return &t->by_routing[(routing * UINT64_C(0x9e3779b97f4a7c15)) >> 54];
}

static tine_zmq_peer **id_bucket(tine_zmq *t, tine_peer id) {
    return &t->by_id[id % TINE_ZMQ_BUCKETS];
}

tine_zmq_peer *tine_zmq_peer_by_routing(tine_zmq *t, uint64_t routing) {
    tine_zmq_peer *p = *routing_bucket(t, routing);
    while (p && p->routing != routing) p = p->by_routing;
    return p;
}

tine_zmq_peer *tine_zmq_peer_by_id(tine_zmq *t, tine_peer id) {
    tine_zmq_peer *p = *id_bucket(t, id);
    while (p && p->id != id) p = p->by_id;
    return p;
}

tine_zmq_peer *tine_zmq_peer_add(tine_zmq *t, uint64_t routing, int fd, uint32_t chunk,
                                 uint32_t window) {
    tine_zmq_peer *p = calloc(1, sizeof *p);
    tine_zmq_flight *f = malloc(sizeof *f);
    if (!p || !f) {
        free(p);
        free(f);
        return NULL;
    }
    atomic_init(&f->bytes, 0);
    atomic_init(&f->refs, 1);
    f->end = t;
    p->id = t->next_id++;
    p->routing = routing;
    p->fd = fd;
    p->flight = f;
    p->window = window;
    p->chunk = chunk < t->base.config.chunk ? chunk : t->base.config.chunk;
    tine_zmq_peer **r = routing_bucket(t, routing), **i = id_bucket(t, p->id);
    p->by_routing = *r;
    *r = p;
    p->by_id = *i;
    *i = p;
    return p;
}

static void unwatch(tine_zmq *t, tine_zmq_peer *p) {
    if (!p->on_watch) return;
    for (tine_zmq_peer **at = &t->watch; *at; at = &(*at)->next_watch)
        if (*at == p) {
            *at = p->next_watch;
            break;
        }
    p->on_watch = false;
}

static void unbacklog(tine_zmq *t, tine_zmq_peer *p) {
    if (!p->on_backlog) return;
    tine_zmq_peer **at = &t->backlog;
    while (*at && *at != p) at = &(*at)->next_backlog;
    if (*at) *at = p->next_backlog;
    while (*at) at = &(*at)->next_backlog;
    t->backlog_tail = at;
    p->on_backlog = false;
}

static void peer_free(tine_zmq *t, tine_zmq_peer *p) {
    tine_zmq_peer **at = routing_bucket(t, p->routing);
    while (*at != p) at = &(*at)->by_routing;
    *at = p->by_routing;
    at = id_bucket(t, p->id);
    while (*at != p) at = &(*at)->by_id;
    *at = p->by_id;
    if (t->last == p) t->last = NULL;
    unwatch(t, p);
    unbacklog(t, p);
    tine_zmq_forget_queue(p);
    tine_zmq_forget_incoming(t, p);
    tine_zmq_flight_unref(p->flight);
    free(p);
}

void tine_zmq_peers_free(tine_zmq *t) {
    t->due = NULL;
    for (size_t i = 0; i < TINE_ZMQ_BUCKETS; i++)
        while (t->by_id[i]) peer_free(t, t->by_id[i]);
}

static void put_due(tine_zmq *t, tine_zmq_peer *p) {
    if (p->on_due) return;
    p->on_due = true;
    p->next_due = NULL;
    *t->due_tail = p;
    t->due_tail = &p->next_due;
}

static void put_watch(tine_zmq *t, tine_zmq_peer *p) {
    if (p->on_watch) return;
    p->on_watch = true;
    p->next_watch = t->watch;
    t->watch = p;
}

void tine_zmq_writable(tine_zmq *t, tine_zmq_peer *p) {
    p->want_writable = false;
    p->writable_due = true;
    put_due(t, p);
}

void tine_zmq_peer_lose(tine_zmq *t, tine_zmq_peer *p, bool bad, const char *reason) {
    if (p->state == TINE_ZMQ_PEER_LOST) return;
    p->state = TINE_ZMQ_PEER_LOST;
    p->bad = bad;
    p->lost_due = true;
    p->writable_due = false;
    snprintf(p->reason, sizeof p->reason, "%s", reason);
    tine_zmq_forget_queue(p);
    tine_zmq_forget_incoming(t, p);
    if (!p->gone) tine_zmq_send_bye(t, p->routing, p->reason);
    put_due(t, p);
}

void tine_zmq_peer_gone(tine_zmq *t, tine_zmq_peer *p) {
    if (p->gone) return;
    p->gone = true;
    p->suspect = false;
    put_watch(t, p);
}

void tine_zmq_closed(tine_zmq *t, int fd) {
    int64_t until = tine_clock_ns() + SUSPECT_NS;
    for (size_t i = 0; i < TINE_ZMQ_BUCKETS; i++)
        for (tine_zmq_peer *p = t->by_id[i]; p; p = p->by_id) {
            if (p->gone || (p->fd != fd && p->fd >= 0)) continue;
            p->suspect = true;
            p->suspect_until = until;
            put_watch(t, p);
        }
}

/* Asks ROUTER whether the suspect's connection is closed. */
static bool probe(tine_zmq *t, tine_zmq_peer *p) {
    /* its id is not known any more; it is mute, and may be met again */
    if (p->routing >> 32) return true;
    uint8_t noop = FRAMING_NOOP;
    return tine_zmq_send_short(t, p->routing, &noop, 1) == -EPIPE;
}

/* One connection with this descriptor was closed, and it has been found: the others are cleared. */
static void clear_suspects(tine_zmq *t, int fd) {
    for (tine_zmq_peer *p = t->watch; p; p = p->next_watch)
        if (p->fd == fd) p->suspect = false;
}

/* Called when everything readable has been read: so the gone are lost now, and the suspects who
 * turn out to be gone are lost the next time, after what came from them meanwhile. */
bool tine_zmq_watch(tine_zmq *t) {
    bool again = false;
    tine_zmq_peer *next;
    for (tine_zmq_peer *p = t->watch; p; p = next) {
        next = p->next_watch;
        if (p->gone) {
            unwatch(t, p);
            if (p->state == TINE_ZMQ_PEER_UP)
                tine_zmq_peer_lose(
                    t, p, false,
                    "its connection was closed (it ended, or a part it sent was too large)");
            else if (!p->lost_due)
                peer_free(t, p);
            again = true;
        } else if (p->suspect && probe(t, p)) {
            int fd = p->fd;
            p->gone = true;
            clear_suspects(t, fd);
            again = true;
        } else if (!p->suspect || tine_clock_ns() > p->suspect_until) {
            p->suspect = false;
            unwatch(t, p);
        }
    }
    return again;
}

static void tell_lost(tine_zmq *t, tine_zmq_peer *p, tine_event *ev) {
    *ev = (tine_event){.kind = TINE_EVENT_LOST, .peer = p->id, .bad = p->bad};
    memcpy(ev->reason, p->reason, sizeof ev->reason);
    t->stats.peers_lost++;
    t->stats.peers_bad += p->bad;
    p->lost_due = false;
    if (!t->listener) tine_zmq_disconnect(t);
    if (p->gone || !t->listener) peer_free(t, p);
}

bool tine_zmq_due(tine_zmq *t, tine_event *ev) {
    tine_zmq_peer *p;
    while ((p = t->due)) {
        t->due = p->next_due;
        if (!t->due) t->due_tail = &t->due;
        p->on_due = false;
        if (p->lost_due) {
            tell_lost(t, p, ev);
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
