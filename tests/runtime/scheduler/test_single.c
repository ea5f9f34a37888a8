/* Modules with one instance: one call at a time, on one worker, in the order of the forks. */
#include "tests/support/scheduler_fixture.h"

TestSuite(single, .timeout = 20);

static tine_object module;

static uint64_t call_with(uint64_t ticket, uint32_t flags, const tine_object *refs, size_t n,
                          const tine_terms *terms) {
    uint64_t task = 0;
    tine_payload *p = payload_with(8, refs, n);
    tine_target target = {"C", "add", module};
    cr_assert_eq(tine_scheduler_fork(F.scheduler, ticket, 0, &target, TINE_MODULE_SINGLE | flags, p,
                                     terms, &task),
                 TINE_OK);
    tine_payload_unref(p);
    return task;
}
static uint64_t call(uint64_t ticket, uint32_t flags) {
    return call_with(ticket, flags, NULL, 0, NULL);
}

static void begin(uint32_t workers) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    for (uint32_t i = 1; i <= workers; i++) join(i);
    tine_payload *p = payload_with(8, NULL, 0);
    cr_assert_eq(tine_scheduler_object(F.scheduler, &module, "C", p), TINE_OK);
    tine_payload_unref(p);
    take();
}
static void end(void) {
    tine_scheduler_object_release(F.scheduler, module);
    fixture_close();
}

/* The only TASK among the actions taken last. */
static action only_task(void) {
    cr_assert_eq(count_sent(0, TINE_MSG_TASK), 1);
    return *sent(0, TINE_MSG_TASK, 0);
}

Test(single, calls_run_one_after_another_on_the_worker_of_the_first) {
    begin(3);
    uint64_t tasks[6];
    for (uint64_t i = 0; i < 6; i++)
        tasks[i] = call_with(i + 1, 0, NULL, 0, &(tine_terms){.priority = (int32_t)i});
    tine_peer peer = 0;
    for (int i = 0; i < 6; i++) {
        take();
        action a = only_task();
        cr_assert_eq(a.a.message.task, tasks[i], "call %d is not next", i);
        cr_assert(!peer || a.a.peer == peer, "call %d runs elsewhere", i);
        peer = a.a.peer;
        suspend(peer, &a); /* one that waits keeps its turn */
        take();
        cr_assert_eq(count_sent(0, TINE_MSG_TASK), 0);
        done_with(peer, &a, i % 2 ? TINE_EFAILED : TINE_OK, i % 2 ? "no" : NULL, 9, 0, NULL, 0);
    }
    end();
}

Test(single, a_call_whose_argument_is_to_come_keeps_its_place) {
    begin(2);
    fork_f(1, "f");
    take();
    action f = only_task();
    tine_object input = tine_scheduler_result(F.scheduler, f.a.message.task);
    uint64_t first = call_with(2, 0, &input, 1, NULL);
    call(3, 0);
    take();
    cr_assert_eq(count_sent(0, TINE_MSG_TASK), 0);
    done(f.a.peer, &f, 9);
    take();
    action a = only_task();
    cr_assert_eq(a.a.message.task, first);
    done(a.a.peer, &a, 9);
    take();
    only_task();
    tine_scheduler_object_release(F.scheduler, input);
    end();
}

Test(single, a_death_is_told_to_the_call_that_ran_and_to_all_later_ones) {
    begin(2);
    call(1, TINE_REPEATABLE);
    for (uint64_t i = 2; i < 20; i++) call(i, 0);
    take();
    action a = only_task();
    tine_scheduler_peer_lost(F.scheduler, a.a.peer, "killed by signal 9 (SIGKILL)");
    call(20, 0);
    take();
    cr_assert_eq(count_sent(0, TINE_MSG_TASK), 0, "the state is gone");
    for (uint64_t i = 1; i <= 20; i++) {
        cr_assert(completed(i) && completed(i)->a.status == TINE_ELOST, "ticket %d", (int)i);
        cr_assert(strstr(completed(i)->text, "was lost on worker pid"), "%s", completed(i)->text);
    }
    cr_assert(strstr(completed(20)->text, "the state of its module was lost"), "%s",
              completed(20)->text);
    end();
}

Test(single, an_instance_that_may_be_made_anew_goes_on_elsewhere) {
    begin(2);
    call(1, TINE_MODULE_RENEW);
    uint64_t second = call(2, TINE_MODULE_RENEW);
    take();
    action a = only_task();
    tine_scheduler_peer_lost(F.scheduler, a.a.peer, "killed by signal 9 (SIGKILL)");
    take();
    cr_assert_eq(completed(1)->a.status, TINE_ELOST);
    action b = only_task();
    cr_assert(b.a.message.task == second && b.a.peer != a.a.peer);
    done(b.a.peer, &b, 9);
    take();
    cr_assert_eq(completed(2)->a.status, TINE_OK);
    end();
}

Test(single, a_cancelled_call_keeps_its_turn_while_it_runs) {
    begin(2);
    uint64_t first = call(1, 0), second = call(2, 0), third = call(3, 0);
    take();
    action a = only_task();
    cr_assert(
        tine_scheduler_cancel(F.scheduler, first, TINE_ECANCELED, "the test asks", UINT64_MAX));
    cr_assert(
        tine_scheduler_cancel(F.scheduler, second, TINE_ECANCELED, "the test asks", UINT64_MAX));
    take();
    cr_assert(completed(1) && completed(2) && count_sent(0, TINE_MSG_TASK) == 0);
    done_with(a.a.peer, &a, TINE_ECANCELED, "it ended", 9, 0, NULL, 0);
    take();
    cr_assert_eq(only_task().a.message.task, third);
    end();
}

Test(single, the_first_call_chooses_the_worker_and_others_cannot_name_another) {
    begin(3);
    call_with(1, 0, NULL, 0, &(tine_terms){.worker = 2});
    call_with(2, 0, NULL, 0, &(tine_terms){.worker = 3});
    take();
    action a = only_task();
    cr_assert_eq(a.a.peer, 2);
    done(2, &a, 9);
    take();
    cr_assert_eq(completed(2)->a.status, TINE_EINVAL);
    cr_assert(strstr(completed(2)->text, "the module's instance is on worker 2"), "%s",
              completed(2)->text);
    end();
}

static void submit_flagged(const action *parent, uint32_t flags, tine_target target) {
    tine_payload *p = payload_with(8, NULL, 0);
    receive(parent->a.peer, (tine_message){.type = TINE_MSG_SUBMIT,
                                           .task = parent->a.message.task,
                                           .seq = 1,
                                           .flags = flags,
                                           .target = target,
                                           .payload = p});
    tine_payload_unref(p);
}

/* The fork that a task of an ending worker leaves behind fails when its turn comes, and is the last
 * thing that the worker waits for. */
Test(single, a_worker_that_is_to_end_stops_after_a_fork_whose_turn_cannot_come) {
    begin(1);
    call(1, 0);
    take();
    action a = only_task();
    submit_flagged(&a, TINE_MODULE_SINGLE, (tine_target){"C", "add", module});
    cr_assert(tine_scheduler_worker_end(F.scheduler, 1));
    take();
    cr_assert_eq(count_sent(1, TINE_MSG_STOP), 0);
    done_with(1, &a, TINE_OK, NULL, 9, 1, NULL, 0);
    take();
    cr_assert_eq(sent(1, TINE_MSG_RESULT, 0)->a.message.status, TINE_ELOST);
    cr_assert_eq(count_sent(1, TINE_MSG_STOP), 1, "it waits for another event");
    end();
}

/* From a worker that breaks the protocol. */
Test(single, a_function_has_no_instance) {
    begin(1);
    fork_f(1, "f");
    take();
    action a = only_task();
    submit_flagged(&a, UINT32_MAX, (tine_target){.name = "g"});
    take();
    end();
}
