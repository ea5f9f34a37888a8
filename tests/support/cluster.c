/* See cluster.h. */
#include "tests/support/cluster.h"

#include <criterion/criterion.h>
#include <stdlib.h>

void cluster_start_with(const tine_options *options) {
    unsetenv("BXFI_MAP"); /* Criterion's mark on its test processes: a worker must not be taken for one */
    cr_assert_eq(tine_init(NULL, NULL, options), TINE_OK, "tine_init: %s", tine_error_message());
}

void cluster_start(const char *endpoint, int workers) {
    tine_options o = {.endpoint = endpoint, .workers = workers, .log_level = "error"};
    cluster_start_with(&o);
    cr_assert_eq(tine_worker_count(), workers);
}

void cluster_stop(void) { cr_assert_eq(tine_shutdown(), 0); }

tine_value *cluster_take(tine_future *f) {
    tine_value *v = NULL;
    tine_error e = tine_wait(f, &v);
    cr_assert_eq(e, TINE_OK, "%s", tine_error_message());
    tine_release(f);
    return v;
}

int64_t cluster_take_int(tine_future *f) {
    tine_value *v = cluster_take(f);
    int64_t i = tine_as_int(v);
    tine_release(v);
    return i;
}
