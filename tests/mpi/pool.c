/* The pool over mpi://: its lists and counts, functions that every worker runs, slots, what a rank
 * refuses, a deadlock, the limits of pending tasks and of a rank's memory, and draining:
 *   TINE_SLOTS=gpu mpirun -n 3 build/mpi/pool   (tests/runtime/coordinator/test_pool.c) */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/mpi/take.h"
#include "transport/base/process.h"

enum { MIB = 1 << 20, ROOM = 400, PENDING = 50 };

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

/* So many MiB, resident at once, which it keeps; then it waits for a fork on another rank. */
TINE_FUNCTION(grows_and_waits, "mib, other") {
    const tine_fork_options there = {.worker = (uint32_t)tine_arg_int(task, 1)};
    void *p = mmap(NULL, (size_t)tine_arg_int(task, 0) * MIB, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (p == MAP_FAILED) return tine_fail(task, "no memory");
    tine_wait(tine_fork_with(&there, "spin"), NULL);
    return tine_none();
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

/* A fork with the task that made it, and the memory of the ranks, which they are asked for. */
TINE_FUNCTION(spins_on, "worker") {
    const tine_fork_options there = {.name = "child", .worker = (uint32_t)tine_arg_int(task, 0)};
    return tine_wait(tine_fork_with(&there, "spin"), NULL) ? NULL : tine_none();
}
static int related(void) {
    tine_worker_status w[2];
    tine_task_status t[2];
    do tine_workers(w, 2);
    while (!w[0].memory || !w[1].memory);
    const tine_fork_options here = {.name = "parent", .worker = w[0].id};
    tine_future *f = tine_fork_with(&here, "spins_on", (int64_t)w[1].id);
    while (tine_tasks(t, 2) < 2 || !t[0].worker || !t[1].worker) tine_workers(w, 2);
    bool second = !strcmp(t[1].name, "parent");
    int n = !strcmp(t[!second].name, "child") && t[!second].worker == w[1].id;
    n += t[second].worker == w[0].id && t[!second].parent == t[second].id;
    n += tine_cancel(f, 0) == TINE_OK;
    tine_release(f);
    return n;
}

/* A rank ends with the job. */
static int refused(void) {
    tine_worker_status w[2];
    tine_workers(w, 2);
    return tine_worker_end(w[0].id, 0) == TINE_EINVAL &&
           strstr(tine_error_message(), "is a thread or a rank");
}

/* While both ranks compute, forks beyond the limit are refused. */
static int limited(void) {
    tine_future *spins = tine_fork_everywhere("spin"), *f[1000];
    int made = 0, n = 0;
    while (made < 1000 && (f[made] = tine_try_fork("add", made))) made++;
    n += made >= PENDING && made < 1000 && tine_last_error() == TINE_EAGAIN &&
         strstr(tine_error_message(), "TINE_MAX_PENDING");
    n += tine_cancel(spins, 0) == TINE_OK;
    tine_release(spins);
    int i = 0;
    while (i < made && take(f[i]) == i + 1) i++;
    return n + (i == made);
}

/* A rank past its limit gets no tasks for longer than some looks take, until it has none: it is not
 * ended. */
static int held(void) {
    tine_worker_status w[2];
    tine_workers(w, 2);
    const tine_fork_options here = {.worker = w[0].id},
                            soon = {.worker = w[0].id, .deadline = 0.25};
    tine_future *grows = tine_fork_with(&here, "grows_and_waits", ROOM + 100, (int64_t)w[1].id);
    for (int in_turn = 0; in_turn < 5;) {
        tine_future *f = tine_fork_with(&soon, "add", 1);
        in_turn = tine_wait(f, NULL) == TINE_ETIMEDOUT ? in_turn + 1 : 0;
        tine_release(f);
    }
    int n = !tine_done(grows) && tine_cancel(grows, 0) == TINE_OK;
    tine_release(grows);
    return n + (take(tine_fork_with(&here, "add", 1)) == 2);
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
    const tine_options o = {.max_pending = PENDING,
                            .max_memory = tine_process_memory() + (size_t)ROOM * MIB};
    if (tine_init(&argc, argv, &o)) {
        fprintf(stderr, "%s\n", tine_error_message());
        return 1;
    }
    printf("listed: %d\n", listed());
    printf("counted: %d\n", counted());
    printf("initialised: %d\n", (int)initialised());
    printf("took: %d\n", took());
    printf("related: %d\n", related());
    printf("refused: %d\n", refused());
    printf("deadlocked: %d\n", (int)take(tine_fork("forks_it")));
    printf("limited: %d\n", limited());
    printf("held: %d\n", held());
    printf("drained: %d\n", drained());
    for (int i = 0; i < 50; i++) tine_release(tine_fork("add", i));
    return tine_shutdown_after(30);
}
