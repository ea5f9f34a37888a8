/* The int that a future is done with, for programs that tests start under mpirun: waits for the
 * future and releases it. A failure is written to standard error and gives -1. */
#ifndef TINE_TESTS_MPI_TAKE_H
#define TINE_TESTS_MPI_TAKE_H

#include <stdio.h>

#include "runtime/tine.h"

static inline int64_t take(tine_future *f) {
    tine_value *v = NULL;
    if (tine_wait(f, &v)) fprintf(stderr, "%s\n", tine_error_message());
    int64_t i = v ? tine_as_int(v) : -1;
    tine_release(v);
    tine_release(f);
    return i;
}

#endif
