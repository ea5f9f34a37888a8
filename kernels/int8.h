/* int8 operands of a product, quantised as torch.ao.quantization.quantize_dynamic does, but row by
 * row, so that a row does not depend on the others of its batch:
 *
 *   A   uint8, 8 bits, for each row a scale and a zero point from its least and greatest value
 *       (PyTorch: 7 bits, one scale for all rows of a call)
 *   B   int8 in ±127, for each column a scale from its greatest magnitude, zero point 0 (PyTorch's
 *       per-channel weights)
 *   sum of (a - zero) b = sum of a b - zero * (sum of b), in int32, which is exact: VPDPBUSD does
 *       not saturate, and TINE_INT8_KC products of 255 * 127 fit
 *   C   += scale_a scale_b * that sum, one block of TINE_INT8_KC values of k after the other,
 *       rounded once (a fused multiply-add)
 *
 * So all int8 kernels give the same bits. A row or a column that holds a NaN or an infinity gives
 * NaN. */
#ifndef TINE_KERNELS_INT8_H
#define TINE_KERNELS_INT8_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* TINE_INT8_KC: 256 KiB of B in 64 columns, a quarter of the level-2 cache. */
enum { TINE_INT8_KR = 4, TINE_INT8_KC = 4096 };

/* A row of A; its values follow, padded to a multiple of TINE_INT8_KR. Value i is
 * scale * (q[i] - zero). */
struct tine_int8_row {
    float scale;
    int32_t zero;
};

/* What a block of k of a panel of nr columns begins with: nr scales, and the nr sums of b. */
#define TINE_INT8_HEAD(nr) ((size_t)(nr) * (sizeof(float) + sizeof(int32_t)))

/* Bytes of a row of n values, with its head. */
static inline size_t tine_int8_row_bytes(size_t n) {
    return sizeof(struct tine_int8_row) +
           (n + TINE_INT8_KR - 1) / TINE_INT8_KR * (size_t)TINE_INT8_KR;
}

/* Adding it rounds to an integer (to nearest even), which then stands in the lowest bits. */
#define TINE_INT8_ROUNDER 12582912.0f /* 1.5 * 2^23 */

static inline uint32_t tine_int8_round(float x) {
    const float shifted = x + TINE_INT8_ROUNDER;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    return bits;
}

/* 1 / scale, or 0 where every value counts as 0: where the scale is not a number, or so small that
 * its inverse is not. */
static inline float tine_int8_inverse(float scale) { return scale >= 0x1p-100f ? 1 / scale : 0; }

/* The head of a row whose values lie in [low, high], which holds 0. not_finite is NaN if one of
 * them is not finite, else 0. The inverse of the scale. */
static inline float tine_int8_row_begin(struct tine_int8_row *row, float low, float high,
                                        float not_finite) {
    row->scale = high / 255 - low / 255 + not_finite;
    const float inverse = tine_int8_inverse(row->scale), zero = -low * inverse;
    row->zero = (int32_t)(tine_int8_round(zero) & 255);
    return inverse;
}

#endif
