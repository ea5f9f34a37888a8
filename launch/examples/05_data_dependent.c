/* Dynamic parallelism: the number of tasks depends on the data. An integral is computed by halving
 * the interval until the sum of both halves agrees with the whole; until then both halves are
 * forked, from inside the task.
 *
 *     $ build/05_data_dependent
 *     the integral of sqrt(x) from 0 to 1 is 0.666666, in 51 tasks */
#include <math.h>
#include <stdio.h>

#include "runtime/tine.h"

static double simpson(double a, double b) {
    return (b - a) / 6 * (sqrt(a) + 4 * sqrt((a + b) / 2) + sqrt(b));
}

/* Returns [integral, number of tasks]. */
TINE_FUNCTION(integral, "a, b, tolerance=1e-6") {
    double a = tine_arg_float(task, 0), b = tine_arg_float(task, 1),
           tolerance = tine_arg_float(task, 2);
    double middle = (a + b) / 2, whole = simpson(a, b),
           halves = simpson(a, middle) + simpson(middle, b);
    if (fabs(whole - halves) < 15 * tolerance) return tine_list(halves, 1);

    tine_future *parts[] = {tine_fork("integral", a, middle, tine_kw("tolerance", tolerance / 2)),
                            tine_fork("integral", middle, b, tine_kw("tolerance", tolerance / 2))};
    tine_value *got[2];
    if (tine_wait_all(parts, 2, got)) return NULL;
    double sum = tine_as_float(tine_at(got[0], 0)) + tine_as_float(tine_at(got[1], 0));
    return tine_list(sum, tine_as_int(tine_at(got[0], 1)) + tine_as_int(tine_at(got[1], 1)) + 1);
}

int main(int argc, char **argv) {
    if (tine_init(&argc, argv, NULL)) {
        fprintf(stderr, "%s\n", tine_error_message());
        return 1;
    }
    tine_future *future = tine_fork("integral", 0.0, 1.0);
    tine_value *result = NULL;
    tine_error error = tine_wait(future, &result);
    if (error)
        fprintf(stderr, "%s\n", tine_error_message());
    else
        printf("the integral of sqrt(x) from 0 to 1 is %.6f, in %d tasks\n",
               tine_as_float(tine_at(result, 0)), (int)tine_as_int(tine_at(result, 1)));
    tine_release(result);
    tine_release(future);
    return tine_shutdown() || error;
}
