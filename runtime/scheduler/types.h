/* The scheduler's structures: groups and workers, callables, tasks, objects, actions.
 *
 * Whatever is iterated is on a list or in an array, in the order of events; hash maps are only
 * looked up. So the same events lead to the same decisions. */
#ifndef TINE_RUNTIME_SCHEDULER_TYPES_H
#define TINE_RUNTIME_SCHEDULER_TYPES_H

#include <sys/queue.h>

#include "runtime/scheduler/scheduler.h"
#include "runtime/wire/resources.h"
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
    /* A task that is expected to take less than to wake a worker for it, 5 to 50 us, and how much
     * of such tasks a worker has before the next is woken (tine bench fork with 16 workers and more
     * on 2 cores). */
    SCHED_SHORT_NS = 20000,
    SCHED_FILL_NS = 100000,
    SCHED_FILL_TASKS = 32,
    SCHED_FILL_AGE_NS = 50000000, /* since it has shown progress: its task is long this time */
    SCHED_MAX_AHEAD = 64,         /* tasks at one worker whose inputs are not there yet */
    SCHED_BEHIND_MAX = 4, /* tasks of one worker that count as more than enough: see demand.c */
    /* levels of the ready queues: tasks of priority 0 by depth, from SCHED_LEVEL on; below them
     * those of lower priority, above those of higher priority, each with SCHED_LEVEL_DEPTHS */
    SCHED_LEVEL = 128,
    SCHED_LEVEL_HIGH = 32768,
    SCHED_LEVEL_DEPTHS = 32,
    SCHED_FAILURES = 16, /* kept for observers */
    SCHED_FOUND = 8,     /* objects that were looked up last: more than most tasks mention */
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

/* Workers by load, the least loaded one first. */
typedef struct sched_heap {
    sched_worker **of;
    size_t n, room;
} sched_heap;

typedef enum sched_heap_kind {
    SCHED_OPEN,   /* those with credit */
    SCHED_GIVERS, /* of these, those that may give slots (slots.c) */
    SCHED_HEAPS
} sched_heap_kind;

/* A set of names served, of labels, and of slots. Workers with equal sets share one group;
 * callables refer to groups, not to workers. */
typedef struct sched_group {
    char **functions, **classes, **labels; /* sorted */
    uint32_t n_functions, n_classes, n_labels, workers;
    char *slots_text;      /* as the workers say it */
    tine_resources *slots; /* NULL: none */
    /* n_joined when a worker last joined it: of the groups without workers the oldest is reused */
    uint64_t last_used;
    sched_heap heaps[SCHED_HEAPS];
    sched_worker *filled; /* the last that was given a task; NULL: it has gone */
} sched_group;

/* A function, or a method of a class, and where it may run. Kept while tasks or actions use it, and
 * for some time after that for its mean. */
struct sched_callable {
    char *name, *method;   /* method NULL: a function */
    char *label;           /* only on workers that have it; NULL: anywhere */
    char *resources;       /* what a task takes of its worker, "disk=1,gpu=2"; NULL: nothing */
    tine_resources *takes; /* the same, read */
    bool chosen;           /* not all workers will do: it has one of the two */
    bool starved;          /* no worker has what it takes, apart from those in offer_queue */
    char *display;         /* "neg", "lstm.forward" */
    uint64_t hash, uses;
    sched_callable *hash_next;              /* with the same hash */
    uint64_t serves[SCHED_GROUP_WORDS];     /* groups that serve it, also those without workers */
    bool stays;                             /* a result of it stayed at its worker */
    bool told;                              /* the log says that no worker has what it asks for */
    uint64_t mean_ns;                       /* moving average of its run time; 0: not known yet */
    uint64_t running, done, failed, run_ns; /* for observers */
    tine_ready ready;
    /* in active, or in wanting, while ready.n > 0, in idle while uses == 0 */
    TAILQ_ENTRY(sched_callable) link;
    TAILQ_ENTRY(sched_callable) all_link;
};

typedef enum sched_state {
    SCHED_FREE,
    SCHED_WAITING, /* for results of other tasks among its arguments */
    SCHED_TURN,    /* for earlier calls of its module, which has one instance */
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

/* See arrivals.c. Zeroed: none. */
typedef struct sched_arrivals {
    uint64_t low, *early;
    size_t n, room;
} sched_arrivals;

typedef struct sched_stream {
    uint64_t limit; /* the owner takes the values up to this one; 0: the task is no stream */
    sched_arrivals arrivals; /* of its values, from whichever attempt */
} sched_stream;

/* Of a module with one instance. */
typedef struct sched_single {
    sched_worker *worker; /* where the instance is; NULL: there is none */
    sched_task *current;  /* whose turn it is */
    struct sched_task_queue queue;
    char *lost; /* why no call runs any more */
    bool renew; /* it may be made anew */
    bool used;  /* another call has started at `worker` before the current one */
    bool due;   /* in turns: the next turn is to begin */
    LIST_ENTRY(sched_single) link;
    TAILQ_ENTRY(sched_single) turn_link;
} sched_single;

/* A call that every worker runs. */
typedef struct sched_initialiser {
    uint64_t ticket;
    uint32_t left, flags; /* left: of the workers that were there, those that have not run it */
    uint32_t joining;     /* workers that have joined since and run it now */
    tine_error status;    /* the first failure among those that were there; then it is withdrawn */
    char *text;
    sched_callable *callable;
    tine_payload *payload;
    STAILQ_ENTRY(sched_initialiser) link;
} sched_initialiser;

/* What a fork asks for beyond its call. */
typedef struct sched_terms {
    sched_stream stream;
    uint32_t max_attempts;          /* as the config's; 0: that one */
    uint32_t failure_retries;       /* left */
    uint32_t worker;                /* the epoch of the only worker that may run it; 0: any */
    bool timed;                     /* it has a deadline at its owner, this process */
    bool joins;                     /* of an initialiser: its worker has joined since */
    sched_worker *slots_of;         /* whose slots it has taken; NULL: none, or not yet */
    bool retook;                    /* them after it had given them back: there may be too few */
    sched_initialiser *initialiser; /* NULL: it is none */
    char name[];                    /* "": the callable's */
} sched_terms;

typedef struct sched_done { /* the content of a deferred DONE */
    tine_error status;
    tine_payload *payload;
    char *text;
    uint64_t expects;  /* SUBMIT, OBJECT and YIELD messages that the attempt has sent */
    tine_object keeps; /* the result's id, if the worker keeps it */
} sched_done;

struct sched_task {
    tine_ready_link link; /* first; has order and depth, too */
    uint64_t id;          /* generation << 32 | slot + 1 */
    uint64_t ticket;      /* or the seq of the worker that forked it */
    uint64_t flow;
    uint64_t charge_ns, bytes;
    int64_t ends_at;         /* expected, once its worker is chosen */
    int64_t forked, started; /* s->now when it was made, and sent */
    uint64_t received;       /* SUBMIT, OBJECT and YIELD messages of this attempt */
    sched_callable *callable;
    tine_payload *payload; /* NULL while it runs, if it cannot run again */
    tine_object object;    /* of the target */
    /* the worker that forked it; NULL: this process, or an orphan */
    sched_worker *owner;
    sched_worker *worker; /* where it runs */
    /* where it is to run before its inputs are there; NULL: not known, or it has been sent */
    sched_worker *aimed;
    sched_worker *pinned; /* in whose ready queues it is; NULL: in its callable's, or in none */
    /* of worker->running, of aimed->aims, or of the queue of a module with one instance */
    TAILQ_ENTRY(sched_task) run_link;
    tine_object result_id;           /* of its result; 0: a fork of a worker */
    sched_object *result;            /* NULL: nothing refers to it */
    LIST_HEAD(, sched_input) inputs; /* that are not settled yet */
    uint32_t n_missing;              /* their number */
    uint64_t lost_results;           /* s->lost_results when its inputs were looked up */
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
    uint32_t unmarked;  /* inputs whose tasks are not marked as live, see deadlock.c */
    uint8_t state, skips;
    bool live, walked; /* marks of deadlock.c and of cycle.c */
    bool windowed;     /* counts against its owner's window until it starts for the first time */
    bool suspended;
    bool ahead;      /* it runs, and has missing inputs: it does not count against credit */
    bool wanted;     /* its result, by this process */
    bool keeps;      /* its worker has its result */
    bool withheld;   /* its worker was told that nothing needs its result */
    bool reach_told; /* its worker was told that other tasks take its result */
    bool reported;   /* to its owner: it runs again for its result alone, or is abandoned */
    bool abandoned;  /* it was cancelled, or an input has failed, after it was sent */
    bool orphan;     /* its owner is lost: its result is dropped */
    bool cancelled; /* it, or one above it, was cancelled or is an orphan: refuse its later forks */
    bool blamed;    /* its worker died while it ran, or a fork of it there */
    bool yields;    /* this attempt does: its worker is told how many values are taken */
};

/* Why a worker with credit gets no task but those that are pinned to it. */
enum {
    SCHED_CLOSED_LOST = 1,
    SCHED_CLOSED_DRAINING = 2, /* the first pinned task needs more credit */
    SCHED_CLOSED_NEW = 4,      /* its initialisers have not ended */
    SCHED_CLOSED_ENDING = 8,   /* it ends when its tasks have */
    SCHED_CLOSED_HELD = 16,    /* by tine_scheduler_worker_hold */
    SCHED_CLOSED_SILENT = 32,  /* by tine_scheduler_worker_silent */
    SCHED_CLOSED_PAUSED = SCHED_CLOSED_HELD | SCHED_CLOSED_SILENT, /* not even those */
};

/* Ready tasks of one callable that take slots of one worker, which they name. */
typedef struct sched_want {
    const sched_callable *callable;
    tine_ready ready; /* not empty */
    TAILQ_ENTRY(sched_want) link;
} sched_want;

struct sched_worker {
    tine_peer peer;
    uint32_t epoch, pid, slot;
    int32_t rank;
    char *host, *token, *kernel;
    sched_group *group;
    uint64_t tasks_sent, tasks_done;
    /* for observers: when it joined, when one of its tasks last ended or was suspended */
    int64_t joined, turned;
    uint64_t bytes_in, bytes_out, memory;
    /* where other workers fetch results from it, "": nowhere, but it can fetch; NULL: it cannot */
    char *reach;
    uint64_t reach_secret;
    bool unreachable; /* one of them could not, since it was last silent */
    /* workers, by slot: that a direct way to was asked for, that there is one to, and that there
     * is none to any more (pass.c) */
    uint64_t asked, paired, parted;
    bool lost;
    bool stopped;          /* it was told to STOP */
    bool leaves;           /* by itself (LEAVE) */
    bool retired;          /* no other one comes in its place */
    uint32_t initialising; /* initialisers that it has not run yet */
    char *refused;         /* why it is to be dropped; NULL: it is not */
    uint8_t closed;        /* SCHED_CLOSED_… */
    bool pin_queued;       /* in pin_queue: the first pinned task may be able to start */
    bool flush_queued;     /* in flush_queue: it has credit or drops to be sent */
    bool aim_queued;       /* in aim_queue: one of its aims may be sent */
    bool offer_queued;     /* in offer_queue: it may have slots to give to a task */
    bool saves;            /* its free slots, for a task that needs more */
    /* it keeps nested forks for itself, and sends the oldest ones while submits < allowed */
    bool keeps, demand_queued;
    uint64_t submits, allowed;
    /* load: the largest share used of the three limits of credit */
    uint64_t load, load_ns, load_bytes;
    uint32_t outstanding; /* running tasks, which count against its credit */
    uint32_t suspended;   /* tasks that do not count, and resume when what they wait for arrives */
    size_t heap_at[SCHED_HEAPS];      /* in group->heaps, from 1; 0: it is not there */
    tine_ready pinned;                /* ready tasks that run here only */
    TAILQ_HEAD(, sched_want) wanting; /* the same, which wait for slots */
    sched_task *granted; /* the one of the pinned tasks that has taken slots; NULL: none has */
    uint64_t *taken;     /* of each of group->slots; NULL: there are none */
    struct sched_task_queue running;
    struct sched_task_queue aims;
    LIST_HEAD(, sched_single) singles; /* modules with one instance, which is here */
    uint32_t n_ahead; /* running tasks with missing inputs, and their load if they had none */
    uint64_t ahead_ns, ahead_bytes;
    int64_t free_at; /* when it is expected to have done what it has, aims included; 0: now */
    struct sched_task_list detached; /* forks whose parents have ended */
    /* the window is the sum: what it may still fork, forks not yet started, and what the next
     * CREDIT grants */
    uint32_t window_left, unstarted, ungranted;
    uint64_t *drops;
    size_t n_drops, room_drops;
    uint64_t *passes; /* of the next PASS */
    size_t n_passes, room_passes;
    sched_arrivals puts; /* of its objects */
    size_t n_expected;   /* objects on record that have not arrived */
    tine_recent cancels; /* of forks that have not arrived */
    /* see deadlock.c: messages so far; how many there were when it said last that only a message
     * can make it go on (told_received 0: it did not); the forks, by seq, that it waited for */
    uint64_t n_sent, n_received, told_sent, told_received, *awaited;
    size_t n_awaited;
    bool pinged;      /* and has not answered */
    bool live, gives; /* marks: something there can go on, and has some of its slots */
    TAILQ_ENTRY(sched_worker) link;
    TAILQ_ENTRY(sched_worker) flush_link;
    TAILQ_ENTRY(sched_worker) aim_link;
    TAILQ_ENTRY(sched_worker) pin_link;
    TAILQ_ENTRY(sched_worker) demand_link;
    TAILQ_ENTRY(sched_worker) offer_link;
    TAILQ_ENTRY(sched_worker) saving_link;
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
    /* workers by slot: that have it, that wait for it, that hold it; and of those that have it,
     * those to which another one has passed it, where that has not shown yet (pass.c) */
    uint64_t *replicas, *fetchers, *keepers, *passed;
    size_t words;      /* of each of the four */
    uint64_t first[4]; /* where they are while there is one */
    tine_error status;
    char *text;
    char *name;           /* of the task whose result it is, once it stays at a worker */
    sched_single *single; /* of a module with one instance that was called */
    sched_task *producer; /* that makes, or made it; NULL: none, or it cannot run again */
    TAILQ_HEAD(, sched_input) inputs; /* of tasks that wait for it */
    uint32_t asked;                   /* epoch of the worker that was sent a FETCH; 0: none */
    sched_worker *source;             /* where workers fetch it (reach.c); NULL: from here */
    bool wanted;                      /* by this process */
    bool insisted;   /* it is sent to all that wait for it, whatever its DONE says */
    bool settling;   /* in s->settled */
    bool answering;  /* in s->answers */
    uint64_t walked; /* the last walk that has met it */
    TAILQ_ENTRY(sched_object) link;
    SLIST_ENTRY(sched_object) stacked;
    STAILQ_ENTRY(sched_object) settle_link;
    TAILQ_ENTRY(sched_object) answer_link;
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
    struct sched_callable_queue wanting; /* those whose ready tasks wait for slots */
    uint64_t n_wanting; /* ready tasks that wait for slots, of a worker or of any */
    uint64_t n_behind;  /* running tasks beside the first, SCHED_BEHIND_MAX at most of a worker */
    size_t n_idle;
    uint32_t n_busy; /* workers with outstanding tasks */

    sched_group groups[SCHED_GROUPS];
    size_t n_groups;
    tine_idmap peers;
    struct sched_handshake_queue handshakes;
    struct sched_worker_queue workers, flush_queue, aim_queue, pin_queue;
    struct sched_worker_queue demand_queue; /* that may be asked for more of their forks */
    struct sched_worker_queue offer_queue;
    struct sched_worker_queue saving; /* that save their slots */
    tine_idmap epochs;                /* workers by their epoch */
    sched_worker **slots;
    size_t n_slots;
    size_t slots_taken; /* from the first one on: none of these is free */
    TAILQ_HEAD(, sched_single) turns;
    STAILQ_HEAD(, sched_initialiser) initialisers;
    char *refusal;      /* why the last worker that has joined was dropped; NULL: it was not */
    uint32_t n_leaving; /* workers that are to be dropped, or ended */

    tine_idmap objects;
    struct sched_object_queue object_list;
    sched_object *found[SCHED_FOUND];    /* by the last lookups; may be NULL */
    STAILQ_HEAD(, sched_object) settled; /* whose inputs are to be told */
    struct sched_object_queue answers;   /* that are to be sent to those that wait for them */
    uint64_t walks;
    uint64_t lost_results; /* how often a result was lost: tasks not sent yet may need it */

    /* for deadlocks; still: nothing has happened since the last look; told: a PONG has come */
    int64_t look_at;
    uint32_t n_pinged; /* workers that have not answered */
    bool still, told, look_again;
    bool at_rest; /* nothing has happened since a look that found none, and never will by itself */
    int64_t now;  /* see tine_scheduler_time */
    tine_failure_info failures[SCHED_FAILURES]; /* a ring */
    uint64_t n_failures;                        /* ever */

    tine_ring actions;
    sched_owned taken; /* of the last action taken */
};

#endif
