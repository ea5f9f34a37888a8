/* A tensor past 2^31 bytes goes to a worker and comes back:   mpirun -n 2 build/mpi/large GIB
 * (tests/transport/mpi/test_large.c) */
#include <stdio.h>
#include <stdlib.h>

#include "runtime/tine.h"

TINE_FUNCTION(back, "x") { return tine_ref((tine_value *)tine_arg(task, 0)); }

static uint64_t word(size_t i) { return (i + 1) * UINT64_C(0x9e3779b97f4a7c15); }

int main(int argc, char **argv) {
    if (tine_init(&argc, argv, NULL)) {
        fprintf(stderr, "%s\n", tine_error_message());
        return 1;
    }
    size_t words = (size_t)(argc > 1 ? atoi(argv[1]) : 3) << 27, wrong = 0;
    void *data;
    tine_value *x = tine_tensor_new(TINE_I64, 1, (int64_t[]){(int64_t)words}, &data), *y = NULL;
    for (size_t i = 0; x && i < words; i++) ((uint64_t *)data)[i] = word(i);
    tine_future *f = tine_fork("back", x);
    if (tine_wait(f, &y)) {
        fprintf(stderr, "%s\n", tine_error_message());
        return 1;
    }
    for (size_t i = 0; i < words; i++) wrong += ((const uint64_t *)tine_data(y))[i] != word(i);
    printf("%zu bytes there and back, %zu words wrong\n", words * 8, wrong);
    tine_release(f);
    tine_release(x);
    tine_release(y);
    return tine_shutdown() || wrong;
}
