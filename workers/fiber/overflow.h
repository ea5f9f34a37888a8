/* What the overflow handler reads: the guard and the name of the running fiber. */
#ifndef TINE_WORKERS_FIBER_OVERFLOW_H
#define TINE_WORKERS_FIBER_OVERFLOW_H

#include <stdbool.h>
#include <stddef.h>

#include "workers/fiber/fiber.h"

typedef struct tine_fiber_spot {
    char *guard, *low; /* the guard is [guard, low) */
    size_t stack_kib;
    const char *name;
} tine_fiber_spot;

/* Of the fiber that this thread runs, or NULL. Initial-exec, because other models may allocate on
 * the first access, which a handler must not. */
extern _Thread_local tine_fiber_spot *tine_fiber_spot_running
    __attribute__((tls_model("initial-exec")));

/* Gives this thread an alternate signal stack, unless it has one, and installs the handler,
 * once. Each arm needs a disarm on the same thread. False: no memory. */
bool tine_fiber_overflow_arm(void);
void tine_fiber_overflow_disarm(void);

#endif
