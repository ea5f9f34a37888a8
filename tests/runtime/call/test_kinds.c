/* Values of other kinds than a function expects: C11's true, which is an int, numbers for the kind
 * that a default declares, and readers whose failure nobody checks. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

#include "runtime/call/call.h"
#include "tests/support/cluster.h"

static tine_value *kind_of(tine_task *task, size_t i) {
    return tine_string(tine_kind_name(tine_kind_of(tine_arg(task, i))));
}
TINE_FUNCTION(kinds_show, "keep=false, scale=1.5, n=1, name='x'") {
    return tine_list(kind_of(task, 0), kind_of(task, 1), kind_of(task, 2), kind_of(task, 3));
}
TINE_FUNCTION(kinds_bool, "x") { return tine_int(tine_arg_bool(task, 0) ? 7 : 8); }
TINE_FUNCTION(kinds_float, "x=1.5") { return tine_float(tine_arg_float(task, 0)); }
TINE_FUNCTION(kinds_sum, "x") {
    int64_t sum = 0;
    for (size_t i = 0; i < tine_length(tine_arg(task, 0)); i++)
        sum += tine_as_int(tine_at(tine_arg(task, 0), i));
    return tine_int(sum);
}
TINE_FUNCTION(kinds_read, "how, x") {
    const tine_value *x = tine_arg(task, 1);
    switch (tine_arg_int(task, 0)) {
    case 0: tine_as_bool(x); break;
    case 1: tine_as_int(x); break;
    case 2: tine_as_float(x); break;
    case 3: tine_as_string(x); break;
    case 4: tine_as_bytes(x, NULL); break;
    case 5: tine_length(x); break;
    case 6: tine_at(x, 0); break;
    case 7: tine_get(x, "key"); break;
    case 8: tine_key_at(x, 0); break;
    case 9: tine_rank(x); break;
    case 10: tine_shape(x); break;
    case 11: tine_data(x); break;
    case 12: tine_elements(x); break;
    default: tine_dtype_of(x);
    }
    return tine_int(0);
}
enum { KINDS_READERS = 14 };
TINE_FUNCTION(kinds_first, "x") {
    if (tine_arg_int(task, 0) < 1) return tine_fail(task, "x must be positive");
    return tine_none();
}
TINE_FUNCTION(kinds_probe, "x") {
    const tine_value *x = tine_arg(task, 0);
    return tine_bool(tine_get(x, "missing") || tine_at(x, 5));
}

static bool is_list_of(const tine_value *v, const char *const *texts, size_t n) {
    bool same = tine_length(v) == n;
    for (size_t i = 0; same && i < n; i++)
        same = strcmp(tine_as_string(tine_at(v, i)), texts[i]) == 0;
    return same;
}

/* An int stood where a bool was declared: keepdim=true was ignored in silence. */
TRANSPORT_TEST(kinds, a_literal_true_is_a_bool_where_the_default_is_one, 20) {
    cluster_start(endpoint, 1);
    static const char *const wanted[] = {"bool", "float", "int", "string"};
    tine_value *v = cluster_take(tine_fork("kinds_show", true, 2));
    cr_assert(is_list_of(v, wanted, 4));
    tine_release(v);
    v = tine_call("kinds_show", tine_kw("keep", 1 < 2), tine_kw("scale", 0));
    cr_assert(is_list_of(v, wanted, 4));
    tine_release(v);
    cr_assert_eq(cluster_take_int(tine_fork("kinds_bool", true)), 7);
    cr_assert_eq(cluster_take_int(tine_fork("kinds_bool", (bool)false)), 8);
    tine_value *x = tine_ones(TINE_F32, 2, (int64_t[]){2, 3}),
               *sum = tine_call("sum", x, tine_kw("dim", 0), tine_kw("keepdim", true));
    cr_assert_eq(tine_rank(sum), 2);
    tine_release(x);
    tine_release(sum);
    cluster_stop();
}

static void refused(tine_future *f, const char *part) {
    tine_value *v = NULL;
    cr_expect_eq(tine_wait(f, &v), TINE_EINVAL, "%s", tine_error_message());
    cr_expect_null(v);
    cr_expect(strstr(tine_error_message(), part), "\"%s\" lacks \"%s\"", tine_error_message(),
              part);
    tine_release(f);
}

TRANSPORT_TEST(kinds, a_wrong_kind_fails_the_task_by_name, 20) {
    cluster_start(endpoint, 1);
    refused(tine_fork("kinds_show", 2), "kinds_show(): argument 'keep' must be a bool, 0 or 1");
    refused(tine_fork("kinds_show", "yes"), "argument 'keep' must be bool, not string");
    refused(tine_fork("kinds_show", 0.0), "argument 'keep' must be bool, not float");
    refused(tine_fork("kinds_bool", 2), "argument 'x' must be a bool, 0 or 1, not 2");
    refused(tine_fork("kinds_bool", "no"), "kinds_bool(): argument 'x' must be bool, not string");
    refused(tine_fork("kinds_first", "one"), "kinds_first(): argument 'x' must be int, not string");
    tine_value *mixed = tine_list(1, "two");
    refused(tine_fork("kinds_sum", mixed), "kinds_sum(): a value must be int, not string");
    tine_release(mixed);
    cluster_stop();
}

/* Each returned 0, false or NULL, with which the task went on. */
Test(kinds, no_reader_fails_in_silence_inside_a_task, .timeout = 20) {
    cluster_start("inproc://*", 1);
    for (int how = 0; how < KINDS_READERS; how++) {
        tine_value *x = tine_none();
        refused(tine_fork("kinds_read", how, x), "kinds_read(): argument 'x' must be ");
        cr_assert_null(tine_call("kinds_read", how, x), "reader %d", how);
        cr_assert_eq(tine_last_error(), TINE_EINVAL);
    }
    tine_value *d = tine_dict_of((const char *[]){"a"}, (tine_value *[]){tine_none()}, 1);
    tine_value *v = tine_call("kinds_probe", d);
    cr_assert_not_null(v, "a key that is not there is no wrong kind: %s", tine_error_message());
    cr_assert_not(tine_as_bool(v));
    tine_release(d);
    cluster_stop();
}

/* It was rounded in silence. */
Test(kinds, an_int_that_a_float_would_round_is_refused, .timeout = 20) {
    const int64_t exact[] = {1LL << 53, -(1LL << 62), INT64_MIN}, *n = (int64_t[]){1};
    const int64_t rounded[] = {(1LL << 53) + 1, -(1LL << 53) - 1, INT64_MAX};
    cluster_start("inproc://*", 1);
    for (int i = 0; i < 3; i++) {
        tine_value *v = tine_int(exact[i]), *x = tine_tensor(TINE_I64, 1, n, &rounded[i]);
        cr_expect_eq(tine_as_float(v), (double)exact[i]);
        refused(tine_fork("kinds_read", 2, rounded[i]), "would be rounded as a float");
        refused(tine_fork("kinds_read", 2, x), "would be rounded as a float");
        refused(tine_fork("kinds_float", rounded[i]), "would be rounded as a float");
        tine_release(v);
        tine_release(x);
    }
    cluster_stop();
}

Test(kinds, outside_a_task_a_reader_sets_the_error, .timeout = 20) {
    tine_value *s = tine_string("x"), *one = tine_int(1), *two = tine_int(2);
    cr_assert_eq(tine_as_int(s), 0);
    cr_assert_eq(tine_last_error(), TINE_EINVAL);
    cr_assert(tine_as_bool(one));
    cr_assert_not(tine_as_bool(two));
    tine_release(s);
    tine_release(one);
    tine_release(two);
}
