/* A worker that leaves: what it gives back, and what it runs to its end. */
#include "tests/support/executor_fixture.h"

TestSuite(executor_leave, .timeout = 20);

enum { VALUE = 4 };

static void expect_leave(size_t i, size_t n, uint64_t id) {
    const act *a = sent(TINE_MSG_LEAVE, i);
    cr_assert(a, "LEAVE %zu is missing", i);
    cr_assert_eq(a->a.message.n_ids, n);
    if (n) cr_assert_eq(a->ids[0], id);
}

static void run_after_all(uint64_t task) {
    hear((tine_message){.type = TINE_MSG_LEAVE, .ids = &task, .n_ids = 1});
}

Test(executor_leave, tasks_that_have_not_begun_are_given_back) {
    open_executor(4);
    give(1, 0);
    give(2, 0);
    give_with(3, 0, (tine_object[]){VALUE}, 1); /* it waits */
    cr_assert_eq(start(), 1);
    tine_executor_leave(A);
    tine_executor_leave(A);
    take();
    expect_leave(0, 2, 3);
    cr_assert(!sent(TINE_MSG_LEAVE, 1));
    cr_assert(!start() && !tine_executor_has_ready(A));
    give(4, 0);
    take();
    expect_leave(0, 1, 4);
    give_object(VALUE, NULL, 0);
    cr_assert(!start());
    finish(1);
    take();
    cr_assert_eq(sent(TINE_MSG_DONE, 0)->a.message.task, 1);
    cr_assert(!found(TINE_EXECUTOR_STOP, 0), "the coordinator says when");
    close_executor();
}

Test(executor_leave, the_coordinator_may_have_one_run_after_all) {
    open_executor(4);
    give(1, 0);
    give_with(2, 0, (tine_object[]){VALUE}, 1);
    tine_executor_leave(A);
    give_with(3, 0, (tine_object[]){VALUE}, 1);
    for (uint64_t task = 1; task <= 4; task++) run_after_all(task); /* there is no task 4 */
    cr_assert_eq(start(), 1);
    cr_assert(!start(), "the value of the others is not here");
    give_object(VALUE, NULL, 0);
    uint64_t second = start(), third = start();
    cr_assert(second + third == 5 && second && third);
    give(5, 0);
    take();
    hear((tine_message){.type = TINE_MSG_CANCEL, .task = 5});
    take();
    cr_assert_eq(sent(TINE_MSG_DONE, 0)->a.message.status, TINE_ECANCELED);
    run_after_all(5);
    cr_assert(!start());
    close_executor();
}

Test(executor_leave, forks_that_stay_here_are_submitted) {
    open_executor(4);
    hear((tine_message){.type = TINE_MSG_DEMAND, .seq = 0, .attempt = 1});
    give(1, 0);
    cr_assert_eq(start(), 1);
    tine_payload *p = payload_with(NULL, 0);
    for (uint64_t i = 1; i <= 3; i++) {
        if (i == 3) tine_executor_leave(A);
        cr_assert_eq(tine_executor_fork(A, 1, i, &(tine_target){.name = "f"}, 0, p, NULL), TINE_OK);
        if (i < 3) cr_assert(tine_executor_has_local(A));
    }
    tine_payload_unref(p);
    take();
    for (uint64_t i = 0; i < 3; i++) cr_assert_eq(sent(TINE_MSG_SUBMIT, i)->a.message.seq, i + 1);
    expect_leave(0, 0, 0);
    cr_assert(!tine_executor_has_local(A));
    close_executor();
}

Test(executor_leave, before_it_has_joined_it_leaves_when_it_has) {
    tine_hello hello = {.version = 1, .pid = 9};
    cr_assert_eq(tine_executor_new(&A, &hello, 0, 0), TINE_OK);
    tine_executor_leave(A);
    take();
    cr_assert(!sent(TINE_MSG_LEAVE, 0));
    hear((tine_message){.type = TINE_MSG_WELCOME, .epoch = 3, .window = 1});
    take();
    expect_leave(0, 0, 0);
    close_executor();
}
