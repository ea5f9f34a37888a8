/* The rows that a GEMM kernel multiplies, made of float32: for the LSTM and the linear layer.
 *
 *   F32    the values themselves
 *   BF16   rounded to bf16; kept as float32 for a kernel that widens, and for the one of float32
 *          where there is none for bf16
 *   INT8   quantised; see int8.h */
#ifndef TINE_KERNELS_OPERAND_H
#define TINE_KERNELS_OPERAND_H

#include "kernels/gemm.h"
#include "kernels/vecmath.h"

struct tine_operand {
    const struct tine_gemm_kernel *kernel;
    const struct tine_vecmath *math;
    enum tine_isa isa; /* the one asked for; AUTO: the choice for the type */
    size_t size;       /* bytes of an element: what lda counts */
    bool round;        /* float32, rounded to bf16 values */
    bool plain;        /* float32 as it is: a row may be used in place */
};

/* UNSUPPORTED: the instruction set cannot run here. */
enum tine_kernel_error tine_operand_init(struct tine_operand *o, enum tine_isa isa,
                                         enum tine_gemm_type type);
/* Elements of a row of n values. */
size_t tine_operand_width(const struct tine_operand *o, size_t n);
/* Makes a row. */
void tine_operand_row(const struct tine_operand *o, size_t n, const float *from, void *to);
/* Rounds packed weights where the kernel does not. */
void tine_operand_weights(const struct tine_operand *o, struct tine_packed *packed);

#endif
