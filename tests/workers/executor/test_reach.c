/* The executor's results that stay for other workers, and those that it fetches from them. */
#include "tests/support/executor_fixture.h"

enum { RESULT = 20, LARGE = TINE_EXECUTOR_STAYS + 1 };

static void give_task(uint64_t task, tine_object result) {
    hear_with((tine_message){.type = TINE_MSG_TASK,
                             .task = task,
                             .attempt = 1,
                             .epoch = 3,
                             .object = result,
                             .target = {.name = "f"}},
              NULL, 0);
    cr_assert_eq(start(), task);
}

static void taken(uint64_t task) {
    hear((tine_message){.type = TINE_MSG_REACH, .object = RESULT, .seq = task});
}

static void end_large(uint64_t task) {
    tine_payload *p = tine_payload_new(LARGE, 0, 0);
    memset(p->body, 0, LARGE);
    tine_executor_done(A, task, TINE_OK, p, NULL, 5);
    tine_payload_unref(p);
    take();
}

static void told_to_reach(tine_object id) {
    hear((tine_message){.type = TINE_MSG_REACH, .object = id, .seq = 9, .text = "tcp://h:1"});
}

static void reached(tine_object id, bool here) {
    tine_payload *p = here ? payload_with(NULL, 0) : NULL;
    tine_executor_reached(A, id, p, here ? "" : "it has gone", false);
    tine_payload_unref(p);
    take();
}

Test(executor_reach, a_large_result_stays_only_if_other_tasks_take_it, .timeout = 20) {
    open_executor(4);
    give_task(1, RESULT);
    end_large(1);
    cr_assert(sent(TINE_MSG_DONE, 0)->a.message.payload);
    cr_assert(!found(TINE_EXECUTOR_KEEP, 0));
    taken(2); /* before the task, which is larger */
    give_task(2, RESULT);
    end_large(2);
    cr_assert_null(sent(TINE_MSG_DONE, 0)->a.message.payload);
    cr_assert_eq(sent(TINE_MSG_DONE, 0)->a.message.object, RESULT);
    cr_assert_eq(found(TINE_EXECUTOR_KEEP, 0)->a.object, RESULT);
    cr_assert(tine_executor_keeps(A));
    drop(RESULT);
    cr_assert_eq(found(TINE_EXECUTOR_FORGET, 0)->a.object, RESULT);
    cr_assert(!tine_executor_keeps(A) && objects() == 0);
    close_executor();
}

Test(executor_reach, what_stays_is_bounded, .timeout = 20) {
    tine_hello hello = {.version = 1};
    cr_assert_eq(tine_executor_new(&A, &hello, TINE_EXECUTOR_STAYS, LARGE), TINE_OK);
    hear((tine_message){.type = TINE_MSG_WELCOME, .epoch = 3, .window = 1});
    for (uint64_t task = 1; task <= 2; task++) {
        give_task(task, RESULT + 2 * task);
        taken(task);
        end_large(task);
        cr_assert_eq(sent(TINE_MSG_DONE, 0)->a.message.payload != NULL, task == 2);
    }
    close_executor();
}

Test(executor_reach, a_task_starts_when_its_input_has_been_fetched, .timeout = 20) {
    open_executor(4);
    give_with(1, 0, &(tine_object){6}, 1);
    told_to_reach(6);
    told_to_reach(6);
    take();
    cr_assert_eq(found(TINE_EXECUTOR_REACH, 0)->a.object, 6);
    cr_assert_eq(found(TINE_EXECUTOR_REACH, 0)->a.ticket, 9);
    cr_assert_str_eq(found(TINE_EXECUTOR_REACH, 0)->text, "tcp://h:1");
    cr_assert(!found(TINE_EXECUTOR_REACH, 1) && !sent(TINE_MSG_FETCH, 0));
    cr_assert_eq(start(), 0);
    reached(6, true);
    cr_assert_eq(n_acts, 0);
    cr_assert_eq(start(), 1);
    reached(6, true); /* once too often */
    drop(6);
    cr_assert_eq(objects(), 0);
    reached(6, true);
    cr_assert_eq(objects(), 0);
    close_executor();
}

Test(executor_reach, what_cannot_be_fetched_comes_from_the_coordinator, .timeout = 20) {
    open_executor(4);
    told_to_reach(6);
    give_with(1, 0, &(tine_object){6}, 1);
    reached(6, false);
    cr_assert_eq(sent(TINE_MSG_REACH, 0)->a.message.object, 6);
    cr_assert_str_eq(sent(TINE_MSG_REACH, 0)->text, "it has gone");
    cr_assert_eq(start(), 0);
    give_object(6, NULL, 0);
    cr_assert_eq(start(), 1);
    close_executor();
}

Test(executor_reach, the_coordinator_s_fetch_is_answered_when_it_has_come, .timeout = 20) {
    open_executor(4);
    hear((tine_message){.type = TINE_MSG_FETCH, .object = 6});
    take();
    cr_assert_eq(sent(TINE_MSG_OBJECT, 0)->a.message.status, TINE_EINVAL);
    for (int here = 0; here < 2; here++) {
        told_to_reach(8);
        hear((tine_message){.type = TINE_MSG_FETCH, .object = 8});
        take();
        cr_assert(!sent(TINE_MSG_OBJECT, 0));
        reached(8, here);
        cr_assert_eq(sent(TINE_MSG_OBJECT, 0) != NULL, here, "the REACH answers, too");
        cr_assert_eq(sent(TINE_MSG_REACH, 0) != NULL, !here);
    }
    close_executor();
}

Test(executor_reach, the_reason_says_whose_it_is, .timeout = 20) {
    open_executor(4);
    for (int own = 0; own < 2; own++) {
        told_to_reach(6 + 2 * (tine_object)own);
        tine_executor_reached(A, 6 + 2 * (tine_object)own, NULL, "no room", own);
        take();
        cr_assert_eq(sent(TINE_MSG_REACH, 0)->a.message.seq, own);
    }
    close_executor();
}

/* While a task runs: what is done only when it ends holds up no message. */
Test(executor_reach, what_is_forgotten_later_delays_no_message, .timeout = 20) {
    tine_executor_action a;
    open_executor(4);
    told_to_reach(6);
    told_to_reach(8);
    drop(6);
    tine_payload *p = payload_with(NULL, 0);
    tine_executor_reached(A, 6, p, "", false);
    tine_payload_unref(p);
    tine_executor_reached(A, 8, NULL, "it has gone", false);
    told_to_reach(10);
    cr_assert(tine_executor_next_early(A, &a) && a.kind == TINE_EXECUTOR_SEND);
    cr_assert_eq(a.message.object, 8);
    cr_assert(tine_executor_next_early(A, &a) && a.kind == TINE_EXECUTOR_REACH);
    cr_assert_eq(a.object, 10);
    cr_assert(!tine_executor_next_early(A, &a));
    take();
    cr_assert(n_acts == 1 && found(TINE_EXECUTOR_FORGET, 0)->a.object == 6);
    close_executor();
}

Test(executor_reach, one_that_is_dropped_before_it_has_come_is_not_under_way, .timeout = 20) {
    open_executor(4);
    cr_assert(!tine_executor_has(A, 6));
    told_to_reach(6);
    cr_assert(tine_executor_reaches(A) && tine_executor_has(A, 6));
    give_object(6, NULL, 0);
    drop(6);
    cr_assert(!tine_executor_reaches(A) && !tine_executor_has(A, 6));
    close_executor();
}
