/* The profile: what each process did when, gathered at the coordinator into one file, on one clock.
 * The file is in Chrome's Trace Event Format, whose terms are used here, or in Perfetto's.
 *
 * A process records into a ring (of TINE_TRACE_EVENTS records of 72 bytes unless set otherwise,
 * mapped and touched as they are used), from any thread. When it is full, the newest event replaces
 * the oldest; those lost are counted, and the file says so. While recording is off, every call is
 * one relaxed load.
 *
 * A process and each of its recording threads have a track with nested slices. A fiber's run is one
 * TINE_TRACE_RUN slice from each resume to the next yield: slices of one thread must not overlap in
 * part. A suspended wait is an async event, which may overlap others. Flow events with a common id
 * join a fork, the first slice of its run, and the end of its wait.
 *
 * A slice is recorded when it ends; no slice may be open across a yield:
 *     int64_t t = tine_trace_begin();
 *     ...
 *     tine_trace_end(TINE_TRACE_ENCODE, t, task_name);
 *
 * Where to call what (F = tine_trace_flow(epoch of the owner, 0 for the coordinator; its ticket or
 * seq)):
 *   tine_fork                    a FORK slice; inside it, tine_trace_fork(F, name)
 *   frame encoded/sent/received  ENCODE, SEND, RECEIVE, DECODE slices, named after the message type
 *                                or the target
 *   each resume of a fiber       a RUN slice named after the task; inside the first,
 *                                tine_trace_run(F, name)
 *   task suspends, resumes       tine_trace_suspend(task id, name) before the yield,
 *                                tine_trace_resume(task id, name) after it
 *   tine_wait of the coordinator a WAIT slice; inside it, tine_trace_wait(F, name). In a task only
 *                                tine_trace_wait, once it has resumed
 *   a call outside of tasks      a CALL slice named after the function or method
 *   kernels, user code           KERNEL slices
 * Slices of messages, arguments and results have their bytes: tine_trace_end_bytes.
 *   WELCOME's flag, TRACE 0 or 1, tine_trace_start   tine_trace_record(false or true)
 *   TRACE 2                      tine_trace_take, answered with EVENTS
 *   PONG                         tine_clock_add; at the end tine_clock_estimate gives the offset of
 *                                that worker's clock and its error */
#ifndef TINE_RUNTIME_TRACE_TRACE_H
#define TINE_RUNTIME_TRACE_TRACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/tine.h"
#include "runtime/wire/payload.h"
#include "transport/base/clock.h"

enum { TINE_TRACE_EVENTS = 1 << 18, TINE_TRACE_NAME_MAX = 43, TINE_TRACE_BATCH = 1 << 18 };

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
    TINE_TRACE_CALL, /* a call that the program makes itself */
    TINE_TRACE_KIND_LAST_
} tine_trace_kind;

extern atomic_bool tine_trace_on;
static inline bool tine_tracing(void) {
    return atomic_load_explicit(&tine_trace_on, memory_order_relaxed);
}

/* The id of a fork's flow: unique over all processes as long as epochs are. */
static inline uint64_t tine_trace_flow(uint32_t epoch, uint64_t ticket) {
    return (uint64_t)epoch << 40 ^ (ticket & (UINT64_MAX >> 24));
}

/* How many events the next start has room for. */
void tine_trace_capacity(size_t events);
/* Starts (from an empty store) or stops recording. Starting: ENOMEM. */
tine_error tine_trace_record(bool on);
/* The name of this thread's track; at first "main" or "thread N". */
void tine_trace_thread_name(const char *name);
/* This thread is a worker in the coordinator's own process (inproc://), and recorded as a thread of
 * that process. On it, tine_trace_record does nothing and tine_trace_take gives an empty
 * payload. */
void tine_trace_inproc_worker(void);

/* 0 when off, and then tine_trace_end does nothing. Names are copied, up to
 * TINE_TRACE_NAME_MAX. */
static inline int64_t tine_trace_begin(void) { return tine_tracing() ? tine_clock_ns() : 0; }
void tine_trace_slice_(tine_trace_kind kind, int64_t begin, const char *name, uint64_t bytes);
static inline void tine_trace_end_bytes(tine_trace_kind kind, int64_t begin, const char *name,
                                        uint64_t bytes) {
    if (begin != 0) tine_trace_slice_(kind, begin, name, bytes);
}
static inline void tine_trace_end(tine_trace_kind kind, int64_t begin, const char *name) {
    tine_trace_end_bytes(kind, begin, name, 0);
}

/* Flow, async and instant events: they have a time and no duration. */
typedef enum tine_trace_marker {
    TINE_TRACE_FLOW_START = 32,
    TINE_TRACE_FLOW_STEP,
    TINE_TRACE_FLOW_END,
    TINE_TRACE_ASYNC_BEGIN,
    TINE_TRACE_ASYNC_END,
    TINE_TRACE_INSTANT,
    TINE_TRACE_MARKER_LAST_
} tine_trace_marker;
void tine_trace_marker_(tine_trace_marker marker, uint64_t id, const char *name);

/* The flow `id` starts in the slice around this call ... */
static inline void tine_trace_fork(uint64_t id, const char *name) {
    if (tine_tracing()) tine_trace_marker_(TINE_TRACE_FLOW_START, id, name);
}
/* ... passes through it ... */
static inline void tine_trace_run(uint64_t id, const char *name) {
    if (tine_tracing()) tine_trace_marker_(TINE_TRACE_FLOW_STEP, id, name);
}
/* ... ends in it. */
static inline void tine_trace_wait(uint64_t id, const char *name) {
    if (tine_tracing()) tine_trace_marker_(TINE_TRACE_FLOW_END, id, name);
}
/* Task `id` is suspended from here ... */
static inline void tine_trace_suspend(uint64_t id, const char *name) {
    if (tine_tracing()) tine_trace_marker_(TINE_TRACE_ASYNC_BEGIN, id, name);
}
/* ... to here. */
static inline void tine_trace_resume(uint64_t id, const char *name) {
    if (tine_tracing()) tine_trace_marker_(TINE_TRACE_ASYNC_END, id, name);
}
/* "worker died" */
static inline void tine_trace_instant(const char *name) {
    if (tine_tracing()) tine_trace_marker_(TINE_TRACE_INSTANT, 0, name);
}

/* Events of what was recorded so far, at most TINE_TRACE_BATCH, as a payload whose body is one
 * bytes value (laid out in format.h); the store is empty once there are fewer. So a batch fits into
 * a message. A worker in another language may answer with none. Errors: ENOMEM. */
tine_error tine_trace_take(tine_payload **out);
/* Whether there may be more: it has TINE_TRACE_BATCH events. */
bool tine_trace_is_full(const tine_payload *batch);

/* One process of the file. `events`: its payloads, in any order; what cannot be read of them is
 * left out and counted. Its clock minus ours is offset_ns, within error_ns. */
typedef struct tine_trace_process {
    const char *name; /* "coordinator (pid 4711)", "worker 2 (pid 4713, host b)" */
    tine_payload *const *events;
    size_t n_events;
    int64_t offset_ns, error_ns;
} tine_trace_process;
/* Whether the file's name asks for Perfetto's format: it ends in ".pftrace". */
bool tine_trace_for_perfetto(const char *path);
/* Writes the file, in Perfetto's binary format or in the Trace Event Format. Process 0 is shown
 * first. `last_ns`: leaves out what ended earlier than that before the last event; 0:
 * nothing. Errors: EIO with a sentence, ENOMEM. */
tine_error tine_trace_export(const char *path, const tine_trace_process *processes, size_t n,
                             int64_t last_ns);

/* Another process's clock, from the last 16 round trips: the shortest one is taken to be symmetric,
 * which is wrong by half of it at most. */
typedef struct tine_clock {
    struct tine_clock_sample {
        int64_t offset, rtt, at;
    } samples[16];
    uint32_t n; /* added in all */
} tine_clock;   /* zeroed: no samples */
/* sent and received: our clock; remote: the other's when it answered. An impossible sample
 * (received before sent) is ignored. */
void tine_clock_add(tine_clock *c, int64_t sent, int64_t remote, int64_t received);
/* The other's clock minus ours at `now`. The error grows by 50 ppm of the sample's age, for the
 * drift of two crystals. False: no samples. */
bool tine_clock_estimate(const tine_clock *c, int64_t now, int64_t *offset, int64_t *error);

#endif
