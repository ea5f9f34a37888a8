/* The table of instruction sets, its checks, and the choice of a kernel; see isa.h. */
#include "kernels/isa.h"
#include "kernels/blas.h"
#include "kernels/gemm.h"
#include "kernels/peak.h"
#include "kernels/vecmath.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef TINE_KERNELS_X86
#define X86(records) records
#else
#define X86(records)
#endif
#ifdef TINE_KERNELS_ARM64
#define ARM64(records) records
#else
#define ARM64(records)
#endif
#define GEMM_F32(isa) .gemm_f32 = &tine_gemm_f32_##isa,
#define GEMM_BF16(isa) .gemm_bf16 = &tine_gemm_bf16_##isa,
#define GEMM_INT8(isa) .gemm_int8 = &tine_gemm_int8_##isa,
#define VECMATH(isa) .vecmath = &tine_vecmath_##isa,
#define PEAK(isa) .peak = &tine_peak_##isa,
#define ROW(ID, name_, base_, features_, records)                                                  \
    [TINE_ISA_##ID] = {.name = #name_, .base = TINE_ISA_##base_, .features = (features_), records},

static const struct tine_isa_row isa_table[TINE_ISA_COUNT] = {TINE_ISA_TABLE(ROW)};

const struct tine_isa_row *tine_isa_row(enum tine_isa isa) {
    return &isa_table[(unsigned)isa < TINE_ISA_COUNT ? isa : TINE_ISA_AUTO];
}

const char *tine_isa_name(enum tine_isa isa) {
    if (isa == TINE_ISA_AUTO) return "auto";
    return tine_isa_row(isa)->name ? tine_isa_row(isa)->name : "unknown";
}

const char *tine_isa_obstacle(const struct tine_cpu *cpu, enum tine_isa isa) {
    if ((unsigned)isa >= TINE_ISA_COUNT) return "there is no such kernel";
    if (isa == TINE_ISA_OPENBLAS && !tine_blas()) return "libopenblas.so.0 cannot be loaded";
    uint32_t features = 0;
    for (; isa != TINE_ISA_AUTO; isa = isa_table[isa].base) features |= isa_table[isa].features;
    return tine_cpu_obstacle(cpu, features);
}

/* ---- checks ---- */

static bool isa_name_taken(enum tine_isa isa, const char *name) {
    for (enum tine_isa other = TINE_ISA_PORTABLE; other < TINE_ISA_COUNT; other++)
        if (other != isa && !strcmp(isa_table[other].name, name)) return true;
    return !strcmp(name, "auto");
}

const char *tine_isa_defect(enum tine_isa isa, const struct tine_isa_row *row) {
    const char *why = NULL;
    if (!row->name || !*row->name) return "it has no name";
    if (isa_name_taken(isa, row->name)) return "another row has its name";
    if (row->base >= isa) return "its base is not an earlier row";
    if (isa == TINE_ISA_PORTABLE &&
        (!row->gemm_f32 || !row->gemm_int8 || !row->vecmath || !row->peak))
        return "the portable row lacks an operation";
    if (row->gemm_f32 && row->gemm_f32->type != TINE_GEMM_F32)
        return "its GEMM_F32 is not of float32";
    if (row->gemm_bf16 && row->gemm_bf16->type != TINE_GEMM_BF16)
        return "its GEMM_BF16 is not of bfloat16";
    if (row->gemm_int8 && row->gemm_int8->type != TINE_GEMM_INT8)
        return "its GEMM_INT8 is not of int8";
    if ((row->gemm_f32 && row->gemm_f32->isa != isa) ||
        (row->gemm_bf16 && row->gemm_bf16->isa != isa) ||
        (row->gemm_int8 && row->gemm_int8->isa != isa) ||
        (row->vecmath && row->vecmath->isa != isa))
        return "one of its records is of another instruction set";
    if (row->gemm_f32 && (why = tine_gemm_defect(row->gemm_f32))) return why;
    if (row->gemm_bf16 && (why = tine_gemm_defect(row->gemm_bf16))) return why;
    if (row->gemm_int8 && (why = tine_gemm_defect(row->gemm_int8))) return why;
    if (row->vecmath && (why = tine_vecmath_defect(row->vecmath))) return why;
    return row->peak ? tine_peak_defect(row->peak) : NULL;
}

void tine_isa_check(enum tine_isa isa, const struct tine_isa_row *row) {
    const char *why = tine_isa_defect(isa, row);
    if (!why) return;
    fprintf(stderr,
            "tine: the kernels of instruction set %d (%s) are defective: %s; see kernels/isa.h\n",
            (int)isa, row->name ? row->name : "no name", why);
    abort();
}

__attribute__((constructor)) static void isa_table_check(void) {
    for (enum tine_isa isa = TINE_ISA_PORTABLE; isa < TINE_ISA_COUNT; isa++)
        tine_isa_check(isa, &isa_table[isa]);
}

/* ---- the choice ---- */

static struct tine_kernel_choice choice_made;
static pthread_once_t choice_once = PTHREAD_ONCE_INIT;

static bool isa_is_slow(const struct tine_cpu *cpu, enum tine_isa isa) {
    return isa == TINE_ISA_AVX512_BF16 && cpu->bf16_dots_slow;
}

static enum tine_isa best_for(const struct tine_cpu *cpu, enum tine_gemm_type type) {
    for (int isa = TINE_ISA_COUNT - 1; isa > TINE_ISA_AUTO; isa--) {
        if (tine_gemm_of_row(&isa_table[isa], type) &&
            !tine_isa_obstacle(cpu, (enum tine_isa)isa) && !isa_is_slow(cpu, (enum tine_isa)isa))
            return (enum tine_isa)isa;
    }
    return TINE_ISA_AUTO;
}

static enum tine_isa isa_of_name(const char *name) {
    for (enum tine_isa isa = TINE_ISA_PORTABLE; isa < TINE_ISA_COUNT; isa++)
        if (!strcmp(name, isa_table[isa].name)) return isa;
    return TINE_ISA_AUTO;
}

/* "portable, openblas, …, or avx512_bf16" */
static void list_names(char *text, size_t space) {
    size_t used = 0;
    for (enum tine_isa isa = TINE_ISA_PORTABLE; isa < TINE_ISA_COUNT && used < space; isa++) {
        const char *before = isa == TINE_ISA_PORTABLE   ? ""
                             : isa + 1 < TINE_ISA_COUNT ? ", "
                                                        : " or ";
        int n = snprintf(text + used, space - used, "%s%s", before, isa_table[isa].name);
        used += n > 0 ? (size_t)n : 0;
    }
}

static void resolve_forced(const struct tine_cpu *cpu, const char *wanted,
                           struct tine_kernel_choice *out) {
    enum tine_isa isa = isa_of_name(wanted);
    if (isa == TINE_ISA_AUTO) {
        char names[160];
        list_names(names, sizeof names);
        snprintf(out->error, sizeof out->error, "TINE_KERNEL=%.64s is not a kernel; use %s", wanted,
                 names);
        return;
    }
    const char *why = tine_isa_obstacle(cpu, isa);
    if (why) {
        out->error_is_of_cpu = true;
        snprintf(out->error, sizeof out->error,
                 "TINE_KERNEL=%s cannot run on this machine (%s): %s; unset it or choose another",
                 wanted, cpu->brand, why);
        return;
    }
    out->forced = true;
    out->int8 = out->bf16 = out->f32 = isa;
    while (!isa_table[out->f32].gemm_f32 && out->f32 != TINE_ISA_AUTO)
        out->f32 = isa_table[out->f32].base;
}

static bool isa_is_based_on(enum tine_isa isa, enum tine_isa base) {
    while (isa != base && isa != TINE_ISA_AUTO) isa = isa_table[isa].base;
    return isa == base;
}

void tine_kernel_resolve(const struct tine_cpu *cpu, const char *wanted,
                         struct tine_kernel_choice *out) {
    memset(out, 0, sizeof *out);
    if (wanted && *wanted && strcmp(wanted, "auto") != 0) {
        resolve_forced(cpu, wanted, out);
        return;
    }
    out->f32 = best_for(cpu, TINE_GEMM_F32);
    out->bf16 = best_for(cpu, TINE_GEMM_BF16);
    out->int8 = best_for(cpu, TINE_GEMM_INT8);
    if (out->bf16 == TINE_ISA_AUTO) out->bf16 = out->f32;
    /* then its GEMM, with the vector functions of this CPU */
    if (isa_is_based_on(out->f32, out->int8)) out->int8 = out->f32;
}

static void choice_make(void) {
    tine_kernel_resolve(tine_cpu(), getenv("TINE_KERNEL"), &choice_made);
}

const struct tine_kernel_choice *tine_kernel_choice(void) {
    pthread_once(&choice_once, choice_make);
    return &choice_made;
}
