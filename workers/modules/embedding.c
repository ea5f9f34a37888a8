/* The class "embedding": torch.nn.Embedding. A row longer than max_norm is shortened where it is
 * used; PyTorch changes its weight, with the same result. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "workers/builtin/builtin.h"
#include "workers/modules/weights.h"

typedef struct embedding {
    int64_t rows, width;
    int64_t padding; /* -1: none */
    double max_norm, norm_type;
    tine_value *weight; /* float32 */
} embedding;

static void embedding_fini(void *self) {
    embedding *m = self;
    tine_value_unref(m->weight);
    free(m);
}

static void embedding_describe(const void *config, size_t i, tine_weight *out) {
    const embedding *m = config;
    (void)i;
    *out = (tine_weight){.name = "weight",
                         .rank = 2,
                         .shape = {m->rows, m->width},
                         .init = TINE_INIT_NORMAL,
                         .scale = 1};
}

static bool embedding_read(tine_task *task, embedding *m) {
    m->rows = tine_arg_int(task, 0);
    m->width = tine_arg_int(task, 1);
    m->padding = -1;
    m->max_norm = tine_arg(task, 3)->kind == TINE_NONE ? INFINITY : tine_arg_float(task, 3);
    m->norm_type = tine_arg_float(task, 4);
    if (task->failed) return false;
    if (m->rows < 1) return tine_arg_fail(task, 0, "be at least 1, not %lld", (long long)m->rows);
    if (m->width < 1) return tine_arg_fail(task, 1, "be at least 1, not %lld", (long long)m->width);
    if (!(m->max_norm > 0)) return tine_arg_fail(task, 3, "be more than 0, not %g", m->max_norm);
    if (!(m->norm_type > 0)) return tine_arg_fail(task, 4, "be more than 0, not %g", m->norm_type);
    if (tine_arg(task, 2)->kind == TINE_NONE) return true;
    int64_t padding = tine_arg_int(task, 2);
    if (task->failed) return false;
    if (padding < -m->rows || padding >= m->rows)
        return tine_arg_fail(task, 2, "be within num_embeddings=%lld, not %lld", (long long)m->rows,
                             (long long)padding);
    m->padding = padding < 0 ? padding + m->rows : padding;
    return true;
}

static void *embedding_init(tine_task *task) {
    embedding config = {0};
    const tine_value *weight;
    if (!embedding_read(task, &config)) return NULL;
    const tine_weight_set set = {"Embedding", 1, &config, embedding_describe};
    if (!tine_weights_get(task, &set, &weight)) return NULL;
    embedding *m = malloc(sizeof *m);
    if (!m) return tine_fail(task, "embedding(): no memory");
    *m = config;
    m->weight = tine_ref((tine_value *)weight);
    /* Initial weights are this task's alone, and the row of the padding is zero. */
    if (m->padding >= 0 && !tine_arg_given(task, tine_arg_index(task, "state_dict")))
        memset((float *)m->weight->tensor.data + m->padding * m->width, 0,
               (size_t)m->width * sizeof(float));
    return m;
}

static double row_norm(const embedding *m, const float *row) {
    double sum = 0;
    for (int64_t j = 0; j < m->width; j++) {
        double x = fabs((double)row[j]);
        sum = isinf(m->norm_type) ? fmax(sum, x) : sum + pow(x, m->norm_type);
    }
    return isinf(m->norm_type) ? sum : pow(sum, 1 / m->norm_type);
}

static void row_write(const embedding *m, int64_t i, float *to) {
    const float *row = (const float *)m->weight->tensor.data + i * m->width;
    memcpy(to, row, (size_t)m->width * sizeof *to);
    if (isinf(m->max_norm)) return;
    double norm = row_norm(m, row);
    if (!(norm > m->max_norm)) return;
    float scale = (float)(m->max_norm / (norm + 1e-7)); /* as embedding_renorm_ */
    for (int64_t j = 0; j < m->width; j++) to[j] *= scale;
}

static tine_value *embedding_forward(tine_task *task) {
    const embedding *m = tine_self(task);
    const tine_value *x = tine_arg_tensor(task, 0, 0, -1);
    int64_t shape[TINE_MAX_RANK];
    void *data;
    if (!x) return NULL;
    int rank = x->tensor.rank;
    if (x->tensor.dtype != TINE_I64 && x->tensor.dtype != TINE_I32)
        return tine_arg_fail(task, 0, "be an int64 or int32 tensor, not %s",
                             tine_dtype_name(x->tensor.dtype));
    if (rank == TINE_MAX_RANK)
        return tine_arg_fail(task, 0, "have less than %d dimensions", TINE_MAX_RANK);
    memcpy(shape, x->tensor.shape, sizeof shape);
    shape[rank] = m->width;
    tine_value *y = tine_tensor_new(TINE_F32, rank + 1, shape, &data);
    for (int64_t i = 0; y && i < x->tensor.elements; i++) {
        int64_t row = tine_tensor_int_at(x, i);
        if (row < 0 || row >= m->rows)
            return tine_fail(task,
                             "embedding.forward(): index out of range in self: %lld, where "
                             "num_embeddings is %lld",
                             (long long)row, (long long)m->rows);
        row_write(m, row, (float *)data + i * m->width);
    }
    return y;
}

/* scale_grad_by_freq and sparse are for training: they have no effect. */
static const tine_class embedding_class = {
    .name = "embedding",
    .parameters = "num_embeddings, embedding_dim, padding_idx=none, max_norm=none, norm_type=2.0, "
                  "scale_grad_by_freq=false, sparse=false, *, " TINE_WEIGHTS_PARAMETERS,
    .init = embedding_init,
    .fini = embedding_fini,
    .methods = (const tine_method[]){{"forward", "input", embedding_forward, TINE_REPEATABLE}, {0}},
};
TINE_BUILTIN_CLASS(embedding_class, tine_weights_rewrite)
