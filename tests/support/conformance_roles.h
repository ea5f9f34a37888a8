/* The parts that the conformance suite's roles consist of, and the cases of its other files. */
#ifndef TINE_TESTS_SUPPORT_CONFORMANCE_ROLES_H
#define TINE_TESTS_SUPPORT_CONFORMANCE_ROLES_H

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/conformance.h"

#define REQUIRE TINE_CONF_REQUIRE
#define NS(ms) ((int64_t)(ms)*1000000)
enum { KI = 1 << 10, MI = 1 << 20 };

/* The next event must be of this kind; `want_frame` style helpers keep the roles readable. */
static inline bool expect(tine_conf_end *e, tine_event_kind kind, tine_event *ev) {
    *ev = tine_conf_next(e);
    if (ev->kind == kind) return true;
    snprintf(e->why, sizeof e->why, "expected event %d, got %d of peer %llu (%.100s)", kind,
             ev->kind, (unsigned long long)ev->peer, ev->reason);
    tine_frame_free(ev->frame);
    ev->frame = NULL;
    return false;
}

static inline bool expect_up(tine_conf_end *e, tine_peer *peer) {
    tine_event ev;
    if (!expect(e, TINE_EVENT_UP, &ev)) return false;
    *peer = ev.peer;
    REQUIRE(e, ev.peer != 0, "a peer has an id");
    return true;
}

static inline bool expect_frame(tine_conf_end *e, tine_peer peer, size_t header, size_t buffer,
                                uint32_t seed) {
    tine_event ev;
    if (!expect(e, TINE_EVENT_FRAME, &ev)) return false;
    bool same = tine_conf_check(ev.frame, header, buffer, seed);
    size_t bytes = tine_frame_bytes(ev.frame);
    tine_frame_free(ev.frame);
    REQUIRE(e, ev.peer == peer, "a frame of peer %llu", (unsigned long long)ev.peer);
    REQUIRE(e, same, "a frame of %zu bytes is not the one that was sent (header %zu, seed %u)",
            bytes, header, seed);
    return true;
}

static inline bool expect_lost(tine_conf_end *e, tine_peer peer, bool bad) {
    tine_event ev;
    if (!expect(e, TINE_EVENT_LOST, &ev)) return false;
    REQUIRE(e, ev.peer == peer && ev.bad == bad, "peer %llu, bad %d", (unsigned long long)ev.peer,
            ev.bad);
    REQUIRE(e, ev.reason[0] != 0, "no reason");
    return true;
}

static inline bool send(tine_conf_end *e, tine_peer peer, size_t header, size_t buffer,
                        uint32_t seed) {
    return tine_conf_send(e, peer, tine_conf_frame(header, buffer, seed));
}

static inline bool up_at_listener(tine_conf_end *e, tine_peer *peer) {
    return expect_up(e, peer) && *peer == 1;
}

/* The connector's last act in most cases: what the listener sent last was seen, the listener goes
 * first. */
static inline bool until_lost(tine_conf_end *e) { return expect_lost(e, 1, false); }

static inline bool echo(tine_conf_end *e) {
    tine_peer p;
    if (!up_at_listener(e, &p)) return false;
    for (;;) {
        tine_event ev = tine_conf_next(e);
        if (ev.kind == TINE_EVENT_LOST) return true;
        if (ev.kind == TINE_EVENT_WRITABLE) continue;
        REQUIRE(e, ev.kind == TINE_EVENT_FRAME, "event %d", ev.kind);
        int rc;
        while ((rc = e->ops->send(e->t, p, ev.frame)) == -EAGAIN) {
            tine_event w = tine_conf_next(e);
            REQUIRE(e, w.kind == TINE_EVENT_WRITABLE, "event %d while blocked", w.kind);
        }
        if (rc) tine_frame_free(ev.frame);
        REQUIRE(e, rc == 0 || rc == -EPIPE, "send: %d", rc);
    }
}

static inline bool start_one(tine_conf_end *e, tine_peer *p) {
    tine_conf_go(e, 0);
    return expect_up(e, p);
}

/* Cases in which an end dies, is not there, or closes with work pending (conformance_endings.c);
 * the last has no name. */
extern const tine_conf_case tine_conf_endings[];
/* Cases about what is under way (conformance_flow.c), likewise. */
extern const tine_conf_case tine_conf_flow[];

#endif
