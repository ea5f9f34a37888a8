/* The pool over mpi://: its lists and counts, functions that every worker runs, slots, what a rank
 * refuses, a deadlock, and draining:
 *   TINE_SLOTS=gpu mpirun -n 3 build/mpi/pool   (tests/runtime/coordinator/test_pool.c) */
#include <stdio.h>
#include <string.h>

#include "tests/mpi/take.h"

static int prepared;
static int taking, most_taking; /* of this rank's tasks in `takes`, which are suspended */

TINE_FUNCTION(add, "a, b=1") { return tine_int(tine_arg_int(task, 0) + tine_arg_int(task, 1)); }
TINE_FUNCTION(prepare, "n") {
    prepared += (int)tine_arg_int(task, 0);
    return tine_none();
}
TINE_FUNCTION(is_prepared, "") {
    (void)task;
    return tine_int(prepared);
}
TINE_FUNCTION(spin, "") {
    while (!tine_cancelled(task))
        ;
    return tine_none();
}

TINE_FUNCTION(takes, "") {
    (void)task;
    if (++taking > most_taking) most_taking = taking;
    take(tine_fork("add", 1));
    taking--;
    return tine_int(most_taking);
}

/* A task that waits for its own future, which its parent has left there. */
static tine_future *own;
TINE_FUNCTION(waits_for_itself, "") {
    (void)task;
    tine_wait(tine_ref(own), NULL);
    return NULL;
}
TINE_FUNCTION(forks_it, "") {
    (void)task;
    own = tine_fork_with(TINE_FORK_OPTIONS(.worker = tine_worker_id()), "waits_for_itself");
    return tine_int(tine_wait(own, NULL) == TINE_EDEADLK &&
                    strstr(tine_error_message(), "\"waits_for_itself\" can never be done"));
}

static int listed(void) {
    tine_worker_status w[3];
    for (int i = 0; i < 10; i++) take(tine_fork("add", i));
    int n = tine_workers(w, 3) == 2;
    for (int i = 0; i < 2; i++)
        n += w[i].pid > 0 && w[i].host[0] && w[i].running == 0 && !strcmp(w[i].state, "idle") &&
             !strcmp(w[i].slots, "gpu");
    n += w[0].rank + w[1].rank == 3 && w[0].id != w[1].id;
    return n + (w[0].tasks_done + w[1].tasks_done == 10);
}

static int counted(void) {
    tine_task_status t[4];
    tine_counts c;
    tine_future *f = tine_fork_with(TINE_FORK_OPTIONS(.name = "spins"), "spin");
    int n = tine_tasks(t, 4) == 1 && !strcmp(t[0].name, "spins") && t[0].id != 0;
    n += tine_count(&c) == TINE_OK && c.forked == 11 && c.completed == 10 &&
         c.ready + c.running == 1;
    n += tine_cancel(f, 0) == TINE_OK && tine_wait(f, NULL) == TINE_ECANCELED;
    tine_release(f);
    return n;
}

static int64_t initialised(void) {
    tine_future *f = tine_initialise("prepare", 7);
    int64_t n = tine_wait(f, NULL) ? -1 : 0;
    tine_release(f);
    tine_value *v = NULL;
    f = tine_fork_everywhere("is_prepared");
    if (tine_wait(f, &v)) fprintf(stderr, "%s\n", tine_error_message());
    for (size_t i = 0; v && i < tine_length(v); i++) n += tine_as_int(tine_at(v, i));
    tine_release(v);
    tine_release(f);
    return n;
}

/* One at a time on each rank. */
static int took(void) {
    tine_future *f[40];
    int n = 0;
    for (int i = 0; i < 40; i++)
        f[i] = tine_fork_with(TINE_FORK_OPTIONS(.resources = "gpu"), "takes");
    for (int i = 0; i < 40; i++) n += take(f[i]) == 1;
    return n;
}

/* A rank ends with the job. */
static int refused(void) {
    tine_worker_status w[2];
    tine_workers(w, 2);
    return tine_worker_end(w[0].id, 0) == TINE_EINVAL &&
           strstr(tine_error_message(), "is a thread or a rank");
}

static int drained(void) {
    tine_future *last = NULL;
    for (int i = 0; i < 100; i++) {
        tine_release(last);
        last = tine_fork("add", tine_fork("add", i));
    }
    int n = tine_drain(30) == TINE_OK && tine_done(last);
    tine_release(last);
    return n;
}

int main(int argc, char **argv) {
    if (tine_init(&argc, argv, NULL)) {
        fprintf(stderr, "%s\n", tine_error_message());
        return 1;
    }
    printf("listed: %d\n", listed());
    printf("counted: %d\n", counted());
    printf("initialised: %d\n", (int)initialised());
    printf("took: %d\n", took());
    printf("refused: %d\n", refused());
    printf("deadlocked: %d\n", (int)take(tine_fork("forks_it")));
    printf("drained: %d\n", drained());
    for (int i = 0; i < 50; i++) tine_release(tine_fork("add", i));
    return tine_shutdown_after(30);
}
