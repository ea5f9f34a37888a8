/* Conversion of tensors and numbers, and the dtype of a result. */
#include "kernels/bf16.h"
#include "workers/builtin/builtin.h"

bool tine_is_number(const tine_value *v) {
    return v->kind == TINE_INT || v->kind == TINE_FLOAT || v->kind == TINE_BOOL;
}

double tine_number(const tine_value *v) {
    return v->kind == TINE_INT ? (double)v->i : v->kind == TINE_BOOL ? v->b : v->d;
}

/* The part in front of the point. What no int64 holds becomes the least one, as on x86-64. */
static int64_t int_at(const tine_value *x, int64_t i) {
    if (!tine_dtype_floating(x->tensor.dtype)) return tine_tensor_int_at(x, i);
    double d = tine_tensor_float_at(x, i);
    return d >= -9223372036854775808.0 && d < 9223372036854775808.0 ? (int64_t)d : INT64_MIN;
}

/* An int64 is rounded once, not by way of a double. */
static float float_at(const tine_value *x, int64_t i) {
    return x->tensor.dtype == TINE_I64 ? (float)tine_tensor_int_at(x, i)
                                       : (float)tine_tensor_float_at(x, i);
}

const tine_value *tine_converted(const tine_value *x, tine_dtype t) {
    void *data;
    if (x->tensor.dtype == t) return x;
    tine_value *out = tine_tensor_new(t, x->tensor.rank, x->tensor.shape, &data);
    for (int64_t i = 0; out && i < x->tensor.elements; i++) switch (t) {
        case TINE_F32: ((float *)data)[i] = float_at(x, i); break;
        case TINE_F64: ((double *)data)[i] = tine_tensor_float_at(x, i); break;
        case TINE_BF16: ((uint16_t *)data)[i] = tine_bf16_from_float(float_at(x, i)); break;
        case TINE_I64: ((int64_t *)data)[i] = int_at(x, i); break;
        case TINE_I32: ((int32_t *)data)[i] = (int32_t)int_at(x, i); break;
        case TINE_U8: ((uint8_t *)data)[i] = (uint8_t)int_at(x, i); break;
        }
    return out;
}

const tine_value *tine_number_tensor(const tine_value *v) {
    if (v->kind == TINE_FLOAT) return tine_tensor(TINE_F64, 0, NULL, &v->d);
    int64_t i = v->kind == TINE_INT ? v->i : v->b;
    return tine_tensor(TINE_I64, 0, NULL, &i);
}

tine_dtype tine_dtype_wider(tine_dtype a, tine_dtype b) {
    static const int width[] = {[TINE_U8] = 0,   [TINE_I32] = 1, [TINE_I64] = 2,
                                [TINE_BF16] = 3, [TINE_F32] = 4, [TINE_F64] = 5};
    return width[a] > width[b] ? a : b;
}

/* 2: a tensor with dimensions, 1: one without, 0: a number */
static int precedence(const tine_value *v) {
    return v->kind != TINE_TENSOR ? 0 : 1 + (v->tensor.rank > 0);
}

static tine_dtype dtype_of(const tine_value *v) {
    if (v->kind == TINE_TENSOR) return v->tensor.dtype;
    return v->kind == TINE_FLOAT ? TINE_F32 : v->kind == TINE_INT ? TINE_I64 : TINE_U8;
}

tine_dtype tine_result_dtype(const tine_value *a, const tine_value *b) {
    tine_dtype x = dtype_of(a), y = dtype_of(b);
    int over = precedence(a) - precedence(b);
    if (over == 0 || tine_dtype_floating(x) != tine_dtype_floating(y))
        return tine_dtype_wider(x, y);
    return over > 0 ? x : y;
}
