/* Cases of the conformance suite in which a side dies, is not there, or closes with frames
 * queued. */
#include "tests/support/conformance_roles.h"
#include "transport/base/assert.h"
#include "transport/base/clock.h"

/* ---- deaths ---- */

/* Connector 0 is killed while it sends 256 MiB; connector 1 is not affected. */
static bool death_in_mid_send(tine_conf_end *e) {
    tine_peer dead, other;
    tine_conf_go(e, 1);
    if (!expect_up(e, &other)) return false;
    if (!start_one(e, &dead) || !expect_frame(e, dead, 5, SIZE_MAX, 1) ||
        !send(e, dead, 5, SIZE_MAX, 2))
        return false;
    tine_event ev = tine_conf_next(e);
    bool whole = (tine_transport_info_of(e->url)->flags & TINE_TRANSPORT_WHOLE) ||
                 e->host->lane == TINE_LANE_BUFFERS;
    if (ev.kind == TINE_EVENT_FRAME && whole) { /* it had been sent before the death */
        tine_frame_free(ev.frame);
        ev = tine_conf_next(e);
    }
    tine_frame_free(ev.frame);
    REQUIRE(e, ev.kind == TINE_EVENT_LOST && ev.peer == dead && !ev.bad, "event %d of %llu",
            ev.kind, (unsigned long long)ev.peer);
    tine_frame *f = tine_conf_frame(1, SIZE_MAX, 1);
    int rc = e->ops->send(e->t, dead, f);
    tine_frame_free(f);
    REQUIRE(e, rc == -EPIPE, "send to the dead: %d", rc);
    return send(e, other, 5, 2 * MI, 3) && expect_frame(e, other, 5, 2 * MI, 3);
}

static bool death_in_mid_send_connector(tine_conf_end *e) {
    tine_peer p;
    if (e->index == 1) return echo(e);
    if (!up_at_listener(e, &p) || !send(e, p, 5, SIZE_MAX, 1) || !send(e, p, 5, 256 * MI, 1))
        return false;
    if (!expect_frame(e, p, 5, SIZE_MAX, 2)) return false;
    e->host->die(e->host, e);
    return true;
}

static bool listener_lost(tine_conf_end *e) {
    tine_peer p[2];
    for (int i = 0; i < 2; i++) {
        tine_conf_go(e, i);
        if (!expect_up(e, &p[i])) return false;
    }
    for (int i = 0; i < 2; i++)
        if (!send(e, p[i], 5, 3 * MI, 1) || !expect_frame(e, p[i], 5, SIZE_MAX, 2)) return false;
    e->ops->fini(e->t);
    e->t = NULL;
    return true;
}

static bool listener_lost_connector(tine_conf_end *e) {
    tine_peer p;
    if (!up_at_listener(e, &p) || !expect_frame(e, p, 5, 3 * MI, 1) || !send(e, p, 5, SIZE_MAX, 2))
        return false;
    if (!until_lost(e)) return false;
    tine_frame *f = tine_conf_frame(1, SIZE_MAX, 1);
    int rc = e->ops->send(e->t, p, f);
    tine_frame_free(f);
    REQUIRE(e, rc == -EPIPE, "send to a listener that is gone: %d", rc);
    return true;
}

/* After one connector's death another one comes: a new peer with a new id. */
static bool reconnect(tine_conf_end *e) {
    tine_peer first, second;
    if (!start_one(e, &first) || !send(e, first, 1, SIZE_MAX, 1) || !expect_lost(e, first, false))
        return false;
    tine_conf_go(e, 1);
    if (!expect_up(e, &second)) return false;
    REQUIRE(e, second != first, "an id was used again");
    return send(e, second, 1, 2 * MI, 2) && expect_frame(e, second, 1, 2 * MI, 2);
}

static bool reconnect_connector(tine_conf_end *e) {
    tine_peer p;
    if (e->index == 1) return echo(e);
    if (!up_at_listener(e, &p) || !expect_frame(e, p, 1, SIZE_MAX, 1)) return false;
    e->host->die(e->host, e);
    return true;
}

/* ---- nobody there ---- */

/* The address is free: a listener has just left it. */
static bool late_listener(tine_conf_end *e) {
    char why[128];
    tine_peer p;
    e->ops->fini(e->t);
    e->t = NULL;
    tine_conf_go(e, 0);
    const tine_transport_config config = {
        .key = tine_conf_key, .arena = e->host->lane == TINE_LANE_BUFFERS ? TINE_CONF_ARENA : 0};
    REQUIRE(e, e->ops->listen(&e->t, e->url, &config, why, sizeof why) == 0, "%s", why);
    return expect_up(e, &p) && send(e, p, 1, 1, 1) && expect_frame(e, p, 1, 1, 1);
}

static bool connect_to_nobody(tine_conf_end *e) {
    e->ops->fini(e->t);
    e->t = NULL;
    tine_conf_go(e, 0);
    return true;
}

static bool connect_to_nobody_connector(tine_conf_end *e) {
    int64_t begin = tine_clock_ns();
    if (!expect_lost(e, 1, false)) return false;
    REQUIRE(e, tine_clock_ns() - begin > 200000000, "given up before connect_ns");
    return true;
}

/* ---- closing with work pending ---- */

enum { PENDING = 1000 };

static bool send_pending_and_stop(tine_conf_end *e, tine_peer p) {
    if (!send(e, p, 7, 32 * MI, 77)) return false;
    for (uint32_t i = 0; i < PENDING; i++)
        if (!send(e, p, 10, 100, i)) return false;
    e->ops->close(e->t);
    tine_frame *f = tine_conf_frame(1, SIZE_MAX, 1);
    int rc = e->ops->send(e->t, p, f);
    tine_frame_free(f);
    REQUIRE(e, rc == -EPIPE, "send after close: %d", rc);
    REQUIRE(e, e->ops->stop(e->t), "not flushed within linger_ns");
    e->ops->fini(e->t);
    e->t = NULL;
    return true;
}

static bool expect_pending(tine_conf_end *e, tine_peer p) {
    uint32_t small = 0;
    for (int i = 0; i < PENDING + 1; i++) {
        tine_event ev;
        if (!expect(e, TINE_EVENT_FRAME, &ev)) return false;
        bool is_large = ev.frame->header_size == 7;
        bool same = is_large ? tine_conf_check(ev.frame, 7, 32 * MI, 77)
                             : tine_conf_check(ev.frame, 10, 100, small++);
        tine_frame_free(ev.frame);
        REQUIRE(e, same, "frame %d is not the one that was sent", i);
    }
    return expect_lost(e, p, false);
}

static bool close_pending(tine_conf_end *e) {
    tine_peer p;
    return start_one(e, &p) && expect_pending(e, p);
}

static bool close_pending_connector(tine_conf_end *e) {
    tine_peer p;
    return up_at_listener(e, &p) && send_pending_and_stop(e, p);
}

static bool listener_close_pending(tine_conf_end *e) {
    tine_peer p;
    return start_one(e, &p) && send_pending_and_stop(e, p);
}

static bool listener_close_pending_connector(tine_conf_end *e) {
    tine_peer p;
    return up_at_listener(e, &p) && expect_pending(e, p);
}

const tine_conf_case tine_conf_endings[] = {
    {"death_in_mid_send",
     2,
     TINE_CONF_DIES,
     {0},
     {0},
     death_in_mid_send,
     death_in_mid_send_connector},
    {"listener_lost", 2, TINE_CONF_LISTENER_DIES, {0}, {0}, listener_lost, listener_lost_connector},
    {"reconnect", 2, TINE_CONF_DIES, {0}, {0}, reconnect, reconnect_connector},
    {"late_listener", 1, TINE_CONF_LATE, {0}, {.connect_ns = -1}, late_listener, echo},
    {"connect_to_nobody",
     1,
     TINE_CONF_LATE,
     {0},
     {.connect_ns = NS(300)},
     connect_to_nobody,
     connect_to_nobody_connector},
    {"close_pending", 1, 0, {0}, {.linger_ns = NS(10000)}, close_pending, close_pending_connector},
    {"listener_close_pending",
     1,
     0,
     {.linger_ns = NS(10000)},
     {0},
     listener_close_pending,
     listener_close_pending_connector},
    {0},
};
