/* Which kernels this CPU can run, and which of them was chosen.
 *
 * An instruction set counts as runnable only if the CPU has it (CPUID) and the operating system
 * saves its registers (XGETBV): a hypervisor or kernel that leaves the ZMM state off would
 * otherwise kill the process at the first instruction. The choice is made once, at the first
 * question; TINE_KERNEL=portable|openblas|avx2|avx512|avx512_bf16 forces one. A wrong name, or one
 * that cannot run here, is a sentence in `error`, never an abort.
 *
 * All functions may be called from any thread. */
#ifndef TINE_KERNELS_CPU_H
#define TINE_KERNELS_CPU_H

#include <stdbool.h>

enum tine_isa {
    TINE_ISA_AUTO = 0, /* only in a configuration: whatever was chosen for the data type */
    TINE_ISA_PORTABLE,
    /* cblas_sgemm in place of a micro-kernel: the fallback where no vector kernel of ours runs */
    TINE_ISA_OPENBLAS,
    TINE_ISA_AVX2,
    TINE_ISA_AVX512,
    TINE_ISA_AVX512_BF16,
    TINE_ISA_COUNT
};

/* The bits the choice depends on. `os_avx` and `os_avx512` are the operating system's part of
 * it. */
struct tine_cpu {
    bool x86;
    bool avx, avx2, fma, f16c;
    bool avx512f, avx512bw, avx512dq, avx512vl, avx512_bf16;
    bool os_avx, os_avx512;
    char brand[64];
};

struct tine_kernel_choice {
    enum tine_isa f32, bf16; /* AUTO in both if error is set */
    bool forced;             /* by TINE_KERNEL */
    char error[256];         /* empty, or why TINE_KERNEL cannot be obeyed */
};

const struct tine_cpu *tine_cpu(void);
const char *tine_isa_name(enum tine_isa isa);

/* NULL if the instruction set can run on `cpu`, else the reason as a constant sentence fragment. */
const char *tine_isa_obstacle(const struct tine_cpu *cpu, enum tine_isa isa);

/* The rule behind the choice, for a CPU and a value of TINE_KERNEL (NULL or "" if unset). */
void tine_kernel_resolve(const struct tine_cpu *cpu, const char *wanted,
                         struct tine_kernel_choice *out);

/* The choice for this process; made at the first call, the same ever after. */
const struct tine_kernel_choice *tine_kernel_choice(void);

#endif
