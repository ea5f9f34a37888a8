/* See predict_onnx.h. Without protobuf-c (TINE_ONNX is not defined) there is a sentence instead. */
#include "launch/command/predict_onnx.h"

#include <stdio.h>
#include <stdlib.h>

#include "launch/command/npy.h"
#include "runtime/value/error.h"

#ifdef TINE_ONNX
#include "launch/onnx/onnx.h"

struct tine_onnx_prediction {
    tine_onnx *graph;
    tine_value *inputs; /* a tensor, or a dict of them by the graph's names */
};

tine_onnx_prediction *tine_onnx_prediction_open(const tine_prediction_options *o) {
    tine_onnx_prediction *p = calloc(1, sizeof *p);
    if (!p) {
        tine_error_set(TINE_ENOMEM, "%s: no memory", o->model);
        return NULL;
    }
    p->graph = tine_onnx_open(o->model);
    if (p->graph)
        p->inputs =
            tine_ends_with(o->input, ".npy") ? tine_npy_load(o->input) : tine_load(o->input, NULL);
    if (p->inputs) return p;
    tine_onnx_prediction_close(p);
    return NULL;
}

bool tine_onnx_prediction_prepare(tine_onnx_prediction *p, const tine_prediction_options *o) {
    return tine_onnx_prepare(p->graph, o->dtype);
}

tine_value *tine_onnx_prediction_run(const tine_onnx_prediction *p) {
    return tine_onnx_run(p->graph, p->inputs);
}

void tine_onnx_prediction_name(const tine_onnx_prediction *p, char *out, size_t room) {
    snprintf(out, room, "ONNX graph of %zu nodes, %zu of them LSTM or GRU",
             tine_onnx_nodes(p->graph), tine_onnx_cells(p->graph));
}

void tine_onnx_prediction_close(tine_onnx_prediction *p) {
    if (!p) return;
    tine_onnx_close(p->graph);
    tine_release(p->inputs);
    free(p);
}

#else

tine_onnx_prediction *tine_onnx_prediction_open(const tine_prediction_options *o) {
    tine_error_set(TINE_EINVAL,
                   "%s: this tine was built without protobuf-c, which ONNX needs: install "
                   "libprotobuf-c-dev and protobuf-c-compiler and build again",
                   o->model);
    return NULL;
}
bool tine_onnx_prediction_prepare(tine_onnx_prediction *p, const tine_prediction_options *o) {
    return !p && !o;
}
tine_value *tine_onnx_prediction_run(const tine_onnx_prediction *p) {
    (void)p;
    return NULL;
}
void tine_onnx_prediction_name(const tine_onnx_prediction *p, char *out, size_t room) {
    (void)p;
    snprintf(out, room, "no ONNX");
}
void tine_onnx_prediction_close(tine_onnx_prediction *p) { (void)p; }
#endif
