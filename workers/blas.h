/* BLAS threads of this process: one computes per worker unless told otherwise, and OpenBLAS would
 * start one a core. */
#ifndef TINE_WORKERS_BLAS_H
#define TINE_WORKERS_BLAS_H

void tine_blas_threads(int n);

#endif
