/* AVX-512 micro-kernel for float32: 6 rows by 4 vectors of 16, or 2 rows by 8.
 *
 * 24 sums, 4 vectors of B and a broadcast of A fit the 32 registers. A step of k is 24 FMAs against
 * 4 loads of B and 6 broadcasts, so only the FMA pipes limit it. 5 rows are as fast: 50 rows, the
 * tutorial's batch, are ten tiles of 5. With 1 and 2 rows reading B limits it: each sum waits 4
 * cycles for the one before, and 4 sums of a row have no slack when a line is late. Two panels at a
 * time read B from the level-2 cache at 45 and 44 bytes a cycle where one reads 38 and 39 (256
 * channels, Emerald Rapids). */
#include "kernels/gemm_micro.h"
#include "kernels/isa.h"

#ifdef TINE_KERNELS_X86
#include <immintrin.h>

enum { MR = 6, NV = 4, NR = 16 * NV, PAIRED_ROWS = 2 };

TINE_INLINE void avx512_panels(const struct tine_gemm_tile *t, const int rows, const int panels) {
    const int nv = panels * NV;
    __m512 sum[MR][2 * NV];
    const float *a = t->a, *b = t->b, *second = t->second;
    const char *next = t->prefetch;
    const size_t k = t->k, lda = t->lda, step = t->prefetch_step;
    TINE_UNROLL(MR)
    for (int r = 0; r < rows; r++) {
        TINE_UNROLL(2 * NV)
        for (int j = 0; j < nv; j++)
            sum[r][j] = _mm512_loadu_ps(t->init + (size_t)r * t->ldinit + 16 * j);
    }
    /* 2 and 3 rows take 8 and 11 % less time of a forward of 128 channels, others the same */
    TINE_UNROLL_BY_4
    for (size_t i = 0; i < k; i++) {
        __m512 bv[2 * NV];
        TINE_UNROLL(2 * NV)
        for (int j = 0; j < nv; j++) bv[j] = _mm512_loadu_ps((j < NV ? b : second) + 16 * (j % NV));
        _mm_prefetch(next, _MM_HINT_T1);
        TINE_UNROLL(MR)
        for (int r = 0; r < rows; r++) {
            const __m512 av = _mm512_set1_ps(a[(size_t)r * lda + i]);
            TINE_UNROLL(2 * NV)
            for (int j = 0; j < nv; j++) sum[r][j] = _mm512_fmadd_ps(av, bv[j], sum[r][j]);
        }
        b += NR;
        if (panels == 2) second += NR;
        next += step;
    }
    TINE_UNROLL(MR)
    for (int r = 0; r < rows; r++) {
        TINE_UNROLL(2 * NV)
        for (int j = 0; j < nv; j++)
            _mm512_storeu_ps(t->c + (size_t)r * t->ldc + 16 * j, sum[r][j]);
    }
}

TINE_INLINE void avx512_tile(const struct tine_gemm_tile *t, const int rows) {
    if (rows <= PAIRED_ROWS && t->second)
        avx512_panels(t, rows, 2);
    else
        avx512_panels(t, rows, 1);
}

static void avx512_micro(const struct tine_gemm_tile *t) { TINE_GEMM_BY_ROWS(avx512_tile, t) }

static void avx512_pack(size_t k, const float *const *columns, ptrdiff_t stride_k, void *panel) {
    tine_gemm_pack_f32(k, columns, stride_k, panel, NR);
}

const struct tine_gemm_kernel tine_gemm_f32_avx512 = {
    .name = "gemm_f32_avx512_6x64",
    .isa = TINE_ISA_AVX512,
    .type = TINE_GEMM_F32,
    .mr = MR,
    .nr = NR,
    .kr = 1,
    .kc = 1024,
    .prefetch_every = 1,
    .mc = 240,
    .paired_rows = PAIRED_ROWS,
    .micro = avx512_micro,
    .pack = avx512_pack,
};
#endif
