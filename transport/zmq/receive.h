/* What receive.c and incoming.c share: the message being read. */
#ifndef TINE_TRANSPORT_ZMQ_RECEIVE_H
#define TINE_TRANSPORT_ZMQ_RECEIVE_H

#include "transport/zmq/internal.h"

/* The fields of a message's first part, behind its head. */
typedef struct tine_zmq_first_part {
    const uint8_t *fields;
    size_t size;
    bool more;
} tine_zmq_first_part;

/* receive.c */
/* A part of the message, which its checksum covers; the second one copies it. */
void tine_zmq_crc_read(tine_zmq *t, const void *bytes, size_t size);
void tine_zmq_crc_copy(tine_zmq *t, void *to, const void *bytes, size_t size);
bool tine_zmq_is_damaged(const tine_zmq *t); /* once all parts are read */
/* The peer is lost; `more`: parts of the message are left, which are skipped. */
int tine_zmq_refuse(tine_zmq *t, tine_zmq_peer *p, bool more, const char *reason);
int tine_zmq_lose_for_memory(tine_zmq *t, tine_zmq_peer *p, bool more);

/* incoming.c */
int tine_zmq_read_open(tine_zmq *t, tine_zmq_peer *p, const tine_zmq_first_part *first);
int tine_zmq_read_chunk(tine_zmq *t, tine_zmq_peer *p, const tine_zmq_first_part *first,
                        tine_event *ev);

#endif
