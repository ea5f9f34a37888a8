/* Log messages: repetition, threads, levels. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/capture.h"
#include "transport/base/log.h"
#include "transport/base/text.h"

static void log_repeatedly(void) {
    for (int i = 0; i < 50; i++) {
        tine_log(TINE_LOG_WARN, "again");
        tine_log(TINE_LOG_ERROR, "and again");
        tine_log(TINE_LOG_INFO, "not wanted");
    }
    tine_log(TINE_LOG_WARN, "number %d", 7);
    tine_log_flush();
    tine_log_flush();
}

Test(log, repeated_messages_are_counted, .timeout = 20) {
    char *text = capture_standard_error(log_repeatedly);
    char line[64];
    snprintf(line, sizeof line, "tine[%d]: again\n", (int)getpid());
    cr_expect_eq(capture_count(text, line), 1, "%s", text);
    cr_expect_eq(capture_count(text, ": again (49 more like this)\n"), 1, "%s", text);
    cr_expect_eq(capture_count(text, ": and again (49 more like this)\n"), 1);
    cr_expect_eq(capture_count(text, "number 7\n"), 1);
    cr_expect_eq(capture_count(text, "not wanted"), 0);
    cr_expect_eq(capture_count(text, "\n"), 5);
    free(text);
}

static void log_control_characters(void) {
    tine_log(TINE_LOG_WARN, "host %s", "h\x1b[2J\r\ntine[1]: forged\x07");
}

/* Who calls it may have shown them already; this is the last place before a terminal. */
Test(log, control_characters_are_shown_as_numbers, .timeout = 20) {
    char *text = capture_standard_error(log_control_characters), line[96];
    snprintf(line, sizeof line, "tine[%d]: host h\\x1b[2J\\x0d\\x0atine[1]: forged\\x07\n",
             (int)getpid());
    cr_expect_str_eq(text, line);
    free(text);
}

static void log_long_line(void) {
    char text[4001] = "x";
    for (int i = 0; i < 1000; i++) strcat(text, "\xe2\x82\xac");
    tine_log(TINE_LOG_WARN, "%s", text);
    tine_log(TINE_LOG_WARN, "%s", text + 1);
    text[340] = '\x1b'; /* is shown as four bytes, which move the end */
    tine_log(TINE_LOG_WARN, "%s", text + 1);
}

Test(log, a_long_line_is_cut_between_two_characters, .timeout = 20) {
    char *text = capture_standard_error(log_long_line);
    cr_expect(tine_utf8_valid(text, strlen(text)), "%s", text);
    cr_expect_eq(capture_count(text, "\xe2\x82\xac\n"), 3, "%s", text);
    free(text);
}

static void *log_thread(void *arg) {
    for (int i = 0; i < 200; i++)
        tine_log(TINE_LOG_WARN, "%s thread, line %d", (const char *)arg, i);
    return NULL;
}

static void log_from_threads(void) {
    pthread_t t[2];
    pthread_create(&t[0], NULL, log_thread, "one");
    pthread_create(&t[1], NULL, log_thread, "other");
    pthread_join(t[0], NULL);
    pthread_join(t[1], NULL);
}

Test(log, messages_of_threads_do_not_mix, .timeout = 20) {
    char *text = capture_standard_error(log_from_threads);
    cr_expect_eq(capture_count(text, "\n"), 400);
    cr_expect_eq(capture_count(text, "]: one thread, line "), 200);
    cr_expect_eq(capture_count(text, "]: other thread, line "), 200);
    free(text);
}

Test(log, levels_have_names, .timeout = 20) {
    cr_expect_eq(tine_log_level_parse("debug"), TINE_LOG_DEBUG);
    cr_expect_eq(tine_log_level_parse("Debug"), -1);
    cr_expect_str_eq(tine_log_level_name(TINE_LOG_ERROR), "error");
    cr_expect_str_eq(tine_log_level_name(9), "?");
}
