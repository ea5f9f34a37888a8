/* What programs need of the calls: functions named like built-in ones, lists of futures, bytes that
 * are filled in place, many arguments, numbers of every C type. */
#include <criterion/criterion.h>
#include <limits.h>
#include <string.h>

#include "tests/support/cluster.h"
#include "tests/support/program.h"

/* These names are built-in ones, and aborted when the program was loaded. */
TINE_FUNCTION(add, "a, b") {
    return tine_int(1000 + tine_arg_int(task, 0) + tine_arg_int(task, 1));
}
TINE_FUNCTION(identity, "x") { return tine_string("mine"); }
static void *lstm_new(tine_task *task) { return task; }
static tine_value *lstm_forward(tine_task *task) { return tine_int(tine_arg_int(task, 0) + 7); }
static const tine_method lstm_methods[] = {{"forward", "x", lstm_forward, 0}, {0}};
static const tine_class lstm = {"lstm", "", lstm_new, NULL, lstm_methods};
TINE_CLASS(lstm)

TINE_FUNCTION(test_total, "*items, **named") {
    int64_t sum = 0;
    const tine_value *items = tine_arg(task, 0), *named = tine_arg(task, 1);
    for (size_t i = 0; i < tine_length(items); i++) sum += tine_as_int(tine_at(items, i));
    for (size_t i = 0; i < tine_length(named); i++) sum += tine_as_int(tine_at(named, i));
    return tine_int(sum);
}
TINE_FUNCTION(test_length, "x") { return tine_int((int64_t)tine_length(tine_arg(task, 0))); }
TINE_FUNCTION(test_sum, "list") {
    int64_t sum = 0;
    for (size_t i = 0; i < tine_length(tine_arg(task, 0)); i++)
        sum += tine_as_int(tine_at(tine_arg(task, 0), i));
    return tine_int(sum);
}

TRANSPORT_TEST(programs, own_names_win_and_built_in_ones_keep_a_prefix, 20) {
    cluster_start(endpoint, 1);
    cr_assert_eq(cluster_take_int(tine_fork("add", 1, 2)), 1003);
    cr_assert_eq(cluster_take_int(tine_fork("tine.add", 1, 2)), 3);
    tine_value *v = tine_call("tine.add", 3, 4), *mine = tine_call("identity", 1);
    cr_assert_eq(tine_as_int(v), 7);
    cr_assert_str_eq(tine_as_string(mine), "mine");
    tine_release(v);
    tine_release(mine);
    tine_value *module = tine_module("lstm");
    cr_assert_eq(cluster_take_int(tine_fork(module, 1)), 8);
    tine_release(module);
    module = tine_module("tine.lstm", 3, 2);
    tine_future *f = tine_fork(module, 1);
    cr_assert_eq(tine_wait(f, NULL), TINE_EINVAL);
    cr_assert(strstr(tine_error_message(), "lstm.forward(): argument 'input' must be tensor"), "%s",
              tine_error_message());
    tine_release(f);
    tine_release(module);
    cluster_stop();
}

TRANSPORT_TEST(programs, lists_of_futures_and_of_nothing, 20) {
    cluster_start(endpoint, 1);
    tine_future *f[20];
    for (int i = 0; i < 20; i++) f[i] = tine_fork("tine.add", i, 1);
    tine_value *list = tine_list_of_futures(f, 20), *none = tine_list();
    cr_assert_eq(cluster_take_int(tine_fork("test_sum", list)), 210);
    cr_assert_eq(tine_length(none), 0);
    cr_assert_eq(cluster_take_int(tine_fork("test_length", tine_list_of_futures(NULL, 0))), 0);
    for (int i = 0; i < 20; i++) tine_release(f[i]);
    f[1] = NULL;
    cr_assert_null(tine_list_of_futures(f + 1, 1));
    tine_release(list);
    tine_release(none);
    cluster_stop();
}

TRANSPORT_TEST(programs, bytes_are_filled_in_place, 20) {
    cluster_start(endpoint, 1);
    void *data;
    tine_value *v = tine_bytes_new(100000, &data);
    memset(data, 'x', 100000);
    tine_value *back = cluster_take(tine_fork("tine.identity", v));
    cr_assert(tine_equal(v, back));
    cr_assert_null(tine_bytes_new(SIZE_MAX, &data));
    cr_assert_null(data);
    tine_release(v);
    tine_release(back);
    cluster_stop();
}

TRANSPORT_TEST(programs, an_array_holds_any_number_of_arguments, 20) {
    cluster_start(endpoint, 1);
    tine_argument args[102] = {TINE_ARGUMENT("test_total")};
    for (int i = 1; i <= 100; i++) args[i] = TINE_ARGUMENT(i);
    args[101] = tine_kw("more", 7);
    cr_assert_eq(cluster_take_int(tine_fork_args(NULL, args, 102)), 5057);
    tine_value *v = tine_call_args(NULL, args, 101);
    cr_assert_eq(tine_as_int(v), 5050);
    tine_release(v);
    tine_future *f = tine_fork_args(NULL, NULL, 0);
    cr_assert_eq(tine_wait(f, NULL), TINE_EINVAL);
    tine_release(f);
    cr_assert_null(tine_call_args(NULL, args, 0));
    cr_assert_null(tine_module_args(NULL, 0));
    cluster_stop();
}

/* 2^64 - 1 arrived as -1. */
Test(programs, numbers_of_every_type_are_exact_or_refused, .timeout = 20) {
    tine_value *v =
        tine_list((char)1, (signed char)-1, (unsigned char)255, (short)-2, (unsigned short)65535, 3,
                  4u, -5L, 6UL, -7LL, 8ULL, 1.5f, 2.5, true, (bool)true);
    static const int64_t wanted[] = {1, -1, 255, -2, 65535, 3, 4, -5, 6, -7, 8};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        cr_assert_eq(tine_as_int(tine_at(v, i)), wanted[i]);
    cr_assert_eq(tine_as_float(tine_at(v, 11)), 1.5);
    cr_assert_eq(tine_kind_of(tine_at(v, 14)), TINE_BOOL);
    tine_release(v);
    v = tine_list((uint64_t)INT64_MAX);
    cr_assert_eq(tine_as_int(tine_at(v, 0)), INT64_MAX);
    tine_release(v);
    cr_assert_null(tine_list(UINT64_MAX));
    cr_assert_eq(tine_last_error(), TINE_EINVAL);
    cr_assert(strstr(tine_error_message(), "18446744073709551615"), "%s", tine_error_message());
    cr_assert_null(tine_full(TINE_I64, 0, NULL, 1.5));
    cr_assert_eq(tine_last_error(), TINE_EINVAL);
}

static int compiles(const char *expression) {
    tine_program p = tine_program_run(20,
                                      "printf '#include <complex.h>\\n#include <tine.h>\\nint x; "
                                      "tine_value *f(void) { return %s; }\\n' | "
                                      "cc -std=gnu11 -Iruntime -x c -fsyntax-only -",
                                      expression);
    int code = p.code;
    tine_program_fini(&p);
    return code == 0;
}

/* They were converted to an int in silence, or with a warning. */
Test(programs, what_is_no_argument_does_not_compile, .timeout = 60) {
    cr_assert(compiles("tine_list(1, 2.5, \"x\")"));
    cr_assert(compiles("tine_list()"));
    static const char *const wrong[] = {"tine_list(1.5L)", "tine_list(1.0 * I)", "tine_list(&x)",
                                        "tine_call(\"neg\", (void *)0)",
                                        "tine_call(\"neg\", tine_kw(\"x\", (long *)0))"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        cr_assert_not(compiles(wrong[i]), "%s", wrong[i]);
}
