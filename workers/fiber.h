/* Fibers: a task's own stack, so that a wait inside a task suspends the task and not the worker.
 *
 * A fiber runs on the thread that made its pool, from tine_fiber_resume until it yields or its
 * entry returns; it never changes threads. A stack is one mapping: TINE_FIBER_GUARD bytes that
 * fault, then the stack, with the fiber's own record at its top; untouched pages cost nothing
 * (MAP_NORESERVE), so a suspended task costs what it touched. Each fiber takes two of the process's
 * mappings (vm.max_map_count, 65530 by default: about 32,000 fibers); past that tine_fiber_new
 * fails cleanly.
 *
 * A switch swaps the callee-saved registers, the rounding modes and runtime/value/state.h's
 * tine_current, nothing else: the signal mask is the thread's. It is assembly on x86-64 and
 * aarch64, since swapcontext makes two system calls a switch; elsewhere it is ucontext
 * (-DTINE_FIBER_UCONTEXT forces that). ASan and TSan are told of every switch.
 *
 * Overflow: the guard faults, and a handler on an alternate stack says whose stack it was (see
 * tine_fiber_last_words). A frame larger than the guard can step over it unseen, unless the code
 * was compiled with -fstack-clash-protection, as all of Tine is. */
#ifndef TINE_WORKERS_FIBER_H
#define TINE_WORKERS_FIBER_H

#include <stdbool.h>
#include <stddef.h>

#include "runtime/tine.h"

enum { TINE_FIBER_GUARD = 64 << 10, TINE_FIBER_STACK_MIN = 16 << 10, TINE_FIBER_NAME_MAX = 96 };

typedef struct tine_fiber tine_fiber;
typedef struct tine_fiber_pool tine_fiber_pool;

/* A pool for the calling thread, which alone may use it. `stack_size` (0: 256 KiB) is rounded up to
 * pages, at least TINE_FIBER_STACK_MIN; up to `max_cached` (0: 256) stacks of ended fibers are kept
 * for the next ones. Also gives this thread an alternate signal stack, if it has none, and the
 * process the handler of overflows, once. Errors: ENOMEM, EINVAL (a size past 1 TiB). */
tine_error tine_fiber_pool_new(tine_fiber_pool **out, size_t stack_size, size_t max_cached);
/* No fiber of it may be left. From the thread that made it. Accepts NULL. */
void tine_fiber_pool_free(tine_fiber_pool *p);
size_t tine_fiber_live(const tine_fiber_pool *p); /* made and not freed */

/* A fiber that will run entry(arg) when first resumed. `name` (copied, cut at TINE_FIBER_NAME_MAX)
 * is told on overflow. Its tine_current starts zeroed, except `context`, which is the caller's.
 * NULL: no memory or no mapping left (the last error is set to ENOMEM with a sentence). */
tine_fiber *tine_fiber_new(tine_fiber_pool *p, void (*entry)(void *arg), void *arg,
                           const char *name);
/* Runs f until it yields or ends. From the pool's thread, outside or inside another fiber; never on
 * a running or ended one. */
void tine_fiber_resume(tine_fiber *f);
void tine_fiber_yield(void); /* from inside a fiber: back to whoever resumed it */
bool tine_fiber_ended(const tine_fiber *f);
/* Gives the stack back. A fiber that has not ended is given up where it stands: nothing on its
 * stack is cleaned up. Accepts NULL. */
void tine_fiber_free(tine_fiber *f);

tine_fiber *tine_fiber_running(void); /* the one the caller runs in, or NULL */
const char *tine_fiber_name(const tine_fiber *f);

/* On overflow the handler writes to stderr "tine: stack overflow in task NAME (stack of N KiB; set
 * TINE_STACK_SIZE)", and the same without "tine: " and newline to this file descriptor, if one was
 * set (-1: none); then the process dies of the signal. Other faults go to the handler that was
 * installed before, or take their default course. */
void tine_fiber_last_words(int fd);

#endif
