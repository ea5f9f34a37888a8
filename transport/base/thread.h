/* Threads of the library, and condition variables on the monotonic clock.
 *
 * A thread of the library blocks all signals but those of its own faults (SIGSEGV, SIGBUS, SIGFPE,
 * SIGILL, SIGTRAP): the program's handlers run on the program's own threads. */
#ifndef TINE_TRANSPORT_BASE_THREAD_H
#define TINE_TRANSPORT_BASE_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Starts run(arg) in a thread whose name, as ps and debuggers show it, is `name` (at most 15
 * characters, a literal). 0 or an errno value, and then there is no thread. */
int tine_thread_start(pthread_t *out, const char *name, void *(*run)(void *), void *arg);
/* The same with a small stack (256 KiB), for a watchdog that is never joined. */
int tine_thread_start_detached(const char *name, void *(*run)(void *), void *arg);

/* A condition variable whose timed waits use the monotonic clock. */
void tine_cond_init(pthread_cond_t *c);
/* Waits until signalled or until the clock (tine_clock_ns) shows `deadline`; INT64_MAX: no
 * deadline. False: the deadline has passed. May return early, as pthread_cond_wait may. */
bool tine_cond_wait_until(pthread_cond_t *c, pthread_mutex_t *lock, int64_t deadline);

#endif
