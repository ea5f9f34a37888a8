/* A worker's line to the coordinator, and the progress thread that keeps it moving while a task
 * computes.
 *
 * A large frame needs its sender's calls to go on (transport.h): without them a result of 20 MB
 * would stand still until the worker's next task has ended, and a nested fork's argument until its
 * task waits. The line still belongs to one thread at a time. Its owner, the worker's thread, lends
 * it for each stretch of a task and takes it back when he needs it, which is two atomic operations
 * while nobody has taken it up. The progress thread takes it up at once when something large is
 * under way, else when it finds the same stretch at its next look, every few milliseconds. What
 * came meanwhile waits in a queue; what could not be sent goes on as soon as there is room.
 *
 * The progress thread leaves users' release callbacks to the owner: the task may hold a lock that
 * they want for as long as it computes. */
#ifndef TINE_WORKERS_PROGRESS_H
#define TINE_WORKERS_PROGRESS_H

#include <pthread.h>
#include <stdatomic.h>

#include "runtime/value/release.h"
#include "transport/transport.h"

typedef struct tine_unsent_frame {
    struct tine_unsent_frame *next;
    tine_frame *frame;
} tine_unsent_frame;

typedef struct tine_progress {
    tine_transport *transport;
    bool away;          /* lent: the owner's note */
    bool tried, exists; /* to start the thread; it was started */
    pthread_t thread;
    _Atomic int holder;          /* of the line */
    atomic_uint lends;           /* so far */
    atomic_bool wanted, waiting; /* wanted back; the thread waits inside the transport */
    atomic_bool at_once;         /* to be taken up without another look */
    atomic_bool asleep;          /* nothing has been lent for a while: the next lend must wake it */
    pthread_mutex_t lock;        /* a leaf, for the condition */
    pthread_cond_t changed;
    bool ending; /* under the lock */
    bool over;   /* the transport has nothing more to tell; the holder's, as all below */
    struct tine_event_queue {
        tine_event *at;
        size_t first, n, room;
    } came;
    tine_unsent_frame *unsent, **unsent_end;
    tine_due_release *due; /* releases that the thread leaves to the owner */
} tine_progress;

void tine_progress_init(tine_progress *p, tine_transport *t);
/* From here until `take` the owner leaves the line alone. Where no thread can be started nothing
 * moves meanwhile. */
void tine_progress_lend(tine_progress *p);
/* Blocks no longer than one call of the transport takes. Nothing where nothing is lent. */
void tine_progress_take(tine_progress *p);

/* For the owner, while nothing is lent. */

/* Takes the frame over whatever comes; what the transport does not take now is sent later, in
 * order. Errors: -EIO and -ENOMEM (it is lost), never -EPIPE (who is gone is told by an event). */
int tine_progress_send(tine_progress *p, tine_frame *f);
/* As the transport's, with what came meanwhile first; never WRITABLE. */
int tine_progress_recv(tine_progress *p, tine_event *ev);
void tine_progress_wait(tine_progress *p, int64_t timeout_ns);
/* Takes the line back for good and ends the thread; lend does nothing from here on. Accepts a
 * zeroed object. */
void tine_progress_stop(tine_progress *p);
/* after stop: frees what nobody received or could send */
void tine_progress_fini(tine_progress *p);

#endif
