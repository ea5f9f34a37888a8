/* AVX-512 micro-kernel for bf16: B is widened to float32 and multiplied in float32. Tiles of 6 rows
 * by 4 vectors of 16, as in gemm_avx512.c.
 *
 * A bf16 is the upper half of a float32. A product of two bf16 values is exact in float32, so that
 * an element has one rounding for each k, in ascending order: the bits of the float32 kernel on
 * rounded operands. It needs half the memory of that, and where the dot products of AVX512_BF16 are
 * slow it is twice as fast as they (isa.h).
 *
 * B is packed in pairs of k, as AVX512_BF16 has it. Widening takes the ports of the FMAs: 4 of 28
 * instructions. So the first tile of a pass stores what it has widened, and the others, in the
 * float32 kernel, read that. */
#include "kernels/gemm_micro.h"
#include "kernels/isa.h"

#ifdef TINE_KERNELS_X86
#include <immintrin.h>

enum { MR = 6, NV = 4, NR = 16 * NV, KC_BF16 = TINE_GEMM_WIDENED_MAX / NR };

TINE_INLINE void avx512_widened_step(__m512 sum[MR][NV], const float *a, size_t lda,
                                     const __m512i pairs[NV], const bool odd, float *widened,
                                     const int rows) {
    const __m512i upper = _mm512_set1_epi32((int)0xffff0000);
    __m512 bv[NV];
    TINE_UNROLL(NV)
    for (int j = 0; j < NV; j++) {
        bv[j] = _mm512_castsi512_ps(odd ? _mm512_and_si512(pairs[j], upper)
                                        : _mm512_slli_epi32(pairs[j], 16));
        if (widened) _mm512_storeu_ps(widened + 16 * j, bv[j]);
    }
    TINE_UNROLL(MR)
    for (int r = 0; r < rows; r++) {
        const __m512 av = _mm512_set1_ps(a[(size_t)r * lda]);
        TINE_UNROLL(NV)
        for (int j = 0; j < NV; j++) sum[r][j] = _mm512_fmadd_ps(av, bv[j], sum[r][j]);
    }
}

TINE_INLINE void avx512_pairs_load(const uint16_t *b, __m512i pairs[NV]) {
    TINE_UNROLL(NV)
    for (int j = 0; j < NV; j++) pairs[j] = _mm512_loadu_si512(b + 32 * j);
}

TINE_INLINE void avx512_widened_tile(const struct tine_gemm_tile *t, float *widened,
                                     const int rows) {
    __m512 sum[MR][NV];
    __m512i pairs[NV];
    const float *a = t->a;
    const uint16_t *b = t->b;
    const char *next = t->prefetch;
    const size_t even = t->k & ~(size_t)1, lda = t->lda, step = t->prefetch_step;
    TINE_UNROLL(MR)
    for (int r = 0; r < rows; r++) {
        TINE_UNROLL(NV)
        for (int j = 0; j < NV; j++)
            sum[r][j] = _mm512_loadu_ps(t->init + (size_t)r * t->ldinit + 16 * j);
    }
    for (size_t i = 0; i < even; i += 2) {
        avx512_pairs_load(b, pairs);
        _mm_prefetch(next, _MM_HINT_T1);
        avx512_widened_step(sum, a + i, lda, pairs, false, widened, rows);
        if (widened) widened += NR;
        avx512_widened_step(sum, a + i + 1, lda, pairs, true, widened, rows);
        if (widened) widened += NR;
        b += 2 * NR;
        next += step;
    }
    if (t->k > even) {
        avx512_pairs_load(b, pairs);
        avx512_widened_step(sum, a + even, lda, pairs, false, widened, rows);
    }
    TINE_UNROLL(MR)
    for (int r = 0; r < rows; r++) {
        TINE_UNROLL(NV)
        for (int j = 0; j < NV; j++)
            _mm512_storeu_ps(t->c + (size_t)r * t->ldc + 16 * j, sum[r][j]);
    }
}

TINE_INLINE void avx512_widening_tile(const struct tine_gemm_tile *t, const int rows) {
    if (t->widened)
        avx512_widened_tile(t, t->widened, rows);
    else
        avx512_widened_tile(t, NULL, rows);
}

static void avx512_widening_micro(const struct tine_gemm_tile *t) {
    TINE_GEMM_BY_ROWS(avx512_widening_tile, t)
}

static void avx512_pack_bf16(size_t k, const float *const *columns, ptrdiff_t stride_k,
                             void *panel) {
    tine_gemm_pack_bf16(k, columns, stride_k, panel, NR);
}

const struct tine_gemm_kernel tine_gemm_bf16_avx512 = {
    .name = "gemm_bf16_fma_avx512_6x64",
    .isa = TINE_ISA_AVX512,
    .type = TINE_GEMM_BF16,
    .mr = MR,
    .nr = NR,
    .kr = 2,
    .kc = KC_BF16,
    .prefetch_every = 1,
    .mc = 240,
    .micro = avx512_widening_micro,
    .widens_for = &tine_gemm_f32_avx512,
    .pack = avx512_pack_bf16,
};
#endif
