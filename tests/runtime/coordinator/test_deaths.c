/* Workers and coordinators that die: what their callers see, what goes on, and that nothing is left
 * behind. A task that is to be killed tells its pid through a FIFO, so the killer knows that it
 * runs. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/cluster.h"

static void tell(const char *fifo) {
    int fd = open(fifo, O_WRONLY);
    pid_t pid = getpid();
    if (fd >= 0 && write(fd, &pid, sizeof pid) != sizeof pid) abort();
    close(fd);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void compute(double seconds) {
    for (double t0 = now(); now() - t0 < seconds;) {
    }
}

TINE_FUNCTION(deaths_pid, "") {
    (void)task;
    return tine_int(getpid());
}
TINE_FUNCTION(deaths_stuck, "fifo") {
    tell(tine_arg_string(task, 0));
    compute(60);
    return tine_none();
}
/* Runs for ever the first time, as the file is there, and not the second time. */
TINE_REPEATABLE_FUNCTION(deaths_stuck_once, "fifo, mark") {
    const char *fifo = tine_arg_string(task, 0);
    if (unlink(tine_arg_string(task, 1)) == 0) {
        tell(fifo);
        compute(60);
    }
    return tine_string("done at last");
}
TINE_FUNCTION(deaths_big, "fifo, bytes") {
    int64_t n = tine_arg_int(task, 1);
    void *data;
    tine_value *v = tine_tensor_new(TINE_U8, 1, &n, &data);
    if (v) memset(data, 7, (size_t)n);
    tell(tine_arg_string(task, 0));
    return v;
}
TINE_FUNCTION(deaths_exit, "status") { _exit((int)tine_arg_int(task, 0)); }
TINE_REPEATABLE_FUNCTION(deaths_brief, "i") {
    compute(0.001);
    return tine_int(2 * tine_arg_int(task, 0));
}
static int64_t deep(int64_t n) {
    volatile char room[4096];
    room[n % 4096] = 1;
    return n == 0 ? room[0] : deep(n - 1) + room[(n + 1) % 4096];
}
TINE_FUNCTION(deaths_overflow, "n") { return tine_int(deep(tine_arg_int(task, 0))); }

static char dir[64], fifo[80], mark[80];

static void make_places(void) {
    snprintf(dir, sizeof dir, "/tmp/tine-test-XXXXXX");
    cr_assert(mkdtemp(dir) != NULL);
    snprintf(fifo, sizeof fifo, "%s/fifo", dir);
    snprintf(mark, sizeof mark, "%s/mark", dir);
    cr_assert_eq(mkfifo(fifo, 0600), 0);
}
static void remove_places(void) {
    unlink(fifo);
    unlink(mark);
    cr_assert_eq(rmdir(dir), 0);
}

static pid_t told(void) {
    int fd = open(fifo, O_RDONLY);
    pid_t pid = 0;
    cr_assert_eq(read(fd, &pid, sizeof pid), sizeof pid);
    close(fd);
    return pid;
}

static void expect_lost(tine_future *f, const char *part) {
    double t0 = now();
    cr_assert_eq(tine_wait(f, NULL), TINE_ELOST, "%s: %s", tine_error_name(tine_last_error()),
                 tine_error_message());
    cr_assert_lt(now() - t0, 2.0);
    cr_assert(strstr(tine_error_message(), part), "\"%s\" lacks \"%s\"", tine_error_message(),
              part);
    tine_release(f);
}

TRANSPORT_TEST_REMOTE(deaths, killed_while_idle, 30) {
    cluster_start(endpoint, 2);
    pid_t pid = (pid_t)cluster_take_int(tine_fork("deaths_pid"));
    cr_assert_eq(kill(pid, SIGKILL), 0);
    for (int i = 0; i < 20; i++)
        cr_assert_eq(cluster_take_int(tine_fork("deaths_brief", i)), 2 * i);
    cluster_stop();
}

TRANSPORT_TEST_REMOTE(deaths, killed_in_the_middle_of_a_task, 30) {
    make_places();
    cluster_start(endpoint, 2);
    tine_future *stuck = tine_fork("deaths_stuck", fifo), *others[50];
    for (int i = 0; i < 50; i++) others[i] = tine_fork("deaths_brief", i);
    cr_assert_eq(kill(told(), SIGKILL), 0);
    cr_assert_eq(tine_wait(stuck, NULL), TINE_ELOST);
    cr_assert(strstr(tine_error_message(), "deaths_stuck"), "%s", tine_error_message());
    expect_lost(stuck, "SIGKILL");
    for (int i = 0; i < 50; i++) cr_assert_eq(cluster_take_int(others[i]), 2 * i);
    cluster_stop();
    remove_places();
}

TRANSPORT_TEST_REMOTE(deaths, a_repeatable_task_is_run_again, 30) {
    make_places();
    close(open(mark, O_CREAT | O_WRONLY, 0600));
    cluster_start(endpoint, 1);
    tine_future *f = tine_fork("deaths_stuck_once", fifo, mark);
    cr_assert_eq(kill(told(), SIGKILL), 0);
    tine_value *v = cluster_take(f);
    cr_assert_str_eq(tine_as_string(v), "done at last");
    tine_release(v);
    cluster_stop();
    remove_places();
}

TRANSPORT_TEST_REMOTE(deaths, killed_in_the_middle_of_a_large_reply, 60) {
    make_places();
    cluster_start(endpoint, 2);
    int lost = 0;
    for (int i = 0; i < 5; i++) {
        tine_future *f = tine_fork("deaths_big", fifo, 100 << 20);
        pid_t pid = told();
        compute(0.004); /* the reply takes several times as long */
        cr_assert_eq(kill(pid, SIGKILL), 0);
        tine_value *v = NULL;
        if (tine_wait(f, &v) == TINE_OK) {
            cr_assert_eq(tine_elements(v), 100 << 20);
        } else {
            cr_assert_eq(tine_last_error(), TINE_ELOST, "%s", tine_error_message());
            lost++;
        }
        tine_release(v);
        tine_release(f);
        cr_assert_eq(cluster_take_int(tine_fork("deaths_brief", 4)), 8);
    }
    cr_assert_gt(lost, 0, "no reply was cut off");
    cluster_stop();
    remove_places();
}

Test(deaths, an_exit_in_a_task_is_named, .timeout = 30) {
    cluster_start(NULL, 1);
    expect_lost(tine_fork("deaths_exit", 3), "exited with status 3");
    cr_assert_eq(cluster_take_int(tine_fork("deaths_brief", 4)), 8);
    cluster_stop();
}

Test(deaths, a_stack_overflow_is_named, .timeout = 30) {
    cluster_start(NULL, 1);
    expect_lost(tine_fork("deaths_overflow", 100000), "stack overflow in task deaths_overflow");
    cluster_stop();
}

Test(deaths, a_worker_that_always_dies_is_given_up, .timeout = 60) {
    cluster_start(NULL, 1);
    for (int i = 0; i < 8; i++) {
        tine_future *f = tine_fork("deaths_exit", 1);
        cr_assert_eq(tine_wait(f, NULL), TINE_ELOST);
        tine_release(f);
    }
    cluster_stop();
}

/* ---- the coordinator's own death ---- */

static int pidfd_of(pid_t pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }

typedef struct news {
    pid_t worker;
    char url[128];
} news;

/* A coordinator that tells of a worker and of its endpoint, and waits for its end. */
int test_program(void) {
    tine_options o = {.workers = 2};
    news n = {0};
    tine_value *pid;
    if (tine_init(NULL, NULL, &o) != TINE_OK || tine_wait(tine_fork("deaths_pid"), &pid) != TINE_OK)
        return 1;
    n.worker = (pid_t)tine_as_int(pid);
    snprintf(n.url, sizeof n.url, "%s", tine_endpoint());
    tine_fork("deaths_stuck", "/dev/null");
    if (write(1, &n, sizeof n) != sizeof n) return 1;
    for (;;) pause();
}

static void coordinator_dies(int signal) {
    int from;
    news n;
    pid_t coordinator = cluster_program(&from);
    cr_assert_eq(read(from, &n, sizeof n), sizeof n);
    struct pollfd worker = {.fd = pidfd_of(n.worker), .events = POLLIN};
    cr_assert_geq(worker.fd, 0);
    cr_assert_eq(kill(coordinator, signal), 0);
    int status;
    cr_assert_eq(waitpid(coordinator, &status, 0), coordinator);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == signal);
    cr_assert_eq(poll(&worker, 1, 2000), 1, "the worker outlives its coordinator");
    close(worker.fd);
    cr_assert_eq(strncmp(n.url, "ipc://", 6), 0);
    cr_assert(access(n.url + 6, F_OK) != 0 && errno == ENOENT, "%s is left", n.url);
    close(from);
}

Test(deaths, nothing_is_left_of_a_killed_coordinator, .timeout = 30) { coordinator_dies(SIGKILL); }
Test(deaths, nothing_is_left_after_ctrl_c, .timeout = 30) { coordinator_dies(SIGINT); }
