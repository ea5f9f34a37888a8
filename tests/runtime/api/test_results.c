/* Futures as arguments: the values are the same wherever they are taken. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/api/future.h"
#include "tests/support/cluster.h"

enum { LARGE = 300000 }; /* elements: 1.2 MB */

static tine_value *filled(int64_t n, float with) {
    float *data = malloc((size_t)n * sizeof *data);
    for (int64_t i = 0; i < n; i++) data[i] = with + (float)(i % 1000);
    tine_value *x = tine_tensor(TINE_F32, 1, &n, data);
    free(data);
    return x;
}

TINE_FUNCTION(results_make, "n, with") {
    return filled(tine_arg_int(task, 0), (float)tine_arg_int(task, 1));
}
TINE_FUNCTION(results_second, "x") {
    return tine_float(((const float *)tine_data(tine_arg(task, 0)))[1]);
}
TINE_FUNCTION(results_pair, "x") { return tine_list(tine_arg(task, 0), 7); }
TINE_FUNCTION(results_pid, "x=None") { return tine_int(getpid()); }
TINE_FUNCTION(results_die, "") {
    raise(SIGKILL);
    return tine_none();
}

static double second(const tine_value *x) { return ((const float *)tine_data(x))[1]; }

static double take_second(tine_future *f) {
    tine_value *x = cluster_take(f);
    double v = second(x);
    tine_release(x);
    return v;
}

static double take_float(tine_future *f) {
    tine_value *x = cluster_take(f);
    double v = tine_as_float(x);
    tine_release(x);
    return v;
}

TRANSPORT_TEST(results, small_and_large_ones_are_arguments_before_and_after_they_are_done, 60) {
    cluster_start(endpoint, 2);
    static const int64_t sizes[] = {2, 2000, 30000, LARGE};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        tine_future *x = tine_fork("results_make", sizes[i], 5);
        tine_future *before = tine_fork("results_second", x);
        cr_assert_eq(tine_wait(x, NULL), TINE_OK);
        tine_future *after = tine_fork("results_second", x);
        cr_assert_eq(take_float(before), 6);
        cr_assert_eq(take_float(after), 6);
        tine_value *value;
        cr_assert_eq(tine_wait(x, &value), TINE_OK);
        cr_assert_eq(second(value), 6);
        cr_assert_eq(take_float(tine_fork("results_second", value)), 6);
        cr_assert_eq(take_float(tine_fork("results_second", x)), 6, "its value was taken");
        tine_release(value);
        tine_release(x);
    }
    cluster_stop();
}

TRANSPORT_TEST(results, many_tasks_use_many_results, 60) {
    enum { N = 12 };
    cluster_start(endpoint, 2);
    tine_future *x[N], *sums[N];
    for (int i = 0; i < N; i++) x[i] = tine_fork("results_make", i % 3 ? 20 : 40000, i);
    for (int i = 0; i < N; i++) {
        tine_value *list = tine_list_of_futures(x, N);
        sums[i] = tine_fork("results_pair", list);
        tine_release(list);
    }
    for (int i = 0; i < N; i++) tine_release(x[i]);
    for (int i = 0; i < N; i++) {
        tine_value *pair = cluster_take(sums[i]);
        const tine_value *list = tine_at(pair, 0);
        for (int k = 0; k < N; k++) cr_assert_eq(second(tine_at(list, (size_t)k)), k + 1);
        tine_release(pair);
    }
    cluster_stop();
}

TRANSPORT_TEST(results, a_result_that_is_the_argument_itself, 60) {
    cluster_start(endpoint, 2);
    tine_future *x = tine_fork("results_make", LARGE, 3), *pair = tine_fork("results_pair", x),
                *again = tine_fork("results_pair", pair);
    tine_release(x);
    tine_release(pair);
    tine_value *v = cluster_take(again);
    cr_assert_eq(second(tine_at(tine_at(v, 0), 0)), 4);
    tine_release(v);
    cluster_stop();
}

static atomic_int seen;
static void on_done(tine_future *f, void *ctx) {
    tine_value *value;
    (void)ctx;
    if (tine_wait(f, &value) == TINE_OK) atomic_store(&seen, (int)second(value));
    tine_release(value);
}

TRANSPORT_TEST(results, a_callback_takes_a_large_one, 60) {
    cluster_start(endpoint, 1);
    tine_future *x = tine_fork("results_make", LARGE, 8);
    cr_assert_eq(tine_on_done(x, on_done, NULL), TINE_OK);
    while (atomic_load(&seen) == 0) cr_assert_eq(cluster_take_int(tine_fork("results_pid")) > 0, 1);
    cr_assert_eq(atomic_load(&seen), 9);
    tine_release(x);
    cluster_stop();
}

/* Its only worker dies after the result was made. */
static void lose_worker(void) {
    tine_future *die = tine_fork("results_die");
    cr_assert_eq(tine_wait(die, NULL), TINE_ELOST);
    tine_release(die);
}

TRANSPORT_TEST_REMOTE(results, outlive_their_worker, 60) {
    cluster_start(endpoint, 1);
    tine_future *x = tine_fork("results_make", LARGE, 1), *again;
    cr_assert_eq(tine_wait(x, NULL), TINE_OK);
    lose_worker();
    again = tine_fork("results_second", x);
    cr_assert_eq(take_float(again), 2);
    cr_assert_eq(take_second(x), 2);
    cluster_stop();
}

TRANSPORT_TEST(results, combined_ones_that_stay_are_taken_and_are_arguments, 60) {
    cluster_start(endpoint, 2);
    tine_future *x[] = {tine_fork("results_make", LARGE, 1), tine_fork("results_make", 9, 2)};
    tine_future *all = tine_when_all(x, 2), *any = tine_when_any(x, 1);
    cr_assert_eq(tine_wait(all, NULL), TINE_OK);
    tine_value *pair = cluster_take(tine_fork("results_pair", all));
    cr_assert_eq(second(tine_at(tine_at(pair, 0), 0)), 2);
    cr_assert_eq(second(tine_at(tine_at(pair, 0), 1)), 3);
    cr_assert_eq(take_float(tine_fork("results_second", any)), 2);
    tine_value *list = cluster_take(all);
    cr_assert_eq(second(tine_at(list, 0)), 2);
    cr_assert_eq(take_second(any), 2);
    tine_release(pair);
    tine_release(list);
    for (int i = 0; i < 2; i++) tine_release(x[i]);
    cluster_stop();
}

TINE_FUNCTION(results_text, "n, x=None") {
    char text[1024];
    memset(text, 'a', sizeof text);
    text[tine_arg_int(task, 0)] = 0;
    return tine_string(text);
}

static bool is_decoded(const tine_future *f) { return f->value != NULL; }

/* What is only waited for and passed on stays encoded here. */
TRANSPORT_TEST(results, are_decoded_when_their_value_is_taken, 60) {
    static const int64_t sizes[] = {0, 1, 22, 23, 24, 31, 32, 253, 254, 255, 256, 1000};
    cluster_start(endpoint, 2);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        tine_future *x = tine_fork("results_text", sizes[i]),
                    *next = tine_fork("results_text", 5, x), *any = tine_when_any(&x, 1);
        cr_assert_eq(tine_wait(next, NULL), TINE_OK);
        cr_assert_eq(tine_wait(any, NULL), TINE_OK);
        cr_expect_not(is_decoded(x) && sizes[i] < 250, "%d bytes", (int)sizes[i]);
        cr_expect_not(is_decoded(next));
        tine_value *v[2];
        cr_assert_eq(tine_wait(x, &v[0]), TINE_OK);
        cr_assert_eq(tine_wait(any, &v[1]), TINE_OK);
        for (int k = 0; k < 2; k++) {
            cr_assert_eq(strlen(tine_as_string(v[k])), (size_t)sizes[i]);
            cr_assert_eq(strspn(tine_as_string(v[k]), "a"), (size_t)sizes[i]);
            tine_release(v[k]);
        }
        cr_expect(is_decoded(x));
        cr_expect_eq(cluster_take_int(tine_fork("results_pid", x)) > 0, 1, "it is an argument");
        tine_release(x);
        tine_release(next);
        tine_release(any);
    }
    cluster_stop();
}
