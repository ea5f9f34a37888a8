/* A worker's end of the lifeline. See spawn.h.
 *
 * The watchdog waits for two things, because each has a hole: the socket would stay open if the
 * coordinator forked a child that lives on with its descriptors, and a pidfd is not to be had on
 * old kernels. It ends the process with _exit: a computation or a lock held by another thread
 * cannot delay it. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "launch/spawn/spawn.h"
#include "launch/spawn/internal.h"
#include "runtime/value/state.h"

typedef struct watchdog {
    int lifeline, coordinator; /* descriptors; coordinator may be -1 */
    char endpoint[];
} watchdog;

int tine_pidfd_open(int pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }

static bool lifeline_ended(int fd) {
    char byte;
    ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

static void *watch(void *arg) {
    watchdog *w = arg;
    struct pollfd fds[2] = {{.fd = w->lifeline, .events = POLLIN},
                            {.fd = w->coordinator, .events = POLLIN}};
    for (;;) {
        if (poll(fds, 2, -1) < 0) continue;
        if (fds[1].revents || (fds[0].revents && lifeline_ended(w->lifeline))) break;
    }
    tine_private_remove_of(w->endpoint);
    _exit(1);
    return NULL;
}

/* "FD:PID", both as the supervisor wrote them; a socket it must be. */
static bool lifeline_parse(const char *text, int *fd, int *pid) {
    char rest;
    struct stat st;
    if (sscanf(text, "%d:%d%c", fd, pid, &rest) != 2 || *fd < 3 || *pid < 1) return false;
    return fstat(*fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

static int watch_start(watchdog *w) {
    pthread_t thread;
    pthread_attr_t attr;
    sigset_t all, before;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, 128 << 10 > PTHREAD_STACK_MIN ? 128 << 10
                                                                   : (size_t)PTHREAD_STACK_MIN);
    sigfillset(&all);
    /* the program's handlers are to run on its own threads */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int e = pthread_create(&thread, &attr, watch, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return e;
}

static void ignore_interrupt(void) {
    sigset_t interrupt;
    signal(SIGINT, SIG_IGN);
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    pthread_sigmask(SIG_UNBLOCK, &interrupt, NULL);
}

static tine_error watch_lifeline(const char *text, const char *endpoint, int *last_words) {
    int fd, pid;
    if (!lifeline_parse(text, &fd, &pid))
        return tine_error_set(
            TINE_EINVAL,
            "TINE_LIFELINE=%s: not a lifeline; this variable is set for workers only, unset it",
            text);
    size_t size = strlen(endpoint) + 1;
    watchdog *w = malloc(sizeof *w + size);
    if (!w) return tine_error_set(TINE_ENOMEM, "no memory for the watchdog");
    memcpy(w->endpoint, endpoint, size);
    w->lifeline = fd;
    w->coordinator = getppid() == pid ? tine_pidfd_open(pid) : -1;
    /* If the coordinator ended in between, the pidfd may be a stranger's; as a new parent tells. */
    if (w->coordinator >= 0 && getppid() != pid) {
        close(w->coordinator);
        w->coordinator = -1;
    }
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    int e = watch_start(w);
    if (e) {
        free(w);
        return tine_error_set(TINE_EIO, "cannot start the watchdog thread: %s", strerror(e));
    }
    *last_words = fd;
    return TINE_OK;
}

/* It was started as /proc/self/exe, so ps would say "exe". */
static void name_process(void) {
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n <= 0) return;
    path[n] = 0;
    char *slash = strrchr(path, '/');
    prctl(PR_SET_NAME, slash ? slash + 1 : path);
}

tine_error tine_lifeline_start(const char *endpoint, int *last_words) {
    const char *given = getenv("TINE_LIFELINE");
    char *text = given ? strdup(given) : NULL;
    if (given && !text) return tine_error_set(TINE_ENOMEM, "no memory for the lifeline");
    *last_words = -1;
    ignore_interrupt();
    unsetenv("TINE_WORKER");
    unsetenv("TINE_TOKEN");
    unsetenv("TINE_LIFELINE");
    if (!text) return TINE_OK;
    name_process();
    tine_error e = watch_lifeline(text, endpoint, last_words);
    free(text);
    return e;
}
