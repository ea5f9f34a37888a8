/* The subcommands of `tine`. Each gets its own argv (argv[0] is "tine") and returns the exit code:
 * 0, 1 if what was asked for failed, 2 if the question or a file made no sense. */
#ifndef TINE_LAUNCH_COMMAND_COMMANDS_H
#define TINE_LAUNCH_COMMAND_COMMANDS_H

int tine_cmd_ensemble(int argc, char **argv);
int tine_cmd_verify(int argc, char **argv);
int tine_cmd_worker(int argc, char **argv);
int tine_cmd_info(int argc, char **argv);
int tine_cmd_bench_fork(int argc, char **argv);

#endif
