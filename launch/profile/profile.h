/* A trace that was read back: what `tine trace` computes from and draws.
 *
 * The file's events become slices (what a thread did), tasks (a fork, its runs, its wait) and
 * spans (a task that waits, suspended). Times are ns from the first event. Indexes are used where
 * arrays refer to each other; TINE_NO_INDEX is none. */
#ifndef TINE_LAUNCH_PROFILE_PROFILE_H
#define TINE_LAUNCH_PROFILE_PROFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/trace/trace.h"
#include "transport/base/idmap.h"

enum { TINE_NO_INDEX = -1 };
enum { TINE_SLICE_OTHER = 0 }; /* beside tine_trace_kind: a slice of another program */

typedef struct tine_slice {
    int64_t begin, end;
    uint64_t bytes; /* of a message, of arguments, of a result; else 0 */
    int32_t name, row;
    int32_t around; /* the slice that contains it */
    int32_t task;   /* whose run it is */
    uint8_t kind;   /* tine_trace_kind */
    uint8_t depth;  /* how many slices are around it */
} tine_slice;

typedef struct tine_profiled_task {
    uint64_t id;
    int32_t name;
    int32_t parent;               /* the task that forked it; TINE_NO_INDEX: the program */
    int32_t fork, wait;           /* the slices in which it is forked and waited for */
    int32_t first_run, last_run;  /* slices */
    int32_t next_of_wait;         /* another task waited for in the same slice */
    int64_t forked, waited;       /* -1: not recorded */
    int64_t started, ended;       /* of its first and last run; -1: never ran */
    int64_t run_ns;               /* sum of its runs */
    uint64_t bytes_in, bytes_out; /* arguments, result */
} tine_profiled_task;

typedef struct tine_span {
    int64_t begin, end;
    int32_t name, row;
} tine_span;

/* A thread of a process. */
typedef struct tine_profile_row {
    uint32_t process, thread;
    int32_t process_name, thread_name, label; /* names; label: "clock within 0.1 us" */
    uint32_t first, n;                        /* its slices */
    uint8_t depth;                            /* the deepest one + 1 */
    bool worker;                              /* it has run tasks */
} tine_profile_row;

typedef struct tine_profile {
    char **names;
    tine_slice *slices; /* by row, then begin; the longer one first */
    tine_profiled_task *tasks;
    tine_span *suspended;
    tine_profile_row *rows; /* by process and thread */
    tine_span *marks;       /* instants: begin = end, row: any of the process */
    int32_t *waits;         /* per slice: the first task waited for in it */
    size_t n_names, n_slices, n_tasks, n_suspended, n_rows, n_marks, room_names;
    tine_idmap by_name;  /* hash to index + 1 */
    int64_t end;         /* of the last event */
    uint64_t lost;       /* events that the recording processes dropped */
    uint64_t unreadable; /* events without a time, a process or a thread */
} tine_profile;

/* Reads a trace in the Trace Event Format. False: `why` has a sentence that names the file. Running
 * out of memory ends the process. */
bool tine_profile_read(tine_profile *out, const char *path, char *why, size_t size);
void tine_profile_fini(tine_profile *p); /* accepts a zeroed one */

/* The index of a name, which is added if it is new. Control characters become '?', and a long one
 * is cut: it comes from a file. */
int32_t tine_profile_name(tine_profile *p, const char *raw);

#endif
