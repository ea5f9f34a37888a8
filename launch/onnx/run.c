/* Running a graph: every node whose inputs are there is started; those with a module are forked,
 * the others computed here. When none can be started, one of the forked ones is waited for. A value
 * is released when its last reader has it. */
#include <stdlib.h>
#include <string.h>

#include "launch/onnx/internal.h"
#include "runtime/value/error.h"

typedef struct onnx_run {
    const tine_onnx *graph;
    tine_value **values; /* those that exist now, constants left out */
    unsigned *uses;      /* readers that are still to come */
    bool *started;       /* of the nodes */
    tine_future **futures;
    size_t *pending; /* nodes that are forked, in the order of their forks */
    size_t n_pending, n_done, live;
} onnx_run;

static size_t value_bytes(const tine_value *v) {
    return (size_t)v->tensor.elements * tine_dtype_size(v->tensor.dtype);
}

static const tine_value *run_value(const onnx_run *r, int v) {
    if (v == ONNX_NONE) return NULL;
    return r->graph->constants[v] ? r->graph->constants[v] : r->values[v];
}

static bool run_has_inputs(const onnx_run *r, const onnx_node *node) {
    for (size_t i = 0; i < node->n_in; i++)
        if (node->in[i] != ONNX_NONE && !run_value(r, node->in[i])) return false;
    return true;
}

static void run_call(const onnx_run *r, const onnx_node *node, onnx_call *call) {
    *call =
        (onnx_call){.graph = r->graph, .node = node, .live = r->live, .limit = TINE_ONNX_MEMORY};
    for (size_t i = 0; i < node->n_in; i++) call->in[i] = run_value(r, node->in[i]);
}

static void run_drop(onnx_run *r, int v) {
    if (v == ONNX_NONE || r->uses[v] == 0 || --r->uses[v] > 0 || !r->values[v]) return;
    r->live -= value_bytes(r->values[v]);
    tine_release(r->values[v]);
    r->values[v] = NULL;
}

/* Takes the outputs over; with `good`, those that are read must be there. */
static bool run_finish(onnx_run *r, const onnx_node *node, onnx_call *call, bool good) {
    for (size_t i = 0; i < ONNX_OUTPUTS; i++) {
        int v = good && i < node->n_out ? node->out[i] : ONNX_NONE;
        bool wanted = v != ONNX_NONE && r->uses[v] > 0;
        if (good && wanted && !call->out[i])
            good = tine_onnx_refuse(r->graph, node, "output %zu is not supported", i);
        if (good && wanted) {
            r->values[v] = call->out[i];
            r->live += value_bytes(call->out[i]);
        } else {
            tine_release(call->out[i]);
        }
    }
    for (size_t i = 0; i < node->n_in; i++) run_drop(r, node->in[i]);
    r->n_done++;
    return good;
}

static bool run_start(onnx_run *r, size_t i) {
    const onnx_node *node = &r->graph->nodes[i];
    onnx_call call;
    run_call(r, node, &call);
    r->started[i] = true;
    if (!node->module) {
        if (!node->op->compute) return tine_onnx_refuse(r->graph, node, "its module was not made");
        return run_finish(r, node, &call, node->op->compute(&call));
    }
    r->futures[r->n_pending] = node->op->start(&call);
    if (!r->futures[r->n_pending]) return false;
    r->pending[r->n_pending++] = i;
    return true;
}

static bool run_await(onnx_run *r) {
    size_t k;
    tine_value *result = NULL;
    onnx_call call;
    if (tine_wait_any(r->futures, r->n_pending, &k) != TINE_OK) return false;
    const onnx_node *node = &r->graph->nodes[r->pending[k]];
    tine_future *f = r->futures[k];
    r->n_pending--;
    memmove(r->futures + k, r->futures + k + 1, (r->n_pending - k) * sizeof(tine_future *));
    memmove(r->pending + k, r->pending + k + 1, (r->n_pending - k) * sizeof *r->pending);
    bool good = tine_wait(f, &result) == TINE_OK ||
                tine_onnx_refuse(r->graph, node, "%s", tine_error_text());
    tine_release(f);
    run_call(r, node, &call);
    good = run_finish(r, node, &call, good && node->op->finish(&call, result));
    tine_release(result);
    return good;
}

static bool run_nodes(onnx_run *r) {
    size_t n = r->graph->n_nodes, first = 0;
    while (r->n_done < n) {
        while (first < n && r->started[first]) first++;
        for (size_t i = first; i < n; i++)
            if (!r->started[i] && run_has_inputs(r, &r->graph->nodes[i]) && !run_start(r, i))
                return false;
        if (r->n_done < n && !run_await(r)) return false;
    }
    return true;
}

/* ---- inputs and outputs ---- */

static bool run_input(onnx_run *r, int v, const tine_value *x) {
    if (!x || x->kind != TINE_TENSOR) {
        tine_error_set(TINE_EINVAL, "%s: the input has no tensor \"%.64s\"", r->graph->name,
                       r->graph->names[v]);
        return false;
    }
    if (r->uses[v] == 0) return true;
    r->values[v] = tine_ref((tine_value *)x);
    r->live += value_bytes(x);
    return true;
}

static bool run_inputs(onnx_run *r, const tine_value *inputs) {
    const tine_onnx *g = r->graph;
    if (inputs->kind != TINE_DICT && g->n_inputs != 1) {
        tine_error_set(TINE_EINVAL,
                       "%s: the model has %zu inputs; a .safetensors file with a tensor for each "
                       "is needed",
                       g->name, g->n_inputs);
        return false;
    }
    for (size_t i = 0; i < g->n_inputs; i++) {
        const tine_value *x = inputs->kind == TINE_DICT ? NULL : inputs;
        for (size_t k = 0; inputs->kind == TINE_DICT && k < inputs->list.n; k++)
            if (strcmp(inputs->list.keys[k], g->names[g->inputs[i]]) == 0)
                x = inputs->list.items[k];
        if (!run_input(r, g->inputs[i], x)) return false;
    }
    return true;
}

static tine_value *run_outputs(const onnx_run *r) {
    const tine_onnx *g = r->graph;
    const char **keys = calloc(g->n_outputs, sizeof *keys);
    tine_value **items = calloc(g->n_outputs, sizeof *items), *dict = NULL;
    for (size_t i = 0; keys && items && i < g->n_outputs; i++) {
        keys[i] = g->names[g->outputs[i]];
        items[i] = (tine_value *)run_value(r, g->outputs[i]);
    }
    if (keys && items)
        dict = tine_dict_of(keys, items, g->n_outputs);
    else
        tine_error_set(TINE_ENOMEM, "%s: no memory for the outputs", g->name);
    free(keys);
    free(items);
    return dict;
}

static void run_fini(onnx_run *r) {
    for (size_t i = 0; r->futures && i < r->n_pending; i++) tine_release(r->futures[i]);
    for (size_t i = 0; r->values && i < r->graph->n_values; i++) tine_release(r->values[i]);
    free(r->values);
    free(r->uses);
    free(r->started);
    free(r->futures);
    free(r->pending);
}

tine_value *tine_onnx_run(const tine_onnx *g, const tine_value *inputs) {
    onnx_run r = {.graph = g,
                  .values = calloc(g->n_values + 1, sizeof *r.values),
                  .uses = malloc((g->n_values + 1) * sizeof *r.uses),
                  .started = calloc(g->n_nodes + 1, sizeof *r.started),
                  .futures = calloc(g->n_nodes + 1, sizeof(tine_future *)),
                  .pending = calloc(g->n_nodes + 1, sizeof *r.pending)};
    tine_value *out = NULL;
    if (!r.values || !r.uses || !r.started || !r.futures || !r.pending) {
        tine_error_set(TINE_ENOMEM, "%s: no memory for a run", g->name);
    } else {
        memcpy(r.uses, g->uses, g->n_values * sizeof *r.uses);
        if (run_inputs(&r, inputs) && run_nodes(&r)) out = run_outputs(&r);
    }
    run_fini(&r);
    return out;
}

bool tine_onnx_prepare(tine_onnx *g, const char *dtype) {
    for (size_t i = 0; i < g->n_nodes; i++) {
        onnx_node *node = &g->nodes[i];
        if (!node->op->module || node->module) continue;
        node->module = node->op->module(g, node, dtype);
        if (!node->module && !node->op->compute)
            return tine_onnx_refuse(g, node, "%s", tine_error_text());
    }
    return true;
}
