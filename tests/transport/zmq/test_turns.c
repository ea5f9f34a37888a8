/* One call of recv handles a bounded number of bytes, so that its caller keeps its deadlines. */
#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/conformance.h"
#include "transport/base/clock.h"
#include "transport/zmq/internal.h"

enum { LARGE = 12 << 20, MOST = TINE_ZMQ_TURN_BYTES + (2 << 20) };

static uint64_t read_of(tine_transport *t) {
    const tine_zmq_peer *p = tine_zmq_peer_by_id((tine_zmq *)t, 1);
    return p ? p->read : 0;
}

/* Until libzmq has written what it was given. */
static void send_all(const tine_transport_ops *ops, tine_transport *c) {
    const tine_zmq_peer *p = tine_zmq_peer_by_id((tine_zmq *)c, 1);
    tine_event ev;
    cr_assert_eq(ops->send(c, 1, tine_conf_frame(10, LARGE, 3)), 0);
    while (ops->busy(c) || atomic_load(&p->flight->bytes)) {
        cr_assert_eq(ops->recv(c, &ev), 0);
        ops->wait(c, 1000000);
    }
}

/* How many bytes one call of recv has read at most, until the frame is there. */
static uint64_t receive_all(const tine_transport_ops *ops, tine_transport *t) {
    uint64_t most = 0;
    for (tine_event ev;;) {
        uint64_t before = read_of(t);
        cr_assert_eq(ops->recv(t, &ev), 0);
        uint64_t now = read_of(t) - before;
        if (now > most) most = now;
        if (ev.kind == TINE_EVENT_NONE) ops->wait(t, -1); /* returns where more has come */
        if (ev.kind != TINE_EVENT_FRAME) continue;
        cr_assert(tine_conf_check(ev.frame, 10, LARGE, 3));
        tine_frame_free(ev.frame);
        return most;
    }
}

/* A listener at `url` and a connector that have met. */
static const tine_transport_ops *join(const char *url, tine_transport **t, tine_transport **c) {
    char why[200] = "";
    const tine_transport_ops *ops = tine_transport_for(url, why, sizeof why);
    const tine_transport_config config = {.lane = -1};
    tine_event ev;
    cr_assert_eq(ops->listen(t, url, &config, why, sizeof why), 0, "%s", why);
    cr_assert_eq(ops->connect(c, ops->url(*t), &config, why, sizeof why), 0, "%s", why);
    do {
        cr_assert_eq(ops->recv(*t, &ev), 0);
        cr_assert_eq(ops->recv(*c, &ev), 0);
    } while (ev.kind != TINE_EVENT_UP);
    return ops;
}

/* A frame of 12 MiB lies there whole: it takes more than one call. Repeated until one call has met
 * as much as it handles. */
Test(turns, bytes_of_one_call_are_bounded, .timeout = 60) {
    tine_transport *t, *c;
    const tine_transport_ops *ops = join("tcp://127.0.0.1:0", &t, &c);
    for (uint64_t most = 0; most < TINE_ZMQ_TURN_BYTES;) {
        send_all(ops, c);
        most = receive_all(ops, t);
        cr_assert_leq(most, MOST, "one call of recv read %llu bytes", (unsigned long long)most);
    }
    ops->fini(c);
    ops->fini(t);
}

/* The call that ends a turn learns that the connection is closed, while nothing is left to read and
 * the monitor will not become readable again: the wait after it has to return. */
Test(turns, a_connection_closed_at_the_end_of_a_turn_is_reported, .timeout = 60) {
    tine_transport *t, *c;
    tine_event ev;
    const tine_transport_ops *ops = join("tcp://127.0.0.1:0", &t, &c);
    tine_zmq *z = (tine_zmq *)t;
    ops->fini(c);
    while (LIST_EMPTY(&z->watched)) {
        struct pollfd p = {.fd = z->monitor_fd, .events = POLLIN};
        cr_assert_geq(poll(&p, 1, 100), 0);
        z->turn_bytes = TINE_ZMQ_TURN_BYTES;
        cr_assert_eq(ops->recv(t, &ev), 0);
        cr_assert_eq(ev.kind, TINE_EVENT_NONE);
    }
    while (ev.kind != TINE_EVENT_LOST) {
        ops->wait(t, -1);
        cr_assert_eq(ops->recv(t, &ev), 0);
    }
    ops->fini(t);
}

/* The connection is known to be closed when most of what came on it is still to be read: its peer
 * is lost after that, and what is left of it is not taken for another peer. Over ipc, since a TCP
 * connection that is closed early loses what is under way. */
Test(turns, a_closed_connection_is_read_to_its_end_before_its_peer_is_lost, .timeout = 60) {
    char url[200];
    const char *tmp = getenv("TMPDIR");
    snprintf(url, sizeof url, "ipc://%s/turns", tmp ? tmp : "/tmp");
    tine_transport *t, *c;
    tine_event ev;
    const tine_transport_ops *ops = join(url, &t, &c);
    tine_zmq *z = (tine_zmq *)t;
    send_all(ops, c);
    ops->fini(c);
    for (int turns = 0; turns < 8; turns += !LIST_EMPTY(&z->watched)) {
        struct pollfd p = {.fd = z->monitor_fd, .events = POLLIN};
        cr_assert_geq(poll(&p, 1, LIST_EMPTY(&z->watched) ? 100 : 0), 0);
        z->turn_bytes = TINE_ZMQ_TURN_BYTES;
        cr_assert_eq(ops->recv(t, &ev), 0);
        cr_assert_eq(ev.kind, TINE_EVENT_NONE, "event %d: %s", ev.kind, ev.reason);
        ops->wait(t, -1);
    }
    receive_all(ops, t);
    do cr_assert_eq(ops->recv(t, &ev), 0);
    while (ev.kind == TINE_EVENT_NONE);
    cr_assert(ev.kind == TINE_EVENT_LOST && ev.peer == 1, "event %d", ev.kind);
    ops->fini(t);
}

/* Messages of others keep coming, faster than they are handled: the socket is never read to the
 * end. */
Test(turns, a_closed_connection_is_reported_under_a_load_that_never_ends, .timeout = 60) {
    tine_transport *t, *c;
    tine_event ev;
    const tine_transport_ops *ops = join("tcp://127.0.0.1:0", &t, &c);
    tine_zmq *z = (tine_zmq *)t;
    ops->fini(c);
    do {
        struct pollfd p = {.fd = z->monitor_fd, .events = POLLIN};
        cr_assert_geq(poll(&p, 1, LIST_EMPTY(&z->watched) ? 100 : 0), 0);
        z->turn_bytes = TINE_ZMQ_TURN_BYTES;
        z->received += 2048;
        cr_assert_eq(ops->recv(t, &ev), 0);
    } while (ev.kind == TINE_EVENT_NONE);
    cr_assert(ev.kind == TINE_EVENT_LOST && ev.peer == 1, "event %d", ev.kind);
    ops->fini(t);
}
