/* The processes of `tine run --survive`: the program, and one launcher for each host. A launcher
 * that ends while the program runs is started again, at once or, where it fails again and again,
 * after a growing wait. One whose supervisor is gone is ended if it does not end by itself. When
 * the program has ended, or a signal asks for it, everything ends. */
#ifndef TINE_LAUNCH_COMMAND_SURVIVE_WATCH_H
#define TINE_LAUNCH_COMMAND_SURVIVE_WATCH_H

#include <stdint.h>
#include <sys/types.h>

#include "launch/command/presence.h"

typedef struct tine_survive_host {
    const char *name;
    char *const *line; /* mpirun or srun and its arguments; ends with NULL */
    /* The watcher's own. */
    pid_t pid;         /* 0: none runs */
    bool served;       /* its supervisor has connected */
    unsigned failures; /* in a row */
    int64_t started_ns, retry_ns;
    int64_t end_ns; /* when it is ended: its supervisor is gone. INT64_MAX: that lives */
    int end_signal;
} tine_survive_host;

/* Runs until nothing is left. `variables` ("NAME=VALUE" entries up to a NULL) are added to the
 * program's environment. Returns the program's exit status, 128 + the signal that killed it, or 1
 * after a message. */
int tine_survive_watch(tine_survive_host *hosts, int n, tine_presence *presence,
                       char *const *program, char *const *variables);

#endif
