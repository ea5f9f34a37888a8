/* A rank that is told to leave gives back what has not begun and ends with its job:
 *   mpirun -n 3 build/mpi/leave   (tests/launch/test_leave.c)
 *
 * Tasks that must not run twice are queued behind one that computes until a line comes from the
 * program's pipe, which all ranks of this host open by its path (argv[1]). */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/mpi/take.h"

enum { QUICK = 30 };

TINE_FUNCTION(rank_pid, "") {
    (void)task;
    return tine_int(getpid());
}

/* In poll, which a signal may interrupt. */
TINE_FUNCTION(rank_holds, "gate") {
    char byte;
    struct pollfd gate = {.fd = open(tine_arg_string(task, 0), O_RDWR | O_CLOEXEC),
                          .events = POLLIN};
    while (poll(&gate, 1, -1) < 0 && errno == EINTR) {
    }
    if (gate.fd >= 0 && read(gate.fd, &byte, 1) >= 0) close(gate.fd);
    return tine_int(getpid());
}

static int running_at(const tine_worker_status *w) {
    tine_worker_status now[2];
    size_t n = tine_workers(now, 2);
    for (size_t i = 0; i < n; i++)
        if (now[i].id == w->id) return now[i].running;
    return 0;
}

/* Returns once a task has come to the gate: one that has not begun would be given back, too. */
static int gate_of(const char *path) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) perror(path);
    return fd;
}

static void open_gate(int gate) {
    if (write(gate, "x", 1) != 1) perror("gate");
    close(gate);
}

static tine_future *hold(const tine_worker_status *w, const char *gate) {
    return tine_fork_with(TINE_FORK_OPTIONS(.worker = w->id), "rank_holds", gate);
}

/* argv[1], argv[2]: the gates of the two ranks. */
int main(int argc, char **argv) {
    tine_worker_status w[2];
    tine_future *f[QUICK];
    if (tine_init(&argc, argv, NULL) || argc < 3 || tine_workers(w, 2) != 2) {
        fprintf(stderr, "%s\n", tine_error_message());
        return 1;
    }
    for (int i = 0; i < 40; i++) { /* they are taken to be short, and queued at a worker */
        take(tine_fork("rank_pid"));
        take(tine_fork("rank_holds", "/dev/null"));
    }
    tine_future *leaves = hold(&w[0], argv[1]), *stays = hold(&w[1], argv[2]);
    int gates[] = {gate_of(argv[1]), gate_of(argv[2])};
    for (int i = 0; i < QUICK; i++) f[i] = tine_fork("rank_pid");
    printf("queued: %d\n", running_at(&w[0]) > 1);
    kill(w[0].pid, SIGTERM);
    open_gate(gates[1]);
    int elsewhere = take(stays) == w[1].pid;
    for (int i = 0; i < QUICK; i++) elsewhere += take(f[i]) == w[1].pid;
    printf("elsewhere: %d\n", elsewhere);
    printf("computes: %d\n", !tine_done(leaves));
    open_gate(gates[0]);
    printf("ended: %d\n", take(leaves) == w[0].pid);
    printf("others: %d\n", take(tine_fork("rank_pid")) == w[1].pid);
    return tine_shutdown();
}
