/* Values to payloads. Scalars, texts and containers are msgpack's own; a tensor is an ext that
 * names a buffer, which is shared, not copied; a put value or a module is an ext that names its
 * id. */
#include <stdlib.h>
#include <string.h>

#include "runtime/wire/check.h"
#include "runtime/wire/refs.h"
#include "runtime/wire/walk.h"
#include "runtime/wire/wire.h"
#include "runtime/wire/write.h"
#include "transport/base/vector.h"

/* Bytes from this size on are a buffer of their own, as tensors are, and are not copied. */
enum { BYTES_BESIDE = 64 << 10 };
/* For a body as it starts: a scalar call needs no more. */
enum { FIRST_ROOM = 32 };
/* A body leaves room in the header for the message's other fields. */
enum { MOST_BODY = TINE_FRAME_MAX_HEADER - (1 << 20) };
/* A tensor that occurs twice in one body is one buffer if it is among the last LOOK_BACK: a longer
 * search would be quadratic. */
enum { LOOK_BACK = 16 };

typedef struct encoding {
    tine_writer w; /* into the payload's frame */
    const tine_encoder *encoder;
    tine_buffer **buffers;
    size_t n_buffers, room_buffers;
    size_t values;
    tine_refs refs;
    tine_buffer *few_buffers[4];
} encoding;

static tine_error encode_no_memory(void) {
    return tine_error_set(TINE_ENOMEM, "no memory to encode a value");
}

bool tine_writer_grow(tine_writer *w, size_t n) {
    w->failed = true;
    if (!w->frame) return false;
    size_t used = (size_t)(w->p - w->frame->body), room = (size_t)(w->end - w->frame->body);
    size_t more = 2 * room > used + n ? 2 * room : used + n;
    tine_frame *f = tine_frame_resize(w->frame, room, more, 0, 0);
    if (!f) return false;
    *w = (tine_writer){.p = f->body + used, .end = f->body + more, .frame = f};
    return true;
}

/* Takes over the reference on b, also on failure. */
static tine_error encoding_add_buffer(encoding *c, tine_buffer *b, size_t *index) {
    if (!b) return tine_error_set(TINE_ENOMEM, "no memory to encode a tensor");
    for (size_t i = c->n_buffers > LOOK_BACK ? c->n_buffers - LOOK_BACK : 0; i < c->n_buffers;
         i++) {
        if (c->buffers[i]->data != b->data || c->buffers[i]->size != b->size) continue;
        tine_buffer_unref(b);
        *index = i;
        return TINE_OK;
    }
    tine_error e = TINE_OK;
    tine_buffer **more = NULL;
    if (c->n_buffers == TINE_FRAME_MAX_BUFFERS)
        e = tine_error_set(TINE_EINVAL, "one message holds at most %d tensors; stack them",
                           TINE_FRAME_MAX_BUFFERS);
    else if (!(more = tine_grow_from(c->buffers, c->few_buffers, &c->room_buffers, c->n_buffers + 1,
                                     sizeof(tine_buffer *))))
        e = encode_no_memory();
    if (e) {
        tine_buffer_unref(b);
        return e;
    }
    c->buffers = more;
    *index = c->n_buffers;
    c->buffers[c->n_buffers++] = b;
    return TINE_OK;
}

/* An ext holds an array of numbers, which may end with a text. */
static void encode_ext(encoding *c, int8_t type, const uint64_t *numbers, size_t n,
                       const char *text) {
    uint8_t head[128]; /* an array of at most ten numbers, and the head of a text */
    size_t text_size = text ? strlen(text) : 0;
    tine_writer in = {.p = head, .end = head + sizeof head};
    tine_pack_array(&in, n + (text != NULL));
    for (size_t i = 0; i < n; i++) tine_pack_uint64(&in, numbers[i]);
    if (text) tine_pack_str(&in, text_size);
    size_t head_size = (size_t)(in.p - head);
    tine_pack_ext(&c->w, head_size + text_size, type);
    tine_writer_append(&c->w, head, head_size);
    if (text) tine_writer_append(&c->w, text, text_size);
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

static tine_error encode_tensor(encoding *c, const tine_value *v) {
    size_t index;
    tine_error e = encoding_add_buffer(c, tensor_buffer(v), &index);
    if (e) return e;
    uint64_t numbers[2 + TINE_MAX_RANK] = {v->tensor.dtype, index};
    for (int i = 0; i < v->tensor.rank; i++) numbers[2 + i] = (uint64_t)v->tensor.shape[i];
    encode_ext(c, TINE_EXT_TENSOR, numbers, 2 + (size_t)v->tensor.rank, NULL);
    return TINE_OK;
}

static void release_value(void *data, size_t size, void *ctx) {
    (void)data, (void)size;
    tine_value_unref(ctx);
}

/* The buffer holds a reference on the value, or on the one whose contents it shares; never on an
 * object's handle, whose owner would be called from inside a transport. */
static tine_error encode_bytes_beside(encoding *c, const tine_value *v) {
    const tine_value *root = v->bytes.base ? v->bytes.base : v;
    tine_buffer *b = root->bytes.buffer ? tine_buffer_ref(root->bytes.buffer) : NULL;
    size_t index;
    if (!b) {
        b = tine_buffer_wrap(v->bytes.data, v->bytes.size, release_value, (void *)root);
        if (b) tine_value_ref(root);
    }
    tine_error e = encoding_add_buffer(c, b, &index);
    if (e) return e;
    encode_ext(c, TINE_EXT_BYTES, (const uint64_t[]){index}, 1, NULL);
    return TINE_OK;
}

static tine_error encode_value(encoding *c, const tine_value *v);

static tine_error encode_items(encoding *c, const tine_value *v) {
    if (v->kind == TINE_LIST)
        tine_pack_array(&c->w, v->list.n);
    else
        tine_pack_map(&c->w, v->list.n);
    for (size_t i = 0; i < v->list.n; i++) {
        if (v->kind == TINE_DICT) tine_pack_text(&c->w, v->list.keys[i], strlen(v->list.keys[i]));
        tine_error e = encode_value(c, v->list.items[i]);
        if (e) return e;
    }
    return TINE_OK;
}

static tine_error encode_reference(encoding *c, const tine_value *v) {
    bool module = v->kind == TINE_MODULE_REF;
    if (!tine_refs_add(&c->refs, v->object)) return encode_no_memory();
    encode_ext(c, module ? TINE_EXT_MODULE : TINE_EXT_OBJECT, &v->object, 1,
               module ? v->bytes.data : NULL);
    return TINE_OK;
}

static bool goes_by_reference(const encoding *c, const tine_value *v) {
    if (v->kind == TINE_MODULE_REF) return true;
    if (!v->object) return false;
    return !c->encoder || !c->encoder->by_reference ||
           c->encoder->by_reference(c->encoder->ctx, v->object);
}

static tine_error encode_value(encoding *c, const tine_value *v) {
    tine_writer *w = &c->w;
    if (++c->values > TINE_WIRE_MAX_VALUES)
        return tine_error_set(TINE_EINVAL, "one message holds at most %d values; use a tensor",
                              TINE_WIRE_MAX_VALUES);
    if (goes_by_reference(c, v)) return encode_reference(c, v);
    switch (v->kind) {
    case TINE_NONE: tine_pack_nil(w); break;
    case TINE_BOOL: v->b ? tine_pack_true(w) : tine_pack_false(w); break;
    case TINE_INT: tine_pack_int64(w, v->i); break;
    case TINE_FLOAT: tine_pack_double(w, v->d); break;
    case TINE_STRING: tine_pack_text(w, v->bytes.data, v->bytes.size); break;
    case TINE_BYTES:
        if (v->bytes.size >= BYTES_BESIDE) return encode_bytes_beside(c, v);
        tine_pack_bin(w, v->bytes.size);
        if (v->bytes.size) tine_pack_bin_body(w, v->bytes.data, v->bytes.size);
        break;
    case TINE_TENSOR: return encode_tensor(c, v);
    case TINE_LIST:
    case TINE_DICT: return encode_items(c, v);
    default:
        return tine_error_set(TINE_EINVAL, "a %s that is not resolved cannot be sent",
                              tine_kind_name(v->kind));
    }
    return TINE_OK;
}

static bool encoding_begin(encoding *c, const tine_encoder *e) {
    tine_frame *f = tine_frame_new_body(FIRST_ROOM, 0, 0);
    if (!f) return false;
    c->w = (tine_writer){.p = f->body, .end = f->body + FIRST_ROOM, .frame = f};
    c->encoder = e;
    c->buffers = c->few_buffers;
    c->n_buffers = c->values = 0;
    c->room_buffers = sizeof c->few_buffers / sizeof *c->few_buffers;
    tine_refs_init(&c->refs);
    return true;
}

/* The transport would refuse a larger frame, or the receiver would drop its sender. */
static tine_error encoding_check_frame(const encoding *c, size_t size) {
    size_t most = c->encoder ? c->encoder->max_frame : 0;
    if (!most) return TINE_OK;
    size_t bytes = size + TINE_WIRE_ALLOWANCE;
    for (size_t i = 0; i < c->n_buffers; i++) bytes += c->buffers[i]->size;
    if (bytes <= most) return TINE_OK;
    return tine_error_set(TINE_EINVAL,
                          "the values take %zu bytes, more than one message of %zu bytes holds "
                          "(TINE_MAX_FRAME): raise it in every process, or send smaller parts",
                          bytes - TINE_WIRE_ALLOWANCE, most);
}

static tine_error encoding_check_limits(encoding *c, size_t size) {
    if (c->w.failed) return encode_no_memory();
    if (c->refs.n > TINE_WIRE_MAX_LIST)
        return tine_error_set(TINE_EINVAL, "one message mentions at most %d objects",
                              TINE_WIRE_MAX_LIST);
    if (size > MOST_BODY)
        return tine_error_set(TINE_EINVAL,
                              "values take %zu bytes beside tensors and "
                              "bytes; one message holds %d",
                              size, MOST_BODY);
    return encoding_check_frame(c, size);
}

/* The frame with its final sizes; buffers and refs move into it. */
static tine_error encoding_complete(encoding *c, uint8_t kind, tine_payload **out) {
    tine_frame *f = c->w.frame;
    size_t size = (size_t)(c->w.p - f->body), room = (size_t)(c->w.end - f->body);
    tine_refs_sort(&c->refs);
    tine_error e = encoding_check_limits(c, size);
    if (e) return e;
    f = tine_frame_resize(f, room, size, c->n_buffers, c->refs.n);
    if (!f) return encode_no_memory();
    for (size_t i = 0; i < c->refs.n; i++) f->refs[i] = c->refs.ids[i];
    for (size_t i = 0; i < c->n_buffers; i++) f->buffers[i] = c->buffers[i];
    f->checked = kind;
    c->n_buffers = 0;
    c->w.frame = NULL;
    *out = f;
    return TINE_OK;
}

static tine_error encoding_finish(encoding *c, tine_error e, uint8_t kind, tine_payload **out) {
    if (e == TINE_OK) e = encoding_complete(c, kind, out);
    for (size_t i = 0; i < c->n_buffers; i++) tine_buffer_unref(c->buffers[i]);
    if (c->buffers != c->few_buffers) free(c->buffers);
    tine_refs_fini(&c->refs);
    tine_payload_unref(c->w.frame);
    return e;
}

tine_error tine_payload_of_value(const tine_value *v, const tine_encoder *e, tine_payload **out) {
    encoding c;
    if (!encoding_begin(&c, e)) return encode_no_memory();
    return encoding_finish(&c, encode_value(&c, v), TINE_CHECKED_VALUE, out);
}

tine_error tine_payload_of_call(const tine_arguments *a, const tine_encoder *encoder,
                                tine_payload **out) {
    encoding c;
    tine_error e = TINE_OK;
    if (!encoding_begin(&c, encoder)) return encode_no_memory();
    tine_pack_array(&c.w, 2);
    tine_pack_array(&c.w, a->n_positional);
    for (size_t i = 0; i < a->n_positional && e == TINE_OK; i++)
        e = encode_value(&c, a->positional[i]);
    tine_pack_map(&c.w, a->n_named);
    for (size_t i = 0; i < a->n_named && e == TINE_OK; i++) {
        tine_pack_text(&c.w, a->keys[i], strlen(a->keys[i]));
        e = encode_value(&c, a->named[i]);
    }
    return encoding_finish(&c, e, TINE_CHECKED_CALL, out);
}
