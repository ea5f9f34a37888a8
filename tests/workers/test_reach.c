/* Large results that workers fetch from each other. Workers join over tcp:// without a lane, as
 * those of other hosts do. A gate is a task that waits for a byte in a FIFO: what it holds up is
 * forked while the results are still to be made. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/cluster.h"
#include "transport/base/process.h"
#include "workers/reach.h"

enum { WORKERS = 3, GATES = 3, WARM = 20, MIB = 1 << 20, BYTES = 10 * MIB, SMALL = MIB };

TINE_FUNCTION(reach_gate, "fifo") {
    char byte = 0;
    int fd = open(tine_arg_string(task, 0), O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, &byte, 1) != 1) return tine_fail(task, "the gate does not open");
    close(fd);
    return tine_int(byte);
}

static tine_value *filled(int byte) {
    int64_t n = BYTES;
    void *data;
    tine_value *v = tine_tensor_new(TINE_U8, 1, &n, &data);
    if (v) memset(data, byte, BYTES);
    return v;
}

TINE_REPEATABLE_FUNCTION(reach_make, "gate, byte") { return filled((int)tine_arg_int(task, 1)); }
TINE_FUNCTION(reach_make_once, "gate, byte") { return filled((int)tine_arg_int(task, 1)); }

/* The sum of all elements of the tensors among them. */
TINE_FUNCTION(reach_sum, "a, b, c, d, e, f") {
    int64_t sum = 0;
    for (size_t i = 0; i < 6; i++) {
        const tine_value *v = tine_arg(task, i);
        if (tine_kind_of(v) != TINE_TENSOR) continue;
        const uint8_t *data = tine_data(v);
        if (tine_elements(v) != BYTES) return tine_fail(task, "a tensor has another size");
        for (int64_t k = 0; k < BYTES; k++) sum += data[k];
    }
    return tine_int(sum);
}
TINE_FUNCTION(reach_ready, "") {
    (void)task;
    return tine_none();
}

static char dir[64], fifo[GATES][80];
static tine_worker_status workers[WORKERS];

static void nothing(void *ctx) { (void)ctx; }

#define ON(index, ...) tine_fork_with(TINE_FORK_OPTIONS(.worker = workers[index].id), __VA_ARGS__)

static void look(void) { cr_assert_eq(tine_workers(workers, WORKERS), WORKERS); }

/* Each worker has run a task: so it has said where others reach it. */
static void begin(void) {
    setenv("TINE_LANE", "off", 1);
    tine_options o = {.endpoint = "tcp://127.0.0.1:0", .workers = WORKERS};
    cluster_start_with(&o);
    look();
    for (int i = 0; i < WORKERS; i++) tine_release(cluster_take(ON(i, "reach_ready")));
    snprintf(dir, sizeof dir, "/tmp/tine-test-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
    for (int i = 0; i < GATES; i++) {
        snprintf(fifo[i], sizeof fifo[i], "%s/gate%d", dir, i);
        cr_assert_eq(mkfifo(fifo[i], 0600), 0);
    }
}

static void open_gate(int i) {
    int fd = open(fifo[i], O_WRONLY | O_CLOEXEC);
    cr_assert_eq(write(fd, "x", 1), 1);
    close(fd);
}

static void end(void) {
    for (int i = 0; i < GATES; i++) unlink(fifo[i]);
    cr_assert_eq(rmdir(dir), 0);
    cluster_stop();
}

static uint64_t through_coordinator(void) {
    uint64_t bytes = 0;
    look();
    for (int i = 0; i < WORKERS; i++) bytes += workers[i].bytes_received + workers[i].bytes_sent;
    return bytes;
}

Test(reach, a_reduction_does_not_pass_the_coordinator, .timeout = 60) {
    enum { N = 6 };
    begin();
    tine_future *gate = ON(0, "reach_gate", fifo[0]), *made[N];
    int64_t expected = 0;
    for (int i = 0; i < N; i++) {
        made[i] = ON(i % WORKERS, "reach_make", gate, i + 1);
        expected += (int64_t)(i + 1) * BYTES;
    }
    tine_future *sums[WORKERS];
    for (int i = 0; i < WORKERS; i++)
        sums[i] = ON(i, "reach_sum", made[0], made[1], made[2], made[3], made[4], made[5]);
    open_gate(0);
    for (int i = 0; i < WORKERS; i++) cr_expect_eq(cluster_take_int(sums[i]), expected);
    uint64_t bytes = through_coordinator();
    cr_expect_lt(bytes, SMALL, "%llu bytes went through the coordinator",
                 (unsigned long long)bytes);
    /* the program's own wait fetches one */
    tine_value *v;
    cr_assert_eq(tine_wait(made[4], &v), TINE_OK);
    cr_expect_eq(((const uint8_t *)tine_data(v))[BYTES - 1], 5);
    tine_release(v);
    bytes = through_coordinator();
    cr_expect(bytes >= BYTES && bytes < BYTES + SMALL);
    for (int i = 0; i < N; i++) tine_release(made[i]);
    tine_release(gate);
    end();
}

static uint32_t running(int worker) {
    look();
    return workers[worker].running;
}

/* A worker's task has begun when its gate can be opened: from here on the worker's progress thread
 * alone handles messages, until *gate is written to. */
static tine_future *busy(int worker, int *gate) {
    for (int i = 0; i < WARM; i++) { /* only behind what has been short a task is sent */
        tine_release(cluster_take(ON(worker, "reach_gate", "/dev/zero")));
        tine_release(cluster_take(ON(worker, "reach_ready")));
        tine_release(cluster_take(ON(worker, "reach_sum", 0, 0, 0, 0, 0, 0)));
    }
    tine_future *b = ON(worker, "reach_gate", fifo[1]);
    *gate = open(fifo[1], O_WRONLY | O_CLOEXEC);
    cr_assert_geq(*gate, 0);
    return b;
}

static void busy_end(tine_future *b, int gate) {
    cr_assert_eq(write(gate, "x", 1), 1);
    close(gate);
    cr_expect_eq(cluster_take_int(b), 'x');
}

Test(reach, a_wait_does_not_last_until_the_next_task_of_the_worker_that_has_the_result,
     .timeout = 60) {
    begin();
    int gate;
    tine_value *v;
    tine_future *first = ON(0, "reach_gate", fifo[0]), *made = ON(0, "reach_make_once", first, 3);
    tine_future *sum = ON(1, "reach_sum", made, 0, 0, 0, 0, 0), *behind;
    open_gate(0);
    cr_expect_eq(cluster_take_int(sum), 3 * BYTES);
    tine_future *b = busy(0, &gate);
    while (behind = ON(0, "reach_ready"), running(0) != 2) {
        busy_end(b, gate);
        tine_release(cluster_take(behind));
        b = busy(0, &gate);
    }
    cr_assert_eq(tine_wait(made, &v), TINE_OK);
    cr_expect_eq(((const uint8_t *)tine_data(v))[BYTES - 1], 3);
    tine_release(v);
    cr_assert(!tine_done(b));
    busy_end(b, gate);
    tine_release(cluster_take(behind));
    tine_release(made);
    tine_release(first);
    end();
}

/* Worker 0 is told to fetch from worker 1 while its own task runs. Worker 1 is stopped, so it does
 * not answer, and then killed. */
Test(reach, a_task_is_run_again_while_the_worker_that_was_to_fetch_its_result_computes,
     .timeout = 60) {
    begin();
    int gate;
    tine_value *v;
    tine_future *first = ON(1, "reach_gate", fifo[0]), *made = tine_fork("reach_make", first, 3);
    tine_future *later = ON(2, "reach_gate", fifo[2]), *sum;
    tine_future *other = ON(2, "reach_sum", made, later, 0, 0, 0, 0);
    cr_assert_eq(running(1), 1);
    uint64_t before = workers[1].tasks_done;
    open_gate(0);
    cr_assert_eq(tine_wait_any(&made, 1, NULL), TINE_OK);
    look();
    cr_assert_eq(workers[1].tasks_done, before + 2, "it is made elsewhere");
    cr_assert_eq(kill(workers[1].pid, SIGSTOP), 0);
    tine_future *b = busy(0, &gate);
    while (sum = ON(0, "reach_sum", made, 0, 0, 0, 0, 0), running(0) != 2) {
        tine_cancel(sum, 0);
        tine_release(sum);
        busy_end(b, gate);
        b = busy(0, &gate);
    }
    cr_assert_eq(kill(workers[1].pid, SIGKILL), 0);
    cr_assert_eq(tine_wait(made, &v), TINE_OK, "%s", tine_error_message());
    cr_expect_eq(((const uint8_t *)tine_data(v))[BYTES - 1], 3);
    tine_release(v);
    cr_assert(!tine_done(b));
    busy_end(b, gate);
    cr_expect_eq(cluster_take_int(sum), 3 * BYTES);
    open_gate(2);
    cr_expect_eq(cluster_take_int(other), 3 * BYTES);
    tine_release(later);
    tine_release(made);
    tine_release(first);
    end();
}

/* libzmq would abort. */
Test(reach, without_descriptors_nothing_is_fetched, .timeout = 20) {
    enum { SPARE = 10 };
    tine_transport_config config = {0};
    tine_reach *r = tine_reach_new(&config, nothing, NULL);
    struct rlimit before, few;
    size_t limit, left = tine_process_descriptors(0, &limit);
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = (struct rlimit){limit - left + SPARE, limit - left + SPARE};
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    tine_reach_fetch(r, 6, 7, "tcp://127.0.0.1:9");
    tine_reached out;
    cr_assert(tine_reach_take(r, &out));
    cr_expect(out.id == 6 && !out.payload && out.own);
    cr_expect(strstr(out.why, "no file descriptors left"), "%s", out.why);
    uint64_t secret;
    char why[160];
    cr_expect_null(tine_reach_listen(r, "tcp://127.0.0.1:0", &secret, why, sizeof why));
    cr_expect(strstr(why, "no file descriptors left"), "%s", why);
    tine_reach_free(r);
}

/* A worker that joined over tcp may say that it is one. */
Test(reach, a_rank_is_no_source_of_a_worker_that_is_none, .timeout = 20) {
    tine_reach *r = tine_reach_new(&(tine_transport_config){0}, nothing, NULL);
    tine_reached out;
    tine_reach_fetch(r, 6, 7, "mpi://2");
    cr_assert(tine_reach_take(r, &out));
    cr_expect(out.id == 6 && !out.payload && out.own);
    cr_expect(strstr(out.why, "this worker is none"), "%s", out.why);
    tine_reach_free(r);
}

/* The worker that has a result is killed before another one fetches it: worker 0 or 1, as the other
 * one waits at a gate. What the task that takes it gives, or why it fails, as a text. */
static void holder_dies(const char *make, char *text, size_t size) {
    begin();
    tine_future *gate = ON(0, "reach_gate", fifo[0]), *later = ON(2, "reach_gate", fifo[1]);
    tine_future *made = tine_fork(make, gate, 3);
    tine_future *sum = ON(2, "reach_sum", made, later, 0, 0, 0, 0);
    open_gate(0);
    cr_assert_eq(tine_wait_any(&made, 1, NULL), TINE_OK);
    cr_assert_lt(through_coordinator(), SMALL, "it stays");
    int holder = workers[0].tasks_done == 3 ? 0 : 1;
    cr_assert_eq(kill(workers[holder].pid, SIGKILL), 0);
    open_gate(1);
    tine_value *v = NULL;
    if (tine_wait(sum, &v) == TINE_OK)
        snprintf(text, size, "%lld", (long long)tine_as_int(v));
    else
        snprintf(text, size, "%s", tine_error_message());
    if (v) tine_release(v);
    tine_release(sum);
    tine_release(made);
    tine_release(later);
    tine_release(gate);
    end();
}

Test(reach, a_repeatable_task_is_run_again_when_its_result_is_lost, .timeout = 60) {
    char text[400], sum[32];
    holder_dies("reach_make", text, sizeof text);
    snprintf(sum, sizeof sum, "%d", 3 * BYTES);
    cr_expect_str_eq(text, sum);
}

Test(reach, what_takes_a_lost_result_fails_with_the_name_of_its_task, .timeout = 60) {
    char text[400];
    holder_dies("reach_make_once", text, sizeof text);
    cr_expect(strstr(text, "the result of task \"reach_make_once\" was lost on worker pid"), "%s",
              text);
}
