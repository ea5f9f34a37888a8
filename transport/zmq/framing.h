/* The bytes of the framing that FRAMING.md describes: writing and reading the first part of each
 * ZeroMQ message. Pure functions on memory; the readers check everything. */
#ifndef TINE_TRANSPORT_ZMQ_FRAMING_H
#define TINE_TRANSPORT_ZMQ_FRAMING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "transport/base/arena.h"
#include "transport/shm/lane.h"

enum {
    FRAMING_NOOP = 0,  /* ignored */
    FRAMING_HELLO = 1, /* the first message in each direction */
    FRAMING_FRAME = 2, /* a whole frame: header behind the kind byte, a part for each buffer */
    FRAMING_OPEN = 3,  /* a frame in pieces begins: sizes of its header and buffers */
    FRAMING_CHUNK = 4, /* the next piece of it: offset, then a part of bytes */
    FRAMING_BYE = 5,   /* the sender ends the connection: why, as text */
    FRAMING_ACK = 6,   /* how much of what the receiver sent has been read, in all */
    FRAMING_LANE = 7,  /* about the lane: one of the next, then its fields */

    FRAMING_LANE_REFUSED = 0, /* why, as text */
    FRAMING_LANE_OFFER = 1,   /* where it can be opened */
    FRAMING_LANE_SWITCH = 2,  /* the sender's small frames are in the lane from here on */
    FRAMING_LANE_ARENA = 3,   /* where the sender's tensors are */
    FRAMING_LANE_MAPPED = 4,  /* buffers may be lent, both ways */
    FRAMING_LANE_APART = 5,   /* none may: why, as text */
    FRAMING_LANE_OTHER = 6,   /* a number, and where the tensors of another connector are */
    FRAMING_LANE_REACHED = 7, /* the number: they may be lent on; or not: why, as text */
    FRAMING_LANE_GONE = 8,    /* the number: nothing more of them is */
    FRAMING_LANE_PAIR = 9,    /* a connector's number, and where a lane to it can be opened */
    FRAMING_LANE_PAIRED = 10, /* the number: it is open; or not: why, as text */
    FRAMING_LANE_PARTED = 11, /* the number: that connector does not use the lane any more */
    FRAMING_LANE_OFFER_BYTES = 1 + 4 * 4 + 8 + TINE_SHM_TOKEN,
    FRAMING_LANE_ARENA_BYTES = 1 + 2 * 4 + 8 + TINE_ARENA_TOKEN,
    FRAMING_LANE_NUMBER_BYTES = 1 + 4,
    FRAMING_LANE_OTHER_BYTES = FRAMING_LANE_NUMBER_BYTES + FRAMING_LANE_ARENA_BYTES - 1,
    FRAMING_LANE_PAIR_BYTES = FRAMING_LANE_NUMBER_BYTES + 1 + FRAMING_LANE_OFFER_BYTES - 1,

    FRAMING_VERSION = 2,
    FRAMING_HELLO_BYTES = 19,
    FRAMING_ASKS_CHECKS = 1, /* a flag of HELLO: messages are to carry checksums */
    FRAMING_ASKS_LANE = 2,   /* a flag of HELLO: a lane may be offered */
    FRAMING_ASKS_LEASES = 4, /* a flag of HELLO: ... and buffers lent through it */
    FRAMING_ASKS_OTHERS = 8, /* a flag of HELLO: ... also those of other connectors */
    FRAMING_ASKS_PAIRS = 16, /* a flag of HELLO: ... and lanes to other connectors */
    FRAMING_PATIENT = 32,    /* a flag of HELLO: silence ends the connection late */
    FRAMING_ACK_BYTES = 8,
    /* in front of a message's fields: its kind, and its checksum if it has one */
    FRAMING_PLAIN_HEAD = 1,
    FRAMING_CHECKED_HEAD = 5,
    FRAMING_COST = 1024, /* what a message costs of the window beside its bytes */
    FRAMING_CHUNK_BYTES = 8,
    FRAMING_MIN_CHUNK = 64 << 10,
    FRAMING_OPEN_PART = 64 << 10,  /* bytes of one part of OPEN */
    FRAMING_WHOLE_BUFFERS = 4096,  /* of a frame that is sent as FRAME */
    FRAMING_MAX_CHUNK = 256 << 20, /* past it a chunk would hold up the rest, and the heartbeat */
    FRAMING_SLACK = 64,            /* MAXMSGSIZE = chunk + this: kind byte and header of one part */
};

/* What a HELLO says of its sender. */
typedef struct tine_framing_peer {
    uint32_t chunk, window;
    uint8_t flags;
} tine_framing_peer;

/* A HELLO is written and read whole; of the other messages the fields, which follow the head. */
void tine_framing_hello(uint8_t out[FRAMING_HELLO_BYTES], const tine_framing_peer *p);
/* The head: `crc` is written if `checked`. Gives its size. */
size_t tine_framing_head(uint8_t out[FRAMING_CHECKED_HEAD], uint8_t kind, bool checked,
                         uint32_t crc);
/* The checksum in a first part, of which there are at least FRAMING_CHECKED_HEAD bytes. */
uint32_t tine_framing_head_crc(const uint8_t *p);
/* Adds a part's size to a message's checksum; its bytes follow. Of the first part the checksum's
 * own four bytes are left out. */
uint32_t tine_framing_crc_size(uint32_t crc, uint64_t size);
void tine_framing_ack(uint8_t out[FRAMING_ACK_BYTES], uint64_t read);
void tine_framing_lane_offer(uint8_t out[FRAMING_LANE_OFFER_BYTES], const tine_shm_offer *offer);
void tine_framing_lane_arena(uint8_t out[FRAMING_LANE_ARENA_BYTES], const tine_arena_place *place);
/* Any message about a lane that begins with a number: what it says, and the number. */
void tine_framing_lane_number(uint8_t out[FRAMING_LANE_NUMBER_BYTES], uint8_t what,
                              uint32_t number);
void tine_framing_lane_other(uint8_t out[FRAMING_LANE_OTHER_BYTES], uint32_t number,
                             const tine_arena_place *place);
/* `second`: its ring is the second one. */
void tine_framing_lane_pair(uint8_t out[FRAMING_LANE_PAIR_BYTES], uint32_t number, bool second,
                            const tine_shm_offer *offer);
void tine_framing_chunk(uint8_t out[FRAMING_CHUNK_BYTES], uint64_t offset);
size_t tine_framing_open_bytes(uint32_t n_buffers);
/* The sizes follow by tine_framing_open_size. */
void tine_framing_open(uint8_t *out, uint32_t n_buffers);
/* index 0: header, i + 1: buffer i */
void tine_framing_open_size(uint8_t *out, uint32_t index, uint64_t size);

/* Why a peer is dropped whose checksum does not match. */
#define FRAMING_DAMAGED "a message was damaged on its way: its checksum does not match"

/* Each returns NULL when the bytes are good, else a few words that say what is wrong with them. */
const char *tine_framing_read_hello(const uint8_t *p, size_t n, tine_framing_peer *out);
const char *tine_framing_read_ack(const uint8_t *p, size_t n, uint64_t *read);
/* With the byte that says what it is. False: malformed. */
bool tine_framing_read_lane_offer(const uint8_t *p, size_t n, tine_shm_offer *out);
bool tine_framing_read_lane_arena(const uint8_t *p, size_t n, tine_arena_place *out);
bool tine_framing_read_lane_number(const uint8_t *p, size_t n, uint32_t *number);
bool tine_framing_read_lane_other(const uint8_t *p, size_t n, uint32_t *number,
                                  tine_arena_place *out);
bool tine_framing_read_lane_pair(const uint8_t *p, size_t n, uint32_t *number, bool *second,
                                 tine_shm_offer *out);
const char *tine_framing_read_chunk(const uint8_t *p, size_t n, uint64_t *offset);
/* How many bytes an OPEN takes whose first part is p. */
const char *tine_framing_read_open_length(const uint8_t *p, size_t n, size_t *bytes);
/* Checks the count and that all sizes together stay within max_frame; `total` is their sum. */
const char *tine_framing_read_open(const uint8_t *p, size_t n, uint64_t max_frame,
                                   uint32_t *n_buffers, uint64_t *total);
uint64_t tine_framing_read_open_size(const uint8_t *p, uint32_t index);

#endif
