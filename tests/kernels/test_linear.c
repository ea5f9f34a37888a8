/* Linear layers: many rows at once have the bits of each row alone, in every type and with every
 * kernel. Layers that give a product room for widened weights, and others that do not. */
#include "kernels/linear.h"
#include "tests/support/random.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static float *random_floats(uint64_t *seed, size_t n) {
    float *out = malloc(n * sizeof *out);
    for (size_t i = 0; i < n; i++) out[i] = random_float(seed);
    return out;
}

static void check_layer(enum tine_isa isa, enum tine_gemm_type type, size_t in, size_t out,
                        size_t rows) {
    uint64_t seed = in + rows;
    float *weight = random_floats(&seed, in * out), *bias = random_floats(&seed, out),
          *x = random_floats(&seed, rows * in), *all = malloc(rows * out * sizeof *all),
          *one = malloc(out * sizeof *one);
    struct tine_linear *layer;
    cr_assert_eq(tine_linear_create(in, out, weight, bias, type, isa, &layer), TINE_KERNEL_OK);
    cr_assert_eq(tine_linear_forward(layer, rows, x, all), TINE_KERNEL_OK);
    for (size_t r = 0; r < rows; r++) {
        cr_assert_eq(tine_linear_forward(layer, 1, x + r * in, one), TINE_KERNEL_OK);
        cr_assert(!memcmp(one, all + r * out, out * sizeof *one), "%s %s %zux%zu: row %zu of %zu",
                  tine_isa_name(isa), tine_gemm_type_name(type), in, out, r, rows);
    }
    tine_linear_free(layer);
    free(weight), free(bias), free(x), free(all), free(one);
}

Test(linear, rows_at_once_have_the_bits_of_each_alone, .timeout = 120) {
    for (enum tine_isa isa = TINE_ISA_PORTABLE; isa < TINE_ISA_COUNT; isa++) {
        if (isa == TINE_ISA_OPENBLAS || tine_isa_obstacle(tine_cpu(), isa)) continue;
        for (int type = TINE_GEMM_F32; type <= TINE_GEMM_INT8; type++) {
            check_layer(isa, (enum tine_gemm_type)type, 67, 70, 29);
            check_layer(isa, (enum tine_gemm_type)type, 1030, 514, 50);
        }
    }
}
