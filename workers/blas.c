/* See blas.h. */
#include "workers/blas.h"

#include <cblas.h>

void tine_blas_threads(int n) { openblas_set_num_threads(n); }
