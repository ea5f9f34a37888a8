/* The class "layer_norm": torch.nn.LayerNorm. Sums are in double precision, in the order of the
 * elements. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "workers/builtin/builtin.h"
#include "workers/modules/weights.h"

typedef struct layer_norm {
    int rank; /* of the normalised dimensions, the last ones */
    int64_t shape[TINE_MAX_RANK], elements;
    double eps;
    bool affine, bias;
    tine_value *weight, *shift; /* NULL: ones, zeros */
} layer_norm;

static void layer_norm_fini(void *self) {
    layer_norm *m = self;
    tine_value_unref(m->weight);
    tine_value_unref(m->shift);
    free(m);
}

static void layer_norm_describe(const void *config, size_t i, tine_weight *out) {
    const layer_norm *m = config;
    *out = (tine_weight){.rank = m->rank, .init = TINE_INIT_CONSTANT, .scale = i == 0};
    memcpy(out->shape, m->shape, sizeof out->shape);
    strcpy(out->name, i == 0 ? "weight" : "bias");
}

static bool layer_norm_read(tine_task *task, layer_norm *m) {
    size_t bytes;
    m->rank = tine_arg_ints(task, 0, m->shape, TINE_MAX_RANK);
    m->eps = tine_arg_float(task, 1);
    m->affine = tine_arg_bool(task, 2);
    m->bias = tine_arg_bool(task, 3);
    if (m->rank < 0 || task->failed) return false;
    if (m->rank == 0 || tine_shape_count(TINE_F32, m->rank, m->shape, &m->elements, &bytes))
        return tine_arg_fail(task, 0, "be a size, or a list of sizes, of 0 or more");
    return true;
}

static void *layer_norm_init(tine_task *task) {
    layer_norm config = {0};
    const tine_value *weights[2] = {NULL, NULL};
    if (!layer_norm_read(task, &config)) return NULL;
    const tine_weight_set set = {"LayerNorm",
                                 !config.affine ? 0
                                 : config.bias  ? 2
                                                : 1,
                                 &config, layer_norm_describe};
    if (!tine_weights_get(task, &set, weights)) return NULL;
    layer_norm *m = malloc(sizeof *m);
    if (!m) return tine_fail(task, "layer_norm(): no memory");
    *m = config;
    m->weight = tine_ref((tine_value *)weights[0]);
    m->shift = tine_ref((tine_value *)weights[1]);
    return m;
}

static void normalise(const layer_norm *m, const float *x, float *y) {
    const float *weight = m->weight ? (const float *)m->weight->tensor.data : NULL,
                *shift = m->shift ? (const float *)m->shift->tensor.data : NULL;
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < m->elements; i++) sum += (double)x[i];
    double mean = sum / (double)m->elements;
    for (int64_t i = 0; i < m->elements; i++) {
        double d = (double)x[i] - mean;
        squares += d * d;
    }
    double scale = 1 / sqrt(squares / (double)m->elements + m->eps);
    for (int64_t i = 0; i < m->elements; i++) {
        double z = ((double)x[i] - mean) * scale;
        y[i] = (float)(z * (weight ? (double)weight[i] : 1) + (shift ? (double)shift[i] : 0));
    }
}

static tine_value *layer_norm_forward(tine_task *task) {
    const layer_norm *m = tine_self(task);
    const tine_value *x = tine_arg_tensor(task, 0, 0, -1), *floats;
    void *data;
    if (!x) return NULL;
    int before = x->tensor.rank - m->rank;
    if (before < 0 ||
        memcmp(x->tensor.shape + before, m->shape, (size_t)m->rank * sizeof *m->shape) != 0)
        return tine_arg_fail(task, 0, "have normalized_shape as its last %d dimension%s", m->rank,
                             m->rank == 1 ? "" : "s");
    if (x->tensor.dtype != TINE_F32 && x->tensor.dtype != TINE_BF16)
        return tine_arg_fail(task, 0, "be float32 or bfloat16, not %s",
                             tine_dtype_name(x->tensor.dtype));
    if (!(floats = tine_floats_of(task, x, "input"))) return NULL;
    tine_value *y = tine_tensor_new(TINE_F32, x->tensor.rank, x->tensor.shape, &data);
    if (!y) return NULL;
    const float *from = (const float *)floats->tensor.data;
    for (int64_t i = 0; i < x->tensor.elements; i += m->elements)
        normalise(m, from + i, (float *)data + i);
    return x->tensor.dtype == TINE_BF16 ? tine_bf16_tensor(y) : y;
}

static const tine_class layer_norm_class = {
    .name = "layer_norm",
    .parameters = "normalized_shape, eps=1e-5, elementwise_affine=true, bias=true, "
                  "*, " TINE_WEIGHTS_PARAMETERS,
    .init = layer_norm_init,
    .fini = layer_norm_fini,
    .methods =
        (const tine_method[]){{"forward", "input", layer_norm_forward, TINE_REPEATABLE}, {0}},
};
TINE_BUILTIN_CLASS(layer_norm_class, tine_weights_rewrite)
