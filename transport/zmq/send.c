/* Sending over ZeroMQ. A frame whose bytes fit in one chunk is one message; a larger one goes in
 * pieces, and libzmq holds at most IN_FLIGHT pieces of one peer at a time. So a small frame that is
 * sent later waits for those and not for the rest, and peers take turns. What libzmq does not take
 * now waits in queues of ours, which max_queued bounds by bytes; libzmq itself would bound them by
 * the number of messages. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "transport/base/count.h"
#include "transport/zmq/lane.h"

enum {
    IN_FLIGHT = 2,
    WINDOW_CHUNKS = 32, /* what a peer may have sent that was not read here: this many chunks */
};

static size_t in_flight(const tine_zmq_peer *p) { return atomic_load(&p->flight->bytes); }

static bool may_fly(const tine_zmq_peer *p, size_t bytes) {
    size_t now = in_flight(p);
    return now == 0 || now + bytes <= IN_FLIGHT * p->chunk;
}

/* The window bounds what lies unread at the receiver. libzmq's own bound, RCVHWM, must not be what
 * stops a sender: a socket whose queue is full no longer reads its connection, so it misses
 * heartbeats and takes a live peer for dead, and libzmq 4.3.4 aborts (`!_io_error`, its issue 4364)
 * if the connection breaks at that moment and its heartbeat timer fires. Pieces of large frames
 * leave half of the window to small ones. */
static bool peer_window_open(const tine_zmq_peer *p, size_t bytes, bool piece) {
    uint64_t unread = p->spent - p->acked, window = piece ? p->window / 2 : p->window;
    return unread == 0 || unread + bytes + FRAMING_COST <= window;
}

uint32_t tine_zmq_window(const tine_zmq *t) {
    uint64_t window = WINDOW_CHUNKS * ((uint64_t)t->base.config.chunk + FRAMING_COST);
    return window < UINT32_MAX ? (uint32_t)window : UINT32_MAX;
}

bool tine_zmq_acked(tine_zmq *t, tine_zmq_peer *p, uint64_t read) {
    if (read < p->acked || read > p->spent) return false;
    p->acked = read;
    if (p->is_waiting) tine_zmq_flush(t, false);
    return true;
}

/* Bytes of a buffer as they are sent. Its owner may change what is borrowed after the checksum has
 * been taken: that is copied before. NULL: no memory. */
static tine_buffer *bytes_to_send(const tine_zmq_peer *p, tine_buffer *b, size_t *offset,
                                  size_t size) {
    if (!p->checked || !b->foreign) return tine_buffer_ref(b);
    tine_buffer *copy = tine_buffer_new(size);
    if (copy) memcpy(copy->data, (const uint8_t *)b->data + *offset, size);
    *offset = 0;
    return copy;
}

static tine_frame *frame_to_send(const tine_zmq_peer *p, const tine_frame *f) {
    tine_frame *copy = tine_frame_new(f->header_size, f->n_buffers);
    if (copy && f->header_size) memcpy(copy->header, f->header, f->header_size);
    for (uint32_t i = 0; copy && i < f->n_buffers; i++) {
        size_t at = 0;
        if ((copy->buffers[i] = bytes_to_send(p, f->buffers[i], &at, f->buffers[i]->size)))
            continue;
        tine_frame_free(copy);
        return NULL;
    }
    return copy;
}

static bool has_foreign(const tine_frame *f) {
    for (uint32_t i = 0; i < f->n_buffers; i++)
        if (f->buffers[i]->foreign) return true;
    return false;
}

static uint32_t crc_of_frame(const tine_frame *f) {
    uint32_t crc = tine_zmq_crc_of_first(FRAMING_FRAME, f->header, f->header_size);
    for (uint32_t i = 0; i < f->n_buffers; i++)
        crc = tine_zmq_crc_of_part(crc, f->buffers[i]->data, f->buffers[i]->size);
    return crc;
}

/* A whole frame as one message. Once the first part is taken the frame counts as sent: if the
 * connection breaks in between, the peer is reported lost. */
static int send_as_message(tine_zmq *t, tine_zmq_peer *p, const tine_frame *f, size_t bytes) {
    uint32_t crc = p->checked ? crc_of_frame(f) : 0;
    int rc = tine_zmq_send_address(t, p->routing);
    if (!rc)
        rc = tine_zmq_send_first(t, p, FRAMING_FRAME, crc, f->header, f->header_size,
                                 f->n_buffers > 0);
    if (rc) return rc;
    p->spent += bytes + FRAMING_COST;
    for (uint32_t i = 0; i < f->n_buffers && !rc; i++)
        rc = tine_zmq_send_in_place(t, p, f->buffers[i], 0, f->buffers[i]->size,
                                    i + 1 < f->n_buffers);
    return 0;
}

static int send_whole(tine_zmq *t, tine_zmq_peer *p, const tine_frame *f, size_t bytes) {
    if (!p->checked || !has_foreign(f)) return send_as_message(t, p, f, bytes);
    tine_frame *copy = frame_to_send(p, f);
    int rc = copy ? send_as_message(t, p, copy, bytes) : -EAGAIN;
    tine_frame_free(copy);
    return rc;
}

static size_t in_place_bytes(const tine_frame *f) {
    size_t sum = 0;
    for (uint32_t i = 0; i < f->n_buffers; i++)
        if (f->buffers[i]->size >= TINE_ZMQ_IN_PLACE_FROM) sum += f->buffers[i]->size;
    return sum;
}

static tine_frame *queue_first(const tine_ring *q) {
    tine_frame **f = tine_ring_first(q);
    return f ? *f : NULL;
}

static void queue_free(tine_ring *q) {
    tine_frame *f;
    while (tine_ring_pop(q, &f)) tine_frame_free(f);
    tine_ring_fini(q);
}

void tine_zmq_queues_free(tine_zmq_peer *p) {
    queue_free(&p->small);
    queue_free(&p->large);
    p->queued = 0;
    p->out_open = false;
}

static void peer_wait(tine_zmq *t, tine_zmq_peer *p) {
    atomic_store(&t->want_room, true);
    if (p->is_waiting) return;
    p->is_waiting = true;
    TAILQ_INSERT_TAIL(&t->waiting, p, waiting);
}

/* An ACK for each eighth of the window, so that a sender that keeps to half of it for large frames
 * does not stop. If libzmq does not take the ACK now, the peer is queued for another try: it may
 * have stopped because the ACK is missing. */
void tine_zmq_ack(tine_zmq *t, tine_zmq_peer *p) {
    if (p->read - p->told < tine_zmq_window(t) / 8) return;
    uint8_t ack[FRAMING_ACK_BYTES];
    tine_framing_ack(ack, p->read);
    p->ack_due = tine_zmq_send_short(t, p, FRAMING_ACK, ack, sizeof ack) == -EAGAIN;
    if (!p->ack_due) p->told = p->read;
    if (p->ack_due) peer_wait(t, p);
}

static void count_out(tine_zmq *t, size_t bytes) {
    tine_count_add(&t->stats.frames_out, 1);
    tine_count_add(&t->stats.bytes_out, bytes);
}

/* A small frame, which stays the caller's. -EAGAIN: it has to wait. */
static int send_by_lane_or_whole(tine_zmq *t, tine_zmq_peer *p, const tine_frame *f, size_t bytes) {
    if (tine_zmq_lane_sends(t, p)) return tine_zmq_lane_send(t, p, f, bytes);
    if (!peer_window_open(p, bytes, false) || !may_fly(p, in_place_bytes(f))) return -EAGAIN;
    int rc = send_whole(t, p, f, bytes);
    p->blocked |= rc == -EAGAIN;
    return rc;
}

/* Sends a small frame past the empty queue. 0: sent, -EAGAIN: it has to be queued. */
static int send_now(tine_zmq *t, tine_zmq_peer *p, tine_frame *f, size_t bytes) {
    if (p->small.n) return -EAGAIN;
    int rc = send_by_lane_or_whole(t, p, f, bytes);
    if (rc == -E2BIG) rc = -EAGAIN;
    if (rc == -EPIPE && p->state == TINE_ZMQ_PEER_UP) tine_zmq_peer_disconnected(t, p);
    if (!rc) tine_frame_free(f);
    return rc;
}

int tine_zmq_send_frame(tine_zmq *t, tine_zmq_peer *p, tine_frame *f) {
    if (p->is_waiting && atomic_load(&t->room)) tine_zmq_flush(t, false);
    size_t bytes = tine_frame_bytes(f), used = p->queued + in_flight(p);
    bool small =
             f->n_buffers <= FRAMING_WHOLE_BUFFERS && tine_zmq_lane_bytes(p, f, bytes) <= p->chunk,
         full = used && used + bytes + TINE_ZMQ_FRAME_COST > t->base.config.max_queued;
    int rc = full || !small ? -EAGAIN : send_now(t, p, f, bytes);
    if (!rc) count_out(t, bytes);
    if (rc != -EAGAIN) return rc;
    tine_frame **slot = full ? NULL : tine_ring_push(small ? &p->small : &p->large);
    bool alone = !p->is_waiting;
    peer_wait(t, p);
    p->want_writable |= !slot;
    if (!slot) return -EAGAIN;
    *slot = f;
    p->queued += bytes + TINE_ZMQ_FRAME_COST;
    if (alone && !small) tine_zmq_flush(t, false);
    count_out(t, bytes);
    return 0;
}

static uint8_t *open_write(const tine_frame *f, size_t size) {
    uint8_t *to = malloc(size);
    if (!to) return NULL;
    tine_framing_open(to, f->n_buffers);
    tine_framing_open_size(to, 0, f->header_size);
    for (uint32_t i = 0; i < f->n_buffers; i++)
        tine_framing_open_size(to, i + 1, f->buffers[i]->size);
    return to;
}

static uint32_t crc_of_open(const uint8_t *bytes, size_t size) {
    size_t first = size < FRAMING_OPEN_PART ? size : FRAMING_OPEN_PART;
    uint32_t crc = tine_zmq_crc_of_first(FRAMING_OPEN, bytes, first);
    for (size_t at = first, n; at < size; at += n) {
        n = size - at < FRAMING_OPEN_PART ? size - at : FRAMING_OPEN_PART;
        crc = tine_zmq_crc_of_part(crc, bytes + at, n);
    }
    return crc;
}

static int send_open(tine_zmq *t, tine_zmq_peer *p, const tine_frame *f) {
    size_t size = tine_framing_open_bytes(f->n_buffers);
    size_t first = size < FRAMING_OPEN_PART ? size : FRAMING_OPEN_PART;
    uint8_t *bytes = open_write(f, size);
    uint32_t crc = bytes && p->checked ? crc_of_open(bytes, size) : 0;
    int rc = bytes ? tine_zmq_send_address(t, p->routing) : -EAGAIN;
    if (!rc) rc = tine_zmq_send_first(t, p, FRAMING_OPEN, crc, bytes, first, first < size);
    for (size_t at = first, n; at < size && !rc; at += n) {
        n = size - at < FRAMING_OPEN_PART ? size - at : FRAMING_OPEN_PART;
        rc = tine_zmq_send_copy(t, bytes + at, n, at + n < size);
    }
    free(bytes);
    if (rc) return rc;
    tine_count_add(&t->stats.copied, tine_zmq_lane_copies(p, f));
    p->out_open = true;
    p->out_part = 0;
    p->out_offset = 0;
    p->out_total = 0;
    return 0;
}

static size_t part_size(const tine_frame *f, uint32_t i) {
    return i == 0 ? f->header_size : f->buffers[i - 1]->size;
}

static uint32_t crc_of_chunk(const uint8_t *offset, const uint8_t *from, size_t size) {
    return tine_zmq_crc_of_part(tine_zmq_crc_of_first(FRAMING_CHUNK, offset, FRAMING_CHUNK_BYTES),
                                from, size);
}

/* `b`: the buffer that the piece lies in, `at` its offset; NULL: it lies in the header. */
static int send_piece(tine_zmq *t, tine_zmq_peer *p, tine_buffer *b, const uint8_t *from, size_t at,
                      size_t size) {
    uint8_t offset[FRAMING_CHUNK_BYTES];
    tine_framing_chunk(offset, p->out_total);
    uint32_t crc = p->checked ? crc_of_chunk(offset, from + at, size) : 0;
    int rc = tine_zmq_send_address(t, p->routing);
    if (!rc) rc = tine_zmq_send_first(t, p, FRAMING_CHUNK, crc, offset, sizeof offset, true);
    if (rc) return rc;
    if (b)
        tine_zmq_send_in_place(t, p, b, at, size, false);
    else
        tine_zmq_send_copy(t, from + at, size, false);
    return 0;
}

static int send_chunk(tine_zmq *t, tine_zmq_peer *p, tine_frame *f) {
    while (p->out_offset == part_size(f, p->out_part)) {
        p->out_part++;
        p->out_offset = 0;
    }
    size_t size = part_size(f, p->out_part) - p->out_offset;
    if (size > p->chunk) size = p->chunk;
    size_t at = p->out_offset;
    tine_buffer *b = p->out_part ? bytes_to_send(p, f->buffers[p->out_part - 1], &at, size) : NULL;
    if (p->out_part && !b) return -EAGAIN;
    int rc = send_piece(t, p, b, b ? b->data : f->header, at, size);
    tine_buffer_unref(b);
    if (rc) return rc;
    p->out_offset += size;
    p->out_total += size;
    p->spent += size + FRAMING_COST;
    p->queued -= size;
    return 0;
}

/* Sends one piece of the first large frame. */
static int send_large(tine_zmq *t, tine_zmq_peer *p) {
    tine_frame *f = queue_first(&p->large);
    if (!f || !may_fly(p, p->chunk) || !peer_window_open(p, p->chunk, true)) return -EAGAIN;
    int rc = p->out_open ? 0 : send_open(t, p, f);
    if (!rc) rc = send_chunk(t, p, f);
    if (rc) {
        p->blocked = rc == -EAGAIN;
        return rc;
    }
    if (p->out_total == tine_frame_bytes(f)) {
        p->out_open = false;
        p->queued -= TINE_ZMQ_FRAME_COST;
        tine_ring_drop(&p->large);
        tine_frame_free(f);
    }
    return 0;
}

/* It was to be lent when it was queued, and cannot be now. */
static int move_to_large(tine_zmq_peer *p, tine_frame *f) {
    tine_frame **slot = tine_ring_push(&p->large);
    if (!slot) return -EAGAIN;
    *slot = f;
    tine_ring_drop(&p->small);
    return 0;
}

static int send_small(tine_zmq *t, tine_zmq_peer *p) {
    tine_frame *f;
    while ((f = queue_first(&p->small))) {
        size_t bytes = tine_frame_bytes(f);
        int rc = send_by_lane_or_whole(t, p, f, bytes);
        if (rc == -E2BIG && !(rc = move_to_large(p, f))) continue;
        if (rc) return rc;
        p->queued -= bytes + TINE_ZMQ_FRAME_COST;
        tine_ring_drop(&p->small);
        tine_frame_free(f);
    }
    return 0;
}

/* Small frames first, then one piece of a large one. True when a piece was sent. */
static bool peer_send(tine_zmq *t, tine_zmq_peer *p, bool retry_blocked) {
    if (p->state != TINE_ZMQ_PEER_UP || p->disconnected || (p->blocked && !retry_blocked))
        return false;
    p->blocked = false;
    if (p->ack_due) tine_zmq_ack(t, p);
    int rc = send_small(t, p);
    if (!rc) rc = send_large(t, p);
    if (rc == -EPIPE && p->state == TINE_ZMQ_PEER_UP) tine_zmq_peer_disconnected(t, p);
    return rc == 0;
}

/* True: nothing waits for this peer any more. */
static bool peer_settled(tine_zmq *t, tine_zmq_peer *p) {
    if (p->state != TINE_ZMQ_PEER_UP || p->disconnected) return true;
    if (p->want_writable && p->queued + in_flight(p) <= t->base.config.max_queued / 2)
        tine_zmq_peer_writable(t, p);
    return !p->small.n && !p->large.n && !p->want_writable && !p->ack_due;
}

/* Every waiting peer has a turn, and another as long as any of them sends. The first one is moved
 * to the end for the next flush, so that libzmq's queue is not filled by a few fast peers. */
void tine_zmq_flush(tine_zmq *t, bool retry_blocked) {
    tine_zmq_peer *p, *next;
    atomic_store(&t->room, false);
    for (bool sent = true; sent; retry_blocked = false) {
        sent = false;
        TAILQ_FOREACH (p, &t->waiting, waiting) sent |= peer_send(t, p, retry_blocked);
    }
    if ((p = TAILQ_FIRST(&t->waiting))) {
        TAILQ_REMOVE(&t->waiting, p, waiting);
        TAILQ_INSERT_TAIL(&t->waiting, p, waiting);
    }
    for (p = TAILQ_FIRST(&t->waiting); p; p = next) {
        next = TAILQ_NEXT(p, waiting);
        if (!peer_settled(t, p)) continue;
        TAILQ_REMOVE(&t->waiting, p, waiting);
        p->is_waiting = false;
    }
    if (TAILQ_EMPTY(&t->waiting)) atomic_store(&t->want_room, false);
}
