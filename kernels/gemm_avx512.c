/* AVX-512 micro-kernel, float32: 6 rows by 4 vectors of 16.
 *
 * 24 sums, 4 vectors of B and a broadcast of A fit the 32 registers. A step of k is 24 FMAs against
 * 4 loads of B and 6 broadcasts, so it is bound by the FMA pipes alone; 5 rows do as well (50 rows,
 * the tutorial's batch, are ten fives). */
#include "kernels/gemm_table.h"
#include "kernels/unroll.h"

#ifdef TINE_KERNELS_X86
#include <immintrin.h>

enum { MR = 6, NV = 4, NR = 16 * NV };

TINE_INLINE void tile(const struct tine_gemm_tile *t, const int rows) {
    __m512 sum[MR][NV];
    const float *a = t->a, *b = t->b;
    const char *ahead = t->ahead;
    const size_t k = t->k, lda = t->lda, step = t->ahead_step;
    TINE_UNROLL(MR)
    for (int r = 0; r < rows; r++) {
        TINE_UNROLL(NV)
        for (int j = 0; j < NV; j++)
            sum[r][j] = _mm512_loadu_ps(t->init + (size_t)r * t->ldinit + 16 * j);
    }
    TINE_UNROLL(MR)
    for (int r = 0; r < rows; r++) {
        TINE_UNROLL(NV)
        for (int j = 0; j < NV; j++)
            _mm_prefetch((const char *)(t->next_init + (size_t)r * t->ldinit + 16 * j),
                         _MM_HINT_T0);
    }
    for (size_t i = 0; i < k; i++) {
        __m512 bv[NV];
        TINE_UNROLL(NV)
        for (int j = 0; j < NV; j++) bv[j] = _mm512_loadu_ps(b + 16 * j);
        _mm_prefetch(ahead, _MM_HINT_T1);
        TINE_UNROLL(MR)
        for (int r = 0; r < rows; r++) {
            const __m512 av = _mm512_set1_ps(a[(size_t)r * lda + i]);
            TINE_UNROLL(NV)
            for (int j = 0; j < NV; j++) sum[r][j] = _mm512_fmadd_ps(av, bv[j], sum[r][j]);
        }
        b += NR;
        ahead += step;
    }
    TINE_UNROLL(MR)
    for (int r = 0; r < rows; r++) {
        TINE_UNROLL(NV)
        for (int j = 0; j < NV; j++)
            _mm512_storeu_ps(t->c + (size_t)r * t->ldc + 16 * j, sum[r][j]);
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

const struct tine_gemm_kernel tine_gemm_f32_avx512 = {
    .name = "gemm_f32_avx512_6x64",
    .isa = TINE_ISA_AVX512,
    .type = TINE_GEMM_F32,
    .mr = MR,
    .nr = NR,
    .kr = 1,
    .kc = 1024,
    .ahead_every = 1,
    .mc = 240,
    .micro = micro,
    .pack = pack,
};
#endif
