/* The seconds of tine_wait_for, and what it says when they are over. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/cluster.h"

TINE_REPEATABLE_FUNCTION(wait_for_nothing, "") {
    (void)task;
    return tine_none();
}

static void *wait_for_new(tine_task *task) {
    (void)task;
    return malloc(1);
}
static tine_value *wait_for_forward(tine_task *task) {
    (void)task;
    return tine_none();
}
static const tine_method methods[] = {{"forward", "x=0", wait_for_forward, 0}, {0}};
static const tine_class wait_for_class = {"wait_for_class", "", wait_for_new, free, methods};
TINE_CLASS_FLAGS(wait_for_class, TINE_MODULE_SINGLE)

/* What a fork waits for that has not been submitted. */
TRANSPORT_TEST(wait_for, a_deadline_says_what_is_waited_for, 30) {
    cluster_start(endpoint, 1);
    tine_future *open;
    tine_promise *p = tine_promise_new(&open);
    tine_value *module = tine_module("wait_for_class");
    tine_future *f[] = {tine_fork("neg", open), tine_fork(module, open), tine_fork(module)};
    const char *const parts[] = {
        "task \"neg\" waits for its arguments",
        "task \"wait_for_class.forward\" waits for its arguments",
        "task \"wait_for_class.forward\" waits for earlier calls of its module"};
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(tine_wait_for(f[i], 0, NULL), TINE_ETIMEDOUT);
        cr_assert(strstr(tine_error_message(), parts[i]), "%s", tine_error_message());
        tine_release(f[i]);
    }
    tine_release(p);
    tine_release(open);
    tine_release(module);
    cluster_stop();
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
