/* Whether mpirun can log in to the hosts of `tine run`, and finds the program there. */
#ifndef TINE_LAUNCH_COMMAND_LOGIN_H
#define TINE_LAUNCH_COMMAND_LOGIN_H

#include <stdbool.h>
#include <stddef.h>

#include "launch/cli/arguments.h"
#include "launch/command/hosts.h"

/* Logs in to the hosts that are not this one, as mpirun does; it takes as long as the slowest, at
 * most 15 s for each 32 of them. False, with a sentence that names the host. True also where it is
 * not ssh alone that mpirun uses, in a job of a batch system, with another agent or with arguments
 * for it (plm_rsh_args), and where mpirun's ssh may ask at the terminal. */
bool tine_login_check(const tine_hosts *h, const tine_option_pairs *mca, const char *program,
                      char *why, size_t why_size);

#endif
