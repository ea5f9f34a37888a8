/* AVX-VNNI micro-kernel: int8 operands as in int8.h, 6 rows by 2 vectors of 8 sums, VEX-encoded for
 * CPUs without AVX-512.
 *
 * A test defines INT8_DPBUSD to run the same loop with the instruction of AVX512_VNNI. */
#include "kernels/gemm_micro.h"
#include "kernels/isa.h"

#ifdef TINE_KERNELS_X86
#include "kernels/gemm_int8_ymm.h"

#ifndef INT8_DPBUSD
#define INT8_DPBUSD "%{vex%} vpdpbusd"
#endif

enum { MR = 6, NV = 2, NR = 8 * NV };

/* In assembly: GCC 12 copies the sums around its intrinsic, which halves the speed. */
TINE_INLINE void avx_vnni_dot(__m256i *sum, __m256i a, __m256i b) {
    __asm__(INT8_DPBUSD " %2, %1, %0" : "+x"(*sum) : "x"(a), "x"(b));
}

TINE_INLINE void avx_vnni_step(__m256i sum[MR][NV], const uint8_t *a, size_t lda, const char *b,
                               const int rows) {
    __m256i bv[NV];
    TINE_UNROLL(NV)
    for (int j = 0; j < NV; j++) bv[j] = _mm256_loadu_si256((const __m256i *)(b + 32 * j));
    TINE_UNROLL(MR)
    for (int r = 0; r < rows; r++) {
        int32_t four;
        memcpy(&four, a + (size_t)r * lda, sizeof four);
        const __m256i av = _mm256_set1_epi32(four);
        TINE_UNROLL(NV)
        for (int j = 0; j < NV; j++) avx_vnni_dot(&sum[r][j], av, bv[j]);
    }
}

TINE_INLINE void avx_vnni_tile(const struct tine_gemm_tile *t, const int rows) {
    __m256i sum[MR][NV];
    const uint8_t *a = t->a;
    const char *b = (const char *)t->b + TINE_INT8_HEAD(NR), *next = t->prefetch;
    const size_t k = t->k, lda = t->lda;
    TINE_UNROLL(MR)
    for (int r = 0; r < rows; r++) {
        TINE_UNROLL(NV)
        for (int j = 0; j < NV; j++) sum[r][j] = _mm256_setzero_si256();
    }
    for (size_t i = 0; i < k; i += TINE_INT8_KR) {
        if (i % (4 * TINE_INT8_KR) == 0) {
            _mm_prefetch(next, _MM_HINT_T1);
            next += t->prefetch_step;
        }
        avx_vnni_step(sum, a + i, lda, b, rows);
        b += TINE_INT8_KR * NR;
    }
    TINE_UNROLL(MR)
    for (int r = 0; r < rows; r++) tine_gemm_int8_row_end(t, (size_t)r, sum[r], NV);
}

static void avx_vnni_micro(const struct tine_gemm_tile *t) { TINE_GEMM_BY_ROWS(avx_vnni_tile, t) }

static void avx_vnni_pack(size_t k, const float *const *columns, ptrdiff_t stride_k, void *panel) {
    tine_gemm_pack_int8(k, columns, stride_k, panel, NR);
}

const struct tine_gemm_kernel tine_gemm_int8_avx_vnni = {
    .name = "gemm_int8_avx_vnni_6x16",
    .isa = TINE_ISA_AVX_VNNI,
    .type = TINE_GEMM_INT8,
    .mr = MR,
    .nr = NR,
    .kr = TINE_INT8_KR,
    .kc = TINE_INT8_KC,
    .prefetch_every = 4,
    .mc = 240,
    .micro = avx_vnni_micro,
    .pack = avx_vnni_pack,
};
#endif
