/* The loop: joins the scheduler, which does no I/O, to a transport, and says which thread may do so
 * when.
 *
 * One lock guards everything. Whoever holds the role of driver, one thread at a time, moves frames
 * and completes futures; it lets go of the lock only to block in the transport's wait and to run
 * callbacks. A thread inside tine_wait takes the role itself, so a reply does not pay for a thread
 * switch. When no thread has driven for a tick, the progress thread takes the role, so that nested
 * forks move on while the program computes; it gives it back as soon as somebody wants it.
 *
 * Lock order: the loop's lock, then the lock of the list of changed handles. Values may be released
 * under the loop's lock. */
#ifndef TINE_RUNTIME_COORDINATOR_LOOP_H
#define TINE_RUNTIME_COORDINATOR_LOOP_H

#include <pthread.h>

#include "runtime/scheduler/scheduler.h"
#include "transport/transport.h"

typedef struct tine_loop tine_loop;

/* Takes over scheduler and transport, starts the progress thread. On an error both are still the
 * caller's. */
tine_error tine_loop_new(tine_loop **out, tine_scheduler *scheduler, tine_transport *transport);
/* Tells workers to stop, completes what is pending, waits until `deadline` for the frames to
 * leave. */
void tine_loop_stop(tine_loop *l, int64_t deadline);
/* After stop: frees scheduler and transport. The lock stays, for futures that are asked later. */
void tine_loop_clear(tine_loop *l);
/* After stop; no other thread may be inside. Accepts NULL. */
void tine_loop_free(tine_loop *l);

void tine_loop_lock(tine_loop *l);
void tine_loop_unlock(tine_loop *l);

/* With the lock: blocks, driving if nobody else does, until ready(arg) says so. ETIMEDOUT; ESTATE
 * inside a callback, where waiting would wait for itself; ECANCELED when the loop has been
 * stopped. */
tine_error tine_loop_until(tine_loop *l, bool (*ready)(void *arg), void *arg, int64_t deadline);
/* With the lock: takes the role back from the progress thread, so that what follows is sent by this
 * thread. */
void tine_loop_take(tine_loop *l);
/* With the lock, which it lets go of meanwhile: waits until nobody drives, then makes this thread
 * the driver until tine_loop_yield. A callback runs on the driver: there both do nothing. */
void tine_loop_claim(tine_loop *l);
void tine_loop_yield(tine_loop *l);
/* With the lock: a look at what came in, unless somebody drives. */
void tine_loop_poll(tine_loop *l);
/* With the lock, after calls to the scheduler: sends what it decided, at once or by the driver. */
void tine_loop_push(tine_loop *l);
/* With the lock: fn(arg) is run by the driver, without the lock. Frees nothing on a lack of memory:
 * it aborts no one and runs at once. */
void tine_loop_later(tine_loop *l, void (*fn)(void *arg), void *arg);

/* Is the calling thread running a callback? Then it is the driver, and must not wait. */
bool tine_loop_in_callback(void);

tine_scheduler *tine_loop_scheduler(tine_loop *l);
tine_transport *tine_loop_transport(tine_loop *l);

/* Any thread, no lock, also under this loop's lock: there is one handle more (change 1) or less
 * (-1) on an object. The scheduler is told in the order of these calls, at the driver's next
 * turn. */
void tine_loop_object_held(tine_loop *l, tine_object id, int change);

/* From the supervisor's thread: the local worker of this pid has ended, and why ("was killed by
 * signal 9 (SIGKILL)"). Its tasks fail or are run again once the transport has delivered what it
 * had sent before. */
void tine_loop_worker_died(tine_loop *l, uint32_t pid, const char *reason);
/* fn(pid, token) is called, with the lock, when a local worker's connection is lost but nobody has
 * reported its end: it is stopped, or stuck, and has to be ended so that another can take its
 * place. Set before workers join. */
void tine_loop_on_stray(tine_loop *l, void (*fn)(uint32_t pid, const char *token));
void tine_loop_workers_gone(tine_loop *l, const char *reason);

/* Frames that are the loop's own business (PONG, EVENTS) go here, with the lock; NULL: dropped. */
void tine_loop_listen(tine_loop *l, void (*fn)(void *arg, tine_peer peer, const tine_message *m),
                      void *arg);
/* With the lock, by the driver (tine_loop_claim): sends a message past the scheduler. */
void tine_loop_send(tine_loop *l, tine_peer peer, const tine_message *m);

#endif
