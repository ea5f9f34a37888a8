/* Values: making and reading scalars and texts, references, and comparing. A value is one
 * allocation of the size that its kind needs: a coordinator may hold millions of results. None,
 * true and false exist once and are never counted. Tensors are in tensor.c, lists and dicts in
 * container.c, printing in print.c. */
#include "runtime/value/value.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "transport/base/assert.h"
#include "transport/base/block.h"
#include "transport/base/text.h"

static tine_value the_none = {.handle = {.refs = 1, .kind = TINE_HANDLE_STATIC}, .kind = TINE_NONE};
static tine_value the_false = {
    .handle = {.refs = 1, .kind = TINE_HANDLE_STATIC}, .kind = TINE_BOOL, .b = false};
static tine_value the_true = {
    .handle = {.refs = 1, .kind = TINE_HANDLE_STATIC}, .kind = TINE_BOOL, .b = true};

/* Not inlined: the compiler would warn that the struct is larger than the allocation, which is
 * intended. */
__attribute__((noinline)) tine_value *tine_value_new(tine_kind kind, size_t union_size) {
    size_t size = offsetof(tine_value, i) + union_size;
    tine_value *v = tine_block_new(size);
    if (!v) {
        tine_error_set(TINE_ENOMEM, "no memory for a value of %zu bytes", union_size);
        return NULL;
    }
    atomic_init(&v->handle.refs, 1);
    v->handle.slot = 0;
    v->handle.pools = 0;
    v->handle.kind = TINE_HANDLE_VALUE;
    v->handle.units = tine_block_units(size);
    v->kind = kind;
    v->object = 0;
    v->owner = NULL;
    return v;
}

tine_value *tine_value_adopted(tine_value *v) {
    if (v) tine_pool_adopt(&v->handle);
    return v;
}

void tine_value_free(tine_value *v) {
    if (v->object && v->owner) v->owner->released(v->owner, v->object);
    switch (v->kind) {
    case TINE_STRING:
    case TINE_BYTES:
    case TINE_MODULE_REF:
        tine_value_unref(v->bytes.base);
        tine_buffer_unref(v->bytes.buffer);
        break;
    case TINE_TENSOR: tine_buffer_unref(v->tensor.buffer); break;
    case TINE_LIST:
    case TINE_DICT:
        if (v->list.base)
            tine_value_unref(v->list.base);
        else
            for (size_t i = 0; i < v->list.n; i++) tine_value_unref(v->list.items[i]);
        break;
    case TINE_FUTURE: tine_handle_unref((tine_handle *)v->future); break;
    default: break;
    }
    tine_block_free_units(v, v->handle.units);
}

void tine_value_unref(const tine_value *v) {
    if (v) tine_handle_unref(&((tine_value *)v)->handle);
}

tine_value *tine_value_ref(const tine_value *v) {
    tine_value *w = (tine_value *)v; /* counting does not change the value */
    if (w) tine_handle_ref(&w->handle);
    return w;
}

tine_value *tine_ref_value_(const tine_value *v) {
    if (v) tine_pool_note(&((tine_value *)v)->handle);
    return tine_value_ref(v);
}

void tine_release_value_(const tine_value *v) {
    if (!v) return;
    tine_handle *h = &((tine_value *)v)->handle;
    tine_pool_forget(h);
    tine_handle_unref(h);
}

tine_value *tine_none(void) { return &the_none; }
tine_value *tine_bool(bool b) { return b ? &the_true : &the_false; }

tine_value *tine_int(int64_t i) {
    tine_value *v = tine_value_new(TINE_INT, sizeof v->i);
    if (v) v->i = i;
    return tine_value_adopted(v);
}

tine_value *tine_float(double d) {
    tine_value *v = tine_value_new(TINE_FLOAT, sizeof v->d);
    if (v) v->d = d;
    return tine_value_adopted(v);
}

/* Text behind the struct, in the same allocation. */
static tine_value *text_new(tine_kind kind, const void *data, size_t size) {
    const size_t head = sizeof((tine_value *)0)->bytes;
    if (size > SIZE_MAX / 2) {
        tine_error_set(TINE_EINVAL, "%zu bytes do not fit into memory", size);
        return NULL;
    }
    tine_value *v = tine_value_new(kind, head + size + 1);
    if (!v) return NULL;
    v->bytes.size = size;
    v->bytes.data = (char *)&v->bytes + head;
    v->bytes.base = NULL;
    v->bytes.buffer = NULL;
    if (data && size) memcpy(v->bytes.data, data, size);
    v->bytes.data[size] = 0;
    return v;
}

tine_value *tine_string_of(const char *utf8, size_t size) {
    return tine_value_adopted(text_new(TINE_STRING, utf8, size));
}

tine_value *tine_string(const char *utf8) {
    if (!utf8) {
        tine_error_set(TINE_EINVAL, "tine_string: the text is NULL");
        return NULL;
    }
    size_t size = strlen(utf8);
    if (!tine_utf8_valid(utf8, size)) {
        tine_error_set(TINE_EINVAL,
                       "tine_string: the text is not UTF-8; use tine_bytes for other bytes");
        return NULL;
    }
    return tine_string_of(utf8, size);
}

tine_value *tine_bytes(const void *data, size_t size) {
    if (!data && size) {
        tine_error_set(TINE_EINVAL, "tine_bytes: %zu bytes at NULL", size);
        return NULL;
    }
    return tine_value_adopted(text_new(TINE_BYTES, data, size));
}

tine_value *tine_bytes_new(size_t size, void **data) {
    tine_value *v = text_new(TINE_BYTES, NULL, size);
    if (data) *data = v ? v->bytes.data : NULL;
    return tine_value_adopted(v);
}

tine_value *tine_bytes_over(tine_buffer *buffer) {
    tine_value *v = tine_value_new(TINE_BYTES, sizeof v->bytes);
    if (!v) return NULL;
    v->bytes.size = buffer->size;
    v->bytes.data = buffer->data;
    v->bytes.base = NULL;
    v->bytes.buffer = tine_buffer_ref(buffer);
    return tine_value_adopted(v);
}

tine_value *tine_module_ref(tine_object id, const char *class_name, tine_object_owner *owner) {
    tine_value *v = text_new(TINE_MODULE_REF, class_name, strlen(class_name));
    if (!v) return NULL;
    v->object = id;
    v->owner = owner;
    if (owner) owner->retained(owner, id);
    return tine_value_adopted(v);
}

tine_value *tine_future_value(tine_future *f) {
    if (!f) {
        tine_error_null("tine_future_value: the future is NULL");
        return NULL;
    }
    tine_value *v = tine_value_new(TINE_FUTURE, sizeof v->future);
    if (!v) return NULL;
    v->future = f;
    tine_handle_ref((tine_handle *)f);
    return tine_value_adopted(v);
}

tine_value *tine_value_of_object(tine_object id, tine_object_owner *owner) {
    tine_value *v = tine_value_new(TINE_NONE, 0);
    if (!v) return NULL;
    v->object = id;
    v->owner = owner;
    return v;
}

tine_value *tine_value_as_object(const tine_value *v, tine_object id, tine_object_owner *owner) {
    tine_value *w = tine_value_new(v->kind, sizeof *w - offsetof(tine_value, i));
    if (!w) return NULL;
    w->object = id;
    w->owner = owner;
    if (owner) owner->retained(owner, id);
    switch (v->kind) {
    case TINE_BOOL: w->b = v->b; break;
    case TINE_INT: w->i = v->i; break;
    case TINE_FLOAT: w->d = v->d; break;
    case TINE_STRING:
    case TINE_BYTES:
    case TINE_MODULE_REF:
        w->bytes = v->bytes;
        w->bytes.base = tine_value_ref(v);
        w->bytes.buffer = NULL;
        break;
    case TINE_TENSOR:
        w->tensor = v->tensor;
        tine_buffer_ref(w->tensor.buffer);
        break;
    case TINE_LIST:
    case TINE_DICT:
        w->list = v->list;
        w->list.base = tine_value_ref(v);
        break;
    case TINE_FUTURE:
        w->future = v->future;
        tine_handle_ref((tine_handle *)w->future);
        break;
    default: break;
    }
    return tine_value_adopted(w);
}

static void refuse_null_argument(const tine_argument *a, const char *what) {
    tine_error_null(a->key ? "argument '%s' is a NULL %s" : "%san argument is a NULL %s",
                    a->key ? a->key : "", what);
}

tine_value *tine_argument_value(const tine_argument *a) {
    tine_pool *pool = tine_current.pool;
    tine_value *v = NULL;
    tine_current.pool = NULL;
    switch (a->type) {
    case TINE_ARG_VALUE:
        v = tine_value_ref(a->value);
        if (!v) refuse_null_argument(a, "value");
        break;
    case TINE_ARG_FUTURE:
        v = a->future ? tine_future_value(a->future) : NULL;
        if (!a->future) refuse_null_argument(a, "future");
        break;
    case TINE_ARG_INT: v = tine_int(a->i); break;
    case TINE_ARG_UINT:
        if (a->u <= INT64_MAX)
            v = tine_int((int64_t)a->u);
        else
            tine_error_set(TINE_EINVAL, "%llu does not fit an int, which has 64 bits and a sign",
                           (unsigned long long)a->u);
        break;
    case TINE_ARG_FLOAT: v = tine_float(a->d); break;
    case TINE_ARG_BOOL: v = tine_bool(a->b); break;
    case TINE_ARG_STRING: v = tine_string(a->s); break;
    default: tine_error_set(TINE_EINVAL, "an argument has the unknown type %d", (int)a->type);
    }
    tine_current.pool = pool;
    return v;
}

const char *tine_kind_name(tine_kind k) {
    static const char *const names[] = {"none",   "bool", "int",  "float",  "string", "bytes",
                                        "tensor", "list", "dict", "future", "module"};
    return (size_t)k < sizeof names / sizeof *names ? names[k] : "unknown kind";
}

tine_kind tine_kind_of(const tine_value *v) { return v ? v->kind : TINE_NONE; }

void tine_value_refuse(const tine_value *v, const char *wanted) {
    if (tine_current.refuse)
        tine_current.refuse(tine_current.task, v, wanted);
    else if (v)
        tine_error_set(TINE_EINVAL, "this value is of kind %s, not %s", tine_kind_name(v->kind),
                       wanted);
    else
        tine_error_null("this value is NULL, not of kind %s", wanted);
}

static bool is_single_element(const tine_value *v) {
    return v && v->kind == TINE_TENSOR && v->tensor.elements == 1;
}

bool tine_as_bool(const tine_value *v) {
    if (v && v->kind == TINE_BOOL) return v->b;
    if (v && v->kind == TINE_INT && (v->i == 0 || v->i == 1)) return v->i;
    tine_value_refuse(v, "bool");
    return false;
}

static bool holds_ints(const tine_value *tensor) {
    tine_dtype t = tensor->tensor.dtype;
    return t == TINE_I64 || t == TINE_I32 || t == TINE_U8;
}

int64_t tine_as_int(const tine_value *v) {
    if (v && v->kind == TINE_INT) return v->i;
    if (!is_single_element(v)) {
        tine_value_refuse(v, "int");
        return 0;
    }
    if (holds_ints(v)) return tine_tensor_int_at(v, 0);
    double d = tine_tensor_float_at(v, 0);
    if (d == floor(d) && fabs(d) < 0x1p63) return (int64_t)d;
    tine_value_refuse(v, "whole number");
    return 0;
}

double tine_as_float(const tine_value *v) {
    bool single = is_single_element(v);
    if (v && v->kind == TINE_FLOAT) return v->d;
    if (!single && (!v || v->kind != TINE_INT)) {
        tine_value_refuse(v, "float");
        return 0;
    }
    if (single && !holds_ints(v)) return tine_tensor_float_at(v, 0);
    int64_t i = single ? tine_tensor_int_at(v, 0) : v->i;
    if (tine_int_is_double(i)) return (double)i;
    tine_error_set(TINE_EINVAL, "the int %lld would be rounded as a float: read it as an int",
                   (long long)i);
    tine_value_refuse(NULL, "float");
    return 0;
}

const char *tine_as_string(const tine_value *v) {
    if (v && v->kind == TINE_STRING) return v->bytes.data;
    tine_value_refuse(v, "string");
    return NULL;
}

const void *tine_as_bytes(const tine_value *v, size_t *size) {
    if (v && v->kind == TINE_BYTES) {
        if (size) *size = v->bytes.size;
        return v->bytes.data ? v->bytes.data : "";
    }
    tine_value_refuse(v, "bytes");
    if (size) *size = 0;
    return NULL;
}

size_t tine_length(const tine_value *v) {
    switch (v ? v->kind : TINE_NONE) {
    case TINE_STRING:
    case TINE_BYTES: return v->bytes.size;
    case TINE_LIST:
    case TINE_DICT: return v->list.n;
    case TINE_TENSOR:
        if (v->tensor.rank > 0) return (size_t)v->tensor.shape[0];
        tine_error_set(TINE_EINVAL, "a tensor of rank 0 has no length");
        return 0;
    default: tine_value_refuse(v, "list, dict, string, bytes or tensor"); return 0;
    }
}

static bool equal_lists(const tine_value *a, const tine_value *b) {
    if (a->list.n != b->list.n) return false;
    for (size_t i = 0; i < a->list.n; i++) {
        if (a->kind == TINE_DICT && strcmp(a->list.keys[i], b->list.keys[i]) != 0) return false;
        if (!tine_equal(a->list.items[i], b->list.items[i])) return false;
    }
    return true;
}

static bool equal_tensors(const tine_value *a, const tine_value *b) {
    if (a->tensor.dtype != b->tensor.dtype || a->tensor.rank != b->tensor.rank) return false;
    for (int i = 0; i < a->tensor.rank; i++)
        if (a->tensor.shape[i] != b->tensor.shape[i]) return false;
    size_t size = (size_t)a->tensor.elements * tine_dtype_size(a->tensor.dtype);
    return size == 0 || memcmp(a->tensor.data, b->tensor.data, size) == 0;
}

bool tine_equal(const tine_value *a, const tine_value *b) {
    if (a == b) return true;
    if (!a || !b || a->kind != b->kind) return false;
    switch (a->kind) {
    case TINE_NONE: return true;
    case TINE_BOOL: return a->b == b->b;
    case TINE_INT: return a->i == b->i;
    /* Equality is of bits: a NaN equals itself, 0 does not equal -0.
     * NOLINTNEXTLINE(bugprone-suspicious-memory-comparison) */
    case TINE_FLOAT: return memcmp(&a->d, &b->d, sizeof a->d) == 0;
    case TINE_STRING:
    case TINE_BYTES:
        return a->bytes.size == b->bytes.size &&
               (a->bytes.size == 0 || memcmp(a->bytes.data, b->bytes.data, a->bytes.size) == 0);
    case TINE_TENSOR: return equal_tensors(a, b);
    case TINE_LIST:
    case TINE_DICT: return equal_lists(a, b);
    case TINE_FUTURE: return a->future == b->future;
    case TINE_MODULE_REF: return a->object == b->object;
    }
    return false;
}
