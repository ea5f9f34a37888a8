/* Forks with the option `owned`: the release of the last reference cancels them. With one worker,
 * which computes on until its task is cancelled, a later fork is done only if it was. */
#include <criterion/criterion.h>
#include <string.h>

#include "tests/support/cluster.h"

static const tine_fork_options owned = {.owned = true};

TINE_FUNCTION(owned_computes, "") {
    while (!tine_cancelled(task))
        ;
    return tine_none();
}
TINE_FUNCTION(owned_add, "a, b=1") {
    return tine_int(tine_arg_int(task, 0) + tine_arg_int(task, 1));
}
/* Its own fork, which it does not wait for, ends with it. */
TINE_FUNCTION(owned_leaves, "") {
    (void)task;
    tine_fork_with(&owned, "owned_computes");
    return tine_none();
}

TRANSPORT_TEST(owned, a_release_cancels_what_runs, 30) {
    cluster_start(endpoint, 1);
    tine_future *f = tine_fork_with(&owned, "owned_computes");
    cr_assert_eq(tine_wait_for(f, 0.01, NULL), TINE_ETIMEDOUT);
    tine_ref(f);
    tine_release(f);
    cr_assert(!tine_done(f), "one reference is left");
    tine_release(f);
    cr_assert_eq(cluster_take_int(tine_fork("owned_add", 1)), 2);
    cluster_stop();
}

TRANSPORT_TEST(owned, a_release_cancels_what_has_not_started, 30) {
    tine_counts n;
    cluster_start(endpoint, 1);
    tine_future *runs = tine_fork("owned_computes"), *promised;
    tine_promise *p = tine_promise_new(&promised);
    for (int i = 0; i < 20; i++) tine_release(tine_fork_with(&owned, "owned_add", i));
    tine_release(tine_fork_with(&owned, "owned_add", promised));
    cr_assert_eq(tine_count(&n), TINE_OK);
    cr_assert(n.ready + n.waiting == 0, "%d are ready, %d wait", (int)n.ready, (int)n.waiting);
    tine_release(p);
    tine_release(promised);
    tine_cancel(runs, 0);
    tine_release(runs);
    cluster_stop();
}

/* It has been forked, and waits for a result that goes to its worker by itself. */
TRANSPORT_TEST(owned, a_release_cancels_what_waited_for_a_promise, 30) {
    tine_counts n;
    cluster_start(endpoint, 1);
    tine_future *runs = tine_fork("owned_computes"), *promised;
    tine_promise *p = tine_promise_new(&promised);
    tine_future *f = tine_fork_with(&owned, "owned_add", promised, runs);
    cr_assert_eq(tine_promise_set(p, tine_int(1)), TINE_OK);
    cr_assert_eq(tine_count(&n), TINE_OK);
    cr_assert_eq(n.waiting, 1);
    tine_release(f);
    while (n.waiting) cr_assert_eq(tine_count(&n), TINE_OK);
    tine_release(p);
    tine_release(promised);
    tine_cancel(runs, 0);
    tine_release(runs);
    cluster_stop();
}

TRANSPORT_TEST(owned, what_others_depend_on_goes_on, 30) {
    cluster_start(endpoint, 1);
    for (int i = 0; i < 50; i++) {
        tine_future *f = tine_fork_with(&owned, "owned_add", i);
        tine_future *g = tine_fork("owned_add", f);
        tine_release(f);
        cr_assert_eq(cluster_take_int(g), i + 2);
    }
    for (int i = 0; i < 50; i++)
        cr_assert_eq(cluster_take_int(tine_fork_with(&owned, "owned_add", i)), i + 1);
    cluster_stop();
}

TRANSPORT_TEST(owned, a_task_that_ends_cancels_its_own, 30) {
    cluster_start(endpoint, 1);
    for (int i = 0; i < 10; i++) tine_release(cluster_take(tine_fork("owned_leaves")));
    cr_assert_eq(cluster_take_int(tine_fork("owned_add", 1)), 2);
    cluster_stop();
}
