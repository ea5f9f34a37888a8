/* See lane.h. A small frame is one record of the ring: the sizes of its parts, then their bytes.
 * The reader copies each number before it checks it, and every byte before anything looks at it. */
#include "transport/zmq/lane.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "transport/base/log.h"

enum {
    RECORD_FRAME = 1,
    RECORD_NUMBERS = 2, /* u32 each: header size, number of buffers; then a size for each */
    /* Frames of one peer before the next has a turn, and of all before the clock is read. */
    FRAMES_PER_TURN = 32,
};
/* While lanes are busy the sockets, which tell of deaths and bring large frames, are looked at this
 * often. */
static const int64_t LOOK_NS = 100000;

struct tine_zmq_lane {
    tine_shm_lane shm;
    tine_shm_offer offer; /* listener: what it offered */
    tine_zmq_peer *peer;
    int bell;       /* the peer's; -1: none */
    bool opened;    /* by both sides */
    bool sends;     /* the peer has been told that small frames are in the ring */
    bool receives;  /* it has told so */
    bool full;      /* the last frame found no room */
    unsigned taken; /* in this turn */
    tine_frame *held;
    bool held_bye;
    uint64_t held_until; /* of the ring */
    TAILQ_ENTRY(tine_zmq_lane) entry;
};

/* ---- opening and closing ---- */

static void lane_free(tine_zmq_lane *l) {
    tine_shm_lane_fini(&l->shm);
    if (l->bell >= 0) close(l->bell);
    tine_frame_free(l->held);
    free(l);
}

static tine_zmq_lane *lane_new(tine_zmq_peer *p) {
    tine_zmq_lane *l = calloc(1, sizeof *l);
    if (!l) return NULL;
    l->peer = p;
    l->bell = l->shm.fd = -1;
    return l;
}

void tine_zmq_lane_close(tine_zmq *t, tine_zmq_peer *p) {
    tine_zmq_lane *l = p->lane;
    if (!l) return;
    p->lane = NULL;
    t->n_held -= l->held || l->held_bye;
    if (l->opened) {
        TAILQ_REMOVE(&t->lanes, l, entry);
        t->n_lanes--;
    }
    lane_free(l);
}

void tine_zmq_lanes_fini(tine_zmq *t) {
    if (t->bell >= 0) close(t->bell);
    t->bell = -1;
}

static void lane_join(tine_zmq *t, tine_zmq_lane *l) {
    l->opened = true;
    TAILQ_INSERT_TAIL(&t->lanes, l, entry);
    t->n_lanes++;
    t->stats.lanes++;
    tine_log(TINE_LOG_INFO, "%s: a peer on this host uses shared memory", t->url);
}

/* One line for a transport, whatever the number of its peers. */
static void lane_tell_without(tine_zmq *t, const char *why, const char *error) {
    if (t->told_without_lane) return;
    t->told_without_lane = true;
    tine_log(TINE_LOG_INFO, "%s: a peer on this host does not use shared memory: %s%s%s", t->url,
             why, error ? ": " : "", error ? error : "");
}

/* The capacity for which every small frame is a record; 0: too large. */
static uint64_t lane_capacity(const tine_zmq_peer *p) {
    size_t most = p->chunk + RECORD_NUMBERS * 4 + (size_t)FRAMING_WHOLE_BUFFERS * 4;
    uint64_t capacity = TINE_SHM_MIN_CAPACITY;
    while (tine_shm_record_max(capacity) < most) capacity *= 2;
    return capacity <= TINE_SHM_MAX_CAPACITY ? capacity : 0;
}

static int lane_make(tine_zmq *t, tine_zmq_lane *l, uint64_t capacity, const char **why) {
    *why = "no bell can be made";
    if (t->bell < 0) t->bell = tine_shm_bell_make();
    if (t->bell < 0) return t->bell;
    l->bell = tine_shm_bell_make();
    if (l->bell < 0) return l->bell;
    l->offer.bell = (uint32_t)t->bell;
    l->offer.other_bell = (uint32_t)l->bell;
    return tine_shm_lane_make(&l->shm, capacity, &l->offer, why);
}

void tine_zmq_lane_offer(tine_zmq *t, tine_zmq_peer *p) {
    const char *why = "its chunks are too large for a ring";
    uint64_t capacity = lane_capacity(p);
    tine_zmq_lane *l = lane_new(p);
    if (!l) return;
    int rc = capacity ? lane_make(t, l, capacity, &why) : -E2BIG;
    if (!rc) {
        uint8_t offer[FRAMING_LANE_OFFER_BYTES];
        tine_framing_lane_offer(offer, &l->offer);
        why = "the offer could not be sent";
        rc = tine_zmq_send_short(t, p, FRAMING_LANE, offer, sizeof offer);
    }
    if (!rc) {
        p->lane = l;
        return;
    }
    lane_tell_without(t, why, strerror(-rc));
    lane_free(l);
}

static int lane_open(tine_zmq *t, tine_zmq_lane *l, const char **why) {
    int rc = tine_shm_lane_open(&l->shm, &l->offer, why);
    if (rc) return rc;
    *why = "the peer's bells cannot be opened";
    t->bell = tine_shm_bell_open(l->offer.pid, l->offer.other_bell);
    l->bell = tine_shm_bell_open(l->offer.pid, l->offer.bell);
    return t->bell < 0 ? t->bell : l->bell < 0 ? l->bell : 0;
}

static const char *offer_read(tine_zmq *t, tine_zmq_peer *p, const uint8_t *bytes, size_t size) {
    if (t->listener || p->lane || t->bell >= 0 || t->base.config.lane < 0)
        return "it offered a lane that was not asked for";
    tine_zmq_lane *l = lane_new(p);
    if (!l) return NULL;
    if (!tine_framing_read_lane_offer(bytes, size, &l->offer)) {
        lane_free(l);
        return "its offer of a lane is malformed";
    }
    const char *why;
    int rc = lane_open(t, l, &why);
    if (!rc) {
        p->lane = l;
        lane_join(t, l);
        (void)tine_zmq_lane_sends(t, p);
        return NULL;
    }
    char text[128];
    snprintf(text, sizeof text, "%c%s: %s", FRAMING_LANE_REFUSED, why, strerror(-rc));
    (void)tine_zmq_send_short(t, p, FRAMING_LANE, text, strlen(text + 1) + 1);
    lane_tell_without(t, why, strerror(-rc));
    lane_free(l);
    tine_zmq_lanes_fini(t);
    return NULL;
}

static const char *refusal_read(tine_zmq *t, tine_zmq_peer *p, const uint8_t *text, size_t size) {
    char why[96];
    size_t n = size < sizeof why - 1 ? size : sizeof why - 1;
    if (!t->listener || !p->lane || p->lane->opened)
        return "it refused a lane that was not offered";
    for (size_t i = 0; i < n; i++) why[i] = text[i] >= ' ' && text[i] < 127 ? (char)text[i] : '?';
    why[n] = 0;
    tine_zmq_lane_close(t, p);
    lane_tell_without(t, why, NULL);
    return NULL;
}

/* From here on the peer's small frames are in the ring. A connector thereby accepts the lane. */
static const char *switch_read(tine_zmq *t, tine_zmq_peer *p) {
    tine_zmq_lane *l = p->lane;
    if (!l || l->receives) return "it uses a lane that was not offered";
    if (t->listener) {
        if (!tine_shm_lane_answered(&l->shm, &l->offer))
            return "it uses a lane that it has not opened";
        tine_shm_lane_offered_end(&l->shm);
        lane_join(t, l);
        (void)tine_zmq_lane_sends(t, p);
    }
    l->receives = true;
    return NULL;
}

const char *tine_zmq_lane_message(tine_zmq *t, tine_zmq_peer *p, const uint8_t *bytes,
                                  size_t size) {
    switch (size ? bytes[0] : -1) {
    case FRAMING_LANE_OFFER: return offer_read(t, p, bytes, size);
    case FRAMING_LANE_REFUSED: return refusal_read(t, p, bytes + 1, size - 1);
    case FRAMING_LANE_SWITCH: return switch_read(t, p);
    default: return "a message about a lane is malformed";
    }
}

/* ---- sending ---- */

bool tine_zmq_lane_is_used(const tine_zmq_peer *p) {
    return p->lane && p->lane->sends && p->lane->receives;
}

bool tine_zmq_lane_sends(tine_zmq *t, tine_zmq_peer *p) {
    static const uint8_t say = FRAMING_LANE_SWITCH;
    tine_zmq_lane *l = p->lane;
    if (!l || !l->opened) return false;
    if (!l->sends) l->sends = tine_zmq_send_short(t, p, FRAMING_LANE, &say, 1) == 0;
    return l->sends;
}

static size_t record_size(const tine_frame *f, size_t bytes) {
    return (RECORD_NUMBERS + (size_t)f->n_buffers) * sizeof(uint32_t) + bytes;
}

static void record_write(uint8_t *to, const tine_frame *f) {
    uint32_t numbers[RECORD_NUMBERS] = {f->header_size, f->n_buffers};
    memcpy(to, numbers, sizeof numbers);
    to += sizeof numbers;
    for (uint32_t i = 0; i < f->n_buffers; i++, to += sizeof(uint32_t)) {
        uint32_t size = (uint32_t)f->buffers[i]->size;
        memcpy(to, &size, sizeof size);
    }
    if (f->header_size) memcpy(to, f->header, f->header_size);
    to += f->header_size;
    for (uint32_t i = 0; i < f->n_buffers; i++) {
        size_t size = f->buffers[i]->size;
        if (size) memcpy(to, f->buffers[i]->data, size);
        to += size;
    }
}

int tine_zmq_lane_send(tine_zmq *t, tine_zmq_peer *p, const tine_frame *f, size_t bytes) {
    tine_zmq_lane *l = p->lane;
    size_t size = record_size(f, bytes);
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
    record_write(to, f);
    if (tine_shm_write(&l->shm.out, size, RECORD_FRAME)) tine_shm_bell_ring(l->bell);
    return 0;
}

bool tine_zmq_lanes_have_room(const tine_zmq *t) {
    const tine_zmq_lane *l;
    TAILQ_FOREACH (l, &t->lanes, entry)
        if (l->full && tine_shm_has_room(&l->shm.out)) return true;
    return false;
}

/* ---- receiving ---- */

/* A frame of the record, NULL with what is wrong in *wrong, or NULL: no memory. */
static tine_frame *record_read(const tine_zmq *t, const tine_zmq_peer *p, const tine_shm_record *r,
                               const char **wrong) {
    uint32_t numbers[RECORD_NUMBERS];
    size_t left = r->size, limit = tine_zmq_frame_limit(t, p);
    *wrong = "it broke its lane: a record's sizes do not match";
    if (left < sizeof numbers) return NULL;
    memcpy(numbers, r->bytes, sizeof numbers);
    left -= sizeof numbers;
    uint32_t header = numbers[0], n = numbers[1];
    if (n > FRAMING_WHOLE_BUFFERS || n * sizeof(uint32_t) > left) return NULL;
    left -= n * sizeof(uint32_t);
    if (header > left || header > limit) return NULL;
    const uint8_t *sizes = r->bytes + sizeof numbers, *from = sizes + n * sizeof(uint32_t);
    left = limit < left ? limit - header : left - header;
    tine_frame *f = tine_frame_new(header, n);
    if (f && header) memcpy(f->header, from, header);
    from += header;
    for (uint32_t i = 0; f && i < n; i++) {
        uint32_t size;
        memcpy(&size, sizes + i * sizeof size, sizeof size);
        bool fits = size <= left;
        if (!fits || !(f->buffers[i] = tine_buffer_new(size))) {
            tine_frame_free(f);
            *wrong = fits ? NULL : *wrong;
            return NULL;
        }
        if (size) memcpy(f->buffers[i]->data, from, size);
        from += size;
        left -= size;
    }
    *wrong = NULL;
    return f;
}

static bool lane_take(tine_zmq *t, tine_zmq_lane *l, const tine_shm_record *r, tine_event *ev) {
    tine_zmq_peer *p = l->peer;
    const char *wrong = "it broke its lane: a record of an unknown kind";
    tine_frame *f = r->kind == RECORD_FRAME ? record_read(t, p, r, &wrong) : NULL;
    if (!f) {
        tine_zmq_peer_lose(t, p, wrong, wrong ? wrong : "no memory for a frame that it sent");
        return false;
    }
    if (tine_shm_pass(&l->shm.in)) tine_shm_bell_ring(l->bell);
    tine_zmq_deliver(t, p, f, ev);
    return true;
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
    if (!l->receives) return false;
    if ((l->held || l->held_bye) && tine_shm_passed(&l->shm.in, l->held_until))
        return held_take(t, l, ev);
    tine_shm_result what = tine_shm_next(&l->shm.in, &r);
    if (what == TINE_SHM_OK) return lane_take(t, l, &r, ev);
    if (what == TINE_SHM_BROKEN)
        tine_zmq_peer_lose(t, l->peer, true,
                           "it broke its lane: a count of the ring is impossible");
    return false;
}

/* The sockets, of which nothing else says now whether they have something. */
static bool look_is_due(tine_zmq *t) {
    if (t->dirty || t->monitor_ready || t->knock || !LIST_EMPTY(&t->watched)) return true;
    int64_t now = tine_clock_ns();
    if (now < t->lanes_look_at) return false;
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
    tine_zmq_lane *l, *next;
    for (l = TAILQ_FIRST(&t->lanes); l; l = next) {
        next = TAILQ_NEXT(l, entry);
        if (!lane_receive(t, l, ev)) continue;
        if (++l->taken % FRAMES_PER_TURN == 0) {
            TAILQ_REMOVE(&t->lanes, l, entry);
            TAILQ_INSERT_TAIL(&t->lanes, l, entry);
        }
        return true;
    }
    *look = !t->n_held && look_is_due(t);
    return false;
}

/* ---- waiting ---- */

static bool lanes_ready(const tine_zmq *t) {
    const tine_zmq_lane *l;
    TAILQ_FOREACH (l, &t->lanes, entry) {
        if (l->receives && tine_shm_readable(&l->shm.in)) return true;
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

void tine_zmq_lanes_awake(tine_zmq *t) {
    tine_zmq_lane *l;
    TAILQ_FOREACH (l, &t->lanes, entry) tine_shm_awake(&l->shm.in);
    tine_shm_spin_end(&t->spin, tine_clock_ns());
}
