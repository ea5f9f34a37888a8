/* How the scheduler's costs grow with the number of workers, without wire and transport: 1,000
 * tasks for each of 100, 1,000 and 10,000 workers. runtime/SCALE.md quotes it.
 *
 * Short tasks are pipelined up to the limit of credit, long ones (longer than the prefetch) go to
 * idle workers one at a time. At most 65,536 tasks are ready, as tine_fork allows. A worker answers
 * its oldest task first, one of each worker in turn. Then a tenth of the workers, all with tasks,
 * is lost at once, and their tasks run again elsewhere.
 *
 * The same for tasks that ask for a label, for slots, or for a worker by its id; of the last kind
 * those of lost workers fail. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/scheduler/scheduler.h"
#include "transport/base/ring.h"

enum { TASKS_PER_WORKER = 1000, MAX_READY = 65536, SHORT_NS = 1000, LONG_NS = 10000000 };

typedef struct sent_task {
    tine_peer peer;
    uint64_t task;
    uint32_t attempt, epoch;
} sent_task;

/* What a fork asks for beside its call. */
typedef enum place { ANYWHERE, BY_LABEL, BY_SLOTS, BY_ID } place;
static place where;
static uint32_t n_workers;

static tine_ring sent = TINE_RING(sent_task);
static uint64_t n_completed, n_failed;
static tine_payload *arguments, *result;
static const tine_target target = {.name = "f"};

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); /* one thread: what others do does not count */
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double heap_bytes(void) {
    struct mallinfo2 m = mallinfo2();
    return (double)(m.uordblks + m.hblkhd);
}

static void drain(tine_scheduler *s) {
    tine_scheduler_action a;
    while (tine_scheduler_next(s, &a)) {
        if (a.kind == TINE_SCHEDULER_COMPLETE) {
            n_completed++;
            n_failed += a.status != TINE_OK && where != BY_ID;
            tine_payload_unref(a.payload);
        } else if (a.kind == TINE_SCHEDULER_SEND && a.message.type == TINE_MSG_TASK) {
            sent_task *t = tine_ring_push(&sent);
            if (!t) abort();
            *t = (sent_task){a.peer, a.message.task, a.message.attempt, a.message.epoch};
        }
    }
}

/* The `n` oldest tasks are done; those of lost workers are stale. */
static void answer(tine_scheduler *s, size_t n, uint64_t run_ns) {
    sent_task t;
    while (n-- > 0 && tine_ring_pop(&sent, &t)) {
        tine_message m = {.type = TINE_MSG_DONE,
                          .task = t.task,
                          .attempt = t.attempt,
                          .epoch = t.epoch,
                          .run_ns = run_ns,
                          .payload = result};
        tine_scheduler_message(s, t.peer, &m, 0);
        drain(s);
    }
}

static void fork_one(tine_scheduler *s) {
    static uint64_t ticket;
    ticket++;
    const tine_terms terms = {.label = where == BY_LABEL ? "big" : NULL,
                              .resources = where == BY_SLOTS ? "gpu=1" : NULL,
                              .worker = where == BY_ID ? 1 + (uint32_t)(ticket % n_workers) : 0};
    tine_scheduler_fork(s, ticket, 0, &target, TINE_REPEATABLE, arguments,
                        where == ANYWHERE ? NULL : &terms, NULL);
    drain(s);
}

static tine_scheduler *scheduler_with(uint32_t workers) {
    tine_scheduler *s = NULL;
    tine_scheduler_config config = {.expected_workers = workers,
                                    .max_attempts = 3,
                                    .workers_return = true,
                                    .workers_most = workers};
    if (tine_scheduler_new(&s, &config)) abort();
    tine_hello hello = {.version = TINE_PROTOCOL_VERSION,
                        .host = "bench",
                        .functions = (const char *const[]){"f"},
                        .labels = (const char *const[]){"big"},
                        .slots = "gpu=4",
                        .n_functions = 1,
                        .n_labels = 1};
    n_workers = workers;
    for (tine_peer p = 1; p <= workers; p++) {
        tine_scheduler_peer_up(s, p, 0);
        tine_scheduler_message(s, p, &(tine_message){.type = TINE_MSG_HELLO, .hello = &hello}, 0);
        drain(s);
    }
    return s;
}

static void scheduler_end(tine_scheduler *s) {
    tine_scheduler_stop(s);
    drain(s);
    tine_scheduler_free(s);
    tine_ring_fini(&sent);
    sent = (tine_ring)TINE_RING(sent_task);
}

/* CPU time of a task from its fork to its COMPLETE. */
static double tasks_run(tine_scheduler *s, uint64_t n, uint64_t run_ns) {
    uint64_t first = n_completed, forked = 0;
    double began = cpu_seconds();
    while (n_completed - first < n) {
        while (forked < n && tine_scheduler_stats_get(s)->ready < MAX_READY) {
            fork_one(s);
            forked++;
        }
        answer(s, 1024, run_ns);
    }
    return (cpu_seconds() - began) / (double)n;
}

/* CPU time for the loss of a tenth of the workers, for each of their tasks, until all are done. */
static double deaths_run(tine_scheduler *s, uint32_t workers, uint64_t run_ns, double *per_worker) {
    while (tine_scheduler_stats_get(s)->ready < workers) fork_one(s);
    uint64_t open = tine_scheduler_stats_get(s)->ready + tine_scheduler_stats_get(s)->running;
    uint64_t first = n_completed;
    double began = cpu_seconds();
    for (tine_peer p = 1; p <= workers / 10; p++) {
        tine_scheduler_peer_lost(s, p, "its host is lost");
        drain(s);
    }
    *per_worker = (cpu_seconds() - began) / (workers / 10);
    while (n_completed - first < open) answer(s, 1024, run_ns);
    return (cpu_seconds() - began) / (double)open;
}

static void measure(uint32_t workers, uint64_t run_ns, const char *tasks) {
    double heap = heap_bytes(), began = cpu_seconds();
    tine_scheduler *s = scheduler_with(workers);
    double join = (cpu_seconds() - began) / workers, per_worker = (heap_bytes() - heap) / workers;
    double task = tasks_run(s, (uint64_t)workers * TASKS_PER_WORKER, run_ns), lost;
    double again = deaths_run(s, workers, run_ns, &lost);
    uint64_t retried = tine_scheduler_stats_get(s)->retried;
    printf("%7u  %-11s  %8.2f  %8.0f  %8.3f  %10.2f  %9.1f  %9.3f  %9llu\n", workers, tasks,
           join * 1e6, per_worker, task * 1e6, 1e-6 / task, lost * 1e6, again * 1e6,
           (unsigned long long)retried);
    scheduler_end(s);
}

/* Of a task that is ready, beside its arguments. */
static double bytes_per_task(void) {
    enum { READY = 1000000 };
    tine_scheduler *s = scheduler_with(0);
    double heap = heap_bytes();
    for (int i = 0; i < READY; i++) fork_one(s);
    double bytes = (heap_bytes() - heap) / READY;
    scheduler_end(s);
    return bytes;
}

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    arguments = tine_payload_new(16, 0, 0);
    result = tine_payload_new(16, 0, 0);
    if (!arguments || !result) return 1;
    memset(arguments->body, 0, 16);
    memset(result->body, 0, 16);
    printf("a ready task: %.0f bytes\n\n", bytes_per_task());
    n_failed = 0; /* those that its scheduler had when it was stopped */
    printf(
        "workers  tasks         us/join   B/worker   us/task   M tasks/s   us/death   us/again    "
        "retried\n");
    static const uint32_t sizes[] = {100, 1000, 10000};
    static const char *const places[] = {"", " label", " slots", " id"};
    for (where = ANYWHERE; where <= BY_ID; where++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            char text[16];
            snprintf(text, sizeof text, "short%s", places[where]);
            measure(sizes[i], SHORT_NS, text);
            snprintf(text, sizeof text, "long%s", places[where]);
            measure(sizes[i], LONG_NS, text);
        }
    tine_payload_unref(arguments);
    tine_payload_unref(result);
    return n_failed > 0;
}
