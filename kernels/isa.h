/* The table of instruction sets (ISAs) and their kernels, and the choice among them.
 *
 * ADD A KERNEL. A kernel is one record: a structure of function pointers and sizes, defined in
 * kernels/OPERATION_ISA.c. An ISA implements those operations that it makes faster; the others come
 * from its base.
 *
 *   1. Write the files, beginning with a copy of the portable one, which is the reference:
 *        gemm_ISA.c     tine_gemm_TYPE_ISA   struct tine_gemm_kernel  gemm.h (f32, bf16, int8)
        widen_ISA.c    tine_gemm_bf16_ISA   the same, for a bf16 kernel that widens
 *        vecmath_ISA.c  tine_vecmath_ISA     struct tine_vecmath      vecmath.h
 *        peak_ISA.c     tine_peak_ISA        struct tine_peak_loops   peak.h
 *      Each includes the header and this one, and compiles to nothing on other architectures
 *      (TINE_KERNELS_X86, TINE_KERNELS_ARM64). The compiler may use the ISA's instructions anywhere
 *      in these files, so they contain no constructor and no function that runs before the CPU was
 *      checked.
 *   2. Add the row below, after those that it is preferred to:
 *        ROW(ID, name, base, features, records)
 *      ID becomes TINE_ISA_ID, name is the ISA of the file names and the value of TINE_KERNEL,
 *      base is the ID of an earlier row, features are those the CPU needs beyond the base's.
 *      A CPU feature that nothing needed before is a row in cpu.h.
 *   3. Add the compiler's flags, ISA_name, in the Makefile: files whose name ends in _name.c, and
 *      no others, are compiled with them.
 *   4. Run `tests/run build kernels`. The tests go through this table: every kernel meets the
 *      error bounds and the rules on bits that the portable one meets. tests/kernels/test_isa.c
 *      states which ISA is preferred. Then run `tine bench lstm` and, for the whole program,
 *      `TINE_KERNEL=name make test`.
 *
 * Every record is checked when the program starts. A defective one aborts with a sentence that
 * names it: silently dropped, it would be noticed only as a slow program.
 *
 * All functions may be called from any thread. */
#ifndef TINE_KERNELS_ISA_H
#define TINE_KERNELS_ISA_H

#include "kernels/cpu.h"

#include <stdbool.h>

/* clang-format off */
#define TINE_ISA_TABLE(ROW)                                                                        \
    ROW(PORTABLE, portable, AUTO, 0,                                                               \
        GEMM_F32(portable) GEMM_INT8(portable) VECMATH(portable) PEAK(portable))                   \
    ROW(OPENBLAS, openblas, AUTO, 0,                                                               \
        GEMM_F32(openblas))                                                                        \
    ROW(NEON, neon, PORTABLE, TINE_CPU_NEON,                                                       \
        ARM64(GEMM_F32(neon) VECMATH(neon) PEAK(neon)))                                            \
    ROW(AVX2, avx2, PORTABLE,                                                                      \
        TINE_CPU_X86 | TINE_CPU_AVX | TINE_CPU_AVX2 | TINE_CPU_FMA | TINE_CPU_OS_AVX,              \
        X86(GEMM_F32(avx2) GEMM_INT8(avx2) VECMATH(avx2) PEAK(avx2)))                              \
    ROW(AVX512, avx512, AVX2, TINE_CPU_AVX512 | TINE_CPU_OS_AVX512,                                \
        X86(GEMM_F32(avx512) GEMM_BF16(avx512) VECMATH(avx512) PEAK(avx512)))                      \
    ROW(AVX512_BF16, avx512_bf16, AVX512, TINE_CPU_AVX512_BF16,                                    \
        X86(GEMM_BF16(avx512_bf16) PEAK(avx512_bf16)))                                             \
    ROW(AVX_VNNI, avx_vnni, AVX2, TINE_CPU_AVX_VNNI,                                               \
        X86(GEMM_INT8(avx_vnni) PEAK(avx_vnni)))                                                   \
    ROW(AVX512_VNNI, avx512_vnni, AVX512, TINE_CPU_AVX512_VNNI,                                    \
        X86(GEMM_INT8(avx512_vnni) PEAK(avx512_vnni)))
/* clang-format on */

/* AUTO: the best that runs. As the base of a row: operations that the row lacks come from the best
 * ISA that runs; so OPENBLAS, which stands in only for GEMM, has the vector functions of the
 * CPU. */
#define ROW(ID, ...) TINE_ISA_##ID,
enum tine_isa { TINE_ISA_AUTO = 0, TINE_ISA_TABLE(ROW) TINE_ISA_COUNT };
#undef ROW

#if defined(__x86_64__)
#define TINE_KERNELS_X86 1
#define X86(records) records
#else
#define X86(records)
#endif
#if defined(__aarch64__)
#define TINE_KERNELS_ARM64 1
#define ARM64(records) records
#else
#define ARM64(records)
#endif
#define ROW(ID, name, base, features, records) records
#define GEMM_F32(isa) extern const struct tine_gemm_kernel tine_gemm_f32_##isa;
#define GEMM_BF16(isa) extern const struct tine_gemm_kernel tine_gemm_bf16_##isa;
#define GEMM_INT8(isa) extern const struct tine_gemm_kernel tine_gemm_int8_##isa;
#define VECMATH(isa) extern const struct tine_vecmath tine_vecmath_##isa;
#define PEAK(isa) extern const struct tine_peak_loops tine_peak_##isa;
TINE_ISA_TABLE(ROW)
#undef X86
#undef ARM64
#undef ROW
#undef GEMM_F32
#undef GEMM_BF16
#undef GEMM_INT8
#undef VECMATH
#undef PEAK

/* A row of the table. */
struct tine_isa_row {
    const char *name;
    enum tine_isa base;
    uint32_t features; /* beyond the base's */
    /* NULL: the base's */
    const struct tine_gemm_kernel *gemm_f32, *gemm_bf16, *gemm_int8;
    const struct tine_vecmath *vecmath;
    const struct tine_peak_loops *peak;
};

/* The row of PORTABLE … AVX512_VNNI; for any other value an empty one, whose base is AUTO. */
const struct tine_isa_row *tine_isa_row(enum tine_isa isa);
/* "auto" for AUTO, "unknown" for what is no ISA. */
const char *tine_isa_name(enum tine_isa isa);
/* NULL if the ISA can run on `cpu`, else why not, a constant clause. */
const char *tine_isa_obstacle(const struct tine_cpu *cpu, enum tine_isa isa);

/* Why a row must not stand in the table at `isa`, a constant clause; NULL if it is sound. */
const char *tine_isa_defect(enum tine_isa isa, const struct tine_isa_row *row);
/* Aborts with a sentence on standard error if the row is defective. Called for the whole table when
 * the program starts. */
void tine_isa_check(enum tine_isa isa, const struct tine_isa_row *row);

struct tine_kernel_choice {
    enum tine_isa f32, bf16, int8; /* AUTO in all if error is set */
    bool forced;                   /* by TINE_KERNEL */
    char error[320];               /* empty, or why TINE_KERNEL cannot be obeyed */
    bool error_is_of_cpu;          /* on another machine there may be none */
};

/* The rule behind the choice, for a CPU and a value of TINE_KERNEL (NULL, "" or "auto": the last
 * row with a GEMM for the type that runs, but not AVX512_BF16 where bf16_dots_slow; that of f32 if
 * there is none, or if it is one of its bases). A wrong name, or one that cannot run here, is a
 * sentence in `error`. */
void tine_kernel_resolve(const struct tine_cpu *cpu, const char *wanted,
                         struct tine_kernel_choice *out);

/* The choice for this process, made at the first call; TINE_KERNEL is not read again. */
const struct tine_kernel_choice *tine_kernel_choice(void);

#endif
