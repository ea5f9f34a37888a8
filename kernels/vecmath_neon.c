/* vecmath.h for NEON. */
#include "kernels/isa.h"

#ifdef TINE_KERNELS_ARM64
#include <arm_neon.h>
#include <stdint.h>
#include <string.h>

#define V float32x4_t
#define W 4
#define v_load(p) vld1q_f32(p)
#define v_store(p, v) vst1q_f32(p, v)
#define v_set1(x) vdupq_n_f32(x)
#define v_add(a, b) vaddq_f32(a, b)
#define v_sub(a, b) vsubq_f32(a, b)
#define v_mul(a, b) vmulq_f32(a, b)
#define v_div(a, b) vdivq_f32(a, b)
#define v_abs(a) vabsq_f32(a)
#define v_fma(a, b, c) vfmaq_f32(c, a, b)
#define v_copysign(x, s) vbslq_f32(vdupq_n_u32(0x80000000), s, x)
#define v_if_negative(x, a, b) vbslq_f32(vcltzq_s32(vreinterpretq_s32_f32(x)), a, b)

/* fmin and fmax would give NaN, and fminnm and fmaxnm the number, whichever operand it is. */
static inline float32x4_t neon_min(float32x4_t a, float32x4_t b) {
    return vbslq_f32(vcltq_f32(a, b), a, b);
}

static inline float32x4_t neon_max(float32x4_t a, float32x4_t b) {
    return vbslq_f32(vcgtq_f32(a, b), a, b);
}

static inline float32x4_t neon_pow2(float32x4_t n) {
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)), 23));
}

/* In two factors, because 2^n itself may be out of range; the first product is exact. */
static inline float32x4_t neon_scale(float32x4_t p, float32x4_t n) {
    n = vrndmq_f32(n);
    const float32x4_t half = vrndq_f32(vmulq_f32(n, vdupq_n_f32(0.5f)));
    return vmulq_f32(vmulq_f32(p, neon_pow2(half)), neon_pow2(vsubq_f32(n, half)));
}

/* The 16 floats are a table of 64 bytes; each lane takes four of them. */
static inline float32x4_t neon_lookup(const void *t, float32x4_t x) {
    const uint32x4_t i = vandq_u32(vreinterpretq_u32_f32(x), vdupq_n_u32(15));
    const uint32x4_t bytes =
        vaddq_u32(vmulq_u32(i, vdupq_n_u32(0x04040404)), vdupq_n_u32(0x03020100));
    return vreinterpretq_f32_u8(vqtbl4q_u8(vld1q_u8_x4(t), vreinterpretq_u8_u32(bytes)));
}

static inline float32x4_t neon_power(const uint32_t *t, float32x4_t sixteenths) {
    const uint32x4_t power = vreinterpretq_u32_f32(neon_lookup(t, sixteenths));
    return vreinterpretq_f32_u32(
        vaddq_u32(power, vshlq_n_u32(vreinterpretq_u32_f32(sixteenths), 19)));
}

static inline float32x4_t neon_bf16_bits(float32x4_t x) {
    const uint32x4_t bits = vreinterpretq_u32_f32(x),
                     odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint32x4_t up = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
    const uint32x4_t quiet = vorrq_u32(bits, vdupq_n_u32(0x400000));
    const uint32x4_t kept = vbslq_u32(vceqq_f32(x, x), up, quiet);
    return vreinterpretq_f32_u32(vandq_u32(kept, vdupq_n_u32(0xffff0000)));
}

static inline void neon_store_bf16(uint16_t *p, float32x4_t x) {
    vst1_u16(p, vshrn_n_u32(vreinterpretq_u32_f32(neon_bf16_bits(x)), 16));
}

#define v_min neon_min
#define v_max neon_max
#define v_bf16_bits neon_bf16_bits
#define v_lookup neon_lookup
#define v_power(s) neon_power(exp2_power, s)
#define v_scale neon_scale
#define v_scale_normal(p, n) vmulq_f32(p, neon_pow2(vrndmq_f32(n)))
#define v_store_bf16 neon_store_bf16

#include "kernels/vecmath_body.h"

const struct tine_vecmath tine_vecmath_neon = VECMATH_TABLE(TINE_ISA_NEON);
#endif
