/* Ping-pong over MPI itself, which `tine bench fork` shows under mpirun. */
#ifndef TINE_LAUNCH_BENCH_MPI_H
#define TINE_LAUNCH_BENCH_MPI_H

#include <stdbool.h>
#include <stddef.h>

#include "launch/bench/estimate.h"

/* Ranks 0 and 1 exchange `size` bytes with MPI_Send and MPI_Recv; the results are us per round
 * trip. A collective call: every rank makes it, and all return together. False with a sentence in
 * `why`. */
bool tine_bare_mpi(int rounds, int size, tine_estimate *p50, tine_estimate *p99, char *why,
                   size_t why_size);

#endif
