/* What outlives what: tasks that return before their forks have left, callbacks that go on forking. */
#include <criterion/criterion.h>

#include "tests/support/cluster.h"

TINE_FUNCTION(test_add, "a, b=1") { return tine_int(tine_arg_int(task, 0) + tine_arg_int(task, 1)); }
TINE_FUNCTION(test_length, "list") { return tine_int((int64_t)tine_length(tine_arg(task, 0))); }

TINE_FUNCTION(test_fork_and_leave, "n") {
    for (int64_t i = 0; i < tine_arg_int(task, 0); i++) tine_release(tine_fork("test_add", i));
    return tine_int(7);
}

/* 4096 forks of a worker may be unstarted; the one past that was submitted for a task that was over, which ended the worker. */
TRANSPORT_TEST(lifetimes, task_returns_while_its_last_fork_still_waits_for_credit, 30) {
    cluster_start(endpoint, 1);
    cr_assert_eq(cluster_take_int(tine_fork("test_fork_and_leave", 4097)), 7);
    cr_assert_eq(cluster_take_int(tine_fork("test_add", 1)), 2);
    cluster_stop();
}

static _Thread_local tine_future *last; /* of one worker */

static void third(tine_future *f, void *ctx) {
    (void)f;
    (void)ctx;
    last = tine_ref(tine_fork("test_add", 40, 2));
}

static void second(tine_future *f, void *ctx) {
    (void)ctx;
    tine_future *pending = tine_fork("test_add", f);
    tine_then(tine_fork("test_length", tine_list(pending, pending)), third, NULL);
}

/* The fork of a future that is pending, and the callback of a callback, belonged to no task: ESTATE. */
TINE_FUNCTION(test_callbacks, "") {
    tine_value *v;
    last = NULL;
    tine_then(tine_fork("test_add", 1), second, NULL);
    while (last == NULL)
        if (tine_wait(tine_fork("test_add", 1), NULL)) return NULL;
    tine_error e = tine_wait(last, &v);
    tine_release(last);
    return e == TINE_OK ? v : NULL;
}

TRANSPORT_TEST(lifetimes, callbacks_inside_a_task_fork_for_that_task, 20) {
    cluster_start(endpoint, 1);
    cr_assert_eq(cluster_take_int(tine_fork("test_callbacks")), 42);
    cluster_stop();
}

static void expect_invalid(tine_future *f) {
    cr_assert_eq(tine_wait(f, NULL), TINE_EINVAL, "%s", tine_error_message());
    tine_release(f);
}

Test(lifetimes, a_name_that_is_null_is_an_error, .timeout = 20) {
    cluster_start("inproc://*", 1);
    const char *none = NULL;
    expect_invalid(tine_fork(none, 1));
    expect_invalid(tine_fork(tine_kw("test_add", 1)));
    cr_assert_null(tine_call(none));
    cr_assert_eq(tine_last_error(), TINE_EINVAL);
    cr_assert_null(tine_module(none));
    cr_assert_eq(tine_last_error(), TINE_EINVAL);
    cluster_stop();
}
