/* A graph as it is run: values are numbered, nodes are in an order in which each follows those that
 * it needs. */
#ifndef TINE_LAUNCH_ONNX_INTERNAL_H
#define TINE_LAUNCH_ONNX_INTERNAL_H

#include "launch/onnx/onnx.h"
#include "onnx.pb-c.h"
#include "runtime/value/value.h"

enum { ONNX_INPUTS = 64, ONNX_OUTPUTS = 3, ONNX_NONE = -1 };

typedef struct onnx_node onnx_node;

/* One computation of a node. The bytes of what it makes are added to `live`. */
typedef struct onnx_call {
    const tine_onnx *graph;
    const onnx_node *node;
    const tine_value *in[ONNX_INPUTS]; /* NULL: left out */
    tine_value *out[ONNX_OUTPUTS];     /* references; an output that is not wanted may stay NULL */
    size_t live, limit;                /* bytes of the values of this run, and the most of them */
    tine_value *inputs;                /* of the forked call */
} onnx_call;

typedef struct onnx_operator {
    const char *name;
    size_t least, most; /* inputs */
    /* Checks the node and its constants when the file is read. May be NULL. */
    bool (*check)(const tine_onnx *g, const onnx_node *node);
    /* Makes the node's module. May be NULL. */
    tine_value *(*module)(const tine_onnx *g, const onnx_node *node, const char *dtype);
    /* With a module: its call, NULL on failure, and the outputs from the result. */
    tine_future *(*start)(onnx_call *call);
    bool (*finish)(onnx_call *call, const tine_value *result);
    /* Without one. */
    bool (*compute)(onnx_call *call);
} onnx_operator;

struct onnx_node {
    const Onnx__NodeProto *proto;
    const onnx_operator *op;
    tine_value *module; /* NULL: none */
    int *in, *out;      /* values; ONNX_NONE */
    size_t n_in, n_out;
};

struct tine_onnx {
    const char *name; /* of the file */
    char *name_copy;
    Onnx__ModelProto *model;
    size_t memory_left; /* for unpacking */
    size_t folded;      /* bytes of constants that nodes have made of others */
    size_t folded_most;
    int64_t opset;
    onnx_node *nodes;
    size_t n_nodes, n_values;
    int *edges;             /* the nodes' in and out */
    const char **names;     /* of the values, sorted */
    tine_value **constants; /* of the values; NULL: computed */
    unsigned *uses;         /* how many nodes and outputs read a value */
    int *inputs, *outputs;
    size_t n_inputs, n_outputs;
};

/* The operator of that name, or NULL. */
const onnx_operator *tine_onnx_operator_find(const char *name);

/* Sets an error that names the node; returns false. */
bool tine_onnx_refuse(const tine_onnx *g, const onnx_node *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Attributes; the fallback where there is none. */
int64_t tine_onnx_int(const onnx_node *node, const char *name, int64_t fallback);
double tine_onnx_float(const onnx_node *node, const char *name, double fallback);
/* Whether a string attribute is `text`, or is not there and the fallback is. */
bool tine_onnx_string_is(const onnx_node *node, const char *name, const char *text,
                         const char *fallback);
const Onnx__AttributeProto *tine_onnx_attribute(const onnx_node *node, const char *name);
/* The constant that is input i, or NULL. */
const tine_value *tine_onnx_constant(const tine_onnx *g, const onnx_node *node, size_t i);
/* The dtype of a TensorProto.DataType; 0: one that Tine lacks. */
tine_dtype tine_onnx_dtype(int64_t type);
/* A tensor of the file as a value; NULL with a sentence. */
tine_value *tine_onnx_tensor(const char *file, const Onnx__TensorProto *t);

/* Whether so many elements fit the run's memory; else an error. */
bool tine_onnx_room(onnx_call *call, int rank, const int64_t *shape, tine_dtype t);
/* A new output `i`; NULL: an error is set. */
void *tine_onnx_output(onnx_call *call, size_t i, tine_dtype t, int rank, const int64_t *shape);
/* Output `i` with the elements of v and another shape of as many. */
bool tine_onnx_reshaped(onnx_call *call, size_t i, const tine_value *v, int rank,
                        const int64_t *shape);
/* Output `i` is v, a new reference or NULL: an error. */
bool tine_onnx_give(onnx_call *call, size_t i, tine_value *v);
/* The ints of a tensor of one dimension, or of a scalar: how many, or -1. */
int tine_onnx_ints_of(onnx_call *call, const tine_value *v, int64_t *out, int room);
/* An axis as Python counts, or -1 with an error. */
int tine_onnx_axis(onnx_call *call, int64_t axis, int rank);

/* Operators, by file. */
bool tine_onnx_add(onnx_call *call);
bool tine_onnx_sub(onnx_call *call);
bool tine_onnx_mul(onnx_call *call);
bool tine_onnx_div(onnx_call *call);
bool tine_onnx_sum(onnx_call *call);
bool tine_onnx_mean(onnx_call *call);
bool tine_onnx_reduce_sum(onnx_call *call);
bool tine_onnx_reduce_mean(onnx_call *call);
bool tine_onnx_tanh(onnx_call *call);
bool tine_onnx_sigmoid(onnx_call *call);
bool tine_onnx_relu(onnx_call *call);
bool tine_onnx_neg(onnx_call *call);
bool tine_onnx_identity(onnx_call *call);
bool tine_onnx_matmul(onnx_call *call);
bool tine_onnx_gemm(onnx_call *call);
bool tine_onnx_prelu(onnx_call *call);

bool tine_onnx_activation(onnx_call *call);
bool tine_onnx_clip(onnx_call *call);
bool tine_onnx_softmax(onnx_call *call);
bool tine_onnx_layer_norm(onnx_call *call);

bool tine_onnx_transpose(onnx_call *call);
bool tine_onnx_reshape(onnx_call *call);
bool tine_onnx_slice(onnx_call *call);
bool tine_onnx_squeeze(onnx_call *call);
bool tine_onnx_unsqueeze(onnx_call *call);
bool tine_onnx_flatten(onnx_call *call);
bool tine_onnx_shape(onnx_call *call);
bool tine_onnx_gather(onnx_call *call);
bool tine_onnx_expand(onnx_call *call);
bool tine_onnx_concat(onnx_call *call);
bool tine_onnx_cast(onnx_call *call);
bool tine_onnx_constant_of_shape(onnx_call *call);

bool tine_onnx_rnn_check(const tine_onnx *g, const onnx_node *node);
tine_value *tine_onnx_rnn_module(const tine_onnx *g, const onnx_node *node, const char *dtype);
tine_future *tine_onnx_rnn_start(onnx_call *call);
bool tine_onnx_rnn_finish(onnx_call *call, const tine_value *result);
tine_value *tine_onnx_linear_module(const tine_onnx *g, const onnx_node *node, const char *dtype);
tine_future *tine_onnx_linear_start(onnx_call *call);
bool tine_onnx_linear_finish(onnx_call *call, const tine_value *result);

#endif
