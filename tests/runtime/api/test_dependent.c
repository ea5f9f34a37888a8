/* Forks that wait for the futures among their arguments, and futures that nobody looks at: they
 * make progress while the program forks, are counted, cost the same each, and their failures are
 * told. A gate is a task that waits for a byte in a FIFO. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/capture.h"
#include "tests/support/cluster.h"

TINE_FUNCTION(dependent_next, "i") { return tine_int(tine_arg_int(task, 0) + 1); }
TINE_FUNCTION(dependent_gate, "fifo") {
    char byte = 0;
    int fd = open(tine_arg_string(task, 0), O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, &byte, 1) != 1) return tine_fail(task, "the gate does not open");
    close(fd);
    return tine_int(byte);
}
TINE_FUNCTION(dependent_fail, "text") { return tine_fail(task, "%s", tine_arg_string(task, 0)); }

static char dir[64], fifo[80];

static void make_gate(void) {
    snprintf(dir, sizeof dir, "/tmp/tine-test-XXXXXX");
    cr_assert(mkdtemp(dir) != NULL);
    snprintf(fifo, sizeof fifo, "%s/gate", dir);
    cr_assert_eq(mkfifo(fifo, 0600), 0);
}

/* Blocks until the task has opened the other end. */
static void open_gate(char byte) {
    int fd = open(fifo, O_WRONLY | O_CLOEXEC);
    cr_assert_eq(write(fd, &byte, 1), 1);
    close(fd);
    unlink(fifo);
    cr_assert_eq(rmdir(dir), 0);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

TRANSPORT_TEST(dependent, a_chain_makes_progress_while_the_program_forks, 60) {
    enum { MANY = 400000, LINK = 5 };
    tine_options o = {.endpoint = endpoint, .workers = 1, .max_pending = 2 * MANY};
    cluster_start_with(&o);
    tine_future *first[LINK + 1], *last = NULL;
    int n = 0;
    for (; n < MANY && (n <= LINK || !tine_done(first[LINK])); n++) {
        tine_future *next =
            last ? tine_fork("dependent_next", last) : tine_fork("dependent_next", 0);
        if (n <= LINK)
            first[n] = next;
        else if (n > LINK + 1)
            tine_release(last);
        last = next;
    }
    cr_assert(tine_done(first[LINK]), "no link of the chain has run after %d forks", n);
#ifdef __SANITIZE_THREAD__ /* a link takes milliseconds: the shutdown cancels the others */
    tine_release(last);
    last = NULL;
#else
    cr_assert_eq(cluster_take_int(last), n);
#endif
    for (int i = 0; i <= LINK; i++)
        if (first[i] != last) tine_release(first[i]);
    cluster_stop();
}

Test(dependent, a_fork_that_waits_for_its_arguments_counts_as_pending, .timeout = 60) {
    enum { LIMIT = 100 };
    tine_future *held[2 * LIMIT];
    tine_options o = {.workers = 1, .max_pending = LIMIT};
    make_gate();
    cluster_start_with(&o);
    tine_future *gate = tine_fork("dependent_gate", fifo);
    int n = 0;
    while (n < 2 * LIMIT && (held[n] = tine_try_fork("dependent_next", gate))) n++;
    cr_expect_eq(n, LIMIT, "%d forks are held", n);
    cr_expect_eq(tine_last_error(), TINE_EAGAIN);
    open_gate(1);
    for (int i = 0; i < n; i++) cr_assert_eq(cluster_take_int(held[i]), 2);
    tine_future *again = tine_fork("dependent_next", gate);
    cr_assert_eq(cluster_take_int(again), 2);
    tine_release(gate);
    cluster_stop();
}

/* It fails at once, also while no more forks may be pending. */
Test(dependent, a_fork_of_a_failed_argument_needs_no_room, .timeout = 60) {
    tine_options o = {.workers = 1, .max_pending = 1, .log_level = "error"};
    make_gate();
    cluster_start_with(&o);
    tine_future *failed = tine_fork("dependent_fail", "as it should");
    cr_assert_neq(tine_wait(failed, NULL), TINE_OK);
    tine_future *gate = tine_fork("dependent_gate", fifo), *f;
    while ((f = tine_try_fork("dependent_next", 1))) tine_release(f);
    cr_assert_eq(tine_last_error(), TINE_EAGAIN);
    f = tine_try_fork("dependent_next", failed);
    cr_assert_not_null(f);
    cr_expect_neq(tine_wait(f, NULL), TINE_OK);
    cr_expect_neq(tine_wait(tine_fork("dependent_next", failed), NULL), TINE_OK);
    open_gate(1);
    cr_assert_eq(tine_wait(gate, NULL), TINE_OK);
    cluster_stop();
}

TINE_FUNCTION(dependent_size, "gate, bytes") {
    return tine_int((int64_t)tine_length(tine_arg(task, 1)));
}

Test(dependent, the_arguments_of_a_fork_that_waits_for_others_count_as_pending_bytes,
     .timeout = 60) {
    enum { LIMIT = 10, SIZE = 10000 };
    tine_future *held[2 * LIMIT];
    tine_options o = {.workers = 1, .max_pending_bytes = (size_t)LIMIT * SIZE};
    make_gate();
    cluster_start_with(&o);
    tine_value *x = tine_ones(TINE_U8, 1, (int64_t[]){SIZE});
    tine_future *gate = tine_fork("dependent_gate", fifo);
    int n = 0;
    while (n < 2 * LIMIT && (held[n] = tine_try_fork("dependent_size", gate, tine_list(x)))) n++;
    cr_expect_eq(n, LIMIT, "%d forks are held", n);
    cr_expect_eq(tine_last_error(), TINE_EAGAIN);
    cr_expect(strstr(tine_error_message(), "TINE_MAX_PENDING_BYTES"), "%s", tine_error_message());
    open_gate(1);
    for (int i = 0; i < n; i++) cr_assert_eq(cluster_take_int(held[i]), 1);
    tine_release(gate);
    tine_release(x);
    cluster_stop();
}

/* The coordinator holds these itself: the scheduler knows of no promise. */
static void check_forks_on_a_promise(const tine_options *options, int limit, const char *words) {
    enum { MANY = 100 };
    tine_future *held[MANY], *promised;
    cluster_start_with(options);
    tine_promise *promise = tine_promise_new(&promised);
    tine_value *x = tine_ones(TINE_U8, 1, TINE_SHAPE(10000)), *done = tine_none();
    int n = 0;
    while (n < MANY && (held[n] = tine_try_fork("dependent_size", promised, tine_list(x)))) n++;
    cr_expect_eq(n, limit, "%d forks are held", n);
    cr_expect(strstr(tine_error_message(), words), "%s", tine_error_message());
    cr_assert_eq(tine_promise_set(promise, done), TINE_OK, "%s", tine_error_message());
    for (int i = 0; i < n; i++) cr_assert_eq(cluster_take_int(held[i]), 1);
    tine_release(promise), tine_release(promised), tine_release(x), tine_release(done);
    cluster_stop();
}

Test(dependent, forks_that_wait_for_a_promise_count_as_pending, .timeout = 60) {
    check_forks_on_a_promise(&(tine_options){.workers = 1, .max_pending = 7}, 7,
                             "(TINE_MAX_PENDING)");
}

Test(dependent, forks_that_wait_for_a_promise_count_as_pending_bytes, .timeout = 60) {
    check_forks_on_a_promise(&(tine_options){.workers = 1, .max_pending_bytes = 50000}, 5,
                             "(TINE_MAX_PENDING_BYTES)");
}

/* Seconds of n forks on one pending future, the least of three. */
static double seconds_of(int n, tine_future *gate, tine_future **forks) {
    double least = 1e9;
    for (int round = 0; round < 3; round++) {
        double began = now();
        for (int i = 0; i < n; i++) forks[i] = tine_fork("dependent_next", gate);
        double took = now() - began;
        if (took < least) least = took;
        for (int i = 0; i < n; i++) tine_release(forks[i]);
    }
    return least;
}

Test(dependent, many_forks_on_one_future_cost_the_same_each, .timeout = 60) {
    enum { FEW = 2000, MANY = 16 * FEW };
    tine_options o = {.workers = 1, .max_pending = 1 << 20};
    make_gate();
    cluster_start_with(&o);
    tine_future *gate = tine_fork("dependent_gate", fifo), **forks = calloc(MANY, sizeof *forks);
    double few = seconds_of(FEW, gate, forks), many = seconds_of(MANY, gate, forks);
    cr_expect_lt(many, 16 * 8 * few, "%g s for %d, %g s for %d", few, FEW, many, MANY);
    open_gate(1);
    cr_assert_eq(tine_wait(gate, NULL), TINE_OK);
    tine_release(gate);
    free(forks);
    cluster_stop();
}

/* ---- failures that nobody looks at ---- */

static int log_end; /* of a pipe that standard error goes to */

static size_t count_in_log(const char *part) {
    static char text[65536];
    size_t n = 0, found = 0;
    ssize_t got;
    close(2); /* the workers' copies are closed: Tine is shut down */
    while (n < sizeof text - 1 && (got = read(log_end, text + n, sizeof text - 1 - n)) > 0)
        n += (size_t)got;
    text[n] = 0;
    for (const char *at = text; (at = strstr(at, part)); at++) found++;
    return found;
}

Test(dependent, a_failure_that_was_released_unseen_is_one_log_line, .timeout = 60) {
    log_end = capture_pipe();
    tine_options o = {.workers = 1};
    cluster_start_with(&o);
    tine_release(tine_fork("dependent_fail", "released before it failed"));
    tine_future *f = tine_fork("dependent_fail", "released after it failed");
    cr_assert_eq(cluster_take_int(tine_fork("dependent_next", 1)), 2);
    while (!tine_done(f)) cr_assert_eq(cluster_take_int(tine_fork("dependent_next", 1)), 2);
    tine_release(f);
    f = tine_fork("dependent_fail", "waited for");
    cr_assert_eq(tine_wait(f, NULL), TINE_EFAILED);
    tine_release(f);
    tine_future *dependent =
        tine_fork("dependent_next", f = tine_fork("dependent_fail", "passed on"));
    tine_release(f);
    cr_assert_eq(tine_wait(dependent, NULL), TINE_EFAILED);
    tine_release(dependent);
    tine_future *both[] = {tine_fork("dependent_fail", "one"), tine_fork("dependent_fail", "two")},
                *all = tine_when_all(both, 2);
    for (int i = 0; i < 2; i++) tine_release(both[i]);
    cr_assert_eq(tine_wait(all, NULL), TINE_EFAILED);
    tine_release(all);
    cluster_stop();
    cr_assert_eq(tine_init(NULL, NULL, &(tine_options){.workers = 1, .log_level = "error"}),
                 TINE_OK);
    cluster_stop();
    tine_future *late = tine_fork("dependent_next", 1); /* ESTATE */
    cr_assert_eq(tine_wait(late, NULL), TINE_ESTATE);
    tine_release(late);
    size_t n = count_in_log("was released before any call waited for it");
    cr_assert_eq(n, 2, "%zu lines", n);
}

Test(dependent, cancelled_futures_of_a_shutdown_are_not_logged, .timeout = 60) {
    log_end = capture_pipe();
    make_gate();
    tine_options o = {.workers = 1};
    cluster_start_with(&o);
    tine_future *gate = tine_fork("dependent_gate", fifo);
    for (int i = 0; i < 10; i++) tine_release(tine_fork("dependent_next", gate));
    int fd = open(fifo, O_WRONLY | O_CLOEXEC); /* the task runs */
    cluster_stop();
    close(fd);
    tine_release(gate);
    unlink(fifo);
    rmdir(dir);
    cr_assert_eq(count_in_log("released before"), 0);
}
