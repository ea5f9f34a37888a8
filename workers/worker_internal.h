/* What the worker's files share: worker.c (the loop), worker_context.c (what tasks call), job.c (one running task). */
#ifndef TINE_WORKERS_WORKER_INTERNAL_H
#define TINE_WORKERS_WORKER_INTERNAL_H

#include "runtime/context.h"
#include "runtime/idmap.h"
#include "workers/agent.h"
#include "workers/fiber.h"
#include "workers/progress.h"
#include "workers/worker.h"

typedef struct tine_worker tine_worker;

/* A list of jobs, first in first out, linked through `next`. */
typedef struct tine_job tine_job;
typedef struct tine_job_list {
    tine_job *first, **end;
} tine_job_list;

/* One running task. It is in exactly one place: on its fiber, in `runnable`, or parked with whatever will make it runnable. */
struct tine_job {
    tine_job *next;
    tine_job *older, *newer; /* all live jobs */
    tine_worker *worker;
    tine_agent_task task;
    tine_fiber *fiber;
    size_t missing;   /* futures that it still waits for */
    size_t held;      /* forks kept back and callbacks to come */
    int64_t deadline; /* of the wait; INT64_MAX: none */
    bool parked, timed_out;
    bool waits_for_credit, finishing; /* finishing: only forks kept back are waited for */
    tine_object wants;                /* the object it waits for, or 0 */
    tine_failure object_failure;      /* why it did not come */
    uint64_t run_ns;
    /* the outcome */
    tine_error status;
    char *text;
    tine_payload *payload;
};

/* A fork that the agent's window had no room for. */
typedef struct tine_surplus {
    struct tine_surplus *next;
    uint64_t ticket;
    tine_job *parent; /* held: it is not over before the fork has left */
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
    tine_job *job;
} tine_due;

struct tine_worker {
    tine_context context;
    tine_agent *agent;
    tine_transport *transport;
    tine_progress progress;
    tine_fiber_pool *fibers;
    tine_job *newest; /* all live jobs */
    size_t n_jobs;
    tine_job_list runnable;
    tine_job *current; /* running on its fiber */
    tine_job_list pausing;
    tine_idmap tickets; /* forks under way: ticket to future, a reference on each */
    uint64_t last_ticket;
    bool acting;
    tine_idmap kept;
    tine_kept *kept_first;
    tine_surplus *surplus, **surplus_end;
    tine_due *due, **due_end;
    size_t n_timed; /* jobs with a deadline */
    bool up, stopping;
    tine_error status; /* why it stopped */
    char why[192];
};

/* job.c */
tine_error tine_job_start(tine_worker *w, const tine_agent_task *task); /* makes it runnable */
void tine_job_run(tine_job *j);                                         /* until it parks or is over */
void tine_job_park(tine_job *j); /* from inside its fiber: until tine_job_wake */
void tine_job_wake(tine_job *j); /* makes a parked one runnable; nothing if it is not parked */
void tine_job_list_add(tine_job_list *l, tine_job *j);
tine_job *tine_job_list_take(tine_job_list *l);
void tine_job_drop(tine_job *j); /* gives up one that is not running, wherever it stands */

/* worker_context.c */
void tine_worker_context_init(tine_worker *w);
void tine_worker_credit(tine_worker *w); /* the window has room again */
void tine_worker_drop_surplus(tine_worker *w);
void tine_worker_object_came(tine_worker *w, tine_object id, tine_error status, const char *text);
void tine_worker_forget(tine_worker *w, tine_object id);
void tine_worker_context_fini(tine_worker *w);

/* worker.c */
void tine_worker_act(tine_worker *w); /* carries out what the agent decided */

#endif
