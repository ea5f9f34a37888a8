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
            return tine_arg_fail(task, 1, "hold sizes of 0 or more, but item %d is %lld", i,
                                 (long long)shape[i]);
    return true;
}

/* torch.ones(2, 3), torch.ones([2, 3]) and torch.ones(size=[2, 3]): the shape as ints or as one
 * list. -1: the task has failed. */
static int shape_of(tine_task *task, int64_t *shape) {
    const tine_value *sizes = tine_arg(task, 0);
    int rank;
    if (tine_arg_given(task, 1)) {
        if (sizes->list.n > 0) {
            tine_fail(task, "%s() got multiple values for argument 'size'", task->callable->name);
            return -1;
        }
        rank = tine_arg_ints(task, 1, shape, TINE_MAX_RANK);
    } else {
        if (sizes->list.n == 1 && sizes->list.items[0]->kind == TINE_LIST)
            sizes = sizes->list.items[0];
        rank = tine_ints_of(task, 1, sizes, shape, TINE_MAX_RANK);
    }
    return sizes_valid(task, shape, rank) ? rank : -1;
}

static tine_value *filled(tine_task *task, double x) {
    int64_t shape[TINE_MAX_RANK];
    int rank = shape_of(task, shape);
    tine_dtype t = tine_arg_dtype_or(task, 2, TINE_F32);
    return rank < 0 || !t ? NULL : tine_full(t, rank, shape, x);
}

TINE_BUILTIN(ones, "*sizes, size=none, dtype=none") { return filled(task, 1); }
TINE_BUILTIN(zeros, "*sizes, size=none, dtype=none") { return filled(task, 0); }

/* As torch.rand, with a seed and a range, which are keywords: rand(2, 3) has the shape [2, 3]. */
TINE_BUILTIN(rand, "*sizes, size|shape=none, dtype=none, seed=0, low=0.0, high=1.0") {
    int64_t shape[TINE_MAX_RANK];
    int rank = shape_of(task, shape);
    tine_dtype t = tine_arg_dtype_or(task, 2, TINE_F32);
    uint64_t seed = (uint64_t)tine_arg_int(task, 3);
    float low = (float)tine_arg_float(task, 4), high = (float)tine_arg_float(task, 5);
    void *data;
    if (rank < 0 || task->failed) return NULL;
    if (t != TINE_F32 && t != TINE_F64)
        return tine_arg_fail(task, 2, "be f32 or f64, not %s", tine_dtype_name(t));
    tine_value *v = tine_tensor_new(TINE_F32, rank, shape, &data);
    if (v) tine_random_fill(data, v->tensor.elements, seed, 0, low, high);
    return v ? (tine_value *)tine_converted(v, t) : NULL;
}

TINE_BUILTIN(identity, "x") { return (tine_value *)tine_arg(task, 0); }
TINE_BUILTIN(echo, "*args, **kwargs") { return tine_list(tine_arg(task, 0), tine_arg(task, 1)); }
