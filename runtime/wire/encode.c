/* Messages to frames.
 *
 * A payload's frame has room in front of the body, so that the header is written there and the body
 * is sent from where it was encoded, or received. A message gets a frame of its own where that room
 * is too small, or in use by a message that is still on its way, and where the body is past
 * INLINE_MAX: then it travels as a buffer and is shared by all frames that carry it.
 *
 * A header is written from its end to its beginning, the last field first: so it ends where the
 * body begins, however long it gets. */
#include <endian.h>
#include <string.h>

#include "runtime/value/value.h"
#include "runtime/wire/layout.h"
#include "runtime/wire/walk.h"
#include "runtime/wire/wire.h"
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

/* ---- fields: each is put in front of p, and its beginning is returned ---- */

static uint8_t *put_byte(uint8_t *p, unsigned byte) {
    *--p = (uint8_t)byte;
    return p;
}

static uint8_t *put_raw(uint8_t *p, const void *from, size_t n) { return memcpy(p - n, from, n); }

/* The last n bytes of u, big-endian. The others are overwritten by what comes in front: a field's
 * room has 9 bytes beside its texts. */
static uint8_t *put_big_endian(uint8_t *p, uint64_t u, size_t n) {
    u = htobe64(u);
    memcpy(p - sizeof u, &u, sizeof u);
    return p - n;
}

static uint8_t *put_uint(uint8_t *p, uint64_t u) {
    if (u < 0x80) return put_byte(p, (unsigned)u);
    unsigned k = (u > UINT8_MAX) + (u > UINT16_MAX) + (u > UINT32_MAX);
    return put_byte(put_big_endian(p, u, (size_t)1 << k), 0xcc + k);
}

static uint8_t *put_int(uint8_t *p, int32_t i) {
    if (i >= 0) return put_uint(p, (uint64_t)i);
    if (i >= -32) return put_byte(p, (unsigned)i);
    unsigned k = (i < INT8_MIN) + (i < INT16_MIN);
    return put_byte(put_big_endian(p, (uint64_t)i, (size_t)1 << k), 0xd0 + k);
}

static uint8_t *put_array(uint8_t *p, size_t n) {
    if (n < 16) return put_byte(p, 0x90 + (unsigned)n);
    unsigned k = n > UINT16_MAX;
    return put_byte(put_big_endian(p, n, (size_t)2 << k), 0xdc + k);
}

static uint8_t *put_text_head(uint8_t *p, size_t n) {
    if (n < 32) return put_byte(p, 0xa0 + (unsigned)n);
    unsigned k = (n > UINT8_MAX) + (n > UINT16_MAX);
    return put_byte(put_big_endian(p, n, (size_t)1 << k), 0xd9 + k);
}

/* A task's error, or a host's name, may hold any bytes; a text on the wire is UTF-8, or its
 * receiver would refuse the frame. */
static void text_mend(uint8_t *text, size_t n) {
    for (uint8_t *p = text; p < text + n;) {
        size_t size = tine_utf8_sequence((const char *)p, (size_t)(text + n - p));
        if (size == 0) *p = '?';
        p += size ? size : 1;
    }
}

static uint8_t *put_text(uint8_t *p, const char *s) {
    if (!s) return put_byte(p, 0xc0);
    size_t n = strlen(s);
    uint8_t *text = put_raw(p, s, n);
    if (!tine_utf8_valid(s, n)) text_mend(text, n);
    return put_text_head(text, n);
}

static uint8_t *put_required_text(uint8_t *p, const char *s) { return put_text(p, s ? s : ""); }

static uint8_t *put_names(uint8_t *p, const char *const *names, size_t n) {
    for (size_t i = n; i-- > 0;) p = put_required_text(p, names[i]);
    return put_array(p, n);
}

static uint8_t *put_ids(uint8_t *p, const uint64_t *ids, size_t n) {
    for (size_t i = n; i-- > 0;) p = put_uint(p, ids[i]);
    return put_array(p, n);
}

static uint8_t *put_magic(uint8_t *p) {
    return put_text_head(put_raw(p, tine_wire_magic, sizeof tine_wire_magic),
                         sizeof tine_wire_magic);
}

static uint8_t *put_other(uint8_t *p, const tine_field *f, const char *from) {
    const void *at = from + f->at;
    switch ((tine_field_kind)f->kind) {
    case TINE_FIELD_I32: return put_int(p, *(const int32_t *)at);
    case TINE_FIELD_TEXT: return put_text(p, *(const char *const *)at);
    case TINE_FIELD_NAME: return put_required_text(p, *(const char *const *)at);
    case TINE_FIELD_IDS:
        return put_ids(p, *(const uint64_t *const *)at, ((const tine_message *)from)->n_ids);
    case TINE_FIELD_NAMES:
        return put_names(p, *(const char *const *const *)at, *(const uint32_t *)(from + f->n_at));
    case TINE_FIELD_MAGIC: return put_magic(p);
    default: return put_uint(p, TINE_PROTOCOL_VERSION);
    }
}

/* Of the struct `from`, the last one first. Most are numbers. */
static uint8_t *put_fields(uint8_t *p, const tine_fields *fields, const void *from) {
    for (size_t i = fields->n; i-- > 0;) {
        const tine_field *f = &fields->of[i];
        const void *at = (const char *)from + f->at;
        if (f->kind <= TINE_FIELD_U32)
            p = put_uint(p,
                         f->kind == TINE_FIELD_U64 ? *(const uint64_t *)at : *(const uint32_t *)at);
        else
            p = put_other(p, f, from);
    }
    return p;
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

static void write_header(tine_frame *f, const tine_message *m, const tine_layout *l,
                         bool has_body) {
    bool is_inline = has_body && !f->body_beside;
    unsigned body = !has_body ? TINE_BODY_NONE : is_inline ? TINE_BODY_INLINE : TINE_BODY_BESIDE;
    uint8_t *p = f->header_end;
    if (l->body) p = put_byte(p, body);
    if (m->type == TINE_MSG_SUBMIT_WITH) p = put_fields(p, &tine_terms_fields, m->terms);
    p = put_fields(p, &l->fields, m->type == TINE_MSG_HELLO ? (const void *)m->hello : m);
    f->header = put_array(put_byte(p, m->type), l->entries);
    f->header_size = (uint32_t)(f->header_end - f->header) + (is_inline ? f->body_size : 0);
}

tine_frame *tine_wire_encode(const tine_message *m) {
    const tine_layout *l = m->type < TINE_MSG_LAST_ ? &tine_layouts[m->type] : NULL;
    if (!l || !l->entries || m->n_ids > TINE_WIRE_MAX_LIST) return NULL;
    if (m->type == TINE_MSG_HELLO && !m->hello) return NULL;
    if (m->type == TINE_MSG_SUBMIT_WITH && !m->terms) return NULL;
    tine_payload *p = l->body ? m->payload : NULL;
    size_t room = header_room(m, l);
    tine_frame *f = p ? frame_for(p, room) : tine_frame_new(room, 0);
    if (!f) return NULL;
    write_header(f, m, l, p != NULL);
    TINE_ASSERT((size_t)(f->header_end - f->header), <=, room);
    return f;
}
