/* `tine run --survive`: the program coordinates outside of mpirun, and one mpirun (or srun) for
 * each host starts the host's workers. So nothing that dies takes the job along but the program
 * itself. */
#ifndef TINE_LAUNCH_COMMAND_SURVIVE_H
#define TINE_LAUNCH_COMMAND_SURVIVE_H

#include <stdbool.h>

#include "launch/cli/arguments.h"
#include "launch/command/hosts.h"

typedef struct tine_survive_plan {
    const char *launcher; /* mpirun, or srun */
    bool by_srun, as_root, dry;
    long workers, threads;
    const tine_hosts *hosts; /* with items, which have numbers of cores */
    const tine_option_pairs *mca;
    char **program; /* ends with NULL */
} tine_survive_plan;

/* Runs the program. Returns its exit status, 128 + the signal that killed it, or 1 or 2 after a
 * message. */
int tine_survive(const tine_survive_plan *plan);

#endif
