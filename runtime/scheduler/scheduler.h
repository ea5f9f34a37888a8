/* The scheduler: the coordinator's state machine. Tasks, scheduling, credit, retries, objects and
 * shutdown, without any I/O.
 *
 * Events come in as calls, each with the time; actions go out through tine_scheduler_next. It reads
 * no clock, opens no socket, takes no lock, and decides the same way for the same events, so a
 * simulator can run it from a seed. One thread at a time.
 *
 * Life of a task: queued (ready, ordered deepest first, then by age, per function) -> running on
 * one worker (counts against its credit) -> perhaps suspended (waits for nested forks; does not
 * count) -> done. When a worker is lost, its tasks are queued again if they are repeatable and have
 * attempts left, else they fail with ELOST; nested forks of those tasks, and their results, are
 * thrown away.
 *
 * Credit: a worker gets one task whatever is known of it, and more while the time they are expected
 * to take together (a moving average per function and method of the run time that replies report)
 * stays under `prefetch_ns`, their number under max_credit and their bytes under max_credit_bytes.
 * So long tasks are never queued behind each other while another worker idles, and short ones are
 * pipelined.
 *
 * Choice: for a worker with credit, among the deepest ready tasks that it serves, the one whose
 * objects (modules, put values) it already holds, weighed by bytes; then one whose objects no other
 * worker holds; then the oldest.
 *
 * Objects: kept here as payloads, sent to a worker that asks (FETCH). Held by: handles in the
 * coordinator's program, ready and running tasks that mention them in arguments, running tasks that
 * put them or got them in results of nested forks (until DONE of that task), modules whose
 * constructor arguments mention them, and results not yet taken. When nothing holds one, workers
 * that have it are told to drop it. */
#ifndef TINE_RUNTIME_SCHEDULER_SCHEDULER_H
#define TINE_RUNTIME_SCHEDULER_SCHEDULER_H

#include "runtime/wire/message.h"
#include "transport/transport.h"

typedef struct tine_scheduler tine_scheduler;

typedef struct tine_scheduler_config {
    /* so many must have joined before a function that none serves counts as unknown */
    uint32_t expected_workers;
    uint32_t max_attempts;     /* of a repeatable task: 1 + retries */
    uint32_t max_credit;       /* tasks outstanding at one worker; 0: 256 */
    uint64_t max_credit_bytes; /* of their arguments; one always passes; 0: 256 MiB */
    uint64_t prefetch_ns;      /* expected time of what is outstanding at one worker; 0: 1 ms */
    uint32_t window;           /* nested forks a worker may have unstarted; 0: 4096 */
    int64_t hello_timeout_ns;  /* a peer that has not said HELLO by then is dropped; 0: 5 s */
    /* more workers may come (remote ones, or lost ones are started again): tasks wait for them;
     * else, when the last one is lost, everything pending fails with ELOST */
    bool workers_return;
    /* the first object of this process is numbered after these: see the stats */
    uint64_t objects_made;
} tine_scheduler_config;

typedef enum tine_scheduler_action_kind {
    TINE_SCHEDULER_SEND, /* message to peer */
    /* a fork of this process is done: ticket, status, payload (owned by the receiver now, with a
     * handle on each of payload->refs, given back one by one with tine_scheduler_object_release) |
     * text */
    TINE_SCHEDULER_COMPLETE,
    TINE_SCHEDULER_CUT,    /* drop the peer: text says why; bad: it broke the protocol */
    TINE_SCHEDULER_LOG,    /* level, text */
    TINE_SCHEDULER_JOINED, /* a worker is ready: peer, hello info by tine_scheduler_worker */
} tine_scheduler_action_kind;

typedef struct tine_scheduler_action {
    tine_scheduler_action_kind kind;
    tine_peer peer;
    uint64_t ticket;
    tine_error status;
    bool bad;
    int level; /* of a log line: 0 error, 1 warn, 2 info, 3 debug */
    const char *text;
    tine_payload *payload;
    tine_message message;
} tine_scheduler_action;

typedef struct tine_scheduler_stats {
    uint64_t forked, completed, failed, retried,
        stale; /* stale: replies dropped for (task, attempt, epoch) */
    uint64_t peers_bad;
    uint64_t ready, running, suspended, objects; /* now */
    uint64_t ready_bytes;                        /* arguments of ready tasks of this process */
    uint32_t workers;
    uint64_t objects_made; /* of this process, ever */
} tine_scheduler_stats;

/* What is known of one worker, for messages, `tine info` and trace rows. */
typedef struct tine_worker_info {
    tine_peer peer;
    uint32_t epoch, pid;
    int32_t rank;
    const char *host, *token, *kernel;
    uint64_t tasks_done;
} tine_worker_info;

tine_error tine_scheduler_new(tine_scheduler **out, const tine_scheduler_config *config);
void tine_scheduler_free(
    tine_scheduler
        *h); /* every future must have been completed: see tine_scheduler_stop. Accepts NULL */

/* A fork of this process. `ticket` (not 0) comes back in exactly one COMPLETE. `payload`: the
 * arguments; a reference is taken. Errors: ENOMEM, ESTATE after stop. An unknown function is a
 * COMPLETE with EUNKNOWN, later. */
tine_error tine_scheduler_fork(tine_scheduler *h, uint64_t ticket, const tine_target *target,
                               uint32_t flags, tine_payload *payload, int64_t now);
void tine_scheduler_peer_up(tine_scheduler *h, tine_peer peer, int64_t now);
/* `reason` is put into the error of its tasks: "killed by signal 9 (SIGKILL)". Unknown peers are
 * ignored. */
void tine_scheduler_peer_lost(tine_scheduler *h, tine_peer peer, const char *reason, int64_t now);
/* A decoded message of a peer. A message that makes no sense leads to CUT, never to an abort. */
void tine_scheduler_message(tine_scheduler *h, tine_peer peer, const tine_message *m, int64_t now);
/* The peer sent bytes that could not be decoded. */
void tine_scheduler_garbage(tine_scheduler *h, tine_peer peer, const char *why, int64_t now);
void tine_scheduler_tick(tine_scheduler *h, int64_t now);
/* when tick is wanted next; INT64_MAX: never */
int64_t tine_scheduler_deadline(const tine_scheduler *h);
/* Local workers that were lost will not be started again, or no more can join: see workers_return.
 * Must be called, too, when an expected worker will never come because it died before its HELLO:
 * the scheduler does not know of it and would wait. */
void tine_scheduler_workers_gone(tine_scheduler *h, const char *reason, int64_t now);
/* All open forks complete with ECANCELED, workers are told to STOP, later forks are refused. */
void tine_scheduler_stop(tine_scheduler *h, int64_t now);

/* Objects of this process: one handle is held until tine_scheduler_object_release. class_name: NULL
 * for a put value. */
tine_error tine_scheduler_object(tine_scheduler *h, tine_object *out, const char *class_name,
                                 tine_payload *payload);
void tine_scheduler_object_retain(tine_scheduler *h, tine_object id);
void tine_scheduler_object_release(tine_scheduler *h, tine_object id);
/* The payload (borrowed) and class of an object, or NULL when there is none. */
tine_payload *tine_scheduler_object_payload(tine_scheduler *h, tine_object id,
                                            const char **class_name);

/* What has become of an open fork of this process, malloc'ed: "\"fib\" runs on worker pid 12 (host
 * a), attempt 1 of 1". NULL: not open. Looks at every task: for error sentences. */
char *tine_scheduler_describe(const tine_scheduler *h, uint64_t ticket);

/* Workers that join from now on are told to record a trace, or not. */
void tine_scheduler_trace(tine_scheduler *h, bool on);

/* The next action, oldest first; false when there is none. What it points to is valid until the
 * next call. */
bool tine_scheduler_next(tine_scheduler *h, tine_scheduler_action *out);
void tine_scheduler_stats_get(const tine_scheduler *h, tine_scheduler_stats *out);
size_t tine_scheduler_workers(const tine_scheduler *h, tine_worker_info *out,
                              size_t room); /* how many there are */
bool tine_scheduler_worker(const tine_scheduler *h, tine_peer peer, tine_worker_info *out);
/* Asserts what must hold between events: credit, window, holders and queues each add up. Walks
 * everything: for tests. */
void tine_scheduler_check(const tine_scheduler *h);

#endif
