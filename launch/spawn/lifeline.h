/* A worker's end of the lifeline: ends the worker when its coordinator ends. */
#ifndef TINE_LAUNCH_SPAWN_LIFELINE_H
#define TINE_LAUNCH_SPAWN_LIFELINE_H

#include "runtime/tine.h"
#include "transport/base/run_log.h"

/* Call it first in a process that finds TINE_WORKER set (after tine_settings_resolve, which copies
 * the variable). It ignores and unblocks SIGINT, and removes TINE_WORKER, TINE_TOKEN and
 * TINE_LIFELINE from the environment, so that a program which a task starts does not become a
 * worker. Without TINE_LIFELINE (a remote worker) that is all. Else it marks the lifeline
 * close-on-exec and starts the watchdog thread, which at the coordinator's end removes the private
 * directory of `endpoint`, if that still exists, and ends this process with status 1. *crash_fd is
 * the descriptor for tine_fiber_last_words (-1: none), *log the run log (NULL: none), mapped for the
 * life of the process. Errors: EINVAL (TINE_LIFELINE is not valid),
 * EIO, ENOMEM. */
tine_error tine_lifeline_start(const char *endpoint, int *crash_fd, tine_run_log **log);

#endif
