/* Connections that do not say who they are: they are cut off in time, cannot make the listener hold
 * much, and do not keep others out. A connection whose peer was dropped is closed. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "transport/base/clock.h"
#include "transport/base/frame.h"
#include "transport/zmq/internal.h"

TestSuite(strangers, .timeout = 60);

static char why[300];
static const tine_transport_ops *ops;

enum { FIRST_FRAME = 64 << 10 };

static tine_transport *listen_for(int64_t first_frame_ns) {
    tine_transport *t;
    ops = tine_transport_for("tcp://", why, sizeof why);
    const tine_transport_config config = {.first_frame_ns = first_frame_ns,
                                          .max_first_frame = FIRST_FRAME};
    cr_assert_eq(ops->listen(&t, "tcp://127.0.0.1:0", &config, why, sizeof why), 0, "%s", why);
    return t;
}

static tine_event next_event(tine_transport *t) {
    tine_event ev;
    cr_assert_eq(ops->recv(t, &ev), 0);
    if (ev.kind == TINE_EVENT_NONE) ops->wait(t, 1000000);
    return ev;
}

static tine_event until(tine_transport *t, tine_event_kind kind) {
    for (int64_t end = tine_clock_ns() + INT64_C(20000000000);;) {
        tine_event ev = next_event(t);
        cr_assert_lt(tine_clock_ns(), end, "no event %d within 20 s", kind);
        if (ev.kind == kind) return ev;
    }
}

static int connecting_socket(tine_transport *t, int flags) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    a.sin_port = htons((uint16_t)atoi(strrchr(ops->url(t), ':') + 1));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    int rc = connect(fd, (struct sockaddr *)&a, sizeof a);
    cr_assert(!rc || (flags && errno == EINPROGRESS));
    return fd;
}

static int plain_socket(tine_transport *t) { return connecting_socket(t, 0); }

/* The handshake of ZMTP 3.1 with the NULL mechanism, as a DEALER; then `more`. */
static int zmtp_socket(tine_transport *t, const void *more, size_t n) {
    static const char ready[] = "\4\x1c\5READY\13Socket-Type\0\0\0\6DEALER";
    uint8_t greeting[64] = {0xff, [9] = 0x7f, 3, 0, 'N', 'U', 'L', 'L'};
    int fd = plain_socket(t);
    cr_assert_eq(send(fd, greeting, sizeof greeting, MSG_NOSIGNAL), (ssize_t)sizeof greeting);
    cr_assert_eq(send(fd, ready, sizeof ready - 1, MSG_NOSIGNAL), (ssize_t)sizeof ready - 1);
    /* libzmq has to have sent its own READY */
    uint8_t answer[64 + 30];
    while (n && recv(fd, answer, sizeof answer, MSG_PEEK | MSG_DONTWAIT) < (ssize_t)sizeof answer)
        cr_assert_eq(next_event(t).kind, TINE_EVENT_NONE);
    if (n) cr_assert_eq(send(fd, more, n, MSG_NOSIGNAL), (ssize_t)n);
    return fd;
}

static int hello_socket(tine_transport *t) {
    uint8_t message[2 + FRAMING_HELLO_BYTES] = {0, FRAMING_HELLO_BYTES};
    tine_framing_hello(message + 2, &(tine_framing_peer){1 << 20, 1 << 25, 0});
    return zmtp_socket(t, message, sizeof message);
}

/* True: the other side has closed it. What it has sent is read. */
static bool is_closed(int fd) {
    char bytes[4096];
    ssize_t n;
    while ((n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0) {
    }
    return n == 0 || errno != EAGAIN;
}

static void until_closed(tine_transport *t, int fd) {
    int64_t end = tine_clock_ns() + INT64_C(20000000000);
    while (!is_closed(fd)) {
        next_event(t);
        cr_assert_lt(tine_clock_ns(), end, "it is not closed");
    }
    close(fd);
}

/* Accepts so many that have not said who they are, and ends their time. A time short enough for a
 * test to wait for could be over too early on a busy machine. */
static void their_time_passes(tine_transport *t, unsigned strangers) {
    tine_zmq *z = (tine_zmq *)t;
    while (z->n_strangers < strangers) next_event(t);
    for (unsigned i = 0; i < z->n_strangers; i++) z->strangers[i].until = 0;
    z->strangers_at = 0;
}

/* Silent, silent behind the handshake (libzmq answers its PING), silent behind a hello. */
Test(strangers, the_silent_are_cut_off) {
    tine_transport *t = listen_for(INT64_C(3600000000000));
    int hello = hello_socket(t), fds[3] = {plain_socket(t), zmtp_socket(t, NULL, 0), hello};
    until(t, TINE_EVENT_UP);
    their_time_passes(t, 3);
    for (int i = 0; i < 3; i++) {
        tine_event ev = until(t, TINE_EVENT_LOST);
        cr_expect(ev.bad && strstr(ev.reason, "did not identify itself"), "%s", ev.reason);
    }
    for (int i = 0; i < 3; i++) until_closed(t, fds[i]);
    ops->fini(t);
}

/* One that has sent its first frame may be silent. */
Test(strangers, who_has_said_it_stays) {
    tine_transport *t = listen_for(INT64_C(3600000000000)), *c;
    cr_assert_eq(ops->connect(&c, ops->url(t), NULL, why, sizeof why), 0, "%s", why);
    tine_event ev;
    do {
        next_event(t);
        cr_assert_eq(ops->recv(c, &ev), 0);
    } while (ev.kind != TINE_EVENT_UP);
    cr_assert_eq(ops->send(c, 1, tine_frame_new(5, 0)), 0);
    tine_frame_free(until(t, TINE_EVENT_FRAME).frame);
    int silent = plain_socket(t);
    their_time_passes(t, 1);
    until_closed(t, silent);
    cr_assert_eq(ops->send(c, 1, tine_frame_new(6, 0)), 0);
    tine_frame_free(until(t, TINE_EVENT_FRAME).frame);
    ops->fini(c);
    ops->fini(t);
}

/* A peer that was dropped and goes on is closed after a second, so that it costs nothing more. */
Test(strangers, the_dropped_are_closed) {
    tine_transport *t = listen_for(0);
    int fd = zmtp_socket(t, "\0\3GET", 5);
    cr_assert(until(t, TINE_EVENT_LOST).bad);
    until_closed(t, fd);
    ops->fini(t);
}

/* What is cut off is reset: a peer that sends could wait for a window that nobody opens. */
Test(strangers, the_cut_off_are_reset) {
    tine_transport *t = listen_for(100000000);
    struct pollfd p = {.fd = zmtp_socket(t, NULL, 0)};
    while (poll(&p, 1, 0) == 0) next_event(t);
    cr_expect(p.revents & POLLHUP);
    close(p.fd);
    ops->fini(t);
}

/* Sends the parts of one message that never ends, which libzmq would all keep. Where the time of a
 * dropped connection would end it, that does not pass. */
static void flood_until_closed(tine_transport *t, int fd) {
    static uint8_t part[65536 + 9] = {3, 0, 0, 0, 0, 0, 1, 0, 0};
    tine_zmq *z = (tine_zmq *)t;
    size_t sent = 0;
    int64_t end = tine_clock_ns() + INT64_C(20000000000);
    ssize_t at = 0;
    for (;;) {
        ssize_t n = send(fd, part + at, sizeof part - (size_t)at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN) break;
        if (n > 0) sent += (size_t)n, at = (at + n) % (ssize_t)sizeof part;
        next_event(t);
        for (unsigned i = 0; i < z->n_strangers; i++)
            if (z->strangers[i].why && z->strangers[i].until < INT64_MAX)
                z->strangers[i].until = INT64_MAX - 1;
        cr_assert_lt(tine_clock_ns(), end, "it could send %zu bytes", sent);
    }
    close(fd);
}

Test(strangers, an_endless_first_message_is_cut_off) {
    tine_transport *t = listen_for(0);
    flood_until_closed(t, zmtp_socket(t, "\1\1\2", 3));
    ops->fini(t);
}

Test(strangers, an_endless_message_behind_a_hello_is_cut_off) {
    tine_transport *t = listen_for(INT64_C(3600000000000));
    int fd = hello_socket(t);
    until(t, TINE_EVENT_UP);
    flood_until_closed(t, fd);
    ops->fini(t);
}

Test(strangers, an_endless_message_of_a_dropped_peer_is_cut_off) {
    tine_transport *t = listen_for(INT64_C(3600000000000));
    int fd = zmtp_socket(t, "\0\3GET", 5);
    cr_assert(until(t, TINE_EVENT_LOST).bad);
    flood_until_closed(t, fd);
    ops->fini(t);
}

/* Many at once: only some are accepted, and an honest peer behind them comes in. While the gate is
 * open libzmq may accept all that the kernel's queue holds, which is one more than `backlog`. */
Test(strangers, many_do_not_keep_others_out) {
    enum { MANY = 300 };
    static int fds[MANY];
    tine_transport *t = listen_for(400000000), *c;
    const tine_zmq *z = (tine_zmq *)t;
    unsigned most = 0, limit = TINE_ZMQ_STRANGERS_AT_A_TIME + (unsigned)z->backlog;
    cr_assert_lt(limit, MANY);
    for (int i = 0; i < MANY; i++) {
        fds[i] = connecting_socket(t, SOCK_NONBLOCK);
        next_event(t);
    }
    cr_assert_eq(ops->connect(&c, ops->url(t), NULL, why, sizeof why), 0, "%s", why);
    for (bool up = false; !up;) {
        tine_event ev;
        up |= next_event(t).kind == TINE_EVENT_UP;
        cr_assert_eq(ops->recv(c, &ev), 0);
        cr_assert_neq(ev.kind, TINE_EVENT_LOST, "%s", ev.reason);
        unsigned strangers = 0;
        for (unsigned i = 0; i < z->n_strangers; i++) strangers += !z->strangers[i].why;
        if (strangers > most) most = strangers;
    }
    cr_assert_leq(most, limit, "%u at a time", most);
    for (int i = 0; i < MANY; i++) close(fds[i]);
    ops->fini(c);
    ops->fini(t);
}

/* True: one of those that fill the room was cut off for those that wait. */
static bool oldest_makes_way(tine_transport *t, int (*connected)(tine_transport *t)) {
    int fds[TINE_ZMQ_STRANGERS_AT_A_TIME];
    tine_zmq *z = (tine_zmq *)t;
    bool cut = false;
    for (int i = 0; i < TINE_ZMQ_STRANGERS_AT_A_TIME; i++) {
        fds[i] = connected(t);
        while (z->n_strangers <= (unsigned)i) next_event(t);
    }
    tine_zmq_strangers_room(z, INT64_MAX / 2);
    for (unsigned i = 0; i < z->n_strangers; i++) cut |= z->strangers[i].why != NULL;
    for (int i = 0; i < TINE_ZMQ_STRANGERS_AT_A_TIME; i++) close(fds[i]);
    ops->fini(t);
    return cut;
}

static int local_socket(tine_transport *t) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s", ops->url(t) + strlen("ipc://"));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

Test(strangers, over_ipc_slow_ones_keep_their_place) {
    const tine_transport_config config = {.first_frame_ns = INT64_C(3600000000000)};
    tine_transport *t = listen_for(config.first_frame_ns);
    cr_expect(oldest_makes_way(t, plain_socket), "tcp");
    ops = tine_transport_for("ipc://", why, sizeof why);
    cr_assert_eq(ops->listen(&t, "ipc://*", &config, why, sizeof why), 0, "%s", why);
    cr_expect_not(oldest_makes_way(t, local_socket), "ipc");
}

/* libzmq has written to the connection. */
static void until_greeted(tine_transport *t, int fd) {
    char first;
    while (recv(fd, &first, 1, MSG_PEEK | MSG_DONTWAIT) != 1) next_event(t);
}

/* The descriptor of a connection that ended is the program's file now: it is not shut down. The
 * time of the first connection is over when this test says so: libzmq must not touch the number
 * while it is another file's. */
Test(strangers, a_file_of_the_program_is_left_alone) {
    tine_transport *t = listen_for(INT64_C(3600000000000));
    tine_zmq *z = (tine_zmq *)t;
    int fd = plain_socket(t), pair[2];
    until_greeted(t, fd);
    int later = plain_socket(t); /* libzmq's thread greets it when it has done with the first */
    until_greeted(t, later);
    cr_assert_geq(z->n_strangers, 1);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    int theirs = z->strangers[0].fd, kept = dup(theirs);
    cr_assert_eq(dup2(pair[0], theirs), theirs);
    z->strangers[0].until = z->strangers_at = 0;
    while (!z->strangers[0].why) next_event(t);
    cr_assert_eq(send(pair[1], "x", 1, MSG_NOSIGNAL), 1, "it was shut down");
    cr_assert_eq(dup2(kept, theirs), theirs);
    close(fd), close(later), close(kept), close(pair[0]), close(pair[1]);
    ops->fini(t);
}
