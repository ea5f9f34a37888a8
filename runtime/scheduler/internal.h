/* The scheduler's structures, shared by its files: scheduler.c (events in), tasks.c (a task's
 * life), inputs.c (tasks whose arguments are results of others), dispatch.c (ready queues, credit,
 * choice), objects.c (objects and their holders), results.c (results as objects), cancel.c, peers.c
 * (connections, workers and what they serve), actions.c (actions out), text.c (sentences for users)
 * and check.c (invariants).
 *
 * Whatever is iterated is on a list or in an array, in the order of events; hash maps are only
 * looked up. So the same events lead to the same decisions. Small records come from
 * tine_scheduler_alloc, which aborts without memory: without its record a fork could never be
 * completed. */
#ifndef TINE_RUNTIME_SCHEDULER_INTERNAL_H
#define TINE_RUNTIME_SCHEDULER_INTERNAL_H

#include <sys/queue.h>

#include "runtime/scheduler/scheduler.h"
#include "transport/base/assert.h"
#include "transport/base/idmap.h"
#include "transport/base/ready.h"
#include "transport/base/recent.h"
#include "transport/base/ring.h"

enum {
    SCHED_TASK_CHUNK = 256, /* tasks are allocated in chunks, and never move */
    SCHED_GROUPS = 256,     /* different sets of names served at a time */
    SCHED_GROUP_WORDS = SCHED_GROUPS / 64,
    SCHED_IDLE_GROUPS = 16, /* sets of names kept that no worker serves now */
    /* callables without tasks whose mean is kept; past it the oldest are freed */
    SCHED_IDLE_CALLABLES = 1024,
    SCHED_LOOK_AHEAD = 16, /* ready tasks of one callable compared by the objects they need */
    SCHED_LOOK_REFS = 8,   /* objects of one task that count in that comparison */
    SCHED_MAX_SKIPS = 64,  /* times the oldest task may be passed over for a better placed one */
    /* objects of one worker on record before they arrive, or arrived out of order */
    SCHED_MAX_EARLY = 65536,
    SCHED_ACTIONS_KEEP = 1 << 20, /* bytes; bench_scheduler: a turn makes up to 2,000 actions */
    SCHED_MAX_NAMES = 65536,      /* functions, and classes, served by one worker */
    SCHED_LOAD_ONE = 1 << 20,     /* a worker's load when it has no credit left */
    SCHED_KEEP_BYTES = 1 << 16,   /* arguments kept for a task that may not have begun */
    SCHED_MAX_AHEAD = 64,         /* tasks at one worker whose inputs are not there yet */
    /* levels of the ready queues: tasks of priority 0 by depth, from SCHED_LEVEL on; below them
     * those of lower priority, above those of higher priority, each with SCHED_LEVEL_DEPTHS */
    SCHED_LEVEL = 128,
    SCHED_LEVEL_HIGH = 32768,
    SCHED_LEVEL_DEPTHS = 32,
};
/* object id: epoch of the worker that put it (0: this process), counter, module bit */
enum { SCHED_EPOCH_SHIFT = 40 };

typedef struct sched_worker sched_worker;
typedef struct sched_task sched_task;
typedef struct sched_callable sched_callable;
typedef struct sched_object sched_object;

TAILQ_HEAD(sched_task_queue, sched_task);
LIST_HEAD(sched_task_list, sched_task);
SLIST_HEAD(sched_task_stack, sched_task);
TAILQ_HEAD(sched_worker_queue, sched_worker);
TAILQ_HEAD(sched_callable_queue, sched_callable);
TAILQ_HEAD(sched_handshake_queue, sched_handshake);
TAILQ_HEAD(sched_object_queue, sched_object);
SLIST_HEAD(sched_object_stack, sched_object);

/* A set of names served. Workers with equal sets share one group; callables refer to groups, not to
 * workers. */
typedef struct sched_group {
    char **functions, **classes; /* sorted */
    uint32_t n_functions, n_classes, workers;
    /* n_joined when a worker last joined it: of the groups without workers the oldest is reused */
    uint64_t last_used;
    sched_worker **open; /* heap of the workers with credit, least loaded first */
    size_t n_open, room;
} sched_group;

/* A function, or a method of a class. Kept while tasks or actions use it, and for some time after
 * that for its mean. */
struct sched_callable {
    char *name, *method; /* method NULL: a function */
    char *display;       /* "neg", "lstm.forward" */
    uint64_t hash, uses;
    sched_callable *hash_next;          /* with the same hash */
    uint64_t serves[SCHED_GROUP_WORDS]; /* groups that serve it, also those without workers */
    bool stays;                         /* a result of it stayed at its worker */
    uint64_t mean_ns;                   /* moving average of its run time; 0: not known yet */
    tine_ready ready;
    TAILQ_ENTRY(sched_callable) link; /* in active while ready.n > 0, in idle while uses == 0 */
    TAILQ_ENTRY(sched_callable) all_link;
};

typedef enum sched_state {
    SCHED_FREE,
    SCHED_WAITING, /* for results of other tasks among its arguments */
    SCHED_READY,
    SCHED_RUNNING,
    SCHED_DEFERRED, /* its DONE has arrived before larger messages that it sent earlier */
    SCHED_KEPT,     /* it has ended; it is run again if its result is lost */
} sched_state;

/* A task's wait for an object that is the result of another one. */
typedef struct sched_input {
    TAILQ_ENTRY(sched_input) link;     /* of the object's inputs */
    LIST_ENTRY(sched_input) task_link; /* of the task's */
    sched_task *task;
    sched_object *object;
} sched_input;

/* What a fork asks for beyond its call. */
typedef struct sched_terms {
    uint32_t max_attempts;    /* as the config's; 0: that one */
    uint32_t failure_retries; /* left */
    char name[];              /* "": the callable's */
} sched_terms;

typedef struct sched_done { /* the content of a deferred DONE */
    tine_error status;
    tine_payload *payload;
    char *text;
    uint64_t expects;  /* SUBMIT and OBJECT messages that the attempt has sent */
    tine_object keeps; /* the result's id, if the worker keeps it */
} sched_done;

struct sched_task {
    tine_ready_link link; /* first; has order and depth, too */
    uint64_t id;          /* generation << 32 | slot + 1 */
    uint64_t ticket;      /* or the seq of the worker that forked it */
    uint64_t flow;
    uint64_t charge_ns, bytes;
    uint64_t received; /* SUBMIT and OBJECT messages of this attempt */
    sched_callable *callable;
    tine_payload *payload; /* NULL while it runs, if it cannot run again */
    tine_object object;    /* of the target */
    /* the worker that forked it; NULL: this process, or an orphan */
    sched_worker *owner;
    sched_worker *worker; /* where it runs */
    /* where it is to run before its inputs are there; NULL: not known, or it has been sent */
    sched_worker *aimed;
    TAILQ_ENTRY(sched_task) run_link; /* of worker->running, or of aimed->aims */
    tine_object result_id;            /* of its result; 0: a fork of a worker */
    sched_object *result;             /* NULL: nothing refers to it */
    LIST_HEAD(, sched_input) inputs;  /* that are not settled yet */
    uint32_t n_missing;               /* their number */
    uint64_t lost_results;            /* s->lost_results when it was queued */
    /* NULL: forked by this process, or its parent has ended (then it is in owner->detached) */
    sched_task *parent;
    struct sched_task_list children;
    LIST_ENTRY(sched_task) sibling;  /* le_prev NULL: in no list */
    SLIST_ENTRY(sched_task) stacked; /* of the free tasks, or of a walk without recursion */
    sched_done *done;                /* while deferred */
    sched_terms *terms;              /* NULL: none */
    /* objects held until it ends: put by it, or received in results of its forks */
    tine_object *holds;
    uint64_t sent_number; /* its number among the tasks sent to the worker */
    uint32_t n_holds, room_holds, attempt, flags;
    uint32_t uncounted; /* attempts that ended with a worker through no fault of this task */
    uint32_t suspected; /* the attempts among them that it may have ended */
    uint8_t state, skips;
    bool windowed; /* counts against its owner's window until it starts for the first time */
    bool suspended;
    bool ahead;     /* it runs, and has missing inputs: it does not count against credit */
    bool wanted;    /* its result, by this process */
    bool keeps;     /* its worker has its result */
    bool withheld;  /* its worker was told that nothing needs its result */
    bool reported;  /* to its owner: it runs again for its result alone, or is abandoned */
    bool abandoned; /* it was cancelled, or an input has failed, after it was sent */
    bool orphan;    /* its owner is lost: its result is dropped */
    bool cancelled; /* it, or one above it, was cancelled or is an orphan: so are its later forks */
    bool blamed;    /* its worker died while it ran, or a fork of it there */
};

struct sched_worker {
    tine_peer peer;
    uint32_t epoch, pid, slot;
    int32_t rank;
    char *host, *token, *kernel;
    sched_group *group;
    uint64_t tasks_sent, tasks_done;
    bool lost;
    bool flush_queued; /* in flush_queue: it has credit or drops to be sent */
    bool aim_queued;   /* in aim_queue: one of its aims may be sent */
    /* load: the largest share used of the three limits of credit */
    uint64_t load, load_ns, load_bytes;
    uint32_t outstanding; /* running tasks, which count against its credit */
    uint32_t suspended;   /* tasks that do not count, and resume when what they wait for arrives */
    size_t heap_at;       /* in group->open, from 1; 0: no credit */
    struct sched_task_queue running;
    struct sched_task_queue aims;
    uint32_t n_ahead; /* running tasks with missing inputs, and their load if they had none */
    uint64_t ahead_ns, ahead_bytes;
    struct sched_task_list detached; /* forks whose parents have ended */
    /* the window is the sum: what it may still fork, forks not yet started, and what the next
     * CREDIT grants */
    uint32_t window_left, unstarted, ungranted;
    uint64_t *drops;
    size_t n_drops, room_drops;
    /* Objects 1..put_low have arrived, and those in put_early, sorted. */
    uint64_t put_low, *put_early;
    size_t n_early, room_early;
    size_t n_expected;   /* objects on record that have not arrived */
    tine_recent cancels; /* of forks that have not arrived */
    TAILQ_ENTRY(sched_worker) link;
    TAILQ_ENTRY(sched_worker) flush_link;
    TAILQ_ENTRY(sched_worker) aim_link;
};

/* A connection whose HELLO has not been accepted. */
typedef struct sched_handshake {
    tine_peer peer;
    int64_t deadline;
    bool rejected;
    TAILQ_ENTRY(sched_handshake) link;
} sched_handshake;

typedef struct sched_peer { /* in s->peers: one of the two */
    sched_handshake *handshake;
    sched_worker *worker;
} sched_peer;

typedef enum sched_object_state {
    SCHED_OBJECT_PRESENT,
    SCHED_OBJECT_EXPECTED, /* referenced by its worker, whose OBJECT has not arrived */
    SCHED_OBJECT_PENDING,  /* the result of a task that has not ended */
    SCHED_OBJECT_REMOTE,   /* a result that only workers have */
    SCHED_OBJECT_FAILED,   /* status, text: there is none */
} sched_object_state;

struct sched_object {
    tine_object id;
    sched_object_state state;
    char *class_name;
    tine_payload *payload;
    size_t bytes;              /* of the payload */
    uint64_t holders, handles; /* handles: those of the holders that are this process's */
    /* workers by slot: that have it, that wait for it, that hold it */
    uint64_t *replicas, *fetchers, *keepers;
    size_t words; /* of each of the three */
    tine_error status;
    char *text;
    char *name;           /* of the task whose result it is, once it stays at a worker */
    sched_task *producer; /* that makes, or made it; NULL: none, or it cannot run again */
    TAILQ_HEAD(, sched_input) inputs; /* of tasks that wait for it */
    uint32_t asked;                   /* epoch of the worker that was sent a FETCH; 0: none */
    bool wanted;                      /* by this process */
    bool settling;                    /* in s->settled */
    uint64_t walked;                  /* the last walk that has met it */
    TAILQ_ENTRY(sched_object) link;
    SLIST_ENTRY(sched_object) stacked;
    STAILQ_ENTRY(sched_object) settle_link;
    uint64_t counted; /* by tine_scheduler_check */
};

/* What an action's message points to. */
typedef struct sched_owned {
    sched_callable *callable; /* in use for the names */
    tine_payload *payload;
    void *memory; /* text or ids */
} sched_owned;

typedef struct sched_action {
    tine_scheduler_action a;
    sched_owned owned;
} sched_action;

struct tine_scheduler {
    tine_scheduler_config config;
    bool trace, stopped;
    double ns_to_load, bytes_to_load, tasks_to_load; /* see SCHED_LOAD_ONE */
    uint64_t last_order, last_object, n_joined;
    uint32_t most_workers; /* that were there at a time */
    uint32_t last_epoch;
    tine_scheduler_stats stats;

    sched_task **chunks; /* of SCHED_TASK_CHUNK tasks each */
    size_t n_chunks, room_chunks;
    struct sched_task_stack free_tasks;

    tine_idmap callables; /* by hash of name and method */
    sched_callable *last_callable;
    struct sched_callable_queue all, active, idle;
    size_t n_idle;

    sched_group groups[SCHED_GROUPS];
    size_t n_groups;
    tine_idmap peers;
    struct sched_handshake_queue handshakes;
    struct sched_worker_queue workers, flush_queue, aim_queue;
    sched_worker **slots;
    size_t n_slots;

    tine_idmap objects;
    struct sched_object_queue object_list;
    sched_object *found;                 /* by the last lookup; may be NULL */
    STAILQ_HEAD(, sched_object) settled; /* whose inputs are to be told */
    uint64_t walks;
    uint64_t lost_results; /* how often a result was lost: ready tasks may need it */

    tine_ring actions;
    sched_owned taken; /* of the last action taken */
};

/* actions.c */
void *tine_scheduler_alloc(size_t size); /* zeroed */
/* to at least `need` items */
void *tine_scheduler_grow(void *array, size_t *room, size_t need, size_t item_size);
char *tine_scheduler_copy(const char *text); /* NULL gives "" */
/* A zeroed action, valid until the next one is pushed. */
sched_action *tine_scheduler_push(tine_scheduler *s, tine_scheduler_action_kind kind);
sched_action *tine_scheduler_send(tine_scheduler *s, tine_peer peer, tine_message_type type);
void tine_scheduler_log(tine_scheduler *s, int level, char *text); /* takes text */
void tine_scheduler_flush_drops(tine_scheduler *s, sched_worker *w);
void tine_scheduler_flush_enqueue(tine_scheduler *s, sched_worker *w);
void tine_scheduler_flush_dequeue(tine_scheduler *s, sched_worker *w);
void tine_scheduler_actions_free(tine_scheduler *s);

/* text.c: malloc'ed sentences */
char *tine_scheduler_text(const char *format, ...) __attribute__((format(printf, 1, 2)));
char *tine_scheduler_text_failed(const tine_scheduler *s, const sched_task *t,
                                 const sched_worker *w, const char *cause);
char *tine_scheduler_text_lost(const tine_scheduler *s, const sched_task *t, const sched_worker *w,
                               const char *reason);
char *tine_scheduler_text_result_lost(const sched_object *o, const sched_worker *w,
                                      const char *reason);
char *tine_scheduler_text_unserved(const sched_task *t);
char *tine_scheduler_text_cancelled(const sched_task *t, const char *why);
char *tine_scheduler_text_unknown(const tine_scheduler *s, const sched_callable *c);

/* tasks.c */
/* Every task, free ones too, by its slot. */
static inline size_t tine_scheduler_task_slots(const tine_scheduler *s) {
    return s->n_chunks * SCHED_TASK_CHUNK;
}
static inline sched_task *tine_scheduler_task_at(const tine_scheduler *s, size_t slot) {
    return &s->chunks[slot / SCHED_TASK_CHUNK][slot % SCHED_TASK_CHUNK];
}
sched_task *tine_scheduler_task_find(const tine_scheduler *s, uint64_t id);
sched_task *tine_scheduler_task_new(tine_scheduler *s, const tine_target *target, uint32_t flags,
                                    tine_payload *payload, const tine_terms *terms);
/* For users: its own, or that of what it calls. */
static inline const char *tine_scheduler_task_name(const sched_task *t) {
    return t->terms && t->terms->name[0] ? t->terms->name : t->callable->display;
}
/* Makes the child a fork of parent, or, with NULL, a detached one of its owner. */
void tine_scheduler_task_adopt(sched_task *parent, sched_task *child);
void tine_scheduler_task_hold(tine_scheduler *s, sched_task *t, tine_object id);
/* Completes t towards its owner, exactly once, and frees it, or keeps it to be run again. Takes
 * text; payload stays the caller's: NULL with TINE_OK where its worker keeps the result. */
void tine_scheduler_task_end(tine_scheduler *s, sched_task *t, tine_error status,
                             tine_payload *payload, char *text);
/* Completes a task that was sent, and has not begun, before its DONE. Takes text. */
void tine_scheduler_task_abandon(tine_scheduler *s, sched_task *t, tine_error status, char *text);
/* A kept task is queued again. False: its arguments are gone. */
bool tine_scheduler_task_repeat(tine_scheduler *s, sched_task *t);
void tine_scheduler_task_forget(tine_scheduler *s, sched_task *t); /* a kept one */
void tine_scheduler_task_started(tine_scheduler *s, sched_task *t, sched_worker *w);
void tine_scheduler_task_suspend(tine_scheduler *s, sched_task *t);
void tine_scheduler_task_orphan(tine_scheduler *s, sched_task *t); /* its owner is lost */
/* Whether it counts for the task that its worker was lost. */
typedef enum sched_part {
    SCHED_PART_SUSPECT, /* one of several that may have been the cause */
    SCHED_PART_BLAMED,  /* counts */
    SCHED_PART_BEGUN,   /* lost through no fault of its own */
    SCHED_PART_QUEUED,  /* had not begun */
} sched_part;
void tine_scheduler_task_lost(tine_scheduler *s, sched_task *t, const sched_worker *w,
                              sched_part part, const char *reason);
void tine_scheduler_task_done(tine_scheduler *s, sched_task *t, const tine_message *m);
/* Counts a SUBMIT or OBJECT of its attempt; the last one releases a deferred DONE. */
void tine_scheduler_task_received(tine_scheduler *s, sched_task *t);
/* Of a task that is repeatable, its losses that count. */
uint32_t tine_scheduler_max_attempts(const tine_scheduler *s, const sched_task *t);
void tine_scheduler_tasks_cancel(tine_scheduler *s); /* all of them, with ECANCELED */
void tine_scheduler_tasks_free(tine_scheduler *s);

/* inputs.c */
/* The objects that the arguments mention, also where they were freed. */
uint32_t tine_scheduler_task_refs(const sched_task *t, const tine_object **refs);
/* Begins to wait for the results among its arguments. The object is one that has failed: the task
 * is to end with its error. NULL: n_missing says how many are to come. */
const sched_object *tine_scheduler_inputs_await(tine_scheduler *s, sched_task *t);
void tine_scheduler_inputs_forget(tine_scheduler *s, sched_task *t);
/* The object is not pending any more, or has failed: its inputs are told. */
void tine_scheduler_inputs_settle(tine_scheduler *s, sched_object *o);
/* Its arguments, or a result that it holds, have failed: which one. */
const sched_object *tine_scheduler_inputs_failed(tine_scheduler *s, const sched_task *t);
/* Chooses a worker for a waiting task, if each of its missing inputs is being made. */
void tine_scheduler_aim(tine_scheduler *s, sched_task *t);
void tine_scheduler_aim_drop(sched_task *t);
void tine_scheduler_aim_lost(tine_scheduler *s, sched_worker *w);
void tine_scheduler_aim_enqueue(tine_scheduler *s, sched_worker *w);
void tine_scheduler_aim_dequeue(tine_scheduler *s, sched_worker *w);
bool tine_scheduler_aim_send(tine_scheduler *s); /* false: no aimed task can be sent */
/* A task that is about to be sent to w, with inputs missing; it stops, or its inputs are there and
 * it counts from now on. */
void tine_scheduler_ahead_begin(tine_scheduler *s, sched_task *t, sched_worker *w);
void tine_scheduler_ahead_leave(tine_scheduler *s, sched_task *t);
void tine_scheduler_ahead_end(tine_scheduler *s, sched_task *t);
/* A result that was there is pending again. */
void tine_scheduler_inputs_pend(tine_scheduler *s, sched_object *o);

/* cancel.c */
/* Ends it towards its owner with `status` and takes `text`. One that runs stays at its worker. */
void tine_scheduler_task_cancel(tine_scheduler *s, sched_task *t, tine_error status, char *text,
                                uint64_t grace_ns);
/* The forks of t, which runs, and those below them. */
void tine_scheduler_cancel_forks(tine_scheduler *s, sched_task *t, const char *why);
void tine_scheduler_cancel_message(tine_scheduler *s, sched_worker *w, const tine_message *m);

/* dispatch.c */
bool tine_scheduler_serves(const tine_scheduler *s, const sched_worker *w, const sched_callable *c);
uint64_t tine_scheduler_expected_ns(const tine_scheduler *s, const sched_callable *c);
void tine_scheduler_charge(tine_scheduler *s, sched_task *t, sched_worker *w);
void tine_scheduler_start(tine_scheduler *s, sched_task *t, sched_worker *w);
/* Counts, or no longer counts, the arguments of a task that has not started. */
void tine_scheduler_pending_bytes(tine_scheduler *s, const sched_task *t, bool more);
void tine_scheduler_waiting_end(tine_scheduler *s, sched_task *t);
sched_callable *tine_scheduler_callable_get(tine_scheduler *s, const char *name,
                                            const char *method);
void tine_scheduler_callable_unuse(tine_scheduler *s, sched_callable *c);
void tine_scheduler_callable_free(tine_scheduler *s, sched_callable *c);
void tine_scheduler_callable_measure(sched_callable *c, uint64_t run_ns);
/* Ends the task instead when no worker can serve it, now or later. */
void tine_scheduler_enqueue(tine_scheduler *s, sched_task *t);
void tine_scheduler_dequeue(tine_scheduler *s, sched_task *t);
/* The task no longer counts against its owner's window. */
void tine_scheduler_leave_window(tine_scheduler *s, sched_task *t);
void tine_scheduler_uncharge(tine_scheduler *s, sched_task *t);
/* Its load has changed: updates its place in its group's heap. */
void tine_scheduler_worker_update(tine_scheduler *s, sched_worker *w);
void tine_scheduler_sweep(tine_scheduler *s); /* ends ready tasks that no worker can serve */
void tine_scheduler_dispatch(tine_scheduler *s);

/* objects.c */
sched_object *tine_scheduler_object_new(tine_scheduler *s, tine_object id,
                                        sched_object_state state);
void tine_scheduler_object_replica(sched_object *o, const sched_worker *w); /* w has it */
void tine_scheduler_object_unreplica(sched_object *o, const sched_worker *w);
bool tine_scheduler_object_anywhere(const sched_object *o);
void tine_scheduler_object_wait(sched_object *o, const sched_worker *w); /* it is sent once there */
void tine_scheduler_object_fail(sched_object *o, tine_error status, const char *text);
void tine_scheduler_object_answer(tine_scheduler *s, sched_object *o); /* those that wait */
void tine_scheduler_object_drop_at(tine_scheduler *s, sched_worker *w, tine_object id);
/* Sends w the values that the task mentions and w does not have, now or once they are there. */
void tine_scheduler_objects_push(tine_scheduler *s, const sched_task *t, sched_worker *w);
sched_object *tine_scheduler_object_find(tine_scheduler *s, tine_object id);
/* Are all objects that the payload and the target reference present or, when w is not NULL,
 * expected from it? */
bool tine_scheduler_refs_known(tine_scheduler *s, sched_worker *w, const tine_payload *p,
                               tine_object target);
void tine_scheduler_hold(tine_scheduler *s, tine_object id);
void tine_scheduler_unhold(tine_scheduler *s, tine_object id);
void tine_scheduler_hold_refs(tine_scheduler *s, const tine_payload *p);
void tine_scheduler_unhold_refs(tine_scheduler *s, const tine_payload *p);
bool tine_scheduler_object_replica_at(const sched_object *o, const sched_worker *w);
void tine_scheduler_object_fetch(tine_scheduler *s, sched_worker *w, tine_object id);
/* Why the message breaks the protocol, or NULL. */
const char *tine_scheduler_object_arrived(tine_scheduler *s, sched_worker *w,
                                          const tine_message *m);
/* The worker holds the object, or does so no more. */
void tine_scheduler_object_keep(tine_scheduler *s, sched_worker *w, tine_object id, bool keep);
void tine_scheduler_objects_unkeep(tine_scheduler *s, sched_worker *w); /* it holds none any more */
void tine_scheduler_objects_lost(tine_scheduler *s, sched_worker *w, const char *reason);
void tine_scheduler_objects_free(tine_scheduler *s);

/* results.c */
/* The task has ended: its result as an object, with a hold, whose inputs are to be settled; NULL:
 * nothing refers to it. `payload` NULL with TINE_OK: it stays at the worker. */
sched_object *tine_scheduler_result_made(tine_scheduler *s, sched_task *t, tine_error status,
                                         tine_payload *payload, const char *text);
/* Tells the worker that runs the task that its result is wanted. */
void tine_scheduler_result_ask(tine_scheduler *s, const sched_task *t);
void tine_scheduler_result_request(tine_scheduler *s, sched_object *o); /* from a worker */
/* Why the message breaks the protocol, or NULL. */
const char *tine_scheduler_result_arrived(tine_scheduler *s, sched_worker *w,
                                          const tine_message *m);
/* w is lost, or does not have the result: it is fetched elsewhere, or made again, or has failed. */
void tine_scheduler_result_lost(tine_scheduler *s, sched_object *o, const sched_worker *w,
                                const char *reason);

/* peers.c */
void tine_scheduler_hello(tine_scheduler *s, sched_handshake *g, const tine_hello *hello,
                          int64_t now);
void tine_scheduler_drop(tine_scheduler *s, tine_peer peer, bool bad, const char *why);
sched_peer *tine_scheduler_peer(const tine_scheduler *s, tine_peer peer);
void tine_scheduler_handshake_free(tine_scheduler *s, sched_handshake *g);
void tine_scheduler_worker_free(tine_scheduler *s, sched_worker *w);
void tine_scheduler_group_fini(sched_group *g);
bool tine_scheduler_group_serves(const sched_group *g, const sched_callable *c);

#endif
