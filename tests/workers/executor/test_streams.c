/* Streams at the executor: of the tasks that it runs, and of their forks. */
#include "tests/support/executor_fixture.h"

TestSuite(executor_streams, .timeout = 20);

static tine_error yield(uint64_t task) {
    tine_payload *p = tine_payload_new(8, 0, 0);
    tine_error e = tine_executor_yield(A, task, p);
    tine_payload_unref(p);
    return e;
}

Test(executor_streams, a_task_yields_as_many_values_as_are_taken) {
    open_executor(4);
    give(1, 0);
    give(2, 0);
    cr_assert_eq(start(), 1);
    cr_assert_eq(start(), 2);
    cr_assert_eq(yield(1), TINE_OK); /* the first one in any case */
    cr_assert_eq(yield(1), TINE_EAGAIN);
    take();
    cr_assert_eq(sent(TINE_MSG_YIELD, 0)->a.message.item, 1);
    hear((tine_message){.type = TINE_MSG_PULL, .task = 1, .item = 3});
    hear((tine_message){.type = TINE_MSG_PULL, .task = 1, .item = 2}); /* is no step back */
    hear((tine_message){.type = TINE_MSG_PULL, .task = 9, .item = 2});
    take();
    cr_assert(found(TINE_EXECUTOR_PULL, 0)->a.ticket == 1 && !found(TINE_EXECUTOR_PULL, 1));
    cr_assert_eq(yield(1), TINE_OK);
    cr_assert_eq(yield(1), TINE_OK);
    cr_assert_eq(yield(1), TINE_EAGAIN);
    cr_assert_eq(yield(2), TINE_OK);
    hear((tine_message){.type = TINE_MSG_PULL, .task = 2}); /* nobody takes them */
    take();
    for (int i = 0; i < 5; i++) cr_assert_eq(yield(2), TINE_OK);
    take();
    cr_assert(!sent(TINE_MSG_YIELD, 0));
    finish(2);
    take();
    cr_assert_eq(sent(TINE_MSG_DONE, 0)->a.message.seq, 1);
    finish(1);
    take();
    cr_assert_eq(sent(TINE_MSG_DONE, 0)->a.message.seq, 3);
    close_executor();
}

static void give_value(uint64_t seq, uint64_t item, const tine_object *refs, size_t n) {
    hear_with((tine_message){.type = TINE_MSG_YIELD, .seq = seq, .item = item}, refs, n);
}

Test(executor_streams, a_stream_ends_when_its_values_are_here) {
    open_executor(4);
    give(1, 0);
    start();
    tine_payload *p = tine_payload_new(8, 0, 0);
    const tine_terms terms = {.stream = 4};
    cr_assert_eq(tine_executor_fork(A, 1, 7, &(tine_target){.name = "f"}, 0, p, &terms), TINE_OK);
    tine_payload_unref(p);
    give_value(7, 2, &(tine_object){4}, 1); /* waits for what it mentions */
    give_value(7, 1, NULL, 0);
    hear_with((tine_message){.type = TINE_MSG_RESULT, .seq = 7}, NULL, 0);
    hear_with((tine_message){.type = TINE_MSG_RESULT, .seq = 7}, NULL, 0); /* a duplicate */
    take();
    cr_assert_eq(found(TINE_EXECUTOR_YIELD, 0)->a.item, 1);
    cr_assert(!found(TINE_EXECUTOR_YIELD, 1) && !found(TINE_EXECUTOR_COMPLETE, 0));
    tine_payload_unref(found(TINE_EXECUTOR_YIELD, 0)->a.payload);
    tine_executor_pull(A, 7, 5);
    hear((tine_message){.type = TINE_MSG_YIELD, .seq = 7, .item = 3}); /* there were two */
    give_object(4, NULL, 0);
    take();
    cr_assert(sent(TINE_MSG_PULL, 0)->a.message.seq == 7 &&
              sent(TINE_MSG_PULL, 0)->a.message.item == 5);
    cr_assert_eq(found(TINE_EXECUTOR_YIELD, 0)->a.item, 2);
    tine_payload_unref(found(TINE_EXECUTOR_YIELD, 0)->a.payload);
    cr_assert_eq(found(TINE_EXECUTOR_COMPLETE, 0)->a.ticket, 7);
    give_value(7, 3, NULL, 0); /* of a fork that has ended */
    tine_executor_pull(A, 7, 6);
    take();
    cr_assert(!found(TINE_EXECUTOR_YIELD, 0) && !sent(TINE_MSG_PULL, 0));
    finish(1);
    hear((tine_message){.type = TINE_MSG_DROP, .ids = (uint64_t[]){4}, .n_ids = 1});
    close_executor();
}
