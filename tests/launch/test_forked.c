/* fork() in a program in which Tine runs: the child can do nothing with Tine, and nothing that it
 * does reaches the parent. And tine_init and tine_shutdown in a task. */
#include <criterion/criterion.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/tine.h"
#include "tests/support/cluster.h"
#include "tests/support/process.h"
#include "tests/support/sanitizer.h"

enum { LIMIT_MS = 20000 };

static tine_future *pending, *done, *promised, *stream;
static tine_promise *promise;
static tine_completer *completer;
static tine_value *object;

static bool refused(tine_error e) { return e == TINE_ESTATE && tine_last_error() == TINE_ESTATE; }
static bool nothing(const void *p) { return !p && tine_last_error() == TINE_ESTATE; }

static bool fork_child(void) {
    tine_future *f = tine_fork("neg", 1);
    return f ? refused(tine_wait(f, NULL)) : tine_last_error() == TINE_ESTATE;
}
static bool try_fork_child(void) {
    tine_future *f = tine_try_fork("neg", 1);
    return f ? refused(tine_wait(f, NULL)) : tine_last_error() == TINE_ESTATE;
}
static bool wait_child(void) { return refused(tine_wait(pending, NULL)); }
static bool wait_done_child(void) { return refused(tine_wait(done, NULL)); }
static bool wait_for_child(void) { return refused(tine_wait_for(pending, 5, NULL)); }
static bool wait_any_child(void) { return refused(tine_wait_any(&pending, 1, NULL)); }
static bool wait_all_child(void) { return refused(tine_wait_all(&pending, 1, NULL)); }
static bool wait_several_for_child(void) {
    return refused(tine_wait_any_for(&pending, 1, 5, NULL)) &&
           refused(tine_wait_all_for(&pending, 1, 5, NULL));
}
static bool fork_with_child(void) {
    tine_future *f = tine_fork_with(&(tine_fork_options){.deadline = 1}, "neg", 1);
    return f ? refused(tine_wait(f, NULL)) : tine_last_error() == TINE_ESTATE;
}
static bool stream_child(void) {
    tine_future *f = tine_next_future(stream);
    return refused(tine_next(stream, NULL)) && refused(tine_next_for(stream, 5, NULL)) &&
           (f ? refused(tine_wait(f, NULL)) : tine_last_error() == TINE_ESTATE);
}
static bool drain_child(void) { return refused(tine_drain(5)) && tine_workers(NULL, 0) == 0; }
static void never(tine_future *f, void *ctx) {
    (void)f, (void)ctx;
    _exit(3);
}
static tine_value *never_then(tine_future *f, void *ctx) {
    never(f, ctx);
    return NULL;
}
static bool then_child(void) {
    return refused(tine_on_done(pending, never, NULL)) &&
           refused(tine_on_done(done, never, NULL)) && nothing(tine_then(done, never_then, NULL));
}
static bool wait_failure_child(void) {
    return refused(tine_wait_failure(&pending, 1, INFINITY, NULL));
}
static bool combine_child(void) {
    return nothing(tine_when_all(&pending, 1)) && nothing(tine_when_any(&done, 1));
}
static bool promise_child(void) {
    tine_future *f;
    return nothing(tine_promise_new(&f)) && refused(tine_promise_set(promise, tine_none())) &&
           refused(tine_promise_fail(promise, TINE_EFAILED, "no"));
}
static bool cancel_child(void) {
    return refused(tine_cancel(pending, 0)) && refused(tine_cancel(done, 0));
}
static bool completer_child(void) {
    return nothing(tine_as_completed(&done, 1)) && refused(tine_completer_add(completer, done)) &&
           refused(tine_completer_next(completer, 0, NULL)) && tine_completer_fd(completer) == -1;
}
static bool call_child(void) { return nothing(tine_call("neg", 1)); }
static bool put_child(void) { return nothing(tine_put(tine_int(3))); }
static bool module_child(void) { return nothing(tine_module("lstm", 2, 2)); }
static bool init_child(void) { return refused(tine_init(NULL, NULL, NULL)); }
static bool shutdown_child(void) {
    return tine_shutdown() != 0 && tine_last_error() == TINE_ESTATE;
}
static bool trace_child(void) {
    return refused(tine_trace_start()) && refused(tine_trace_stop()) &&
           refused(tine_trace_write("/nonexistent/trace.json"));
}
static bool count_child(void) { return tine_worker_count() == 0 && !tine_endpoint(); }
static bool release_child(void) {
    tine_release(object);
    tine_release(pending);
    tine_release(done);
    tine_release(promise);
    tine_release(completer);
    return true;
}

static bool exit_child(void) { exit(0); }

static const struct {
    const char *name;
    bool (*run)(void);
} children[] = {
    {"fork", fork_child},
    {"try_fork", try_fork_child},
    {"wait", wait_child},
    {"wait done", wait_done_child},
    {"wait_for", wait_for_child},
    {"wait_any", wait_any_child},
    {"wait_all", wait_all_child},
    {"wait several for", wait_several_for_child},
    {"fork_with", fork_with_child},
    {"stream", stream_child},
    {"drain", drain_child},
    {"then", then_child},
    {"wait_failure", wait_failure_child},
    {"combine", combine_child},
    {"cancel", cancel_child},
    {"promise", promise_child},
    {"completer", completer_child},
    {"call", call_child},
    {"put", put_child},
    {"module", module_child},
    {"init", init_child},
    {"shutdown", shutdown_child},
    {"trace", trace_child},
    {"count", count_child},
    {"release", release_child},
    {"exit", exit_child},
};

TINE_FUNCTION(forked_yields, "") {
    return tine_yield(task, tine_int(6)) == TINE_OK ? tine_int(7) : NULL;
}

TINE_FUNCTION(forked_slow, "ms") {
    poll(NULL, 0, (int)tine_arg_int(task, 0));
    return tine_int(1);
}

/* The calls allocate in the child. */
static void skip_beside_a_sanitizer(void) {
#if defined TSAN || defined __SANITIZE_ADDRESS__
    cr_skip_test("a sanitizer's own locks may stay locked in a child of a process with threads");
#endif
}

static void child_check(pid_t pid, const char *name) {
    int status, fd = process_open(pid);
    if (!process_ends(fd, LIMIT_MS)) {
        cr_expect_fail("%s hangs", name);
        kill(pid, SIGKILL);
    }
    close(fd);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect_eq(status, 0, "%s: status 0x%x", name, status);
}

TRANSPORT_TEST(forked, the_child_gets_estate_and_the_parent_goes_on, 120) {
    skip_beside_a_sanitizer();
    cluster_start(endpoint, 2);
    done = tine_fork("neg", 1);
    cr_assert_eq(tine_wait(done, NULL), TINE_OK);
    object = tine_put(tine_int(5));
    promise = tine_promise_new(&promised);
    completer = tine_as_completed(&done, 1);
    stream = tine_fork_with(&(tine_fork_options){.stream = 1}, "forked_yields");
    tine_future *after = tine_fork("neg", promised);
    for (size_t i = 0; i < sizeof children / sizeof *children; i++) {
        pending = tine_fork("forked_slow", 20);
        pid_t pid = fork();
        if (pid == 0) _exit(children[i].run() ? 0 : 1);
        child_check(pid, children[i].name);
        cr_expect_eq(cluster_take_int(pending), 1);
        for (int k = 0; k < 20; k++) cr_assert_eq(cluster_take_int(tine_fork("neg", k)), -k);
    }
    cr_expect_eq(cluster_take_int(tine_fork("neg", object)), -5, "the child released its own");
    cr_assert_eq(tine_promise_set(promise, tine_int(8)), TINE_OK);
    cr_expect_eq(cluster_take_int(after), -8, "the child released its own");
    cr_expect_eq(tine_completer_next(completer, 0, NULL), TINE_OK);
    tine_value *six = NULL;
    cr_expect(tine_next(stream, &six) == TINE_OK && tine_as_int(six) == 6, "the child took it");
    tine_release(six);
    cr_expect_eq(cluster_take_int(stream), 7);
    tine_release(object);
    tine_release(done);
    tine_release(promise);
    tine_release(promised);
    tine_release(completer);
    cluster_stop();
}

Test(forked, a_child_forked_before_tine_runs_may_use_it, .timeout = 60) {
#ifdef TSAN
    cr_skip_test("ThreadSanitizer ends a forked child that starts threads");
#endif
    pid_t pid = fork();
    if (pid == 0) {
        unsetenv("BXFI_MAP");
        tine_options o = {.workers = 1, .log_level = "error"};
        _exit(tine_init(NULL, NULL, &o) == TINE_OK ? tine_shutdown() : 2);
    }
    child_check(pid, "the child");
}

/* ---- in a task ---- */

TINE_FUNCTION(forked_init, "") {
    (void)task;
    tine_error e = tine_init(NULL, NULL, NULL);
    return tine_int(e == TINE_ESTATE);
}

TINE_FUNCTION(forked_shutdown, "") {
    (void)task;
    return tine_int(tine_shutdown());
}

TINE_FUNCTION(forked_fork, "") {
    (void)task;
    pid_t pid = fork();
    if (pid == 0) _exit(fork_child() && init_child() && call_child() ? 0 : 1);
    int status = -1;
    waitpid(pid, &status, 0);
    return tine_int(status);
}

TRANSPORT_TEST(forked, in_a_task, 60) {
    cluster_start(endpoint, 1);
    cr_expect_eq(cluster_take_int(tine_fork("forked_init")), 1);
    cr_expect_eq(cluster_take_int(tine_fork("forked_shutdown")), 1);
    cr_expect_eq(cluster_take_int(tine_fork("neg", 4)), -4, "and Tine still runs");
    cluster_stop();
}

TRANSPORT_TEST(forked, a_child_of_a_task_gets_estate, 60) {
    skip_beside_a_sanitizer();
    cluster_start(endpoint, 1);
    cr_expect_eq(cluster_take_int(tine_fork("forked_fork")), 0);
    cr_expect_eq(cluster_take_int(tine_fork("neg", 4)), -4, "and Tine still runs");
    cluster_stop();
}
