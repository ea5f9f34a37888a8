/* Ping-pong over the bare transport: `tine bench fork` shows it beside each of its figures. */
#ifndef TINE_LAUNCH_BENCH_BARE_H
#define TINE_LAUNCH_BENCH_BARE_H

#include <stdbool.h>
#include <stddef.h>

#include "launch/bench/estimate.h"

/* Seconds after which the measurement of round trips ends with fewer samples: on a busy machine
 * each may take a time slice. */
enum { TINE_BENCH_SECONDS = 5 };
/* Before them both sides run for so long, and for a tenth of the round trips: processes that have
 * just started lose their cores to what else their start has set going. */
#define TINE_BENCH_WARM_SECONDS 0.1
/* A rate is the median of this many runs, which share the number of tasks that was asked for. */
enum { TINE_BENCH_BATCHES = 7 };

typedef struct tine_bare {
    tine_estimate p50, p99;         /* us, round trip of a small frame */
    tine_estimate rate;             /* round trips a second with many in flight */
    tine_estimate mpi_p50, mpi_p99; /* us, round trip over MPI itself; NAN: not under mpirun */
    tine_estimate bytes_rate;       /* GB/s, there and back, of frames with one large buffer */
} tine_bare;

typedef struct tine_bare_config {
    const char *url; /* "ipc://PATH", "tcp://127.0.0.1:0", "inproc://NAME", "mpi://" */
    /* round trips one by one; many in flight; bytes of a small frame */
    size_t rounds, burst, small;
    size_t large, large_rounds; /* bytes of a large buffer */
    int lane;                   /* as in tine_transport_config */
    size_t arena;               /* the same */
} tine_bare_config;

/* Measures against a peer that echoes: a forked child (ipc, tcp), a thread (inproc), or one of the
 * other ranks (mpi); all other ranks call tine_bare_echo meanwhile. False with a sentence in `why`.
 * Call it while this process has one thread. */
bool tine_bare_measure(const tine_bare_config *config, tine_bare *out, char *why, size_t why_size);
/* Sends back every frame until the listener at `url` is gone. `lane` and
 * `arena`: as in tine_transport_config. */
bool tine_bare_echo(const char *url, int lane, size_t arena, char *why, size_t why_size);

#endif
