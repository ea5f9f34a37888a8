/* A worker's end of the lifeline: ends the worker when its coordinator ends. */
#ifndef TINE_LAUNCH_SPAWN_LIFELINE_H
#define TINE_LAUNCH_SPAWN_LIFELINE_H

#include <signal.h>

#include "runtime/tine.h"
#include "transport/base/run_log.h"

/* Call it first in a process that finds TINE_WORKER set (after tine_settings_resolve, which copies
 * the variable). It removes TINE_WORKER, TINE_TOKEN and TINE_LIFELINE from the environment, so that
 * a program which a task starts does not become a worker. Without TINE_LIFELINE (a remote worker)
 * that is all. Else it ignores and unblocks SIGINT, marks the lifeline close-on-exec and starts the
 * watchdog thread, which at the coordinator's end removes the private directory of `endpoint`, if
 * that still exists, kills what tasks have started, and ends this process with status 1. *crash_fd
 * is the descriptor for tine_fiber_report_to (-1: none), *log the run log (NULL: none), mapped for
 * the life of the process. Errors: EINVAL (TINE_LIFELINE is not valid), EIO, ENOMEM. */
tine_error tine_lifeline_start(const char *endpoint, int *crash_fd, tine_run_log **log);

/* SIGHUP, SIGTERM, SIGQUIT: what a terminal or a job's end sends to a whole process group, the
 * coordinator included. A worker starts with them blocked. Where the program has no handler of its
 * own and does not ignore it, such a signal ends the worker as usual, but not before the
 * coordinator has had time to end: then the private directory is removed. */
void tine_lifeline_signals(sigset_t *out);

#endif
