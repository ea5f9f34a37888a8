/* Tensors from a shape, and identity and echo. */
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

static bool sizes_valid(tine_task *task, const int64_t *shape, int rank) {
    for (int i = 0; i < rank; i++)
        if (shape[i] < 0)
            return tine_arg_fail(task, 0, "hold sizes of 0 or more, but item %d is %lld", i,
                                 (long long)shape[i]);
    return true;
}

/* torch.ones(2, 3) and torch.ones([2, 3]): the shape as ints or as one list. */
static int shape_of(tine_task *task, int64_t *shape) {
    const tine_value *size = tine_arg(task, 0);
    if (size->list.n == 1 && size->list.items[0]->kind == TINE_LIST) size = size->list.items[0];
    int rank = tine_ints_of(task, 0, size, shape, TINE_MAX_RANK);
    return sizes_valid(task, shape, rank) ? rank : -1;
}

static tine_value *filled(tine_task *task, double x) {
    int64_t shape[TINE_MAX_RANK];
    int rank = shape_of(task, shape);
    tine_dtype t = tine_arg_dtype(task, 1);
    return rank < 0 || !t ? NULL : tine_full(t, rank, shape, x);
}

TINE_REPEATABLE_FUNCTION(ones, "*size, dtype='f32'") { return filled(task, 1); }
TINE_REPEATABLE_FUNCTION(zeros, "*size, dtype='f32'") { return filled(task, 0); }

TINE_REPEATABLE_FUNCTION(rand, "shape, seed=0, low=0.0, high=1.0") {
    int64_t shape[TINE_MAX_RANK];
    int rank = tine_arg_ints(task, 0, shape, TINE_MAX_RANK);
    uint64_t seed = (uint64_t)tine_arg_int(task, 1);
    float low = (float)tine_arg_float(task, 2), high = (float)tine_arg_float(task, 3);
    void *data;
    if (rank < 0 || !sizes_valid(task, shape, rank) || task->failed) return NULL;
    tine_value *v = tine_tensor_new(TINE_F32, rank, shape, &data);
    if (v) tine_random_fill(data, v->tensor.elements, seed, 0, low, high);
    return v;
}

TINE_REPEATABLE_FUNCTION(identity, "x") { return (tine_value *)tine_arg(task, 0); }
TINE_REPEATABLE_FUNCTION(echo, "*args, **kwargs") {
    return tine_list(tine_arg(task, 0), tine_arg(task, 1));
}
