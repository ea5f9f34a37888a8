/* sum and mean. Floats are added in double precision, in an order that depends on the shape
 * only, so a sum has the same bits on every worker. Ints are added as int64 and wrap, as in
 * PyTorch. */
#include <string.h>

#include "kernels/bf16.h"
#include "kernels/vecmath.h"
#include "workers/builtin/builtin.h"

enum { BLOCK = 512, LANES = 32, FEW = 16 };

typedef struct reduction {
    const tine_value *x;
    int64_t outer, n, inner;
    double scale;   /* divides the sum; 1 for a sum */
    tine_dtype out; /* of the result, where x holds floats */
} reduction;

/* Adds `rows` runs of `width` elements, `stride` apart, element by element to sums. There is one
 * loop for each dtype, so that the compiler can vectorise it. */
static void add_rows(const tine_value *x, int64_t at, int64_t rows, int64_t width, int64_t stride,
                     double *restrict sums) {
    const void *data = x->tensor.data;
    for (int64_t r = 0; r < rows; r++, at += stride) switch (x->tensor.dtype) {
        case TINE_F32: {
            const float *restrict p = (const float *)data + at;
            for (int64_t i = 0; i < width; i++) sums[i] += (double)p[i];
            break;
        }
        case TINE_F64: {
            const double *restrict p = (const double *)data + at;
            for (int64_t i = 0; i < width; i++) sums[i] += p[i];
            break;
        }
        default: {
            const uint16_t *restrict p = (const uint16_t *)data + at;
            for (int64_t i = 0; i < width; i++) sums[i] += (double)tine_bf16_to_float(p[i]);
        }
        }
}

static void store(tine_dtype t, void *data, int64_t at, int64_t n, const double *sums,
                  double scale) {
    for (int64_t i = 0; i < n; i++) {
        double s = scale == 1 ? sums[i] : sums[i] / scale;
        if (t == TINE_F32)
            ((float *)data)[at + i] = (float)s;
        else if (t == TINE_F64)
            ((double *)data)[at + i] = s;
        else
            ((uint16_t *)data)[at + i] = tine_bf16_from_float((float)s);
    }
}

/* Along the last dimension: LANES partial sums, added up at the end. */
static void reduce_run(const reduction *r, int64_t o, void *data) {
    double sums[LANES] = {0};
    int64_t base = o * r->n, rows = r->n / LANES;
    add_rows(r->x, base, rows, LANES, LANES, sums);
    add_rows(r->x, base + rows * LANES, 1, r->n % LANES, 0, sums);
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int j = 0; j < width; j++) sums[j] += sums[j + width];
    store(r->out, data, o, 1, sums, r->scale);
}

static void reduce_floats(const reduction *r, void *data) {
    for (int64_t o = 0; o < r->outer; o++) {
        if (r->inner == 1) {
            reduce_run(r, o, data);
            continue;
        }
        for (int64_t j = 0; j < r->inner; j += BLOCK) {
            double sums[BLOCK] = {0};
            int64_t width = r->inner - j < BLOCK ? r->inner - j : BLOCK;
            add_rows(r->x, o * r->n * r->inner + j, r->n, width, r->inner, sums);
            store(r->out, data, o * r->inner + j, width, sums, r->scale);
        }
    }
}

static void reduce_ints(const reduction *r, int64_t *out) {
    for (int64_t o = 0; o < r->outer; o++)
        for (int64_t j = 0; j < r->inner; j++) {
            uint64_t sum = 0;
            for (int64_t i = 0; i < r->n; i++)
                sum += (uint64_t)tine_tensor_int_at(r->x, (o * r->n + i) * r->inner + j);
            out[o * r->inner + j] = (int64_t)sum;
        }
}

/* One dimension, or with `whole` all at once. The result keeps them, with size 1; squeeze drops
 * them. Floats give a result of the dtype `t`, ints an int64. */
static tine_value *reduce(const tine_value *x, int dim, bool whole, double scale, tine_dtype t) {
    int64_t shape[TINE_MAX_RANK];
    reduction r = {x, .outer = 1, .n = x->tensor.elements, .inner = 1, .scale = scale, .out = t};
    void *data;
    bool floating = tine_dtype_floating(x->tensor.dtype);
    if (!whole) tine_split_at(x, dim, &r.outer, &r.n, &r.inner);
    for (int i = 0; i < x->tensor.rank; i++) shape[i] = whole || i == dim ? 1 : x->tensor.shape[i];
    tine_value *out = tine_tensor_new(floating ? t : TINE_I64, x->tensor.rank, shape, &data);
    if (!out) return NULL;
    if (floating)
        reduce_floats(&r, data);
    else
        reduce_ints(&r, data);
    return out;
}

static tine_value *squeeze(const tine_value *x, const bool *gone) {
    int64_t shape[TINE_MAX_RANK];
    int rank = 0;
    for (int i = 0; i < x->tensor.rank; i++)
        if (!gone[i]) shape[rank++] = x->tensor.shape[i];
    return tine_tensor_over(x->tensor.dtype, rank, shape, x->tensor.buffer, 0);
}

/* Argument 1, an int, a list of ints, or none or an empty list for all: which dimensions go, and
 * how many elements become one. -1: the task has failed. */
static int reduced_dims(tine_task *task, const tine_value *x, bool *gone, int64_t *elements) {
    int64_t dims[TINE_MAX_RANK];
    int count = 0;
    if (tine_arg(task, 1)->kind != TINE_NONE &&
        (count = tine_arg_ints(task, 1, dims, TINE_MAX_RANK)) < 0)
        return -1;
    for (int i = 0; i < count; i++) {
        int d = tine_dim_of(task, dims[i], x->tensor.rank);
        if (d < 0 || !tine_dim_mark(task, d, gone)) return -1;
    }
    *elements = 1;
    for (int i = 0; i < x->tensor.rank; i++) {
        if (count == 0) gone[i] = true;
        if (gone[i]) *elements *= x->tensor.shape[i];
    }
    return count;
}

static bool sum_fits(tine_value *const *items, size_t n) {
    const tine_value *first = items[0];
    if (first->kind != TINE_TENSOR || !tine_dtype_floating(first->tensor.dtype)) return false;
    if (first->tensor.elements < 2) return false; /* a run: see reduce_floats */
    for (size_t i = 1; i < n; i++) {
        const tine_value *x = items[i];
        if (x->kind != TINE_TENSOR || x->tensor.dtype != first->tensor.dtype ||
            x->tensor.rank != first->tensor.rank ||
            memcmp(x->tensor.shape, first->tensor.shape,
                   (size_t)first->tensor.rank * sizeof *first->tensor.shape) != 0)
            return false;
    }
    return true;
}

/* The sums stay in registers: four tensors of 820 KB take half the time (tine ensemble
 * --batch 8 --channels 256). */
static void sum_few_floats(tine_value *const *items, size_t n, float *out) {
    const float *rows[FEW];
    for (size_t i = 0; i < n; i++) rows[i] = (const float *)items[i]->tensor.data;
    tine_vecmath(tine_kernel_choice()->f32)->sum(n, rows, (size_t)items[0]->tensor.elements, out);
}

static void sum_many(tine_value *const *items, size_t n, void *out) {
    int64_t elements = items[0]->tensor.elements;
    for (int64_t j = 0; j < elements; j += BLOCK) {
        double sums[BLOCK] = {0};
        int64_t width = elements - j < BLOCK ? elements - j : BLOCK;
        for (size_t i = 0; i < n; i++) add_rows(items[i], j, 1, width, 0, sums);
        store(items[0]->tensor.dtype, out, j, width, sums, 1);
    }
}

tine_value *tine_sum_of(tine_value *const *items, size_t n, bool *fits) {
    void *data;
    *fits = n > 0 && sum_fits(items, n);
    if (!*fits) return NULL;
    const tine_value *first = items[0];
    tine_value *out =
        tine_tensor_new(first->tensor.dtype, first->tensor.rank, first->tensor.shape, &data);
    if (!out) return NULL;
    if (first->tensor.dtype == TINE_F32 && n <= FEW)
        sum_few_floats(items, n, data);
    else
        sum_many(items, n, data);
    return out;
}

/* The dimensions one by one, in double precision until the last. */
static const tine_value *reduce_dims(const tine_value *x, const bool *gone, int count, double scale,
                                     tine_dtype t) {
    if (count == 0 || x->tensor.rank == 0) return reduce(x, 0, true, scale, t);
    for (int d = x->tensor.rank - 1; d >= 0 && x; d--)
        if (gone[d]) {
            count--;
            x = reduce(x, d, false, count ? 1 : scale, count ? TINE_F64 : t);
        }
    return x;
}

static tine_value *reduce_task(tine_task *task, bool mean) {
    const tine_value *x = tine_arg_tensor(task, 0, 0, -1), *keep = tine_arg(task, 2);
    bool gone[TINE_MAX_RANK] = {false};
    int64_t elements;
    if (!x) return NULL;
    bool given = tine_arg(task, 3)->kind != TINE_NONE, ints = !tine_dtype_floating(x->tensor.dtype);
    tine_dtype t = tine_arg_dtype_or(task, 3, !mean && ints ? TINE_I64 : x->tensor.dtype);
    if (!t) return NULL;
    if (mean && !tine_dtype_floating(t))
        return tine_arg_fail(task, given ? 3 : 0, "be of a floating-point dtype, not %s",
                             tine_dtype_name(t));
    if (keep->kind != TINE_BOOL)
        return tine_arg_fail(task, 2, "be bool, not %s", tine_kind_name(keep->kind));
    int count = reduced_dims(task, x, gone, &elements);
    if (count < 0) return NULL;
    /* PyTorch converts before it adds, but computes a mean in bf16 from float32. */
    tine_dtype first = mean && t == TINE_BF16 ? TINE_F32 : t;
    if (given && !(x = tine_converted(x, first))) return NULL;
    x = reduce_dims(x, gone, count, mean ? (double)elements : 1, t);
    if (!x || !(x = tine_converted(x, t))) return NULL;
    return keep->b ? (tine_value *)x : squeeze(x, gone);
}

#define REDUCED TINE_INPUT ", " TINE_DIM "=none, keepdim|keepdims=false, *, dtype=none"
TINE_BUILTIN(sum, REDUCED) { return reduce_task(task, false); }
TINE_BUILTIN(mean, REDUCED) { return reduce_task(task, true); }
