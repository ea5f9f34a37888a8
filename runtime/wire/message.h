/* Messages between coordinator and workers, decoded.
 *
 * The state machines (the scheduler, the executor) take and give these structs and never see bytes;
 * wire.h turns them into frames and back. One flat struct serves all types: the comment of each
 * type names the fields that it uses; the others are zero. Texts, arrays and the payload are
 * borrowed: valid until the call that passes the message returns (scheduler, executor) or the
 * decoded frame is freed (wire). */
#ifndef TINE_RUNTIME_WIRE_MESSAGE_H
#define TINE_RUNTIME_WIRE_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/wire/payload.h"
#include "runtime/tine.h"

enum {
    TINE_PROTOCOL_VERSION = 3,
    /* ids that this library puts into one message, so that it fits the smallest max_frame */
    TINE_MESSAGE_IDS = 4096,
    TINE_MAX_PASSED = 8 << 10, /* bytes of a result that workers pass to each other */
    /* bytes of a HELLO: the most that the coordinator holds for a peer that it does not know yet */
    TINE_MAX_HELLO = 64 << 10,
};

typedef enum tine_message_type {
    /* worker to coordinator */
    TINE_MSG_HELLO = 1, /* hello: first message of a worker */
    /* task, attempt, epoch, status, run_ns, seq, object, payload (the result) | text (status != 0).
     * seq: how many SUBMIT, OBJECT and YIELD messages this attempt of the task has sent; a small
     * DONE may overtake large ones of these, and then waits for them at the coordinator. A worker
     * that never forks, puts or yields sends 0. object: that of TASK when the worker keeps the
     * result under this id; a large one then stays there and payload is NULL. Otherwise 0 */
    TINE_MSG_DONE,
    /* ids: tasks that wait for futures now and do not count against the worker's credit any more */
    TINE_MSG_SUSPEND,
    /* seq, task (the parent), target, flags, payload (arguments): a fork made inside a task */
    TINE_MSG_SUBMIT,
    TINE_MSG_FETCH, /* object: the sender needs it; both ways */
    /* seq, clock (worker's monotonic ns when answering), memory (resident bytes; 0: not known).
     * Where only a message can make this worker go on: received and sent, of the messages for which
     * tine_message_counts; ids: the seqs of the forks that its tasks wait for, 0: and of any other
     * one. Otherwise received is 0 */
    TINE_MSG_PONG,
    TINE_MSG_EVENTS, /* payload: recorded trace events (see trace.h); answers TINE_MSG_TRACE */
    /* coordinator to worker */
    /* epoch, window (nested forks it may have unstarted), flags bit 0: record a trace, bit 1:
     * DEMAND is answered, bit 2: REACH is understood, bit 3: DONE_PASSED is */
    TINE_MSG_WELCOME,
    TINE_MSG_REJECT, /* text: why; the connection ends */
    /* task, attempt, epoch, depth, flow, target, object, payload (arguments). object: the id under
     * which the worker may keep the result; 0: it is to be sent. Values that the arguments mention
     * and that the worker does not have are sent to it without a FETCH */
    TINE_MSG_TASK,
    TINE_MSG_RESULT, /* seq, status, payload | text: answers TINE_MSG_SUBMIT */
    TINE_MSG_CREDIT, /* window: number of further nested forks that may be submitted */
    TINE_MSG_DROP,   /* ids: objects without references */
    TINE_MSG_PING,   /* seq */
    TINE_MSG_TRACE,  /* flags: 0 stop recording, 1 start, 2 send what was recorded */
    TINE_MSG_STOP,   /* end after the tasks that run */
    /* both ways */
    /* object (from a worker: epoch << 40 | n << 1 | 1 for a module, n counting its puts from 1),
     * task (from a worker: the task that put it; 0: it answers a FETCH), text (class, for a
     * module), payload (the value, or the constructor's arguments), status: != 0 answers a FETCH of
     * an object that is not there, text is the reason */
    TINE_MSG_OBJECT,
    /* worker to coordinator */
    /* ids: objects that stay while this connection lasts, whatever else holds them: a module's
     * state or another handle at the worker refers to them. Sent before the DONE of the task
     * through which the worker may refer to them. */
    TINE_MSG_HOLD,
    TINE_MSG_RELEASE, /* ids: objects of HOLD to which the worker does not refer any more */
    /* both ways */
    /* From the coordinator: task is cancelled; one that has not started does not start, and each
     * is answered by DONE as without it. From a worker: the fork `seq` of its task `task` is
     * cancelled, no RESULT is needed; grace_ns: after which the worker that still runs it is ended
     * (UINT64_MAX: it is not) */
    TINE_MSG_CANCEL,
    /* worker to coordinator */
    TINE_MSG_SUBMIT_WITH, /* as SUBMIT, and terms */
    /* both ways */
    /* item, payload: the value number `item`, from 1, of a stream. From a worker: task, attempt,
     * epoch. From the coordinator: seq, of the fork; without a payload: item - 1 values are sent,
     * and RESULT counts once they are there. */
    TINE_MSG_YIELD,
    /* item: the last value of a stream that its owner takes now; 0: it takes none, ever. From the
     * coordinator: task. From a worker: task, seq, of the fork. */
    TINE_MSG_PULL,
    /* observer to coordinator, the only message of an observer: seq, and flags, what is asked for
     * beside a snapshot: TINE_OBSERVE_CANCEL task, TINE_OBSERVE_RESTART the worker of epoch */
    TINE_MSG_OBSERVE,
    /* coordinator to observer: answers OBSERVE. seq, text (what became of what was asked for, or
     * NULL), payload (the state of the job, see WIRE.md) */
    TINE_MSG_SNAPSHOT,
    /* From a worker, once, after a WELCOME with flag bit 1: it keeps nested forks for itself. From
     * the coordinator, as the answer and whenever it wants more of them: seq (how many SUBMITs this
     * connection may have sent in all for them), attempt (the attempts of a repeatable task: for
     * errors) */
    TINE_MSG_DEMAND,
    /* From a worker after a WELCOME with flag bit 2, object 0: other workers can fetch results from
     * it at text (a URL), with seq, a secret. With an object: it cannot be fetched there, text is
     * the reason. From the coordinator, text NULL: other tasks take the result `object` of a task
     * that runs at this worker, so a large one stays; else: the object is to be fetched at text,
     * with seq. Between workers: object is asked for, with seq; OBJECT answers it. */
    TINE_MSG_REACH,
    /* From a worker: it takes no more tasks, and gives back those of ids, which have not begun;
     * again for each TASK that arrives after that. It ends when it receives STOP. From the
     * coordinator: ids are tasks among these that it runs after all */
    TINE_MSG_LEAVE,
    /* ids: pairs. From the coordinator: a task, and the number under which the transport has
     * introduced another worker (tine_transport_ops.pair): a small result of the task is to be sent
     * there, too, as an OBJECT behind the DONE. From a worker: an object that could not be sent so,
     * or 0 (nothing of what the two send each other arrives any more), and the other's number */
    TINE_MSG_PASS,
    /* worker to coordinator, after a WELCOME with flag bit 3 */
    /* as DONE, and ids: the numbers of workers to which the result is passed, so that the
     * coordinator need not send it to them */
    TINE_MSG_DONE_PASSED,
    TINE_MSG_LAST_
} tine_message_type;

/* OBSERVE's flags. */
enum { TINE_OBSERVE_STATE, TINE_OBSERVE_CANCEL, TINE_OBSERVE_RESTART };

/* What is called: a function, or a method of a module. */
typedef struct tine_target {
    const char *name;   /* of the function, or of the module's class */
    const char *method; /* NULL for a function */
    tine_object object; /* the module; 0 for a function */
} tine_target;

/* A copy of a target that lives as long as `texts`, which has room for tine_target_size bytes. */
size_t tine_target_size(const tine_target *t);
tine_target tine_target_copy(char *texts, const tine_target *t);

/* What a fork asks for beyond its call; zeroed: nothing. */
typedef struct tine_terms {
    const char *name;      /* in errors and traces; NULL: the target's */
    const char *label;     /* only on workers that have it; NULL: anywhere */
    const char *resources; /* what it takes of its worker (resources.h); NULL: nothing */
    uint32_t worker;       /* the epoch of the only worker that may run it; 0: any */
    int32_t priority;      /* higher ones start first */
    uint32_t retries;      /* further attempts after its worker was lost, and one; 0: the default */
    uint32_t failure_retries; /* further attempts after it has failed */
    uint32_t stream;          /* values that it may yield before one is taken; 0: none is taken */
    bool initialises;         /* every worker runs it, later ones too; not on the wire */
    bool timed;               /* its owner, the program, ends it at a deadline; not on the wire */
    bool graced;              /* its worker may be ended for it; not on the wire */
} tine_terms;

/* A copy of terms that lives as long as `texts`, which has room for tine_terms_size bytes. */
size_t tine_terms_size(const tine_terms *t); /* accepts NULL */
tine_terms tine_terms_copy(char *texts, const tine_terms *t);

typedef struct tine_hello {
    uint32_t version; /* TINE_PROTOCOL_VERSION */
    uint32_t pid;
    int32_t rank;     /* under a launcher, else -1 */
    const char *host; /* host name */
    /* the value of TINE_TOKEN with which a local worker was started, or "" */
    const char *token;
    const char *kernel;           /* the compute kernel chosen, "avx512"; "" for a foreign worker */
    const char *const *functions; /* names served */
    const char *const *classes;
    const char *const *labels; /* by which forks choose it */
    const char *slots;         /* the resources that it offers (resources.h), or "" */
    uint32_t n_functions, n_classes, n_labels;
} tine_hello;

typedef struct tine_message {
    tine_message_type type;
    tine_error status;
    uint32_t attempt, epoch, depth, flags, window;
    uint64_t task, seq, run_ns, clock;
    /* TASK: joins fork and run in the trace: tine_trace_flow(owner's epoch, its ticket or seq) */
    uint64_t flow;
    uint64_t grace_ns, item, memory, received, sent;
    tine_object object;
    tine_target target;
    const tine_terms *terms; /* SUBMIT_WITH */
    const char *text;
    const uint64_t *ids;
    size_t n_ids;
    tine_payload *payload; /* borrowed like the rest; a holder takes a reference */
    const tine_hello *hello;
} tine_message;

/* WELCOME's flags */
enum {
    TINE_WELCOME_TRACE = 1,
    TINE_WELCOME_DEMAND = 2,
    TINE_WELCOME_REACH = 4,
    TINE_WELCOME_PASSED = 8
};

const char *tine_message_name(const tine_message *m); /* "TASK" */
/* Whether it counts in PONG's `received` or `sent`: what follows HELLO and WELCOME, apart from what
 * the event loops send by themselves. */
static inline bool tine_message_counts(tine_message_type type) {
    return type != TINE_MSG_HELLO && type != TINE_MSG_WELCOME && type != TINE_MSG_PING &&
           type != TINE_MSG_PONG && type != TINE_MSG_TRACE && type != TINE_MSG_EVENTS;
}

/* The parts of the sentence that reports a failed task. */
typedef struct tine_failed {
    const char *name, *cause;
    const char *host; /* of the worker, as its pid and its rank (-1: none) */
    uint32_t pid;
    int32_t rank;
    uint32_t attempt, attempts;
} tine_failed;
/* The sentence, malloc'ed: "task \"fib\" failed on worker pid 12 (host a), attempt 1 of 1: why".
 * NULL: no memory. */
char *tine_failed_text(const tine_failed *f);
/* "worker pid 12 (host a, rank 1)" */
void tine_worker_text(char *out, size_t size, uint32_t pid, const char *host, int32_t rank);

#endif
