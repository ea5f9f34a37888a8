/* The subcommands of `tine`, one file each. argv[0] is "tine"; the result is the exit code: 0, or 1
 * if what was asked for failed, or 2 if an argument, a setting or a file is not valid. */
#ifndef TINE_LAUNCH_CLI_COMMANDS_H
#define TINE_LAUNCH_CLI_COMMANDS_H

int tine_command_ensemble(int argc, char **argv);
int tine_command_predict(int argc, char **argv);
int tine_command_verify(int argc, char **argv);
int tine_command_key(int argc, char **argv);
int tine_command_worker(int argc, char **argv);
int tine_command_supervise(int argc, char **argv);
/* Returns only after --help, --dry-run and --survive, or on failure: else this process becomes
 * mpirun. */
int tine_command_run(int argc, char **argv);
int tine_command_info(int argc, char **argv);
int tine_command_trace(int argc, char **argv);
int tine_command_top(int argc, char **argv);
int tine_command_bench_ensemble(int argc, char **argv);
int tine_command_bench_fork(int argc, char **argv);
int tine_command_bench_grain(int argc, char **argv);
int tine_command_bench_lstm(int argc, char **argv);

#endif
