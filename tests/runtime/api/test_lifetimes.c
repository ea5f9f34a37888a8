/* What outlives what: tasks that return before their forks have left, callbacks that go on forking,
 * futures, values and threads that outlive Tine itself. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/cluster.h"

TINE_FUNCTION(test_add, "a, b=1") {
    return tine_int(tine_arg_int(task, 0) + tine_arg_int(task, 1));
}
TINE_FUNCTION(test_length, "list") { return tine_int((int64_t)tine_length(tine_arg(task, 0))); }

TINE_FUNCTION(test_fork_and_leave, "n") {
    for (int64_t i = 0; i < tine_arg_int(task, 0); i++) tine_release(tine_fork("test_add", i));
    return tine_int(7);
}

/* 4096 forks of a worker may be unstarted; the one past that was submitted for a task that was
 * over, which ended the worker. */
TRANSPORT_TEST(lifetimes, task_returns_while_its_last_fork_still_waits_for_credit, 30) {
    cluster_start(endpoint, 1);
    cr_assert_eq(cluster_take_int(tine_fork("test_fork_and_leave", 4097)), 7);
    cr_assert_eq(cluster_take_int(tine_fork("test_add", 1)), 2);
    cluster_stop();
}

static _Thread_local tine_future *last; /* of one worker */

static void third(tine_future *f, void *ctx) {
    (void)f;
    (void)ctx;
    last = tine_ref(tine_fork("test_add", 40, 2));
}

static void second(tine_future *f, void *ctx) {
    (void)ctx;
    tine_future *pending = tine_fork("test_add", f);
    tine_on_done(tine_fork("test_length", tine_list(pending, pending)), third, NULL);
}

/* The fork of a future that is pending, and the callback of a callback, belonged to no task:
 * ESTATE. */
TINE_FUNCTION(test_callbacks, "") {
    tine_value *v;
    last = NULL;
    tine_on_done(tine_fork("test_add", 1), second, NULL);
    while (!last)
        if (tine_wait(tine_fork("test_add", 1), NULL)) return NULL;
    tine_error e = tine_wait(last, &v);
    tine_release(last);
    return e == TINE_OK ? v : NULL;
}

TRANSPORT_TEST(lifetimes, callbacks_inside_a_task_fork_for_that_task, 20) {
    cluster_start(endpoint, 1);
    cr_assert_eq(cluster_take_int(tine_fork("test_callbacks")), 42);
    cluster_stop();
}

static void expect_invalid(tine_future *f) {
    cr_assert_eq(tine_wait(f, NULL), TINE_EINVAL, "%s", tine_error_message());
    tine_release(f);
}

Test(lifetimes, a_name_that_is_null_is_an_error, .timeout = 20) {
    cluster_start("inproc://*", 1);
    const char *none = NULL;
    expect_invalid(tine_fork(none, 1));
    expect_invalid(tine_fork(tine_kw("test_add", 1)));
    cr_assert_null(tine_call(none));
    cr_assert_eq(tine_last_error(), TINE_EINVAL);
    cr_assert_null(tine_module(none));
    cr_assert_eq(tine_last_error(), TINE_EINVAL);
    cluster_stop();
}

static atomic_int instances;
static void *nothing_new(tine_task *task) {
    instances++;
    return task;
}
static void nothing_free(void *self) {
    (void)self;
    instances--;
}
static tine_value *nothing_forward(tine_task *task) { return tine_ref(tine_arg(task, 0)); }
static const tine_method nothing_methods[] = {{"forward", "x", nothing_forward, 0}, {0}};
static const tine_class nothing = {"test_nothing", "", nothing_new, nothing_free, nothing_methods};
TINE_CLASS(nothing)

TINE_FUNCTION(test_spin, "seconds") {
    struct timespec t0, t;
    clock_gettime(CLOCK_MONOTONIC, &t0);
    do clock_gettime(CLOCK_MONOTONIC, &t);
    while ((double)(t.tv_sec - t0.tv_sec) + (double)(t.tv_nsec - t0.tv_nsec) / 1e9 <
           tine_arg_float(task, 0));
    return tine_int(1);
}

static tine_value *put_of(int64_t n) {
    tine_value *v = tine_ones(TINE_F32, 1, &n), *put = tine_put(v);
    tine_release(v);
    return put;
}

/* Futures asked the coordinator's lock, which was gone. */
TRANSPORT_TEST(lifetimes, futures_are_waited_for_and_released_after_shutdown, 20) {
    tine_value *v;
    cluster_start(endpoint, 1);
    tine_value *put = put_of(3);
    tine_future *done = tine_fork("test_add", 1), *reference = tine_fork("test_length", put);
    cr_assert_eq(tine_wait(done, NULL), TINE_OK);
    cr_assert_eq(tine_wait(reference, NULL), TINE_OK);
    tine_future *spinning = tine_fork("test_spin", 10.0),
                *pending = tine_fork("test_add", spinning);
    cluster_stop();
    cr_assert_eq(tine_wait(done, &v), TINE_OK);
    cr_assert_eq(tine_as_int(v), 2);
    tine_release(v);
    cr_assert_eq(tine_wait(spinning, NULL), TINE_ECANCELED);
    cr_assert_eq(tine_wait(pending, NULL), TINE_ECANCELED);
    tine_future *late = tine_fork("test_add", 1);
    cr_assert_eq(tine_wait(late, NULL), TINE_ESTATE);
    tine_release(late);
    tine_release(pending);
    tine_release(spinning);
    tine_release(reference);
    tine_release(done);
    tine_release(put);
}

static atomic_int canceled;

static void *wait_in_thread(void *f) {
    canceled += tine_wait((tine_future *)f, NULL) == TINE_ECANCELED;
    tine_release((tine_future *)f);
    return NULL;
}

/* The thread that drove went on in a transport that was freed under it. */
TRANSPORT_TEST(lifetimes, shutdown_while_threads_wait, 20) {
    pthread_t threads[4];
    cluster_start(endpoint, 1);
    tine_future *f = tine_fork("test_spin", 10.0);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, wait_in_thread, tine_ref(f)), 0);
    tine_wait_for(f, 0.2, NULL); /* most of them wait by then; a late one finds the future done */
    cluster_stop();
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    tine_release(f);
    cr_assert_eq(canceled, 4);
}

static atomic_bool forking_ends;
static sem_t forked, refused; /* how many, of all threads */

static void *fork_until_shutdown(void *arg) {
    while (!forking_ends) {
        tine_future *f = tine_fork("test_add", 1);
        tine_value *x = tine_int(1), *put = tine_put(x), *module = tine_module("test_nothing");
        tine_error e = tine_wait(f, NULL);
        cr_assert(e == TINE_OK || e == TINE_ECANCELED || e == TINE_ESTATE, "%s",
                  tine_error_message());
        sem_post(e == TINE_OK ? &forked : &refused);
        tine_release(f);
        tine_release(x);
        tine_release(put);
        tine_release(module);
    }
    return arg;
}

/* A call that had found the coordinator used it after it was freed. */
TRANSPORT_TEST(lifetimes, threads_fork_while_another_shuts_down, 60) {
    for (int round = 0; round < 5; round++) {
        pthread_t threads[3];
        forking_ends = false;
        sem_init(&forked, 0, 0);
        sem_init(&refused, 0, 0);
        cluster_start(endpoint, 1);
        for (int i = 0; i < 3; i++)
            cr_assert_eq(pthread_create(&threads[i], NULL, fork_until_shutdown, NULL), 0);
        for (int i = 0; i < 20; i++) sem_wait(&forked);
        cluster_stop();
        for (int i = 0; i < 20; i++) sem_wait(&refused);
        forking_ends = true;
        for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    }
}

static sem_t in_method, leave_method;
static tine_value *latch_forward(tine_task *task) {
    (void)task;
    sem_post(&in_method);
    sem_wait(&leave_method);
    tine_value *v = tine_call("test_add", 1); /* needs no worker */
    return tine_list(tine_error_name(tine_wait(tine_fork("test_add", 1), NULL)), v);
}
static const tine_method latch_methods[] = {{"forward", "", latch_forward, 0}, {0}};
static const tine_class latch = {"test_latch", "", nothing_new, nothing_free, latch_methods};
TINE_CLASS(latch)

static void *call_latch(void *module) {
    tine_value *v = tine_call((tine_value *)module);
    cr_assert(v, "%s", tine_error_message());
    cr_assert_str_eq(tine_as_string(tine_at(v, 0)), "ESTATE");
    tine_release(v);
    cr_assert_null(tine_call((tine_value *)module));
    cr_assert_eq(tine_last_error(), TINE_ESTATE, "%s", tine_error_message());
    return NULL;
}

/* An assertion failed: the instance was in use. It is freed by the call that leaves it last. */
TRANSPORT_TEST(lifetimes, a_method_runs_here_while_another_thread_shuts_down, 20) {
    pthread_t threads[2];
    sem_init(&in_method, 0, 0);
    sem_init(&leave_method, 0, 0);
    cluster_start(endpoint, 1);
    int before = instances;
    tine_value *module = tine_module("test_latch");
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, call_latch, module), 0);
        sem_wait(&in_method);
    }
    cr_assert_eq(instances, before + 1);
    cluster_stop();
    cr_assert_eq(instances, before + 1, "it is in use");
    for (int i = 0; i < 2; i++) sem_post(&leave_method);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    cr_assert_eq(instances, before);
    tine_release(module);
}

/* The second Tine numbered its objects as the first had: an old handle stood for new data. */
TRANSPORT_TEST(lifetimes, handles_of_an_earlier_tine_mean_nothing_to_the_next, 20) {
    cluster_start(endpoint, 1);
    tine_value *old = put_of(10), *module = tine_module("test_nothing");
    cr_assert_eq(cluster_take_int(tine_fork("test_length", old)), 10);
    cluster_stop();
    cluster_start(endpoint, 1);
    tine_value *new = put_of(20), *other = tine_module("test_nothing");
    cr_assert_eq(cluster_take_int(tine_fork("test_length", new)), 20);
    cr_assert_eq(cluster_take_int(tine_fork("test_length", old)), 10);
    tine_future *f = tine_fork(module, 1);
    cr_assert_eq(tine_wait(f, NULL), TINE_EINVAL, "%s", tine_error_message());
    tine_release(f);
    tine_release(old);
    cr_assert_eq(cluster_take_int(tine_fork("test_length", new)), 20);
    tine_release(new);
    tine_release(module);
    tine_release(other);
    cluster_stop();
}

static atomic_int freed;
static void count_freed(void *ctx) {
    (void)ctx;
    freed++;
}

/* Nobody was told of a handle that went while the program neither forked nor waited: each put
 * stayed. */
Test(lifetimes, puts_in_a_loop_are_freed, .timeout = 20) {
    static float data[4];
    cluster_start("inproc://*", 1);
    for (int i = 0; i < 100; i++) {
        tine_value *v = tine_tensor_wrap(TINE_F32, 1, (int64_t[]){4}, data, count_freed, NULL);
        tine_release(tine_put(v));
        tine_release(v);
    }
    cr_assert_geq(freed, 99);
    cluster_stop();
}

/* Trying kept everybody from looking at what came in. */
TRANSPORT_TEST(lifetimes, trying_to_fork_in_a_loop_gets_through, 20) {
    tine_options o = {.endpoint = endpoint, .workers = 1, .max_pending = 1, .log_level = "error"};
    cluster_start_with(&o);
    for (int i = 0; i < 3000; i++) {
        tine_future *f;
        while (!(f = tine_try_fork("test_add", i))) cr_assert_eq(tine_last_error(), TINE_EAGAIN);
        tine_release(f);
    }
    cluster_stop();
}

/* The trace was asked for on a transport that another thread was blocked in. */
TRANSPORT_TEST(lifetimes, a_trace_is_started_while_another_thread_waits, 20) {
    pthread_t thread;
    char null[40]; /* a path that nothing can be put in the place of */
    int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    snprintf(null, sizeof null, "/proc/self/fd/%d", fd);
    cluster_start(endpoint, 1);
    pthread_create(&thread, NULL, wait_in_thread, tine_fork("test_spin", 0.3));
    for (int i = 0; i < 200; i++) cr_assert_eq(tine_trace_start(), TINE_OK);
    cr_assert_eq(tine_trace_write(null), TINE_OK);
    close(fd);
    pthread_join(thread, NULL);
    cluster_stop();
}

TINE_FUNCTION(test_pid, "") { return tine_int(getpid()); }

/* A stopped process is not dead: Ctrl-Z stops a whole job, a debugger one of its processes. Ten
 * heartbeats are missed meanwhile. */
TRANSPORT_TEST_REMOTE(lifetimes, a_stopped_worker_goes_on_when_it_is_continued, 30) {
    tine_options o = {.endpoint = endpoint, .workers = 1, .heartbeat = 0.02, .log_level = "error"};
    cluster_start_with(&o);
    pid_t first = (pid_t)cluster_take_int(tine_fork("test_pid"));
    cr_assert_eq(kill(first, SIGSTOP), 0);
    tine_future *f = tine_fork("test_pid");
    cr_assert_eq(tine_wait_for(f, 1, NULL), TINE_ETIMEDOUT, "deadlines hold");
    cr_assert_eq(kill(first, SIGCONT), 0);
    cr_assert_eq(cluster_take_int(f), first);
    cluster_stop();
}

/* Instances that the coordinator's own calls made stayed until the end. */
Test(lifetimes, modules_called_in_the_program_are_freed_when_dropped, .timeout = 20) {
    cluster_start(NULL, 1);
    for (int i = 0; i < 100; i++) {
        tine_value *module = tine_module("test_nothing"), *v = tine_call(module, i);
        cr_assert_eq(tine_as_int(v), i);
        tine_release(v);
        tine_release(module);
        cr_assert_leq(instances, 2);
    }
    cluster_stop();
    cr_assert_eq(instances, 0);
}
