/* A job that is to survive its workers. Run by tests/check_survive and tests/check_rejoin:
 *   tine run --survive -n N build/mpi/survive [once]
 *
 * It keeps tasks running (with `once`, such that must not run twice) until a line, or the end,
 * comes on standard input. It says when a worker has finished its first task ("joined ID PID HOST
 * at MS") and when one is gone ("lost ID PID HOST at MS"), and at the end how many tasks there were
 * and how many had no or a wrong answer. Its status is 7. */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "runtime/tine.h"

enum { PENDING = 64, MAX_WORKERS = 16, TASK_NS = 2000000 };

static tine_worker_status known[MAX_WORKERS];
static size_t n_known;

static long long now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static tine_value *triple_of(tine_task *task) {
    for (long long end = now_ns() + TASK_NS; now_ns() < end;) {
    }
    return tine_int(3 * tine_arg_int(task, 0));
}

TINE_REPEATABLE_FUNCTION(triple, "i") { return triple_of(task); }
TINE_FUNCTION(triple_once, "i") { return triple_of(task); }

static void say(const char *what, const tine_worker_status *w) {
    printf("%s %u %d %s at %lld\n", what, w->id, w->pid, w->host, now_ns() / 1000000);
    fflush(stdout);
}

static const tine_worker_status *find(const tine_worker_status *in, size_t n, uint32_t id) {
    for (size_t i = 0; i < n; i++)
        if (in[i].id == id) return &in[i];
    return NULL;
}

static void look(void) {
    tine_worker_status w[MAX_WORKERS];
    size_t n = tine_workers(w, MAX_WORKERS), kept = 0;
    for (size_t i = 0; i < n_known; i++)
        if (!find(w, n, known[i].id)) say("lost", &known[i]);
    for (size_t i = 0; i < n; i++) {
        bool old = find(known, n_known, w[i].id);
        if (!old && !w[i].tasks_done) continue;
        if (!old) say("joined", &w[i]);
        w[kept++] = w[i];
    }
    memcpy(known, w, kept * sizeof *w);
    n_known = kept;
}

/* False: no answer, or a wrong one. */
static bool take(tine_future *f, long i) {
    tine_value *v = NULL;
    tine_error e;
    while ((e = tine_wait_for(f, 0.005, &v)) == TINE_ETIMEDOUT) look();
    bool good = e == TINE_OK && tine_as_int(v) == 3 * i;
    if (!good) printf("task %ld: %s\n", i, e ? tine_error_message() : "wrong");
    tine_release(v);
    tine_release(f);
    return good;
}

int main(int argc, char **argv) {
    tine_future *pending[PENDING];
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    long forked = 0, taken = 0, lost = 0;
    if (tine_init(&argc, argv, NULL)) {
        fprintf(stderr, "%s\n", tine_error_message());
        return 1;
    }
    const char *function = argc > 1 && !strcmp(argv[1], "once") ? "triple_once" : "triple";
    while (poll(&in, 1, 0) == 0 || taken < forked) {
        for (bool more = poll(&in, 1, 0) == 0; more && forked - taken < PENDING; forked++)
            pending[forked % PENDING] = tine_fork(function, forked);
        if (taken == forked) break;
        lost += !take(pending[taken % PENDING], taken);
        taken++;
        look();
    }
    printf("%ld tasks, %ld lost\n", taken, lost);
    return tine_shutdown() ? 1 : 7;
}
