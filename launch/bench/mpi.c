/* See mpi.h. The command is not linked with MPI; the mpi transport's module is, and exports
 * the measurement. */
#include "launch/bench/mpi.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "transport/transport.h"

bool tine_bare_mpi(int rounds, int size, tine_estimate *p50, tine_estimate *p99, char *why,
                   size_t why_size) {
    int (*measure)(double *, int, int, char *, size_t);
    if (!tine_transport_for("mpi://", why, why_size)) return false;
    *(void **)&measure = dlsym(RTLD_DEFAULT, "tine_mpi_round_trips");
    if (!measure) {
        snprintf(why, why_size,
                 "libtine-mpi.so does not export tine_mpi_round_trips: it belongs to another "
                 "version; build it again");
        return false;
    }
    double *samples = calloc((size_t)rounds, sizeof *samples);
    bool good = samples && measure(samples, rounds, size, why, why_size) == 0;
    if (!samples) snprintf(why, why_size, "no memory");
    if (good) {
        *p50 = tine_estimate_scaled(tine_estimate_quantile(samples, (size_t)rounds, 0.5), 1e6);
        *p99 = tine_estimate_scaled(tine_estimate_quantile(samples, (size_t)rounds, 0.99), 1e6);
    }
    free(samples);
    return good;
}
