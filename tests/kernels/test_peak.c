/* Peaks are positive where a loop runs, and 0 where it does not. */
#include "kernels/peak.h"

#include <criterion/criterion.h>

Test(peak, every_loop_that_runs_gives_a_figure, .timeout = 60) {
    for (int isa = TINE_ISA_PORTABLE; isa < TINE_ISA_COUNT; isa++) {
        const bool runs = !tine_isa_obstacle(tine_cpu(), (enum tine_isa)isa);
        const struct tine_peak_loops *own = tine_isa_row((enum tine_isa)isa)->peak;
        const double f32 = tine_peak_gflops((enum tine_isa)isa, TINE_GEMM_F32, 0.005).best;
        const double int8 = tine_peak_gflops((enum tine_isa)isa, TINE_GEMM_INT8, 0.005).best;
        const double bf16 = tine_peak_gflops((enum tine_isa)isa, TINE_GEMM_BF16, 0.005).best;
        cr_expect_eq(f32 > 0, runs && (!own || own->fma), "%s f32: %g",
                     tine_isa_name((enum tine_isa)isa), f32);
        cr_expect_eq(bf16 > 0, runs && own && own->dot, "%s bf16: %g",
                     tine_isa_name((enum tine_isa)isa), bf16);
        cr_expect_eq(int8 > 0, runs && own && own->int8, "%s int8: %g",
                     tine_isa_name((enum tine_isa)isa), int8);
    }
    cr_expect_gt(tine_peak_read_gbs(1 << 20, 0.005).best, 0);
    cr_expect_eq(tine_peak_read_gbs(0, 0.005).best, 0);
}

/* The mean is of CPU time, which stands still while another process has the core. */
Test(peak, the_mean_is_at_most_about_the_best, .timeout = 60) {
    const struct tine_peak_rate f32 = tine_peak_gflops(TINE_ISA_AUTO, TINE_GEMM_F32, 0.02),
                                read = tine_peak_read_gbs(1 << 20, 0.02);
    cr_expect(f32.mean > 0 && f32.mean < 1.05 * f32.best, "%g of %g", f32.mean, f32.best);
    cr_expect(read.mean > 0 && read.mean < 1.05 * read.best, "%g of %g", read.mean, read.best);
}
