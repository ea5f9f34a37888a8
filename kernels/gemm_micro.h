/* What micro-kernel files have in common; included by kernels/gemm_ISA.c only, and compiled with
 * the flags of each. */
#ifndef TINE_KERNELS_GEMM_MICRO_H
#define TINE_KERNELS_GEMM_MICRO_H

#include "kernels/gemm.h"
#include "kernels/unroll.h"

/* Packs one panel of nr float columns (kr 1): the nr values of each k side by side. */
TINE_INLINE void tine_gemm_pack_f32(size_t k, const float *const *columns, ptrdiff_t stride_k,
                                    float *panel, const int nr) {
    for (size_t i = 0; i < k; i++)
        for (int j = 0; j < nr; j++)
            *panel++ = columns[j] ? columns[j][(ptrdiff_t)i * stride_k] : 0;
}

/* Calls tile(t, rows) with a constant number of rows, 1 to 6: then the sums of a tile are
 * registers. For mr 6. */
#define TINE_GEMM_BY_ROWS(tile, t)                                                                 \
    switch ((t)->rows) {                                                                           \
    case 1: tile(t, 1); break;                                                                     \
    case 2: tile(t, 2); break;                                                                     \
    case 3: tile(t, 3); break;                                                                     \
    case 4: tile(t, 4); break;                                                                     \
    case 5: tile(t, 5); break;                                                                     \
    default: tile(t, 6); break;                                                                    \
    }

#endif
