/* Activations, element by element, softmax along an axis, and layer normalisation. They are
 * computed in double precision and rounded once: they are the small part of a recurrent model. */
#include <math.h>
#include <string.h>

#include "launch/onnx/internal.h"
#include "runtime/value/error.h"
#include "workers/builtin/builtin.h"

static double activate_elu(double x, double alpha, double beta) {
    (void)beta;
    return x < 0 ? alpha * expm1(x) : x;
}
static double activate_selu(double x, double alpha, double gamma) {
    return gamma * (x > 0 ? x : alpha * expm1(x));
}
static double activate_celu(double x, double alpha, double beta) {
    (void)beta;
    return x < 0 ? alpha * expm1(x / alpha) : x;
}
static double activate_leaky_relu(double x, double alpha, double beta) {
    (void)beta;
    return x < 0 ? alpha * x : x;
}
static double activate_thresholded_relu(double x, double alpha, double beta) {
    (void)beta;
    return x <= alpha ? 0 : x;
}
static double activate_hard_sigmoid(double x, double alpha, double beta) {
    double y = alpha * x + beta;
    return y < 0 ? 0 : y > 1 ? 1 : y;
}
static double activate_hard_swish(double x, double alpha, double beta) {
    return x * activate_hard_sigmoid(x, alpha, beta);
}
static double activate_softplus(double x, double alpha, double beta) {
    (void)alpha, (void)beta;
    return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
}
static double activate_softsign(double x, double alpha, double beta) {
    (void)alpha, (void)beta;
    return x / (1 + fabs(x));
}
static double activate_mish(double x, double alpha, double beta) {
    return x * tanh(activate_softplus(x, alpha, beta));
}
static double activate_gelu(double x, double alpha, double beta) {
    (void)alpha, (void)beta;
    return 0.5 * x * (1 + erf(x * M_SQRT1_2));
}
static double activate_gelu_tanh(double x, double alpha, double beta) {
    (void)alpha, (void)beta;
    return 0.5 * x * (1 + tanh(M_2_SQRTPI * M_SQRT1_2 * (x + 0.044715 * x * x * x)));
}
static double activate_erf(double x, double alpha, double beta) {
    (void)alpha, (void)beta;
    return erf(x);
}
static double activate_abs(double x, double alpha, double beta) {
    (void)alpha, (void)beta;
    return fabs(x);
}
static double activate_exp(double x, double alpha, double beta) {
    (void)alpha, (void)beta;
    return exp(x);
}
static double activate_clip(double x, double least, double most) {
    x = x < least ? least : x;
    return x > most ? most : x; /* also where least is larger */
}

/* With the attributes `alpha` and `beta` (of Selu `gamma`), and their defaults. */
static const struct activation {
    const char *name;
    double (*of)(double x, double alpha, double beta);
    double alpha, beta;
} activations[] = {
    {"Abs", activate_abs, 0, 0},
    {"Celu", activate_celu, 1, 0},
    {"Elu", activate_elu, 1, 0},
    {"Erf", activate_erf, 0, 0},
    {"Exp", activate_exp, 0, 0},
    {"Gelu", activate_gelu, 0, 0},
    {"HardSigmoid", activate_hard_sigmoid, 0.2, 0.5},
    {"HardSwish", activate_hard_swish, 1.0 / 6, 0.5},
    {"LeakyRelu", activate_leaky_relu, 0.01, 0},
    {"Mish", activate_mish, 0, 0},
    {"Selu", activate_selu, 1.67326319217681884765625, 1.05070102214813232421875},
    {"Softplus", activate_softplus, 0, 0},
    {"Softsign", activate_softsign, 0, 0},
    {"ThresholdedRelu", activate_thresholded_relu, 1, 0},
};

static bool floats_check(onnx_call *call, const tine_value *x) {
    return x->tensor.dtype == TINE_F32 || x->tensor.dtype == TINE_F64 ||
           tine_onnx_refuse(call->graph, call->node, "its input must be of floats, not %s",
                            tine_dtype_name(x->tensor.dtype));
}

static void float_store(void *to, tine_dtype t, int64_t i, double y) {
    if (t == TINE_F32)
        ((float *)to)[i] = (float)y;
    else
        ((double *)to)[i] = y;
}

static bool elements_map(onnx_call *call, double (*of)(double, double, double), double alpha,
                         double beta) {
    const tine_value *x = call->in[0];
    if (!floats_check(call, x)) return false;
    void *to = tine_onnx_output(call, 0, x->tensor.dtype, x->tensor.rank, x->tensor.shape);
    for (int64_t i = 0; call->out[0] && i < x->tensor.elements; i++)
        float_store(to, x->tensor.dtype, i, of(tine_tensor_float_at(x, i), alpha, beta));
    return call->out[0];
}

bool tine_onnx_activation(onnx_call *call) {
    const struct activation *a = activations;
    while (strcmp(a->name, call->node->op->name) != 0) a++;
    bool fast = tine_onnx_string_is(call->node, "approximate", "tanh", "none");
    bool selu = a->of == activate_selu;
    return elements_map(call, a->of == activate_gelu && fast ? activate_gelu_tanh : a->of,
                        tine_onnx_float(call->node, "alpha", a->alpha),
                        tine_onnx_float(call->node, selu ? "gamma" : "beta", a->beta));
}

/* A bound of Clip: an input, or before opset 11 an attribute. */
static bool clip_bound(onnx_call *call, size_t i, const char *attribute, double *bound) {
    *bound = tine_onnx_float(call->node, attribute, *bound);
    if (!call->in[i]) return true;
    if (call->in[i]->tensor.elements != 1)
        return tine_onnx_refuse(call->graph, call->node, "input %zu must be one number", i);
    *bound = tine_tensor_float_at(call->in[i], 0);
    return true;
}

bool tine_onnx_clip(onnx_call *call) {
    double least = -INFINITY, most = INFINITY;
    return clip_bound(call, 1, "min", &least) && clip_bound(call, 2, "max", &most) &&
           elements_map(call, activate_clip, least, most);
}

/* ---- softmax, layer normalisation ---- */

/* One line of n elements, `step` apart. */
static void softmax_line(void *to, const tine_value *x, int64_t first, int64_t n, int64_t step,
                         bool log_of) {
    double most = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) most = fmax(most, tine_tensor_float_at(x, first + i * step));
    for (int64_t i = 0; i < n; i++) sum += exp(tine_tensor_float_at(x, first + i * step) - most);
    for (int64_t i = 0; i < n; i++) {
        double y = tine_tensor_float_at(x, first + i * step) - most;
        float_store(to, x->tensor.dtype, first + i * step, log_of ? y - log(sum) : exp(y) / sum);
    }
}

/* Since opset 13 along one axis; before, along all dimensions from the axis on. */
bool tine_onnx_softmax(onnx_call *call) {
    const tine_value *x = call->in[0];
    bool one = call->graph->opset >= 13, log_of = strcmp(call->node->op->name, "LogSoftmax") == 0;
    int64_t outer, n, inner;
    int axis =
        tine_onnx_axis(call, tine_onnx_int(call->node, "axis", one ? -1 : 1), x->tensor.rank);
    if (axis < 0 || !floats_check(call, x)) return false;
    void *to = tine_onnx_output(call, 0, x->tensor.dtype, x->tensor.rank, x->tensor.shape);
    if (!call->out[0] || x->tensor.elements == 0) return call->out[0];
    tine_split_at(x, axis, &outer, &n, &inner);
    if (!one) n *= inner, inner = 1;
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < inner; i++)
            softmax_line(to, x, o * n * inner + i, n, inner, log_of);
    return true;
}

/* One row: (x - mean) / sqrt(variance + epsilon) scale + shift. */
static void norm_row(onnx_call *call, void *to, int64_t first, int64_t n, double epsilon) {
    const tine_value *x = call->in[0], *scale = call->in[1], *shift = call->in[2];
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) sum += tine_tensor_float_at(x, first + i);
    double mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++) {
        double d = tine_tensor_float_at(x, first + i) - mean;
        squares += d * d;
    }
    double factor = 1 / sqrt(squares / (double)n + epsilon);
    for (int64_t i = 0; i < n; i++) {
        double z = (tine_tensor_float_at(x, first + i) - mean) * factor;
        double y = z * tine_tensor_float_at(scale, i);
        if (shift) y += tine_tensor_float_at(shift, i);
        float_store(to, x->tensor.dtype, first + i, y);
    }
}

/* Over all dimensions from the axis on; scale and shift have as many elements. */
bool tine_onnx_layer_norm(onnx_call *call) {
    const tine_value *x = call->in[0], *scale = call->in[1], *shift = call->in[2];
    int64_t outer, n, inner;
    int axis = tine_onnx_axis(call, tine_onnx_int(call->node, "axis", -1), x->tensor.rank);
    if (axis < 0 || !floats_check(call, x)) return false;
    tine_split_at(x, axis, &outer, &n, &inner);
    n *= inner;
    if (scale->tensor.elements != n || (shift && shift->tensor.elements != n))
        return tine_onnx_refuse(call->graph, call->node,
                                "its scale and bias must have %lld elements", (long long)n);
    void *to = tine_onnx_output(call, 0, x->tensor.dtype, x->tensor.rank, x->tensor.shape);
    for (int64_t o = 0; call->out[0] && n > 0 && o < outer; o++)
        norm_row(call, to, o * n, n, tine_onnx_float(call->node, "epsilon", 1e-5));
    return call->out[0];
}
