/* The CPU's features, as far as kernels need them.
 *
 * On x86 a feature counts only if the CPU reports it (CPUID) and, for registers, the operating
 * system saves them (XGETBV): under a hypervisor or kernel that leaves the ZMM state off, the first
 * AVX-512 instruction would kill the process. Bits are those of the Intel 64 and IA-32
 * Architectures Software Developer's Manual, volume 2, CPUID, and volume 1, 13.3 (XCR0). An AArch64
 * CPU always has NEON. */
#ifndef TINE_KERNELS_CPU_H
#define TINE_KERNELS_CPU_H

#include <stdbool.h>
#include <stdint.h>

/* One row per feature: FEATURE(name, CPUID leaf, subleaf, register, bits that must all be set, what
 * to say where it is missing). XCR0 is read with XGETBV instead of CPUID; NOT_X86 is 0 on x86. The
 * order is the one in which missing features are reported, the most basic first. */
#define TINE_CPU_FEATURES(FEATURE)                                                                 \
    FEATURE(X86, 0, 0, EAX, 0, "this is not an x86 CPU")                                           \
    FEATURE(NEON, 0, 0, NOT_X86, 1, "this is not an AArch64 CPU")                                  \
    FEATURE(AVX, 1, 0, ECX, 1u << 28, "the CPU has no AVX2")                                       \
    FEATURE(AVX2, 7, 0, EBX, 1u << 5, "the CPU has no AVX2")                                       \
    FEATURE(FMA, 1, 0, ECX, 1u << 12, "the CPU has no FMA")                                        \
    FEATURE(OS_AVX, 1, 0, XCR0, 0x06, "the operating system does not save the AVX registers")      \
    FEATURE(AVX512, 7, 0, EBX, 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31,                          \
            "the CPU has no AVX-512 (F, BW, DQ and VL)")                                           \
    FEATURE(OS_AVX512, 1, 0, XCR0, 0xe6,                                                           \
            "the operating system does not save the AVX-512 registers")                            \
    FEATURE(AVX512_BF16, 7, 1, EAX, 1u << 5, "the CPU has no AVX512_BF16")                         \
    FEATURE(AVX512_VNNI, 7, 0, ECX, 1u << 11, "the CPU has no AVX512_VNNI")                        \
    FEATURE(AVX_VNNI, 7, 1, EAX, 1u << 4, "the CPU has no AVX-VNNI")

#define FEATURE(name, ...) TINE_CPU_##name##_INDEX,
enum { TINE_CPU_FEATURES(FEATURE) TINE_CPU_FEATURE_COUNT };
#undef FEATURE
#define FEATURE(name, ...) TINE_CPU_##name = 1u << TINE_CPU_##name##_INDEX,
enum { TINE_CPU_FEATURES(FEATURE) };
#undef FEATURE

struct tine_cpu {
    uint32_t features; /* TINE_CPU_… */
    char brand[64];
    /* AVX512_BF16 has fewer multiplications per second than FMA in float32 */
    bool bf16_dots_slow;
};

/* This machine's CPU; the same at every call, from any thread. */
const struct tine_cpu *tine_cpu(void);

/* NULL if `cpu` has all of `features`, else why not: a constant clause about the first missing
 * one. */
const char *tine_cpu_obstacle(const struct tine_cpu *cpu, uint32_t features);

#endif
