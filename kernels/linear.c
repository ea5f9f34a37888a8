/* See linear.h. */
#include "kernels/linear.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/mem.h"
#include "kernels/operand.h"

struct tine_linear {
    struct tine_operand operand;
    struct tine_packed weight;
    float *bias; /* padded to whole panels */
    size_t in, out;
};

static enum tine_kernel_error linear_pack(struct tine_linear *l, const float *weight,
                                          const float *bias) {
    enum tine_kernel_error error =
        tine_gemm_pack(l->operand.kernel, l->in, l->out, weight, 1, (ptrdiff_t)l->in, &l->weight);
    if (error) return error;
    tine_operand_weights(&l->operand, &l->weight);
    if (!bias) return TINE_KERNEL_OK;
    l->bias = calloc(l->weight.panels * l->operand.kernel->nr, sizeof *l->bias);
    if (!l->bias) return TINE_KERNEL_MEMORY;
    memcpy(l->bias, bias, l->out * sizeof *bias);
    return TINE_KERNEL_OK;
}

enum tine_kernel_error tine_linear_create(size_t in, size_t out, const float *weight,
                                          const float *bias, enum tine_gemm_type type,
                                          enum tine_isa isa, struct tine_linear **linear) {
    const size_t limit = (size_t)1 << 30;
    if (in < 1 || in > limit || out < 1 || out > limit) return TINE_KERNEL_ARGUMENT;
    struct tine_operand operand;
    if (tine_operand_init(&operand, isa, type)) return TINE_KERNEL_UNSUPPORTED;
    struct tine_linear *l = calloc(1, sizeof *l);
    if (!l) return TINE_KERNEL_MEMORY;
    *l = (struct tine_linear){.operand = operand, .in = in, .out = out};
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

/* Whether it pays to allocate room for B widened: with 50 rows a layer of 1024 by 1024 takes 6 to
 * 24 % less time, one of 128 by 128 up to 20 % more, and 8 rows take 20 to 50 % more (Emerald
 * Rapids). */
static bool linear_shares_widened(const struct tine_linear *l, size_t rows) {
    const struct tine_gemm_kernel *kernel = l->operand.kernel;
    return kernel->widens_for && rows > 4 * kernel->mr && l->in * l->out >= (size_t)1 << 19;
}

enum tine_kernel_error tine_linear_forward(const struct tine_linear *l, size_t rows, const float *x,
                                           float *y) {
    const struct tine_operand *o = &l->operand;
    if (o->plain) {
        tine_gemm(&l->weight, rows, x, l->in, l->bias, 0, y, l->out);
        return TINE_KERNEL_OK;
    }
    const size_t some = rows < o->kernel->mc ? rows : o->kernel->mc,
                 width = tine_operand_width(o, l->in);
    const size_t bytes = (some * width * o->size + 63) & ~(size_t)63;
    const size_t room = linear_shares_widened(l, some) ? TINE_GEMM_WIDENED_MAX * sizeof(float) : 0;
    struct tine_mem operands;
    if (!tine_mem_alloc(&operands, bytes + room)) return TINE_KERNEL_MEMORY;
    float *widened = room ? (float *)((char *)operands.data + bytes) : NULL;
    for (size_t at = 0; at < rows; at += some) {
        const size_t n = rows - at < some ? rows - at : some;
        for (size_t i = 0; i < n; i++)
            tine_operand_row(o, l->in, x + (at + i) * l->in,
                             (char *)operands.data + i * width * o->size);
        tine_gemm_panels(&l->weight, 0, l->weight.panels, false, n, operands.data, width, l->bias,
                         0, y + at * l->out, l->out, (struct tine_gemm_ahead){0}, widened);
    }
    tine_mem_free(&operands);
    return TINE_KERNEL_OK;
}
