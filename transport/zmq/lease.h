/* The part of a lane that lends buffers (transport/shm/lease.h): both sides map the other's arena,
 * and then a frame names the places of its large buffers there. The frame is a record of the ring,
 * however large they are.
 *
 * Once both use the lane, the listener tells where its arena is; the connector maps it and tells of
 * its own; the listener maps that and says that it has. If anything of that is not possible the
 * side that finds it says so, and large frames stay on the socket.
 *
 * For a new connector and each earlier one the listener then tells both where the other's arena is
 * (transport/shm/neighbours.h), and later when one of them has gone. */
#ifndef TINE_TRANSPORT_ZMQ_LEASE_H
#define TINE_TRANSPORT_ZMQ_LEASE_H

#include "transport/shm/lease.h"
#include "transport/zmq/internal.h"

typedef struct tine_zmq_leases { /* zeroed: none */
    bool told;                   /* the peer knows where the arena of this process is */
    bool lends_small;            /* half of the leases are for large buffers */
    tine_shm_segment *theirs;
    tine_shm_lender lender;
    tine_shm_neighbours neighbours; /* listener: that the peer was told of */
} tine_zmq_leases;

/* Opens the process's arena, if the transport may have one. */
void tine_zmq_arena_open(tine_zmq *t);
/* A peer has a lane: writes to the log, once, why there is no arena. Without a lane the log has the
 * reason for that, and one line is enough. */
void tine_zmq_arena_missed(tine_zmq *t);
void tine_zmq_arena_close(tine_zmq *t);
/* Listener: begins. */
void tine_zmq_leases_offer(tine_zmq *t, tine_zmq_peer *p, tine_zmq_leases *l);
/* A LANE message of ours. NULL, or what is wrong with it. */
const char *tine_zmq_leases_message(tine_zmq *t, tine_zmq_peer *p, tine_zmq_leases *l,
                                    const tine_shm_lane *lane, const uint8_t *bytes, size_t size);
/* Writes to the log, once, that something is copied, and why. */
void tine_zmq_leases_apart(tine_zmq *t, const uint8_t *why, size_t size);
void tine_zmq_leases_fini(tine_zmq_leases *l);
/* The bytes of a frame that are not lent; SIZE_MAX: it has something to lend, and cannot now. */
size_t tine_zmq_leases_rest(tine_zmq_leases *l, const tine_frame *f);
/* Whether tine_zmq_leases_rest counts on lending this buffer. */
static inline bool tine_zmq_lends(const tine_zmq_leases *l, const tine_frame *f, uint32_t i) {
    const size_t from = l->lends_small ? TINE_BUFFER_SHARED_FROM : TINE_BUFFER_LARGE;
    return l->lender.memory && f->buffers[i]->size >= from &&
           !(f->body_beside && i + 1 == f->n_buffers);
}
/* Collects what outlived its lane, and releases pages kept for the next buffer. Result: ns until it
 * is due again; -1: it is not. */
int64_t tine_zmq_leases_tidy(int64_t now);

/* neighbours.c */
/* Listener, when it begins to lend to `p`, and before the end of `l`: tells the others. */
void tine_zmq_neighbours_join(tine_zmq *t, tine_zmq_peer *p, tine_zmq_leases *l);
void tine_zmq_neighbours_part(tine_zmq *t, const tine_zmq_leases *l);
/* As tine_zmq_leases_message. */
const char *tine_zmq_neighbours_message(tine_zmq *t, tine_zmq_peer *p, tine_zmq_leases *l,
                                        const tine_shm_lane *lane, const uint8_t *bytes,
                                        size_t size);
/* Removes those that have gone. True: some remain. */
bool tine_zmq_neighbours_tidy(tine_zmq *t, tine_zmq_peer *p, tine_zmq_leases *l,
                              const tine_shm_lane *lane);

#endif
