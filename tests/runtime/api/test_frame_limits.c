/* What does not fit into one message is refused by the call that makes it, and no worker is lost
 * for it; many tensors in one message fit. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/cluster.h"

enum { LIMIT = 1 << 20, LARGE = 3 << 20 };

TINE_REPEATABLE_FUNCTION(frame_elements, "x") { return tine_int(tine_elements(tine_arg(task, 0))); }
TINE_REPEATABLE_FUNCTION(frame_zeros, "n") {
    int64_t n = tine_arg_int(task, 0);
    return tine_zeros(TINE_U8, 1, &n);
}
TINE_REPEATABLE_FUNCTION(frame_one, "i") {
    int64_t i = tine_arg_int(task, 0);
    return tine_tensor(TINE_I64, 0, NULL, &i);
}
TINE_REPEATABLE_FUNCTION(frame_gather, "parts") {
    const tine_value *parts = tine_arg(task, 0);
    int64_t sum = 0;
    for (size_t i = 0; i < tine_length(parts); i++)
        sum += *(const int64_t *)tine_data(tine_at(parts, i));
    return tine_int(sum);
}
TINE_REPEATABLE_FUNCTION(frame_many, "n") {
    size_t n = (size_t)tine_arg_int(task, 0);
    tine_value **parts = calloc(n, sizeof *parts);
    for (size_t i = 0; i < n; i++) {
        int64_t x = (int64_t)i;
        parts[i] = tine_tensor(TINE_I64, 0, NULL, &x);
    }
    tine_value *list = tine_list_of(parts, n);
    free(parts);
    return list;
}
TINE_REPEATABLE_FUNCTION(frame_nested, "what") {
    int64_t what = tine_arg_int(task, 0), n = LARGE;
    tine_value *large = tine_zeros(TINE_U8, 1, &n), *out = NULL;
    if (what == 0) return tine_put(large);
    tine_error e = tine_wait(tine_fork("frame_elements", large), &out);
    return e == TINE_OK ? out : NULL;
}

static void *frame_keep(tine_task *task) {
    (void)task;
    return malloc(1);
}
static const tine_method frame_methods[] = {{0}};
static const tine_class frame_kept = {"frame_kept", "x", frame_keep, free, frame_methods};
TINE_CLASS(frame_kept)

static tine_value *zeros(int64_t n) {
    tine_value *v = tine_zeros(TINE_U8, 1, &n);
    cr_assert(v);
    return v;
}

static void refused(tine_future *f) {
    cr_assert_eq(tine_wait(f, NULL), TINE_EINVAL, "%s", tine_error_message());
    cr_assert(strstr(tine_error_message(), "TINE_MAX_FRAME"), "%s", tine_error_message());
    tine_release(f);
}

static pid_t worker_pid(void) {
    tine_value *v = cluster_take(tine_fork("frame_pid"));
    pid_t pid = (pid_t)tine_as_int(v);
    tine_release(v);
    return pid;
}
TINE_REPEATABLE_FUNCTION(frame_pid, "") {
    (void)task;
    return tine_int(getpid());
}

TRANSPORT_TEST(frame_limits, past_max_frame, 60) {
    tine_options o = {.endpoint = endpoint, .workers = 1, .max_frame = LIMIT, .log_level = "error"};
    cluster_start_with(&o);
    pid_t before = worker_pid();
    tine_value *large = zeros(LARGE);
    refused(tine_fork("frame_elements", large));
    refused(tine_fork("frame_zeros", LARGE));
    refused(tine_fork("frame_nested", 0));
    refused(tine_fork("frame_nested", 1));
    cr_assert(!tine_put(large));
    cr_assert(strstr(tine_error_message(), "TINE_MAX_FRAME"), "%s", tine_error_message());
    cr_assert(!tine_module("frame_kept", large));
    cr_assert(strstr(tine_error_message(), "TINE_MAX_FRAME"), "%s", tine_error_message());
    tine_release(large);
    large = zeros(LIMIT - 8192); /* close to the limit */
    cr_assert_eq(cluster_take_int(tine_fork("frame_elements", large)), LIMIT - 8192);
    tine_release(large);
    cr_assert_eq(worker_pid(), before, "the worker was replaced");
    cluster_stop();
}

TRANSPORT_TEST(frame_limits, futures_gathered, 60) {
    enum { N = 5000 };
    cluster_start(endpoint, 2);
    tine_future *f[N];
    tine_value **parts = calloc(N, sizeof *parts);
    for (int i = 0; i < N; i++) f[i] = tine_fork("frame_one", i);
    cr_assert_eq(tine_wait_all(f, N, parts), TINE_OK, "%s", tine_error_message());
    tine_value *list = tine_list_of(parts, N);
    cr_assert_eq(cluster_take_int(tine_fork("frame_gather", list)), (int64_t)N * (N - 1) / 2);
    tine_value *back = cluster_take(tine_fork("frame_many", 20000));
    cr_assert_eq(tine_length(back), 20000);
    cr_assert_eq(*(const int64_t *)tine_data(tine_at(back, 19999)), 19999);
    tine_release(back);
    tine_release(list);
    for (int i = 0; i < N; i++) tine_release(parts[i]), tine_release(f[i]);
    free(parts);
    cluster_stop();
}

/* The ids of what a worker is told to drop are one message each for so many. */
Test(frame_limits, objects_released_at_once, .timeout = 60) {
    enum { N = 20000 };
    tine_options o = {.workers = 1, .max_frame = 64 << 10, .log_level = "error"};
    cluster_start_with(&o);
    pid_t before = worker_pid();
    tine_value **puts = calloc(N, sizeof *puts);
    for (int i = 0; i < N; i++) {
        tine_value *v = tine_int(i);
        puts[i] = tine_put(v);
        tine_release(v);
    }
    enum { STEP = 1000 }; /* so many references in one message */
    for (int i = 0; i < N; i += STEP) {
        tine_value *list = tine_list_of(puts + i, STEP);
        cr_assert_eq(cluster_take_int(tine_fork("frame_count", list)), STEP);
        tine_release(list);
    }
    for (int i = 0; i < N; i++) tine_release(puts[i]);
    free(puts);
    cr_assert_eq(worker_pid(), before, "the worker was replaced");
    cluster_stop();
}
TINE_REPEATABLE_FUNCTION(frame_count, "x") {
    return tine_int((int64_t)tine_length(tine_arg(task, 0)));
}

/* A name is a part of the header. */
Test(frame_limits, long_name, .timeout = 60) {
    cluster_start(NULL, 1);
    char name[5000];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    tine_future *f = tine_fork(name);
    cr_assert_eq(tine_wait(f, NULL), TINE_EINVAL);
    cr_assert_str_eq(tine_error_message(), "the name of the function "
                                           "\"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn...\" has more than "
                                           "1024 bytes");
    tine_release(f);
    cr_assert(!tine_module(name));
    cr_assert_eq(tine_last_error(), TINE_EINVAL);
    cluster_stop();
}

Test(frame_limits, nesting_is_refused_where_it_is_made, .timeout = 60) {
    cluster_start(NULL, 1);
    tine_value *v = tine_int(1);
    for (int i = 0; i < 64; i++) {
        tine_value *list = tine_list_of(&v, 1);
        cr_assert(list, "%d: %s", i, tine_error_message());
        tine_release(v);
        v = list;
    }
    tine_value *back = cluster_take(tine_fork("frame_echo", v));
    cr_assert_eq(tine_length(back), 1);
    tine_release(back);
    tine_future *f = tine_fork("frame_echo", tine_list_of(&v, 1));
    cr_assert_eq(tine_wait(f, NULL), TINE_EINVAL);
    cr_assert(strstr(tine_error_message(), "at most 64 deep"), "%s", tine_error_message());
    tine_release(f);
    tine_release(v);
    cluster_stop();
}
TINE_REPEATABLE_FUNCTION(frame_echo, "x") { return tine_ref(tine_arg(task, 0)); }
