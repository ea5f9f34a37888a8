/* Functions that run on a thread of their own (TINE_THREAD): waits still suspend the task and not
 * its worker, the thread stays the same across waits, its stack is deep, and threads are used
 * again. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/cluster.h"

/* Its value after a wait shows that the task goes on on its own thread. */
static _Thread_local int64_t mine;

TINE_FUNCTION_FLAGS(thread_fib, "n", TINE_THREAD) {
    int64_t n = mine = tine_arg_int(task, 0);
    if (gettid() == getpid()) return tine_fail(task, "on the main thread");
    if (n < 2) return tine_int(n);
    const char *below = n % 2 ? "thread_fib" : "thread_on_fiber";
    tine_future *left = tine_fork(below, n - 1), *right = tine_fork(below, n - 2);
    tine_value *a, *b;
    if (tine_wait(left, &a) || tine_wait(right, &b)) return NULL;
    if (mine != n) return tine_fail(task, "another thread than before");
    return tine_int(tine_as_int(a) + tine_as_int(b));
}

/* On a fiber: calls one that moves to a thread. */
TINE_FUNCTION(thread_on_fiber, "n") { return tine_call("thread_fib", tine_arg_int(task, 0)); }

TRANSPORT_TEST(thread, tasks_wait_for_each_other, 30) {
    cluster_start(endpoint, 1);
    cr_assert_eq(cluster_take_int(tine_fork("thread_fib", 9)), 34);
    cr_assert_eq(cluster_take_int(tine_fork("thread_on_fiber", 8)), 21);
    cluster_stop();
}

/* Past the 256 KiB of a fiber. */
TINE_FUNCTION_FLAGS(thread_deep, "", TINE_THREAD) {
    char deep[1 << 20];
    memset(deep, 1, sizeof deep);
    return tine_int(deep[getpid() % (int)sizeof deep]);
}

Test(thread, stack_is_deep, .timeout = 20) {
    cluster_start(NULL, 1);
    cr_assert_eq(cluster_take_int(tine_fork("thread_deep")), 1);
    cluster_stop();
}

TINE_FUNCTION_FLAGS(thread_bad, "x", TINE_THREAD) {
    tine_arg_string(task, 0);
    return tine_none();
}

TINE_FUNCTION_FLAGS(thread_put, "x", TINE_THREAD) {
    tine_value *put = tine_put(tine_arg(task, 0)), *y, *list;
    if (tine_wait(tine_fork("neg", put), &y)) return NULL;
    list = tine_list(put, y);
    return tine_ref(tine_at(list, 1)) ? list : NULL;
}

Test(thread, errors_puts_and_values_are_the_tasks, .timeout = 20) {
    cluster_start(NULL, 1);
    tine_future *bad = tine_fork("thread_bad", 3);
    cr_assert_eq(tine_wait(bad, NULL), TINE_EINVAL);
    cr_assert(strstr(tine_error_message(), "'x' must be string, not int"), "%s",
              tine_error_message());
    tine_release(bad);
    tine_value *both = cluster_take(tine_fork("thread_put", 3));
    cr_assert_eq(tine_as_int(tine_at(both, 0)), 3);
    cr_assert_eq(tine_as_int(tine_at(both, 1)), -3);
    tine_release(both);
    cluster_stop();
}

TINE_FUNCTION_FLAGS(thread_id, "", TINE_THREAD) { return tine_int(gettid()); }

Test(thread, is_used_again, .timeout = 20) {
    cluster_start(NULL, 1);
    int64_t first = cluster_take_int(tine_fork("thread_id"));
    for (int i = 0; i < 100; i++) cr_assert_eq(cluster_take_int(tine_fork("thread_id")), first);
    cluster_stop();
}

/* In the program there is no worker to keep free. */
Test(thread, a_call_in_the_program_stays_there, .timeout = 20) {
    cluster_start(NULL, 1);
    tine_value *id = tine_call("thread_id");
    cr_assert_eq(tine_as_int(id), gettid());
    tine_release(id);
    cluster_stop();
}

/* What a task made outlives it, until another one releases it. */
static tine_value *kept;
static tine_future *kept_future;

TINE_FUNCTION_FLAGS(thread_keep, "x", TINE_THREAD | TINE_OWNS) {
    kept = tine_call("neg", tine_arg(task, 0));
    kept_future = tine_fork("neg", kept);
    tine_value *both = tine_list(kept, 1), *inner = tine_ref(tine_at(both, 0));
    tine_release(both);
    return inner;
}

TINE_FUNCTION_FLAGS(thread_kept, "", TINE_THREAD | TINE_OWNS) {
    (void)task;
    tine_value *y, *both;
    if (tine_wait(kept_future, &y)) return NULL;
    both = tine_list(kept, y);
    tine_release(y);
    tine_release(kept);
    tine_release(kept_future);
    return both;
}

TRANSPORT_TEST(thread, references_are_its_own, 30) {
    cluster_start(endpoint, 1);
    cr_assert_eq(cluster_take_int(tine_fork("thread_keep", 5)), -5);
    tine_value *both = cluster_take(tine_fork("thread_kept"));
    cr_assert_eq(tine_as_int(tine_at(both, 0)), -5);
    cr_assert_eq(tine_as_int(tine_at(both, 1)), 5);
    tine_release(both);
    cluster_stop();
}

/* More suspended tasks than threads are kept. */
TINE_FUNCTION_FLAGS(thread_chain, "n", TINE_THREAD) {
    int64_t n = tine_arg_int(task, 0);
    tine_value *below = NULL;
    if (n > 0 && tine_wait(tine_fork("thread_chain", n - 1), &below)) return NULL;
    return tine_int(n > 0 ? tine_as_int(below) + 1 : 0);
}

TRANSPORT_TEST(thread, chains_are_deep, 30) {
    cluster_start(endpoint, 2);
    cr_assert_eq(cluster_take_int(tine_fork("thread_chain", 200)), 200);
    cluster_stop();
}
