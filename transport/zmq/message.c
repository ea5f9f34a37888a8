/* One ZeroMQ message out: its address, its parts, copied or in place, and its checksum. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "transport/base/crc32c.h"
#include "transport/zmq/internal.h"

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

/* Called by libzmq's I/O thread, or by the thread that closes the socket. The order matters: the
 * bytes first, then want_room is read. The event loop does the reverse, so one of the two sees the
 * other. The last reference to a buffer is left to the event loop: it may run a user's callback,
 * which must not hold up the I/O thread. */
static void in_place_sent(void *data, void *hint) {
    (void)data;
    tine_zmq_in_place *s = hint;
    __tsan_acquire(s);
    tine_zmq *t = s->flight->transport;
    atomic_fetch_sub(&s->flight->bytes, s->size);
    atomic_store(&t->room, true);
    bool dropped = tine_buffer_unref_unless_last(s->buffer);
    if (dropped) {
        tine_zmq_flight_unref(s->flight);
        free(s);
    } else {
        s->next = atomic_load(&t->returned);
        while (!atomic_compare_exchange_weak(&t->returned, &s->next, s)) {
        }
    }
    if (!dropped || atomic_load(&t->want_room)) tine_doorbell_ring(&t->doorbell);
}

void tine_zmq_free_returned(tine_zmq *t) {
    if (!atomic_load(&t->returned)) return;
    tine_zmq_in_place *s = atomic_exchange(&t->returned, NULL);
    while (s) {
        tine_zmq_in_place *next = s->next;
        tine_buffer_unref(s->buffer);
        tine_zmq_flight_unref(s->flight);
        free(s);
        s = next;
    }
}

/* What the errno of a refused message means for send. */
static int send_error(void) {
    return errno == EHOSTUNREACH || errno == ENOTSOCK || errno == ETERM ? -EPIPE : -EAGAIN;
}

/* The first part of a message. By it ROUTER decides whether it takes the message: the rest then
 * cannot fail. */
int tine_zmq_send_address(tine_zmq *t, uint64_t routing) {
    t->dirty = true; /* sending may swallow the signal that something can be read */
    if (!t->socket) return -EPIPE;
    if (!t->listener) return 0;
    uint8_t id[TINE_ZMQ_ROUTING_BYTES] = {0};
    uint32_t number = (uint32_t)routing;
    memcpy(id + 1, &number, sizeof number);
    return zmq_send(t->socket, id, sizeof id, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0 ? send_error() : 0;
}

static int send_part(tine_zmq *t, zmq_msg_t *m, bool more) {
    if (zmq_msg_send(m, t->socket, ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0)) >= 0) return 0;
    int rc = send_error();
    zmq_msg_close(m);
    return rc;
}

/* libzmq asserts on its own allocations. A message that is sent in part cannot be taken back, so
 * these assert too. */
static void *part_new(zmq_msg_t *m, size_t size) {
    TINE_ASSERT(zmq_msg_init_size(m, size), ==, 0);
    return zmq_msg_data(m);
}

int tine_zmq_send_copy(tine_zmq *t, const void *bytes, size_t size, bool more) {
    zmq_msg_t m;
    void *to = part_new(&m, size);
    if (size) memcpy(to, bytes, size);
    return send_part(t, &m, more);
}

int tine_zmq_send_in_place(tine_zmq *t, tine_zmq_peer *p, tine_buffer *b, size_t offset,
                           size_t size, bool more) {
    uint8_t *from = (uint8_t *)b->data + offset;
    tine_zmq_in_place *s = size < TINE_ZMQ_IN_PLACE_FROM ? NULL : malloc(sizeof *s);
    if (!s) return tine_zmq_send_copy(t, from, size, more);
    *s = (tine_zmq_in_place){.buffer = tine_buffer_ref(b), .flight = p->flight, .size = size};
    atomic_fetch_add(&p->flight->refs, 1);
    atomic_fetch_add(&p->flight->bytes, size);
    __tsan_release(s);
    zmq_msg_t m;
    TINE_ASSERT(zmq_msg_init_data(&m, from, size, in_place_sent, s), ==, 0);
    return send_part(t, &m, more);
}

int tine_zmq_send_hello(tine_zmq *t, uint64_t routing) {
    uint8_t hello[FRAMING_HELLO_BYTES];
    tine_framing_peer self = {(uint32_t)t->base.config.chunk, tine_zmq_window(t),
                              t->asks_checks ? FRAMING_ASKS_CHECKS : 0};
    if (!t->listener && t->base.config.lane >= 0)
        self.flags |= FRAMING_ASKS_LANE | FRAMING_ASKS_PAIRS;
    if (!t->listener && t->has_arena) self.flags |= FRAMING_ASKS_LEASES | FRAMING_ASKS_OTHERS;
    if (!t->listener && t->base.config.patient) self.flags |= FRAMING_PATIENT;
    tine_framing_hello(hello, &self);
    int rc = tine_zmq_send_address(t, routing);
    return rc ? rc : tine_zmq_send_copy(t, hello, sizeof hello, false);
}

/* The checksum of a message whose first part has these fields, up to its other parts. */
uint32_t tine_zmq_crc_of_first(uint8_t kind, const void *fields, size_t size) {
    uint32_t crc = tine_framing_crc_size(0, 1 + size);
    crc = tine_crc32c(crc, &kind, 1);
    return size ? tine_crc32c(crc, fields, size) : crc;
}

uint32_t tine_zmq_crc_of_part(uint32_t crc, const void *bytes, size_t size) {
    crc = tine_framing_crc_size(crc, size);
    return size ? tine_crc32c(crc, bytes, size) : crc;
}

/* The first part of a message, behind its address; `crc` is that of the whole message. */
int tine_zmq_send_first(tine_zmq *t, const tine_zmq_peer *p, uint8_t kind, uint32_t crc,
                        const void *fields, size_t size, bool more) {
    uint8_t head[FRAMING_CHECKED_HEAD];
    size_t n = tine_framing_head(head, kind, p->checked, crc);
    zmq_msg_t m;
    uint8_t *to = part_new(&m, n + size);
    memcpy(to, head, n);
    if (size) memcpy(to + n, fields, size);
    return send_part(t, &m, more);
}

int tine_zmq_send_short(tine_zmq *t, tine_zmq_peer *p, uint8_t kind, const void *fields,
                        size_t size) {
    uint32_t crc = p->checked ? tine_zmq_crc_of_first(kind, fields, size) : 0;
    int rc = tine_zmq_send_address(t, p->routing);
    return rc ? rc : tine_zmq_send_first(t, p, kind, crc, fields, size, false);
}

void tine_zmq_send_bye(tine_zmq *t, tine_zmq_peer *p, const char *reason) {
    /* best effort: the peer may be gone, or its queue full */
    (void)tine_zmq_send_short(t, p, FRAMING_BYE, reason, strnlen(reason, 128));
}
