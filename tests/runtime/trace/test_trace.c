/* The profile: recorded events become a trace file that viewers accept. The file is read back with
 * json-c and checked: slices of a thread nest, a flow has a start and an end, each inside a slice,
 * times are sorted. */
#include <criterion/criterion.h>
#include <json-c/json.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/trace/trace.h"
#include "runtime/trace/format.h"
#include "tests/support/cluster.h"
#include "transport/base/buffer.h"

#define N(a) (sizeof(a) / sizeof *(a))

/* ---- reading the file back ---- */

typedef struct slice {
    int pid, tid;
    double begin, end;
    char name[64];
} slice;

typedef struct point { /* a flow or async event */
    char phase, id[40];
    int pid, tid;
    double ts;
} point;

typedef struct trace {
    json_object *root, *events;
    slice *slices;
    point *points;
    size_t n_slices, n_points;
} trace;

static const char *string_of(json_object *o, const char *key) {
    json_object *v = json_object_object_get(o, key);
    return v ? json_object_get_string(v) : "";
}

static double number_of(json_object *o, const char *key) {
    return json_object_get_double(json_object_object_get(o, key));
}

static trace trace_read(const char *path) {
    trace t = {.root = json_object_from_file(path)};
    cr_assert_not_null(t.root, "the file is not JSON: %s", json_util_get_last_err());
    t.events = json_object_object_get(t.root, "traceEvents");
    size_t n = json_object_array_length(t.events);
    t.slices = calloc(n + 1, sizeof *t.slices);
    t.points = calloc(n + 1, sizeof *t.points);
    double before = 0;
    for (size_t i = 0; i < n; i++) {
        json_object *e = json_object_array_get_idx(t.events, i);
        char phase = string_of(e, "ph")[0];
        if (phase == 'M') continue;
        double ts = number_of(e, "ts");
        cr_assert(ts >= before, "sorted: %f after %f", ts, before);
        before = ts;
        if (phase == 'X') {
            slice *s = &t.slices[t.n_slices++];
            *s = (slice){(int)number_of(e, "pid"), (int)number_of(e, "tid"), ts,
                         ts + number_of(e, "dur"), ""};
            snprintf(s->name, sizeof s->name, "%s", string_of(e, "name"));
        } else {
            point *p = &t.points[t.n_points++];
            *p = (point){phase, "", (int)number_of(e, "pid"), (int)number_of(e, "tid"), ts};
            snprintf(p->id, sizeof p->id, "%s", string_of(e, "id"));
        }
    }
    return t;
}

static void trace_close(trace *t) {
    json_object_put(t->root);
    free(t->slices);
    free(t->points);
}

/* Nanoseconds are written with three decimals of a microsecond; doubles carry them well enough to a
 * tenth of one. */
static const double eps = 1e-4;

static void check_nesting(const trace *t) {
    for (size_t i = 0; i < t->n_slices; i++) {
        for (size_t k = 0; k < i; k++) {
            const slice *a = &t->slices[k], *b = &t->slices[i];
            if (a->pid != b->pid || a->tid != b->tid) continue;
            bool apart = a->end <= b->begin + eps || b->end <= a->begin + eps;
            bool inside = (b->begin + eps >= a->begin && b->end <= a->end + eps) ||
                          (a->begin + eps >= b->begin && a->end <= b->end + eps);
            cr_assert(apart || inside, "%s [%f %f] and %s [%f %f] overlap in part", a->name,
                      a->begin, a->end, b->name, b->begin, b->end);
        }
    }
}

static size_t count(const trace *t, char phase, const char *id) {
    size_t n = 0;
    for (size_t i = 0; i < t->n_points; i++)
        n += t->points[i].phase == phase && (!id || strcmp(t->points[i].id, id) == 0);
    return n;
}

static const slice *around(const trace *t, const point *p) {
    for (size_t i = 0; i < t->n_slices; i++) {
        const slice *s = &t->slices[i];
        if (s->pid == p->pid && s->tid == p->tid && s->begin <= p->ts + eps &&
            p->ts <= s->end + eps)
            return s;
    }
    return NULL;
}

static void check_flows(const trace *t) {
    for (size_t i = 0; i < t->n_points; i++) {
        const point *p = &t->points[i];
        if (!strchr("stf", p->phase)) continue;
        cr_assert_eq(count(t, 's', p->id), 1, "flow %s starts once", p->id);
        cr_assert_eq(count(t, 'f', p->id), 1, "flow %s ends once", p->id);
        cr_assert_not_null(around(t, p), "the point %c of flow %s is inside a slice", p->phase,
                           p->id);
    }
    for (size_t i = 0; i < t->n_points; i++) {
        const point *p = &t->points[i];
        if (strchr("be", p->phase))
            cr_assert_eq(count(t, 'b', p->id), count(t, 'e', p->id), "suspended %s", p->id);
    }
}

static trace write_and_check(const tine_trace_process *processes, size_t n) {
    char path[] = "/tmp/tine-test-trace-XXXXXX";
    int fd = mkstemp(path);
    cr_assert(fd >= 0);
    close(fd);
    cr_assert_eq(tine_trace_export(path, processes, n, 0), TINE_OK, "%s", tine_error_message());
    trace t = trace_read(path);
    unlink(path);
    check_nesting(&t);
    check_flows(&t);
    return t;
}

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

/* ---- gathering ---- */

static tine_trace_stored stored(uint8_t type, uint64_t a, uint64_t b, const char *name) {
    tine_trace_stored s = {.type = type, .a = a, .b = b};
    snprintf(s.name, sizeof s.name, "%s", name);
    return s;
}

static tine_payload *batch(const tine_trace_stored *records, size_t n) {
    static const char threads[1][TINE_TRACE_NAME_MAX + 3] = {"main"};
    tine_payload *p = NULL;
    cr_assert_eq(tine_trace_batch_write(&p, records, n, 0, threads, 1), TINE_OK);
    return p;
}

Test(trace, events_are_shown_on_one_clock, .timeout = 20) {
    tine_trace_stored here[] = {stored(TINE_TRACE_FORK, 5000000, 5001500, "f"),
                                stored(TINE_TRACE_FLOW_START, 5000100, 1, "f")};
    tine_trace_stored there[] = {stored(TINE_TRACE_RUN, 905002000, 905009000, "f"),
                                 stored(TINE_TRACE_FLOW_STEP, 905002001, 1, "f")};
    tine_payload *a = batch(here, N(here)), *b = batch(there, N(there));
    tine_trace_process processes[] = {
        {.name = "coordinator", .events = &a, .n_events = 1},
        {.name = "worker", .events = &b, .n_events = 1, .offset_ns = 900000000}};
    trace t = write_and_check(processes, 2);
    cr_assert_eq(t.n_slices, 2);
    cr_expect(t.slices[1].begin > 1.999 && t.slices[1].begin < 2.001, "%f", t.slices[1].begin);
    cr_expect_eq(t.slices[1].pid, 2);
    cr_expect_eq(count(&t, 's', NULL), 1);
    cr_expect_eq(count(&t, 'f', NULL), 1);
    trace_close(&t);
    tine_payload_unref(a);
    tine_payload_unref(b);
}

Test(trace, slices_that_overlap_in_part_are_shortened_and_counted, .timeout = 20) {
    tine_trace_stored records[] = {
        stored(TINE_TRACE_RUN, 1000, 5000, "a"), stored(TINE_TRACE_SEND, 4000, 9000, "b"),
        stored(TINE_TRACE_RUN, 5000, 6000, "c"), stored(TINE_TRACE_RUN, 5500, 5500, "d"),
        stored(TINE_TRACE_RUN, 6000, 8000, "e"), stored(TINE_TRACE_RUN, 7000, 12000, "f")};
    tine_payload *p = batch(records, N(records));
    trace t = write_and_check(&(tine_trace_process){.name = "x", .events = &p, .n_events = 1}, 1);
    cr_expect_eq(t.n_slices, 6);
    cr_expect_str_eq(string_of(json_object_object_get(t.root, "otherData"), "slices clipped"), "2");
    trace_close(&t);
    tine_payload_unref(p);
}

Test(trace, flows_and_waits_with_one_end_are_left_out, .timeout = 20) {
    tine_trace_stored records[] = {stored(TINE_TRACE_FORK, 1000, 2000, "f"),
                                   stored(TINE_TRACE_FLOW_START, 1500, 1, "f"),
                                   stored(TINE_TRACE_FLOW_START, 1600, 2, "f"),
                                   stored(TINE_TRACE_FLOW_END, 9000, 2, "outside"),
                                   stored(TINE_TRACE_ASYNC_BEGIN, 1700, 3, "f"),
                                   stored(TINE_TRACE_ASYNC_END, 1800, 4, "f"),
                                   stored(TINE_TRACE_FLOW_END, 1900, 5, "loop")};
    tine_payload *p = batch(records, N(records));
    trace t = write_and_check(&(tine_trace_process){.name = "x", .events = &p, .n_events = 1}, 1);
    cr_expect_eq(t.n_points, 0);
    trace_close(&t);
    tine_payload_unref(p);
}

Test(trace, names_are_escaped_and_made_utf8, .timeout = 20) {
    tine_trace_stored records[] = {stored(TINE_TRACE_RUN, 1000, 2000, "a\"b\\c\nd"),
                                   stored(TINE_TRACE_RUN, 3000, 4000, "gr\xc3\xbc\xc3"),
                                   stored(TINE_TRACE_RUN, 5000, 6000, "\xed\xa0\x80")};
    tine_payload *p = batch(records, N(records));
    trace t =
        write_and_check(&(tine_trace_process){.name = "pro\"cess", .events = &p, .n_events = 1}, 1);
    cr_expect_str_eq(t.slices[0].name, "a\"b\\c\nd");
    cr_expect_str_eq(t.slices[1].name, "gr\xc3\xbc?");
    cr_expect_str_eq(t.slices[2].name, "???");
    trace_close(&t);
    tine_payload_unref(p);
}

/* Every byte of a payload changed, and every length: never a crash, and what comes out is a trace
 * that passes all checks. */
Test(trace, invalid_payloads_of_a_peer_are_left_out, .timeout = 60) {
    tine_trace_stored records[] = {stored(TINE_TRACE_RUN, 1000, 2000, "f"),
                                   stored(TINE_TRACE_FLOW_STEP, 1500, 1, "f"),
                                   stored(TINE_TRACE_ASYNC_BEGIN, 1600, 1, "f")};
    tine_payload *good = batch(records, N(records));
    size_t refused = 0, tried = 0;
    for (size_t i = 0; i < good->body_size; i++) {
        for (int how = 0; how < 3; how++) {
            size_t size = how == 2 ? i : good->body_size;
            tine_payload *p = tine_payload_new(size, 0, 0);
            memcpy(p->body, good->body, size);
            if (how < 2) p->body[i] ^= how ? 0xff : 0x01;
            tine_trace_batch b = {0};
            tried++;
            if (tine_trace_batch_read(&b, p) != TINE_OK) refused++;
            tine_trace_batch_fini(&b);
            trace t =
                write_and_check(&(tine_trace_process){.name = "x", .events = &p, .n_events = 1}, 1);
            trace_close(&t);
            tine_payload_unref(p);
        }
    }
    cr_expect(refused > good->body_size && refused < tried, "%zu of %zu", refused, tried);
    tine_payload_unref(good);
}

Test(trace, a_file_that_cannot_be_written_is_an_error, .timeout = 20) {
    cr_expect_eq(tine_trace_export("/no/such/directory/trace.json", NULL, 0, 0), TINE_EIO);
    cr_expect_not_null(strstr(tine_error_message(), "/no/such/directory/trace.json"));
    cr_expect_eq(tine_trace_export("/dev/full/x", NULL, 0, 0), TINE_EIO);
}

Test(trace, no_process_is_an_empty_trace, .timeout = 20) {
    trace t = write_and_check(NULL, 0);
    cr_expect_eq(t.n_slices + t.n_points, 0);
    trace_close(&t);
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

/* ---- clocks ---- */

Test(trace, the_shortest_round_trip_gives_the_offset, .timeout = 20) {
    tine_clock c = {0};
    int64_t offset, error, truth = 123456789;
    cr_expect(!tine_clock_estimate(&c, 0, &offset, &error));
    srand(1);
    for (int i = 0; i < 100; i++) {
        int64_t sent = 1000000000 + i * 1000000, there = 5000 + rand() % 400000,
                back = 5000 + rand() % 400000;
        tine_clock_add(&c, sent, sent + there + truth, sent + there + back);
        cr_assert(tine_clock_estimate(&c, sent + there + back, &offset, &error));
        cr_expect(llabs(offset - truth) <= error + 1, "off by %lld, said %lld",
                  (long long)(offset - truth), (long long)error);
    }
    cr_expect(error < 200000);
}

Test(trace, impossible_clocks_are_ignored, .timeout = 20) {
    tine_clock c = {0};
    tine_clock_add(&c, 100, 50, 99);
    tine_clock_add(&c, 100, INT64_MAX, 200);
    tine_clock_add(&c, -5, 50, 99);
    cr_expect_eq(c.n, 0);
}

Test(trace, an_old_sample_is_replaced_for_its_drift, .timeout = 20) {
    tine_clock c = {0};
    int64_t offset, error;
    tine_clock_add(&c, 0, 1000, 1000);
    tine_clock_add(&c, 10000000000, 10000000000 + 700000, 10000000000 + 100000);
    cr_assert(tine_clock_estimate(&c, 10000100000, &offset, &error));
    cr_expect_eq(offset, 650000, "the sample of 1 us is 10 s old, worth 500 us of drift");
}
