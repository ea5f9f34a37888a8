/* See lease.h, and transport/shm/neighbours.h: how connectors are told of each other's arenas. */
#include <errno.h>
#include <string.h>

#include "transport/zmq/lane.h"

/* ---- the listener ---- */

static void neighbour_tell(tine_zmq *t, tine_zmq_peer *p, tine_zmq_leases *l, tine_shm_segment *s) {
    uint8_t message[FRAMING_LANE_OTHER_BYTES];
    tine_shm_neighbour *n = tine_shm_neighbours_add(&l->neighbours, s);
    if (!n) return;
    tine_framing_lane_other(message, s->number, &s->place);
    if (tine_zmq_send_short(t, p, FRAMING_LANE, message, sizeof message))
        tine_shm_neighbours_remove(&l->neighbours, n);
}

/* Only those that map others are told, and are told of: they also heed the locks of those that map
 * them. */
void tine_zmq_neighbours_join(tine_zmq *t, tine_zmq_peer *p, tine_zmq_leases *l) {
    tine_zmq_lane *other;
    l->theirs->number = ++t->arenas;
    if (!p->others) return;
    TAILQ_FOREACH (other, &t->lanes, entry) {
        if (other->peer == p || !other->peer->others || !other->leases.lender.memory) continue;
        neighbour_tell(t, other->peer, &other->leases, l->theirs);
        neighbour_tell(t, p, l, other->leases.theirs);
    }
}

void tine_zmq_neighbours_part(tine_zmq *t, const tine_zmq_leases *l) {
    tine_zmq_lane *other;
    if (!t->listener || !l->lender.memory || t->closed) return;
    TAILQ_FOREACH (other, &t->lanes, entry) {
        tine_shm_neighbour *n = tine_shm_neighbours_find(&other->leases.neighbours, l->theirs);
        if (!n) continue;
        n->gone = true;
        (void)tine_zmq_neighbours_tidy(t, other->peer, &other->leases, &other->shm);
    }
}

/* Whether nothing names it any more: the connector has been told, or has read what was sent before
 * that. */
static bool neighbour_has_ended(tine_zmq *t, tine_zmq_peer *p, const tine_shm_lane *lane,
                                const tine_shm_neighbour *n) {
    uint8_t message[FRAMING_LANE_NUMBER_BYTES];
    if (!t->listener) return tine_shm_passed(&lane->in, n->until);
    tine_framing_lane_number(message, FRAMING_LANE_GONE, n->segment->number);
    return tine_zmq_send_short(t, p, FRAMING_LANE, message, sizeof message) == 0;
}

bool tine_zmq_neighbours_tidy(tine_zmq *t, tine_zmq_peer *p, tine_zmq_leases *l,
                              const tine_shm_lane *lane) {
    bool some = false;
    for (uint32_t i = l->neighbours.n; i-- > 0;) {
        tine_shm_neighbour *n = &l->neighbours.all[i];
        if (!n->gone) continue;
        if (neighbour_has_ended(t, p, lane, n))
            tine_shm_neighbours_remove(&l->neighbours, n);
        else
            some = true;
    }
    return some;
}

static int neighbour_open(tine_zmq_leases *l, uint32_t number, const tine_arena_place *place,
                          const char **why) {
    tine_shm_segment *s;
    int rc = tine_shm_segment_open(&s, place, true, why);
    if (rc) return rc;
    s->number = number;
    tine_shm_neighbour *n = tine_shm_neighbours_add(&l->neighbours, s);
    tine_shm_segment_unref(s);
    *why = "it has too many neighbours";
    if (n) n->mapped = true;
    return n ? 0 : -ENOSPC;
}

/* Connector. */
static const char *neighbour_read(tine_zmq *t, tine_zmq_peer *p, tine_zmq_leases *l,
                                  const uint8_t *bytes, size_t size) {
    tine_arena_place place;
    uint32_t number;
    uint8_t answer[FRAMING_LANE_NUMBER_BYTES + 96];
    const char *why = "";
    if (t->listener || !l->lender.memory) return "it told of an arena that was not asked for";
    if (!tine_framing_read_lane_other(bytes, size, &number, &place))
        return "an arena's place is malformed";
    if (tine_shm_neighbours_numbered(&l->neighbours, number)) return "it told of an arena twice";
    int rc = neighbour_open(l, number, &place, &why);
    tine_framing_lane_number(answer, FRAMING_LANE_REACHED, number);
    size_t n = rc ? strnlen(why, sizeof answer - FRAMING_LANE_NUMBER_BYTES) : 0;
    memcpy(answer + FRAMING_LANE_NUMBER_BYTES, why, n);
    (void)tine_zmq_send_short(t, p, FRAMING_LANE, answer, FRAMING_LANE_NUMBER_BYTES + n);
    return NULL;
}

/* Listener. A number that is not known belongs to a peer that has gone. */
static const char *reached_read(tine_zmq *t, tine_zmq_leases *l, const uint8_t *bytes,
                                size_t size) {
    uint32_t number;
    if (!t->listener || !tine_framing_read_lane_number(bytes, size, &number))
        return "an answer about an arena is malformed";
    tine_shm_neighbour *n = tine_shm_neighbours_numbered(&l->neighbours, number);
    if (!n) return NULL;
    n->mapped = size == FRAMING_LANE_NUMBER_BYTES;
    if (n->mapped) return NULL;
    tine_shm_neighbours_remove(&l->neighbours, n);
    tine_zmq_leases_apart(t, bytes + FRAMING_LANE_NUMBER_BYTES, size - FRAMING_LANE_NUMBER_BYTES);
    return NULL;
}

/* Connector. Records that were written before may still name it. */
static const char *gone_read(tine_zmq *t, tine_zmq_leases *l, const tine_shm_lane *lane,
                             const uint8_t *bytes, size_t size) {
    uint32_t number;
    if (t->listener || !tine_framing_read_lane_number(bytes, size, &number))
        return "what it says of an arena is malformed";
    tine_shm_neighbour *n = tine_shm_neighbours_numbered(&l->neighbours, number);
    if (!n) return NULL;
    n->gone = true;
    n->until = tine_shm_written(&lane->in);
    return NULL;
}

const char *tine_zmq_neighbours_message(tine_zmq *t, tine_zmq_peer *p, tine_zmq_leases *l,
                                        const tine_shm_lane *lane, const uint8_t *bytes,
                                        size_t size) {
    switch (bytes[0]) {
    case FRAMING_LANE_OTHER: return neighbour_read(t, p, l, bytes, size);
    case FRAMING_LANE_REACHED: return reached_read(t, l, bytes, size);
    default: return gone_read(t, l, lane, bytes, size);
    }
}
