/* Signatures, binding, and what a call does with results, errors and what its task made. */
#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>

#include "runtime/call/signature.h"

#define test(name) Test(call, name, .timeout = 20)

TINE_FUNCTION(call_echo, "x, y=2, *rest, z, flag=false, **options") {
    return tine_list(tine_arg(task, 0), tine_arg(task, 1), tine_arg(task, 2), tine_arg(task, 3),
                     tine_arg(task, 4), tine_arg(task, 5));
}
TINE_FUNCTION(call_one, "x") { return (tine_value *)tine_arg(task, 0); }
TINE_FUNCTION(call_ref, "x") { return tine_ref(tine_arg(task, 0)); }
static tine_value *kept;
TINE_FUNCTION(call_keep, "x") {
    tine_value *made = tine_list(tine_arg(task, 0));
    kept = tine_ref(made);
    return made;
}
TINE_FUNCTION(call_kept, "") { return tine_ref(kept); }
TINE_FUNCTION(call_range, "x, dim=0, keep=true") { return tine_int(tine_arg_int(task, 1)); }
TINE_FUNCTION(call_none, "") { return tine_none(); }
TINE_FUNCTION(call_keyword, "x, *, state_dict, dtype='f32'") {
    return tine_string(tine_arg_string(task, 2));
}
TINE_FUNCTION(call_null, "") { return NULL; }
TINE_FUNCTION(call_fail, "n") {
    return tine_fail(task, "no such row %d", (int)tine_arg_int(task, 0));
}
TINE_FUNCTION(call_tensor, "x") {
    tine_arg_tensor(task, 0, TINE_F32, 2);
    return tine_none();
}
TINE_FUNCTION(call_past, "x") {
    tine_arg(task, 1);
    return tine_none();
}
TINE_FUNCTION(call_makes, "n") {
    tine_value *v = tine_none();
    for (int64_t i = 0; i < tine_arg_int(task, 0); i++) v = tine_list(v, i);
    return v;
}

static tine_error run_args(const char *name, tine_value **out, const tine_argument *args,
                           size_t n) {
    tine_arguments a = {0};
    const tine_callable *c = tine_registry_function(name);
    cr_assert_not_null(c);
    tine_error e = tine_arguments_make(&a, args, n);
    if (e == TINE_OK) e = tine_call_run(c, NULL, 0, &a, NULL, out);
    tine_arguments_fini(&a);
    return e;
}
#define run(name, out, ...) run_args(name, out, TINE_ARGS_(__VA_ARGS__))

static void expect_error(tine_error e, tine_error wanted, const char *text) {
    cr_expect_eq(e, wanted, "%s: %s", tine_error_name(e), tine_error_message());
    cr_expect_eq(tine_last_error(), wanted);
    cr_expect_str_eq(tine_error_message(), text);
}
#define refused(text, name, ...)                                                                   \
    do {                                                                                           \
        tine_value *out_ = NULL;                                                                   \
        expect_error(run(name, &out_, __VA_ARGS__), TINE_EINVAL, text);                            \
        cr_expect_null(out_);                                                                      \
    } while (0)

test(arguments_are_bound_as_in_python) {
    tine_value *r;
    cr_assert_eq(run("call_echo", &r, 1, 5, 6, 7, tine_kw("z", 8), tine_kw("extra", "e")), TINE_OK);
    cr_assert_eq(tine_as_int(tine_at(r, 1)), 5);
    cr_assert_eq(tine_length(tine_at(r, 2)), 2);
    cr_assert_eq(tine_as_int(tine_at(tine_at(r, 2), 1)), 7);
    cr_assert_eq(tine_as_int(tine_at(r, 3)), 8);
    cr_assert_not(tine_as_bool(tine_at(r, 4)));
    cr_assert_str_eq(tine_as_string(tine_get(tine_at(r, 5), "extra")), "e");
    tine_release(r);
    cr_assert_eq(run("call_echo", &r, tine_kw("z", 8), tine_kw("x", 1)), TINE_OK);
    cr_assert_eq(tine_as_int(tine_at(r, 1)), 2);
    cr_assert_eq(tine_length(tine_at(r, 2)), 0);
    tine_release(r);
    cr_assert_eq(run("call_keyword", &r, 1, tine_kw("state_dict", 1)), TINE_OK);
    cr_assert_str_eq(tine_as_string(r), "f32");
    tine_release(r);
}

test(binding_errors_speak_python) {
    tine_value *r = NULL;
    expect_error(run_args("call_one", &r, NULL, 0), TINE_EINVAL,
                 "call_one() missing 1 required positional argument: 'x'");
    refused("call_one() takes 1 positional argument but 2 were given", "call_one", 1, 2);
    refused("call_one() got an unexpected keyword argument 'y'", "call_one", 1, tine_kw("y", 2));
    refused("call_one() got multiple values for argument 'x'", "call_one", 1, tine_kw("x", 2));
    refused("keyword argument repeated: 'x'", "call_one", tine_kw("x", 1), tine_kw("x", 2));
    refused("call_none() takes 0 positional arguments but 1 was given", "call_none", 1);
    refused("call_range() takes from 1 to 3 positional arguments but 4 were given", "call_range", 1,
            2, 3, 4);
    refused("call_keyword() missing 1 required keyword-only argument: 'state_dict'", "call_keyword",
            1);
    refused("call_keyword() takes 1 positional argument but 2 were given", "call_keyword", 1, 2);
    refused("call_range(): argument 'dim' must be int, not string", "call_range", 1, "zero");
}

test(a_null_argument_passes_its_makers_error_on) {
    tine_value *r = NULL, *bad = tine_full(TINE_U8, 0, NULL, -1);
    expect_error(run("call_one", &r, bad), TINE_EINVAL, "tine_full: -1 does not fit uint8");
}

test(failures_say_what_happened) {
    tine_value *r = NULL, *x = tine_ones(TINE_F64, 1, (int64_t[]){2});
    expect_error(run("call_fail", &r, 4), TINE_EFAILED, "no such row 4");
    expect_error(run_args("call_null", &r, NULL, 0), TINE_EFAILED,
                 "call_null() returned NULL and did not say why");
    expect_error(run("call_tensor", &r, x), TINE_EINVAL,
                 "call_tensor(): argument 'x' must be a float32 tensor, not float64");
    expect_error(run("call_tensor", &r, 1), TINE_EINVAL,
                 "call_tensor(): argument 'x' must be tensor, not int");
    expect_error(run("call_past", &r, 1), TINE_EINVAL,
                 "call_past() has 1 parameters; tine_arg was asked for number 1, counted from 0");
    tine_release(x);
}

test(a_good_call_keeps_the_callers_last_error) {
    tine_value *r;
    tine_error_set(TINE_EIO, "mine");
    cr_assert_eq(run("call_range", &r, 1, 9), TINE_OK);
    cr_assert_eq(tine_as_int(r), 9);
    expect_error(tine_last_error(), TINE_EIO, "mine");
    tine_release(r);
}

test(what_a_task_made_goes_but_its_result_stays) {
    tine_value *r, *x = tine_int(1);
    cr_assert_eq(run("call_makes", &r, 20), TINE_OK);
    cr_assert_eq(tine_as_int(tine_at(r, 1)), 19);
    cr_assert_eq(r->handle.refs, 1);
    tine_release(r);
    cr_assert_eq(run("call_one", &r, x), TINE_OK);
    cr_assert_eq(r, x);
    cr_assert_eq(x->handle.refs, 2);
    tine_release(r), tine_release(x);
    cr_assert_eq(run("call_makes", &r, 65), TINE_EINVAL);
}

/* A reference taken for the caller was dropped by nobody: an echo of 10 MB leaked 10 MB a call. */
test(returning_a_reference_to_what_was_given_leaks_nothing) {
    tine_value *r, *x = tine_list(1, 2);
    cr_assert_eq(run("call_ref", &r, x), TINE_OK);
    cr_assert(r == x && x->handle.refs == 2 && x->handle.pools == 0);
    tine_release(r), tine_release(x);
}

test(what_a_task_keeps_stays_when_it_is_returned_as_well) {
    tine_value *r, *again;
    cr_assert_eq(run("call_keep", &r, 5), TINE_OK);
    cr_assert(r == kept && kept->handle.refs == 2);
    cr_assert_eq(run_args("call_kept", &again, NULL, 0), TINE_OK);
    cr_assert_eq(kept->handle.refs, 3);
    tine_release(again), tine_release(r), tine_release(kept);
}

static void *counter_init(tine_task *task) {
    int64_t n = tine_arg_int(task, 0);
    static int64_t state;
    if (n < 0) return tine_fail(task, "%lld is negative", (long long)n);
    state = n;
    return &state;
}
static int finished;
static void counter_fini(void *self) {
    (void)self;
    finished++;
}
static tine_value *counter_forward(tine_task *task) {
    return tine_int(*(int64_t *)tine_self(task) + tine_arg_int(task, 0));
}
static const tine_class counter = {
    "call_counter", "n=0", counter_init, counter_fini,
    (const tine_method[]){{"forward", "by=1", counter_forward, 0}, {0}}};
TINE_CLASS(counter)

test(a_class_has_state_and_methods) {
    const tine_class_entry *c = tine_registry_class("call_counter");
    tine_arguments a = {0};
    void *self = NULL;
    cr_assert_eq(tine_arguments_make(&a, TINE_ARGS_(40)), TINE_OK);
    cr_assert_eq(tine_call_init(c, &a, NULL, &self), TINE_OK);
    tine_arguments_fini(&a);
    const tine_callable *m = tine_class_method(c, "forward");
    cr_assert_str_eq(m->name, "call_counter.forward");
    cr_assert_null(tine_class_method(c, "backward"));
    tine_value *r;
    cr_assert_eq(tine_call_run(m, self, 0, &a, NULL, &r), TINE_OK);
    cr_assert_eq(tine_as_int(r), 41);
    tine_release(r);
    cr_assert_eq(tine_arguments_make(&a, TINE_ARGS_(-1)), TINE_OK);
    cr_assert_eq(tine_call_init(c, &a, NULL, &self), TINE_EFAILED);
    cr_assert_str_eq(tine_error_message(), "-1 is negative");
    tine_arguments_fini(&a);
    cr_assert_eq(tine_arguments_make(&a, TINE_ARGS_("x")), TINE_OK);
    cr_assert_eq(tine_call_init(c, &a, NULL, &self), TINE_EINVAL);
    tine_arguments_fini(&a);
    cr_assert_eq(finished, 1);
}

test(names_come_sorted) {
    const char *names[512];
    size_t n = tine_registry_functions(names, 512);
    cr_assert_gt(n, 5);
    for (size_t i = 1; i < n; i++) cr_assert_lt(strcmp(names[i - 1], names[i]), 0);
    cr_assert_eq(tine_registry_functions(NULL, 0), n);
    cr_assert_null(tine_registry_function("no such"));
}

test(bad_parameter_texts_are_refused) {
    const char *const bad[] = {"x,",
                               "x y",
                               "1x",
                               "x=",
                               "x=foo",
                               "*a, *b",
                               "**o, x",
                               "x, x",
                               "a=1, b",
                               "x='open",
                               "***x",
                               "x,,y",
                               "*, **o, *r",
                               "x=1e",
                               "x|",
                               "x|1",
                               "x|a, a",
                               "a, x|a",
                               "x|a|b|c|d",
                               "x |a",
                               "x=9223372036854775808",
                               "x=-0x8000000000000001"};
    char why[200];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_expect_null(tine_signature_parse(bad[i], why, sizeof why), "\"%s\" was taken", bad[i]);
    const char *const good[] = {"",
                                " x ",
                                "x , y = -1.5e3",
                                "x='a, b', *, k",
                                "*tensors",
                                "a=1, *, b, c=none, **rest",
                                "x|a|b|c, y|d=1",
                                "x=9223372036854775807, y=-9223372036854775808, z=1e300"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        tine_signature *s = tine_signature_parse(good[i], why, sizeof why);
        cr_expect_not_null(s, "\"%s\": %s", good[i], why);
        tine_signature_free(s);
    }
}

Test(call, a_name_twice_ends_the_program, .timeout = 20, .signal = SIGABRT) {
    tine_register_function("call_none", "", tine_fn_call_none, 0);
}
Test(call, wrong_parameters_end_the_program, .timeout = 20, .signal = SIGABRT) {
    tine_register_function("call_wrong", "x y", tine_fn_call_none, 0);
}
