/* Workers that leave by themselves, and what they give back. */
#include "tests/support/scheduler_fixture.h"

TestSuite(scheduler_leave, .timeout = 20);

static void leave(tine_peer peer, const uint64_t *ids, size_t n) {
    receive(peer, (tine_message){.type = TINE_MSG_LEAVE, .ids = ids, .n_ids = n});
}

/* Three tasks that are not repeatable: the first has begun, the others are queued behind it. */
static void begin(action task[3]) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    join(1);
    teach(1, "f", 1000);
    for (uint64_t i = 0; i < 3; i++) fork_f(i + 1, "f");
    take();
    for (size_t i = 0; i < 3; i++) task[i] = *sent(1, TINE_MSG_TASK, i);
}

Test(scheduler_leave, tasks_that_have_not_begun_run_elsewhere_as_if_never_sent) {
    action task[3];
    begin(task);
    uint64_t ids[] = {task[1].a.message.task, task[2].a.message.task};
    leave(1, ids, 2);
    join(2);
    take();
    cr_assert_eq(count_sent(2, TINE_MSG_TASK), 2);
    cr_assert_eq(count_sent(1, TINE_MSG_STOP), 0, "its task runs");
    cr_assert(lines_with("leaves") == 1);
    action again = *sent(2, TINE_MSG_TASK, 0);
    cr_assert_eq(again.a.message.task, ids[0]);
    done(2, &task[1], 9); /* of the first attempt */
    cr_assert_eq(stats().stale, 1);
    done(1, &task[0], 9);
    done(2, &again, 9);
    take();
    cr_assert_eq(completed(1)->a.status, TINE_OK);
    cr_assert_eq(completed(2)->a.status, TINE_OK);
    cr_assert_eq(count_sent(1, TINE_MSG_STOP), 1);
    tine_scheduler_peer_lost(F.scheduler, 1, "closed");
    take();
    cr_assert(!completed(3) && lines_with("lost") == 0);
    fixture_close();
}

Test(scheduler_leave, a_task_that_crosses_is_given_back_later) {
    action task[3];
    begin(task);
    uint64_t id = task[2].a.message.task;
    leave(1, NULL, 0);
    fork_f(9, "f");
    join(2);
    take();
    cr_assert_eq(count_sent(1, TINE_MSG_TASK), 0, "it is sent a task though it leaves");
    done(2, sent(2, TINE_MSG_TASK, 0), 9);
    leave(1, &id, 1);
    leave(1, &id, 1);
    take();
    cr_assert_eq(count_sent(2, TINE_MSG_TASK), 1);
    cr_assert_eq(sent(2, TINE_MSG_TASK, 0)->a.message.task, id);
    fixture_close();
}

Test(scheduler_leave, a_task_whose_arguments_are_gone_is_run_after_all) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    join(1);
    fork_with(1, (tine_target){.name = "f"}, 0, 1 << 20, NULL, 0);
    fork_with(2, (tine_target){.name = "f"}, TINE_REPEATABLE, 1 << 20, NULL, 0);
    take();
    action task = *sent(1, TINE_MSG_TASK, 0);
    leave(1, &task.a.message.task, 1);
    take();
    action *back = sent(1, TINE_MSG_LEAVE, 0);
    cr_assert(back && back->a.message.n_ids == 1 && back->ids[0] == task.a.message.task);
    done(1, &task, 9);
    take();
    cr_assert_eq(completed(1)->a.status, TINE_OK);
    cr_assert_eq(count_sent(1, TINE_MSG_STOP), 1);
    fixture_close();
}

Test(scheduler_leave, no_task_that_has_begun_is_given_back) {
    action task[3];
    begin(task);
    suspend(1, &task[0]);
    leave(1, &task[0].a.message.task, 1);
    take();
    cr_assert(found(TINE_SCHEDULER_DROP, 0) && found(TINE_SCHEDULER_DROP, 0)->a.bad);
    cr_assert_eq(completed(1)->a.status, TINE_ELOST);
    fixture_close();
}

Test(scheduler_leave, what_is_cancelled_or_bound_to_the_worker_ends) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    uint32_t epoch = join(1);
    teach(1, "f", 1000);
    tine_payload *p = payload_with(8, NULL, 0);
    uint64_t cancelled = 0;
    tine_target f = {.name = "f"};
    tine_terms here = {.worker = epoch};
    fork_f(1, "f");
    cr_assert_eq(tine_scheduler_fork(F.scheduler, 2, 0, &f, 0, p, NULL, &cancelled), TINE_OK);
    cr_assert_eq(tine_scheduler_fork(F.scheduler, 3, 0, &f, 0, p, &here, NULL), TINE_OK);
    take();
    uint64_t ids[] = {sent(1, TINE_MSG_TASK, 1)->a.message.task,
                      sent(1, TINE_MSG_TASK, 2)->a.message.task};
    tine_scheduler_cancel(F.scheduler, cancelled, TINE_ECANCELED, "the test", UINT64_MAX);
    take();
    cr_assert_eq(completed(2)->a.status, TINE_ECANCELED);
    leave(1, ids, 2);
    join(2);
    take();
    cr_assert_eq(count_sent(2, TINE_MSG_TASK), 0);
    cr_assert_eq(completed(3)->a.status, TINE_ELOST);
    cr_assert(strstr(completed(3)->text, "it leaves"), "%s", completed(3)->text);
    tine_payload_unref(p);
    fixture_close();
}

/* An instance that no call has made is not lost. */
Test(scheduler_leave, the_first_call_of_one_instance_is_made_elsewhere) {
    for (int crosses = 0; crosses < 2; crosses++) {
        tine_object module;
        action task[3];
        begin(task);
        tine_payload *p = payload_with(8, NULL, 0);
        cr_assert_eq(tine_scheduler_object(F.scheduler, &module, "C", p), TINE_OK);
        tine_target add = {"C", "add", module};
        for (uint64_t i = 4; i < 6; i++)
            cr_assert_eq(
                tine_scheduler_fork(F.scheduler, i, 0, &add, TINE_MODULE_SINGLE, p, NULL, NULL),
                TINE_OK);
        for (size_t i = 0; i < 3; i++) done(1, &task[i], 1000);
        take();
        action call = *sent(1, TINE_MSG_TASK, 0);
        cr_assert_str_eq(call.method, "add");
        if (crosses) leave(1, NULL, 0);
        leave(1, &call.a.message.task, 1);
        join(2);
        take();
        for (uint64_t i = 4; i < 6; i++) {
            done(2, sent(2, TINE_MSG_TASK, 0), 9);
            take();
            cr_assert_eq(completed(i)->a.status, TINE_OK, "%s", completed(i)->text);
        }
        tine_payload_unref(p);
        tine_scheduler_object_release(F.scheduler, module);
        fixture_close();
    }
}

Test(scheduler_leave, an_initialiser_that_is_given_back_has_not_failed) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    join(1);
    teach(1, "g", 1000);
    tine_payload *p = payload_with(8, NULL, 0);
    cr_assert_eq(tine_scheduler_initialise(F.scheduler, 8, "f", 0, p), TINE_OK);
    join(2);
    take();
    action first = *sent(1, TINE_MSG_TASK, 0), joins = *sent(2, TINE_MSG_TASK, 0);
    leave(2, &joins.a.message.task, 1);
    leave(1, &first.a.message.task, 1);
    take();
    cr_assert_eq(completed(8)->a.status, TINE_OK, "%s", completed(8)->text);
    cr_assert_eq(count_sent(1, TINE_MSG_STOP) + count_sent(2, TINE_MSG_STOP), 2);
    cr_assert(!found(TINE_SCHEDULER_DROP, 0));
    tine_payload_unref(p);
    fixture_close();
}
