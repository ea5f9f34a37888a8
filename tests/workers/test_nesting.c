/* Forks inside tasks: waits that never hold a worker, progress without the program's help, and the
 * same bits however many workers. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "runtime/api/cancel.h"
#include "tests/support/cluster.h"

TINE_FUNCTION(nesting_fib, "n") {
    int64_t n = tine_arg_int(task, 0);
    if (n < 2) return tine_int(n);
    tine_future *left = tine_fork("nesting_fib", n - 1), *right = tine_fork("nesting_fib", n - 2);
    tine_value *a, *b;
    if (tine_wait(left, &a) || tine_wait(right, &b)) return NULL;
    return tine_int(tine_as_int(a) + tine_as_int(b));
}

/* A chain of forks, each waiting for the next; the last tells when it ran. */
TINE_FUNCTION(nesting_chain, "n") {
    int64_t n = tine_arg_int(task, 0);
    if (n > 0) {
        tine_value *below;
        return tine_wait(tine_fork("nesting_chain", n - 1), &below) ? NULL : below;
    }
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return tine_int((int64_t)t.tv_sec * 1000000000 + t.tv_nsec);
}

/* More forks than the window of a worker (4096), all waited for at the end. */
TINE_FUNCTION(nesting_wide, "n") {
    int64_t n = tine_arg_int(task, 0), sum = 0;
    tine_future *f[6000];
    for (int64_t i = 0; i < n; i++) f[i] = tine_fork("nesting_fib", i % 2);
    for (int64_t i = 0; i < n; i++) {
        tine_value *v;
        if (tine_wait(f[i], &v)) return NULL;
        sum += tine_as_int(v);
        tine_release(v);
        tine_release(f[i]);
    }
    return tine_int(sum);
}

/* Forks whose arguments are futures still under way when the task returns. */
TINE_FUNCTION(nesting_leave, "") {
    (void)task;
    tine_future *f = tine_fork("nesting_fib", 6);
    tine_fork("nesting_fib", tine_fork("nesting_fib", f));
    return tine_string("left");
}

TINE_FUNCTION(nesting_gate, "fifo") {
    char byte = 0;
    int fd = open(tine_arg_string(task, 0), O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, &byte, 1) != 1) return tine_fail(task, "the gate does not open");
    close(fd);
    return tine_int(1);
}

/* Forks on a pending future until there is no room, then opens the gate and forks once more, which
 * waits for room. */
TINE_FUNCTION(nesting_crowd, "fifo") {
    tine_future *gate = tine_fork("nesting_gate", tine_arg_string(task, 0)), *f;
    int64_t n = 0;
    while (n < 100000 && (f = tine_try_fork("nesting_fib", gate))) {
        tine_release(f);
        n++;
    }
    int fd = open(tine_arg_string(task, 0), O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "x", 1) != 1) return tine_fail(task, "the gate has no other side");
    close(fd);
    tine_value *v;
    if (tine_wait(tine_fork("nesting_fib", gate), &v)) return NULL;
    return tine_int(n);
}

/* ThreadSanitizer makes each of the 21,891 forks about 50 times as expensive; a seventh of them
 * meets the same interleavings well within the time limit. */
#ifdef __SANITIZE_THREAD__
enum { FIB_N = 16, FIB_OF_N = 987, FIB_FORKS = 3193 };
#else
enum { FIB_N = 20, FIB_OF_N = 6765, FIB_FORKS = 21891 };
#endif

static void fibonacci(const char *endpoint, int workers) {
    cluster_start(endpoint, workers);
    cr_assert_eq(cluster_take_int(tine_fork("nesting_fib", FIB_N)), FIB_OF_N);
    cluster_stop();
}
Test(nesting, fibonacci_of_20_with_1_worker, .timeout = 60) { fibonacci(NULL, 1); }
Test(nesting, fibonacci_of_20_with_2_workers, .timeout = 60) { fibonacci(NULL, 2); }
Test(nesting, fibonacci_of_20_with_4_workers, .timeout = 60) { fibonacci(NULL, 4); }
Test(nesting, fibonacci_of_20_over_tcp, .timeout = 60) { fibonacci("tcp://127.0.0.1:0", 2); }
Test(nesting, fibonacci_of_20_in_threads, .timeout = 60) { fibonacci("inproc://fibonacci", 2); }

/* Those that come are of the outermost task, and heartbeats: a minute of them is allowed. */
TRANSPORT_TEST(nesting, a_fork_that_runs_where_it_was_made_causes_no_message, 60) {
    cluster_start(endpoint, 1);
    cluster_take_int(tine_fork("nesting_fib", 5)); /* it keeps its forks by now */
    uint64_t before = cluster_messages();
    cr_assert_eq(cluster_take_int(tine_fork("nesting_fib", FIB_N)), FIB_OF_N);
    uint64_t n = cluster_messages() - before;
    cr_expect_lt(n, 200, "%d messages for %d forks", (int)n, FIB_FORKS);
    cluster_stop();
}

/* Its fork is wanted by nobody else, or was sent to the coordinator. */
TINE_FUNCTION(nesting_take_back, "") {
    tine_future *f = tine_fork("nesting_fib", 4);
    tine_value *v;
    if (!tine_future_take_back(f)) return tine_wait(f, &v) ? NULL : v;
    tine_error e = tine_wait(f, &v);
    if (e != TINE_ECANCELED || tine_future_take_back(f)) return tine_fail(task, "it is not over");
    return tine_int(-1);
}

TRANSPORT_TEST(nesting, a_fork_that_has_stayed_can_be_taken_back, 60) {
    cluster_start(endpoint, 1);
    cluster_take_int(tine_fork("nesting_fib", 5)); /* it keeps its forks by now */
    cr_expect_eq(cluster_take_int(tine_fork("nesting_take_back")), -1);
    tine_future *f = tine_fork("nesting_fib", 4);
    cr_expect_not(tine_future_take_back(f), "a fork of the program");
    cr_expect_eq(cluster_take_int(f), 3);
    cluster_stop();
}

TRANSPORT_TEST(nesting, a_fork_that_another_worker_may_run_is_not_taken_back, 60) {
    cluster_start(endpoint, 2);
    for (int i = 0; i < 50; i++) {
        int64_t n = cluster_take_int(tine_fork("nesting_take_back"));
        cr_expect(n == 3 || n == -1);
    }
    cluster_stop();
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* tine_done does not run the event loop: only the progress thread does while the program computes,
 * for a second, or more under a sanitizer. */
TRANSPORT_TEST(nesting, nested_forks_complete_while_the_program_computes, 40) {
    cluster_start(endpoint, 2);
    tine_future *f = tine_fork("nesting_chain", 50);
    double start = now();
    for (int second = 1; second <= 20 && !tine_done(f); second++)
        while (now() < start + second) {
        }
    double stopped = now();
    cr_assert(tine_done(f), "the chain did not finish while the program computed");
    double ran = (double)cluster_take_int(f) / 1e9;
    cr_assert_lt(ran, stopped, "it ran %g s after the program began to call again", ran - stopped);
    cluster_stop();
}

TRANSPORT_TEST(nesting, a_task_may_fork_more_than_the_window, 60) {
    tine_options o = {
        .endpoint = endpoint, .workers = 1, .log_level = "error", .stack_size = 1 << 20};
    cluster_start_with(&o);
    cr_assert_eq(cluster_take_int(tine_fork("nesting_wide", 6000)), 3000);
    cluster_stop();
}

TRANSPORT_TEST(nesting, forks_kept_back_outlive_their_task, 30) {
    cluster_start(endpoint, 1);
    tine_value *v = cluster_take(tine_fork("nesting_leave"));
    cr_assert_str_eq(tine_as_string(v), "left");
    tine_release(v);
    cluster_stop();
}

TRANSPORT_TEST_REMOTE(nesting, forks_of_a_task_that_wait_for_arguments_are_bounded, 170) {
    char dir[64] = "/tmp/tine-test-XXXXXX", fifo[80];
    cr_assert(mkdtemp(dir) != NULL);
    snprintf(fifo, sizeof fifo, "%s/gate", dir);
    cr_assert_eq(mkfifo(fifo, 0600), 0);
    cluster_start(endpoint, 2);
    int64_t n = cluster_take_int(tine_fork("nesting_crowd", fifo));
    cr_expect_eq(n, 65536, "%d forks", (int)n);
    cluster_stop();
    unlink(fifo);
    cr_assert_eq(rmdir(dir), 0);
}
