/* matmul on OpenBLAS: vectors, matrices, and batches of matrices whose batch dimensions are
 * broadcast. bf16 is computed in float32, ints as int64, which wrap. BLAS takes sizes up to
 * 2^31 - 1. */
#include <limits.h>
#include <string.h>

#include "kernels/blas.h"
#include "workers/builtin/builtin.h"

typedef struct product {
    int64_t m, k, n;
    int batch_rank, rank;
    int64_t shape[TINE_MAX_RANK]; /* of the result: the batch's dimensions, then the matrix's */
    /* elements from one matrix to the next along a dimension of the batch; 0: the same one */
    int64_t step_a[TINE_MAX_RANK], step_b[TINE_MAX_RANK];
} product;

static bool product_batch(tine_task *task, product *p, const tine_value *a, const tine_value *b) {
    int ra = a->tensor.rank > 2 ? a->tensor.rank - 2 : 0,
        rb = b->tensor.rank > 2 ? b->tensor.rank - 2 : 0;
    int64_t step_a = p->m * p->k, step_b = p->k * p->n;
    p->batch_rank = ra > rb ? ra : rb;
    for (int i = 1; i <= p->batch_rank; i++) {
        int64_t x = i <= ra ? a->tensor.shape[ra - i] : 1,
                y = i <= rb ? b->tensor.shape[rb - i] : 1;
        int to = p->batch_rank - i;
        if (x != y && x != 1 && y != 1) {
            tine_fail(task,
                      "matmul(): arguments 'input' and 'other' must have batch dimensions that are "
                      "equal or 1, but in dimension %d they have %lld and %lld",
                      to, (long long)x, (long long)y);
            return false;
        }
        p->shape[to] = x == 1 ? y : x;
        p->step_a[to] = x == 1 ? 0 : step_a;
        p->step_b[to] = y == 1 ? 0 : step_b;
        step_a *= x;
        step_b *= y;
    }
    return true;
}

static bool product_init(tine_task *task, product *p, const tine_value *a, const tine_value *b) {
    int ra = a->tensor.rank, rb = b->tensor.rank;
    const int64_t *sa = a->tensor.shape, *sb = b->tensor.shape;
    if (ra == 0 || rb == 0) {
        tine_fail(task,
                  "matmul(): arguments 'input' and 'other' must have rank 1 or more, not %d and %d",
                  ra, rb);
        return false;
    }
    p->m = ra == 1 ? 1 : sa[ra - 2];
    p->k = sa[ra - 1];
    p->n = rb == 1 ? 1 : sb[rb - 1];
    if (p->k != sb[rb == 1 ? 0 : rb - 2]) {
        tine_fail(task,
                  "matmul(): argument 'input' must have as many columns as 'other' has rows, but "
                  "their matrices are %lldx%lld and %lldx%lld",
                  (long long)p->m, (long long)p->k, (long long)sb[rb == 1 ? 0 : rb - 2],
                  (long long)p->n);
        return false;
    }
    if (p->m > INT_MAX || p->n > INT_MAX || p->k > INT_MAX) {
        tine_fail(task,
                  "matmul(): arguments 'input' and 'other' must have at most %d rows and columns",
                  INT_MAX);
        return false;
    }
    if (!product_batch(task, p, a, b)) return false;
    p->rank = p->batch_rank;
    if (ra > 1) p->shape[p->rank++] = p->m;
    if (rb > 1) p->shape[p->rank++] = p->n;
    return true;
}

static void multiply_ints(const product *p, const int64_t *a, const int64_t *b, uint64_t *c) {
    memset(c, 0, (size_t)(p->m * p->n) * sizeof *c);
    for (int64_t i = 0; i < p->m; i++)
        for (int64_t k = 0; k < p->k; k++)
            for (int64_t j = 0; j < p->n; j++)
                c[i * p->n + j] += (uint64_t)a[i * p->k + k] * (uint64_t)b[k * p->n + j];
}

/* One matrix by another. */
static void multiply(const product *p, tine_dtype t, const void *a, int64_t at_a, const void *b,
                     int64_t at_b, void *c, int64_t at_c) {
    int m = (int)p->m, n = (int)p->n, k = (int)p->k, lda = k > 0 ? k : 1;
    switch (t) {
    case TINE_F32:
        tine_blas()->cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, n, k, 1,
                                 (const float *)a + at_a, lda, (const float *)b + at_b, n, 0,
                                 (float *)c + at_c, n);
        break;
    case TINE_F64:
        tine_blas()->cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, n, k, 1,
                                 (const double *)a + at_a, lda, (const double *)b + at_b, n, 0,
                                 (double *)c + at_c, n);
        break;
    default:
        multiply_ints(p, (const int64_t *)a + at_a, (const int64_t *)b + at_b,
                      (uint64_t *)c + at_c);
    }
}

/* All matrices of the batch; none of them is empty. */
static void multiply_batch(const product *p, tine_dtype t, const void *a, const void *b, void *c) {
    int64_t index[TINE_MAX_RANK] = {0}, at_a = 0, at_b = 0, at_c = 0;
    for (int d = 0; d >= 0;) {
        multiply(p, t, a, at_a, b, at_b, c, at_c);
        at_c += p->m * p->n;
        for (d = p->batch_rank - 1; d >= 0; d--) {
            at_a += p->step_a[d], at_b += p->step_b[d];
            if (++index[d] < p->shape[d]) break;
            at_a -= p->step_a[d] * p->shape[d], at_b -= p->step_b[d] * p->shape[d];
            index[d] = 0;
        }
    }
}

TINE_BUILTIN(matmul, TINE_INPUT ", " TINE_OTHER) {
    const tine_value *a = tine_arg_tensor(task, 0, 0, -1), *b = tine_arg_tensor(task, 1, 0, -1);
    product p = {0};
    void *data;
    if (!a || !b) return NULL;
    tine_dtype t = a->tensor.dtype;
    if (t != b->tensor.dtype)
        return tine_fail(task,
                         "matmul(): arguments 'input' and 'other' must have one "
                         "dtype, but have %s and %s",
                         tine_dtype_name(t), tine_dtype_name(b->tensor.dtype));
    tine_dtype inner = t == TINE_BF16 ? TINE_F32 : tine_dtype_floating(t) ? t : TINE_I64;
    if (!product_init(task, &p, a, b)) return NULL;
    if (inner != TINE_I64 && !tine_blas())
        return tine_fail(task, "matmul(): libopenblas.so.0 cannot be loaded; install OpenBLAS "
                               "(in Debian libopenblas0)");
    if (!(a = tine_converted(a, inner)) || !(b = tine_converted(b, inner))) return NULL;
    tine_value *out = tine_tensor_new(inner, p.rank, p.shape, &data);
    if (!out) return NULL;
    if (p.k == 0 && out->tensor.elements)
        memset(data, 0, (size_t)out->tensor.elements * tine_dtype_size(inner));
    else if (out->tensor.elements)
        multiply_batch(&p, inner, a->tensor.data, b->tensor.data, data);
    return (tine_value *)tine_converted(out, t);
}
