/* Messages to frames.
 *
 * A payload's frame has room in front of the body, so that the header is written there and the body
 * is sent from where it was encoded, or received. A message gets a frame of its own where that room
 * is too small, or in use by a message that is still on its way, and where the body is past
 * INLINE_MAX: then it travels as a buffer and is shared by all frames that carry it. */
#include <string.h>

#include "runtime/value/value.h"
#include "runtime/wire/layout.h"
#include "runtime/wire/walk.h"
#include "runtime/wire/wire.h"
#include "runtime/wire/write.h"
#include "transport/base/assert.h"
#include "transport/base/text.h"

/* A larger body is a buffer: it costs a buffer's bookkeeping, and is never copied. */
enum { INLINE_MAX = 4096 };
enum { NUMBER_MAX = 9, TEXT_HEAD_MAX = 5 }; /* bytes in msgpack */

/* ---- room ---- */

static size_t text_room(const char *s) { return s ? strlen(s) + TEXT_HEAD_MAX : 1; }

static size_t names_room(const char *const *names, size_t n) {
    size_t room = TEXT_HEAD_MAX;
    for (size_t i = 0; i < n; i++) room += text_room(names[i]);
    return room;
}

/* At least what the header takes. */
static size_t header_room(const tine_message *m, const tine_layout *l) {
    size_t room = NUMBER_MAX * l->entries + NUMBER_MAX * m->n_ids;
    if (m->text) room += text_room(m->text);
    if (m->terms)
        room +=
            text_room(m->terms->name) + text_room(m->terms->label) + text_room(m->terms->resources);
    if (m->target.name) room += text_room(m->target.name) + text_room(m->target.method);
    if (m->type != TINE_MSG_HELLO) return room;
    const tine_hello *h = m->hello;
    room += text_room(h->host) + text_room(h->token) + text_room(h->kernel);
    return room + names_room(h->functions, h->n_functions) + names_room(h->classes, h->n_classes) +
           names_room(h->labels, h->n_labels) + text_room(h->slots);
}

/* ---- fields ---- */

/* A task's error, or a host's name, may hold any bytes; a text on the wire is UTF-8, or its
 * receiver would refuse the frame. */
static void put_text(tine_writer *w, const char *s) {
    if (!s) {
        tine_pack_nil(w);
        return;
    }
    size_t n = strlen(s);
    tine_pack_text(w, s, n);
    if (tine_utf8_valid(s, n)) return;
    for (uint8_t *p = w->p - n; p < w->p;) {
        size_t size = tine_utf8_sequence((const char *)p, (size_t)(w->p - p));
        if (size == 0) *p = '?';
        p += size ? size : 1;
    }
}

static void put_required_text(tine_writer *w, const char *s) { put_text(w, s ? s : ""); }

static void put_names(tine_writer *w, const char *const *names, size_t n) {
    tine_pack_array(w, n);
    for (size_t i = 0; i < n; i++) put_required_text(w, names[i]);
}

static void put_ids(tine_writer *w, const uint64_t *ids, size_t n) {
    tine_pack_array(w, n);
    for (size_t i = 0; i < n; i++) tine_pack_uint64(w, ids[i]);
}

static void put_hello_field(tine_writer *w, const tine_hello *h, char field) {
    switch (field) {
    case 'M': tine_pack_text(w, tine_wire_magic, sizeof tine_wire_magic); break;
    case 'v': tine_pack_uint32(w, h->version); break;
    case 'p': tine_pack_uint32(w, h->pid); break;
    case 'R': tine_pack_int32(w, h->rank); break;
    case 'h': put_required_text(w, h->host); break;
    case 'k': put_required_text(w, h->token); break;
    case 'K': put_required_text(w, h->kernel); break;
    case 'N': put_names(w, h->functions, h->n_functions); break;
    case 'C': put_names(w, h->classes, h->n_classes); break;
    case 'L': put_names(w, h->labels, h->n_labels); break;
    case 'U': put_required_text(w, h->slots); break;
    default: TINE_ASSERT(field, ==, 0); break;
    }
}

static void put_field(tine_writer *w, const tine_message *m, char field, uint8_t body) {
    switch (field) {
    case 't': tine_pack_uint64(w, m->task); break;
    case 'a': tine_pack_uint32(w, m->attempt); break;
    case 'e': tine_pack_uint32(w, m->epoch); break;
    case 'd': tine_pack_uint32(w, m->depth); break;
    case 'f': tine_pack_uint32(w, m->flags); break;
    case 'w': tine_pack_uint32(w, m->window); break;
    case 's': tine_pack_uint32(w, (uint32_t)m->status); break;
    case 'q': tine_pack_uint64(w, m->seq); break;
    case 'r': tine_pack_uint64(w, m->run_ns); break;
    case 'c': tine_pack_uint64(w, m->clock); break;
    case 'o': tine_pack_uint64(w, m->object); break;
    case 'F': tine_pack_uint64(w, m->flow); break;
    case 'x': put_text(w, m->text); break;
    case 'i': put_ids(w, m->ids, m->n_ids); break;
    case 'n': put_required_text(w, m->target.name); break;
    case 'm': put_text(w, m->target.method); break;
    case 'O': tine_pack_uint64(w, m->target.object); break;
    case 'l': put_text(w, m->terms->name); break;
    case 'P': tine_pack_int32(w, m->terms->priority); break;
    case 'A': tine_pack_uint32(w, m->terms->retries); break;
    case 'G': tine_pack_uint32(w, m->terms->failure_retries); break;
    case 'b': put_text(w, m->terms->label); break;
    case 'u': put_text(w, m->terms->resources); break;
    case 'W': tine_pack_uint32(w, m->terms->worker); break;
    case 'S': tine_pack_uint32(w, m->terms->stream); break;
    case 'g': tine_pack_uint64(w, m->grace_ns); break;
    case 'I': tine_pack_uint64(w, m->item); break;
    case 'y': tine_pack_uint64(w, m->memory); break;
    case 'z': tine_pack_uint64(w, m->received); break;
    case 'Z': tine_pack_uint64(w, m->sent); break;
    case 'V': tine_pack_uint32(w, TINE_PROTOCOL_VERSION); break;
    case 'B': tine_pack_uint8(w, body); break;
    default: put_hello_field(w, m->hello, field); break;
    }
}

/* ---- frames ---- */

static void share_buffers(tine_frame *f, const tine_payload *p) {
    for (uint32_t i = 0; i < p->n_buffers; i++) f->buffers[i] = tine_buffer_ref(p->buffers[i]);
}

static tine_frame *frame_with_copy(const tine_payload *p, size_t room) {
    tine_frame *f = tine_frame_new(room + p->body_size, p->n_buffers);
    if (!f) return NULL;
    f->body = f->header_end = f->header + room;
    f->body_size = p->body_size;
    memcpy(f->body, p->body, p->body_size);
    share_buffers(f, p);
    return f;
}

static void release_payload(void *data, size_t size, void *payload) {
    (void)data, (void)size;
    tine_payload_unref(payload);
}

static tine_frame *frame_beside(tine_payload *p, size_t room) {
    tine_frame *f = tine_frame_new(room, p->n_buffers + (p->body_beside ? 0u : 1u));
    if (!f) return NULL;
    f->body_beside = true;
    share_buffers(f, p);
    if (p->body_beside) return f;
    f->buffers[p->n_buffers] = tine_buffer_wrap(p->body, p->body_size, release_payload, p);
    if (f->buffers[p->n_buffers]) {
        tine_payload_ref(p);
        return f;
    }
    tine_frame_free(f);
    return NULL;
}

/* A claimed frame that carries p, with room for the header. */
static tine_frame *frame_for(tine_payload *p, size_t room) {
    bool beside =
        p->body_beside || (p->body_size > INLINE_MAX && p->n_buffers < TINE_FRAME_MAX_BUFFERS);
    bool fits = room <= (size_t)(p->header_end - tine_frame_room(p));
    if (beside == p->body_beside && fits && tine_frame_claim(p)) return tine_frame_ref(p);
    return beside ? frame_beside(p, room) : frame_with_copy(p, room);
}

static void write_header(tine_frame *f, const tine_message *m, const tine_layout *l, size_t room,
                         bool has_body) {
    uint8_t *start = f->header_end - room;
    bool is_inline = has_body && !f->body_beside;
    uint8_t body = !has_body ? TINE_BODY_NONE : is_inline ? TINE_BODY_INLINE : TINE_BODY_BESIDE;
    tine_writer w = {.p = start, .end = f->header_end};
    tine_pack_array(&w, l->entries);
    tine_pack_uint8(&w, (uint8_t)m->type);
    for (const char *field = l->fields; *field; field++) put_field(&w, m, *field, body);
    TINE_ASSERT_TRUE(!w.failed);
    size_t size = (size_t)(w.p - start);
    f->header = start;
    f->header_size = (uint32_t)size;
    if (!is_inline) return;
    f->header = memmove(f->header_end - size, start, size);
    f->header_size = (uint32_t)size + f->body_size;
}

tine_frame *tine_wire_encode(const tine_message *m) {
    const tine_layout *l = m->type < TINE_MSG_LAST_ ? &tine_layouts[m->type] : NULL;
    if (!l || !l->fields || m->n_ids > TINE_WIRE_MAX_LIST) return NULL;
    if (m->type == TINE_MSG_HELLO && !m->hello) return NULL;
    if (m->type == TINE_MSG_SUBMIT_WITH && !m->terms) return NULL;
    tine_payload *p = l->body ? m->payload : NULL;
    size_t room = header_room(m, l);
    tine_frame *f = p ? frame_for(p, room) : tine_frame_new(room, 0);
    if (f) write_header(f, m, l, room, p != NULL);
    return f;
}
