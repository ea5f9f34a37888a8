/* See lane.h. A frame is one record of the ring (record.h). */
#include "transport/zmq/pair.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "transport/base/count.h"
#include "transport/zmq/record.h"

enum {
    /* Frames of one peer before the next has a turn, and of all before the clock is read. */
    FRAMES_PER_TURN = 32,
};
/* While lanes are busy the sockets, which tell of deaths and bring large frames, are looked at this
 * often. */
static const int64_t LOOK_NS = 100000;
/* And at least this often where each wait has looked at them: there is more to be done then. */
static const int64_t LOOK_MOST_NS = 5000000;
/* Returned leases are collected this often, also while the process has nothing else to do. */
static const int64_t COLLECT_NS = 1000000000;

/* ---- sending ---- */

bool tine_zmq_lane_is_used(const tine_zmq_peer *p) {
    return p->lane && p->lane->sends && p->lane->receives;
}

bool tine_zmq_lane_lends(const tine_zmq_peer *p) {
    return p->lane && p->lane->leases.lender.memory;
}

bool tine_zmq_lane_sends(tine_zmq *t, tine_zmq_peer *p) {
    static const uint8_t say = FRAMING_LANE_SWITCH;
    tine_zmq_lane *l = p->lane;
    if (!l || !l->opened) return false;
    if (!l->sends) l->sends = tine_zmq_send_short(t, p, FRAMING_LANE, &say, 1) == 0;
    return l->sends;
}

size_t tine_zmq_lane_bytes(const tine_zmq_peer *p, const tine_frame *f, size_t bytes) {
    if (bytes < TINE_BUFFER_SHARED_FROM || !tine_zmq_lane_lends(p)) return bytes;
    size_t rest = tine_zmq_leases_rest(&p->lane->leases, f);
    return rest == SIZE_MAX ? bytes : rest;
}

int tine_zmq_lane_send(tine_zmq *t, tine_zmq_peer *p, const tine_frame *f, size_t bytes) {
    tine_zmq_lane *l = p->lane;
    size_t rest = tine_zmq_lane_bytes(p, f, bytes);
    bool lends = rest != bytes;
    l->full = false;
    if (rest > p->chunk) return -E2BIG;
    size_t size = tine_zmq_record_size(f, rest, lends);
    uint8_t *to;
    tine_shm_result room = tine_shm_reserve(&l->shm.out, size, &to);
    if (room == TINE_SHM_NONE && (room = tine_shm_block(&l->shm.out, size)) == TINE_SHM_OK)
        room = tine_shm_reserve(&l->shm.out, size, &to);
    l->full = room != TINE_SHM_OK;
    if (room == TINE_SHM_NONE) return -EAGAIN;
    if (room == TINE_SHM_BROKEN) {
        tine_zmq_peer_lose(t, p, true, "it broke its lane: a count of the ring is impossible");
        return -EPIPE;
    }
    uint32_t before = l->leases.lender.n;
    uint64_t before_on = l->leases.lender.lent_on;
    if (lends)
        tine_zmq_record_lend(to, f, &l->leases);
    else
        tine_zmq_record_write(to, f);
    uint64_t on = l->leases.lender.lent_on - before_on;
    tine_count_add(&t->stats.lent, l->leases.lender.n - before - on);
    tine_count_add(&t->stats.lent_on, on);
    if (!tine_shm_write(&l->shm.out, size, lends ? TINE_ZMQ_RECORD_LENDS : TINE_ZMQ_RECORD_FRAME))
        return 0;
    t->owes |= t->holding;
    if (!t->holding) tine_shm_bell_ring(l->bell);
    return 0;
}

void tine_zmq_bells_hold(tine_zmq *t, bool on) {
    t->holding = on && !t->listener;
    if (!on) tine_zmq_bells_ring(t);
}

void tine_zmq_bells_ring(tine_zmq *t) {
    if (!t->owes) return;
    t->owes = false;
    if (!TAILQ_EMPTY(&t->lanes)) tine_shm_bell_ring(TAILQ_FIRST(&t->lanes)->bell);
}

uint64_t tine_zmq_lane_copies(const tine_zmq_peer *p, const tine_frame *f) {
    uint64_t n = 0;
    for (uint32_t i = 0; p->lane && i < f->n_buffers; i++)
        n += tine_zmq_lends(&p->lane->leases, f, i);
    return n;
}

bool tine_zmq_lanes_have_room(const tine_zmq *t) {
    const tine_zmq_lane *l;
    TAILQ_FOREACH (l, &t->lanes, entry)
        if (l->full && tine_shm_has_room(&l->shm.out)) return true;
    return false;
}

/* ---- receiving ---- */

static tine_frame *frame_read(const tine_zmq *t, tine_zmq_lane *l, const tine_shm_record *r,
                              const char **wrong) {
    size_t limit = tine_zmq_frame_limit(t, l->peer);
    *wrong = "it broke its lane: a record of an unknown kind";
    switch (r->kind) {
    case TINE_ZMQ_RECORD_FRAME: return tine_zmq_record_read(r, limit, wrong);
    case TINE_ZMQ_RECORD_LENDS: return tine_zmq_record_borrow(r, limit, &l->leases, &l->shm, wrong);
    default: return NULL;
    }
}

static void count_borrowed(tine_zmq *t, const tine_frame *f) {
    for (uint32_t i = 0; i < f->n_buffers; i++) t->stats.borrowed += f->buffers[i]->foreign;
}

static bool lane_take(tine_zmq *t, tine_zmq_lane *l, const tine_shm_record *r, tine_event *ev) {
    tine_zmq_peer *p = l->peer;
    const char *wrong;
    tine_frame *f = frame_read(t, l, r, &wrong);
    if (!f) {
        tine_zmq_peer_lose(t, p, wrong, wrong ? wrong : "no memory for a frame that it sent");
        return false;
    }
    if (r->kind == TINE_ZMQ_RECORD_LENDS) count_borrowed(t, f);
    if (tine_shm_pass(&l->shm.in)) tine_shm_bell_ring(l->bell);
    tine_zmq_deliver(t, p, f, ev);
    return true;
}

/* False: the peer is lost. */
static bool lane_collect(tine_zmq *t, tine_zmq_lane *l) {
    if (tine_shm_is_returned(&l->leases.lender)) tine_shm_collect(&l->leases.lender);
    if (!l->leases.lender.broken) return true;
    tine_zmq_peer_lose(t, l->peer, true, "it broke its lane: it returns what was not lent");
    return false;
}

bool tine_zmq_lane_pending(const tine_zmq_peer *p) {
    const tine_zmq_lane *l = p->lane;
    return l && l->receives && (tine_shm_readable(&l->shm.in) || l->held || l->held_bye);
}

void tine_zmq_lane_hold(tine_zmq *t, tine_zmq_peer *p, tine_frame *f, const char *reason) {
    tine_zmq_lane *l = p->lane;
    t->n_held++;
    l->held = f;
    l->held_bye = !f;
    l->held_until = tine_shm_written(&l->shm.in);
    if (!f) snprintf(p->reason, sizeof p->reason, "%s", reason);
}

/* True: `ev` is an event. The peer may be lost instead. */
static bool held_take(tine_zmq *t, tine_zmq_lane *l, tine_event *ev) {
    char reason[sizeof l->peer->reason];
    tine_frame *f = l->held;
    l->held = NULL;
    l->held_bye = false;
    t->n_held--;
    if (f) {
        tine_zmq_deliver(t, l->peer, f, ev);
        return true;
    }
    memcpy(reason, l->peer->reason, sizeof reason);
    tine_zmq_peer_lose(t, l->peer, false, reason);
    return false;
}

static bool lane_receive(tine_zmq *t, tine_zmq_lane *l, tine_event *ev) {
    tine_shm_record r;
    if (l->other) return tine_zmq_pair_receive(t, l, ev);
    if (!l->receives || !lane_collect(t, l)) return false;
    if ((l->held || l->held_bye) && tine_shm_passed(&l->shm.in, l->held_until))
        return held_take(t, l, ev);
    tine_shm_result what = tine_shm_next(&l->shm.in, &r);
    if (what == TINE_SHM_OK) return lane_take(t, l, &r, ev);
    /* What is held would be held for ever: the peer has lowered its count since. */
    bool lowered = what == TINE_SHM_NONE && (l->held || l->held_bye);
    if (lowered || what == TINE_SHM_BROKEN)
        tine_zmq_peer_lose(t, l->peer, true,
                           "it broke its lane: a count of the ring is impossible");
    return false;
}

/* Whether to look at the sockets: while lanes are busy nothing else reports that they have
 * something. */
static bool look_is_due(tine_zmq *t) {
    int64_t now = tine_clock_ns();
    if (now >= t->lanes_tidy_at) (void)tine_zmq_lanes_tidy(t, now);
    if (t->dirty || t->monitor_ready || t->knock || !LIST_EMPTY(&t->watched)) return true;
    if (now < t->lanes_look_at) return false;
    t->lanes_looked = now;
    t->lanes_look_at = now + LOOK_NS;
    struct pollfd p[3] = {{.fd = t->socket ? t->socket_fd : -1, .events = POLLIN},
                          {.fd = t->monitor ? t->monitor_fd : -1, .events = POLLIN},
                          {.fd = tine_zmq_watches_door(t) ? t->door_fd : -1, .events = POLLIN}};
    if (poll(p, 3, 0) > 0) {
        t->dirty |= p[0].revents != 0;
        t->monitor_ready |= p[1].revents != 0;
        t->knock |= p[2].revents != 0;
    }
    return true;
}

bool tine_zmq_lanes_receive(tine_zmq *t, tine_event *ev, bool *look) {
    if (++t->lane_frames % FRAMES_PER_TURN == 0 && !t->n_held && look_is_due(t)) {
        *look = true;
        return false;
    }
    for (unsigned n = t->n_lanes; n > 0 && t->n_lanes > 0; n--) {
        tine_zmq_lane *l = t->lane_turn ? t->lane_turn : TAILQ_FIRST(&t->lanes);
        t->lane_turn = TAILQ_NEXT(l, entry);
        if (!lane_receive(t, l, ev)) continue;
        l->heard = t->spin.looked;
        if (++l->taken % FRAMES_PER_TURN) t->lane_turn = l;
        return true;
    }
    *look = !t->n_held && look_is_due(t);
    return false;
}

/* ---- waiting ---- */

/* The listener: its peers that compute or poll. One that has been silent since the last look at the
 * load may be blocked in its task; if it computes, that look has counted it. */
static int lanes_awake(const tine_zmq *t) {
    const tine_zmq_lane *l;
    int n = 0;
    if (!t->listener) return 0;
    TAILQ_FOREACH (l, &t->lanes, entry)
        n += l->heard == t->spin.looked && !tine_shm_is_asleep(&l->shm.out);
    return n;
}

static bool lanes_ready(const tine_zmq *t) {
    const tine_zmq_lane *l;
    TAILQ_FOREACH (l, &t->lanes, entry) {
        if (l->broken || (l->receives && tine_shm_readable(&l->shm.in))) return true;
        if (l->full && tine_shm_has_room(&l->shm.out)) return true;
    }
    return false;
}

/* True: something has come. */
static bool lanes_poll(tine_zmq *t, int64_t end) {
    int64_t now;
    do {
        for (int i = 0; i < 16; i++) {
            if (lanes_ready(t)) return true;
            tine_shm_relax();
        }
        if (atomic_load_explicit(&t->doorbell.rung, memory_order_relaxed)) return false;
        now = tine_clock_ns();
    } while (now < end);
    return false;
}

bool tine_zmq_lanes_wait(tine_zmq *t, int64_t timeout_ns) {
    int64_t now = tine_clock_ns();
    /* What is awaited then comes from the other one of a pair, and not from the listener. */
    t->spin.spared = t->holding && t->n_lanes > 1;
    t->spin.others = lanes_awake(t);
    int64_t budget = tine_shm_spin_begin(&t->spin, now);
    budget = tine_timeout_min(timeout_ns, budget);
    bool came = budget > 0 ? lanes_poll(t, now + budget) : lanes_ready(t);
    if (budget > 0 || came) {
        now = tine_clock_ns();
        tine_shm_spin_polled(&t->spin, now);
    }
    if (came) tine_shm_spin_end(&t->spin, now);
    if (came) return true;
    tine_zmq_lane *l;
    bool ready = false;
    TAILQ_FOREACH (l, &t->lanes, entry) ready |= tine_shm_sleep(&l->shm.in) && l->receives;
    if (ready || lanes_ready(t)) {
        tine_zmq_lanes_awake(t);
        return true;
    }
    return false;
}

void tine_zmq_lanes_rung(tine_zmq *t) {
    int64_t next = tine_clock_ns() + LOOK_NS, most = t->lanes_looked + LOOK_MOST_NS;
    t->lanes_look_at = next < most ? next : most;
}

int64_t tine_zmq_lanes_tidy(tine_zmq *t, int64_t now) {
    tine_zmq_lane *l;
    bool more = false;
    if (!t->has_arena) return -1;
    t->lanes_tidy_at = now + COLLECT_NS;
    TAILQ_FOREACH (l, &t->lanes, entry) {
        more |= tine_zmq_neighbours_tidy(t, l->peer, &l->leases, &l->shm);
        more |= l->leases.lender.n > 0;
    }
    int64_t next = tine_zmq_leases_tidy(now);
    return more ? tine_timeout_min(next, COLLECT_NS) : next;
}

void tine_zmq_lanes_awake(tine_zmq *t) {
    tine_zmq_lane *l;
    TAILQ_FOREACH (l, &t->lanes, entry) tine_shm_awake(&l->shm.in);
    tine_shm_spin_end(&t->spin, tine_clock_ns());
}
