/* What belongs to the running thread, or inside a task to that task: its last error, the pool that
 * owns what it makes, the task, and the context (coordinator or worker) that its calls go to. A
 * fiber switch swaps the whole struct. */
#ifndef TINE_RUNTIME_VALUE_CURRENT_H
#define TINE_RUNTIME_VALUE_CURRENT_H

#include "runtime/value/error.h"
#include "runtime/value/pool.h"

struct tine_context; /* runtime/api/context.h */

typedef struct tine_state {
    tine_failure failure;
    tine_pool *pool; /* NULL outside tasks: references are the caller's */
    /* Where a release looks next: in a task the pool of its callbacks, in a callback the pool of
     * the task. NULL: nowhere. */
    tine_pool *other;
    tine_task *task; /* NULL outside tasks */
    /* A reader was given a value of another kind, or NULL: fails the task. NULL outside tasks. */
    void (*refuse)(tine_task *task, const tine_value *v, const char *wanted);
    /* Calls fn(arg) on a thread of its own while this task waits for it; false: it cannot, and the
     * error is set. NULL outside a worker's tasks. */
    bool (*on_thread)(void (*fn)(void *arg), void *arg);
    struct tine_context *context; /* NULL: the process's own (coordinator) */
} tine_state;

extern _Thread_local tine_state tine_current;

#endif
