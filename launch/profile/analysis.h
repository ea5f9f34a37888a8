/* What a profile says: functions, workers, overlap, latencies, the critical path, gaps. Times are
 * in ns. The job is the time from the first fork or call to the last event of a task. */
#ifndef TINE_LAUNCH_PROFILE_ANALYSIS_H
#define TINE_LAUNCH_PROFILE_ANALYSIS_H

#include "launch/profile/intervals.h"
#include "launch/profile/profile.h"

/* A function's tasks, or a kernel's or a called function's slices. */
typedef struct tine_function_profile {
    int32_t name;
    uint8_t kind; /* TINE_TRACE_RUN, TINE_TRACE_KERNEL, TINE_TRACE_CALL */
    size_t n;
    int64_t total;          /* from start to end, with waits */
    int64_t self;           /* running, without what it calls */
    int64_t mean, p50, p99; /* from start to end */
    uint64_t bytes_in, bytes_out;
} tine_function_profile;

/* What a worker did during the job; the times add up to it. */
typedef struct tine_worker_profile {
    int32_t row;
    size_t tasks;
    int64_t busy;         /* runs tasks */
    int64_t sending;      /* encodes, sends, receives, decodes */
    int64_t waits_inside; /* nothing runs, but tasks are suspended here */
    int64_t waits_for;    /* nothing runs or is suspended here, but tasks are under way elsewhere */
    int64_t idle;         /* no task is under way anywhere */
    uint64_t bytes_in, bytes_out; /* of its messages */
} tine_worker_profile;

typedef struct tine_latency {
    size_t n;
    int64_t p50, p99, most;
} tine_latency;

/* What the critical path goes through: the chain of forks, runs and waits that ends last. */
typedef enum tine_path_kind {
    TINE_PATH_PROGRAM, /* the program, between its waits */
    TINE_PATH_RUN,     /* a function runs */
    TINE_PATH_START,   /* it was forked and had not started */
    TINE_PATH_RESUME,  /* what it waited for was done, and it did not run: its worker ran another */
    TINE_PATH_RESULT   /* it was done, and the thread that waited for it had not resumed */
} tine_path_kind;

typedef struct tine_path_part {
    tine_path_kind kind;
    int32_t name;
    size_t n; /* how often the path went through it */
    int64_t ns;
} tine_path_part;

/* A time in which a worker ran nothing. */
typedef struct tine_profile_gap {
    int32_t row;
    int64_t begin, end;
    char cause[200];
} tine_profile_gap;

/* From `at` on so many tasks run at once. */
typedef struct tine_overlap_step {
    int64_t at;
    int running;
} tine_overlap_step;

enum { TINE_GAPS = 5 };

typedef struct tine_analysis {
    tine_interval job;
    tine_function_profile *functions; /* most of its own time first */
    tine_worker_profile *workers;
    int64_t *overlap;                 /* [k]: how long k tasks ran at once, 0 … n_workers */
    tine_overlap_step *steps;         /* by time */
    tine_path_part *path;             /* the longest first */
    tine_profile_gap gaps[TINE_GAPS]; /* the longest first */
    size_t n_functions, n_workers, n_steps, n_path, n_gaps;
    int64_t path_ns;
    tine_latency fork_to_start, done_to_wait;
} tine_analysis;

void tine_analyse(tine_analysis *out, const tine_profile *p);
void tine_analysis_fini(tine_analysis *a); /* accepts a zeroed one */

/* The mean number of tasks that run in each of `n` equal parts of the job. */
void tine_overlap_parts(const tine_analysis *a, size_t n, double *out);

/* "worker 1 (pid 4711, host a)", with the thread's name where the process has several that work.
 * Into `out`, which it returns. */
const char *tine_profile_row_name(const tine_profile *p, int32_t row, char *out, size_t size);

#endif
