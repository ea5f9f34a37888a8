/* Ctrl-C in a real terminal ends a `tine worker` that was started by hand. */
#include <criterion/criterion.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/cluster.h"
#include "tests/support/program.h"

static pid_t terminal_worker(int *terminal) {
    char program[4096], endpoint[512];
    snprintf(program, sizeof program, "%s/tine", tine_program_build());
    snprintf(endpoint, sizeof endpoint, "%s", tine_endpoint());
    pid_t worker = forkpty(terminal, NULL, NULL, NULL);
    cr_assert_geq(worker, 0);
    if (worker == 0) {
        execl(program, "tine", "worker", endpoint, (char *)NULL);
        _exit(127);
    }
    return worker;
}

Test(worker_terminal, ctrl_c_ends_it, .timeout = 60) {
    int terminal, status;
    cluster_start_with(&(tine_options){.workers = -1});
    pid_t worker = terminal_worker(&terminal);
    tine_release(cluster_take(tine_fork("neg", 1))); /* it has joined */
    cr_assert_eq(write(terminal, "\3", 1), 1);
    cr_assert_eq(waitpid(worker, &status, 0), worker);
    cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT, "its status is %#x", status);
    close(terminal);
    cluster_stop();
}
