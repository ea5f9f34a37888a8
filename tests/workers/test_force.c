/* Cancelling with force, at once or after a grace: the workers of tasks that do not look are ended,
 * and their other tasks run again or fail. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/support/cancel_functions.h"
#include "tests/support/cpu.h"
#include "tests/support/sanitizer.h"

/* The one that hangs is killed; the one behind it had not begun and runs. */
TRANSPORT_TEST_REMOTE(force, force_ends_the_worker_of_a_task_that_does_not_look, 40) {
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
TRANSPORT_TEST_REMOTE(force, force_ends_the_workers_of_its_forks_too, 40) {
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

/* Waits for what never comes; in its second attempt it does not. */
static tine_value *wait_in_the_first(tine_task *task) {
    tine_future *never;
    if (marks_add(tine_arg_string(task, 0), "x") > 1) return tine_int(2);
    return !tine_promise_new(&never) || tine_wait(never, NULL) ? NULL : tine_int(1);
}
TINE_FUNCTION(cancel_loses_its_wait, "path") { return wait_in_the_first(task); }
TINE_REPEATABLE_FUNCTION(cancel_repeats_its_wait, "path") { return wait_in_the_first(task); }

TRANSPORT_TEST_REMOTE(force, force_repeats_other_tasks_of_the_worker_or_fails_them_by_name, 60) {
    paths();
    cluster_start(endpoint, 1);
    tine_future *lost = tine_fork("cancel_loses_its_wait", told),
                *again = tine_fork("cancel_repeats_its_wait", child);
    marks_await("told", 1);
    marks_await("child", 1);
    tine_future *f = tine_fork("cancel_hangs", began);
    marks_await("began", 1);
    cr_assert(!tine_done(lost) && !tine_done(again));
    cr_assert_eq(tine_cancel(f, TINE_CANCEL_FORCE), TINE_OK);
    expect(f, TINE_ECANCELED, "\"cancel_hangs\"");
    expect(lost, TINE_ELOST, "task \"cancel_loses_its_wait\" was lost on worker pid");
    cr_assert_eq(cluster_take_int(again), 2);
    tine_release(f);
    tine_release(lost);
    cluster_stop();
    marks_end();
}

/* A task ends the worker of its fork. */
TINE_FUNCTION(cancel_forces_its_fork, "began, worker") {
    const tine_fork_options there = {.worker = (uint32_t)tine_arg_int(task, 1)};
    tine_future *f = tine_fork_with(&there, "cancel_hangs", tine_arg(task, 0));
    while (access(tine_arg_string(task, 0), F_OK))
        if (tine_wait(tine_fork("cancel_add", 1), NULL)) return NULL;
    if (tine_cancel(f, TINE_CANCEL_FORCE)) return NULL;
    return tine_int(tine_wait(f, NULL));
}
TRANSPORT_TEST_REMOTE(force, a_task_forces_its_fork, 40) {
    tine_worker_status w[2];
    paths();
    cluster_start(endpoint, 2);
    cr_assert_eq(tine_workers(w, 2), 2);
    const tine_fork_options here = {.worker = w[0].id}, there = {.worker = w[1].id};
    cr_assert_eq(
        cluster_take_int(tine_fork_with(&here, "cancel_forces_its_fork", began, (int64_t)w[1].id)),
        TINE_ECANCELED);
    tine_future *late = tine_fork_with(&there, "cancel_add", 1);
    expect(late, TINE_ELOST, "SIGKILL");
    tine_release(late);
    cluster_stop();
    marks_end();
}

/* n tasks that wait, which are cancelled: the seconds of CPU for each here, and at their worker;
 * while their grace is not over, for each of others; and for each of others that wait, which are
 * forced. */
TINE_FUNCTION(cancel_waits_for_ever, "") {
    (void)task;
    tine_future *never;
    return !tine_promise_new(&never) || tine_wait(never, NULL) ? NULL : tine_none();
}
static void await_none(size_t suspended) {
    tine_counts counts;
    do cr_assert_eq(tine_count(&counts), TINE_OK);
    while (counts.suspended != suspended || counts.running > 0);
}
/* Runs again where a force has met its task in its last instructions, which ends the worker. */
TINE_REPEATABLE_FUNCTION(cancel_cpu_seconds, "") {
    (void)task;
    return tine_float(cpu_seconds());
}
static double worker_seconds(void) {
    tine_value *v = cluster_take(tine_fork("cancel_cpu_seconds"));
    double seconds = tine_as_float(v);
    tine_release(v);
    return seconds;
}
static void waiting_cancelled(size_t n, int flags, double *here, double *there) {
    const tine_fork_options graced = {.grace = 1000};
    tine_future **f = calloc(n, sizeof *f);
    for (size_t i = 0; i < n; i++) f[i] = tine_fork_with(&graced, "cancel_waits_for_ever");
    await_none(n);
    *there = -worker_seconds();
    *here = -cpu_seconds();
    size_t lost = 0; /* with such a worker */
    for (size_t i = 0; i < n; i++) lost += tine_cancel(f[i], flags) != TINE_OK;
    cr_assert(lost == 0 || flags);
    (void)worker_seconds(); /* the loop has acted on all */
    *here = lost ? NAN : (*here + cpu_seconds()) / (double)n;
    for (size_t i = 0; i < n; i++) tine_release(f[i]);
    free((void *)f);
    await_none(0);
    *there = (*there + worker_seconds()) / (double)n;
}
enum { MEASURED = 4 };
static void seconds_of_cancels(size_t n, double seconds[MEASURED]) {
    double there;
    waiting_cancelled(n, 0, &seconds[0], &seconds[1]);
    seconds[2] = INFINITY; /* a wait polls for longer while its worker has no core */
    for (int part = 0; part < 5; part++) {
        double begin = cpu_seconds();
        for (int i = 0; i < 100; i++) cr_assert_eq(cluster_take_int(tine_fork("cancel_add", 1)), 2);
        seconds[2] = fmin(seconds[2], (cpu_seconds() - begin) / 100);
    }
    waiting_cancelled(2000, TINE_CANCEL_FORCE, &seconds[3], &there);
}
/* Were the worker's tasks looked through for each, or those whose grace is not over at each turn of
 * the loop or at each force, it would take several times as long. */
Test(force, cancels_cost_the_same_however_many_tasks_wait, .timeout = 60) {
    double few[MEASURED], many[MEASURED];
#ifdef TSAN
    cr_skip_test("TSan has no room for as many stacks");
#endif
    cluster_start(NULL, 1);
    seconds_of_cancels(100, few);
    seconds_of_cancels(500, few);
    seconds_of_cancels(8000, many);
#ifdef ASAN
    few[1] = INFINITY; /* what it does for each stack costs more, the more there are */
#endif
    for (int i = 0; i < MEASURED; i++)
        cr_expect(!(many[i] > 3 * few[i]), "%d: %.0f ns each of 500, %.0f of 8,000", i,
                  1e9 * few[i], 1e9 * many[i]);
    cluster_stop();
}

/* A queued one behind a task that computes: its force must not end that task's worker. */
TRANSPORT_TEST_REMOTE(force, force_spares_the_task_before_it, 40) {
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

TRANSPORT_TEST_REMOTE(force, a_grace_after_a_deadline_ends_the_worker, 40) {
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

/* Waits for a fork of its own on this worker, which does not look. */
TINE_FUNCTION(cancel_waits_on_its_worker, "began, deep") {
    const tine_fork_options soon = {.deadline = 0.2, .grace = 0.1, .name = "inner"};
    tine_value *v;
    tine_future *f =
        tine_arg_bool(task, 1)
            ? tine_fork_with(&soon, "cancel_waits_on_its_worker", tine_arg(task, 0), (bool)false)
            : tine_fork_with(&soon, "cancel_hangs", tine_arg(task, 0));
    return tine_wait(f, &v) ? NULL : v;
}
TRANSPORT_TEST_REMOTE(force, a_grace_of_a_nested_fork_ends_the_worker_of_both, 60) {
    paths();
    cluster_start(endpoint, 1);
    for (int deep = 0; deep < 2; deep++) {
        const char *path = deep ? child : began;
        tine_future *f = tine_fork("cancel_waits_on_its_worker", path, (bool)deep);
        expect(f, TINE_ELOST, "task \"cancel_waits_on_its_worker\" was lost on worker pid");
        cr_assert_eq(cluster_take_int(tine_fork("cancel_add", 1)), 2);
        tine_release(f);
    }
    cr_assert(marks_size("began") == 1 && marks_size("child") == 1);
    cluster_stop();
    marks_end();
}

/* Many others with a grace are due before it. */
TINE_FUNCTION(cancel_waits_among_many, "began") {
    enum { N = 40 };
    const tine_fork_options first = {.deadline = 0.6, .grace = 0.1, .priority = 1};
    tine_future *f[N], *hangs = tine_fork_with(&first, "cancel_hangs", tine_arg(task, 0));
    for (int i = 0; i < N; i++)
        f[i] = tine_fork_with(TINE_FORK_OPTIONS(.deadline = 0.3, .grace = 0.1), "cancel_add", i);
    tine_error e = tine_wait(hangs, NULL);
    for (int i = 0; i < N; i++) tine_release(f[i]);
    return e ? NULL : tine_int(1);
}
TRANSPORT_TEST_REMOTE(force, a_grace_ends_the_worker_however_many_forks_have_one, 40) {
    paths();
    cluster_start(endpoint, 1);
    tine_future *f = tine_fork("cancel_waits_among_many", began);
    expect(f, TINE_ELOST, "task \"cancel_waits_among_many\" was lost on worker pid");
    tine_release(f);
    cluster_stop();
    marks_end();
}

/* It computes while its fork hangs on another worker; one more fork may stay here, for which the
 * progress thread waits in the transport. */
TINE_FUNCTION(cancel_computes_beside_its_fork, "began, told, worker, keeps") {
    const tine_fork_options soon = {
        .deadline = 0.3, .grace = 0.1, .worker = (uint32_t)tine_arg_int(task, 2)};
    tine_future *f = tine_fork_with(&soon, "cancel_hangs", tine_arg(task, 0));
    if (tine_arg_bool(task, 3)) tine_release(tine_fork("cancel_add", 1));
    while (access(tine_arg_string(task, 1), F_OK))
        ;
    return tine_int(tine_wait(f, NULL));
}
static void expect_grace_while_computing(const char *endpoint, bool keeps) {
    tine_worker_status w[2];
    paths();
    cluster_start(endpoint, 2);
    cr_assert_eq(tine_workers(w, 2), 2);
    const tine_fork_options here = {.worker = w[0].id}, there = {.worker = w[1].id};
    tine_future *f = tine_fork_with(&here, "cancel_computes_beside_its_fork", began, told,
                                    (int64_t)w[1].id, (bool)keeps);
    marks_await("began", 1);
    tine_future *late = tine_fork_with(&there, "cancel_add", 1);
    cr_expect_eq(tine_wait_for(late, 15, NULL), TINE_ELOST, "%s", tine_error_message());
    marks_add(told, "x");
    cr_assert_eq(cluster_take_int(f), TINE_ETIMEDOUT);
    tine_release(late);
    cluster_stop();
    marks_end();
}
TRANSPORT_TEST_REMOTE(force, a_grace_holds_while_the_task_computes, 40) {
    expect_grace_while_computing(endpoint, false);
}
TRANSPORT_TEST_REMOTE(force, a_grace_holds_while_the_task_computes_and_keeps_a_fork, 40) {
    expect_grace_while_computing(endpoint, true);
}

/* The seconds of CPU for forks while many others, one of them with a grace, wait. */
TINE_FUNCTION(cancel_forks_beside_deadlines, "grace") {
    enum { HELD = 10000, N = 2000 };
    static tine_future *held[HELD], *f[N];
    tine_future *never;
    tine_promise *p = tine_promise_new(&never);
    for (int i = 0; i < HELD; i++) {
        const tine_fork_options o = {.deadline = 1000 + i,
                                     .grace = i == HELD - 1 ? tine_arg_float(task, 0) : 0};
        held[i] = tine_fork_with(&o, "cancel_add", never);
    }
    double begin = cpu_seconds();
    for (int i = 0; i < N; i++) f[i] = tine_fork("cancel_add", i);
    if (tine_wait_all(f, N, NULL)) return NULL;
    double seconds = cpu_seconds() - begin;
    for (int i = 0; i < N; i++) tine_release(f[i]);
    for (int i = 0; i < HELD; i++) tine_cancel(held[i], 0), tine_release(held[i]);
    tine_promise_fail(p, TINE_EFAILED, "it is over");
    tine_release(never);
    return tine_float(seconds);
}
/* Were all deadlines looked through before each task, the other would take ten times as long. */
Test(force, a_grace_costs_nothing_however_many_forks_have_deadlines, .timeout = 60) {
    double seconds[2] = {1e9, 1e9};
    cluster_start(NULL, 1);
    for (int round = 0; round < 6; round++) {
        tine_value *v = cluster_take(tine_fork("cancel_forks_beside_deadlines", round % 2 * 5.));
        double s = tine_as_float(v);
        if (s < seconds[round % 2]) seconds[round % 2] = s;
        tine_release(v);
    }
    cr_expect_lt(seconds[1], 3 * seconds[0], "%.0f us without a grace, %.0f with one",
                 1e6 * seconds[0], 1e6 * seconds[1]);
    cluster_stop();
}

/* As above, but it ends when it is told: its task goes on with the deadline's error. */
TINE_FUNCTION(cancel_gets_its_deadline, "began, told") {
    const tine_fork_options soon = {.deadline = 0.2, .grace = 30};
    tine_future *f = tine_fork_with(&soon, "cancel_computes", tine_arg(task, 0), tine_arg(task, 1));
    return tine_int(tine_wait(f, NULL));
}
TRANSPORT_TEST(force, a_nested_fork_that_ends_within_its_grace_fails_with_its_deadline, 40) {
    paths();
    cluster_start(endpoint, 1);
    cr_assert_eq(cluster_take_int(tine_fork("cancel_gets_its_deadline", began, told)),
                 TINE_ETIMEDOUT);
    cr_assert_eq(marks_size("told"), 1);
    cluster_stop();
    marks_end();
}

TRANSPORT_TEST_REMOTE(force, a_grace_after_a_cancel_ends_the_worker, 40) {
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
