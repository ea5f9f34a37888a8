/* What a tensor costs by its size, where processes of one host lend tensors to each other and where
 * they copy them: tasks with two arguments of so many bytes and a result of as many, which the next
 * tasks take. Time a task over two local workers; judge by the ratio, since the load moves both.
 *   bench_tensors [tasks under way, 100] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/tine.h"
#include "transport/base/clock.h"

enum { STEPS = 20, ROUNDS = 5 };

TINE_FUNCTION(bench_filled, "a, b, bytes") {
    void *data;
    const int64_t size = tine_as_int(tine_arg(task, 2));
    tine_value *v = tine_tensor_new(TINE_U8, 1, &size, &data);
    if (v) memset(data, 1, (size_t)size);
    return v;
}

static void steps(int tasks, long bytes) {
    tine_future **last = calloc((size_t)tasks, sizeof(tine_future *)),
                **next = calloc((size_t)tasks, sizeof(tine_future *));
    if (!last || !next) abort();
    for (int i = 0; i < tasks; i++) last[i] = tine_fork("bench_filled", 0, 0, bytes);
    for (int s = 0; s < STEPS; s++) {
        for (int i = 0; i < tasks; i++)
            next[i] = tine_fork("bench_filled", last[i], last[(i + 1) % tasks], bytes);
        for (int i = 0; i < tasks; i++) tine_release(last[i]);
        tine_future **done = last;
        last = next;
        next = done;
    }
    for (int i = 0; i < tasks; i++) {
        if (tine_wait(last[i], NULL)) {
            fprintf(stderr, "bench_tensors: %s\n", tine_error_message());
            exit(1);
        }
        tine_release(last[i]);
    }
    free(last);
    free(next);
}

/* us a task, the best of some rounds. */
static double measure(int *argc, char **argv, int tasks, long bytes, size_t arena) {
    if (tine_init(argc, argv, &(tine_options){.workers = 2, .arena = arena})) {
        fprintf(stderr, "bench_tensors: %s\n", tine_error_message());
        exit(1);
    }
    int64_t best = INT64_MAX;
    for (int r = 0; r < ROUNDS; r++) {
        int64_t start = tine_clock_ns();
        steps(tasks, bytes);
        int64_t took = tine_clock_ns() - start;
        if (took < best) best = took;
    }
    tine_shutdown();
    return 1e-3 * (double)best / tasks / (STEPS + 1);
}

int main(int argc, char **argv) {
    static const long sizes[] = {8 << 10,  15 << 10,  16 << 10, 32 << 10,
                                 64 << 10, 256 << 10, 1 << 20};
    int tasks = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        if (!tasks) tasks = argc > 1 && atoi(argv[1]) > 0 ? atoi(argv[1]) : 100;
        /* The workers run this program, too, as far as tine_init. */
        double copied = measure(&argc, argv, tasks, sizes[i], (size_t)-1);
        double lent = measure(&argc, argv, tasks, sizes[i], 0);
        if (i == 0) puts("bytes      copied us  lent us  ratio");
        printf("%-9ld  %9.2f  %7.2f  %5.2f\n", sizes[i], copied, lent, copied / lent);
    }
    return 0;
}
