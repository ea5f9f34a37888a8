/* Functions that tests of cancelling fork, and the files by which they say how far they are. */
#ifndef TINE_TESTS_SUPPORT_CANCEL_FUNCTIONS_H
#define TINE_TESTS_SUPPORT_CANCEL_FUNCTIONS_H

#include <criterion/criterion.h>
#include <string.h>

#include "tests/support/cluster.h"
#include "tests/support/marks.h"

static inline void expect(tine_future *f, tine_error e, const char *part) {
    cr_assert_eq(tine_wait(f, NULL), e, "%s: %s", tine_error_name(tine_last_error()),
                 tine_error_message());
    cr_assert(strstr(tine_error_message(), part), "\"%s\" lacks \"%s\"", tine_error_message(),
              part);
}

TINE_FUNCTION(cancel_add, "a, b=1") {
    return tine_int(tine_arg_int(task, 0) + tine_arg_int(task, 1));
}
TINE_FUNCTION(cancel_mark, "path, text") {
    marks_add(tine_arg_string(task, 0), tine_arg_string(task, 1));
    return tine_int(1);
}
/* Computes until it is told. */
TINE_FUNCTION(cancel_computes, "began, told") {
    marks_add(tine_arg_string(task, 0), "x");
    while (!tine_cancelled(task))
        ;
    marks_add(tine_arg_string(task, 1), "x");
    return tine_int(1);
}
/* Never looks. */
TINE_REPEATABLE_FUNCTION(cancel_hangs, "began") {
    marks_add(tine_arg_string(task, 0), "x");
    for (volatile int i = 0;; i++)
        ;
    return NULL;
}

/* The files of marks; paths() begins a test that uses them. */
static const char *began, *told, *child, *ran;
static inline void paths(void) {
    marks_start();
    began = marks_path("began");
    told = marks_path("told");
    child = marks_path("child");
    ran = marks_path("ran");
}

#endif
