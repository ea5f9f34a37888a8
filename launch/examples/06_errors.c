/* Errors are reported by tine_wait, as a code and a sentence; tine_fork never fails.
 *
 *     $ build/06_errors
 *     halve(7): EFAILED
 *     quarter(7): EUNKNOWN
 *     halve(odd=7): EINVAL
 *     halve(8): 4 */
#include <stdio.h>

#include "runtime/tine.h"

TINE_FUNCTION(halve, "x") {
    int64_t x = tine_arg_int(task, 0);
    if (x % 2) return tine_fail(task, "%lld is odd", (long long)x);
    return tine_int(x / 2);
}

static void report(const char *call, tine_future *future) {
    tine_value *v = NULL;
    tine_error error = tine_wait(future, &v);
    if (error) {
        printf("%s: %s\n", call, tine_error_name(error));
        /* The sentence names the function, the worker (process, host), the attempt and the
         * cause. */
        fprintf(stderr, "    %s\n", tine_error_message());
    } else {
        printf("%s: %lld\n", call, (long long)tine_as_int(v));
    }
    tine_release(v);
    tine_release(future);
}

int main(int argc, char **argv) {
    if (tine_init(&argc, argv, NULL)) {
        fprintf(stderr, "%s\n", tine_error_message());
        return 1;
    }
    report("halve(7)", tine_fork("halve", 7));
    report("quarter(7)", tine_fork("quarter", 7));
    report("halve(odd=7)", tine_fork("halve", tine_kw("odd", 7)));
    report("halve(8)", tine_fork("halve", 8));
    return tine_shutdown();
}
