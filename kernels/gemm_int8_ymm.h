/* The end of an int8 tile for kernels whose vectors have 8 sums; included by kernels/gemm_ISA.c
 * only, and compiled with the flags of each. */
#ifndef TINE_KERNELS_GEMM_INT8_YMM_H
#define TINE_KERNELS_GEMM_INT8_YMM_H

#include <immintrin.h>

#include "kernels/gemm_micro.h"

/* C = C0 + scale_a scale_b (sum - zero * sum of b), of one row of `vectors` vectors. */
TINE_INLINE void tine_gemm_int8_row_end(const struct tine_gemm_tile *t, size_t r,
                                        const __m256i *sum, const int vectors) {
    const float *scales = t->b, *init = t->init + r * t->ldinit;
    const int32_t *sums = (const int32_t *)(scales + 8 * vectors);
    float *c = t->c + r * t->ldc;
    struct tine_int8_row head;
    memcpy(&head, t->heads + r * t->lda, sizeof head);
    const __m256i zero = _mm256_set1_epi32(head.zero);
    const __m256 scale = _mm256_set1_ps(head.scale);
    TINE_UNROLL(2)
    for (int j = 0; j < vectors; j++) {
        const __m256i of_b = _mm256_loadu_si256((const __m256i *)(sums + 8 * j));
        const __m256i exact = _mm256_sub_epi32(sum[j], _mm256_mullo_epi32(zero, of_b));
        const __m256 both = _mm256_mul_ps(scale, _mm256_loadu_ps(scales + 8 * j));
        _mm256_storeu_ps(c + 8 * j, _mm256_fmadd_ps(_mm256_cvtepi32_ps(exact), both,
                                                    _mm256_loadu_ps(init + 8 * j)));
    }
}

#endif
