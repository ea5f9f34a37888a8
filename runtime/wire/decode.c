/* Frames to messages. The header is read field by field through the walker, then the body is
 * checked whole. Texts are used where they lie: the byte behind each is overwritten with a NUL once
 * the header has been read, so a frame is decoded once. */
#include <stdlib.h>
#include <string.h>

#include "runtime/wire/check.h"
#include "runtime/wire/layout.h"
#include "runtime/wire/walk.h"
#include "runtime/wire/wire.h"

enum { MAX_BODY = TINE_FRAME_MAX_HEADER, TEXTS_MAX = 5 };

typedef struct slice {
    const char *data;
    size_t n;
} slice;

typedef struct list { /* of names or ids: where its items begin */
    const uint8_t *at;
    size_t n;
} list;

typedef struct header {
    tine_walk w;
    tine_decoded *out;
    uint8_t body; /* TINE_BODY_… */
    uint8_t n_ends;
    uint8_t *ends[TEXTS_MAX]; /* where the texts' NULs go */
    list ids;
    /* HELLO: copied into memory of their own, which takes `room` bytes */
    slice host, token, kernel, slots;
    list functions, classes, labels;
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

static bool get_u32(header *h, const char *what, uint32_t *out) {
    uint64_t u;
    if (!tine_walk_uint(&h->w, what, UINT32_MAX, &u)) return false;
    *out = (uint32_t)u;
    return true;
}

static bool get_status(header *h) {
    uint64_t u;
    if (!tine_walk_uint(&h->w, "a status", TINE_ENDED - 1, &u)) return false;
    h->out->message.status = (tine_error)u;
    return true;
}

static bool get_target_object(header *h) {
    tine_target *t = &h->out->message.target;
    if (!tine_walk_uint(&h->w, "an object", UINT64_MAX, &t->object)) return false;
    return (t->method != NULL) == (t->object != 0) ||
           tine_walk_refuse(&h->w, "a target needs both a method and an object, or neither");
}

static bool get_body(header *h) {
    uint64_t u;
    if (!tine_walk_uint(&h->w, "the place of a body", TINE_BODY_BESIDE, &u)) return false;
    h->body = (uint8_t)u;
    return true;
}

/* ---- the fields of HELLO ---- */

static bool get_hello_text(header *h, const char *what, slice *out) {
    if (!tine_walk_text(&h->w, what, false, &out->data, &out->n)) return false;
    h->room += out->n + 1;
    return true;
}

static bool get_names(header *h, const char *what, list *out) {
    slice name;
    if (!tine_walk_array(&h->w, what, TINE_WIRE_MAX_LIST, &out->n)) return false;
    out->at = h->w.p;
    for (size_t i = 0; i < out->n; i++)
        if (!get_hello_text(h, what, &name)) return false;
    h->room += out->n * sizeof(char *);
    return true;
}

static bool get_magic(header *h) {
    slice s;
    if (!tine_walk_text(&h->w, "the magic", false, &s.data, &s.n)) return false;
    return (s.n == sizeof tine_wire_magic && !memcmp(s.data, tine_wire_magic, s.n)) ||
           tine_walk_refuse(&h->w, "the first message does not begin with \"tine\"");
}

static bool get_version(header *h) {
    uint32_t version;
    if (!get_u32(h, "the protocol version", &version)) return false;
    h->out->hello.version = version;
    return version == TINE_PROTOCOL_VERSION ||
           tine_walk_refuse(&h->w, "the peer uses protocol version %u, this process version %d",
                            version, TINE_PROTOCOL_VERSION);
}

static bool get_i32(header *h, const char *what, int32_t *out) {
    int64_t i;
    if (!tine_walk_int(&h->w, what, &i)) return false;
    *out = (int32_t)i;
    return (i >= INT32_MIN && i <= INT32_MAX) ||
           tine_walk_refuse(&h->w, "%s is out of range", what);
}

static bool get_hello_field(header *h, char field) {
    switch (field) {
    case 'M': return get_magic(h);
    case 'v': return get_version(h);
    case 'p': return get_u32(h, "a pid", &h->out->hello.pid);
    case 'R': return get_i32(h, "a rank", &h->out->hello.rank);
    case 'h': return get_hello_text(h, "a host", &h->host);
    case 'k': return get_hello_text(h, "a token", &h->token);
    case 'K': return get_hello_text(h, "a kernel", &h->kernel);
    case 'N': return get_names(h, "the functions", &h->functions);
    case 'C': return get_names(h, "the classes", &h->classes);
    case 'L': return get_names(h, "the labels", &h->labels);
    default: return get_hello_text(h, "the slots", &h->slots);
    }
}

/* ---- the header ---- */

static bool get_field(header *h, char field) {
    tine_message *m = &h->out->message;
    switch (field) {
    case 't': return tine_walk_uint(&h->w, "a task", UINT64_MAX, &m->task);
    case 'a': return get_u32(h, "an attempt", &m->attempt);
    case 'e': return get_u32(h, "an epoch", &m->epoch);
    case 'd': return get_u32(h, "a depth", &m->depth);
    case 'f': return get_u32(h, "flags", &m->flags);
    case 'w': return get_u32(h, "a window", &m->window);
    case 's': return get_status(h);
    case 'q': return tine_walk_uint(&h->w, "a seq", UINT64_MAX, &m->seq);
    case 'r': return tine_walk_uint(&h->w, "a run time", UINT64_MAX, &m->run_ns);
    case 'c': return tine_walk_uint(&h->w, "a clock", UINT64_MAX, &m->clock);
    case 'o': return tine_walk_uint(&h->w, "an object", UINT64_MAX, &m->object);
    case 'F': return tine_walk_uint(&h->w, "a flow", UINT64_MAX, &m->flow);
    case 'x': return get_text(h, "a text", true, &m->text);
    case 'i': return get_ids(h, "the ids");
    case 'n': return get_text(h, "a name", false, &m->target.name);
    case 'm': return get_text(h, "a method", true, &m->target.method);
    case 'O': return get_target_object(h);
    case 'l': return get_text(h, "a task's name", true, &h->out->terms.name);
    case 'P': return get_i32(h, "a priority", &h->out->terms.priority);
    case 'A': return get_u32(h, "a number of retries", &h->out->terms.retries);
    case 'G': return get_u32(h, "a number of retries", &h->out->terms.failure_retries);
    case 'b': return get_text(h, "a label", true, &h->out->terms.label);
    case 'u': return get_text(h, "what a task takes", true, &h->out->terms.resources);
    case 'W': return get_u32(h, "a worker", &h->out->terms.worker);
    case 'S': return get_u32(h, "a stream's window", &h->out->terms.stream);
    case 'g': return tine_walk_uint(&h->w, "a grace", UINT64_MAX, &m->grace_ns);
    case 'I': return tine_walk_uint(&h->w, "an item", UINT64_MAX, &m->item);
    case 'y': return tine_walk_uint(&h->w, "a memory size", UINT64_MAX, &m->memory);
    case 'z': return tine_walk_uint(&h->w, "a number of messages", UINT64_MAX, &m->received);
    case 'Z': return tine_walk_uint(&h->w, "a number of messages", UINT64_MAX, &m->sent);
    case 'V': return get_version(h);
    case 'B': return get_body(h);
    default: return get_hello_field(h, field);
    }
}

/* Magic and version of HELLO come first: a peer of another version is told so, whatever else its
 * HELLO holds. */
static bool get_header(header *h) {
    size_t n;
    uint64_t type;
    if (!tine_walk_array(&h->w, "the header", SIZE_MAX, &n) ||
        !tine_walk_uint(&h->w, "the message's type", UINT64_MAX, &type))
        return false;
    if (type == 0 || type >= TINE_MSG_LAST_)
        return tine_walk_refuse(&h->w, "message type %llu is unknown", (unsigned long long)type);
    h->out->message.type = (tine_message_type)type;
    if (type == TINE_MSG_SUBMIT_WITH) {
        h->out->terms = (tine_terms){0};
        h->out->message.terms = &h->out->terms;
    }
    const tine_layout *l = &tine_layouts[type];
    const char *field = l->fields;
    if (type == TINE_MSG_HELLO) {
        if (!get_magic(h) || !get_version(h)) return false;
        field += 2;
    }
    if (n != l->entries)
        return tine_walk_refuse(&h->w, "message type %d has %d entries, not %zu", (int)type,
                                l->entries, n);
    for (; *field; field++)
        if (!get_field(h, *field)) return false;
    return true;
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
        return body || tine_walk_refuse(&h->w, "a call has no arguments");
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

static const char *place_text(char **to, slice s) {
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

static bool place_hello(header *h, tine_decoded *out) {
    const char **functions = out->memory = malloc(h->room);
    if (!functions) return false;
    const char **classes = functions + h->functions.n;
    const char **labels = classes + h->classes.n;
    char *to = (char *)(labels + h->labels.n);
    out->hello.host = place_text(&to, h->host);
    out->hello.token = place_text(&to, h->token);
    out->hello.kernel = place_text(&to, h->kernel);
    out->hello.slots = place_text(&to, h->slots);
    place_names(&to, &h->functions, h->w.end, functions);
    place_names(&to, &h->classes, h->w.end, classes);
    place_names(&to, &h->labels, h->w.end, labels);
    out->hello.functions = functions;
    out->hello.classes = classes;
    out->hello.labels = labels;
    out->hello.n_functions = (uint32_t)h->functions.n;
    out->hello.n_classes = (uint32_t)h->classes.n;
    out->hello.n_labels = (uint32_t)h->labels.n;
    out->message.hello = &out->hello;
    return true;
}

static bool place_all(header *h, tine_decoded *out) {
    for (uint8_t i = 0; i < h->n_ends; i++) *h->ends[i] = 0;
    if (h->ids.n > 0 && !place_ids(h, out)) return false;
    return out->message.type != TINE_MSG_HELLO || place_hello(h, out);
}

tine_error tine_wire_decode(tine_frame *f, tine_decoded *out, char *why, size_t why_size) {
    header h; /* the fields of HELLO are set when one is read */
    bool call;
    h.w = (tine_walk){
        .p = f->header, .end = f->header + f->header_size, .why = why, .why_size = why_size};
    h.out = out;
    h.body = TINE_BODY_NONE;
    h.n_ends = 0;
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
