/* Gemm and MatMul with a constant float32 matrix on the right as the module "linear", which is
 * forked. */
#include <string.h>

#include "launch/onnx/internal.h"
#include "runtime/value/error.h"

/* The weight of a linear layer, out x in: the constant, or its transpose. */
static tine_value *linear_weight(const tine_value *b, bool transposed) {
    int64_t rows = b->tensor.shape[0], columns = b->tensor.shape[1];
    void *to;
    if (transposed) return tine_ref((tine_value *)b);
    tine_value *out = tine_tensor_new(TINE_F32, 2, (int64_t[]){columns, rows}, &to);
    for (int64_t r = 0; out && r < rows; r++)
        for (int64_t c = 0; c < columns; c++)
            ((float *)to)[c * rows + r] = ((const float *)b->tensor.data)[r * columns + c];
    return out;
}

tine_value *tine_onnx_linear_module(const tine_onnx *g, const onnx_node *node, const char *dtype) {
    const tine_value *b = tine_onnx_constant(g, node, 1), *c = tine_onnx_constant(g, node, 2);
    bool gemm = strcmp(node->op->name, "Gemm") == 0, transposed = tine_onnx_int(node, "transB", 0);
    if (!b || b->tensor.rank != 2 || b->tensor.dtype != TINE_F32 || b->tensor.elements == 0)
        return NULL;
    int64_t out = b->tensor.shape[gemm && transposed ? 0 : 1],
            in = b->tensor.shape[gemm && transposed ? 1 : 0];
    bool bias = gemm && node->n_in > 2 && node->in[2] != ONNX_NONE;
    if (gemm && (tine_onnx_float(node, "alpha", 1) != 1 || tine_onnx_float(node, "beta", 1) != 1 ||
                 tine_onnx_int(node, "transA", 0)))
        return NULL;
    if (bias &&
        (!c || c->tensor.dtype != TINE_F32 || c->tensor.rank != 1 || c->tensor.elements != out))
        return NULL;
    tine_value *items[2] = {linear_weight(b, gemm && transposed), (tine_value *)c}, *module = NULL;
    tine_value *dict =
        items[0] ? tine_dict_of((const char *[]){"weight", "bias"}, items, bias ? 2 : 1) : NULL;
    if (dict)
        module = tine_module("tine.linear", in, out, bias, dtype, tine_kw("state_dict", dict));
    tine_release(dict);
    tine_release(items[0]);
    return module;
}

tine_future *tine_onnx_linear_start(onnx_call *call) {
    const tine_value *x = call->in[0], *b = tine_onnx_constant(call->graph, call->node, 1);
    bool gemm = strcmp(call->node->op->name, "Gemm") == 0;
    int64_t shape[2] = {1, b->tensor.shape[gemm && tine_onnx_int(call->node, "transB", 0) ? 0 : 1]};
    if (x->tensor.rank < 1 || (gemm && x->tensor.rank != 2)) {
        tine_onnx_refuse(call->graph, call->node, "its input has %d dimensions", x->tensor.rank);
        return NULL;
    }
    for (int d = 0; d + 1 < x->tensor.rank; d++)
        if (__builtin_mul_overflow(shape[0], x->tensor.shape[d], &shape[0])) shape[0] = INT64_MAX;
    return tine_onnx_room(call, 2, shape, TINE_F32) ? tine_fork(call->node->module, x) : NULL;
}

bool tine_onnx_linear_finish(onnx_call *call, const tine_value *result) {
    return tine_onnx_give(call, 0, tine_ref((tine_value *)result));
}
