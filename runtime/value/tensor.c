/* Tensors: contiguous, row-major, over a buffer that can be sent as it is. */
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/bf16.h"
#include "runtime/value/release.h"
#include "runtime/value/value.h"

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {
    [TINE_F32] = {"float32", 4}, [TINE_F64] = {"float64", 8}, [TINE_BF16] = {"bfloat16", 2},
    [TINE_I64] = {"int64", 8},   [TINE_I32] = {"int32", 4},   [TINE_U8] = {"uint8", 1}};
enum { N_DTYPES = sizeof dtypes / sizeof *dtypes };

size_t tine_dtype_size(tine_dtype t) { return (size_t)t < N_DTYPES ? dtypes[t].size : 0; }
const char *tine_dtype_name(tine_dtype t) {
    return (size_t)t < N_DTYPES && dtypes[t].name ? dtypes[t].name : "an unknown dtype";
}

tine_error tine_shape_count(tine_dtype t, int rank, const int64_t *shape, int64_t *elements,
                            size_t *bytes) {
    const int64_t most = (int64_t)1 << 62;
    int64_t n = 1, size = (int64_t)tine_dtype_size(t);
    bool empty = false;
    if (size == 0 || rank < 0 || rank > TINE_MAX_RANK || (rank > 0 && !shape)) return TINE_EINVAL;
    for (int i = 0; i < rank; i++) {
        if (shape[i] < 0) return TINE_EINVAL;
        if (shape[i] == 0) empty = true;
    }
    for (int i = 0; i < rank && !empty; i++) {
        if (shape[i] > most / size / n) return TINE_EINVAL;
        n *= shape[i];
    }
    *elements = empty ? 0 : n;
    *bytes = empty ? 0 : (size_t)(n * size);
    return TINE_OK;
}

static tine_error check_shape(tine_dtype t, int rank, const int64_t *shape, int64_t *elements,
                              size_t *bytes) {
    if (tine_shape_count(t, rank, shape, elements, bytes) == TINE_OK) return TINE_OK;
    if (tine_dtype_size(t) == 0) return tine_error_set(TINE_EINVAL, "%d is not a dtype", (int)t);
    if (rank < 0 || rank > TINE_MAX_RANK)
        return tine_error_set(TINE_EINVAL, "a tensor's rank is 0 to %d, not %d", TINE_MAX_RANK,
                              rank);
    if (rank > 0 && !shape) return tine_error_set(TINE_EINVAL, "a tensor's shape is NULL");
    return tine_error_set(TINE_EINVAL,
                          "a tensor's shape has a negative size or is too large for memory");
}

/* Takes over the caller's reference on the buffer, unless it returns NULL. */
static tine_value *tensor_new(tine_dtype t, int rank, const int64_t *shape, int64_t elements,
                              tine_buffer *buffer, size_t offset) {
    tine_value *v = tine_value_new(TINE_TENSOR, sizeof v->tensor);
    if (!v) return NULL;
    v->tensor.buffer = buffer;
    v->tensor.data = buffer->data ? (uint8_t *)buffer->data + offset : NULL;
    v->tensor.dtype = t;
    v->tensor.rank = rank;
    v->tensor.elements = elements;
    for (int i = 0; i < TINE_MAX_RANK; i++) v->tensor.shape[i] = i < rank ? shape[i] : 0;
    return tine_value_adopted(v);
}

tine_value *tine_tensor_new(tine_dtype t, int rank, const int64_t *shape, void **data) {
    if (data) *data = NULL;
    int64_t elements;
    size_t bytes;
    if (check_shape(t, rank, shape, &elements, &bytes)) return NULL;
    tine_buffer *b = tine_buffer_new(bytes);
    if (!b) {
        tine_error_set(TINE_ENOMEM, "no memory for a tensor of %zu bytes", bytes);
        return NULL;
    }
    tine_value *v = tensor_new(t, rank, shape, elements, b, 0);
    if (!v) {
        tine_buffer_unref(b);
        return NULL;
    }
    if (data) *data = b->data;
    return v;
}

tine_value *tine_tensor(tine_dtype t, int rank, const int64_t *shape, const void *data) {
    void *to;
    tine_value *v = tine_tensor_new(t, rank, shape, &to);
    if (!v) return NULL;
    size_t bytes = (size_t)v->tensor.elements * tine_dtype_size(t);
    if (bytes && !data) {
        tine_error_set(TINE_EINVAL,
                       "tine_tensor: the data is NULL; tine_tensor_new gives memory to fill");
        tine_release_value_(v);
        return NULL;
    }
    if (bytes) memcpy(to, data, bytes);
    return v;
}

static void release_wrapped(void *data, size_t size, void *ctx) {
    (void)data, (void)size;
    tine_release_due(ctx);
}

tine_value *tine_tensor_wrap(tine_dtype t, int rank, const int64_t *shape, void *data,
                             void (*release)(void *ctx), void *ctx) {
    int64_t elements;
    size_t bytes;
    if (check_shape(t, rank, shape, &elements, &bytes)) return NULL;
    if ((!data && bytes) || (uintptr_t)data % tine_dtype_size(t) != 0) {
        tine_error_set(TINE_EINVAL, "tine_tensor_wrap: the data is %s",
                       data ? "not aligned for its dtype" : "NULL");
        return NULL;
    }
    tine_due_release *w = malloc(sizeof *w);
    if (!w) {
        tine_error_set(TINE_ENOMEM, "no memory for a tensor");
        return NULL;
    }
    *w = (tine_due_release){.ctx = ctx};
    tine_buffer *b = tine_buffer_wrap(data, bytes, release_wrapped, w);
    if (!b) {
        free(w);
        tine_error_set(TINE_ENOMEM, "no memory for a tensor");
        return NULL;
    }
    tine_value *v = tensor_new(t, rank, shape, elements, b, 0);
    if (v)
        w->release = release; /* not before: a call that fails takes nothing over */
    else
        tine_buffer_unref(b);
    return v;
}

tine_value *tine_tensor_over(tine_dtype t, int rank, const int64_t *shape, tine_buffer *buffer,
                             size_t offset) {
    int64_t elements;
    size_t bytes;
    if (check_shape(t, rank, shape, &elements, &bytes)) return NULL;
    if (offset > buffer->size || bytes > buffer->size - offset) {
        tine_error_set(TINE_EINVAL, "a tensor of %zu bytes does not fit a buffer of %zu at %zu",
                       bytes, buffer->size, offset);
        return NULL;
    }
    tine_value *v = tensor_new(t, rank, shape, elements, tine_buffer_ref(buffer), offset);
    if (!v) tine_buffer_unref(buffer);
    return v;
}

static void fill_elements(tine_dtype t, void *data, int64_t n, double x) {
    switch (t) {
    case TINE_F32:
        for (int64_t i = 0; i < n; i++) ((float *)data)[i] = (float)x;
        break;
    case TINE_F64:
        for (int64_t i = 0; i < n; i++) ((double *)data)[i] = x;
        break;
    case TINE_BF16:
        for (int64_t i = 0; i < n; i++) ((uint16_t *)data)[i] = tine_bf16_from_float((float)x);
        break;
    case TINE_I64:
        for (int64_t i = 0; i < n; i++) ((int64_t *)data)[i] = (int64_t)x;
        break;
    case TINE_I32:
        for (int64_t i = 0; i < n; i++) ((int32_t *)data)[i] = (int32_t)x;
        break;
    case TINE_U8: memset(data, (int)x, (size_t)n); break;
    }
}

tine_value *tine_full(tine_dtype t, int rank, const int64_t *shape, double x) {
    double least = t == TINE_U8 ? 0 : t == TINE_I32 ? INT32_MIN : -0x1p63;
    double past = t == TINE_U8 ? 256 : t == TINE_I32 ? 0x1p31 : 0x1p63;
    if ((t == TINE_U8 || t == TINE_I32 || t == TINE_I64) && !(x >= least && x < past)) {
        tine_error_set(TINE_EINVAL, "tine_full: %g does not fit %s", x, tine_dtype_name(t));
        return NULL;
    }
    if ((t == TINE_U8 || t == TINE_I32 || t == TINE_I64) && x != floor(x)) {
        tine_error_set(TINE_EINVAL, "tine_full: %g is no whole number, as %s needs", x,
                       tine_dtype_name(t));
        return NULL;
    }
    void *data;
    tine_value *v = tine_tensor_new(t, rank, shape, &data);
    if (v) fill_elements(t, data, v->tensor.elements, x);
    return v;
}

static const tine_value *expect_tensor(const tine_value *v) {
    if (v && v->kind == TINE_TENSOR) return v;
    tine_value_refuse(v, "tensor");
    return NULL;
}

tine_dtype tine_dtype_of(const tine_value *v) { return expect_tensor(v) ? v->tensor.dtype : 0; }
int tine_rank(const tine_value *v) { return expect_tensor(v) ? v->tensor.rank : 0; }
const int64_t *tine_shape(const tine_value *v) { return expect_tensor(v) ? v->tensor.shape : NULL; }
const void *tine_data(const tine_value *v) { return expect_tensor(v) ? v->tensor.data : NULL; }
int64_t tine_elements(const tine_value *v) { return expect_tensor(v) ? v->tensor.elements : 0; }

double tine_tensor_float_at(const tine_value *v, int64_t i) {
    const void *p = v->tensor.data;
    switch (v->tensor.dtype) {
    case TINE_F32: return ((const float *)p)[i];
    case TINE_F64: return ((const double *)p)[i];
    case TINE_BF16: return tine_bf16_to_float(((const uint16_t *)p)[i]);
    default: return (double)tine_tensor_int_at(v, i);
    }
}

int64_t tine_tensor_int_at(const tine_value *v, int64_t i) {
    const void *p = v->tensor.data;
    switch (v->tensor.dtype) {
    case TINE_I64: return ((const int64_t *)p)[i];
    case TINE_I32: return ((const int32_t *)p)[i];
    case TINE_U8: return ((const uint8_t *)p)[i];
    default: return 0;
    }
}
