/* The profile: what each process did when, gathered at the coordinator into one Chrome trace on one
 * clock.
 *
 * A process records into a fixed store (TINE_TRACE_EVENTS records of 64 bytes, touched as used),
 * from any thread; when it is full the rest is counted, and the file says so. Off, every call is
 * one relaxed load.
 *
 * Rows: one per process and recording thread, with slices that nest; a fiber's run is cut into one
 * TINE_TRACE_RUN slice for each stretch between resume and yield, because slices of one row must
 * not overlap in part. Suspended waits overlap freely: they are asynchronous events, shown on rows
 * of their own. Arrows join fork, first stretch of the run, and the end of the wait, by an id.
 *
 * A slice is recorded when it ends; no slice may be open across a yield:
 *     int64_t t = tine_trace_begin();
 *     …
 *     tine_trace_end(TINE_TRACE_ENCODE, t, task_name);
 *
 * Where to call what (F = tine_trace_flow(epoch of the owner, 0 for the coordinator; its ticket or
 * seq)):
 *   tine_fork                    FORK slice around it; inside, tine_trace_fork(F, name)
 *   frame encoded/sent/received  ENCODE, SEND, RECEIVE, DECODE slices, named after the message type
 *     or the target
 *   each tine_fiber_resume       RUN slice around it, named after the task; before the first one's
 *     end, tine_trace_run(F, name)
 *   task suspends, goes on          tine_trace_suspend(task id, name) before the yield,
 *     tine_trace_resume(task id, name) after it
 *   tine_wait of the coordinator WAIT slice around it, and before its end tine_trace_wait(F, name);
 *     inside a task, after it goes on: the latter only
 *   where a task is known by another id than F (the scheduler hands out task ids):
 *     tine_trace_link(F, other): both are one arrow
 *   kernels, user code           KERNEL slices
 *   TINE_MSG_WELCOME flag, TINE_MSG_TRACE 0/1, tine_trace_start   tine_trace_record(false/true)
 *   TINE_MSG_TRACE 2             tine_trace_take, answered with EVENTS
 *   PONG                         tine_clock_add; tine_clock_estimate gives offset and error of that
 *     worker at the end */
#ifndef TINE_RUNTIME_TRACE_TRACE_H
#define TINE_RUNTIME_TRACE_TRACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/wire/payload.h"
#include "runtime/tine.h"

enum { TINE_TRACE_EVENTS = 1 << 18, TINE_TRACE_NAME_MAX = 43 };

typedef enum tine_trace_kind {
    TINE_TRACE_RUN = 1,
    TINE_TRACE_FORK,
    TINE_TRACE_WAIT,
    TINE_TRACE_ENCODE,
    TINE_TRACE_DECODE,
    TINE_TRACE_SEND,
    TINE_TRACE_RECEIVE,
    TINE_TRACE_KERNEL,
    TINE_TRACE_LOOP, /* the rest: scheduling, completing */
    TINE_TRACE_KIND_LAST_
} tine_trace_kind;

extern atomic_bool tine_trace_on;
static inline bool tine_tracing(void) {
    return atomic_load_explicit(&tine_trace_on, memory_order_relaxed);
}

int64_t tine_trace_now(void); /* CLOCK_MONOTONIC, ns */
/* An arrow's id: unique over all processes as long as epochs are. */
static inline uint64_t tine_trace_flow(uint32_t epoch, uint64_t ticket) {
    return (uint64_t)epoch << 40 ^ (ticket & (UINT64_MAX >> 24));
}

/* Starts (from an empty store) or stops recording. Starting: ENOMEM. */
tine_error tine_trace_record(bool on);
/* of this thread's row; at first "main" or "thread N" */
void tine_trace_thread_name(const char *name);
/* This thread is a worker inside the coordinator's own process (inproc://): its row belongs to that
 * process. On it, tine_trace_record does nothing and tine_trace_take gives an empty payload. */
void tine_trace_guest(void);

/* 0 when off, and then tine_trace_end does nothing. Names are copied, cut at
 * TINE_TRACE_NAME_MAX. */
static inline int64_t tine_trace_begin(void) { return tine_tracing() ? tine_trace_now() : 0; }
void tine_trace_slice_(tine_trace_kind kind, int64_t begin, const char *name);
static inline void tine_trace_end(tine_trace_kind kind, int64_t begin, const char *name) {
    if (begin != 0) tine_trace_slice_(kind, begin, name);
}

typedef enum tine_trace_point {
    TINE_TRACE_POINT_FORK = 32,
    TINE_TRACE_POINT_RUN,
    TINE_TRACE_POINT_WAIT,
    TINE_TRACE_POINT_LINK,
    TINE_TRACE_POINT_SUSPEND,
    TINE_TRACE_POINT_RESUME,
    TINE_TRACE_POINT_INSTANT,
    TINE_TRACE_POINT_LAST_
} tine_trace_point;
void tine_trace_point_(tine_trace_point point, uint64_t id, uint64_t other, const char *name);
#define TINE_TRACE_POINT_FN_(fn, point)                                                            \
    static inline void fn(uint64_t id, const char *name) {                                         \
        if (tine_tracing()) tine_trace_point_(point, id, 0, name);                                 \
    }
TINE_TRACE_POINT_FN_(tine_trace_fork,
                     /* an arrow starts in the slice around this call */
                     TINE_TRACE_POINT_FORK)
TINE_TRACE_POINT_FN_(tine_trace_run, TINE_TRACE_POINT_RUN)         /* … passes through it */
TINE_TRACE_POINT_FN_(tine_trace_wait, TINE_TRACE_POINT_WAIT)       /* … ends in it */
TINE_TRACE_POINT_FN_(tine_trace_suspend, TINE_TRACE_POINT_SUSPEND) /* task `id` waits from now on */
TINE_TRACE_POINT_FN_(tine_trace_resume, TINE_TRACE_POINT_RESUME)   /* … until now */
static inline void tine_trace_link(uint64_t flow, uint64_t other) {
    if (tine_tracing()) tine_trace_point_(TINE_TRACE_POINT_LINK, flow, other, "");
}
static inline void tine_trace_instant(const char *name) { /* a mark: worker lost, retry */
    if (tine_tracing()) tine_trace_point_(TINE_TRACE_POINT_INSTANT, 0, 0, name);
}

/* What was recorded so far, as a payload whose body is one bytes value (laid out in
 * trace_format.h); the store is empty afterwards. A foreign worker need not have one. Errors:
 * ENOMEM. */
tine_error tine_trace_take(tine_payload **out);

/* One row group of the file. `events`: payloads from this process, in any order; what cannot be
 * read of them is left out and counted. Its clock minus ours is `offset_ns`, give or take
 * error_ns. */
typedef struct tine_trace_process {
    const char *name; /* "coordinator (pid 4711)", "worker 2 (pid 4713, host b)" */
    tine_payload *const *events;
    size_t n_events;
    int64_t offset_ns, error_ns;
} tine_trace_process;
/* Writes the file (through a temporary one beside it, renamed at the end). Process 0 is shown
 * first. Errors: EIO with a sentence, ENOMEM. */
tine_error tine_trace_json(const char *path, const tine_trace_process *processes, size_t n);

/* Another process's clock, from questions and answers: of the last 16, the one with the shortest
 * round trip is taken for symmetric, which it is to within half of that round trip. */
typedef struct tine_clock {
    struct tine_clock_sample {
        int64_t offset, rtt, at;
    } samples[16];
    uint32_t n; /* ever added */
} tine_clock;   /* zeroed: no samples */
/* sent and received: our clock; remote: the other's when it answered. A sample that cannot be
 * (received before sent) is ignored. */
void tine_clock_add(tine_clock *c, int64_t sent, int64_t remote, int64_t received);
/* Other's clock minus ours at `now`. The error grows by 50 ppm of the sample's age (crystals drift
 * apart). False: no samples. */
bool tine_clock_estimate(const tine_clock *c, int64_t now, int64_t *offset, int64_t *error);

#endif
