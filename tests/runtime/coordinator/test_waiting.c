/* Waiting for workers that do not come is told in the log. */
#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/capture.h"
#include "tests/support/cluster.h"
#include "transport/base/clock.h"

TINE_FUNCTION(waiting_next, "i") { return tine_int(tine_arg_int(task, 0) + 1); }

static int log_end; /* of a pipe that standard error goes to */

/* The next line, which must come within 20 s. */
static const char *next_line(void) {
    static char line[2048];
    struct pollfd p = {.fd = log_end, .events = POLLIN};
    size_t n = 0;
    do {
        cr_assert_lt(n, sizeof line - 1);
        cr_assert_eq(poll(&p, 1, 20000), 1, "nothing was told");
        cr_assert_eq(read(log_end, line + n, 1), 1);
    } while (line[n++] != '\n');
    line[n] = 0;
    return line;
}

static bool told_within(int ms) {
    struct pollfd p = {.fd = log_end, .events = POLLIN};
    return poll(&p, 1, ms) == 1;
}

/* This program as a worker. */
static pid_t start_worker(const char *url) {
    pid_t pid;
    char variable[300], *argv[] = {"program", NULL}, *env[200];
    size_t n = 0;
    for (char **e = environ; *e; e++) {
        cr_assert_lt(n, sizeof env / sizeof *env - 2);
        if (strncmp(*e, "BXFI_MAP=", 9) != 0) env[n++] = *e;
    }
    snprintf(variable, sizeof variable, "TINE_WORKER=%s", url);
    env[n++] = variable;
    env[n] = NULL;
    cr_assert_eq(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, env), 0);
    return pid;
}

static void await_end(pid_t pid) {
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
}

/* It is told after 2, 6 and 14 s. */
Test(waiting, tasks_without_workers_are_told_again_and_run_when_one_joins, .timeout = 60) {
    char want[300];
    tine_options o = {.workers = -1, .endpoint = "tcp://127.0.0.1:0"};
    log_end = capture_pipe();
    cluster_start_with(&o);
    int64_t began = tine_clock_ns();
    tine_future *f = tine_fork("waiting_next", 1);
    snprintf(want, sizeof want,
             "1 task waits for a worker; none is connected; start `tine worker %s`",
             tine_endpoint());
    for (int i = 0; i < 2; i++) {
        const char *line = next_line();
        cr_expect(strstr(line, want), "%s", line);
    }
    cr_assert_eq(tine_wait_for(f, 0.5, NULL), TINE_ETIMEDOUT);
    bool again = told_within(0);
    cr_expect(!again || tine_clock_ns() - began > INT64_C(14000000000),
              "it was told a third time already");
    pid_t pid = start_worker(tine_endpoint());
    cr_assert_eq(cluster_take_int(f), 2);
    cluster_stop();
    await_end(pid);
}

static void *init_in_a_thread(void *error) {
    tine_options o = {.workers = 1, .await_workers = 3, .connect_timeout = 60};
    *(tine_error *)error = tine_init(NULL, NULL, &o);
    if (*(tine_error *)error == TINE_OK) cluster_stop();
    return NULL;
}

/* The one that it starts may take longer than it takes to be told at first. */
Test(waiting, an_init_that_awaits_workers_tells_how_many, .timeout = 60) {
    pthread_t thread;
    tine_error error = TINE_OK;
    const char *line, *url;
    char copy[300];
    log_end = capture_pipe();
    unsetenv("BXFI_MAP");
    cr_assert_eq(pthread_create(&thread, NULL, init_in_a_thread, &error), 0);
    do {
        line = next_line();
        cr_expect(strstr(line, "tine_init waits for 3 workers; "), "%s", line);
        url = strstr(line, " have joined; start `tine worker ");
        cr_assert(url, "%s", line);
    } while (strncmp(url - 3, "; 0", 3) == 0);
    cr_expect(strncmp(url - 3, "; 1", 3) == 0, "%s", line);
    cr_assert_eq(sscanf(url, " have joined; start `tine worker %299[^`]", copy), 1);
    pid_t others[] = {start_worker(copy), start_worker(copy)};
    pthread_join(thread, NULL);
    cr_expect_eq(error, TINE_OK);
    for (int i = 0; i < 2; i++) await_end(others[i]);
}

Test(waiting, an_init_whose_workers_do_not_come_ends_in_time, .timeout = 60) {
    tine_options o = {.workers = -1, .await_workers = 1, .connect_timeout = 0.1};
    cr_assert_eq(tine_init(NULL, NULL, &o), TINE_ETIMEDOUT);
    cr_expect(strstr(tine_error_message(), "0 of 1 workers have joined within 0.1 s"), "%s",
              tine_error_message());
}

Test(waiting, nothing_is_told_where_workers_are_there, .timeout = 60) {
    tine_options o = {.workers = 1};
    log_end = capture_pipe();
    cluster_start_with(&o);
    while (told_within(0)) { /* the worker has taken long to start */
        const char *line = next_line();
        cr_expect(strstr(line, "; 0 have joined"), "%s", line);
    }
    cr_assert_eq(cluster_take_int(tine_fork("waiting_next", 1)), 2);
    cr_expect(!told_within(2300), "%s", next_line()); /* longer than it takes to be told */
    cluster_stop();
}
