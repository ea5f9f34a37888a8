/* Workers that were started by hand leave when they are told to: SIGTERM, and Ctrl-C. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/cluster.h"
#include "tests/support/marks.h"
#include "tests/support/mpirun.h"
#include "tests/support/sanitizer.h"

/* None of these may run twice. */
TINE_FUNCTION(leave_quick, "ran") {
    marks_add(tine_arg_string(task, 0), "x");
    return tine_int(getpid());
}

/* Until a byte is written. In poll: ThreadSanitizer delivers no signal in open or read. */
static void leave_wait_at(const char *path) {
    char byte;
    struct pollfd gate = {.fd = open(path, O_RDWR | O_CLOEXEC), .events = POLLIN};
    while (poll(&gate, 1, -1) < 0 && errno == EINTR) {
    }
    if (gate.fd >= 0 && read(gate.fd, &byte, 1) >= 0) close(gate.fd);
}

/* Computes, as far as its worker can see, until the gate is opened. */
TINE_FUNCTION(leave_holds, "begun, gate") {
    marks_add(tine_arg_string(task, 0), "x");
    leave_wait_at(tine_arg_string(task, 1));
    return tine_int(getpid());
}

/* Computes likewise in its first attempt. */
TINE_REPEATABLE_FUNCTION(leave_again, "begun, gate") {
    if (marks_add(tine_arg_string(task, 0), "x") == 1) leave_wait_at(tine_arg_string(task, 1));
    return tine_int(getpid());
}

/* Its forks have to run while it computes. */
TINE_FUNCTION(leave_forks, "begun, gate, ran, n") {
    tine_future *f[64];
    int64_t n = tine_arg_int(task, 3), elsewhere = 0;
    for (int64_t i = 0; i < n; i++) f[i] = tine_fork("leave_quick", tine_arg(task, 2));
    tine_value *held = tine_call("leave_holds", tine_arg(task, 0), tine_arg(task, 1));
    if (!held) return NULL;
    for (int64_t i = 0; i < n; i++) {
        tine_value *pid;
        if (tine_wait(f[i], &pid) != TINE_OK) return NULL;
        elsewhere += tine_as_int(pid) != getpid();
    }
    return tine_int(elsewhere);
}

int test_program(void) {
    tine_init(NULL, NULL, NULL);
    return 3; /* it is no worker */
}

static char gate[300];

static void begin(const char *endpoint) {
    marks_start();
    snprintf(gate, sizeof gate, "%s", marks_path("gate"));
    cr_assert_eq(mkfifo(gate, 0600), 0);
    cluster_start_with(&(tine_options){.endpoint = endpoint, .workers = -1});
}

static void open_gate(void) { /* blocks until the task waits for it */
    int fd = open(gate, O_WRONLY | O_CLOEXEC);
    cr_assert_eq(write(fd, "x", 1), 1);
    close(fd);
}

static pid_t start_worker(void) {
    int out;
    setenv("TINE_WORKER", tine_endpoint(), 1);
    pid_t pid = cluster_program(&out);
    unsetenv("TINE_WORKER");
    close(out);
    return pid;
}

static void expect_exit(pid_t pid, int code) {
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == code, "its status is %#x", status);
}

static void end(pid_t worker) {
    cluster_stop();
    expect_exit(worker, 0);
    marks_end();
}

static bool runs(pid_t pid) { return waitpid(pid, NULL, WNOHANG) == 0; }

enum { WARM = 20, QUICK = 30 };

static bool is_queued(void) {
    tine_worker_status status;
    cr_assert_eq(tine_workers(&status, 1), 1);
    return status.running > 1;
}

/* Forks them behind one that computes: they are queued at the worker if what ran before was short,
 * which on a busy machine is tried again. Result: how often. */
static size_t queue_behind(tine_future **holds, tine_future **f) {
    const char *ran = marks_path("ran"), *begun = marks_path("begun");
    for (size_t rounds = 1;; rounds++) {
        for (int i = 0; i < WARM; i++) {
            tine_release(cluster_take(tine_fork("leave_quick", ran)));
            tine_release(cluster_take(tine_fork("leave_holds", ran, "/dev/null")));
        }
        *holds = tine_fork("leave_holds", begun, gate);
        marks_await("begun", rounds);
        for (int i = 0; i < QUICK; i++) f[i] = tine_fork("leave_quick", ran);
        if (is_queued()) return rounds;
        open_gate();
        tine_release(cluster_take(*holds));
        for (int i = 0; i < QUICK; i++) tine_release(cluster_take(f[i]));
    }
}

/* Tasks that are queued behind one that computes run elsewhere at once, each once. */
TRANSPORT_TEST_REMOTE(leave, gives_back_what_has_not_begun, 60) {
    tine_future *f[QUICK], *holds;
    begin(endpoint);
    pid_t first = start_worker();
    size_t rounds = queue_behind(&holds, f);
    cr_assert_eq(kill(first, SIGTERM), 0);
    pid_t second = start_worker();
    for (int i = 0; i < QUICK; i++) cr_expect_eq(cluster_take_int(f[i]), second);
    cr_assert(runs(first) && !tine_done(holds));
    cr_assert_eq(marks_size("ran"), rounds * (2 * WARM + QUICK));
    open_gate();
    cr_expect_eq(cluster_take_int(holds), first);
    expect_exit(first, 0);
    cr_assert_eq(marks_size("begun"), rounds);
    end(second);
}

TRANSPORT_TEST_REMOTE(leave, nested_forks_run_elsewhere, 60) {
#ifdef TSAN
    cr_skip_test("ThreadSanitizer keeps back a signal of a thread that sleeps in a futex");
#endif
    begin(endpoint);
    pid_t first = start_worker();
    tine_future *f =
        tine_fork("leave_forks", marks_path("begun"), gate, marks_path("ran"), (int64_t)40);
    marks_await("begun", 1);
    cr_assert_eq(kill(first, SIGTERM), 0);
    pid_t second = start_worker();
    marks_await("ran", 40); /* while it computes */
    open_gate();
    cr_expect_eq(cluster_take_int(f), 40);
    expect_exit(first, 0);
    end(second);
}

/* What runs longer is lost as by a death. */
Test(leave, for_no_longer_than_its_grace, .timeout = 60) {
    begin(NULL);
    setenv("TINE_GRACE", "0.05", 1);
    pid_t first = start_worker();
    tine_future *lost = tine_fork("leave_holds", marks_path("begun"), gate);
    marks_await("begun", 1);
    kill(first, SIGTERM);
    expect_exit(first, 1);
    cr_assert_eq(tine_wait(lost, NULL), TINE_ELOST);
    first = start_worker();
    tine_future *again = tine_fork("leave_again", marks_path("again"), gate);
    marks_await("again", 1);
    kill(first, SIGTERM);
    pid_t second = start_worker();
    expect_exit(first, 1);
    cr_expect_eq(cluster_take_int(again), second);
    end(second);
}

/* As far as MPI allows it: the rank ends with its job. */
Test(leave, a_rank_gives_back_what_has_not_begun, .timeout = 120) {
    tine_need_mpirun();
    tine_ranks_check_leaks_themselves();
    marks_start();
    const char *gates[] = {marks_path("one"), marks_path("two")};
    for (int i = 0; i < 2; i++) cr_assert_eq(mkfifo(gates[i], 0600), 0);
    tine_program p = tine_program_run(
        100, "TINE_MODULE_DIR=$B exec mpirun %s --oversubscribe --bind-to none -n 3 %s %s %s",
        tine_mpirun_root(), "$B/mpi/leave", gates[0], gates[1]);
    cr_expect_eq(p.code, 0, "exit code %d: %s%s", p.code, p.out, p.error);
    /* "queued: 0" on a busy machine: only tasks of a millisecond or less are sent ahead */
    static const char *const lines[] = {"elsewhere: 31", "computes: 1", "ended: 1", "others: 1"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        cr_expect(strstr(p.out, lines[i]), "no \"%s\": %s%s", lines[i], p.out, p.error);
    cr_expect(strstr(p.error, "a rank cannot leave its job"), "%s", p.error);
    tine_program_fini(&p);
    marks_end();
}
