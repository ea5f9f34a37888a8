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
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "transport/base/assert.h"
#include "transport/base/clock.h"
#include "transport/base/doorbell.h"
#include "transport/base/ring.h"
#include "transport/base/vector.h"
#include "transport/internal.h"

enum { NAME_MAX_BYTES = 200 };
/* What a frame counts for in max_queued beside its bytes, so that empty frames are bounded too. */
enum { FRAME_COST = 64 };

static const char SCHEME[] = "inproc://";

typedef struct inproc_transport inproc_transport;

/* A connection's sides, and the index of what it keeps for each. */
enum { LISTENER, CONNECTOR, SIDES };

typedef struct inproc_connection {
    inproc_transport *sides[SIDES]; /* NULL once that transport has let go of the connection */
    tine_peer id;                   /* of the connector, at the listener */
    size_t queued[SIDES];           /* bytes in the inbox of this side */
    bool want_writable[SIDES];      /* this side's send was answered with -EAGAIN */
    bool lost[SIDES];               /* LOST is in the inbox of this side: nothing follows it */
    bool dropped[SIDES]; /* by this side: what is in its inbox before LOST is discarded */
    bool bad[SIDES];
    char reason[SIDES][sizeof(((tine_event *)0)->reason)];
    int refs; /* one a side, and one for each event in an inbox */
} inproc_connection;

typedef struct inproc_event {
    tine_event_kind kind;
    inproc_connection *connection; /* NULL: the LOST of a connector that found no listener */
    tine_frame *frame;
} inproc_event;

struct inproc_transport {
    tine_transport base;
    int side;
    bool closed;
    bool searching;   /* connector: its listener has not been found yet */
    int64_t deadline; /* connector: when it stops searching; negative: never */
    /* Listener: by peer id - 1, NULL where a peer is lost; connector: the one. */
    inproc_connection **connections;
    size_t n_connections, room;
    tine_ring inbox; /* of inproc_event */
    /* events added to the inbox so far: recv takes no lock while none follows those it took */
    atomic_size_t added;
    size_t taken;
    tine_doorbell doorbell;
    tine_transport_stats stats;
    LIST_ENTRY(inproc_transport) entry; /* of listeners, or of searchers while it searches */
    char url[sizeof SCHEME + NAME_MAX_BYTES];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static LIST_HEAD(, inproc_transport) listeners, searchers;
static unsigned long names; /* given so far to listeners that asked for any */

static const char *inproc_version(void) { return "built in"; }

/* ---- connections and inboxes: under the lock ---- */

static void connection_unref(inproc_connection *c) {
    if (c && --c->refs == 0) free(c);
}

static inproc_connection *connection_of(const inproc_transport *t, tine_peer peer) {
    if (peer == 0 || peer > t->n_connections) return NULL;
    inproc_connection *c = t->connections[peer - 1];
    return c && !c->lost[t->side] ? c : NULL;
}

/* False: no memory. */
static bool inbox_add(inproc_transport *t, inproc_event e) {
    inproc_event *slot = tine_ring_push(&t->inbox);
    if (!slot) return false;
    *slot = e;
    atomic_fetch_add(&t->added, 1);
    if (e.connection) e.connection->refs++;
    tine_doorbell_ring(&t->doorbell);
    return true;
}

/* Tells one side that the other is gone. Without memory for that the process cannot go on. */
static void connection_lose(inproc_connection *c, int side, bool bad, const char *reason) {
    inproc_transport *t = c->sides[side];
    if (!t || c->lost[side]) return;
    c->lost[side] = true;
    c->bad[side] = bad;
    snprintf(c->reason[side], sizeof c->reason[side], "%s", reason);
    TINE_ASSERT_TRUE(inbox_add(t, (inproc_event){.kind = TINE_EVENT_LOST, .connection = c}));
}

/* ---- opening ---- */

static inproc_transport *find_listener(const char *url) {
    inproc_transport *t;
    LIST_FOREACH (t, &listeners, entry)
        if (!strcmp(t->url, url)) return t;
    return NULL;
}

static void inproc_free(inproc_transport *t) {
    tine_doorbell_fini(&t->doorbell);
    tine_ring_fini(&t->inbox);
    free(t->connections);
    free(t);
}

/* Room for the LOST of a search that fails is made here, so that reporting it needs no memory. */
static int inproc_new(inproc_transport **out, const char *url, const tine_transport_config *config,
                      int side, char *why, size_t why_size) {
    size_t scheme = sizeof SCHEME - 1, n = strlen(url);
    if (strncmp(url, SCHEME, scheme) != 0 || n == scheme || n > scheme + NAME_MAX_BYTES) {
        snprintf(why, why_size,
                 "\"%.80s\" is not an inproc address: give a name of 1 to %d bytes, inproc://NAME",
                 url, NAME_MAX_BYTES);
        return -EINVAL;
    }
    inproc_transport *t = calloc(1, sizeof *t);
    if (!t) goto no_memory;
    t->inbox = TINE_RING(inproc_event);
    t->connections = tine_grow(NULL, &t->room, 1, sizeof *t->connections);
    if (tine_doorbell_init(&t->doorbell) || tine_ring_reserve(&t->inbox, 1) || !t->connections)
        goto no_memory;
    t->base.ops = &tine_transport_inproc;
    t->base.config = tine_transport_defaults(config);
    t->side = side;
    memcpy(t->url, url, n + 1);
    *out = t;
    return 0;
no_memory:
    if (t) inproc_free(t);
    snprintf(why, why_size, "no memory or file descriptor for %.80s", url);
    return -ENOMEM;
}

static int inproc_listen(tine_transport **out, const char *url, const tine_transport_config *config,
                         char *why, size_t why_size) {
    inproc_transport *t, *searcher;
    int rc = inproc_new(&t, url, config, LISTENER, why, why_size);
    if (rc) return rc;
    pthread_mutex_lock(&lock);
    if (!strcmp(url, "inproc://*")) snprintf(t->url, sizeof t->url, "inproc://tine-%lu", ++names);
    bool taken = find_listener(t->url);
    if (!taken) {
        LIST_INSERT_HEAD(&listeners, t, entry);
        LIST_FOREACH (searcher, &searchers, entry) tine_doorbell_ring(&searcher->doorbell);
    }
    pthread_mutex_unlock(&lock);
    if (taken) {
        snprintf(why, why_size, "%.80s is taken by another listener of this process", t->url);
        inproc_free(t);
        return -EIO;
    }
    *out = &t->base;
    return 0;
}

static int inproc_connect(tine_transport **out, const char *url,
                          const tine_transport_config *config, char *why, size_t why_size) {
    inproc_transport *t;
    int rc = inproc_new(&t, url, config, CONNECTOR, why, why_size);
    if (rc) return rc;
    int64_t limit = t->base.config.connect_ns;
    t->deadline = limit < 0 ? -1 : tine_clock_ns() + limit;
    t->connections[t->n_connections++] = NULL;
    t->searching = true;
    pthread_mutex_lock(&lock);
    LIST_INSERT_HEAD(&searchers, t, entry);
    pthread_mutex_unlock(&lock);
    *out = &t->base;
    return 0;
}

/* Joins the two; without memory the connector goes on searching. */
static bool connection_new(inproc_transport *listener, inproc_transport *connector) {
    inproc_connection **more = tine_grow(listener->connections, &listener->room,
                                         listener->n_connections + 1, sizeof *more);
    if (more) listener->connections = more;
    if (!more || tine_ring_reserve(&listener->inbox, 1) || tine_ring_reserve(&connector->inbox, 1))
        return false;
    inproc_connection *c = calloc(1, sizeof *c);
    if (!c) return false;
    c->sides[LISTENER] = listener;
    c->sides[CONNECTOR] = connector;
    c->refs = SIDES;
    listener->connections[listener->n_connections++] = c;
    c->id = listener->n_connections;
    connector->connections[0] = c;
    for (int i = 0; i < SIDES; i++)
        inbox_add(c->sides[i], (inproc_event){.kind = TINE_EVENT_UP, .connection = c});
    return true;
}

/* Called by each recv of a connector until its listener is found or the deadline has passed. */
static void inproc_search(inproc_transport *t) {
    inproc_transport *listener = find_listener(t->url);
    bool found = listener && !listener->closed && connection_new(listener, t);
    bool late = !found && t->deadline >= 0 && tine_clock_ns() >= t->deadline;
    if (!found && !late) return;
    LIST_REMOVE(t, entry);
    t->searching = false;
    if (late) inbox_add(t, (inproc_event){.kind = TINE_EVENT_LOST});
}

static const char *inproc_url(const tine_transport *base) {
    return ((const inproc_transport *)base)->url;
}

/* ---- frames and events ---- */

/* A frame past the receiver's limit breaks the framing, as it would over a wire. */
static void connection_refuse(inproc_connection *c, int receiver, size_t bytes) {
    char reason[64];
    snprintf(reason, sizeof reason, "it sent a frame of %zu bytes, past max_frame", bytes);
    connection_lose(c, receiver, true, reason);
    connection_lose(c, !receiver, false, "the peer dropped the connection");
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
    if (!inbox_add(c->sides[other], e)) {
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
    pthread_mutex_lock(&lock);
    int rc = inproc_send_locked(t, connection_of(t, peer), f, bytes, &refused);
    pthread_mutex_unlock(&lock);
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
    c->want_writable[!me] = !inbox_add(sender, e);
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
    connection_unref(c);
}

/* False: the event is about a peer that was dropped or lost since; its frame is to be freed. */
static bool inproc_report(inproc_transport *t, const inproc_event *e, tine_event *ev) {
    inproc_connection *c = e->connection;
    if (e->kind == TINE_EVENT_WRITABLE && c->lost[t->side]) return false;
    if (e->kind == TINE_EVENT_FRAME && c->dropped[t->side]) return false;
    ev->kind = e->kind;
    ev->peer = c && t->side == LISTENER ? c->id : 1;
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
        pthread_mutex_lock(&lock);
        if (t->searching) inproc_search(t);
        any = tine_ring_pop(&t->inbox, &e);
        if (any) {
            t->taken++;
            reported = inproc_report(t, &e, ev);
            connection_unref(e.connection);
        }
        pthread_mutex_unlock(&lock);
        if (!reported) tine_frame_free(e.frame);
    } while (any && !reported);
    return 0;
}

static void inproc_wait(tine_transport *base, int64_t timeout_ns) {
    inproc_transport *t = (inproc_transport *)base;
    pthread_mutex_lock(&lock);
    bool ready = t->inbox.n || (t->searching && find_listener(t->url));
    if (t->searching && t->deadline >= 0) {
        int64_t left = t->deadline - tine_clock_ns();
        timeout_ns = tine_timeout_min(timeout_ns, left > 0 ? left : 0);
    }
    pthread_mutex_unlock(&lock);
    if (ready) return;
    struct pollfd p = {.fd = t->doorbell.fd, .events = POLLIN};
    struct timespec ts = tine_timespec(timeout_ns < 0 ? 0 : timeout_ns);
    if (ppoll(&p, 1, timeout_ns < 0 ? NULL : &ts, NULL) > 0) tine_doorbell_clear(&t->doorbell);
}

/* A frame is handed over whole, and send wakes whoever waits for room. */
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
    pthread_mutex_lock(&lock);
    inproc_connection *c = connection_of(t, peer);
    if (c) {
        c->dropped[t->side] = true;
        connection_lose(c, t->side, bad, reason);
        connection_lose(c, !t->side, false, "the peer dropped the connection");
    }
    pthread_mutex_unlock(&lock);
}

static void inproc_close(tine_transport *base) {
    pthread_mutex_lock(&lock);
    ((inproc_transport *)base)->closed = true;
    pthread_mutex_unlock(&lock);
}

static bool inproc_stop(tine_transport *base) {
    (void)base; /* every frame is in its receiver's inbox already */
    return true;
}

static void inproc_fini(tine_transport *base) {
    inproc_transport *t = (inproc_transport *)base;
    inproc_event e;
    if (!t) return;
    pthread_mutex_lock(&lock);
    if (t->side == LISTENER || t->searching) LIST_REMOVE(t, entry);
    for (size_t i = 0; i < t->n_connections; i++) {
        inproc_connection *c = t->connections[i];
        if (!c) continue;
        c->sides[t->side] = NULL; /* nothing is added to the inbox from here on */
        connection_lose(c, !t->side, false, "the peer closed the connection");
        connection_unref(c);
    }
    for (size_t i = 0; i < t->inbox.n; i++)
        connection_unref(((inproc_event *)tine_ring_at(&t->inbox, i))->connection);
    pthread_mutex_unlock(&lock);
    while (tine_ring_pop(&t->inbox, &e)) tine_frame_free(e.frame);
    inproc_free(t);
}

static void inproc_stats(const tine_transport *base, tine_transport_stats *out) {
    pthread_mutex_lock(&lock);
    *out = ((const inproc_transport *)base)->stats;
    pthread_mutex_unlock(&lock);
}

const tine_transport_ops tine_transport_inproc = {
    .version = inproc_version,
    .listen = inproc_listen,
    .connect = inproc_connect,
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
