/* See signals.h. */
#include "launch/command/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

static int write_fd = -1;

/* A full pipe wakes its reader as well. */
static void caught_signal_write(int number, siginfo_t *info, void *unused) {
    tine_signal s = {.number = number, .by_kernel = info->si_code > 0};
    int saved = errno;
    (void)unused;
    ssize_t n = write(write_fd, &s, sizeof s);
    (void)n;
    errno = saved;
}

int tine_signals_catch(const int *numbers) {
    struct sigaction now, take = {.sa_sigaction = caught_signal_write,
                                  .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
    int fd[2];
    sigfillset(&take.sa_mask);
    if (pipe2(fd, O_CLOEXEC | O_NONBLOCK) != 0) return -1;
    write_fd = fd[1];
    for (; *numbers; numbers++) {
        bool ignored = sigaction(*numbers, NULL, &now) == 0 && now.sa_handler == SIG_IGN;
        if (!ignored || *numbers == SIGCHLD) sigaction(*numbers, &take, NULL);
    }
    return fd[0];
}

bool tine_signals_next(int fd, tine_signal *out) {
    return read(fd, out, sizeof *out) == (ssize_t)sizeof *out;
}
