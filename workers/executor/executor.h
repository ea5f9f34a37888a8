/* The executor: a worker's state machine. It decides which task to start, which objects to fetch,
 * which nested forks may be submitted. It has no I/O, fibers or clock of its own. It is the
 * scheduler's counterpart, and the simulator runs the two together.
 *
 * A task is ready when this worker has every value that its arguments mention (a module is fetched
 * by the call that needs it). The coordinator sends those that are missing, unless they are results
 * of tasks that run here; what they mention in turn is fetched, each once. A result is kept here as
 * an object if it is large, or if another task waits for it already. Ready tasks start
 * deepest first, then oldest first. A task that waits is reported suspended, so that the scheduler
 * gives this worker other work; reports are gathered and sent together by tine_executor_flush.
 *
 * A fork stays here, as a local task, while the coordinator wants none: see local.c. */
#ifndef TINE_WORKERS_EXECUTOR_EXECUTOR_H
#define TINE_WORKERS_EXECUTOR_EXECUTOR_H

#include "runtime/wire/message.h"

typedef struct tine_executor tine_executor;

typedef enum tine_executor_action_kind {
    /* message to the coordinator. Of a PONG, the receiver fills in ids, or resets `received`, and
     * fills in memory */
    TINE_EXECUTOR_SEND,
    /* a fork made here is done: ticket, status, payload (owned by the receiver now; every put value
     * that it mentions is here) | text */
    TINE_EXECUTOR_COMPLETE,
    /* object asked for by tine_executor_fetch is here: payload (borrowed), text (class) | status,
     * text */
    TINE_EXECUTOR_OBJECT,
    /* object dropped: an instance made of it is to be freed, a handle on it to be sent by value */
    TINE_EXECUTOR_FORGET,
    TINE_EXECUTOR_CREDIT, /* forks that were refused with EAGAIN may try again */
    TINE_EXECUTOR_TRACE,  /* flags as in TINE_MSG_TRACE */
    TINE_EXECUTOR_PULL,   /* the started task `ticket`, refused with EAGAIN, may yield again */
    /* a fork made here has yielded its value number `item`: ticket; else as COMPLETE. All come
     * before its COMPLETE; where that has failed, values in between may be missing */
    TINE_EXECUTOR_YIELD,
    /* the coordinator lets workers fetch results from each other: tine_executor_reachable is to be
     * called, if this one can */
    TINE_EXECUTOR_REACHABLE,
    TINE_EXECUTOR_KEEP,  /* object, payload (borrowed): others may fetch it here until FORGET */
    TINE_EXECUTOR_REACH, /* object is to be fetched at text, with ticket: tine_executor_reached */
    /* object, payload (borrowed): to be sent to the worker of number `ticket`; if that cannot be:
     * tine_executor_not_passed */
    TINE_EXECUTOR_PASS,
    TINE_EXECUTOR_CANCEL, /* the started task `ticket` is cancelled: nothing uses its result */
    /* the coordinator sent STOP, or it rejected this worker or broke the protocol: status
     * EPROTO, text */
    TINE_EXECUTOR_STOP,
} tine_executor_action_kind;

typedef struct tine_executor_action {
    tine_executor_action_kind kind;
    union {
        tine_message message; /* SEND */
        struct {              /* all others */
            uint64_t ticket, item;
            tine_error status;
            uint32_t flags;
            tine_object object;
            const char *text;
            tine_payload *payload;
        };
    };
} tine_executor_action;

/* A task to be started: the strings and the payload belong to the executor and live until
 * tine_executor_done of this task. */
typedef struct tine_executor_task {
    uint64_t task, flow;
    uint64_t known; /* the task itself or, of a fork that stayed here, the one above it that the
                       coordinator knows */
    uint32_t attempt, depth;
    tine_target target;
    tine_payload *payload;
} tine_executor_task;

/* A larger result stays at its worker: one of this size takes about as long to send as the extra
 * message that fetches it (ipc, 64 KiB: 20 us and 80 us). */
enum { TINE_EXECUTOR_STAYS = 64 << 10 };

/* The most bytes of arguments of forks that stay here and have not started; past it none is
 * taken. */
#define TINE_EXECUTOR_QUEUED ((size_t)1 << 30)

/* `hello` is copied and sent first. Results of more than `stays` bytes that other tasks take are
 * kept and not sent, up to `queued` bytes in all; see TINE_EXECUTOR_QUEUED, too. */
tine_error tine_executor_new(tine_executor **out, const tine_hello *hello, size_t stays,
                             size_t queued);
void tine_executor_free(tine_executor *x); /* accepts NULL */

void tine_executor_message(tine_executor *x, const tine_message *m, int64_t now);
/* The next task to start, or false. It then counts as running until tine_executor_done. */
bool tine_executor_start(tine_executor *x, tine_executor_task *out);
bool tine_executor_has_ready(const tine_executor *x);
/* What the next task to start calls; NULL: none is ready. */
const tine_target *tine_executor_next_target(const tine_executor *x);
/* A started task is over. payload: its result (status OK; a reference is taken), else text says
 * what failed. */
void tine_executor_done(tine_executor *x, uint64_t task, tine_error status, tine_payload *payload,
                        const char *text, uint64_t run_ns);
/* A started task waits for futures. Further calls before tine_executor_done have no effect. */
void tine_executor_suspend(tine_executor *x, uint64_t task);
/* A fork made by a started task. `ticket` (not 0, of no other open fork; on the wire: its seq)
 * comes back in exactly one COMPLETE. EAGAIN: the window, or what may be queued here, is used up:
 * wait for TINE_EXECUTOR_CREDIT. ECANCELED: after TINE_EXECUTOR_STOP. terms NULL: none. */
tine_error tine_executor_fork(tine_executor *x, uint64_t parent, uint64_t ticket,
                              const tine_target *target, uint32_t flags, tine_payload *payload,
                              const tine_terms *terms);
/* Cancels an open fork, which is not completed then; grace_ns as in CANCEL. False: its answer is
 * here, and completes it. */
bool tine_executor_cancel(tine_executor *x, uint64_t ticket, uint64_t grace_ns);
/* Whether an open fork has stayed here and has not begun. */
bool tine_executor_is_queued(const tine_executor *x, uint64_t ticket);
/* Has the coordinator cancel one that stays open here, until a result comes that was on its way or
 * tine_executor_cancel is called, which has to follow: the answer of the coordinator that it was
 * cancelled is left out. Does nothing to one that is not open, or has not been submitted. */
void tine_executor_cancel_early(tine_executor *x, uint64_t ticket, uint64_t grace_ns);
/* A started task yields a value. EAGAIN: its owner takes no more yet, wait for TINE_EXECUTOR_PULL.
 * ECANCELED: after TINE_EXECUTOR_STOP. If its values are not taken, nothing is sent. */
tine_error tine_executor_yield(tine_executor *x, uint64_t task, tine_payload *payload);
/* The values of an open fork, a stream, are taken up to number `item`. */
void tine_executor_pull(tine_executor *x, uint64_t ticket, uint64_t item);
/* A value or module (class_name) put by a started task: it gets an id of its own and goes to the
 * coordinator at once. */
tine_error tine_executor_put(tine_executor *x, uint64_t task, const char *class_name,
                             tine_payload *payload, tine_object *out);
/* This worker takes no more tasks: those that have not begun are given back to the coordinator,
 * nested forks that stay here too. It stops (TINE_EXECUTOR_STOP) when the others have ended. */
void tine_executor_leave(tine_executor *x);
/* Asks for an object; true when it is here already (payload and class are borrowed until FORGET),
 * else OBJECT follows. */
bool tine_executor_fetch(tine_executor *x, tine_object id, tine_payload **payload,
                         const char **class_name);
/* Other workers can fetch what is kept here at `url` with `secret`; url "": nowhere, this one only
 * fetches from others. After TINE_EXECUTOR_REACHABLE, once. */
void tine_executor_reachable(tine_executor *x, const char *url, uint64_t secret);
/* The outcome of TINE_EXECUTOR_REACH, once for each: the payload, or NULL and why there is none:
 * the coordinator is asked then. own: the reason is this worker's, and others may fetch there. */
void tine_executor_reached(tine_executor *x, tine_object id, tine_payload *payload, const char *why,
                           bool own);
/* An OBJECT of another worker, which was told to PASS it. False: it is not awaited. */
bool tine_executor_passed(tine_executor *x, const tine_message *m);
/* TINE_EXECUTOR_PASS could not be done. object 0: what this worker and that one (`number`) send
 * each other may be lost from here on, or was before. */
void tine_executor_not_passed(tine_executor *x, tine_object object, uint64_t number);
/* hold: this side refers to n objects beyond the tasks that gave them to it; release: it no longer
 * does. Each id is held once, before the tine_executor_done of such a task, and released once. */
void tine_executor_hold(tine_executor *x, const tine_object *ids, size_t n);
void tine_executor_release(tine_executor *x, const tine_object *ids, size_t n);
/* Sends the gathered SUSPEND reports; to be called before waiting for input. */
void tine_executor_flush(tine_executor *x);
/* This result of a started task is passed to other workers, and further tasks are here. */
bool tine_executor_passes(const tine_executor *x, uint64_t task, const tine_payload *payload);
bool tine_executor_has_local(const tine_executor *x); /* forks of its tasks are queued here */
bool tine_executor_keeps(const tine_executor *x); /* results that the coordinator does not have */
/* A value that a FETCH can be answered with, now or when it has been fetched. */
bool tine_executor_has(const tine_executor *x, tine_object id);
bool tine_executor_reaches(const tine_executor *x);    /* a REACH has no outcome yet */
bool tine_executor_has_report(const tine_executor *x); /* something for flush */
/* What is kept here now: all are 0 when nothing runs and the coordinator has dropped its
 * objects. */
typedef struct tine_executor_stats {
    size_t tasks, ready, forks, objects;
    uint32_t window; /* nested forks that may be submitted now */
} tine_executor_stats;
void tine_executor_stats_get(const tine_executor *x, tine_executor_stats *out);
uint32_t tine_executor_epoch(const tine_executor *x); /* 0 until welcomed */

/* The next action, oldest first; false when there is none. What it points to is valid until the
 * next call. */
bool tine_executor_next(tine_executor *x, tine_executor_action *out);
/* The oldest SEND or REACH, whatever comes before it; false when there is none. */
bool tine_executor_next_early(tine_executor *x, tine_executor_action *out);

#endif
