/* The reference micro-kernel in plain C, for any CPU; every other kernel is tested against the same bounds as this one. */
#include "kernels/gemm_table.h"

enum { MR = 4, NR = 16 };

static void micro(const struct tine_gemm_tile *t) {
    const float *a = t->a;
    for (size_t r = 0; r < t->rows; r++) {
        float sum[NR];
        const float *b = t->b, *init = t->init + r * t->ldinit;
        for (int j = 0; j < NR; j++) sum[j] = init[j];
        for (size_t k = 0; k < t->k; k++, b += NR) {
            const float x = a[r * t->lda + k];
            for (int j = 0; j < NR; j++) sum[j] += x * b[j];
        }
        for (int j = 0; j < NR; j++) t->c[r * t->ldc + j] = sum[j];
    }
}

static void pack(size_t k, const float *const *columns, ptrdiff_t stride_k, void *panel) {
    float *out = panel;
    for (size_t i = 0; i < k; i++)
        for (int j = 0; j < NR; j++) *out++ = columns[j] ? columns[j][(ptrdiff_t)i * stride_k] : 0;
}

const struct tine_gemm_kernel tine_gemm_f32_portable = {
    .name = "gemm_f32_portable_4x16",
    .isa = TINE_ISA_PORTABLE,
    .type = TINE_GEMM_F32,
    .mr = MR,
    .nr = NR,
    .kr = 1,
    .kc = 1024,
    .ahead_every = 1,
    .mc = 128,
    .micro = micro,
    .pack = pack,
};
