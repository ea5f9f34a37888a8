/* The functions of vecmath.h, written once for any vector type. The including file, one per
 * instruction set, defines
 *   V, W               the vector of float and its number of lanes
 *   v_load, v_store, v_set1, v_add, v_sub, v_mul, v_div, v_abs
 *   v_fma(a, b, c)     a*b + c, fused where the machine can
 *   v_min, v_max(a, b) which give b if either is NaN, as the x86 instructions do
 *   v_scale(p, n)      p * 2^floor(n), rounded once; n within ±160
 *   v_scale_normal(p, n)  the same where the result is a normal number
 *   v_lookup(t, x)     t[i] of 16 floats, i the lowest 4 bits of x's representation
 *   v_copysign(x, s)   the magnitude of x with the sign of s
 *   v_if_negative(x, a, b)  a where the sign bit of x is set, else b
 *   v_power(s)         2^n if that is a normal number, s its sixteenths as v_lookup takes them;
 *                      exp2_power has the bits of 2^(i/16) less i << 19, to which s << 19 is added
 *   v_bf16_bits(x)     x rounded to a bf16 value; v_store_bf16(p, x) its upper halves
 *   v_store_bytes(p, x)  the lowest byte of each lane's representation; may be left out
 *
 * exp: n = x / ln 2 rounded to a multiple of 1/16, r = x - n ln 2 in two parts, and e^x = 2^n e^r,
 * where the 16 values of 2^n between 1 and 2 stand in a table and |r| is at most ln 2 / 32, so that
 * few terms of e^r are needed (Tang, Table-driven implementation of the exponential function in
 * IEEE floating-point arithmetic, ACM TOMS 15(2), 1989). sigmoid and tanh divide by sums that do
 * not cancel: sigmoid through e^-|x|, tanh through expm1(-2|x|) = 2^n (e^r - 1) + (2^n - 1), so
 * that both keep their relative error everywhere. */
#ifndef TINE_KERNELS_VECMATH_BODY_H
#define TINE_KERNELS_VECMATH_BODY_H

#include "kernels/int8.h"
#include "kernels/unroll.h"
#include "kernels/vecmath.h"

#define LOG2_E 1.44269504088896341f
#define LN2_HI 0.693359375f
#define LN2_LO -2.12194440e-4f
/* 1.5 * 2^19: adding and subtracting it rounds to a multiple of 1/16. In between, the lowest 4 bits
 * are the sixteenths. */
#define ROUNDER 786432.0f

/* 2^(i/16) rounded, and its error: 2^(i/16) = sixteenths[i] (1 + rest[i]). */
static const float exp2_sixteenths[16] = {
    0x1p+0f,        0x1.0b5586p+0f, 0x1.172b84p+0f, 0x1.2387a6p+0f, 0x1.306fep+0f,  0x1.3dea64p+0f,
    0x1.4bfdaep+0f, 0x1.5ab07ep+0f, 0x1.6a09e6p+0f, 0x1.7a1148p+0f, 0x1.8ace54p+0f, 0x1.9c4918p+0f,
    0x1.ae89fap+0f, 0x1.c199bep+0f, 0x1.d5818ep+0f, 0x1.ea4afap+0f};
static const float exp2_rest[16] = {
    0x0p+0f,          0x1.8d96d4p-25f,  -0x1.9c0c22p-27f, 0x1.964904p-25f,
    0x1.125002p-25f,  0x1.370be4p-25f,  -0x1.0a355p-25f,  -0x1.00d8acp-27f,
    0x1.26055cp-26f,  -0x1.05cb44p-25f, 0x1.67a1cap-28f,  0x1.a3b5e4p-28f,
    -0x1.f9c304p-27f, -0x1.6961b4p-28f, -0x1.a5217cp-28f, 0x1.61428ep-28f};

static const uint32_t exp2_power[16] = {
    0x3f800000, 0x3f7daac3, 0x3f7b95c2, 0x3f79c3d3, 0x3f7837f0, 0x3f76f532, 0x3f75fed7, 0x3f75583f,
    0x3f7504f3, 0x3f7508a4, 0x3f75672a, 0x3f76248c, 0x3f7744fd, 0x3f78ccdf, 0x3f7ac0c7, 0x3f7d257d};

/* x = n ln 2 + r; the fraction of n as v_lookup takes it. */
struct reduced {
    V n, sixteenths, r;
};

/* For x within ±160 or NaN. */
TINE_INLINE struct reduced exp_reduce(V x) {
    V sixteenths = v_fma(x, v_set1(LOG2_E), v_set1(ROUNDER));
    V n = v_sub(sixteenths, v_set1(ROUNDER));
    V r = v_fma(n, v_set1(-LN2_LO), v_fma(n, v_set1(-LN2_HI), x));
    return (struct reduced){n, sixteenths, r};
}

/* e^x. The polynomial interpolates (e^r - 1 - r) / r^2 at the two Chebyshev points: e^r is off by
 * less than 2^-27. */
TINE_INLINE V exp_reduced(V x) {
    struct reduced e = exp_reduce(x);
    V p = v_fma(v_set1(0.16666862f), e.r, v_set1(0.50000977f));
    p = v_add(v_fma(p, v_mul(e.r, e.r), e.r), v_lookup(exp2_rest, e.sixteenths));
    V power = v_lookup(exp2_sixteenths, e.sixteenths);
    return v_scale(v_fma(power, p, power), e.n);
}

TINE_INLINE V exp_v(V x) { return exp_reduced(v_min(v_set1(89.5f), v_max(v_set1(-104.5f), x))); }

/* sigmoid and tanh as fractions, so that a product of two of them costs one division. Denominators
 * lie in [1, 2]. */
struct fraction {
    V above, below;
};

TINE_INLINE struct fraction sigmoid_fraction(V x) {
    V z = exp_reduced(v_sub(v_set1(0), v_min(v_set1(104.5f), v_abs(x))));
    return (struct fraction){v_if_negative(x, z, v_set1(1)), v_add(v_set1(1), z)};
}

/* (1 - e^x) / (1 + e^x) for x = -2|x|. The numerator keeps a small relative error: for n near 0,
 * where 1 - 2^n cancels, the rest of the table counts. */
TINE_INLINE struct fraction tanh_fraction(V x) {
    V t = v_sub(v_set1(0), v_min(v_set1(10), v_abs(x))); /* tanh(9.02) rounds to 1 */
    struct reduced e = exp_reduce(v_add(t, t));
    V p = v_fma(v_set1(1.0f / 24), e.r, v_set1(1.0f / 6));
    p = v_fma(p, e.r, v_set1(0.5f));
    p = v_add(v_fma(p, v_mul(e.r, e.r), e.r), v_lookup(exp2_rest, e.sixteenths));
    V power = v_scale_normal(v_lookup(exp2_sixteenths, e.sixteenths), e.n);
    V above = v_fma(power, p, v_sub(power, v_set1(1)));
    return (struct fraction){v_copysign(above, x), v_add(v_set1(1), v_fma(power, p, power))};
}

TINE_INLINE V sigmoid_v(V x) {
    struct fraction f = sigmoid_fraction(x);
    return v_div(f.above, f.below);
}

TINE_INLINE V tanh_v(V x) {
    struct fraction f = tanh_fraction(x);
    return v_div(f.above, f.below);
}

/* The same for the gates of an LSTM, where the absolute error counts: e^x = 2^t with t = x / ln 2
 * rounded, so that the relative error of e^x grows with |x| while what it adds to the result does
 * not; 2^t = 2^n 2^-r, n a multiple of 1/16. tanh near 0 is off by up to 2^-20 of its value, since
 * 2^n - 1 has the error of the table. A quotient of polynomials takes fewer operations, but is off
 * by 3.5e-7 where it should be 1, and exceeds it. */
struct exp2_parts {
    V power, r; /* power: 2^n divided by 2^LESS */
};

/* For |x| up to 90, or NaN; t = x * SCALE. */
#define EXP2_SPLIT(x, SCALE, LESS)                                                                 \
    exp2_split(x, v_set1(SCALE), v_set1(-(SCALE)), v_set1(ROUNDER - (LESS)))

TINE_INLINE struct exp2_parts exp2_split(V x, V scale, V minus, V rounder) {
    V sixteenths = v_fma(x, scale, rounder);
    return (struct exp2_parts){v_power(sixteenths), v_fma(x, minus, v_sub(sixteenths, rounder))};
}

/* (2^-r - 1) / r: the Taylor series with r^4 of 2^-r replaced by 3/4 2^-10 r^2: off by less than
 * 2^-23. */
TINE_INLINE V exp2_slope(V r) {
    V p = v_fma(v_set1(-0.0555041087f), r, v_set1(0.240233551f));
    return v_fma(p, r, v_set1(-0.693147181f));
}

/* 1 / sigmoid(x); at most 1 + 2^60, so that a product of two is finite. */
TINE_INLINE V gate_inverse_sigmoid(V x) {
    struct exp2_parts e = EXP2_SPLIT(v_max(v_set1(-41.5f), v_min(v_set1(87), x)), -LOG2_E, 0);
    return v_fma(e.power, v_mul(exp2_slope(e.r), e.r), v_add(v_set1(1), e.power));
}

/* (e^2x - 1) / (e^2x + 1), both divided by 2^28, so that the product of a denominator and two
 * inverse sigmoids is finite. It is at most 1 in magnitude. */
TINE_INLINE struct fraction gate_tanh(V x) {
    struct exp2_parts e = EXP2_SPLIT(v_max(v_set1(-9.1f), v_min(v_set1(9.1f), x)), 2 * LOG2_E, 28);
    V above = v_fma(e.power, v_mul(exp2_slope(e.r), e.r), v_sub(e.power, v_set1(0x1p-28f)));
    return (struct fraction){above, v_add(above, v_set1(0x1p-27f))};
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

/* ---- sums ---- */

enum { SUM_COLUMNS = 16 };

/* In plain C: the compiler makes vectors of the instruction set of it, and keeps the sums in
 * registers if the inner loop is unrolled. */
static void sum_rows(size_t rows, const float *const *x, size_t n, float *y) {
    size_t i = 0;
    for (; i + SUM_COLUMNS <= n; i += SUM_COLUMNS) {
        double sums[SUM_COLUMNS] = {0};
        for (size_t r = 0; r < rows; r++) {
            const float *p = x[r] + i;
            TINE_UNROLL(SUM_COLUMNS)
            for (int j = 0; j < SUM_COLUMNS; j++) sums[j] += (double)p[j];
        }
        for (int j = 0; j < SUM_COLUMNS; j++) y[i + (size_t)j] = (float)sums[j];
    }
    for (; i < n; i++) {
        double sum = 0;
        for (size_t r = 0; r < rows; r++) sum += (double)x[r][i];
        y[i] = (float)sum;
    }
}

/* ---- int8 ---- */

#ifndef v_store_bytes
static inline void store_lane_bytes(uint8_t *p, V x) {
    uint32_t bits[W];
    v_store((float *)bits, x);
    for (int i = 0; i < W; i++) p[i] = (uint8_t)bits[i];
}
#define v_store_bytes store_lane_bytes
#endif

/* The least and the greatest value and 0; a sum that is NaN if one is not finite, else 0. */
struct row_range {
    V low, high, not_finite;
};

TINE_INLINE void range_add(struct row_range *range, V x) {
    range->low = v_min(x, range->low);
    range->high = v_max(x, range->high);
    range->not_finite = v_add(range->not_finite, v_sub(x, x));
}

static float row_begin(size_t n, const float *x, struct tine_int8_row *row) {
    struct row_range all = {v_set1(0), v_set1(0), v_set1(0)};
    float low[W], high[W], not_finite[W], tail[W] = {0};
    size_t i = 0;
    for (; i + W <= n; i += W) range_add(&all, v_load(x + i));
    memcpy(tail, x + i, (n - i) * sizeof *x);
    range_add(&all, v_load(tail));
    v_store(low, all.low), v_store(high, all.high), v_store(not_finite, all.not_finite);
    for (int j = 1; j < W; j++) {
        low[0] = low[j] < low[0] ? low[j] : low[0];
        high[0] = high[j] > high[0] ? high[j] : high[0];
        not_finite[0] += not_finite[j];
    }
    return tine_int8_row_begin(row, low[0], high[0], not_finite[0]);
}

/* Adding the rounder and the zero point leaves the value in the lowest byte. */
static void to_int8_row(size_t n, const float *x, void *row) {
    struct tine_int8_row head;
    uint8_t *q = (uint8_t *)row + sizeof head, rest[W];
    const V inverse = v_set1(row_begin(n, x, &head));
    const V least = v_set1((float)-head.zero), most = v_set1((float)(255 - head.zero)),
            zero = v_set1(TINE_INT8_ROUNDER + (float)head.zero);
    float tail[W] = {0};
    size_t i = 0;
#define QUANTISED(x) v_add(v_min(v_max(v_mul(x, inverse), least), most), zero)
    for (; i + W <= n; i += W) v_store_bytes(q + i, QUANTISED(v_load(x + i)));
    memcpy(row, &head, sizeof head);
    if (i == n && n % TINE_INT8_KR == 0) return;
    memcpy(tail, x + i, (n - i) * sizeof *x);
    v_store_bytes(rest, QUANTISED(v_load(tail)));
#undef QUANTISED
    for (size_t j = i; j < tine_int8_row_bytes(n) - sizeof head; j++)
        q[j] = j < n ? rest[j - i] : 0;
}

/* The new states of all rows, then their h: a row's two divisions one after the other would take
 * longer than a CPU looks ahead. */
static void gates_rows(size_t rows, const float *z, size_t ldz, float *c, size_t ldc, float *h,
                       size_t ldh) {
    for (size_t r = 0; r < rows; r++)
        for (int u = 0; u < TINE_GATE_UNITS; u += W) {
            const float *sums = z + r * ldz + u;
            float *state = c + r * ldc + u;
            V i = gate_inverse_sigmoid(v_load(sums)),
              f = gate_inverse_sigmoid(v_load(sums + TINE_GATE_UNITS));
            struct fraction g = gate_tanh(v_load(sums + 2 * TINE_GATE_UNITS));
            V below = v_mul(i, g.below);
            V above = v_fma(v_load(state), below, v_mul(g.above, f));
            v_store(state, v_div(above, v_mul(f, below)));
        }
    for (size_t r = 0; r < rows; r++)
        for (int u = 0; u < TINE_GATE_UNITS; u += W) {
            V o = gate_inverse_sigmoid(v_load(z + r * ldz + 3 * TINE_GATE_UNITS + u));
            struct fraction t = gate_tanh(v_load(c + r * ldc + u));
            v_store(h + r * ldh + u, v_div(t.above, v_mul(o, t.below)));
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
        .round_bf16 = round_bf16_array, .sum = sum_rows, .to_int8 = to_int8_row                    \
    }

#endif
