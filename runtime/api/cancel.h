/* Cancelling futures, and the deadlines of forks, which cancel them. With the context's lock. */
#ifndef TINE_RUNTIME_API_CANCEL_H
#define TINE_RUNTIME_API_CANCEL_H

#include "runtime/api/future.h"
#include "transport/base/timers.h"

/* What tine_fork_with and tine_fork_everywhere add to a future. Freed with it. */
typedef struct tine_future_extra {
    tine_waiter waiter;  /* the future is done: the deadline does not count any more */
    tine_timer deadline; /* in the context's heap */
    tine_timer graced;   /* on a worker, with a grace, while it is open: see workers/overdue.c */
    double seconds;      /* of the deadline; 0: none */
    uint64_t grace_ns;   /* from a cancel to the end of its worker; UINT64_MAX: never */
    struct tine_stream *stream; /* NULL: it is none */
    tine_future_list forks;     /* references; a cancel of the future cancels them, too */
    char *name;                 /* of the task, in error sentences; NULL: it is no fork */
} tine_future_extra;

/* f is pending and of c. ESTATE with a sentence: its result is here already. `why` ends the
 * sentence. */
tine_error tine_future_cancel(struct tine_context *c, tine_future *f, tine_error status,
                              const char *why, uint64_t grace_ns);
/* Without the lock: takes back a fork of the running task that has not begun and of which no other
 * process knows. False: it has begun, or may, and its result is to be waited for. */
bool tine_future_take_back(tine_future *f);
/* From now on a cancel of f, which is no fork, cancels these forks, too. ENOMEM with a sentence. */
tine_error tine_future_add_forks(tine_future *f, tine_future *const *forks, size_t n);
void tine_future_extra_free(tine_future_extra *x); /* accepts NULL */
/* Watches the deadline of f, which has an `extra`. */
void tine_deadline_watch(struct tine_context *c, tine_future *f);
/* Cancels the forks whose deadline has passed; whether there were any. */
bool tine_deadlines_run(struct tine_context *c, int64_t now);

/* fork.c: cancels the fork of f that waits for its arguments. */
void tine_held_fork_cancel(tine_future *f, tine_error status, const char *why);

#endif
