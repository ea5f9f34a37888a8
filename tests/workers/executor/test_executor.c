/* The executor's rules, one by one: tasks, forks and cancellation. */
#include "tests/support/executor_fixture.h"

TestSuite(executor, .timeout = 20);

Test(executor, hello_comes_first_and_is_a_copy) {
    char name[] = "f";
    tine_hello hello = {.version = 1, .functions = (const char *const[]){name}, .n_functions = 1};
    cr_assert_eq(tine_executor_new(&A, &hello, TINE_EXECUTOR_STAYS, TINE_EXECUTOR_QUEUED), TINE_OK);
    name[0] = 'x';
    tine_executor_action a;
    cr_assert(tine_executor_next(A, &a));
    cr_assert_eq(a.message.type, TINE_MSG_HELLO);
    cr_assert_str_eq(a.message.hello->functions[0], "f");
    cr_assert_str_eq(a.message.hello->host, "");
    cr_assert_eq(tine_executor_epoch(A), 0);
    close_executor();
}

Test(executor, the_deepest_task_starts_first_then_the_oldest) {
    open_executor(4);
    give(1, 0);
    give(2, 2);
    give(3, 1);
    give(4, 2);
    cr_assert(tine_executor_has_ready(A));
    cr_assert_eq(start(), 2);
    cr_assert_eq(start(), 4);
    cr_assert_eq(start(), 3);
    cr_assert_eq(start(), 1);
    cr_assert_eq(start(), 0);
    close_executor();
}

Test(executor, suspensions_are_gathered_and_those_of_finished_tasks_left_out) {
    open_executor(4);
    for (uint64_t i = 1; i <= 3; i++) give(i, 0), start();
    tine_executor_suspend(A, 1);
    tine_executor_suspend(A, 2);
    tine_executor_suspend(A, 2);
    tine_executor_suspend(A, 3);
    finish(2);
    cr_assert(take() && !sent(TINE_MSG_SUSPEND, 0));
    tine_executor_flush(A);
    take();
    act *p = sent(TINE_MSG_SUSPEND, 0);
    cr_assert_eq(p->a.message.n_ids, 2);
    cr_assert(p->ids[0] == 1 && p->ids[1] == 3);
    tine_executor_flush(A);
    cr_assert_eq(take(), 0);
    close_executor();
}

Test(executor, forks_stop_at_the_window_and_credit_is_news_to_who_was_refused) {
    open_executor(2);
    give(1, 0);
    start();
    hear((tine_message){.type = TINE_MSG_CREDIT, .window = 1});
    cr_assert_eq(take(), 0, "nobody was refused");
    for (uint64_t t = 1; t <= 3; t++) cr_assert_eq(fork_from(1, t), TINE_OK);
    cr_assert_eq(fork_from(1, 4), TINE_EAGAIN);
    take();
    act *s = sent(TINE_MSG_SUBMIT, 0);
    cr_assert(s->a.message.seq == 1 && s->a.message.task == 1 && s->a.message.flags == 1);
    cr_assert_str_eq(s->name, "g");
    hear((tine_message){.type = TINE_MSG_CREDIT, .window = 1});
    take();
    cr_assert(found(TINE_EXECUTOR_CREDIT, 0));
    cr_assert_eq(fork_from(1, 4), TINE_OK);
    close_executor();
}

Test(executor, a_fork_completes_once_and_done_counts_what_was_sent) {
    open_executor(4);
    give(1, 0);
    start();
    cr_assert_eq(fork_from(1, 41), TINE_OK);
    tine_payload *p = payload_with(NULL, 0);
    tine_object value = 0, module = 0;
    cr_assert_eq(tine_executor_put(A, 1, NULL, p, &value), TINE_OK);
    cr_assert_eq(tine_executor_put(A, 1, "C", p, &module), TINE_OK);
    tine_payload_unref(p);
    cr_assert_eq(value, (UINT64_C(3) << 40) | 1 << 1);
    cr_assert_eq(module, (UINT64_C(3) << 40) | 2 << 1 | 1);
    cr_assert(tine_executor_fetch(A, module, NULL, NULL));
    hear_with((tine_message){.type = TINE_MSG_RESULT, .seq = 41}, NULL, 0);
    hear_with((tine_message){.type = TINE_MSG_RESULT, .seq = 41}, NULL, 0);
    hear_with((tine_message){.type = TINE_MSG_RESULT, .seq = 0}, NULL, 0);
    take();
    cr_assert_eq(found(TINE_EXECUTOR_COMPLETE, 0)->a.ticket, 41);
    cr_assert(!found(TINE_EXECUTOR_COMPLETE, 1));
    finish(1);
    take();
    cr_assert_eq(sent(TINE_MSG_DONE, 0)->a.message.seq, 3);
    cr_assert_eq(sent(TINE_MSG_DONE, 0)->a.message.run_ns, 5);
    close_executor();
}

Test(executor, stop_cancels_open_forks_and_starts_nothing_more) {
    open_executor(4);
    give(1, 0);
    give(2, 0);
    start();
    fork_from(1, 41);
    fork_from(1, 42);
    tine_object a = 2;
    hear_with((tine_message){.type = TINE_MSG_RESULT, .seq = 42}, &a, 1);
    cr_assert(!tine_executor_fetch(A, 3, NULL, NULL));
    take();
    hear((tine_message){.type = TINE_MSG_STOP});
    hear((tine_message){.type = TINE_MSG_STOP});
    take();
    cr_assert_eq(found(TINE_EXECUTOR_COMPLETE, 0)->a.status, TINE_ECANCELED);
    cr_assert_eq(found(TINE_EXECUTOR_COMPLETE, 1)->a.status, TINE_ECANCELED);
    cr_assert_eq(found(TINE_EXECUTOR_OBJECT, 0)->a.status, TINE_ECANCELED);
    cr_assert(found(TINE_EXECUTOR_STOP, 0) && !found(TINE_EXECUTOR_STOP, 1));
    cr_assert(!tine_executor_has_ready(A));
    cr_assert_eq(start(), 0);
    cr_assert_eq(fork_from(1, 43), TINE_ECANCELED);
    tine_payload *p = payload_with(NULL, 0);
    tine_object id;
    cr_assert_eq(tine_executor_put(A, 1, NULL, p, &id), TINE_ECANCELED);
    tine_payload_unref(p);
    cr_assert(!tine_executor_fetch(A, 5, NULL, NULL));
    take();
    cr_assert_eq(found(TINE_EXECUTOR_OBJECT, 0)->a.status, TINE_ECANCELED);
    finish(1);
    close_executor();
}

static void expect_stop(tine_message m, bool welcomed, const char *why) {
    tine_hello hello = {.version = 1};
    cr_assert_eq(tine_executor_new(&A, &hello, TINE_EXECUTOR_STAYS, TINE_EXECUTOR_QUEUED), TINE_OK);
    if (welcomed) hear((tine_message){.type = TINE_MSG_WELCOME, .epoch = 1});
    take();
    hear(m);
    take();
    act *s = found(TINE_EXECUTOR_STOP, 0);
    cr_assert(s);
    cr_assert_eq(s->a.status, TINE_EPROTO);
    cr_assert_str_eq(s->text, why);
    close_executor();
}

Test(executor, nonsense_of_the_coordinator_stops_it) {
    expect_stop((tine_message){.type = TINE_MSG_REJECT, .text = "wrong version"}, false,
                "wrong version");
    expect_stop((tine_message){.type = TINE_MSG_TASK, .task = 1}, false,
                "the coordinator's first message is not WELCOME");
    expect_stop((tine_message){.type = TINE_MSG_WELCOME, .epoch = 2}, true,
                "the coordinator sent a second WELCOME, or one without an epoch");
    expect_stop((tine_message){.type = TINE_MSG_TASK, .task = 1}, true,
                "the coordinator sent an incomplete task");
    expect_stop((tine_message){.type = TINE_MSG_HELLO}, true,
                "the coordinator sent a message that only a worker may send");
    expect_stop((tine_message){.type = (tine_message_type)999}, true,
                "the coordinator sent a message that only a worker may send");
}

Test(executor, pings_are_answered_and_trace_is_passed_on) {
    open_executor(4);
    hear((tine_message){.type = TINE_MSG_PING, .seq = 5});
    hear((tine_message){.type = TINE_MSG_TRACE, .flags = 2});
    take();
    cr_assert_eq(sent(TINE_MSG_PONG, 0)->a.message.seq, 5);
    cr_assert_eq(sent(TINE_MSG_PONG, 0)->a.message.clock, 77);
    cr_assert_eq(found(TINE_EXECUTOR_TRACE, 0)->a.flags, 2);
    close_executor();
}

Test(executor, a_cancelled_task_does_not_start_and_is_answered) {
    open_executor(4);
    give(1, 0);
    give(2, 0);
    cr_assert_eq(start(), 1);
    hear((tine_message){.type = TINE_MSG_CANCEL, .task = 2});
    take();
    cr_assert_eq(sent(TINE_MSG_DONE, 0)->a.message.task, 2);
    cr_assert_eq(sent(TINE_MSG_DONE, 0)->a.message.status, TINE_ECANCELED);
    cr_assert_eq(start(), 0);
    hear((tine_message){.type = TINE_MSG_CANCEL, .task = 1}); /* it runs: it is told */
    hear((tine_message){.type = TINE_MSG_CANCEL, .task = 3}); /* has overtaken the task */
    take();
    cr_assert_eq(found(TINE_EXECUTOR_CANCEL, 0)->a.ticket, 1);
    give(3, 0);
    take();
    cr_assert_eq(sent(TINE_MSG_DONE, 0)->a.message.task, 3);
    finish(1);
    close_executor();
}

Test(executor, a_fork_that_is_cancelled_early_stays_open_for_a_result_that_was_on_its_way) {
    open_executor(4);
    give(1, 0);
    start();
    fork_from(1, 7);
    fork_from(1, 8);
    take();
    for (uint64_t ticket = 7; ticket <= 9; ticket++) tine_executor_cancel_early(A, ticket, 5);
    tine_executor_cancel_early(A, 7, 5);
    cr_assert_eq(take(), 2, "each is told once");
    cr_assert(sent(TINE_MSG_CANCEL, 1)->a.message.seq == 8);
    cr_assert_eq(sent(TINE_MSG_CANCEL, 1)->a.message.grace_ns, 5);
    hear((tine_message){.type = TINE_MSG_RESULT, .seq = 7, .status = TINE_ECANCELED, .text = "x"});
    hear_with((tine_message){.type = TINE_MSG_RESULT, .seq = 8}, NULL, 0);
    cr_assert_eq(take(), 1);
    cr_assert(found(TINE_EXECUTOR_COMPLETE, 0)->a.ticket == 8);
    cr_assert(tine_executor_cancel(A, 7, 5));
    cr_assert_eq(take(), 0);
    finish(1);
    close_executor();
}

Test(executor, a_fork_is_cancelled_once_and_its_answer_ignored) {
    open_executor(4);
    give(1, 0);
    start();
    cr_assert_eq(fork_from(1, 7), TINE_OK);
    cr_assert(tine_executor_cancel(A, 7, 5));
    cr_assert(!tine_executor_cancel(A, 7, 5));
    take();
    cr_assert(sent(TINE_MSG_CANCEL, 0)->a.message.seq == 7 &&
              sent(TINE_MSG_CANCEL, 0)->a.message.grace_ns == 5);
    hear_with((tine_message){.type = TINE_MSG_RESULT, .seq = 7}, NULL, 0);
    take();
    cr_assert(!found(TINE_EXECUTOR_COMPLETE, 0));
    finish(1);
    close_executor();
}
