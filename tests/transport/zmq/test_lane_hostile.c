/* A peer that writes what it likes into the shared memory of its lane. */
#include <poll.h>

#include "tests/support/lane_peers.h"
#include "transport/zmq/lane.h"

enum { ANYWHERE, RECORDS, COUNT_READ, LENDS, RETURNS, HOSTILE };

/* Half of the places that it lends at are right. */
static void hostile_lends(raw_peer *r, uint64_t seed) {
    const uint32_t numbers[] = {8, 1};
    tine_shm_place place = {
        .size = seed >> 44, .offset = seed << 6 & (ARENA - 1), .lease = seed % 64};
    uint8_t *to;
    if (tine_shm_reserve(&r->lane.out, 40, &to) != TINE_SHM_OK) return;
    if (seed >> 20 & 1)
        place = (tine_shm_place){seed >> (seed >> 58), seed * 3, (uint32_t)(seed >> 9) & 8191,
                                 (uint32_t)(seed >> 30) & 3};
    memcpy(to, numbers, sizeof numbers);
    memcpy(to + 8, &place, sizeof place);
    tine_shm_write(&r->lane.out, 40, 2);
}

static void hostile_returns(raw_peer *r, uint64_t seed) {
    atomic_fetch_or(&r->lane.borrowed->bits[seed >> 40 & 63], seed);
    atomic_fetch_add(&r->lane.borrowed->count, 1);
}

static void hostile(const order *o) {
    raw_peer r;
    uint8_t message[1 << 16];
    uint64_t seed = o->seed * UINT64_C(0x9e3779b97f4a7c15) + 1, written = 0;
    raw_connect(&r, o->url);
    raw_open(&r);
    raw_switch(&r);
    if (o->kind >= LENDS) raw_lease(&r);
    for (int i = 0; i < 10; i++) raw_frame(&r, (uint64_t)i, 100);
    tine_shm_bell_ring(r.bell);
    written = r.lane.out.at;
    for (int64_t end = tine_clock_ns() + PATIENCE; tine_clock_ns() < end;) {
        for (int i = 0; i < 256; i++) {
            seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
            uint64_t at = seed >> 33, capacity = r.lane.out.capacity;
            uint64_t value = seed >> (seed >> 58);
            if (o->kind == ANYWHERE) memcpy(r.lane.shared->bytes + 64 + at % 2048 * 8, &value, 8);
            if (o->kind == COUNT_READ) atomic_store(&r.lane.in.ring->read, value);
            if (o->kind == LENDS) hostile_lends(&r, seed);
            if (o->kind == RETURNS && i == 0) hostile_returns(&r, seed);
            if (o->kind != RECORDS) continue;
            memcpy(r.lane.out.bytes + at % capacity, &value, 8);
            if (atomic_load(&r.lane.out.ring->read) == written) {
                written += 8 * (1 + at % 64);
                atomic_store(&r.lane.out.ring->written, written);
            }
        }
        tine_shm_bell_ring(r.bell);
        if (zmq_recv(r.socket, message, sizeof message, ZMQ_DONTWAIT) > 0 &&
            message[0] == FRAMING_BYE)
            _exit(0);
    }
    _exit(1);
}

static uint64_t bytes_sum(const tine_buffer *b) {
    uint64_t sum = 0;
    for (size_t i = 0; i < b->size; i += 512) sum += ((const uint8_t *)b->data)[i];
    return b->size ? sum + ((const uint8_t *)b->data)[b->size - 1] : sum;
}

static void until_dropped(scene *s, int kind) {
    static volatile uint64_t sum; /* of what it sends: all of it can be read */
    tine_peer peer = 0;
    for (int64_t end = tine_clock_ns() + PATIENCE;;) {
        tine_event ev = scene_step(s);
        cr_assert_lt(tine_clock_ns(), end);
        if (ev.kind == TINE_EVENT_UP) peer = ev.peer;
        if (ev.kind == TINE_EVENT_FRAME) {
            for (uint32_t i = 0; i < ev.frame->n_buffers; i++)
                sum += bytes_sum(ev.frame->buffers[i]);
            tine_frame_free(ev.frame);
        }
        if (ev.kind == TINE_EVENT_LOST) {
            cr_assert(ev.peer == peer && ev.bad, "%s", ev.reason);
            cr_assert(strstr(ev.reason, "broke its lane"), "%s", ev.reason);
            return;
        }
        bool lends = s->ops->uses_lane(s->listener, peer) == TINE_LANE_BUFFERS;
        tine_frame *f = NULL; /* the ring has room for the first ones only: nobody reads it */
        if (peer && (lends || kind < LENDS))
            f = tine_conf_frame(30000, lends ? 1 << 20 : SIZE_MAX, 1);
        if (f && s->ops->send(s->listener, peer, f)) tine_frame_free(f);
    }
}

Test(zmq_lane_hostile, a_peer_that_breaks_its_lane_is_dropped_alone, .timeout = 120) {
    actors a = actors_new(hostile);
    scene s;
    scene_open(&s, "ipc", true);
    for (unsigned i = 0; i < 60; i++) {
        int kind = (int)(i % HOSTILE);
        actors_order(&a, s.ops->url(s.listener), kind, i);
        until_dropped(&s, kind);
        cr_assert_eq(actors_status(&a), 0, "it was told");
    }
    tine_transport_stats stats;
    s.ops->stats(s.listener, &stats);
    cr_expect_eq(stats.peers_bad, 60);
    scene_close(&s);
    actors_fini(&a);
}

/* ---- what is held ---- */

/* When it is told to. */
static void says_bye(const order *o) {
    static const uint8_t bye = FRAMING_BYE;
    raw_peer r;
    uint8_t message[256];
    raw_connect(&r, o->url);
    raw_open(&r);
    raw_switch(&r);
    if (poll(&(struct pollfd){.fd = r.other, .events = POLLIN}, 1, 20000) != 1) _exit(1);
    raw_say(&r, &bye, 1);
    raw_await(&r, FRAMING_BYE, message, sizeof message);
}

/* Its count of what it has written, which is `more` when the listener reads its BYE and falls
 * back. The memory is shared: so the test can store it when it matters. */
static void bye_is_held(tine_zmq *t, uint64_t more) {
    tine_zmq_lane *l = TAILQ_FIRST(&t->lanes);
    tine_event ev;
    cr_assert(l);
    atomic_store(&l->shm.in.ring->written, l->shm.in.at + more);
    tine_shm_bell_ring(l->bell);
    for (int64_t end = tine_clock_ns() + PATIENCE; !t->n_held;) {
        zmq_pollitem_t socket = {.socket = t->socket, .events = ZMQ_POLLIN};
        cr_assert_lt(tine_clock_ns(), end);
        zmq_poll(&socket, 1, 1000);
        tine_zmq_receive(t, &ev);
    }
    atomic_store(&l->shm.in.ring->written, l->shm.in.at);
}

Test(zmq_lane_hostile, a_peer_that_takes_back_what_was_sent_before_its_bye_is_dropped,
     .timeout = 60) {
    actors a = actors_new(says_bye);
    scene s;
    tine_event ev = {0};
    scene_open(&s, "ipc", false);
    tine_zmq *t = (tine_zmq *)s.listener;
    for (int i = 0; i < 2; i++) {
        actors_order(&a, s.ops->url(s.listener), 0, 0);
        for (int64_t end = tine_clock_ns() + PATIENCE; !t->n_lanes;) {
            cr_assert_lt(tine_clock_ns(), end);
            s.ops->recv(s.listener, &ev);
            if (!t->n_lanes) s.ops->wait(s.listener, 1000000);
        }
        bye_is_held(t, i ? UINT64_C(1) << 62 : 8);
        for (int k = 0; k < 100 && ev.kind != TINE_EVENT_LOST; k++) s.ops->recv(s.listener, &ev);
        cr_assert_eq(ev.kind, TINE_EVENT_LOST, "the sockets are not read any more");
        cr_expect(ev.bad && strstr(ev.reason, "broke its lane"), "%s", ev.reason);
        cr_expect_eq(t->n_held, 0);
        actors_status(&a);
    }
    scene_close(&s);
    actors_fini(&a);
}

/* ---- what it has not promised ---- */

/* Bit 3 of its flags is not set. */
static void lends_to_the_listener(const order *o) {
    raw_peer r;
    uint8_t message[256];
    raw_connect(&r, o->url);
    raw_open(&r);
    raw_switch(&r);
    raw_lease(&r);
    raw_await(&r, FRAMING_BYE, message, sizeof message);
}

static unsigned lenders(const tine_zmq *t) {
    const tine_zmq_lane *l;
    unsigned n = 0;
    TAILQ_FOREACH (l, &t->lanes, entry) n += l->leases.lender.memory != NULL;
    return n;
}

/* It may free what others still read when the listener has died. */
Test(zmq_lane_hostile, others_are_not_told_of_a_peer_that_does_not_heed_their_locks,
     .timeout = 60) {
    actors a = actors_new(lends_to_the_listener);
    scene s;
    tine_peer peer = 0;
    scene_open(&s, "ipc", true);
    const tine_zmq *t = (tine_zmq *)s.listener;
    actors_order(&a, s.ops->url(s.listener), 0, 0);
    for (int64_t end = tine_clock_ns() + PATIENCE; lenders(t) < 2;) {
        tine_event ev = scene_step(&s);
        cr_assert(tine_clock_ns() < end && ev.kind != TINE_EVENT_LOST, "%s", ev.reason);
        if (ev.kind == TINE_EVENT_UP) peer = ev.peer;
    }
    const tine_zmq_lane *l;
    TAILQ_FOREACH (l, &t->lanes, entry) cr_expect_eq(l->leases.neighbours.n, 0);
    s.ops->drop(s.listener, peer, false, "the test is over");
    cr_expect_eq(scene_next(&s).kind, TINE_EVENT_LOST);
    cr_expect_eq(actors_status(&a), 0);
    scene_close(&s);
    actors_fini(&a);
}
