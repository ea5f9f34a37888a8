/* Waiting for several futures: deadlines, the first failure, which are done, and completers. */
#include <criterion/criterion.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/cluster.h"
#include "tests/support/cpu.h"

TINE_FUNCTION(test_add, "a, b=1") {
    return tine_int(tine_arg_int(task, 0) + tine_arg_int(task, 1));
}
TINE_FUNCTION(test_fail, "") { return tine_fail(task, "it broke"); }

/* A promise that nothing completes stands for a task that goes on. */
typedef struct endless {
    tine_promise *promise;
    tine_future *future;
} endless;
static endless endless_new(void) {
    endless e;
    e.promise = tine_promise_new(&e.future);
    return e;
}
static void endless_free(endless *e) {
    tine_release(e->promise);
    tine_release(e->future);
}

TRANSPORT_TEST(completers, deadlines_of_wait_any_and_wait_all, 20) {
    cluster_start(endpoint, 1);
    endless e = endless_new();
    tine_future *f[] = {tine_fork("test_add", 1), e.future};
    tine_value *out[2];
    size_t index = 9;
    cr_assert_eq(tine_wait_any_for(f, 2, 10, &index), TINE_OK);
    cr_assert_eq(index, 0);
    cr_assert_eq(tine_wait_any_for(f + 1, 1, 0.01, &index), TINE_ETIMEDOUT);
    cr_assert_eq(tine_wait_any_for(f + 1, 1, 0, &index), TINE_ETIMEDOUT);
    cr_assert_eq(index, 0);
    cr_assert_eq(tine_wait_any_for(f, 2, NAN, NULL), TINE_EINVAL);
    cr_assert_eq(tine_wait_all_for(f, 2, 0.01, out), TINE_ETIMEDOUT);
    cr_assert(strstr(tine_error_message(), "1 of 2 futures"), "%s", tine_error_message());
    cr_assert(!out[0] && !out[1]);
    cr_assert_eq(tine_wait_all_for(f, 1, -1, out), TINE_OK);
    cr_assert_eq(tine_as_int(out[0]), 2);
    tine_release(out[0]);
    cr_assert_eq(tine_wait_all_for(f, 2, NAN, out), TINE_EINVAL);
    tine_release(f[0]);
    endless_free(&e);
    cluster_stop();
}

TRANSPORT_TEST(completers, the_first_failure_ends_a_wait, 20) {
    cluster_start(endpoint, 1);
    endless e = endless_new();
    tine_future *f[] = {e.future, tine_fork("test_add", 1), tine_fork("test_fail")};
    size_t index = 9;
    cr_assert_eq(tine_wait_failure(f, 3, INFINITY, &index), TINE_EFAILED);
    cr_assert(strstr(tine_error_message(), "it broke"));
    cr_assert_eq(index, 2);
    cr_assert(!tine_done(e.future));
    cr_assert_eq(tine_wait_failure(f, 2, 0.01, &index), TINE_ETIMEDOUT);
    cr_assert_eq(index, 2);
    cr_assert_eq(tine_wait_failure(f + 1, 1, INFINITY, &index), TINE_OK);
    cr_assert_eq(index, 1);
    cr_assert_eq(tine_wait_failure(f, 0, 0, NULL), TINE_OK);
    bool done[3] = {true, false, false};
    cr_assert_eq(tine_which_done(f, 3, done), 2);
    cr_assert(!done[0] && done[1] && done[2]);
    cr_assert_eq(tine_which_done(NULL, 0, NULL), 0);
    tine_release(f[1]);
    tine_release(f[2]);
    endless_free(&e);
    cluster_stop();
}

TRANSPORT_TEST(completers, each_future_is_given_once_in_the_order_of_completion, 30) {
    enum { N = 200 };
    cluster_start(endpoint, 2);
    tine_future *f[N + 2];
    tine_promise *p[2] = {tine_promise_new(&f[0]), tine_promise_new(&f[1])};
    bool given[N + 2] = {false};
    size_t i;
    for (int k = 0; k < N; k++) f[k + 2] = tine_fork(k == 7 ? "neg" : "test_add", k);
    tine_completer *c = tine_as_completed(f, N + 2);
    for (int k = 0; k < N; k++) {
        cr_assert_eq(tine_completer_next(c, INFINITY, &i), TINE_OK);
        cr_assert(i >= 2 && i < N + 2 && !given[i] && tine_done(f[i]));
        given[i] = true;
    }
    cr_assert_eq(tine_completer_next(c, 0.01, &i), TINE_ETIMEDOUT);
    cr_assert_eq(i, 0);
    cr_assert_eq(tine_completer_next(c, NAN, &i), TINE_EINVAL);
    tine_promise_set(p[1], tine_none());
    tine_promise_fail(p[0], TINE_EFAILED, "no");
    cr_assert_eq(tine_completer_next(c, 0, &i), TINE_OK);
    cr_assert_eq(i, 1);
    cr_assert_eq(tine_completer_next(c, 0, &i), TINE_OK);
    cr_assert_eq(i, 0);
    cr_assert_eq(tine_completer_next(c, INFINITY, &i), TINE_ENDED);
    cr_assert_eq(tine_completer_add(c, f[1]), TINE_OK);
    cr_assert_eq(tine_completer_add(c, NULL), TINE_EINVAL);
    cr_assert_eq(tine_completer_next(c, INFINITY, &i), TINE_OK);
    cr_assert_eq(i, N + 2);
    tine_release(c);
    for (int k = 0; k < N + 2; k++) tine_release(f[k]);
    for (int k = 0; k < 2; k++) tine_release(p[k]);
    cr_assert_null(tine_as_completed(NULL, 1));
    cr_assert_eq(tine_completer_next(NULL, 0, &i), TINE_EINVAL);
    cluster_stop();
}

/* One is released while its futures are open; their waiters are gone then. */
TRANSPORT_TEST(completers, one_is_released_before_its_futures_are_done, 20) {
    cluster_start(endpoint, 1);
    endless e = endless_new();
    tine_completer *c = tine_as_completed(&e.future, 1);
    tine_release(c);
    cr_assert_eq(tine_promise_set(e.promise, tine_none()), TINE_OK);
    endless_free(&e);
    cluster_stop();
}

/* CPU time for each of n futures that are done in another order than they were made in. */
static double seconds_each(size_t n) {
    tine_future **f = malloc(n * sizeof *f);
    tine_promise **p = malloc(n * sizeof *p);
    size_t at = 0, i;
    cr_assert(f && p);
    for (size_t k = 0; k < n; k++) p[k] = tine_promise_new(&f[k]);
    double begin = cpu_seconds();
    tine_completer *c = tine_as_completed(f, n);
    for (size_t k = 0; k < n; k++) {
        at = (at + 7919) % n;
        cr_assert_eq(tine_promise_set(p[at], tine_none()), TINE_OK);
        if (k % 2 == 0) continue; /* one or two are done */
        cr_assert_eq(tine_completer_next(c, 0, &i), TINE_OK);
    }
    while (tine_completer_next(c, 0, &i) == TINE_OK) {
    }
    cr_assert_eq(i, 0);
    cr_assert_eq(tine_last_error(), TINE_ENDED);
    tine_release(c);
    double seconds = cpu_seconds() - begin;
    for (size_t k = 0; k < n; k++) {
        tine_release(f[k]);
        tine_release(p[k]);
    }
    free(f);
    free(p);
    return seconds / (double)n;
}

/* Were each looked for among all, one of eight times as many would take eight times as long. No
 * cache has room for either number of them. */
Test(completers, a_hundred_thousand_futures_cost_the_same_each, .timeout = 120) {
    cluster_start("inproc://hundred-thousand", 1);
    (void)seconds_each(1000);
    double few = seconds_each(32000), many = seconds_each(256000);
    cr_assert_lt(many, 4 * few, "%.0f ns each of 32,000, %.0f of 256,000", 1e9 * few, 1e9 * many);
    cluster_stop();
}

TINE_FUNCTION(test_completes, "n") {
    tine_future *f[64];
    int64_t n = tine_arg_int(task, 0), sum = 0;
    size_t i;
    for (int64_t k = 0; k < n; k++) f[k] = tine_fork("test_add", k, 0);
    tine_completer *c = tine_as_completed(f, (size_t)n);
    if (tine_completer_fd(c) != -1) return tine_fail(task, "a task has no event loop");
    while (tine_completer_next(c, INFINITY, &i) == TINE_OK) {
        tine_value *v;
        if (tine_wait(f[i], &v)) return NULL;
        sum += tine_as_int(v);
    }
    return tine_last_error() == TINE_ENDED ? tine_int(sum) : NULL;
}
/* ENDED is no error that travels. */
TINE_FUNCTION(test_ends, "") {
    (void)task;
    tine_completer_next(tine_as_completed(NULL, 0), 0, NULL);
    return NULL;
}
TRANSPORT_TEST(completers, inside_a_task, 20) {
    cluster_start(endpoint, 2);
    cr_assert_eq(cluster_take_int(tine_fork("test_completes", 50)), 1225);
    tine_future *f = tine_fork("test_ends");
    cr_assert_eq(tine_wait(f, NULL), TINE_EFAILED);
    tine_release(f);
    cluster_stop();
}

static bool readable(int fd, int ms) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, ms) == 1;
}

/* The thread that polls is not in Tine: the progress thread receives. */
TRANSPORT_TEST(completers, an_event_loop_polls_a_descriptor, 20) {
    enum { N = 20 };
    cluster_start(endpoint, 2);
    tine_future *f[N];
    size_t i;
    for (int k = 0; k < N; k++) f[k] = tine_fork("test_add", k);
    tine_completer *c = tine_as_completed(f, N);
    int fd = tine_completer_fd(c), taken = 0;
    cr_assert_geq(fd, 0);
    cr_assert_eq(tine_completer_fd(c), fd);
    while (taken < N) {
        cr_assert(readable(fd, 10000), "%d were given", taken);
        while (tine_completer_next(c, 0, &i) == TINE_OK) taken++;
    }
    cr_assert(!readable(fd, 0));
    cr_assert_eq(tine_completer_add(c, f[0]), TINE_OK);
    cr_assert(readable(fd, 0));
    cr_assert_eq(tine_completer_next(c, 0, &i), TINE_OK);
    cr_assert(!readable(fd, 0));
    tine_release(c);
    for (int k = 0; k < N; k++) tine_release(f[k]);
    cluster_stop();
}

static atomic_int given_to_threads;
static void *take_some(void *completer) {
    size_t i;
    while (tine_completer_next(completer, INFINITY, &i) == TINE_OK) given_to_threads++;
    return (void *)(intptr_t)tine_last_error();
}
TRANSPORT_TEST(completers, threads_share_one, 30) {
    enum { N = 500, THREADS = 3 };
    static tine_future *f[N];
    pthread_t threads[THREADS];
    cluster_start(endpoint, 2);
    for (int k = 0; k < N; k++) f[k] = tine_fork("test_add", k);
    tine_completer *c = tine_as_completed(f, N);
    for (int t = 0; t < THREADS; t++)
        cr_assert_eq(pthread_create(&threads[t], NULL, take_some, c), 0);
    for (int t = 0; t < THREADS; t++) {
        void *e;
        pthread_join(threads[t], &e);
        cr_assert_eq((intptr_t)e, TINE_ENDED);
    }
    cr_assert_eq(given_to_threads, N);
    tine_release(c);
    for (int k = 0; k < N; k++) tine_release(f[k]);
    cluster_stop();
}
