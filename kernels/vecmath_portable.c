/* vecmath.h in plain C, the reference: a vector of one lane, which the compiler may widen. */
#include "kernels/bf16.h"
#include "kernels/isa.h"

#include <math.h>
#include <string.h>

#define V float
#define W 1

static inline float v_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline float v_load(const float *p) { return *p; }
static inline void v_store(float *p, float v) { *p = v; }
#define v_set1(x) ((float)(x))
#define v_add(a, b) ((a) + (b))
#define v_sub(a, b) ((a) - (b))
#define v_mul(a, b) ((a) * (b))
#define v_div(a, b) ((a) / (b))
#define v_abs(a) fabsf(a)
#define v_fma(a, b, c) ((a) * (b) + (c))

static inline float v_min(float a, float b) { return a < b ? a : b; }
static inline float v_max(float a, float b) { return a > b ? a : b; }
/* A NaN has no integer exponent; any will do, the product stays NaN. */
static inline float portable_pow2(float n) {
    return v_bits((uint32_t)((n == n ? (int32_t)floorf(n) : 0) + 127) << 23);
}
static inline float portable_scale(float p, float n) {
    const int32_t whole = n == n ? (int32_t)floorf(n) : 0, half = whole / 2;
    return p * portable_pow2((float)half) * portable_pow2((float)(whole - half));
}
static inline float portable_lookup(const float *t, float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return t[bits & 15];
}
static inline float portable_power(const uint32_t *t, float sixteenths) {
    uint32_t bits;
    memcpy(&bits, &sixteenths, sizeof bits);
    return v_bits(t[bits & 15] + (bits << 19));
}
#define v_copysign(x, s) copysignf(x, s)
#define v_if_negative(x, a, b) (signbit(x) ? (a) : (b))

static inline float portable_bf16_bits(float x) {
    return tine_bf16_to_float(tine_bf16_from_float(x));
}
static inline void portable_store_bf16(uint16_t *p, float x) { *p = tine_bf16_from_float(x); }

#define v_bf16_bits portable_bf16_bits
#define v_lookup portable_lookup
#define v_power(s) portable_power(exp2_power, s)
#define v_scale portable_scale
#define v_scale_normal(p, n) ((p)*portable_pow2(n))
#define v_store_bf16 portable_store_bf16

#include "kernels/vecmath_body.h"

const struct tine_vecmath tine_vecmath_portable = VECMATH_TABLE(TINE_ISA_PORTABLE);
