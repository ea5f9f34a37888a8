/* The hub's structures, shared by its files: hub.c (events in), hub_tasks.c (life of a task), hub_sched.c (ready queues, credit,
 * choice), hub_objects.c (objects and their holders), hub_peers.c (workers, what they serve, hello and loss), hub_actions.c
 * (actions out) and hub_text.c (the sentences that users read).
 *
 * Whatever is iterated lies in a list or an array in the order of events; hash maps only look up. Small records come from
 * tine_hub_alloc, which ends the process without memory: a hub that lost a record could not keep its promises. */
#ifndef TINE_RUNTIME_HUB_INTERNAL_H
#define TINE_RUNTIME_HUB_INTERNAL_H

#include "runtime/hub.h"
#include "runtime/idmap.h"
#include "runtime/ready.h"
#include "transport/assert.h"

enum {
    HUB_GROUPS = 256, /* different sets of names served at a time */
    HUB_GROUP_WORDS = HUB_GROUPS / 64,
    HUB_IDLE_CALLABLES =
        1024,              /* statistics of functions without tasks, past which the oldest are forgotten */
    HUB_LOOK_AHEAD = 16,   /* ready tasks of one function compared for the objects they need */
    HUB_MAX_SKIPS = 64,    /* times that the oldest may be passed over for one whose objects are at hand */
    HUB_LOOK_REFS = 8,     /* objects of one task that count in that */
    HUB_MAX_EARLY = 65536, /* objects of one worker that may be on their way, or out of order */
    HUB_MAX_NAMES = 65536, /* names served by one worker */
};
enum { HUB_EPOCH_SHIFT = 40 }; /* object id: maker's epoch (0: this process), counter, module bit */

typedef struct hub_worker hub_worker;
typedef struct hub_task hub_task;
typedef struct hub_callable hub_callable;
typedef struct hub_object hub_object;

/* The names that a worker serves; workers with equal sets share one group, and callables know groups, not workers. */
typedef struct hub_group {
    char **functions, **classes; /* sorted */
    uint32_t n_functions, n_classes, workers;
    uint64_t
        last_used; /* joins counted when a worker was last here: the oldest dead group is replaced first */
    hub_worker **open; /* heap of workers with credit, least loaded first */
    size_t n_open, room;
} hub_group;

/* A function, or a method of a class. Kept while tasks or actions mention it, and some time longer for its mean. */
struct hub_callable {
    char *name, *method; /* method NULL: a function */
    char *shown;         /* "neg", "lstm.forward" */
    uint64_t hash, uses;
    hub_callable *chain;              /* of the same hash */
    uint64_t serves[HUB_GROUP_WORDS]; /* groups, dead ones too: who has ever served it */
    uint64_t mean_ns;                 /* 0: not known yet */
    tine_ready ready;
    hub_callable *prev, *next; /* in h->active when ready.n > 0, in h->idle when uses == 0 */
    hub_callable *all_prev, *all_next;
};

typedef enum hub_state {
    HUB_FREE,
    HUB_READY,
    HUB_RUNNING,
    HUB_HELD, /* its DONE is here, large frames that it sent before are not */
} hub_state;

typedef struct hub_done {
    tine_error status;
    tine_payload *payload;
    char *text;
    uint64_t expects; /* SUBMIT and OBJECT messages that it has sent */
} hub_done;

struct hub_task {
    tine_ready_link link; /* first: order and depth, too */
    uint64_t id;          /* generation << 32 | slot + 1 */
    uint64_t ticket;      /* or the owning worker's seq */
    uint64_t charge_ns, bytes, received;
    hub_callable *callable;
    tine_payload *payload; /* NULL while running, if it cannot run again */
    tine_object object;    /* of the target */
    hub_worker *owner;     /* the worker that forked it; NULL: this process, or nobody when orphan */
    hub_worker *worker;    /* where it runs */
    hub_task *run_prev, *run_next;
    hub_task *parent; /* NULL: forked by this process, or the parent is over (then it is in owner->strays) */
    hub_task *children, *sibling, **sibling_of;
    hub_task *work;     /* in a list of work to do, or of free slots */
    hub_done *done;     /* HELD */
    tine_object *holds; /* objects held until it is over: put by it, or got in results of its forks */
    uint32_t n_holds, room_holds, attempt, flags, skips;
    uint8_t state;
    bool windowed;               /* counts against its owner's window until it starts for the first time */
    bool parked, orphan, doomed; /* doomed: it descends from an orphan, so its forks are not worth running */
};

struct hub_worker {
    tine_peer peer;
    uint32_t epoch, pid, slot;
    int32_t rank;
    char *host, *token, *kernel;
    hub_group *group;
    uint64_t tasks_done;
    bool dead, dirty; /* dirty: in h->dirty, with credit or drops to be sent */
    uint64_t load, load_ns, load_bytes;
    uint32_t outstanding; /* tasks that count against its credit */
    uint32_t parked;      /* tasks that do not, but go on when what they wait for has come */
    size_t heap_at;       /* in group->open, from 1; 0: no credit */
    hub_task *run_first, *run_last;
    hub_task *strays; /* forks of its tasks that are over */
    uint32_t window_left, unstarted, owed;
    uint64_t *drops;
    size_t n_drops, room_drops;
    uint64_t put_low, *put_early;       /* puts 1..put_low have arrived, and the sorted ones in put_early */
    size_t n_early, room_early, coming; /* coming: objects on record that are on their way */
    hub_worker *prev, *next, *dirty_next;
};

/* A connection that is no worker yet. */
typedef struct hub_guest {
    tine_peer peer;
    int64_t deadline;
    bool rejected;
    struct hub_guest *prev, *next;
} hub_guest;

typedef struct hub_peer { /* what h->peers finds */
    hub_guest *guest;
    hub_worker *worker;
} hub_peer;

typedef enum hub_object_state {
    HUB_OBJECT_HERE,
    HUB_OBJECT_COMING, /* mentioned by its maker, whose frame is still on the way */
    HUB_OBJECT_BROKEN, /* its maker was lost first, or it mentioned what is gone */
} hub_object_state;

struct hub_object {
    tine_object id;
    hub_object_state state;
    char *class_name;
    tine_payload *payload;
    uint64_t holders, handles; /* handles: those of them that this process has */
    uint64_t *at, *wanted;     /* workers by slot: that have it, that wait for it */
    size_t words;
    hub_object *prev, *next, *work;
    uint64_t counted; /* by tine_hub_check */
};

typedef struct hub_action {
    tine_hub_action a;
    hub_callable *callable; /* a use of it, for the names in the message */
    void *memory;           /* text or ids */
    bool owns_payload;
} hub_action;

struct tine_hub {
    tine_hub_config config;
    bool trace, stopped, gone; /* gone: no more workers can come */
    char *gone_reason;
    uint64_t orders, handles, joined;
    uint32_t epochs;
    tine_hub_stats stats;

    hub_task **chunks; /* of HUB_CHUNK tasks: slots are never moved */
    size_t n_chunks;
    hub_task *free_tasks;

    tine_idmap callables; /* by hash of name and method */
    hub_callable *last_callable;
    hub_callable *all, *all_last, *active, *active_last, *idle, *idle_last;
    size_t n_idle;

    hub_group groups[HUB_GROUPS];
    size_t n_groups;
    tine_idmap peers;
    hub_guest *guests, *guests_last;
    hub_worker *workers, *workers_last, *dirty, *dirty_last;
    hub_worker **slots;
    size_t n_slots;

    tine_idmap objects;
    hub_object *object_first, *object_last;

    hub_action *ring; /* room is a power of two */
    size_t ring_room, ring_at, ring_n;
    hub_action current;
};

enum { HUB_CHUNK = 256 };

/* A doubly linked list without allocation: FIRST and LAST are lvalues, the element has prev and next. */
#define HUB_APPEND(FIRST, LAST, E, PREV, NEXT)                                                               \
    do {                                                                                                     \
        (E)->PREV = (LAST);                                                                                  \
        (E)->NEXT = NULL;                                                                                    \
        *((LAST) ? &(LAST)->NEXT : &(FIRST)) = (E);                                                          \
        (LAST) = (E);                                                                                        \
    } while (0)
#define HUB_UNLINK(FIRST, LAST, E, PREV, NEXT)                                                               \
    do {                                                                                                     \
        *((E)->PREV ? &(E)->PREV->NEXT : &(FIRST)) = (E)->NEXT;                                              \
        *((E)->NEXT ? &(E)->NEXT->PREV : &(LAST)) = (E)->PREV;                                               \
        (E)->PREV = (E)->NEXT = NULL;                                                                        \
    } while (0)

/* hub_actions.c */
void *tine_hub_alloc(size_t size);                                        /* zeroed */
void *tine_hub_grow(void *array, size_t *room, size_t need, size_t item); /* to at least `need` items */
char *tine_hub_copy(const char *text);                                    /* NULL gives "" */
hub_action *tine_hub_push(tine_hub *h, tine_hub_action_kind kind);
hub_action *tine_hub_send(tine_hub *h, tine_peer peer, tine_message_type type);
void tine_hub_log(tine_hub *h, int level, char *text); /* takes text */
void tine_hub_dirty(tine_hub *h, hub_worker *w);
void tine_hub_undirty(tine_hub *h, hub_worker *w);
void tine_hub_action_fini(tine_hub *h, hub_action *a);

/* hub_text.c: malloc'ed sentences */
char *tine_hub_text(const char *format, ...) __attribute__((format(printf, 1, 2)));
char *tine_hub_text_failed(const tine_hub *h, const hub_task *t, const hub_worker *w, const char *cause);
char *tine_hub_text_lost(const tine_hub *h, const hub_task *t, const hub_worker *w, const char *reason);
char *tine_hub_text_unknown(const tine_hub *h, const hub_callable *c);

/* hub_tasks.c */
hub_task *tine_hub_task_find(const tine_hub *h, uint64_t id);
hub_task *tine_hub_task_new(tine_hub *h, const tine_target *target, uint32_t flags, tine_payload *payload);
void tine_hub_task_adopt(hub_task *parent, hub_task *child);
void tine_hub_task_hold(tine_hub *h, hub_task *t, tine_object id);
/* Completes t towards its owner, exactly once, and frees it. Takes text; payload stays the caller's. */
void tine_hub_task_end(tine_hub *h, hub_task *t, tine_error status, tine_payload *payload, char *text);
void tine_hub_task_started(tine_hub *h, hub_task *t, hub_worker *w);
void tine_hub_task_stopped(tine_hub *h, hub_task *t); /* no longer on its worker's list, nor in its credit */
void tine_hub_task_park(tine_hub *h, hub_task *t);
void tine_hub_task_orphan(tine_hub *h, hub_task *t); /* its owner is lost */
void tine_hub_task_lost(tine_hub *h, hub_task *t, const hub_worker *w, const char *reason);
void tine_hub_task_discard(tine_hub *h, hub_task *t); /* frees it, telling nobody */
void tine_hub_task_done(tine_hub *h, hub_task *t, const tine_message *m);
void tine_hub_task_received(tine_hub *h, hub_task *t); /* one SUBMIT or OBJECT more: its DONE may go on */

void tine_hub_tasks_cancel(tine_hub *h); /* all of them, with ECANCELED */
void tine_hub_tasks_free(tine_hub *h);

/* hub_sched.c */
hub_callable *tine_hub_callable_get(tine_hub *h, const char *name, const char *method);
void tine_hub_callable_unuse(tine_hub *h, hub_callable *c);
void tine_hub_callable_free(tine_hub *h, hub_callable *c);
void tine_hub_enqueue(tine_hub *h, hub_task *t); /* or ends it, when nobody can serve it */
void tine_hub_dequeue(tine_hub *h, hub_task *t);
void tine_hub_leave_window(tine_hub *h, hub_task *t); /* its owner may submit one more */
void tine_hub_charge(tine_hub *h, hub_task *t, hub_worker *w);
void tine_hub_uncharge(tine_hub *h, hub_task *t);
void tine_hub_measure(hub_callable *c, uint64_t run_ns);
void tine_hub_worker_update(tine_hub *h, hub_worker *w); /* its place among the open ones */
void tine_hub_sweep(tine_hub *h);                        /* ends ready tasks that nobody can serve any more */
void tine_hub_dispatch(tine_hub *h);
bool tine_hub_served(const tine_hub *h, const hub_callable *c, bool ever);

/* hub_objects.c */
hub_object *tine_hub_object_find(const tine_hub *h, tine_object id);
/* Are all these objects here, or, when w is not NULL, on their way from it? */
bool tine_hub_mentions(tine_hub *h, hub_worker *w, const tine_payload *p, tine_object target);
void tine_hub_hold(tine_hub *h, tine_object id);
void tine_hub_unhold(tine_hub *h, tine_object id);
void tine_hub_hold_refs(tine_hub *h, const tine_payload *p);
void tine_hub_unhold_refs(tine_hub *h, const tine_payload *p);
bool tine_hub_object_at(const hub_object *o, const hub_worker *w);
void tine_hub_object_fetch(tine_hub *h, hub_worker *w, tine_object id);
const char *tine_hub_object_arrived(tine_hub *h, hub_worker *w,
                                    const tine_message *m); /* why it is bad, or NULL */
void tine_hub_objects_lost(tine_hub *h, hub_worker *w);
void tine_hub_objects_free(tine_hub *h);

/* hub_peers.c */
void tine_hub_hello(tine_hub *h, hub_guest *g, const tine_hello *hello, int64_t now);
void tine_hub_cut(tine_hub *h, tine_peer peer, bool bad, const char *why);
void tine_hub_worker_lost(tine_hub *h, hub_worker *w, const char *reason);
hub_peer *tine_hub_peer(const tine_hub *h, tine_peer peer);
void tine_hub_guest_free(tine_hub *h, hub_guest *g);
void tine_hub_worker_free(tine_hub *h, hub_worker *w);
void tine_hub_group_fini(hub_group *g);
bool tine_hub_group_serves(const hub_group *g, const hub_callable *c);

#endif
