/* What one core of this machine can do at most: the yardsticks of every "share of peak".
 *
 * Loops of independent fused multiply-adds (or bf16 dot products) in registers, and of plain vector
 * loads over a buffer. Each is measured in short slices and the best slice counts: a neighbour on
 * the machine can only make one slower. */
#ifndef TINE_KERNELS_PEAK_H
#define TINE_KERNELS_PEAK_H

#include "kernels/gemm.h"

/* Measured GFLOP/s of one core, taking about `seconds` (0.05 to 0.1 is enough); an FMA counts as 2
 * a lane, a dot product step of bf16 as 4 a lane. AUTO: the kernel chosen for the type. OPENBLAS:
 * the best float loop that runs. BF16 on an instruction set without dot products, or an instruction
 * set that cannot run here, gives 0. */
double tine_peak_gflops(enum tine_isa isa, enum tine_gemm_type type, double seconds);

/* Measured GB/s (10^9 bytes) of one core reading a buffer of `bytes` bytes again and again with the
 * widest loads; 0 if there is no memory for it. */
double tine_peak_read_gbs(size_t bytes, double seconds);

/* ---- one instruction set's loops ---- */

struct tine_peak_loops {
    double flops, bf16_flops; /* of one iteration; 0: no such loop */
    float (*fma)(size_t iterations, const float *seed);
    float (*dot)(size_t iterations, const float *seed);
    float (*read)(const float *data, size_t count); /* count is a multiple of 1024 */
};

enum { TINE_PEAK_SEEDS = 1024 };

extern const struct tine_peak_loops tine_peak_avx2, tine_peak_avx512, tine_peak_avx512_bf16;

#endif
