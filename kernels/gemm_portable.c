/* The reference micro-kernel in plain C, for any CPU. Every other kernel is tested against the same
 * error bounds. */
#include "kernels/gemm_micro.h"
#include "kernels/isa.h"

#include <string.h>

enum { MR = 4, NR = 16 };

/* Four floats as a vector type of GCC and Clang: the compiler takes the baseline of the
 * architecture (SSE2, NEON). */
typedef float vec __attribute__((vector_size(16)));

enum { NV = NR / 4 };

TINE_INLINE vec vec_load(const float *p) {
    vec v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* A constant number of rows, so that the sums stay in registers: 2 rows, their 8 sums and 4 vectors
 * of B fit in 16. */
TINE_INLINE void portable_tile(const struct tine_gemm_tile *t, const size_t first, const int rows) {
    const float *a = (const float *)t->a + first * t->lda, *b = t->b,
                *init = t->init + first * t->ldinit;
    float *c = t->c + first * t->ldc;
    vec sum[2][NV];
    TINE_UNROLL(2)
    for (int r = 0; r < rows; r++) {
        TINE_UNROLL(NV)
        for (int j = 0; j < NV; j++)
            sum[r][j] = vec_load(init + (size_t)r * t->ldinit + (size_t)(4 * j));
    }
    for (size_t k = 0; k < t->k; k++, b += NR) {
        TINE_UNROLL(2)
        for (int r = 0; r < rows; r++) {
            const float x = a[(size_t)r * t->lda + k];
            const vec xs = {x, x, x, x};
            TINE_UNROLL(NV)
            for (int j = 0; j < NV; j++) sum[r][j] += xs * vec_load(b + 4 * j);
        }
    }
    TINE_UNROLL(2)
    for (int r = 0; r < rows; r++) {
        TINE_UNROLL(NV)
        for (int j = 0; j < NV; j++)
            memcpy(c + (size_t)r * t->ldc + (size_t)(4 * j), &sum[r][j], sizeof(vec));
    }
}

static void portable_micro(const struct tine_gemm_tile *t) {
    size_t r = 0;
    for (; r + 2 <= t->rows; r += 2) portable_tile(t, r, 2);
    if (r < t->rows) portable_tile(t, r, 1);
}

static void portable_pack(size_t k, const float *const *columns, ptrdiff_t stride_k, void *panel) {
    tine_gemm_pack_f32(k, columns, stride_k, panel, NR);
}

const struct tine_gemm_kernel tine_gemm_f32_portable = {
    .name = "gemm_f32_portable_4x16",
    .isa = TINE_ISA_PORTABLE,
    .type = TINE_GEMM_F32,
    .mr = MR,
    .nr = NR,
    .kr = 1,
    .kc = 1024,
    .prefetch_every = 1,
    .mc = 128,
    .micro = portable_micro,
    .pack = portable_pack,
};

/* ---- int8 ---- */

/* The sums of one row; the compiler vectorises the loops over columns. */
static void portable_int8_sums(size_t k, const uint8_t *a, const int8_t *b, int32_t sum[NR]) {
    memset(sum, 0, NR * sizeof *sum);
    for (size_t i = 0; i < k; i += TINE_INT8_KR, b += TINE_INT8_KR * NR)
        for (int j = 0; j < NR; j++)
            for (int u = 0; u < TINE_INT8_KR; u++) sum[j] += a[i + (size_t)u] * b[4 * j + u];
}

static void portable_int8_micro(const struct tine_gemm_tile *t) {
    const float *scales = t->b;
    const int32_t *sums = (const int32_t *)(scales + NR);
    for (size_t r = 0; r < t->rows; r++) {
        const float *init = t->init + r * t->ldinit;
        struct tine_int8_row head;
        int32_t sum[NR];
        memcpy(&head, t->heads + r * t->lda, sizeof head);
        portable_int8_sums(t->k, (const uint8_t *)t->a + r * t->lda,
                           (const int8_t *)t->b + TINE_INT8_HEAD(NR), sum);
        for (int j = 0; j < NR; j++)
            t->c[r * t->ldc + (size_t)j] =
                fmaf((float)(sum[j] - head.zero * sums[j]), head.scale * scales[j], init[j]);
    }
}

static void portable_int8_pack(size_t k, const float *const *columns, ptrdiff_t stride_k,
                               void *panel) {
    tine_gemm_pack_int8(k, columns, stride_k, panel, NR);
}

const struct tine_gemm_kernel tine_gemm_int8_portable = {
    .name = "gemm_int8_portable_4x16",
    .isa = TINE_ISA_PORTABLE,
    .type = TINE_GEMM_INT8,
    .mr = MR,
    .nr = NR,
    .kr = TINE_INT8_KR,
    .kc = TINE_INT8_KC,
    .prefetch_every = 1,
    .mc = 128,
    .micro = portable_int8_micro,
    .pack = portable_int8_pack,
};
