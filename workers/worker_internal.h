/* What the worker's files share: worker.c (the loop), worker_context.c (what tasks call), attempt.c
 * (one running task). */
#ifndef TINE_WORKERS_WORKER_INTERNAL_H
#define TINE_WORKERS_WORKER_INTERNAL_H

#include "runtime/api/context.h"
#include "transport/base/idmap.h"
#include "workers/executor.h"
#include "workers/fiber.h"
#include "workers/progress.h"
#include "workers/worker.h"

typedef struct tine_worker tine_worker;

/* A list of attempts, first in first out, linked through `next`. */
typedef struct tine_attempt tine_attempt;
typedef struct tine_attempt_list {
    tine_attempt *first, **end;
} tine_attempt_list;

/* One running task. It is in exactly one place: on its fiber, in `runnable`, or suspended with
 * whatever will make it runnable. */
struct tine_attempt {
    tine_attempt *next;
    tine_attempt *older, *newer; /* all live attempts */
    tine_worker *worker;
    tine_executor_task task;
    tine_fiber *fiber;
    size_t missing;   /* futures that it still waits for */
    size_t held;      /* forks kept back and callbacks to come */
    int64_t deadline; /* of the wait; INT64_MAX: none */
    bool suspended, timed_out;
    bool waits_for_credit, finishing; /* finishing: only forks kept back are waited for */
    tine_object wants;                /* the object it waits for, or 0 */
    tine_failure object_failure;      /* why it did not come */
    uint64_t run_ns;
    /* the outcome */
    tine_error status;
    char *text;
    tine_payload *payload;
};

/* A fork that the executor's window had no room for. */
typedef struct tine_surplus {
    struct tine_surplus *next;
    uint64_t ticket;
    tine_attempt *parent; /* held: it is not over before the fork has left */
    char *name, *method;
    tine_object object;
    uint32_t flags;
    tine_payload *payload;
} tine_surplus;

/* A put value that is here, decoded. */
typedef struct tine_kept {
    struct tine_kept *before, *after;
    tine_object id;
    tine_value *value;
} tine_kept;

typedef struct tine_due {
    struct tine_due *next;
    void (*fn)(void *arg);
    void *arg;
    tine_attempt *attempt;
} tine_due;

struct tine_worker {
    tine_context context;
    tine_executor *executor;
    tine_transport *transport;
    tine_progress progress;
    tine_fiber_pool *fibers;
    tine_attempt *newest; /* all live attempts */
    size_t n_attempts;
    tine_attempt_list runnable;
    tine_attempt *current; /* running on its fiber */
    tine_attempt_list pausing;
    tine_idmap tickets; /* forks under way: ticket to future, a reference on each */
    uint64_t last_ticket;
    bool acting;
    tine_idmap kept;
    tine_kept *kept_first;
    tine_surplus *surplus, **surplus_end;
    tine_due *due, **due_end;
    size_t n_timed; /* attempts with a deadline */
    bool up, stopping;
    tine_error status; /* why it stopped */
    char why[192];
};

/* attempt.c */
/* makes it runnable */
tine_error tine_attempt_start(tine_worker *w, const tine_executor_task *task);
void tine_attempt_run(tine_attempt *j);     /* until it suspends or is over */
void tine_attempt_suspend(tine_attempt *j); /* from inside its fiber: until tine_attempt_wake */
/* makes a suspended one runnable; nothing if it is not suspended */
void tine_attempt_wake(tine_attempt *j);
void tine_attempt_list_add(tine_attempt_list *l, tine_attempt *j);
tine_attempt *tine_attempt_list_take(tine_attempt_list *l);
void tine_attempt_drop(tine_attempt *j); /* gives up one that is not running, wherever it stands */

/* worker_context.c */
void tine_worker_context_init(tine_worker *w);
void tine_worker_credit(tine_worker *w); /* the window has room again */
void tine_worker_drop_surplus(tine_worker *w);
void tine_worker_object_came(tine_worker *w, tine_object id, tine_error status, const char *text);
void tine_worker_forget(tine_worker *w, tine_object id);
void tine_worker_context_fini(tine_worker *w);

/* worker.c */
void tine_worker_act(tine_worker *w); /* carries out what the executor decided */

#endif
