/* Sending over ZeroMQ. A frame whose bytes fit in one chunk is one message; a larger one goes in
 * pieces, and at most IN_FLIGHT pieces of one peer are in libzmq's hands at a time. So a small
 * frame that is sent later waits for those and not for the rest, and peers take turns. What libzmq
 * does not take now waits in queues of ours, which max_queued bounds by bytes; libzmq itself would
 * bound them by the number of messages. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "transport/zmq/internal.h"

enum {
    IN_FLIGHT = 2,
    WINDOW_CHUNKS = 32, /* what a peer may have sent and we not read: this many chunks */
    /* From this size on a buffer is lent to libzmq instead of copied; bench_transport --lend
     * measures it. */
    LEND_FROM = 32 << 10,
};

/* libzmq hands a message to its I/O thread in order, which ThreadSanitizer does not see: libzmq is
 * not built with it. */
#ifdef __SANITIZE_THREAD__
void __tsan_acquire(void *at);
void __tsan_release(void *at);
#else
#define __tsan_acquire(at) ((void)(at))
#define __tsan_release(at) ((void)(at))
#endif

void tine_zmq_flight_unref(tine_zmq_flight *f) {
    if (f && atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) == 1) free(f);
}

/* Called by libzmq's I/O thread, or by whichever closes the socket. The order matters: bytes first,
 * then the look at want_room; the loop does it the other way round, so one of the two sees the
 * other. The last reference is the loop's to drop: it may run a user's callback, which must not
 * hold up the I/O thread. */
static void give_back(void *data, void *hint) {
    (void)data;
    tine_zmq_loan *l = hint;
    __tsan_acquire(l);
    tine_zmq *t = l->flight->end;
    atomic_fetch_sub(&l->flight->bytes, l->size);
    atomic_store(&t->room, true);
    bool dropped = tine_buffer_unref_unless_last(l->buffer);
    if (dropped) {
        tine_zmq_flight_unref(l->flight);
        free(l);
    } else {
        l->next = atomic_load(&t->returned);
        while (!atomic_compare_exchange_weak(&t->returned, &l->next, l)) {
        }
    }
    if (!dropped || atomic_load(&t->want_room)) tine_doorbell_ring(&t->doorbell);
}

void tine_zmq_take_returned(tine_zmq *t) {
    if (!atomic_load(&t->returned)) return;
    tine_zmq_loan *l = atomic_exchange(&t->returned, NULL);
    while (l) {
        tine_zmq_loan *next = l->next;
        tine_buffer_unref(l->buffer);
        tine_zmq_flight_unref(l->flight);
        free(l);
        l = next;
    }
}

static size_t in_flight(const tine_zmq_peer *p) { return atomic_load(&p->flight->bytes); }

static bool may_fly(const tine_zmq_peer *p, size_t bytes) {
    size_t now = in_flight(p);
    return now == 0 || now + bytes <= IN_FLIGHT * p->chunk;
}

/* The window bounds what lies unread at the receiver. libzmq's own bound, RCVHWM, must not be what
 * stops a sender: an end whose pipe is full no longer reads its connection, so it takes a peer for
 * dead that it does not hear, and libzmq 4.3.4 aborts (`!_io_error`, its issue 4364) if the
 * connection breaks at that moment and its heartbeat timer fires. Pieces of large frames leave half
 * of the window to small ones. */
static bool window_open(const tine_zmq_peer *p, size_t bytes, bool piece) {
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
    if (p->on_backlog) tine_zmq_pump(t, false);
    return true;
}

static int refused(void) {
    return errno == EHOSTUNREACH || errno == ENOTSOCK || errno == ETERM ? -EPIPE : -EAGAIN;
}

/* ROUTER decides by the first part, the address, whether it takes the message: the rest then cannot
 * fail. */
static int address(tine_zmq *t, uint64_t routing) {
    t->dirty = true; /* sending may swallow the signal that something can be read */
    if (!t->socket) return -EPIPE;
    if (!t->listener) return 0;
    uint8_t id[TINE_ZMQ_ROUTING_BYTES] = {0};
    uint32_t number = (uint32_t)routing;
    memcpy(id + 1, &number, sizeof number);
    return zmq_send(t->socket, id, sizeof id, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0 ? refused() : 0;
}

static int part(tine_zmq *t, zmq_msg_t *m, bool more) {
    if (zmq_msg_send(m, t->socket, ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0)) >= 0) return 0;
    int rc = refused();
    zmq_msg_close(m);
    return rc;
}

/* libzmq asserts on its own allocations; half a message cannot be taken back, so ours do the
 * same. */
static void *fresh(zmq_msg_t *m, size_t size) {
    TINE_ASSERT(zmq_msg_init_size(m, size), ==, 0);
    return zmq_msg_data(m);
}

static int part_copied(tine_zmq *t, const void *bytes, size_t size, bool more) {
    zmq_msg_t m;
    void *to = fresh(&m, size);
    if (size) memcpy(to, bytes, size);
    return part(t, &m, more);
}

static int part_lent(tine_zmq *t, tine_zmq_peer *p, tine_buffer *b, size_t offset, size_t size,
                     bool more) {
    uint8_t *from = (uint8_t *)b->data + offset;
    tine_zmq_loan *l = size < LEND_FROM ? NULL : malloc(sizeof *l);
    if (!l) return part_copied(t, from, size, more);
    *l = (tine_zmq_loan){.buffer = tine_buffer_ref(b), .flight = p->flight, .size = size};
    atomic_fetch_add(&p->flight->refs, 1);
    atomic_fetch_add(&p->flight->bytes, size);
    __tsan_release(l);
    zmq_msg_t m;
    TINE_ASSERT(zmq_msg_init_data(&m, from, size, give_back, l), ==, 0);
    return part(t, &m, more);
}

int tine_zmq_send_short(tine_zmq *t, uint64_t routing, const void *bytes, size_t size) {
    int rc = address(t, routing);
    return rc ? rc : part_copied(t, bytes, size, false);
}

void tine_zmq_send_bye(tine_zmq *t, uint64_t routing, const char *reason) {
    uint8_t bytes[1 + 128];
    size_t len = strnlen(reason, sizeof bytes - 1);
    bytes[0] = FRAMING_BYE;
    memcpy(bytes + 1, reason, len);
    /* a courtesy: who cannot be told is not told */
    (void)tine_zmq_send_short(t, routing, bytes, 1 + len);
}

/* A whole frame as one message. Once the first part is taken the frame counts as sent: if the
 * connection breaks in between, the peer is reported lost. */
static int send_whole(tine_zmq *t, tine_zmq_peer *p, const tine_frame *f, size_t bytes) {
    int rc = address(t, p->routing);
    if (rc) return rc;
    zmq_msg_t m;
    uint8_t *first = fresh(&m, 1 + (size_t)f->header_size);
    first[0] = FRAMING_FRAME;
    if (f->header_size) memcpy(first + 1, f->header, f->header_size);
    rc = part(t, &m, f->n_buffers > 0);
    if (rc) return rc;
    p->spent += bytes + FRAMING_COST;
    for (uint32_t i = 0; i < f->n_buffers && !rc; i++)
        rc = part_lent(t, p, f->buffers[i], 0, f->buffers[i]->size, i + 1 < f->n_buffers);
    return 0;
}

static size_t lent_bytes(const tine_frame *f) {
    size_t sum = 0;
    for (uint32_t i = 0; i < f->n_buffers; i++)
        if (f->buffers[i]->size >= LEND_FROM) sum += f->buffers[i]->size;
    return sum;
}

static int queue_put(tine_zmq_queue *q, tine_frame *f) {
    if (q->n == q->room) {
        size_t room = q->room ? 2 * q->room : 16;
        tine_frame **at = malloc(room * sizeof(tine_frame *));
        if (!at) return -ENOMEM;
        for (size_t i = 0; i < q->n; i++) at[i] = q->at[(q->head + i) & (q->room - 1)];
        free(q->at);
        *q = (tine_zmq_queue){.at = at, .n = q->n, .room = room};
    }
    q->at[(q->head + q->n++) & (q->room - 1)] = f;
    return 0;
}

static tine_frame *queue_first(const tine_zmq_queue *q) { return q->n ? q->at[q->head] : NULL; }

static void queue_pop(tine_zmq_queue *q) {
    q->head = (q->head + 1) & (q->room - 1);
    if (--q->n == 0 && q->room > 1024) { /* what a burst took is given back */
        free(q->at);
        *q = (tine_zmq_queue){0};
    }
}

void tine_zmq_forget_queue(tine_zmq_peer *p) {
    tine_zmq_queue *queues[2] = {&p->small, &p->large};
    for (int i = 0; i < 2; i++) {
        tine_zmq_queue *q = queues[i];
        for (size_t k = 0; k < q->n; k++) tine_frame_free(q->at[(q->head + k) & (q->room - 1)]);
        free(q->at);
        *q = (tine_zmq_queue){0};
    }
    p->queued = 0;
    p->out_open = false;
}

static void on_backlog(tine_zmq *t, tine_zmq_peer *p) {
    atomic_store(&t->want_room, true);
    if (p->on_backlog) return;
    p->on_backlog = true;
    p->next_backlog = NULL;
    *t->backlog_tail = p;
    t->backlog_tail = &p->next_backlog;
}

/* Each eighth of the window, so that a sender that keeps to half of it for large frames is not
 * stopped by waiting for us. Where libzmq does not take it now it waits on the backlog: the sender
 * may have stopped for want of it. */
void tine_zmq_ack(tine_zmq *t, tine_zmq_peer *p) {
    if (p->read - p->told < tine_zmq_window(t) / 8) return;
    uint8_t ack[FRAMING_ACK_BYTES];
    tine_framing_ack(ack, p->read);
    p->ack_due = tine_zmq_send_short(t, p->routing, ack, sizeof ack) == -EAGAIN;
    if (!p->ack_due) p->told = p->read;
    if (p->ack_due) on_backlog(t, p);
}

static int taken(tine_zmq *t, size_t bytes) {
    t->stats.frames_out++;
    t->stats.bytes_out += bytes;
    return 0;
}

int tine_zmq_send_frame(tine_zmq *t, tine_zmq_peer *p, tine_frame *f) {
    if (p->on_backlog && atomic_load(&t->room)) tine_zmq_pump(t, false);
    size_t bytes = tine_frame_bytes(f), used = p->queued + in_flight(p);
    if (used && used + bytes + TINE_ZMQ_FRAME_COST > t->base.config.max_queued) {
        p->want_writable = true;
        on_backlog(t, p);
        return -EAGAIN;
    }
    bool small = bytes <= p->chunk;
    if (small && !p->small.n && window_open(p, bytes, false) && may_fly(p, lent_bytes(f))) {
        int rc = send_whole(t, p, f, bytes);
        if (rc == 0) {
            tine_frame_free(f);
            return taken(t, bytes);
        }
        if (rc == -EPIPE) tine_zmq_peer_gone(t, p);
        if (rc != -EAGAIN) return rc;
        p->blocked = true;
    }
    int rc = queue_put(small ? &p->small : &p->large, f);
    if (rc) p->want_writable = true;
    if (rc) return -EAGAIN;
    p->queued += bytes + TINE_ZMQ_FRAME_COST;
    bool alone = !p->on_backlog;
    on_backlog(t, p);
    if (alone && !small) tine_zmq_pump(t, false);
    return taken(t, bytes);
}

static int send_open(tine_zmq *t, tine_zmq_peer *p, const tine_frame *f) {
    int rc = address(t, p->routing);
    if (rc) return rc;
    zmq_msg_t m;
    uint8_t *to = fresh(&m, tine_framing_open_bytes(f->n_buffers));
    tine_framing_open(to, f->n_buffers);
    tine_framing_open_size(to, 0, f->header_size);
    for (uint32_t i = 0; i < f->n_buffers; i++)
        tine_framing_open_size(to, i + 1, f->buffers[i]->size);
    rc = part(t, &m, false);
    if (rc) return rc;
    p->out_open = true;
    p->out_part = 0;
    p->out_offset = 0;
    p->out_total = 0;
    return 0;
}

static size_t part_size(const tine_frame *f, uint32_t i) {
    return i == 0 ? f->header_size : f->buffers[i - 1]->size;
}

static int send_chunk(tine_zmq *t, tine_zmq_peer *p, tine_frame *f) {
    while (p->out_offset == part_size(f, p->out_part)) {
        p->out_part++;
        p->out_offset = 0;
    }
    size_t size = part_size(f, p->out_part) - p->out_offset;
    if (size > p->chunk) size = p->chunk;
    uint8_t prefix[FRAMING_CHUNK_BYTES];
    tine_framing_chunk(prefix, p->out_total);
    int rc = address(t, p->routing);
    if (!rc) rc = part_copied(t, prefix, sizeof prefix, true);
    if (rc) return rc;
    if (p->out_part == 0)
        part_copied(t, f->header + p->out_offset, size, false);
    else
        part_lent(t, p, f->buffers[p->out_part - 1], p->out_offset, size, false);
    p->out_offset += size;
    p->out_total += size;
    p->spent += size + FRAMING_COST;
    p->queued -= size;
    return 0;
}

/* One step of the large queue: 0 when something went out. */
static int step_large(tine_zmq *t, tine_zmq_peer *p) {
    tine_frame *f = queue_first(&p->large);
    if (!f || !may_fly(p, p->chunk) || !window_open(p, p->chunk, true)) return -EAGAIN;
    int rc = p->out_open ? 0 : send_open(t, p, f);
    if (!rc) rc = send_chunk(t, p, f);
    if (rc) {
        p->blocked = rc == -EAGAIN;
        return rc;
    }
    if (p->out_total == tine_frame_bytes(f)) {
        p->out_open = false;
        p->queued -= TINE_ZMQ_FRAME_COST;
        queue_pop(&p->large);
        tine_frame_free(f);
    }
    return 0;
}

static int drain_small(tine_zmq *t, tine_zmq_peer *p) {
    tine_frame *f;
    while ((f = queue_first(&p->small))) {
        size_t bytes = tine_frame_bytes(f);
        if (!window_open(p, bytes, false) || !may_fly(p, lent_bytes(f))) return -EAGAIN;
        int rc = send_whole(t, p, f, bytes);
        if (rc) {
            p->blocked = rc == -EAGAIN;
            return rc;
        }
        p->queued -= bytes + TINE_ZMQ_FRAME_COST;
        queue_pop(&p->small);
        tine_frame_free(f);
    }
    return 0;
}

/* Small frames first, then one piece of a large one. True when something of the large queue went
 * out. */
static bool turn(tine_zmq *t, tine_zmq_peer *p, bool retry_blocked) {
    if (p->state != TINE_ZMQ_PEER_UP || p->gone || (p->blocked && !retry_blocked)) return false;
    p->blocked = false;
    if (p->ack_due) tine_zmq_ack(t, p);
    int rc = drain_small(t, p);
    if (!rc) rc = step_large(t, p);
    if (rc == -EPIPE) tine_zmq_peer_gone(t, p);
    return rc == 0;
}

static bool settled(tine_zmq *t, tine_zmq_peer *p) {
    if (p->state != TINE_ZMQ_PEER_UP || p->gone) return true;
    if (p->want_writable && p->queued + in_flight(p) <= t->base.config.max_queued / 2)
        tine_zmq_writable(t, p);
    return !p->small.n && !p->large.n && !p->want_writable && !p->ack_due;
}

static void tidy_backlog(tine_zmq *t) {
    tine_zmq_peer **at = &t->backlog, *p;
    while ((p = *at)) {
        if (!settled(t, p)) {
            at = &p->next_backlog;
            continue;
        }
        *at = p->next_backlog;
        p->on_backlog = false;
    }
    t->backlog_tail = at;
    if (!t->backlog) atomic_store(&t->want_room, false);
}

/* Every peer that waits gets a turn, and another as long as any of them moves. The one that was
 * first is last the next time, so that a few fast peers do not take all of libzmq's attention. */
void tine_zmq_pump(tine_zmq *t, bool retry_blocked) {
    atomic_store(&t->room, false);
    for (bool moved = true; moved; retry_blocked = false) {
        moved = false;
        for (tine_zmq_peer *p = t->backlog; p; p = p->next_backlog)
            moved |= turn(t, p, retry_blocked);
    }
    tine_zmq_peer *first = t->backlog;
    if (first && first->next_backlog) {
        t->backlog = first->next_backlog;
        first->next_backlog = NULL;
        *t->backlog_tail = first;
        t->backlog_tail = &first->next_backlog;
    }
    tidy_backlog(t);
}
