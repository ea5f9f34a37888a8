/* matmul on OpenBLAS: vectors, matrices, and batches of matrices whose batch dimensions are equal
 * or are there on one side only. bf16 is computed in float32. BLAS takes sizes up to 2^31 - 1. */
#include <cblas.h>
#include <limits.h>
#include <string.h>

#include "workers/builtin/builtin.h"

typedef struct product {
    int64_t batch, m, k, n;
    int64_t step_a, step_b; /* elements from one matrix of the batch to the next; 0: the same one */
    int rank;
    int64_t shape[TINE_MAX_RANK];
} product;

static int64_t leading(const tine_value *v) {
    int64_t n = 1;
    for (int i = 0; i < v->tensor.rank - 2; i++) n *= v->tensor.shape[i];
    return n;
}

static bool same_batch(const tine_value *a, const tine_value *b) {
    if (a->tensor.rank != b->tensor.rank) return false;
    for (int i = 0; i < a->tensor.rank - 2; i++)
        if (a->tensor.shape[i] != b->tensor.shape[i]) return false;
    return true;
}

static bool product_init(tine_task *task, product *p, const tine_value *a, const tine_value *b) {
    int ra = a->tensor.rank, rb = b->tensor.rank;
    const int64_t *sa = a->tensor.shape, *sb = b->tensor.shape;
    if (ra == 0 || rb == 0) {
        tine_fail(task, "matmul(): arguments 'a' and 'b' must have rank 1 or more, not %d and %d",
                  ra, rb);
        return false;
    }
    p->m = ra == 1 ? 1 : sa[ra - 2];
    p->k = sa[ra - 1];
    p->n = rb == 1 ? 1 : sb[rb - 1];
    if (p->k != sb[rb == 1 ? 0 : rb - 2]) {
        tine_fail(task,
                  "matmul(): argument 'a' must have as many columns as 'b' has rows, but their "
                  "matrices are %lldx%lld and %lldx%lld",
                  (long long)p->m, (long long)p->k, (long long)sb[rb == 1 ? 0 : rb - 2],
                  (long long)p->n);
        return false;
    }
    if (ra > 2 && rb > 2 && !same_batch(a, b)) {
        tine_fail(task, "matmul(): arguments 'a' and 'b' must have equal batch dimensions");
        return false;
    }
    if (p->m > INT_MAX || p->n > INT_MAX || p->k > INT_MAX) {
        tine_fail(task, "matmul(): arguments 'a' and 'b' must have at most %d rows and columns",
                  INT_MAX);
        return false;
    }
    const tine_value *batched = ra > 2 ? a : b;
    p->batch = leading(batched);
    p->step_a = ra > 2 ? p->m * p->k : 0;
    p->step_b = rb > 2 ? p->k * p->n : 0;
    p->rank = 0;
    for (int i = 0; i < batched->tensor.rank - 2; i++)
        p->shape[p->rank++] = batched->tensor.shape[i];
    if (ra > 1) p->shape[p->rank++] = p->m;
    if (rb > 1) p->shape[p->rank++] = p->n;
    return true;
}

static void multiply(const product *p, tine_dtype t, const void *a, const void *b, void *c) {
    int m = (int)p->m, n = (int)p->n, k = (int)p->k, lda = k > 0 ? k : 1, ldb = n > 0 ? n : 1;
    for (int64_t i = 0; i < p->batch; i++) {
        int64_t at = i * p->m * p->n;
        if (t == TINE_F32)
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, n, k, 1,
                        (const float *)a + i * p->step_a, lda, (const float *)b + i * p->step_b,
                        ldb, 0, (float *)c + at, ldb);
        else
            cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, n, k, 1,
                        (const double *)a + i * p->step_a, lda, (const double *)b + i * p->step_b,
                        ldb, 0, (double *)c + at, ldb);
    }
}

TINE_REPEATABLE_FUNCTION(matmul, "a, b") {
    const tine_value *a = tine_arg_tensor(task, 0, 0, -1), *b = tine_arg_tensor(task, 1, 0, -1);
    product p;
    void *data;
    if (!a || !b) return NULL;
    tine_dtype t = a->tensor.dtype;
    if (t != b->tensor.dtype || !tine_dtype_floating(t))
        return tine_fail(task,
                         "matmul(): arguments 'a' and 'b' must have one floating-point dtype, but "
                         "have %s and %s",
                         tine_dtype_name(t), tine_dtype_name(b->tensor.dtype));
    tine_dtype inner = t == TINE_BF16 ? TINE_F32 : t;
    if (!product_init(task, &p, a, b)) return NULL;
    if (!(a = tine_converted(a, inner)) || !(b = tine_converted(b, inner))) return NULL;
    tine_value *out = tine_tensor_new(inner, p.rank, p.shape, &data);
    if (!out) return NULL;
    if (p.k == 0 && out->tensor.elements)
        memset(data, 0, (size_t)out->tensor.elements * tine_dtype_size(inner));
    else if (out->tensor.elements)
        multiply(&p, inner, a->tensor.data, b->tensor.data, data);
    return (tine_value *)tine_converted(out, t);
}
