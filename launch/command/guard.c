/* See guard.h. */
#include "launch/command/guard.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launch/spawn/descendants.h"

/* In a group of its own, which neither a terminal nor `timeout` sends a signal. */
static void guard_run(const tine_guard *g, int end) {
    char byte;
    setpgid(0, 0);
    prctl(PR_SET_NAME, "tine guard");
    dup2(end, STDIN_FILENO);
    closefrom(STDIN_FILENO + 1);
    ssize_t n;
    while ((n = read(STDIN_FILENO, &byte, 1)) < 0 && errno == EINTR) {
    }
    if (n <= 0) tine_descendants_kill((const char *[]){g->mark}, 1);
    _exit(0);
}

static bool guard_mark(tine_guard *g) {
    unsigned long long number[2];
    if (getrandom(number, sizeof number, 0) != (ssize_t)sizeof number) return false;
    snprintf(g->mark, sizeof g->mark, "%016llx%016llx", number[0], number[1]);
    g->variable = tine_descendants_variable(getenv(TINE_DESCENDANTS_MARK), g->mark);
    return g->variable;
}

bool tine_guard_start(tine_guard *g) {
    int ends[2];
    if (!guard_mark(g)) return false;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) goto fail;
    g->pid = fork();
    if (g->pid == 0) guard_run(g, ends[0]);
    close(ends[0]);
    g->fd = ends[1];
    if (g->pid > 0) return true;
    close(g->fd);
fail:
    free(g->variable);
    return false;
}

void tine_guard_end(tine_guard *g, bool kill_marked) {
    if (kill_marked) tine_descendants_kill((const char *[]){g->mark}, 1);
    if (send(g->fd, "", 1, MSG_NOSIGNAL) == 1) waitpid(g->pid, NULL, 0);
    close(g->fd);
    free(g->variable);
}
