/* A listener and a good connector that exchange frames while a bad peer, a ZeroMQ client of the
 * test's own, talks to the listener. */
#ifndef TINE_TESTS_SUPPORT_BAD_PEERS_H
#define TINE_TESTS_SUPPORT_BAD_PEERS_H

#include <criterion/criterion.h>
#include <zmq.h>

#include "tests/support/conformance.h"
#include "transport/base/clock.h"

/* A listener and a good connector, both driven by the test's one thread, and what passed between
 * them. */
typedef struct scene {
    const tine_transport_ops *ops;
    tine_transport *listener, *good;
    tine_peer peer; /* the good one */
    unsigned sent, echoed;
    void *context;
} scene;

static inline tine_event next(const tine_transport_ops *ops, tine_transport *t) {
    tine_event ev;
    cr_assert_eq(ops->recv(t, &ev), 0);
    return ev;
}

/* Without checksums: an attack is refused for what it is. */
static inline void scene_init(scene *s) {
    char why[200] = "";
    const tine_transport_config without = {.checksums = -1}, *config = &without;
    *s = (scene){.ops = tine_transport_for("tcp://", why, sizeof why)};
    cr_assert_not_null(s->ops, "%s", why);
    cr_assert_eq(s->ops->listen(&s->listener, "tcp://127.0.0.1:0", config, why, sizeof why), 0,
                 "%s", why);
    cr_assert_eq(s->ops->connect(&s->good, s->ops->url(s->listener), config, why, sizeof why), 0,
                 "%s", why);
    for (bool up = false; !s->peer || !up;) {
        tine_event l = next(s->ops, s->listener), g = next(s->ops, s->good);
        if (l.kind == TINE_EVENT_UP) s->peer = l.peer;
        up |= g.kind == TINE_EVENT_UP;
        if (!l.kind && !g.kind) s->ops->wait(s->listener, 1000000);
    }
    s->context = zmq_ctx_new();
}

/* One round of the good traffic; an event of the listener that does not belong to it is handed
 * back. */
static inline tine_event step(scene *s) {
    if (s->sent - s->echoed < 8) {
        tine_frame *f = tine_conf_frame(1 + s->sent % 50, s->sent % 300, s->sent);
        cr_assert_eq(s->ops->send(s->listener, s->peer, f), 0);
        s->sent++;
    }
    tine_event g = next(s->ops, s->good);
    if (g.kind == TINE_EVENT_FRAME) cr_assert_eq(s->ops->send(s->good, 1, g.frame), 0);
    cr_assert(g.kind == TINE_EVENT_FRAME || g.kind == TINE_EVENT_NONE,
              "the good peer saw event %d: %s", g.kind, g.reason);
    tine_event l = next(s->ops, s->listener);
    if (l.kind == TINE_EVENT_FRAME && l.peer == s->peer) {
        cr_assert(tine_conf_check(l.frame, 1 + s->echoed % 50, s->echoed % 300, s->echoed));
        tine_frame_free(l.frame);
        s->echoed++;
        l.kind = TINE_EVENT_NONE;
    }
    if (!l.kind && !g.kind) s->ops->wait(s->listener, 1000000);
    return l;
}

/* Drives the scene until a peer is lost. */
static inline tine_event until_lost(scene *s) {
    int64_t end = tine_clock_ns() + INT64_C(20000000000);
    while (tine_clock_ns() < end) {
        tine_event ev = step(s);
        cr_assert(ev.kind != TINE_EVENT_FRAME, "a frame of peer %llu", (unsigned long long)ev.peer);
        if (ev.kind == TINE_EVENT_LOST) return ev;
    }
    cr_assert(false, "nobody was lost");
    return (tine_event){0};
}

static inline void more_good_traffic(scene *s) {
    unsigned target = s->echoed + 100;
    while (s->echoed < target) {
        tine_event ev = step(s);
        cr_assert_eq(ev.kind, TINE_EVENT_NONE, "event %d: %s", ev.kind, ev.reason);
    }
}

static inline void scene_fini(scene *s, unsigned bad) {
    more_good_traffic(s);
    tine_transport_stats stats;
    s->ops->stats(s->listener, &stats);
    cr_assert_eq(stats.peers_bad, bad, "%llu bad peers counted",
                 (unsigned long long)stats.peers_bad);
    cr_assert_eq(stats.peers_lost, bad);
    s->ops->fini(s->good);
    s->ops->fini(s->listener);
    zmq_ctx_term(s->context);
}

static inline void *dealer(scene *s) {
    int zero = 0;
    void *d = zmq_socket(s->context, ZMQ_DEALER);
    zmq_setsockopt(d, ZMQ_LINGER, &zero, sizeof zero);
    cr_assert_eq(zmq_connect(d, s->ops->url(s->listener)), 0);
    return d;
}

static inline void say(void *d, const void *bytes, size_t n, bool more) {
    cr_assert_eq(zmq_send(d, bytes, n, more ? ZMQ_SNDMORE : 0), (int)n);
}

/* version 2, chunk 1 MiB, window 32 MiB and some, no checksums */
#define HELLO "\1TINE\2\0\x10\0\0\2\0\x80\0\0\xd2\xf7\xb1\x43"
#define SAY(d, text, more) say(d, text, sizeof(text) - 1, more)

#endif
