/* What the scheduler costs per fork, without wire and transport: a million forks of short tasks on
 * four workers that answer at once, made by the program (at most 65,536 ready, as tine_fork
 * allows), by a task (its window always full), and of a module's method.
 * And what a snapshot for observers costs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/coordinator/snapshot.h"
#include "runtime/scheduler/scheduler.h"

enum { WORKERS = 4, FORKS = 1000000, MAX_READY = 65536 };

typedef struct reply {
    tine_peer peer;
    uint64_t task;
    uint32_t attempt, epoch;
} reply;

static reply replies[1 << 20];
static size_t n_replies, n_completed, n_results;
static uint32_t credit;
static tine_payload *result;

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); /* one thread: what others do does not count */
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void drain(tine_scheduler *s) {
    tine_scheduler_action a;
    while (tine_scheduler_next(s, &a)) {
        if (a.kind == TINE_SCHEDULER_COMPLETE) {
            n_completed++;
            tine_payload_unref(a.payload);
        } else if (a.kind == TINE_SCHEDULER_SEND && a.message.type == TINE_MSG_TASK) {
            replies[n_replies++] =
                (reply){a.peer, a.message.task, a.message.attempt, a.message.epoch};
        } else if (a.kind == TINE_SCHEDULER_SEND && a.message.type == TINE_MSG_RESULT) {
            n_results++;
        } else if (a.kind == TINE_SCHEDULER_SEND && a.message.type == TINE_MSG_CREDIT) {
            credit += a.message.window;
        }
    }
}

static void answer_all(tine_scheduler *s) {
    size_t n = n_replies;
    static reply now[1 << 20];
    memcpy(now, replies, n * sizeof *now);
    n_replies = 0;
    for (size_t i = 0; i < n; i++) {
        tine_message m = {.type = TINE_MSG_DONE,
                          .task = now[i].task,
                          .attempt = now[i].attempt,
                          .epoch = now[i].epoch,
                          .run_ns = 1000,
                          .payload = result};
        tine_scheduler_message(s, now[i].peer, &m, 0);
    }
    drain(s);
}

static tine_scheduler *open_scheduler(tine_peer workers) {
    tine_scheduler *s = NULL;
    tine_scheduler_config config = {.expected_workers = (uint32_t)workers};
    if (tine_scheduler_new(&s, &config)) return NULL;
    for (tine_peer p = 1; p <= workers; p++) {
        tine_hello hello = {.version = TINE_PROTOCOL_VERSION,
                            .host = "bench",
                            .functions = (const char *const[]){"f"},
                            .n_functions = 1,
                            .classes = (const char *const[]){"C"},
                            .n_classes = 1};
        tine_scheduler_peer_up(s, p, 0);
        tine_scheduler_message(s, p, &(tine_message){.type = TINE_MSG_HELLO, .hello = &hello}, 0);
    }
    drain(s);
    n_completed = n_results = n_replies = 0;
    credit = 4096;
    return s;
}

static void close_scheduler(tine_scheduler *s, const char *name, double began) {
    printf("%-44s %6.3f us per fork\n", name, (seconds() - began) * 1e6 / FORKS);
    tine_scheduler_stop(s);
    drain(s);
    tine_scheduler_free(s);
}

static void program_forks(const char *name, tine_object module, tine_scheduler *s,
                          tine_payload *arguments) {
    tine_target target =
        module ? (tine_target){"C", "forward", module} : (tine_target){.name = "f"};
    double began = seconds();
    tine_scheduler_stats stats;
    for (uint64_t ticket = 1; ticket <= FORKS; ticket++) {
        tine_scheduler_fork(s, ticket, 0, &target, 0, arguments, NULL, NULL);
        if (ticket % 64) continue;
        drain(s);
        stats = *tine_scheduler_stats_get(s);
        while (stats.ready >= MAX_READY) {
            answer_all(s);
            stats = *tine_scheduler_stats_get(s);
        }
    }
    drain(s);
    while (n_completed < FORKS) answer_all(s);
    close_scheduler(s, name, began);
}

static void nested_forks(tine_payload *arguments) {
    tine_scheduler *s = open_scheduler(WORKERS);
    double began = seconds();
    tine_scheduler_fork(s, 1, 0, &(tine_target){.name = "f"}, 0, arguments, NULL, NULL);
    drain(s);
    reply root = replies[0];
    n_replies = 0;
    tine_scheduler_message(
        s, root.peer, &(tine_message){.type = TINE_MSG_SUSPEND, .ids = &root.task, .n_ids = 1}, 0);
    for (uint64_t seq = 1; seq <= FORKS;) {
        for (; credit && seq <= FORKS; credit--, seq++) {
            tine_message m = {.type = TINE_MSG_SUBMIT,
                              .task = root.task,
                              .seq = seq,
                              .target = {.name = "f"},
                              .payload = arguments};
            tine_scheduler_message(s, root.peer, &m, 0);
        }
        drain(s);
        answer_all(s);
    }
    while (n_results < FORKS) answer_all(s);
    close_scheduler(s, "nested, window of 4096", began);
}

/* What an observer costs the job: 20 times a second at most (runtime/coordinator/observers.c). */
static void snapshots(tine_payload *arguments) {
    enum { ROUNDS = 1000, MANY = 1000 };
    tine_scheduler *s = open_scheduler(MANY);
    const tine_snapshot_place place = {.endpoint = "ipc:///tmp/bench", .host = "bench"};
    for (uint64_t ticket = 1; ticket <= 3 * MANY; ticket++)
        tine_scheduler_fork(s, ticket, 0, &(tine_target){.name = "f"}, 0, arguments, NULL, NULL);
    drain(s);
    double began = seconds();
    for (int i = 0; i < ROUNDS; i++) {
        tine_payload *p = NULL;
        if (tine_snapshot_encode(s, &place, &p)) abort();
        tine_payload_unref(p);
    }
    double each = (seconds() - began) / ROUNDS;
    printf("%-44s %6.1f us, 20 a second take %.2f %% of a core\n", "snapshot of 1,000 workers",
           1e6 * each, 2000 * each);
    tine_scheduler_stop(s);
    drain(s);
    tine_scheduler_free(s);
}

int main(void) {
    tine_payload *arguments = tine_payload_new(16, 0, 0);
    result = tine_payload_new(16, 0, 0);
    if (!arguments || !result) return 1;
    memset(arguments->body, 0, 16);
    memset(result->body, 0, 16);
    program_forks("by the program, up to 65536 ready", 0, open_scheduler(WORKERS), arguments);
    nested_forks(arguments);
    tine_scheduler *s = open_scheduler(WORKERS);
    tine_object module = 0;
    tine_scheduler_object(s, &module, "C", arguments);
    program_forks("a module's method", module, s, arguments);
    snapshots(arguments);
    tine_payload_unref(arguments);
    tine_payload_unref(result);
    return 0;
}
