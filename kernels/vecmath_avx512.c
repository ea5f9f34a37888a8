/* vecmath.h for AVX-512. */
#include "kernels/isa.h"

#ifdef TINE_KERNELS_X86
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define V __m512
#define W 16
#define v_load(p) _mm512_loadu_ps(p)
#define v_store(p, v) _mm512_storeu_ps(p, v)
#define v_set1(x) _mm512_set1_ps(x)
#define v_add(a, b) _mm512_add_ps(a, b)
#define v_sub(a, b) _mm512_sub_ps(a, b)
#define v_mul(a, b) _mm512_mul_ps(a, b)
#define v_div(a, b) _mm512_div_ps(a, b)
#define v_abs(a) _mm512_abs_ps(a)
#define v_fma(a, b, c) _mm512_fmadd_ps(a, b, c)
#define v_min(a, b) _mm512_min_ps(a, b)
#define v_max(a, b) _mm512_max_ps(a, b)
#define v_scale(p, n) _mm512_scalef_ps(p, n)
#define v_scale_normal(p, n) _mm512_scalef_ps(p, n)
#define v_lookup(t, x) _mm512_permutexvar_ps(_mm512_castps_si512(x), _mm512_loadu_ps(t))
#define v_power(s) avx512_power(exp2_power, s)
#define v_if_negative(x, a, b)                                                                     \
    _mm512_mask_blend_ps(_mm512_movepi32_mask(_mm512_castps_si512(x)), b, a)

static inline __m512 avx512_power(const uint32_t *t, __m512 sixteenths) {
    const __m512i s = _mm512_castps_si512(sixteenths);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_permutexvar_epi32(s, _mm512_loadu_si512(t)),
                                                _mm512_slli_epi32(s, 19)));
}

static inline __m512 avx512_copysign(__m512 x, __m512 s) {
    const __m512 sign = _mm512_set1_ps(-0.0f);
    return _mm512_or_ps(_mm512_andnot_ps(sign, x), _mm512_and_ps(sign, s));
}

static inline __m512 avx512_bf16_bits(__m512 x) {
    const __m512i bits = _mm512_castps_si512(x),
                  odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
    const __m512i kept = _mm512_mask_blend_epi32(nan, up, quiet);
    return _mm512_castsi512_ps(_mm512_and_si512(kept, _mm512_set1_epi32((int)0xffff0000)));
}

static inline void avx512_store_bf16(uint16_t *p, __m512 x) {
    const __m512i upper = _mm512_srli_epi32(_mm512_castps_si512(avx512_bf16_bits(x)), 16);
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16(upper));
}

#define v_store_bytes(p, x)                                                                        \
    _mm_storeu_si128((__m128i *)(p), _mm512_cvtepi32_epi8(_mm512_castps_si512(x)))
#define v_bf16_bits avx512_bf16_bits
#define v_copysign avx512_copysign
#define v_store_bf16 avx512_store_bf16

#include "kernels/vecmath_body.h"

const struct tine_vecmath tine_vecmath_avx512 = VECMATH_TABLE(TINE_ISA_AVX512);
#endif
