/* CPU features; see cpu.h. */
#include "kernels/cpu.h"

#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#if defined(__x86_64__) || defined(__i386__)
#define HAVE_X86 1
#include <cpuid.h>
#endif

static struct tine_cpu this_cpu;
static pthread_once_t cpu_once = PTHREAD_ONCE_INIT;

enum cpu_register { EAX, EBX, ECX, EDX, XCR0, NOT_X86 };

static const struct {
    uint32_t leaf, subleaf;
    enum cpu_register where;
    uint32_t bits;
    const char *missing;
} cpu_features[] = {
#define FEATURE(name, leaf, subleaf, where, bits, missing) {leaf, subleaf, where, bits, missing},
    TINE_CPU_FEATURES(FEATURE)
#undef FEATURE
};

#ifdef HAVE_X86
static uint32_t cpu_xcr0(void) {
    uint32_t a, b, c, d, low, high;
    const uint32_t osxsave = 1u << 27; /* XGETBV may be used */
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & osxsave)) return 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static uint32_t cpu_word(uint32_t leaf, uint32_t subleaf, enum cpu_register where) {
    uint32_t words[4] = {0};
    if (where == XCR0) return cpu_xcr0();
    if (where == NOT_X86) return 0;
    /* EAX of a leaf's subleaf 0 is its highest subleaf. */
    if (subleaf && (!__get_cpuid_count(leaf, 0, &words[0], &words[1], &words[2], &words[3]) ||
                    words[0] < subleaf))
        return 0;
    if (!__get_cpuid_count(leaf, subleaf, &words[0], &words[1], &words[2], &words[3])) return 0;
    return words[where];
}

static void cpu_find_brand(struct tine_cpu *cpu) {
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

/* Dot products of bf16 and FMA reach 93 and 192 GFLOP/s on Emerald Rapids, 236 and 118 on an AMD
 * EPYC (tine bench lstm). Intel's cores of family 6 are taken to be alike, but for Cooper Lake,
 * model 0x55, which is older; those of other families keep the dot products. By model, not by a
 * measurement: processes on equal machines have to choose the same kernel, else their bits
 * differ. */
static bool cpu_bf16_dots_are_slow(void) {
    uint32_t most, signature, b, c, d;
    if (!__get_cpuid(0, &most, &b, &c, &d) || b != signature_INTEL_ebx ||
        !__get_cpuid(1, &signature, &b, &c, &d))
        return false;
    const uint32_t family = signature >> 8 & 0xf,
                   model = (signature >> 4 & 0xf) | (signature >> 12 & 0xf0);
    return family == 6 && model != 0x55;
}

static void cpu_find_features(struct tine_cpu *cpu) {
    for (size_t i = 0; i < TINE_CPU_FEATURE_COUNT; i++) {
        uint32_t bits = cpu_features[i].bits;
        uint32_t word =
            cpu_word(cpu_features[i].leaf, cpu_features[i].subleaf, cpu_features[i].where);
        if ((word & bits) == bits) cpu->features |= 1u << i;
    }
}
#endif

static void cpu_find(void) {
    snprintf(this_cpu.brand, sizeof this_cpu.brand, "unknown CPU");
#ifdef HAVE_X86
    cpu_find_features(&this_cpu);
    cpu_find_brand(&this_cpu);
    this_cpu.bf16_dots_slow = cpu_bf16_dots_are_slow();
#elif defined(__aarch64__)
    this_cpu.features = TINE_CPU_NEON; /* a part of the architecture */
    snprintf(this_cpu.brand, sizeof this_cpu.brand, "AArch64 CPU");
#endif
}

const struct tine_cpu *tine_cpu(void) {
    pthread_once(&cpu_once, cpu_find);
    return &this_cpu;
}

const char *tine_cpu_obstacle(const struct tine_cpu *cpu, uint32_t features) {
    for (size_t i = 0; i < TINE_CPU_FEATURE_COUNT; i++)
        if (features & ~cpu->features & 1u << i) return cpu_features[i].missing;
    return NULL;
}
