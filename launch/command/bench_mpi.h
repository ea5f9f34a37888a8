/* Ping-pong over MPI itself, beside which `tine bench fork` shows its figures under mpirun. */
#ifndef TINE_LAUNCH_COMMAND_BENCH_MPI_H
#define TINE_LAUNCH_COMMAND_BENCH_MPI_H

#include <stdbool.h>
#include <stddef.h>

/* Ranks 0 and 1 send `size` bytes to and fro, by MPI_Send and MPI_Recv; seconds of a round trip.
 * Every rank has to call it, and all return together. False with a sentence. */
bool tine_bare_mpi(int rounds, int size, double *p50, double *p99, char *why, size_t why_size);

#endif
