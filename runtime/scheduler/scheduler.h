/* The scheduler: the coordinator's state machine. Tasks, scheduling, credit, retries, objects and
 * shutdown, without any I/O.
 *
 * Events come in as calls; actions go out through tine_scheduler_next. It reads no clock (a call
 * whose effect depends on the time has it as `now`), opens no socket, takes no lock, and decides
 * the same way for the same events, so that a simulator can run it from a seed. One thread at a
 * time.
 *
 * Life of a task: perhaps waiting (for results of other tasks among its arguments) -> ready (queued
 * per function, deepest first, then oldest) -> running on one worker (counts against its credit) ->
 * perhaps suspended (waits for nested forks; does not count) -> ended. When a worker is lost, its
 * tasks are queued again if they are repeatable and have attempts left; otherwise they fail with
 * ELOST. The nested forks of those tasks become orphans: ready ones are discarded, and the results
 * of running ones are dropped.
 *
 * Where the worker's run log is known, the attempt counts for the task that ran when the worker
 * died, and for those that wait for it there. The other ones that had begun are repeated without
 * counting, if they are repeatable; those that had not begun are always queued again. Where it is
 * not known (a worker of another host), all of them count as begun and any may be the cause. A task
 * that was, or may have been, the cause runs alone on a worker from then on, and the attempt counts
 * if that is lost as well: so the neighbours of a task that crashes do not run out of attempts.
 *
 * Cancelling a task ends it towards its owner at once, exactly once. One that runs stays at its
 * worker until DONE: the worker is told, the result is dropped, and its forks are cancelled
 * likewise.
 *
 * Credit: an idle worker gets any task. It gets more while the time that its tasks are expected to
 * take together (a moving average per function and method of the run time that replies report)
 * stays under `prefetch_ns`, their number under max_credit and their bytes under max_credit_bytes.
 * So short tasks are pipelined, and long ones are not queued at one worker while another idles.
 * Where as many workers have tasks as there are cores, an idle one has to be woken and then takes a
 * core from another, which costs more than a short task: some of these are queued at one worker
 * before the next is woken.
 *
 * Choice: for a worker with credit, among the deepest ready tasks that it serves, the one for which
 * it already has most bytes of objects (modules, put values); then one whose objects no worker has;
 * then the oldest.
 *
 * A result is an object, too, once something refers to it: as an argument of another task, which
 * then waits for it. A task whose inputs are being made is sent ahead to the worker where it is
 * expected to start first (inputs.c); it does not count against the credit until they are there. A
 * large result stays at its worker until it is asked for. When the last worker that has it is lost,
 * its task is run again if it is repeatable and its arguments are still there; otherwise what needs
 * it fails.
 *
 * Objects are kept here as payloads. Those that a task's arguments mention are sent before it,
 * others to a worker that asks (FETCH). An object is held by handles in the coordinator's program,
 * by ready and running tasks whose arguments reference it, by running tasks that put it or received
 * it in a result of a nested fork, by modules whose constructor arguments reference it, and by
 * results not yet taken. When nothing holds it, workers that have it are told to drop it. */
#ifndef TINE_RUNTIME_SCHEDULER_SCHEDULER_H
#define TINE_RUNTIME_SCHEDULER_SCHEDULER_H

#include "runtime/wire/message.h"
#include "transport/base/run_log.h"
#include "transport/transport.h"

typedef struct tine_scheduler tine_scheduler;

typedef struct tine_scheduler_config {
    /* a function that no worker serves is unknown once this many workers are present or, without
     * workers_return, have joined */
    uint32_t expected_workers;
    uint32_t max_attempts;     /* of a repeatable task: 1 + retries */
    uint32_t max_credit;       /* tasks outstanding at one worker; 0: 256 */
    uint64_t max_credit_bytes; /* of their arguments; one always passes; 0: 256 MiB */
    uint64_t prefetch_ns;      /* expected time of what is outstanding at one worker; 0: 1 ms */
    uint32_t cores;            /* that all workers share; 0: not known, or not the same ones */
    uint32_t window;           /* forks not yet started that a worker may have; 0: 4096 */
    int64_t hello_timeout_ns;  /* a peer without HELLO by then is dropped; 0: 5 s */
    /* nothing runs and nothing happens for this long: a look for a deadlock; 0: 1 s; -1: never */
    int64_t look_ns;
    /* more workers may join (remote ones, or lost ones are started again), and tasks wait for them.
     * Otherwise pending tasks fail with ELOST when the last worker is lost */
    bool workers_return;
    /* with workers_return, how many at a time: while fewer are there, one may come that has the
     * label or the slots that a task needs. UINT32_MAX: any number, so that one may always come */
    uint32_t workers_most;
    /* the first object of this process is numbered after these; see the stats */
    uint64_t objects_made;
} tine_scheduler_config;

typedef enum tine_scheduler_action_kind {
    TINE_SCHEDULER_SEND, /* message to peer */
    /* a fork of this process has ended: ticket, status, payload (now the caller's, with a handle on
     * each of payload->refs, to be released with tine_scheduler_object_release) | object, with a
     * handle: a result that stays at its worker | text */
    TINE_SCHEDULER_COMPLETE,
    /* value number `item` of a stream of this process: ticket, item, payload as of COMPLETE. Before
     * the COMPLETE; where that has failed, values in between may be missing */
    TINE_SCHEDULER_YIELD,
    TINE_SCHEDULER_DROP, /* drop the peer: text says why; bad: it broke the protocol */
    TINE_SCHEDULER_LOG,  /* level, text */
    /* the worker of task `ticket` is to be ended, unless the task leaves it within grace_ns */
    TINE_SCHEDULER_END,
    /* results would best go from the worker `peer` to the worker `other` and back directly: if the
     * transport can do that, tine_scheduler_paired follows */
    TINE_SCHEDULER_PAIR,
} tine_scheduler_action_kind;

typedef struct tine_scheduler_action {
    tine_scheduler_action_kind kind;
    tine_peer peer;
    union {
        tine_message message; /* SEND */
        struct {              /* all others */
            tine_peer other;
            uint64_t ticket, grace_ns, item;
            tine_error status;
            bool bad;
            int level; /* of a log line: 0 error, 1 warn, 2 info, 3 debug */
            const char *text;
            tine_payload *payload;
            tine_object object;
        };
    };
} tine_scheduler_action;

typedef struct tine_scheduler_stats {
    uint64_t forked, completed, failed, retried;
    uint64_t stale; /* replies dropped for their (task, attempt, epoch) */
    uint64_t peers_bad;
    uint64_t waiting, ready, running, suspended, objects; /* now */
    /* arguments of waiting and ready tasks of this process: those that have not started */
    uint64_t ready_bytes;
    uint32_t workers;
    uint64_t objects_made; /* of this process, ever */
} tine_scheduler_stats;

/* What is known of one worker, for messages, observers and trace rows. Texts are borrowed until the
 * next event. */
typedef struct tine_worker_info {
    tine_peer peer;
    uint32_t epoch, pid;
    int32_t rank;
    const char *host, *token, *kernel;
    char *const *labels; /* n_labels */
    uint32_t n_labels;
    const char *slots; /* "gpu=2" */
    uint64_t tasks_done;
    uint32_t running, suspended; /* tasks there: sent to it, and of these waiting for forks */
    bool ending;                 /* it gets no more tasks */
    /* The task that it is taken to run: the oldest that does not wait; NULL: none. `since`: it has
     * run since then at the latest. */
    const char *task;
    uint64_t task_id;
    int64_t since, joined;
    uint64_t bytes_in, bytes_out; /* of arguments, results and objects */
    uint64_t memory;              /* as it told last; 0: not known */
} tine_worker_info;

/* A function, or a method of a class, that has tasks or had some lately. */
typedef struct tine_function_info {
    const char *name, *label; /* label: where its tasks may run; "": anywhere */
    uint64_t ready, running, done, failed, run_ns, mean_ns;
} tine_function_info;

/* A task that has not ended. Texts are borrowed until the next event. */
typedef struct tine_task_info {
    uint64_t id, parent;      /* parent: 0: forked by this process, or its parent has ended */
    uint32_t worker, attempt; /* worker: the epoch of the one that it was sent to; 0: none */
    const char *state, *name;
    int64_t forked;
} tine_task_info;

/* A task that failed, or a worker that was lost (name ""). */
typedef struct tine_failure_info {
    int64_t at;
    tine_error status;
    char name[80], text[200]; /* the first line, cut */
} tine_failure_info;

/* The workers a and b send each other small results directly from here on, as the two peers that
 * the transport has made a pair of: after TINE_SCHEDULER_PAIR. */
void tine_scheduler_paired(tine_scheduler *s, tine_peer a, tine_peer b);
/* Or that cannot be yet: TINE_SCHEDULER_PAIR comes again when it is of use. */
void tine_scheduler_pair_later(tine_scheduler *s, tine_peer a, tine_peer b);

tine_error tine_scheduler_new(tine_scheduler **out, const tine_scheduler_config *config);
/* After tine_scheduler_stop, whose actions have been taken. Accepts NULL. */
void tine_scheduler_free(tine_scheduler *s);

/* A fork of this process. `ticket` (not 0) comes back in exactly one COMPLETE. `flow`: of TASK.
 * `payload`: the arguments; a reference is taken. `terms` is copied; NULL: none. *task (task may be
 * NULL) names it to tine_scheduler_result and tine_scheduler_cancel. Errors: EINVAL, ESTATE after
 * stop. An unknown function is a COMPLETE with EUNKNOWN, later. */
tine_error tine_scheduler_fork(tine_scheduler *s, uint64_t ticket, uint64_t flow,
                               const tine_target *target, uint32_t flags, tine_payload *payload,
                               const tine_terms *terms, uint64_t *task);
/* The function is called once on every worker that serves it: those that are there now, and those
 * that join from now on before any other task. `ticket` (not 0) comes back in one COMPLETE without
 * a value when the ones that are there now have run it, with the first failure among them. A worker
 * that joins later is dropped where it fails. Errors as above. */
tine_error tine_scheduler_initialise(tine_scheduler *s, uint64_t ticket, const char *name,
                                     uint32_t flags, tine_payload *payload);
/* The worker gets no more tasks, and is told to STOP when those that it has have ended and the
 * results that only it has are here. False: there is no such worker. */
bool tine_scheduler_worker_end(tine_scheduler *s, uint32_t epoch);
/* Whether another one comes once it has ended, as is taken for granted before. */
void tine_scheduler_worker_replaced(tine_scheduler *s, uint32_t epoch, bool replaced);
/* hold true: the worker gets no tasks from now on; false: it gets tasks again. */
void tine_scheduler_worker_hold(tine_scheduler *s, uint32_t epoch, bool hold);
/* Nothing comes of the peer, and its connection still exists; `reason` says for how long. True: it
 * has what could not be made again, and is waited for; it gets no tasks until it is heard. False:
 * it is to be dropped. */
bool tine_scheduler_worker_silent(tine_scheduler *s, tine_peer peer, const char *reason);
void tine_scheduler_worker_heard(tine_scheduler *s, tine_peer peer);
/* The object that the result of an open fork becomes: with it the arguments of other tasks refer to
 * the result. One handle more is held on it. 0: the task has ended. */
tine_object tine_scheduler_result(tine_scheduler *s, uint64_t task);
/* Ends a task of this process with `status` and a sentence that ends with `why`; its COMPLETE is
 * among the next actions. Where it runs the worker is told, and its forks are cancelled; grace_ns
 * later END asks for the end of that worker (UINT64_MAX: never). False: it has ended already. */
bool tine_scheduler_cancel(tine_scheduler *s, uint64_t task, tine_error status, const char *why,
                           uint64_t grace_ns);
/* The same on behalf of an observer, for a nested fork too; a worker is never ended for it. */
bool tine_scheduler_cancel_any(tine_scheduler *s, uint64_t task, const char *why);
/* Whether the task, cancelled or not, still has a worker; `out`: its peer, pid, host and token. */
bool tine_scheduler_task_worker(const tine_scheduler *s, uint64_t task, tine_worker_info *out);
/* This process takes the values of a stream of its own up to number `item`: the task may yield
 * these. The first terms->stream values need no call. */
void tine_scheduler_pull(tine_scheduler *s, uint64_t task, uint64_t item);
void tine_scheduler_peer_up(tine_scheduler *s, tine_peer peer, int64_t now);
/* `reason` becomes a part of its tasks' error: "killed by signal 9 (SIGKILL)". Unknown peers are
 * ignored. */
void tine_scheduler_peer_lost(tine_scheduler *s, tine_peer peer, const char *reason);
/* The same for a worker process that has died, with its run log (NULL: not known). */
void tine_scheduler_worker_died(tine_scheduler *s, tine_peer peer, const char *reason,
                                const tine_run_log *log);
/* A decoded message of a peer. One that breaks the protocol leads to DROP, never to an abort. */
void tine_scheduler_message(tine_scheduler *s, tine_peer peer, const tine_message *m, int64_t now);
/* The peer sent bytes that could not be decoded. */
void tine_scheduler_garbage(tine_scheduler *s, tine_peer peer, const char *why);
/* The HELLO that this peer has sent is refused, for a reason that the peer is told. */
void tine_scheduler_refuse(tine_scheduler *s, tine_peer peer, const char *why, int64_t now);
void tine_scheduler_tick(tine_scheduler *s, int64_t now);
/* The time from here on, for what observers see; no decision depends on it. */
void tine_scheduler_time(tine_scheduler *s, int64_t now);
/* The peer is an observer and no worker: it is forgotten, and not dropped. False: it is not known,
 * or has sent HELLO. */
bool tine_scheduler_peer_forget(tine_scheduler *s, tine_peer peer);
/* when tick is wanted next; INT64_MAX: never */
int64_t tine_scheduler_deadline(const tine_scheduler *s);
/* All open forks complete with ECANCELED, workers are told to STOP, later forks are refused. */
void tine_scheduler_stop(tine_scheduler *s);

/* Objects of this process: one handle is held until tine_scheduler_object_release. class_name: NULL
 * for a put value. */
tine_error tine_scheduler_object(tine_scheduler *s, tine_object *out, const char *class_name,
                                 tine_payload *payload);
void tine_scheduler_object_retain(tine_scheduler *s, tine_object id);
void tine_scheduler_object_release(tine_scheduler *s, tine_object id);
/* The result of an open fork will be taken: if it is of a function whose results stay, its worker
 * sends it with DONE. */
void tine_scheduler_result_want(tine_scheduler *s, uint64_t task);
/* Requests an object that only workers have. One that is still to be made is requested when it
 * is. */
void tine_scheduler_object_want(tine_scheduler *s, tine_object id);
/* Why an object has no payload: TINE_EAGAIN while it is still to come, else the error, with a
 * sentence (borrowed). */
tine_error tine_scheduler_object_error(tine_scheduler *s, tine_object id, const char **text);
/* The payload (borrowed) and class of an object, or NULL when it is not here. */
tine_payload *tine_scheduler_object_payload(tine_scheduler *s, tine_object id,
                                            const char **class_name);

/* The state of an open fork of this process, malloc'ed: "task \"fib\" runs on worker pid 12
 * (host a), attempt 1 of 1". NULL: not open. Walks all tasks: for error sentences. */
char *tine_scheduler_describe(const tine_scheduler *s, uint64_t ticket);

/* Workers that join from now on are told to record a trace, or not. */
void tine_scheduler_trace(tine_scheduler *s, bool on);

/* The next action, oldest first; false when there is none. What it points to is valid until the
 * next call. */
bool tine_scheduler_next(tine_scheduler *s, tine_scheduler_action *out);
size_t tine_scheduler_actions(const tine_scheduler *s); /* how many there are now */
const tine_scheduler_stats *tine_scheduler_stats_get(const tine_scheduler *s);
/* Gives their number, and fills in the first `room`. */
size_t tine_scheduler_workers(const tine_scheduler *s, tine_worker_info *out, size_t room);
bool tine_scheduler_worker(const tine_scheduler *s, tine_peer peer, tine_worker_info *out);
/* As tine_scheduler_workers: the tasks that have not ended, which walks all. */
size_t tine_scheduler_tasks(const tine_scheduler *s, tine_task_info *out, size_t room);
/* Both as tine_scheduler_workers: the functions; the last failures, the newest first. */
size_t tine_scheduler_functions(const tine_scheduler *s, tine_function_info *out, size_t room);
size_t tine_scheduler_failures(const tine_scheduler *s, tine_failure_info *out, size_t room);
/* Asserts the invariants between events: sums of credit, window, holders and queues. Walks
 * everything: for tests. */
void tine_scheduler_check(const tine_scheduler *s);

#endif
