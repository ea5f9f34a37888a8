/* Workers that were started by hand with --rejoin come back after they have lost their coordinator.
 * Across hosts, where a link is down for a while: tests/check_rejoin. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/cluster.h"
#include "tests/support/marks.h"
#include "tests/support/program.h"

TINE_FUNCTION(rejoin_pid, "") {
    (void)task;
    return tine_int(getpid());
}

/* Waits for a fork that no worker takes, and notes why it ends. */
TINE_FUNCTION(rejoin_waits, "begun, why") {
    tine_future *f = tine_fork_with(TINE_FORK_OPTIONS(.label = "nobody"), "rejoin_pid");
    marks_add(tine_arg_string(task, 0), "x");
    tine_error e = tine_wait(f, NULL);
    marks_add(tine_arg_string(task, 1), e == TINE_ECANCELED ? tine_error_message() : "wrong");
    return tine_none();
}

/* A coordinator that never ends by itself. */
int test_program(void) {
    tine_options o = {.endpoint = getenv("REJOIN_ENDPOINT"), .workers = -1, .await_workers = 1};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (tine_init(NULL, NULL, &o)) return 1;
    if (getenv("REJOIN_COMMAND")) {
        tine_wait(tine_fork("neg", 1), NULL);
        marks_add(getenv("REJOIN_BEGUN"), "x");
        while (pause()) {
        }
    }
    return tine_wait(tine_fork("rejoin_waits", getenv("REJOIN_BEGUN"), getenv("REJOIN_WHY")), NULL);
}

static char endpoint[128];
static pid_t coordinator, worker;
static int said_fd; /* what the worker writes to standard error */

static pid_t start_worker(const char *rejoin) {
    int out, ends[2], error = dup(STDERR_FILENO);
    cr_assert(pipe2(ends, O_CLOEXEC) == 0 && dup2(ends[1], STDERR_FILENO) == STDERR_FILENO);
    close(ends[1]);
    said_fd = ends[0];
    setenv("TINE_WORKER", endpoint, 1);
    setenv("TINE_REJOIN", rejoin, 1);
    pid_t pid = cluster_program(&out);
    unsetenv("TINE_WORKER");
    unsetenv("TINE_REJOIN");
    dup2(error, STDERR_FILENO);
    close(error);
    close(out);
    return pid;
}

static pid_t start_command(void) {
    char program[4096];
    snprintf(program, sizeof program, "%s/tine", tine_program_build());
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execl(program, "tine", "worker", "--rejoin", endpoint, (char *)NULL);
        _exit(127);
    }
    return pid;
}

/* Until the worker has said it, or has ended. */
static void await_said(const char *what) {
    static char said[8000];
    static size_t n;
    while (!strstr(said, what)) {
        ssize_t got = read(said_fd, said + n, sizeof said - 1 - n);
        cr_assert_gt(got, 0, "it did not say \"%s\": %s", what, said);
        n += (size_t)got;
    }
}

static void make_endpoint(void) {
    marks_start();
    snprintf(endpoint, sizeof endpoint, "ipc://%s", marks_path("socket"));
}

/* A coordinator with a worker on which a task waits; NULL: with `tine worker --rejoin`. */
static void begin(const char *rejoin) {
    int out;
    make_endpoint();
    setenv("REJOIN_ENDPOINT", endpoint, 1);
    setenv("REJOIN_BEGUN", marks_path("begun"), 1);
    setenv("REJOIN_WHY", marks_path("why"), 1);
    if (!rejoin) setenv("REJOIN_COMMAND", "1", 1);
    coordinator = cluster_program(&out);
    close(out);
    worker = rejoin ? start_worker(rejoin) : start_command();
    marks_await("begun", 1);
}

static void kill_coordinator(void) {
    int status;
    cr_assert_eq(kill(coordinator, SIGKILL), 0);
    cr_assert_eq(waitpid(coordinator, &status, 0), coordinator);
    cr_assert(WIFSIGNALED(status), "the coordinator ended by itself: %#x", status);
}

static void coordinate(void) {
    cluster_start_with(&(tine_options){.endpoint = endpoint, .workers = -1, .await_workers = 1});
}

static void expect_exit(int code) {
    int status;
    cr_assert_eq(waitpid(worker, &status, 0), worker);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == code, "its status is %#x", status);
    close(said_fd);
    marks_end();
}

static void expect_why(const char *text) {
    char why[200] = "";
    FILE *f = fopen(marks_path("why"), "r");
    cr_assert(f && fgets(why, sizeof why, f));
    fclose(f);
    cr_expect(strstr(why, text), "the task was told: %s", why);
}

/* Twice, since the second time there is something of the first that may be in the way. */
Test(rejoin, the_next_program_has_the_worker, .timeout = 60) {
    begin("on");
    kill_coordinator();
    coordinate();
    expect_why("the connection to the coordinator has ended");
    await_said("worker: the coordinator is lost: ");
    await_said("worker: it has joined again, as worker 1");
    cr_expect_eq(cluster_take_int(tine_fork("rejoin_pid")), worker);
    cluster_stop();
    expect_exit(0);
}

Test(rejoin, a_program_that_is_killed_twice, .timeout = 60) {
    int out;
    begin("on");
    kill_coordinator();
    coordinator = cluster_program(&out);
    close(out);
    marks_await("begun", 2);
    kill_coordinator();
    coordinate();
    cr_expect_eq(cluster_take_int(tine_fork("rejoin_pid")), worker);
    cluster_stop();
    expect_exit(0);
}

Test(rejoin, the_command, .timeout = 60) {
    begin(NULL);
    kill_coordinator();
    coordinate();
    cr_expect_eq(cluster_take_int(tine_fork("neg", 1)), -1);
    cluster_stop();
    expect_exit(0);
}

Test(rejoin, not_unless_it_is_asked_to, .timeout = 60) {
    begin("off");
    kill_coordinator();
    expect_exit(1);
}

Test(rejoin, a_signal_ends_one_that_has_no_coordinator, .timeout = 60) {
    begin("on");
    kill_coordinator();
    await_said("worker: the coordinator is lost: ");
    cr_assert_eq(kill(worker, SIGTERM), 0);
    expect_exit(0);
}

Test(rejoin, not_after_the_program_has_ended_it, .timeout = 60) {
    tine_worker_status w;
    make_endpoint();
    worker = start_worker("on");
    coordinate();
    cr_assert_eq(tine_workers(&w, 1), 1);
    cr_assert_eq(tine_worker_end(w.id, TINE_WORKER_NOW), TINE_OK);
    expect_exit(0);
    cluster_stop();
}

Test(rejoin, a_coordinator_that_was_never_there_ends_it, .timeout = 60) {
    make_endpoint();
    setenv("TINE_CONNECT_TIMEOUT", "0.05", 1);
    worker = start_worker("on");
    expect_exit(1);
}

/* A link that is down ends an attempt like a host on which nothing listens. */
Test(rejoin, an_unreachable_host_is_not_called_one_without_a_program, .timeout = 60) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int bound = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* and does not listen */
    cr_assert_eq(bind(bound, (struct sockaddr *)&address, size), 0);
    cr_assert_eq(getsockname(bound, (struct sockaddr *)&address, &size), 0);
    marks_start();
    snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:%d", ntohs(address.sin_port));
    setenv("TINE_CONNECT_TIMEOUT", "0.05", 1);
    worker = start_worker("off");
    await_said("no process listens there, or its host cannot be reached");
    expect_exit(1);
    close(bound);
}
