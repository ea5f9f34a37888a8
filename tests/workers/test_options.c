/* What forks ask for: deadlines, retries, priorities and names. */
#include <criterion/criterion.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/cancel_functions.h"
#include "transport/base/clock.h"

/* The one that runs begins before its deadline. */
TRANSPORT_TEST(options, a_deadline_holds_for_tasks_that_run_that_wait_and_that_are_queued, 30) {
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

/* A deadline inside a task, whose sentence names the fork. The fork begins before it. */
TINE_FUNCTION(cancel_by_deadline, "name, began, told") {
    tine_fork_options o = {.deadline = 1, .priority = 3, .name = tine_arg_string(task, 0)};
    tine_future *f = tine_fork_with(&o, "cancel_computes", tine_arg(task, 1), tine_arg(task, 2));
    tine_error e = tine_wait(f, NULL);
    return tine_list((int)e, tine_error_message());
}
static void expect_nested_deadline(const char *name, const char *named) {
    tine_value *v = cluster_take(tine_fork("cancel_by_deadline", name, began, told));
    cr_assert_eq(tine_as_int(tine_at(v, 0)), TINE_ETIMEDOUT);
    const char *text = tine_as_string(tine_at(v, 1));
    cr_assert(strstr(text, named) && strstr(text, "1 s of its fork"), "%s", text);
    tine_release(v);
}
/* With one worker the fork runs where its task waits. */
static void nested_deadlines(const char *endpoint, int workers) {
    paths();
    cluster_start(endpoint, workers);
    expect_nested_deadline("inner", "task \"inner\" was cancelled");
    marks_await("told", 1);
    expect_nested_deadline("", "task \"cancel_computes\" was cancelled");
    marks_await("told", 2);
    cluster_stop();
    marks_end();
}
TRANSPORT_TEST(options, a_deadline_of_a_nested_fork, 30) { nested_deadlines(endpoint, 2); }
TRANSPORT_TEST(options, a_deadline_of_a_nested_fork_on_the_same_worker, 30) {
    nested_deadlines(endpoint, 1);
}

static void compute(double seconds) {
    for (int64_t end = tine_clock_ns() + (int64_t)(seconds * 1e9); tine_clock_ns() < end;)
        ;
}
/* Does not look, and takes longer than its deadline. */
TINE_FUNCTION(cancel_is_late, "") {
    (void)task;
    compute(0.2);
    return tine_int(1);
}
TINE_FUNCTION(cancel_waits_for_a_late_one, "here, grace") {
    const tine_fork_options o = {.deadline = 0.05,
                                 .worker = (uint32_t)tine_arg_int(task, 0),
                                 .grace = tine_arg_float(task, 1)};
    return tine_int(tine_wait(tine_fork_with(&o, "cancel_is_late"), NULL));
}
TRANSPORT_TEST(options, a_nested_fork_that_ends_after_its_deadline_is_late, 30) {
    tine_worker_status w;
    cluster_start(endpoint, 1);
    cr_assert_eq(tine_workers(&w, 1), 1);
    /* where it may stay at the worker, where it is sent, and with a grace */
    for (int i = 0; i < 4; i++) {
        int64_t e = cluster_take_int(
            tine_fork("cancel_waits_for_a_late_one", i % 2 ? (int64_t)w.id : 0, i / 2 ? 30. : 0.));
        cr_expect_eq(e, TINE_ETIMEDOUT, "%d: %s", i, tine_error_name((tine_error)e));
    }
    cluster_stop();
}

TINE_FUNCTION(cancel_yields, "") {
    for (int64_t i = 0; !tine_cancelled(task) && !tine_yield(task, tine_int(i)); i++) compute(2e-5);
    return NULL;
}
/* Asks while values come: when the deadline passes, some have been received that are not in their
 * stream yet. */
TINE_FUNCTION(cancel_asks_while_values_come, "worker, times") {
    const tine_fork_options o = {
        .worker = (uint32_t)tine_arg_int(task, 0), .stream = 60000, .deadline = 0.1};
    int64_t late = 0;
    while (late < tine_arg_int(task, 1)) {
        tine_future *f = tine_fork_with(&o, "cancel_yields");
        bool came = tine_next(f, NULL) == TINE_OK;
        while (!tine_done(f))
            if (tine_cancelled(task)) return NULL;
        late += tine_wait(f, NULL) == TINE_ETIMEDOUT && came;
        tine_release(f);
    }
    return tine_int(late);
}
TRANSPORT_TEST(options, a_deadline_passes_while_values_of_the_stream_come, 60) {
    tine_worker_status w[2];
    cluster_start(endpoint, 2);
    cr_assert_eq(tine_workers(w, 2), 2);
    const tine_fork_options here = {.worker = w[0].id};
    tine_future *f =
        tine_fork_with(&here, "cancel_asks_while_values_come", (int64_t)w[1].id, (int64_t)8);
    cr_assert_eq(cluster_take_int(f), 8);
    cluster_stop();
}

/* While this worker computes, another one does n forks in time; their deadline passes then. The
 * worker computes in a fork of the task, which is late, or, late = 0, in the task itself. Which
 * error that fork gives, and how many of the others give their results. */
TINE_FUNCTION(cancel_keeps_results, "other, n, deadline, grace, late, graces") {
    enum { MOST = 300 };
    tine_future *f[MOST], *slow = NULL;
    int64_t n = tine_arg_int(task, 1), kept = 0, error = TINE_OK;
    double deadline = tine_arg_float(task, 2), grace = tine_arg_float(task, 3);
    const tine_fork_options here = {.deadline = deadline / 2,
                                    .worker = tine_worker_id(),
                                    .grace = grace},
                            there = {.deadline = deadline,
                                     .worker = (uint32_t)tine_arg_int(task, 0),
                                     .grace = tine_arg_bool(task, 5) ? grace : 0};
    for (int64_t i = 0; i < n && i < MOST; i++) f[i] = tine_fork_with(&there, "cancel_add", i);
    if (tine_arg_bool(task, 4))
        slow = tine_fork_with(&here, "cancel_computes_for", 1.5 * deadline);
    else
        compute(1.5 * deadline);
    if (slow) error = tine_wait(slow, NULL);
    for (int64_t i = 0; i < n && i < MOST; i++) {
        kept += tine_wait(f[i], NULL) == TINE_OK;
        tine_release(f[i]);
    }
    tine_release(slow);
    return tine_list(error, kept);
}
TINE_FUNCTION(cancel_computes_for, "seconds") {
    compute(tine_arg_float(task, 0));
    return tine_int(1);
}
/* A machine that is too slow for a deadline has twice as long the next time. */
static void expect_kept(const char *endpoint, int64_t n, double grace, bool late, bool graces) {
    tine_worker_status w[2];
    int64_t error = TINE_OK, kept = 0;
    cluster_start(endpoint, 2);
    cr_assert_eq(tine_workers(w, 2), 2);
    const tine_fork_options here = {.worker = w[0].id};
    for (double deadline = 0.2; kept < n && deadline < 4; deadline *= 2) {
        tine_value *v = cluster_take(tine_fork_with(&here, "cancel_keeps_results", (int64_t)w[1].id,
                                                    n, deadline, grace, (bool)late, (bool)graces));
        error = tine_as_int(tine_at(v, 0));
        kept = tine_as_int(tine_at(v, 1));
        tine_release(v);
        cr_expect_eq(error, late ? TINE_ETIMEDOUT : TINE_OK);
    }
    cr_expect_eq(kept, n, "%d of %d results are kept", (int)kept, (int)n);
    cluster_stop();
}
TRANSPORT_TEST(options, a_result_that_came_in_time_is_kept, 60) {
    expect_kept(endpoint, 1, 0, true, false);
}
/* More than the worker receives in one turn. */
TRANSPORT_TEST(options, results_that_came_in_time_are_kept_however_many, 60) {
    expect_kept(endpoint, 250, 0, true, false);
}
TRANSPORT_TEST(options, results_that_came_in_time_while_their_task_computed_are_kept, 60) {
    expect_kept(endpoint, 250, 0, false, false);
}
/* The coordinator is asked to end the late one, meanwhile. */
TRANSPORT_TEST(options, results_that_came_in_time_beside_a_grace_are_kept, 60) {
    expect_kept(endpoint, 60, 30, true, false);
}
TRANSPORT_TEST(options, results_that_came_in_time_of_forks_with_a_grace_are_kept, 60) {
    expect_kept(endpoint, 60, 30, true, true);
}

/* Fails until its file has as many bytes as it wants. */
TINE_REPEATABLE_FUNCTION(cancel_fails_at_first, "path, times") {
    int64_t n = (int64_t)marks_add(tine_arg_string(task, 0), "x");
    return n > tine_arg_int(task, 1) ? tine_int(n) : tine_fail(task, "attempt %d", (int)n);
}
TINE_FUNCTION(cancel_fails_once, "path") { return tine_fail(task, "no"); }

TRANSPORT_TEST(options, retries_on_failure, 20) {
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
TRANSPORT_TEST_REMOTE(options, retries_of_one_fork, 40) {
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

TRANSPORT_TEST(options, priorities_order_what_is_queued, 30) {
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

/* Its fork is sent to the coordinator, since it names a worker, and is queued there with others. */
TINE_FUNCTION(cancel_marks_by_a_fork, "path") {
    const tine_fork_options here = {.worker = tine_worker_id()};
    tine_value *v;
    return tine_wait(tine_fork_with(&here, "cancel_mark", tine_arg(task, 0), "f"), &v) ? NULL : v;
}
TRANSPORT_TEST(options, a_fork_has_the_priority_of_its_task, 30) {
    enum { N = 20 };
    paths();
    cluster_start(endpoint, 1);
    const char *order = marks_path("order");
    const tine_fork_options low = {.priority = 3}, high = {.priority = 5};
    tine_future *f[N + 1], *first = tine_fork("cancel_computes", began, told);
    marks_await("began", 1);
    for (int i = 0; i < N; i++) f[i] = tine_fork_with(&low, "cancel_mark", order, "l");
    f[N] = tine_fork_with(&high, "cancel_marks_by_a_fork", order);
    tine_cancel(first, 0);
    cr_assert_eq(tine_wait_all(f, N + 1, NULL), TINE_OK);
    char text[N + 2] = "";
    FILE *file = fopen(order, "r");
    cr_assert(file && fgets(text, sizeof text, file));
    fclose(file);
    /* some may have been at the worker before */
    cr_assert_lt(strchr(text, 'f') - text, N / 2, "%s", text);
    for (int i = 0; i <= N; i++) tine_release(f[i]);
    tine_release(first);
    cluster_stop();
    marks_end();
}

TRANSPORT_TEST(options, wrong_options_are_refused_by_name, 20) {
    cluster_start(endpoint, 1);
    static const struct {
        tine_fork_options o;
        const char *part;
    } wrong[] = {{{.deadline = -1}, "deadline"},
                 {{.deadline = (double)NAN}, "deadline"},
                 {{.grace = -1}, "grace"},
                 {{.retries = -2}, "retries"},
                 {{.retry_on_failure = -1}, "retry_on_failure"},
                 {{.label = "big,left"}, "\"big,left\" is not one label"}};
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
