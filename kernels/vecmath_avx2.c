/* vecmath.h for AVX2 + FMA. */
#include "kernels/isa.h"

#ifdef TINE_KERNELS_X86
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define V __m256
#define W 8
#define v_load(p) _mm256_loadu_ps(p)
#define v_store(p, v) _mm256_storeu_ps(p, v)
#define v_set1(x) _mm256_set1_ps(x)
#define v_add(a, b) _mm256_add_ps(a, b)
#define v_sub(a, b) _mm256_sub_ps(a, b)
#define v_mul(a, b) _mm256_mul_ps(a, b)
#define v_div(a, b) _mm256_div_ps(a, b)
#define v_abs(a) _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a)
#define v_fma(a, b, c) _mm256_fmadd_ps(a, b, c)
#define v_min(a, b) _mm256_min_ps(a, b)
#define v_max(a, b) _mm256_max_ps(a, b)
#define v_if_negative(x, a, b) _mm256_blendv_ps(b, a, x)

static inline __m256 avx2_pow2(__m256 n) {
    const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23));
}

/* In two factors, because 2^n itself may be out of range; the first product is exact. */
static inline __m256 avx2_scale(__m256 p, __m256 n) {
    n = _mm256_floor_ps(n);
    const __m256 half = _mm256_round_ps(_mm256_mul_ps(n, _mm256_set1_ps(0.5f)),
                                        _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
    return _mm256_mul_ps(_mm256_mul_ps(p, avx2_pow2(half)), avx2_pow2(_mm256_sub_ps(n, half)));
}

static inline __m256 avx2_lookup(const float *t, __m256 x) {
    const __m256i i = _mm256_castps_si256(x);
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(_mm256_loadu_ps(t), i),
                            _mm256_permutevar8x32_ps(_mm256_loadu_ps(t + 8), i),
                            _mm256_castsi256_ps(_mm256_slli_epi32(i, 28)));
}

static inline __m256 avx2_power(const uint32_t *t, __m256 sixteenths) {
    const __m256i power = _mm256_castps_si256(avx2_lookup((const float *)t, sixteenths));
    const __m256i shifted = _mm256_slli_epi32(_mm256_castps_si256(sixteenths), 19);
    return _mm256_castsi256_ps(_mm256_add_epi32(power, shifted));
}

static inline __m256 avx2_copysign(__m256 x, __m256 s) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return _mm256_or_ps(_mm256_andnot_ps(sign, x), _mm256_and_ps(sign, s));
}

static inline __m256 avx2_bf16_bits(__m256 x) {
    const __m256i bits = _mm256_castps_si256(x),
                  odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i up = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256 nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    const __m256 kept = _mm256_blendv_ps(_mm256_castsi256_ps(up), _mm256_castsi256_ps(quiet), nan);
    return _mm256_and_ps(kept, _mm256_castsi256_ps(_mm256_set1_epi32((int)0xffff0000)));
}

static inline void avx2_store_bf16(uint16_t *p, __m256 x) {
    const __m256i upper = _mm256_srli_epi32(_mm256_castps_si256(avx2_bf16_bits(x)), 16);
    const __m128i low = _mm256_castsi256_si128(upper), high = _mm256_extracti128_si256(upper, 1);
    _mm_storeu_si128((__m128i *)p, _mm_packus_epi32(low, high));
}

static inline void avx2_store_bytes(uint8_t *p, __m256 x) {
    const __m256i low = _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(255));
    const __m128i half =
        _mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
    _mm_storel_epi64((__m128i *)p, _mm_packus_epi16(half, half));
}

#define v_store_bytes avx2_store_bytes
#define v_bf16_bits avx2_bf16_bits
#define v_copysign avx2_copysign
#define v_lookup avx2_lookup
#define v_power(s) avx2_power(exp2_power, s)
#define v_scale avx2_scale
#define v_scale_normal(p, n) _mm256_mul_ps(p, avx2_pow2(_mm256_floor_ps(n)))
#define v_store_bf16 avx2_store_bf16

#include "kernels/vecmath_body.h"

const struct tine_vecmath tine_vecmath_avx2 = VECMATH_TABLE(TINE_ISA_AVX2);
#endif
