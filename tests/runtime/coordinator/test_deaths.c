/* Workers and coordinators that die: what their callers see, what goes on, and that nothing is left
 * behind. A task that is to be killed tells its pid through a FIFO, so the killer knows that it
 * runs. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/cluster.h"
#include "tests/support/process.h"

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
TINE_REPEATABLE_FUNCTION(deaths_crash, "") {
    (void)task;
    kill(getpid(), SIGKILL);
    return NULL;
}
TINE_FUNCTION(deaths_short, "i, crash") {
    if (tine_as_bool(tine_arg(task, 1))) kill(getpid(), SIGKILL);
    return tine_int(tine_arg_int(task, 0));
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

/* A replacement that does not get to tine_init while the file is there. */
__attribute__((constructor)) static void hang_as_worker(void) {
    const char *path = getenv("DEATHS_HANG");
    if (getenv("TINE_WORKER") && path && access(path, F_OK) == 0) {
        tell(getenv("DEATHS_FIFO"));
        for (;;) pause();
    }
}

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

/* A reason that only the worker's end tells shows that it was not found by its silence. */
static void expect_lost(tine_future *f, const char *part) {
    cr_assert_eq(tine_wait(f, NULL), TINE_ELOST, "%s: %s", tine_error_name(tine_last_error()),
                 tine_error_message());
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

/* One that is lent arrives whole (tests/transport/zmq/test_leases.c). A kill may come too late to
 * cut off a reply: until one has, it is done again. */
TRANSPORT_TEST_REMOTE(deaths, killed_in_the_middle_of_a_large_reply, 60) {
    make_places();
    setenv("TINE_ARENA", "0", 1);
    cluster_start(endpoint, 2);
    int lost = 0;
    for (int i = 0; i < 5 || lost == 0; i++) {
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

/* However many tasks end their workers, those that do not come back, and later ones too. */
Test(deaths, crashing_tasks_fail_alone, .timeout = 60) {
    enum { BAD = 12, GOOD = 40 };
    tine_future *bad[BAD], *good[GOOD];
    cluster_start(NULL, 2);
    for (int i = 0; i < BAD; i++) bad[i] = tine_fork("deaths_exit", 1);
    for (int i = 0; i < GOOD; i++) good[i] = tine_fork("deaths_brief", i);
    for (int i = 0; i < GOOD; i++) cr_assert_eq(cluster_take_int(good[i]), 2 * i);
    for (int i = 0; i < BAD; i++) {
        cr_assert_eq(tine_wait(bad[i], NULL), TINE_ELOST);
        tine_release(bad[i]);
    }
    cr_assert_eq(cluster_take_int(tine_fork("deaths_brief", 4)), 8);
    cluster_stop();
}

Test(deaths, a_repeatable_task_that_crashes_is_named_with_signal_and_count, .timeout = 60) {
    tine_future *good[20];
    setenv("TINE_RETRIES", "2", 1);
    cluster_start(NULL, 2);
    tine_future *bad = tine_fork("deaths_crash");
    for (int i = 0; i < 20; i++) good[i] = tine_fork("deaths_brief", i);
    for (int i = 0; i < 20; i++) cr_assert_eq(cluster_take_int(good[i]), 2 * i);
    cr_assert_eq(tine_wait(bad, NULL), TINE_ELOST);
    cr_expect(strstr(tine_error_message(), "SIGKILL"), "%s", tine_error_message());
    cr_expect(strstr(tine_error_message(), "3 workers have died"), "%s", tine_error_message());
    tine_release(bad);
    cluster_stop();
}

/* Those behind it in the worker's queue had not begun. The replies of those before it may be lost
 * with the worker. */
Test(deaths, tasks_sent_ahead_of_a_crash_run_elsewhere, .timeout = 60) {
    enum { ROUNDS = 5, N = 30 };
    cluster_start(NULL, 1);
    cr_assert_eq(cluster_take_int(tine_fork("deaths_short", 1, false)), 1); /* learn the time */
    for (int round = 0; round < ROUNDS; round++) {
        tine_future *f[N];
        for (int i = 0; i < N; i++) f[i] = tine_fork("deaths_short", i, (bool)(i == 10));
        for (int i = 0; i < N; i++) {
            if (i > 10) {
                cr_assert_eq(cluster_take_int(f[i]), i);
                continue;
            }
            tine_error e = tine_wait(f[i], NULL);
            cr_assert(e == TINE_ELOST || (e == TINE_OK && i < 10), "%d: %s", i,
                      tine_error_message());
            tine_release(f[i]);
        }
    }
    cluster_stop();
}

/* A cleaner of /tmp removes the private directory; then every worker dies. */
Test(deaths, an_endpoint_that_was_removed_is_made_anew, .timeout = 60) {
    char command[200];
    cluster_start(NULL, 2);
    cr_assert_eq(strncmp(tine_endpoint(), "ipc://", 6), 0);
    for (int round = 0; round < 2; round++) {
        const char *path = tine_endpoint() + 6;
        if (round == 0)
            snprintf(command, sizeof command, "rm -r \"$(dirname %s)\"", path);
        else
            snprintf(command, sizeof command, "rm %s", path);
        cr_assert_eq(system(command), 0);
        for (int i = 0; i < 2; i++) {
            tine_future *f = tine_fork("deaths_exit", 1);
            cr_assert_eq(tine_wait(f, NULL), TINE_ELOST);
            tine_release(f);
        }
        cr_assert_eq(cluster_take_int(tine_fork("deaths_brief", 4)), 8);
        cr_assert_eq(access(path, F_OK), 0);
    }
    cluster_stop();
}

/* While no worker can be started, tasks wait, deadlines hold and the error says why. */
Test(deaths, without_descriptors_tasks_wait, .timeout = 60) {
    int taken[256], n = 0;
    cluster_start(NULL, 1);
    pid_t pid = (pid_t)cluster_take_int(tine_fork("deaths_pid"));
    struct rlimit limit;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = 8; /* below those that the connection has, and frees when it ends */
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    while ((taken[n] = dup(0)) >= 0) n++;
    cr_assert_eq(kill(pid, SIGKILL), 0);
    tine_future *f = tine_fork("deaths_brief", 4);
    cr_assert_eq(tine_wait_for(f, 0.5, NULL), TINE_ETIMEDOUT);
    cr_expect(strstr(tine_error_message(), "errno 24"), "%s", tine_error_message());
    while (n > 0) close(taken[--n]);
    limit.rlim_cur = before;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    cr_assert_eq(cluster_take_int(f), 8);
    cluster_stop();
}

/* Seconds that a shutdown takes while a replacement is starting. */
static double stop_while_one_starts(void) {
    unlink(mark);
    cluster_start(NULL, 2);
    close(open(mark, O_CREAT | O_WRONLY, 0600));
    tine_future *f = tine_fork("deaths_exit", 1);
    cr_assert_eq(tine_wait(f, NULL), TINE_ELOST);
    tine_release(f);
    pid_t replacement = told();
    double t0 = now();
    cluster_stop();
    double took = now() - t0;
    cr_assert(kill(replacement, 0) != 0 && errno == ESRCH);
    return took;
}

/* One that did would take 2 s each time. A busy machine may take as long, but not each time. */
Test(deaths, a_shutdown_does_not_wait_for_a_worker_that_is_starting, .timeout = 60) {
    double took = 2;
    make_places();
    setenv("DEATHS_HANG", mark, 1);
    setenv("DEATHS_FIFO", fifo, 1);
    for (int i = 0; i < 10 && took > 1.5; i++) took = stop_while_one_starts();
    cr_assert_lt(took, 1.5, "it waited %g s", took);
    remove_places();
}

/* ---- the coordinator's own death ---- */

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
    int worker = process_open(n.worker);
    cr_assert_geq(worker, 0);
    cr_assert_eq(kill(coordinator, signal), 0);
    int status;
    cr_assert_eq(waitpid(coordinator, &status, 0), coordinator);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == signal);
    cr_assert(process_ends(worker, 20000), "the worker outlives its coordinator");
    close(worker);
    cr_assert_eq(strncmp(n.url, "ipc://", 6), 0);
    cr_assert(access(n.url + 6, F_OK) != 0 && errno == ENOENT, "%s is left", n.url);
    close(from);
}

Test(deaths, nothing_is_left_of_a_killed_coordinator, .timeout = 60) { coordinator_dies(SIGKILL); }
Test(deaths, nothing_is_left_after_ctrl_c, .timeout = 60) { coordinator_dies(SIGINT); }
