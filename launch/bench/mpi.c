/* See mpi.h. The command is not linked with MPI; the mpi transport's module is, and exports
 * the measurement. */
#include "launch/bench/mpi.h"

#include <dlfcn.h>
#include <stdio.h>

#include "transport/transport.h"

bool tine_bare_mpi(int rounds, int size, double *p50, double *p99, char *why, size_t why_size) {
    int (*measure)(int, int, double *, double *, char *, size_t);
    if (!tine_transport_for("mpi://", why, why_size)) return false;
    *(void **)&measure = dlsym(RTLD_DEFAULT, "tine_mpi_bare");
    if (measure) return measure(rounds, size, p50, p99, why, why_size) == 0;
    snprintf(why, why_size,
             "libtine-mpi.so does not export tine_mpi_bare: it belongs to another version; build "
             "it again");
    return false;
}
