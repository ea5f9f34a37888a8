/* neg, relu, tanh, sigmoid. Without a tensor the result is a number. bf16 is computed in float32
 * and rounded once. */
#include <math.h>

#include "kernels/vecmath.h"
#include "workers/builtin/builtin.h"

enum op { NEG, RELU, TANH, SIGMOID };

static void unary_f32(enum op op, int64_t n, const float *x, float *y) {
    const struct tine_vecmath *vec = tine_vecmath(tine_kernel_choice()->f32);
    switch (op) {
    case TANH: vec->tanh((size_t)n, x, y); break;
    case SIGMOID: vec->sigmoid((size_t)n, x, y); break;
    case RELU:
        for (int64_t i = 0; i < n; i++) y[i] = x[i] < 0 ? 0 : x[i];
        break;
    default:
        for (int64_t i = 0; i < n; i++) y[i] = -x[i];
    }
}

static double unary_f64(enum op op, double x) {
    switch (op) {
    case TANH: return tanh(x);
    case SIGMOID: return 1 / (1 + exp(-x));
    case RELU: return x < 0 ? 0 : x;
    default: return -x;
    }
}

static void unary_int(enum op op, const tine_value *x, void *data) {
    for (int64_t i = 0; i < x->tensor.elements; i++) {
        int64_t a = tine_tensor_int_at(x, i),
                r = op == RELU ? (a < 0 ? 0 : a) : (int64_t)(0 - (uint64_t)a);
        if (x->tensor.dtype == TINE_I64)
            ((int64_t *)data)[i] = r;
        else if (x->tensor.dtype == TINE_I32)
            ((int32_t *)data)[i] = (int32_t)r;
        else
            ((uint8_t *)data)[i] = (uint8_t)r;
    }
}

static const tine_value *unary_tensor(enum op op, const tine_value *x) {
    tine_dtype t = x->tensor.dtype;
    void *data;
    if (t == TINE_BF16 || (!tine_dtype_floating(t) && (op == TANH || op == SIGMOID))) {
        if (!(x = tine_converted(x, TINE_F32)) || !(x = unary_tensor(op, x))) return NULL;
        return t == TINE_BF16 ? tine_converted(x, t) : x;
    }
    tine_value *out = tine_tensor_new(t, x->tensor.rank, x->tensor.shape, &data);
    if (!out) return NULL;
    if (t == TINE_F32)
        unary_f32(op, x->tensor.elements, (const float *)x->tensor.data, data);
    else if (t == TINE_F64)
        for (int64_t i = 0; i < x->tensor.elements; i++)
            ((double *)data)[i] = unary_f64(op, ((const double *)x->tensor.data)[i]);
    else
        unary_int(op, x, data);
    return out;
}

static tine_value *unary(tine_task *task, enum op op) {
    const tine_value *x = tine_arg(task, 0);
    if (x->kind == TINE_INT && op == NEG) return tine_int((int64_t)(0 - (uint64_t)x->i));
    if (x->kind == TINE_INT && op == RELU) return tine_int(x->i < 0 ? 0 : x->i);
    if (x->kind == TINE_INT || x->kind == TINE_FLOAT)
        return tine_float(unary_f64(op, tine_number(x)));
    x = tine_arg_tensor(task, 0, 0, -1);
    return x ? (tine_value *)unary_tensor(op, x) : NULL;
}

TINE_BUILTIN(neg, TINE_INPUT) { return unary(task, NEG); }
TINE_BUILTIN(relu, TINE_INPUT) { return unary(task, RELU); }
TINE_BUILTIN(tanh, TINE_INPUT) { return unary(task, TANH); }
TINE_BUILTIN(sigmoid, TINE_INPUT) { return unary(task, SIGMOID); }
