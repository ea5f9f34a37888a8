/* bfloat16, one value at a time: the upper half of a float32, rounded to nearest even; a NaN stays
 * a (quiet) NaN. */
#ifndef TINE_KERNELS_BF16_H
#define TINE_KERNELS_BF16_H

#include <stdint.h>
#include <string.h>

static inline uint16_t tine_bf16_from_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

static inline float tine_bf16_to_float(uint16_t half) {
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

#endif
