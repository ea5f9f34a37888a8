/* SIGTERM and SIGINT of a worker that was started by hand. */
#ifndef TINE_LAUNCH_LEAVE_H
#define TINE_LAUNCH_LEAVE_H

#include "workers/leave.h"

/* From now on SIGTERM and SIGINT have the worker leave; what runs `grace` seconds later is lost,
 * and the process ends with 1. A second SIGINT ends it at once. A signal that the program handles
 * or ignores is left alone. NULL: it cannot be set up, and the signals end the process as without
 * it.
 * A rank of a job (else -1) leaves at SIGTERM, unless its launcher has sent it, and then waits for
 * the end of its job; what runs has as long as it takes. */
tine_leave *tine_leave_on_signals(double grace, int rank);

#endif
