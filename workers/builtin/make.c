/* Tensors out of nothing, and identity. */
#include "workers/builtin/builtin.h"

uint64_t tine_random_bits(uint64_t seed, uint64_t i) {
    uint64_t z = seed + (i + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

void tine_random_fill(float *out, int64_t n, uint64_t seed, uint64_t first, float low, float high) {
    float scale = (high - low) * 0x1p-24f;
    for (int64_t i = 0; i < n; i++)
        out[i] = low + scale * (float)(tine_random_bits(seed, first + (uint64_t)i) >> 40);
}

/* torch.ones(2, 3) and torch.ones([2, 3]): the shape as ints or as one list. */
static int shape_of(tine_task *task, int64_t *shape) {
    const tine_value *sizes = tine_arg(task, 0);
    if (sizes->list.n == 1 && sizes->list.items[0]->kind == TINE_LIST) sizes = sizes->list.items[0];
    if (sizes->list.n > TINE_MAX_RANK) {
        tine_fail(task, "%s(): a tensor has at most %d dimensions", task->callable->name,
                  TINE_MAX_RANK);
        return -1;
    }
    for (size_t i = 0; i < sizes->list.n; i++) {
        if (sizes->list.items[i]->kind != TINE_INT) {
            tine_fail(task, "%s(): a size is %s, not int", task->callable->name,
                      tine_kind_name(sizes->list.items[i]->kind));
            return -1;
        }
        shape[i] = sizes->list.items[i]->i;
    }
    return (int)sizes->list.n;
}

static tine_value *full(tine_task *task, double x) {
    int64_t shape[TINE_MAX_RANK];
    int rank = shape_of(task, shape);
    tine_dtype t = tine_arg_dtype(task, 1);
    return rank < 0 || !t ? NULL : tine_full(t, rank, shape, x);
}

TINE_REPEATABLE_FUNCTION(ones, "*size, dtype='f32'") { return full(task, 1); }
TINE_REPEATABLE_FUNCTION(zeros, "*size, dtype='f32'") { return full(task, 0); }

TINE_REPEATABLE_FUNCTION(rand, "shape, seed=0, low=0.0, high=1.0") {
    int64_t shape[TINE_MAX_RANK];
    int rank = tine_arg_ints(task, 0, shape, TINE_MAX_RANK);
    uint64_t seed = (uint64_t)tine_arg_int(task, 1);
    float low = (float)tine_arg_float(task, 2), high = (float)tine_arg_float(task, 3);
    void *data;
    if (rank < 0 || task->failed) return NULL;
    tine_value *v = tine_tensor_new(TINE_F32, rank, shape, &data);
    if (v) tine_random_fill(data, v->tensor.elements, seed, 0, low, high);
    return v;
}

TINE_REPEATABLE_FUNCTION(identity, "x") { return (tine_value *)tine_arg(task, 0); }
TINE_REPEATABLE_FUNCTION(echo, "*args, **kwargs") {
    return tine_list(tine_arg(task, 0), tine_arg(task, 1));
}
