/* Tasks whose results are no longer needed are cancelled, by a call or by a deadline.
 *
 *     $ build/08_cancel
 *     searches 1 and 2: ECANCELED, ECANCELED
 *     with a deadline: ETIMEDOUT
 *     search 3: found */
#include <stdio.h>

#include "runtime/tine.h"

/* Looks for something in n steps; a negative n never finds it. */
TINE_FUNCTION(search, "n") {
    int64_t left = tine_arg_int(task, 0);
    while (left != 0) {
        if (tine_cancelled(task)) return NULL; /* the result is not needed */
        left--;
    }
    return tine_string("found");
}

static const char *outcome(tine_future *future) {
    tine_error error = tine_wait(future, NULL);
    tine_release(future);
    return error ? tine_error_name(error) : "found";
}

int main(int argc, char **argv) {
    if (tine_init(&argc, argv, NULL)) {
        fprintf(stderr, "%s\n", tine_error_message());
        return 1;
    }
    /* A running task is told; a queued one never starts. */
    tine_future *first = tine_fork("search", -1), *second = tine_fork("search", -1);
    tine_wait_for(first, 0.05, NULL);
    tine_cancel(first, 0);
    tine_cancel(second, 0);
    const char *one = outcome(first), *two = outcome(second);
    printf("searches 1 and 2: %s, %s\n", one, two);

    static tine_fork_options options; /* zero: the defaults */
    options.deadline = 0.05;
    options.name = "short search"; /* in the error's sentence */
    printf("with a deadline: %s\n", outcome(tine_fork_with(&options, "search", -1)));

    printf("search 3: %s\n", outcome(tine_fork("search", 1000)));
    return tine_shutdown();
}
