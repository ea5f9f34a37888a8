/* See lease.h. */
#include "transport/zmq/lease.h"

#include <stdio.h>
#include <string.h>

#include "transport/base/arena.h"
#include "transport/base/log.h"
#include "transport/base/pages.h"

static const int64_t TIDY_NS = 1000000000;

/* One line for a transport, whatever the number of its peers. */
static void tell_apart(tine_zmq *t, const char *why, const char *error) {
    if (t->told_apart) return;
    t->told_apart = true;
    tine_log(TINE_LOG_INFO, "%s: large tensors are copied to peers on this host: %s%s%s", t->url,
             why, error ? ": " : "", error ? error : "");
}

void tine_zmq_leases_apart(tine_zmq *t, const uint8_t *text, size_t size) {
    char why[96];
    size_t n = size < sizeof why - 1 ? size : sizeof why - 1;
    for (size_t i = 0; i < n; i++) why[i] = text[i] >= ' ' && text[i] < 127 ? (char)text[i] : '?';
    why[n] = 0;
    tell_apart(t, why, NULL);
}

void tine_zmq_arena_open(tine_zmq *t) {
    if (!t->base.config.arena || t->base.config.lane < 0) return;
    t->arena_error = tine_arena_open(t->base.config.arena, &t->arena_why);
    t->has_arena = !t->arena_error;
}

void tine_zmq_arena_missed(tine_zmq *t) {
    if (t->arena_error) tell_apart(t, t->arena_why, strerror(-t->arena_error));
}

void tine_zmq_arena_close(tine_zmq *t) {
    if (!t->has_arena) return;
    t->has_arena = false;
    tine_arena_close();
    (void)tine_shm_aside_tidy();
    if (!tine_arena_is_open()) (void)tine_pages_tidy(INT64_MAX);
}

/* ---- agreeing ---- */

static int arena_tell(tine_zmq *t, tine_zmq_peer *p, tine_zmq_leases *l) {
    tine_arena_place place;
    uint8_t message[FRAMING_LANE_ARENA_BYTES];
    if (!t->has_arena || !tine_arena_get(&place)) return -ENOENT;
    tine_framing_lane_arena(message, &place);
    int rc = tine_zmq_send_short(t, p, FRAMING_LANE, message, sizeof message);
    l->told = !rc;
    return rc;
}

void tine_zmq_leases_offer(tine_zmq *t, tine_zmq_peer *p, tine_zmq_leases *l) {
    if (!p->leases || !t->has_arena) return;
    int rc = arena_tell(t, p, l);
    if (rc) tell_apart(t, "the place of the arena could not be sent", strerror(-rc));
}

static void leases_refuse(tine_zmq *t, tine_zmq_peer *p, tine_zmq_leases *l, const char *why,
                          int rc) {
    char text[128];
    snprintf(text, sizeof text, "%c%s: %s", FRAMING_LANE_APART, why, strerror(-rc));
    (void)tine_zmq_send_short(t, p, FRAMING_LANE, text, strlen(text + 1) + 1);
    tell_apart(t, why, strerror(-rc));
    tine_shm_segment_unref(l->theirs);
    l->theirs = NULL;
}

/* Lending begins: at the listener when it has sent MAPPED, at the connector when MAPPED has
 * come. */
static void leases_begin(tine_zmq *t, tine_zmq_peer *p, tine_zmq_leases *l,
                         const tine_shm_lane *lane) {
    tine_shm_lender_init(&l->lender, lane, l->theirs, &l->neighbours, t->listener);
    l->lender.count = &t->stats.leases;
    if (t->listener) tine_zmq_neighbours_join(t, p, l);
}

static const char *arena_read(tine_zmq *t, tine_zmq_peer *p, tine_zmq_leases *l,
                              const tine_shm_lane *lane, const uint8_t *bytes, size_t size) {
    tine_arena_place place;
    const char *why;
    if (l->theirs || l->told != t->listener || !t->has_arena)
        return "it told of an arena that was not asked for";
    if (!tine_framing_read_lane_arena(bytes, size, &place)) return "its arena's place is malformed";
    int rc = tine_shm_segment_open(&l->theirs, &place, false, &why);
    if (!rc && t->listener) {
        static const uint8_t mapped = FRAMING_LANE_MAPPED;
        rc = tine_zmq_send_short(t, p, FRAMING_LANE, &mapped, 1);
        if (!rc) leases_begin(t, p, l, lane);
    } else if (!rc) {
        why = "the place of the arena could not be sent";
        rc = arena_tell(t, p, l);
    }
    if (rc) leases_refuse(t, p, l, why, rc);
    return NULL;
}

static const char *apart_read(tine_zmq *t, tine_zmq_leases *l, const uint8_t *text, size_t size) {
    if (!l->told || l->lender.memory) return "it refused an arena that was not told";
    tine_zmq_leases_apart(t, text, size);
    return NULL;
}

const char *tine_zmq_leases_message(tine_zmq *t, tine_zmq_peer *p, tine_zmq_leases *l,
                                    const tine_shm_lane *lane, const uint8_t *bytes, size_t size) {
    switch (bytes[0]) {
    case FRAMING_LANE_ARENA: return arena_read(t, p, l, lane, bytes, size);
    case FRAMING_LANE_APART: return apart_read(t, l, bytes + 1, size - 1);
    case FRAMING_LANE_OTHER:
    case FRAMING_LANE_REACHED:
    case FRAMING_LANE_GONE: return tine_zmq_neighbours_message(t, p, l, lane, bytes, size);
    default: break;
    }
    if (t->listener || !l->told || !l->theirs || l->lender.memory)
        return "it mapped an arena that was not told";
    leases_begin(t, p, l, lane);
    return NULL;
}

void tine_zmq_leases_fini(tine_zmq_leases *l) {
    tine_shm_lender_fini(&l->lender);
    tine_shm_neighbours_fini(&l->neighbours);
    tine_shm_segment_unref(l->theirs);
    l->theirs = NULL;
}

/* ---- lending ---- */

size_t tine_zmq_leases_rest(tine_zmq_leases *l, const tine_frame *f) {
    size_t rest = f->header_size;
    uint32_t lent = 0;
    if (tine_shm_is_returned(&l->lender)) tine_shm_collect(&l->lender);
    l->lends_small = tine_shm_lender_room(&l->lender) > TINE_SHM_LEASES / 2;
    for (uint32_t i = 0; i < f->n_buffers; i++)
        if (tine_zmq_lends(l, f, i))
            lent++;
        else
            rest += f->buffers[i]->size;
    if (lent > tine_shm_lender_room(&l->lender)) return SIZE_MAX;
    tine_shm_spot spot;
    for (uint32_t i = 0; i < f->n_buffers && lent; i++)
        if (tine_zmq_lends(l, f, i) && !tine_shm_lendable(&l->lender, f->buffers[i], &spot))
            return SIZE_MAX;
    return rest;
}

int64_t tine_zmq_leases_tidy(int64_t now) {
    int64_t next = tine_pages_tidy(now);
    return tine_shm_aside_tidy() ? tine_timeout_min(next, TIDY_NS) : next;
}
