/* Receiving over ZeroMQ: one message at a time, as FRAMING.md has it. A message that breaks the
 * framing loses its sender and no other peer; the parts that are not read are still taken off the
 * socket. Bytes are copied once, from libzmq's message into the buffer that the receiver keeps:
 * libzmq's memory is not aligned as a tensor has to be. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "transport/base/crc32c.h"
#include "transport/base/hash.h"
#include "transport/zmq/lane.h"
#include "transport/zmq/receive.h"

/* ---- checksums: t->crc grows with each part of the message being read ---- */

static void crc_begin(tine_zmq *t, const uint8_t *bytes, size_t size) {
    t->crc_expected = tine_framing_head_crc(bytes);
    t->crc = tine_framing_crc_size(0, size - sizeof t->crc);
    t->crc = tine_crc32c(t->crc, bytes, 1);
    t->crc = tine_crc32c(t->crc, bytes + FRAMING_CHECKED_HEAD, size - (size_t)FRAMING_CHECKED_HEAD);
}

void tine_zmq_crc_read(tine_zmq *t, const void *bytes, size_t size) {
    if (!t->checking) return;
    t->crc = tine_framing_crc_size(t->crc, size);
    if (size) t->crc = tine_crc32c(t->crc, bytes, size);
}

/* The same, and copies the part. */
void tine_zmq_crc_copy(tine_zmq *t, void *to, const void *bytes, size_t size) {
    if (t->checking) t->crc = tine_framing_crc_size(t->crc, size);
    if (!size) return;
    if (t->checking)
        t->crc = tine_crc32c_copy(t->crc, to, bytes, size);
    else
        memcpy(to, bytes, size);
}

/* Once all parts are read. */
bool tine_zmq_is_damaged(const tine_zmq *t) { return t->checking && t->crc != t->crc_expected; }

/* ---- refusing ---- */

static void skip_rest(tine_zmq *t, bool more) {
    zmq_msg_t m;
    while (more) {
        zmq_msg_init(&m);
        if (zmq_msg_recv(&m, t->socket, ZMQ_DONTWAIT) < 0) return;
        more = zmq_msg_more(&m);
        tine_zmq_crc_read(t, zmq_msg_data(&m), zmq_msg_size(&m));
        zmq_msg_close(&m);
    }
}

/* If the message is damaged, that is the reason, whatever else is wrong with it. */
int tine_zmq_refuse(tine_zmq *t, tine_zmq_peer *p, bool more, const char *reason) {
    skip_rest(t, more);
    tine_zmq_peer_lose(t, p, true, tine_zmq_is_damaged(t) ? FRAMING_DAMAGED : reason);
    return TINE_ZMQ_RECEIVED_OTHER;
}

int tine_zmq_lose_for_memory(tine_zmq *t, tine_zmq_peer *p, bool more) {
    skip_rest(t, more);
    tine_zmq_peer_lose(t, p, false, "no memory for a frame that it sent");
    return TINE_ZMQ_RECEIVED_OTHER;
}

/* The first frame of a peer identifies it; until then the peer may not make this process hold
 * much. */
size_t tine_zmq_frame_limit(const tine_zmq *t, const tine_zmq_peer *p) {
    return p->heard ? t->base.config.max_frame : t->base.config.max_first_frame;
}

int tine_zmq_deliver(tine_zmq *t, tine_zmq_peer *p, tine_frame *f, tine_event *ev) {
    if (!p->heard) tine_zmq_stranger_heard(t, p);
    p->heard = true;
    t->stats.frames_in++;
    t->stats.bytes_in += tine_frame_bytes(f);
    *ev = (tine_event){.kind = TINE_EVENT_FRAME, .peer = p->id, .frame = f};
    return TINE_ZMQ_RECEIVED_EVENT;
}

static void unref_parts(tine_zmq *t, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) tine_buffer_unref(t->parts[i]);
}

/* Reads the buffers of a whole frame into t->parts. NULL, or what is wrong. `more` follows the
 * message. */
static const char *read_parts(tine_zmq *t, size_t room, uint32_t *n, bool *more) {
    zmq_msg_t m;
    const char *wrong = NULL;
    while (*more && !wrong) {
        if (*n == FRAMING_WHOLE_BUFFERS) return "a frame has too many buffers";
        zmq_msg_init(&m);
        if (zmq_msg_recv(&m, t->socket, ZMQ_DONTWAIT) < 0) return "a message broke off";
        *more = zmq_msg_more(&m);
        size_t size = zmq_msg_size(&m);
        tine_buffer *b = NULL;
        if (size > room)
            wrong = "a message is larger than one chunk or max_frame";
        else if (!(b = tine_buffer_new(size)))
            wrong = "no memory";
        if (b) {
            tine_zmq_crc_copy(t, b->data, zmq_msg_data(&m), size);
            t->parts[(*n)++] = b;
            room -= size;
        } else {
            tine_zmq_crc_read(t, zmq_msg_data(&m), size);
        }
        zmq_msg_close(&m);
    }
    return !wrong && tine_zmq_is_damaged(t) ? FRAMING_DAMAGED : wrong;
}

static int read_frame(tine_zmq *t, tine_zmq_peer *p, const tine_zmq_first_part *first,
                      tine_event *ev) {
    bool more = first->more;
    size_t header = first->size, room = t->base.config.chunk;
    uint32_t n = 0;
    if (room > tine_zmq_frame_limit(t, p)) room = tine_zmq_frame_limit(t, p);
    if (header > room)
        return tine_zmq_refuse(t, p, more, "a message is larger than one chunk or max_frame");
    const char *wrong = more ? read_parts(t, room - header, &n, &more) : NULL;
    tine_frame *f = wrong ? NULL : tine_frame_new(header, n);
    if (!f) {
        unref_parts(t, n);
        return wrong && strcmp(wrong, "no memory") ? tine_zmq_refuse(t, p, more, wrong)
                                                   : tine_zmq_lose_for_memory(t, p, more);
    }
    if (header) memcpy(f->header, first->fields, header);
    if (n) memcpy(f->buffers, t->parts, n * sizeof f->buffers[0]);
    size_t cost = tine_frame_bytes(f) + FRAMING_COST;
    p->read += cost;
    t->turn_bytes += cost;
    tine_zmq_ack(t, p);
    return tine_zmq_deliver(t, p, f, ev);
}

/* The reason is the peer's text, about this end: only printable characters are kept. */
static int read_bye(tine_zmq *t, tine_zmq_peer *p, const tine_zmq_first_part *first) {
    char reason[128];
    const uint8_t *text = first->fields;
    size_t n = first->size,
           len = (size_t)snprintf(reason, sizeof reason, "it closed the connection%s",
                                  n > 0 ? ", saying of this end: " : "");
    for (size_t i = 0; i < n && len < sizeof reason - 1; i++)
        reason[len++] = text[i] >= ' ' && text[i] < 127 ? (char)text[i] : '?';
    reason[len] = 0;
    if (tine_zmq_lane_pending(p))
        tine_zmq_lane_hold(t, p, NULL, reason);
    else
        tine_zmq_peer_lose(t, p, false, reason);
    return TINE_ZMQ_RECEIVED_OTHER;
}

static int read_ack(tine_zmq *t, tine_zmq_peer *p, const tine_zmq_first_part *first) {
    uint64_t read;
    const char *wrong = tine_framing_read_ack(first->fields, first->size, &read);
    if (!wrong && !tine_zmq_acked(t, p, read))
        wrong = "it acknowledges more than was sent, or less than before";
    return wrong ? tine_zmq_refuse(t, p, false, wrong) : TINE_ZMQ_RECEIVED_OTHER;
}

static int read_lane(tine_zmq *t, tine_zmq_peer *p, const tine_zmq_first_part *first) {
    const char *wrong = tine_zmq_lane_message(t, p, first->fields, first->size);
    return wrong ? tine_zmq_refuse(t, p, false, wrong) : TINE_ZMQ_RECEIVED_OTHER;
}

static int read_kind(tine_zmq *t, tine_zmq_peer *p, uint8_t kind, const tine_zmq_first_part *first,
                     tine_event *ev) {
    switch (kind) {
    case FRAMING_FRAME: return read_frame(t, p, first, ev);
    case FRAMING_CHUNK: return tine_zmq_read_chunk(t, p, first, ev);
    case FRAMING_OPEN: return tine_zmq_read_open(t, p, first);
    case FRAMING_BYE: return read_bye(t, p, first);
    case FRAMING_ACK: return read_ack(t, p, first);
    case FRAMING_LANE: return read_lane(t, p, first);
    case FRAMING_NOOP: return TINE_ZMQ_RECEIVED_OTHER;
    case FRAMING_HELLO: return tine_zmq_refuse(t, p, false, "it sent a second hello");
    default: return tine_zmq_refuse(t, p, false, "it sent a message of an unknown kind");
    }
}

static int read_message(tine_zmq *t, tine_zmq_peer *p, zmq_msg_t *m, tine_event *ev) {
    bool more = zmq_msg_more(m);
    const uint8_t *bytes = zmq_msg_data(m);
    size_t size = zmq_msg_size(m), head = p->checked ? FRAMING_CHECKED_HEAD : FRAMING_PLAIN_HEAD;
    if (size == 0) return tine_zmq_refuse(t, p, more, "it sent an empty message");
    if (size < head) return tine_zmq_refuse(t, p, more, "it sent a message without a checksum");
    t->checking = p->checked;
    if (t->checking) crc_begin(t, bytes, size);
    uint8_t kind = bytes[0];
    if (kind != FRAMING_FRAME && kind != FRAMING_OPEN && kind != FRAMING_CHUNK) {
        skip_rest(t, more); /* is ignored */
        more = false;
    }
    if (!more && tine_zmq_is_damaged(t)) return tine_zmq_refuse(t, p, false, FRAMING_DAMAGED);
    return read_kind(t, p, kind, &(tine_zmq_first_part){bytes + head, size - head, more}, ev);
}

/* A connection's first message decides whether it becomes a peer. One that does not is remembered
 * too, as lost, so that it is reported once and not for each message. */
static int read_first(tine_zmq *t, uint64_t routing, zmq_msg_t *first, tine_event *ev) {
    tine_framing_peer hello = {.chunk = FRAMING_MIN_CHUNK};
    const uint8_t *bytes = zmq_msg_data(first);
    size_t size = zmq_msg_size(first);
    bool more = zmq_msg_more(first);
    /* Earlier ends of connections with this descriptor, so that they are not taken for its own. */
    if (t->listener) tine_zmq_monitor_read(t);
    bool bye = size && bytes[0] == FRAMING_BYE && !t->listener;
    const char *wrong = bye ? NULL : tine_framing_read_hello(bytes, size, &hello);
    if (!wrong && routing >> 32) wrong = "it set its own routing id";
    int fd = zmq_msg_get(first, ZMQ_SRCFD);
    tine_zmq_peer *p = tine_zmq_peer_add(t, routing, fd, &hello);
    if (!p) {
        skip_rest(t, more);
        /* no memory: its next message is then its first */
        return TINE_ZMQ_RECEIVED_OTHER;
    }
    p->remote = tine_zmq_is_remote(t, fd);
    if (p->remote && p->patient) tine_zmq_beat_patiently(t, fd);
    p->cookie = tine_zmq_cookie(t, fd);
    if (p->cookie) p->pid = tine_zmq_pid(t, fd);
    t->beats |= p->remote || t->base.config.beats_here;
    if (t->listener) tine_zmq_silent(t, fd, -1);
    if (!t->listener) tine_zmq_joined(t, p);
    skip_rest(t, more);
    if (bye) return read_bye(t, p, &(tine_zmq_first_part){bytes + 1, size - 1, false});
    if (wrong) return tine_zmq_refuse(t, p, false, wrong);
    if (tine_zmq_is_heard(t, p)) tine_zmq_stranger_heard(t, p);
    /* fails only where the connection is closed already */
    if (t->listener) (void)tine_zmq_send_hello(t, routing);
    if (t->listener && !p->remote && (hello.flags & FRAMING_ASKS_LANE) && t->base.config.lane >= 0)
        tine_zmq_lane_offer(t, p);
    *ev = (tine_event){.kind = TINE_EVENT_UP, .peer = p->id};
    return TINE_ZMQ_RECEIVED_EVENT;
}

/* ROUTER's own ids are a zero byte and a number. A peer may have set another (an HTTP request that
 * passes as ZMTP 1.0 does): it is remembered by a hash, which the upper half marks. */
static uint64_t routing_of(zmq_msg_t *m) {
    const uint8_t *id = zmq_msg_data(m);
    size_t n = zmq_msg_size(m);
    uint32_t number;
    if (n == TINE_ZMQ_ROUTING_BYTES && id[0] == 0) {
        memcpy(&number, id + 1, sizeof number);
        return number;
    }
    return tine_hash(TINE_HASH_START, id, n) | UINT64_C(1) << 63;
}

int tine_zmq_receive(tine_zmq *t, tine_event *ev) {
    zmq_msg_t m;
    uint64_t routing = 0;
    zmq_msg_init(&m);
    if (!t->socket || zmq_msg_recv(&m, t->socket, ZMQ_DONTWAIT) < 0) {
        t->dirty = t->socket && errno != EAGAIN; /* interrupted: look again */
        return TINE_ZMQ_RECEIVED_NONE;
    }
    t->dirty = true;
    t->checking = false;
    t->messages++;
    t->received++;
    if (t->listener) {
        routing = routing_of(&m);
        if (!zmq_msg_more(&m) || zmq_msg_recv(&m, t->socket, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(&m);
            return TINE_ZMQ_RECEIVED_OTHER;
        }
    }
    tine_zmq_peer *p =
        t->last && t->last->routing == routing ? t->last : tine_zmq_peer_by_routing(t, routing);
    t->last = p;
    if (p) p->last_message = t->received;
    int what = TINE_ZMQ_RECEIVED_OTHER;
    if (!p)
        what = read_first(t, routing, &m, ev);
    else if (p->state == TINE_ZMQ_PEER_UP)
        what = read_message(t, p, &m, ev);
    else
        skip_rest(t, zmq_msg_more(&m));
    zmq_msg_close(&m);
    return what;
}
