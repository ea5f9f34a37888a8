/* Workers that are silent for a while: which are waited for, and which are given up. */
#include "tests/support/scheduler_fixture.h"

TestSuite(scheduler_silent, .timeout = 20);

static bool silent(tine_peer peer) {
    return tine_scheduler_worker_silent(F.scheduler, peer, "it sent nothing for 10 s");
}
static void heard(tine_peer peer) { tine_scheduler_worker_heard(F.scheduler, peer); }
static void lost(tine_peer peer) {
    tine_scheduler_peer_lost(F.scheduler, peer, "it sent nothing for 150 s");
}

/* One task with these flags at worker 1; gives its id. */
static uint64_t begin(uint32_t flags, action *task) {
    uint64_t id;
    fixture_open((tine_scheduler_config){.workers_return = true, .max_attempts = 2});
    join(1);
    tine_payload *p = payload_with(8, NULL, 0);
    cr_assert_eq(
        tine_scheduler_fork(F.scheduler, 1, 0, &(tine_target){.name = "f"}, flags, p, NULL, &id),
        TINE_OK);
    tine_payload_unref(p);
    take();
    *task = *sent(1, TINE_MSG_TASK, 0);
    return id;
}

Test(scheduler_silent, one_that_runs_what_must_not_run_twice_is_waited_for) {
    action task;
    begin(0, &task);
    cr_assert(silent(1));
    take();
    cr_assert_eq(lines_with("it sent nothing for 10 s; 1 task must not run twice, and is waited"),
                 1);
    cr_assert(!completed(1));
    done(1, &task, 9); /* it was on its way */
    heard(1);
    take();
    cr_assert_eq(completed(1)->a.status, TINE_OK);
    cr_assert_eq(lines_with("is heard again"), 1);
    fixture_close();
}

Test(scheduler_silent, one_whose_tasks_can_run_elsewhere_is_given_up) {
    action task;
    begin(TINE_REPEATABLE, &task);
    cr_assert(!silent(1));
    lost(1);
    join(2);
    take();
    cr_assert_eq(count_sent(2, TINE_MSG_TASK), 1);
    cr_assert(!completed(1));
    fixture_close();
}

Test(scheduler_silent, one_that_is_idle_is_given_up) {
    action task;
    begin(0, &task);
    done(1, &task, 9);
    take();
    cr_assert(!silent(1));
    cr_assert(!silent(7)); /* no worker */
    heard(7);
    fixture_close();
}

Test(scheduler_silent, it_gets_no_tasks_until_it_is_heard) {
    action task;
    begin(0, &task);
    cr_assert(silent(1));
    fork_f(2, "f");
    fork_with(3, (tine_target){.name = "f"}, TINE_REPEATABLE, 8, NULL, 0);
    take();
    cr_assert_eq(count_sent(1, TINE_MSG_TASK), 0);
    cr_assert(silent(1)); /* still */
    join(2);
    take();
    cr_assert_geq(count_sent(2, TINE_MSG_TASK), 1);
    done(1, &task, 9);
    fork_f(4, "g");
    take();
    cr_assert_eq(count_sent(1, TINE_MSG_TASK), 0, "its answer was on its way: the link is down");
    heard(1);
    take();
    cr_assert_geq(count_sent(1, TINE_MSG_TASK), 1);
    fixture_close();
}

Test(scheduler_silent, one_that_does_not_come_back_fails_its_task_by_name) {
    action task;
    begin(0, &task);
    cr_assert(silent(1));
    lost(1);
    take();
    cr_assert_eq(completed(1)->a.status, TINE_ELOST);
    cr_assert(strstr(completed(1)->text, "task \"f\" was lost on worker pid 11"));
    cr_assert(strstr(completed(1)->text, "it sent nothing for 150 s"));
    fixture_close();
}

Test(scheduler_silent, one_whose_task_was_cancelled_is_given_up) {
    action task;
    uint64_t id = begin(0, &task);
    cr_assert(silent(1));
    cr_assert(
        tine_scheduler_cancel(F.scheduler, id, TINE_ECANCELED, "it was asked for", UINT64_MAX));
    take();
    cr_assert_eq(completed(1)->a.status, TINE_ECANCELED);
    cr_assert(!silent(1));
    lost(1);
    take();
    fixture_close();
}

/* Its fork would be cancelled with it, and be forked again by the next attempt. */
Test(scheduler_silent, one_whose_fork_must_not_run_twice_is_waited_for) {
    action task;
    begin(TINE_REPEATABLE, &task);
    suspend(1, &task);
    cr_assert(!silent(1));
    join_as(2, (const char *const[]){"py"}, 1, NULL, 0);
    submit(1, &task, 1, "py");
    take();
    action child = *sent(2, TINE_MSG_TASK, 0);
    cr_assert(silent(1));
    heard(1);
    done_with(1, &task, TINE_OK, NULL, 9, 1, NULL, 0);
    cr_assert(silent(1), "its parent has ended");
    heard(1);
    done(2, &child, 9);
    take();
    cr_assert(!silent(1));
    fixture_close();
}

Test(scheduler_silent, one_that_alone_has_a_result_is_waited_for) {
    for (int repeatable = 0; repeatable < 2; repeatable++) {
        action task;
        uint64_t id = begin(repeatable ? TINE_REPEATABLE : 0, &task);
        tine_object result = tine_scheduler_result(F.scheduler, id);
        receive(1, (tine_message){.type = TINE_MSG_DONE,
                                  .task = task.a.message.task,
                                  .attempt = task.a.message.attempt,
                                  .epoch = task.a.message.epoch,
                                  .object = result});
        take();
        cr_assert_eq(completed(1)->a.object, result);
        cr_assert_eq(silent(1), !repeatable, "a repeatable task makes it again");
        take();
        cr_assert_eq(lines_with("what it has cannot be made again, and is waited for"),
                     !repeatable);
        tine_scheduler_object_release(F.scheduler, result); /* of the fork, */
        tine_scheduler_object_release(F.scheduler, result); /* and of the caller */
        fixture_close();
    }
}

Test(scheduler_silent, one_that_has_the_state_of_a_module_is_waited_for) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    join(1);
    for (uint64_t renew = 0; renew < 2; renew++) {
        tine_object module;
        tine_payload *p = payload_with(8, NULL, 0);
        cr_assert_eq(tine_scheduler_object(F.scheduler, &module, "C", p), TINE_OK);
        tine_payload_unref(p);
        fork_with(1, (tine_target){"C", "add", module},
                  TINE_REPEATABLE | TINE_MODULE_SINGLE | (renew ? TINE_MODULE_RENEW : 0), 8, NULL,
                  0);
        take();
        action task = *sent(1, TINE_MSG_TASK, 0);
        done(1, &task, 9);
        take();
        cr_assert_eq(silent(1), !renew);
        heard(1);
        tine_scheduler_object_release(F.scheduler, module);
        take();
    }
    fixture_close();
}

/* ---- what is repeatable, and yet not made again ---- */

static uint64_t fork_terms(uint64_t ticket, const tine_object *refs, size_t n,
                           const tine_terms *terms) {
    uint64_t id;
    tine_payload *p = payload_with(8, refs, n);
    cr_assert_eq(tine_scheduler_fork(F.scheduler, ticket, 0, &(tine_target){.name = "f"},
                                     TINE_REPEATABLE, p, terms, &id),
                 TINE_OK);
    tine_payload_unref(p);
    return id;
}

Test(scheduler_silent, a_result_of_a_freed_argument_is_waited_for) {
    fixture_open((tine_scheduler_config){.workers_return = true, .max_attempts = 4});
    join(1);
    tine_object x;
    tine_payload *p = payload_with(8, NULL, 0);
    cr_assert_eq(tine_scheduler_object(F.scheduler, &x, NULL, p), TINE_OK);
    tine_payload_unref(p);
    uint64_t id = fork_terms(1, &x, 1, NULL);
    take();
    action task = *sent(1, TINE_MSG_TASK, 0);
    tine_object result = tine_scheduler_result(F.scheduler, id);
    receive(1, (tine_message){.type = TINE_MSG_DONE,
                              .task = task.a.message.task,
                              .attempt = task.a.message.attempt,
                              .epoch = task.a.message.epoch,
                              .object = result});
    take();
    cr_assert_eq(completed(1)->a.object, result);
    cr_expect(!silent(1), "it can be made again");
    tine_scheduler_object_release(F.scheduler, x);
    take();
    cr_expect(silent(1));
    tine_scheduler_object_release(F.scheduler, result);
    tine_scheduler_object_release(F.scheduler, result);
    fixture_close();
}

Test(scheduler_silent, a_last_attempt_is_waited_for) {
    fixture_open((tine_scheduler_config){.workers_return = true, .max_attempts = 1});
    join(1);
    fork_terms(1, NULL, 0, NULL);
    take();
    cr_expect(silent(1));
    fixture_close();
}

Test(scheduler_silent, a_task_for_this_worker_alone_is_waited_for) {
    fixture_open((tine_scheduler_config){.workers_return = true, .max_attempts = 4});
    uint32_t epoch = join(1);
    fork_terms(1, NULL, 0, &(tine_terms){.worker = epoch});
    take();
    cr_assert_eq(count_sent(1, TINE_MSG_TASK), 1);
    cr_expect(silent(1));
    fixture_close();
}

/* A repeatable task at worker 1 whose repeatable fork runs at worker 2. */
static void begin_with_fork(action *task, action *fork) {
    begin(TINE_REPEATABLE, task);
    suspend(1, task);
    join_as(2, (const char *const[]){"py"}, 1, NULL, 0);
    tine_payload *p = payload_with(8, NULL, 0);
    receive(1, (tine_message){.type = TINE_MSG_SUBMIT,
                              .task = task->a.message.task,
                              .seq = 1,
                              .flags = TINE_REPEATABLE,
                              .target = {.name = "py"},
                              .payload = p});
    tine_payload_unref(p);
    take();
    *fork = *sent(2, TINE_MSG_TASK, 0);
    cr_expect(!silent(1));
}

Test(scheduler_silent, a_fork_whose_parent_has_ended_is_waited_for) {
    action task, fork;
    begin_with_fork(&task, &fork);
    done_with(1, &task, TINE_OK, NULL, 9, 1, NULL, 0);
    take();
    cr_expect(silent(1));
    fixture_close();
}

Test(scheduler_silent, a_fork_of_a_fork_that_must_not_run_twice_is_waited_for) {
    action task, fork;
    begin_with_fork(&task, &fork);
    join_as(3, (const char *const[]){"qy"}, 1, NULL, 0);
    suspend(2, &fork);
    submit(2, &fork, 1, "qy");
    take();
    cr_assert_eq(count_sent(3, TINE_MSG_TASK), 1);
    cr_expect(silent(1));
    fixture_close();
}
