/* Results that workers of one host pass to each other, without the coordinator in between: a
 * stencil of tasks, each of which takes the results of both workers. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/cluster.h"
#include "tests/support/leftovers.h"
#include "tests/support/marks.h"

enum { WORKERS = 2, STEPS = 300, DEATHS = 3 };

static int64_t mixed(int64_t a, int64_t b) { return (a * 31 + b + 7) % 1000003; }

TINE_REPEATABLE_FUNCTION(pass_mix, "a, b") {
    return tine_int(mixed(tine_arg_int(task, 0), tine_arg_int(task, 1)));
}
/* The first one of each path kills its worker. */
TINE_REPEATABLE_FUNCTION(pass_die, "a, b, path") {
    if (marks_add(tine_arg_string(task, 2), "x") == 1) kill(getpid(), SIGKILL);
    return tine_int(mixed(tine_arg_int(task, 0), tine_arg_int(task, 1)));
}
TINE_FUNCTION(pass_gate, "fifo") {
    char byte = 0;
    int fd = open(tine_arg_string(task, 0), O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, &byte, 1) != 1) return tine_fail(task, "the gate does not open");
    close(fd);
    return tine_int(byte);
}
/* What its process has mapped of lanes. */
TINE_FUNCTION(pass_lanes, "") {
    (void)task;
    return tine_int(leftover_mappings("tine-lane"));
}

static tine_worker_status workers[WORKERS];

static void begin(void) {
    tine_options o = {.workers = WORKERS, .retries = 100};
    cluster_start_with(&o);
    cr_assert_eq(tine_workers(workers, WORKERS), WORKERS);
}

static tine_future *on(int i, const char *name, const char *path) {
    return tine_fork_with(TINE_FORK_OPTIONS(.worker = workers[i].id), name, path);
}

static int64_t lanes_of(int i) {
    return cluster_take_int(
        tine_fork_with(TINE_FORK_OPTIONS(.worker = workers[i].id), "pass_lanes"));
}

/* A task that takes results of both workers is forked before they are made. */
static void take_of_both(void) {
    char dir[] = "/tmp/tine-test-XXXXXX", fifo[WORKERS][64];
    tine_future *gates[WORKERS];
    cr_assert_not_null(mkdtemp(dir));
    for (int i = 0; i < WORKERS; i++) {
        snprintf(fifo[i], sizeof fifo[i], "%s/%d", dir, i);
        cr_assert_eq(mkfifo(fifo[i], 0600), 0);
        gates[i] = on(i, "pass_gate", fifo[i]);
    }
    tine_future *both = tine_fork("pass_mix", gates[0], gates[1]);
    for (int i = 0; i < WORKERS; i++) {
        int fd = open(fifo[i], O_WRONLY | O_CLOEXEC);
        cr_assert_eq(write(fd, "x", 1), 1);
        close(fd);
        unlink(fifo[i]);
        tine_release(gates[i]);
    }
    cr_assert_eq(cluster_take_int(both), mixed('x', 'x'));
    cr_assert_eq(rmdir(dir), 0);
}

Test(pass, workers_share_memory_once_one_waits_for_the_other, .timeout = 60) {
    begin();
    int64_t before = lanes_of(0);
    if (before == 0) {
        cluster_stop();
        cr_skip_test("this host has no lanes");
    }
    take_of_both();
    for (int i = 0; i < WORKERS; i++)
        while (lanes_of(i) != 2 * before) continue; /* the pair is being made */
    take_of_both();
    cluster_stop();
}

static tine_future *step_next(tine_future *const *row, int column, int64_t step, bool deaths) {
    static const char *const names[DEATHS] = {"0", "1", "2"};
    bool dies = deaths && column == 0 && step % (STEPS / DEATHS) == STEPS / DEATHS / 2;
    return dies ? tine_fork("pass_die", row[0], row[1], marks_path(names[step / (STEPS / DEATHS)]))
                : tine_fork("pass_mix", row[column], row[1 - column]);
}

static void run_stencil(bool deaths) {
    tine_future *row[2] = {tine_fork("pass_mix", 1, 2), tine_fork("pass_mix", 3, 4)}, *next[2];
    int64_t expected[2] = {mixed(1, 2), mixed(3, 4)};
    for (int64_t step = 0; step < STEPS; step++) {
        int64_t a = expected[0], b = expected[1];
        for (int i = 0; i < 2; i++) next[i] = step_next(row, i, step, deaths);
        for (int i = 0; i < 2; i++) {
            tine_release(row[i]);
            row[i] = next[i];
        }
        expected[0] = mixed(a, b);
        expected[1] = mixed(b, a);
    }
    for (int i = 0; i < 2; i++) cr_expect_eq(cluster_take_int(row[i]), expected[i]);
}

Test(pass, a_stencil_has_the_same_values_when_workers_die_in_it, .timeout = 120) {
    begin();
    marks_start();
    for (int round = 0; round < 3; round++) run_stencil(false);
    run_stencil(true);
    for (int i = 0; i < DEATHS; i++)
        cr_expect_geq(marks_size((const char *[]){"0", "1", "2"}[i]), 2, "a worker died, and more");
    run_stencil(false);
    marks_end();
    cluster_stop();
}
