/* Messages to frames and back. A frame's header is one msgpack array: the message's type, then its
 * fields in the order that the table below gives; writing and reading go through the same table, so
 * they cannot differ. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/wire/wire.h"
#include "runtime/wire/walk.h"
#include "runtime/wire/write.h"
#include "transport/base/text.h"

static const char magic[] = "tine";

/* A letter a field. Of several entries: T target (name, method, object), P payload (refs, body), H
 * hello. */
static const char *const layouts[TINE_MSG_LAST_] = {
    [TINE_MSG_HELLO] = "H",      [TINE_MSG_DONE] = "taesrqxP", [TINE_MSG_SUSPEND] = "i",
    [TINE_MSG_SUBMIT] = "qtTfP", [TINE_MSG_FETCH] = "o",       [TINE_MSG_PONG] = "qc",
    [TINE_MSG_EVENTS] = "P",     [TINE_MSG_WELCOME] = "ewf",   [TINE_MSG_REJECT] = "x",
    [TINE_MSG_TASK] = "taedFTP", [TINE_MSG_RESULT] = "qsxP",   [TINE_MSG_CREDIT] = "w",
    [TINE_MSG_DROP] = "i",       [TINE_MSG_PING] = "q",        [TINE_MSG_TRACE] = "f",
    [TINE_MSG_STOP] = "",        [TINE_MSG_OBJECT] = "otsxP",
};
enum { HELLO_ENTRIES = 9 };

static size_t entries(const char *layout) {
    size_t n = 1;
    for (; *layout; layout++)
        n += *layout == 'T' ? 3 : *layout == 'P' ? 2 : *layout == 'H' ? HELLO_ENTRIES : 1;
    return n;
}

/* ---- writing ---- */

static size_t text_room(const char *s) { return s ? strlen(s) + 5 : 1; }

static size_t names_room(const char *const *names, size_t n) {
    size_t room = 5;
    for (size_t i = 0; i < n; i++) room += text_room(names[i]);
    return room;
}

/* At most so many bytes: a number takes 9, and there are fewer than 16 of them. */
static size_t header_room(const tine_message *m) {
    size_t room = 256 + text_room(m->text) + text_room(m->target.name) +
                  text_room(m->target.method) + 9 * m->n_ids;
    if (m->payload) room += (size_t)m->payload->body_size + 9 * (size_t)m->payload->n_refs;
    if (m->hello) {
        const tine_hello *h = m->hello;
        room += text_room(h->host) + text_room(h->token) + text_room(h->kernel);
        room += names_room(h->functions, h->n_functions) + names_room(h->classes, h->n_classes);
    }
    return room;
}

/* Text of a task's error may hold anything; on the wire it is UTF-8, or the whole frame would be
 * refused. */
static void put_text(tine_writer *w, const char *s) {
    size_t n = s ? strlen(s) : 0;
    if (!s)
        msgpack_pack_nil(&w->pack);
    else
        tine_writer_text(w, s, n);
    if (!s || w->failed || tine_utf8_valid(s, n)) return;
    for (uint8_t *p = w->data + w->n - n; p < w->data + w->n; p++)
        if (*p >= 0x80) *p = '?';
}

static void put_names(tine_writer *w, const char *const *names, size_t n) {
    msgpack_pack_array(&w->pack, n);
    for (size_t i = 0; i < n; i++) put_text(w, names[i]);
}

static void put_ids(tine_writer *w, const uint64_t *ids, size_t n) {
    msgpack_pack_array(&w->pack, n);
    for (size_t i = 0; i < n; i++) msgpack_pack_uint64(&w->pack, ids[i]);
}

static void put_hello(tine_writer *w, const tine_hello *h) {
    tine_writer_text(w, magic, sizeof magic - 1);
    msgpack_pack_uint32(&w->pack, h->version);
    msgpack_pack_uint32(&w->pack, h->pid);
    msgpack_pack_int32(&w->pack, h->rank);
    put_text(w, h->host ? h->host : "");
    put_text(w, h->token ? h->token : "");
    put_text(w, h->kernel ? h->kernel : "");
    put_names(w, h->functions, h->n_functions);
    put_names(w, h->classes, h->n_classes);
}

static void put_payload(tine_writer *w, const tine_payload *p) {
    put_ids(w, p ? p->refs : NULL, p ? p->n_refs : 0);
    if (!p) {
        msgpack_pack_nil(&w->pack);
        return;
    }
    msgpack_pack_bin(&w->pack, p->body_size);
    msgpack_pack_bin_body(&w->pack, p->body, p->body_size);
}

static void put_target(tine_writer *w, const tine_target *t) {
    put_text(w, t->name ? t->name : "");
    put_text(w, t->method);
    msgpack_pack_uint64(&w->pack, t->object);
}

static void put_field(tine_writer *w, const tine_message *m, char field) {
    msgpack_packer *pk = &w->pack;
    switch (field) {
    case 't': msgpack_pack_uint64(pk, m->task); break;
    case 'a': msgpack_pack_uint32(pk, m->attempt); break;
    case 'e': msgpack_pack_uint32(pk, m->epoch); break;
    case 'd': msgpack_pack_uint32(pk, m->depth); break;
    case 'f': msgpack_pack_uint32(pk, m->flags); break;
    case 'w': msgpack_pack_uint32(pk, m->window); break;
    case 's': msgpack_pack_uint32(pk, (uint32_t)m->status); break;
    case 'q': msgpack_pack_uint64(pk, m->seq); break;
    case 'r': msgpack_pack_uint64(pk, m->run_ns); break;
    case 'c': msgpack_pack_uint64(pk, m->clock); break;
    case 'o': msgpack_pack_uint64(pk, m->object); break;
    case 'F': msgpack_pack_uint64(pk, m->flow); break;
    case 'x': put_text(w, m->text); break;
    case 'i': put_ids(w, m->ids, m->n_ids); break;
    case 'T': put_target(w, &m->target); break;
    case 'P': put_payload(w, m->payload); break;
    case 'H': put_hello(w, m->hello); break;
    default: break;
    }
}

tine_frame *tine_wire_encode(const tine_message *m) {
    const char *layout = m->type < TINE_MSG_LAST_ ? layouts[m->type] : NULL;
    if (!layout || (*layout == 'H' && !m->hello) || m->n_ids > TINE_WIRE_MAX_LIST) return NULL;
    const tine_payload *p = strchr(layout, 'P') ? m->payload : NULL;
    size_t room = header_room(m);
    tine_frame *f = tine_frame_new(room, p ? p->n_buffers : 0);
    if (!f) return NULL;
    tine_writer w;
    tine_writer_init(&w, f->header, room);
    msgpack_pack_array(&w.pack, entries(layout));
    msgpack_pack_uint32(&w.pack, m->type);
    for (; *layout; layout++) put_field(&w, m, *layout);
    if (w.failed) {
        tine_frame_free(f);
        return NULL;
    }
    f->header_size = (uint32_t)w.n;
    for (uint32_t i = 0; p && i < p->n_buffers; i++) f->buffers[i] = tine_buffer_ref(p->buffers[i]);
    return f;
}

/* ---- reading ---- */

typedef struct slice {
    const char *data; /* NULL: nil */
    size_t n;
} slice;

typedef struct list { /* of ids or names: where its checked items begin */
    const uint8_t *at;
    size_t n;
} list;

/* What was found in a header; texts and lists still lie in the frame. */
typedef struct parsed {
    tine_walk w;
    tine_message m;
    tine_hello hello;
    slice name, method, text, host, token, kernel;
    list ids, functions, classes, refs;
    const uint8_t *body;
    size_t body_size;
    size_t room; /* for the texts and lists */
} parsed;

static bool get_text(parsed *q, const char *what, bool may_be_nil, slice *out) {
    if (!tine_walk_text(&q->w, what, may_be_nil, &out->data, &out->n)) return false;
    q->room += out->data ? out->n + 1 : 0;
    return true;
}

static bool get_names(parsed *q, const char *what, list *out) {
    slice s;
    if (!tine_walk_array(&q->w, what, TINE_WIRE_MAX_LIST, &out->n)) return false;
    out->at = q->w.p;
    for (size_t i = 0; i < out->n; i++)
        if (!get_text(q, what, false, &s)) return false;
    q->room += out->n * sizeof(char *);
    return true;
}

static bool get_ids(parsed *q, const char *what, bool ascending, list *out) {
    uint64_t id, before = 0;
    if (!tine_walk_array(&q->w, what, TINE_WIRE_MAX_LIST, &out->n)) return false;
    out->at = q->w.p;
    for (size_t i = 0; i < out->n; i++) {
        if (!tine_walk_uint(&q->w, what, UINT64_MAX, &id)) return false;
        if (ascending && id <= before) return tine_walk_refuse(&q->w, "%s do not ascend", what);
        before = id;
    }
    return true;
}

static bool get_u32(parsed *q, const char *what, uint32_t *out) {
    uint64_t u;
    if (!tine_walk_uint(&q->w, what, UINT32_MAX, &u)) return false;
    *out = (uint32_t)u;
    return true;
}

static bool get_status(parsed *q) {
    uint64_t u;
    if (!tine_walk_uint(&q->w, "a status", TINE_ESTATE, &u)) return false;
    q->m.status = (tine_error)u;
    return true;
}

/* Version first: a peer of another version is to be told so, whatever else its HELLO holds. */
static bool get_version(parsed *q) {
    slice s;
    if (!tine_walk_text(&q->w, "the magic", false, &s.data, &s.n)) return false;
    if (s.n != sizeof magic - 1 || memcmp(s.data, magic, s.n) != 0)
        return tine_walk_refuse(&q->w, "the first message does not say \"%s\"", magic);
    if (!get_u32(q, "the protocol version", &q->hello.version)) return false;
    if (q->hello.version == TINE_PROTOCOL_VERSION) return true;
    return tine_walk_refuse(&q->w, "it speaks protocol version %u, here it is version %d",
                            q->hello.version, TINE_PROTOCOL_VERSION);
}

static bool get_hello(parsed *q) {
    int64_t rank;
    bool good = get_u32(q, "a pid", &q->hello.pid) && tine_walk_int(&q->w, "a rank", &rank);
    if (good && (rank < INT32_MIN || rank > INT32_MAX))
        return tine_walk_refuse(&q->w, "a rank is out of range");
    if (!good) return false;
    q->hello.rank = (int32_t)rank;
    return get_text(q, "a host", false, &q->host) && get_text(q, "a token", false, &q->token) &&
           get_text(q, "a kernel", false, &q->kernel) &&
           get_names(q, "the functions", &q->functions) && get_names(q, "the classes", &q->classes);
}

static bool get_target(parsed *q) {
    tine_target *t = &q->m.target;
    if (!get_text(q, "a name", false, &q->name) || !get_text(q, "a method", true, &q->method))
        return false;
    if (!tine_walk_uint(&q->w, "an object", UINT64_MAX, &t->object)) return false;
    return (q->method.data != NULL) == (t->object != 0) ||
           tine_walk_refuse(&q->w, "a target needs both a method and an object, or neither");
}

static bool get_payload(parsed *q) {
    tine_token t;
    if (!get_ids(q, "the refs", true, &q->refs) || !tine_walk_next(&q->w, &t)) return false;
    if (t.kind == TINE_TOKEN_NIL)
        return q->refs.n == 0 || tine_walk_refuse(&q->w, "there are refs and no body");
    if (t.kind != TINE_TOKEN_BIN) return tine_walk_refuse(&q->w, "a body is neither bin nor nil");
    q->body = t.data;
    q->body_size = t.n;
    return true;
}

static bool get_field(parsed *q, char field) {
    tine_message *m = &q->m;
    switch (field) {
    case 't': return tine_walk_uint(&q->w, "a task", UINT64_MAX, &m->task);
    case 'a': return get_u32(q, "an attempt", &m->attempt);
    case 'e': return get_u32(q, "an epoch", &m->epoch);
    case 'd': return get_u32(q, "a depth", &m->depth);
    case 'f': return get_u32(q, "flags", &m->flags);
    case 'w': return get_u32(q, "a window", &m->window);
    case 's': return get_status(q);
    case 'q': return tine_walk_uint(&q->w, "a seq", UINT64_MAX, &m->seq);
    case 'r': return tine_walk_uint(&q->w, "a run time", UINT64_MAX, &m->run_ns);
    case 'c': return tine_walk_uint(&q->w, "a clock", UINT64_MAX, &m->clock);
    case 'o': return tine_walk_uint(&q->w, "an object", UINT64_MAX, &m->object);
    case 'F': return tine_walk_uint(&q->w, "a flow", UINT64_MAX, &m->flow);
    case 'x': return get_text(q, "a text", true, &q->text);
    case 'i': return get_ids(q, "the ids", false, &q->ids);
    case 'T': return get_target(q);
    case 'P': return get_payload(q);
    default: return get_hello(q);
    }
}

static bool get_header(parsed *q) {
    size_t n;
    uint64_t type;
    if (!tine_walk_array(&q->w, "the header", SIZE_MAX, &n) ||
        !tine_walk_uint(&q->w, "the message's type", UINT64_MAX, &type))
        return false;
    if (type == 0 || type >= TINE_MSG_LAST_)
        return tine_walk_refuse(&q->w, "message type %llu is unknown", (unsigned long long)type);
    q->m.type = (tine_message_type)type;
    const char *layout = layouts[type];
    if (type == TINE_MSG_HELLO && !get_version(q)) return false;
    if (n != entries(layout))
        return tine_walk_refuse(&q->w, "message type %d has %zu entries, not %zu", (int)type,
                                entries(layout), n);
    for (; *layout; layout++)
        if (!get_field(q, *layout)) return false;
    return tine_walk_end(&q->w, "the header");
}

/* A result is there, or the reason why not; calls have arguments. */
static bool check_sense(parsed *q, bool *call) {
    const tine_message *m = &q->m;
    bool body = q->body, text = q->text.data, failed = m->status != TINE_OK;
    *call = false;
    switch (m->type) {
    case TINE_MSG_TASK:
    case TINE_MSG_SUBMIT:
        *call = true;
        return body || tine_walk_refuse(&q->w, "a call has no arguments");
    case TINE_MSG_DONE:
    case TINE_MSG_RESULT:
        return (body != failed && text == failed) ||
               tine_walk_refuse(&q->w, "a result is neither a value nor a failure with its reason");
    case TINE_MSG_OBJECT:
        *call = text && !failed;
        return (body != failed && (text || !failed)) ||
               tine_walk_refuse(&q->w, "an object is neither there nor missing with a reason");
    case TINE_MSG_EVENTS: return body || tine_walk_refuse(&q->w, "events have no body");
    case TINE_MSG_REJECT: return text || tine_walk_refuse(&q->w, "a rejection has no reason");
    default: return true;
    }
}

/* What was checked is read again, into memory of its own. */
static void read_ids(const list *l, const uint8_t *end, uint64_t *out) {
    tine_walk w = {.p = l->at, .end = end};
    for (size_t i = 0; i < l->n; i++) tine_walk_uint(&w, "", UINT64_MAX, &out[i]);
}

static const char *place_text(char **to, slice s) {
    if (!s.data) return NULL;
    char *from = *to;
    memcpy(from, s.data, s.n);
    from[s.n] = 0;
    *to += s.n + 1;
    return from;
}

static void place_names(char **to, const list *l, const uint8_t *end, const char **out) {
    tine_walk w = {.p = l->at, .end = end};
    for (size_t i = 0; i < l->n; i++) {
        slice s = {"", 0};
        tine_walk_text(&w, "", false, &s.data, &s.n);
        out[i] = place_text(to, s);
    }
}

static tine_error make_payload(const parsed *q, const tine_frame *f, bool call, tine_payload **out,
                               char *why, size_t why_size) {
    tine_payload *p = tine_payload_new(q->body_size, f->n_buffers, q->refs.n);
    if (!p) return TINE_ENOMEM;
    memcpy(p->body, q->body, q->body_size);
    read_ids(&q->refs, q->w.end, p->refs);
    const tine_wire_body body = {p->body,      p->body_size, f->buffers,
                                 f->n_buffers, p->refs,      p->n_refs};
    tine_error e = tine_wire_check(&body, call, why, why_size);
    if (e) {
        tine_payload_unref(p);
        return e;
    }
    for (uint32_t i = 0; i < f->n_buffers; i++) p->buffers[i] = tine_buffer_ref(f->buffers[i]);
    *out = p;
    return TINE_OK;
}

static void place_all(parsed *q, tine_decoded *out) {
    out->message = q->m;
    out->hello = q->hello;
    if (!out->memory) return; /* no text and no list */
    uint64_t *ids = out->memory;
    const char **functions = (const char **)(ids + q->ids.n),
               **classes = functions + q->functions.n;
    char *to = (char *)(classes + q->classes.n);
    read_ids(&q->ids, q->w.end, ids);
    out->message.ids = q->ids.n ? ids : NULL;
    out->message.n_ids = q->ids.n;
    out->message.target.name = place_text(&to, q->name);
    out->message.target.method = place_text(&to, q->method);
    out->message.text = place_text(&to, q->text);
    if (q->m.type != TINE_MSG_HELLO) return;
    out->hello.host = place_text(&to, q->host);
    out->hello.token = place_text(&to, q->token);
    out->hello.kernel = place_text(&to, q->kernel);
    place_names(&to, &q->functions, q->w.end, functions);
    place_names(&to, &q->classes, q->w.end, classes);
    out->hello.functions = functions;
    out->hello.classes = classes;
    out->hello.n_functions = (uint32_t)q->functions.n;
    out->hello.n_classes = (uint32_t)q->classes.n;
    out->message.hello = &out->hello;
}

tine_error tine_wire_decode(const tine_frame *f, tine_decoded *out, char *why, size_t why_size) {
    parsed q = {
        .w = {.p = f->header, .end = f->header + f->header_size, .why = why, .why_size = why_size}};
    tine_decoded d = {0};
    bool call;
    if (!get_header(&q) || !check_sense(&q, &call)) return TINE_EPROTO;
    if (f->n_buffers > 0 && !q.body) {
        tine_walk_refuse(&q.w, "%u buffers come with a message that has no body", f->n_buffers);
        return TINE_EPROTO;
    }
    q.room += q.ids.n * sizeof(uint64_t);
    if (q.room > 0 && !(d.memory = malloc(q.room))) return TINE_ENOMEM;
    tine_payload *payload = NULL;
    tine_error e = q.body ? make_payload(&q, f, call, &payload, why, why_size) : TINE_OK;
    if (e) {
        free(d.memory);
        return e;
    }
    *out = d;
    place_all(&q, out);
    out->message.payload = payload;
    return TINE_OK;
}

void tine_decoded_fini(tine_decoded *d) {
    tine_payload_unref(d->message.payload);
    free(d->memory);
    *d = (tine_decoded){0};
}
