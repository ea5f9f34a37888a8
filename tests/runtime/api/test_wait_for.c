/* The seconds of tine_wait_for. */
#include <criterion/criterion.h>
#include <math.h>

#include "tests/support/cluster.h"

TINE_REPEATABLE_FUNCTION(wait_for_nothing, "") {
    (void)task;
    return tine_none();
}

Test(wait_for, seconds_that_are_no_number, .timeout = 30) {
    cluster_start(NULL, 1);
    tine_future *f = tine_fork("wait_for_nothing");
    tine_value *v = tine_int(1), *out = v;
    cr_assert_eq(tine_wait_for(f, NAN, &out), TINE_EINVAL);
    cr_assert(!out);
    cr_assert_eq(tine_wait_for(f, INFINITY, NULL), TINE_OK);
    cr_assert_eq(tine_wait_for(f, -INFINITY, NULL), TINE_OK);
    tine_release(v);
    tine_release(f);
    cluster_stop();
}
