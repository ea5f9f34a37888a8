/* A worker whose coordinator dies ends by itself, whatever its tasks do. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/cluster.h"

/* A tree that says when some hundred of its tasks have run. */
TINE_FUNCTION(lost_tree, "n") {
    static atomic_int ran;
    int64_t n = tine_arg_int(task, 0);
    if (atomic_fetch_add(&ran, 1) == 500 && write(STDOUT_FILENO, "x", 1) != 1) abort();
    if (n < 2) return tine_none();
    tine_future *left = tine_fork("lost_tree", n - 1), *right = tine_fork("lost_tree", n - 2);
    return tine_wait(left, NULL) || tine_wait(right, NULL) ? NULL : tine_none();
}

/* Computes until it is told that nobody wants its result. */
TINE_FUNCTION(lost_poll, "") {
    if (write(STDOUT_FILENO, "x", 1) != 1) abort();
    while (!tine_cancelled(task)) {
    }
    return tine_none();
}

int test_program(void) {
    if (tine_init(NULL, NULL, NULL)) return 1;
    tine_future *f = getenv("LOST_POLL") ? tine_fork("lost_poll") : tine_fork("lost_tree", 60);
    return tine_wait(f, NULL) != TINE_OK;
}

static void coordinator_is_killed(void) {
    char dir[] = "/tmp/tine-lost-XXXXXX", url[80], byte;
    int of_coordinator, of_worker, status;
    cr_assert_not_null(mkdtemp(dir));
    snprintf(url, sizeof url, "ipc://%s/socket", dir);
    setenv("TINE_ENDPOINT", url, 1);
    setenv("TINE_WORKERS", "0", 1);
    pid_t coordinator = cluster_program(&of_coordinator);
    unsetenv("TINE_ENDPOINT");
    unsetenv("TINE_WORKERS");
    setenv("TINE_WORKER", url, 1);
    pid_t worker = cluster_program(&of_worker);
    unsetenv("TINE_WORKER");
    cr_assert_eq(read(of_worker, &byte, 1), 1);
    kill(coordinator, SIGKILL);
    cr_assert_eq(waitpid(coordinator, &status, 0), coordinator);
    cr_assert(WIFSIGNALED(status), "it was killed while tasks ran");
    cr_assert_eq(waitpid(worker, &status, 0), worker);
    cr_expect(WIFEXITED(status), "the worker died of signal %d", WTERMSIG(status));
    close(of_coordinator);
    close(of_worker);
    unlink(url + 6);
    rmdir(dir);
}

/* Its local tasks end after it has cancelled their futures. */
Test(lost, while_local_tasks_run, .timeout = 60) { coordinator_is_killed(); }

/* Its thread reads the loss in the middle of the task, and the progress thread must not have the
 * connection before it has read on. */
Test(lost, while_a_task_polls_for_its_cancellation, .timeout = 60) {
    setenv("LOST_POLL", "1", 1);
    coordinator_is_killed();
    unsetenv("LOST_POLL");
}
