/* Frames to messages. The header is read field by field through the walker, then the body is
 * checked whole. Texts are used where they lie: the byte behind each is overwritten with a NUL once
 * the header has been read, so a frame is decoded once. */
#include <stdlib.h>
#include <string.h>

#include "runtime/wire/check.h"
#include "runtime/wire/layout.h"
#include "runtime/wire/walk.h"
#include "runtime/wire/wire.h"

enum { MAX_BODY = TINE_FRAME_MAX_HEADER, TEXTS_MAX = 5, NAMES_MAX = 3 };

typedef struct list { /* of names or ids: where its items begin */
    const tine_field *field;
    const uint8_t *at;
    size_t n;
} list;

typedef struct header {
    tine_walk w;
    tine_decoded *out;
    uint8_t body; /* TINE_BODY_… */
    uint8_t n_ends;
    uint8_t n_names;
    uint8_t *ends[TEXTS_MAX]; /* where the texts' NULs go */
    list ids;
    list names[NAMES_MAX]; /* copied into memory of their own, which takes `room` bytes */
    size_t room;
} header;

/* ---- fields ---- */

static bool get_text(header *h, const char *what, bool may_be_nil, const char **out) {
    size_t n;
    if (!tine_walk_text(&h->w, what, may_be_nil, out, &n)) return false;
    if (*out) h->ends[h->n_ends++] = (uint8_t *)*out + n;
    return true;
}

static bool get_ids(header *h, const char *what) {
    uint64_t id;
    if (!tine_walk_array(&h->w, what, TINE_WIRE_MAX_LIST, &h->ids.n)) return false;
    h->ids.at = h->w.p;
    for (size_t i = 0; i < h->ids.n; i++)
        if (!tine_walk_uint(&h->w, what, UINT64_MAX, &id)) return false;
    return true;
}

static bool get_names(header *h, const tine_field *f) {
    list *l = &h->names[h->n_names++];
    const char *name;
    size_t n;
    if (!tine_walk_array(&h->w, f->what, TINE_WIRE_MAX_LIST, &l->n)) return false;
    l->field = f;
    l->at = h->w.p;
    for (size_t i = 0; i < l->n; i++) {
        if (!tine_walk_text(&h->w, f->what, false, &name, &n)) return false;
        h->room += sizeof name + n + 1;
    }
    return true;
}

static bool get_i32(header *h, const char *what, int32_t *out) {
    int64_t i;
    if (!tine_walk_int(&h->w, what, &i)) return false;
    *out = (int32_t)i;
    return (i >= INT32_MIN && i <= INT32_MAX) ||
           tine_walk_refuse(&h->w, "%s is out of range", what);
}

static bool get_magic(header *h, const char *what) {
    const char *s;
    size_t n;
    if (!tine_walk_text(&h->w, what, false, &s, &n)) return false;
    return (n == sizeof tine_wire_magic && !memcmp(s, tine_wire_magic, n)) ||
           tine_walk_refuse(&h->w, "the first message does not begin with \"tine\"");
}

static bool check_version(header *h, uint64_t version) {
    return version == TINE_PROTOCOL_VERSION ||
           tine_walk_refuse(&h->w, "the peer uses protocol version %u, this process version %d",
                            (unsigned)version, TINE_PROTOCOL_VERSION);
}

static bool get_unsigned(header *h, const tine_field *f, void *to) {
    uint64_t u;
    if (!tine_walk_uint(&h->w, f->what, f->most, &u)) return false;
    if (f->kind == TINE_FIELD_U64)
        *(uint64_t *)to = u;
    else
        *(uint32_t *)to = (uint32_t)u;
    return true;
}

static bool get_other(header *h, const tine_field *f, void *to) {
    uint64_t version;
    switch ((tine_field_kind)f->kind) {
    case TINE_FIELD_I32: return get_i32(h, f->what, to);
    case TINE_FIELD_TEXT: return get_text(h, f->what, true, to);
    case TINE_FIELD_NAME: return get_text(h, f->what, false, to);
    case TINE_FIELD_IDS: return get_ids(h, f->what);
    case TINE_FIELD_NAMES: return get_names(h, f);
    case TINE_FIELD_MAGIC: return get_magic(h, f->what);
    default: return tine_walk_uint(&h->w, f->what, f->most, &version) && check_version(h, version);
    }
}

static bool get_body(header *h) {
    uint64_t u;
    if (!tine_walk_uint(&h->w, "the place of a body", TINE_BODY_BESIDE, &u)) return false;
    h->body = (uint8_t)u;
    return true;
}

/* ---- the header ---- */

/* Most fields are numbers. */
static bool get_fields(header *h, const tine_field *f, size_t n, void *to) {
    for (; n > 0; n--, f++) {
        void *at = (char *)to + f->at;
        if (!(f->kind <= TINE_FIELD_U32 ? get_unsigned(h, f, at) : get_other(h, f, at)))
            return false;
    }
    return true;
}

static bool check_entries(header *h, const tine_layout *l, size_t n) {
    return n == l->entries || tine_walk_refuse(&h->w, "message type %d has %d entries, not %zu",
                                               (int)h->out->message.type, l->entries, n);
}

/* Magic and version come first: a peer of another version is told so, whatever else its HELLO
 * holds. */
static bool get_hello(header *h, const tine_layout *l, size_t n) {
    enum { START = 2 };
    tine_hello *hello = &h->out->hello;
    h->out->message.hello = hello;
    return get_fields(h, l->fields.of, START, hello) && check_version(h, hello->version) &&
           check_entries(h, l, n) &&
           get_fields(h, l->fields.of + START, l->fields.n - START, hello);
}

static bool get_terms(header *h) {
    h->out->terms = (tine_terms){0};
    h->out->message.terms = &h->out->terms;
    return get_fields(h, tine_terms_fields.of, tine_terms_fields.n, &h->out->terms);
}

static bool get_header(header *h) {
    tine_message *m = &h->out->message;
    size_t n;
    uint64_t type;
    if (!tine_walk_array(&h->w, "the header", SIZE_MAX, &n) ||
        !tine_walk_uint(&h->w, "the message's type", UINT64_MAX, &type))
        return false;
    if (type == 0 || type >= TINE_MSG_LAST_)
        return tine_walk_refuse(&h->w, "message type %llu is unknown", (unsigned long long)type);
    m->type = (tine_message_type)type;
    const tine_layout *l = &tine_layouts[type];
    if (type == TINE_MSG_HELLO) return get_hello(h, l, n);
    return check_entries(h, l, n) && get_fields(h, l->fields.of, l->fields.n, m) &&
           (type != TINE_MSG_SUBMIT_WITH || get_terms(h)) && (!l->body || get_body(h));
}

static bool check_target(header *h, const tine_target *t) {
    return (t->method != NULL) == (t->object != 0) ||
           tine_walk_refuse(&h->w, "a target needs both a method and an object, or neither");
}

/* Which fields have to be there together. `call`: the body is one. */
static bool check_sense(header *h, bool *call) {
    const tine_message *m = &h->out->message;
    bool body = h->body != TINE_BODY_NONE, failed = m->status != TINE_OK;
    *call = false;
    switch (m->type) {
    case TINE_MSG_TASK:
    case TINE_MSG_SUBMIT:
    case TINE_MSG_SUBMIT_WITH:
        *call = true;
        return (body || tine_walk_refuse(&h->w, "a call has no arguments")) &&
               check_target(h, &m->target);
    case TINE_MSG_DONE:
    case TINE_MSG_DONE_PASSED:
        if (m->object && !failed && !body) return true; /* the result stays at the worker */
        if (m->object && failed)
            return tine_walk_refuse(&h->w, "a result that failed cannot be kept");
        __attribute__((fallthrough));
    case TINE_MSG_RESULT:
        return (body != failed && (m->text != NULL) == failed) ||
               tine_walk_refuse(&h->w, "a result needs either a value or a status and its reason");
    case TINE_MSG_OBJECT:
        *call = m->text && !failed;
        return (body != failed && (m->text || !failed)) ||
               tine_walk_refuse(&h->w, "an object needs either a body or a status and its reason");
    case TINE_MSG_YIELD:
        return (m->item && (body || m->seq)) ||
               tine_walk_refuse(&h->w, "a value of a stream has no number, or no body");
    case TINE_MSG_SNAPSHOT: return body || tine_walk_refuse(&h->w, "a snapshot has no body");
    case TINE_MSG_OBSERVE:
        return m->flags <= TINE_OBSERVE_RESTART ||
               tine_walk_refuse(&h->w, "an observer asks for something unknown: %u", m->flags);
    case TINE_MSG_EVENTS: return body || tine_walk_refuse(&h->w, "events have no body");
    case TINE_MSG_PASS:
        return h->ids.n % 2 == 0 || tine_walk_refuse(&h->w, "the ids of a PASS are no pairs");
    case TINE_MSG_REACH:
        return m->object || m->text || tine_walk_refuse(&h->w, "a REACH has no address");
    case TINE_MSG_REJECT: return m->text || tine_walk_refuse(&h->w, "a rejection has no reason");
    default: return true;
    }
}

/* ---- the body ---- */

/* Finds the message's body in the frame. False: it is missing, or something is left over. */
static bool find_body(header *h, const tine_frame *f, uint8_t **body, size_t *size) {
    *body = NULL;
    *size = 0;
    if (h->body == TINE_BODY_INLINE) {
        *body = (uint8_t *)h->w.p;
        *size = (size_t)(h->w.end - h->w.p);
        return true;
    }
    if (!tine_walk_end(&h->w, "the header")) return false;
    if (h->body == TINE_BODY_NONE)
        return f->n_buffers == 0 ||
               tine_walk_refuse(&h->w, "%u buffers come with a message that has no body",
                                f->n_buffers);
    if (f->n_buffers == 0) return tine_walk_refuse(&h->w, "the buffer of a body is missing");
    const tine_buffer *b = f->buffers[f->n_buffers - 1];
    if (b->foreign) return tine_walk_refuse(&h->w, "a body lies in another process");
    if (b->size > MAX_BODY)
        return tine_walk_refuse(&h->w, "a body has %zu bytes, the most is %d", b->size, MAX_BODY);
    *body = b->data;
    *size = b->size;
    return true;
}

/* A body that this process has encoded, or checked before, is known to be good: over inproc it
 * comes in the sender's own frame. */
static tine_error take_body(header *h, tine_frame *f, bool call, char *why, size_t why_size) {
    uint8_t *body;
    size_t size;
    if (!find_body(h, f, &body, &size)) return TINE_EPROTO;
    if (!body) return TINE_OK;
    h->out->message.payload = f;
    uint8_t kind = call ? TINE_CHECKED_CALL : TINE_CHECKED_VALUE;
    if (f->checked == kind && f->body == body && f->body_size == size) return TINE_OK;
    f->checked = 0;
    f->body_beside = h->body == TINE_BODY_BESIDE;
    f->body = body;
    f->body_size = (uint32_t)size;
    f->header_end = f->body_beside ? f->header + f->header_size : body;
    return tine_wire_check(f, kind, why, why_size);
}

/* ---- texts and lists ---- */

static void read_ids(const list *l, const uint8_t *end, uint64_t *out) {
    tine_walk w = {.p = l->at, .end = end};
    for (size_t i = 0; i < l->n; i++) tine_walk_uint(&w, "", UINT64_MAX, &out[i]);
}

static bool place_ids(header *h, tine_decoded *out) {
    uint64_t *ids = out->few_ids;
    if (h->ids.n > sizeof out->few_ids / sizeof *out->few_ids)
        ids = out->memory = malloc(h->ids.n * sizeof *ids);
    if (!ids) return false;
    read_ids(&h->ids, h->w.end, ids);
    out->message.ids = ids;
    out->message.n_ids = h->ids.n;
    return true;
}

static void read_names(const list *l, const uint8_t *end, const char **out, char **to) {
    tine_walk w = {.p = l->at, .end = end};
    for (size_t i = 0; i < l->n; i++) {
        const char *name = "";
        size_t n = 0;
        tine_walk_text(&w, "", false, &name, &n);
        out[i] = memcpy(*to, name, n);
        (*to)[n] = 0;
        *to += n + 1;
    }
}

/* The lists' pointers come first in the memory, then their texts. */
static bool place_names(header *h, tine_decoded *out) {
    size_t n = 0;
    for (uint8_t i = 0; i < h->n_names; i++) n += h->names[i].n;
    const char **names = out->memory = malloc(h->room + 1); /* not 0 */
    if (!names) return false;
    char *to = (char *)(names + n);
    for (uint8_t i = 0; i < h->n_names; i++) {
        const list *l = &h->names[i];
        read_names(l, h->w.end, names, &to);
        *(const char *const **)((char *)&out->hello + l->field->at) = names;
        *(uint32_t *)((char *)&out->hello + l->field->n_at) = (uint32_t)l->n;
        names += l->n;
    }
    return true;
}

static bool place_all(header *h, tine_decoded *out) {
    for (uint8_t i = 0; i < h->n_ends; i++) *h->ends[i] = 0;
    return (h->ids.n == 0 || place_ids(h, out)) && (h->n_names == 0 || place_names(h, out));
}

tine_error tine_wire_decode(tine_frame *f, tine_decoded *out, char *why, size_t why_size) {
    header h; /* the lists are set when one is read */
    bool call;
    h.w = (tine_walk){
        .p = f->header, .end = f->header + f->header_size, .why = why, .why_size = why_size};
    h.out = out;
    h.body = TINE_BODY_NONE;
    h.n_ends = h.n_names = 0;
    h.ids.n = h.room = 0;
    out->message = (tine_message){0};
    out->memory = NULL;
    tine_error e = TINE_EPROTO;
    if (get_header(&h) && check_sense(&h, &call)) e = take_body(&h, f, call, why, why_size);
    if (e == TINE_OK && !place_all(&h, out)) e = TINE_ENOMEM;
    if (e) out->message = (tine_message){0};
    return e;
}

tine_message_type tine_wire_type(const tine_frame *f) {
    bool compact = f->header_size > 1 && f->header[0] >> 4 == 9 && f->header[1] < TINE_MSG_LAST_;
    return compact ? (tine_message_type)f->header[1] : (tine_message_type)0;
}

void tine_decoded_fini(tine_decoded *d) {
    if (d->memory) free(d->memory);
    d->memory = NULL;
}
