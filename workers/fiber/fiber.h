/* Fibers: a task's own stack, so that a wait inside a task suspends the task and not the worker.
 *
 * A fiber runs on the thread that made its pool, from tine_fiber_resume until it yields or its
 * entry returns; it never changes threads, but another one can call functions in its place. A stack
 * is one mapping: TINE_FIBER_GUARD bytes that fault, then the stack, with the fiber's record at its
 * top. Pages that were not touched cost nothing (MAP_NORESERVE). Each fiber takes two of the
 * process's mappings (vm.max_map_count, 65530 by default: about 32,000 fibers); past that
 * tine_fiber_new fails.
 *
 * A switch exchanges the callee-saved registers, the rounding modes, tine_current
 * (runtime/value/current.h) and the C++ library's record of caught exceptions, and nothing else:
 * the signal mask belongs to the thread. It is assembly on x86-64 and aarch64, since swapcontext
 * makes two system calls; elsewhere it is ucontext (-DTINE_FIBER_UCONTEXT forces that). ASan and
 * TSan are told of every switch.
 *
 * On overflow the guard faults, and a handler on an alternate stack names the task (see
 * tine_fiber_report_to). A frame larger than the guard could pass over it, unless the code was
 * compiled with -fstack-clash-protection, as all of Tine is. */
#ifndef TINE_WORKERS_FIBER_FIBER_H
#define TINE_WORKERS_FIBER_FIBER_H

#include <stdbool.h>
#include <stddef.h>

#include "runtime/tine.h"

enum { TINE_FIBER_GUARD = 64 << 10, TINE_FIBER_STACK_MIN = 16 << 10 };

typedef struct tine_fiber tine_fiber;
typedef struct tine_fiber_pool tine_fiber_pool;

/* A pool for the calling thread, the only one that may use it. `stack_size` (0: 256 KiB) is
 * rounded up to pages and to at least TINE_FIBER_STACK_MIN; up to `max_cached` (0: 256) stacks
 * of freed fibers are kept for the next ones. Gives the thread an alternate signal stack, if it
 * has none, and installs the process's handler of overflows, once. Errors: ENOMEM, EINVAL (more
 * than 1 TiB). */
tine_error tine_fiber_pool_new(tine_fiber_pool **out, size_t stack_size, size_t max_cached);
/* On the thread that made it, when all its fibers are freed. Accepts NULL. */
void tine_fiber_pool_free(tine_fiber_pool *p);
size_t tine_fiber_live(const tine_fiber_pool *p); /* made and not freed */

/* A fiber that runs entry(arg) when it is first resumed. `name`, which lives as long as the fiber,
 * is written on overflow. Its tine_current starts zeroed, except `context`, which is the caller's.
 * NULL: no memory or no mapping is left (ENOMEM). */
tine_fiber *tine_fiber_new(tine_fiber_pool *p, void (*entry)(void *arg), void *arg,
                           const char *name);
/* Runs f until it yields or ends. On the pool's thread, also inside another fiber. f must neither
 * run nor have ended. */
void tine_fiber_resume(tine_fiber *f);
void tine_fiber_yield(void); /* inside a fiber: returns to where it was resumed */
bool tine_fiber_ended(const tine_fiber *f);
/* Inside a fiber: calls fn(arg) on a thread of its own, with the system's default stack, while the
 * fiber waits; tine_fiber_yield on that thread yields the fiber. On such a thread it calls fn
 * there. False: no thread can be started (ENOMEM). */
bool tine_fiber_call_on_thread(void (*fn)(void *arg), void *arg);
/* Gives the stack back. The frames of a fiber that has not ended are dropped, and nothing in
 * them is cleaned up; a thread that runs in its place waits forever. Accepts NULL. */
void tine_fiber_free(tine_fiber *f);

tine_fiber *tine_fiber_running(void); /* the one the caller runs in, or NULL */

/* On overflow the handler writes "tine: stack overflow in task NAME (stack of N KiB; set
 * TINE_STACK_SIZE)" to stderr, and the same without "tine: " and newline to this file descriptor
 * (-1: none, the default); then the signal ends the process. Other faults go to the handler that
 * was installed before, or to the default action. */
void tine_fiber_report_to(int fd);

#endif
