/* Large results that go from rank to rank. Run with 4 ranks by tests/transport/mpi/test_join.c
 * (`reach DIR reduce`) and, on three hosts, by tests/check_hosts (`reach DIR lost`).
 *
 * reduce: 6 results of 10 MB are reduced at each of three workers, while the workers compute that
 * made them. What the coordinator has sent and received is counted.
 *
 * lost: two results stay at worker 2, which runs a task and is cut off. The tasks that take them
 * wait at a gate of worker 3 until the test opens it (DIR/gate1, then DIR/gate0 of worker 1). */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/tine.h"
#include "tests/mpi/take.h"

enum { WORKERS = 3, GATES = 3, N = 6, BYTES = 10 << 20, SMALL = 1 << 20 };

TINE_FUNCTION(gate, "fifo") {
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

TINE_REPEATABLE_FUNCTION(make, "gate, byte") { return filled((int)tine_arg_int(task, 1)); }
TINE_FUNCTION(make_once, "gate, byte") { return filled((int)tine_arg_int(task, 1)); }

TINE_FUNCTION(reduce, "a, b, c, d, e, f") {
    int64_t sum = 0;
    for (size_t i = 0; i < N; i++) {
        const tine_value *v = tine_arg(task, i);
        const uint8_t *data = tine_kind_of(v) == TINE_TENSOR ? tine_data(v) : NULL;
        for (int64_t k = 0; data && k < BYTES; k++) sum += data[k];
    }
    return tine_int(sum);
}

static tine_worker_status workers[WORKERS]; /* by rank: which joined first is not known */
static char fifo[GATES][256];

static int rank_compare(const void *a, const void *b) {
    return ((const tine_worker_status *)a)->rank - ((const tine_worker_status *)b)->rank;
}

static bool workers_look(void) {
    bool all = tine_workers(workers, WORKERS) == WORKERS;
    qsort(workers, WORKERS, sizeof *workers, rank_compare);
    return all;
}

#define ON(index, ...) tine_fork_with(TINE_FORK_OPTIONS(.worker = workers[index].id), __VA_ARGS__)

/* Returns when the gate's task runs. */
static int gate_enter(int i) { return open(fifo[i], O_WRONLY | O_CLOEXEC); }

static bool gate_open(int fd) {
    bool opened = fd >= 0 && write(fd, "x", 1) == 1;
    if (fd >= 0) close(fd);
    return opened;
}

static unsigned long long through_coordinator(void) {
    unsigned long long bytes = 0;
    workers_look();
    for (int i = 0; i < WORKERS; i++) bytes += workers[i].bytes_received + workers[i].bytes_sent;
    return bytes;
}

static bool reduce_everywhere(void) {
    tine_future *first = ON(0, "gate", fifo[0]), *made[N], *sums[WORKERS];
    int64_t expected = 0;
    for (int i = 0; i < N; i++) {
        made[i] = ON(i % WORKERS, "make", first, i + 1);
        expected += (int64_t)(i + 1) * BYTES;
    }
    for (int i = 0; i < WORKERS; i++)
        sums[i] = ON(i, "reduce", made[0], made[1], made[2], made[3], made[4], made[5]);
    bool right = gate_open(gate_enter(0));
    for (int i = 0; i < WORKERS; i++) right &= take(sums[i]) == expected;
    for (int i = 0; i < N; i++) tine_release(made[i]);
    tine_release(first);
    return right;
}

/* Worker 1 takes what worker 0 has made, while worker 0 runs a task that ends afterwards. */
static bool fetch_from_a_busy_worker(void) {
    tine_future *first = ON(0, "gate", fifo[0]), *made = ON(0, "make", first, 7);
    tine_future *later = ON(1, "gate", fifo[1]);
    tine_future *sum = ON(1, "reduce", made, later, 0, 0, 0, 0);
    bool right = gate_open(gate_enter(0)) && !tine_wait_any(&made, 1, NULL);
    tine_future *holds = ON(0, "gate", fifo[0]);
    int held = gate_enter(0);
    right &= gate_open(gate_enter(1)) && take(sum) == (int64_t)7 * BYTES;
    right &= gate_open(held) && take(holds) == 'x';
    tine_release(later);
    tine_release(made);
    tine_release(first);
    return right;
}

static void say(const char *what, tine_future *f) {
    tine_value *v = NULL;
    if (tine_wait(f, &v))
        printf("%s: %s\n", what, tine_error_message());
    else
        printf("%s: %lld\n", what, (long long)tine_as_int(v));
    fflush(stdout);
    tine_release(v);
    tine_release(f);
}

static void lose_the_holder(void) {
    tine_future *busy = ON(0, "gate", fifo[0]), *later = ON(2, "gate", fifo[1]);
    int others[] = {gate_enter(0), gate_enter(1)};
    through_coordinator();
    uint64_t before = workers[1].tasks_done;
    tine_future *first = ON(1, "gate", fifo[2]);
    tine_future *again = tine_fork("make", first, 3), *once = tine_fork("make_once", first, 3);
    tine_future *runs = ON(1, "gate", fifo[2]);
    tine_future *sums[] = {ON(2, "reduce", again, later, 0, 0, 0, 0),
                           ON(2, "reduce", once, later, 0, 0, 0, 0)};
    if (!gate_open(gate_enter(2)) || tine_wait_any(&again, 1, NULL)) return;
    if (tine_wait_any(&once, 1, NULL)) return;
    int held = gate_enter(2);
    bool stay = through_coordinator() < SMALL;
    printf("worker 2 ran %d tasks, results %s\n", (int)(workers[1].tasks_done - before),
           stay ? "stay" : "do not stay");
    fflush(stdout);
    say("again", sums[0]);
    say("once", sums[1]);
    say("runs", runs);
    close(held);
    for (int i = 0; i < 2; i++) close(others[i]);
    tine_release(busy);
    tine_release(later);
    tine_release(first);
    tine_release(again);
    tine_release(once);
}

int main(int argc, char **argv) {
    if (tine_init(&argc, argv, NULL) || argc < 3) return 1;
    if (!workers_look()) return 1;
    for (int i = 0; i < WORKERS; i++) /* each has said where it can be reached */
        if (take(ON(i, "reduce", 0, 0, 0, 0, 0, 0))) return 1;
    for (int i = 0; i < GATES; i++) {
        snprintf(fifo[i], sizeof fifo[i], "%s/gate%d", argv[1], i);
        if (mkfifo(fifo[i], 0600)) return 1;
    }
    bool right = true;
    if (strcmp(argv[2], "lost"))
        right = reduce_everywhere() && fetch_from_a_busy_worker();
    else
        lose_the_holder();
    for (int i = 0; i < GATES; i++) unlink(fifo[i]);
    printf("%s, %llu bytes\n", right ? "right" : "wrong", through_coordinator());
    return tine_shutdown() != TINE_OK;
}
