/* A tensor past 2^31 bytes goes to a worker and comes back:   mpirun -n 2 build/mpi/large GIB
 * (tests/transport/mpi/test_large.c). How many bytes of it one call of MPI could move is told too:
 * those for which receives are posted. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime/tine.h"

TINE_FUNCTION(back, "x") { return tine_ref((tine_value *)tine_arg(task, 0)); }

enum { LARGE = 64 << 10, REQUESTS = 64 };

static struct {
    MPI_Request *req;
    size_t bytes;
} posted[REQUESTS];
static size_t posted_bytes, posted_most;

/* In place of MPI's own, which it calls. */
int MPI_Irecv(void *to, int n, MPI_Datatype type, int source, int tag, MPI_Comm comm,
              MPI_Request *req) {
    int free_at = 0;
    while (free_at < REQUESTS - 1 && posted[free_at].req) free_at++;
    if (n >= LARGE) {
        posted[free_at].req = req;
        posted[free_at].bytes = (size_t)n;
        posted_bytes += (size_t)n;
    }
    if (posted_bytes > posted_most) posted_most = posted_bytes;
    return PMPI_Irecv(to, n, type, source, tag, comm, req);
}

int MPI_Test(MPI_Request *req, int *done, MPI_Status *status) {
    int e = PMPI_Test(req, done, status);
    for (int i = 0; *done && i < REQUESTS; i++) {
        if (posted[i].req != req) continue;
        posted_bytes -= posted[i].bytes;
        posted[i].req = NULL;
    }
    return e;
}

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
    printf("%zu bytes there and back, %zu words wrong, %zu bytes at once\n", words * 8, wrong,
           posted_most);
    tine_release(f);
    tine_release(x);
    tine_release(y);
    return tine_shutdown() || wrong;
}
