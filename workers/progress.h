/* What moves while a task computes: a thread that drives the worker's transport for as long as the worker's own thread is inside a
 * task.
 *
 * A large frame needs its sender's calls to go on (transport.h): a result of 20 MB would otherwise stand still until the next
 * task has ended, and a nested fork's argument until its task waits. The transport still belongs to one thread at a time. The
 * worker lends it before a task where that may matter and takes it back when it needs it; what came meanwhile it finds in a queue.
 * Short tasks, with nothing large under way, never pay for a hand-over, and a worker that runs no others has no second thread. */
#ifndef TINE_WORKERS_PROGRESS_H
#define TINE_WORKERS_PROGRESS_H

#include <pthread.h>

#include "transport/transport.h"

typedef struct tine_progress {
    tine_transport *transport;
    bool away; /* lent; the owner's own note */
    bool started, ending;
    pthread_t thread;
    pthread_mutex_t lock; /* held by whoever drives the transport, except while `away` is false */
    pthread_cond_t changed;
    bool lent, over;             /* over: the transport has nothing more to tell */
    atomic_bool wanted, waiting; /* wanted back; waiting inside the transport */
    struct tine_event_list {
        tine_event *at;
        size_t n, taken, room;
    } events; /* what came, in order */
} tine_progress;

void tine_progress_init(tine_progress *p, tine_transport *t);
/* From here until `take` the caller leaves the transport alone. Where no thread can be started nothing is lent. */
void tine_progress_lend(tine_progress *p);
/* Blocks no longer than one call of the transport takes. Nothing where nothing is lent. */
void tine_progress_take(tine_progress *p);
/* As the transport's own, with what came meanwhile first. Not while lent. */
int tine_progress_recv(tine_progress *p, tine_event *ev);
void tine_progress_wait(tine_progress *p, int64_t timeout_ns);
/* Takes back, ends the thread, frees what nobody received. Accepts a zeroed object; lend does nothing from here on. */
void tine_progress_fini(tine_progress *p);

#endif
