/* Modules with one instance, TINE_MODULE_SINGLE and TINE_MODULE_RENEW. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/cluster.h"

/* A counter: `add` gives the old value and the worker's id. */
static void *counter_new(tine_task *task) {
    int64_t *n = malloc(sizeof *n);
    if (n) *n = tine_arg_int(task, 0);
    return n;
}
static tine_value *counter_add(tine_task *task) {
    int64_t *n = tine_self(task), old = *n;
    *n += tine_arg_int(task, 0);
    return tine_list(old, (int64_t)tine_worker_id());
}
/* The state is what it was when the wait began and what it is after it: nothing came between. */
static tine_value *counter_waits(tine_task *task) {
    int64_t *n = tine_self(task), old = *n;
    tine_future *f = tine_fork("add", 1, 1);
    if (tine_wait(f, NULL)) return NULL;
    *n += 1;
    return tine_int(*n - old);
}
static tine_value *counter_calls(tine_task *task) {
    return tine_call_method(tine_self_module(task), "add", 10);
}
static tine_value *counter_fails(tine_task *task) {
    *(int64_t *)tine_self(task) += 100;
    return tine_fail(task, "it broke");
}
static tine_value *counter_dies(tine_task *task) {
    (void)task;
    raise(SIGKILL);
    return NULL;
}
static const tine_method methods[] = {
    {"add", "n=1", counter_add, 0},  {"waits", "", counter_waits, 0},
    {"calls", "", counter_calls, 0}, {"fails", "", counter_fails, 0},
    {"dies", "", counter_dies, 0},   {0}};
static const tine_class single_counter = {"single_counter", "n=0", counter_new, free, methods};
TINE_CLASS_FLAGS(single_counter, TINE_MODULE_SINGLE)
static const tine_class new_counter = {"new_counter", "n=0", counter_new, free, methods};
TINE_CLASS_FLAGS(new_counter, TINE_MODULE_SINGLE | TINE_MODULE_RENEW)

/* A task that is given the counter: its own fork, and a call, which is refused. */
TINE_FUNCTION(single_nested, "counter") {
    const tine_value *counter = tine_arg(task, 0);
    tine_value *v = NULL;
    if (tine_call_method((tine_value *)counter, "add") || tine_last_error() != TINE_EINVAL)
        return NULL;
    tine_wait(tine_fork_method((tine_value *)counter, "add"), &v);
    return v;
}

/* What `add` gives; the worker's id to *worker, which stays the same once it is set. */
static int64_t added(tine_future *f, int64_t *worker) {
    tine_value *v = cluster_take(f);
    int64_t old = tine_as_int(tine_at(v, 0)), id = tine_as_int(tine_at(v, 1));
    cr_assert(id && (*worker == 0 || *worker == id), "it runs on worker %d", (int)id);
    *worker = id;
    tine_release(v);
    return old;
}

/* The second call would complete the promise that the first one waits for, and waits for its turn
 * behind it. */
TRANSPORT_TEST(single, a_call_cannot_wait_for_the_one_after_it, 30) {
    cluster_start(endpoint, 1);
    tine_value *counter = tine_module("single_counter", 7);
    tine_future *promised, *calls[3];
    int64_t worker = 0;
    tine_promise *p = tine_promise_new(&promised);
    calls[0] = tine_fork_method(counter, "add", promised);
    for (int i = 1; i < 3; i++) calls[i] = tine_fork_method(counter, "add");
    tine_value *second = tine_future_value(calls[1]), *five = tine_int(5);
    cr_assert_eq(tine_promise_set(p, second), TINE_EDEADLK);
    cr_assert(strstr(tine_error_message(), "task \"single_counter.add\", which waits for it"), "%s",
              tine_error_message());
    cr_assert_eq(tine_promise_set(p, five), TINE_OK);
    for (int i = 0; i < 3; i++) cr_expect_eq(added(calls[i], &worker), i == 0 ? 7 : 11 + i);
    tine_release(second);
    tine_release(five);
    tine_release(p);
    tine_release(promised);
    tine_release(counter);
    cluster_stop();
}

TRANSPORT_TEST(single, calls_see_the_state_that_the_last_one_left, 30) {
    cluster_start(endpoint, 3);
    tine_value *counter = tine_module("single_counter", 7);
    tine_future *f[200];
    int64_t worker = 0;
    for (int i = 0; i < 200; i++) f[i] = tine_fork_method(counter, "add");
    for (int i = 0; i < 200; i++) cr_assert_eq(added(f[i], &worker), 7 + i);
    tine_future *bad = tine_fork_method(counter, "fails");
    for (int i = 0; i < 50; i++) f[i] = tine_fork_method(counter, "waits");
    for (int i = 0; i < 50; i++) cr_assert_eq(cluster_take_int(f[i]), 1);
    cr_assert_eq(tine_wait(bad, NULL), TINE_EFAILED);
    tine_release(bad);
    cr_assert_eq(added(tine_fork_method(counter, "calls"), &worker), 357);
    cr_assert_eq(added(tine_fork("single_nested", counter), &worker), 367);
    cr_assert(!tine_call_method(counter, "add") && tine_last_error() == TINE_EINVAL);
    cr_assert(strstr(tine_error_message(), "fork its methods"), "%s", tine_error_message());
    tine_release(counter);
    cluster_stop();
}

/* Also where a call waits for a promise, and those behind it for nothing but that. */
TRANSPORT_TEST(single, calls_keep_the_order_of_their_forks, 30) {
    cluster_start(endpoint, 2);
    tine_value *counter = tine_module("single_counter"), *five = tine_int(5);
    tine_future *argument, *cancelled, *f[50];
    tine_promise *p = tine_promise_new(&argument);
    int64_t worker = 0;
    for (int i = 0; i < 50; i++)
        f[i] = i % 10 ? tine_fork_method(counter, "add", 1)
                      : tine_fork_method(counter, "add", argument);
    cancelled = tine_fork_method(counter, "add", argument);
    tine_future *last = tine_fork_method(counter, "add");
    cr_assert_eq(tine_cancel(cancelled, 0), TINE_OK);
    cr_assert(!tine_done(f[1]) && !tine_done(last), "a call overtook one that waits");
    cr_assert_eq(tine_promise_set(p, five), TINE_OK);
    for (int i = 0; i < 50; i++) {
        int64_t before = i + 4 * ((i + 9) / 10);
        int64_t got = added(f[i], &worker);
        cr_assert_eq(got, before, "call %d: %d, not %d", i, (int)got, (int)before);
    }
    cr_assert_eq(added(last, &worker), 70);
    tine_release(cancelled);
    tine_release(argument);
    tine_release(p);
    tine_release(five);
    tine_release(counter);
    cluster_stop();
}

TRANSPORT_TEST_REMOTE(single, a_death_is_reported_at_the_next_call, 30) {
    cluster_start(endpoint, 2);
    tine_value *counter = tine_module("single_counter");
    int64_t worker = 0;
    cr_assert_eq(added(tine_fork_method(counter, "add"), &worker), 0);
    tine_future *dies = tine_fork_method(counter, "dies"), *next;
    cr_assert_eq(tine_wait(dies, NULL), TINE_ELOST);
    cr_assert(strstr(tine_error_message(), "; the state of its module is lost with it"), "%s",
              tine_error_message());
    for (int i = 0; i < 3; i++) {
        next = tine_fork_method(counter, "add");
        cr_assert_eq(tine_wait(next, NULL), TINE_ELOST);
        cr_assert(strstr(tine_error_message(), "the state of its module was lost"), "%s",
                  tine_error_message());
        tine_release(next);
    }
    tine_release(dies);
    tine_release(counter);
    cluster_stop();
}

TRANSPORT_TEST_REMOTE(single, an_instance_is_made_anew_where_its_class_says_so, 30) {
    cluster_start(endpoint, 2);
    tine_value *counter = tine_module("new_counter", 3);
    int64_t worker = 0, other = 0;
    cr_assert_eq(added(tine_fork_method(counter, "add"), &worker), 3);
    tine_future *dies = tine_fork_method(counter, "dies"), *f[20];
    for (int i = 0; i < 20; i++) f[i] = tine_fork_method(counter, "add");
    cr_assert_eq(tine_wait(dies, NULL), TINE_ELOST);
    for (int i = 0; i < 20; i++) cr_assert_eq(added(f[i], &other), 3 + i);
    cr_assert_neq(worker, other);
    tine_release(dies);
    tine_release(counter);
    cluster_stop();
}
