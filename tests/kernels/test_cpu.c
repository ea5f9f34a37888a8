/* Which kernel is chosen, forced and refused, on CPUs this machine need not be. */
#include "kernels/cpu.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static const struct tine_cpu full = {.x86 = true,
                                     .avx = true,
                                     .avx2 = true,
                                     .fma = true,
                                     .f16c = true,
                                     .avx512f = true,
                                     .avx512bw = true,
                                     .avx512dq = true,
                                     .avx512vl = true,
                                     .avx512_bf16 = true,
                                     .os_avx = true,
                                     .os_avx512 = true,
                                     .brand = "Test CPU"};

static struct tine_kernel_choice resolve(const struct tine_cpu *cpu, const char *wanted) {
    struct tine_kernel_choice choice;
    tine_kernel_resolve(cpu, wanted, &choice);
    return choice;
}

Test(cpu, the_best_that_runs_is_chosen, .timeout = 10) {
    struct tine_cpu cpu = full;
    cr_expect_eq(resolve(&cpu, NULL).f32, TINE_ISA_AVX512);
    cr_expect_eq(resolve(&cpu, "").bf16, TINE_ISA_AVX512_BF16);
    cr_expect_not(resolve(&cpu, NULL).forced);
    cpu.avx512_bf16 = false;
    cr_expect_eq(resolve(&cpu, NULL).bf16, TINE_ISA_AVX512);
    cpu.avx512f = false;
    cr_expect_eq(resolve(&cpu, NULL).f32, TINE_ISA_AVX2);
    cpu.fma = false;
    cr_expect_eq(resolve(&cpu, NULL).f32, TINE_ISA_OPENBLAS);
}

Test(cpu, the_operating_system_has_a_say, .timeout = 10) {
    struct tine_cpu cpu = full;
    cpu.os_avx512 = false;
    cr_expect_eq(resolve(&cpu, NULL).f32, TINE_ISA_AVX2);
    cr_expect_not_null(strstr(tine_isa_obstacle(&cpu, TINE_ISA_AVX512), "operating system"));
    cpu.os_avx = false;
    cr_expect_eq(resolve(&cpu, NULL).f32, TINE_ISA_OPENBLAS);
}

Test(cpu, a_kernel_can_be_forced, .timeout = 10) {
    const char *const names[] = {"portable", "openblas", "avx2", "avx512"};
    const enum tine_isa isas[] = {TINE_ISA_PORTABLE, TINE_ISA_OPENBLAS, TINE_ISA_AVX2,
                                  TINE_ISA_AVX512};
    for (int i = 0; i < 4; i++) {
        struct tine_kernel_choice choice = resolve(&full, names[i]);
        cr_expect(choice.forced && choice.f32 == isas[i] && choice.bf16 == isas[i] &&
                  !*choice.error);
    }
    struct tine_kernel_choice choice = resolve(&full, "avx512_bf16");
    cr_expect(choice.f32 == TINE_ISA_AVX512 && choice.bf16 == TINE_ISA_AVX512_BF16);
}

Test(cpu, a_kernel_that_cannot_run_is_refused_with_a_sentence, .timeout = 10) {
    struct tine_cpu cpu = full;
    cpu.avx512_bf16 = false;
    struct tine_kernel_choice choice = resolve(&cpu, "avx512_bf16");
    cr_expect_eq(choice.f32, TINE_ISA_AUTO);
    cr_expect_not_null(
        strstr(choice.error, "TINE_KERNEL=avx512_bf16 cannot run on this machine (Test CPU)"));
    cr_expect_not_null(strstr(choice.error, "the CPU has no AVX512_BF16"));
    choice = resolve(&cpu, "sse9");
    cr_expect_not_null(strstr(choice.error, "TINE_KERNEL=sse9 is not a kernel; use portable"));
}

Test(cpu, this_machine_has_a_brand_and_a_choice, .timeout = 10) {
    cr_expect(*tine_cpu()->brand);
    const struct tine_kernel_choice *choice = tine_kernel_choice();
    fprintf(stderr, "%s: f32 %s, bf16 %s\n", tine_cpu()->brand, tine_isa_name(choice->f32),
            tine_isa_name(choice->bf16));
    cr_expect_eq(choice, tine_kernel_choice());
}
