/* OpenBLAS, loaded when something computes with it first. As it is loaded it starts a thread for
 * each core, and these poll for some 100 ms before they sleep: a program that only forks and waits
 * would share its cores with them from its start (`tine bench fork`: 1 to 30 % of the first
 * 20,000 round trips took 13 to 60 us instead of 2). */
#ifndef TINE_KERNELS_BLAS_H
#define TINE_KERNELS_BLAS_H

#include <cblas.h>

/* clang-format off */
#define TINE_BLAS_FUNCTIONS(f)                                                                     \
    f(cblas_sgemm) f(cblas_dgemm) f(openblas_get_config) f(openblas_get_corename)                  \
    f(openblas_set_num_threads)
/* clang-format on */
#define TINE_BLAS_MEMBER(name) __typeof__(name) *(name);
struct tine_blas {
    TINE_BLAS_FUNCTIONS(TINE_BLAS_MEMBER)
};
#undef TINE_BLAS_MEMBER

/* NULL: libopenblas.so.0 cannot be loaded now; the next call tries again. Any thread. */
const struct tine_blas *tine_blas(void);
/* The number of BLAS threads of this process, also before it is loaded; 0: OpenBLAS's own. */
void tine_blas_threads(int n);

#endif
