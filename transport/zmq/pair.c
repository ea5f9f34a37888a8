/* See pair.h. */
#include "transport/zmq/pair.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "transport/base/count.h"
#include "transport/base/log.h"
#include "transport/zmq/record.h"

enum {
    PAIR_FRAME_MOST = 16 << 10, /* so that several find room in a ring of the least capacity */
};

/* Listener. */
typedef struct tine_zmq_pair {
    LIST_ENTRY(tine_zmq_pair) entry;
    tine_peer a, b;
    int fd; /* of the memory, until both have answered; -1: they have */
    bool a_answered, b_answered;
    bool refused; /* by one of them */
} tine_zmq_pair;

static void pairs_tell(tine_zmq *t, const char *why, const char *error) {
    if (t->pairs_told) return;
    t->pairs_told = true;
    tine_log(TINE_LOG_INFO, "%s: two workers on this host do not share memory: %s%s%s", t->url, why,
             error ? ": " : "", error ? error : "");
}

/* ---- the listener ---- */

/* As the transport's pair: -EAGAIN until it has answered the offer of its lane. */
static int peer_may_pair(const tine_zmq_peer *p) {
    if (!p || p->state != TINE_ZMQ_PEER_UP || p->disconnected || !p->pairs) return -EINVAL;
    if (!p->lane || p->id > UINT32_MAX) return -EINVAL;
    return tine_zmq_lane_is_used(p) ? 0 : -EAGAIN;
}

static tine_zmq_pair *pair_of(const tine_zmq *t, tine_peer a, tine_peer b) {
    tine_zmq_pair *pair;
    LIST_FOREACH (pair, &t->pairs, entry)
        if ((pair->a == a && pair->b == b) || (pair->a == b && pair->b == a)) return pair;
    return NULL;
}

static void pair_close_fd(tine_zmq_pair *pair) {
    if (pair->fd >= 0) close(pair->fd);
    pair->fd = -1;
}

static void pair_free(tine_zmq_pair *pair) {
    LIST_REMOVE(pair, entry);
    pair_close_fd(pair);
    free(pair);
}

static int pair_tell(tine_zmq *t, tine_zmq_peer *p, const tine_zmq_peer *other, bool second,
                     tine_shm_offer *offer) {
    uint8_t message[FRAMING_LANE_PAIR_BYTES];
    offer->bell = (uint32_t)other->lane->bell;
    tine_framing_lane_pair(message, (uint32_t)other->id, second, offer);
    return tine_zmq_send_short(t, p, FRAMING_LANE, message, sizeof message);
}

static void pair_tell_parted(tine_zmq *t, tine_peer id, tine_peer other) {
    uint8_t message[FRAMING_LANE_NUMBER_BYTES];
    tine_zmq_peer *p = tine_zmq_peer_by_id(t, id);
    if (!p || p->state != TINE_ZMQ_PEER_UP || p->disconnected) return;
    tine_framing_lane_number(message, FRAMING_LANE_PARTED, (uint32_t)other);
    (void)tine_zmq_send_short(t, p, FRAMING_LANE, message, sizeof message);
}

/* This process needs the memory's descriptor, which the two open, and not its mapping. */
static int pair_memory(tine_shm_offer *offer, const char **why) {
    tine_shm_lane made;
    int rc = tine_shm_lane_make(&made, TINE_SHM_MIN_CAPACITY, offer, why);
    if (rc) return rc;
    int fd = made.fd;
    made.fd = -1;
    tine_shm_lane_fini(&made);
    return fd;
}

int tine_zmq_pair_make(tine_zmq *t, tine_peer a, tine_peer b) {
    tine_zmq_peer *first = tine_zmq_peer_by_id(t, a), *second = tine_zmq_peer_by_id(t, b);
    tine_shm_offer offer = {0};
    const char *why;
    if (!t->listener || a == b) return -EINVAL;
    int rc = peer_may_pair(first), rc2 = peer_may_pair(second);
    if (rc || rc2) return rc == -EINVAL || rc2 == -EINVAL ? -EINVAL : -EAGAIN;
    tine_zmq_pair *pair = pair_of(t, a, b);
    if (pair) return pair->refused ? -EINVAL : pair->fd < 0 ? 0 : -EAGAIN;
    if (!(pair = calloc(1, sizeof *pair))) return -ENOMEM;
    *pair = (tine_zmq_pair){.a = a, .b = b, .fd = pair_memory(&offer, &why)};
    LIST_INSERT_HEAD(&t->pairs, pair, entry);
    rc = pair->fd < 0 ? pair->fd : 0;
    if (rc) pairs_tell(t, why, strerror(-rc));
    if (!rc) rc = pair_tell(t, first, second, false, &offer);
    if (!rc && (rc = pair_tell(t, second, first, true, &offer))) pair_tell_parted(t, a, b);
    if (!rc) return -EAGAIN;
    pair_free(pair);
    return rc == -ENOMEM ? rc : -EIO;
}

/* A number that is not known belongs to a peer that has gone. */
static const char *paired_read(tine_zmq *t, const tine_zmq_peer *p, const uint8_t *bytes,
                               size_t size) {
    uint32_t number;
    if (!t->listener || !tine_framing_read_lane_number(bytes, size, &number))
        return "an answer about another worker's lane is malformed";
    tine_zmq_pair *pair = pair_of(t, p->id, number);
    if (!pair) return NULL;
    if (size > FRAMING_LANE_NUMBER_BYTES) {
        pairs_tell(t, "one of them cannot open the memory", NULL);
        pair_tell_parted(t, number, p->id);
        pair_close_fd(pair);
        pair->refused = true;
        return NULL;
    }
    *(pair->a == p->id ? &pair->a_answered : &pair->b_answered) = true;
    if (pair->a_answered && pair->b_answered) pair_close_fd(pair);
    return NULL;
}

/* ---- the connector ---- */

static tine_zmq_lane *pair_lane(const tine_zmq *t, uint64_t number) {
    tine_zmq_lane *l;
    TAILQ_FOREACH (l, &t->lanes, entry)
        if (l->other && l->other == number) return l;
    return NULL;
}

/* The listener closes the segment before the bell: a segment that is opened after the bell shows
 * that the bell was not another pipe yet. */
static int pair_open(tine_zmq *t, uint32_t number, bool second, const tine_shm_offer *offer,
                     const char **why) {
    tine_zmq_lane *l = tine_zmq_lane_new(NULL);
    *why = "no memory";
    if (!l) return -ENOMEM;
    l->other = number;
    *why = "the other's bell cannot be opened";
    l->bell = tine_shm_bell_open(offer->pid, offer->bell);
    int rc = l->bell < 0 ? l->bell : tine_shm_lane_open(&l->shm, offer, why);
    if (!rc && !second) tine_shm_lane_turn(&l->shm);
    if (rc) {
        tine_zmq_lane_free(l);
        return rc;
    }
    l->sends = l->receives = true;
    tine_zmq_lane_join(t, l);
    return 0;
}

static const char *pair_read(tine_zmq *t, tine_zmq_peer *p, const uint8_t *bytes, size_t size) {
    uint8_t answer[FRAMING_LANE_NUMBER_BYTES + 96];
    uint32_t number;
    bool second;
    tine_shm_offer offer;
    const char *why = "";
    if (t->listener || !tine_zmq_lane_is_used(p))
        return "it told of another worker's lane that was not asked for";
    if (!tine_framing_read_lane_pair(bytes, size, &number, &second, &offer))
        return "the place of another worker's lane is malformed";
    if (pair_lane(t, number)) return "it told of another worker's lane twice";
    int rc = pair_open(t, number, second, &offer, &why);
    if (rc) pairs_tell(t, why, strerror(-rc));
    tine_framing_lane_number(answer, FRAMING_LANE_PAIRED, number);
    size_t n = rc ? strnlen(why, sizeof answer - FRAMING_LANE_NUMBER_BYTES) : 0;
    memcpy(answer + FRAMING_LANE_NUMBER_BYTES, why, n);
    (void)tine_zmq_send_short(t, p, FRAMING_LANE, answer, FRAMING_LANE_NUMBER_BYTES + n);
    return NULL;
}

static const char *parted_read(tine_zmq *t, const uint8_t *bytes, size_t size) {
    uint32_t number;
    if (t->listener || !tine_framing_read_lane_number(bytes, size, &number))
        return "what it says of another worker's lane is malformed";
    tine_zmq_lane *l = pair_lane(t, number);
    if (l) l->parted = true;
    return NULL;
}

const char *tine_zmq_pair_message(tine_zmq *t, tine_zmq_peer *p, const uint8_t *bytes,
                                  size_t size) {
    switch (bytes[0]) {
    case FRAMING_LANE_PAIR: return pair_read(t, p, bytes, size);
    case FRAMING_LANE_PAIRED: return paired_read(t, p, bytes, size);
    default: return parted_read(t, bytes, size);
    }
}

void tine_zmq_pairs_part(tine_zmq *t, const tine_zmq_peer *p) {
    if (!t->listener) {
        for (tine_zmq_lane *l; (l = TAILQ_LAST(&t->lanes, tine_zmq_lane_queue)) && l->other;)
            tine_zmq_lane_end(t, l);
        return;
    }
    for (tine_zmq_pair *pair = LIST_FIRST(&t->pairs), *next; pair; pair = next) {
        next = LIST_NEXT(pair, entry);
        if (pair->a != p->id && pair->b != p->id) continue;
        if (!t->closed) pair_tell_parted(t, pair->a == p->id ? pair->b : pair->a, p->id);
        pair_free(pair);
    }
}

/* ---- frames ---- */

/* What waits for the listener would be lost with this process, and the frame would not be. */
int tine_zmq_pair_send(tine_zmq *t, tine_peer other, tine_frame *f) {
    tine_zmq_lane *l = pair_lane(t, tine_peer_number(other));
    const tine_zmq_peer *listener = tine_zmq_peer_by_id(t, 1);
    size_t bytes = tine_frame_bytes(f);
    uint8_t *to;
    if (!l || l->parted || !listener || listener->queued) return -EPIPE;
    if (bytes > PAIR_FRAME_MOST || f->n_buffers > FRAMING_WHOLE_BUFFERS) return -EPIPE;
    size_t size = tine_zmq_record_size(f, bytes, false);
    if (size > tine_shm_record_max(l->shm.out.capacity) ||
        tine_shm_reserve(&l->shm.out, size, &to) != TINE_SHM_OK)
        return -EPIPE;
    tine_zmq_record_write(to, f);
    if (tine_shm_write(&l->shm.out, size, TINE_ZMQ_RECORD_FRAME)) tine_shm_bell_ring(l->bell);
    tine_count_add(&t->stats.frames_out, 1);
    tine_count_add(&t->stats.bytes_out, bytes);
    tine_frame_free(f);
    return 0;
}

/* The other one may write on: whoever owns this transport has it told to stop. */
static void pair_break(tine_zmq *t, tine_zmq_lane *l, bool bad, const char *why) {
    tine_log(TINE_LOG_WARN, "%s: memory shared with another worker is not used any more: %s",
             t->url, why);
    l->broken = l->parted = true;
    l->bad = bad;
    snprintf(l->reason, sizeof l->reason, "%s", why);
}

void tine_zmq_pair_drop(tine_zmq *t, tine_peer other, bool bad, const char *why) {
    tine_zmq_lane *l = pair_lane(t, tine_peer_number(other));
    if (l && !l->broken) pair_break(t, l, bad, why);
}

/* The caller counts the event for the lane, which is closed at the next call. */
static bool pair_lost(tine_zmq_lane *l, tine_event *ev) {
    *ev = (tine_event){.kind = TINE_EVENT_LOST, .peer = tine_peer_other(l->other), .bad = l->bad};
    memcpy(ev->reason, l->reason, sizeof ev->reason);
    l->told = true;
    return true;
}

/* What the listener has sent before is read before: the first of the lanes is its. */
bool tine_zmq_pair_receive(tine_zmq *t, tine_zmq_lane *l, tine_event *ev) {
    tine_shm_record r;
    const char *wrong = "a count of its ring is impossible";
    if (l->told) {
        tine_zmq_lane_end(t, l);
        return false;
    }
    if (l->broken) return pair_lost(l, ev);
    if (tine_shm_readable(&TAILQ_FIRST(&t->lanes)->shm.in)) return false;
    tine_shm_result what = tine_shm_next(&l->shm.in, &r);
    if (what == TINE_SHM_NONE) {
        if (l->parted) tine_zmq_lane_end(t, l);
        return false;
    }
    tine_frame *f = NULL;
    if (what == TINE_SHM_OK && r.kind == TINE_ZMQ_RECORD_FRAME)
        f = tine_zmq_record_read(&r, PAIR_FRAME_MOST, &wrong);
    if (!f && !wrong) return false; /* no memory: it is read later */
    if (!f) {
        pair_break(t, l, true, wrong);
        return pair_lost(l, ev);
    }
    (void)tine_shm_pass(&l->shm.in);
    t->stats.frames_in++;
    t->stats.bytes_in += tine_frame_bytes(f);
    *ev = (tine_event){.kind = TINE_EVENT_FRAME, .peer = tine_peer_other(l->other), .frame = f};
    return true;
}
