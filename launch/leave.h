/* SIGTERM and SIGINT of a worker that its coordinator has not started: by hand, or by `tine
 * supervise`. */
#ifndef TINE_LAUNCH_LEAVE_H
#define TINE_LAUNCH_LEAVE_H

#include "transport/base/run_log.h"
#include "workers/leave.h"

/* From now on SIGTERM and SIGINT have the worker leave; what runs `grace` seconds later is lost,
 * and the process ends with 1. A second SIGINT ends it at once. A signal that the program handles
 * or ignores is left alone. NULL: it cannot be set up, and the signals end the process as without
 * it.
 * A rank of a job (else -1) leaves at SIGTERM, unless its launcher has sent it, and then waits for
 * the end of its job; what runs has as long as it takes.
 * `log` says that it leaves; NULL: it has none. */
tine_leave *tine_leave_on_signals(double grace, int rank, tine_run_log *log);

#endif
