/* A thread that takes turns with another one: of the two, one runs and the other waits for it.
 *
 * It is how a function with TINE_THREAD runs (fiber.c): on a thread of its own, while the fiber of
 * its task waits. When the task waits in turn, the thread pauses and the fiber yields in its place.
 * So the worker still runs one task at a time, and needs no lock. A turn passes tine_current on. */
#ifndef TINE_WORKERS_FIBER_THREAD_H
#define TINE_WORKERS_FIBER_THREAD_H

#include <stdbool.h>

#include "runtime/tine.h"

typedef struct tine_fiber_thread tine_fiber_thread;

/* Threads that have ended their function, for the next ones. Zeroed is empty. */
typedef struct tine_fiber_threads {
    tine_fiber_thread *idle;
    unsigned n_idle;
} tine_fiber_threads;

/* An idle thread, or a new one. NULL: it cannot be started (ENOMEM). */
tine_fiber_thread *tine_fiber_thread_take(tine_fiber_threads *threads);
void tine_fiber_thread_give(tine_fiber_threads *threads, tine_fiber_thread *t); /* has ended */
void tine_fiber_threads_fini(tine_fiber_threads *threads);

/* Has it call fn(arg) until it pauses or fn returns. True: fn has returned. */
bool tine_fiber_thread_run(tine_fiber_thread *t, void (*fn)(void *arg), void *arg);
/* The same after a pause. */
bool tine_fiber_thread_continue(tine_fiber_thread *t);
/* On the thread itself: returns when it is continued. */
void tine_fiber_thread_pause(tine_fiber_thread *t);

#endif
