/* A future that the program completes is an argument like any other; a callback gives another one.
 *
 *     $ build/07_promises
 *     the sum of the squares of 3, 4 and 5 is 50, twice that is 100 */
#include <pthread.h>
#include <stdio.h>

#include "runtime/tine.h"

TINE_FUNCTION(square, "x") { return tine_int(tine_arg_int(task, 0) * tine_arg_int(task, 0)); }

TINE_FUNCTION(total, "list") {
    int64_t sum = 0;
    for (size_t i = 0; i < tine_length(tine_arg(task, 0)); i++)
        sum += tine_as_int(tine_at(tine_arg(task, 0), i));
    return tine_int(sum);
}

/* The numbers come from a thread of the program, which would read them from a device, say. */
static void *source(void *arg) {
    tine_promise **numbers = (tine_promise **)arg;
    for (int i = 0; i < 3; i++) {
        tine_value *v = tine_int(3 + i);
        tine_promise_set(numbers[i], v);
        tine_release(v);
        tine_release(numbers[i]);
    }
    return NULL;
}

/* Called when the total is there. Its future fails with the same error if there is none. */
static tine_value *twice(tine_future *future, void *ctx) {
    (void)ctx;
    tine_value *v = NULL;
    if (tine_wait(future, &v)) return NULL;
    int64_t sum = tine_as_int(v);
    tine_release(v);
    return tine_int(2 * sum);
}

static int64_t take(tine_future *future) {
    tine_value *v = NULL;
    if (tine_wait(future, &v)) fprintf(stderr, "%s\n", tine_error_message());
    int64_t i = v ? tine_as_int(v) : -1;
    tine_release(v);
    return i;
}

int main(int argc, char **argv) {
    tine_promise *numbers[3];
    tine_future *promised[3], *squares[3];
    pthread_t thread;
    if (tine_init(&argc, argv, NULL)) {
        fprintf(stderr, "%s\n", tine_error_message());
        return 1;
    }
    for (int i = 0; i < 3; i++) {
        numbers[i] = tine_promise_new(&promised[i]);
        squares[i] = tine_fork("square", promised[i]);
    }
    tine_future *all = tine_when_all(squares, 3);
    tine_future *sum = tine_fork("total", all), *doubled = tine_then(sum, twice, NULL);
    if (pthread_create(&thread, NULL, source, numbers)) return 1;
    int64_t total_sum = take(sum), twice_that = take(doubled);
    printf("the sum of the squares of 3, 4 and 5 is %d, twice that is %d\n", (int)total_sum,
           (int)twice_that);
    pthread_join(thread, NULL);
    for (int i = 0; i < 3; i++) {
        tine_release(promised[i]);
        tine_release(squares[i]);
    }
    tine_release(all);
    tine_release(sum);
    tine_release(doubled);
    return tine_shutdown() || total_sum < 0 || twice_that < 0;
}
