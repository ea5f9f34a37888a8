/* Cancelling: queued tasks, running ones that ask and ones that wait, their forks, dependents, held
 * forks, promises. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/cancel_functions.h"

/* Waits for a fork that computes until it is told, then for another thing. */
TINE_FUNCTION(cancel_waits, "began, told, child") {
    tine_future *f =
        tine_fork("cancel_computes", tine_arg_string(task, 0), tine_arg_string(task, 2));
    tine_error e = tine_wait(f, NULL), again = tine_wait(tine_fork("cancel_add", 1), NULL);
    if (e == TINE_ECANCELED && again == TINE_ECANCELED && tine_cancelled(task))
        marks_add(tine_arg_string(task, 1), "x");
    return NULL;
}

TRANSPORT_TEST(cancel, a_running_task_is_told_and_a_queued_one_never_starts, 30) {
    paths();
    cluster_start(endpoint, 1);
    tine_future *f = tine_fork("cancel_computes", began, told),
                *queued = tine_fork("cancel_mark", ran, "x"),
                *after = tine_fork("cancel_add", queued), *more = tine_fork("cancel_add", f, after);
    marks_await("began", 1);
    cr_assert_eq(tine_cancel(queued, 0), TINE_OK);
    expect(queued, TINE_ECANCELED, "\"cancel_mark\" was cancelled");
    expect(after, TINE_ECANCELED, "\"cancel_mark\" was cancelled");
    cr_assert_eq(tine_cancel(f, 0), TINE_OK);
    expect(f, TINE_ECANCELED, "tine_cancel was called");
    expect(more, TINE_ECANCELED, "was cancelled");
    cr_assert_eq(tine_cancel(f, 0), TINE_ESTATE);
    cr_assert_eq(tine_cancel(f, 8), TINE_EINVAL);
    cr_assert_eq(tine_cancel(NULL, 0), TINE_EINVAL);
    marks_await("told", 1);
    cr_assert_eq(cluster_take_int(tine_fork("cancel_add", 1)), 2); /* the worker is free again */
    cr_assert(!marks_size("ran"));
    tine_future *all[] = {f, queued, after, more};
    for (int i = 0; i < 4; i++) tine_release(all[i]);
    cluster_stop();
    marks_end();
}

TRANSPORT_TEST(cancel, waits_of_a_cancelled_task_fail_and_so_do_its_forks, 30) {
    paths();
    cluster_start(endpoint, 2);
    tine_future *f = tine_fork("cancel_waits", began, told, child);
    marks_await("began", 1);
    cr_assert_eq(tine_cancel(f, 0), TINE_OK);
    expect(f, TINE_ECANCELED, "\"cancel_waits\"");
    marks_await("told", 1);
    marks_await("child", 1);
    tine_release(f);
    for (int i = 0; i < 4; i++) cr_assert_eq(cluster_take_int(tine_fork("cancel_add", i)), i + 1);
    cluster_stop();
    marks_end();
}

/* Every wait of a task that has been cancelled fails at once, and so does what would block. */
TINE_FUNCTION(cancel_tries_all_waits, "began, told") {
    tine_future *never, *settled;
    tine_promise *p = tine_promise_new(&never);
    size_t i;
    if (!p) return NULL;
    marks_add(tine_arg_string(task, 0), "x");
    while (!tine_cancelled(task))
        ;
    tine_future *all[] = {never, never},
                *stream = tine_fork_with(TINE_FORK_OPTIONS(.stream = 1), "cancel_add", never);
    tine_value *list = tine_list(never);
    tine_completer *c = tine_as_completed(all, 2);
    const tine_error e[] = {tine_wait(never, NULL),
                            tine_wait_for(never, 30, NULL),
                            tine_wait_any(all, 2, &i),
                            tine_wait_any_for(all, 2, INFINITY, &i),
                            tine_wait_all(all, 2, NULL),
                            tine_wait_all_for(all, 2, 30, NULL),
                            tine_wait_failure(all, 2, INFINITY, &i),
                            tine_completer_next(c, INFINITY, &i),
                            tine_next(stream, NULL),
                            tine_yield(task, list),
                            tine_yield(task, tine_none()),
                            tine_put(list) ? TINE_OK : tine_last_error(),
                            tine_call("cancel_add", never) ? TINE_OK : tine_last_error(),
                            tine_module("lstm", never, 1) ? TINE_OK : tine_last_error()};
    bool good = true;
    for (size_t k = 0; k < sizeof e / sizeof *e; k++) {
        if (e[k] == TINE_ECANCELED) continue;
        good = false;
        fprintf(stderr, "wait %zu gave %s\n", k, tine_error_name(e[k]));
    }
    settled = tine_fork("cancel_add", never); /* held: its wait fails, too */
    good = good && tine_wait(settled, NULL) == TINE_ECANCELED;
    if (good) marks_add(tine_arg_string(task, 1), "x");
    return NULL;
}
TRANSPORT_TEST(cancel, every_kind_of_wait_of_a_cancelled_task_fails, 30) {
    paths();
    cluster_start(endpoint, 1);
    tine_future *f = tine_fork("cancel_tries_all_waits", began, told);
    marks_await("began", 1);
    cr_assert_eq(tine_cancel(f, 0), TINE_OK);
    tine_release(f);
    cr_assert_eq(cluster_take_int(tine_fork("cancel_add", 1)), 2); /* it has returned */
    cr_assert_eq(marks_size("told"), 1);
    cluster_stop();
    marks_end();
}

/* A task cancels its own fork, which runs on the other worker. */
TINE_FUNCTION(cancel_its_fork, "began, told") {
    tine_future *f = tine_fork("cancel_computes", tine_arg(task, 0), tine_arg(task, 1));
    tine_future *after = tine_fork("cancel_add", f);
    while (access(tine_arg_string(task, 0), F_OK))
        if (tine_wait(tine_fork("cancel_add", 1), NULL)) return NULL;
    if (tine_cancel(f, 0) || tine_cancel(f, 0) != TINE_ESTATE) return NULL;
    if (tine_wait(f, NULL) != TINE_ECANCELED || tine_wait(after, NULL) != TINE_ECANCELED)
        return tine_fail(task, "it was not cancelled");
    while (access(tine_arg_string(task, 1), F_OK))
        if (tine_wait(tine_fork("cancel_add", 1), NULL)) return NULL;
    return tine_bool(!tine_cancelled(task));
}
TRANSPORT_TEST(cancel, a_task_cancels_its_fork, 30) {
    paths();
    cluster_start(endpoint, 3);
    tine_value *v = cluster_take(tine_fork("cancel_its_fork", began, told));
    cr_assert(tine_as_bool(v));
    tine_release(v);
    cluster_stop();
    marks_end();
}

TRANSPORT_TEST(cancel, forks_that_wait_promises_and_combinations, 20) {
    cluster_start(endpoint, 1);
    tine_future *f;
    tine_promise *p = tine_promise_new(&f);
    tine_future *held = tine_fork("cancel_add", f), *all = tine_when_all(&f, 1),
                *after = tine_fork("cancel_add", held);
    cr_assert_eq(tine_cancel(held, 0), TINE_OK);
    expect(held, TINE_ECANCELED, "while it waited for its arguments");
    expect(after, TINE_ECANCELED, "while it waited for its arguments");
    cr_assert_eq(tine_cancel(all, 0), TINE_OK);
    expect(all, TINE_ECANCELED, "tine_cancel was called");
    cr_assert(!tine_done(f));
    cr_assert_eq(tine_cancel(f, 0), TINE_OK);
    cr_assert_eq(tine_promise_set(p, tine_none()), TINE_ECANCELED);
    expect(f, TINE_ECANCELED, "tine_cancel was called");
    tine_future *each[] = {f, held, all, after};
    for (int i = 0; i < 4; i++) tine_release(each[i]);
    tine_release(p);
    cluster_stop();
}

/* ---- many ---- */

/* Cancelled at any moment: each is done, once, with its result or ECANCELED. */
TRANSPORT_TEST(cancel, many_at_any_moment, 60) {
    enum { N = 2000 };
    static tine_future *f[N];
    size_t cancelled = 0;
    cluster_start(endpoint, 2);
    for (int i = 0; i < N; i++) {
        f[i] = tine_fork("cancel_add", i);
        if (i % 3 == 0 && i > 50) cancelled += tine_cancel(f[i - (i * 7) % 50], 0) == TINE_OK;
    }
    size_t failed = 0;
    for (int i = 0; i < N; i++) {
        tine_error e = tine_wait(f[i], NULL);
        cr_assert(e == TINE_OK || e == TINE_ECANCELED, "%s", tine_error_message());
        failed += e != TINE_OK;
        tine_release(f[i]);
    }
    cr_assert_eq(failed, cancelled);
    cluster_stop();
}
