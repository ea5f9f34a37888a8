/* torch.nn.Linear on weights packed once: y = x W' + b, W (out x in) row-major. In bf16 and
 * int8 the operands are rounded as in lstm.h. Immutable after creation: any number of threads may
 * use one. The bits of a row do not depend on the other rows, except with the openblas kernel. */
#ifndef TINE_KERNELS_LINEAR_H
#define TINE_KERNELS_LINEAR_H

#include "kernels/error.h"
#include "kernels/gemm.h"
#include "kernels/isa.h"

#include <stdbool.h>
#include <stddef.h>

struct tine_linear;

/* Packs the weight and the bias (out values, or NULL); they are not kept. isa AUTO: the choice of
 * tine_kernel_choice(). On failure *linear is untouched. ARGUMENT: a size is 0 or past 2^30. */
enum tine_kernel_error tine_linear_create(size_t in, size_t out, const float *weight,
                                          const float *bias, enum tine_gemm_type type,
                                          enum tine_isa isa, struct tine_linear **linear);
void tine_linear_free(struct tine_linear *linear); /* accepts NULL */

/* x (rows x in) to y (rows x out), which do not overlap. MEMORY: in bf16 and int8; nothing
 * was written. */
enum tine_kernel_error tine_linear_forward(const struct tine_linear *linear, size_t rows,
                                           const float *x, float *y);

#endif
