/* Pairs of connectors: frames between them, what is dropped, and what becomes of the rest when one
 * of them breaks the memory that they share, or ends. */
#include <errno.h>
#include <sys/wait.h>

#include "tests/support/lane_peers.h"
#include "tests/support/leftovers.h"
#include "transport/base/log.h"
#include "transport/zmq/lane.h"

enum { ENDS = 3 };
static const tine_transport_config config = {.checksums = -1};

typedef struct trio { /* a listener, and connectors that it knows as these peers */
    const tine_transport_ops *ops;
    tine_transport *t[ENDS];
    tine_peer peer[ENDS];
    tine_frame *came[ENDS]; /* the last frame, and from whom */
    tine_peer from[ENDS];
    bool lost[ENDS];
} trio;

/* The listener, and as many connectors. */
static void trio_step_some(trio *s, int connectors) {
    bool any = false;
    for (int i = 0; i <= connectors; i++) {
        tine_event ev;
        if (!s->t[i] || s->ops->recv(s->t[i], &ev)) continue;
        any |= ev.kind != TINE_EVENT_NONE;
        for (int k = 1; i == 0 && ev.kind == TINE_EVENT_UP && k < ENDS; k++)
            if (!s->peer[k] || k == ENDS - 1) {
                s->peer[k] = ev.peer;
                break;
            }
        s->lost[i] |= ev.kind == TINE_EVENT_LOST;
        if (ev.kind != TINE_EVENT_FRAME) continue;
        tine_frame_free(s->came[i]);
        s->came[i] = ev.frame;
        s->from[i] = ev.peer;
    }
    if (!any) s->ops->wait(s->t[0], 1000000);
}

static void trio_step(trio *s) { trio_step_some(s, ENDS - 1); }

static bool trio_use_lanes(const trio *s) {
    for (int i = 1; i < ENDS; i++)
        if (!s->peer[i] || s->ops->uses_lane(s->t[0], s->peer[i]) == TINE_LANE_UNUSED ||
            s->ops->uses_lane(s->t[i], 1) == TINE_LANE_UNUSED)
            return false;
    return true;
}

static void trio_until(trio *s, bool (*ready)(const trio *s)) {
    for (int64_t end = tine_clock_ns() + PATIENCE; !ready(s); trio_step(s))
        cr_assert_lt(tine_clock_ns(), end);
}

static void trio_listen(trio *s) {
    char why[200] = "", url[] = "tcp://127.0.0.1:0";
    tine_log_level_set(TINE_LOG_ERROR);
    *s = (trio){.ops = tine_transport_for(url, why, sizeof why)};
    cr_assert_eq(s->ops->listen(&s->t[0], url, &config, why, sizeof why), 0, "%s", why);
}

/* `answering`: so many connectors receive, too. */
static void trio_connect_one(trio *s, int i, int lane, int answering) {
    char why[200] = "";
    tine_transport_config own = config;
    own.lane = lane;
    cr_assert_eq(s->ops->connect(&s->t[i], s->ops->url(s->t[0]), &own, why, sizeof why), 0);
    for (int64_t end = tine_clock_ns() + PATIENCE; !s->peer[i]; trio_step_some(s, answering))
        cr_assert_lt(tine_clock_ns(), end);
}

/* `lane`: of the last connector. */
static void trio_connect(trio *s, int lane, int answering) {
    trio_listen(s);
    for (int i = 1; i < ENDS; i++) trio_connect_one(s, i, i == ENDS - 1 ? lane : 0, answering);
}

static void trio_open(trio *s, int lane) {
    trio_connect(s, lane, ENDS - 1);
    if (lane >= 0) trio_until(s, trio_use_lanes);
}

static bool trio_is_paired(const trio *s) {
    return ((tine_zmq *)s->t[1])->n_lanes == 2 && ((tine_zmq *)s->t[2])->n_lanes == 2;
}

/* Both have answered. */
static bool trio_answers_pair(const trio *s) {
    int rc = s->ops->pair(s->t[0], s->peer[1], s->peer[2]);
    cr_assert(rc == 0 || rc == -EAGAIN, "%d", rc);
    return rc == 0;
}

static void trio_open_paired(trio *s) {
    trio_open(s, 0);
    cr_assert_eq(s->ops->pair(s->t[0], s->peer[1], s->peer[2]), -EAGAIN);
    trio_until(s, trio_answers_pair);
    cr_assert(trio_is_paired(s));
}

static void trio_end(trio *s, int i) {
    s->ops->fini(s->t[i]);
    s->t[i] = NULL;
}

static void trio_close(trio *s) {
    for (int i = ENDS - 1; i >= 0; i--) {
        tine_frame_free(s->came[i]);
        if (s->t[i]) trio_end(s, i);
    }
    cr_expect_eq(leftover_mappings("tine-lane"), 0);
}

/* Negative: it was not taken. */
static int trio_send(trio *s, int from, int to, size_t size, uint32_t seed) {
    tine_frame *f = tine_conf_frame(8, size, seed);
    int rc = s->ops->send(s->t[from], tine_peer_other(s->peer[to]), f);
    if (rc) tine_frame_free(f);
    return rc;
}

static void trio_receive(trio *s, int from, int to, size_t size, uint32_t seed) {
    for (int64_t end = tine_clock_ns() + PATIENCE; !s->came[to]; trio_step(s))
        cr_assert_lt(tine_clock_ns(), end);
    cr_assert_eq(s->from[to], tine_peer_other(s->peer[from]));
    cr_assert(tine_conf_check(s->came[to], 8, size, seed));
    tine_frame_free(s->came[to]);
    s->came[to] = NULL;
}

/* Frames to and from the listener pass as ever. */
static void trio_check_listener(trio *s, int connector) {
    cr_assert_eq(s->ops->send(s->t[connector], 1, tine_conf_frame(8, 5000, 3)), 0);
    for (int64_t end = tine_clock_ns() + PATIENCE; !s->came[0]; trio_step(s))
        cr_assert_lt(tine_clock_ns(), end);
    cr_assert(s->from[0] == s->peer[connector] && tine_conf_check(s->came[0], 8, 5000, 3));
    tine_frame_free(s->came[0]);
    s->came[0] = NULL;
    cr_assert_not(s->lost[connector]);
}

Test(zmq_pair, frames_pass_both_ways_without_the_listener, .timeout = 60) {
    trio s;
    unsigned fds = leftover_descriptors();
    trio_open_paired(&s);
    tine_transport_stats before, after;
    s.ops->stats(s.t[0], &before);
    for (uint32_t i = 0; i < 500; i++) {
        size_t size = i % 5 ? i : SIZE_MAX;
        cr_assert_eq(trio_send(&s, 1, 2, size, i), 0);
        cr_assert_eq(trio_send(&s, 2, 1, size, i), 0);
        trio_receive(&s, 1, 2, size, i);
        trio_receive(&s, 2, 1, size, i);
    }
    s.ops->stats(s.t[0], &after);
    cr_expect_eq(after.frames_in, before.frames_in);
    cr_expect_eq(s.ops->pair(s.t[0], s.peer[2], s.peer[1]), 0, "they are");
    trio_close(&s);
    cr_expect_eq(leftover_descriptors(), fds);
}

Test(zmq_pair, a_frame_without_room_or_too_large_is_not_taken, .timeout = 60) {
    trio s;
    uint32_t sent = 0;
    trio_open_paired(&s);
    cr_expect_eq(trio_send(&s, 1, 2, 1 << 20, 0), -EPIPE);
    while (trio_send(&s, 1, 2, 1000, sent) == 0) cr_assert_lt(++sent, 1000u);
    cr_assert_gt(sent, 30u, "the ring's capacity");
    for (uint32_t i = 0; i < sent; i++) {
        tine_event ev = {0};
        while (ev.kind != TINE_EVENT_FRAME) cr_assert_eq(s.ops->recv(s.t[2], &ev), 0);
        cr_assert(tine_conf_check(ev.frame, 8, 1000, i));
        tine_frame_free(ev.frame);
    }
    cr_expect_eq(trio_send(&s, 1, 2, 1000, 1), 0, "there is room again");
    trio_receive(&s, 1, 2, 1000, 1);
    cr_expect_eq(trio_send(&s, 1, 0, 8, 1), -EPIPE, "no such peer");
    trio_check_listener(&s, 1);
    trio_close(&s);
}

static bool nothing_is_queued(const trio *s) {
    return !tine_zmq_peer_by_id((tine_zmq *)s->t[1], 1)->queued;
}

/* What is queued is lost with its process: the other one would have what came after it. */
Test(zmq_pair, a_frame_does_not_overtake_those_queued_for_the_listener, .timeout = 60) {
    trio s;
    trio_open_paired(&s);
    for (int i = 0; nothing_is_queued(&s); i++) {
        cr_assert_lt(i, 1000);
        cr_assert_eq(s.ops->send(s.t[1], 1, tine_conf_frame(8, 100000, 3)), 0);
    }
    cr_expect_eq(trio_send(&s, 1, 2, 100, 1), -EPIPE);
    trio_until(&s, nothing_is_queued);
    cr_expect_eq(trio_send(&s, 1, 2, 100, 2), 0);
    trio_receive(&s, 1, 2, 100, 2);
    trio_close(&s);
}

Test(zmq_pair, a_connector_without_a_lane_is_in_no_pair, .timeout = 60) {
    trio s;
    trio_open(&s, -1);
    cr_expect_eq(s.ops->pair(s.t[0], s.peer[1], s.peer[2]), -EINVAL);
    cr_expect_eq(s.ops->pair(s.t[0], s.peer[1], s.peer[1]), -EINVAL);
    cr_expect_eq(s.ops->pair(s.t[0], s.peer[1], 77), -EINVAL);
    cr_expect_eq(trio_send(&s, 1, 2, 8, 1), -EPIPE);
    trio_close(&s);
}

Test(zmq_pair, connectors_that_have_not_answered_the_offer_of_a_lane_are_a_pair_later,
     .timeout = 60) {
    trio s;
    trio_connect(&s, 0, 0);
    cr_expect_eq(s.ops->pair(s.t[0], s.peer[1], s.peer[2]), -EAGAIN);
    cr_expect_eq(s.ops->pair(s.t[0], s.peer[1], 77), -EINVAL);
    trio_until(&s, trio_use_lanes);
    trio_until(&s, trio_answers_pair);
    trio_close(&s);
}

static bool first_is_alone(const trio *s) { return ((tine_zmq *)s->t[1])->n_lanes == 1; }

static bool pair_is_refused(const trio *s) {
    return s->ops->pair(s->t[0], s->peer[1], s->peer[2]) == -EINVAL;
}

/* The other one, which has opened the memory, would send there for nothing. */
Test(zmq_pair, connectors_of_which_one_cannot_open_the_memory_are_no_pair, .timeout = 60) {
    trio s;
    uint8_t answer[FRAMING_LANE_NUMBER_BYTES + 2];
    trio_open(&s, 0);
    tine_zmq *second = (tine_zmq *)s.t[2];
    cr_assert_eq(s.ops->pair(s.t[0], s.peer[1], s.peer[2]), -EAGAIN);
    tine_framing_lane_number(answer, FRAMING_LANE_PAIRED, (uint32_t)s.peer[1]);
    memcpy(answer + FRAMING_LANE_NUMBER_BYTES, "no", 2);
    cr_assert_eq(tine_zmq_send_short(second, tine_zmq_peer_by_id(second, 1), FRAMING_LANE, answer,
                                     sizeof answer),
                 0);
    trio_until(&s, pair_is_refused);
    trio_until(&s, first_is_alone);
    cr_expect_eq(trio_send(&s, 1, 2, 8, 1), -EPIPE);
    cr_expect_eq(s.ops->pair(s.t[0], s.peer[2], s.peer[1]), -EINVAL);
    trio_check_listener(&s, 1);
    trio_check_listener(&s, 2);
    trio_close(&s);
}

Test(zmq_pair, what_an_ended_connector_has_sent_is_still_read, .timeout = 60) {
    trio s;
    unsigned fds = leftover_descriptors();
    trio_open_paired(&s);
    cr_assert_eq(trio_send(&s, 2, 1, 100, 9), 0);
    trio_end(&s, 2);
    trio_receive(&s, 2, 1, 100, 9);
    trio_until(&s, first_is_alone);
    cr_expect_eq(trio_send(&s, 1, 2, 100, 9), -EPIPE);
    cr_expect(LIST_EMPTY(&((tine_zmq *)s.t[0])->pairs));
    trio_check_listener(&s, 1);
    trio_close(&s);
    cr_expect_eq(leftover_descriptors(), fds);
}

/* The ring of the other one is rewritten at random while it is in use: no more than the pair ends,
 * and is said to. */
Test(zmq_pair, a_connector_that_rewrites_the_memory_harms_nobody_else, .timeout = 120) {
    uint32_t x = 7;
    for (int round = 0; round < 30; round++) {
        trio s;
        trio_open_paired(&s);
        tine_zmq_lane *l = TAILQ_LAST(&((tine_zmq *)s.t[2])->lanes, tine_zmq_lane_queue);
        bool told = false;
        cr_assert(l->other);
        for (int i = 0; i < 400 && ((tine_zmq *)s.t[1])->n_lanes == 2; i++) {
            (void)trio_send(&s, 2, 1, i, 1);
            x = x * 1664525 + 1013904223;
            if (round % 3 == 0) atomic_store(&l->shm.out.ring->written, x);
            if (round % 3 == 1) l->shm.out.bytes[(x >> 8) % 1000] ^= (uint8_t)x;
            if (round % 3 == 2) atomic_fetch_add(&l->shm.out.ring->written, 8 * (x >> 24));
            tine_event ev;
            cr_assert_eq(s.ops->recv(s.t[1], &ev), 0);
            told |= ev.kind == TINE_EVENT_LOST && ev.peer == tine_peer_other(s.peer[2]);
            cr_assert(ev.kind != TINE_EVENT_LOST || told, "%s", ev.reason);
            tine_frame_free(ev.kind == TINE_EVENT_FRAME ? ev.frame : NULL);
        }
        cr_expect_eq(told, ((tine_zmq *)s.t[1])->n_lanes == 1, "round %d", round);
        /* changed bytes may be those of a frame's content */
        if (round % 3 != 1) cr_expect_eq(((tine_zmq *)s.t[1])->n_lanes, 1, "round %d", round);
        trio_check_listener(&s, 1);
        trio_check_listener(&s, 2);
        trio_close(&s);
    }
}

/* What has come from it is not read any more. */
Test(zmq_pair, a_connector_that_is_dropped_is_reported_lost_once, .timeout = 60) {
    for (int has_sent = 0; has_sent < 2; has_sent++) {
        trio s;
        trio_open_paired(&s);
        tine_event ev = {0};
        tine_peer other = tine_peer_other(s.peer[2]);
        if (has_sent) cr_assert_eq(trio_send(&s, 2, 1, 100, 1), 0);
        s.ops->drop(s.t[1], other, true, "a message of it is malformed");
        s.ops->drop(s.t[1], other, false, "again");
        s.ops->drop(s.t[1], tine_peer_other(77), false, "nobody");
        for (int64_t end = tine_clock_ns() + PATIENCE; ev.kind == TINE_EVENT_NONE;) {
            cr_assert_lt(tine_clock_ns(), end);
            s.ops->wait(s.t[1], -1); /* does not block */
            cr_assert_eq(s.ops->recv(s.t[1], &ev), 0);
        }
        cr_assert(ev.kind == TINE_EVENT_LOST && ev.peer == other && ev.bad);
        cr_expect_str_eq(ev.reason, "a message of it is malformed");
        trio_until(&s, first_is_alone);
        cr_expect_eq(trio_send(&s, 1, 2, 8, 1), -EPIPE);
        trio_check_listener(&s, 1);
        trio_check_listener(&s, 2);
        trio_close(&s);
    }
}

/* ---- kill -9 of one of the two, in each phase ---- */

enum { PAIRED, WRITING, WRITTEN, READING, FULL, PHASES };

static tine_zmq_lane *await_pair(const tine_transport_ops *ops, tine_transport *t) {
    for (tine_event ev; ((tine_zmq *)t)->n_lanes < 2;) {
        if (ops->recv(t, &ev) || ev.kind == TINE_EVENT_LOST) _exit(2);
        if (!ev.kind) ops->wait(t, 1000000);
    }
    return TAILQ_LAST(&((tine_zmq *)t)->lanes, tine_zmq_lane_queue);
}

static void paired_dies(const order *o) {
    char why[200];
    const tine_transport_ops *ops = tine_transport_for(o->url, why, sizeof why);
    tine_transport *t;
    tine_shm_record record;
    uint8_t *to;
    tine_log_level_set(TINE_LOG_ERROR);
    if (ops->connect(&t, o->url, &config, why, sizeof why)) _exit(1);
    tine_zmq_lane *l = await_pair(ops, t);
    /* a record shows that the other one has it, too: until then frames are lost */
    while (o->kind != PAIRED && tine_shm_next(&l->shm.in, &record) == TINE_SHM_NONE) {
    }
    uint32_t most = o->kind == FULL ? UINT32_MAX : o->kind == WRITTEN || o->kind == WRITING ? 3 : 0;
    for (uint32_t i = 0; i < most; i++)
        if (ops->send(t, tine_peer_other(l->other), tine_conf_frame(8, 100, i))) break;
    if (o->kind == WRITING && tine_shm_reserve(&l->shm.out, 100, &to) == TINE_SHM_OK)
        memset(to, 0xff, 50);
    die();
}

static bool second_is_gone(const trio *s) { return s->lost[0] && first_is_alone(s); }

/* Pairs the first connector with what the actor connects, and sends to it until it has gone. How
 * many frames have come from there, all of them right. */
static uint32_t trio_outlive(trio *s) {
    uint32_t n = 0;
    bool paired = false;
    s->peer[2] = 0;
    s->lost[0] = false;
    for (int64_t end = tine_clock_ns() + PATIENCE; !second_is_gone(s); trio_step(s)) {
        cr_assert_lt(tine_clock_ns(), end);
        if (!paired && s->peer[2]) paired = !s->ops->pair(s->t[0], s->peer[1], s->peer[2]);
        if (paired) (void)trio_send(s, 1, 2, 100, 1);
        if (!s->came[1]) continue;
        cr_assert(tine_conf_check(s->came[1], 8, 100, n), "another frame than number %u", n);
        tine_frame_free(s->came[1]);
        s->came[1] = NULL;
        n++;
    }
    return n + (s->came[1] != NULL);
}

Test(zmq_pair, one_is_killed_in_each_phase, .timeout = 1200) {
    actors a = actors_new(paired_dies);
    const char *text = getenv("TEST_LANE_ROUNDS");
    unsigned fds = 0, maps = 0, files = leftover_files("/dev/shm", "tine");
    trio s;
    trio_listen(&s);
    trio_connect_one(&s, 1, 0, 1);
    for (int i = 0, rounds = text ? atoi(text) : 50; i < rounds; i++) {
        for (int phase = 0; phase < PHASES; phase++) {
            actors_order(&a, s.ops->url(s.t[0]), phase, 0);
            uint32_t n = trio_outlive(&s);
            int status = actors_status(&a);
            cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "phase %d: 0x%x", phase,
                      (unsigned)status);
            cr_assert(phase == FULL ? n > 3 : n == (phase == WRITING || phase == WRITTEN ? 3 : 0),
                      "phase %d: %u frames", phase, n);
            tine_frame_free(s.came[1]);
            s.came[1] = NULL;
            trio_check_listener(&s, 1);
        }
        if (i == 0) fds = leftover_descriptors(), maps = leftover_mappings("tine-lane");
    }
    /* libzmq closes a connection a moment after it has reported its end */
    for (int64_t end = tine_clock_ns() + PATIENCE; leftover_descriptors() > fds; trio_step(&s))
        cr_assert_lt(tine_clock_ns(), end, "%u descriptors", leftover_descriptors());
    cr_expect_eq(leftover_mappings("tine-lane"), maps);
    cr_expect_eq(leftover_files("/dev/shm", "tine"), files);
    trio_close(&s);
    actors_fini(&a);
}
