/* A program that initialises and finalises MPI itself, and uses it beside Tine:
 *   mpirun -n 3 build/mpi/own   (tests/transport/mpi/test_children.c) */
#include <mpi.h>
#include <stdio.h>

#include "runtime/tine.h"

int main(int argc, char **argv) {
    int provided, rank, sum = 0;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    if (tine_init(&argc, argv, NULL)) {
        fprintf(stderr, "%s\n", tine_error_message());
        return 1;
    }
    tine_value *v = NULL;
    tine_future *f = tine_fork("neg", 7);
    tine_error e = tine_wait(f, &v);
    printf("sum %d, neg %d\n", sum, e ? 0 : (int)tine_as_int(v));
    tine_release(v);
    tine_release(f);
    if (tine_shutdown()) return 1;
    MPI_Finalize();
    printf("finalised\n");
    return 0;
}
