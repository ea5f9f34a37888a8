/* What micro-kernel files have in common; included by kernels/gemm_ISA.c only, and compiled with
 * the flags of each. */
#ifndef TINE_KERNELS_GEMM_MICRO_H
#define TINE_KERNELS_GEMM_MICRO_H

#include "kernels/bf16.h"
#include "kernels/gemm.h"
#include "kernels/int8.h"
#include "kernels/unroll.h"

/* Packs one panel of nr float columns (kr 1): the nr values of each k side by side. */
TINE_INLINE void tine_gemm_pack_f32(size_t k, const float *const *columns, ptrdiff_t stride_k,
                                    float *panel, const int nr) {
    for (size_t i = 0; i < k; i++)
        for (int j = 0; j < nr; j++)
            *panel++ = columns[j] ? columns[j][(ptrdiff_t)i * stride_k] : 0;
}

/* Packs one panel of nr columns in bf16, in pairs of k. */
TINE_INLINE void tine_gemm_pack_bf16(size_t k, const float *const *columns, ptrdiff_t stride_k,
                                     uint16_t *panel, const int nr) {
    for (size_t i = 0; i < k; i += 2)
        for (int j = 0; j < nr; j++)
            for (size_t at = i; at < i + 2; at++)
                *panel++ = columns[j] && at < k
                               ? tine_bf16_from_float(columns[j][(ptrdiff_t)at * stride_k])
                               : 0;
}

/* The scale of a column: its greatest magnitude is 127; NaN if a value is not finite. */
static inline float tine_gemm_int8_scale(size_t k, const float *column, ptrdiff_t stride_k) {
    float most = 0, not_finite = 0;
    for (size_t i = 0; i < k; i++) {
        const float x = fabsf(column[(ptrdiff_t)i * stride_k]);
        most = x > most ? x : most;
        not_finite += x - x;
    }
    return most / 127 + not_finite;
}

/* Packs one panel of nr columns in int8: blocks with the heads of int8.h, in groups of four k. */
TINE_INLINE void tine_gemm_pack_int8(size_t k, const float *const *columns, ptrdiff_t stride_k,
                                     char *panel, const int nr) {
    float scales[TINE_GEMM_NR_MAX] = {0}, inverses[TINE_GEMM_NR_MAX] = {0};
    for (int j = 0; j < nr; j++) {
        if (columns[j]) scales[j] = tine_gemm_int8_scale(k, columns[j], stride_k);
        inverses[j] = tine_int8_inverse(scales[j]);
    }
    for (size_t first = 0; first < k; first += TINE_INT8_KC) {
        const size_t end = k - first < TINE_INT8_KC ? k : first + TINE_INT8_KC;
        int32_t sums[TINE_GEMM_NR_MAX] = {0};
        int8_t *out = (int8_t *)(panel + TINE_INT8_HEAD(nr));
        for (size_t i = first; i < end; i += TINE_INT8_KR)
            for (int j = 0; j < nr; j++)
                for (size_t at = i; at < i + TINE_INT8_KR; at++) {
                    const float x =
                        columns[j] && at < end ? columns[j][(ptrdiff_t)at * stride_k] : 0;
                    *out = inverses[j] > 0 ? (int8_t)tine_int8_round(x * inverses[j]) : 0;
                    sums[j] += *out++;
                }
        memcpy(panel, scales, (size_t)nr * sizeof *scales);
        memcpy(panel + (size_t)nr * sizeof *scales, sums, (size_t)nr * sizeof *sums);
        panel = (char *)out;
    }
}

/* Calls tile(t, rows) with a constant number of rows, 1 to 6: then the sums of a tile are
 * registers. For mr 6. */
#define TINE_GEMM_BY_ROWS(tile, t)                                                                 \
    switch ((t)->rows) {                                                                           \
    case 1: tile(t, 1); break;                                                                     \
    case 2: tile(t, 2); break;                                                                     \
    case 3: tile(t, 3); break;                                                                     \
    case 4: tile(t, 4); break;                                                                     \
    case 5: tile(t, 5); break;                                                                     \
    default: tile(t, 6); break;                                                                    \
    }

#endif
