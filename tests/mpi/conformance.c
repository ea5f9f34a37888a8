/* The transport's conformance suite with ranks for roles: rank 0 listens, the others connect. Run
 * by tests/transport/mpi/test_mpi.c.
 *
 *     mpirun -n 4 build/mpi/conformance CASE
 *     mpirun -n 2 build/mpi/conformance plain-init     MPI_Init alone: threads are refused with the
 *       remedy
 *
 * MPI is initialised here, by the user of the transport, and its own traffic goes on meanwhile: the
 * gates of the suite are messages in MPI_COMM_WORLD, with tags that the transport uses too. Exit
 * code 0: passed; 1: not, with the reason on standard error; 77: the case asks for what Open MPI
 * cannot do. */
#include <dlfcn.h>
#include <errno.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/conformance.h"

enum { GATE = 1, VERDICT = 2 };

static void go(tine_conf_host *h, int index) {
    (void)h;
    MPI_Send("g", 1, MPI_CHAR, index + 1, GATE, MPI_COMM_WORLD);
}

static void await(tine_conf_host *h, int index) {
    char byte;
    (void)h, (void)index;
    MPI_Recv(&byte, 1, MPI_CHAR, 0, GATE, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
}

static int fail(const char *who, const char *why) {
    fprintf(stderr, "%s: %s\n", who, why);
    MPI_Abort(MPI_COMM_WORLD, 1);
    return 1;
}

/* Loads the module and lets all ranks meet in it, since the roles come one by one. */
static bool meet(char *why, size_t why_size) {
    double took;
    int (*bare)(double *, int, int, char *, size_t);
    if (!tine_transport_for("mpi://", why, why_size)) return false;
    *(void **)&bare = dlsym(RTLD_DEFAULT, "tine_mpi_round_trips");
    snprintf(why, why_size, "the module does not export tine_mpi_round_trips");
    return bare && bare(&took, 1, 1, why, why_size) == 0;
}

static bool play(const tine_conf_case *c, int rank, char *why, size_t why_size) {
    tine_conf_host host = {.go = go, .await = await};
    char url[64];
    if (rank == 0)
        return tine_conf_listen(c, "mpi", "mpi://", url, sizeof url, &host, why, why_size);
    return rank > c->connectors ||
           tine_conf_connect(c, "mpi", "mpi://", rank - 1, &host, why, why_size);
}

/* Under AddressSanitizer: what our part leaks. Open MPI's own leaks are left out by not counting
 * what is allocated while it starts; at exit they could not be told apart, because MPI_Finalize has
 * unloaded its plugins by then. */
__attribute__((weak)) void __lsan_disable(void);
__attribute__((weak)) void __lsan_enable(void);
__attribute__((weak)) int __lsan_do_recoverable_leak_check(void);

static int plain_init(void) {
    char why[512] = "";
    tine_transport *t;
    MPI_Init(NULL, NULL);
    const tine_transport_ops *ops = tine_transport_for("mpi://", why, sizeof why);
    if (!ops) return fail("plain-init", why);
    int err = ops->listen(&t, "mpi://", NULL, why, sizeof why);
    MPI_Finalize();
    printf("%s\n", why);
    return err == -EIO ? 0 : 1;
}

int main(int argc, char **argv) {
    char why[512] = "", who[64];
    int rank, provided;
    if (argc == 2 && !strcmp(argv[1], "plain-init")) return plain_init();
    const tine_conf_case *c = argc == 2 ? tine_conf_find(argv[1]) : NULL;
    if (!c) {
        fprintf(stderr, "usage: conformance CASE\n");
        return 2;
    }
    if (__lsan_disable) __lsan_disable();
    MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    snprintf(who, sizeof who, "%s, rank %d", c->name, rank);
    bool dies = c->flags & TINE_CONF_DIES;
    if (!meet(why, sizeof why)) return fail(who, why);
    if (__lsan_enable) __lsan_enable();
    if (!dies && !play(c, rank, why, sizeof why)) return fail(who, why);
    MPI_Barrier(MPI_COMM_WORLD);
    if (__lsan_do_recoverable_leak_check && __lsan_do_recoverable_leak_check())
        return fail(who, "leaks memory");
    MPI_Finalize();
    return dies && rank == 0 ? 77 : 0;
}
