/* CPU features and the choice of a kernel; see cpu.h. */
#include "kernels/cpu.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) || defined(__i386__)
#define HAVE_X86 1
#include <cpuid.h>
#endif

static struct tine_cpu cpu_found;
static struct tine_kernel_choice choice_made;
static pthread_once_t cpu_once = PTHREAD_ONCE_INIT;
static pthread_once_t choice_once = PTHREAD_ONCE_INIT;

static const char *const isa_names[TINE_ISA_COUNT] = {
    [TINE_ISA_AUTO] = "auto",         [TINE_ISA_PORTABLE] = "portable",
    [TINE_ISA_OPENBLAS] = "openblas", [TINE_ISA_AVX2] = "avx2",
    [TINE_ISA_AVX512] = "avx512",     [TINE_ISA_AVX512_BF16] = "avx512_bf16",
};

#ifdef HAVE_X86
static uint64_t read_xcr0(void) {
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

static void find_brand(struct tine_cpu *cpu) {
    unsigned words[13] = {0};
    if ((unsigned)__get_cpuid_max(0x80000000u, NULL) < 0x80000004u) return;
    for (unsigned i = 0; i < 3; i++)
        __get_cpuid(0x80000002u + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2],
                    &words[4 * i + 3]);
    const char *text = (const char *)words;
    while (*text == ' ') text++;
    snprintf(cpu->brand, sizeof cpu->brand, "%s", text);
    for (size_t n = strlen(cpu->brand); n > 0 && cpu->brand[n - 1] == ' '; n--)
        cpu->brand[n - 1] = 0;
}

static void find_features(struct tine_cpu *cpu) {
    unsigned a, b, c, d;
    cpu->x86 = true;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return;
    cpu->avx = c >> 28 & 1;
    cpu->fma = c >> 12 & 1;
    cpu->f16c = c >> 29 & 1;
    if (c >> 27 & 1) { /* OSXSAVE: XGETBV exists */
        uint64_t xcr0 = read_xcr0();
        cpu->os_avx = (xcr0 & 0x6) == 0x6;
        cpu->os_avx512 = (xcr0 & 0xe6) == 0xe6;
    }
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return;
    cpu->avx2 = b >> 5 & 1;
    cpu->avx512f = b >> 16 & 1;
    cpu->avx512dq = b >> 17 & 1;
    cpu->avx512bw = b >> 30 & 1;
    cpu->avx512vl = b >> 31 & 1;
    if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) cpu->avx512_bf16 = a >> 5 & 1;
}
#endif

static void find_cpu(void) {
    snprintf(cpu_found.brand, sizeof cpu_found.brand, "unknown CPU");
#ifdef HAVE_X86
    find_features(&cpu_found);
    find_brand(&cpu_found);
#endif
}

const struct tine_cpu *tine_cpu(void) {
    pthread_once(&cpu_once, find_cpu);
    return &cpu_found;
}

const char *tine_isa_name(enum tine_isa isa) {
    return (unsigned)isa < TINE_ISA_COUNT ? isa_names[isa] : "unknown";
}

static const char *avx2_obstacle(const struct tine_cpu *cpu) {
    if (!cpu->x86) return "this is not an x86 CPU";
    if (!cpu->avx || !cpu->avx2) return "the CPU has no AVX2";
    if (!cpu->fma) return "the CPU has no FMA";
    if (!cpu->os_avx) return "the operating system does not save the AVX registers";
    return NULL;
}

static const char *avx512_obstacle(const struct tine_cpu *cpu) {
    const char *why = avx2_obstacle(cpu);
    if (why) return why;
    if (!cpu->avx512f || !cpu->avx512bw || !cpu->avx512dq || !cpu->avx512vl)
        return "the CPU has no AVX-512 (F, BW, DQ and VL)";
    if (!cpu->os_avx512) return "the operating system does not save the AVX-512 registers";
    return NULL;
}

const char *tine_isa_obstacle(const struct tine_cpu *cpu, enum tine_isa isa) {
    const char *why;
    switch (isa) {
    case TINE_ISA_AUTO:
    case TINE_ISA_PORTABLE:
    case TINE_ISA_OPENBLAS: return NULL;
    case TINE_ISA_AVX2: return avx2_obstacle(cpu);
    case TINE_ISA_AVX512: return avx512_obstacle(cpu);
    case TINE_ISA_AVX512_BF16:
        if ((why = avx512_obstacle(cpu))) return why;
        return cpu->avx512_bf16 ? NULL : "the CPU has no AVX512_BF16";
    default: return "there is no such kernel";
    }
}

static enum tine_isa best_f32(const struct tine_cpu *cpu) {
    if (!tine_isa_obstacle(cpu, TINE_ISA_AVX512)) return TINE_ISA_AVX512;
    if (!tine_isa_obstacle(cpu, TINE_ISA_AVX2)) return TINE_ISA_AVX2;
    return TINE_ISA_OPENBLAS;
}

static enum tine_isa isa_of_name(const char *name) {
    for (int i = TINE_ISA_PORTABLE; i < TINE_ISA_COUNT; i++)
        if (!strcmp(name, isa_names[i])) return (enum tine_isa)i;
    return TINE_ISA_AUTO;
}

void tine_kernel_resolve(const struct tine_cpu *cpu, const char *wanted,
                         struct tine_kernel_choice *out) {
    memset(out, 0, sizeof *out);
    if (!wanted || !*wanted || !strcmp(wanted, "auto")) {
        out->f32 = best_f32(cpu);
        out->bf16 = tine_isa_obstacle(cpu, TINE_ISA_AVX512_BF16) ? out->f32 : TINE_ISA_AVX512_BF16;
        return;
    }
    enum tine_isa isa = isa_of_name(wanted);
    if (isa == TINE_ISA_AUTO) {
        snprintf(out->error, sizeof out->error,
                 "TINE_KERNEL=%.64s is not a kernel; use portable, openblas, avx2, avx512 or "
                 "avx512_bf16",
                 wanted);
        return;
    }
    const char *why = tine_isa_obstacle(cpu, isa);
    if (why) {
        snprintf(out->error, sizeof out->error,
                 "TINE_KERNEL=%s cannot run on this machine (%s): %s; unset it or choose another",
                 wanted, cpu->brand, why);
        return;
    }
    out->forced = true;
    out->bf16 = isa;
    out->f32 = isa == TINE_ISA_AVX512_BF16 ? TINE_ISA_AVX512 : isa;
}

static void make_choice(void) {
    tine_kernel_resolve(tine_cpu(), getenv("TINE_KERNEL"), &choice_made);
}

const struct tine_kernel_choice *tine_kernel_choice(void) {
    pthread_once(&choice_once, make_choice);
    return &choice_made;
}
