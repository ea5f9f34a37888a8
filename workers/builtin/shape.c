/* stack, cat and flip: copies of contiguous runs of bytes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workers/builtin/builtin.h"

/* Argument `i` or the list in it: its tensors, all of the widest dtype among them. NULL: the task
 * has failed. */
static const tine_value *tensors_promoted(tine_task *task, size_t i, const tine_value *list) {
    size_t n = list->list.n, same = 0;
    tine_dtype t = 0;
    if (n == 0) return tine_arg_fail(task, i, "hold at least one tensor");
    for (size_t k = 0; k < n; k++) {
        const tine_value *v = list->list.items[k];
        if (v->kind != TINE_TENSOR)
            return tine_arg_fail(task, i, "hold tensors, but item %zu is %s", k,
                                 tine_kind_name(v->kind));
        same += v->tensor.dtype == list->list.items[0]->tensor.dtype;
        t = k ? tine_dtype_wider(t, v->tensor.dtype) : v->tensor.dtype;
    }
    if (same == n) return list;
    tine_value **items = malloc(n * sizeof *items), *out = NULL;
    if (!items) return tine_arg_fail(task, i, "fit into memory");
    size_t k = 0;
    while (k < n && (items[k] = (tine_value *)tine_converted(list->list.items[k], t))) k++;
    if (k == n) out = tine_list_of(items, n);
    free(items);
    return out;
}

/* "[2, 3]" */
static const char *shape_text(const tine_value *t, char text[TINE_MAX_RANK * 22]) {
    size_t n = 0, room = TINE_MAX_RANK * 22;
    n += (size_t)snprintf(text, room, "[");
    for (int i = 0; i < t->tensor.rank; i++)
        n += (size_t)snprintf(text + n, room - n, i ? ", %lld" : "%lld",
                              (long long)t->tensor.shape[i]);
    snprintf(text + n, room - n, "]");
    return text;
}

/* Copies, `outer` times, the next run of each tensor: `runs[i]` bytes, or `same` without runs. */
static void interleave(uint8_t *to, tine_value *const *v, size_t n, int64_t outer,
                       const size_t *runs, size_t same) {
    for (int64_t o = 0; o < outer; o++)
        for (size_t i = 0; i < n; i++) {
            size_t run = runs ? runs[i] : same;
            if (run) memcpy(to, v[i]->tensor.data + (size_t)o * run, run);
            to += run;
        }
}

static tine_value *stack_tensors(tine_task *task, const tine_value *list, int64_t at) {
    int64_t shape[TINE_MAX_RANK + 1], outer = 1, inner = 1;
    char a[TINE_MAX_RANK * 22], b[TINE_MAX_RANK * 22];
    void *data;
    if (!(list = tensors_promoted(task, 1, list))) return NULL;
    tine_value *const *v = list->list.items;
    size_t n = list->list.n;
    int rank = v[0]->tensor.rank, dim = tine_dim_of(task, at, rank + 1);
    if (dim < 0) return NULL;
    for (size_t i = 1; i < n; i++)
        if (v[i]->tensor.rank != rank ||
            memcmp(v[i]->tensor.shape, v[0]->tensor.shape, sizeof v[0]->tensor.shape) != 0)
            return tine_arg_fail(task, 1,
                                 "hold tensors of one shape, but item 0 is %s and item %zu is %s",
                                 shape_text(v[0], a), i, shape_text(v[i], b));
    for (int i = 0; i <= rank; i++)
        shape[i] = i == dim ? (int64_t)n : v[0]->tensor.shape[i < dim ? i : i - 1];
    for (int i = 0; i < rank; i++) *(i < dim ? &outer : &inner) *= v[0]->tensor.shape[i];
    tine_value *out = tine_tensor_new(v[0]->tensor.dtype, rank + 1, shape, &data);
    if (out && out->tensor.elements)
        interleave(data, v, n, outer, NULL, (size_t)inner * tine_dtype_size(v[0]->tensor.dtype));
    return out;
}

/* torch.stack(tensors, dim=0), and stack(a, b, …, dim=0) beside it. */
TINE_BUILTIN(stack, "*inputs, tensors=none, " TINE_DIM "=0") {
    const tine_value *v = tine_arg(task, 0), *tensors = tine_arg(task, 1);
    int64_t dim = tine_arg_int(task, 2);
    bool listed = v->list.n > 0 && v->list.items[0]->kind == TINE_LIST;
    if (tine_arg_given(task, 1)) {
        if (v->list.n > 0)
            return tine_fail(task, "stack() got multiple values for argument 'tensors'");
        if (tensors->kind != TINE_LIST)
            return tine_arg_fail(task, 1, "be a list of tensors, not %s",
                                 tine_kind_name(tensors->kind));
        v = tensors;
    } else if (listed) {
        if (v->list.n > 2 || (v->list.n == 2 && v->list.items[1]->kind != TINE_INT))
            return tine_arg_fail(task, 1, "be tensors, or one list of tensors and dim, an int");
        if (v->list.n == 2 && tine_arg_given(task, 2))
            return tine_fail(task, "stack() got multiple values for argument 'dim'");
        if (v->list.n == 2) dim = tine_as_int(v->list.items[1]);
        v = v->list.items[0];
    }
    return task->failed ? NULL : stack_tensors(task, v, dim);
}

static bool is_legacy_empty(const tine_value *t) {
    return t->tensor.rank == 1 && t->tensor.shape[0] == 0;
}

/* The result's shape, or false. Empty one-dimensional tensors are skipped, as in PyTorch. */
static bool cat_shape(tine_task *task, tine_value *const *v, size_t n, int dim,
                      const tine_value *first, int64_t *shape) {
    for (int d = 0; d < first->tensor.rank; d++) shape[d] = d == dim ? 0 : first->tensor.shape[d];
    for (size_t i = 0; i < n; i++) {
        if (is_legacy_empty(v[i])) continue;
        if (v[i]->tensor.rank != first->tensor.rank) {
            tine_arg_fail(task, 0, "hold tensors of one rank, but got rank %d, and %d in item %zu",
                          first->tensor.rank, v[i]->tensor.rank, i);
            return false;
        }
        for (int d = 0; d < first->tensor.rank; d++) {
            if (d == dim || v[i]->tensor.shape[d] == shape[d]) continue;
            tine_arg_fail(task, 0,
                          "hold tensors whose sizes differ in dimension %d only, but item %zu has "
                          "%lld in dimension %d, not %lld",
                          dim, i, (long long)v[i]->tensor.shape[d], d, (long long)shape[d]);
            return false;
        }
        if (shape[dim] > INT64_MAX - v[i]->tensor.shape[dim]) {
            tine_arg_fail(task, 0, "have fewer than 2^63 elements in dimension %d", dim);
            return false;
        }
        shape[dim] += v[i]->tensor.shape[dim];
    }
    return true;
}

static tine_value *cat_tensors(tine_task *task, const tine_value *list, int64_t at) {
    int64_t shape[TINE_MAX_RANK], outer = 1, inner = 1;
    void *data;
    if (!(list = tensors_promoted(task, 0, list))) return NULL;
    tine_value *const *v = list->list.items;
    size_t n = list->list.n;
    const tine_value *first = v[0];
    for (size_t i = 0; i < n && is_legacy_empty(first); i++) first = v[i];
    if (first->tensor.rank == 0)
        return tine_arg_fail(task, 0, "hold tensors of rank 1 or more, but item 0 is a scalar");
    int dim = tine_dim_of(task, at, first->tensor.rank);
    if (dim < 0 || !cat_shape(task, v, n, dim, first, shape)) return NULL;
    tine_value *out = tine_tensor_new(first->tensor.dtype, first->tensor.rank, shape, &data);
    if (!out || out->tensor.elements == 0) return out;
    for (int d = 0; d < first->tensor.rank; d++)
        if (d != dim) *(d < dim ? &outer : &inner) *= shape[d];
    size_t few[16], *runs = n <= 16 ? few : malloc(n * sizeof *runs);
    if (!runs) return tine_fail(task, "cat(): no memory for %zu tensors", n);
    for (size_t i = 0; i < n; i++)
        runs[i] = is_legacy_empty(v[i]) ? 0
                                        : (size_t)(v[i]->tensor.shape[dim] * inner) *
                                              tine_dtype_size(first->tensor.dtype);
    interleave(data, v, n, outer, runs, 0);
    if (runs != few) free(runs);
    return out;
}

TINE_BUILTIN(cat, "tensors, " TINE_DIM "=0") {
    const tine_value *v = tine_arg(task, 0);
    int64_t dim = tine_arg_int(task, 1);
    if (v->kind != TINE_LIST)
        return tine_arg_fail(task, 0, "be a list of tensors, not %s", tine_kind_name(v->kind));
    return task->failed ? NULL : cat_tensors(task, v, dim);
}

/* `n` elements of `size` bytes, backwards. */
static void reverse(uint8_t *to, const uint8_t *from, int64_t n, size_t size) {
    switch (size) {
    case 4:
        for (int64_t i = 0; i < n; i++) ((uint32_t *)to)[i] = ((const uint32_t *)from)[n - 1 - i];
        break;
    case 8:
        for (int64_t i = 0; i < n; i++) ((uint64_t *)to)[i] = ((const uint64_t *)from)[n - 1 - i];
        break;
    default:
        for (int64_t i = 0; i < n; i++)
            memcpy(to + (size_t)i * size, from + (size_t)(n - 1 - i) * size, size);
    }
}

struct flip {
    const int64_t *shape;
    bool flipped[TINE_MAX_RANK];
    int last; /* the last flipped dimension: blocks behind it are copied whole */
};

/* A block of `bytes`: dimension `dim` and those behind it. */
static void flip_block(const struct flip *f, int dim, uint8_t *to, const uint8_t *from,
                       size_t bytes) {
    int64_t n = f->shape[dim];
    size_t part = bytes / (size_t)n;
    if (dim == f->last && part <= 8) {
        reverse(to, from, n, part);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        uint8_t *at = to + (size_t)(f->flipped[dim] ? n - 1 - i : i) * part;
        if (dim == f->last)
            memcpy(at, from + (size_t)i * part, part);
        else
            flip_block(f, dim + 1, at, from + (size_t)i * part, part);
    }
}

static tine_value *flip_tensor(tine_task *task, const tine_value *x, const int64_t *dims, int n) {
    struct flip f = {.shape = x->tensor.shape, .last = -1};
    void *data;
    for (int i = 0; i < n; i++) {
        int dim = tine_dim_of(task, dims[i], x->tensor.rank);
        if (dim < 0) return NULL;
        if (!tine_dim_mark(task, dim, f.flipped)) return NULL;
        if (dim > f.last) f.last = dim;
    }
    if (f.last < 0 || x->tensor.rank == 0) return (tine_value *)x;
    tine_value *out = tine_tensor_new(x->tensor.dtype, x->tensor.rank, x->tensor.shape, &data);
    if (out && out->tensor.elements)
        flip_block(&f, 0, data, x->tensor.data,
                   (size_t)x->tensor.elements * tine_dtype_size(x->tensor.dtype));
    return out;
}

TINE_BUILTIN(flip, TINE_INPUT ", dims") {
    int64_t dims[TINE_MAX_RANK];
    const tine_value *x = tine_arg_tensor(task, 0, 0, -1);
    int n = tine_arg_ints(task, 1, dims, TINE_MAX_RANK);
    return !x || n < 0 ? NULL : flip_tensor(task, x, dims, n);
}
