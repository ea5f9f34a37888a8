/* The records each kernel file contributes; gemm.c registers them. */
#ifndef TINE_KERNELS_GEMM_TABLE_H
#define TINE_KERNELS_GEMM_TABLE_H

#include "kernels/gemm.h"

#if defined(__x86_64__)
#define TINE_KERNELS_X86 1
extern const struct tine_gemm_kernel tine_gemm_f32_avx2;
extern const struct tine_gemm_kernel tine_gemm_f32_avx512;
extern const struct tine_gemm_kernel tine_gemm_bf16_avx512;
#endif
extern const struct tine_gemm_kernel tine_gemm_f32_portable;
extern const struct tine_gemm_kernel tine_gemm_f32_openblas;

#endif
