/* Promises, continuations and combinations: in the program, in tasks, from other threads, as
 * arguments of forks; broken ones, and those that a shutdown finds open. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

#include "tests/support/cluster.h"
#include "tests/support/mpirun.h"
#include "runtime/value/value.h"

TINE_FUNCTION(test_add, "a, b=1") {
    return tine_int(tine_arg_int(task, 0) + tine_arg_int(task, 1));
}
TINE_FUNCTION(test_runs, "") {
    while (!tine_cancelled(task))
        ;
    return tine_none();
}
TINE_FUNCTION(test_fail, "") { return tine_fail(task, "it broke"); }

static void expect(tine_future *f, tine_error e, const char *part) {
    cr_assert_eq(tine_wait(f, NULL), e, "%s", tine_error_message());
    cr_assert(strstr(tine_error_message(), part), "%s", tine_error_message());
}

TRANSPORT_TEST(promises, one_is_completed_once_and_is_an_argument, 20) {
    cluster_start(endpoint, 1);
    tine_future *f;
    tine_promise *p = tine_promise_new(&f);
    tine_future *sum = tine_fork("test_add", f, 2),
                *list = tine_fork("sum", tine_list(f, 1, tine_fork("test_add", f)));
    cr_assert(!tine_done(f) && !tine_done(sum));
    cr_assert_eq(tine_wait_for(f, 0.01, NULL), TINE_ETIMEDOUT);
    cr_assert_eq(tine_promise_set(p, tine_int(40)), TINE_OK);
    cr_assert(tine_done(f));
    cr_assert_eq(tine_promise_set(p, tine_int(41)), TINE_ESTATE);
    cr_assert_eq(tine_promise_fail(p, TINE_EFAILED, "no"), TINE_ESTATE);
    cr_assert_eq(cluster_take_int(sum), 42);
    (void)list;
    cr_assert_eq(cluster_take_int(f), 40);
    tine_release(p);
    cluster_stop();
}

TRANSPORT_TEST(promises, one_does_not_take_its_own_future, 20) {
    cluster_start(endpoint, 1);
    tine_future *f;
    tine_promise *p = tine_promise_new(&f);
    cr_assert_eq(tine_promise_set(p, tine_list(1, tine_list(f))), TINE_EDEADLK);
    cr_assert(strstr(tine_error_message(), "its own future"), "%s", tine_error_message());
    cr_assert_eq(tine_promise_set(p, tine_int(3)), TINE_OK);
    cr_assert_eq(cluster_take_int(f), 3);
    tine_release(p);
    cluster_stop();
}

TRANSPORT_TEST(promises, a_failure_reaches_dependents, 20) {
    cluster_start(endpoint, 1);
    tine_future *f, *g, *after;
    tine_promise *p = tine_promise_new(&f), *q = tine_promise_new(&g);
    after = tine_fork("test_add", f);
    cr_assert_eq(tine_promise_fail(p, TINE_OK, "no"), TINE_EINVAL);
    cr_assert_eq(tine_promise_fail(p, TINE_ENDED, "no"), TINE_EINVAL);
    cr_assert_eq(tine_promise_fail(p, TINE_EIO, "disk %d is full", 3), TINE_OK);
    expect(f, TINE_EIO, "disk 3 is full");
    expect(after, TINE_EIO, "disk 3 is full");
    /* NULL: the failure of its maker */
    cr_assert_eq(tine_promise_set(q, tine_string("\xff")), TINE_EINVAL);
    expect(g, TINE_EINVAL, "UTF-8");
    tine_future *all[] = {f, g, after};
    for (int i = 0; i < 3; i++) tine_release(all[i]);
    tine_release(p);
    tine_release(q);
    cr_assert_eq(tine_promise_set(NULL, tine_none()), TINE_EINVAL);
    cr_assert_null(tine_promise_new(NULL));
    cluster_stop();
    cr_assert_null(tine_promise_new(&f));
    cr_assert_eq(tine_last_error(), TINE_ESTATE);
    cr_assert_null(f);
}

/* Also one whose result would go to the task's worker by itself. */
TRANSPORT_TEST(promises, a_fork_fails_with_an_argument_while_another_one_is_open, 20) {
    cluster_start(endpoint, 1);
    tine_future *f;
    tine_promise *p = tine_promise_new(&f);
    tine_future *broken = tine_fork("test_fail"), *after = tine_fork("test_add", broken, f),
                *last = tine_fork("test_add", f, after);
    expect(after, TINE_EFAILED, "it broke");
    expect(last, TINE_EFAILED, "it broke");
    cr_assert(!tine_done(f));
    cr_assert_eq(tine_promise_set(p, tine_int(1)), TINE_OK);
    tine_future *all[] = {f, broken, after, last};
    for (int i = 0; i < 4; i++) tine_release(all[i]);
    tine_release(p);
    cluster_stop();
}

/* What is still open may be so for long. */
TRANSPORT_TEST(promises, a_fork_that_has_failed_lets_its_arguments_go, 20) {
    cluster_start(endpoint, 1);
    tine_future *f, *runs = tine_fork("test_runs");
    tine_promise *p = tine_promise_new(&f);
    tine_value *large = tine_string("large"), *list = tine_list(large, f, runs);
    tine_future *after = tine_fork("sum", list);
    tine_release(list);
    cr_assert_eq(large->handle.refs, 2);
    cr_assert_eq(tine_promise_fail(p, TINE_EIO, "no"), TINE_OK);
    cr_assert_eq(tine_wait(after, NULL), TINE_EIO);
    cr_assert_not(tine_done(runs));
    cr_assert_eq(large->handle.refs, 1);
    tine_cancel(runs, 0);
    tine_value *all[] = {large, (tine_value *)f, (tine_value *)runs, (tine_value *)after};
    for (int i = 0; i < 4; i++) tine_release(all[i]);
    tine_release(p);
    cluster_stop();
}

/* Those who waited would wait for ever. */
TRANSPORT_TEST(promises, one_that_is_released_open_fails_its_future, 20) {
    cluster_start(endpoint, 1);
    tine_future *f;
    tine_promise *p = tine_promise_new(&f), *other = tine_ref(p);
    tine_future *after = tine_fork("test_add", f);
    tine_release(p);
    cr_assert(!tine_done(f));
    tine_release(other);
    cr_assert(tine_done(f));
    expect(after, TINE_ECANCELED, "released before it was completed");
    tine_release(f);
    tine_release(after);
    cluster_stop();
}

static void *set_later(void *promise) {
    tine_value *v = tine_int(7);
    tine_promise_set(promise, v);
    tine_release(v);
    tine_release((tine_promise *)promise);
    return NULL;
}

TRANSPORT_TEST(promises, another_thread_completes_what_this_one_waits_for, 30) {
    cluster_start(endpoint, 1);
    for (int i = 0; i < 50; i++) {
        tine_future *f;
        pthread_t thread;
        tine_promise *p = tine_promise_new(&f);
        tine_future *after = tine_fork("test_add", f);
        cr_assert_eq(pthread_create(&thread, NULL, set_later, p), 0);
        cr_assert_eq(cluster_take_int(i % 2 ? f : after), i % 2 ? 7 : 8);
        cr_assert_eq(cluster_take_int(i % 2 ? after : f), i % 2 ? 8 : 7);
        pthread_join(thread, NULL);
    }
    cluster_stop();
}

static void *release_later(void *promise) {
    tine_release((tine_promise *)promise);
    return NULL;
}

/* The task waits, its worker does other work, and a thread that the task has started wakes it. */
TINE_FUNCTION(test_thread_completes, "set") {
    tine_future *f;
    pthread_t thread;
    tine_value *v = NULL;
    tine_promise *p = tine_promise_new(&f);
    if (!p) return NULL;
    tine_ref(p);
    tine_future *after = tine_fork("test_add", f, 2);
    if (pthread_create(&thread, NULL, tine_arg_int(task, 0) ? set_later : release_later, p))
        return tine_fail(task, "no thread");
    tine_release(p);
    tine_error e = tine_wait(after, &v);
    pthread_join(thread, NULL);
    return e ? NULL : v;
}

TRANSPORT_TEST(promises, a_thread_of_a_task_completes_one, 30) {
    cluster_start(endpoint, 1);
    for (int i = 0; i < 20; i++)
        cr_assert_eq(cluster_take_int(tine_fork("test_thread_completes", 1)), 9);
    tine_future *f = tine_fork("test_thread_completes", 0);
    expect(f, TINE_ECANCELED, "released before it was completed");
    tine_release(f);
    cluster_stop();
}

/* The worker ends while a thread still holds the promise. */
static tine_promise *outlives;
TINE_FUNCTION(test_leaves_a_promise, "") {
    (void)task;
    tine_future *f;
    outlives = tine_ref(tine_promise_new(&f));
    return tine_int(1);
}
Test(promises, one_outlives_its_worker, .timeout = 20) {
    cluster_start("inproc://*", 1);
    cr_assert_eq(cluster_take_int(tine_fork("test_leaves_a_promise")), 1);
    cluster_stop();
    tine_value *v = tine_int(1);
    cr_assert_eq(tine_promise_set(outlives, v), TINE_ECANCELED);
    tine_release(v);
    tine_release(outlives);
}

/* A promise that its task forgets: what depends on it fails, and the task ends. */
TINE_FUNCTION(test_forgets, "") {
    (void)task;
    tine_future *f;
    if (!tine_promise_new(&f)) return NULL;
    return tine_list(tine_fork("test_add", f));
}
TRANSPORT_TEST(promises, a_task_that_forgets_one_ends, 20) {
    cluster_start(endpoint, 1);
    tine_future *f = tine_fork("test_forgets");
    expect(f, TINE_ECANCELED, "released before it was completed");
    tine_release(f);
    cluster_stop();
}

TRANSPORT_TEST(promises, a_shutdown_cancels_what_is_open, 20) {
    cluster_start(endpoint, 1);
    tine_future *f, *one = tine_fork("test_add", 1);
    tine_promise *p = tine_promise_new(&f);
    tine_future *after = tine_fork("test_add", f), *both[] = {f, one},
                *all = tine_when_all(both, 2);
    cluster_stop();
    expect(f, TINE_ECANCELED, "shut down");
    expect(after, TINE_ECANCELED, "shut down");
    expect(all, TINE_ECANCELED, "shut down");
    cr_assert_eq(tine_promise_set(p, tine_none()), TINE_ECANCELED);
    tine_release(p);
    tine_release(f);
    tine_release(one);
    tine_release(after);
    tine_release(all);
}

/* ---- continuations ---- */

static tine_value *twice(tine_future *f, void *ctx) {
    tine_value *v = NULL;
    if (tine_wait(f, &v)) return NULL;
    int64_t i = tine_as_int(v);
    tine_release(v);
    ++*(int *)ctx;
    return tine_int(2 * i);
}
static tine_value *recover(tine_future *f, void *ctx) {
    (void)ctx;
    return tine_int(tine_wait(f, NULL) == TINE_EFAILED ? -1 : 0);
}
static tine_value *silent(tine_future *f, void *ctx) {
    (void)f, (void)ctx;
    return NULL;
}

static int64_t chain(int *calls) {
    tine_future *a = tine_fork("test_add", 1, 2), *b = tine_then(a, twice, calls),
                *c = tine_then(b, twice, calls),
                *d = tine_fork("test_add", c, tine_then(a, twice, calls));
    tine_value *v = NULL;
    tine_error e = tine_wait(d, &v);
    int64_t i = e ? -1 : tine_as_int(v);
    tine_release(v);
    return i;
}
TINE_FUNCTION(test_chain, "") {
    (void)task;
    int calls = 0;
    int64_t i = chain(&calls);
    return tine_int(i + 100 * calls);
}

TRANSPORT_TEST(promises, continuations_chain_in_the_program_and_in_tasks, 20) {
    cluster_start(endpoint, 1);
    for (int i = 0; i < 20; i++) {
        int calls = 0;
        cr_assert_eq(chain(&calls), 18);
        cr_assert_eq(calls, 3);
        cr_assert_eq(cluster_take_int(tine_fork("test_chain")), 318);
    }
    cluster_stop();
}

TRANSPORT_TEST(promises, failures_pass_through_or_are_recovered, 20) {
    cluster_start(endpoint, 1);
    int calls = 0;
    tine_future *bad = tine_fork("test_fail"), *b = tine_then(bad, twice, &calls),
                *c = tine_then(b, twice, &calls), *d = tine_then(c, recover, NULL),
                *e = tine_then(d, silent, NULL);
    expect(c, TINE_EFAILED, "it broke");
    cr_assert_eq(cluster_take_int(tine_fork("test_add", d, 3)), 2);
    expect(e, TINE_EFAILED, "did not say why");
    cr_assert_eq(calls, 0);
    /* of one that is done: called here, and the last error of this thread stays */
    tine_future *f = tine_then(bad, twice, &calls);
    cr_assert(tine_done(f));
    cr_assert_eq(tine_last_error(), TINE_EFAILED);
    cr_assert(strstr(tine_error_message(), "did not say why"));
    expect(f, TINE_EFAILED, "it broke");
    cr_assert_null(tine_then(NULL, twice, NULL));
    cr_assert_null(tine_then(bad, NULL, NULL));
    cr_assert_eq(tine_last_error(), TINE_EINVAL);
    tine_future *all[] = {bad, b, c, d, e, f};
    for (int i = 0; i < 6; i++) tine_release(all[i]);
    cluster_stop();
}

/* A callback that forks gives the future of its fork. */
static tine_value *fork_more(tine_future *f, void *ctx) {
    (void)ctx;
    tine_future *more = tine_fork("test_add", f, 10);
    tine_value *v = tine_future_value(more);
    tine_release(more);
    return v;
}
TRANSPORT_TEST(promises, a_callback_returns_a_future, 20) {
    cluster_start(endpoint, 1);
    tine_future *f = tine_fork("test_add", 1), *g = tine_then(f, fork_more, NULL),
                *h = tine_then(g, fork_more, NULL);
    cr_assert_eq(cluster_take_int(h), 22);
    cr_assert_eq(cluster_take_int(g), 12);
    tine_release(f);
    tine_future *promised;
    tine_promise *p = tine_promise_new(&promised);
    f = tine_fork("test_add", 1);
    tine_value *list = tine_list(f, 5);
    cr_assert_eq(tine_promise_set(p, list), TINE_OK);
    tine_value *v = cluster_take(promised);
    cr_assert_eq(tine_as_int(tine_at(v, 0)), 2);
    cr_assert_eq(tine_as_int(tine_at(v, 1)), 5);
    tine_release(v);
    tine_release(list);
    tine_release(f);
    tine_release(p);
    cluster_stop();
}

/* Neither needs stack in proportion to its length. */
Test(promises, a_chain_of_ten_thousand, .timeout = 60) {
    enum { N = 10000 };
    static tine_future *f[N + 1];
    cluster_start("inproc://*", 1);
    int calls = 0;
    tine_promise *p = tine_promise_new(&f[0]);
    for (int i = 0; i < N; i++) f[i + 1] = tine_then(f[i], recover, &calls);
    tine_value *v = tine_int(1);
    tine_promise_set(p, v);
    cr_assert_eq(tine_wait(f[N], NULL), TINE_OK);
    for (int i = 0; i <= N; i++) tine_release(f[i]);
    tine_release(v);
    tine_release(p);
    cluster_stop();
}

/* ---- combinations ---- */

TRANSPORT_TEST(promises, when_all_and_when_any_are_arguments, 20) {
    cluster_start(endpoint, 2);
    tine_future *f[20], *never;
    tine_promise *p = tine_promise_new(&never);
    for (int i = 0; i < 20; i++) f[i] = tine_fork("test_add", i, 1);
    tine_future *all = tine_when_all(f, 20), *none = tine_when_all(NULL, 0);
    tine_value *v = cluster_take(all);
    for (size_t i = 0; i < 20; i++) cr_assert_eq(tine_as_int(tine_at(v, i)), (int)i + 1);
    tine_release(v);
    cr_assert(tine_done(none));
    v = cluster_take(none);
    cr_assert_eq(tine_length(v), 0);
    tine_release(v);
    tine_future *two[] = {never, tine_fork("test_add", 4)}, *any = tine_when_any(two, 2);
    cr_assert_eq(cluster_take_int(tine_fork("test_add", any, 10)), 15);
    tine_release(any);
    any = tine_when_any(f + 3, 2);
    cr_assert(tine_done(any));
    cr_assert_eq(cluster_take_int(any), 4);
    cr_assert_null(tine_when_any(f, 0));
    cr_assert_null(tine_when_all(NULL, 1));
    tine_release(p);
    tine_release(never);
    tine_release(two[1]);
    for (int i = 0; i < 20; i++) tine_release(f[i]);
    cluster_stop();
}

TRANSPORT_TEST(promises, the_first_failure_completes_when_all, 20) {
    cluster_start(endpoint, 1);
    tine_future *f[3];
    tine_promise *p = tine_promise_new(&f[0]);
    f[1] = tine_fork("test_fail");
    f[2] = tine_fork("test_add", 1);
    tine_future *all = tine_when_all(f, 3), *again = tine_when_all(f, 3);
    expect(all, TINE_EFAILED, "it broke");
    expect(again, TINE_EFAILED, "it broke");
    cr_assert(!tine_done(f[0]));
    tine_release(all);
    tine_release(again);
    tine_future *any = tine_when_any(f + 1, 1);
    expect(any, TINE_EFAILED, "it broke");
    tine_release(any);
    tine_release(p);
    for (int i = 0; i < 3; i++) tine_release(f[i]);
    cluster_stop();
}

TINE_FUNCTION(test_combines, "") {
    (void)task;
    tine_future *f[] = {tine_fork("test_add", 1), tine_fork("test_add", 2)};
    return tine_list(tine_when_all(f, 2), tine_when_any(f, 2));
}
TRANSPORT_TEST(promises, a_task_returns_combinations, 20) {
    cluster_start(endpoint, 1);
    tine_value *v = cluster_take(tine_fork("test_combines"));
    cr_assert_eq(tine_as_int(tine_at(tine_at(v, 0), 0)), 2);
    cr_assert_eq(tine_as_int(tine_at(tine_at(v, 0), 1)), 3);
    tine_release(v);
    cluster_stop();
}

Test(promises, over_mpi, .timeout = 60) {
    tine_need_mpirun();
    tine_ranks_check_leaks_themselves();
    tine_program p = tine_program_run(
        50,
        "TINE_MODULE_DIR=$B exec mpirun %s --oversubscribe --bind-to none -n 1 $B/mpi/tasks "
        ": -n 1 $B/mpi/tasks --tine-labels=big,left : -n 1 $B/mpi/tasks --tine-labels=right",
        tine_mpirun_root());
    cr_expect_eq(p.code, 0, "exit code %d: %s%s", p.code, p.out, p.error);
    static const char *const lines[] = {
        "promises: 42", "broken: 4",    "completed: 100", "cancelled: 10", "nested: 11",
        "waited: 6",    "opted: 4",     "placed: 12",     "streamed: 110", "ended: 8",
        "traced: 4",    "counted: 100", "shut down: 1"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        cr_expect(strstr(p.out, lines[i]), "no \"%s\": %s%s", lines[i], p.out, p.error);
    tine_program_fini(&p);
}
