/* What an error says: the root cause of deep failures, long sentences, NULL arguments long after an
 * error, threads that a task has started, and what peers put into it. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/cluster.h"
#include "transport/base/text.h"

TINE_FUNCTION(test_add, "a, b=1") {
    return tine_int(tine_arg_int(task, 0) + tine_arg_int(task, 1));
}
TINE_FUNCTION(test_deep, "n") {
    int64_t n = tine_arg_int(task, 0);
    if (n == 0) return tine_fail(task, "THE ROOT CAUSE");
    return tine_wait(tine_fork("test_deep", n - 1), NULL) ? NULL : tine_none();
}
TINE_FUNCTION(test_long, "bytes") {
    size_t n = (size_t)tine_arg_int(task, 0) / 3 * 3;
    char *text = malloc(n + 1);
    for (size_t i = 0; i < n; i += 3) memcpy(text + i, "\xe8\xaa\x9e", 3);
    text[n] = 0;
    tine_fail(task, "begins %s ends", text);
    free(text);
    return NULL;
}
TINE_FUNCTION(test_passes_on, "bytes") {
    return tine_wait(tine_fork("test_long", tine_arg(task, 0)), NULL) ? NULL : tine_none();
}
TINE_FUNCTION(test_odd, "") {
    return tine_fail(task, "odd: \x1b[31m \xff \xe8\xaa\x9e\r two\nlines");
}

static const char *message_of(tine_future *f) {
    cr_assert_neq(tine_wait(f, NULL), TINE_OK);
    tine_release(f);
    return tine_error_message();
}

TRANSPORT_TEST(errors, deep_failures_keep_the_root_cause, 30) {
    cluster_start(endpoint, 1);
    const char *m = message_of(tine_fork("test_deep", 200));
    cr_assert(strstr(m, "THE ROOT CAUSE"), "%s", m);
    cr_assert_lt(strlen(m), 20000);
    cluster_stop();
}

TRANSPORT_TEST(errors, long_ones_are_cut_between_characters, 30) {
    cluster_start(endpoint, 1);
    for (int passed = 0; passed < 2; passed++) {
        const char *m = message_of(tine_fork(passed ? "test_passes_on" : "test_long", 6000));
        cr_assert(tine_utf8_valid(m, strlen(m)));
        cr_assert(strstr(m, "begins \xe8\xaa\x9e") && strstr(m, "\xe8\xaa\x9e ends"), "%s", m);
        cr_assert(strstr(m, "bytes left out"));
    }
    cluster_stop();
}

/* The worker sent it, which the coordinator refused with the worker. */
TRANSPORT_TEST_REMOTE(errors, one_of_100_megabytes_does_not_end_the_worker, 60) {
    cluster_start(endpoint, 1);
    const char *m = message_of(tine_fork("test_long", 100000000));
    cr_assert_eq(tine_last_error(), TINE_EFAILED, "%.200s", m);
    cr_assert(strstr(m, "begins ") && strstr(m, " ends"));
    cr_assert_eq(cluster_take_int(tine_fork("test_add", 1)), 2);
    cluster_stop();
}

TRANSPORT_TEST(errors, control_characters_of_a_task_are_shown_as_numbers, 20) {
    cluster_start(endpoint, 1);
    const char *m = message_of(tine_fork("test_odd"));
    cr_assert(strstr(m, "odd: \\x1b[31m ? \xe8\xaa\x9e\\x0d two\nlines"), "%s", m);
    cluster_stop();
}

static void is_null_error(tine_error e) {
    cr_expect_eq(e, TINE_EINVAL);
    cr_expect(strstr(tine_error_message(), "NULL"), "%s", tine_error_message());
    cr_expect_null(strstr(tine_error_message(), "ROOT"), "%s", tine_error_message());
}

/* An error of long ago was reported as the reason. */
Test(errors, a_null_long_after_an_error_is_named, .timeout = 20) {
    cluster_start("inproc://*", 1);
    tine_value *forgotten = NULL, *v;
    message_of(tine_fork("test_deep", 0));
    cr_assert_eq(cluster_take_int(tine_fork("test_add", 1)), 2);
    tine_future *f = tine_fork("neg", forgotten);
    is_null_error(tine_wait(f, NULL));
    tine_release(f);
    cr_assert_null(tine_list(1, forgotten));
    is_null_error(tine_last_error());
    cr_assert_null(tine_put(forgotten));
    is_null_error(tine_last_error());
    cr_assert_null(tine_call("neg", tine_kw("x", forgotten)));
    is_null_error(tine_last_error());
    /* but the maker's error goes on, also past calls that succeed */
    tine_value *bad = tine_full(TINE_U8, 0, NULL, -1);
    v = tine_int(1);
    f = tine_fork("test_add", v, bad);
    cr_assert_eq(tine_wait(f, NULL), TINE_EINVAL);
    cr_assert(strstr(tine_error_message(), "does not fit"), "%s", tine_error_message());
    tine_release(f);
    tine_release(v);
    cluster_stop();
}

/* ---- threads of a task ---- */

typedef struct job {
    tine_task *task;
    tine_error error;
    char text[256];
    int64_t sum;
} job;

static void *fork_in_thread(void *arg) {
    job *j = arg;
    tine_future *f = tine_fork("test_add", 1);
    tine_value *v = NULL;
    j->error = tine_wait(f, &v);
    strncpy(j->text, tine_error_message(), sizeof j->text - 1);
    tine_release(f);
    tine_release(v);
    return NULL;
}
static void *call_in_thread(void *arg) {
    job *j = arg;
    tine_value *v = tine_call("test_add", tine_arg(j->task, 0), 5);
    j->sum = tine_as_int(v);
    tine_release(v);
    return NULL;
}
static void *fail_in_thread(void *arg) {
    job *j = arg;
    j->sum = tine_arg_int(j->task, 0);
    return NULL;
}
static job run_in_thread(tine_task *task, void *(*fn)(void *)) {
    job j = {.task = task};
    pthread_t thread;
    pthread_create(&thread, NULL, fn, &j);
    pthread_join(thread, NULL);
    return j;
}
TINE_FUNCTION(test_thread_forks, "") {
    job j = run_in_thread(task, fork_in_thread);
    return tine_list(tine_error_name(j.error), j.text);
}
TINE_FUNCTION(test_thread_calls, "x") { return tine_int(run_in_thread(task, call_in_thread).sum); }
TINE_FUNCTION(test_thread_fails, "x") {
    run_in_thread(task, fail_in_thread);
    return tine_none();
}

/* "Tine is not running: call tine_init first" was said. */
TRANSPORT_TEST_REMOTE(errors, a_thread_that_a_task_starts_is_told_what_it_cannot_do, 20) {
    cluster_start(endpoint, 1);
    tine_value *v = cluster_take(tine_fork("test_thread_forks"));
    cr_assert_str_eq(tine_as_string(tine_at(v, 0)), "ESTATE");
    cr_assert(strstr(tine_as_string(tine_at(v, 1)), "thread that a task has started"), "%s",
              tine_as_string(tine_at(v, 1)));
    tine_release(v);
    cr_assert_eq(cluster_take_int(tine_fork("test_thread_calls", 2)), 7);
    const char *m = message_of(tine_fork("test_thread_fails", "two"));
    cr_assert(strstr(m, "argument 'x' must be int"), "%s", m);
    cluster_stop();
}
