/* OpenBLAS at its best, for `tine bench lstm`.
 *
 * OpenBLAS chooses its kernels when it is loaded, from the CPU or from OPENBLAS_CORETYPE, and a
 * wrong choice (the type of an older core, or a CPU that it does not know) costs half its speed. To
 * compare with OpenBLAS at its best, the command first runs itself once for each core type, and
 * then again with the fastest. */
#ifndef TINE_LAUNCH_BENCH_OPENBLAS_H
#define TINE_LAUNCH_BENCH_OPENBLAS_H

/* Prints the seconds of a short LSTM under the core type in force; run in a child. The exit
 * code. */
int tine_bench_openblas_probe(void);
/* Returns only if this process has the best core type, or cannot run itself again. */
void tine_bench_openblas_best(void);
/* The core type in force, or that there is none: follows "its kernels for". */
const char *tine_bench_openblas_core(void);

#endif
