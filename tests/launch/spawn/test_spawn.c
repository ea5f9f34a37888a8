/* Local workers: what they start with, how their death is reported, and how they are replaced. */
#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/capture.h"
#include "tests/support/local_workers.h"

TestSuite(spawn, .init = open_fifo, .fini = close_fifo, .timeout = 120);

/* A copy of the record, once so many have died and so many attempts in a row have failed. */
static deaths await_deaths(int n, unsigned failures) {
    pthread_mutex_lock(&seen.lock);
    while (seen.n < n || seen.failures < failures) pthread_cond_wait(&seen.changed, &seen.lock);
    deaths copy = seen;
    pthread_mutex_unlock(&seen.lock);
    return copy;
}

static const char *executable_name(void) {
    static char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    cr_assert(n > 0);
    return strrchr(path, '/') + 1;
}

static void handle_nothing(int sig) { (void)sig; }

Test(spawn, a_worker_is_started_with_what_it_needs_and_nothing_else) {
    signal(SIGUSR1, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGUSR2, handle_nothing);
    int ignored = 0, leak = dup(fifo_fd); /* without CLOEXEC */
    for (int sig = 1; sig < 32; sig++) {
        struct sigaction now;
        ignored += sigaction(sig, NULL, &now) == 0 && now.sa_handler == SIG_IGN;
    }
    cr_expect_geq(ignored, 2);
    tine_spawn *s = start(2, "ipc:///nowhere/x", NULL);
    cr_assert_not_null(s, "%s", tine_error_message());
    bool there[2] = {false, false};
    for (int i = 0; i < 2; i++) {
        report r = next_report();
        int slot = tine_spawn_slot(s, r.token);
        cr_assert(slot == 0 || slot == 1);
        there[slot] = true;
        cr_expect_eq(tine_spawn_pid(s, slot), r.pid);
        cr_expect_str_eq(r.endpoint, "ipc:///nowhere/x");
        cr_expect_str_eq(r.extra, "128K");
        cr_expect_eq(r.descriptors, 5, "standard streams, lifeline and run log, not %d",
                     r.descriptors);
        cr_expect(r.input_is_null);
        cr_expect_eq(r.lifeline, 3);
        cr_expect(r.cloexec);
        cr_expect(r.interrupt_ignored);
        cr_expect_eq(r.inherited_signals, ignored, "what is ignored here is ignored there");
        cr_expect(r.clean, "no variable of ours is left for what a task starts");
        cr_expect(strncmp(r.comm, executable_name(), 15) == 0, "%s", r.comm);
    }
    cr_expect(there[0] && there[1]);
    close(leak);
    stop(s, 2);
}

Test(spawn, a_token_gives_its_slot) {
    tine_spawn *s = start(2, "ipc:///x", NULL);
    report r = next_report();
    char other[64];
    snprintf(other, sizeof other, "%s", r.token);
    strcpy(strchr(other, '.'), ".2");
    cr_expect_eq(tine_spawn_slot(s, other), -1, "a slot there is not");
    strcpy(strchr(other, '.'), ".");
    cr_expect_eq(tine_spawn_slot(s, other), -1);
    strcpy(strchr(other, '.'), ".1x");
    cr_expect_eq(tine_spawn_slot(s, other), -1);
    other[5] ^= 1;
    cr_expect_eq(tine_spawn_slot(s, other), -1);
    cr_expect_eq(tine_spawn_slot(s, ""), -1);
    cr_expect_eq(tine_spawn_pid(s, 5), 0);
    stop(s, 2);
}

Test(spawn, a_killed_worker_is_named_and_replaced) {
    tine_spawn *s = start(2, "ipc:///x", NULL);
    report a = next_report(), b = next_report();
    for (int round = 1; round <= 3; round++) {
        int slot = tine_spawn_slot(s, a.token);
        cr_assert_eq(kill(a.pid, SIGKILL), 0);
        deaths d = await_deaths(round, 0);
        cr_expect_str_eq(d.reason, "was killed by signal 9 (SIGKILL)");
        cr_expect_eq(d.pid, a.pid);
        cr_expect_eq(d.slot, slot);
        report c = next_report();
        cr_expect_eq(tine_spawn_slot(s, c.token), slot);
        cr_expect_neq(c.pid, a.pid);
        a = c;
    }
    cr_expect_eq(tine_spawn_pid(s, tine_spawn_slot(s, b.token)), b.pid,
                 "the other one is untouched");
    stop(s, 2);
    cr_expect_eq(seen.n, 3, "workers that were stopped are not reported as deaths");
}

Test(spawn, workers_that_are_killed_together_are_each_reported_and_replaced) {
    enum { N = 3 };
    tine_spawn *s = start(N, "ipc:///x", NULL);
    report r[N];
    for (int i = 0; i < N; i++) r[i] = next_report();
    for (int i = 0; i < N; i++) cr_assert_eq(kill(r[i].pid, SIGKILL), 0);
    cr_expect_eq(await_deaths(N, 0).n, N);
    bool filled[N] = {false};
    for (int i = 0; i < N; i++) {
        report c = next_report();
        int slot = tine_spawn_slot(s, c.token);
        cr_assert(slot >= 0 && slot < N && !filled[slot], "slot %d", slot);
        filled[slot] = true;
    }
    stop(s, N);
    cr_expect_eq(seen.n, N);
}

Test(spawn, an_exit_is_named) {
    tine_spawn *s = start(1, "ipc:///x", NULL);
    report r = next_report();
    cr_assert_eq(give_order(r.pid, SIGUSR1), 0);
    deaths d = await_deaths(1, 0);
    cr_expect_str_eq(d.reason, "exited with status 3");
    next_report();
    stop(s, 1);
}

Test(spawn, a_crash_report_arrives) {
    tine_spawn *s = start(1, "ipc:///x", NULL);
    report r = next_report();
    cr_assert_eq(give_order(r.pid, SIGUSR2), 0);
    deaths d = await_deaths(1, 0);
    cr_expect_str_eq(
        d.reason,
        "died of stack overflow in task bottomless (stack of 64 KiB; set TINE_STACK_SIZE)");
    next_report();
    stop(s, 1);
}

static double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Workers end at once while the file is there. */
static void make_mark(char *path, size_t size) {
    snprintf(path, size, "%s/mark", fifo_dir);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    cr_assert(fd >= 0);
    close(fd);
    setenv("TEST_MARK", path, 1);
}

Test(spawn, workers_that_die_at_once_are_started_again_after_growing_waits) {
    char mark[96];
    make_mark(mark, sizeof mark);
    double began = seconds_now();
    tine_spawn *s = start(2, "ipc:///x", NULL);
    cr_assert_not_null(s);
    deaths d = await_deaths(7, 7);
    /* before the seventh attempt: 0, 10, 20, 40, 80, 160 ms */
    cr_expect_geq(seconds_now() - began, 0.3);
    cr_expect_str_eq(d.last, "exited with status 9");
    cr_expect_leq(d.n, 16, "two workers an attempt");
    cr_assert_eq(unlink(mark), 0);
    report a = next_report(), b = next_report();
    cr_expect(tine_spawn_pid(s, 0) == a.pid || tine_spawn_pid(s, 0) == b.pid);
    stop(s, 2);
}

/* What the log says of the seventh failure in a row, where the first ones each doubled the wait:
 * 0, 10, 20, 40, 80, 160 ms. */
static const char *seventh_failure(const char *mode, int sig) {
    static char lines[8192];
    int log = capture_pipe();
    seen = (deaths){.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    setenv("TEST_MODE", mode, 1);
    tine_spawn *s = start(1, "ipc:///x", NULL);
    for (int i = 1; i <= 7; i++) {
        report r = next_report();
        cr_assert_eq(sig == SIGKILL ? kill(r.pid, sig) : give_order(r.pid, sig), 0);
        await_deaths(i, (unsigned)i);
    }
    next_report();
    stop(s, 1);
    ssize_t n = read(log, lines, sizeof lines - 1);
    cr_assert_gt(n, 0);
    lines[n] = 0;
    close(log);
    return lines;
}

/* Only where a worker ends by itself before it has joined the start itself may be what fails. */
Test(spawn, who_is_killed_again_and_again_is_started_again_soon) {
    const char *soon = "it is started again in 0.25 s (failure 7 in a row)";
    const char *lines = seventh_failure("early", SIGKILL);
    cr_expect(strstr(lines, soon), "killed before it has joined: %s", lines);
    lines = seventh_failure("wait", SIGUSR1);
    cr_expect(strstr(lines, soon), "it had joined: %s", lines);
    lines = seventh_failure("early", SIGUSR1);
    cr_expect(strstr(lines, "in 0.32 s (failure 7 in a row)"), "%s", lines);
}

/* The first worker's place waits when the second one, which has worked, dies: both are filled. */
Test(spawn, a_worker_that_worked_ends_the_wait_of_others) {
    char mark[96];
    make_mark(mark, sizeof mark); /* its name is passed on at the start */
    cr_assert_eq(unlink(mark), 0);
    setenv("TEST_MODE", "worked", 1);
    tine_spawn *s = start(2, "ipc:///x", NULL);
    report first = next_report(), second = next_report();
    make_mark(mark, sizeof mark);
    cr_assert_eq(kill(first.pid, SIGKILL), 0);
    deaths d = await_deaths(8, 8);
    cr_expect_str_eq(d.last, "exited with status 9");
    cr_assert_eq(unlink(mark), 0);
    cr_assert_eq(give_order(second.pid, SIGUSR1), 0);
    next_report(), next_report();
    d = await_deaths(9, 8);
    cr_expect_str_eq(d.last, "exited with status 3", "its death began no attempt of its own");
    stop(s, 2);
}

/* A start that fails counts like a death, and its reason names the error. */
Test(spawn, a_worker_that_cannot_be_started_is_started_when_it_can) {
    char program[96];
    snprintf(program, sizeof program, "%s/program", fifo_dir);
    cr_assert_eq(symlink("/proc/self/exe", program), 0);
    tine_spawn *s = start(1, "ipc:///x", &(tine_spawn_config){.program = program});
    cr_assert_not_null(s, "%s", tine_error_message());
    report r = next_report();
    cr_assert_eq(unlink(program), 0);
    cr_assert_eq(kill(r.pid, SIGKILL), 0);
    deaths d = await_deaths(1, 4);
    cr_expect_str_eq(d.last, "could not be started: No such file or directory (errno 2)");
    cr_expect_eq(tine_spawn_pid(s, 0), 0);
    cr_assert_eq(symlink("/proc/self/exe", program), 0);
    r = next_report();
    cr_expect_eq(tine_spawn_pid(s, 0), r.pid);
    cr_assert_eq(unlink(program), 0);
    stop(s, 1);
}

Test(spawn, a_finished_task_ends_a_row_of_failures) {
    setenv("TEST_MODE", "worked", 1);
    tine_spawn *s = start(1, "ipc:///x", NULL);
    for (int round = 1; round <= 12; round++) {
        report r = next_report();
        cr_assert_eq(give_order(r.pid, SIGUSR1), 0); /* after it has worked */
        await_deaths(round, 0);
    }
    next_report();
    stop(s, 1);
    cr_expect_eq(seen.failures, 1, "each death is the first of a row, not number %u",
                 seen.failures);
    cr_expect_eq(seen.n, 12);
}

Test(spawn, the_run_log_of_a_killed_worker_tells_what_it_ran) {
    setenv("TEST_MODE", "runs", 1);
    tine_spawn *s = start(1, "ipc:///x", NULL);
    for (int round = 1; round <= 2; round++) {
        next_report();
        cr_assert_eq(kill(tine_spawn_pid(s, 0), SIGUSR1), 0);
        deaths d = await_deaths(round, 0);
        cr_expect_eq(d.running, 7);
        cr_expect(d.has_8 && !d.has_9);
    }
    next_report();
    stop(s, 1);
}

Test(spawn, stop_waits_for_those_that_end_by_themselves) {
    tine_spawn *s = start(3, "ipc:///x", NULL);
    for (int i = 0; i < 3; i++) {
        report r = next_report();
        if (i > 0) continue;
        siginfo_t info; /* one that hangs before it gets SIGTERM */
        cr_assert_eq(kill(r.pid, SIGSTOP), 0);
        cr_assert_eq(waitid(P_PID, (id_t)r.pid, &info, WSTOPPED | WNOWAIT), 0);
    }
    pid_t pids[3];
    for (int i = 0; i < 3; i++) pids[i] = tine_spawn_pid(s, i);
    tine_spawn_retire(s, 5); /* or the end of one that is quick is a death */
    for (int i = 0; i < 3; i++) kill(pids[i], SIGTERM);
    cr_expect_eq(tine_spawn_stop(s, 0), 1);
    for (int i = 0; i < 3; i++) cr_expect(kill(pids[i], 0) != 0 && errno == ESRCH);
    cr_expect_eq(seen.n, 0);
    tine_spawn_free(s);
}

Test(spawn, a_program_that_is_not_there_is_an_error) {
    tine_spawn *s = NULL;
    char *const argv[] = {"x", NULL};
    tine_spawn_config config = {
        .program = "/no/such/program", .argv = argv, .endpoint = "ipc:///x", .workers = 3};
    cr_expect_eq(tine_spawn_start(&s, &config), TINE_EIO);
    cr_expect_null(s);
    cr_expect_str_eq(tine_error_message(),
                     "cannot start 3 workers of /no/such/program: No such file or directory");
    config.workers = 5000;
    cr_expect_eq(tine_spawn_start(&s, &config), TINE_EINVAL);
    cr_expect_eq(waitpid(-1, NULL, WNOHANG), -1, "no child is left");
}

Test(spawn, the_programs_own_children_are_left_alone) {
    tine_spawn *s = start(1, "ipc:///x", NULL);
    report r = next_report();
    pid_t child;
    char *const argv[] = {"sh", "-c", "exit 5", NULL};
    cr_assert_eq(posix_spawn(&child, "/bin/sh", NULL, NULL, argv, environ), 0);
    siginfo_t info;
    cr_assert_eq(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
    cr_assert_eq(kill(r.pid, SIGKILL), 0);
    await_deaths(1, 0); /* the supervisor has reaped its children */
    int status;
    cr_expect_eq(waitpid(child, &status, 0), child);
    cr_expect_eq(WEXITSTATUS(status), 5);
    next_report();
    stop(s, 1);
}

Test(spawn, deaths_are_noticed_where_the_program_ignores_sigchld) {
    signal(SIGCHLD, SIG_IGN);
    tine_spawn *s = start(1, "ipc:///x", NULL);
    report r = next_report();
    cr_assert_eq(kill(r.pid, SIGKILL), 0);
    deaths d = await_deaths(1, 0);
    cr_expect_str_eq(
        d.reason,
        "ended; its exit status is unknown: another wait call of this program collected it");
    next_report();
    stop(s, 1);
}

Test(spawn, workers_are_placed_where_they_fit) {
    cpu_set_t set;
    cr_assert_eq(sched_getaffinity(0, sizeof set, &set), 0);
    int cores = CPU_COUNT(&set);
    if (cores < 2 || cores > 8) cr_skip_test("%d cores: needs 2 to 8", cores);
    tine_spawn *s = start(2, "ipc:///x", NULL);
    report a = next_report(), b = next_report();
    if (cores == 2)
        cr_expect(a.cores == 1 && b.cores == 1 && a.first_core != b.first_core);
    else
        cr_expect(a.cores == cores && b.cores == cores);
    stop(s, 2);
    s = start(1, "ipc:///x", &(tine_spawn_config){.threads = 2});
    a = next_report();
    cr_expect_eq(a.cores, 2);
    stop(s, 1);
    s = start(1, "ipc:///x", NULL);
    a = next_report();
    cr_expect_eq(a.cores, cores, "one worker is left to the kernel: programs shared CPU 0");
    stop(s, 1);
    s = start(cores + 1 > 8 ? 8 : cores + 1, "ipc:///x", NULL);
    for (int i = 0; i < cores + 1 && i < 8; i++) {
        a = next_report();
        if (cores < 8) cr_expect_eq(a.cores, cores, "too many to place");
    }
    stop(s, cores + 1 > 8 ? 8 : cores + 1);
    cpu_set_t after;
    sched_getaffinity(0, sizeof after, &after);
    cr_expect(CPU_EQUAL(&set, &after));
}
