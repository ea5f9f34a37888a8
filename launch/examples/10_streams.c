/* A task yields values while it runs, and waits when they are not taken.
 *
 *     $ build/10_streams
 *     step 1: 1.5000
 *     step 2: 1.4167
 *     step 3: 1.4142
 *     the square root of 2 is 1.414216
 *     3 of many steps: 1.7321 */
#include <stdio.h>

#include "runtime/tine.h"

/* Newton's method: each step is a value, the last one is the result. */
TINE_FUNCTION(root, "x, steps") {
    double x = tine_arg_float(task, 0), y = x;
    for (int64_t i = 0; i < tine_arg_int(task, 1); i++) {
        y = (y + x / y) / 2;
        if (tine_yield(task, tine_float(y))) return NULL; /* they are not taken any more */
    }
    return tine_float(y);
}

int main(int argc, char **argv) {
    if (tine_init(&argc, argv, NULL)) {
        fprintf(stderr, "%s\n", tine_error_message());
        return 1;
    }
    tine_value *value;
    int step = 0;
    static tine_fork_options options;
    options.stream = 2; /* values that the task may be ahead */
    tine_future *stream = tine_fork_with(&options, "root", 2.0, 3);
    for (; tine_next(stream, &value) == TINE_OK; tine_release(value))
        printf("step %d: %.4f\n", ++step, tine_as_float(value));
    if (tine_wait(stream, &value) == TINE_OK)
        printf("the square root of 2 is %.6f\n", tine_as_float(value));
    tine_release(value);
    tine_release(stream);

    /* One that is released before its end is cancelled. */
    stream = tine_fork_with(&options, "root", 3.0, 1000000000);
    for (step = 0; step < 3; step++) {
        if (tine_next(stream, &value)) return 1;
        if (step == 2) printf("3 of many steps: %.4f\n", tine_as_float(value));
        tine_release(value);
    }
    tine_release(stream);
    return tine_shutdown();
}
