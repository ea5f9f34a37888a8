/* NEON micro-kernel, float32: 6 rows by 4 vectors of 4.
 *
 * 24 sums, 4 vectors of B and the rows' values of A fit the 32 registers. A value of A is loaded
 * into lane 0, which the multiply-add reads: loading it into all lanes (ld1r) would occupy a
 * vector pipe on Neoverse cores (Arm Neoverse N1 Software Optimization Guide, 3.17). */
#include "kernels/gemm_micro.h"
#include "kernels/isa.h"

#ifdef TINE_KERNELS_ARM64
#include <arm_neon.h>

enum { MR = 6, NV = 4, NR = 4 * NV };

TINE_INLINE void neon_tile(const struct tine_gemm_tile *t, const int rows) {
    float32x4_t sum[MR][NV];
    const float *a = t->a, *b = t->b;
    const char *next = t->prefetch;
    const size_t k = t->k, lda = t->lda;
    TINE_UNROLL(MR)
    for (int r = 0; r < rows; r++) {
        TINE_UNROLL(NV)
        for (int j = 0; j < NV; j++) sum[r][j] = vld1q_f32(t->init + (size_t)r * t->ldinit + 4 * j);
    }
    for (size_t i = 0; i < k; i++, b += NR, next += t->prefetch_step) {
        float av[MR];
        __builtin_prefetch(next, 0, 2);
        TINE_UNROLL(MR)
        for (int r = 0; r < rows; r++) av[r] = a[(size_t)r * lda + i];
        TINE_UNROLL(NV)
        for (int j = 0; j < NV; j++) {
            const float32x4_t bv = vld1q_f32(b + 4 * j);
            TINE_UNROLL(MR)
            for (int r = 0; r < rows; r++) sum[r][j] = vfmaq_n_f32(sum[r][j], bv, av[r]);
        }
    }
    TINE_UNROLL(MR)
    for (int r = 0; r < rows; r++) {
        TINE_UNROLL(NV)
        for (int j = 0; j < NV; j++) vst1q_f32(t->c + (size_t)r * t->ldc + 4 * j, sum[r][j]);
    }
}

static void neon_micro(const struct tine_gemm_tile *t) { TINE_GEMM_BY_ROWS(neon_tile, t) }

static void neon_pack(size_t k, const float *const *columns, ptrdiff_t stride_k, void *panel) {
    tine_gemm_pack_f32(k, columns, stride_k, panel, NR);
}

const struct tine_gemm_kernel tine_gemm_f32_neon = {
    .name = "gemm_f32_neon_6x16",
    .isa = TINE_ISA_NEON,
    .type = TINE_GEMM_F32,
    .mr = MR,
    .nr = NR,
    .kr = 1,
    .kc = 1024,
    .prefetch_every = 1,
    .mc = 240,
    .micro = neon_micro,
    .pack = neon_pack,
};
#endif
