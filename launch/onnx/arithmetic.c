/* Operators that compute, by Tine's built-in functions; Gemm and MatMul where they are no modules
 * (see linear.c). */
#include <string.h>

#include "launch/onnx/internal.h"

/* The shape of two tensors as NumPy broadcasts them; false: they differ, or do not fit. */
static bool broadcast_room(onnx_call *call, const tine_value *a, const tine_value *b) {
    int64_t shape[TINE_MAX_RANK];
    int rank = a->tensor.rank > b->tensor.rank ? a->tensor.rank : b->tensor.rank;
    if (a->tensor.dtype != b->tensor.dtype)
        return tine_onnx_refuse(call->graph, call->node, "its inputs have different dtypes");
    for (int d = 0; d < rank; d++) {
        int i = d - (rank - a->tensor.rank), j = d - (rank - b->tensor.rank);
        int64_t m = i < 0 ? 1 : a->tensor.shape[i], n = j < 0 ? 1 : b->tensor.shape[j];
        if (m != n && m != 1 && n != 1)
            return tine_onnx_refuse(call->graph, call->node, "shapes cannot be broadcast");
        shape[d] = m == 1 ? n : m;
    }
    return tine_onnx_room(call, rank, shape, a->tensor.dtype);
}

static bool onnx_binary(onnx_call *call, const char *function) {
    const tine_value *a = call->in[0], *b = call->in[1];
    return broadcast_room(call, a, b) && tine_onnx_give(call, 0, tine_call(function, a, b));
}

bool tine_onnx_add(onnx_call *call) { return onnx_binary(call, "tine.add"); }
bool tine_onnx_sub(onnx_call *call) { return onnx_binary(call, "tine.sub"); }
bool tine_onnx_mul(onnx_call *call) { return onnx_binary(call, "tine.mul"); }
bool tine_onnx_tanh(onnx_call *call) {
    return tine_onnx_give(call, 0, tine_call("tine.tanh", call->in[0]));
}
bool tine_onnx_relu(onnx_call *call) {
    return tine_onnx_give(call, 0, tine_call("tine.relu", call->in[0]));
}
bool tine_onnx_neg(onnx_call *call) {
    return tine_onnx_give(call, 0, tine_call("tine.neg", call->in[0]));
}
bool tine_onnx_sigmoid(onnx_call *call) {
    return tine_onnx_give(call, 0, tine_call("tine.sigmoid", call->in[0]));
}
bool tine_onnx_identity(onnx_call *call) {
    return tine_onnx_give(call, 0, tine_ref((tine_value *)call->in[0]));
}

/* x where it is positive, and slope x elsewhere: relu(x) - slope relu(-x). */
bool tine_onnx_prelu(onnx_call *call) {
    const tine_value *x = call->in[0], *slope = call->in[1];
    if (!broadcast_room(call, x, slope)) return false;
    tine_value *up = tine_call("tine.relu", x), *minus = tine_call("tine.neg", x),
               *down = minus ? tine_call("tine.relu", minus) : NULL,
               *scaled = down ? tine_call("tine.mul", down, slope) : NULL,
               *y = up && scaled ? tine_call("tine.sub", up, scaled) : NULL;
    tine_release(scaled), tine_release(down), tine_release(minus), tine_release(up);
    if (!y || y->tensor.elements == x->tensor.elements) return tine_onnx_give(call, 0, y);
    tine_release(y);
    return tine_onnx_refuse(call->graph, call->node, "its slope has a larger shape than its input");
}

static bool is_float(const tine_value *v) {
    return v->tensor.dtype == TINE_F32 || v->tensor.dtype == TINE_F64;
}

/* Ints are divided as in C. */
bool tine_onnx_div(onnx_call *call) {
    const tine_value *a = call->in[0], *b = call->in[1];
    if (!broadcast_room(call, a, b)) return false;
    return tine_onnx_give(call, 0,
                          is_float(a)
                              ? tine_call("tine.div", a, b)
                              : tine_call("tine.div", a, b, tine_kw("rounding_mode", "trunc")));
}

/* The sum of all inputs, in order; *out is a new reference. */
static bool sum_inputs(onnx_call *call, tine_value **out) {
    tine_value *sum = tine_ref((tine_value *)call->in[0]);
    for (size_t i = 1; i < call->node->n_in && sum; i++) {
        tine_value *next = call->in[i] && broadcast_room(call, sum, call->in[i])
                               ? tine_call("tine.add", sum, call->in[i])
                               : NULL;
        tine_release(sum);
        sum = next;
    }
    *out = sum;
    return sum;
}

bool tine_onnx_sum(onnx_call *call) { return sum_inputs(call, &call->out[0]); }

bool tine_onnx_mean(onnx_call *call) {
    tine_value *sum;
    if (!sum_inputs(call, &sum)) return false;
    tine_value *mean = tine_call("tine.div", sum, (double)call->node->n_in);
    tine_release(sum);
    return tine_onnx_give(call, 0, mean);
}

static bool onnx_reduce(onnx_call *call, const char *function) {
    const tine_value *x = call->in[0];
    const Onnx__AttributeProto *a = tine_onnx_attribute(call->node, "axes");
    int64_t axes[TINE_MAX_RANK];
    int n = 0;
    if (call->in[1] && (n = tine_onnx_ints_of(call, call->in[1], axes, TINE_MAX_RANK)) < 0)
        return false;
    if (!call->in[1] && a) {
        if (a->n_ints > TINE_MAX_RANK)
            return tine_onnx_refuse(call->graph, call->node, "axes has %zu ints", a->n_ints);
        n = (int)a->n_ints;
        if (n) memcpy(axes, a->ints, (size_t)n * sizeof *axes);
    }
    if (n == 0 && tine_onnx_int(call->node, "noop_with_empty_axes", 0))
        return tine_onnx_identity(call);
    if (n == 0)
        for (; n < x->tensor.rank; n++) axes[n] = n;
    if (n == 0) return tine_onnx_identity(call);
    tine_value *items[TINE_MAX_RANK], *dims, *out = NULL;
    for (int i = 0; i < n; i++) items[i] = tine_int(axes[i]);
    if ((dims = tine_list_of(items, (size_t)n)))
        out = tine_call(function, x, dims,
                        tine_kw("keepdim", (bool)(tine_onnx_int(call->node, "keepdims", 1) != 0)));
    tine_release(dims);
    for (int i = 0; i < n; i++) tine_release(items[i]);
    return tine_onnx_give(call, 0, out);
}

bool tine_onnx_reduce_sum(onnx_call *call) { return onnx_reduce(call, "tine.sum"); }
bool tine_onnx_reduce_mean(onnx_call *call) { return onnx_reduce(call, "tine.mean"); }

/* An upper bound of a product's size: batches broadcast, rows of a, columns of b. */
static bool product_room(onnx_call *call, const tine_value *a, const tine_value *b) {
    int64_t shape[3] = {1, 1, 1};
    int m = a->tensor.rank, n = b->tensor.rank;
    for (int d = 0; d + 2 < m || d + 2 < n; d++) {
        int64_t p = d + 2 < m ? a->tensor.shape[m - 3 - d] : 1,
                q = d + 2 < n ? b->tensor.shape[n - 3 - d] : 1;
        if (__builtin_mul_overflow(shape[0], p > q ? p : q, &shape[0])) shape[0] = INT64_MAX;
    }
    if (m >= 2) shape[1] = a->tensor.shape[m - 2];
    if (n >= 2) shape[2] = b->tensor.shape[n - 1];
    return tine_onnx_room(call, 3, shape, a->tensor.dtype);
}

bool tine_onnx_matmul(onnx_call *call) {
    return product_room(call, call->in[0], call->in[1]) &&
           tine_onnx_give(call, 0, tine_call("tine.matmul", call->in[0], call->in[1]));
}

/* A matrix as it is, transposed where the attribute says so: a new reference. */
static tine_value *gemm_operand(onnx_call *call, size_t i, const char *attribute) {
    const tine_value *v = call->in[i];
    if (v->tensor.rank != 2 || v->tensor.dtype != TINE_F32) {
        tine_onnx_refuse(call->graph, call->node, "input %zu must be a float32 matrix", i);
        return NULL;
    }
    if (!tine_onnx_int(call->node, attribute, 0)) return tine_ref((tine_value *)v);
    int64_t rows = v->tensor.shape[0], columns = v->tensor.shape[1];
    void *to;
    tine_value *out = tine_tensor_new(TINE_F32, 2, (int64_t[]){columns, rows}, &to);
    for (int64_t r = 0; out && r < rows; r++)
        for (int64_t c = 0; c < columns; c++)
            ((float *)to)[c * rows + r] = ((const float *)v->tensor.data)[r * columns + c];
    return out;
}

/* x times a factor; takes x over. */
static tine_value *gemm_scaled(tine_value *x, double factor) {
    if (!x || factor == 1) return x;
    tine_value *out = tine_call("tine.mul", x, factor);
    tine_release(x);
    return out;
}

/* alpha A B + beta C */
bool tine_onnx_gemm(onnx_call *call) {
    tine_value *a = gemm_operand(call, 0, "transA"),
               *b = a ? gemm_operand(call, 1, "transB") : NULL;
    tine_value *y = a && b && product_room(call, a, b) ? tine_call("tine.matmul", a, b) : NULL;
    tine_release(a);
    tine_release(b);
    y = gemm_scaled(y, tine_onnx_float(call->node, "alpha", 1));
    if (y && call->in[2]) {
        tine_value *c = gemm_scaled(tine_ref((tine_value *)call->in[2]),
                                    tine_onnx_float(call->node, "beta", 1));
        tine_value *sum = c && broadcast_room(call, y, c) ? tine_call("tine.add", y, c) : NULL;
        tine_release(c);
        tine_release(y);
        y = sum;
    }
    call->out[0] = y;
    return y || tine_onnx_refuse(call->graph, call->node, "%s", tine_error_message());
}
