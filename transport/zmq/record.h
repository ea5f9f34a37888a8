/* Frames as records of a lane's ring (FRAMING.md, LANE). The reader copies each number before it
 * checks it, and every byte before it is used. */
#ifndef TINE_TRANSPORT_ZMQ_RECORD_H
#define TINE_TRANSPORT_ZMQ_RECORD_H

#include "transport/zmq/lease.h"

enum {
    TINE_ZMQ_RECORD_FRAME = 1,
    TINE_ZMQ_RECORD_LENDS = 2, /* the same, where buffers may be lent */
    TINE_ZMQ_RECORD_HEAD = 8,  /* header size, number of buffers */
    TINE_ZMQ_RECORD_PLACE = 24 /* the most that a buffer takes behind the head */
};

/* The size of a frame's record; `bytes` of the frame are not lent. */
size_t tine_zmq_record_size(const tine_frame *f, size_t bytes, bool lends);
void tine_zmq_record_write(uint8_t *to, const tine_frame *f);
/* To be called after tine_zmq_leases_rest has returned that it can be done. */
void tine_zmq_record_lend(uint8_t *to, const tine_frame *f, tine_zmq_leases *l);
/* A frame of at most `limit` bytes; NULL with what is wrong in *wrong, or NULL: no memory. */
tine_frame *tine_zmq_record_read(const tine_shm_record *r, size_t limit, const char **wrong);
tine_frame *tine_zmq_record_borrow(const tine_shm_record *r, size_t limit, tine_zmq_leases *l,
                                   const tine_shm_lane *lane, const char **wrong);

#endif
