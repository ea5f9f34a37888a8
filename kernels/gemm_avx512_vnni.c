/* AVX512_VNNI micro-kernel: int8 operands as in int8.h, 6 rows by 4 vectors of 16 sums; a step is
 * four values of k.
 *
 * VPDPBUSD adds four products of uint8 and int8 to each int32 sum and does not saturate. */
#include "kernels/gemm_micro.h"
#include "kernels/isa.h"

#ifdef TINE_KERNELS_X86
#include <immintrin.h>

enum { MR = 6, NV = 4, NR = 16 * NV };

/* In assembly: GCC 12 copies the sums around its intrinsic, which halves the speed. */
TINE_INLINE void int8_dot(__m512i *sum, __m512i a, __m512i b) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(*sum) : "v"(a), "v"(b));
}

/* Four neighbouring values of A in each 32-bit lane. */
TINE_INLINE __m512i int8_four(const uint8_t *a) {
    int32_t four;
    memcpy(&four, a, sizeof four);
    return _mm512_set1_epi32(four);
}

/* C = C0 + scale_a scale_b (sum - zero * sum of b), of one row. */
TINE_INLINE void int8_row_end(const struct tine_gemm_tile *t, size_t r, const __m512i sum[NV]) {
    const float *scales = t->b, *init = t->init + r * t->ldinit;
    const int32_t *sums = (const int32_t *)(scales + NR);
    float *c = t->c + r * t->ldc;
    struct tine_int8_row head;
    memcpy(&head, t->heads + r * t->lda, sizeof head);
    const __m512i zero = _mm512_set1_epi32(head.zero);
    const __m512 scale = _mm512_set1_ps(head.scale);
    TINE_UNROLL(NV)
    for (int j = 0; j < NV; j++) {
        const __m512i offset = _mm512_mullo_epi32(zero, _mm512_loadu_si512(sums + 16 * j));
        const __m512 exact = _mm512_cvtepi32_ps(_mm512_sub_epi32(sum[j], offset));
        const __m512 both = _mm512_mul_ps(scale, _mm512_loadu_ps(scales + 16 * j));
        _mm512_storeu_ps(c + 16 * j, _mm512_fmadd_ps(exact, both, _mm512_loadu_ps(init + 16 * j)));
    }
}

TINE_INLINE void avx512_vnni_tile(const struct tine_gemm_tile *t, const int rows) {
    __m512i sum[MR][NV];
    const uint8_t *a = t->a;
    const char *b = (const char *)t->b + TINE_INT8_HEAD(NR), *next = t->prefetch;
    const size_t k = t->k, lda = t->lda, step = t->prefetch_step;
    TINE_UNROLL(MR)
    for (int r = 0; r < rows; r++) {
        TINE_UNROLL(NV)
        for (int j = 0; j < NV; j++) sum[r][j] = _mm512_setzero_si512();
    }
    for (size_t i = 0; i < k; i += TINE_INT8_KR) {
        __m512i bv[NV];
        TINE_UNROLL(NV)
        for (int j = 0; j < NV; j++) bv[j] = _mm512_loadu_si512(b + 64 * j);
        _mm_prefetch(next, _MM_HINT_T1);
        TINE_UNROLL(MR)
        for (int r = 0; r < rows; r++) {
            const __m512i av = int8_four(a + (size_t)r * lda + i);
            TINE_UNROLL(NV)
            for (int j = 0; j < NV; j++) int8_dot(&sum[r][j], av, bv[j]);
        }
        b += TINE_INT8_KR * NR;
        next += step;
    }
    TINE_UNROLL(MR)
    for (int r = 0; r < rows; r++) int8_row_end(t, (size_t)r, sum[r]);
}

static void avx512_vnni_micro(const struct tine_gemm_tile *t) {
    TINE_GEMM_BY_ROWS(avx512_vnni_tile, t)
}

static void avx512_vnni_pack(size_t k, const float *const *columns, ptrdiff_t stride_k,
                             void *panel) {
    tine_gemm_pack_int8(k, columns, stride_k, panel, NR);
}

const struct tine_gemm_kernel tine_gemm_int8_avx512_vnni = {
    .name = "gemm_int8_avx512_6x64",
    .isa = TINE_ISA_AVX512_VNNI,
    .type = TINE_GEMM_INT8,
    .mr = MR,
    .nr = NR,
    .kr = TINE_INT8_KR,
    .kc = TINE_INT8_KC,
    .prefetch_every = 1,
    .mc = 240,
    .micro = avx512_vnni_micro,
    .pack = avx512_vnni_pack,
};
#endif
