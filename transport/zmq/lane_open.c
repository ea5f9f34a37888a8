/* See lane.h. How a lane is offered, opened, refused and closed. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "transport/base/log.h"
#include "transport/zmq/pair.h"
#include "transport/zmq/record.h"

void tine_zmq_lane_free(tine_zmq_lane *l) {
    tine_zmq_leases_fini(&l->leases);
    tine_shm_lane_fini(&l->shm);
    if (l->bell >= 0) close(l->bell);
    tine_frame_free(l->held);
    free(l);
}

tine_zmq_lane *tine_zmq_lane_new(tine_zmq_peer *p) {
    tine_zmq_lane *l = calloc(1, sizeof *l);
    if (!l) return NULL;
    l->peer = p;
    l->bell = l->shm.fd = -1;
    return l;
}

void tine_zmq_lane_end(tine_zmq *t, tine_zmq_lane *l) {
    if (l->opened) {
        if (t->lane_turn == l) t->lane_turn = TAILQ_NEXT(l, entry);
        TAILQ_REMOVE(&t->lanes, l, entry);
        t->n_lanes--;
    }
    tine_zmq_lane_free(l);
}

void tine_zmq_lane_close(tine_zmq *t, tine_zmq_peer *p) {
    tine_zmq_lane *l = p->lane;
    if (!l) return;
    tine_zmq_pairs_part(t, p);
    p->lane = NULL;
    tine_zmq_neighbours_part(t, &l->leases);
    t->n_held -= l->held || l->held_bye;
    tine_zmq_lane_end(t, l);
}

void tine_zmq_lanes_fini(tine_zmq *t) {
    if (t->bell >= 0) close(t->bell);
    t->bell = -1;
}

void tine_zmq_lane_join(tine_zmq *t, tine_zmq_lane *l) {
    l->opened = true;
    TAILQ_INSERT_TAIL(&t->lanes, l, entry);
    t->n_lanes++;
    if (l->other) return;
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
    size_t most =
        p->chunk + TINE_ZMQ_RECORD_HEAD + (size_t)FRAMING_WHOLE_BUFFERS * TINE_ZMQ_RECORD_PLACE;
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
    tine_zmq_lane *l = tine_zmq_lane_new(p);
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
        tine_zmq_arena_missed(t);
        return;
    }
    lane_tell_without(t, why, strerror(-rc));
    tine_zmq_lane_free(l);
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
    tine_zmq_lane *l = tine_zmq_lane_new(p);
    if (!l) return NULL;
    if (!tine_framing_read_lane_offer(bytes, size, &l->offer)) {
        tine_zmq_lane_free(l);
        return "its offer of a lane is malformed";
    }
    const char *why;
    int rc = lane_open(t, l, &why);
    if (!rc) {
        p->lane = l;
        tine_zmq_lane_join(t, l);
        tine_zmq_arena_missed(t);
        (void)tine_zmq_lane_sends(t, p);
        return NULL;
    }
    char text[128];
    snprintf(text, sizeof text, "%c%s: %s", FRAMING_LANE_REFUSED, why, strerror(-rc));
    (void)tine_zmq_send_short(t, p, FRAMING_LANE, text, strlen(text + 1) + 1);
    lane_tell_without(t, why, strerror(-rc));
    tine_zmq_lane_free(l);
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
        tine_zmq_lane_join(t, l);
        if (tine_zmq_lane_sends(t, p)) tine_zmq_leases_offer(t, p, &l->leases);
    }
    l->receives = true;
    return NULL;
}

static const char *leases_read(tine_zmq *t, tine_zmq_peer *p, const uint8_t *bytes, size_t size) {
    if (!tine_zmq_lane_is_used(p)) return "it told of an arena without a lane";
    return tine_zmq_leases_message(t, p, &p->lane->leases, &p->lane->shm, bytes, size);
}

const char *tine_zmq_lane_message(tine_zmq *t, tine_zmq_peer *p, const uint8_t *bytes,
                                  size_t size) {
    switch (size ? bytes[0] : -1) {
    case FRAMING_LANE_OFFER: return offer_read(t, p, bytes, size);
    case FRAMING_LANE_REFUSED: return refusal_read(t, p, bytes + 1, size - 1);
    case FRAMING_LANE_SWITCH: return switch_read(t, p);
    case FRAMING_LANE_ARENA:
    case FRAMING_LANE_MAPPED:
    case FRAMING_LANE_APART:
    case FRAMING_LANE_OTHER:
    case FRAMING_LANE_REACHED:
    case FRAMING_LANE_GONE: return leases_read(t, p, bytes, size);
    case FRAMING_LANE_PAIR:
    case FRAMING_LANE_PAIRED:
    case FRAMING_LANE_PARTED: return tine_zmq_pair_message(t, p, bytes, size);
    default: return "a message about a lane is malformed";
    }
}
