/* Results that workers of one host pass to each other, without the coordinator in between: a
 * stencil of tasks, each of which takes the results of both workers. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/cluster.h"
#include "tests/support/leftovers.h"
#include "tests/support/marks.h"
#include "transport/shm/lane.h"

enum { WORKERS = 2, STEPS = 300, DEATHS = 3 };
/* Of the stencil of large results: eight of them fill what two workers share. */
enum { WIDTH = 4, LARGE = 8000 };

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

/* One of the rings that this process shares with the other worker: they have the least capacity,
 * and lie 128 bytes behind the start of the mapping (FRAMING.md). */
static tine_shm_ring *ring_of_pair(void) {
    char line[512];
    uintptr_t from, to;
    unsigned long offset;
    tine_shm_ring *found = NULL;
    FILE *f = fopen("/proc/self/maps", "re");
    while (f && !found && fgets(line, sizeof line, f))
        if (strstr(line, "tine-lane") &&
            sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %*s %lx", &from, &to, &offset) == 3 &&
            offset == 0 && to - from <= 2 * TINE_SHM_MIN_CAPACITY)
            found = (void *)(from + 128);
    if (f) fclose(f);
    return found;
}
/* One of the two finds that no frame of the other one can arrive any more, which writes on. */
TINE_FUNCTION(pass_break, "") {
    tine_shm_ring *ring = ring_of_pair();
    if (!ring) return tine_fail(task, "there is no pair");
    atomic_fetch_add(&ring->written, UINT64_C(1) << 40);
    return tine_int(0);
}
static tine_value *large(int64_t head) {
    char bytes[LARGE] = {0};
    memcpy(bytes, &head, sizeof head);
    return tine_bytes(bytes, sizeof bytes);
}
static int64_t head_of(const tine_value *v) {
    size_t n = 0;
    int64_t head = -1;
    const void *bytes = tine_as_bytes(v, &n);
    if (bytes && n == LARGE) memcpy(&head, bytes, sizeof head);
    return head;
}
TINE_REPEATABLE_FUNCTION(pass_first, "column") { return large(tine_arg_int(task, 0)); }
TINE_REPEATABLE_FUNCTION(pass_large, "a, b, c, step") {
    int64_t head = tine_arg_int(task, 3);
    for (size_t i = 0; i < 3; i++) head = mixed(head, head_of(tine_arg(task, i)));
    return large(head);
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

/* ---- results that fill what two workers share, or find it broken ---- */

static uint64_t bytes_sent(void) {
    tine_worker_status now[WORKERS];
    uint64_t sum = 0;
    cr_assert_eq(tine_workers(now, WORKERS), WORKERS);
    for (int i = 0; i < WORKERS; i++) sum += now[i].bytes_sent;
    return sum;
}

static tine_future *large_next(tine_future *const *row, int column, int64_t step) {
    int left = (column + WIDTH - 1) % WIDTH, right = (column + 1) % WIDTH;
    return step == 0 ? tine_fork("pass_first", column)
                     : tine_fork("pass_large", row[left], row[column], row[right], step);
}

static void take_large(tine_future *f, int64_t expected) {
    tine_value *v;
    cr_assert_eq(tine_wait_for(f, 60, &v), TINE_OK, "%s", tine_error_message());
    cr_expect_eq(head_of(v), expected);
    tine_release(v);
    tine_release(f);
}

static void run_large(void) {
    tine_future *row[WIDTH] = {0}, *next[WIDTH];
    int64_t expected[WIDTH], sum[WIDTH];
    for (int64_t step = 0; step < STEPS; step++) {
        for (int i = 0; i < WIDTH; i++) {
            int inputs[] = {(i + WIDTH - 1) % WIDTH, i, (i + 1) % WIDTH};
            next[i] = large_next(row, i, step);
            cr_assert_not_null(next[i]);
            sum[i] = step ? step : i;
            for (int k = 0; step && k < 3; k++) sum[i] = mixed(sum[i], expected[inputs[k]]);
        }
        for (int i = 0; i < WIDTH; i++) tine_release(row[i]);
        memcpy(row, next, sizeof row);
        memcpy(expected, sum, sizeof expected);
    }
    for (int i = 0; i < WIDTH; i++) take_large(row[i], expected[i]);
}

static const uint64_t all_large = (uint64_t)(STEPS - 1) * WIDTH * LARGE;

/* False: this host has no lanes. */
static bool begin_paired(int64_t *before) {
    begin();
    *before = lanes_of(0);
    if (*before == 0) return false;
    take_of_both();
    for (int i = 0; i < WORKERS; i++)
        while (lanes_of(i) != 2 * *before) continue; /* the pair is being made */
    return true;
}

/* What finds no room is sent by the coordinator, which has to be told. */
Test(pass, a_stencil_whose_results_fill_the_memory_ends, .timeout = 300) {
    int64_t before;
    bool paired = begin_paired(&before);
    for (int round = 0; paired && round < 5; round++) {
        uint64_t sent = bytes_sent();
        run_large();
        sent = bytes_sent() - sent;
        cr_expect_lt(sent, all_large, "%llu of %llu bytes", (unsigned long long)sent,
                     (unsigned long long)all_large);
    }
    cluster_stop();
    if (!paired) cr_skip_test("this host has no lanes");
}

Test(pass, a_stencil_whose_workers_find_their_memory_broken_ends, .timeout = 300) {
    int64_t before;
    bool paired = begin_paired(&before);
    if (paired) {
        cr_assert_eq(cluster_take_int(
                         tine_fork_with(TINE_FORK_OPTIONS(.worker = workers[0].id), "pass_break")),
                     0);
        while (lanes_of(0) != before && lanes_of(1) != before) continue; /* one reads it */
        run_large();
    }
    cluster_stop();
    if (!paired) cr_skip_test("this host has no lanes");
}
