/* `tine run`: composes the mpirun line for a job, prints it, and becomes it. */
#ifndef TINE_LAUNCH_COMMAND_RUN_H
#define TINE_LAUNCH_COMMAND_RUN_H

/* argv[0] is "run". Does not return when mpirun was started; else 0 (--help, --dry-run), 1
 * (something is missing: one sentence with the remedy on standard error), 2 (usage). */
int tine_cmd_run(int argc, char **argv);

#endif
