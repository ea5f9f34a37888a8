/* All ranks together, at the start and at the end. MPI promises both, but Open MPI 4.1 relies on
 * PMIx fences without data, which under Slurm do not wait for other hosts. A message to a rank that
 * is still inside MPI_Init crashes that rank; one to a rank that has left MPI_Finalize ends the
 * sender by SIGPIPE. */
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "transport/mpi/internal.h"

/* The header comes with Debian's libopenmpi-dev; an Open MPI with a PMIx of its own has none. */
#if __has_include(<pmix.h>)
#include <pmix.h>

/* A fence that collects data does wait for other hosts. Open MPI has loaded PMIx's library. */
void tine_mpi_started(void) {
    void *library = dlopen("libpmix.so.2", RTLD_LAZY | RTLD_NOLOAD);
    __typeof__(&PMIx_Fence) fence = library ? dlsym(library, "PMIx_Fence") : NULL;
    pmix_info_t collect = {.value = {.type = PMIX_BOOL, .data.flag = true}};
    snprintf(collect.key, sizeof collect.key, "%s", PMIX_COLLECT_DATA);
    if (fence) fence(NULL, 0, &collect, 1);
    if (library) dlclose(library);
}
#else
void tine_mpi_started(void) {}
#endif

void tine_mpi_sigpipe_block(sigset_t *before) {
    sigset_t block;
    sigemptyset(&block);
    sigaddset(&block, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &block, before);
}

/* Discards a SIGPIPE that came meanwhile: MPI caused it. */
void tine_mpi_sigpipe_restore(const sigset_t *before) {
    sigset_t pipe, pending;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    if (!sigismember(before, SIGPIPE) && !sigpending(&pending) && sigismember(&pending, SIGPIPE))
        sigtimedwait(&pipe, NULL, &(struct timespec){0});
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

static struct {
    MPI_Comm comm;
    int rank;
    bool never;
} together;

void tine_mpi_end_together_never(void) { together.never = true; }
bool tine_mpi_ends_together(void) { return !together.never; }

/* MPI_Finalize begins by deleting the attributes of MPI_COMM_SELF (MPI 4.0, section 11.2.4), and
 * messages still work. A rank that comes first sleeps: another may compute for long after
 * tine_shutdown. */
static int finalise_barrier(MPI_Comm self, int key, void *unused, void *unused_too) {
    (void)self, (void)key, (void)unused, (void)unused_too;
    MPI_Request req;
    sigset_t before;
    int done = 0;
    struct timespec delay = {.tv_nsec = 20000};
    tine_mpi_sigpipe_block(&before);
    if (together.never) tine_mpi_end_job(together.rank, "a rank was lost before", 1, true);
    int err = MPI_Ibarrier(together.comm, &req);
    while (err == MPI_SUCCESS && !done) {
        err = MPI_Test(&req, &done, MPI_STATUS_IGNORE);
        if (err != MPI_SUCCESS || done) break;
        nanosleep(&delay, NULL);
        if (delay.tv_nsec < 2000000) delay.tv_nsec *= 2;
    }
    tine_mpi_sigpipe_restore(&before);
    return MPI_SUCCESS;
}

bool tine_mpi_finalise_together(MPI_Comm comm) {
    int key;
    together.comm = comm;
    MPI_Comm_rank(comm, &together.rank);
    return MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, finalise_barrier, &key, NULL) ==
               MPI_SUCCESS &&
           MPI_Comm_set_attr(MPI_COMM_SELF, key, NULL) == MPI_SUCCESS;
}
