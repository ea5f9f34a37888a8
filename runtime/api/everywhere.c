/* The id of the worker that a task runs on. */
#include "runtime/api/context.h"
#include "runtime/value/current.h"

uint32_t tine_worker_id(void) {
    const tine_context *c = tine_current.context;
    return c ? c->worker_id : 0;
}
