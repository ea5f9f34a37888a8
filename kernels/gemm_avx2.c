/* AVX2 + FMA micro-kernels. int8 is below; float32: 6 rows by 2 vectors of 8. 12 sums, 2 vectors of
 * B and 2 broadcasts of A fill the 16 registers. 12 sums also cover the latency of two FMA pipes,
 * which hold 8 to 10 instructions in flight (agner.org/optimize/instruction_tables.pdf). */
#include "kernels/gemm_micro.h"
#include "kernels/isa.h"

#ifdef TINE_KERNELS_X86
#include "kernels/gemm_int8_ymm.h"

enum { MR = 6, NV = 2, NR = 8 * NV };

/* Rows 0 to 2 of A from `a` on and 3 to 5 from `lower` on. */
TINE_INLINE void avx2_step(__m256 sum[MR][NV], const float *a, const float *lower, size_t lda,
                           const float *b, const int rows) {
    __m256 bv[NV];
    TINE_UNROLL(NV)
    for (int j = 0; j < NV; j++) bv[j] = _mm256_loadu_ps(b + 8 * j);
    TINE_UNROLL(MR)
    for (int r = 0; r < rows; r++) {
        const __m256 av = _mm256_broadcast_ss((r < 3 ? a : lower) + (size_t)(r % 3) * lda);
        TINE_UNROLL(NV)
        for (int j = 0; j < NV; j++) sum[r][j] = _mm256_fmadd_ps(av, bv[j], sum[r][j]);
    }
}

TINE_INLINE void avx2_tile(const struct tine_gemm_tile *t, const int rows) {
    __m256 sum[MR][NV];
    const size_t k = t->k, lda = t->lda;
    const float *a = t->a, *lower = a + 3 * lda, *b = t->b;
    const char *next = t->prefetch;
    TINE_UNROLL(MR)
    for (int r = 0; r < rows; r++) {
        TINE_UNROLL(NV)
        for (int j = 0; j < NV; j++)
            sum[r][j] = _mm256_loadu_ps(t->init + (size_t)r * t->ldinit + 8 * j);
    }
    for (size_t n = k / 4; n > 0; n--) {
        _mm_prefetch(next, _MM_HINT_T1);
        TINE_UNROLL(4)
        for (int u = 0; u < 4; u++) avx2_step(sum, a + u, lower + u, lda, b + u * NR, rows);
        next += t->prefetch_step;
        a += 4, lower += 4, b += 4 * NR;
        /* Two pointers reach all rows. The compiler would compute an address for each row, by
         * additions that take the ports of the FMAs: 4 to 5 % of the time on Emerald Rapids. */
        __asm__("" : "+r"(a), "+r"(lower), "+r"(b));
    }
    for (size_t i = k % 4; i > 0; i--) avx2_step(sum, a++, lower++, lda, b, rows), b += NR;
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

/* ---- int8 ---- */

/* Without VNNI: values are widened to 16 bits, whose products VPMADDWD adds in pairs. VPMADDUBSW
 * would take them as bytes, but its 16-bit sums saturate. A vector of sums is 4 columns, each in
 * two halves; 2 rows by 4 of them, 4 of B and one of A stay in registers. */
enum { INT8_ROWS = 2, INT8_VECTORS = NR / 4 };

TINE_INLINE void avx2_int8_step(__m256i sum[INT8_ROWS][INT8_VECTORS], const uint8_t *a, size_t lda,
                                const char *b, const int rows) {
    __m256i bv[INT8_VECTORS];
    TINE_UNROLL(INT8_VECTORS)
    for (int j = 0; j < INT8_VECTORS; j++)
        bv[j] = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(b + 16 * j)));
    TINE_UNROLL(INT8_ROWS)
    for (int r = 0; r < rows; r++) {
        int32_t four;
        memcpy(&four, a + (size_t)r * lda, sizeof four);
        const __m256i av = _mm256_cvtepu8_epi16(_mm_set1_epi32(four));
        TINE_UNROLL(INT8_VECTORS)
        for (int j = 0; j < INT8_VECTORS; j++)
            sum[r][j] = _mm256_add_epi32(sum[r][j], _mm256_madd_epi16(av, bv[j]));
    }
}

/* Adds the halves. */
TINE_INLINE void avx2_int8_row_end(const struct tine_gemm_tile *t, size_t r,
                                   const __m256i sum[INT8_VECTORS]) {
    __m256i whole[NV];
    TINE_UNROLL(NV)
    for (int j = 0; j < NV; j++) {
        /* columns 0 1 4 5 2 3 6 7 */
        const __m256i mixed = _mm256_hadd_epi32(sum[2 * j], sum[2 * j + 1]);
        whole[j] = _mm256_permute4x64_epi64(mixed, 0xd8);
    }
    tine_gemm_int8_row_end(t, r, whole, NV);
}

TINE_INLINE void avx2_int8_tile(const struct tine_gemm_tile *t, size_t first, const int rows) {
    __m256i sum[INT8_ROWS][INT8_VECTORS];
    const uint8_t *a = (const uint8_t *)t->a + first * t->lda;
    const char *b = (const char *)t->b + TINE_INT8_HEAD(NR);
    TINE_UNROLL(INT8_ROWS)
    for (int r = 0; r < rows; r++) {
        TINE_UNROLL(INT8_VECTORS)
        for (int j = 0; j < INT8_VECTORS; j++) sum[r][j] = _mm256_setzero_si256();
    }
    for (size_t i = 0; i < t->k; i += TINE_INT8_KR, b += TINE_INT8_KR * NR)
        avx2_int8_step(sum, a + i, t->lda, b, rows);
    TINE_UNROLL(INT8_ROWS)
    for (int r = 0; r < rows; r++) avx2_int8_row_end(t, first + (size_t)r, sum[r]);
}

static void avx2_int8_micro(const struct tine_gemm_tile *t) {
    size_t r = 0;
    for (; r + 2 <= t->rows; r += 2) avx2_int8_tile(t, r, 2);
    if (r < t->rows) avx2_int8_tile(t, r, 1);
}

static void avx2_int8_pack(size_t k, const float *const *columns, ptrdiff_t stride_k, void *panel) {
    tine_gemm_pack_int8(k, columns, stride_k, panel, NR);
}

const struct tine_gemm_kernel tine_gemm_int8_avx2 = {
    .name = "gemm_int8_avx2_6x16",
    .isa = TINE_ISA_AVX2,
    .type = TINE_GEMM_INT8,
    .mr = MR,
    .nr = NR,
    .kr = TINE_INT8_KR,
    .kc = TINE_INT8_KC,
    .prefetch_every = 4,
    .mc = 240,
    .micro = avx2_int8_micro,
    .pack = avx2_int8_pack,
};
#endif
