/* Local workers: what they start with, how their death is reported, and that nothing is left
 * behind, whichever process dies.
 *
 * This executable is also the worker, and the coordinator that is killed: where the environment
 * asks for it, a constructor turns it into one before criterion's main. Workers report through a
 * named pipe, so no test sleeps. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "launch/spawn/internal.h"
#include "launch/spawn/lifeline.h"
#include "launch/spawn/private.h"
#include "launch/spawn/spawn.h"
#include "workers/fiber/fiber.h"

/* The limit is 2 s; with sanitizers on a loaded machine it is longer. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { GONE_MS = 10000 };
#else
enum { GONE_MS = 2000 };
#endif
enum { REPORT_MS = 30000 };

extern char **environ;

/* ---- the worker ---- */

static int descriptors_open(void) {
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    for (struct dirent *e; d && (e = readdir(d));)
        n += e->d_name[0] != '.' && atoi(e->d_name) != dirfd(d);
    if (d) closedir(d);
    return n;
}

typedef struct report { /* shorter than PIPE_BUF, so it is written atomically */
    int pid, descriptors, cores, first_core, input_is_null, lifeline, cloexec, interrupt_ignored,
        inherited_signals, clean;
    char token[64], endpoint[108], extra[32], comm[32];
} report;

static void send_report(const report *r) {
    int fd = open(getenv("TEST_FIFO"), O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, r, sizeof *r) != sizeof *r) _exit(70);
    close(fd);
}

static void copy_text(char *to, size_t room, const char *from) {
    snprintf(to, room, "%s", from ? from : "");
}

static void read_comm(char *to, size_t room) {
    FILE *f = fopen("/proc/self/comm", "re");
    if (f && fgets(to, (int)room, f)) to[strcspn(to, "\n")] = 0;
    if (f) fclose(f);
}

static tine_run_log *run_log; /* in the worker */

static report report_make(void) {
    report r = {.pid = getpid(), .descriptors = descriptors_open()};
    struct stat input, null;
    cpu_set_t set;
    copy_text(r.token, sizeof r.token, getenv("TINE_TOKEN"));
    copy_text(r.endpoint, sizeof r.endpoint, getenv("TINE_WORKER"));
    copy_text(r.extra, sizeof r.extra, getenv("TINE_STACK_SIZE"));
    r.input_is_null =
        fstat(0, &input) == 0 && stat("/dev/null", &null) == 0 && input.st_rdev == null.st_rdev;
    if (sched_getaffinity(0, sizeof set, &set) == 0) r.cores = CPU_COUNT(&set);
    while (r.first_core < CPU_SETSIZE && !CPU_ISSET(r.first_core, &set)) r.first_core++;
    for (int sig = 1; sig < 32; sig++) {
        struct sigaction now;
        /* Sanitizers have handlers for these. */
        bool fault = sig == SIGSEGV || sig == SIGBUS || sig == SIGFPE || sig == SIGILL;
        /* The lifeline's own, from before main. */
        bool group = sig == SIGTERM || sig == SIGQUIT;
        if (!fault && !group && sigaction(sig, NULL, &now) == 0 && now.sa_handler != SIG_DFL)
            r.inherited_signals++;
    }
    if (tine_lifeline_start(r.endpoint, &r.lifeline, &run_log) != TINE_OK) _exit(71);
    if (r.lifeline >= 0) r.cloexec = fcntl(r.lifeline, F_GETFD) & FD_CLOEXEC;
    struct sigaction interrupt;
    sigset_t blocked;
    sigaction(SIGINT, NULL, &interrupt);
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    r.interrupt_ignored = interrupt.sa_handler == SIG_IGN && !sigismember(&blocked, SIGINT);
    r.clean = !getenv("TINE_WORKER") && !getenv("TINE_TOKEN") && !getenv("TINE_LIFELINE");
    read_comm(r.comm, sizeof r.comm);
    return r;
}

static volatile bool *always = &(bool){true};
static int descend(volatile char *above) {
    volatile char frame[512];
    frame[0] = above ? above[0] : 1;
    int below = *always ? descend(frame) : 0;
    return below + frame[0];
}

static void overflow(void *arg) {
    (void)arg;
    descend(NULL);
}

static void die_of_overflow(int last_words) {
    tine_fiber_pool *p;
    tine_fiber_report_to(last_words);
    if (tine_fiber_pool_new(&p, 64 << 10, 0)) _exit(72);
    tine_fiber_resume(tine_fiber_new(p, overflow, NULL, "bottomless"));
}

/* Obeys signals of the test: SIGUSR1 exits with status 3, SIGUSR2 overflows a stack, SIGTERM exits
 * with status 0. */
static void be_worker(const char *mode) {
    sigset_t orders;
    sigemptyset(&orders);
    sigaddset(&orders, SIGUSR1);
    sigaddset(&orders, SIGUSR2);
    sigaddset(&orders, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &orders, NULL);
    const char *mark = getenv("TEST_MARK");
    if (mark && access(mark, F_OK) == 0) _exit(9);
    report r = report_make();
    run_log->joined = 1;
    if (strcmp(mode, "worked") == 0) {
        tine_run_log_begin(run_log, 5);
        tine_run_log_end(run_log);
    }
    if (strcmp(mode, "runs") == 0) {
        for (uint64_t task = 7; task <= 8; task++) tine_run_log_begin(run_log, task);
        tine_run_log_run(run_log, 7);
    }
    send_report(&r);
    if (strcmp(mode, "compute") == 0)
        for (volatile uint64_t x = 1;; x = x * 5 + 1) continue;
    for (;;) {
        int sig = 0;
        sigwait(&orders, &sig);
        if (sig == SIGUSR1) _exit(3);
        if (sig == SIGUSR2) die_of_overflow(r.lifeline);
        if (sig == SIGTERM) _exit(0);
    }
}

/* To the main thread, which waits for it: OpenBLAS's threads, from before main, do not block it. */
static int give_order(pid_t worker, int sig) {
    return (int)syscall(SYS_tgkill, worker, worker, sig);
}

/* ---- the coordinator that is killed ---- */

static tine_spawn *start(int workers, const char *endpoint, const tine_spawn_config *more);

static void be_coordinator(const char *how) {
    tine_private place;
    if (tine_private_open(&place)) _exit(73);
    if (!start(2, place.url, NULL)) _exit(74);
    if (strcmp(how, "exit") == 0) {
        char byte; /* from the test */
        if (read(0, &byte, 1) == 1) exit(0);
    }
    if (strcmp(how, "forked") == 0) {
        report copy = {.pid = fork(), .token = "copy"};
        if (copy.pid > 0) send_report(&copy);
    }
    for (;;) pause();
}

__attribute__((constructor)) static void become(void) {
    const char *worker = getenv("TINE_WORKER"), *coordinator = getenv("TEST_COORDINATOR");
    if (worker) be_worker(getenv("TEST_MODE"));
    if (coordinator) be_coordinator(coordinator);
}

/* ---- the test's side ---- */

typedef struct deaths { /* calls of the supervisor; guarded by lock */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int n;
    int slot;
    pid_t pid;
    char reason[512];
    uint64_t running; /* as in the run log */
    bool has_8, has_9;
    unsigned failures; /* the largest count */
    char last[512];
} deaths;
static deaths seen = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void on_died(void *ctx, int slot, pid_t pid, const char *reason, const tine_run_log *log) {
    deaths *d = ctx;
    pthread_mutex_lock(&d->lock);
    d->n++;
    d->slot = slot;
    d->pid = pid;
    snprintf(d->reason, sizeof d->reason, "%s", reason);
    d->running = log->running;
    d->has_8 = tine_run_log_has(log, 8);
    d->has_9 = tine_run_log_has(log, 9);
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->lock);
}

static void on_failed(void *ctx, unsigned failures, const char *reason) {
    deaths *d = ctx;
    pthread_mutex_lock(&d->lock);
    if (failures > d->failures) d->failures = failures;
    snprintf(d->last, sizeof d->last, "%s", reason);
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->lock);
}

/* A copy of the record, once so many have died and so many attempts in a row have failed. */
static deaths await_deaths(int n, unsigned failures) {
    pthread_mutex_lock(&seen.lock);
    while (seen.n < n || seen.failures < failures) pthread_cond_wait(&seen.changed, &seen.lock);
    deaths copy = seen;
    pthread_mutex_unlock(&seen.lock);
    return copy;
}

static char fifo_dir[64], fifo[80];
static int fifo_fd = -1;

static void open_fifo(void) {
    const char *tmp = getenv("TMPDIR");
    snprintf(fifo_dir, sizeof fifo_dir, "%s/tine-test-XXXXXX",
             tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    cr_assert_not_null(mkdtemp(fifo_dir));
    snprintf(fifo, sizeof fifo, "%s/reports", fifo_dir);
    cr_assert_eq(mkfifo(fifo, 0600), 0);
    fifo_fd = open(fifo, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    cr_assert(fifo_fd >= 0);
    setenv("TEST_FIFO", fifo, 1);
    setenv("TEST_MODE", "wait", 1);
}

static void close_fifo(void) {
    close(fifo_fd);
    unlink(fifo);
    rmdir(fifo_dir);
}

static report next_report(void) {
    report r = {0};
    struct pollfd p = {.fd = fifo_fd, .events = POLLIN};
    cr_assert_eq(poll(&p, 1, REPORT_MS), 1, "no worker reported");
    cr_assert_eq(read(fifo_fd, &r, sizeof r), (ssize_t)sizeof r);
    return r;
}

static tine_spawn *start(int workers, const char *endpoint, const tine_spawn_config *more) {
    static char *const argv[] = {"test [tine worker]", NULL};
    static char *const environment[] = {"TINE_STACK_SIZE=128K", NULL};
    tine_spawn_config config = more ? *more : (tine_spawn_config){0};
    config.workers = workers;
    config.endpoint = endpoint;
    config.argv = argv;
    config.environment = environment;
    config.died = on_died;
    config.failed = on_failed;
    config.ctx = &seen;
    tine_spawn *s = NULL;
    return tine_spawn_start(&s, &config) == TINE_OK ? s : NULL;
}

/* Stops, and checks that every worker is reaped: then its pid cannot be signalled. */
static void stop(tine_spawn *s, int workers) {
    pid_t pids[8];
    for (int i = 0; i < workers; i++) pids[i] = tine_spawn_pid(s, i);
    tine_spawn_stop(s, 0);
    for (int i = 0; i < workers; i++)
        cr_expect(pids[i] == 0 || kill(pids[i], 0) != 0, "worker %d is left", i);
    tine_spawn_free(s);
}

/* Of any process, also of one that is not a child. */
static bool ends_within(int pidfd, int ms) {
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    return poll(&p, 1, ms) == 1;
}

static const char *executable_name(void) {
    static char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    cr_assert(n > 0);
    return strrchr(path, '/') + 1;
}

TestSuite(spawn, .init = open_fifo, .fini = close_fifo, .timeout = 120);

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
    for (int i = 0; i < 3; i++) kill(pids[i], SIGTERM);
    cr_expect_eq(tine_spawn_stop(s, GONE_MS / 1000.0), 1);
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

/* ---- nothing is left behind ---- */

typedef struct killed {
    pid_t pid;
    int pidfds[2]; /* of its workers */
    pid_t workers[2], copy;
    char dir[192];
    int input;
} killed;

static killed start_coordinator(const char *how, const char *mode) {
    killed k = {.pid = 0};
    int input[2];
    cr_assert_eq(pipe2(input, O_CLOEXEC), 0);
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, input[0], 0);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP);
    setenv("TEST_COORDINATOR", how, 1);
    setenv("TEST_MODE", mode, 1);
    char *const argv[] = {"coordinator", NULL};
    cr_assert_eq(posix_spawn(&k.pid, "/proc/self/exe", &files, &attr, argv, environ), 0);
    unsetenv("TEST_COORDINATOR");
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attr);
    close(input[0]);
    k.input = input[1];
    for (int i = 0; i < 2;) {
        report r = next_report();
        if (strcmp(r.token, "copy") == 0) {
            k.copy = r.pid;
            continue;
        }
        k.workers[i] = r.pid;
        k.pidfds[i] = tine_pidfd_open(r.pid);
        cr_assert(k.pidfds[i] >= 0);
        snprintf(k.dir, sizeof k.dir, "%s", r.endpoint + strlen("ipc://"));
        *strrchr(k.dir, '/') = 0;
        i++;
    }
    if (strcmp(how, "forked") == 0 && !k.copy) k.copy = next_report().pid;
    struct stat st;
    cr_assert(stat(k.dir, &st) == 0 && (st.st_mode & 0777) == 0700, "%s is there", k.dir);
    return k;
}

static void check_nothing_left(killed *k) {
    int status;
    cr_assert_eq(waitpid(k->pid, &status, 0), k->pid);
    for (int i = 0; i < 2; i++) {
        bool ended = ends_within(k->pidfds[i], GONE_MS);
        cr_expect(ended, "worker %d is gone", i);
        if (!ended) kill(k->workers[i], SIGKILL);
        close(k->pidfds[i]);
    }
    struct stat st;
    cr_expect(stat(k->dir, &st) != 0 && errno == ENOENT, "%s is gone", k->dir);
    close(k->input);
}

Test(spawn, kill_9_of_the_coordinator_leaves_nothing) {
    killed k = start_coordinator("wait", "wait");
    cr_assert_eq(kill(k.pid, SIGKILL), 0);
    check_nothing_left(&k);
}

Test(spawn, kill_9_of_the_coordinator_ends_workers_that_compute) {
    killed k = start_coordinator("wait", "compute");
    cr_assert_eq(kill(k.pid, SIGKILL), 0);
    check_nothing_left(&k);
}

Test(spawn, an_exit_without_shutdown_leaves_nothing) {
    killed k = start_coordinator("exit", "compute");
    cr_assert_eq(write(k.input, "x", 1), 1);
    check_nothing_left(&k);
}

Test(spawn, ctrl_c_goes_to_all_and_is_the_coordinators_decision) {
    killed k = start_coordinator("wait", "wait");
    cr_assert_eq(kill(k.workers[0], SIGINT), 0);
    cr_expect(!ends_within(k.pidfds[0], 200), "a worker ignores it");
    cr_assert_eq(kill(-k.pid, SIGINT), 0);
    check_nothing_left(&k);
}

/* The copy inherits the other end of every lifeline. */
Test(spawn, a_forked_copy_of_the_coordinator_does_not_keep_workers_alive) {
    killed k = start_coordinator("forked", "compute");
    cr_assert_eq(kill(k.pid, SIGKILL), 0);
    check_nothing_left(&k);
    cr_expect_eq(kill(k.copy, SIGKILL), 0, "it was there all the time");
}
