/* Fork and wait inside tasks: naive Fibonacci in which every call forks. A wait does not hold its
 * worker, so this finishes with any number of workers, one included.
 *
 *     $ build/04_fibonacci 15
 *     fib(15) = 610 */
#include <stdio.h>
#include <stdlib.h>

#include "runtime/tine.h"

/* Inside a task nothing has to be released: what the task makes is released when it returns. */
TINE_FUNCTION(fib, "n") {
    int64_t n = tine_arg_int(task, 0);
    if (n < 2) return tine_int(n);
    tine_future *a = tine_fork("fib", n - 1), *b = tine_fork("fib", n - 2);
    tine_value *x, *y;
    /* The task fails with the error of the wait. */
    if (tine_wait(a, &x) || tine_wait(b, &y)) return NULL;
    return tine_int(tine_as_int(x) + tine_as_int(y));
}

int main(int argc, char **argv) {
    if (tine_init(&argc, argv, NULL)) {
        fprintf(stderr, "%s\n", tine_error_message());
        return 1;
    }
    int n = argc > 1 ? atoi(argv[1]) : 15;
    tine_future *future = tine_fork("fib", n);
    tine_value *result = NULL;
    tine_error error = tine_wait(future, &result);
    if (error)
        fprintf(stderr, "%s\n", tine_error_message());
    else
        printf("fib(%d) = %lld\n", n, (long long)tine_as_int(result));
    tine_release(result);
    tine_release(future);
    return tine_shutdown() || error;
}
