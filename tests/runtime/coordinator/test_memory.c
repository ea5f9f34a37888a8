/* The limit of a worker's memory. */
#include <criterion/criterion.h>
#include <string.h>
#include <sys/mman.h>

#include "runtime/value/value.h"
#include "tests/support/cluster.h"
#include "tests/support/sanitizer.h"
#include "transport/base/clock.h"
#include "transport/base/process.h"

enum { MIB = 1 << 20, ROOM = 400 };

static size_t limit, base; /* base: what a process of this program has, also under a sanitizer */

/* So many MiB, resident at once. A sanitizer has no shadow of what is not written. */
static void *take_up(int64_t mib) {
    void *p = mmap(NULL, (size_t)(mib + 1) * MIB, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}
TINE_FUNCTION(memory_grow, "mib") {
    void *p = take_up(tine_arg_int(task, 0));
    while (p && !tine_cancelled(task))
        ;
    return tine_none();
}
TINE_FUNCTION(memory_keep, "mib") {
    if (!take_up(tine_arg_int(task, 0))) return tine_fail(task, "no memory");
    return tine_int((int64_t)tine_worker_id());
}
TINE_FUNCTION(memory_worker, "") {
    (void)task;
    return tine_int((int64_t)tine_worker_id());
}

static void start(const char *endpoint, int workers) {
    base = tine_process_memory();
    limit = base + (size_t)ROOM * MIB;
    tine_options o = {.endpoint = endpoint, .workers = workers, .max_memory = limit};
    cluster_start_with(&o);
}

TRANSPORT_TEST_REMOTE(memory, a_worker_past_its_limit_is_ended_with_its_task_named, 60) {
    start(endpoint, 1);
    int64_t first = cluster_take_int(tine_fork("memory_worker"));
    tine_future *f = tine_fork("memory_grow", ROOM + 200);
    cr_assert_eq(tine_wait(f, NULL), TINE_ELOST);
    cr_assert(strstr(tine_error_message(), "task \"memory_grow\" was lost on worker pid"), "%s",
              tine_error_message());
    cr_assert(strstr(tine_error_message(), "the worker was ended: its memory, "), "%s",
              tine_error_message());
    cr_assert(strstr(tine_error_message(), "MiB (TINE_MAX_MEMORY)"), "%s", tine_error_message());
    cr_assert_neq(cluster_take_int(tine_fork("memory_worker")), first);
    tine_release(f);
    cluster_stop();
}

/* Its memory would not be given back: it gets no more tasks, and is ended once it has none. */
TRANSPORT_TEST_REMOTE(memory, a_worker_that_keeps_too_much_is_replaced, 60) {
    start(endpoint, 2);
    int64_t full =
        cluster_take_int(tine_fork("memory_keep", (int64_t)((limit / 100 * 85 - base) / MIB)));
    tine_error e;
    do {
        tine_future *f =
            tine_fork_with(TINE_FORK_OPTIONS(.worker = (uint32_t)full), "memory_worker");
        e = tine_wait(f, NULL);
        tine_release(f);
    } while (e == TINE_OK);
    cr_assert_eq(e, TINE_ELOST);
    for (int i = 0; i < 20; i++) cr_assert_neq(cluster_take_int(tine_fork("memory_worker")), full);
    cluster_stop();
}

/* Past 80 %, it forks tasks that are sent to the coordinator, for longer than two looks take. */
TINE_FUNCTION(memory_forks, "mib") {
    if (!take_up(tine_arg_int(task, 0))) return tine_fail(task, "no memory");
    int64_t n = 0, end = tine_clock_ns() + 700000000;
    for (; tine_clock_ns() < end; n++) {
        tine_future *f = tine_fork_with(TINE_FORK_OPTIONS(.priority = 1), "memory_worker");
        if (tine_wait(f, NULL)) return NULL;
        tine_release(f);
    }
    return tine_int(n);
}
/* The task itself, or its fork there, takes too much. */
TINE_FUNCTION(memory_nests, "mib") {
    tine_value *v;
    const tine_fork_options here = {.worker = tine_worker_id()};
    return tine_wait(tine_fork_with(&here, "memory_grow", tine_arg_int(task, 0)), &v) ? NULL : v;
}

TINE_FUNCTION(memory_reads, "x") {
    const tine_value *x = tine_arg(task, 0);
    const uint8_t *data = tine_data(x);
    int64_t sum = 0;
    for (int64_t i = 0; i < tine_elements(x); i += 1024) sum += data[i];
    return tine_int(sum);
}

/* What it reads in the program's memory is not its own, and would not be freed by its end. */
Test(memory, tensors_that_are_lent_to_a_worker_do_not_count, .timeout = 60) {
    enum { TENSORS = 150, SIZE = 4 * MIB };
    tine_value *x[TENSORS];
#ifdef TSAN
    cr_skip_test("TSan's shadow of what the worker reads is the worker's own memory");
#endif
    start(NULL, 1);
    int64_t first = cluster_take_int(tine_fork("memory_worker"));
    for (int i = 0; i < TENSORS; i++) {
        x[i] = tine_ones(TINE_U8, 1, (int64_t[]){SIZE});
        cr_assert_eq(cluster_take_int(tine_fork("memory_reads", x[i])), SIZE / 1024);
    }
    tine_worker_status w;
    cr_assert_eq(tine_workers(&w, 1), 1);
    cr_assert_eq(w.id, first, "it was ended");
    if (tine_process_memory_of((int)w.pid) < limit) cr_skip_test("nothing is lent here");
    for (int64_t end = tine_clock_ns() + 700000000; tine_clock_ns() < end;) /* two looks */
        cr_assert_eq(cluster_take_int(tine_fork("memory_worker")), first);
    for (int i = 0; i < TENSORS; i++) tine_release(x[i]);
    cluster_stop();
}

/* It waits for a fork on another worker, which computes meanwhile. */
static bool is_lent(const tine_value *v) { return v->tensor.buffer->foreign; }

TINE_FUNCTION(memory_takes, "bytes") {
    tine_value *v;
    if (tine_wait(tine_fork("ones", tine_arg(task, 0), tine_kw("dtype", "u8")), &v)) return NULL;
    return tine_bool(is_lent(v));
}

Test(memory, what_a_function_of_the_program_waits_for_is_not_copied, .timeout = 60) {
    cluster_start(NULL, 1);
    for (int bytes = 2 * MIB; bytes >= 32 << 10; bytes /= 2) {
        tine_value *kept = cluster_take(tine_fork("ones", bytes, tine_kw("dtype", "u8"))),
                   *taken = tine_call("memory_takes", bytes);
        if (bytes == 2 * MIB && !is_lent(kept)) cr_skip_test("nothing is lent here");
        cr_expect_eq(is_lent(kept), bytes >= MIB, "%d", bytes);
        cr_expect(tine_as_bool(taken), "%d", bytes);
        tine_release(kept);
        tine_release(taken);
    }
    cluster_stop();
}

TINE_FUNCTION(memory_waits, "mib, other") {
    tine_value *v;
    if (!take_up(tine_arg_int(task, 0))) return tine_fail(task, "no memory");
    const tine_fork_options there = {.worker = (uint32_t)tine_arg_int(task, 1)};
    return tine_wait(tine_fork_with(&there, "memory_computes"), &v) ? NULL : v;
}
TINE_FUNCTION(memory_computes, "") {
    while (!tine_cancelled(task))
        ;
    return tine_none();
}

Test(memory, a_full_worker_whose_task_waits_for_another_worker_gets_no_others, .timeout = 60) {
    start(NULL, 2);
    tine_worker_status w[2];
    cr_assert_eq(tine_workers(w, 2), 2);
    const tine_fork_options here = {.worker = w[0].id, .deadline = 0.25};
    tine_future *f = tine_fork_with(TINE_FORK_OPTIONS(.worker = w[0].id), "memory_waits",
                                    (int64_t)((limit / 100 * 85 - base) / MIB), (int64_t)w[1].id);
    for (int in_turn = 0; in_turn < 8;) { /* for longer than some looks take */
        tine_future *other = tine_fork_with(&here, "memory_worker");
        tine_error e = tine_wait(other, NULL);
        cr_assert(e == TINE_OK || e == TINE_ETIMEDOUT, "%s", tine_error_message());
        in_turn = e ? in_turn + 1 : 0;
        tine_release(other);
    }
    cr_expect_not(tine_done(f));
    tine_release(f);
    cluster_stop();
}

/* What a task waits for may have no other place than its worker. */
TRANSPORT_TEST_REMOTE(memory, forks_of_a_task_on_a_full_worker_run, 60) {
    start(endpoint, 1);
    tine_future *f = tine_fork("memory_forks", (int64_t)((limit / 100 * 85 - base) / MIB));
    cr_assert_gt(cluster_take_int(f), 0);
    cluster_stop();
}

TRANSPORT_TEST_REMOTE(memory, a_fork_past_the_limit_ends_its_worker_and_the_task_above_it, 60) {
    start(endpoint, 2);
    tine_future *f = tine_fork("memory_nests", ROOM + 200);
    cr_assert_eq(tine_wait(f, NULL), TINE_ELOST);
    cr_assert(strstr(tine_error_message(), "task \"memory_nests\" was lost on worker pid") &&
                  strstr(tine_error_message(), "MiB (TINE_MAX_MEMORY)"),
              "%s", tine_error_message());
    tine_release(f);
    for (int i = 0; i < 20; i++) cluster_take_int(tine_fork("memory_worker"));
    cluster_stop();
}
