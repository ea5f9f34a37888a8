/* Waiting for workers that do not come is told in the log. */
#include <criterion/criterion.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/capture.h"
#include "tests/support/cluster.h"

TINE_FUNCTION(waiting_next, "i") { return tine_int(tine_arg_int(task, 0) + 1); }

static int log_end; /* of a pipe that standard error goes to */

/* The next line, which must come within 20 s. */
static const char *next_line(void) {
    static char line[2048];
    struct pollfd p = {.fd = log_end, .events = POLLIN};
    cr_assert_eq(poll(&p, 1, 20000), 1, "nothing was told");
    ssize_t n = read(log_end, line, sizeof line - 1);
    cr_assert_gt(n, 0);
    line[n] = 0;
    return line;
}

Test(waiting, tasks_without_workers_are_told_again_and_run_when_one_joins, .timeout = 60) {
    char want[300], variable[300];
    tine_options o = {.workers = -1, .endpoint = "tcp://127.0.0.1:0"};
    log_end = capture_pipe();
    cluster_start_with(&o);
    tine_future *f = tine_fork("waiting_next", 1);
    snprintf(want, sizeof want,
             "1 task waits for a worker; none is connected; start `tine worker %s`",
             tine_endpoint());
    for (int i = 0; i < 2; i++) {
        const char *line = next_line();
        cr_expect(strstr(line, want), "%s", line);
    }
    cr_assert_eq(tine_wait_for(f, 0.5, NULL), TINE_ETIMEDOUT);
    struct pollfd p = {.fd = log_end, .events = POLLIN};
    cr_expect_eq(poll(&p, 1, 0), 0, "it was told a third time already");
    pid_t pid;
    char *argv[] = {"program", NULL};
    snprintf(variable, sizeof variable, "%s", tine_endpoint());
    setenv("TINE_WORKER", variable, 1);
    cr_assert_eq(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ), 0);
    unsetenv("TINE_WORKER");
    cr_assert_eq(cluster_take_int(f), 2);
    cluster_stop();
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
}

Test(waiting, an_init_that_awaits_workers_tells_how_many, .timeout = 60) {
    tine_options o = {.workers = 1, .await_workers = 3, .connect_timeout = 3};
    log_end = capture_pipe();
    unsetenv("BXFI_MAP");
    cr_assert_eq(tine_init(NULL, NULL, &o), TINE_ETIMEDOUT);
    const char *line = next_line();
    cr_expect(strstr(line, "tine_init waits for 3 workers; 1 have joined; start `tine worker "),
              "%s", line);
}

Test(waiting, nothing_is_told_where_workers_are_there, .timeout = 60) {
    tine_options o = {.workers = 1};
    log_end = capture_pipe();
    cluster_start_with(&o);
    cr_assert_eq(cluster_take_int(tine_fork("waiting_next", 1)), 2);
    struct pollfd p = {.fd = log_end, .events = POLLIN};
    cr_expect_eq(poll(&p, 1, 2300), 0, "%s", next_line()); /* longer than it takes to be told */
    cluster_stop();
}
