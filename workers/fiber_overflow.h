/* What the overflow handler needs to know, and no more: where the running fiber's guard is. */
#ifndef TINE_WORKERS_FIBER_OVERFLOW_H
#define TINE_WORKERS_FIBER_OVERFLOW_H

#include <stdbool.h>
#include <stddef.h>

#include "workers/fiber.h"

typedef struct tine_fiber_spot {
    char *guard, *low; /* the guard is [guard, low) */
    size_t stack_kib;
    char name[TINE_FIBER_NAME_MAX];
} tine_fiber_spot;

/* The fiber this thread runs, or NULL. Initial-exec: the usual access to a library's thread-local
 * may allocate on first use, which a handler must not. */
extern _Thread_local tine_fiber_spot *tine_fiber_spot_running
    __attribute__((tls_model("initial-exec")));

/* Gives this thread an alternate signal stack, unless it has one, and installs the handler, once.
 * Counted: each arm needs its disarm on the same thread. False: no memory. */
bool tine_fiber_overflow_arm(void);
void tine_fiber_overflow_disarm(void);

#endif
