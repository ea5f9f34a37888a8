/* Payloads to values: the reverse of value_encode.c. A body from a peer is checked whole when its
 * frame arrives; it is read through the same walker here, so that a body that was not checked can
 * do no harm either. */
#include <stdlib.h>
#include <string.h>

#include "runtime/wire/wire.h"
#include "runtime/wire/walk.h"
#include "transport/base/block.h"

typedef struct decoding {
    tine_walk w;
    tine_payload *payload;
    const tine_decoder *decoder;
    char why[128];
} decoding;

static tine_value *decode_value(decoding *c, int depth);

/* The walk was refused: its reason becomes the error. */
static tine_value *decode_refused(decoding *c) {
    tine_error_set(TINE_EPROTO, "a payload is invalid: %s", c->why);
    return NULL;
}

static tine_value *decode_tensor(decoding *c, const tine_token *t) {
    tine_wire_tensor s;
    if (!tine_walk_tensor(&c->w, t, &s)) return decode_refused(c);
    if (s.buffer >= tine_payload_tensors(c->payload) ||
        c->payload->buffers[s.buffer]->size != s.bytes) {
        tine_walk_refuse(&c->w, "a tensor does not fit its buffer");
        return decode_refused(c);
    }
    tine_buffer *b = c->payload->buffers[s.buffer];
    bool copy = b->foreign && c->decoder && b->size < c->decoder->copy_below;
    if (!copy && (uintptr_t)b->data % tine_dtype_size(s.dtype) == 0)
        return tine_tensor_over(s.dtype, s.rank, s.shape, b, 0);
    return tine_tensor(s.dtype, s.rank, s.shape, b->data);
}

static tine_value *decode_object(decoding *c, const tine_token *t) {
    tine_object id;
    if (!tine_walk_object(&c->w, t, &id)) return decode_refused(c);
    tine_value *v = c->decoder && c->decoder->value ? c->decoder->value(c->decoder->ctx, id) : NULL;
    if (!v)
        tine_error_set(TINE_EINVAL, "the put value %llu has been freed", (unsigned long long)id);
    return v;
}

static tine_value *decode_module(decoding *c, const tine_token *t) {
    tine_object id;
    const char *name;
    size_t n;
    if (!tine_walk_module(&c->w, t, &id, &name, &n)) return decode_refused(c);
    char *copy = strndup(name, n);
    if (!copy) {
        tine_error_set(TINE_ENOMEM, "no memory to decode a value");
        return NULL;
    }
    tine_value *v = tine_module_ref(id, copy, c->decoder ? c->decoder->owner : NULL);
    free(copy);
    return v;
}

static tine_value *decode_bytes(decoding *c, const tine_token *t) {
    uint32_t buffer;
    if (!tine_walk_bytes(&c->w, t, &buffer)) return decode_refused(c);
    if (buffer < tine_payload_tensors(c->payload)) {
        tine_buffer *b = c->payload->buffers[buffer];
        /* Bytes may be parsed, and a peer could change those in its memory meanwhile. */
        return b->foreign ? tine_bytes(b->data, b->size) : tine_bytes_over(b);
    }
    tine_walk_refuse(&c->w, "bytes lie in no buffer");
    return decode_refused(c);
}

static tine_value *decode_ext(decoding *c, const tine_token *t) {
    switch (t->ext) {
    case TINE_EXT_TENSOR: return decode_tensor(c, t);
    case TINE_EXT_OBJECT: return decode_object(c, t);
    case TINE_EXT_MODULE: return decode_module(c, t);
    case TINE_EXT_BYTES: return decode_bytes(c, t);
    default: tine_walk_refuse(&c->w, "ext type %d is unknown", t->ext); return decode_refused(c);
    }
}

/* The items of an array, or the pairs of a map, whose keys the caller frees. `n` counts them. */
static tine_error decode_items(decoding *c, int depth, size_t wanted, char **keys,
                               tine_value **items, size_t *n) {
    for (; *n < wanted; ++*n) {
        const char *text;
        size_t size;
        if (keys && !tine_walk_text(&c->w, "a key", false, &text, &size)) {
            decode_refused(c);
            return TINE_EPROTO;
        }
        if (keys && !(keys[*n] = strndup(text, size)))
            return tine_error_set(TINE_ENOMEM, "no memory to decode a value");
        if (!(items[*n] = decode_value(c, depth))) {
            if (keys) free(keys[*n]);
            return tine_last_error();
        }
    }
    return TINE_OK;
}

static tine_value *decode_container(decoding *c, const tine_token *t, int depth) {
    size_t made = 0;
    bool map = t->kind == TINE_TOKEN_MAP;
    const size_t size = (t->n + 1) * sizeof(tine_value *);
    tine_value **items = tine_block_new(size), *v = NULL;
    char **keys = map ? malloc((t->n + 1) * sizeof *keys) : NULL;
    tine_error e;
    if (depth >= TINE_MAX_DEPTH)
        e = tine_error_set(TINE_EPROTO, "a payload nests more than 64 deep");
    else if (!items || (map && !keys))
        e = tine_error_set(TINE_ENOMEM, "no memory to decode a value");
    else
        e = decode_items(c, depth + 1, t->n, keys, items, &made);
    if (e == TINE_OK)
        v = tine_container_new(map ? TINE_DICT : TINE_LIST, t->n, (const char *const *)keys, items);
    for (size_t i = 0; i < made; i++) {
        if (map) free(keys[i]);
        if (!v) tine_value_unref(items[i]);
    }
    if (items) tine_block_free(items, size);
    if (keys) free(keys);
    return v;
}

static tine_value *decode_value(decoding *c, int depth) {
    tine_token t;
    if (!tine_walk_next(&c->w, &t)) return decode_refused(c);
    switch (t.kind) {
    case TINE_TOKEN_NIL: return tine_none();
    case TINE_TOKEN_BOOL: return tine_bool(t.b);
    case TINE_TOKEN_UINT:
    case TINE_TOKEN_NEGATIVE: return tine_int(t.i);
    case TINE_TOKEN_FLOAT: return tine_float(t.d);
    case TINE_TOKEN_STR: return tine_string_of((const char *)t.data, t.n);
    case TINE_TOKEN_BIN: return tine_bytes(t.data, t.n);
    case TINE_TOKEN_EXT: return decode_ext(c, &t);
    default: return decode_container(c, &t, depth);
    }
}

static tine_pool *decoding_begin(decoding *c, tine_payload *p, const tine_decoder *d) {
    tine_pool *pool = tine_current.pool;
    c->w = (tine_walk){
        .p = p->body, .end = p->body + p->body_size, .why = c->why, .why_size = sizeof c->why};
    c->payload = p;
    c->decoder = d;
    tine_current.pool = NULL; /* the values are the caller's */
    return pool;
}

tine_error tine_payload_value(tine_payload *p, const tine_decoder *d, tine_value **out) {
    decoding c;
    tine_pool *pool = decoding_begin(&c, p, d);
    tine_value *v = decode_value(&c, 0);
    tine_current.pool = pool;
    if (!v) return tine_last_error();
    *out = v;
    return TINE_OK;
}

static tine_error decode_no_memory(void) {
    return tine_error_set(TINE_ENOMEM, "no memory to decode a call's arguments");
}

static tine_error decode_positional(decoding *c, tine_arguments *a, size_t n) {
    while (n-- > 0) {
        tine_value *v = decode_value(c, 0);
        if (!v) return tine_last_error();
        tine_arguments_add(a, v);
    }
    return TINE_OK;
}

static tine_error decode_named(decoding *c, tine_arguments *a, size_t n) {
    while (n-- > 0) {
        const char *key;
        size_t size;
        if (!tine_walk_text(&c->w, "a key", false, &key, &size))
            return decode_refused(c), TINE_EPROTO;
        tine_value *v = decode_value(c, 0);
        if (!v) return tine_last_error();
        tine_arguments_add_named(a, key, size, v);
    }
    return TINE_OK;
}

static tine_error decode_call(decoding *c, tine_arguments *a) {
    size_t n;
    tine_token t;
    if (!tine_walk_array(&c->w, "a call", 2, &n) ||
        !tine_walk_array(&c->w, "a call's arguments", TINE_WIRE_MAX_VALUES, &n))
        return decode_refused(c), TINE_EPROTO;
    if (!tine_arguments_reserve(a, n)) return decode_no_memory();
    tine_error e = decode_positional(c, a, n);
    if (e != TINE_OK) return e;
    if (!tine_walk_next(&c->w, &t) || t.kind != TINE_TOKEN_MAP)
        return decode_refused(c), TINE_EPROTO;
    if (t.n == 0) return TINE_OK;
    /* the bytes that are left suffice: a key's NUL takes the place of the length before it */
    size_t left = (size_t)(c->w.end - c->w.p);
    if (!tine_arguments_reserve_named(a, t.n, left)) return decode_no_memory();
    return decode_named(c, a, t.n);
}

tine_error tine_payload_call(tine_payload *p, const tine_decoder *d, tine_arguments *out) {
    decoding c;
    tine_pool *pool = decoding_begin(&c, p, d);
    *out = (tine_arguments){0};
    tine_error e = decode_call(&c, out);
    if (e != TINE_OK) tine_arguments_fini(out);
    tine_current.pool = pool;
    return e;
}
