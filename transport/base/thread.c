/* See thread.h. */
#include "transport/base/thread.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "transport/base/clock.h"

enum { WATCHDOG_STACK = 256 << 10 };

/* The argument of a new thread, which frees it. */
typedef struct thread_start {
    const char *name;
    void *(*run)(void *);
    void *arg;
} thread_start;

static void *thread_main(void *memory) {
    thread_start start = *(thread_start *)memory;
    free(memory);
    pthread_setname_np(pthread_self(), start.name);
    return start.run(start.arg);
}

/* What the thread's own instructions raise. Blocked, they would end the process at once, without
 * the program's handler. */
static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};

static int thread_create(pthread_t *out, const pthread_attr_t *attr, thread_start what) {
    sigset_t all, before;
    thread_start *start = malloc(sizeof *start);
    if (!start) return ENOMEM;
    *start = what;
    sigfillset(&all);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* a new thread inherits the mask */
    int e = pthread_create(out, attr, thread_main, start);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (e) free(start);
    return e;
}

int tine_thread_start(pthread_t *out, const char *name, void *(*run)(void *), void *arg) {
    return thread_create(out, NULL, (thread_start){name, run, arg});
}

int tine_thread_start_detached(const char *name, void *(*run)(void *), void *arg) {
    pthread_t thread;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, WATCHDOG_STACK);
    int e = thread_create(&thread, &attr, (thread_start){name, run, arg});
    pthread_attr_destroy(&attr);
    return e;
}

void tine_cond_init(pthread_cond_t *c) {
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(c, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

bool tine_cond_wait_until(pthread_cond_t *c, pthread_mutex_t *lock, int64_t deadline) {
    if (deadline == INT64_MAX) return pthread_cond_wait(c, lock) == 0;
    struct timespec t = tine_timespec(deadline > 0 ? deadline : 0);
    return pthread_cond_timedwait(c, lock, &t) != ETIMEDOUT;
}
