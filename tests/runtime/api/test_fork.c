/* fork and wait as a user sees them, over every transport: arguments, results, futures in
 * arguments, waiting in its forms, errors. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include "tests/support/cluster.h"

TINE_FUNCTION(test_add, "a, b=10") {
    return tine_int(tine_arg_int(task, 0) + tine_arg_int(task, 1));
}
TINE_FUNCTION(test_echo, "x") { return tine_ref(tine_arg(task, 0)); }
TINE_FUNCTION(test_fail, "why") {
    return tine_fail(task, "it broke: %s", tine_arg_string(task, 0));
}
TINE_FUNCTION(test_total, "*items, scale=1") {
    int64_t sum = 0;
    const tine_value *items = tine_arg(task, 0);
    for (size_t i = 0; i < tine_length(items); i++) sum += tine_as_int(tine_at(items, i));
    return tine_int(sum * tine_arg_int(task, 1));
}
TINE_FUNCTION(test_list_total, "items") {
    int64_t sum = 0;
    const tine_value *items = tine_arg(task, 0);
    for (size_t i = 0; i < tine_length(items); i++) sum += tine_as_int(tine_at(items, i));
    return tine_int(sum);
}
TINE_FUNCTION(test_sum, "x") {
    const tine_value *x = tine_arg_tensor(task, 0, TINE_F32, -1);
    double sum = 0;
    for (int64_t i = 0; x && i < tine_elements(x); i++) sum += ((const float *)tine_data(x))[i];
    return tine_float(sum);
}
TINE_FUNCTION(test_spin, "seconds") {
    struct timespec t0, t;
    clock_gettime(CLOCK_MONOTONIC, &t0);
    do clock_gettime(CLOCK_MONOTONIC, &t);
    while ((double)(t.tv_sec - t0.tv_sec) + (double)(t.tv_nsec - t0.tv_nsec) / 1e9 <
           tine_arg_float(task, 0));
    return tine_none();
}
TINE_FUNCTION(test_later, "n") {
    return tine_future_value(tine_fork("test_add", tine_arg_int(task, 0), 1));
}
TINE_FUNCTION(test_nested, "n") {
    int64_t n = tine_arg_int(task, 0);
    if (n == 0) return tine_int(0);
    tine_value *below;
    if (tine_wait(tine_fork("test_nested", n - 1), &below)) return NULL;
    return tine_int(tine_as_int(below) + 1);
}

TRANSPORT_TEST(fork, positional_and_keyword_arguments, 20) {
    cluster_start(endpoint, 2);
    cr_assert_eq(cluster_take_int(tine_fork("test_add", 1, 2)), 3);
    cr_assert_eq(cluster_take_int(tine_fork("test_add", 1)), 11);
    cr_assert_eq(cluster_take_int(tine_fork("test_add", tine_kw("b", 5), tine_kw("a", 6))), 11);
    cr_assert_eq(cluster_take_int(tine_fork("test_total", 1, 2, 3, tine_kw("scale", 7))), 42);
    cluster_stop();
}

static void echo(tine_value *v) {
    tine_value *back = cluster_take(tine_fork("test_echo", v));
    cr_assert(tine_equal(v, back), "a %s came back changed", tine_kind_name(tine_kind_of(v)));
    tine_release(back);
    tine_release(v);
}

TRANSPORT_TEST(fork, every_kind_of_value_there_and_back, 20) {
    cluster_start(endpoint, 1);
    echo(tine_none());
    echo(tine_bool(true));
    echo(tine_int(INT64_MIN));
    echo(tine_float(-0.0));
    echo(tine_float(INFINITY));
    echo(tine_string("naïve"));
    echo(tine_string(""));
    echo(tine_bytes("a\0b", 3));
    echo(tine_ones(TINE_F32, 8, ((int64_t[]){1, 2, 1, 2, 1, 2, 1, 3})));
    echo(tine_ones(TINE_F64, 0, NULL));
    echo(tine_ones(TINE_BF16, 1, (int64_t[]){5}));
    echo(tine_ones(TINE_I64, 2, ((int64_t[]){0, 4})));
    tine_value *parts[2] = {tine_int(1), tine_list("a", 2.5, true)};
    echo(tine_list_of(NULL, 0));
    echo(tine_dict_of((const char *[]){"one", "list"}, parts, 2));
    tine_release(parts[0]);
    tine_release(parts[1]);
    cluster_stop();
}

TRANSPORT_TEST(fork, futures_as_arguments, 20) {
    cluster_start(endpoint, 2);
    tine_future *a = tine_fork("test_add", 1, 2), *b = tine_fork("test_add", a, a),
                *c = tine_fork("test_add", b, tine_kw("b", a));
    cr_assert_eq(cluster_take_int(c), 9);
    tine_value *list = tine_list(a, b, 100);
    cr_assert_eq(cluster_take_int(tine_fork("test_list_total", list)), 109);
    tine_release(list);
    tine_release(a);
    tine_release(b);
    cluster_stop();
}

TRANSPORT_TEST(fork, a_failed_future_as_argument_fails_the_fork, 20) {
    cluster_start(endpoint, 2);
    tine_future *a = tine_fork("test_fail", "badly"), *b = tine_fork("test_add", a, 1);
    cr_assert_eq(tine_wait(b, NULL), TINE_EFAILED);
    cr_assert(strstr(tine_error_message(), "it broke: badly"), "%s", tine_error_message());
    tine_release(a);
    tine_release(b);
    cluster_stop();
}

TRANSPORT_TEST(fork, a_future_returned_from_a_task, 20) {
    cluster_start(endpoint, 1);
    cr_assert_eq(cluster_take_int(tine_fork("test_later", 41)), 42);
    cluster_stop();
}

TRANSPORT_TEST(fork, wait_any_and_wait_all, 20) {
    cluster_start(endpoint, 2);
    tine_future *f[3] = {tine_fork("test_spin", 0.2), tine_fork("test_add", 1, 1),
                         tine_fork("test_add", 2, 2)};
    size_t first = 9;
    cr_assert_eq(tine_wait_any(f, 3, &first), TINE_OK);
    cr_assert_neq(first, 0);
    tine_value *out[3];
    cr_assert_eq(tine_wait_all(f, 3, out), TINE_OK);
    cr_assert_eq(tine_as_int(out[1]), 2);
    cr_assert_eq(tine_as_int(out[2]), 4);
    for (int i = 0; i < 3; i++) {
        cr_assert(tine_done(f[i]));
        tine_release(f[i]);
        tine_release(out[i]);
    }
    cluster_stop();
}

TRANSPORT_TEST(fork, a_deadline_passes_and_the_future_goes_on, 20) {
    cluster_start(endpoint, 1);
    tine_future *f = tine_fork("test_spin", 0.3);
    cr_assert_eq(tine_wait_for(f, 0.01, NULL), TINE_ETIMEDOUT);
    cr_assert(strstr(tine_error_message(), "\"test_spin\""), "%s", tine_error_message());
    cr_assert_eq(tine_wait_for(f, 10, NULL), TINE_OK);
    tine_release(f);
    cluster_stop();
}

static void fork_again(tine_future *f, void *ctx) {
    (void)f;
    *(tine_future **)ctx = tine_fork("test_add", 20, 3);
}

TRANSPORT_TEST(fork, a_callback_may_fork, 20) {
    cluster_start(endpoint, 1);
    tine_future *next = NULL, *f = tine_fork("test_add", 1, 1);
    cr_assert_eq(tine_on_done(f, fork_again, &next), TINE_OK);
    cr_assert_eq(tine_wait(f, NULL), TINE_OK);
    while (!__atomic_load_n(&next, __ATOMIC_ACQUIRE)) cluster_take_int(tine_fork("test_add", 1, 1));
    cr_assert_eq(cluster_take_int(next), 23);
    tine_release(f);
    cluster_stop();
}

static void expect_error(tine_future *f, tine_error e, const char *part) {
    cr_assert_eq(tine_wait(f, NULL), e, "%s: %s", tine_error_name(tine_last_error()),
                 tine_error_message());
    cr_assert(strstr(tine_error_message(), part), "\"%s\" lacks \"%s\"", tine_error_message(),
              part);
    tine_release(f);
}

TRANSPORT_TEST(fork, errors_reach_the_caller, 20) {
    cluster_start(endpoint, 2);
    expect_error(tine_fork("test_fail", "so"), TINE_EFAILED, "it broke: so");
    expect_error(tine_fork("test_fail", "so"), TINE_EFAILED, "test_fail");
    expect_error(tine_fork("test_fail", "so"), TINE_EFAILED, "pid ");
    expect_error(tine_fork("test_ad", 1, 2), TINE_EUNKNOWN, "test_ad");
    expect_error(tine_fork("test_add"), TINE_EINVAL, "a");
    expect_error(tine_fork("test_add", 1, tine_kw("c", 2)), TINE_EINVAL, "c");
    expect_error(tine_fork("test_add", "one", 1), TINE_EINVAL, "int");
    expect_error(tine_fork("test_add", (tine_value *)NULL, 1), TINE_EINVAL, "");
    cluster_stop();
}

TRANSPORT_TEST(fork, a_chain_of_1000_nested_forks_finishes_on_one_worker, 60) {
    cluster_start(endpoint, 1);
    cr_assert_eq(cluster_take_int(tine_fork("test_nested", 1000)), 1000);
    cluster_stop();
}

TRANSPORT_TEST(fork, put_values_travel_by_reference, 20) {
    cluster_start(endpoint, 2);
    tine_value *big = tine_ones(TINE_F32, 1, (int64_t[]){1 << 20}), *put = tine_put(big);
    cr_assert(put, "%s", tine_error_message());
    tine_future *f[8];
    for (int i = 0; i < 8; i++) f[i] = tine_fork("test_sum", put);
    for (int i = 0; i < 8; i++) {
        tine_value *v = cluster_take(f[i]);
        cr_assert_eq(tine_as_float(v), 1 << 20);
        tine_release(v);
    }
    tine_value *back = cluster_take(tine_fork("test_echo", put));
    cr_assert(tine_equal(back, big));
    tine_release(back);
    tine_release(put);
    tine_release(big);
    cluster_stop();
}
