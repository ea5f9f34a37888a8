/* Ctrl-C in a real terminal has a worker that was started by hand leave; the second one ends it. */
#include <criterion/criterion.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/cluster.h"
#include "tests/support/marks.h"
#include "tests/support/program.h"

TINE_FUNCTION(terminal_holds, "begun") {
    marks_add(tine_arg_string(task, 0), "x");
    while (pause()) {
    }
    return NULL;
}

int test_program(void) {
    tine_init(NULL, NULL, NULL);
    return 3; /* it is no worker */
}

/* `tine worker`, or this program as a worker. */
static pid_t terminal_worker(int *terminal, bool command) {
    char program[4096], endpoint[512];
    snprintf(program, sizeof program, "%s/tine", tine_program_build());
    snprintf(endpoint, sizeof endpoint, "%s", tine_endpoint());
    pid_t worker = forkpty(terminal, NULL, NULL, NULL);
    cr_assert_geq(worker, 0);
    if (worker == 0) {
        setenv("TINE_WORKER", endpoint, 1);
        setenv("TEST_PROGRAM", "1", 1);
        execl(command ? program : "/proc/self/exe", "tine", "worker", endpoint, (char *)NULL);
        _exit(127);
    }
    return worker;
}

Test(worker_terminal, an_idle_worker_leaves_at_ctrl_c, .timeout = 60) {
    int terminal, status;
    cluster_start_with(&(tine_options){.workers = -1});
    pid_t worker = terminal_worker(&terminal, true);
    tine_release(cluster_take(tine_fork("neg", 1))); /* it has joined */
    cr_assert_eq(write(terminal, "\3", 1), 1);
    cr_assert_eq(waitpid(worker, &status, 0), worker);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "its status is %#x", status);
    close(terminal);
    cluster_stop();
}

Test(worker_terminal, a_second_ctrl_c_ends_it_at_once, .timeout = 60) {
    int terminal, status;
    char said[2000] = "";
    marks_start();
    cluster_start_with(&(tine_options){.workers = -1});
    pid_t worker = terminal_worker(&terminal, false);
    tine_future *f = tine_fork("terminal_holds", marks_path("begun"));
    marks_await("begun", 1);
    cr_assert_eq(write(terminal, "\3", 1), 1);
    for (size_t n = 0; !strstr(said, "(Ctrl-C)");) {
        ssize_t got = read(terminal, said + n, sizeof said - 1 - n);
        cr_assert_gt(got, 0, "it said: %s", said);
        n += (size_t)got;
    }
    cr_assert_eq(write(terminal, "\3", 1), 1);
    cr_assert_eq(waitpid(worker, &status, 0), worker);
    cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT, "its status is %#x", status);
    cr_assert_eq(tine_wait(f, NULL), TINE_ELOST);
    close(terminal);
    cluster_stop();
    marks_end();
}
