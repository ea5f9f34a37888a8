/* See operand.h. */
#include "kernels/operand.h"

#include <string.h>

#include "kernels/int8.h"

enum tine_kernel_error tine_operand_init(struct tine_operand *o, enum tine_isa isa,
                                         enum tine_gemm_type type) {
    const struct tine_gemm_kernel *kernel = tine_gemm_choose(isa, type);
    if (!kernel) return TINE_KERNEL_UNSUPPORTED;
    if (isa == TINE_ISA_AUTO) isa = tine_gemm_isa(type);
    *o = (struct tine_operand){.kernel = kernel,
                               .math = tine_vecmath(isa),
                               .isa = isa,
                               .size = tine_gemm_a_size(kernel),
                               .round = type == TINE_GEMM_BF16 &&
                                        tine_gemm_a_size(kernel) == sizeof(float),
                               .plain = type == TINE_GEMM_F32};
    return TINE_KERNEL_OK;
}

size_t tine_operand_width(const struct tine_operand *o, size_t n) {
    return o->kernel->type == TINE_GEMM_INT8 ? tine_int8_row_bytes(n) : n;
}

void tine_operand_row(const struct tine_operand *o, size_t n, const float *from, void *to) {
    if (o->round)
        o->math->round_bf16(n, from, to);
    else if (o->kernel->type == TINE_GEMM_INT8)
        o->math->to_int8(n, from, to);
    else if (o->kernel->type == TINE_GEMM_BF16)
        o->math->to_bf16(n, from, to);
    else
        memcpy(to, from, n * sizeof *from);
}

/* The panels of float32 consist of values only. */
void tine_operand_weights(const struct tine_operand *o, struct tine_packed *packed) {
    if (o->round && o->kernel->type == TINE_GEMM_F32)
        o->math->round_bf16(packed->panels * packed->panel_bytes / sizeof(float), packed->data,
                            packed->data);
}
