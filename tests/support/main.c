/* The tests' main: Criterion's, except in a process that was started as a worker, which serves,
 * or by cluster_program, which is a coordinator outside Criterion. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "tests/support/cluster.h"

__attribute__((weak)) int test_program(void) { return 71; }

/* Criterion's sandbox looks this symbol up in the executable to start a test there. */
__attribute__((visibility("default"))) int main(int argc, char **argv) {
    if (getenv("TINE_WORKER")) {
        tine_init(NULL, NULL, NULL); /* serves and exits */
        return 70;
    }
    if (getenv("TEST_PROGRAM")) return test_program();
    struct criterion_test_set *tests = criterion_initialize();
    int status = 0;
    if (criterion_handle_args(argc, argv, true)) status = !criterion_run_all_tests(tests);
    criterion_finalize(tests);
    return status;
}
