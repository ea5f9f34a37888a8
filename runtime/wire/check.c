/* The check of a body that came from a peer: one walk of all of it, before anything is made of it.
 * After it, decoding can fail only for want of memory or of an object. Buffers must be mentioned in
 * order, each at least once, and fit their tensors exactly. The walk gathers the objects that the
 * body mentions: the scheduler counts their holders. */
#include "runtime/wire/check.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/value/value.h"
#include "runtime/wire/refs.h"
#include "runtime/wire/walk.h"
#include "transport/base/text.h"

typedef struct check {
    tine_walk w;
    const tine_payload *payload;
    uint32_t next_buffer, n_buffers;
    size_t values;
    tine_refs refs;
    bool no_memory;
} check;

static bool check_value(check *c, int depth);

static bool check_refuse_memory(check *c) {
    c->no_memory = true;
    return tine_walk_refuse(&c->w, "no memory to check a body");
}

typedef struct key {
    const char *data;
    size_t n;
} key;

static int compare_keys(const void *a, const void *b) {
    const key *x = a, *y = b;
    int order = memcmp(x->data, y->data, x->n < y->n ? x->n : y->n);
    return order ? order : (x->n > y->n) - (x->n < y->n);
}

/* Before anything is allocated for `n` more values. */
static bool check_room(check *c, size_t n) {
    if (n <= TINE_WIRE_MAX_VALUES - c->values) return true;
    return tine_walk_refuse(&c->w, "a body holds more than %d values", TINE_WIRE_MAX_VALUES);
}

/* Pairs of a map; their keys must be distinct: sorted, equal ones are neighbours. */
static bool check_map(check *c, size_t n, int depth) {
    if (!check_room(c, n)) return false;
    key few[16], *keys = n <= 16 ? few : malloc(n * sizeof *keys);
    bool good = keys || check_refuse_memory(c);
    for (size_t i = 0; i < n && good; i++)
        good = tine_walk_text(&c->w, "a key", false, &keys[i].data, &keys[i].n) &&
               check_value(c, depth);
    if (good && n > 1) qsort(keys, n, sizeof *keys, compare_keys);
    for (size_t i = 1; i < n && good; i++)
        if (compare_keys(&keys[i - 1], &keys[i]) == 0)
            good = tine_walk_refuse(&c->w, "the key '%.*s' occurs twice",
                                    (int)(keys[i].n < 64 ? keys[i].n : 64), keys[i].data);
    if (keys != few) free(keys);
    return good;
}

static bool check_items(check *c, size_t n, int depth) {
    for (size_t i = 0; i < n; i++)
        if (!check_value(c, depth)) return false;
    return true;
}

static bool check_buffer(check *c, uint32_t buffer) {
    if (buffer >= c->n_buffers)
        return tine_walk_refuse(&c->w, "buffer %u is mentioned, there are %u", buffer,
                                c->n_buffers);
    if (buffer > c->next_buffer)
        return tine_walk_refuse(&c->w, "buffer %u is mentioned before buffer %u", buffer,
                                c->next_buffer);
    if (buffer == c->next_buffer) c->next_buffer++;
    return true;
}

static bool check_ref(check *c, tine_object id) {
    return tine_refs_add(&c->refs, id) || check_refuse_memory(c);
}

static bool check_tensor(check *c, const tine_token *t) {
    tine_wire_tensor tensor;
    if (!tine_walk_tensor(&c->w, t, &tensor) || !check_buffer(c, tensor.buffer)) return false;
    size_t size = c->payload->buffers[tensor.buffer]->size;
    if (tensor.bytes == size) return true;
    return tine_walk_refuse(&c->w, "a tensor of %zu bytes lies in a buffer of %zu", tensor.bytes,
                            size);
}

static bool check_ext(check *c, const tine_token *t) {
    tine_object id;
    uint32_t buffer;
    const char *name;
    size_t n;
    switch (t->ext) {
    case TINE_EXT_TENSOR: return check_tensor(c, t);
    case TINE_EXT_OBJECT:
        if (!tine_walk_object(&c->w, t, &id)) return false;
        if (tine_object_is_module(id))
            return tine_walk_refuse(&c->w, "a value has the odd id of a module");
        return check_ref(c, id);
    case TINE_EXT_MODULE:
        if (!tine_walk_module(&c->w, t, &id, &name, &n)) return false;
        if (!tine_object_is_module(id))
            return tine_walk_refuse(&c->w, "a module has the even id of a value");
        return check_ref(c, id);
    case TINE_EXT_BYTES: return tine_walk_bytes(&c->w, t, &buffer) && check_buffer(c, buffer);
    default: return tine_walk_refuse(&c->w, "ext type %d is unknown", t->ext);
    }
}

static bool check_value(check *c, int depth) {
    tine_token t;
    if (!tine_walk_next(&c->w, &t)) return false;
    if (!check_room(c, 1)) return false;
    c->values++;
    if ((t.kind == TINE_TOKEN_ARRAY || t.kind == TINE_TOKEN_MAP) && depth >= TINE_MAX_DEPTH)
        return tine_walk_refuse(&c->w, "lists and dicts nest more than %d deep", TINE_MAX_DEPTH);
    switch (t.kind) {
    case TINE_TOKEN_UINT:
        return t.u <= INT64_MAX || tine_walk_refuse(&c->w, "an integer is past 2^63 - 1");
    case TINE_TOKEN_STR:
        return tine_utf8_valid((const char *)t.data, t.n) ||
               tine_walk_refuse(&c->w, "a string is not UTF-8");
    case TINE_TOKEN_ARRAY: return check_items(c, t.n, depth + 1);
    case TINE_TOKEN_MAP: return check_map(c, t.n, depth + 1);
    case TINE_TOKEN_EXT: return check_ext(c, &t);
    default: return true;
    }
}

static bool check_call(check *c) {
    tine_token t;
    size_t n;
    if (!tine_walk_array(&c->w, "a call", 2, &n) ||
        (n != 2 && !tine_walk_refuse(&c->w, "a call does not have two parts")))
        return false;
    if (!tine_walk_array(&c->w, "a call's arguments", TINE_WIRE_MAX_VALUES, &n) ||
        !check_items(c, n, 0))
        return false;
    if (!tine_walk_next(&c->w, &t)) return false;
    if (t.kind != TINE_TOKEN_MAP) return tine_walk_refuse(&c->w, "a call's keywords are not a map");
    return check_map(c, t.n, 0);
}

static bool check_body(check *c, uint8_t kind) {
    bool good = kind == TINE_CHECKED_CALL ? check_call(c) : check_value(c, 0);
    if (!good || !tine_walk_end(&c->w, "a body")) return false;
    if (c->next_buffer < c->n_buffers)
        return tine_walk_refuse(&c->w, "buffer %u is never mentioned", c->next_buffer);
    tine_refs_sort(&c->refs);
    return c->refs.n <= TINE_WIRE_MAX_LIST ||
           tine_walk_refuse(&c->w, "a body mentions %zu objects, the most is %d", c->refs.n,
                            TINE_WIRE_MAX_LIST);
}

static bool keep_refs(check *c, tine_payload *p) {
    tine_object *refs = tine_frame_refs_new(p, c->refs.n);
    if (!refs) return check_refuse_memory(c);
    if (c->refs.n) memcpy(refs, c->refs.ids, c->refs.n * sizeof *refs);
    return true;
}

tine_error tine_wire_check(tine_payload *p, uint8_t kind, char *why, size_t why_size) {
    check c = {.payload = p, .n_buffers = tine_payload_tensors(p)};
    c.w =
        (tine_walk){.p = p->body, .end = p->body + p->body_size, .why = why, .why_size = why_size};
    tine_refs_init(&c.refs);
    bool good = check_body(&c, kind) && keep_refs(&c, p);
    tine_refs_fini(&c.refs);
    if (good) p->checked = kind;
    return good ? TINE_OK : c.no_memory ? TINE_ENOMEM : TINE_EPROTO;
}
