/* The table of instruction sets: the choice among them on CPUs other than this one, and what makes
 * a record defective. */
#include "kernels/gemm.h"
#include "kernels/isa.h"
#include "kernels/peak.h"
#include "kernels/vecmath.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static const struct tine_cpu full = {.features = ~0u, .brand = "Test CPU"};

static struct tine_kernel_choice resolve(const struct tine_cpu *cpu, const char *wanted) {
    struct tine_kernel_choice choice;
    tine_kernel_resolve(cpu, wanted, &choice);
    return choice;
}

/* A row of another architecture has no records: full has its features too. */
#ifdef TINE_KERNELS_ARM64
Test(isa, the_best_that_runs_is_chosen, .timeout = 10) {
    struct tine_cpu cpu = full;
    cr_expect_eq(resolve(&cpu, NULL).f32, TINE_ISA_NEON);
    cr_expect_eq(resolve(&cpu, "").bf16, TINE_ISA_NEON);
    cpu.features &= ~TINE_CPU_NEON;
    cr_expect_eq(resolve(&cpu, NULL).f32, TINE_ISA_OPENBLAS);
}

Test(isa, a_kernel_can_be_forced, .timeout = 10) {
    struct tine_kernel_choice choice = resolve(&full, "neon");
    cr_expect(choice.forced && choice.f32 == TINE_ISA_NEON && choice.bf16 == TINE_ISA_NEON);
}
#else
Test(isa, the_best_that_runs_is_chosen, .timeout = 10) {
    struct tine_cpu cpu = full;
    cr_expect_eq(resolve(&cpu, NULL).f32, TINE_ISA_AVX512);
    cr_expect_eq(resolve(&cpu, "").bf16, TINE_ISA_AVX512_BF16);
    cr_expect_eq(resolve(&cpu, NULL).int8, TINE_ISA_AVX512_VNNI);
    cr_expect_not(resolve(&cpu, NULL).forced);
    cpu.features &= ~TINE_CPU_AVX512_VNNI;
    cr_expect_eq(resolve(&cpu, NULL).int8, TINE_ISA_AVX_VNNI);
    cpu.features &= ~TINE_CPU_AVX_VNNI;
    cr_expect_eq(resolve(&cpu, NULL).int8, TINE_ISA_AVX512, "its vector functions");
    cpu.features &= ~TINE_CPU_AVX512_BF16;
    cr_expect_eq(resolve(&cpu, NULL).bf16, TINE_ISA_AVX512);
    cpu.features &= ~TINE_CPU_AVX512;
    cr_expect_eq(resolve(&cpu, NULL).f32, TINE_ISA_AVX2);
    cpu.features &= ~TINE_CPU_FMA;
    cr_expect_eq(resolve(&cpu, NULL).f32, TINE_ISA_OPENBLAS);
}

Test(isa, slow_dot_products_are_used_only_if_forced, .timeout = 10) {
    struct tine_cpu cpu = full;
    cpu.bf16_dots_slow = true;
    cr_expect_eq(resolve(&cpu, NULL).bf16, TINE_ISA_AVX512);
    cr_expect_eq(resolve(&cpu, "avx512_bf16").bf16, TINE_ISA_AVX512_BF16);
}

Test(isa, registers_that_the_operating_system_does_not_save_are_not_used, .timeout = 10) {
    struct tine_cpu cpu = full;
    cpu.features &= ~TINE_CPU_OS_AVX512;
    cr_expect_eq(resolve(&cpu, NULL).f32, TINE_ISA_AVX2);
    cr_expect_not_null(strstr(tine_isa_obstacle(&cpu, TINE_ISA_AVX512), "operating system"));
    cpu.features &= ~TINE_CPU_OS_AVX;
    cr_expect_eq(resolve(&cpu, NULL).f32, TINE_ISA_OPENBLAS);
}

Test(isa, a_kernel_can_be_forced, .timeout = 10) {
    const char *const names[] = {"portable", "openblas", "avx2", "avx512"};
    const enum tine_isa isas[] = {TINE_ISA_PORTABLE, TINE_ISA_OPENBLAS, TINE_ISA_AVX2,
                                  TINE_ISA_AVX512};
    for (int i = 0; i < 4; i++) {
        struct tine_kernel_choice choice = resolve(&full, names[i]);
        cr_expect(choice.forced && choice.f32 == isas[i] && choice.bf16 == isas[i] &&
                  choice.int8 == isas[i] && !*choice.error);
    }
    struct tine_kernel_choice choice = resolve(&full, "avx512_bf16");
    cr_expect(choice.f32 == TINE_ISA_AVX512 && choice.bf16 == TINE_ISA_AVX512_BF16);
    choice = resolve(&full, "avx_vnni");
    cr_expect(choice.f32 == TINE_ISA_AVX2 && choice.int8 == TINE_ISA_AVX_VNNI);
}
#endif

Test(isa, a_kernel_that_cannot_run_is_refused_with_a_sentence, .timeout = 10) {
    struct tine_cpu cpu = full;
    cpu.features &= ~TINE_CPU_AVX512_BF16;
    struct tine_kernel_choice choice = resolve(&cpu, "avx512_bf16");
    cr_expect_eq(choice.f32, TINE_ISA_AUTO);
    cr_expect_not_null(
        strstr(choice.error, "TINE_KERNEL=avx512_bf16 cannot run on this machine (Test CPU)"));
    cr_expect_not_null(strstr(choice.error, "the CPU has no AVX512_BF16"));
    cr_expect(choice.error_is_of_cpu);
    choice = resolve(&cpu, "sse9");
    cr_expect_not_null(strstr(choice.error, "TINE_KERNEL=sse9 is not a kernel; use portable"));
    cr_expect_not(choice.error_is_of_cpu, "it is refused on each machine");
}

Test(isa, this_machine_has_a_brand_and_a_choice, .timeout = 10) {
    cr_expect(*tine_cpu()->brand);
    const struct tine_kernel_choice *choice = tine_kernel_choice();
    fprintf(stderr, "%s: f32 %s, bf16 %s, int8 %s\n", tine_cpu()->brand, tine_isa_name(choice->f32),
            tine_isa_name(choice->bf16), tine_isa_name(choice->int8));
    cr_expect_eq(choice, tine_kernel_choice());
}

/* ---- the table ---- */

Test(isa, the_table_is_sound_and_begins_with_the_portable_row, .timeout = 10) {
    cr_expect_eq(TINE_ISA_PORTABLE, 1);
    cr_expect_eq(tine_isa_row(TINE_ISA_PORTABLE)->features, 0);
    for (enum tine_isa isa = TINE_ISA_PORTABLE; isa < TINE_ISA_COUNT; isa++) {
        const char *why = tine_isa_defect(isa, tine_isa_row(isa));
        cr_expect_null(why, "%s: %s", tine_isa_name(isa), why);
    }
    cr_expect_str_eq(tine_isa_name(TINE_ISA_AUTO), "auto");
    cr_expect_str_eq(tine_isa_name(TINE_ISA_COUNT), "unknown");
    cr_expect_not_null(tine_isa_obstacle(&full, TINE_ISA_COUNT));
}

Test(isa, an_operation_that_a_row_lacks_is_its_bases, .timeout = 10) {
    if (tine_isa_obstacle(tine_cpu(), TINE_ISA_AVX512_BF16)) return;
    cr_expect_eq(tine_gemm_find(TINE_ISA_AVX512_BF16, TINE_GEMM_F32)->isa, TINE_ISA_AVX512);
    cr_expect_eq(tine_gemm_find(TINE_ISA_AVX512_BF16, TINE_GEMM_BF16)->isa, TINE_ISA_AVX512_BF16);
    cr_expect_eq(tine_gemm_find(TINE_ISA_AVX512, TINE_GEMM_BF16)->isa, TINE_ISA_AVX512);
    cr_expect_null(tine_gemm_find(TINE_ISA_AVX2, TINE_GEMM_BF16));
    cr_expect_eq(tine_gemm_find(TINE_ISA_AVX512, TINE_GEMM_INT8)->isa, TINE_ISA_AVX2);
    cr_expect_eq(tine_gemm_choose(TINE_ISA_OPENBLAS, TINE_GEMM_INT8)->isa, TINE_ISA_PORTABLE);
    cr_expect_eq(tine_vecmath(TINE_ISA_AVX512_BF16)->isa, TINE_ISA_AVX512);
    cr_expect_eq(tine_vecmath(TINE_ISA_OPENBLAS)->isa, TINE_ISA_AVX512);
    cr_expect_eq(tine_vecmath(TINE_ISA_PORTABLE)->isa, TINE_ISA_PORTABLE);
}

static const char *defect(struct tine_isa_row row) {
    const char *why = tine_isa_defect(TINE_ISA_PORTABLE, &row);
    return why ? why : "none";
}

Test(isa, a_defective_row_is_found, .timeout = 10) {
    const struct tine_isa_row sound = *tine_isa_row(TINE_ISA_PORTABLE);
    cr_expect_str_eq(defect(sound), "none");
    struct tine_isa_row row = sound;
    row.name = NULL;
    cr_expect_str_eq(defect(row), "it has no name");
    row.name = "openblas";
    cr_expect_str_eq(defect(row), "another row has its name");
    row = sound, row.base = TINE_ISA_AVX2;
    cr_expect_str_eq(defect(row), "its base is not an earlier row");
    row = sound, row.peak = NULL;
    cr_expect_str_eq(defect(row), "the portable row lacks an operation");
    row = sound, row.gemm_bf16 = row.gemm_f32;
    cr_expect_str_eq(defect(row), "its GEMM_BF16 is not of bfloat16");
    row = sound, row.gemm_int8 = row.gemm_f32;
    cr_expect_str_eq(defect(row), "its GEMM_INT8 is not of int8");
    row = sound, row.gemm_f32 = tine_isa_row(TINE_ISA_OPENBLAS)->gemm_f32;
    cr_expect_str_eq(defect(row), "one of its records is of another instruction set");
    struct tine_vecmath math = *sound.vecmath;
    math.gates = NULL;
    row = sound, row.vecmath = &math;
    cr_expect_str_eq(defect(row), "its vecmath lacks a function");
    math = *sound.vecmath, math.gru_gates = NULL;
    cr_expect_str_eq(defect(row), "its vecmath lacks a function");
    struct tine_peak_loops peak = *sound.peak;
    peak.flops = 0;
    row = sound, row.peak = &peak;
    cr_expect_str_eq(defect(row), "its peak does not say how much fma computes");
    struct tine_gemm_kernel gemm = *sound.gemm_int8;
    gemm.kc = 1024;
    row = sound, row.gemm_int8 = &gemm;
    cr_expect_str_eq(defect(row), "kc is not that of int8.h");
    gemm = *sound.gemm_f32, gemm.mc = 0;
    row = sound, row.gemm_f32 = &gemm;
    cr_expect_str_eq(defect(row), "mc is less than mr");
}

Test(isa, a_defective_row_aborts, .timeout = 10, .signal = SIGABRT) {
    struct tine_isa_row row = *tine_isa_row(TINE_ISA_PORTABLE);
    struct tine_gemm_kernel gemm = *row.gemm_f32;
    gemm.nr = 24;
    tine_isa_check(TINE_ISA_PORTABLE, &row);
    row.gemm_f32 = &gemm;
    tine_isa_check(TINE_ISA_PORTABLE, &row);
}
