/* The bytes of the framing that FRAMING.md describes: building and reading the first part of each
 * ZeroMQ message. Pure functions on memory; the readers trust nothing. */
#ifndef TINE_TRANSPORT_ZMQ_ZMQ_WIRE_H
#define TINE_TRANSPORT_ZMQ_ZMQ_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    WIRE_NOOP = 0,  /* ignored */
    WIRE_HELLO = 1, /* first message of both ends */
    WIRE_FRAME = 2, /* a whole frame: header behind the kind byte, a part for each buffer */
    WIRE_OPEN = 3,  /* a frame in pieces begins: sizes of its header and buffers */
    WIRE_CHUNK = 4, /* the next piece of it: offset, then a part of bytes */
    WIRE_BYE = 5,   /* the sender is about to go, or has dropped the receiver: why, as text */
    WIRE_ACK = 6,   /* how much of what the receiver sent has been read, in all */

    WIRE_VERSION = 1,
    WIRE_HELLO_BYTES = 14,
    WIRE_ACK_BYTES = 9,
    WIRE_COST = 1024, /* what a message costs of the window beside its bytes */
    WIRE_CHUNK_BYTES = 9,
    WIRE_MIN_CHUNK = 64 << 10,  /* so that OPEN with all its sizes always fits */
    WIRE_MAX_CHUNK = 256 << 20, /* past it a chunk would hold up the rest, and the heartbeat */
    WIRE_SLACK = 64,            /* MAXMSGSIZE = chunk + this: kind byte and header of one part */
};

void tine_wire_hello(uint8_t out[WIRE_HELLO_BYTES], uint32_t chunk, uint32_t window);
void tine_wire_ack(uint8_t out[WIRE_ACK_BYTES], uint64_t read);
void tine_wire_chunk(uint8_t out[WIRE_CHUNK_BYTES], uint64_t offset);
size_t tine_wire_open_bytes(uint32_t n_buffers);
void tine_wire_open(uint8_t *out, uint32_t n_buffers); /* sizes follow by tine_wire_open_size */
/* index 0: header, i + 1: buffer i */
void tine_wire_open_size(uint8_t *out, uint32_t index, uint64_t size);

/* Each returns NULL when the bytes are good, else a few words that say what is wrong with them. */
const char *tine_wire_read_hello(const uint8_t *p, size_t n, uint32_t *chunk, uint32_t *window);
const char *tine_wire_read_ack(const uint8_t *p, size_t n, uint64_t *read);
const char *tine_wire_read_chunk(const uint8_t *p, size_t n, uint64_t *offset);
/* Checks the count and that all sizes together stay within max_frame; `total` is their sum. */
const char *tine_wire_read_open(const uint8_t *p, size_t n, uint64_t max_frame, uint32_t *n_buffers,
                                uint64_t *total);
uint64_t tine_wire_read_open_size(const uint8_t *p, uint32_t index);

#endif
