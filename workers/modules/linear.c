/* The class "linear": torch.nn.Linear, on weights packed once. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/linear.h"
#include "runtime/trace/trace.h"
#include "workers/builtin/builtin.h"
#include "workers/modules/weights.h"

typedef struct linear {
    struct tine_linear *packed;
    int64_t in, out;
    bool bias;
    enum tine_gemm_type type; /* of the product's operands */
} linear;

static void linear_fini(void *self) {
    linear *l = self;
    tine_linear_free(l->packed);
    free(l);
}

static void linear_describe(const void *config, size_t i, tine_weight *out) {
    const linear *l = config;
    *out = (tine_weight){.rank = i == 0 ? 2 : 1,
                         .shape = {l->out, i == 0 ? l->in : 0},
                         .init = TINE_INIT_UNIFORM,
                         .scale = (float)(1 / sqrt((double)l->in))};
    strcpy(out->name, i == 0 ? "weight" : "bias");
}

static bool linear_read(tine_task *task, linear *l) {
    const int64_t limit = (int64_t)1 << 30;
    l->in = tine_arg_int(task, 0);
    l->out = tine_arg_int(task, 1);
    l->bias = tine_arg_bool(task, 2);
    if (task->failed || !tine_operand_type_arg(task, &l->type)) return false;
    for (size_t i = 0; i < 2; i++) {
        int64_t n = i == 0 ? l->in : l->out;
        if (n < 1 || n > limit)
            return tine_arg_fail(task, i, "be from 1 to 2^30, not %lld", (long long)n);
    }
    return true;
}

static void *linear_init(tine_task *task) {
    linear config = {0};
    const tine_value *weights[2] = {NULL, NULL};
    if (!linear_read(task, &config)) return NULL;
    const tine_weight_set set = {"Linear", config.bias ? 2 : 1, &config, linear_describe};
    if (!tine_weights_get(task, &set, weights)) return NULL;
    linear *l = malloc(sizeof *l);
    if (!l) return tine_fail(task, "linear(): no memory");
    const float *weight = tine_data(weights[0]), *bias = NULL;
    if (weights[1]) bias = tine_data(weights[1]);
    enum tine_kernel_error e = tine_linear_create((size_t)config.in, (size_t)config.out, weight,
                                                  bias, config.type, TINE_ISA_AUTO, &config.packed);
    *l = config;
    if (!e) return l;
    free(l);
    return tine_fail(task, "linear(): %s", tine_kernel_strerror(e));
}

static tine_value *linear_forward(tine_task *task) {
    const linear *l = tine_self(task);
    const tine_value *x = tine_arg_tensor(task, 0, 0, -1), *floats;
    int64_t shape[TINE_MAX_RANK];
    void *data;
    if (!x) return NULL;
    int rank = x->tensor.rank;
    if (rank == 0 || x->tensor.shape[rank - 1] != l->in)
        return tine_arg_fail(task, 0, "have a last dimension of in_features=%lld, not %lld",
                             (long long)l->in, rank ? (long long)x->tensor.shape[rank - 1] : 0LL);
    const bool bf16 = l->type == TINE_GEMM_BF16;
    if (x->tensor.dtype != TINE_F32 && (x->tensor.dtype != TINE_BF16 || !bf16))
        return tine_arg_fail(task, 0, "be %s, not %s", bf16 ? "float32 or bfloat16" : "float32",
                             tine_dtype_name(x->tensor.dtype));
    if (!(floats = tine_floats_of(task, x, "input"))) return NULL;
    memcpy(shape, x->tensor.shape, sizeof shape);
    shape[rank - 1] = l->out;
    tine_value *y = tine_tensor_new(TINE_F32, rank, shape, &data);
    if (!y) return NULL;
    int64_t t = tine_trace_begin();
    enum tine_kernel_error e = tine_linear_forward(l->packed, (size_t)(x->tensor.elements / l->in),
                                                   (const float *)floats->tensor.data, data);
    tine_trace_end(TINE_TRACE_KERNEL, t, "linear");
    if (e) return tine_fail(task, "linear.forward(): %s", tine_kernel_strerror(e));
    return x->tensor.dtype == TINE_BF16 ? tine_bf16_tensor(y) : y;
}

static const tine_class linear_class = {
    .name = "linear",
    .parameters = "in_features, out_features, bias=true, dtype='f32', *, " TINE_WEIGHTS_PARAMETERS,
    .init = linear_init,
    .fini = linear_fini,
    .methods = (const tine_method[]){{"forward", "input", linear_forward, TINE_REPEATABLE}, {0}},
};
TINE_BUILTIN_CLASS(linear_class, tine_weights_rewrite)
