/* What cancelling does to tasks in each state, and to their forks; the terms of forks. */
#include "tests/support/scheduler_fixture.h"

TestSuite(cancels, .timeout = 20);

/* Forks f with terms (NULL: none). */
static uint64_t fork_as(uint64_t ticket, uint32_t flags, const tine_terms *terms) {
    uint64_t task = 0;
    tine_payload *p = payload_with(8, NULL, 0);
    cr_assert_eq(tine_scheduler_fork(F.scheduler, ticket, 0, &(tine_target){.name = "f"}, flags, p,
                                     terms, &task),
                 TINE_OK);
    tine_payload_unref(p);
    return task;
}

static bool cancel(uint64_t task, uint64_t grace_ns) {
    return tine_scheduler_cancel(F.scheduler, task, TINE_ECANCELED, "the test asks", grace_ns);
}

static void expect_cancelled(uint64_t ticket) {
    action *a = completed(ticket);
    cr_assert(a && a->a.status == TINE_ECANCELED, "ticket %d", (int)ticket);
    cr_assert(strstr(a->text, "the test asks"), "%s", a->text);
}

Test(cancels, a_ready_task_never_starts) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    uint64_t task = fork_as(1, 0, NULL);
    take();
    cr_assert(cancel(task, 0));
    take();
    expect_cancelled(1);
    cr_assert(!found(TINE_SCHEDULER_END, 0));
    cr_assert(!cancel(task, 0));
    join(1);
    take();
    cr_assert_eq(count_sent(1, TINE_MSG_TASK), 0);
    fixture_close();
}

Test(cancels, a_running_one_completes_at_once_and_its_worker_is_told) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    join(1);
    uint64_t task = fork_as(1, TINE_REPEATABLE, NULL);
    take();
    action running = *sent(1, TINE_MSG_TASK, 0);
    cr_assert(cancel(task, 5));
    take();
    expect_cancelled(1);
    cr_assert_eq(sent(1, TINE_MSG_CANCEL, 0)->a.message.task, task);
    cr_assert_eq(found(TINE_SCHEDULER_END, 0)->a.ticket, task);
    cr_assert_eq(found(TINE_SCHEDULER_END, 0)->a.grace_ns, 5);
    cr_assert(!cancel(task, 5));
    tine_worker_info info;
    cr_assert(tine_scheduler_task_worker(F.scheduler, task, &info) && info.peer == 1);
    done(1, &running, 100);
    take();
    cr_assert(!completed(1), "it completed twice");
    cr_assert(!tine_scheduler_task_worker(F.scheduler, task, &info));
    fixture_close();
}

Test(cancels, one_whose_worker_is_lost_does_not_run_again) {
    fixture_open((tine_scheduler_config){.workers_return = true, .max_attempts = 4});
    join(1);
    uint64_t task = fork_as(1, TINE_REPEATABLE, NULL);
    take();
    cancel(task, UINT64_MAX);
    take();
    expect_cancelled(1);
    tine_scheduler_peer_lost(F.scheduler, 1, "killed");
    join(2);
    take();
    cr_assert_eq(count_sent(2, TINE_MSG_TASK), 0);
    cr_assert_eq(stats().ready, 0);
    fixture_close();
}

/* 1 forks 2, which runs and forks 3, which is ready: all three end, each owner hears of its own. */
Test(cancels, forks_are_cancelled_at_every_depth) {
    fixture_open((tine_scheduler_config){.workers_return = true, .max_credit = 1});
    join(1), join(2);
    uint64_t task = fork_as(1, 0, NULL);
    take();
    action first = *sent(0, TINE_MSG_TASK, 0);
    tine_peer one = first.a.peer, two = 3 - one;
    submit(one, &first, 11, "f");
    take();
    action second = *sent(two, TINE_MSG_TASK, 0);
    submit(two, &second, 22, "f");
    take();
    cr_assert_eq(count_sent(0, TINE_MSG_TASK), 0);
    cancel(task, 5);
    take();
    expect_cancelled(1);
    const action *end = found(TINE_SCHEDULER_END, 0), *below = found(TINE_SCHEDULER_END, 1);
    cr_assert(end && end->a.ticket == first.a.message.task && end->a.grace_ns == 5);
    cr_assert(below && below->a.ticket == second.a.message.task && below->a.grace_ns == 5);
    cr_assert(!found(TINE_SCHEDULER_END, 2), "the third one has no worker");
    cr_assert_eq(sent(one, TINE_MSG_CANCEL, 0)->a.message.task, first.a.message.task);
    cr_assert_eq(sent(two, TINE_MSG_CANCEL, 0)->a.message.task, second.a.message.task);
    cr_assert_eq(sent(one, TINE_MSG_RESULT, 0)->a.message.status, TINE_ECANCELED);
    cr_assert_eq(sent(two, TINE_MSG_RESULT, 0)->a.message.seq, 22);
    submit(one, &first, 12, "f"); /* it had not heard yet */
    take();
    cr_assert_eq(sent(one, TINE_MSG_RESULT, 0)->a.message.status, TINE_ECANCELED);
    done_with(two, &second, TINE_ECANCELED, "cancelled", 1, 1, NULL, 0);
    done_with(one, &first, TINE_ECANCELED, "cancelled", 1, 2, NULL, 0);
    take();
    cr_assert(!completed(1));
    cr_assert_eq(stats().running + stats().suspended, 0);
    fixture_close();
}

static void cancel_from(tine_peer peer, const action *parent, uint64_t seq) {
    receive(peer, (tine_message){.type = TINE_MSG_CANCEL,
                                 .task = parent->a.message.task,
                                 .seq = seq,
                                 .grace_ns = UINT64_MAX});
}

Test(cancels, a_worker_cancels_its_fork_also_before_it_arrives) {
    fixture_open((tine_scheduler_config){.workers_return = true, .max_credit = 1});
    join(1);
    fork_as(1, 0, NULL);
    take();
    action parent = *sent(1, TINE_MSG_TASK, 0);
    submit(1, &parent, 5, "f");
    cancel_from(1, &parent, 5);
    cancel_from(1, &parent, 6); /* a large SUBMIT is overtaken */
    take();
    cr_assert_eq(sent(1, TINE_MSG_RESULT, 0)->a.message.seq, 5);
    submit(1, &parent, 6, "f");
    take();
    cr_assert_eq(sent(1, TINE_MSG_RESULT, 0)->a.message.seq, 6);
    cr_assert_eq(sent(1, TINE_MSG_RESULT, 0)->a.message.status, TINE_ECANCELED);
    suspend(1, &parent);
    take();
    cr_assert_eq(count_sent(1, TINE_MSG_TASK), 0);
    cancel_from(1, &parent, 5); /* answered already */
    done_with(1, &parent, TINE_OK, NULL, 1, 2, NULL, 0);
    take();
    cr_assert_eq(completed(1)->a.status, TINE_OK);
    fixture_close();
}

Test(cancels, priorities_come_before_age) {
    fixture_open((tine_scheduler_config){.workers_return = true, .max_credit = 1});
    static const int32_t priorities[] = {0, -5, 3, INT32_MAX, INT32_MIN, 0, 3};
    static const uint64_t order[] = {4, 3, 7, 1, 6, 2, 5};
    for (uint64_t i = 0; i < 7; i++) fork_as(i + 1, 0, &(tine_terms){.priority = priorities[i]});
    join(1);
    take();
    for (size_t i = 0; i < 7; i++) {
        action running = *sent(1, TINE_MSG_TASK, 0);
        done(1, &running, 1);
        take();
        cr_assert(completed(order[i]), "%zu", i);
    }
    fixture_close();
}

Test(cancels, a_failure_is_repeated_as_often_as_its_terms_say) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    join(1);
    fork_as(1, TINE_REPEATABLE, &(tine_terms){.failure_retries = 2, .name = "mine"});
    for (uint32_t attempt = 1; attempt <= 3; attempt++) {
        take();
        action t = *sent(1, TINE_MSG_TASK, 0);
        cr_assert_eq(t.a.message.attempt, attempt);
        done_with(1, &t, TINE_EFAILED, "no", 1, 0, NULL, 0);
    }
    take();
    cr_assert_eq(completed(1)->a.status, TINE_EFAILED);
    cr_assert(strstr(completed(1)->text, "\"mine\""), "%s", completed(1)->text);
    /* what the function was given wrongly, and what is not repeatable, is not repeated */
    fork_as(2, TINE_REPEATABLE, &(tine_terms){.failure_retries = 2});
    take();
    action t = *sent(1, TINE_MSG_TASK, 0);
    done_with(1, &t, TINE_EINVAL, "no", 1, 0, NULL, 0);
    take();
    cr_assert_eq(completed(2)->a.status, TINE_EINVAL);
    fork_as(3, 0, &(tine_terms){.failure_retries = 2});
    take();
    t = *sent(1, TINE_MSG_TASK, 0);
    done_with(1, &t, TINE_EFAILED, "no", 1, 0, NULL, 0);
    take();
    cr_assert_eq(completed(3)->a.status, TINE_EFAILED);
    cr_assert(strstr(completed(3)->text, "attempt 1 of 1"), "%s", completed(3)->text);
    fixture_close();
}
