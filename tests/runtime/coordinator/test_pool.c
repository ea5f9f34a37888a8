/* The pool as a whole: its list of workers, and waiting until nothing is pending. */
#include <criterion/criterion.h>
#include <math.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/cluster.h"
#include "tests/support/mpirun.h"

TINE_FUNCTION(pool_add, "a, b=1") {
    return tine_int(tine_arg_int(task, 0) + tine_arg_int(task, 1));
}
TINE_FUNCTION(pool_fail, "") { return tine_fail(task, "it broke"); }
TINE_FUNCTION(pool_computes, "") {
    while (!tine_cancelled(task))
        ;
    return tine_none();
}
/* Both calls are the program's own. */
TINE_FUNCTION(pool_drains, "") {
    (void)task;
    return tine_list((int)tine_drain(0), tine_workers(NULL, 0));
}

TRANSPORT_TEST(pool, workers_are_listed, 30) {
    tine_worker_status w[8];
    cr_assert_eq(tine_workers(w, 8), 0);
    cluster_start(endpoint, 2);
    for (int i = 0; i < 10; i++) cr_assert_eq(cluster_take_int(tine_fork("pool_add", i)), i + 1);
    memset(w, 7, sizeof w);
    cr_assert_eq(tine_workers(NULL, 0), 2);
    cr_assert_eq(tine_workers(w, 1), 2);
    cr_assert_eq(w[1].pid, 0x07070707, "one more than there is room for was written");
    cr_assert_eq(tine_workers(w, 8), 2);
    cr_assert(w[0].id != w[1].id && w[0].id && w[1].id);
    cr_assert_eq(w[0].tasks_done + w[1].tasks_done, 10);
    char host[256];
    cr_assert_eq(gethostname(host, sizeof host), 0);
    for (int i = 0; i < 2; i++) {
        cr_assert(w[i].pid > 0 && w[i].rank == -1 && w[i].running == 0 && w[i].kernel[0]);
        cr_assert_eq(strncmp(w[i].host, host, sizeof w[i].host - 1), 0);
    }
    tine_future *f = tine_fork("pool_computes");
    cr_assert_eq(tine_wait_for(f, 0, NULL), TINE_ETIMEDOUT);
    cr_assert_eq(tine_workers(w, 8), 2);
    cr_assert_eq(w[0].running + w[1].running, 1);
    tine_cancel(f, 0);
    tine_release(f);
    cluster_stop();
    cr_assert_eq(tine_workers(w, 8), 0);
}

static atomic_int called;
static void fork_more(tine_future *f, void *ctx) {
    (void)f;
    int left = (int)(intptr_t)ctx;
    called++;
    if (left == 0) return;
    tine_future *more = tine_fork("pool_add", left);
    tine_on_done(more, fork_more, (void *)(intptr_t)(left - 1));
    tine_release(more);
}

TRANSPORT_TEST(pool, a_drain_waits_for_forks_dependents_and_callbacks, 30) {
    cluster_start(endpoint, 2);
    cr_assert_eq(tine_drain(0), TINE_OK);
    for (int i = 0; i < 200; i++) tine_release(tine_fork("pool_add", tine_fork("pool_add", i)));
    tine_future *bad = tine_fork("pool_fail"), *f = tine_fork("pool_add", 1);
    tine_on_done(f, fork_more, (void *)20);
    cr_assert_eq(tine_drain(INFINITY), TINE_OK);
    cr_assert_eq(called, 21);
    cr_assert(tine_done(bad) && tine_done(f));
    cr_assert_eq(tine_wait(bad, NULL), TINE_EFAILED);
    tine_release(bad);
    tine_release(f);
    tine_value *v = cluster_take(tine_fork("pool_drains"));
    cr_assert_eq(tine_as_int(tine_at(v, 0)), TINE_ESTATE);
    tine_release(v);
    cluster_stop();
    cr_assert_eq(tine_drain(1), TINE_ESTATE);
}

static sem_t entered, goes_on;
static void takes_its_time(tine_future *f, void *ctx) {
    (void)f, (void)ctx;
    sem_post(&entered);
    sem_wait(&goes_on);
    called++;
}
/* The deadlines of this thread's waits hold meanwhile. */
TRANSPORT_TEST(pool, a_drain_waits_for_a_callback_that_runs, 30) {
    cluster_start(endpoint, 1);
    sem_init(&entered, 0, 0);
    sem_init(&goes_on, 0, 0);
    called = 0;
    tine_future *f;
    tine_promise *p = tine_promise_new(&f);
    cr_assert_eq(tine_on_done(f, takes_its_time, NULL), TINE_OK);
    tine_release(p);
    sem_wait(&entered); /* on the progress thread */
    cr_assert_eq(tine_drain(0.05), TINE_ETIMEDOUT);
    tine_future *next = tine_fork("pool_add", 1); /* a fork does not wait for it, either */
    cr_assert_eq(tine_wait_for(next, 0.05, NULL), TINE_ETIMEDOUT);
    sem_post(&goes_on);
    cr_assert_eq(cluster_take_int(next), 2);
    cr_assert_eq(tine_drain(INFINITY), TINE_OK);
    cr_assert_eq(called, 1);
    tine_release(f);
    cluster_stop();
}

TRANSPORT_TEST(pool, a_drain_has_a_deadline, 30) {
    cluster_start(endpoint, 1);
    tine_future *promised;
    tine_promise *p = tine_promise_new(&promised);
    tine_future *f = tine_fork("pool_computes"), *held = tine_fork("pool_add", promised);
    cr_assert_eq(tine_drain(0.05), TINE_ETIMEDOUT);
    cr_assert(strstr(tine_error_message(), "2 forks are pending"), "%s", tine_error_message());
    cr_assert_eq(tine_drain(NAN), TINE_EINVAL);
    tine_cancel(f, 0);
    cr_assert_eq(tine_drain(0.05), TINE_ETIMEDOUT);
    cr_assert(strstr(tine_error_message(), "1 fork is pending"), "%s", tine_error_message());
    tine_release(p);
    cr_assert_eq(tine_drain(20), TINE_OK);
    cr_assert_eq(tine_wait(held, NULL), TINE_ECANCELED);
    tine_release(promised);
    tine_release(f);
    tine_release(held);
    cluster_stop();
}

Test(pool, over_mpi, .timeout = 60) {
    tine_need_mpirun();
    tine_ranks_check_leaks_themselves();
    tine_program p = tine_program_run(
        50,
        "TINE_MODULE_DIR=$B TINE_SLOTS=gpu exec mpirun %s --oversubscribe --bind-to none -n 3 %s",
        tine_mpirun_root(), "$B/mpi/pool");
    cr_expect_eq(p.code, 0, "exit code %d: %s%s", p.code, p.out, p.error);
    static const char *const lines[] = {"listed: 5",  "counted: 3", "initialised: 14", "took: 40",
                                        "related: 3", "refused: 1", "deadlocked: 1",   "limited: 3",
                                        "held: 2",    "drained: 1"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        cr_expect(strstr(p.out, lines[i]), "no \"%s\": %s%s", lines[i], p.out, p.error);
    tine_program_fini(&p);
}
