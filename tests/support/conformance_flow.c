/* The cases of the conformance suite about what is under way: frames in pieces, full queues,
 * frames that wait for others. See conformance.h. */
#include "tests/support/conformance_roles.h"
#include "transport/base/assert.h"
#include "transport/base/clock.h"

/* A large frame is under way for its sender until its receiver has read it; inproc, and a lane that
 * lends, hand it over whole. */
static bool busy(tine_conf_end *e) {
    tine_peer p;
    bool pieces = strcmp(e->scheme, "inproc") != 0 && e->host->lane != TINE_LANE_BUFFERS;
    if (!start_one(e, &p)) return false;
    REQUIRE(e, !e->ops->busy(e->t), "with nothing sent");
    if (!send(e, p, 9, 64 * MI, 1)) return false;
    REQUIRE(e, e->ops->busy(e->t) == pieces, "with 64 MiB sent to a peer that does not read");
    tine_conf_go(e, 0);
    if (!expect_frame(e, p, 1, SIZE_MAX, 2)) return false;
    for (int64_t until = tine_clock_ns() + NS(20000);
         e->ops->busy(e->t) && tine_clock_ns() < until;) {
        tine_event ev;
        TINE_ASSERT(e->ops->recv(e->t, &ev), ==, 0);
        REQUIRE(e, ev.kind == TINE_EVENT_NONE, "event %d", ev.kind);
        e->ops->wait(e->t, NS(10));
    }
    REQUIRE(e, !e->ops->busy(e->t), "for 20 s after all was read");
    return send(e, p, 1, SIZE_MAX, 3);
}

static bool busy_connector(tine_conf_end *e) {
    tine_peer p;
    if (!up_at_listener(e, &p)) return false;
    tine_conf_await(e);
    return expect_frame(e, p, 9, 64 * MI, 1) && send(e, p, 1, SIZE_MAX, 2) &&
           expect_frame(e, p, 1, SIZE_MAX, 3) && until_lost(e);
}

/* A connector that does not read: send says -EAGAIN while no more than max_queued and what a
 * transport's own pipes hold is under way, and WRITABLE comes when it reads again. */
static bool back_pressure(tine_conf_end *e) {
    tine_peer p;
    if (!start_one(e, &p)) return false;
    uint32_t n = 0;
    int rc = 0;
    while (n < 8192) { /* of 512 MiB; some may be lent */
        tine_frame *f = tine_conf_frame(1, 64 * KI, n);
        rc = e->ops->send(e->t, p, f);
        if (rc) tine_frame_free(f);
        if (rc) break;
        n++;
    }
    REQUIRE(e, rc == -EAGAIN, "%u frames of 64 KiB were taken, then %d", n, rc);
    REQUIRE(e, n >= 60, "%u frames of 64 KiB are less than max_queued", n);
    tine_conf_go(e, 0);
    tine_event ev;
    if (!expect(e, TINE_EVENT_WRITABLE, &ev)) return false;
    REQUIRE(e, ev.peer == p, "peer %llu is writable", (unsigned long long)ev.peer);
    return send(e, p, 2, SIZE_MAX, n) && expect_frame(e, p, 3, SIZE_MAX, n);
}

static bool back_pressure_connector(tine_conf_end *e) {
    tine_peer p;
    if (!up_at_listener(e, &p)) return false;
    tine_conf_await(e);
    for (uint32_t i = 0;; i++) {
        tine_event ev;
        if (!expect(e, TINE_EVENT_FRAME, &ev)) return false;
        bool last = ev.frame->header_size == 2;
        bool same = last ? tine_conf_check(ev.frame, 2, SIZE_MAX, i)
                         : tine_conf_check(ev.frame, 1, 64 * KI, i);
        tine_frame_free(ev.frame);
        REQUIRE(e, same, "frame %u is not the one that was sent", i);
        if (last) return send(e, p, 3, SIZE_MAX, i) && until_lost(e);
    }
}

/* ---- holding ---- */

static void hold(tine_conf_end *e, bool on) {
    if (e->ops->hold) e->ops->hold(e->t, on);
}

enum { HELD_ROUNDS = 6, HELD_FRAMES = 300 };

/* Most are small; some have to leave by themselves, in their turn. */
static size_t held_header(uint32_t i) { return i % 41 == 40 ? 3000 : 1 + i * 7 % 90; }
static size_t held_buffer(uint32_t i) {
    return i % 53 == 52 ? 70 * KI : i % 11 == 10 ? 900 : i % 7 == 6 ? 0 : SIZE_MAX;
}

static bool send_held(tine_conf_end *e, const tine_peer *peers, int n, uint32_t frames) {
    for (uint32_t i = 0; i < frames; i++)
        for (int k = 0; k < n; k++)
            if (!send(e, peers[k], held_header(i), held_buffer(i), i)) return false;
    return true;
}

/* Where the transport counts its messages, several frames have left in each, also by turns. */
static bool left_together(tine_conf_end *e) {
    tine_transport_stats s;
    e->ops->stats(e->t, &s);
    REQUIRE(e, !s.messages_out || s.messages_out < s.frames_out / 2, "%llu messages, %llu frames",
            (unsigned long long)s.messages_out, (unsigned long long)s.frames_out);
    return true;
}

/* To two peers by turns. Each answers when a round is complete: nothing is held for ever, whether
 * `hold` or `wait` ends it. The last round is one frame. */
static bool holding(tine_conf_end *e) {
    tine_peer peers[2];
    for (int i = 0; i < 2; i++) {
        tine_conf_go(e, i);
        if (!expect_up(e, &peers[i])) return false;
    }
    for (int round = 0; round < HELD_ROUNDS; round++) {
        hold(e, true);
        if (!send_held(e, peers, 2, round + 1 < HELD_ROUNDS ? HELD_FRAMES : 1)) return false;
        if (round % 2 == 0) hold(e, false);
        for (int k = 0; k < 2; k++) {
            tine_event ev;
            if (!expect(e, TINE_EVENT_FRAME, &ev)) return false;
            tine_frame_free(ev.frame);
        }
    }
    return left_together(e);
}

static bool holding_connector(tine_conf_end *e) {
    tine_peer p;
    if (!up_at_listener(e, &p)) return false;
    for (int round = 0; round < HELD_ROUNDS; round++) {
        for (uint32_t i = 0; i < (round + 1 < HELD_ROUNDS ? HELD_FRAMES : 1); i++)
            if (!expect_frame(e, p, held_header(i), held_buffer(i), i)) return false;
        hold(e, true);
        if (!send(e, p, 1, SIZE_MAX, 0)) return false;
    }
    return until_lost(e);
}

/* What is held at the end is sent by `stop`. */
static bool holding_pending(tine_conf_end *e) {
    tine_peer p;
    if (!start_one(e, &p)) return false;
    hold(e, true);
    if (!send_held(e, &p, 1, 10)) return false;
    e->ops->close(e->t);
    REQUIRE(e, e->ops->stop(e->t), "frames were left");
    return true;
}

static bool holding_pending_connector(tine_conf_end *e) {
    tine_peer p;
    if (!up_at_listener(e, &p)) return false;
    for (uint32_t i = 0; i < 10; i++)
        if (!expect_frame(e, p, held_header(i), held_buffer(i), i)) return false;
    return until_lost(e);
}

const tine_conf_case tine_conf_flow[] = {
    {"busy", 1, 0, {0}, {0}, busy, busy_connector},
    {"back_pressure", 1, 0, {.max_queued = 4 * MI}, {0}, back_pressure, back_pressure_connector},
    {"holding", 2, 0, {0}, {0}, holding, holding_connector},
    {"holding_pending",
     1,
     0,
     {.linger_ns = NS(10000)},
     {0},
     holding_pending,
     holding_pending_connector},
    {0},
};
