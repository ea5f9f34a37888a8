/* AVX512_BF16 micro-kernel: bf16 operands, float32 sums, 6 rows by 4 vectors of 16; a step is two
 * values of k.
 *
 * VDPBF16PS adds two products to each float32 sum. It treats denormals as zero and rounds to
 * nearest even whatever MXCSR says (Intel 64 and IA-32 Architectures Software Developer's Manual,
 * volume 2). */
#include "kernels/gemm_micro.h"
#include "kernels/isa.h"

#ifdef TINE_KERNELS_X86
#include <immintrin.h>

enum { MR = 6, NV = 4, NR = 16 * NV };

/* Two neighbouring values of A as one 32-bit lane. */
TINE_INLINE __m512bh bf16_pair(const uint16_t *a) {
    int32_t two;
    memcpy(&two, a, sizeof two);
    return (__m512bh)_mm512_set1_epi32(two);
}

TINE_INLINE void bf16_load_b(const uint16_t *b, __m512bh bv[NV]) {
    TINE_UNROLL(NV)
    for (int j = 0; j < NV; j++) bv[j] = (__m512bh)_mm512_loadu_si512(b + 32 * j);
}

TINE_INLINE void avx512_bf16_tile(const struct tine_gemm_tile *t, const int rows) {
    __m512 sum[MR][NV];
    __m512bh bv[NV];
    const uint16_t *a = t->a, *b = t->b;
    const char *next = t->prefetch;
    const size_t even = t->k & ~(size_t)1, lda = t->lda, step = t->prefetch_step;
    TINE_UNROLL(MR)
    for (int r = 0; r < rows; r++) {
        TINE_UNROLL(NV)
        for (int j = 0; j < NV; j++)
            sum[r][j] = _mm512_loadu_ps(t->init + (size_t)r * t->ldinit + 16 * j);
    }
    for (size_t i = 0; i < even; i += 2) {
        bf16_load_b(b, bv);
        _mm_prefetch(next, _MM_HINT_T1);
        TINE_UNROLL(MR)
        for (int r = 0; r < rows; r++) {
            const __m512bh av = bf16_pair(a + (size_t)r * lda + i);
            TINE_UNROLL(NV)
            for (int j = 0; j < NV; j++) sum[r][j] = _mm512_dpbf16_ps(sum[r][j], av, bv[j]);
        }
        b += 2 * NR;
        next += step;
    }
    if (t->k > even) { /* an odd k: the second value of the last pair is 0 in B and not read in A */
        bf16_load_b(b, bv);
        TINE_UNROLL(MR)
        for (int r = 0; r < rows; r++) {
            const __m512bh av = (__m512bh)_mm512_set1_epi32(a[(size_t)r * lda + even]);
            TINE_UNROLL(NV)
            for (int j = 0; j < NV; j++) sum[r][j] = _mm512_dpbf16_ps(sum[r][j], av, bv[j]);
        }
    }
    TINE_UNROLL(MR)
    for (int r = 0; r < rows; r++) {
        TINE_UNROLL(NV)
        for (int j = 0; j < NV; j++)
            _mm512_storeu_ps(t->c + (size_t)r * t->ldc + 16 * j, sum[r][j]);
    }
}

static void avx512_bf16_micro(const struct tine_gemm_tile *t) {
    TINE_GEMM_BY_ROWS(avx512_bf16_tile, t)
}

static void avx512_bf16_pack(size_t k, const float *const *columns, ptrdiff_t stride_k,
                             void *panel) {
    tine_gemm_pack_bf16(k, columns, stride_k, panel, NR);
}

const struct tine_gemm_kernel tine_gemm_bf16_avx512_bf16 = {
    .name = "gemm_bf16_avx512_6x64",
    .isa = TINE_ISA_AVX512_BF16,
    .type = TINE_GEMM_BF16,
    .mr = MR,
    .nr = NR,
    .kr = 2,
    .kc = 2048,
    .prefetch_every = 1,
    .mc = 240,
    .micro = avx512_bf16_micro,
    .pack = avx512_bf16_pack,
};
#endif
