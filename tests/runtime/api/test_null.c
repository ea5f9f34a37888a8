/* NULL where a call wants an array, a task or a path is an error with a sentence. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "tests/support/cluster.h"

static void says(const char *what, bool failed, const char *words) {
    cr_expect(failed, "%s", what);
    cr_expect_eq(tine_last_error(), TINE_EINVAL, "%s: %s", what, tine_error_message());
    cr_expect(strstr(tine_error_message(), words), "%s: %s", what, tine_error_message());
}

Test(null, arrays_of_values_and_futures, .timeout = 60) {
    says("tine_list_of", !tine_list_of(NULL, 2), "the array of items is NULL");
    says("tine_list_of_futures", !tine_list_of_futures(NULL, 2), "the array of futures is NULL");
    says("tine_dict_of", !tine_dict_of(NULL, NULL, 1), "the array of keys is NULL");
    says("tine_dict_of", !tine_dict_of((const char *[]){"a"}, NULL, 1), "the array of items");
    says("tine_tensor_new", !tine_tensor_new(TINE_F32, 1, NULL, NULL), "shape is NULL");
    tine_value *empty = tine_list_of(NULL, 0), *none = tine_dict_of(NULL, NULL, 0);
    cr_expect(empty && tine_length(empty) == 0 && none && tine_length(none) == 0);
    tine_release(empty);
    tine_release(none);
}

Test(null, tasks, .timeout = 60) {
    says("tine_arg", !tine_arg(NULL, 0), "is NULL");
    says("tine_arg_bool", !tine_arg_bool(NULL, 0), "is NULL");
    says("tine_arg_int", !tine_arg_int(NULL, 0), "is NULL");
    says("tine_arg_float", !(tine_arg_float(NULL, 0) != 0), "is NULL");
    says("tine_arg_string", !tine_arg_string(NULL, 0), "is NULL");
    says("tine_arg_tensor", !tine_arg_tensor(NULL, 0, TINE_F32, 1), "is NULL");
    says("tine_self", !tine_self(NULL), "tine_self: the task is NULL");
    says("tine_self_module", !tine_self_module(NULL), "tine_self_module: the task is NULL");
    says("tine_yield", tine_yield(NULL, NULL) != TINE_OK, "is NULL");
    cr_expect(!tine_fail(NULL, "no %s", "task"));
    cr_expect_str_eq(tine_error_message(), "no task");
}

Test(null, paths, .timeout = 30) {
    cluster_start("inproc://null", 1);
    says("tine_trace_write", tine_trace_write(NULL) != TINE_OK, "the path is NULL");
    says("tine_load", !tine_load(NULL, NULL), "the path is NULL");
    says("tine_save", tine_save(NULL, NULL) != TINE_OK, "the path is NULL");
    cluster_stop();
}

/* A number that is none of the options' says what is allowed. */
Test(null, options, .timeout = 30) {
    cluster_start("inproc://null", 1);
    static const struct {
        tine_fork_options options;
        const char *words;
    } wrong[] = {{{.deadline = NAN}, "the deadline must be 0 or more"},
                 {{.grace = -INFINITY}, "the grace must be 0 or more"},
                 {{.retries = -2}, "retries must be -1 or more"},
                 {{.stream = -1}, "stream must be 0 or more"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        tine_future *f = tine_fork_with(&wrong[i].options, "neg", 1);
        says("tine_fork_with", tine_wait(f, NULL) != TINE_OK, wrong[i].words);
        tine_release(f);
    }
    cluster_stop();
}

/* A keyword without a name was taken as a positional argument. */
Test(null, keywords, .timeout = 30) {
    const char *forgotten = NULL;
    tine_value *x = tine_ones(TINE_F32, 1, TINE_SHAPE(2));
    cluster_start("inproc://null", 1);
    says("tine_call", !tine_call("sum", x, tine_kw(forgotten, 0)), "argument 2: the keyword is");
    says("tine_call", !tine_call("sum", tine_kw("", x)), "argument 1: the keyword is");
    tine_future *f = tine_fork("sum", x, tine_kw(forgotten, 0));
    says("tine_fork", tine_wait(f, NULL) != TINE_OK, "argument 2: the keyword is");
    says("tine_module", !tine_module("linear", tine_kw(forgotten, x)), "argument 1: the keyword");
    says("tine_list", !tine_list(x, tine_kw(forgotten, x)), "a list has no keys");
    tine_release(f), tine_release(x);
    cluster_stop();
}
