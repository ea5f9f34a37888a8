/* Peaks are positive where a loop runs, and 0 where it does not. */
#include "kernels/peak.h"

#include <criterion/criterion.h>

Test(peak, every_loop_that_runs_gives_a_figure, .timeout = 60) {
    for (int isa = TINE_ISA_PORTABLE; isa < TINE_ISA_COUNT; isa++) {
        const bool runs = !tine_isa_obstacle(tine_cpu(), (enum tine_isa)isa);
        const struct tine_peak_loops *own = tine_isa_row((enum tine_isa)isa)->peak;
        const double f32 = tine_peak_gflops((enum tine_isa)isa, TINE_GEMM_F32, 0.005);
        const double int8 = tine_peak_gflops((enum tine_isa)isa, TINE_GEMM_INT8, 0.005);
        const double bf16 = tine_peak_gflops((enum tine_isa)isa, TINE_GEMM_BF16, 0.005);
        cr_expect_eq(f32 > 0, runs && (!own || own->fma), "%s f32: %g",
                     tine_isa_name((enum tine_isa)isa), f32);
        cr_expect_eq(bf16 > 0, runs && own && own->dot, "%s bf16: %g",
                     tine_isa_name((enum tine_isa)isa), bf16);
        cr_expect_eq(int8 > 0, runs && own && own->int8, "%s int8: %g",
                     tine_isa_name((enum tine_isa)isa), int8);
    }
    cr_expect_gt(tine_peak_read_gbs(1 << 20, 0.005), 0);
    cr_expect_eq(tine_peak_read_gbs(0, 0.005), 0);
}
