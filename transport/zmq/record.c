/* See record.h. A plain record has the sizes of its parts, then their bytes. In one that lends, the
 * sizes are places, and what is lent has no bytes. */
#include "transport/zmq/record.h"

#include <string.h>

enum { NOT_LENT = -1 };

_Static_assert(sizeof(tine_shm_place) == TINE_ZMQ_RECORD_PLACE,
               "the layout is part of the framing");

static const char SIZES[] = "it broke its lane: a record's sizes do not match";

size_t tine_zmq_record_size(const tine_frame *f, size_t bytes, bool lends) {
    return TINE_ZMQ_RECORD_HEAD +
           f->n_buffers * (lends ? sizeof(tine_shm_place) : sizeof(uint32_t)) + bytes;
}

static uint8_t *put_bytes(uint8_t *to, const void *from, size_t size) {
    if (size) memcpy(to, from, size);
    return to + size;
}

static uint8_t *put_head(uint8_t *to, const tine_frame *f) {
    const uint32_t numbers[2] = {f->header_size, f->n_buffers};
    return put_bytes(to, numbers, sizeof numbers);
}

void tine_zmq_record_write(uint8_t *to, const tine_frame *f) {
    to = put_head(to, f);
    for (uint32_t i = 0; i < f->n_buffers; i++) {
        uint32_t size = (uint32_t)f->buffers[i]->size;
        to = put_bytes(to, &size, sizeof size);
    }
    to = put_bytes(to, f->header, f->header_size);
    for (uint32_t i = 0; i < f->n_buffers; i++)
        to = put_bytes(to, f->buffers[i]->data, f->buffers[i]->size);
}

void tine_zmq_record_lend(uint8_t *to, const tine_frame *f, tine_zmq_leases *l) {
    to = put_head(to, f);
    for (uint32_t i = 0; i < f->n_buffers; i++) {
        tine_buffer *b = f->buffers[i];
        tine_shm_place at = {.size = b->size, .lease = (uint32_t)NOT_LENT};
        tine_shm_spot spot;
        if (tine_zmq_lends(l, f, i) && tine_shm_lendable(&l->lender, b, &spot)) {
            at.offset = spot.offset;
            at.arena = spot.arena;
            at.lease = tine_shm_lend(&l->lender, &spot);
        }
        to = put_bytes(to, &at, sizeof at);
    }
    to = put_bytes(to, f->header, f->header_size);
    for (uint32_t i = 0; i < f->n_buffers; i++)
        if (!tine_zmq_lends(l, f, i)) to = put_bytes(to, f->buffers[i]->data, f->buffers[i]->size);
}

/* ---- reading ---- */

/* What is left of a record, and of the frame's limit. */
typedef struct reading {
    const uint8_t *sizes, *from;
    size_t left, room;
} reading;

/* The head: a frame without its buffers. */
static tine_frame *read_head(const tine_shm_record *r, size_t limit, size_t number, reading *in,
                             const char **wrong) {
    uint32_t numbers[2];
    *wrong = SIZES;
    if (r->size < sizeof numbers) return NULL;
    memcpy(numbers, r->bytes, sizeof numbers);
    uint32_t header = numbers[0], n = numbers[1];
    size_t left = r->size - sizeof numbers;
    if (n > FRAMING_WHOLE_BUFFERS || n * number > left) return NULL;
    left -= n * number;
    if (header > left || header > limit) return NULL;
    in->sizes = r->bytes + sizeof numbers;
    in->from = in->sizes + n * number;
    in->left = left - header;
    in->room = limit - header;
    *wrong = NULL;
    tine_frame *f = tine_frame_new(header, n);
    if (f && header) memcpy(f->header, in->from, header);
    in->from += header;
    return f;
}

/* NULL: as for tine_zmq_record_read. */
static tine_buffer *read_buffer(reading *in, uint64_t size, const char **wrong) {
    *wrong = size <= in->left && size <= in->room ? NULL : SIZES;
    tine_buffer *b = *wrong ? NULL : tine_buffer_new((size_t)size);
    if (!b) return NULL;
    if (size) memcpy(b->data, in->from, (size_t)size);
    in->from += size;
    in->left -= (size_t)size;
    in->room -= (size_t)size;
    return b;
}

tine_frame *tine_zmq_record_read(const tine_shm_record *r, size_t limit, const char **wrong) {
    reading in;
    tine_frame *f = read_head(r, limit, sizeof(uint32_t), &in, wrong);
    for (uint32_t i = 0; f && i < f->n_buffers; i++) {
        uint32_t size;
        memcpy(&size, in.sizes + i * sizeof size, sizeof size);
        if ((f->buffers[i] = read_buffer(&in, size, wrong))) continue;
        tine_frame_free(f);
        return NULL;
    }
    return f;
}

static tine_buffer *borrow_buffer(reading *in, const tine_shm_place *at, tine_zmq_leases *l,
                                  const tine_shm_lane *lane, const char **wrong) {
    *wrong = SIZES;
    if (at->size > in->room) return NULL;
    in->room -= (size_t)at->size;
    return tine_shm_borrow(lane, &l->lender, l->theirs, at, wrong);
}

tine_frame *tine_zmq_record_borrow(const tine_shm_record *r, size_t limit, tine_zmq_leases *l,
                                   const tine_shm_lane *lane, const char **wrong) {
    reading in;
    tine_frame *f = read_head(r, limit, sizeof(tine_shm_place), &in, wrong);
    for (uint32_t i = 0; f && i < f->n_buffers; i++) {
        tine_shm_place at;
        memcpy(&at, in.sizes + i * sizeof at, sizeof at);
        f->buffers[i] = at.lease == (uint32_t)NOT_LENT ? read_buffer(&in, at.size, wrong)
                                                       : borrow_buffer(&in, &at, l, lane, wrong);
        if (f->buffers[i]) continue;
        tine_frame_free(f);
        return NULL;
    }
    return f;
}
