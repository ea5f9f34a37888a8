/* AVX2 + FMA micro-kernel, float32: 6 rows by 2 vectors of 8. 12 sums, 2 vectors of B and 2
 * broadcasts fill the 16 registers; 12 sums also cover the latency of two FMA pipes (8 to 10 in
 * flight). */
#include "kernels/gemm_table.h"
#include "kernels/unroll.h"

#ifdef TINE_KERNELS_X86
#include <immintrin.h>

enum { MR = 6, NV = 2, NR = 8 * NV };

TINE_INLINE void step_k(__m256 sum[MR][NV], const float *a, size_t lda, const float *b,
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

TINE_INLINE void tile(const struct tine_gemm_tile *t, const int rows) {
    __m256 sum[MR][NV];
    const float *a = t->a, *b = t->b;
    const char *ahead = t->ahead;
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
        _mm_prefetch(ahead, _MM_HINT_T1);
        TINE_UNROLL(4)
        for (int u = 0; u < 4; u++, b += NR) step_k(sum, a + i + (size_t)u, lda, b, rows);
        ahead += t->ahead_step;
    }
    for (; i < k; i++, b += NR) step_k(sum, a + i, lda, b, rows);
    TINE_UNROLL(MR)
    for (int r = 0; r < rows; r++) {
        TINE_UNROLL(NV)
        for (int j = 0; j < NV; j++) _mm256_storeu_ps(t->c + (size_t)r * t->ldc + 8 * j, sum[r][j]);
    }
}

static void micro(const struct tine_gemm_tile *t) {
    switch (t->rows) {
    case 1: tile(t, 1); break;
    case 2: tile(t, 2); break;
    case 3: tile(t, 3); break;
    case 4: tile(t, 4); break;
    case 5: tile(t, 5); break;
    default: tile(t, 6); break;
    }
}

static void pack(size_t k, const float *const *columns, ptrdiff_t stride_k, void *panel) {
    float *out = panel;
    for (size_t i = 0; i < k; i++)
        for (int j = 0; j < NR; j++) *out++ = columns[j] ? columns[j][(ptrdiff_t)i * stride_k] : 0;
}

const struct tine_gemm_kernel tine_gemm_f32_avx2 = {
    .name = "gemm_f32_avx2_6x16",
    .isa = TINE_ISA_AVX2,
    .type = TINE_GEMM_F32,
    .mr = MR,
    .nr = NR,
    .kr = 1,
    .kc = 1024,
    .ahead_every = 4,
    .mc = 240,
    .micro = micro,
    .pack = pack,
};
#endif
