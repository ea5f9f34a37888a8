/* What the coordinator's files share: coordinator.c (its life), lock.c (its lock), loop.c (which
 * thread runs the event loop), events.c (what comes from the link and from the scheduler),
 * context.c (the program's calls), objects.c (puts, modules and handles), pool.c (all workers
 * together), deaths.c (local workers that end), ending.c and memory.c (workers that are to be
 * ended), gather.c (the profile), observers.c and snapshot.c (what others see of the job). */
#ifndef TINE_RUNTIME_COORDINATOR_INTERNAL_H
#define TINE_RUNTIME_COORDINATOR_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "runtime/api/context.h"
#include "runtime/coordinator/coordinator.h"
#include "runtime/link/link.h"
#include "runtime/scheduler/scheduler.h"
#include "transport/base/ready.h"

/* A callback that is due. */
typedef struct coordinator_callback {
    STAILQ_ENTRY(coordinator_callback) entry;
    void (*fn)(void *arg);
    void *arg;
} coordinator_callback;

/* A local worker's death is reported twice, in either order: by the supervisor (reason) and by the
 * transport's LOST (peer), after which nothing that the worker sent is still to arrive. */
typedef struct coordinator_death {
    LIST_ENTRY(coordinator_death) entry;
    uint32_t pid;
    char *reason;   /* NULL: not reported yet */
    tine_peer lost; /* 0: not lost yet */
    int64_t due;    /* settled by then with what is known */
    char transport_reason[128];
    char why[160];     /* this process has killed it; "": it has not */
    tine_run_log *log; /* NULL: not known */
} coordinator_death;

/* The worker of a cancelled task, to be ended. */
typedef struct coordinator_end {
    tine_ready_link link; /* first; by when it is due */
    uint64_t task;
} coordinator_end;

/* A connection of `tine top`. */
typedef struct coordinator_observer {
    LIST_ENTRY(coordinator_observer) entry;
    tine_peer peer;
    int64_t since; /* questions are counted since then */
    unsigned questions;
} coordinator_observer;

struct tine_coordinator {
    tine_context context; /* first */

    pthread_mutex_t lock;  /* of all below, except what has a lock of its own */
    atomic_uint n_locking; /* threads that want the lock and wait for it */
    int64_t wanted_since;  /* as tine_coordinator_yield saw it; 0: no thread waited */
    pthread_cond_t lock_taken;
    tine_scheduler *scheduler;
    tine_link link;
    uint64_t last_flow;
    size_t max_pending, max_pending_bytes;
    size_t max_memory;   /* of a worker; 0: no limit */
    int64_t memory_look; /* when workers are looked at; 0: not decided yet */

    /* Who runs the event loop. */
    bool running;          /* a thread does */
    bool progress_running; /* it is the progress thread */
    bool blocked;          /* it is in the transport's wait, without the lock */
    unsigned n_preempting; /* threads that want the progress thread to stop */
    unsigned n_entering;   /* threads in tine_coordinator_enter */
    unsigned n_waiting;    /* threads in tine_coordinator_until */
    unsigned n_sleeping;   /* threads asleep on `changed` */
    uint64_t runs;         /* how often another thread than the progress thread began to run it */
    unsigned forks;        /* of the program, see tine_coordinator_receive_some */
    pthread_mutex_t change_lock;
    pthread_cond_t changed; /* to threads that wait while another runs the loop */
    uint64_t n_changes;     /* how often it was signalled */
    pthread_cond_t instance_made;

    pthread_t progress;
    pthread_cond_t progress_due;
    bool progress_started;
    bool progress_long_tick; /* it sleeps long, and is to be woken when the loop becomes free */

    size_t n_open;     /* forks that the scheduler has not completed yet */
    bool calling_back; /* callbacks are being run */
    bool stopping;
    bool stopped;            /* every future is done */
    unsigned start_failures; /* attempts in a row to replace local workers that failed */
    char start_reason[256];  /* what the last one's worker did */
    size_t awaited;          /* workers that tine_init waits for; 0: it has returned */
    /* when the log says, or says again, what is awaited; INT64_MAX: nothing is */
    int64_t tell_at;
    int64_t tell_ns; /* the time before that; 0: not said since a worker was last connected */
    STAILQ_HEAD(, coordinator_callback) callbacks;
    LIST_HEAD(, coordinator_death) deaths;
    tine_ready ends; /* most are due in the order in which they come */
    LIST_HEAD(, coordinator_observer) observers;
    tine_payload *snapshot;                /* the last one; NULL: none yet */
    int64_t began, snapshot_at, memory_at; /* memory_at: when workers were asked for theirs */
    bool memory_wanted;
    void (*unreachable)(uint32_t pid, const char *token);
    void (*end_task)(const char *token, uint64_t task);
    void (*end_worker)(uint32_t pid, const char *token, int flags);
    bool (*known_local)(uint32_t pid, const char *token);
    bool (*admits)(const char *token); /* NULL: all */
    /* where PONG and EVENTS go; NULL: they are dropped */
    void (*listener)(void *arg, tine_peer peer, const tine_message *m);
    void *listener_arg;

    pthread_mutex_t handles_lock;
    atomic_bool handles_changed; /* the list is not empty */
    struct coordinator_handle {
        tine_object id;
        int change; /* 1: one handle more on the object, -1: one less */
    } * handles;
    size_t n_handles, room_handles;
};

static inline tine_coordinator *coordinator_of(tine_context *c) { return (tine_coordinator *)c; }

/* ---- lock.c; all but lock are called with the lock ---- */

void tine_coordinator_lock(tine_coordinator *c);
void tine_coordinator_unlock(tine_coordinator *c); /* runs release callbacks that are due */
/* Releases the lock until something changes or `deadline` passes. It may return early. */
void tine_coordinator_sleep(tine_coordinator *c, int64_t deadline);
void tine_coordinator_changed(tine_coordinator *c); /* wakes those that sleep */
/* Between two turns: lets a thread that has waited long for the lock have it. */
void tine_coordinator_yield(tine_coordinator *c);

/* ---- loop.c; with the lock ---- */

/* Blocks until ready(arg), running the loop if no other thread does. Releases the lock while it
 * blocks. Errors: ETIMEDOUT past `deadline`; ESTATE inside a callback, which would wait for
 * itself; ECANCELED when stopped. */
tine_error tine_coordinator_until(tine_coordinator *c, bool (*ready)(void *arg), void *arg,
                                  int64_t deadline);
/* The same without a deadline, also inside a callback: then other callbacks wait. For what needs no
 * thread of the program. */
tine_error tine_coordinator_until_fetched(tine_coordinator *c, bool (*ready)(void *arg), void *arg);
/* Stops the progress thread if it runs the loop, so that what follows is sent by this thread.
 * Releases the lock meanwhile. In a callback it does nothing. */
void tine_coordinator_preempt(tine_coordinator *c);
/* Waits until no thread runs the loop and makes this thread the one that does, until leave.
 * Releases the lock meanwhile. In a callback, which the running thread calls, both do nothing. */
void tine_coordinator_enter(tine_coordinator *c);
void tine_coordinator_leave(tine_coordinator *c);
/* Receives what has come, unless another thread runs the loop. Does not block. */
void tine_coordinator_poll(tine_coordinator *c);
/* At each fork: receives at every n-th fork, so that a loop that forks does not delay results,
 * above all those that other forks need. */
void tine_coordinator_receive_some(tine_coordinator *c);
/* After calls to the scheduler: carries out its actions now, or leaves them to the thread that
 * runs the loop. */
void tine_coordinator_push(tine_coordinator *c);
/* fn(arg) is called by the thread that runs the loop, without the lock; at once where there is
 * no memory. */
void tine_coordinator_defer(tine_coordinator *c, void (*fn)(void *arg), void *arg);
/* Everything that can be done without blocking. True if anything was done. */
bool tine_coordinator_work(tine_coordinator *c);
/* One run through the loop: works, or blocks until there is work or `deadline` passes. */
void tine_coordinator_turn(tine_coordinator *c, int64_t deadline);
void tine_coordinator_announce(tine_coordinator *c); /* something has changed, outside the loop */

tine_error tine_coordinator_progress_start(tine_coordinator *c);
void tine_coordinator_progress_join(tine_coordinator *c); /* without the lock, after `stopping` */

/* Something waits for workers: the log says so if none has joined within a second. */
void tine_coordinator_expect(tine_coordinator *c);

/* ---- events.c; with the lock, by the thread that runs the loop ---- */

extern const tine_link_handler tine_coordinator_events;
/* Carries out the scheduler's actions; false: there was none. */
bool tine_coordinator_act(tine_coordinator *c);
/* Sends a message past the scheduler. */
void tine_coordinator_send(tine_coordinator *c, tine_peer peer, const tine_message *m);

/* ---- context.c, objects.c ---- */

extern const tine_context_ops tine_coordinator_ops;
/* Sets encoder, decoder and owner of the context. */
void tine_coordinator_objects_init(tine_coordinator *c);
tine_error tine_coordinator_object(tine_context *context, void *parent, const char *class_name,
                                   tine_payload *payload, tine_object *out);
tine_error tine_coordinator_object_payload(tine_context *context, tine_object id,
                                           tine_payload **payload, char **class_name);
bool tine_coordinator_object_gone(tine_context *context, tine_object id);
/* The coordinator that is told of handles on objects; NULL: none. */
void tine_coordinator_set_owner(tine_coordinator *c);
/* With the lock: tells the scheduler of changed handles. */
void tine_coordinator_count_handles(tine_coordinator *c);

/* ---- coordinator.c ---- */

tine_error tine_coordinator_over(void); /* ESTATE: shut down */
/* The sentence for the scheduler's refusal of `what` ("a fork"). */
tine_error tine_coordinator_refused(tine_error e, const char *what);
void tine_coordinator_delete(tine_coordinator *c); /* when the last future is gone */

/* ---- ending.c; with the lock ---- */

/* Workers are threads or ranks, which end with the program. */
bool tine_coordinator_cannot_end(const tine_coordinator *c);

void tine_coordinator_end_later(tine_coordinator *c, uint64_t task, uint64_t grace_ns);
int64_t tine_coordinator_ends_due(tine_coordinator *c); /* INT64_MAX: none is due */
void tine_coordinator_ends_run(tine_coordinator *c, int64_t now);
void tine_coordinator_ends_free(tine_coordinator *c);

/* ---- observers.c; with the lock, by the thread that runs the loop ---- */

/* Whether the message is one of an observer, and has been handled. */
bool tine_coordinator_observe(tine_coordinator *c, tine_peer peer, const tine_message *m);
/* Forgets an observer. False: the peer was none. */
bool tine_coordinator_observer_gone(tine_coordinator *c, tine_peer peer);
/* Whether this process has started the worker, and starts another one in its place. */
bool tine_coordinator_restarts(void *coordinator, const tine_worker_info *w);
/* Whether it was started by this process and its process is gone: its connection may not have ended
 * yet. */
bool tine_coordinator_has_ended(const tine_coordinator *c, const tine_worker_info *w);
/* The memory of workers is asked for: it is measured for a while from now on. */
void tine_coordinator_memory_want(tine_coordinator *c, int64_t now);
/* Asks the workers for their memory while it is measured. */
void tine_coordinator_memory_ask(tine_coordinator *c);
void tine_coordinator_observers_stop(tine_coordinator *c); /* tells them that the job ends */
void tine_coordinator_observers_free(tine_coordinator *c);

/* ---- memory.c; with the lock ---- */

int64_t tine_coordinator_memory_due(tine_coordinator *c); /* INT64_MAX: nothing runs */
void tine_coordinator_memory_look(tine_coordinator *c, int64_t now);

/* ---- deaths.c; with the lock ---- */

/* The local worker of this pid is about to be killed, and why. */
void tine_coordinator_death_reason(tine_coordinator *c, uint32_t pid, const char *why);

/* Whether the peer is the local worker that its HELLO claims to be. */
bool tine_coordinator_is_local(tine_coordinator *c, tine_peer peer, const tine_hello *h);
void tine_coordinator_peer_lost(tine_coordinator *c, tine_peer peer, const char *reason);
int64_t tine_coordinator_deaths_due(const tine_coordinator *c); /* INT64_MAX: none is under way */
void tine_coordinator_settle_deaths(tine_coordinator *c, int64_t now);
void tine_coordinator_deaths_free(tine_coordinator *c);

#endif
