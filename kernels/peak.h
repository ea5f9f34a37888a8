/* The peak rates of one core, which every "share of peak" refers to.
 *
 * Loops of independent fused multiply-adds (or bf16 or int8 dot products) in registers, and of
 * plain vector loads from a buffer, measured in slices of about a millisecond. The counter of a
 * loop must not take slots of the ports that are measured: where four iterations share one, as in
 * the x86 kernels, the rate is up to 8 % higher, depending on where the loop lies in memory
 * (Emerald Rapids). */
#ifndef TINE_KERNELS_PEAK_H
#define TINE_KERNELS_PEAK_H

#include "kernels/gemm.h"
#include "kernels/isa.h"

struct tine_peak_rate {
    /* of the best slice, by the wall clock: other load on the machine can only make one slower */
    double best;
    /* of all of them, by the CPU time of the thread: what a computation that takes as long beside
     * it can be compared with. The frequency of a core, and what others on the machine do, change
     * within milliseconds. */
    double mean;
};

/* Measured GFLOP/s of one core, taking about `seconds` (0.05 to 0.1 is enough for the best); an FMA
 * counts as 2 per lane, a bf16 dot product as 4, one of int8 as 8. AUTO: the kernel chosen for the
 * type. OPENBLAS: the best float32 loop that runs. 0 for an instruction set that has no such loop
 * or cannot run here. */
struct tine_peak_rate tine_peak_gflops(enum tine_isa isa, enum tine_gemm_type type, double seconds);

/* Measured GB/s (10^9 bytes) of one core reading a buffer of `bytes` bytes again and again with the
 * widest loads; 0 if there is no memory for it. */
struct tine_peak_rate tine_peak_read_gbs(size_t bytes, double seconds);

enum { TINE_PEAK_SEEDS = 1024 };

/* The record of one instruction set, in the table of isa.h. Each loop returns a value that depends
 * on all it computed. */
struct tine_peak_loops {
    /* operations of one iteration of fma, of dot and of int8 */
    double flops, bf16_flops, int8_ops;
    /* float32 multiply-adds, bf16 and int8 dot products; NULL: no such loop. seed has
     * TINE_PEAK_SEEDS values */
    float (*fma)(size_t iterations, const float *seed);
    float (*dot)(size_t iterations, const float *seed);
    float (*int8)(size_t iterations, const float *seed);
    float (*read)(const float *data, size_t count); /* count is a multiple of 1024; with fma */
};

/* Why a record is defective, a constant clause; NULL if it is sound. */
const char *tine_peak_defect(const struct tine_peak_loops *loops);

#endif
