/* LSTM and GRU as the modules "lstm" and "gru", which are forked.
 *
 * ONNX's inputs are X, W, R, B, sequence_lens, initial_h, initial_c, P; its gates come in the order
 * i o f c (LSTM) and z r h (GRU), PyTorch's in i f g o and r z n. Y is (steps, directions, batch,
 * hidden), PyTorch's output (steps, batch, directions x hidden). */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "launch/onnx/internal.h"
#include "runtime/value/error.h"

enum { X, W, R, B, LENGTHS, INITIAL_H, INITIAL_C, PEEPHOLES };

static bool is_gru(const onnx_node *node) { return strcmp(node->op->name, "GRU") == 0; }

static bool rnn_weights_check(const tine_onnx *g, const onnx_node *node, int64_t directions) {
    const int64_t gates = is_gru(node) ? 3 : 4;
    const tine_value *w = tine_onnx_constant(g, node, W), *r = tine_onnx_constant(g, node, R),
                     *b = tine_onnx_constant(g, node, B);
    if (!w || !r || (!b && node->n_in > B && node->in[B] != ONNX_NONE))
        return tine_onnx_refuse(g, node, "its weights W, R and B must be constants");
    if (w->tensor.rank != 3 || r->tensor.rank != 3 || w->tensor.dtype != TINE_F32 ||
        r->tensor.dtype != TINE_F32)
        return tine_onnx_refuse(g, node, "W and R must be float32 tensors of 3 dimensions");
    int64_t hidden = r->tensor.shape[2];
    if (hidden < 1 || w->tensor.shape[2] < 1 || w->tensor.shape[0] != directions ||
        r->tensor.shape[0] != directions || hidden > INT32_MAX ||
        w->tensor.shape[1] != gates * hidden || r->tensor.shape[1] != gates * hidden ||
        tine_onnx_int(node, "hidden_size", hidden) != hidden)
        return tine_onnx_refuse(g, node,
                                "the shapes of W and R do not fit each other or its attributes");
    if (b && (b->tensor.rank != 2 || b->tensor.dtype != TINE_F32 ||
              b->tensor.shape[0] != directions || b->tensor.shape[1] != 2 * gates * hidden))
        return tine_onnx_refuse(g, node, "B must be a float32 tensor of %lld x %lld",
                                (long long)directions, 2LL * gates * hidden);
    return true;
}

/* Exporters of other frameworks write the default activations out. */
static bool rnn_activations_default(const onnx_node *node, size_t directions) {
    static const char *const defaults[] = {"Sigmoid", "Tanh", "Tanh"};
    const Onnx__AttributeProto *a = tine_onnx_attribute(node, "activations");
    size_t each = is_gru(node) ? 2 : 3;
    if (!a) return true;
    for (size_t i = 0; i < a->n_strings; i++) {
        const char *name = defaults[i % each];
        if (a->strings[i].len != strlen(name) ||
            strncasecmp((const char *)a->strings[i].data, name, strlen(name)) != 0)
            return false;
    }
    return a->n_strings == each * directions;
}

bool tine_onnx_rnn_check(const tine_onnx *g, const onnx_node *node) {
    bool both = tine_onnx_string_is(node, "direction", "bidirectional", "forward");
    if (!both && !tine_onnx_string_is(node, "direction", "forward", "forward") &&
        !tine_onnx_string_is(node, "direction", "reverse", "forward"))
        return tine_onnx_refuse(g, node, "its direction is unknown");
    if (tine_onnx_int(node, "layout", 0) != 0)
        return tine_onnx_refuse(g, node, "layout=1 is not supported");
    if (!rnn_activations_default(node, both ? 2 : 1))
        return tine_onnx_refuse(g, node, "only the default activations are supported");
    if (tine_onnx_attribute(node, "clip") || tine_onnx_int(node, "input_forget", 0) != 0)
        return tine_onnx_refuse(g, node, "clip and input_forget are not supported");
    if (is_gru(node) && !tine_onnx_int(node, "linear_before_reset", 0))
        return tine_onnx_refuse(
            g, node, "linear_before_reset is 0; only 1, as in PyTorch and Keras, is supported");
    if (node->n_in > PEEPHOLES && node->in[PEEPHOLES] != ONNX_NONE)
        return tine_onnx_refuse(g, node, "peepholes are not supported");
    return rnn_weights_check(g, node, both ? 2 : 1);
}

/* Direction d of a weight in PyTorch's order of gates. `half`: of B, 0 the input's and 1 the
 * recurrent one. */
static tine_value *gates_reordered(const tine_value *v, bool gru, int64_t d, int64_t half) {
    static const int lstm_order[] = {0, 2, 3, 1}, gru_order[] = {1, 0, 2};
    const int64_t gates = gru ? 3 : 4;
    bool bias = v->tensor.rank == 2;
    int64_t rows = bias ? v->tensor.shape[1] / 2 : v->tensor.shape[1],
            columns = bias ? 1 : v->tensor.shape[2], block = rows / gates * columns;
    const float *from =
        (const float *)v->tensor.data + (bias ? (2 * d + half) * rows : d * rows * columns);
    void *to;
    tine_value *out = tine_tensor_new(TINE_F32, bias ? 1 : 2, (int64_t[]){rows, columns}, &to);
    for (int64_t k = 0; out && k < gates; k++)
        memcpy((float *)to + k * block, from + (gru ? gru_order : lstm_order)[k] * block,
               (size_t)block * sizeof(float));
    return out;
}

static tine_value *rnn_state_dict(const tine_onnx *g, const onnx_node *node, int64_t directions) {
    const tine_value *b = tine_onnx_constant(g, node, B);
    static const char *const names[8] = {
        "weight_ih_l0",         "weight_hh_l0",         "bias_ih_l0",         "bias_hh_l0",
        "weight_ih_l0_reverse", "weight_hh_l0_reverse", "bias_ih_l0_reverse", "bias_hh_l0_reverse"};
    const char *keys[8];
    tine_value *items[8], *dict = NULL;
    size_t n = 0, wanted = (size_t)directions * (b ? 4 : 2);
    for (int64_t d = 0; d < directions; d++)
        for (int k = 0; k < (b ? 4 : 2); k++) {
            keys[n] = names[4 * d + k];
            items[n] = gates_reordered(tine_onnx_constant(g, node,
                                                          k == 0   ? W
                                                          : k == 1 ? R
                                                                   : B),
                                       is_gru(node), d, k == 3);
            n += items[n] != NULL;
        }
    if (n == wanted) dict = tine_dict_of(keys, items, n);
    while (n > 0) tine_release(items[--n]);
    return dict;
}

tine_value *tine_onnx_rnn_module(const tine_onnx *g, const onnx_node *node, const char *dtype) {
    const tine_value *w = tine_onnx_constant(g, node, W), *r = tine_onnx_constant(g, node, R);
    tine_value *dict = rnn_state_dict(g, node, w->tensor.shape[0]), *module = NULL;
    bool bias = tine_onnx_constant(g, node, B), both = w->tensor.shape[0] == 2;
    if (dict)
        module =
            tine_module(is_gru(node) ? "tine.gru" : "tine.lstm", w->tensor.shape[2],
                        r->tensor.shape[2], tine_kw("bias", bias), tine_kw("bidirectional", both),
                        tine_kw("dtype", dtype), tine_kw("state_dict", dict));
    tine_release(dict);
    return module;
}

/* hx of the module; false with an error. *out is NULL where there is no initial state. */
static bool rnn_state(onnx_call *call, const int64_t *shape, tine_value **out) {
    const tine_value *h = call->in[INITIAL_H], *c = is_gru(call->node) ? NULL : call->in[INITIAL_C];
    *out = NULL;
    if (is_gru(call->node) || (!h && !c)) {
        *out = h ? tine_ref((tine_value *)h) : NULL;
        return true;
    }
    tine_value *zeros = tine_zeros(TINE_F32, 3, shape);
    *out = zeros ? tine_list(h ? h : zeros, c ? c : zeros) : NULL;
    tine_release(zeros);
    return *out;
}

tine_future *tine_onnx_rnn_start(onnx_call *call) {
    const tine_value *x = call->in[X], *r = tine_onnx_constant(call->graph, call->node, R);
    bool reverse = tine_onnx_string_is(call->node, "direction", "reverse", "forward");
    tine_value *hx = NULL, *flipped = NULL;
    tine_future *f = NULL;
    if (x->tensor.rank != 3 || x->tensor.dtype != TINE_F32) {
        tine_onnx_refuse(call->graph, call->node, "X must be a float32 tensor of 3 dimensions");
        return NULL;
    }
    if (reverse && call->in[LENGTHS]) {
        tine_onnx_refuse(call->graph, call->node,
                         "direction=reverse with sequence_lens is not supported");
        return NULL;
    }
    int64_t directions = r->tensor.shape[0], hidden = r->tensor.shape[2],
            y[4] = {x->tensor.shape[0], x->tensor.shape[1], directions, hidden};
    if (!tine_onnx_room(call, 4, y, TINE_F32)) return NULL;
    if (!rnn_state(call, (int64_t[]){directions, y[1], hidden}, &hx)) goto out;
    if (reverse && !(flipped = tine_call("tine.flip", x, tine_kw("dims", 0)))) goto out;
    tine_argument args[4] = {TINE_ARGUMENT(call->node->module)};
    size_t n = 2;
    args[1] = TINE_ARGUMENT(reverse ? flipped : (tine_value *)x);
    if (hx) args[n++] = tine_kw("hx", hx);
    if (call->in[LENGTHS]) args[n++] = tine_kw("lengths", call->in[LENGTHS]);
    f = tine_fork_args(NULL, args, n);
out:
    tine_release(hx);
    tine_release(flipped);
    return f;
}

/* Y of the module's output, whose steps end with the longest row; the rest is zero. */
static bool rnn_output(onnx_call *call, const tine_value *y) {
    const tine_value *r = tine_onnx_constant(call->graph, call->node, R);
    bool reverse = tine_onnx_string_is(call->node, "direction", "reverse", "forward");
    const int64_t directions = r->tensor.shape[0], hidden = r->tensor.shape[2],
                  steps = call->in[X]->tensor.shape[0], batch = y->tensor.shape[1];
    float *to =
        tine_onnx_output(call, 0, TINE_F32, 4, (int64_t[]){steps, directions, batch, hidden});
    if (!call->out[0]) return false;
    for (int64_t t = 0; t < steps; t++)
        for (int64_t d = 0; d < directions; d++)
            for (int64_t b = 0; b < batch; b++, to += hidden) {
                int64_t from = reverse ? steps - 1 - t : t;
                if (from < y->tensor.shape[0])
                    memcpy(to,
                           (const float *)y->tensor.data +
                               ((from * batch + b) * directions + d) * hidden,
                           (size_t)hidden * sizeof *to);
                else
                    memset(to, 0, (size_t)hidden * sizeof *to);
            }
    return true;
}

bool tine_onnx_rnn_finish(onnx_call *call, const tine_value *result) {
    const tine_value *state = result->list.items[1];
    bool gru = is_gru(call->node);
    if (!rnn_output(call, result->list.items[0])) return false;
    call->out[1] = tine_ref((tine_value *)(gru ? state : state->list.items[0]));
    if (!gru) call->out[2] = tine_ref((tine_value *)state->list.items[1]);
    return true;
}
