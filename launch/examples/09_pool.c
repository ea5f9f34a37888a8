/* Results in the order in which they are done, and the pool of workers as a whole.
 *
 *     $ build/09_pool
 *     20 results, sum 2470
 *     the workers have ended 20 tasks */
#include <math.h>
#include <stdio.h>

#include "runtime/tine.h"

enum { TASKS = 20, WORKERS_MAX = 256 };

TINE_FUNCTION(square, "x") { return tine_int(tine_arg_int(task, 0) * tine_arg_int(task, 0)); }

int main(int argc, char **argv) {
    static tine_worker_status workers[WORKERS_MAX];
    tine_future *futures[TASKS];
    int64_t sum = 0, n = 0, ended = 0;
    int failed = 0;
    size_t i;
    if (tine_init(&argc, argv, NULL)) {
        fprintf(stderr, "%s\n", tine_error_message());
        return 1;
    }
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

    /* Before an end that must not cancel anything: */
    if (tine_drain(INFINITY)) fprintf(stderr, "%s\n", tine_error_message());
    size_t connected = tine_workers(workers, WORKERS_MAX);
    for (i = 0; i < connected && i < WORKERS_MAX; i++) ended += (int64_t)workers[i].tasks_done;
    printf("the workers have ended %d tasks\n", (int)ended);
    return tine_shutdown() || failed;
}
