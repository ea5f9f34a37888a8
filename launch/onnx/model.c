/* Reading an ONNX file into a graph. Everything that can be wrong about a file without an input is
 * refused here. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "launch/onnx/internal.h"
#include "runtime/value/error.h"
#include "transport/base/map.h"

enum {
    NODES_MOST = 100000,
    UNPACKED_MOST = 32, /* times the file's size */
    FOLDED_MOST = 16
};

/* ---- memory ---- */

/* What is freed is not given back: unpacking allocates each message once. */
static void *unpack_alloc(void *ctx, size_t size) {
    tine_onnx *g = ctx;
    if (size > g->memory_left) return NULL;
    g->memory_left -= size;
    return malloc(size);
}

static void unpack_free(void *ctx, void *p) {
    (void)ctx;
    free(p);
}

static bool file_refuse(const tine_onnx *g, const char *why, const char *what) {
    tine_error_set(TINE_EINVAL, "%s: %s%.64s", g->name, why, what);
    return false;
}

/* ---- tensors ---- */

static bool tensor_fill(const Onnx__TensorProto *t, tine_dtype d, int64_t n, size_t bytes,
                        void *to) {
    if (t->has_raw_data) {
        if (t->raw_data.len != bytes) return false;
        if (bytes) memcpy(to, t->raw_data.data, bytes);
        return true;
    }
    if (d == TINE_F32 && t->n_float_data == (size_t)n) {
        if (bytes) memcpy(to, t->float_data, bytes);
    } else if (d == TINE_F64 && t->n_double_data == (size_t)n) {
        if (bytes) memcpy(to, t->double_data, bytes);
    } else if (d == TINE_I64 && t->n_int64_data == (size_t)n) {
        if (bytes) memcpy(to, t->int64_data, bytes);
    } else if (d == TINE_I32 && t->n_int32_data == (size_t)n) {
        if (bytes) memcpy(to, t->int32_data, bytes);
    } else if (d == TINE_U8 && t->n_int32_data == (size_t)n) {
        for (int64_t i = 0; i < n; i++) ((uint8_t *)to)[i] = (uint8_t)t->int32_data[i];
    } else {
        return false;
    }
    return true;
}

tine_dtype tine_onnx_dtype(int64_t type) {
    static const tine_dtype dtypes[] = {[1] = TINE_F32, [2] = TINE_U8, [6] = TINE_I32,
                                        [7] = TINE_I64, [9] = TINE_U8, [11] = TINE_F64};
    return type > 0 && type < (int64_t)(sizeof dtypes / sizeof *dtypes) ? dtypes[type] : 0;
}

tine_value *tine_onnx_tensor(const char *file, const Onnx__TensorProto *t) {
    tine_dtype d = tine_onnx_dtype(t->data_type);
    int64_t elements;
    size_t bytes;
    void *data;
    const char *name = t->name ? t->name : "", *why = NULL;
    if (!d)
        why = "has a data type that Tine lacks";
    else if (t->data_location != 0)
        why = "lies in another file; export with external_data=False";
    else if (t->n_dims > TINE_MAX_RANK ||
             tine_shape_count(d, (int)t->n_dims, t->dims, &elements, &bytes))
        why = "has too many dimensions, or a size that is negative or too large";
    /* what it needs must be in the file before memory is taken for it */
    else if (bytes > t->raw_data.len + 8 * (t->n_float_data + t->n_int32_data + t->n_int64_data +
                                            t->n_double_data))
        why = "is shorter than its shape";
    if (why) {
        tine_error_set(TINE_EINVAL, "%s: tensor \"%.64s\" %s", file, name, why);
        return NULL;
    }
    tine_value *v = tine_tensor_new(d, (int)t->n_dims, t->dims, &data);
    if (!v || tensor_fill(t, d, elements, bytes, data)) return v;
    tine_error_set(TINE_EINVAL, "%s: tensor \"%.64s\" has another size than its shape", file, name);
    tine_release(v);
    return NULL;
}

/* ---- names ---- */

static int compare_value_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The value of that name; ONNX_NONE: there is none. */
static int value_find(const tine_onnx *g, const char *name) {
    if (!name || !*name || g->n_values == 0) return ONNX_NONE;
    const char **at = bsearch(&name, g->names, g->n_values, sizeof *g->names, compare_value_names);
    return at ? (int)(at - g->names) : ONNX_NONE;
}

static void names_add(tine_onnx *g, const char *name) {
    if (name && *name) g->names[g->n_values++] = name;
}

static bool names_collect(tine_onnx *g, const Onnx__GraphProto *p) {
    size_t n = p->n_input + p->n_initializer, unique = 0, edges = 0;
    for (size_t i = 0; i < p->n_node; i++) {
        n += p->node[i]->n_output;
        edges += p->node[i]->n_output + p->node[i]->n_input;
    }
    if (n > INT32_MAX / 2) return file_refuse(g, "it has too many values", "");
    g->names = calloc(n + 1, sizeof *g->names);
    g->constants = calloc(n + 1, sizeof *g->constants);
    g->uses = calloc(n + 1, sizeof *g->uses);
    g->edges = calloc(edges + 1, sizeof *g->edges);
    g->nodes = calloc(p->n_node + 1, sizeof *g->nodes);
    g->inputs = calloc(p->n_input + 1, sizeof *g->inputs);
    g->outputs = calloc(p->n_output + 1, sizeof *g->outputs);
    if (!g->names || !g->constants || !g->uses || !g->edges || !g->nodes || !g->inputs ||
        !g->outputs)
        return file_refuse(g, "no memory for its graph", "");
    for (size_t i = 0; i < p->n_input; i++) names_add(g, p->input[i]->name);
    for (size_t i = 0; i < p->n_initializer; i++) names_add(g, p->initializer[i]->name);
    for (size_t i = 0; i < p->n_node; i++)
        for (size_t k = 0; k < p->node[i]->n_output; k++) names_add(g, p->node[i]->output[k]);
    qsort(g->names, g->n_values, sizeof *g->names, compare_value_names);
    for (size_t i = 0; i < g->n_values; i++)
        if (unique == 0 || strcmp(g->names[i], g->names[unique - 1]) != 0)
            g->names[unique++] = g->names[i];
    g->n_values = unique;
    return true;
}

/* ---- nodes ---- */

static bool constant_define(tine_onnx *g, const char *name, tine_value *v) {
    int at = value_find(g, name);
    if (!v) return false;
    if (at != ONNX_NONE && !g->constants[at]) {
        g->constants[at] = v;
        return true;
    }
    tine_release(v);
    return file_refuse(g, "a constant has no name, or occurs twice: ", name ? name : "");
}

/* The value of a Constant node. */
static tine_value *constant_value(const tine_onnx *g, const onnx_node *node) {
    const Onnx__AttributeProto *t = tine_onnx_attribute(node, "value"),
                               *i = tine_onnx_attribute(node, "value_int"),
                               *is = tine_onnx_attribute(node, "value_ints"),
                               *f = tine_onnx_attribute(node, "value_float"),
                               *fs = tine_onnx_attribute(node, "value_floats");
    int64_t n;
    if (t && t->t) return tine_onnx_tensor(g->name, t->t);
    if (i) return tine_tensor(TINE_I64, 0, NULL, &i->i);
    if (f) return tine_tensor(TINE_F32, 0, NULL, &f->f);
    if (is && (n = (int64_t)is->n_ints) > 0) return tine_tensor(TINE_I64, 1, &n, is->ints);
    if (fs && (n = (int64_t)fs->n_floats) > 0) return tine_tensor(TINE_F32, 1, &n, fs->floats);
    tine_onnx_refuse(g, node, "its value is of a kind that is not supported");
    return NULL;
}

static bool operator_check(const tine_onnx *g, onnx_node *node) {
    const Onnx__NodeProto *p = node->proto;
    if (p->domain && *p->domain && strcmp(p->domain, "ai.onnx") != 0)
        return tine_onnx_refuse(g, node, "the domain \"%.32s\" is not supported", p->domain);
    node->op = tine_onnx_operator_find(p->op_type ? p->op_type : "");
    if (!node->op)
        return tine_onnx_refuse(g, node,
                                "this operator is not supported; launch/MODELS.md lists those "
                                "that are");
    if (p->n_input < node->op->least || p->n_input > node->op->most)
        return tine_onnx_refuse(g, node, "it has %zu inputs", p->n_input);
    if (p->n_output < 1 || p->n_output > ONNX_OUTPUTS)
        return tine_onnx_refuse(g, node, "it has %zu outputs", p->n_output);
    return true;
}

/* Numbers a node's values. `defined`: those that earlier nodes make. */
static bool node_connect(tine_onnx *g, onnx_node *node, bool *defined) {
    const Onnx__NodeProto *p = node->proto;
    for (size_t i = 0; i < p->n_input; i++) {
        int v = value_find(g, p->input[i]);
        node->in[i] = v;
        if (v == ONNX_NONE && *p->input[i])
            return tine_onnx_refuse(g, node, "nothing makes its input \"%.64s\"", p->input[i]);
        if (v == ONNX_NONE && i < node->op->least)
            return tine_onnx_refuse(g, node, "input %zu is missing", i);
        if (v != ONNX_NONE && !defined[v])
            return tine_onnx_refuse(g, node, "its input \"%.64s\" is made by a later node",
                                    p->input[i]);
        if (v != ONNX_NONE) g->uses[v]++;
    }
    for (size_t i = 0; i < p->n_output; i++) {
        int v = node->out[i] = value_find(g, p->output[i]);
        if (v != ONNX_NONE && defined[v])
            return tine_onnx_refuse(g, node, "its output \"%.64s\" occurs twice", p->output[i]);
        if (v != ONNX_NONE) defined[v] = true;
    }
    return !node->op->check || node->op->check(g, node);
}

/* A node without a module all of whose inputs are constants. */
static bool node_is_constant(const tine_onnx *g, const onnx_node *node) {
    for (size_t i = 0; i < node->n_in; i++)
        if (node->in[i] != ONNX_NONE && !g->constants[node->in[i]]) return false;
    return node->n_in > 0 && !node->op->module;
}

/* Computes such a node: PyTorch's exporter leaves the reordering of large weights to the graph. */
static bool node_fold(tine_onnx *g, const onnx_node *node) {
    onnx_call call = {.graph = g, .node = node, .live = g->folded, .limit = g->folded_most};
    for (size_t i = 0; i < node->n_in; i++) {
        call.in[i] = tine_onnx_constant(g, node, i);
        if (node->in[i] != ONNX_NONE) g->uses[node->in[i]]--;
    }
    bool good = node->op->compute(&call);
    for (size_t i = 0; i < ONNX_OUTPUTS; i++) {
        int v = i < node->n_out ? node->out[i] : ONNX_NONE;
        if (good && v != ONNX_NONE && !call.out[i])
            good = tine_onnx_refuse(g, node, "output %zu is not supported", i);
        if (good && v != ONNX_NONE) {
            g->constants[v] = call.out[i];
            g->folded +=
                (size_t)call.out[i]->tensor.elements * tine_dtype_size(call.out[i]->tensor.dtype);
        } else {
            tine_release(call.out[i]);
        }
    }
    return good;
}

static bool node_read(tine_onnx *g, const Onnx__NodeProto *p, bool *defined, int **edges) {
    onnx_node *node = &g->nodes[g->n_nodes];
    *node = (onnx_node){.proto = p, .in = *edges, .n_in = p->n_input, .n_out = p->n_output};
    *edges += p->n_input;
    node->out = *edges;
    *edges += p->n_output;
    if (p->op_type && strcmp(p->op_type, "Constant") == 0) {
        int v = p->n_output == 1 ? value_find(g, p->output[0]) : ONNX_NONE;
        if (v == ONNX_NONE || defined[v] || p->n_input)
            return tine_onnx_refuse(g, node, "it must have no input and one output of its own");
        defined[v] = true;
        return constant_define(g, p->output[0], constant_value(g, node));
    }
    if (!operator_check(g, node) || !node_connect(g, node, defined)) return false;
    if (node_is_constant(g, node)) return node_fold(g, node);
    g->n_nodes++;
    return true;
}

static bool graph_read(tine_onnx *g, const Onnx__GraphProto *p, bool *defined) {
    int *edges = g->edges;
    for (size_t i = 0; i < p->n_initializer; i++) {
        const Onnx__TensorProto *t = p->initializer[i];
        if (!constant_define(g, t->name, tine_onnx_tensor(g->name, t))) return false;
        defined[value_find(g, t->name)] = true;
    }
    for (size_t i = 0; i < p->n_input; i++) {
        int v = value_find(g, p->input[i]->name);
        if (v == ONNX_NONE) return file_refuse(g, "an input has no name", "");
        if (!defined[v]) g->inputs[g->n_inputs++] = v;
        defined[v] = true;
    }
    for (size_t i = 0; i < p->n_node; i++)
        if (!node_read(g, p->node[i], defined, &edges)) return false;
    for (size_t i = 0; i < p->n_output; i++) {
        int v = value_find(g, p->output[i]->name);
        if (v == ONNX_NONE || !defined[v])
            return file_refuse(g, "nothing makes its output ", p->output[i]->name ?: "");
        g->outputs[g->n_outputs++] = v;
        g->uses[v]++;
    }
    return g->n_outputs > 0 || file_refuse(g, "it has no output", "");
}

static bool model_read(tine_onnx *g, const void *bytes, size_t size) {
    ProtobufCAllocator allocator = {unpack_alloc, unpack_free, g};
    g->memory_left = size > SIZE_MAX / 64 ? SIZE_MAX : UNPACKED_MOST * size + (1 << 20);
    g->folded_most = size > SIZE_MAX / 64 ? SIZE_MAX : FOLDED_MOST * size + (1 << 20);
    g->model = onnx__model_proto__unpack(&allocator, size, bytes);
    if (!g->model || !g->model->graph)
        return file_refuse(g, "it is not an ONNX model, or has too many parts", "");
    for (size_t i = 0; i < g->model->n_opset_import; i++) {
        const Onnx__OperatorSetIdProto *o = g->model->opset_import[i];
        if (!o->domain || !*o->domain || strcmp(o->domain, "ai.onnx") == 0) g->opset = o->version;
    }
    if (g->opset < 7) return file_refuse(g, "its opset is older than 7; export it again", "");
    if (g->model->graph->n_node > NODES_MOST)
        return file_refuse(g, "it has more than 100000 nodes", "");
    if (!names_collect(g, g->model->graph)) return false;
    bool *defined = calloc(g->n_values + 1, sizeof *defined);
    bool good = defined ? graph_read(g, g->model->graph, defined)
                        : file_refuse(g, "no memory for its graph", "");
    free(defined);
    return good;
}

tine_onnx *tine_onnx_parse(const char *name, const void *bytes, size_t size) {
    tine_onnx *g = calloc(1, sizeof *g);
    if (g) g->name = g->name_copy = strdup(name);
    if (!g || !g->name) {
        tine_error_set(TINE_ENOMEM, "%s: no memory", name);
    } else if (model_read(g, bytes, size)) {
        return g;
    }
    tine_onnx_close(g);
    return NULL;
}

tine_onnx *tine_onnx_open(const char *path) {
    char why[128];
    void *bytes;
    size_t size;
    int rc = tine_map_file(path, &bytes, &size, why, sizeof why);
    if (rc || !size) {
        tine_error_set(rc && rc != -EINVAL ? TINE_EIO : TINE_EINVAL, "%s: %s", path,
                       rc ? why : "it is empty");
        return NULL;
    }
    tine_onnx *g = tine_onnx_parse(path, bytes, size);
    munmap(bytes, size);
    return g;
}

void tine_onnx_close(tine_onnx *g) {
    if (!g) return;
    for (size_t i = 0; g->nodes && i < g->n_nodes; i++) tine_release(g->nodes[i].module);
    for (size_t i = 0; g->constants && i < g->n_values; i++) tine_release(g->constants[i]);
    ProtobufCAllocator allocator = {unpack_alloc, unpack_free, g};
    if (g->model) onnx__model_proto__free_unpacked(g->model, &allocator);
    free(g->names);
    free(g->constants);
    free(g->uses);
    free(g->edges);
    free(g->nodes);
    free(g->inputs);
    free(g->outputs);
    free(g->name_copy);
    free(g);
}

size_t tine_onnx_nodes(const tine_onnx *g) { return g->n_nodes; }

size_t tine_onnx_cells(const tine_onnx *g) {
    size_t n = 0;
    for (size_t i = 0; i < g->n_nodes; i++) n += g->nodes[i].op->check == tine_onnx_rnn_check;
    return n;
}

const char *tine_onnx_input(const tine_onnx *g, size_t i) {
    return i < g->n_inputs ? g->names[g->inputs[i]] : NULL;
}
