/* Ends of a transport that lend buffers to each other: here, or in an actor (actors.h). */
#ifndef TINE_TESTS_SUPPORT_LEASE_ENDS_H
#define TINE_TESTS_SUPPORT_LEASE_ENDS_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/conformance.h"
#include "transport/base/arena.h"
#include "transport/base/clock.h"
#include "transport/base/pages.h"
#include "transport/shm/lease.h"

#define PATIENCE INT64_C(20000000000)
enum { MI = 1 << 20, ARENA = 256 * MI };

static const tine_transport_config config = {.checksums = -1, .arena = ARENA};

typedef struct end {
    const tine_transport_ops *ops;
    tine_transport *t;
    tine_peer peer; /* the last that came up */
    char dir[64], url[128];
    tine_event early[4]; /* what came before both were ready */
    int n_early, taken;
} end;

static inline void end_listen(end *e) {
    char why[200] = "";
    *e = (end){.ops = tine_transport_for("ipc://", why, sizeof why)};
    snprintf(e->dir, sizeof e->dir, "/tmp/test-leases-XXXXXX");
    cr_assert(mkdtemp(e->dir));
    snprintf(e->url, sizeof e->url, "ipc://%s/s", e->dir);
    cr_assert_eq(e->ops->listen(&e->t, e->url, &config, why, sizeof why), 0, "%s", why);
}

static inline void end_fini(end *e) {
    e->ops->fini(e->t);
    if (!e->dir[0]) return;
    unlink(e->url + strlen("ipc://"));
    rmdir(e->dir);
}

static inline bool end_connect(end *e, const char *url) {
    char why[200] = "";
    *e = (end){.ops = tine_transport_for(url, why, sizeof why)};
    return e->ops->connect(&e->t, url, &config, why, sizeof why) == 0;
}

static inline tine_event end_next(end *e) {
    tine_event ev = {0};
    if (e->taken < e->n_early) return e->early[e->taken++];
    for (int64_t until = tine_clock_ns() + PATIENCE; tine_clock_ns() < until;) {
        if (e->ops->recv(e->t, &ev) || ev.kind) break;
        e->ops->wait(e->t, 10000000);
    }
    if (ev.kind == TINE_EVENT_UP) e->peer = ev.peer;
    return ev;
}

/* Until a peer has come and both may lend. False: it was lost. */
static inline bool end_ready(end *e) {
    tine_event ev = {0};
    for (int64_t until = tine_clock_ns() + PATIENCE; tine_clock_ns() < until;) {
        e->ops->recv(e->t, &ev);
        if (ev.kind == TINE_EVENT_UP) e->peer = ev.peer;
        if (ev.kind == TINE_EVENT_FRAME && e->n_early < 4) e->early[e->n_early++] = ev;
        if (ev.kind == TINE_EVENT_LOST) return false;
        if (e->peer && e->ops->uses_lane(e->t, e->peer) == TINE_LANE_BUFFERS) return true;
        if (!ev.kind) e->ops->wait(e->t, 10000000);
    }
    return false;
}

static inline bool end_send(end *e, size_t size, uint32_t seed) {
    tine_frame *f = tine_conf_frame(8, size, seed);
    if (f && e->ops->send(e->t, e->peer, f) == 0) return true;
    tine_frame_free(f);
    return false;
}

static inline tine_transport_stats end_stats(const end *e) {
    tine_transport_stats s;
    e->ops->stats(e->t, &s);
    return s;
}

/* All that was lent comes back, if ends that remain go on. */
static inline void await_unused(end *a, end *b) {
    tine_event ev;
    for (int64_t until = tine_clock_ns() + PATIENCE;;) {
        tine_pages_tidy(INT64_MAX);
        tine_shm_aside_tidy();
        if (!tine_arena_used()) return;
        cr_assert_lt(tine_clock_ns(), until, "%zu bytes are in use", tine_arena_used());
        if (a) a->ops->recv(a->t, &ev);
        if (b) b->ops->recv(b->t, &ev);
    }
}

/* A connector of this process. */
static inline void pair_open(end *l, end *c) {
    end_listen(l);
    cr_assert(end_connect(c, l->url));
    for (int64_t until = tine_clock_ns() + PATIENCE;;) {
        tine_event ev;
        cr_assert_lt(tine_clock_ns(), until);
        l->ops->recv(l->t, &ev);
        if (ev.kind == TINE_EVENT_UP) l->peer = ev.peer;
        c->ops->recv(c->t, &ev);
        if (ev.kind == TINE_EVENT_UP) c->peer = ev.peer;
        if (c->peer && c->ops->uses_lane(c->t, c->peer) == TINE_LANE_BUFFERS) return;
    }
}

#endif
