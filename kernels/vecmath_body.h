/* The functions of vecmath.h, written once for any vector type. The including file, one per
 * instruction set, defines
 *   V, W               the vector of float and its number of lanes
 *   v_load, v_store, v_set1, v_add, v_sub, v_mul, v_div, v_abs
 *   v_fma(a, b, c)     a*b + c, fused where the machine can
 *   v_min, v_max(a, b) which give b if either is NaN, as the x86 instructions do
 *   v_scale(p, n)      p * 2^n, rounded once; n integral within ±160
 *   v_pow2(n)          2^n, n integral within ±126
 *   v_copysign(x, s)   the magnitude of x with the sign of s
 *   v_if_negative(x, a, b)  a where the sign bit of x is set, else b
 *   v_bf16_bits(x)     x rounded to a bf16 value; v_store_bf16(p, x) its upper halves
 *
 * exp: n = round(x / ln 2), r = x - n ln 2 in two parts, e^r = 1 + r + r^2 P(r) with the minimax P
 * of degree 5 from Cephes (expf.c, S. Moshier), times 2^n. sigmoid and tanh divide by sums that do
 * not cancel: sigmoid through e^-|x|, tanh through expm1(-2|x|) = 2^n (e^r - 1) + (2^n - 1), so
 * that both keep their relative error everywhere. */
#ifndef TINE_KERNELS_VECMATH_BODY_H
#define TINE_KERNELS_VECMATH_BODY_H

#include "kernels/unroll.h"
#include "kernels/vecmath.h"

#define LOG2_E 1.44269504088896341f
#define LN2_HI 0.693359375f
#define LN2_LO -2.12194440e-4f
#define ROUNDER 12582912.0f /* 1.5 * 2^23: adding and subtracting it rounds to an integer */

/* n and e^r - 1 for x within ±160 or NaN. */
TINE_INLINE V expm1_reduced(V x, V *n) {
    *n = v_sub(v_fma(x, v_set1(LOG2_E), v_set1(ROUNDER)), v_set1(ROUNDER));
    V r = v_fma(*n, v_set1(-LN2_HI), x);
    r = v_fma(*n, v_set1(-LN2_LO), r);
    V p = v_fma(v_set1(1.9875691500e-4f), r, v_set1(1.3981999507e-3f));
    p = v_fma(p, r, v_set1(8.3334519073e-3f));
    p = v_fma(p, r, v_set1(4.1665795894e-2f));
    p = v_fma(p, r, v_set1(1.6666665459e-1f));
    p = v_fma(p, r, v_set1(5.0000001201e-1f));
    return v_fma(v_mul(r, r), p, r);
}

TINE_INLINE V exp_v(V x) {
    V n;
    x = v_min(v_set1(89.5f), v_max(v_set1(-104.5f), x));
    V p = expm1_reduced(x, &n);
    return v_scale(v_add(p, v_set1(1)), n);
}

/* sigmoid and tanh as fractions, so that a product of two of them costs one division. Denominators
 * lie in [1, 2]. */
struct fraction {
    V above, below;
};

TINE_INLINE struct fraction sigmoid_fraction(V x) {
    V n;
    V t = v_min(v_set1(104.5f), v_abs(x));
    V p = expm1_reduced(v_sub(v_set1(0), t), &n);
    V z = v_scale(v_add(p, v_set1(1)), n);
    return (struct fraction){v_if_negative(x, z, v_set1(1)), v_add(v_set1(1), z)};
}

TINE_INLINE struct fraction tanh_fraction(V x) {
    V n;
    V t = v_min(v_set1(10), v_abs(x)); /* tanh(9.02) rounds to 1 */
    V p = expm1_reduced(v_mul(t, v_set1(-2)), &n);
    V s = v_pow2(n);
    V e = v_fma(s, p, v_sub(s, v_set1(1)));
    return (struct fraction){v_copysign(e, x), v_add(v_set1(2), e)};
}

TINE_INLINE V sigmoid_v(V x) {
    struct fraction f = sigmoid_fraction(x);
    return v_div(f.above, f.below);
}

TINE_INLINE V tanh_v(V x) {
    struct fraction f = tanh_fraction(x);
    return v_div(f.above, f.below);
}

/* sigmoid(x) * tanh(y) */
TINE_INLINE V sigmoid_tanh_v(V x, V y) {
    struct fraction s = sigmoid_fraction(x), t = tanh_fraction(y);
    return v_div(v_mul(s.above, t.above), v_mul(s.below, t.below));
}

/* Whole vectors, then one last vector through a buffer: every element takes the same instructions,
 * so its bits do not depend on its place. */
#define ARRAY_FUNCTION(NAME, OF_V)                                                                 \
    static void NAME(size_t n, const float *x, float *y) {                                         \
        size_t i = 0;                                                                              \
        for (; i + W <= n; i += W) v_store(y + i, OF_V(v_load(x + i)));                            \
        if (i < n) {                                                                               \
            float tail[W] = {0};                                                                   \
            memcpy(tail, x + i, (n - i) * sizeof *x);                                              \
            v_store(tail, OF_V(v_load(tail)));                                                     \
            memcpy(y + i, tail, (n - i) * sizeof *y);                                              \
        }                                                                                          \
    }

ARRAY_FUNCTION(exp_array, exp_v)
ARRAY_FUNCTION(sigmoid_array, sigmoid_v)
ARRAY_FUNCTION(tanh_array, tanh_v)
ARRAY_FUNCTION(round_bf16_array, v_bf16_bits)

static void to_bf16_array(size_t n, const float *x, uint16_t *y) {
    size_t i = 0;
    for (; i + W <= n; i += W) v_store_bf16(y + i, v_load(x + i));
    if (i < n) {
        float tail[W] = {0};
        uint16_t half[W];
        memcpy(tail, x + i, (n - i) * sizeof *x);
        v_store_bf16(half, v_load(tail));
        memcpy(y + i, half, (n - i) * sizeof *y);
    }
}

static void gates_rows(size_t rows, const float *z, size_t ldz, float *c, size_t ldc, float *h,
                       size_t ldh) {
    for (size_t r = 0; r < rows; r++, z += ldz, c += ldc, h += ldh)
        for (int u = 0; u < TINE_GATE_UNITS; u += W) {
            V in = sigmoid_tanh_v(v_load(z + u), v_load(z + 2 * TINE_GATE_UNITS + u));
            V f = sigmoid_v(v_load(z + TINE_GATE_UNITS + u));
            V state = v_fma(f, v_load(c + u), in);
            v_store(c + u, state);
            v_store(h + u, sigmoid_tanh_v(v_load(z + 3 * TINE_GATE_UNITS + u), state));
        }
}

static void gru_gates_rows(size_t rows, const float *z, size_t ldz, float *c, size_t ldc, float *h,
                           size_t ldh) {
    for (size_t r = 0; r < rows; r++, z += ldz, c += ldc, h += ldh)
        for (int u = 0; u < TINE_GATE_UNITS; u += W) {
            V reset = sigmoid_v(v_load(z + u)), update = sigmoid_v(v_load(z + TINE_GATE_UNITS + u));
            V n = tanh_v(v_fma(reset, v_load(z + 3 * TINE_GATE_UNITS + u),
                               v_load(z + 2 * TINE_GATE_UNITS + u)));
            V state = v_fma(update, v_sub(v_load(c + u), n), n);
            v_store(c + u, state);
            v_store(h + u, state);
        }
}

#define VECMATH_TABLE(ISA)                                                                         \
    {                                                                                              \
        .isa = ISA, .exp = exp_array, .sigmoid = sigmoid_array, .tanh = tanh_array,                \
        .gates = gates_rows, .gru_gates = gru_gates_rows, .to_bf16 = to_bf16_array,                \
        .round_bf16 = round_bf16_array                                                             \
    }

#endif
