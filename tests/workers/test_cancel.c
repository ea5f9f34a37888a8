/* Cancelling: queued tasks, running ones that ask and ones that wait, their forks, dependents, held
 * forks, promises; with force; deadlines, retries, priorities and names of forks. */
#include <criterion/criterion.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/cluster.h"
#include "tests/support/marks.h"

static void expect(tine_future *f, tine_error e, const char *part) {
    cr_assert_eq(tine_wait(f, NULL), e, "%s: %s", tine_error_name(tine_last_error()),
                 tine_error_message());
    cr_assert(strstr(tine_error_message(), part), "\"%s\" lacks \"%s\"", tine_error_message(),
              part);
}

TINE_FUNCTION(cancel_add, "a, b=1") {
    return tine_int(tine_arg_int(task, 0) + tine_arg_int(task, 1));
}
TINE_FUNCTION(cancel_mark, "path, text") {
    marks_add(tine_arg_string(task, 0), tine_arg_string(task, 1));
    return tine_int(1);
}
/* Computes until it is told. */
TINE_FUNCTION(cancel_computes, "began, told") {
    marks_add(tine_arg_string(task, 0), "x");
    while (!tine_cancelled(task))
        ;
    marks_add(tine_arg_string(task, 1), "x");
    return tine_int(1);
}
/* Never looks. */
TINE_REPEATABLE_FUNCTION(cancel_hangs, "began") {
    marks_add(tine_arg_string(task, 0), "x");
    for (volatile int i = 0;; i++)
        ;
    return NULL;
}
/* Waits for a fork that computes until it is told, then for another thing. */
TINE_FUNCTION(cancel_waits, "began, told, child") {
    tine_future *f =
        tine_fork("cancel_computes", tine_arg_string(task, 0), tine_arg_string(task, 2));
    tine_error e = tine_wait(f, NULL), again = tine_wait(tine_fork("cancel_add", 1), NULL);
    if (e == TINE_ECANCELED && again == TINE_ECANCELED && tine_cancelled(task))
        marks_add(tine_arg_string(task, 1), "x");
    return NULL;
}

static const char *began, *told, *child, *ran;
static void paths(void) {
    marks_start();
    began = marks_path("began");
    told = marks_path("told");
    child = marks_path("child");
    ran = marks_path("ran");
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

/* The one that hangs is killed; the one behind it had not begun and runs. */
TRANSPORT_TEST_REMOTE(cancel, force_ends_the_worker_of_a_task_that_does_not_look, 40) {
    paths();
    cluster_start(endpoint, 1);
    tine_future *f = tine_fork("cancel_hangs", began), *next = tine_fork("cancel_add", 4);
    marks_await("began", 1);
    cr_assert_eq(tine_cancel(f, TINE_CANCEL_FORCE), TINE_OK);
    expect(f, TINE_ECANCELED, "\"cancel_hangs\"");
    cr_assert_eq(cluster_take_int(next), 5);
    tine_release(f);
    cluster_stop();
    marks_end();
}

/* It waits for a fork on another worker that does not look. */
TINE_FUNCTION(cancel_waits_for_hanging, "began, worker") {
    const tine_fork_options there = {.worker = (uint32_t)tine_arg_int(task, 1)};
    tine_value *v;
    return tine_wait(tine_fork_with(&there, "cancel_hangs", tine_arg(task, 0)), &v) ? NULL : v;
}
TRANSPORT_TEST_REMOTE(cancel, force_ends_the_workers_of_its_forks_too, 40) {
    tine_worker_status w[2];
    paths();
    cluster_start(endpoint, 2);
    cr_assert_eq(tine_workers(w, 2), 2);
    const tine_fork_options here = {.worker = w[0].id}, there = {.worker = w[1].id};
    tine_future *f = tine_fork_with(&here, "cancel_waits_for_hanging", began, (int64_t)w[1].id);
    marks_await("began", 1);
    cr_assert_eq(tine_cancel(f, TINE_CANCEL_FORCE), TINE_OK);
    expect(f, TINE_ECANCELED, "\"cancel_waits_for_hanging\"");
    tine_future *late = tine_fork_with(&there, "cancel_add", 1);
    expect(late, TINE_ELOST, "SIGKILL");
    tine_release(late);
    tine_release(f);
    cluster_stop();
    marks_end();
}

/* A queued one behind a task that computes: its force must not end that task's worker. */
TRANSPORT_TEST_REMOTE(cancel, force_spares_the_task_before_it, 40) {
    paths();
    cluster_start(endpoint, 1);
    tine_future *f = tine_fork("cancel_computes", began, told),
                *queued = tine_fork("cancel_mark", ran, "x");
    marks_await("began", 1);
    cr_assert_eq(tine_cancel(queued, TINE_CANCEL_FORCE), TINE_OK);
    expect(queued, TINE_ECANCELED, "\"cancel_mark\"");
    tine_future *never;
    tine_promise *p = tine_promise_new(&never);
    cr_assert_eq(tine_wait_for(never, 0.1, NULL), TINE_ETIMEDOUT);
    cr_assert(!tine_done(f));
    cr_assert_eq(tine_cancel(f, 0), TINE_OK);
    marks_await("told", 1); /* by the same worker: it lives */
    cr_assert(!marks_size("ran"));
    tine_release(p);
    tine_release(never);
    tine_release(f);
    tine_release(queued);
    cluster_stop();
    marks_end();
}

/* ---- options ---- */

/* The one that runs begins before its deadline. */
TRANSPORT_TEST(cancel, a_deadline_holds_for_tasks_that_run_that_wait_and_that_are_queued, 30) {
    paths();
    cluster_start(endpoint, 1);
    tine_future *never;
    tine_promise *p = tine_promise_new(&never);
    tine_fork_options soon = {.name = "mine", .deadline = 0.2};
    tine_future *held = tine_fork_with(&soon, "cancel_add", never),
                *f = tine_fork_with(TINE_FORK_OPTIONS(.deadline = 2), "cancel_computes", began,
                                    told),
                *queued = tine_fork_with(&soon, "cancel_mark", ran, "x"),
                *done = tine_fork_with(TINE_FORK_OPTIONS(.deadline = 1e6), "neg", 1);
    expect(held, TINE_ETIMEDOUT, "\"mine\" was cancelled while it waited for its arguments");
    expect(queued, TINE_ETIMEDOUT, "0.2 s of its fork");
    expect(f, TINE_ETIMEDOUT, "2 s of its fork");
    marks_await("told", 1);
    cr_assert_eq(cluster_take_int(done), -1);
    cr_assert(!marks_size("ran"));
    tine_release(p);
    tine_future *all[] = {never, held, f, queued};
    for (int i = 0; i < 4; i++) tine_release(all[i]);
    cluster_stop();
    marks_end();
}

TRANSPORT_TEST_REMOTE(cancel, a_grace_after_a_deadline_ends_the_worker, 40) {
    paths();
    cluster_start(endpoint, 1);
    tine_fork_options o = {.deadline = 0.2, .grace = 0.1};
    tine_future *f = tine_fork_with(&o, "cancel_hangs", began);
    expect(f, TINE_ETIMEDOUT, "its deadline");
    cr_assert_eq(cluster_take_int(tine_fork("cancel_add", 1)), 2);
    tine_release(f);
    cluster_stop();
    marks_end();
}

TRANSPORT_TEST_REMOTE(cancel, a_grace_after_a_cancel_ends_the_worker, 40) {
    paths();
    cluster_start(endpoint, 1);
    tine_future *f = tine_fork_with(TINE_FORK_OPTIONS(.grace = 0.1), "cancel_hangs", began);
    marks_await("began", 1);
    cr_assert_eq(tine_cancel(f, 0), TINE_OK);
    expect(f, TINE_ECANCELED, "\"cancel_hangs\"");
    cr_assert_eq(cluster_take_int(tine_fork("cancel_add", 1)), 2);
    tine_release(f);
    cluster_stop();
    marks_end();
}

/* A deadline inside a task. The fork begins before it. */
TINE_FUNCTION(cancel_by_deadline, "began, told") {
    tine_fork_options o = {.deadline = 1, .priority = 3, .name = "inner"};
    tine_future *f = tine_fork_with(&o, "cancel_computes", tine_arg(task, 0), tine_arg(task, 1));
    return tine_int(tine_wait(f, NULL));
}
TRANSPORT_TEST(cancel, a_deadline_of_a_nested_fork, 30) {
    paths();
    cluster_start(endpoint, 2);
    cr_assert_eq(cluster_take_int(tine_fork("cancel_by_deadline", began, told)), TINE_ETIMEDOUT);
    marks_await("told", 1);
    cluster_stop();
    marks_end();
}

/* Fails until its file has as many bytes as it wants. */
TINE_REPEATABLE_FUNCTION(cancel_fails_at_first, "path, times") {
    int64_t n = (int64_t)marks_add(tine_arg_string(task, 0), "x");
    return n > tine_arg_int(task, 1) ? tine_int(n) : tine_fail(task, "attempt %d", (int)n);
}
TINE_FUNCTION(cancel_fails_once, "path") { return tine_fail(task, "no"); }

TRANSPORT_TEST(cancel, retries_on_failure, 20) {
    paths();
    cluster_start(endpoint, 1);
    tine_fork_options twice = {.retry_on_failure = 2, .name = "stubborn"};
    cr_assert_eq(cluster_take_int(tine_fork_with(&twice, "cancel_fails_at_first", ran, 2)), 3);
    unlink(ran);
    tine_future *f = tine_fork_with(&twice, "cancel_fails_at_first", ran, 9);
    expect(f, TINE_EFAILED, "\"stubborn\"");
    expect(f, TINE_EFAILED, "attempt 3");
    tine_release(f);
    f = tine_fork_with(&twice, "cancel_fails_once", ran); /* it is not repeatable */
    expect(f, TINE_EFAILED, "attempt 1 of");
    tine_release(f);
    cluster_stop();
    marks_end();
}

TINE_REPEATABLE_FUNCTION(cancel_dies, "path") {
    marks_add(tine_arg_string(task, 0), "x");
    raise(SIGKILL);
    return NULL;
}
TRANSPORT_TEST_REMOTE(cancel, retries_of_one_fork, 40) {
    paths();
    cluster_start(endpoint, 1);
    tine_future *f = tine_fork_with(TINE_FORK_OPTIONS(.retries = -1), "cancel_dies", ran);
    expect(f, TINE_ELOST, "attempt 1 of 1");
    cr_assert_eq(marks_size("ran"), 1);
    tine_release(f);
    f = tine_fork_with(TINE_FORK_OPTIONS(.retries = 1), "cancel_dies", ran);
    expect(f, TINE_ELOST, "attempt 2 of 2");
    cr_assert_eq(marks_size("ran"), 3);
    tine_release(f);
    cluster_stop();
    marks_end();
}

TRANSPORT_TEST(cancel, priorities_order_what_is_queued, 30) {
    paths();
    cluster_start(endpoint, 1);
    const char *order = marks_path("order");
    tine_future *f[5], *first = tine_fork("cancel_computes", began, told);
    marks_await("began", 1);
    static const int priorities[5] = {0, -1, 5, 0, 7};
    for (int i = 0; i < 5; i++) {
        char digit[2] = {(char)('0' + i), 0};
        f[i] = tine_fork_with(TINE_FORK_OPTIONS(.priority = priorities[i]), "cancel_mark", order,
                              (const char *)digit);
    }
    tine_cancel(first, 0);
    cr_assert_eq(tine_wait_all(f, 5, NULL), TINE_OK);
    char text[8] = "";
    FILE *file = fopen(order, "r");
    cr_assert(file && fgets(text, sizeof text, file));
    fclose(file);
    /* one or two may have been at the worker before the others were forked */
    cr_assert(strstr(text, "1") == text + 4, "%s", text);
    cr_assert_lt(strchr(text, '4'), strchr(text, '3'), "%s", text);
    cr_assert_lt(strchr(text, '2'), strchr(text, '3'), "%s", text);
    for (int i = 0; i < 5; i++) tine_release(f[i]);
    tine_release(first);
    cluster_stop();
    marks_end();
}

TRANSPORT_TEST(cancel, wrong_options_are_refused_by_name, 20) {
    cluster_start(endpoint, 1);
    static const struct {
        tine_fork_options o;
        const char *part;
    } wrong[] = {{{.deadline = -1}, "deadline"},
                 {{.deadline = (double)NAN}, "deadline"},
                 {{.grace = -1}, "grace"},
                 {{.retries = -2}, "retries"},
                 {{.retry_on_failure = -1}, "retry_on_failure"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        tine_future *f = tine_fork_with(&wrong[i].o, "neg", 1);
        expect(f, TINE_EINVAL, wrong[i].part);
        tine_release(f);
    }
    cr_assert_eq(cluster_take_int(tine_fork_with(NULL, "neg", 1)), -1);
    cr_assert_eq(cluster_take_int(tine_fork_with(TINE_FORK_OPTIONS(.no_wait = true), "neg", 2)),
                 -2);
    cr_assert_eq(
        cluster_take_int(tine_fork_with(TINE_FORK_OPTIONS(.deadline = (double)INFINITY, .grace = 1,
                                                          .retries = 1000000, .priority = 1 << 30),
                                        "neg", 3)),
        -3);
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
