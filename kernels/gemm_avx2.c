/* AVX2 + FMA micro-kernel, float32: 6 rows by 2 vectors of 8. 12 sums, 2 vectors of B and 2
 * broadcasts of A fill the 16 registers. 12 sums also cover the latency of two FMA pipes, which
 * hold 8 to 10 instructions in flight (agner.org/optimize/instruction_tables.pdf). */
#include "kernels/gemm_micro.h"
#include "kernels/isa.h"

#ifdef TINE_KERNELS_X86
#include <immintrin.h>

enum { MR = 6, NV = 2, NR = 8 * NV };

TINE_INLINE void avx2_step(__m256 sum[MR][NV], const float *a, size_t lda, const float *b,
                           const int rows) {
    __m256 bv[NV];
    TINE_UNROLL(NV)
    for (int j = 0; j < NV; j++) bv[j] = _mm256_loadu_ps(b + 8 * j);
    TINE_UNROLL(MR)
    for (int r = 0; r < rows; r++) {
        const __m256 av = _mm256_broadcast_ss(a + (size_t)r * lda);
        TINE_UNROLL(NV)
        for (int j = 0; j < NV; j++) sum[r][j] = _mm256_fmadd_ps(av, bv[j], sum[r][j]);
    }
}

TINE_INLINE void avx2_tile(const struct tine_gemm_tile *t, const int rows) {
    __m256 sum[MR][NV];
    const float *a = t->a, *b = t->b;
    const char *next = t->prefetch;
    const size_t k = t->k, lda = t->lda;
    TINE_UNROLL(MR)
    for (int r = 0; r < rows; r++) {
        TINE_UNROLL(NV)
        for (int j = 0; j < NV; j++)
            sum[r][j] = _mm256_loadu_ps(t->init + (size_t)r * t->ldinit + 8 * j);
    }
    TINE_UNROLL(MR)
    for (int r = 0; r < rows; r++)
        _mm_prefetch((const char *)(t->next_init + (size_t)r * t->ldinit), _MM_HINT_T0);
    size_t i = 0;
    for (; i + 4 <= k; i += 4) {
        _mm_prefetch(next, _MM_HINT_T1);
        TINE_UNROLL(4)
        for (int u = 0; u < 4; u++, b += NR) avx2_step(sum, a + i + (size_t)u, lda, b, rows);
        next += t->prefetch_step;
    }
    for (; i < k; i++, b += NR) avx2_step(sum, a + i, lda, b, rows);
    TINE_UNROLL(MR)
    for (int r = 0; r < rows; r++) {
        TINE_UNROLL(NV)
        for (int j = 0; j < NV; j++) _mm256_storeu_ps(t->c + (size_t)r * t->ldc + 8 * j, sum[r][j]);
    }
}

static void avx2_micro(const struct tine_gemm_tile *t) { TINE_GEMM_BY_ROWS(avx2_tile, t) }

static void avx2_pack(size_t k, const float *const *columns, ptrdiff_t stride_k, void *panel) {
    tine_gemm_pack_f32(k, columns, stride_k, panel, NR);
}

const struct tine_gemm_kernel tine_gemm_f32_avx2 = {
    .name = "gemm_f32_avx2_6x16",
    .isa = TINE_ISA_AVX2,
    .type = TINE_GEMM_F32,
    .mr = MR,
    .nr = NR,
    .kr = 1,
    .kc = 1024,
    .prefetch_every = 4,
    .mc = 240,
    .micro = avx2_micro,
    .pack = avx2_pack,
};
#endif
