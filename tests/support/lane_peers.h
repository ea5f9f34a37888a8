/* A connector that speaks the framing of lanes by hand, for actors that die or misbehave, and a
 * listener with a good connector beside it. */
#ifndef TINE_TESTS_SUPPORT_LANE_PEERS_H
#define TINE_TESTS_SUPPORT_LANE_PEERS_H

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

#include "tests/support/actors.h"
#include "tests/support/conformance.h"
#include "transport/base/clock.h"
#include "transport/shm/lease.h"
#include "transport/zmq/framing.h"

#define PATIENCE INT64_C(20000000000)
enum { ARENA = 64 << 20 };

static inline void die(void) { kill(getpid(), SIGKILL); }

/* ---- a connector that speaks the framing by hand ---- */

typedef struct raw_peer {
    void *context, *socket;
    tine_shm_lane lane;
    tine_shm_offer offer;
    int bell, other;
} raw_peer;

/* Reads until a message of this kind comes; its first part's size. */
static inline int raw_await(raw_peer *r, uint8_t kind, uint8_t *to, size_t room) {
    for (;;) {
        int n = zmq_recv(r->socket, to, room, 0);
        if (n < 1) _exit(3);
        if (to[0] == FRAMING_BYE) _exit(kind == FRAMING_BYE ? 0 : 4);
        if (to[0] == kind) return n;
    }
}

static inline void raw_say(raw_peer *r, const void *bytes, size_t n) {
    if (zmq_send(r->socket, bytes, n, 0) != (int)n) _exit(5);
}

static inline void raw_connect(raw_peer *r, const char *url) {
    uint8_t hello[FRAMING_HELLO_BYTES], message[256];
    int patience = (int)(PATIENCE / 1000000);
    *r = (raw_peer){.context = zmq_ctx_new()};
    r->socket = zmq_socket(r->context, ZMQ_DEALER);
    zmq_setsockopt(r->socket, ZMQ_RCVTIMEO, &patience, sizeof patience);
    if (zmq_connect(r->socket, url)) _exit(6);
    tine_framing_hello(
        hello, &(tine_framing_peer){1 << 20, 32 << 20, FRAMING_ASKS_LANE | FRAMING_ASKS_LEASES});
    raw_say(r, hello, sizeof hello);
    int n = raw_await(r, FRAMING_LANE, message, sizeof message);
    if (!tine_framing_read_lane_offer(message + 1, (size_t)n - 1, &r->offer)) _exit(7);
}

static inline void raw_open(raw_peer *r) {
    const char *why;
    r->bell = tine_shm_bell_open(r->offer.pid, r->offer.bell);
    r->other = tine_shm_bell_open(r->offer.pid, r->offer.other_bell);
    if (r->bell < 0 || r->other < 0 || tine_shm_lane_open(&r->lane, &r->offer, &why)) _exit(8);
}

static inline void raw_switch(raw_peer *r) {
    static const uint8_t say[] = {FRAMING_LANE, FRAMING_LANE_SWITCH};
    uint8_t message[64];
    raw_say(r, say, sizeof say);
    raw_await(r, FRAMING_LANE, message, sizeof message);
}

/* Tells of an arena, once it knows the listener's. */
static inline void raw_lease(raw_peer *r) {
    uint8_t message[FRAMING_LANE_ARENA_BYTES + 1] = {FRAMING_LANE};
    tine_arena_place place;
    const char *why;
    if (raw_await(r, FRAMING_LANE, message, sizeof message) != sizeof message ||
        !tine_framing_read_lane_arena(message + 1, sizeof message - 1, &place))
        _exit(10);
    if (tine_arena_open(ARENA, &why) || !tine_arena_get(&place)) _exit(11);
    tine_framing_lane_arena(message + 1, &place);
    raw_say(r, message, sizeof message);
    raw_await(r, FRAMING_LANE, message, sizeof message);
    if (message[1] != FRAMING_LANE_MAPPED) _exit(12);
}

/* A frame as the lane carries it: a header of 8 bytes and a buffer. */
static inline uint8_t *raw_reserve(raw_peer *r, uint32_t buffer) {
    const uint32_t numbers[] = {8, 1, buffer};
    uint8_t *to;
    if (tine_shm_reserve(&r->lane.out, 20 + buffer, &to) != TINE_SHM_OK) return NULL;
    memcpy(to, numbers, sizeof numbers);
    return to + sizeof numbers;
}

static inline bool raw_frame(raw_peer *r, uint64_t number, uint32_t buffer) {
    uint8_t *to = raw_reserve(r, buffer);
    if (!to) return false;
    memcpy(to, &number, sizeof number);
    tine_shm_write(&r->lane.out, 20 + buffer, 1);
    return true;
}

/* ---- the scene: a listener, and a good connector beside it ---- */

typedef struct scene {
    const tine_transport_ops *ops;
    tine_transport *listener, *good;
    tine_peer peer; /* the good one */
    char dir[64];
    uint64_t sent, echoed;
} scene;

static inline void scene_open(scene *s, const char *scheme, bool good) {
    char url[128], why[200] = "";
    *s = (scene){.ops = tine_transport_for("ipc://", why, sizeof why)};
    snprintf(s->dir, sizeof s->dir, "/tmp/test-lane-XXXXXX");
    cr_assert(mkdtemp(s->dir));
    snprintf(url, sizeof url, "ipc://%s/s", s->dir);
    if (scheme[0] == 't') snprintf(url, sizeof url, "tcp://127.0.0.1:0");
    tine_transport_config config = {.checksums = -1, .arena = ARENA};
    cr_assert_eq(s->ops->listen(&s->listener, url, &config, why, sizeof why), 0, "%s", why);
    if (!good) return;
    cr_assert_eq(s->ops->connect(&s->good, s->ops->url(s->listener), &config, why, sizeof why), 0);
    int64_t end = tine_clock_ns() + PATIENCE;
    while (!s->peer || !s->ops->uses_lane(s->listener, s->peer) || !s->ops->uses_lane(s->good, 1)) {
        tine_event l, g;
        cr_assert_lt(tine_clock_ns(), end);
        s->ops->recv(s->listener, &l);
        s->ops->recv(s->good, &g);
        if (l.kind == TINE_EVENT_UP) s->peer = l.peer;
        if (!l.kind && !g.kind) s->ops->wait(s->listener, 1000000);
    }
}

/* One round of good traffic; an event of another peer is handed back. */
static inline tine_event scene_step(scene *s) {
    tine_event g = {0}, l;
    if (s->good && s->sent - s->echoed < 8) {
        tine_frame *f = tine_conf_frame(1 + s->sent % 50, s->sent % 300, (uint32_t)s->sent);
        cr_assert_eq(s->ops->send(s->listener, s->peer, f), 0);
        s->sent++;
    }
    if (s->good) s->ops->recv(s->good, &g);
    if (g.kind == TINE_EVENT_FRAME) cr_assert_eq(s->ops->send(s->good, 1, g.frame), 0);
    cr_assert(!g.kind || g.kind == TINE_EVENT_FRAME, "the good peer saw %s", g.reason);
    s->ops->recv(s->listener, &l);
    if (l.kind == TINE_EVENT_FRAME && s->good && l.peer == s->peer) {
        cr_assert(
            tine_conf_check(l.frame, 1 + s->echoed % 50, s->echoed % 300, (uint32_t)s->echoed));
        tine_frame_free(l.frame);
        s->echoed++;
        l.kind = TINE_EVENT_NONE;
    }
    if (!l.kind && !g.kind) s->ops->wait(s->listener, 1000000);
    return l;
}

static inline tine_event scene_next(scene *s) {
    int64_t end = tine_clock_ns() + PATIENCE;
    tine_event ev;
    while (!(ev = scene_step(s)).kind) cr_assert_lt(tine_clock_ns(), end);
    return ev;
}

static inline void scene_close(scene *s) {
    char path[80];
    for (uint64_t end = s->echoed + 50; s->good && s->echoed < end;)
        cr_assert_eq(scene_step(s).kind, TINE_EVENT_NONE);
    if (s->good) s->ops->fini(s->good);
    s->ops->fini(s->listener);
    snprintf(path, sizeof path, "%s/s", s->dir);
    unlink(path);
    rmdir(s->dir);
}

#endif
