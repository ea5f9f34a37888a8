/* The profile: what a process records becomes a trace file that viewers accept. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/cluster.h"
#include "tests/support/traces.h"

/* ---- recording ---- */

static tine_payload *take(void) {
    tine_payload *p = NULL;
    cr_assert_eq(tine_trace_record(false), TINE_OK);
    cr_assert_eq(tine_trace_take(&p), TINE_OK);
    return p;
}

/* Records, on one thread, what a coordinator and a worker record for a fork, its run in two slices
 * with a nested fork, and the waits. */
static void record_a_fork(uint64_t i) {
    uint64_t flow = tine_trace_flow(0, i), nested = tine_trace_flow(7, i);
    int64_t t = tine_trace_begin(), inner;
    tine_trace_fork(flow, "fib");
    inner = tine_trace_begin();
    tine_trace_end(TINE_TRACE_ENCODE, inner, "fib");
    tine_trace_end(TINE_TRACE_FORK, t, "fib");
    t = tine_trace_begin();
    tine_trace_run(flow, "fib");
    inner = tine_trace_begin();
    tine_trace_fork(nested, "fib");
    tine_trace_end(TINE_TRACE_FORK, inner, "fib");
    tine_trace_suspend(i, "fib");
    tine_trace_end(TINE_TRACE_RUN, t, "fib");
    t = tine_trace_begin();
    tine_trace_resume(i, "fib");
    tine_trace_wait(nested, "fib");
    tine_trace_end(TINE_TRACE_RUN, t, "fib");
    t = tine_trace_begin();
    tine_trace_wait(flow, "fib");
    tine_trace_end(TINE_TRACE_WAIT, t, "fib");
}

Test(trace, forks_runs_and_waits_come_out_as_slices_and_flows, .timeout = 20) {
    cr_assert_eq(tine_trace_record(true), TINE_OK);
    for (uint64_t i = 1; i <= 50; i++) record_a_fork(i);
    tine_payload *events = take();
    trace t =
        write_and_check(&(tine_trace_process){.name = "one", .events = &events, .n_events = 1}, 1);
    cr_expect_eq(t.n_slices, 50 * 6);
    cr_expect_eq(count(&t, 's', NULL), 100);
    cr_expect_eq(count(&t, 't', NULL), 50, "only the outer forks have a run recorded");
    cr_expect_eq(count(&t, 'f', NULL), 100);
    cr_expect_eq(count(&t, 'b', NULL), 50);
    trace_close(&t);
    tine_payload_unref(events);
}

Test(trace, nothing_is_recorded_when_off, .timeout = 20) {
    cr_assert_eq(tine_trace_record(false), TINE_OK);
    record_a_fork(1);
    tine_payload *events = take();
    tine_trace_batch b;
    cr_assert_eq(tine_trace_batch_read(&b, events), TINE_OK);
    cr_expect_eq(b.n_events, 0);
    tine_trace_batch_fini(&b);
    tine_payload_unref(events);
}

Test(trace, the_newest_events_are_kept_and_the_lost_ones_counted, .timeout = 60) {
    cr_assert_eq(tine_trace_record(true), TINE_OK);
    for (int i = 0; i < TINE_TRACE_EVENTS + 1000; i++)
        tine_trace_instant(i < 1000 ? "lost" : "mark");
    tine_payload *events = take();
    tine_trace_batch b;
    cr_assert_eq(tine_trace_batch_read(&b, events), TINE_OK);
    cr_expect_eq(b.n_events, TINE_TRACE_EVENTS);
    cr_expect_eq(b.lost, 1000);
    cr_expect_eq(b.n_names, 1);
    tine_trace_batch_fini(&b);
    trace t =
        write_and_check(&(tine_trace_process){.name = "full", .events = &events, .n_events = 1}, 1);
    json_object *other = json_object_object_get(t.root, "otherData");
    cr_expect_str_eq(string_of(other, "events lost"), "1000");
    trace_close(&t);
    tine_payload_unref(events);
}

/* Full batches, then the rest; what is recorded between two is not lost either. */
Test(trace, batches_have_every_event_once, .timeout = 60) {
    const uint32_t sizes[] = {TINE_TRACE_BATCH, TINE_TRACE_BATCH, 110, 0};
    tine_trace_capacity(3 * TINE_TRACE_BATCH);
    cr_assert_eq(tine_trace_record(true), TINE_OK);
    for (int i = 0; i < 2 * TINE_TRACE_BATCH + 100; i++) tine_trace_instant("mark");
    for (size_t i = 0; i < N(sizes); i++) {
        tine_payload *events = NULL;
        tine_trace_batch b;
        cr_assert_eq(tine_trace_take(&events), TINE_OK);
        for (int k = 0; i == 0 && k < 10; k++) tine_trace_instant("mark");
        cr_assert_eq(tine_trace_batch_read(&b, events), TINE_OK);
        cr_expect_eq(b.n_events, sizes[i], "%zu: %u", i, b.n_events);
        cr_expect_eq(b.lost, 0);
        cr_expect_eq(tine_trace_is_full(events), i < 2);
        tine_trace_batch_fini(&b);
        tine_payload_unref(events);
    }
    cr_assert_eq(tine_trace_record(false), TINE_OK);
    tine_trace_capacity(TINE_TRACE_EVENTS);
}

static void *record_thread(void *arg) {
    (void)arg;
    for (int i = 0; i < 2000; i++) {
        int64_t t = tine_trace_begin();
        tine_trace_end(TINE_TRACE_KERNEL, t, "gemm");
    }
    return NULL;
}

Test(trace, threads_have_tracks_of_their_own, .timeout = 60) {
    pthread_t threads[4];
    tine_payload *events[2];
    cr_assert_eq(tine_trace_record(true), TINE_OK);
    tine_trace_thread_name("loop");
    for (size_t i = 0; i < N(threads); i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, record_thread, NULL), 0);
    cr_assert_eq(tine_trace_take(&events[0]), TINE_OK);
    for (size_t i = 0; i < N(threads); i++) pthread_join(threads[i], NULL);
    events[1] = take();
    trace t = write_and_check(
        &(tine_trace_process){.name = "threads", .events = events, .n_events = 2}, 1);
    cr_expect_eq(t.n_slices, 4 * 2000);
    size_t rows = 0;
    for (size_t i = 0; i < json_object_array_length(t.events); i++)
        rows +=
            strcmp(string_of(json_object_array_get_idx(t.events, i), "name"), "thread_name") == 0;
    cr_expect_eq(rows, 5);
    trace_close(&t);
    tine_payload_unref(events[0]);
    tine_payload_unref(events[1]);
}

/* ---- a real run ---- */

TINE_FUNCTION(trace_fib, "n") {
    int64_t n = tine_arg_int(task, 0);
    if (n < 2) return tine_int(n);
    tine_future *a = tine_fork("trace_fib", n - 1), *b = tine_fork("trace_fib", n - 2);
    tine_value *x, *y;
    if (tine_wait(a, &x) || tine_wait(b, &y)) return NULL;
    return tine_int(tine_as_int(x) + tine_as_int(y));
}

static size_t named(const trace *t, const char *name) {
    size_t n = 0;
    for (size_t i = 0; i < t->n_slices; i++) n += strcmp(t->slices[i].name, name) == 0;
    return n;
}

static size_t processes_in(const trace *t) {
    size_t n = 0;
    for (size_t i = 0; i < json_object_array_length(t->events); i++)
        n +=
            strcmp(string_of(json_object_array_get_idx(t->events, i), "name"), "process_name") == 0;
    return n;
}

/* fib(7) makes 41 calls: each has a flow from its fork through its run to its wait. */
static void run_and_trace(const char *endpoint, size_t processes) {
    char path[] = "/tmp/tine-test-trace-XXXXXX";
    close(mkstemp(path));
    cluster_start(endpoint, 2);
    cr_assert_eq(tine_trace_start(), TINE_OK, "%s", tine_error_message());
    cr_expect_eq(cluster_take_int(tine_fork("trace_fib", 7)), 13);
    cr_assert_eq(tine_trace_write(path), TINE_OK, "%s", tine_error_message());
    cluster_stop();
    trace t = trace_read(path);
    unlink(path);
    check_nesting(&t);
    check_flows(&t);
    cr_expect_eq(processes_in(&t), processes);
    cr_expect_eq(count(&t, 's', NULL), 41);
    cr_expect_eq(count(&t, 'f', NULL), 41);
    cr_expect_geq(count(&t, 't', NULL), 41, "%zu runs", count(&t, 't', NULL));
    cr_expect_geq(named(&t, "trace_fib"), 41);
    cr_expect_eq(named(&t, "fork trace_fib"), 41, "%zu", named(&t, "fork trace_fib"));
    cr_expect(count(&t, 'b', NULL) > 0, "some waited suspended");
    json_object *other = json_object_object_get(t.root, "otherData");
    cr_expect_str_eq(string_of(other, "slices clipped"), "0");
    cr_expect_str_eq(string_of(other, "events lost"), "0");
    trace_close(&t);
}

Test(trace, a_run_over_ipc_is_recorded_completely, .timeout = 60) { run_and_trace(NULL, 3); }
Test(trace, a_run_in_one_process_is_recorded_completely, .timeout = 60) {
    run_and_trace("inproc://trace", 1);
}

/* What the coordinator does not know of is in the trace all the same. */
TRANSPORT_TEST(trace, has_the_forks_that_stay_at_their_worker, 60) {
    char path[] = "/tmp/tine-test-trace-XXXXXX";
    close(mkstemp(path));
    cluster_start(endpoint, 1);
    cr_expect_eq(cluster_take_int(tine_fork("trace_fib", 1)), 1);
    cr_assert_eq(tine_trace_start(), TINE_OK, "%s", tine_error_message());
    uint64_t before = cluster_messages();
    cr_expect_eq(cluster_take_int(tine_fork("trace_fib", 12)), 144);
    uint64_t messages = cluster_messages() - before;
    cr_expect_lt(messages, 150, "%d messages for 465 calls", (int)messages);
    cr_assert_eq(tine_trace_write(path), TINE_OK, "%s", tine_error_message());
    cluster_stop();
    trace t = trace_read(path);
    unlink(path);
    check_nesting(&t);
    check_flows(&t);
    cr_expect_eq(count(&t, 's', NULL), 465);
    cr_expect_eq(count(&t, 'f', NULL), 465);
    cr_expect_geq(count(&t, 't', NULL), 465, "%zu runs", count(&t, 't', NULL));
    cr_expect_eq(named(&t, "fork trace_fib"), 465, "%zu", named(&t, "fork trace_fib"));
    trace_close(&t);
}

/* Both have names of their own; the inner one stays at its worker, which waits for it. */
TINE_FUNCTION(trace_inner, "") {
    (void)task;
    return tine_int(1);
}
TINE_FUNCTION(trace_outer, "") {
    (void)task;
    tine_value *v;
    tine_future *f = tine_fork_with(TINE_FORK_OPTIONS(.name = "second step"), "trace_inner");
    return tine_wait(f, &v) ? NULL : v;
}
static size_t events_named(const trace *t, const char *name) {
    size_t n = 0;
    for (size_t i = 0; i < json_object_array_length(t->events); i++)
        n += strcmp(string_of(json_object_array_get_idx(t->events, i), "name"), name) == 0;
    return n;
}
TRANSPORT_TEST(trace, a_task_has_the_name_that_its_fork_gave_it, 60) {
    char path[] = "/tmp/tine-test-trace-XXXXXX";
    close(mkstemp(path));
    cluster_start(endpoint, 1);
    cr_assert_eq(tine_trace_start(), TINE_OK, "%s", tine_error_message());
    const tine_fork_options first = {.name = "first step"};
    cr_expect_eq(cluster_take_int(tine_fork_with(&first, "trace_outer")), 1);
    cr_assert_eq(tine_trace_write(path), TINE_OK, "%s", tine_error_message());
    cluster_stop();
    trace t = trace_read(path);
    unlink(path);
    cr_expect_eq(named(&t, "fork first step"), 1);
    cr_expect_eq(named(&t, "fork second step"), 1);
    cr_expect_geq(named(&t, "first step"), 2, "before its wait and after it");
    cr_expect_geq(named(&t, "second step"), 1);
    cr_expect_eq(events_named(&t, "trace_outer") + events_named(&t, "trace_inner"), 0);
    cr_expect_geq(events_named(&t, "first step"), 4, "the wait, from its begin to its end, too");
    trace_close(&t);
}

/* A worker has more events than a message holds: it is asked for batch after batch. */
TINE_FUNCTION(trace_many, "n") {
    for (int64_t i = tine_arg_int(task, 0); i > 0; i--) tine_trace_instant("many");
    return tine_none();
}

static size_t lines_with(const char *path, const char *words) {
    char line[1024];
    size_t n = 0;
    FILE *f = fopen(path, "r");
    cr_assert_not_null(f);
    while (fgets(line, sizeof line, f)) n += strstr(line, words) != NULL;
    fclose(f);
    return n;
}

Test(trace, more_events_than_a_message_holds_are_all_gathered, .timeout = 120) {
    enum { MANY = 2 * TINE_TRACE_BATCH + 100 };
    char path[] = "/tmp/tine-test-trace-XXXXXX";
    close(mkstemp(path));
    setenv("TINE_TRACE_EVENTS", "1000000", 1);
    cluster_start(NULL, 1);
    cr_assert_eq(tine_trace_start(), TINE_OK, "%s", tine_error_message());
    tine_future *f = tine_fork("trace_many", MANY);
    cr_assert_eq(tine_wait(f, NULL), TINE_OK);
    tine_release(f);
    cr_assert_eq(tine_trace_write(path), TINE_OK, "%s", tine_error_message());
    cr_expect_eq(lines_with(path, "\"name\":\"many\""), MANY);
    cr_expect_eq(lines_with(path, "\"events lost\":\"0\""), 1);
    cr_expect_eq(tine_worker_count(), 1);
    cluster_stop();
    unlink(path);
}
