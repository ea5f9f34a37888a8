/* A worker's end of the lifeline. See lifeline.h.
 *
 * The watchdog waits for the socket and for a pidfd of the coordinator, because neither is enough:
 * the socket stays open if the coordinator forked a child that outlives it and inherited its
 * descriptors, and older kernels have no pidfds. It ends the process with _exit, which neither a
 * computation nor a lock held by another thread can delay. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launch/spawn/internal.h"
#include "launch/spawn/lifeline.h"
#include "launch/spawn/private.h"
#include "runtime/value/error.h"
#include "transport/base/clock.h"
#include "transport/base/process.h"
#include "transport/base/thread.h"

/* How long a signal to the whole process group may take to end the coordinator. */
enum { GROUP_SIGNAL_NS = 1000000000 };

typedef struct watchdog {
    int lifeline;
    int coordinator; /* a pidfd; -1: none */
    char *mark;      /* NULL: none */
    char endpoint[];
} watchdog;

/* ---- signals to the process group ---- */

static const int group_signals[] = {SIGHUP, SIGTERM, SIGQUIT};
enum { GROUP_SIGNALS = sizeof group_signals / sizeof *group_signals };

static _Atomic int group_signal;           /* that has come; 0: none */
static _Atomic int group_wake_fd = -1;     /* an eventfd of the watchdog */
static pid_t group_pid, group_coordinator; /* this worker and its parent */

void tine_lifeline_signals(sigset_t *out) {
    sigemptyset(out);
    for (int i = 0; i < GROUP_SIGNALS; i++) sigaddset(out, group_signals[i]);
}

/* Whether the coordinator lives and dismisses this worker, which has not reached tine_init. */
static bool group_dismissed(void) {
    char byte;
    return atomic_load(&group_wake_fd) < 0 && getppid() == group_coordinator &&
           recv(TINE_SPAWN_LIFELINE_FD, &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 0;
}

static void group_signal_take(int sig) {
    int saved = errno, fd = atomic_load(&group_wake_fd);
    uint64_t one = 1;
    if (getpid() != group_pid || group_dismissed()) { /* the former: a task has called fork */
        signal(sig, SIG_DFL);
        raise(sig); /* comes when this handler returns */
    } else {
        atomic_store(&group_signal, sig);
        if (fd >= 0 && write(fd, &one, sizeof one) < 0) _exit(1);
    }
    errno = saved;
}

/* Before main: afterwards the program may change how signals are handled. At SIGTERM a worker that
 * `tine supervise` has started leaves (launch/leave.h). */
static void __attribute__((constructor(200))) group_signals_catch(void) {
    struct sigaction now,
        take = {.sa_handler = group_signal_take, .sa_flags = SA_RESTART | SA_ONSTACK};
    sigset_t set;
    bool leaves = !getenv("TINE_TOKEN");
    if (!getenv("TINE_LIFELINE")) return;
    group_pid = getpid();
    group_coordinator = getppid();
    for (int i = 0; i < GROUP_SIGNALS; i++)
        if (!(leaves && group_signals[i] == SIGTERM) &&
            sigaction(group_signals[i], NULL, &now) == 0 && now.sa_handler == SIG_DFL)
            sigaction(group_signals[i], &take, NULL);
    tine_lifeline_signals(&set);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void group_signal_die(int sig) {
    sigset_t set;
    signal(sig, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, sig);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    raise(sig);
}

/* ---- the watchdog ---- */

static bool lifeline_ended(int fd) {
    char byte;
    ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

static int watchdog_timeout_ms(int64_t until) {
    if (until == INT64_MAX) return -1;
    int64_t left = until - tine_clock_ns();
    return left > 0 ? (int)(left / 1000000) + 1 : 0;
}

static void *watchdog_main(void *arg) {
    watchdog *w = arg;
    int64_t until = INT64_MAX;
    struct pollfd fds[3] = {{.fd = w->lifeline, .events = POLLIN},
                            {.fd = w->coordinator, .events = POLLIN},
                            {.fd = atomic_load(&group_wake_fd), .events = POLLIN}};
    for (;;) {
        if (poll(fds, 3, watchdog_timeout_ms(until)) < 0) continue;
        if (fds[1].revents || (fds[0].revents && lifeline_ended(w->lifeline))) break;
        int sig = atomic_load(&group_signal);
        if (sig != 0 && until == INT64_MAX) {
            until = tine_clock_ns() + GROUP_SIGNAL_NS;
            fds[2].fd = -1;
        }
        if (tine_clock_ns() >= until) group_signal_die(sig);
    }
    tine_private_remove_of(w->endpoint);
    if (w->mark) tine_descendants_kill((const char *[]){w->mark}, 1);
    _exit(1);
    return NULL;
}

/* "FD:PID:FD" as the supervisor wrote it: a socket and a file of the run log's size. */
static bool lifeline_parse(const char *text, int *fd, int *pid, int *log_fd) {
    char rest;
    struct stat st;
    if (sscanf(text, "%d:%d:%d%c", fd, pid, log_fd, &rest) != 3) return false;
    if (*fd < 3 || *pid < 1 || *log_fd < 3) return false;
    if (fstat(*fd, &st) != 0 || !S_ISSOCK(st.st_mode)) return false;
    return fstat(*log_fd, &st) == 0 && st.st_size == sizeof(tine_run_log);
}

/* Maps the run log and closes its descriptor. */
static tine_error run_log_map(int fd, tine_run_log **log) {
    void *p = mmap(NULL, sizeof **log, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    int e = errno;
    close(fd);
    if (p == MAP_FAILED)
        return tine_error_set(TINE_EIO, "cannot map the worker's run log: %s", strerror(e));
    *log = p;
    return TINE_OK;
}

static void interrupt_ignore(void) {
    sigset_t interrupt;
    signal(SIGINT, SIG_IGN);
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    pthread_sigmask(SIG_UNBLOCK, &interrupt, NULL);
}

/* A pidfd of the parent, if that is still the coordinator. After its end the pid may be reused; the
 * second look at the parent rules out a pidfd of another process. */
static int coordinator_pidfd(int pid) {
    int fd = getppid() == pid ? tine_pidfd_open(pid) : -1;
    if (fd >= 0 && getppid() != pid) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static tine_error watchdog_start(const char *text, const char *endpoint, int *crash_fd,
                                 tine_run_log **log) {
    int fd, pid, log_fd;
    if (!lifeline_parse(text, &fd, &pid, &log_fd))
        return tine_error_set(TINE_EINVAL,
                              "TINE_LIFELINE=%s: not a lifeline; Tine sets this variable for the "
                              "workers that it starts: unset it",
                              text);
    tine_error mapped = run_log_map(log_fd, log);
    if (mapped != TINE_OK) return mapped;
    size_t size = strlen(endpoint) + 1;
    watchdog *w = malloc(sizeof *w + size);
    if (!w) return tine_error_set(TINE_ENOMEM, "no memory for the watchdog thread");
    memcpy(w->endpoint, endpoint, size);
    w->lifeline = fd;
    w->coordinator = coordinator_pidfd(pid);
    const char *mark = getenv(TINE_DESCENDANTS_MARK);
    w->mark = mark ? strdup(mark) : NULL;
    atomic_store(&group_wake_fd, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (atomic_load(&group_signal) && eventfd_write(atomic_load(&group_wake_fd), 1) != 0) _exit(1);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    int e = tine_thread_start_detached("tine-watchdog", watchdog_main, w);
    if (e) {
        if (w->coordinator >= 0) close(w->coordinator);
        free(w->mark);
        free(w);
        return tine_error_set(TINE_EIO, "cannot start the watchdog thread: %s", strerror(e));
    }
    *crash_fd = fd;
    return TINE_OK;
}

/* The worker was started as /proc/self/exe, which ps would show as "exe". */
static void process_name_set(void) {
    char path[PATH_MAX];
    if (!tine_process_executable(path, sizeof path)) return;
    char *slash = strrchr(path, '/');
    prctl(PR_SET_NAME, slash ? slash + 1 : path);
}

tine_error tine_lifeline_start(const char *endpoint, int *crash_fd, tine_run_log **log) {
    const char *given = getenv("TINE_LIFELINE");
    char *text = given ? strdup(given) : NULL;
    *crash_fd = -1;
    *log = NULL;
    if (given && !text) return tine_error_set(TINE_ENOMEM, "no memory for the lifeline");
    if (given) interrupt_ignore();
    unsetenv("TINE_WORKER");
    unsetenv("TINE_TOKEN");
    unsetenv("TINE_KEY");
    unsetenv("TINE_LIFELINE");
    if (!text) return TINE_OK;
    process_name_set();
    tine_error e = watchdog_start(text, endpoint, crash_fd, log);
    free(text);
    return e;
}
