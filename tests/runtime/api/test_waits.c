/* Waits that fail or are given less than they may be given, forks whose arguments fail, and what a
 * callback inside a task makes. */
#include <criterion/criterion.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/cluster.h"

TINE_FUNCTION(test_add, "a, b=1") {
    return tine_int(tine_arg_int(task, 0) + tine_arg_int(task, 1));
}
TINE_FUNCTION(test_fail, "") { return tine_fail(task, "it broke"); }
TINE_FUNCTION(test_length, "list") { return tine_int((int64_t)tine_length(tine_arg(task, 0))); }

static tine_value *const garbage = (tine_value *)(uintptr_t)8;

TRANSPORT_TEST(waits, one_that_fails_sets_its_results_to_null, 20) {
    cluster_start(endpoint, 1);
    tine_future *f[3] = {tine_fork("test_add", 1), tine_fork("test_fail"),
                         tine_fork("test_add", 2)};
    tine_value *out[3] = {garbage, garbage, garbage}, *one = garbage;
    size_t index = 7;
    cr_assert_eq(tine_wait_all(f, 3, out), TINE_EFAILED);
    for (int i = 0; i < 3; i++) cr_assert_null(out[i]);
    cr_assert_eq(tine_wait(f[1], &one), TINE_EFAILED);
    cr_assert_null(one);
    one = garbage;
    cr_assert_eq(tine_wait_for(f[1], 1, &one), TINE_EFAILED);
    cr_assert_null(one);
    one = garbage;
    cr_assert_eq(tine_wait(NULL, &one), TINE_EINVAL);
    cr_assert_null(one);
    cr_assert_eq(tine_wait_any(f, 0, &index), TINE_EINVAL);
    cr_assert_eq(index, 0);
    cr_assert_eq(tine_wait_all(NULL, 1, &one), TINE_EINVAL);
    for (int i = 0; i < 3; i++) tine_release(f[i]);
    cluster_stop();
}

TRANSPORT_TEST(waits, wait_any_without_an_index, 20) {
    cluster_start(endpoint, 1);
    tine_future *f = tine_fork("test_add", 1);
    cr_assert_eq(tine_wait_any(&f, 1, NULL), TINE_OK);
    cr_assert(tine_done(f));
    tine_release(f);
    cluster_stop();
}

static int gate[2];
/* Blocks until the test closes the gate: workers are threads here. */
TINE_FUNCTION(test_blocked, "") {
    char byte;
    return tine_int(read(gate[0], &byte, 1));
}

/* It waited for its other arguments first, which here never come: the test would time out. */
static void fork_fails_at_once(bool failed_before) {
    cr_assert_eq(pipe(gate), 0);
    cluster_start("inproc://*", 2);
    tine_future *slow = tine_fork("test_blocked"), *bad = tine_fork("test_fail");
    if (failed_before) cr_assert_eq(tine_wait(bad, NULL), TINE_EFAILED);
    tine_value *list = tine_list(slow, bad);
    tine_future *f = tine_fork("test_length", list), *after = tine_fork("test_add", f, slow);
    cr_assert_eq(tine_wait(after, NULL), TINE_EFAILED);
    cr_assert(strstr(tine_error_message(), "it broke"), "%s", tine_error_message());
    cr_assert(!tine_done(slow), "the other argument was to be pending");
    close(gate[1]);
    cr_assert_eq(tine_wait(slow, NULL), TINE_OK);
    tine_release(slow);
    tine_release(bad);
    tine_release(list);
    tine_release(f);
    tine_release(after);
    cluster_stop();
    close(gate[0]);
}
Test(waits, a_fork_fails_as_soon_as_one_argument_fails, .timeout = 20) {
    fork_fails_at_once(false);
}
Test(waits, a_fork_fails_at_once_with_an_argument_that_failed_before, .timeout = 20) {
    fork_fails_at_once(true);
}

/* ---- values that hold futures ---- */

/* What needs the results of `list`, here or in a task: a call, a put value, a module, or the task's
 * own result. The value, which is NULL where it failed. */
static tine_value *settle(int64_t how, tine_value *list) {
    switch (how) {
    case 0: return tine_call("test_length", list);
    case 1: return tine_call("test_add", 1, tine_kw("b", list));
    case 2: return tine_put(list);
    case 3: return tine_module("lstm", list);
    default: return list;
    }
}

TINE_FUNCTION(test_settle, "how") {
    tine_future *slow = tine_fork("test_blocked"), *bad = tine_fork("test_fail");
    return settle(tine_arg_int(task, 0), tine_list(slow, bad));
}

static void settle_fails_at_once(int64_t how, bool in_a_task) {
    cr_assert_eq(pipe(gate), 0);
    cluster_start("inproc://*", 3);
    tine_future *slow = NULL, *bad = NULL, *f = NULL;
    tine_value *list = NULL;
    if (in_a_task) {
        f = tine_fork("test_settle", how);
        cr_assert_eq(tine_wait(f, NULL), TINE_EFAILED);
    } else {
        slow = tine_fork("test_blocked");
        bad = tine_fork("test_fail");
        list = tine_list(slow, bad);
        cr_assert_null(settle(how, list));
        cr_assert_eq(tine_last_error(), TINE_EFAILED);
        cr_assert(!tine_done(slow), "the other future was to be pending");
    }
    cr_assert(strstr(tine_error_message(), "it broke"), "%s", tine_error_message());
    close(gate[1]);
    if (slow) cr_assert_eq(tine_wait(slow, NULL), TINE_OK);
    tine_release(f);
    tine_release(slow);
    tine_release(bad);
    tine_release(list);
    cluster_stop();
    close(gate[0]);
}

/* They waited for the other futures first, which here never come: the test would time out. */
Test(waits, calls_puts_and_modules_fail_as_soon_as_one_future_fails, .timeout = 30) {
    for (int how = 0; how < 4; how++) settle_fails_at_once(how, false);
}
Test(waits, a_task_fails_as_soon_as_a_future_that_it_needs_fails, .timeout = 30) {
    for (int how = 0; how < 5; how++) settle_fails_at_once(how, true);
}

/* ---- callbacks inside a task ---- */

typedef struct kept {
    tine_future *future;
    tine_value *value;
} kept;

static void keep_both(tine_future *f, void *ctx) {
    kept *k = ctx;
    tine_value *v = NULL;
    if (tine_wait(f, &v) == TINE_OK) {
        k->value = tine_int(1000 + tine_as_int(v));
        k->future = tine_fork("test_add", v, 40);
    }
}

/* Memory that was freed is given out again by these. */
static void use_freed_memory(void) {
    for (int i = 0; i < 64; i++) (void)tine_list(7, tine_int(7), tine_bytes("7", 1));
}

/* What the callback made was freed when the callback returned. */
TINE_FUNCTION(test_callback_keeps, "release") {
    kept k = {NULL, NULL};
    tine_value *v = NULL;
    tine_future *f = tine_fork("test_add", 1);
    tine_on_done(f, keep_both, &k);
    while (!k.future)
        if (tine_wait(tine_fork("test_add", 1), NULL)) return NULL;
    use_freed_memory();
    if (tine_wait(k.future, &v)) return NULL;
    int64_t sum = tine_as_int(v) + tine_as_int(k.value);
    if (tine_arg_int(task, 0)) { /* as in the program: the task may also give it back */
        tine_release(k.future);
        tine_release(k.value);
        use_freed_memory();
    }
    return tine_int(sum);
}

TRANSPORT_TEST(waits, what_a_callback_makes_lives_until_its_task_ends, 20) {
    cluster_start(endpoint, 1);
    for (int i = 0; i < 20; i++)
        cr_assert_eq(cluster_take_int(tine_fork("test_callback_keeps", i % 2)), 42 + 1002);
    cluster_stop();
}

/* 1: the wait for a future that is not done was refused in one sentence, but not one of no time. */
static tine_value *wait_in_callback(tine_future *f, void *ctx) {
    tine_future *pending = NULL;
    tine_promise *p = tine_promise_new(&pending);
    (void)ctx;
    bool refused = tine_wait(f, NULL) == TINE_OK && tine_wait(pending, NULL) == TINE_ESTATE &&
                   strstr(tine_error_message(), "a callback cannot wait") &&
                   tine_wait_for(pending, 0, NULL) == TINE_ETIMEDOUT;
    tine_promise_set(p, tine_int(1));
    tine_release(pending);
    return tine_int(refused);
}

static int64_t refused_in_callback(void) {
    tine_value *v = NULL;
    tine_future *f = tine_fork("test_add", 1), *then = tine_then(f, wait_in_callback, NULL);
    int64_t refused = tine_wait(then, &v) == TINE_OK ? tine_as_int(v) : -1;
    tine_release(v);
    tine_release(then);
    tine_release(f);
    return refused;
}
TINE_FUNCTION(test_refused_in_callback, "") { return tine_int(refused_in_callback()); }

TRANSPORT_TEST(waits, a_callback_cannot_wait, 20) {
    cluster_start(endpoint, 1);
    cr_assert_eq(refused_in_callback(), 1);
    cr_assert_eq(cluster_take_int(tine_fork("test_refused_in_callback")), 1);
    cluster_stop();
}

static void release_argument(tine_future *f, void *ctx) {
    tine_release(f);
    ++*(int *)ctx;
}

/* The task's own reference was dropped a second time at its end. */
TINE_FUNCTION(test_callback_releases, "") {
    int called = 0;
    tine_on_done(tine_fork("test_add", 1), release_argument, &called);
    while (!called)
        if (tine_wait(tine_fork("test_add", 1), NULL)) return NULL;
    return tine_int(called);
}

TRANSPORT_TEST(waits, a_callback_may_release_its_tasks_future, 20) {
    cluster_start(endpoint, 1);
    for (int i = 0; i < 20; i++)
        cr_assert_eq(cluster_take_int(tine_fork("test_callback_releases")), 1);
    cluster_stop();
}

/* A callback whose task has returned already keeps what it makes for the next one. */
static void last_of_all(tine_future *f, void *ctx) {
    (void)f;
    kept *k = ctx;
    use_freed_memory();
    cr_assert_eq(tine_as_int(k->value), 1002);
    tine_release(k->value);
    free(k);
}
static void after_return(tine_future *f, void *ctx) {
    keep_both(f, ctx);
    kept *k = ctx;
    tine_on_done(k->future, last_of_all, k);
}
TINE_FUNCTION(test_callback_outlasts, "") {
    kept *k = calloc(1, sizeof *k);
    tine_on_done(tine_fork("test_add", 1), after_return, k);
    return tine_int(1);
}

TRANSPORT_TEST(waits, callbacks_of_a_task_that_has_returned_keep_values, 20) {
    cluster_start(endpoint, 1);
    for (int i = 0; i < 20; i++)
        cr_assert_eq(cluster_take_int(tine_fork("test_callback_outlasts")), 1);
    cluster_stop();
}
