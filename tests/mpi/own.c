/* A program that initialises and finalises MPI itself, and uses it beside Tine:
 *   mpirun -n 3 build/mpi/own   (tests/transport/mpi/test_children.c)
 * With an argument it leaves MPI to Tine, and says whether SIGPIPE is what it was before. */
#include <mpi.h>
#include <signal.h>
#include <stdio.h>

#include "runtime/tine.h"

/* 1: it has another disposition than by default; 2: this thread blocks it. */
static int pipe_state(void) {
    struct sigaction now;
    sigset_t blocked;
    sigaction(SIGPIPE, NULL, &now);
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    return (now.sa_handler != SIG_DFL) + 2 * sigismember(&blocked, SIGPIPE);
}

static int pipe_before;

TINE_FUNCTION(pipe_changed, "") {
    (void)task;
    return tine_int(pipe_state() ^ pipe_before);
}

static int leave_mpi_to_tine(int *argc, char **argv) {
    tine_value *v = NULL;
    pipe_before = pipe_state();
    if (tine_init(argc, argv, NULL)) {
        fprintf(stderr, "%s\n", tine_error_message());
        return 1;
    }
    tine_future *f = tine_fork("pipe_changed");
    tine_error e = tine_wait(f, &v);
    printf("SIGPIPE changed: %d, in tasks %d\n", pipe_state() ^ pipe_before,
           e ? -1 : (int)tine_as_int(v));
    tine_release(v);
    tine_release(f);
    return tine_shutdown();
}

int main(int argc, char **argv) {
    int provided, rank, sum = 0;
    if (argc > 1) return leave_mpi_to_tine(&argc, argv);
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
