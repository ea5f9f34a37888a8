/* sum and mean. Floats are added in double precision, in an order that depends on the shape
 * only, so a sum has the same bits on every worker. Ints are added as int64 and wrap, as in
 * PyTorch. */
#include <string.h>

#include "kernels/bf16.h"
#include "workers/builtin/builtin.h"

enum { BLOCK = 512, LANES = 32 };

typedef struct reduction {
    const tine_value *x;
    int64_t outer, n, inner;
    double scale; /* divides the sum; 1 for a sum */
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
    store(r->x->tensor.dtype, data, o, 1, sums, r->scale);
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
            store(r->x->tensor.dtype, data, o * r->inner + j, width, sums, r->scale);
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
 * them. */
static tine_value *reduce(const tine_value *x, int dim, bool whole, double scale) {
    int64_t shape[TINE_MAX_RANK];
    reduction r = {.x = x, .outer = 1, .n = x->tensor.elements, .inner = 1, .scale = scale};
    void *data;
    bool floating = tine_dtype_floating(x->tensor.dtype);
    if (!whole) tine_split_at(x, dim, &r.outer, &r.n, &r.inner);
    for (int i = 0; i < x->tensor.rank; i++) shape[i] = whole || i == dim ? 1 : x->tensor.shape[i];
    tine_value *out =
        tine_tensor_new(floating ? x->tensor.dtype : TINE_I64, x->tensor.rank, shape, &data);
    if (!out) return NULL;
    if (floating)
        reduce_floats(&r, data);
    else
        reduce_ints(&r, data);
    return out;
}

static tine_value *squeeze(tine_value *x, const bool *gone) {
    int64_t shape[TINE_MAX_RANK];
    int rank = 0;
    for (int i = 0; i < x->tensor.rank; i++)
        if (!gone[i]) shape[rank++] = x->tensor.shape[i];
    return tine_tensor_over(x->tensor.dtype, rank, shape, x->tensor.buffer, 0);
}

/* "x, dim=none, keepdim=false": dim an int, a list of ints, or none for all. */
static tine_value *reduce_task(tine_task *task, bool mean) {
    const tine_value *x = tine_arg_tensor(task, 0, 0, -1), *dim = tine_arg(task, 1);
    int64_t dims[TINE_MAX_RANK], n = 1;
    bool gone[TINE_MAX_RANK] = {false};
    int count = 0;
    if (!x) return NULL;
    if (mean && !tine_dtype_floating(x->tensor.dtype))
        return tine_arg_fail(task, 0, "be of a floating-point dtype, not %s",
                             tine_dtype_name(x->tensor.dtype));
    if (dim->kind != TINE_NONE && (count = tine_arg_ints(task, 1, dims, TINE_MAX_RANK)) < 0)
        return NULL;
    bool keep = tine_as_bool(tine_arg(task, 2)), whole = count == 0;
    for (int i = 0; i < count; i++) {
        int d = tine_dim_of(task, dims[i], x->tensor.rank);
        if (d < 0) return NULL;
        if (!tine_dim_mark(task, d, gone)) return NULL;
    }
    for (int i = 0; i < x->tensor.rank; i++) {
        if (whole) gone[i] = true;
        if (gone[i]) n *= x->tensor.shape[i];
    }
    double scale = mean ? (double)n : 1;
    if (whole || x->tensor.rank == 0) {
        tine_value *r = reduce(x, 0, true, scale);
        return !r || keep ? r : squeeze(r, gone);
    }
    tine_value *r = (tine_value *)x;
    for (int d = x->tensor.rank - 1; d >= 0 && r; d--)
        if (gone[d] && !(r = reduce(r, d, false, --count == 0 ? scale : 1))) return NULL;
    return keep ? r : squeeze(r, gone);
}

TINE_REPEATABLE_FUNCTION(sum, "x, dim=none, keepdim=false") { return reduce_task(task, false); }
TINE_REPEATABLE_FUNCTION(mean, "x, dim=none, keepdim=false") { return reduce_task(task, true); }
