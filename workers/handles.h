/* The handles on objects in a worker: values from tine_put and modules, wherever they are kept.
 *
 * The coordinator keeps an object that a task put, or was given, until the task is DONE. What still
 * has a handle then, for example in a module's state, is held for the worker (HOLD) until the last
 * handle is gone (RELEASE). A handle may be released on any thread, and after the worker has
 * ended. */
#ifndef TINE_WORKERS_HANDLES_H
#define TINE_WORKERS_HANDLES_H

#include <sys/queue.h>

#include "runtime/value/value.h"
#include "workers/executor/executor.h"

typedef struct tine_handles tine_handles;
typedef LIST_HEAD(tine_handle_list, worker_handle) tine_handle_list;

tine_handles *tine_handles_new(void); /* ends the process without memory */
tine_object_owner *tine_handles_owner(tine_handles *h);
/* The list of the task that runs: it gets the objects whose first handle is made from now on. NULL:
 * no task runs. On the worker's thread, as below. */
void tine_handles_of_task(tine_handles *h, tine_handle_list *list);
/* Holds the objects with handles of a task that is about to be DONE (NULL: of none), and releases
 * the objects that have no handle left. */
void tine_handles_flush(tine_handles *h, tine_handle_list *list, tine_executor *x);
/* The worker has ended; the rest is freed with the last handle. */
void tine_handles_end(tine_handles *h);

#endif
