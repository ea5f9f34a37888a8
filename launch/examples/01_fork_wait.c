/* The tutorial's first program: fork a task, call the same function normally, wait.
 *
 *     $ build/01_fork_wait
 *     [tensor([-1.]), tensor([-1.])] */
#include <stdio.h>

#include "runtime/tine.h" /* <tine.h> once it is installed */

/* A function that can be forked. It is registered by its name, here and on every worker: workers
 * run this same program. */
TINE_FUNCTION(foo, "x") { return tine_call("neg", tine_arg(task, 0)); }

static tine_value *example(tine_value *x) {
    /* Fork off a task that runs foo(x) on a worker. This returns at once. */
    tine_future *future = tine_fork("foo", x);

    /* Call foo normally: this overlaps with the task. */
    tine_value *normal = tine_call("foo", x);

    /* Wait for the task's result. */
    tine_value *parallel = NULL;
    tine_wait(future, &parallel);

    tine_value *both = tine_list(normal, parallel);
    tine_release(parallel);
    tine_release(normal);
    tine_release(future);
    return both;
}

int main(int argc, char **argv) {
    if (tine_init(&argc, argv, NULL)) { /* starts the workers; in a worker it does not return */
        fprintf(stderr, "%s\n", tine_error_message());
        return 1;
    }
    tine_value *x = tine_ones(TINE_F32, 1, TINE_SHAPE(1));
    tine_value *both = example(x);
    int failed = !both;
    tine_print(both);
    tine_release(both);
    tine_release(x);
    return tine_shutdown() || failed;
}
