/* See leave.h.
 *
 * The handlers write the signal into a pipe; a thread of its own reads it, because the worker's
 * thread may run a task for as long as the grace lasts. They are installed only in a process that
 * serves to its end, so the program never gets to see that its dispositions have changed.
 *
 * A rank cannot end before its job does: having left it waits in MPI_Finalize. Its launcher's
 * SIGTERM means that the job ends, and is not taken. */
#include "launch/leave.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "transport/base/log.h"
#include "transport/base/thread.h"
#include "transport/daemon.h"

/* A worker that is still there after this time says what it waits for. */
enum { TELL_MS = 1000 };

static struct {
    tine_leave leave;
    int pipe[2]; /* the reading end, the writing end */
    double grace;
    int rank; /* negative: none */
    tine_run_log *log;
    atomic_bool interrupt; /* SIGINT is taken */
    pid_t launcher;
    atomic_bool leaving;
} leave_state = {.leave = TINE_LEAVE_INITIALIZER};

/* Sent by the rank's launcher, or from another namespace of processes, as the launcher may be. */
static bool leave_is_end_of_job(const siginfo_t *info) {
    return leave_state.rank >= 0 && (info->si_pid == leave_state.launcher || info->si_pid == 0);
}

static void leave_on_signal(int number, siginfo_t *info, void *unused) {
    int saved = errno;
    (void)unused;
    if (leave_is_end_of_job(info) ||
        (atomic_exchange(&leave_state.leaving, true) && number == SIGINT)) {
        signal(number, SIG_DFL);
        raise(number); /* comes when this handler returns */
        errno = saved;
        return;
    }
    unsigned char byte = (unsigned char)number;
    if (write(leave_state.pipe[1], &byte, 1) < 0) errno = 0; /* it is full: one has been written */
    errno = saved;
}

/* False: the worker has ended its connection, and is about to exit. */
static bool leave_wait(double seconds) {
    double ms = seconds * 1000;
    poll(NULL, 0, ms < INT_MAX ? (int)ms : INT_MAX);
    return tine_leave_connected(&leave_state.leave);
}

static int leave_signal_read(void) {
    unsigned char byte = 0;
    while (read(leave_state.pipe[0], &byte, 1) < 0 && errno == EINTR) {
    }
    return byte;
}

static void leave_rank(void) {
    leave_signal_read();
    tine_log(TINE_LOG_WARN,
             "worker: SIGTERM: rank %d takes no more tasks; a rank cannot leave its job, and ends "
             "with it (the workers of `tine run --survive` can)",
             leave_state.rank);
    tine_leave_ask(&leave_state.leave);
}

static void *leave_main(void *arg) {
    (void)arg;
    if (leave_state.rank >= 0) {
        leave_rank();
        return NULL;
    }
    const char *name = leave_signal_read() == SIGINT ? "SIGINT" : "SIGTERM";
    double grace = leave_state.grace, tell = grace < TELL_MS / 1e3 ? grace : TELL_MS / 1e3;
    if (leave_state.log) atomic_store(&leave_state.log->leaves, 1);
    if (!tine_leave_ask(&leave_state.leave)) _exit(0);
    if (!leave_wait(tell)) return NULL;
    if (grace > tell)
        tine_log(TINE_LOG_WARN,
                 "worker: %s: it takes no more tasks, and waits up to %g s for those that run "
                 "(TINE_GRACE)%s",
                 name, grace, leave_state.interrupt ? "; SIGINT (Ctrl-C) ends it at once" : "");
    if (!leave_wait(grace - tell)) return NULL;
    tine_log(TINE_LOG_ERROR,
             "worker: %s: tasks have not ended within %g s (TINE_GRACE); the worker ends, and they "
             "are lost",
             name, grace);
    tine_log_flush();
    _exit(1);
}

/* False: the program handles or ignores it. */
static bool leave_install(int number) {
    struct sigaction now,
        leave = {.sa_sigaction = leave_on_signal, .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
    sigemptyset(&leave.sa_mask);
    if (sigaction(number, NULL, &now) != 0 || now.sa_flags & SA_SIGINFO ||
        now.sa_handler != SIG_DFL)
        return false;
    return sigaction(number, &leave, NULL) == 0;
}

tine_leave *tine_leave_on_signals(double grace, int rank, tine_run_log *log) {
    char name[32];
    leave_state.grace = grace;
    leave_state.rank = rank;
    leave_state.log = log;
    if (rank >= 0) leave_state.launcher = tine_daemon_find(name);
    if (pipe2(leave_state.pipe, O_CLOEXEC) != 0) return NULL;
    if (fcntl(leave_state.pipe[1], F_SETFL, O_NONBLOCK) != 0 ||
        tine_thread_start_detached("tine leave", leave_main, NULL) != 0) {
        close(leave_state.pipe[0]);
        close(leave_state.pipe[1]);
        return NULL;
    }
    leave_install(SIGTERM);
    leave_state.interrupt = rank < 0 && leave_install(SIGINT);
    return &leave_state.leave;
}
