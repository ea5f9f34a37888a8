/* Forks in a loop: 100 tasks, a list of futures, and the sum of their results.
 *
 *     $ build/02_loop
 *     tensor(-100.) */
#include <stdio.h>

#include "runtime/tine.h"

TINE_FUNCTION(foo, "x") { return tine_call("neg", tine_arg(task, 0)); }

enum { TASKS = 100 };

static tine_value *example(tine_value *x) {
    tine_future *futures[TASKS];
    for (int i = 0; i < TASKS; i++) futures[i] = tine_fork("foo", x);

    tine_value *results[TASKS] = {NULL};
    for (int i = 0; i < TASKS; i++) {
        tine_wait(futures[i], &results[i]);
        tine_release(futures[i]);
    }

    /* A NULL among the arguments means that the call that made it failed: its error is passed
     * on. */
    tine_value *list = tine_list_of(results, TASKS);
    tine_value *stacked = tine_call("stack", list);
    tine_value *sum = tine_call("sum", stacked);

    tine_release(stacked);
    tine_release(list);
    for (int i = 0; i < TASKS; i++) tine_release(results[i]);
    return sum;
}

int main(int argc, char **argv) {
    if (tine_init(&argc, argv, NULL)) {
        fprintf(stderr, "%s\n", tine_error_message());
        return 1;
    }
    tine_value *x = tine_ones(TINE_F32, 0, NULL); /* rank 0: a scalar */
    tine_value *sum = example(x);
    int failed = !sum;
    if (!failed)
        tine_print(sum);
    else
        fprintf(stderr, "%s\n", tine_error_message());
    tine_release(sum);
    tine_release(x);
    return tine_shutdown() || failed;
}
