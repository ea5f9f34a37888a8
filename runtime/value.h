/* Values inside. See tine.h for what users see. A tensor's bytes lie in a tine_buffer, so a value can be sent, and one that was
 * received can be kept, without a copy. Lists and dicts hold references on their items; nothing can become cyclic, because a value
 * never changes after it was made. */
#ifndef TINE_RUNTIME_VALUE_H
#define TINE_RUNTIME_VALUE_H

#include "runtime/payload.h"
#include "runtime/state.h"

/* Who is told when the last handle on an object goes (the coordinator's hub, through the loop's lock). Lives for ever. */
typedef struct tine_object_owner {
    void (*released)(struct tine_object_owner *owner, tine_object id);
} tine_object_owner;

struct tine_value {
    tine_handle handle;
    tine_kind kind;
    tine_object object; /* tine_put gave it this id (any kind), or MODULE_REF: the module's id. 0: none */
    tine_object_owner *owner; /* told when this value is freed, if object != 0; NULL on workers */
    union {
        bool b;
        int64_t i;
        double d;
        struct {
            size_t size;
            char *data; /* NUL-terminated behind size bytes */
        } bytes;        /* STRING, BYTES; MODULE_REF: the class's name */
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
            char **keys; /* DICT only */
        } list;
        tine_future *future;
    };
};

size_t tine_dtype_size(tine_dtype t);      /* 0 for what is no dtype */
const char *tine_dtype_name(tine_dtype t); /* "float32", as PyTorch */
/* Elements and bytes of a shape, or EINVAL: rank past 8, a negative size, a product past 2^62. Sets no sentence. */
tine_error tine_shape_count(tine_dtype t, int rank, const int64_t *shape, int64_t *elements, size_t *bytes);
/* A tensor over bytes of a buffer from `offset` on; takes a reference on the buffer. */
tine_value *tine_tensor_over(tine_dtype t, int rank, const int64_t *shape, tine_buffer *buffer,
                             size_t offset);
tine_value *tine_module_ref(tine_object id, const char *class_name, tine_object_owner *owner);
/* A new handle on the same contents, marked as object `id` (what tine_put gives back). */
tine_value *tine_value_as_object(const tine_value *v, tine_object id, tine_object_owner *owner);

/* Calls fn for every future inside v, at any depth, in order. Stops at the first non-zero answer and returns it. */
int tine_value_futures(const tine_value *v, int (*fn)(tine_future *f, void *ctx), void *ctx);
/* v with every future in it replaced by result(f, ctx) (borrowed, never NULL); v itself, referenced, when there is none. */
tine_value *tine_value_resolve(const tine_value *v, const tine_value *(*result)(tine_future *f, void *ctx),
                               void *ctx);
/* An argument as a value: a new reference, in no pool. */
tine_value *tine_argument_value(const tine_argument *a);

#endif
