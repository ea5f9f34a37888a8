/* See linear.h. */
#include "kernels/linear.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/gemm.h"
#include "kernels/mem.h"
#include "kernels/vecmath.h"

struct tine_linear {
    const struct tine_gemm_kernel *kernel;
    const struct tine_vecmath *math;
    struct tine_packed weight;
    float *bias; /* padded to whole panels */
    size_t in, out;
    bool bf16;  /* operands are stored as bf16 */
    bool round; /* operands are float32, rounded to bf16 values */
};

static enum tine_kernel_error linear_pack(struct tine_linear *l, const float *weight,
                                          const float *bias) {
    enum tine_kernel_error error =
        tine_gemm_pack(l->kernel, l->in, l->out, weight, 1, (ptrdiff_t)l->in, &l->weight);
    if (error) return error;
    if (l->round)
        l->math->round_bf16(l->weight.panels * l->weight.panel_bytes / sizeof(float),
                            l->weight.data, l->weight.data);
    if (!bias) return TINE_KERNEL_OK;
    l->bias = calloc(l->weight.panels * l->kernel->nr, sizeof *l->bias);
    if (!l->bias) return TINE_KERNEL_MEMORY;
    memcpy(l->bias, bias, l->out * sizeof *bias);
    return TINE_KERNEL_OK;
}

enum tine_kernel_error tine_linear_create(size_t in, size_t out, const float *weight,
                                          const float *bias, bool bf16, enum tine_isa isa,
                                          struct tine_linear **linear) {
    const size_t limit = (size_t)1 << 30;
    if (in < 1 || in > limit || out < 1 || out > limit) return TINE_KERNEL_ARGUMENT;
    const struct tine_gemm_kernel *kernel = tine_gemm_choose(isa, bf16);
    if (!kernel) return TINE_KERNEL_UNSUPPORTED;
    struct tine_linear *l = calloc(1, sizeof *l);
    if (!l) return TINE_KERNEL_MEMORY;
    *l = (struct tine_linear){.kernel = kernel,
                              .math = tine_vecmath(kernel->isa),
                              .in = in,
                              .out = out,
                              .bf16 = kernel->type == TINE_GEMM_BF16,
                              .round = bf16 && kernel->type != TINE_GEMM_BF16};
    enum tine_kernel_error error = linear_pack(l, weight, bias);
    if (error)
        tine_linear_free(l);
    else
        *linear = l;
    return error;
}

void tine_linear_free(struct tine_linear *l) {
    if (!l) return;
    tine_gemm_packed_free(&l->weight);
    free(l->bias);
    free(l);
}

enum tine_kernel_error tine_linear_forward(const struct tine_linear *l, size_t rows, const float *x,
                                           float *y) {
    if (!l->bf16 && !l->round) {
        tine_gemm(&l->weight, rows, x, l->in, l->bias, 0, y, l->out);
        return TINE_KERNEL_OK;
    }
    const size_t some = rows < l->kernel->mc ? rows : l->kernel->mc;
    const size_t elem = l->bf16 ? sizeof(uint16_t) : sizeof(float);
    struct tine_mem operand;
    if (!tine_mem_alloc(&operand, some * l->in * elem)) return TINE_KERNEL_MEMORY;
    for (size_t at = 0; at < rows; at += some) {
        const size_t n = rows - at < some ? rows - at : some;
        if (l->bf16)
            l->math->to_bf16(n * l->in, x + at * l->in, operand.data);
        else
            l->math->round_bf16(n * l->in, x + at * l->in, operand.data);
        tine_gemm(&l->weight, n, operand.data, l->in, l->bias, 0, y + at * l->out, l->out);
    }
    tine_mem_free(&operand);
    return TINE_KERNEL_OK;
}
