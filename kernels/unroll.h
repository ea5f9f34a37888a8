/* Loop unrolling, spelt for each compiler. */
#ifndef TINE_KERNELS_UNROLL_H
#define TINE_KERNELS_UNROLL_H

#if defined(__clang__)
#define TINE_UNROLL(n) _Pragma("clang loop unroll(full)")
#define TINE_UNROLL_BY_4 _Pragma("clang loop unroll_count(4)")
#else
#define TINE_UNROLL(n) _Pragma("GCC unroll 24")
#define TINE_UNROLL_BY_4 _Pragma("GCC unroll 4")
#endif

#define TINE_INLINE static inline __attribute__((always_inline))

#endif
