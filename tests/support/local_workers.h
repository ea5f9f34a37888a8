/* Local workers under test, and what they report.
 *
 * An executable that includes this file is also the worker: where the environment asks for it, a
 * constructor turns it into one before criterion's main. Workers report through a named pipe, so no
 * test sleeps. */
#ifndef TINE_TESTS_SUPPORT_LOCAL_WORKERS_H
#define TINE_TESTS_SUPPORT_LOCAL_WORKERS_H

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "launch/spawn/internal.h"
#include "launch/spawn/lifeline.h"
#include "launch/spawn/spawn.h"
#include "tests/support/fibers.h"

enum { GONE_MS = 20000 }; /* nothing else ends these workers */
enum { REPORT_MS = 30000 };

extern char **environ;

/* ---- the worker ---- */

static inline int descriptors_open(void) {
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

static inline void send_report(const report *r) {
    int fd = open(getenv("TEST_FIFO"), O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, r, sizeof *r) != sizeof *r) _exit(70);
    close(fd);
}

static inline void copy_text(char *to, size_t room, const char *from) {
    snprintf(to, room, "%s", from ? from : "");
}

static inline void read_comm(char *to, size_t room) {
    FILE *f = fopen("/proc/self/comm", "re");
    if (f && fgets(to, (int)room, f)) to[strcspn(to, "\n")] = 0;
    if (f) fclose(f);
}

static tine_run_log *run_log; /* in the worker */

static inline report report_make(void) {
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

static inline void die_of_overflow(int last_words) {
    tine_fiber_pool *p;
    tine_fiber_report_to(last_words);
    if (tine_fiber_pool_new(&p, 64 << 10, 0)) _exit(72);
    tine_fiber_resume(tine_fiber_new(p, overflow_stack, NULL, "bottomless"));
}

/* Obeys signals of the test: SIGUSR1 exits with status 3, SIGUSR2 overflows a stack, SIGTERM exits
 * with status 0. */
static inline void be_worker(const char *mode) {
    sigset_t orders;
    sigemptyset(&orders);
    sigaddset(&orders, SIGUSR1);
    sigaddset(&orders, SIGUSR2);
    sigaddset(&orders, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &orders, NULL);
    const char *mark = getenv("TEST_MARK");
    if (mark && access(mark, F_OK) == 0) _exit(9);
    report r = report_make();
    run_log->joined = strcmp(mode, "early") != 0;
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

/* To the main thread, which waits for it: threads that a library starts need not block it. */
static inline int give_order(pid_t worker, int sig) {
    return (int)syscall(SYS_tgkill, worker, worker, sig);
}

__attribute__((constructor)) static void become_worker(void) {
    if (getenv("TINE_WORKER")) be_worker(getenv("TEST_MODE"));
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

static inline void on_died(void *ctx, int slot, pid_t pid, const char *reason,
                           const tine_run_log *log) {
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

static inline void on_failed(void *ctx, unsigned failures, const char *reason) {
    deaths *d = ctx;
    pthread_mutex_lock(&d->lock);
    if (failures > d->failures) d->failures = failures;
    snprintf(d->last, sizeof d->last, "%s", reason);
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->lock);
}

static char fifo_dir[64], fifo[80];
static int fifo_fd = -1;

static inline void open_fifo(void) {
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

static inline void close_fifo(void) {
    close(fifo_fd);
    unlink(fifo);
    rmdir(fifo_dir);
}

static inline report next_report(void) {
    report r = {0};
    struct pollfd p = {.fd = fifo_fd, .events = POLLIN};
    cr_assert_eq(poll(&p, 1, REPORT_MS), 1, "no worker reported");
    cr_assert_eq(read(fifo_fd, &r, sizeof r), (ssize_t)sizeof r);
    return r;
}

static inline tine_spawn *start(int workers, const char *endpoint, const tine_spawn_config *more) {
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
static inline void stop(tine_spawn *s, int workers) {
    pid_t pids[8];
    for (int i = 0; i < workers; i++) pids[i] = tine_spawn_pid(s, i);
    tine_spawn_stop(s, 0);
    for (int i = 0; i < workers; i++)
        cr_expect(pids[i] == 0 || kill(pids[i], 0) != 0, "worker %d is left", i);
    tine_spawn_free(s);
}

#endif
