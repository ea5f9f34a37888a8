/* The hub: the coordinator's state machine. Tasks, scheduling, credit, retries, objects and shutdown, without any I/O.
 *
 * Events come in as calls, each with the time; actions go out through tine_hub_next. It reads no clock, opens no socket,
 * takes no lock, and decides the same way for the same events, so a simulator can run it from a seed. One thread at a time.
 *
 * Life of a task: queued (ready, ordered deepest first, then by age, per function) -> running on one worker (counts against its
 * credit) -> perhaps parked (waits for nested forks; does not count) -> done. When a worker is lost, its tasks are queued again
 * if they are repeatable and have attempts left, else they fail with ELOST; nested forks of those tasks, and their results, are
 * thrown away.
 *
 * Credit: a worker gets one task whatever is known of it, and more while the time they are expected to take together (a moving
 * average per function and method of the run time that replies report) stays under `prefetch_ns`, their number under max_credit
 * and their bytes under max_credit_bytes. So long tasks are never queued behind each other while another worker idles, and short
 * ones are pipelined.
 *
 * Choice: for a worker with credit, among the deepest ready tasks that it serves, the one whose objects (modules, put values) it
 * already holds, weighed by bytes; then one whose objects no other worker holds; then the oldest.
 *
 * Objects: kept here as payloads, sent to a worker that asks (FETCH). Held by: handles in the coordinator's program, ready
 * and running tasks that mention them in arguments, running tasks that put them or got them in results of nested forks (until
 * DONE of that task), modules whose constructor arguments mention them, and results not yet taken. When nothing holds one, workers
 * that have it are told to drop it. */
#ifndef TINE_RUNTIME_HUB_H
#define TINE_RUNTIME_HUB_H

#include "runtime/message.h"
#include "transport/transport.h"

typedef struct tine_hub tine_hub;

typedef struct tine_hub_config {
    uint32_t
        expected_workers;  /* so many must have joined before a function that none serves counts as unknown */
    uint32_t max_attempts; /* of a repeatable task: 1 + retries */
    uint32_t max_credit;   /* tasks outstanding at one worker; 0: 256 */
    uint64_t max_credit_bytes; /* of their arguments; one always passes; 0: 256 MiB */
    uint64_t prefetch_ns;      /* expected time of what is outstanding at one worker; 0: 1 ms */
    uint32_t window;           /* nested forks a worker may have unstarted; 0: 4096 */
    int64_t hello_timeout_ns;  /* a peer that has not said HELLO by then is dropped; 0: 5 s */
    bool
        workers_return; /* more workers may come (remote ones, or lost ones are started again): tasks wait for them;
                                  else, when the last one is lost, everything pending fails with ELOST */
    uint64_t objects_made; /* the first object of this process is numbered after these: see the stats */
} tine_hub_config;

typedef enum tine_hub_action_kind {
    TINE_HUB_SEND, /* message to peer */
    TINE_HUB_COMPLETE, /* a fork of this process is done: ticket, status, payload (owned by the receiver now, with a handle on
                          each of payload->refs, given back one by one with tine_hub_object_release) | text */
    TINE_HUB_CUT,    /* drop the peer: text says why; bad: it broke the protocol */
    TINE_HUB_LOG,    /* level, text */
    TINE_HUB_JOINED, /* a worker is ready: peer, hello info by tine_hub_worker */
} tine_hub_action_kind;

typedef struct tine_hub_action {
    tine_hub_action_kind kind;
    tine_peer peer;
    uint64_t ticket;
    tine_error status;
    bool bad;
    int level; /* of a log line: 0 error, 1 warn, 2 info, 3 debug */
    const char *text;
    tine_payload *payload;
    tine_message message;
} tine_hub_action;

typedef struct tine_hub_stats {
    uint64_t forked, completed, failed, retried,
        stale; /* stale: replies dropped for (task, attempt, epoch) */
    uint64_t peers_bad;
    uint64_t ready, running, parked, objects; /* now */
    uint64_t ready_bytes;                     /* arguments of ready tasks of this process */
    uint32_t workers;
    uint64_t objects_made; /* of this process, ever */
} tine_hub_stats;

/* What is known of one worker, for messages, `tine info` and trace rows. */
typedef struct tine_worker_info {
    tine_peer peer;
    uint32_t epoch, pid;
    int32_t rank;
    const char *host, *token, *kernel;
    uint64_t tasks_done;
} tine_worker_info;

tine_error tine_hub_new(tine_hub **out, const tine_hub_config *config);
void tine_hub_free(tine_hub *h); /* every future must have been completed: see tine_hub_stop. Accepts NULL */

/* A fork of this process. `ticket` (not 0) comes back in exactly one COMPLETE. `payload`: the arguments; a reference is taken.
 * Errors: ENOMEM, ESTATE after stop. An unknown function is a COMPLETE with EUNKNOWN, later. */
tine_error tine_hub_fork(tine_hub *h, uint64_t ticket, const tine_target *target, uint32_t flags,
                         tine_payload *payload, int64_t now);
void tine_hub_peer_up(tine_hub *h, tine_peer peer, int64_t now);
/* `reason` is put into the error of its tasks: "killed by signal 9 (SIGKILL)". Unknown peers are ignored. */
void tine_hub_peer_lost(tine_hub *h, tine_peer peer, const char *reason, int64_t now);
/* A decoded message of a peer. A message that makes no sense leads to CUT, never to an abort. */
void tine_hub_message(tine_hub *h, tine_peer peer, const tine_message *m, int64_t now);
/* The peer sent bytes that could not be decoded. */
void tine_hub_garbage(tine_hub *h, tine_peer peer, const char *why, int64_t now);
void tine_hub_tick(tine_hub *h, int64_t now);
int64_t tine_hub_deadline(const tine_hub *h); /* when tick is wanted next; INT64_MAX: never */
/* Local workers that were lost will not be started again, or no more can join: see workers_return. Must be called, too, when an
 * expected worker will never come because it died before its HELLO: the hub does not know of it and would wait. */
void tine_hub_workers_gone(tine_hub *h, const char *reason, int64_t now);
/* All open forks complete with ECANCELED, workers are told to STOP, later forks are refused. */
void tine_hub_stop(tine_hub *h, int64_t now);

/* Objects of this process: one handle is held until tine_hub_object_release. class_name: NULL for a put value. */
tine_error tine_hub_object(tine_hub *h, tine_object *out, const char *class_name, tine_payload *payload);
void tine_hub_object_retain(tine_hub *h, tine_object id);
void tine_hub_object_release(tine_hub *h, tine_object id);
/* The payload (borrowed) and class of an object, or NULL when there is none. */
tine_payload *tine_hub_object_payload(tine_hub *h, tine_object id, const char **class_name);

/* What has become of an open fork of this process, malloc'ed: "\"fib\" runs on worker pid 12 (host a), attempt 1 of 1". NULL: not open.
 * Looks at every task: for error sentences. */
char *tine_hub_describe(const tine_hub *h, uint64_t ticket);

/* Workers that join from now on are told to record a trace, or not. */
void tine_hub_trace(tine_hub *h, bool on);

/* The next action, oldest first; false when there is none. What it points to is valid until the next call. */
bool tine_hub_next(tine_hub *h, tine_hub_action *out);
void tine_hub_stats_get(const tine_hub *h, tine_hub_stats *out);
size_t tine_hub_workers(const tine_hub *h, tine_worker_info *out, size_t room); /* how many there are */
bool tine_hub_worker(const tine_hub *h, tine_peer peer, tine_worker_info *out);
/* Asserts what must hold between events: credit, window, holders and queues each add up. Walks everything: for tests. */
void tine_hub_check(const tine_hub *h);

#endif
