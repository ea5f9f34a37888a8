/* The number of BLAS threads of this process: one per worker unless set otherwise, where OpenBLAS
 * would start one per core. */
#ifndef TINE_WORKERS_BLAS_H
#define TINE_WORKERS_BLAS_H

void tine_blas_threads(int n);

#endif
