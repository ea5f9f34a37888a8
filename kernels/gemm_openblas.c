/* cblas_sgemm as a kernel: the fallback where no vector kernel of Tine runs, and the reference of
 * `tine bench lstm`. OpenBLAS packs B at every call and chooses its method by the shape, so the
 * bits of a row may depend on the number of rows, unlike with the other kernels. */
#include "kernels/blas.h"
#include "kernels/gemm.h"
#include "kernels/isa.h"

#include <limits.h>
#include <string.h>

enum { NR = 64 };

/* A panel is NR columns one after the other: B as a whole is one row-major n x k matrix. */
static void openblas_pack(size_t k, const float *const *columns, ptrdiff_t stride_k, void *panel) {
    float *out = panel;
    for (int j = 0; j < NR; j++)
        for (size_t i = 0; i < k; i++)
            *out++ = columns[j] ? columns[j][(ptrdiff_t)i * stride_k] : 0;
}

static size_t size_min(size_t a, size_t b) { return a < b ? a : b; }

static void openblas_whole(const struct tine_packed *b, size_t first_panel, size_t panels, size_t m,
                           const float *a, size_t lda, const float *init, size_t ldinit, float *c,
                           size_t ldc) {
    const size_t first = first_panel * NR, n = size_min(b->n - first, panels * NR);
    const float *columns = (const float *)b->data + first * b->k;
    for (size_t r = 0; r < m && !(init == c && ldinit == ldc); r++) {
        if (init)
            memcpy(c + r * ldc, init + r * ldinit, n * sizeof *c);
        else
            memset(c + r * ldc, 0, n * sizeof *c);
    }
    /* Sizes in CBLAS are int: blocks of 2^20 fit. */
    const size_t block = 1 << 20;
    for (size_t r = 0; r < m && b->k && lda <= INT_MAX && ldc <= INT_MAX; r += block)
        for (size_t j = 0; j < n; j += block)
            tine_blas()->cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans,
                                     (int)size_min(m - r, block), (int)size_min(n - j, block),
                                     (int)b->k, 1, a + r * lda, (int)lda, columns + j * b->k,
                                     (int)b->k, 1, c + r * ldc + j, (int)ldc);
}

const struct tine_gemm_kernel tine_gemm_f32_openblas = {
    .name = "gemm_f32_openblas",
    .isa = TINE_ISA_OPENBLAS,
    .type = TINE_GEMM_F32,
    .mr = 1,
    .nr = NR,
    .kr = 1,
    .kc = 1024,
    .mc = (size_t)1 << 20,
    .pack = openblas_pack,
    .whole = openblas_whole,
};
