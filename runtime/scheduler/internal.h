/* The scheduler's structures, shared by its files: scheduler.c (events in), sched_tasks.c (life of
 * a task), sched_sched.c (ready queues, credit, choice), sched_objects.c (objects and their
 * holders), sched_peers.c (workers, what they serve, hello and loss), sched_actions.c (actions out)
 * and sched_text.c (the sentences that users read).
 *
 * Whatever is iterated lies in a list or an array in the order of events; hash maps only look up.
 * Small records come from tine_scheduler_alloc, which ends the process without memory: a scheduler
 * that lost a record could not keep its promises. */
#ifndef TINE_RUNTIME_SCHEDULER_INTERNAL_H
#define TINE_RUNTIME_SCHEDULER_INTERNAL_H

#include "runtime/scheduler/scheduler.h"
#include "transport/base/idmap.h"
#include "transport/base/ready.h"
#include "transport/base/assert.h"

enum {
    SCHED_GROUPS = 256, /* different sets of names served at a time */
    SCHED_GROUP_WORDS = SCHED_GROUPS / 64,
    /* statistics of functions without tasks, past which the oldest are forgotten */
    SCHED_IDLE_CALLABLES = 1024,
    SCHED_LOOK_AHEAD = 16, /* ready tasks of one function compared for the objects they need */
    /* times that the oldest may be passed over for one whose objects are at hand */
    SCHED_MAX_SKIPS = 64,
    SCHED_LOOK_REFS = 8,     /* objects of one task that count in that */
    SCHED_MAX_EARLY = 65536, /* objects of one worker that may be on their way, or out of order */
    SCHED_MAX_NAMES = 65536, /* names served by one worker */
};
/* object id: maker's epoch (0: this process), counter, module bit */
enum { SCHED_EPOCH_SHIFT = 40 };

typedef struct sched_worker sched_worker;
typedef struct sched_task sched_task;
typedef struct sched_callable sched_callable;
typedef struct sched_object sched_object;

/* The names that a worker serves; workers with equal sets share one group, and callables know
 * groups, not workers. */
typedef struct sched_group {
    char **functions, **classes; /* sorted */
    uint32_t n_functions, n_classes, workers;
    /* joins counted when a worker was last here: the oldest dead group is replaced first */
    uint64_t last_used;
    sched_worker **open; /* heap of workers with credit, least loaded first */
    size_t n_open, room;
} sched_group;

/* A function, or a method of a class. Kept while tasks or actions mention it, and some time longer
 * for its mean. */
struct sched_callable {
    char *name, *method; /* method NULL: a function */
    char *shown;         /* "neg", "lstm.forward" */
    uint64_t hash, uses;
    sched_callable *chain;              /* of the same hash */
    uint64_t serves[SCHED_GROUP_WORDS]; /* groups, dead ones too: who has ever served it */
    uint64_t mean_ns;                   /* 0: not known yet */
    tine_ready ready;
    sched_callable *prev, *next; /* in h->active when ready.n > 0, in h->idle when uses == 0 */
    sched_callable *all_prev, *all_next;
};

typedef enum sched_state {
    SCHED_FREE,
    SCHED_READY,
    SCHED_RUNNING,
    SCHED_HELD, /* its DONE is here, large frames that it sent before are not */
} sched_state;

typedef struct sched_done {
    tine_error status;
    tine_payload *payload;
    char *text;
    uint64_t expects; /* SUBMIT and OBJECT messages that it has sent */
} sched_done;

struct sched_task {
    tine_ready_link link; /* first: order and depth, too */
    uint64_t id;          /* generation << 32 | slot + 1 */
    uint64_t ticket;      /* or the owning worker's seq */
    uint64_t charge_ns, bytes, received;
    sched_callable *callable;
    tine_payload *payload; /* NULL while running, if it cannot run again */
    tine_object object;    /* of the target */
    /* the worker that forked it; NULL: this process, or nobody when orphan */
    sched_worker *owner;
    sched_worker *worker; /* where it runs */
    sched_task *run_prev, *run_next;
    /* NULL: forked by this process, or the parent is over (then it is in owner->strays) */
    sched_task *parent;
    sched_task *children, *sibling, **sibling_of;
    sched_task *work; /* in a list of work to do, or of free slots */
    sched_done *done; /* HELD */
    /* objects held until it is over: put by it, or got in results of its forks */
    tine_object *holds;
    uint32_t n_holds, room_holds, attempt, flags, skips;
    uint8_t state;
    bool windowed; /* counts against its owner's window until it starts for the first time */
    bool suspended, orphan,
        doomed; /* doomed: it descends from an orphan, so its forks are not worth running */
};

struct sched_worker {
    tine_peer peer;
    uint32_t epoch, pid, slot;
    int32_t rank;
    char *host, *token, *kernel;
    sched_group *group;
    uint64_t tasks_done;
    bool dead, dirty; /* dirty: in h->dirty, with credit or drops to be sent */
    uint64_t load, load_ns, load_bytes;
    uint32_t outstanding; /* tasks that count against its credit */
    uint32_t suspended;   /* tasks that do not, but go on when what they wait for has come */
    size_t heap_at;       /* in group->open, from 1; 0: no credit */
    sched_task *run_first, *run_last;
    sched_task *strays; /* forks of its tasks that are over */
    uint32_t window_left, unstarted, owed;
    uint64_t *drops;
    size_t n_drops, room_drops;
    /* puts 1..put_low have arrived, and the sorted ones in put_early */
    uint64_t put_low, *put_early;
    size_t n_early, room_early, coming; /* coming: objects on record that are on their way */
    sched_worker *prev, *next, *dirty_next;
};

/* A connection that is no worker yet. */
typedef struct sched_guest {
    tine_peer peer;
    int64_t deadline;
    bool rejected;
    struct sched_guest *prev, *next;
} sched_guest;

typedef struct sched_peer { /* what h->peers finds */
    sched_guest *guest;
    sched_worker *worker;
} sched_peer;

typedef enum sched_object_state {
    SCHED_OBJECT_HERE,
    SCHED_OBJECT_COMING, /* mentioned by its maker, whose frame is still on the way */
    SCHED_OBJECT_BROKEN, /* its maker was lost first, or it mentioned what is gone */
} sched_object_state;

struct sched_object {
    tine_object id;
    sched_object_state state;
    char *class_name;
    tine_payload *payload;
    uint64_t holders, handles; /* handles: those of them that this process has */
    uint64_t *at, *wanted;     /* workers by slot: that have it, that wait for it */
    size_t words;
    sched_object *prev, *next, *work;
    uint64_t counted; /* by tine_scheduler_check */
};

typedef struct sched_action {
    tine_scheduler_action a;
    sched_callable *callable; /* a use of it, for the names in the message */
    void *memory;             /* text or ids */
    bool owns_payload;
} sched_action;

struct tine_scheduler {
    tine_scheduler_config config;
    bool trace, stopped, gone; /* gone: no more workers can come */
    char *gone_reason;
    uint64_t orders, handles, joined;
    uint32_t epochs;
    tine_scheduler_stats stats;

    sched_task **chunks; /* of SCHED_CHUNK tasks: slots are never moved */
    size_t n_chunks;
    sched_task *free_tasks;

    tine_idmap callables; /* by hash of name and method */
    sched_callable *last_callable;
    sched_callable *all, *all_last, *active, *active_last, *idle, *idle_last;
    size_t n_idle;

    sched_group groups[SCHED_GROUPS];
    size_t n_groups;
    tine_idmap peers;
    sched_guest *guests, *guests_last;
    sched_worker *workers, *workers_last, *dirty, *dirty_last;
    sched_worker **slots;
    size_t n_slots;

    tine_idmap objects;
    sched_object *object_first, *object_last;

    sched_action *ring; /* room is a power of two */
    size_t ring_room, ring_at, ring_n;
    sched_action current;
};

enum { SCHED_CHUNK = 256 };

/* A doubly linked list without allocation: FIRST and LAST are lvalues, the element has prev and
 * next. */
#define SCHED_APPEND(FIRST, LAST, E, PREV, NEXT)                                                   \
    do {                                                                                           \
        (E)->PREV = (LAST);                                                                        \
        (E)->NEXT = NULL;                                                                          \
        *((LAST) ? &(LAST)->NEXT : &(FIRST)) = (E);                                                \
        (LAST) = (E);                                                                              \
    } while (0)
#define SCHED_UNLINK(FIRST, LAST, E, PREV, NEXT)                                                   \
    do {                                                                                           \
        *((E)->PREV ? &(E)->PREV->NEXT : &(FIRST)) = (E)->NEXT;                                    \
        *((E)->NEXT ? &(E)->NEXT->PREV : &(LAST)) = (E)->PREV;                                     \
        (E)->PREV = (E)->NEXT = NULL;                                                              \
    } while (0)

/* sched_actions.c */
void *tine_scheduler_alloc(size_t size); /* zeroed */
/* to at least `need` items */
void *tine_scheduler_grow(void *array, size_t *room, size_t need, size_t item);
char *tine_scheduler_copy(const char *text); /* NULL gives "" */
sched_action *tine_scheduler_push(tine_scheduler *h, tine_scheduler_action_kind kind);
sched_action *tine_scheduler_send(tine_scheduler *h, tine_peer peer, tine_message_type type);
void tine_scheduler_log(tine_scheduler *h, int level, char *text); /* takes text */
void tine_scheduler_dirty(tine_scheduler *h, sched_worker *w);
void tine_scheduler_undirty(tine_scheduler *h, sched_worker *w);
void tine_scheduler_action_fini(tine_scheduler *h, sched_action *a);

/* sched_text.c: malloc'ed sentences */
char *tine_scheduler_text(const char *format, ...) __attribute__((format(printf, 1, 2)));
char *tine_scheduler_text_failed(const tine_scheduler *h, const sched_task *t,
                                 const sched_worker *w, const char *cause);
char *tine_scheduler_text_lost(const tine_scheduler *h, const sched_task *t, const sched_worker *w,
                               const char *reason);
char *tine_scheduler_text_unknown(const tine_scheduler *h, const sched_callable *c);

/* sched_tasks.c */
sched_task *tine_scheduler_task_find(const tine_scheduler *h, uint64_t id);
sched_task *tine_scheduler_task_new(tine_scheduler *h, const tine_target *target, uint32_t flags,
                                    tine_payload *payload);
void tine_scheduler_task_adopt(sched_task *parent, sched_task *child);
void tine_scheduler_task_hold(tine_scheduler *h, sched_task *t, tine_object id);
/* Completes t towards its owner, exactly once, and frees it. Takes text; payload stays the
 * caller's. */
void tine_scheduler_task_end(tine_scheduler *h, sched_task *t, tine_error status,
                             tine_payload *payload, char *text);
void tine_scheduler_task_started(tine_scheduler *h, sched_task *t, sched_worker *w);
void tine_scheduler_task_stopped(tine_scheduler *h,
                                 /* no longer on its worker's list, nor in its credit */
                                 sched_task *t);
void tine_scheduler_task_suspend(tine_scheduler *h, sched_task *t);
void tine_scheduler_task_orphan(tine_scheduler *h, sched_task *t); /* its owner is lost */
void tine_scheduler_task_lost(tine_scheduler *h, sched_task *t, const sched_worker *w,
                              const char *reason);
void tine_scheduler_task_discard(tine_scheduler *h, sched_task *t); /* frees it, telling nobody */
void tine_scheduler_task_done(tine_scheduler *h, sched_task *t, const tine_message *m);
void tine_scheduler_task_received(tine_scheduler *h,
                                  /* one SUBMIT or OBJECT more: its DONE may go on */
                                  sched_task *t);

void tine_scheduler_tasks_cancel(tine_scheduler *h); /* all of them, with ECANCELED */
void tine_scheduler_tasks_free(tine_scheduler *h);

/* sched_sched.c */
sched_callable *tine_scheduler_callable_get(tine_scheduler *h, const char *name,
                                            const char *method);
void tine_scheduler_callable_unuse(tine_scheduler *h, sched_callable *c);
void tine_scheduler_callable_free(tine_scheduler *h, sched_callable *c);
/* or ends it, when nobody can serve it */
void tine_scheduler_enqueue(tine_scheduler *h, sched_task *t);
void tine_scheduler_dequeue(tine_scheduler *h, sched_task *t);
/* its owner may submit one more */
void tine_scheduler_leave_window(tine_scheduler *h, sched_task *t);
void tine_scheduler_charge(tine_scheduler *h, sched_task *t, sched_worker *w);
void tine_scheduler_uncharge(tine_scheduler *h, sched_task *t);
void tine_scheduler_measure(sched_callable *c, uint64_t run_ns);
/* its place among the open ones */
void tine_scheduler_worker_update(tine_scheduler *h, sched_worker *w);
void tine_scheduler_sweep(tine_scheduler *h); /* ends ready tasks that nobody can serve any more */
void tine_scheduler_dispatch(tine_scheduler *h);
bool tine_scheduler_served(const tine_scheduler *h, const sched_callable *c, bool ever);

/* sched_objects.c */
sched_object *tine_scheduler_object_find(const tine_scheduler *h, tine_object id);
/* Are all these objects here, or, when w is not NULL, on their way from it? */
bool tine_scheduler_mentions(tine_scheduler *h, sched_worker *w, const tine_payload *p,
                             tine_object target);
void tine_scheduler_hold(tine_scheduler *h, tine_object id);
void tine_scheduler_unhold(tine_scheduler *h, tine_object id);
void tine_scheduler_hold_refs(tine_scheduler *h, const tine_payload *p);
void tine_scheduler_unhold_refs(tine_scheduler *h, const tine_payload *p);
bool tine_scheduler_object_at(const sched_object *o, const sched_worker *w);
void tine_scheduler_object_fetch(tine_scheduler *h, sched_worker *w, tine_object id);
const char *tine_scheduler_object_arrived(tine_scheduler *h, sched_worker *w,
                                          const tine_message *m); /* why it is bad, or NULL */
void tine_scheduler_objects_lost(tine_scheduler *h, sched_worker *w);
void tine_scheduler_objects_free(tine_scheduler *h);

/* sched_peers.c */
void tine_scheduler_hello(tine_scheduler *h, sched_guest *g, const tine_hello *hello, int64_t now);
void tine_scheduler_cut(tine_scheduler *h, tine_peer peer, bool bad, const char *why);
void tine_scheduler_worker_lost(tine_scheduler *h, sched_worker *w, const char *reason);
sched_peer *tine_scheduler_peer(const tine_scheduler *h, tine_peer peer);
void tine_scheduler_guest_free(tine_scheduler *h, sched_guest *g);
void tine_scheduler_worker_free(tine_scheduler *h, sched_worker *w);
void tine_scheduler_group_fini(sched_group *g);
bool tine_scheduler_group_serves(const sched_group *g, const sched_callable *c);

#endif
