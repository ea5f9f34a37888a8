/* A large frame that arrives in pieces: OPEN with its sizes, then a CHUNK for each piece, as
 * FRAMING.md has it. */
#include <stdlib.h>
#include <string.h>

#include "transport/base/arena.h"
#include "transport/zmq/lane.h"
#include "transport/zmq/receive.h"

enum { FIRST_FRAME_BUFFERS = 64 };

void tine_zmq_incoming_free(tine_zmq *t, tine_zmq_peer *p) {
    t->arriving -= p->in_sizes != NULL;
    tine_frame_free(p->in);
    free(p->in_sizes);
    p->in = NULL;
    p->in_sizes = NULL;
}

static size_t buffers_limit(const tine_zmq *t, const tine_zmq_peer *p) {
    bool bounded = t->base.config.max_first_frame < t->base.config.max_frame;
    return p->heard || !bounded ? TINE_FRAME_MAX_BUFFERS : FIRST_FRAME_BUFFERS;
}

static int begin_incoming(tine_zmq *t, tine_zmq_peer *p, const uint8_t *bytes, size_t size) {
    uint32_t n;
    uint64_t total;
    const char *wrong = tine_framing_read_open(bytes, size, t->base.config.max_frame, &n, &total);
    if (!wrong && (total > tine_zmq_frame_limit(t, p) || n > buffers_limit(t, p)))
        wrong = "its first frame is larger than a hello may be";
    if (wrong) return tine_zmq_refuse(t, p, false, wrong);
    p->in_sizes = malloc(((size_t)n + 1) * sizeof *p->in_sizes);
    t->arriving += p->in_sizes != NULL;
    p->in = p->in_sizes ? tine_frame_new((size_t)tine_framing_read_open_size(bytes, 0), n) : NULL;
    if (!p->in) {
        tine_zmq_incoming_free(t, p);
        return tine_zmq_lose_for_memory(t, p, false);
    }
    for (uint32_t i = 0; i <= n; i++) p->in_sizes[i] = tine_framing_read_open_size(bytes, i);
    p->in_size = total;
    p->in_total = 0;
    p->in_part = 0;
    p->in_offset = 0;
    return TINE_ZMQ_RECEIVED_OTHER;
}

/* The parts of an OPEN with more sizes than fit in the first, one after the other in `to`, which
 * has room for `room` bytes. Returns their bytes; SIZE_MAX: more than there is room for, or the
 * message broke off. */
static size_t read_open_parts(tine_zmq *t, const tine_zmq_first_part *first, uint8_t *to,
                              size_t room) {
    size_t size = first->size;
    memcpy(to, first->fields, size);
    for (bool more = true, good = true; more;) {
        zmq_msg_t m;
        zmq_msg_init(&m);
        if (zmq_msg_recv(&m, t->socket, ZMQ_DONTWAIT) < 0) return SIZE_MAX;
        more = zmq_msg_more(&m);
        size_t n = zmq_msg_size(&m);
        tine_zmq_crc_read(t, zmq_msg_data(&m), n);
        good = good && n <= room - size;
        if (good && n) memcpy(to + size, zmq_msg_data(&m), n);
        size = good ? size + n : SIZE_MAX;
        zmq_msg_close(&m);
    }
    return size;
}

int tine_zmq_read_open(tine_zmq *t, tine_zmq_peer *p, const tine_zmq_first_part *first) {
    size_t size = first->size, room;
    if (p->in)
        return tine_zmq_refuse(t, p, first->more,
                               "it began a frame in pieces before the last one ended");
    if (!first->more) return begin_incoming(t, p, first->fields, size);
    const char *wrong = tine_framing_read_open_length(first->fields, size, &room);
    if (wrong) return tine_zmq_refuse(t, p, true, wrong);
    uint8_t *bytes = malloc(room);
    if (!bytes) return tine_zmq_lose_for_memory(t, p, true);
    size = read_open_parts(t, first, bytes, room);
    int what =
        size == SIZE_MAX || tine_zmq_is_damaged(t)
            ? tine_zmq_refuse(t, p, false, "an open message's length does not match its count")
            : begin_incoming(t, p, bytes, size);
    free(bytes);
    return what;
}

/* Where the next `n` bytes go; NULL: no memory. A buffer is allocated when its first byte has come,
 * and backed as they come, so a size that is claimed and never sent costs no memory. */
static uint8_t *incoming_place(tine_zmq_peer *p, size_t n) {
    if (p->in_part == 0) return p->in->header + p->in_offset;
    tine_buffer **b = &p->in->buffers[p->in_part - 1];
    if (!*b) *b = tine_buffer_new_untouched((size_t)p->in_sizes[p->in_part]);
    if (!*b) return NULL;
    tine_arena_touch((*b)->data, (*b)->size, p->in_offset, n);
    return (uint8_t *)(*b)->data + p->in_offset;
}

static void incoming_next_part(tine_zmq_peer *p) {
    while (p->in_part < p->in->n_buffers && p->in_offset == p->in_sizes[p->in_part]) {
        p->in_part++;
        p->in_offset = 0;
    }
}

static bool incoming_fill_empty(tine_frame *f) {
    for (uint32_t i = 0; i < f->n_buffers; i++)
        if (!f->buffers[i] && !(f->buffers[i] = tine_buffer_new(0))) return false;
    return true;
}

static int incoming_add(tine_zmq *t, tine_zmq_peer *p, const void *bytes, size_t size,
                        tine_event *ev) {
    incoming_next_part(p);
    const char *wrong = NULL;
    if (size == 0 || size > t->base.config.chunk)
        wrong = "a chunk's size is out of range";
    else if (size > p->in_sizes[p->in_part] - p->in_offset)
        wrong = "a chunk runs past its buffer's end";
    if (wrong) {
        tine_zmq_crc_read(t, bytes, size);
        return tine_zmq_refuse(t, p, false, wrong);
    }
    uint8_t *to = incoming_place(p, size);
    if (!to) return tine_zmq_lose_for_memory(t, p, false);
    tine_zmq_crc_copy(t, to, bytes, size);
    if (tine_zmq_is_damaged(t)) return tine_zmq_refuse(t, p, false, FRAMING_DAMAGED);
    p->read += size + FRAMING_COST;
    t->turn_bytes += size + FRAMING_COST;
    tine_zmq_ack(t, p);
    p->in_offset += size;
    p->in_total += size;
    if (p->in_total < p->in_size) return TINE_ZMQ_RECEIVED_OTHER;
    if (!incoming_fill_empty(p->in)) return tine_zmq_lose_for_memory(t, p, false);
    tine_frame *f = p->in;
    p->in = NULL;
    tine_zmq_incoming_free(t, p);
    if (!tine_zmq_lane_pending(p)) return tine_zmq_deliver(t, p, f, ev);
    tine_zmq_lane_hold(t, p, f, NULL);
    return TINE_ZMQ_RECEIVED_OTHER;
}

int tine_zmq_read_chunk(tine_zmq *t, tine_zmq_peer *p, const tine_zmq_first_part *first,
                        tine_event *ev) {
    bool more = first->more;
    uint64_t offset;
    const char *wrong = tine_framing_read_chunk(first->fields, first->size, &offset);
    if (!wrong && !more) wrong = "a chunk message has no bytes";
    if (!wrong && !p->in) wrong = "a chunk belongs to no open frame";
    if (!wrong && offset != p->in_total) wrong = "a chunk overlaps another or leaves a gap";
    if (wrong) return tine_zmq_refuse(t, p, more, wrong);
    zmq_msg_t m;
    zmq_msg_init(&m);
    if (zmq_msg_recv(&m, t->socket, ZMQ_DONTWAIT) < 0)
        return tine_zmq_refuse(t, p, false, "a message ended before its last part");
    int what;
    if (zmq_msg_more(&m)) {
        tine_zmq_crc_read(t, zmq_msg_data(&m), zmq_msg_size(&m));
        what = tine_zmq_refuse(t, p, true, "a chunk message has more than two parts");
    } else {
        what = incoming_add(t, p, zmq_msg_data(&m), zmq_msg_size(&m), ev);
    }
    zmq_msg_close(&m);
    return what;
}
