/* The progress thread of a worker: it keeps the link moving while a task computes.
 *
 * A large frame moves only by its sender's calls (transport.h): without them a result of 20 MB
 * would not leave until the worker's next task has ended, nor a nested fork's argument until its
 * task waits. The link is still used by one thread at a time. The worker's thread offers it
 * whenever it runs a task and reclaims it when the task suspends or ends, which is two atomic
 * operations unless the progress thread has accepted. That thread accepts at once when something
 * large is under way, at the next tick of some milliseconds when nested forks are queued here, else
 * when the same offer still stands after a tick. What it receives waits in the link's queue, except
 * a demand for such forks: the executor goes with the link, and they are sent at once. So are tasks
 * that are given back because the worker is to leave. Backlogs are
 * sent as soon as there is room.
 *
 * Users' release callbacks are left to the worker's thread: they may need a lock that the running
 * task holds. */
#ifndef TINE_WORKERS_PROGRESS_H
#define TINE_WORKERS_PROGRESS_H

#include <pthread.h>
#include <stdatomic.h>

#include "runtime/link/link.h"
#include "runtime/value/release.h"

/* Called by the thread while it has the link. */
typedef struct tine_progress_handler {
    /* something may come that has to be handled at once: the thread stays in the transport */
    bool (*waits)(void *ctx);
    /* it has got the link, was woken, or has handled an early message: does what is due */
    void (*handled)(void *ctx);
    /* when something is due again (monotonic ns); INT64_MAX: not before a message comes */
    int64_t (*due)(void *ctx);
    void *ctx;
} tine_progress_handler;

typedef struct tine_progress {
    tine_link *link;
    tine_progress_handler handler;
    /* of the worker's thread */
    bool offered;
    bool tried, started; /* to start the thread; it was started */
    pthread_t thread;

    _Atomic int user;         /* of the link: see progress.c */
    atomic_uint offers;       /* so far */
    atomic_bool reclaiming;   /* the worker's thread wants the link back */
    atomic_bool in_transport; /* the thread is in the transport's wait */
    atomic_bool urgent;       /* to be accepted without another tick */
    atomic_bool waits;        /* what handler.waits said at the last offer: at the next tick */
    atomic_bool idle;         /* no offer came for a while: the next one must wake the thread */
    pthread_mutex_t lock;     /* a leaf, for the condition */
    pthread_cond_t changed;
    bool ending; /* under the lock */

    /* of the link's user */
    bool ended;            /* the link has nothing more to receive */
    bool slept;            /* the thread has waited in the transport since the link was reclaimed */
    tine_due_release *due; /* releases that are left to the worker's thread */
} tine_progress;

/* The thread is started by the first offer. */
void tine_progress_init(tine_progress *p, tine_link *link, const tine_progress_handler *handler);
/* From here until reclaim the worker's thread does not use the link. Where no thread can be
 * started nothing moves meanwhile. Does nothing after stop. */
void tine_progress_offer(tine_progress *p);
/* Blocks no longer than one call of the transport takes. Does nothing unless the link is
 * offered. */
void tine_progress_reclaim(tine_progress *p);
/* Reclaims the link for good, ends the thread and flushes backlogs. Accepts a zeroed object. */
void tine_progress_stop(tine_progress *p);
void tine_progress_fini(tine_progress *p); /* after stop; accepts a zeroed object */

#endif
