/* The executor's structures, shared by executor.c (tasks, messages), forks.c (what tasks fork and
 * put), leave.c (tasks that are given back), local.c (forks that stay here), objects.c (objects and
 * what waits for them) and pass.c (results that workers pass to each other). Small records come
 * from tine_must_alloc, which ends the process without memory: the coordinator then runs the tasks
 * elsewhere. */
#ifndef TINE_WORKERS_EXECUTOR_INTERNAL_H
#define TINE_WORKERS_EXECUTOR_INTERNAL_H

#include <string.h>
#include <sys/queue.h>

#include "transport/base/hash.h"
#include "transport/base/idmap.h"
#include "transport/base/ready.h"
#include "transport/base/recent.h"
#include "transport/base/assert.h"
#include "transport/base/ring.h"
#include "workers/executor/executor.h"

typedef struct executor_task executor_task;
typedef struct executor_object executor_object;
typedef struct executor_end executor_end;

/* A waiter for objects: a task before it starts, a result before it completes its fork, an object
 * whose value refers to others. */
typedef struct executor_waiter {
    enum { WAITER_TASK, WAITER_RESULT, WAITER_OBJECT } kind;
    uint32_t missing;  /* objects not here yet, and one more while they are being counted */
    tine_error status; /* of the first that cannot be had */
    char *text;
} executor_waiter;

struct executor_task {
    tine_ready_link link; /* first */
    executor_waiter waiter;
    uint64_t id, flow, sent; /* sent: SUBMIT, OBJECT and YIELD messages */
    uint64_t yielded, limit; /* values, and the number of the last one that is taken */
    tine_object result;      /* the id under which its result may be kept; 0: none */
    uint32_t attempt;
    bool started, suspended;
    bool returned;      /* to the coordinator: it does not start */
    bool unasked;       /* it was returned before its objects were looked up */
    bool refused_yield; /* PULL has to be reported */
    bool unread;        /* its values are not taken */
    bool taken;         /* its result is, by other tasks: a large one stays */
    uint8_t units;      /* of its memory (block.h) */
    uint64_t *passes;   /* n_passes workers that a small one is sent to, too */
    size_t n_passes, room_passes;
    /* it has failed, and stays while an object refers to its waiter: it is in no map */
    bool failed;
    tine_target target; /* its texts lie behind the struct */
    tine_payload *payload;
    LIST_ENTRY(executor_task) entry;
    /* the task at the coordinator: this one, or, of a local task, the nearest one above it */
    executor_task *known;
    LIST_HEAD(, executor_task) children; /* local ones */
    bool cancelled;
    /* of a known task: local tasks below it that are queued, that have begun; their run time */
    uint32_t n_queued, n_begun;
    uint64_t local_ns;
    executor_end *end; /* it has ended, and local tasks below it run on */
    /* of a local task */
    uint64_t ticket;
    tine_terms terms; /* its texts lie behind those of the target */
    bool has_terms;
    uint32_t flags;
    LIST_ENTRY(executor_task) child; /* of its parent's children; of known's if that has ended */
    TAILQ_ENTRY(executor_task) local;
    SLIST_ENTRY(executor_task) stacked;
};

typedef struct executor_end { /* how a task has ended whose DONE is to come */
    tine_error status;
    tine_payload *payload;
    char *text;
    uint64_t run_ns;
} executor_end;

typedef struct executor_result { /* an answer that waits for the put values it mentions */
    executor_waiter waiter;
    uint64_t ticket;
    uint64_t item;  /* its number in a stream; 0: it is a fork's result */
    bool of_stream; /* it is, or belongs to, a stream */
    tine_payload *payload;
    LIST_ENTRY(executor_result) entry;
} executor_result;

typedef enum executor_object_state {
    EXECUTOR_FETCHING,
    EXECUTOR_INCOMPLETE,
    EXECUTOR_READY,
    EXECUTOR_FAILED
} executor_object_state;

struct executor_object {
    executor_waiter waiter; /* for what its value mentions */
    tine_object id;
    executor_object_state state;
    /* wanted: by tine_executor_fetch; asked: the coordinator wants the result; dropped: forget it
     * as soon as it is settled; reaching: it is fetched from another worker; kept: it counts in
     * kept_bytes */
    bool wanted, asked, dropped, reaching, kept;
    char *class_name;
    tine_payload *payload;
    executor_waiter **waiters;
    size_t n_waiters, room_waiters;
    LIST_ENTRY(executor_object) entry;
    executor_object *work; /* next in the list of work of executor_settle */
};

typedef struct executor_fork { /* its ticket is its seq on the wire */
    uint64_t ticket;           /* 0: a free slot */
    executor_task *local;      /* NULL: it was submitted */
    uint64_t task, known;      /* that forked it, and as the coordinator knows it */
    uint32_t free_next;
    bool stream, answered;
    bool overdue; /* the coordinator was asked to cancel it, while it stays open here */
    /* of a stream: values that are here, and how many there are (UINT64_MAX: not known yet) */
    uint64_t items, expects;
    executor_result *result; /* waits for them */
} executor_fork;

/* What an action points to and is freed when the next one is taken. */
typedef struct executor_owned {
    void *memory;
    tine_payload *payload;
    executor_object *object;
} executor_owned;

typedef struct executor_action {
    tine_executor_action a;
    executor_owned owned;
} executor_action;

struct tine_executor {
    tine_hello hello; /* copied, with all it points to, into hello_names */
    char **hello_names;
    size_t n_hello_names;
    uint32_t epoch, window;
    size_t stays; /* larger results, in bytes, stay here */
    bool stopped;
    bool leaving;                /* it starts no task of the coordinator's that has not begun */
    bool refused_fork;           /* CREDIT has to be reported */
    uint64_t n_received, n_sent; /* messages, see PONG */
    uint64_t orders, puts;
    /* SUBMITs so far, and how many the coordinator wants of those that stay here otherwise */
    bool keeps;        /* it has said so: forks stay here otherwise */
    bool tells_passed; /* the coordinator takes DONE_PASSED */
    uint64_t submits, allowed, locals;
    uint32_t attempts; /* of a repeatable task */
    tine_idmap served; /* names, by hash */
    const char *last_served;
    TAILQ_HEAD(, executor_task) local; /* queued ones, oldest first */
    size_t local_bytes, most_bytes;    /* of their arguments */
    size_t n_reaching;                 /* objects that are fetched from other workers */
    size_t kept_bytes;                 /* of results that stay, up to most_bytes */
    tine_recent cancels;               /* of tasks that have not arrived */
    tine_recent taken;                 /* those whose results other tasks take */
    tine_idmap tasks, objects, open; /* tasks: local ones, too; open: ticket to slot + 1 in forks */
    tine_ready ready;
    LIST_HEAD(, executor_task) task_list;
    LIST_HEAD(, executor_object) object_list;
    LIST_HEAD(, executor_result) results;
    executor_fork *forks;
    size_t n_forks, room_forks;
    uint32_t free_fork;  /* slot + 1 */
    uint32_t n_streams;  /* open forks that are streams */
    uint64_t *suspended; /* tasks not yet reported */
    size_t n_suspended, room_suspended;
    tine_ring actions;   /* of executor_action */
    executor_owned last; /* of the action that was taken last */
};

/* actions.c */
executor_action *tine_executor_push(tine_executor *x, tine_executor_action_kind kind);
executor_action *tine_executor_send(tine_executor *x, tine_message_type type);
void tine_executor_actions_free(tine_executor *x); /* those that were not taken */

/* executor.c */
/* One of the objects of t cannot be had; others may be to come. */
void tine_executor_task_failed(tine_executor *x, executor_task *t);
/* The objects of t are here, or one cannot be had. */
void tine_executor_task_settled(tine_executor *x, executor_task *t);
executor_task *tine_executor_task_new(tine_executor *x, uint64_t id, const tine_target *target,
                                      size_t more, tine_payload *payload);
void tine_executor_task_free(tine_executor *x, executor_task *t);
/* Sends the DONE of one that has ended, unless the coordinator has stopped, and frees it. */
void tine_executor_task_end(tine_executor *x, executor_task *t, tine_error status,
                            tine_payload *payload, const char *text, uint64_t run_ns);
void tine_executor_report_suspended(tine_executor *x, executor_task *t);
void tine_executor_credit(tine_executor *x, uint32_t more);
static inline executor_task *executor_task_find(const tine_executor *x, uint64_t id) {
    return tine_idmap_get(&x->tasks, id);
}

/* forks.c */
executor_fork *tine_executor_fork_open(tine_executor *x, uint64_t ticket, bool stream);
executor_fork *tine_executor_fork_find(const tine_executor *x, uint64_t ticket); /* or NULL */
/* Closes a ticket. False: it was not open. */
bool tine_executor_fork_close(tine_executor *x, uint64_t ticket);
void tine_executor_submit(tine_executor *x, executor_task *known, uint64_t ticket,
                          const tine_target *target, uint32_t flags, tine_payload *payload,
                          const tine_terms *terms);
void tine_executor_complete(tine_executor *x, uint64_t ticket, tine_error status,
                            tine_payload *payload, const char *text);
/* Completes it once the objects that the value mentions are here. */
void tine_executor_answer(tine_executor *x, uint64_t ticket, tine_payload *payload);
/* Tells the coordinator that the fork's result is not needed. */
void tine_executor_send_cancel(tine_executor *x, uint64_t known, uint64_t ticket,
                               uint64_t grace_ns);
void tine_executor_fork_answered(tine_executor *x, const tine_message *m);
void tine_executor_fork_yielded(tine_executor *x, const tine_message *m);
/* As tine_executor_task_settled. */
void tine_executor_result_settled(tine_executor *x, executor_result *r);
/* Completes every open fork as cancelled. */
void tine_executor_forks_stop(tine_executor *x);
void tine_executor_forks_free(tine_executor *x);

/* leave.c */
void tine_executor_leave_begin(tine_executor *x);              /* leaving, and welcomed */
void tine_executor_return(tine_executor *x, executor_task *t); /* one that has just arrived */
void tine_executor_unreturn(tine_executor *x, const tine_message *m);

/* local.c */
/* Of a name that this worker serves, in x->served. */
static inline uint64_t executor_name_key(const char *name, bool is_class) {
    uint64_t key = tine_hash(TINE_HASH_START, name, strlen(name)) << 1 | is_class;
    return key ? key : 2;
}
static inline bool tine_executor_takes_forks(const tine_executor *x) {
    return x->window && x->local_bytes < x->most_bytes;
}
static inline bool executor_task_is_local(const executor_task *t) { return t->known != t; }
bool tine_executor_may_keep(tine_executor *x, const tine_target *target, uint32_t flags,
                            const tine_payload *payload, const tine_terms *terms);
void tine_executor_keep(tine_executor *x, executor_task *parent, uint64_t ticket,
                        const tine_target *target, uint32_t flags, tine_payload *payload,
                        const tine_terms *terms);
/* Submits the oldest ones while the coordinator wants more. */
void tine_executor_give(tine_executor *x);
void tine_executor_demand(tine_executor *x, const tine_message *m);
void tine_executor_local_started(tine_executor *x, executor_task *t);
void tine_executor_local_ended(tine_executor *x, executor_task *t, tine_error status,
                               tine_payload *payload, const char *text, uint64_t run_ns);
/* A task of the coordinator has ended. Its DONE is sent with the end of the last local task below
 * it that has begun. */
void tine_executor_known_ended(tine_executor *x, executor_task *t, tine_error status,
                               tine_payload *payload, const char *text, uint64_t run_ns);
/* Cancels the local forks below t, which is cancelled, and the forks that these have submitted. */
void tine_executor_cancel_below(tine_executor *x, executor_task *t);
void tine_executor_cancel_local(tine_executor *x, executor_task *t);

/* objects.c */
static inline executor_object *executor_object_find(const tine_executor *x, tine_object id) {
    return tine_idmap_get(&x->objects, id);
}
/* A record of one that is not here, which the coordinator is asked for. */
executor_object *tine_executor_object_fetch(tine_executor *x, tine_object id);
/* One of the objects that w waits for is settled, or its own message. */
void tine_executor_settle(tine_executor *x, executor_waiter *w);
/* Whether every value that the arguments mention can be read here. */
bool tine_executor_refs_here(const tine_executor *x, const tine_payload *p);
/* Lets w wait for the objects of p; it is settled by these calls at once when none is missing. The
 * objects of a task come unasked. */
void tine_executor_await(tine_executor *x, executor_waiter *w, const tine_payload *p);
void tine_executor_object_put(tine_executor *x, tine_object id, const char *class_name,
                              tine_payload *payload);
/* Keeps a result, if it is large or is waited for; true: it is kept, and to be sent only if
 * *send. */
bool tine_executor_result_keep(tine_executor *x, const executor_task *t, tine_payload *payload,
                               bool *send);
void tine_executor_result_unkept(tine_executor *x, tine_object id);
void tine_executor_result_fetch(tine_executor *x, tine_object id); /* the coordinator asks for it */
/* A REACH of the coordinator: a result is taken by other tasks, or is to be fetched elsewhere. */
void tine_executor_reach(tine_executor *x, const tine_message *m);
void tine_executor_object_arrived(tine_executor *x, const tine_message *m);
void tine_executor_object_dropped(tine_executor *x, tine_object id);
/* Reports every fetch that is under way as cancelled. */
void tine_executor_objects_stop(tine_executor *x);
void tine_executor_objects_free(tine_executor *x);
void tine_executor_object_free(executor_object *o);

/* pass.c */
void tine_executor_pass(tine_executor *x, const tine_message *m); /* a PASS */
/* The coordinator defers the DONE until it has what the task sent before: a large SUBMIT or OBJECT
 * may be lost with this worker, and then the task runs again. */
static inline bool executor_may_pass(const executor_task *t, const tine_payload *payload) {
    return t->n_passes > 0 && !t->sent && payload && !payload->n_refs &&
           tine_payload_bytes(payload) <= TINE_MAX_PASSED;
}
/* A task has ended, whose DONE has its result, which may be passed. */
void tine_executor_result_pass(tine_executor *x, const executor_task *t, tine_payload *payload);

#endif
