/* Whether a parallel launcher started this process, and as which rank: from the environment and
 * /proc, so that it needs no MPI. */
#ifndef TINE_TRANSPORT_LAUNCHER_H
#define TINE_TRANSPORT_LAUNCHER_H

#include <stdbool.h>

typedef struct tine_launcher {
    const char *name;           /* "mpirun (Open MPI)", "srun", "prterun", "mpiexec (MPICH)" */
    int rank, size;             /* in the whole job */
    int local_rank, local_size; /* on this host; -1, 0: not known */
    bool usable;                /* mpi:// works under it */
    bool alike;                 /* all ranks have the same variables, on each host */
    char why[320];              /* not usable: one sentence with the remedy */
} tine_launcher;

/* True if a launcher started this process, also as the only rank: then *out is filled. A shell
 * inside an allocation (salloc, sbatch) is no launcher. */
bool tine_launcher_detect(tine_launcher *out);

/* The same for this process itself: false also where the variables came from a rank that started
 * this process (a program that a task runs, say), or name no server of a job. */
bool tine_launcher_rank(tine_launcher *out);

/* Whether rank l, which is refused something, has to say so itself: rank 0 may have been refused
 * the same. `host`: it depends on the host. Blocks for up to 3 s. */
bool tine_launcher_speaks(const tine_launcher *l, bool host);

#endif
