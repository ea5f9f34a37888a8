/* Pools of fibers for tests, and a task that overflows its stack. */
#ifndef TINE_TESTS_SUPPORT_FIBERS_H
#define TINE_TESTS_SUPPORT_FIBERS_H

#include <criterion/criterion.h>
#include <stdbool.h>

#include "workers/fiber/fiber.h"

static inline tine_fiber_pool *pool_of(size_t stack_size, size_t cached) {
    tine_fiber_pool *p = NULL;
    cr_assert_eq(tine_fiber_pool_new(&p, stack_size, cached), TINE_OK, "%s", tine_error_message());
    return p;
}

static volatile bool *overflow_always = &(bool){true};
static inline int overflow_descend(volatile char *above) {
    volatile char frame[512];
    frame[0] = above ? above[0] : 1;
    int below = *overflow_always ? overflow_descend(frame) : 0;
    return below + frame[0];
}

/* The entry of a fiber: it calls itself until its stack overflows. */
static inline void overflow_stack(void *arg) {
    (void)arg;
    overflow_descend(NULL);
}

#endif
