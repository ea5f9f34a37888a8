/* `tine supervise`: workers that end are started again, but for those that their coordinator has
 * ended; and `tine run --survive` on this host. Across hosts: tests/check_survive. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/capture.h"
#include "tests/support/cluster.h"
#include "tests/support/marks.h"
#include "tests/support/mpirun.h"
#include "tests/support/process.h"

TINE_FUNCTION(leave, "") {
    (void)task;
    exit(0);
}
/* Computes, as far as its worker can see, until the gate is opened. */
TINE_FUNCTION(hold, "begun, gate") {
    char byte;
    struct pollfd gate = {.fd = open(tine_arg_string(task, 1), O_RDWR | O_CLOEXEC),
                          .events = POLLIN};
    marks_add(tine_arg_string(task, 0), "x");
    while (poll(&gate, 1, -1) < 0 && errno == EINTR) {
    }
    if (gate.fd >= 0 && read(gate.fd, &byte, 1) >= 0) close(gate.fd);
    return tine_int(getpid());
}
/* Must not run twice. */
TINE_FUNCTION(quick, "ran") {
    marks_add(tine_arg_string(task, 0), "x");
    return tine_int(getpid());
}
TINE_REPEATABLE_FUNCTION(pid, "") {
    (void)task;
    return tine_int(getpid());
}

static char dir[64], endpoint[128];

/* Workers are copies of this executable. */
static pid_t supervise(const char *workers) {
    char command[4096], own[PATH_MAX] = "";
    snprintf(dir, sizeof dir, "/tmp/tine-supervise-XXXXXX");
    cr_assert(mkdtemp(dir) && readlink("/proc/self/exe", own, sizeof own - 1) > 0);
    snprintf(endpoint, sizeof endpoint, "ipc://%s/socket", dir);
    snprintf(command, sizeof command, "%s/tine", tine_program_build());
    pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        unsetenv("BXFI_MAP"); /* Criterion's, for a test's process */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execl(command, "tine", "supervise", "-n", workers, endpoint, own, (char *)NULL);
        _exit(127);
    }
    cluster_start_with(
        &(tine_options){.endpoint = endpoint, .workers = -1, .await_workers = atoi(workers)});
    return child;
}

static pid_t worker_pid(void) {
    tine_value *v = cluster_take(tine_fork("pid"));
    pid_t pid = (pid_t)tine_as_int(v);
    tine_release(v);
    return pid;
}

static int status_of(pid_t child) {
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    rmdir(dir);
    return status;
}

Test(supervise, replaces_workers_until_the_coordinator_ends_them, .timeout = 60) {
    pid_t child = supervise("1"), first = worker_pid();
    cr_assert_eq(kill(first, SIGKILL), 0);
    pid_t second = worker_pid();
    cr_expect_neq(second, first);
    tine_future *f = tine_fork("leave");
    cr_expect_eq(tine_wait(f, NULL), TINE_ELOST, "a task has ended its worker with status 0");
    tine_release(f);
    cr_expect_neq(worker_pid(), second);
    cluster_stop();
    cr_expect_eq(status_of(child), 0);
}

/* The pid of the worker that runs something, and that of the other one. */
static void tell_apart(pid_t *busy, pid_t *other) {
    tine_worker_status w[3];
    cr_assert_eq(tine_workers(w, 3), 2);
    cr_assert_neq(w[0].running > 0, w[1].running > 0);
    *busy = w[!w[0].running].pid;
    *other = w[w[0].running > 0].pid;
}

/* While its task runs on, what it has not begun runs elsewhere; nothing runs twice, and nobody
 * takes its place. */
Test(supervise, a_worker_leaves_at_sigterm, .timeout = 60) {
    enum { QUICK = 40 };
    static char text[1 << 14];
    tine_future *f[QUICK];
    pid_t first, second;
    int log = capture_pipe();
    marks_start();
    char *gate = strdup(marks_path("gate")), *ran = strdup(marks_path("ran"));
    cr_assert_eq(mkfifo(gate, 0600), 0);
    pid_t child = supervise("2");
    tine_future *held = tine_fork("hold", marks_path("begun"), gate);
    marks_await("begun", 1);
    tell_apart(&first, &second);
    int worker = process_open(first), supervisor = process_open(child);
    for (int i = 0; i < QUICK; i++) f[i] = tine_fork("quick", ran);
    cr_assert_eq(kill(first, SIGTERM), 0);
    for (int i = 0; i < QUICK; i++) cr_expect_eq(cluster_take_int(f[i]), second);
    cr_expect(!tine_done(held));
    int fd = open(gate, O_WRONLY | O_CLOEXEC);
    cr_assert_eq(write(fd, "x", 1), 1);
    close(fd);
    cr_expect_eq(cluster_take_int(held), first);
    cr_expect_eq(marks_size("ran"), QUICK);
    cr_expect(process_ends(worker, 30000));
    close(worker);
    cr_assert_eq(kill(second, SIGTERM), 0);
    cr_expect(process_ends(supervisor, 30000), "all have left");
    close(supervisor);
    cluster_stop();
    cr_expect_eq(status_of(child), 0);
    cr_assert_gt(read(log, text, sizeof text - 1), 0);
    cr_expect_eq(capture_count(text, "has left, as a signal has asked it to"), 2, "%s", text);
    cr_expect_eq(capture_count(text, "was killed"), 0, "%s", text);
    marks_end();
    free(gate);
    free(ran);
}

Test(supervise, a_signal_ends_it_and_its_workers, .timeout = 60) {
    pid_t child = supervise("2");
    int worker = process_open(worker_pid());
    cr_assert_geq(worker, 0);
    cr_assert_eq(kill(child, SIGTERM), 0);
    cr_expect(process_ends(worker, 30000));
    cluster_stop();
    cr_expect_eq(status_of(child), 0);
    close(worker);
}

Test(supervise, is_killed_and_its_workers_end, .timeout = 60) {
    pid_t child = supervise("2");
    int worker = process_open(worker_pid());
    cr_assert_geq(worker, 0);
    cr_assert_eq(kill(child, SIGKILL), 0);
    cr_expect(process_ends(worker, 30000));
    cluster_stop();
    cr_expect(WIFSIGNALED(status_of(child)));
    close(worker);
}

Test(survive, the_status_is_the_programs, .timeout = 120) {
    tine_need_mpirun();
    tine_program p =
        tine_program_run(60, "$B/tine run --survive %s -n 2 sh -c 'exit 5'", tine_mpirun_root());
    cr_expect_eq(p.code, 5, "%s", p.error);
    tine_program_fini(&p);
    p = tine_program_run(60, "$B/tine run --survive %s -n 2 sh -c 'kill -9 $$'",
                         tine_mpirun_root());
    cr_expect_eq(p.code, 128 + SIGKILL, "%s", p.error);
    tine_program_fini(&p);
}

/* Its worker runs it as well. */
static const char with_worker[] = "sleep 1000 & echo $!; wait; wait";

/* The program is a script, which says the pids of two children that would outlive it. */
static void script_ends(const char *script, int number) {
    char command[4096], said[200] = "", rest[64];
    int out[2], children[2], at = 0;
    size_t n = 0;
    tine_need_mpirun();
    cr_assert_eq(pipe(out), 0);
    snprintf(command, sizeof command, "exec %s/tine run --survive %s -n 2 sh -c '%s'",
             tine_program_build(), tine_mpirun_root(), script);
    pid_t run = fork();
    cr_assert_geq(run, 0);
    if (run == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(out[1], STDOUT_FILENO);
        close(out[0]);
        close(out[1]);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    while (sscanf(said, "%d %d%n", &children[0], &children[1], &at) < 2 || said[at] != '\n') {
        ssize_t got = read(out[0], said + n, sizeof said - 1 - n);
        cr_assert_gt(got, 0, "it said: %s", said);
        n += (size_t)got;
    }
    for (int i = 0; i < 2; i++) cr_assert_geq(children[i] = process_open(children[i]), 0);
    cr_assert_eq(kill(run, number), 0);
    for (int i = 0; i < 2; i++) {
        cr_expect(process_ends(children[i], 30000), "a script's child is left");
        close(children[i]);
    }
    while (read(out[0], rest, sizeof rest) > 0) { /* until mpirun has ended */
    }
    cr_assert_eq(waitpid(run, NULL, 0), run);
    close(out[0]);
}

Test(survive, the_child_of_a_script_ends_with_a_killed_tine_run, .timeout = 120) {
    script_ends(with_worker, SIGKILL);
}

Test(survive, the_child_of_a_script_ends_at_a_signal, .timeout = 120) {
    script_ends(with_worker, SIGTERM);
}

/* The inner one's guard is killed as well. */
Test(survive, what_a_tine_run_within_another_has_started_ends, .timeout = 120) {
    char script[4096];
    snprintf(
        script, sizeof script,
        "[ \"$TINE_WORKER\" ] && exec sleep 1000; exec %s/tine run --survive %s -n 2 sh -c \"%s\"",
        tine_program_build(), tine_mpirun_root(), "sleep 1000 & echo \\$!; wait; wait");
    script_ends(script, SIGKILL);
}

Test(survive, prints_what_one_process_prints, .timeout = 120) {
    tine_need_mpirun();
    tine_program p = tine_program_run(
        60, "$B/tine run --survive --oversubscribe %s -n 4 $B/04_fibonacci 9", tine_mpirun_root());
    cr_expect_eq(p.code, 0, "%s", p.error);
    cr_expect_str_eq(p.out, "fib(9) = 34\n");
    tine_program_fini(&p);
}
