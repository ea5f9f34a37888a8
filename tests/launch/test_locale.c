/* A program in a locale whose decimal point is a comma: what Tine reads and prints stays the same.
 * The locale is made by localedef in a directory of the test. */
#include <criterion/criterion.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/settings/settings.h"
#include "runtime/tine.h"
#include "runtime/trace/trace.h"
#include "runtime/value/error.h"
#include "runtime/value/value.h"
#include "tests/support/program.h"
#include "transport/base/text.h"

static char dir[64];

static void comma_locale_enter(void) {
    char text[16];
    snprintf(dir, sizeof dir, "/tmp/tine-locale-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
    tine_program p = tine_program_run(40, "localedef -i de_DE -f UTF-8 %s/de_DE.UTF-8 >&2", dir);
    tine_program_fini(&p);
    setenv("LOCPATH", dir, 1);
    if (!setlocale(LC_ALL, "de_DE.UTF-8")) {
        p = tine_program_run(10, "rm -rf %s", dir);
        tine_program_fini(&p);
        cr_skip_test("localedef cannot make de_DE");
    }
    snprintf(text, sizeof text, "%.2f", 0.5);
    cr_assert_str_eq(text, "0,50", "the locale has a comma");
}

static void comma_locale_leave(void) {
    char text[16];
    snprintf(text, sizeof text, "%.2f", 0.5);
    cr_expect_str_eq(text, "0,50", "the program's locale was changed");
    tine_program p = tine_program_run(10, "rm -rf %s", dir);
    tine_program_fini(&p);
}

static void check_printed(tine_value *v, const char *expected) {
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    tine_value_write(f, v);
    fclose(f);
    cr_expect_str_eq(text, expected);
    free(text);
    tine_release(v);
}

static void values_are_printed_with_a_point(void) {
    float x[] = {0.5f, -1.25f};
    check_printed(tine_float(2.5), "2.5");
    check_printed(tine_float(1e300), "1e+300");
    check_printed(tine_tensor(TINE_F32, 1, (int64_t[]){2}, x), "tensor([ 0.5000, -1.2500])");
}

static void numbers_are_read_with_a_point(void) {
    char *end;
    cr_expect_eq(tine_text_double("0.5", &end), 0.5);
    cr_expect_eq(*end, 0);
    cr_expect_eq(tine_text_double("0,5", &end), 0);
    cr_expect_str_eq(end, ",5");
}

static void settings_are_read_and_printed_with_a_point(void) {
    tine_settings s;
    tine_options o = {0};
    setenv("TINE_HEARTBEAT", "0.25", 1);
    cr_assert_eq(tine_settings_resolve(&s, NULL, NULL, NULL), TINE_OK, "%s", tine_error_message());
    cr_expect_eq(s.heartbeat, 0.25);
    tine_settings_fini(&s);
    o.heartbeat = 0.0000001;
    cr_expect_eq(tine_settings_resolve(&s, &o, NULL, NULL), TINE_EINVAL);
    cr_expect_null(strchr(tine_error_message(), ','), "%s", tine_error_message());
}

static void a_trace_is_json(void) {
    char path[80], *text = NULL;
    size_t room = 0;
    tine_trace_process both[2] = {{.name = "a"}, {.name = "b", .error_ns = 1500}};
    snprintf(path, sizeof path, "%s/t.json", dir);
    cr_assert_eq(tine_trace_export(path, both, 2, 0), TINE_OK, "%s", tine_error_message());
    FILE *f = fopen(path, "re");
    cr_assert_gt(getdelim(&text, &room, 0, f), 0);
    fclose(f);
    cr_expect(strstr(text, "clock within 1.5 us"), "%s", text);
    free(text);
}

static void messages_have_a_point(void) {
    tine_error_set(TINE_EINVAL, "%g s", 0.5);
    cr_expect_str_eq(tine_error_message(), "0.5 s");
}

static void a_deadline_has_a_point(void) {
    tine_options o = {.workers = 1, .endpoint = "inproc://locale"};
    tine_fork_options soon = {.deadline = 0.0625};
    tine_future *never;
    cr_assert_eq(tine_init(NULL, NULL, &o), TINE_OK, "%s", tine_error_message());
    tine_promise *promise = tine_promise_new(&never);
    tine_future *f = tine_fork_with(&soon, "neg", never);
    cr_expect_eq(tine_wait(f, NULL), TINE_ETIMEDOUT);
    cr_expect(strstr(tine_error_message(), "within 0.0625 s"), "%s", tine_error_message());
    tine_release(f);
    tine_release(never);
    tine_release(promise);
    cr_assert_eq(tine_shutdown(), 0);
}

/* One case, because localedef takes seconds. */
Test(locale, a_decimal_comma_changes_nothing, .timeout = 60) {
    comma_locale_enter();
    values_are_printed_with_a_point();
    numbers_are_read_with_a_point();
    settings_are_read_and_printed_with_a_point();
    a_trace_is_json();
    messages_have_a_point();
    a_deadline_has_a_point();
    comma_locale_leave();
}
