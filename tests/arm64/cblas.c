/* OpenBLAS for kernels/gemm_openblas.c, in place of kernels/blas.c: cblas_sgemm, row-major, B
 * transposed, beta 1. */
#include <stddef.h>

#include "kernels/blas.h"

static void sgemm(enum CBLAS_ORDER order, enum CBLAS_TRANSPOSE trans_a,
                  enum CBLAS_TRANSPOSE trans_b, blasint m, blasint n, blasint k, float alpha,
                  const float *a, blasint lda, const float *b, blasint ldb, float beta, float *c,
                  blasint ldc) {
    (void)order, (void)trans_a, (void)trans_b, (void)beta;
    for (blasint i = 0; i < m; i++)
        for (blasint j = 0; j < n; j++) {
            float sum = c[i * ldc + j];
            for (blasint p = 0; p < k; p++) sum += alpha * a[i * lda + p] * b[j * ldb + p];
            c[i * ldc + j] = sum;
        }
}

const struct tine_blas *tine_blas(void) {
    static const struct tine_blas blas = {.cblas_sgemm = sgemm};
    return &blas;
}
void tine_blas_threads(int n) { (void)n; }
