/* Values as the library sees them; tine.h is the users' view. A tensor's bytes lie in a
 * tine_buffer, so a value is sent, and kept as it was received, without a copy. Lists and dicts
 * hold references on their items; there are no cycles, because a value never changes after it is
 * made. */
#ifndef TINE_RUNTIME_VALUE_VALUE_H
#define TINE_RUNTIME_VALUE_VALUE_H

#include <stdio.h>

#include "runtime/value/object.h"
#include "transport/base/buffer.h"
#include "runtime/value/current.h"

/* The deepest nesting of lists and dicts, so that every walk over values may recurse. */
enum { TINE_MAX_DEPTH = 64 };

/* Counts the handles on objects. Called under any lock; lives as long as they do. */
typedef struct tine_object_owner {
    void (*retained)(struct tine_object_owner *owner, tine_object id);
    void (*released)(struct tine_object_owner *owner, tine_object id);
} tine_object_owner;

struct tine_value {
    tine_handle handle;
    tine_kind kind;
    /* the id from tine_put (any kind), or of the module (MODULE_REF); 0: none */
    tine_object object;
    tine_object_owner *owner; /* of object; may be NULL */
    union {
        bool b;
        int64_t i;
        double d;
        struct {
            size_t size;
            char *data;          /* NUL-terminated behind size bytes, except BYTES over a buffer */
            tine_value *base;    /* the owner of the contents (tine_value_as_object), or NULL */
            tine_buffer *buffer; /* BYTES that came from a peer lie in its buffer; else NULL */
        } bytes;                 /* STRING, BYTES; MODULE_REF: the class's name */
        struct {
            tine_buffer *buffer;
            const uint8_t *data; /* inside buffer; aligned for the dtype */
            tine_dtype dtype;
            int rank;
            int64_t shape[TINE_MAX_RANK], elements;
        } tensor;
        struct {
            size_t n;
            tine_value **items;
            char **keys;      /* DICT only */
            tine_value *base; /* as above */
            int depth;        /* 1: holds no list or dict */
            bool futures;     /* a future is in it, at any depth */
        } list;
        tine_future *future;
    };
};

/* One reference, in no pool; sets ENOMEM. Only as much of the union as the kind needs is allocated:
 * an int costs 40 bytes, not 160. */
tine_value *tine_value_new(tine_kind kind, size_t union_size);
/* Gives the reference on v to the current pool and returns v; accepts NULL. */
tine_value *tine_value_adopted(tine_value *v);
/* For the library; tine_ref is for users, and notes the reference in the pool. Accept NULL. */
tine_value *tine_value_ref(const tine_value *v);
void tine_value_unref(const tine_value *v);
/* The last reference is dropped: for tine_handle_unref. */
void tine_value_free(tine_value *v);
/* What tine_print prints, without the newline. */
void tine_value_write(FILE *to, const tine_value *v);

/* A list or dict that takes the items' references over; keys (NULL: a list) are copied and
 * distinct. In no pool. On NULL nothing was taken. */
tine_value *tine_container_new(tine_kind kind, size_t n, const char *const *keys,
                               tine_value **items);

size_t tine_dtype_size(tine_dtype t);      /* 0 for what is no dtype */
const char *tine_dtype_name(tine_dtype t); /* "float32", as PyTorch */
/* Elements and bytes of a shape, or EINVAL: rank past 8, a negative size, a product past 2^62. Sets
 * no sentence. */
tine_error tine_shape_count(tine_dtype t, int rank, const int64_t *shape, int64_t *elements,
                            size_t *bytes);
/* A tensor over bytes of a buffer from `offset` on; takes a reference on the buffer. */
tine_value *tine_tensor_over(tine_dtype t, int rank, const int64_t *shape, tine_buffer *buffer,
                             size_t offset);
/* Bytes that are all of a buffer; takes a reference on it. */
tine_value *tine_bytes_over(tine_buffer *buffer);
/* A string of a known length, which may hold NULs. The bytes are UTF-8: the caller checked. */
tine_value *tine_string_of(const char *utf8, size_t size);
/* Element `i` as a number, exact for what a double can hold. */
double tine_tensor_float_at(const tine_value *tensor, int64_t i);
int64_t tine_tensor_int_at(const tine_value *tensor, int64_t i); /* integer dtypes */
/* Whether a double holds the int exactly: all up to 2^53 are, and some that are larger. */
static inline bool tine_int_is_double(int64_t i) {
    double d = (double)i;
    return d < 0x1p63 && (int64_t)d == i;
}
tine_value *tine_module_ref(tine_object id, const char *class_name, tine_object_owner *owner);
/* Stands for an object whose contents are not here, where it is encoded. Takes over a handle. In no
 * pool. */
tine_value *tine_value_of_object(tine_object id, tine_object_owner *owner);
/* A new handle on the same contents, marked as object `id` (what tine_put gives back). */
tine_value *tine_value_as_object(const tine_value *v, tine_object id, tine_object_owner *owner);

/* Whether v is a future, or one is inside it. */
static inline bool tine_value_holds_futures(const tine_value *v) {
    bool container = v->kind == TINE_LIST || v->kind == TINE_DICT;
    return container ? v->list.futures : v->kind == TINE_FUTURE;
}
/* Calls fn for every future inside v, at any depth, in order. Stops when fn returns other than 0,
 * and returns that. */
int tine_value_futures(const tine_value *v, int (*fn)(tine_future *f, void *ctx), void *ctx);
/* v with every future in it replaced by result(f, ctx) (borrowed); v itself, referenced, when there
 * is none. NULL when a result is NULL, or without memory. */
tine_value *tine_value_resolve(const tine_value *v,
                               const tine_value *(*result)(tine_future *f, void *ctx), void *ctx);
/* Of its tensors, strings and bytes; put values and what futures will be do not count. */
size_t tine_value_bytes(const tine_value *v);
/* Copies its large tensors that lie in memory of the user to where peers on this host read them
 * (tine_buffer_share). Call it before a value is encoded, under no lock: it takes 0.3 s a GiB. */
void tine_value_share(const tine_value *v);
/* Sets the error of a reader whose value is not a `wanted`, and fails the task, if one runs. NULL
 * keeps the error of the call that returned it. */
void tine_value_refuse(const tine_value *v, const char *wanted);
/* An argument as a value: a new reference, in no pool. */
tine_value *tine_argument_value(const tine_argument *a);

#endif
