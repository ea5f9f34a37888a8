/* The table of operators, and what their files share. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/onnx/internal.h"
#include "runtime/value/error.h"
#include "transport/base/text.h"

#define RNN                                                                                        \
    tine_onnx_rnn_check, tine_onnx_rnn_module, tine_onnx_rnn_start, tine_onnx_rnn_finish, NULL
#define LINEAR(compute)                                                                            \
    NULL, tine_onnx_linear_module, tine_onnx_linear_start, tine_onnx_linear_finish, compute
#define PLAIN(compute) NULL, NULL, NULL, NULL, compute

static const onnx_operator operators[] = {
    {"Abs", 1, 1, PLAIN(tine_onnx_activation)},
    {"Add", 2, 2, PLAIN(tine_onnx_add)},
    {"Cast", 1, 1, PLAIN(tine_onnx_cast)},
    {"Celu", 1, 1, PLAIN(tine_onnx_activation)},
    {"Clip", 1, 3, PLAIN(tine_onnx_clip)},
    {"Concat", 1, ONNX_INPUTS, PLAIN(tine_onnx_concat)},
    {"ConstantOfShape", 1, 1, PLAIN(tine_onnx_constant_of_shape)},
    {"Div", 2, 2, PLAIN(tine_onnx_div)},
    {"Dropout", 1, 3, PLAIN(tine_onnx_identity)},
    {"Elu", 1, 1, PLAIN(tine_onnx_activation)},
    {"Erf", 1, 1, PLAIN(tine_onnx_activation)},
    {"Exp", 1, 1, PLAIN(tine_onnx_activation)},
    {"Expand", 2, 2, PLAIN(tine_onnx_expand)},
    {"Flatten", 1, 1, PLAIN(tine_onnx_flatten)},
    {"GRU", 3, 6, RNN},
    {"Gather", 2, 2, PLAIN(tine_onnx_gather)},
    {"Gelu", 1, 1, PLAIN(tine_onnx_activation)},
    {"Gemm", 2, 3, LINEAR(tine_onnx_gemm)},
    {"HardSigmoid", 1, 1, PLAIN(tine_onnx_activation)},
    {"HardSwish", 1, 1, PLAIN(tine_onnx_activation)},
    {"Identity", 1, 1, PLAIN(tine_onnx_identity)},
    {"LSTM", 3, 8, RNN},
    {"LayerNormalization", 2, 3, PLAIN(tine_onnx_layer_norm)},
    {"LeakyRelu", 1, 1, PLAIN(tine_onnx_activation)},
    {"LogSoftmax", 1, 1, PLAIN(tine_onnx_softmax)},
    {"MatMul", 2, 2, LINEAR(tine_onnx_matmul)},
    {"Mean", 1, ONNX_INPUTS, PLAIN(tine_onnx_mean)},
    {"Mish", 1, 1, PLAIN(tine_onnx_activation)},
    {"Mul", 2, 2, PLAIN(tine_onnx_mul)},
    {"Neg", 1, 1, PLAIN(tine_onnx_neg)},
    {"PRelu", 2, 2, PLAIN(tine_onnx_prelu)},
    {"ReduceMean", 1, 2, PLAIN(tine_onnx_reduce_mean)},
    {"ReduceSum", 1, 2, PLAIN(tine_onnx_reduce_sum)},
    {"Relu", 1, 1, PLAIN(tine_onnx_relu)},
    {"Reshape", 2, 2, PLAIN(tine_onnx_reshape)},
    {"Selu", 1, 1, PLAIN(tine_onnx_activation)},
    {"Shape", 1, 1, PLAIN(tine_onnx_shape)},
    {"Sigmoid", 1, 1, PLAIN(tine_onnx_sigmoid)},
    {"Slice", 1, 5, PLAIN(tine_onnx_slice)},
    {"Softmax", 1, 1, PLAIN(tine_onnx_softmax)},
    {"Softplus", 1, 1, PLAIN(tine_onnx_activation)},
    {"Softsign", 1, 1, PLAIN(tine_onnx_activation)},
    {"Squeeze", 1, 2, PLAIN(tine_onnx_squeeze)},
    {"Sub", 2, 2, PLAIN(tine_onnx_sub)},
    {"Sum", 1, ONNX_INPUTS, PLAIN(tine_onnx_sum)},
    {"Tanh", 1, 1, PLAIN(tine_onnx_tanh)},
    {"ThresholdedRelu", 1, 1, PLAIN(tine_onnx_activation)},
    {"Transpose", 1, 1, PLAIN(tine_onnx_transpose)},
    {"Unsqueeze", 1, 2, PLAIN(tine_onnx_unsqueeze)},
};

const onnx_operator *tine_onnx_operator_find(const char *name) {
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++)
        if (strcmp(operators[i].name, name) == 0) return &operators[i];
    return NULL;
}

bool tine_onnx_refuse(const tine_onnx *g, const onnx_node *node, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    char *why = tine_text_formatv(format, ap);
    va_end(ap);
    const char *name = node->proto->name, *output = node->n_out ? node->proto->output[0] : "";
    tine_error_set(
        TINE_EINVAL, "%s: node \"%.64s\" (%.32s): %s", g->name, name && *name ? name : output,
        node->proto->op_type ? node->proto->op_type : "no operator", why ? why : "it is refused");
    free(why);
    return false;
}

/* ---- attributes ---- */

const Onnx__AttributeProto *tine_onnx_attribute(const onnx_node *node, const char *name) {
    for (size_t i = 0; i < node->proto->n_attribute; i++) {
        const Onnx__AttributeProto *a = node->proto->attribute[i];
        if (a->name && strcmp(a->name, name) == 0) return a;
    }
    return NULL;
}

int64_t tine_onnx_int(const onnx_node *node, const char *name, int64_t fallback) {
    const Onnx__AttributeProto *a = tine_onnx_attribute(node, name);
    return a && a->has_i ? a->i : fallback;
}

double tine_onnx_float(const onnx_node *node, const char *name, double fallback) {
    const Onnx__AttributeProto *a = tine_onnx_attribute(node, name);
    return a && a->has_f ? (double)a->f : fallback;
}

bool tine_onnx_string_is(const onnx_node *node, const char *name, const char *text,
                         const char *fallback) {
    const Onnx__AttributeProto *a = tine_onnx_attribute(node, name);
    if (!a || !a->has_s) return strcmp(fallback, text) == 0;
    return a->s.len == strlen(text) && memcmp(a->s.data, text, a->s.len) == 0;
}

const tine_value *tine_onnx_constant(const tine_onnx *g, const onnx_node *node, size_t i) {
    return i < node->n_in && node->in[i] != ONNX_NONE ? g->constants[node->in[i]] : NULL;
}

/* ---- outputs ---- */

bool tine_onnx_room(onnx_call *call, int rank, const int64_t *shape, tine_dtype t) {
    int64_t elements;
    size_t bytes;
    if (rank > TINE_MAX_RANK)
        return tine_onnx_refuse(call->graph, call->node,
                                "its result has %d dimensions; at most %d are "
                                "supported",
                                rank, TINE_MAX_RANK);
    if (tine_shape_count(t, rank, shape, &elements, &bytes) || bytes > call->limit ||
        call->live > call->limit - bytes)
        return tine_onnx_refuse(call->graph, call->node,
                                "its result does not fit: the values of a run take %zu MiB at most",
                                call->limit >> 20);
    return true;
}

void *tine_onnx_output(onnx_call *call, size_t i, tine_dtype t, int rank, const int64_t *shape) {
    void *data = NULL;
    if (!tine_onnx_room(call, rank, shape, t)) return NULL;
    call->out[i] = tine_tensor_new(t, rank, shape, &data);
    return data;
}

bool tine_onnx_give(onnx_call *call, size_t i, tine_value *v) {
    if (!v) return tine_onnx_refuse(call->graph, call->node, "%s", tine_error_text());
    call->out[i] = v;
    return true;
}

bool tine_onnx_reshaped(onnx_call *call, size_t i, const tine_value *v, int rank,
                        const int64_t *shape) {
    int64_t elements;
    size_t bytes;
    if (!tine_onnx_room(call, rank, shape, TINE_U8)) return false;
    if (tine_shape_count(v->tensor.dtype, rank, shape, &elements, &bytes) ||
        elements != v->tensor.elements)
        return tine_onnx_refuse(call->graph, call->node,
                                "the new shape has another number of elements");
    return tine_onnx_give(
        call, i,
        tine_tensor_over(v->tensor.dtype, rank, shape, v->tensor.buffer,
                         (size_t)(v->tensor.data - (uint8_t *)v->tensor.buffer->data)));
}

int tine_onnx_ints_of(onnx_call *call, const tine_value *v, int64_t *out, int room) {
    bool ints = v && (v->tensor.dtype == TINE_I64 || v->tensor.dtype == TINE_I32);
    if (!ints || v->tensor.rank > 1 || v->tensor.elements > room) {
        tine_onnx_refuse(call->graph, call->node, "an input must be at most %d ints", room);
        return -1;
    }
    for (int64_t i = 0; i < v->tensor.elements; i++) out[i] = tine_tensor_int_at(v, i);
    return (int)v->tensor.elements;
}

int tine_onnx_axis(onnx_call *call, int64_t axis, int rank) {
    if (axis >= -rank && axis < rank) return (int)(axis < 0 ? axis + rank : axis);
    tine_onnx_refuse(call->graph, call->node, "axis %lld is out of range: there are %d dimensions",
                     (long long)axis, rank);
    return -1;
}
