/* The ZeroMQ socket of a transport: its options, what libzmq's monitor reports about it, and a
 * connector's attempts.
 *
 * A connector makes each attempt with a new socket, instead of letting libzmq reconnect: a
 * connection that comes back on its own would carry the frames of the old one to a listener that
 * does not know it. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport/base/vector.h"
#include "transport/zmq/internal.h"

/* Over tcp an attempt without an answer is replaced: what it has sent may be lost. Over ipc it
 * waits in the listener's queue, where another one would be behind it, and the kernel tells when
 * the listener has gone. */
static const int64_t ATTEMPT_NS = 3000000000;
static const int64_t BACKOFF_NS = 20000000; /* after a failed one; doubles up to 16 times that */

static int socket_set(void *socket, int option, int value) {
    return zmq_setsockopt(socket, option, &value, sizeof value);
}

/* LINGER 0: closing must not block; `stop` sets how long it may wait.
 * SNDHWM: what libzmq does not take waits in our queue, which is bounded by bytes. The rate of
 *   small frames does not gain from more than 1000 (bench_transport).
 * RCVHWM: the window (send.c) bounds what a peer may send ahead, to less than 33,000 messages. The
 *   mark is for peers that do not keep to the window.
 * MAXMSGSIZE: a larger part is refused before it is allocated; libzmq disconnects its sender.
 * IMMEDIATE off: with it libzmq discards what was received and not yet read when a connection ends,
 *   so the listener's last frames. Its purpose, that nothing is queued for a connection that does
 *   not exist, is served otherwise: a connector sends its hello and waits for the answer.
 * RECONNECT_IVL: an hour, longer than a socket is kept after its connection. -1 (never) discards
 *   unread frames as well.
 * HEARTBEAT: over tcp libzmq's I/O threads exchange PING and PONG, which prove that the process
 *   lives, not the task. TIMEOUT 0: what silence means is decided in beat.c. Over ipc the kernel
 *   reports every death at once. TCP keepalive is not needed beside it.
 * HANDSHAKE_IVL: a connection without a handshake is closed, but for an attempt over ipc.
 * ROUTER_MANDATORY: a message to a connection that is closed is an error instead of silence.
 * IPV6: only for an address that is one; with it `*` would mean both kinds.
 * ROUTER_HANDOVER off: no peer can take over another's connection by its routing id. */
static int socket_set_options(tine_zmq *t) {
    void *s = t->socket;
    int64_t max = (int64_t)t->base.config.chunk + FRAMING_SLACK;
    int beat = (int)(t->base.config.heartbeat_ns / 1000000);
    if (beat < 1) beat = 1;
    if (beat > 60000) beat = 60000;
    int rc = socket_set(s, ZMQ_LINGER, 0) | socket_set(s, ZMQ_SNDHWM, 1000) |
             socket_set(s, ZMQ_RCVHWM, 65536) | socket_set(s, ZMQ_IMMEDIATE, 0) |
             zmq_setsockopt(s, ZMQ_MAXMSGSIZE, &max, sizeof max) |
             socket_set(s, ZMQ_HEARTBEAT_IVL, t->tcp ? beat : 0) |
             socket_set(s, ZMQ_HEARTBEAT_TIMEOUT, 0) |
             socket_set(s, ZMQ_HANDSHAKE_IVL, t->listener || t->tcp ? 10000 : 0);
    if (t->n_addresses && strchr(tine_zmq_address(t, t->failures), '['))
        rc |= socket_set(s, ZMQ_IPV6, 1);
    if (t->listener)
        return rc | socket_set(s, ZMQ_ROUTER_MANDATORY, 1) | socket_set(s, ZMQ_ROUTER_HANDOVER, 0);
    return rc | socket_set(s, ZMQ_RECONNECT_IVL, 3600000);
}

static int socket_fd_of(void *socket) {
    int fd = -1;
    size_t size = sizeof fd;
    return zmq_getsockopt(socket, ZMQ_FD, &fd, &size) ? -1 : fd;
}

static int monitor_open(tine_zmq *t) {
    char name[64];
    int events = ZMQ_EVENT_CLOSED | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
                 ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;
    if (t->listener) events |= ZMQ_EVENT_ACCEPTED;
    snprintf(name, sizeof name, "inproc://monitor-%u", t->monitors++);
    if (zmq_socket_monitor(t->socket, name, events)) return -1;
    t->monitor = zmq_socket(t->context, ZMQ_PAIR);
    if (!t->monitor || socket_set(t->monitor, ZMQ_LINGER, 0) || zmq_connect(t->monitor, name))
        return -1;
    t->monitor_fd = socket_fd_of(t->monitor);
    t->monitor_ready = true;
    return 0;
}

int tine_zmq_open(tine_zmq *t, char *why, size_t why_size) {
    t->socket = zmq_socket(t->context, t->listener ? ZMQ_ROUTER : ZMQ_DEALER);
    if (!t->socket || socket_set_options(t) || tine_zmq_secure(t) || monitor_open(t)) {
        int rc = errno == ENOMEM ? -ENOMEM : -EIO;
        snprintf(why, why_size, "no ZeroMQ socket for %.80s: %s", t->url, zmq_strerror(errno));
        tine_zmq_disconnect(t);
        return rc;
    }
    t->socket_fd = socket_fd_of(t->socket);
    t->dirty = true;
    return 0;
}

void tine_zmq_disconnect(tine_zmq *t) {
    tine_zmq_listen_end(t);
    /* Stopped before its PAIR socket is closed: libzmq 4.3 leaks the second part of an event that
     * it is about to send there. */
    if (t->monitor && t->socket) zmq_socket_monitor(t->socket, NULL, 0);
    if (t->monitor) zmq_close(t->monitor);
    tine_zmq_zap_close(t);
    if (t->socket) zmq_close(t->socket);
    t->monitor = t->socket = NULL;
    t->monitor_ready = t->dirty = false;
    t->hung_up = false;
    if (t->phase == TINE_ZMQ_JOINED) t->phase = TINE_ZMQ_OVER;
}

int tine_zmq_attempt(tine_zmq *t, char *why, size_t why_size) {
    int rc = tine_zmq_open(t, why, why_size);
    if (rc) return rc;
    if (zmq_connect(t->socket, tine_zmq_address(t, t->failures))) {
        rc = errno == EINVAL ? -EINVAL : -EIO;
        snprintf(why, why_size, "cannot connect to %.80s: %s", t->url, zmq_strerror(errno));
        tine_zmq_disconnect(t);
        return rc;
    }
    t->attempt_until = t->tcp ? tine_clock_ns() + ATTEMPT_NS : INT64_MAX;
    /* The queue of a new socket is empty. */
    TINE_ASSERT(tine_zmq_send_hello(t, 0), ==, 0);
    return 0;
}

static void attempt_failed(tine_zmq *t, const char *what) {
    snprintf(t->last_error, sizeof t->last_error, "%s", what);
    tine_zmq_disconnect(t);
    int shift = t->failures < 4 ? t->failures : 4;
    t->failures++;
    t->attempt_until = tine_clock_ns() + (BACKOFF_NS << shift);
}

void tine_zmq_joined(tine_zmq *t, tine_zmq_peer *p) {
    t->phase = TINE_ZMQ_JOINED;
    if (t->hung_up) tine_zmq_peer_disconnected(t, p);
}

/* Reports a connection that never became a peer as lost, under an id of its own. */
static bool report_unknown(tine_zmq *t, const char *what, tine_event *ev) {
    *ev = (tine_event){.kind = TINE_EVENT_LOST, .peer = t->next_id++, .bad = true};
    snprintf(ev->reason, sizeof ev->reason, "%s", what);
    t->stats.peers_lost++;
    t->stats.peers_bad++;
    return true;
}

/* The failure is noted here, and reported when the connection is closed, which the monitor reports
 * next. By then the connection may be reported already: random bytes can pass for a ZMTP 1.0 peer,
 * which may have sent a message before. */
static void handshake_failed(tine_zmq *t, int event, uint32_t value) {
    const char *known = tine_zmq_handshake_error(t, event, value);
    if (event == ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL)
        snprintf(t->last_error, sizeof t->last_error,
                 "its connection ended before the ZeroMQ handshake (%s)", zmq_strerror((int)value));
    else if (known)
        snprintf(t->last_error, sizeof t->last_error, "%s", known);
    else
        snprintf(t->last_error, sizeof t->last_error, "it does not speak ZeroMQ (ZMTP error 0x%x)",
                 value);
    t->failed_handshake = true;
}

/* For each descriptor, how many connections were accepted on it that have not sent a message yet,
 * with those of them that have ended and are not reported yet. The monitor is read before a first
 * message is counted, so that accepting is always learnt first. libzmq does not name the descriptor
 * of a ZMTP 1.0 peer, which always breaks the framing; those are counted apart, and the next silent
 * connection that ends is taken for one of them. */
void tine_zmq_silent(tine_zmq *t, int fd, int change) {
    if (fd < 0) {
        t->anonymous++;
        return;
    }
    if ((size_t)fd >= t->n_silent) {
        size_t n = t->n_silent;
        int8_t *at = tine_grow(t->silent, &n, (size_t)fd + 1, 1);
        if (!at) return;
        memset(at + t->n_silent, 0, n - t->n_silent);
        t->silent = at;
        t->n_silent = n;
    }
    t->silent[fd] = (int8_t)(t->silent[fd] + change);
}

typedef struct silent_end {
    int fd;
    uint64_t cookie;   /* of what the descriptor was then; 0: that is closed */
    uint64_t received; /* t->received when that was found */
    struct sockaddr_storage from;
    char why[96];
} silent_end;

static void silent_end_closed(const tine_zmq *t, silent_end *e) {
    e->cookie = 0;
    e->received = t->received;
}

/* What had this descriptor has closed it. */
static void connection_accepted(tine_zmq *t, int fd) {
    for (size_t i = 0; i < t->silent_ends.n; i++) {
        silent_end *e = tine_ring_at(&t->silent_ends, i);
        if (e->fd == fd && e->cookie) silent_end_closed(t, e);
    }
    tine_zmq_silent(t, fd, 1);
    tine_zmq_stranger_accepted(t, fd);
}

/* libzmq reports the end of a connection, then hands over the last of what came on it, then closes
 * its descriptor. So one that has not sent a message is reported when its descriptor is closed and
 * the socket has been read to the end since, if it still has not. */
static void connection_closed(tine_zmq *t, int fd) {
    bool silent = fd >= 0 && (size_t)fd < t->n_silent && t->silent[fd] > 0;
    struct sockaddr_storage from = {0};
    const char *cut = tine_zmq_stranger_closed(t, fd, &from), *why = cut;
    if (!why && t->failed_handshake) why = t->last_error;
    if (!why)
        why = "its connection ended before its first message, or it sent a part that was too large";
    t->failed_handshake = false;
    silent_end *e = silent ? tine_ring_push(&t->silent_ends) : NULL;
    if (!e) {
        tine_zmq_suspect(t, fd);
        return;
    }
    e->fd = fd;
    e->cookie = tine_zmq_cookie(t, fd);
    e->received = t->received;
    e->from = from;
    snprintf(e->why, sizeof e->why, "%s", why);
}

/* Where there is a key many may try; each address is an event once, the others are counted. */
static bool report_stranger(tine_zmq *t, const silent_end *e, tine_event *ev) {
    char host[64] = "an unknown address", why[128];
    const struct sockaddr_in *a = (const struct sockaddr_in *)&e->from;
    const struct sockaddr_in6 *b = (const struct sockaddr_in6 *)&e->from;
    bool six = e->from.ss_family == AF_INET6;
    const void *address = six ? (const void *)&b->sin6_addr : (const void *)&a->sin_addr;
    if (!t->encrypted) return report_unknown(t, e->why, ev);
    if (tine_zmq_refused_before(t, address, six ? sizeof b->sin6_addr : sizeof a->sin_addr)) {
        t->stats.peers_lost++;
        t->stats.peers_bad++;
        return false;
    }
    if (e->from.ss_family) inet_ntop(six ? AF_INET6 : AF_INET, address, host, sizeof host);
    snprintf(why, sizeof why, "%.46s: %.78s", host, e->why);
    return report_unknown(t, why, ev);
}

/* Whether what the connection has sent has been read. */
static bool silent_end_is_drained(const tine_zmq *t, silent_end *e, bool dry) {
    if (!e->cookie) return tine_zmq_is_drained(t, e->received, dry);
    if (tine_zmq_cookie(t, e->fd) != e->cookie) silent_end_closed(t, e);
    return false;
}

/* True: `ev` reports one. */
static bool silent_end_report(tine_zmq *t, bool dry, tine_event *ev) {
    silent_end e, *first = tine_ring_first(&t->silent_ends);
    if (!first || !silent_end_is_drained(t, first, dry)) return false;
    tine_ring_pop(&t->silent_ends, &e);
    bool silent = t->silent[e.fd] > 0;
    if (silent) tine_zmq_silent(t, e.fd, -1);
    if (silent && t->anonymous) {
        t->anonymous--;
        silent = false;
    }
    if (silent) return report_stranger(t, &e, ev);
    tine_zmq_suspect(t, e.fd); /* its first message has come since */
    return false;
}

bool tine_zmq_monitor_next(tine_zmq *t, int *event, uint32_t *value) {
    zmq_msg_t m;
    uint16_t number = 0;
    zmq_msg_init(&m);
    if (zmq_msg_recv(&m, t->monitor, ZMQ_DONTWAIT) < 0) return false;
    if (zmq_msg_size(&m) >= 6) {
        memcpy(&number, zmq_msg_data(&m), 2);
        memcpy(value, (char *)zmq_msg_data(&m) + 2, 4);
    }
    *event = number;
    bool more = zmq_msg_more(&m);
    zmq_msg_close(&m);
    while (more) {
        zmq_msg_init(&m);
        more = zmq_msg_recv(&m, t->monitor, ZMQ_DONTWAIT) >= 0 && zmq_msg_more(&m);
        zmq_msg_close(&m);
    }
    return true;
}

static void connector_event(tine_zmq *t, int event, uint32_t value) {
    if (t->phase == TINE_ZMQ_JOINED) {
        tine_zmq_peer *p = tine_zmq_peer_by_id(t, 1);
        if (p) tine_zmq_peer_disconnected(t, p);
    } else if (event == ZMQ_EVENT_CLOSED) {
        /* libzmq does not say whether the connection was refused or the host is unreachable */
        attempt_failed(t, t->tcp ? "no process listens there, or its host cannot be reached"
                                 : "no process listens there");
    } else if (event == ZMQ_EVENT_DISCONNECTED) {
        t->hung_up = true; /* a hello and more may still be readable */
    } else {
        const char *known = tine_zmq_handshake_error(t, event, value);
        attempt_failed(t, known ? known : "what listens there does not speak ZeroMQ");
    }
}

void tine_zmq_monitor_read(tine_zmq *t) {
    int event;
    uint32_t value = 0;
    while (t->monitor && tine_zmq_monitor_next(t, &event, &value)) {
        if (!t->listener)
            connector_event(t, event, value);
        else if (event == ZMQ_EVENT_DISCONNECTED)
            connection_closed(t, (int)value);
        else if (event == ZMQ_EVENT_ACCEPTED)
            connection_accepted(t, (int)value);
        else if (event != ZMQ_EVENT_CLOSED)
            handshake_failed(t, event, value);
    }
    t->monitor_ready = false;
}

static bool give_up(tine_zmq *t, tine_event *ev) {
    t->phase = TINE_ZMQ_OVER;
    tine_zmq_disconnect(t);
    *ev = (tine_event){.kind = TINE_EVENT_LOST, .peer = 1};
    snprintf(ev->reason, sizeof ev->reason, "%.60s: %.60s", t->url, t->last_error);
    t->stats.peers_lost++;
    return true;
}

void tine_zmq_silent_ends_init(tine_zmq *t) { t->silent_ends = TINE_RING(silent_end); }

bool tine_zmq_progress(tine_zmq *t, bool dry, tine_event *ev) {
    if (t->silent_ends.n && silent_end_report(t, dry, ev)) return true;
    if (t->hung_up && t->phase == TINE_ZMQ_CONNECTING)
        attempt_failed(t, "the connection was closed before a hello came");
    if (t->monitor) tine_zmq_monitor_read(t);
    if (t->phase != TINE_ZMQ_CONNECTING) return false;
    int64_t now = tine_clock_ns();
    if (t->deadline >= 0 && now >= t->deadline) return give_up(t, ev);
    if (now < t->attempt_until) return false;
    if (t->socket) snprintf(t->last_error, sizeof t->last_error, "no answer");
    tine_zmq_disconnect(t);
    char why[128];
    if (tine_zmq_attempt(t, why, sizeof why)) attempt_failed(t, "no socket for another attempt");
    return false;
}
