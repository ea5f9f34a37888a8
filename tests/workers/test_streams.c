/* Streams: values in order with credit, errors, cancels, deadlines, deaths, retries, releases; from
 * the program and from tasks. */
#include <criterion/criterion.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/cluster.h"
#include "tests/support/marks.h"

static void expect(tine_error got, tine_error e, const char *part) {
    cr_assert_eq(got, e, "%s: %s", tine_error_name(got), tine_error_message());
    cr_assert(strstr(tine_error_message(), part), "\"%s\" lacks \"%s\"", tine_error_message(),
              part);
}

static int64_t take(tine_future *stream) {
    tine_value *v;
    cr_assert_eq(tine_next(stream, &v), TINE_OK, "%s", tine_error_message());
    int64_t i = tine_as_int(v);
    tine_release(v);
    return i;
}

TINE_FUNCTION(stream_add, "a, b") {
    return tine_int(tine_arg_int(task, 0) + tine_arg_int(task, 1));
}
/* 1 … n, then their number. */
TINE_FUNCTION(stream_count, "n") {
    int64_t n = tine_arg_int(task, 0);
    for (int64_t i = 1; i <= n; i++)
        if (tine_yield(task, tine_int(i))) return NULL;
    return tine_int(n);
}
/* Marks each one before. */
TINE_FUNCTION(stream_marked, "path, n") {
    for (int64_t i = 1; i <= tine_arg_int(task, 1); i++) {
        marks_add(tine_arg_string(task, 0), "x");
        if (tine_yield(task, tine_int(i))) return NULL;
    }
    return tine_none();
}
/* Yields without end; marks that it was told. */
TINE_FUNCTION(stream_endless, "path") {
    int64_t i = 0;
    tine_error e;
    while (!(e = tine_yield(task, tine_int(++i))))
        ;
    if (e == TINE_ECANCELED) marks_add(tine_arg_string(task, 0), "x");
    return NULL;
}
TINE_FUNCTION(stream_fails, "n") {
    for (int64_t i = 1; i <= tine_arg_int(task, 0); i++) tine_yield(task, tine_int(i));
    return tine_fail(task, "no more flour");
}
static double first_element(const tine_value *v) { return ((const float *)tine_data(v))[0]; }
/* Every third value is large, so that smaller ones overtake it. */
TINE_FUNCTION(stream_sizes, "n") {
    for (int64_t i = 0; i < tine_arg_int(task, 0); i++) {
        int64_t n = i % 3 == 0 ? 200000 : 2;
        tine_value *v = tine_full(TINE_F32, 1, &n, (double)i);
        if (tine_yield(task, i % 2 ? v : tine_put(v))) return NULL;
    }
    return tine_none();
}
/* Dies after its n-th yield, in its first attempt; with 1 value ahead n - 1 were taken by then. */
static tine_value *count_and_die(tine_task *task) {
    int64_t n = tine_arg_int(task, 1);
    bool first = marks_add(tine_arg_string(task, 0), "x") == 1;
    for (int64_t i = 1; i <= 2 * n; i++) {
        if (tine_yield(task, tine_int(i))) return NULL;
        if (first && i == n) raise(SIGKILL);
    }
    return tine_int(2 * n);
}
TINE_FUNCTION(stream_dies, "path, n") { return count_and_die(task); }
TINE_REPEATABLE_FUNCTION(stream_returns, "path, n") { return count_and_die(task); }
/* The same within a task: takes a stream and yields what it takes, squared. */
TINE_FUNCTION(stream_squares, "n") {
    tine_future *f =
        tine_fork_with(TINE_FORK_OPTIONS(.stream = 3), "stream_count", tine_arg_int(task, 0));
    tine_value *v;
    tine_error e;
    while (!(e = tine_next(f, &v)))
        if ((e = tine_yield(task, tine_int(tine_as_int(v) * tine_as_int(v))))) return NULL;
    if (e != TINE_ENDED || tine_wait(f, &v)) return NULL;
    return v;
}
TINE_FUNCTION(stream_sum_sizes, "n") {
    tine_future *f =
        tine_fork_with(TINE_FORK_OPTIONS(.stream = 4), "stream_sizes", tine_arg_int(task, 0));
    tine_value *v;
    int64_t i = 0;
    for (; !tine_next(f, &v); i++)
        if (first_element(v) != (double)i) return tine_fail(task, "value %d is wrong", (int)i);
    return tine_int(i);
}
/* Leaves a stream behind. */
TINE_FUNCTION(stream_leaves, "path") {
    tine_value *v;
    tine_future *f =
        tine_fork_with(TINE_FORK_OPTIONS(.stream = 1), "stream_endless", tine_arg_string(task, 0));
    return tine_next(f, &v) ? NULL : v;
}

TRANSPORT_TEST(streams, values_come_in_order_then_the_end_then_the_result, 30) {
    cluster_start(endpoint, 2);
    for (int window = 1; window <= 7; window += 3) {
        tine_future *f = tine_fork_with(TINE_FORK_OPTIONS(.stream = window), "stream_count", 50);
        for (int64_t i = 1; i <= 50; i++) cr_assert_eq(take(f), i);
        expect(tine_next(f, NULL), TINE_ENDED, "ended");
        cr_assert_eq(tine_next(f, NULL), TINE_ENDED);
        cr_assert_eq(cluster_take_int(f), 50);
    }
    tine_future *f = tine_fork_with(TINE_FORK_OPTIONS(.stream = 1), "stream_count", 0);
    cr_assert_eq(tine_next(f, NULL), TINE_ENDED);
    cr_assert_eq(cluster_take_int(f), 0);
    cluster_stop();
}

TRANSPORT_TEST(streams, small_values_that_overtake_large_ones_come_in_order, 30) {
    cluster_start(endpoint, 2);
    tine_future *f = tine_fork_with(TINE_FORK_OPTIONS(.stream = 5), "stream_sizes", 20);
    tine_value *v;
    for (int64_t i = 0; i < 20; i++) {
        cr_assert_eq(tine_next(f, &v), TINE_OK, "%s", tine_error_message());
        cr_assert_eq(first_element(v), (double)i);
        tine_release(v);
    }
    cr_assert_eq(tine_next(f, NULL), TINE_ENDED);
    tine_release(f);
    cr_assert_eq(cluster_take_int(tine_fork("stream_sum_sizes", 20)), 20); /* in a task */
    cluster_stop();
}

TRANSPORT_TEST(streams, a_slow_reader_stops_the_task_and_not_its_worker, 30) {
    marks_start();
    const char *path = marks_path("mark");
    cluster_start(endpoint, 1);
    tine_future *f = tine_fork_with(TINE_FORK_OPTIONS(.stream = 3), "stream_marked", path, 100);
    cr_assert_eq(take(f), 1);
    marks_await("mark", 4); /* it waits in the yield of the fourth */
    cr_assert_eq(cluster_take_int(tine_fork("stream_add", 1, 2)), 3);
    cr_assert_leq(marks_size("mark"), 5); /* 1 taken, 3 ahead, 1 in the yield that waits */
    for (int64_t i = 2; i <= 100; i++) {
        cr_assert_eq(take(f), i);
        cr_assert_leq(marks_size("mark"), (size_t)i + 4);
    }
    cr_assert_eq(tine_next(f, NULL), TINE_ENDED);
    cr_assert_eq(marks_size("mark"), 100);
    tine_release(f);
    cluster_stop();
    marks_end();
}

TRANSPORT_TEST(streams, a_task_takes_a_stream_and_is_one, 30) {
    cluster_start(endpoint, 1); /* both on one worker: each suspends for the other */
    tine_future *f = tine_fork_with(TINE_FORK_OPTIONS(.stream = 2), "stream_squares", 30);
    for (int64_t i = 1; i <= 30; i++) cr_assert_eq(take(f), i * i);
    cr_assert_eq(tine_next(f, NULL), TINE_ENDED);
    cr_assert_eq(cluster_take_int(f), 30);
    cluster_stop();
}

TRANSPORT_TEST(streams, a_failure_comes_behind_the_values, 30) {
    cluster_start(endpoint, 1);
    tine_future *f = tine_fork_with(TINE_FORK_OPTIONS(.stream = 8), "stream_fails", 3);
    expect(tine_wait(f, NULL), TINE_EFAILED, "no more flour"); /* 3 values have arrived */
    for (int64_t i = 1; i <= 3; i++) cr_assert_eq(take(f), i);
    expect(tine_next(f, NULL), TINE_EFAILED, "no more flour");
    expect(tine_next(f, NULL), TINE_EFAILED, "no more flour");
    tine_release(f);
    cluster_stop();
}

TRANSPORT_TEST(streams, cancel_deadline_and_release_end_the_task, 30) {
    marks_start();
    const char *path = marks_path("mark");
    cluster_start(endpoint, 1);
    tine_future *f = tine_fork_with(TINE_FORK_OPTIONS(.stream = 2), "stream_endless", path);
    cr_assert_eq(take(f), 1);
    cr_assert_eq(tine_cancel(f, 0), TINE_OK);
    tine_error e;
    int64_t next = 2;
    tine_value *v;
    for (; !(e = tine_next(f, &v)); tine_release(v)) cr_assert_eq(tine_as_int(v), next++);
    expect(e, TINE_ECANCELED, "tine_cancel was called");
    cr_assert_leq(next, 5);
    tine_release(f);
    marks_await("mark", 1);

    /* nobody takes them, though two come before it: the deadline counts for the whole stream */
    f = tine_fork_with(TINE_FORK_OPTIONS(.stream = 2, .deadline = 1), "stream_endless", path);
    expect(tine_wait(f, NULL), TINE_ETIMEDOUT, "within 1 s");
    cr_assert_eq(take(f), 1);
    cr_assert_eq(take(f), 2);
    expect(tine_next(f, NULL), TINE_ETIMEDOUT, "within 1 s");
    tine_release(f);
    marks_await("mark", 2);

    f = tine_fork_with(TINE_FORK_OPTIONS(.stream = 2), "stream_endless", path);
    cr_assert_eq(take(f), 1);
    tine_release(f);
    marks_await("mark", 3);

    cr_assert_eq(cluster_take_int(tine_fork("stream_leaves", path)), 1); /* so does a task's end */
    marks_await("mark", 4);
    cr_assert_eq(tine_drain(20), TINE_OK);
    cluster_stop();
    marks_end();
}

TRANSPORT_TEST_REMOTE(streams, a_death_ends_it_behind_the_values_that_had_arrived, 30) {
    marks_start();
    const char *path = marks_path("mark");
    cluster_start(endpoint, 1);
    tine_future *f = tine_fork_with(TINE_FORK_OPTIONS(.stream = 1), "stream_dies", path, 4);
    tine_error e;
    tine_value *v;
    int64_t next = 1;
    for (; !(e = tine_next(f, &v)); tine_release(v)) cr_assert_eq(tine_as_int(v), next++);
    expect(e, TINE_ELOST, "SIGKILL");
    cr_assert(next == 4 || next == 5, "%d", (int)next);
    cr_assert_eq(marks_size("mark"), 1);
    tine_release(f);
    cluster_stop();
    marks_end();
}

TRANSPORT_TEST_REMOTE(streams, a_repeated_task_gives_each_value_once, 30) {
    marks_start();
    const char *path = marks_path("mark");
    cluster_start(endpoint, 2);
    tine_future *f = tine_fork_with(TINE_FORK_OPTIONS(.stream = 1), "stream_returns", path, 4);
    for (int64_t i = 1; i <= 8; i++) cr_assert_eq(take(f), i);
    cr_assert_eq(tine_next(f, NULL), TINE_ENDED);
    cr_assert_eq(cluster_take_int(f), 8);
    cr_assert_eq(marks_size("mark"), 2); /* attempts */
    cluster_stop();
    marks_end();
}

Test(streams, values_are_futures, .timeout = 30) {
    cluster_start("inproc://values-are-futures", 2);
    tine_future *f[2], *all[8];
    for (int i = 0; i < 2; i++)
        f[i] = tine_fork_with(TINE_FORK_OPTIONS(.stream = 1), "stream_count", 3);
    for (int i = 0; i < 8; i++) all[i] = tine_next_future(f[i % 2]);
    tine_future *sum = tine_fork("stream_add", all[0], all[3]); /* as arguments */
    tine_completer *c = tine_as_completed(all, 8);
    size_t index, n = 0, ended = 0;
    while (tine_completer_next(c, INFINITY, &index) == TINE_OK) {
        tine_value *v = NULL;
        tine_error e = tine_wait(all[index], &v);
        cr_assert_eq(e, index < 6 ? TINE_OK : TINE_ENDED);
        if (e == TINE_OK) cr_assert_eq(tine_as_int(v), (int64_t)index / 2 + 1);
        ended += e == TINE_ENDED;
        n++;
        tine_release(v);
    }
    cr_assert(n == 8 && ended == 2);
    cr_assert_eq(cluster_take_int(sum), 3);
    for (int i = 0; i < 8; i++) tine_release(all[i]);
    for (int i = 0; i < 2; i++) tine_release(f[i]);
    tine_release(c);
    cluster_stop();
}

/* 1: the task goes on behind a value that is cancelled before it comes, which is dropped. */
static int64_t cancel_a_value(void) {
    tine_future *n;
    tine_promise *p = tine_promise_new(&n);
    tine_future *f = tine_fork_with(TINE_FORK_OPTIONS(.stream = 1), "stream_sizes", n),
                *first = tine_next_future(f), *second = tine_next_future(f);
    tine_value *three = tine_int(3), *v = NULL;
    bool good = tine_cancel(first, 0) == TINE_OK && tine_wait(first, NULL) == TINE_ECANCELED &&
                tine_promise_set(p, three) == TINE_OK && tine_wait(second, &v) == TINE_OK &&
                first_element(v) == 1;
    tine_release(v);
    good = good && tine_next_for(f, 20, &v) == TINE_OK && first_element(v) == 2;
    tine_release(v);
    good = good && tine_next_for(f, 20, NULL) == TINE_ENDED && tine_cancel(first, 0) == TINE_ESTATE;
    tine_release(three);
    tine_release(p);
    tine_future *all[] = {n, f, first, second};
    for (int i = 0; i < 4; i++) tine_release(all[i]);
    return good;
}
TINE_FUNCTION(stream_cancel_a_value, "") {
    (void)task;
    return tine_int(cancel_a_value());
}

TRANSPORT_TEST(streams, a_value_that_is_cancelled_is_dropped_and_the_task_goes_on, 60) {
    tine_counts n;
    cluster_start(endpoint, 1);
    cr_expect_eq(cancel_a_value(), 1, "%s", tine_error_message());
    cr_expect_eq(cluster_take_int(tine_fork("stream_cancel_a_value")), 1);
    do cr_assert_eq(tine_count(&n), TINE_OK); /* the values that were put are gone with it */
    while (n.objects > 0);
    cluster_stop();
}

/* The first two attempts fail half-way. */
TINE_REPEATABLE_FUNCTION(stream_fails_at_first, "path, n") {
    int64_t n = tine_arg_int(task, 1);
    bool last = marks_add(tine_arg_string(task, 0), "x") == 3;
    for (int64_t i = 1; i <= n; i++) {
        if (tine_yield(task, tine_int(i))) return NULL;
        if (!last && i == n / 2) return tine_fail(task, "no more flour");
    }
    return tine_int(n);
}
TRANSPORT_TEST(streams, a_task_that_fails_and_is_repeated_gives_each_value_once, 30) {
    marks_start();
    const char *path = marks_path("mark");
    cluster_start(endpoint, 2);
    const tine_fork_options twice = {.stream = 2, .retry_on_failure = 2};
    tine_future *f = tine_fork_with(&twice, "stream_fails_at_first", path, 8);
    for (int64_t i = 1; i <= 8; i++) cr_assert_eq(take(f), i);
    cr_assert_eq(tine_next(f, NULL), TINE_ENDED);
    cr_assert_eq(cluster_take_int(f), 8);
    cr_assert_eq(marks_size("mark"), 3);
    cluster_stop();
    marks_end();
}

static void *take_some(void *stream) {
    int64_t sum = 0;
    tine_value *v;
    for (; tine_next(stream, &v) == TINE_OK; tine_release(v)) sum += tine_as_int(v);
    return (void *)(intptr_t)sum;
}

Test(streams, each_value_goes_to_one_thread, .timeout = 30) {
    cluster_start(NULL, 1);
    tine_future *f = tine_fork_with(TINE_FORK_OPTIONS(.stream = 4), "stream_count", 2000);
    pthread_t threads[3];
    intptr_t sum = 0;
    for (int i = 0; i < 3; i++) pthread_create(&threads[i], NULL, take_some, f);
    for (int i = 0; i < 3; i++) {
        void *part;
        pthread_join(threads[i], &part);
        sum += (intptr_t)part;
    }
    cr_assert_eq(sum, 2000 * 2001 / 2);
    tine_release(f);
    cluster_stop();
}

Test(streams, what_nobody_takes_is_dropped, .timeout = 30) {
    cluster_start(NULL, 1);
    cr_assert_eq(cluster_take_int(tine_fork("stream_count", 1000)), 1000);
    tine_value *v = tine_call("stream_count", 5);
    cr_assert_eq(tine_as_int(v), 5);
    tine_release(v);
    cluster_stop();
}

Test(streams, a_shutdown_ends_it, .timeout = 30) {
    cluster_start(NULL, 1);
    tine_future *f = tine_fork_with(TINE_FORK_OPTIONS(.stream = 2), "stream_count", 1000);
    cr_assert_eq(take(f), 1);
    tine_future *later[4];
    for (int i = 0; i < 4; i++) later[i] = tine_next_future(f);
    cr_assert_eq(tine_wait(later[0], NULL), TINE_OK);
    cluster_stop();
    for (int i = 0; i < 4; i++) tine_release(later[i]);
    tine_error e;
    while (!(e = tine_next(f, NULL)))
        ;
    cr_assert_eq(e, TINE_ECANCELED);
    tine_release(f);
}

Test(streams, wrong_calls_are_refused, .timeout = 30) {
    tine_value *v = tine_int(1);
    cluster_start(NULL, 1);
    expect(tine_next(NULL, NULL), TINE_EINVAL, "NULL");
    expect(tine_yield(NULL, tine_none()), TINE_EINVAL, "task");
    tine_future *f = tine_fork("stream_add", 1, 2);
    expect(tine_next(f, &v), TINE_EINVAL, "no stream");
    cr_assert_null(v);
    cr_assert_null(tine_next_future(f));
    cr_assert_eq(cluster_take_int(f), 3);
    for (int i = -1; i <= 65537; i += 65538) {
        f = tine_fork_with(TINE_FORK_OPTIONS(.stream = i), "stream_count", 1);
        expect(tine_wait(f, NULL), TINE_EINVAL, "tine_fork_options");
        expect(tine_next(f, NULL), TINE_EINVAL, "tine_fork_options");
        tine_release(f);
    }
    tine_future *never;
    tine_promise *p = tine_promise_new(&never);
    f = tine_fork_with(TINE_FORK_OPTIONS(.stream = 1), "stream_add", never, 1);
    expect(tine_next_for(f, 0.01, NULL), TINE_ETIMEDOUT, "no value within 0.01 s");
    expect(tine_next_for(f, NAN, NULL), TINE_EINVAL, "NaN");
    tine_release(f); /* before it was submitted */
    tine_release(p);
    tine_release(never);
    cluster_stop();
}
