/* Strangers: connections whose first frame, which identifies them, has not come. One is cut off
 * when its time is over (first_frame_ns) or when it has sent more than a first frame may have. A
 * connection whose peer was lost and does not close it is cut off a second later, or when it has
 * sent more than was on its way. A few are accepted at a time: the others wait in the kernel's
 * queue.
 *
 * libzmq has no call that closes one connection of a socket. But its descriptor is known: a copy of
 * it is shut down, and libzmq then closes its own, which resets the connection: a peer that still
 * sends could wait for a window that nobody opens. The descriptor may meanwhile be a file of the
 * program's. So a connection is known by the cookie that the kernel gives a socket, and the cookie
 * of the copy is compared, because no other code can close the copy. */
#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "transport/zmq/internal.h"

/* A dropped peer that does not disconnect has this long to read the reason. */
static const int64_t PARTING_NS = 1000000000;
/* When there is no room, the oldest is cut off after this long. Not over ipc, where all are this
 * user's: workers that start together on few cores answer slowly. */
static const int64_t MAKE_WAY_NS = 1000000000;
/* A hello has to come by then, also where a first frame may take any time. */
static const int64_t HELLO_NS = 10000000000;
static const int64_t COUNT_NS = 10000000;  /* between two counts of what they have sent */
static const int64_t AGAIN_NS = 100000000; /* where there was no descriptor to cut one off */
/* What a connection carries beside its first frame: handshakes, heads of messages. */
enum { FIRST_FRAME_EXTRA = 64 << 10 };

/* Whether the descriptor is a connection that was accepted here; then *cookie is set. */
static bool accepted_here(const tine_zmq *t, int fd, uint64_t *cookie) {
    struct sockaddr_storage at = {0};
    socklen_t size = sizeof at, cookie_size = sizeof *cookie;
    if (fd < 0 || getsockname(fd, (struct sockaddr *)&at, &size) != 0) return false;
    if (at.ss_family != t->local.ss_family) return false;
    if (at.ss_family == AF_UNIX
            ? size != t->local_size || memcmp(&at, &t->local, size) != 0
            : ((struct sockaddr_in *)&at)->sin_port != ((struct sockaddr_in *)&t->local)->sin_port)
        return false;
    return getsockopt(fd, SOL_SOCKET, SO_COOKIE, cookie, &cookie_size) == 0;
}

uint64_t tine_zmq_cookie(const tine_zmq *t, int fd) {
    uint64_t cookie;
    return accepted_here(t, fd, &cookie) ? cookie : 0;
}

uint32_t tine_zmq_pid(const tine_zmq *t, int fd) {
    struct ucred who = {0};
    socklen_t size = sizeof who;
    if (t->tcp || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) != 0) return 0;
    return (uint32_t)who.pid;
}

static void stranger_forget(tine_zmq *t, unsigned i) {
    memmove(t->strangers + i, t->strangers + i + 1,
            (--t->n_strangers - i) * sizeof t->strangers[0]);
}

/* The connection ends: libzmq reads its end, and reports it as closed. False: there is no
 * descriptor for the copy. */
static bool connection_cut(tine_zmq *t, int fd, uint64_t cookie) {
    const struct linger reset = {.l_onoff = 1};
    uint64_t now = 0;
    int copy = tine_zmq_descriptor_copy(t, fd);
    if (copy < 0) return errno != EMFILE && errno != ENFILE;
    if (accepted_here(t, copy, &now) && now == cookie) {
        setsockopt(copy, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        shutdown(copy, SHUT_RDWR);
    }
    close(copy);
    return true;
}

/* What it has sent, as the kernel has counted. Over ipc it does not count. */
static uint64_t bytes_sent(const tine_zmq *t, int fd) {
    struct tcp_info info = {0};
    socklen_t size = sizeof info;
    if (!t->tcp || getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return 0;
    return info.tcpi_bytes_received;
}

static tine_zmq_peer *peer_of_cookie(tine_zmq *t, uint64_t cookie) {
    tine_zmq_peer *p;
    for (size_t i = 0; i < TINE_ZMQ_BUCKETS; i++)
        LIST_FOREACH (p, &t->by_id[i], by_id)
            if (p->cookie == cookie) return p;
    return NULL;
}

/* A peer is sent the reason first, and its entry is replaced by one for its parting. */
static void stranger_cut(tine_zmq *t, tine_zmq_stranger *s, const char *why) {
    tine_zmq_peer *p = s->why ? NULL : peer_of_cookie(t, s->cookie);
    if (p && p->state == TINE_ZMQ_PEER_UP) {
        tine_zmq_peer_lose(t, p, true, why);
        return;
    }
    s->why = why;
    s->until = connection_cut(t, s->fd, s->cookie) ? INT64_MAX : tine_clock_ns() + AGAIN_NS;
}

static void stranger_add(tine_zmq *t, int fd, uint64_t cookie, int64_t until, uint64_t most,
                         const char *why) {
    if (t->n_strangers == TINE_ZMQ_STRANGERS) {
        connection_cut(t, t->strangers[0].fd, t->strangers[0].cookie);
        stranger_forget(t, 0);
    }
    tine_zmq_stranger *s = &t->strangers[t->n_strangers++];
    *s = (tine_zmq_stranger){.fd = fd,
                             .cookie = cookie,
                             .since = tine_clock_ns(),
                             .until = until,
                             .most = most,
                             .why = why};
    socklen_t size = sizeof s->from;
    if (t->encrypted) getpeername(fd, (struct sockaddr *)&s->from, &size);
    t->strangers_at = 0;
}

/* Its first frame may have been read before. */
void tine_zmq_stranger_accepted(tine_zmq *t, int fd) {
    uint64_t cookie = tine_zmq_cookie(t, fd);
    const tine_zmq_peer *p = cookie ? peer_of_cookie(t, cookie) : NULL;
    const tine_transport_config *c = &t->base.config;
    int64_t wait = c->first_frame_ns;
    bool bounded = c->max_first_frame < c->max_frame;
    t->accepted++;
    if (!cookie || (p && tine_zmq_is_heard(t, p))) return;
    stranger_add(t, fd, cookie, tine_clock_ns() + (wait ? wait : HELLO_NS),
                 bounded ? c->max_first_frame + FIRST_FRAME_EXTRA : UINT64_MAX, NULL);
}

bool tine_zmq_is_heard(const tine_zmq *t, const tine_zmq_peer *p) {
    return p->heard || !t->base.config.first_frame_ns;
}

void tine_zmq_stranger_parts(tine_zmq *t, const tine_zmq_peer *p) {
    if (!p->cookie) return;
    uint64_t more = FIRST_FRAME_EXTRA + (p->heard ? tine_zmq_window(t) : 0);
    tine_zmq_stranger_heard(t, p);
    stranger_add(t, p->fd, p->cookie, tine_clock_ns() + PARTING_NS, bytes_sent(t, p->fd) + more,
                 "it was dropped");
}

void tine_zmq_stranger_heard(tine_zmq *t, const tine_zmq_peer *p) {
    for (unsigned i = 0; i < t->n_strangers; i++)
        if (t->strangers[i].cookie == p->cookie) return stranger_forget(t, i);
}

const char *tine_zmq_stranger_closed(tine_zmq *t, int fd, struct sockaddr_storage *from) {
    for (unsigned i = 0; i < t->n_strangers; i++) {
        if (t->strangers[i].fd != fd) continue;
        const char *why = t->strangers[i].why;
        *from = t->strangers[i].from;
        stranger_forget(t, i);
        return why;
    }
    return NULL;
}

static void stranger_check(tine_zmq *t, tine_zmq_stranger *s, int64_t now) {
    if (s->until == INT64_MAX) return;
    if (now >= s->until)
        stranger_cut(t, s, s->why ? s->why : "it did not identify itself in time");
    else if (bytes_sent(t, s->fd) > s->most)
        stranger_cut(t, s, s->why ? s->why : "it sent more than a first frame may have");
}

int64_t tine_zmq_strangers_check(tine_zmq *t, int64_t now) {
    if (!t->n_strangers) return INT64_MAX;
    if (now < t->strangers_at) return t->strangers_at;
    t->strangers_at = INT64_MAX;
    for (unsigned i = t->n_strangers; i-- > 0;) /* an entry is replaced by one behind it */
        stranger_check(t, &t->strangers[i], now);
    for (unsigned i = 0; i < t->n_strangers; i++) {
        const tine_zmq_stranger *s = &t->strangers[i];
        int64_t next = s->until;
        if (t->tcp && next != INT64_MAX) next = tine_timeout_min(next, now + COUNT_NS);
        if (next < t->strangers_at) t->strangers_at = next;
    }
    return t->strangers_at;
}

bool tine_zmq_strangers_room(tine_zmq *t, int64_t now) {
    unsigned n = 0;
    tine_zmq_stranger *oldest = NULL;
    for (unsigned i = 0; i < t->n_strangers; i++) {
        tine_zmq_stranger *s = &t->strangers[i];
        if (s->why) continue;
        if (!oldest) oldest = s;
        n++;
    }
    t->strangers_full = n >= TINE_ZMQ_STRANGERS_AT_A_TIME;
    if (t->strangers_full && t->tcp && now - oldest->since >= MAKE_WAY_NS)
        stranger_cut(t, oldest, "it did not identify itself, and others waited");
    return !t->strangers_full;
}
