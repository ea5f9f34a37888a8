/* Values to payloads. Scalars, texts and containers are msgpack's own; a tensor is an ext that
 * names a buffer, which is shared, not copied; a put value or a module is an ext that names its
 * id. */
#include <stdlib.h>
#include <string.h>

#include "runtime/wire/wire.h"
#include "runtime/wire/walk.h"
#include "runtime/wire/write.h"

/* Bytes from here on lie in a buffer beside the body, as tensors do: a body is copied, a buffer is
 * not. */
enum { BYTES_BESIDE = 64 << 10 };
/* A body leaves room in the header for the message's other fields. */
enum { MOST_BODY = TINE_FRAME_MAX_HEADER - (1 << 20) };
/* A tensor sent twice in one body is one buffer, if it is among the last so many: a longer search
 * would be quadratic. */
enum { LOOK_BACK = 16 };

typedef struct encoding {
    tine_writer w;
    const tine_encoder *encoder;
    tine_buffer **buffers;
    size_t n_buffers, room_buffers;
    tine_object *refs;
    size_t n_refs, room_refs;
    size_t values;
    tine_buffer *few_buffers[4];
    tine_object few_refs[4];
} encoding;

/* Room for one more in an array that began as `few`. */
static void *grown(void *array, const void *few, size_t n, size_t *room, size_t each) {
    if (n < *room) return array;
    size_t more = 2 * *room;
    void *p = realloc(array == few ? NULL : array, more * each);
    if (!p) {
        tine_error_set(TINE_ENOMEM, "no memory to encode a value");
        return NULL;
    }
    if (array == few) memcpy(p, few, n * each);
    *room = more;
    return p;
}

static tine_error add_ref(encoding *c, tine_object id) {
    for (size_t i = c->n_refs > LOOK_BACK ? c->n_refs - LOOK_BACK : 0; i < c->n_refs; i++)
        if (c->refs[i] == id) return TINE_OK;
    tine_object *p = grown(c->refs, c->few_refs, c->n_refs, &c->room_refs, sizeof *p);
    if (!p) return TINE_ENOMEM;
    c->refs = p;
    c->refs[c->n_refs++] = id;
    return TINE_OK;
}

/* `b`'s reference is taken over, also on failure. */
static tine_error add_buffer(encoding *c, tine_buffer *b, size_t *index) {
    if (!b) return tine_error_set(TINE_ENOMEM, "no memory to encode a tensor");
    for (size_t i = c->n_buffers > LOOK_BACK ? c->n_buffers - LOOK_BACK : 0; i < c->n_buffers;
         i++) {
        if (c->buffers[i]->data != b->data || c->buffers[i]->size != b->size) continue;
        tine_buffer_unref(b);
        *index = i;
        return TINE_OK;
    }
    tine_error e = TINE_OK;
    tine_buffer **p = NULL;
    if (c->n_buffers == TINE_FRAME_MAX_BUFFERS)
        e = tine_error_set(TINE_EINVAL, "one message holds at most %d tensors; stack them",
                           TINE_FRAME_MAX_BUFFERS);
    else if (!(p = grown(c->buffers, c->few_buffers, c->n_buffers, &c->room_buffers, sizeof *p)))
        e = TINE_ENOMEM;
    if (e) {
        tine_buffer_unref(b);
        return e;
    }
    c->buffers = p;
    *index = c->n_buffers;
    c->buffers[c->n_buffers++] = b;
    return TINE_OK;
}

/* An ext holds one array of numbers, perhaps with a text at its end. */
static void put_ext(encoding *c, int type, const uint64_t *numbers, size_t n, const char *text) {
    tine_writer in; /* eleven numbers fit its own memory, a long class name grows it */
    tine_writer_init(&in, NULL, 0);
    msgpack_pack_array(&in.pack, n + (text != NULL));
    for (size_t i = 0; i < n; i++) msgpack_pack_uint64(&in.pack, numbers[i]);
    if (text) tine_writer_text(&in, text, strlen(text));
    msgpack_pack_ext(&c->w.pack, in.n, (int8_t)type);
    msgpack_pack_ext_body(&c->w.pack, in.data, in.n);
    c->w.failed |= in.failed;
    tine_writer_fini(&in);
}

static void release_base(void *data, size_t size, void *ctx) {
    (void)data, (void)size;
    tine_buffer_unref(ctx);
}

/* A buffer that is exactly the tensor's bytes. */
static tine_buffer *tensor_buffer(const tine_value *v) {
    tine_buffer *b = v->tensor.buffer;
    size_t size = (size_t)v->tensor.elements * tine_dtype_size(v->tensor.dtype);
    if (size == b->size) return tine_buffer_ref(b);
    tine_buffer *part = tine_buffer_wrap((void *)v->tensor.data, size, release_base, b);
    if (part) tine_buffer_ref(b);
    return part;
}

static tine_error put_tensor(encoding *c, const tine_value *v) {
    size_t index;
    tine_error e = add_buffer(c, tensor_buffer(v), &index);
    if (e) return e;
    uint64_t numbers[2 + TINE_MAX_RANK] = {v->tensor.dtype, index};
    for (int i = 0; i < v->tensor.rank; i++) numbers[2 + i] = (uint64_t)v->tensor.shape[i];
    put_ext(c, TINE_EXT_TENSOR, numbers, 2 + (size_t)v->tensor.rank, NULL);
    return TINE_OK;
}

static void release_value(void *data, size_t size, void *ctx) {
    (void)data, (void)size;
    tine_value_unref(ctx);
}

/* Large bytes: their value, or the one whose contents they share, is held; never an object's
 * handle, whose owner would be told from inside a transport when it goes. */
static tine_error put_bytes_beside(encoding *c, const tine_value *v) {
    const tine_value *root = v->bytes.base ? v->bytes.base : v;
    tine_buffer *b = root->bytes.buffer ? tine_buffer_ref(root->bytes.buffer) : NULL;
    size_t index;
    if (!b) {
        b = tine_buffer_wrap(v->bytes.data, v->bytes.size, release_value, (void *)root);
        if (b) tine_value_ref(root);
    }
    tine_error e = add_buffer(c, b, &index);
    if (e) return e;
    put_ext(c, TINE_EXT_BYTES, (const uint64_t[]){index}, 1, NULL);
    return TINE_OK;
}

static tine_error put_value(encoding *c, const tine_value *v);

static tine_error put_items(encoding *c, const tine_value *v) {
    if (v->kind == TINE_LIST)
        msgpack_pack_array(&c->w.pack, v->list.n);
    else
        msgpack_pack_map(&c->w.pack, v->list.n);
    for (size_t i = 0; i < v->list.n; i++) {
        if (v->kind == TINE_DICT) tine_writer_text(&c->w, v->list.keys[i], strlen(v->list.keys[i]));
        tine_error e = put_value(c, v->list.items[i]);
        if (e) return e;
    }
    return TINE_OK;
}

static tine_error put_reference(encoding *c, const tine_value *v) {
    bool module = v->kind == TINE_MODULE_REF;
    tine_error e = add_ref(c, v->object);
    if (e == TINE_OK)
        put_ext(c, module ? TINE_EXT_MODULE : TINE_EXT_OBJECT, &v->object, 1,
                module ? v->bytes.data : NULL);
    return e;
}

static bool by_reference(const encoding *c, const tine_value *v) {
    if (v->kind == TINE_MODULE_REF) return true;
    if (!v->object) return false;
    return !c->encoder || !c->encoder->by_reference ||
           c->encoder->by_reference(c->encoder->ctx, v->object);
}

static tine_error put_value(encoding *c, const tine_value *v) {
    msgpack_packer *pk = &c->w.pack;
    if (++c->values > TINE_WIRE_MAX_VALUES)
        return tine_error_set(TINE_EINVAL, "one message holds at most %d values; use a tensor",
                              TINE_WIRE_MAX_VALUES);
    if (by_reference(c, v)) return put_reference(c, v);
    switch (v->kind) {
    case TINE_NONE: msgpack_pack_nil(pk); break;
    case TINE_BOOL: v->b ? msgpack_pack_true(pk) : msgpack_pack_false(pk); break;
    case TINE_INT: msgpack_pack_int64(pk, v->i); break;
    case TINE_FLOAT: msgpack_pack_double(pk, v->d); break;
    case TINE_STRING: tine_writer_text(&c->w, v->bytes.data, v->bytes.size); break;
    case TINE_BYTES:
        if (v->bytes.size >= BYTES_BESIDE) return put_bytes_beside(c, v);
        msgpack_pack_bin(pk, v->bytes.size);
        if (v->bytes.size) msgpack_pack_bin_body(pk, v->bytes.data, v->bytes.size);
        break;
    case TINE_TENSOR: return put_tensor(c, v);
    case TINE_LIST:
    case TINE_DICT: return put_items(c, v);
    default:
        return tine_error_set(TINE_EINVAL, "a %s that is not resolved cannot be sent",
                              tine_kind_name(v->kind));
    }
    return TINE_OK;
}

static void begin(encoding *c, const tine_encoder *e) {
    tine_writer_init(&c->w, NULL, 0);
    c->encoder = e;
    c->buffers = c->few_buffers;
    c->refs = c->few_refs;
    c->n_buffers = c->n_refs = c->values = 0;
    c->room_buffers = sizeof c->few_buffers / sizeof *c->few_buffers;
    c->room_refs = sizeof c->few_refs / sizeof *c->few_refs;
}

static int ascending(const void *a, const void *b) {
    tine_object x = *(const tine_object *)a, y = *(const tine_object *)b;
    return (x > y) - (x < y);
}

/* Refs are told once each, in ascending order. */
static size_t sort_refs(tine_object *refs, size_t n) {
    size_t kept = 0;
    if (n > 1) qsort(refs, n, sizeof *refs, ascending);
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || refs[kept - 1] != refs[i]) refs[kept++] = refs[i];
    return kept;
}

static tine_error make_payload(encoding *c, tine_payload **out) {
    if (c->w.failed) return tine_error_set(TINE_ENOMEM, "no memory to encode a value");
    c->n_refs = sort_refs(c->refs, c->n_refs);
    if (c->n_refs > TINE_WIRE_MAX_LIST)
        return tine_error_set(TINE_EINVAL, "one message mentions at most %d objects",
                              TINE_WIRE_MAX_LIST);
    if (c->w.n + 9 * c->n_refs > MOST_BODY)
        return tine_error_set(
            TINE_EINVAL, "values take %zu bytes beside tensors and bytes; one message holds %d",
            c->w.n, MOST_BODY);
    tine_payload *p = tine_payload_new(c->w.n, c->n_buffers, c->n_refs);
    if (!p) return tine_error_set(TINE_ENOMEM, "no memory to encode a value");
    memcpy(p->body, c->w.data, c->w.n);
    memcpy(p->refs, c->refs, c->n_refs * sizeof *c->refs);
    memcpy(p->buffers, c->buffers, c->n_buffers * sizeof *c->buffers);
    c->n_buffers = 0; /* the payload has their references now */
    *out = p;
    return TINE_OK;
}

static tine_error finish(encoding *c, tine_error e, tine_payload **out) {
    if (e == TINE_OK) e = make_payload(c, out);
    for (size_t i = 0; i < c->n_buffers; i++) tine_buffer_unref(c->buffers[i]);
    if (c->buffers != c->few_buffers) free(c->buffers);
    if (c->refs != c->few_refs) free(c->refs);
    tine_writer_fini(&c->w);
    return e;
}

tine_error tine_payload_of_value(const tine_value *v, const tine_encoder *e, tine_payload **out) {
    encoding c;
    begin(&c, e);
    return finish(&c, put_value(&c, v), out);
}

tine_error tine_payload_of_call(const tine_arguments *a, const tine_encoder *encoder,
                                tine_payload **out) {
    encoding c;
    tine_error e = TINE_OK;
    begin(&c, encoder);
    msgpack_pack_array(&c.w.pack, 2);
    msgpack_pack_array(&c.w.pack, a->n_positional);
    for (size_t i = 0; i < a->n_positional && e == TINE_OK; i++)
        e = put_value(&c, a->positional[i]);
    msgpack_pack_map(&c.w.pack, a->n_named);
    for (size_t i = 0; i < a->n_named && e == TINE_OK; i++) {
        tine_writer_text(&c.w, a->keys[i], strlen(a->keys[i]));
        e = put_value(&c, a->named[i]);
    }
    return finish(&c, e, out);
}
