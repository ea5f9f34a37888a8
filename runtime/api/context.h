/* Where the public calls go: the coordinator (coordinator/context.c) or the worker
 * (workers/context.c) that the calling thread belongs to.
 *
 * The public functions of this folder know only this table, so `fork` and `wait` mean the
 * same in the program and inside a task. A context's futures are touched only under its lock (on
 * a worker, which is one thread, lock and unlock do nothing). Where an operation waits, it
 * releases the lock meanwhile. */
#ifndef TINE_RUNTIME_API_CONTEXT_H
#define TINE_RUNTIME_API_CONTEXT_H

#include <stdatomic.h>
#include <sys/queue.h>

#include "runtime/call/call.h"
#include "runtime/api/future.h"
#include "runtime/wire/message.h"
#include "runtime/wire/wire.h"
#include "transport/base/timers.h"

typedef struct tine_context tine_context;

typedef struct tine_context_ops {
    void (*lock)(tine_context *c);
    void (*unlock)(tine_context *c);

    /* ---- forks; with the lock ---- */

    /* Before submit: waits while too much is pending. EAGAIN at once if !may_wait; ESTATE. */
    tine_error (*admit)(tine_context *c, bool may_wait);
    /* Submits a fork. On TINE_OK `f` will be completed exactly once, and the context holds a
     * reference until then. `terms` may be NULL. Errors: ENOMEM, ESTATE, ECANCELED, EINVAL (an
     * object that has been freed). */
    tine_error (*submit)(tine_context *c, tine_future *f, void *parent, const tine_target *target,
                         uint32_t flags, tine_payload *payload, const tine_terms *terms);
    /* Cancels a fork that was submitted; its future is done soon, with `status`. ESTATE: its result
     * is here already. grace_ns: see tine_future_cancel. */
    tine_error (*cancel)(tine_context *c, tine_future *f, tine_error status, const char *why,
                         uint64_t grace_ns);
    /* Cancels a fork that was submitted, if it is still queued at this worker. NULL where none
     * is. */
    bool (*take_back)(tine_context *c, tine_future *f);
    /* Without the lock: whether the running task `parent` was cancelled. NULL: there are no
     * tasks. */
    bool (*cancelled)(tine_context *c, void *parent);
    /* The task `parent` yields a value. Blocks while its owner takes none. ECANCELED; ESTATE (in a
     * callback). NULL where there are no tasks. */
    tine_error (*yield)(tine_context *c, void *parent, tine_payload *payload);
    /* With the lock: the values of f, a stream that was submitted, are taken up to this number. */
    void (*pull)(tine_context *c, const tine_future *f, uint64_t item);
    /* Counts the forks of task `parent` that wait for their arguments, with the bytes of these, and
     * its callbacks that are still to run: it does not end while there are any. Never called with a
     * NULL parent; NULL where there are no tasks. */
    void (*hold)(tine_context *c, void *parent, size_t bytes);
    void (*unhold)(tine_context *c, void *parent, size_t bytes);

    /* The value that stands for f's result as an argument (f->reference); NULL: the result itself
     * is to be its argument, when it is done. It is an object: the result need not be in this
     * process, nor exist yet. NULL where there are no such objects. */
    const tine_value *(*reference)(tine_context *c, tine_future *f);

    /* ---- waiting; with the lock ---- */

    /* The result will be taken: if it stays at a worker, it is fetched as soon as it is made. NULL
     * where results do not stay. */
    void (*want)(tine_context *c, tine_future *f);

    /* Blocks until all of n futures are done, or any, or one has failed, or `deadline` (monotonic
     * ns; INT64_MAX: none) has passed. Errors: ETIMEDOUT, ESTATE (in a callback, which cannot
     * wait), ECANCELED, ENOMEM. */
    tine_error (*wait)(tine_context *c, tine_future *const *f, size_t n, tine_wait_mode mode,
                       int64_t deadline);
    /* A future was completed by this thread and not by the event loop: wakes the threads that may
     * wait for it. NULL: nothing but its waiters waits for it. */
    void (*completed)(tine_context *c);
    /* The state of a future that is not done, a malloc'ed text; NULL where it is not known. May
     * be NULL. */
    char *(*describe)(tine_context *c, const tine_future *f);
    /* fn(arg) is called soon, by the thread that runs this context's event loop, without the
     * lock; what it forks is forked by `parent`. */
    void (*defer)(tine_context *c, void (*fn)(void *arg), void *arg, void *parent);

    /* ---- objects ---- */

    /* With the lock: makes an object. class_name NULL: a put value. */
    tine_error (*object)(tine_context *c, void *parent, const char *class_name,
                         tine_payload *payload, tine_object *out);
    /* Without the lock: the class and the payload (a new reference) of an object; a worker may
     * wait for it to arrive. */
    tine_error (*object_payload)(tine_context *c, tine_object id, tine_payload **payload,
                                 char **class_name);
    /* With the lock: whether nothing holds the object any more. NULL where tine_instance_forget
     * is called instead. */
    bool (*object_gone)(tine_context *c, tine_object id);

    /* ---- instances of modules that another call is making; with the lock ---- */

    void (*instance_await)(tine_context *c); /* blocks until instance_made; may return early */
    /* False in a callback, whose thread runs the other calls. */
    bool (*instance_may_await)(tine_context *c);
    void (*instance_made)(tine_context *c);

    /* Frees the context once its owner and the last future have released it. NULL: no future
     * outlives it. */
    void (*free)(tine_context *c);
} tine_context_ops;

struct tine_context {
    const tine_context_ops *ops;
    tine_encoder encoder;
    tine_decoder decoder;     /* used with the lock held */
    tine_object_owner *owner; /* counts the handles on objects */
    struct tine_instances *instances;
    uint32_t worker_id; /* of this worker; 0: the program */
    /* forks that wait for their arguments, and the bytes of those that are there; with the lock */
    size_t n_held, held_bytes;
    LIST_HEAD(, held_fork) held; /* all of them, the last one first */
    /* those of them that call a module with one instance, the last one first */
    LIST_HEAD(, held_fork) held_singles;
    tine_timers deadlines; /* of forks */
    int64_t circle_steps;  /* what looks for circles may still visit: see combine.c */
    LIST_HEAD(, tine_promise) promises;
    bool promises_ended; /* no more are made: the context stops */
    /* through which other threads reach a context without a lock; NULL: it has one */
    struct tine_mailbox *mailbox;
    /* its owner's, and one of each future: futures may be used after it has stopped */
    atomic_size_t refs;
};

static inline void tine_context_unref(tine_context *c) {
    if (!c->ops->free) return;
    if (atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) == 1) c->ops->free(c);
}

/* The record of the running task, to which its forks, puts and callbacks belong; NULL outside
 * tasks. */
static inline void *tine_context_parent(void) {
    return tine_current.task ? tine_current.task->attempt : NULL;
}

/* EINVAL: the future is of another process or worker. */
tine_error tine_future_foreign(void);
/* Waits for every future inside and puts the results in their places; fails as soon as one of them
 * has failed. With no lock held. */
tine_error tine_value_settle(tine_value **v);
tine_error tine_arguments_settle(tine_arguments *a);
/* The steps of that: appends the futures inside; puts their results, which must all be there, in
 * their places. The error is that of the first one that failed. */
typedef const tine_value *tine_result_of(tine_future *f, void *ctx);
tine_error tine_arguments_futures(const tine_arguments *a, tine_future_list *out);
tine_error tine_arguments_resolve(tine_arguments *a, tine_result_of *result);

/* The calling thread's context, or NULL with ESTATE set when Tine is not running. */
tine_context *tine_context_current(void);
/* The same with a reference, so that another thread may shut Tine down meanwhile. */
tine_context *tine_context_acquire(void);
void tine_context_release(tine_context *c); /* on the same thread; accepts NULL */
/* The process's own (the coordinator's), for threads that belong to no worker. NULL takes it
 * away. */
void tine_context_install(tine_context *c);
tine_context *tine_context_installed(void);
/* A worker starts (1) or ends (-1) in this process. */
void tine_context_count_worker(int change);

#endif
