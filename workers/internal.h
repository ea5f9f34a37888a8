/* What the worker's files share: worker.c (the loop), context.c (what a task's calls do),
 * objects.c (put values), attempt.c (one run of a task). */
#ifndef TINE_WORKERS_INTERNAL_H
#define TINE_WORKERS_INTERNAL_H

#include <sys/queue.h>

#include "runtime/api/context.h"
#include "transport/base/idmap.h"
#include "workers/executor/executor.h"
#include "workers/fiber/fiber.h"
#include "workers/handles.h"
#include "workers/progress.h"
#include "workers/reach.h"
#include "workers/worker.h"

typedef struct tine_worker tine_worker;
typedef struct tine_attempt tine_attempt;
typedef STAILQ_HEAD(tine_attempt_queue, tine_attempt) tine_attempt_queue;

/* One run of a task. It is either on its fiber, or in `runnable`, or suspended and referenced by
 * the record that will make it runnable. */
struct tine_attempt {
    STAILQ_ENTRY(tine_attempt) queue; /* runnable, or awaiting an instance */
    LIST_ENTRY(tine_attempt) live;
    tine_worker *worker;
    tine_executor_task task;
    tine_fiber *fiber;
    /* forks held for their arguments, and callbacks to come; bytes of these arguments */
    size_t held, held_bytes;
    int64_t deadline; /* of the wait; INT64_MAX: none */
    bool suspended, timed_out;
    bool waits;                  /* for futures */
    bool waits_for_credit;       /* to fork, or to yield */
    bool yields;                 /* it is to yield */
    tine_future *const *awaited; /* while `waits` */
    size_t n_awaited;
    bool cancelled;              /* nothing uses its result; its waits fail */
    int64_t cancel_asked;        /* when tine_cancelled looked for messages last */
    bool finishing;              /* it has its result and waits for `held` alone */
    tine_object wants;           /* the object it waits for, or 0 */
    tine_failure object_failure; /* why it was not received */
    uint64_t run_ns;
    tine_pool callbacks;      /* owns what its callbacks make, until it ends */
    tine_pool *pool;          /* while it is suspended: its innermost call's */
    tine_handle_list handles; /* on objects that came through it */
    /* the outcome */
    tine_error status;
    char *text;
    tine_payload *payload;
};

/* A fork that the executor's window has no room for. */
typedef struct worker_fork {
    STAILQ_ENTRY(worker_fork) entry;
    uint64_t ticket;
    tine_attempt *parent; /* held: it does not end before the fork is submitted */
    tine_target target;   /* its texts lie behind the struct */
    bool has_terms;
    tine_terms terms; /* its name likewise */
    uint32_t flags;
    tine_payload *payload;
} worker_fork;

/* A put value that is here, decoded. Handles share its contents. */
typedef struct worker_value {
    LIST_ENTRY(worker_value) entry;
    tine_object id;
    tine_value *value;
} worker_value;

/* A callback that is due. */
typedef struct worker_callback {
    STAILQ_ENTRY(worker_callback) entry;
    void (*fn)(void *arg);
    void *arg;
    tine_attempt *attempt; /* of the task that registered it, or NULL */
} worker_callback;

struct tine_worker {
    tine_context context; /* first */
    tine_executor *executor;
    tine_link link;
    tine_progress progress;
    tine_fiber_pool *fibers;
    tine_run_log *log; /* NULL: none */
    const tine_worker_config *config;
    tine_leave *leave; /* NULL: none */
    tine_reach *reach; /* NULL: it fetches nothing from other workers, and keeps nothing for them */
    STAILQ_HEAD(, worker_request) requests; /* of joined.c, without an answer yet */

    LIST_HEAD(, tine_attempt) attempts; /* live, the newest first */
    tine_idmap attempt_by_task;
    tine_attempt_queue runnable;
    tine_attempt_queue awaiting_instance;
    tine_attempt *current; /* on its fiber now */
    size_t n_timed;        /* attempts with a deadline */

    tine_idmap tickets; /* forks under way: ticket to future, a reference on each */
    uint64_t last_ticket;
    STAILQ_HEAD(, worker_fork) forks; /* that wait for credit */
    STAILQ_HEAD(, worker_callback) callbacks;
    tine_handles *handles;
    tine_idmap value_by_id;
    LIST_HEAD(, worker_value) values;

    int64_t ran_at, looked_at; /* when an attempt ran last, and messages were looked for */
    bool ran_local;            /* it was of a fork that stayed here */
    tine_error send_error;     /* of the progress thread */
    tine_timers graced;        /* open forks with a grace and a deadline; of who has the link */

    uint64_t *awaited; /* of the last PONG */
    size_t room_awaited;
    bool calling;      /* a callback */
    bool acting;       /* in tine_worker_act */
    bool holding;      /* results wait in the link */
    uint64_t held_ns;  /* run time of the tasks of these results */
    uint64_t held_key; /* of their function: of the last one's */
    bool up, stopping;
    tine_error status; /* why it stopped */
    char why[192];
};

static inline tine_worker *tine_worker_of(tine_context *c) { return (tine_worker *)c; }

/* The executor, like the link, is used by the thread that has the link: a task's call reclaims
 * both, and tine_worker_act offers them again. */
static inline tine_executor *tine_worker_executor(tine_worker *w) {
    tine_progress_reclaim(&w->progress);
    return w->executor;
}

/* attempt.c */

/* Makes an attempt that is runnable. ENOMEM. */
tine_error tine_attempt_start(tine_worker *w, const tine_executor_task *task);
void tine_attempt_run(tine_attempt *a);     /* until it suspends or ends */
void tine_attempt_suspend(tine_attempt *a); /* from its fiber: until tine_attempt_wake */
/* Makes a suspended one runnable; does nothing to one that is not suspended. */
void tine_attempt_wake(tine_attempt *a);
/* Frees one that is not running; what its stack owns leaks unless it has ended. */
void tine_attempt_drop(tine_attempt *a);

/* context.c */
void tine_worker_context_init(tine_worker *w);
void tine_worker_context_fini(tine_worker *w);
void tine_worker_credit(tine_worker *w); /* the window has room again */
void tine_worker_forks_drop(tine_worker *w);
void tine_worker_cancelled(tine_worker *w, uint64_t task); /* a started task */
void tine_worker_pulled(tine_worker *w, uint64_t task);    /* it may yield again */

/* objects.c */
/* As a tine_decoder and a tine_encoder call them, with the worker. */
tine_value *tine_worker_put_value(void *worker, tine_object id);
bool tine_worker_by_reference(void *worker, tine_object id);
/* As the context's operations of these names. */
tine_error tine_worker_object(tine_context *c, void *parent, const char *class_name,
                              tine_payload *payload, tine_object *out);
tine_error tine_worker_object_payload(tine_context *c, tine_object id, tine_payload **payload,
                                      char **class_name);
void tine_worker_object_came(tine_worker *w, tine_object id, tine_error status, const char *text);
void tine_worker_forget(tine_worker *w, tine_object id);
void tine_worker_values_fini(tine_worker *w);
/* Tells the coordinator where others can fetch results, if there is a place. */
void tine_worker_reachable(tine_worker *w);
void tine_worker_reach(tine_worker *w, const tine_executor_action *a); /* has it fetched */
void tine_worker_reached(tine_worker *w);                              /* what has come */

/* joined.c */
void tine_worker_joined_fetch(tine_worker *w, const tine_executor_action *a);
void tine_worker_joined_up(tine_worker *w, tine_peer peer);
void tine_worker_joined_message(tine_worker *w, tine_peer peer, const tine_message *m);
void tine_worker_joined_lost(tine_worker *w, tine_peer peer, const char *reason);
void tine_worker_joined_fini(tine_worker *w);

/* quiet.c */
void tine_worker_answer(tine_worker *w, tine_message *pong); /* fills in what the executor leaves */

/* overdue.c; on the thread that has the link */
/* f, which was submitted with a deadline and a grace, is open from now on; and is not any more. */
void tine_worker_overdue_watch(tine_worker *w, tine_future *f);
void tine_worker_overdue_forget(tine_worker *w, tine_future *f);
/* Has the coordinator cancel those whose deadline has passed. */
void tine_worker_overdue_report(tine_worker *w);
/* On the worker's thread: ends forks whose deadline has passed, unless their results have come. */
void tine_worker_end_late_forks(tine_worker *w, int64_t now);

/* early.c: says what the progress thread handles, once the link is open. */
void tine_worker_progress_init(tine_worker *w);

/* worker.c */
/* Nothing is left to run until something is received or a wait times out. */
bool tine_worker_is_idle(const tine_worker *w);
/* Why a worker that stops fails what its attempts wait for. */
const char *tine_worker_over(const tine_worker *w);
void tine_worker_act(tine_worker *w); /* carries out the executor's actions */
/* Handles some of what has come; does not block. False: nothing has come. */
bool tine_worker_receive(tine_worker *w);
/* As tine_link_hold. What a task sends while it runs does not wait. */
void tine_worker_hold(tine_worker *w, bool on);
/* Completes the future of a fork; takes over `payload`. */
void tine_worker_complete(tine_worker *w, uint64_t ticket, tine_error status, tine_payload *payload,
                          const char *text);

#endif
