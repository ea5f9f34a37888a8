/* Results in the order in which they are done, and the pool of workers as a whole.
 *
 *     $ build/09_pool
 *     20 results, sum 4940
 *     every worker has the factor 2
 *     20 tasks ended, 0 failed */
#include <math.h>
#include <stdio.h>
#include <threads.h>

#include "runtime/tine.h"

enum { TASKS = 20 };

static thread_local int64_t factor; /* of a worker */

TINE_FUNCTION(set_factor, "n") {
    factor = tine_arg_int(task, 0);
    return tine_none();
}
TINE_FUNCTION(get_factor, "") { return tine_int(factor); }
TINE_FUNCTION(square, "x") {
    return tine_int(factor * tine_arg_int(task, 0) * tine_arg_int(task, 0));
}

int main(int argc, char **argv) {
    tine_future *futures[TASKS];
    tine_value *factors = NULL;
    tine_counts before, counts;
    int64_t sum = 0, n = 0;
    int failed = 0;
    size_t i;
    bool all = true;
    if (tine_init(&argc, argv, NULL)) {
        fprintf(stderr, "%s\n", tine_error_message());
        return 1;
    }
    /* Workers that join later run it too, before any other task. */
    tine_future *ready = tine_initialise("set_factor", 2);
    if (tine_wait(ready, NULL)) {
        fprintf(stderr, "%s\n", tine_error_message());
        failed = 1;
    }
    tine_release(ready);
    tine_count(&before);
    for (int x = 0; x < TASKS; x++) futures[x] = tine_fork("square", x);

    tine_completer *completer = tine_as_completed(futures, TASKS);
    while (tine_completer_next(completer, INFINITY, &i) == TINE_OK) {
        tine_value *v = NULL;
        if (tine_wait(futures[i], &v)) {
            fprintf(stderr, "%s\n", tine_error_message());
            failed = 1;
        }
        sum += v ? tine_as_int(v) : 0;
        n++;
        tine_release(v);
        tine_release(futures[i]);
    }
    tine_release(completer);
    printf("%d results, sum %d\n", (int)n, (int)sum);

    tine_count(&counts);
    tine_future *everywhere = tine_fork_everywhere("get_factor");
    if (tine_wait(everywhere, &factors)) {
        fprintf(stderr, "%s\n", tine_error_message());
        failed = 1;
    }
    for (i = 0; i < tine_length(factors); i++) all = all && tine_as_int(tine_at(factors, i)) == 2;
    printf("%s has the factor 2\n", all ? "every worker" : "not every worker");
    printf("%d tasks ended, %d failed\n", (int)(counts.completed - before.completed),
           (int)counts.failed);
    tine_release(factors);
    tine_release(everywhere);
    /* tine_shutdown() would cancel what is pending. */
    return tine_shutdown_after(INFINITY) || failed || !all;
}
