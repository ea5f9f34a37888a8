/* Tasks that take resources of their worker, and workers that offer slots of them. */
#include "tests/support/slots_fixture.h"

TestSuite(slots, .timeout = 20);

Test(slots, a_worker_is_sent_no_more_tasks_than_its_slots_allow) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    uint32_t epoch = join_offering(1, "gpu=3");
    uint64_t first = TAKE(1, .resources = "gpu=2");
    take();
    cr_assert_eq(tasks_at(1), 1);
    suspend(1, sent(1, TINE_MSG_TASK, 0));
    TAKE(2, .resources = "gpu=2"); /* it waits, though the worker is idle */
    uint64_t plain = TAKE(3, .name = "plain");
    take();
    cr_assert_eq(tasks_at(1), 1, "what takes nothing is not held up");
    finish(1, epoch, plain);
    cr_assert_eq(tasks_at(1), 0);
    uint64_t small = TAKE(4, .resources = "gpu");
    take();
    cr_assert_eq(tasks_at(1), 1, "one slot is left");
    finish(1, epoch, small);
    char *text = tine_scheduler_describe(F.scheduler, 2);
    cr_assert_str_eq(text, "task \"f\" waits for a worker with the free slots \"gpu=2\"");
    free(text);
    finish(1, epoch, first);
    cr_assert_eq(tasks_at(1), 1);
    fixture_close();
}

/* The worker that makes its input has no slot left for it. */
Test(slots, a_task_that_takes_some_is_not_sent_ahead_of_its_input) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    join_offering(1, "gpu=1");
    TAKE(1, .resources = "gpu");
    take();
    suspend(1, sent(1, TINE_MSG_TASK, 0));
    tine_object id = tine_scheduler_result(F.scheduler, TAKE(2, .name = "input"));
    take();
    cr_assert_eq(tasks_at(1), 1, "its input is being made");
    TAKE_OF(3, id, .resources = "gpu");
    take();
    cr_assert_eq(tasks_at(1), 0);
    tine_scheduler_object_release(F.scheduler, id);
    fixture_close();
}

Test(slots, only_a_worker_that_offers_as_much_runs_it_and_the_log_says_that_none_does) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    join(1);
    join_offering(2, "gpu=1,disk=5");
    TAKE(1, .resources = "gpu=2");
    TAKE(2, .resources = "disk=5,gpu");
    take();
    cr_assert_eq(tasks_at(1), 0);
    cr_assert_eq(tasks_at(2), 1);
    cr_assert_eq(lines_with("f waits: no worker that serves it offers the slots \"gpu=2\""), 1);
    join_offering(3, "gpu=2");
    take();
    cr_assert_eq(tasks_at(3), 1);
    fixture_close();
}

Test(slots, tasks_that_are_cancelled_or_lost_give_their_slots_back) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    uint32_t epoch = join_offering(1, "gpu");
    uint64_t runs = TAKE(1, .resources = "gpu"), waits = TAKE(2, .resources = "gpu");
    TAKE(3, .resources = "gpu");
    take();
    cr_assert(tine_scheduler_cancel(F.scheduler, waits, TINE_ECANCELED, "a test", UINT64_MAX));
    cr_assert(tine_scheduler_cancel(F.scheduler, runs, TINE_ECANCELED, "a test", UINT64_MAX));
    take();
    cr_assert_eq(tasks_at(1), 0, "the cancelled one is still there");
    finish(1, epoch, runs);
    cr_assert_eq(tasks_at(1), 1);
    join_offering(2, "gpu");
    tine_scheduler_worker_died(F.scheduler, 1, "killed", NULL);
    take();
    cr_assert_eq(completed(3)->a.status, TINE_ELOST);
    TAKE(4, .resources = "gpu");
    take();
    cr_assert_eq(tasks_at(2), 1);
    fixture_close();
}

/* It has slots there; its time is not known, so the worker drains first. */
Test(slots, one_that_had_not_started_goes_to_another_worker_when_its_own_is_lost) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    join_offering(1, "gpu");
    teach(1, "f", 1000);
    TAKE(1, .name = "plain");
    TAKE(2, .resources = "gpu");
    take();
    cr_assert_eq(tasks_at(1), 1);
    join_offering(2, "gpu");
    take();
    cr_assert_eq(tasks_at(2), 0);
    tine_scheduler_worker_died(F.scheduler, 1, "killed", NULL);
    take();
    cr_assert_eq(tasks_at(2), 1);
    cr_assert_null(completed(2));
    fixture_close();
}

Test(slots, a_task_of_one_worker_waits_for_the_slots_of_that_one) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    uint32_t a = join_offering(1, "gpu"), b = join_offering(2, "gpu");
    uint64_t first = TAKE(1, .resources = "gpu", .worker = a);
    TAKE(2, .resources = "gpu", .worker = a);
    TAKE(3, .resources = "gpu=2", .worker = a);
    take();
    cr_assert_eq(tasks_at(1), 1);
    cr_assert_eq(tasks_at(2), 0);
    cr_assert_eq(completed(3)->a.status, TINE_EUNKNOWN);
    cr_assert(strstr(completed(3)->text, "with what it takes"), "%s", completed(3)->text);
    TAKE(4, .resources = "gpu");
    take();
    cr_assert_eq(tasks_at(2), 1, "it is not behind the one that has to wait");
    finish(1, a, first);
    cr_assert_eq(tasks_at(1), 1);
    TAKE(5, .resources = "gpu", .worker = b);
    take();
    tine_scheduler_worker_died(F.scheduler, 2, "killed", NULL);
    take();
    cr_assert_eq(completed(5)->a.status, TINE_ELOST);
    fixture_close();
}

/* A stream of small ones passes a large one 64 times, and then the worker saves its slots. */
Test(slots, a_large_task_is_not_starved_by_small_ones) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    uint32_t epoch = join_offering(1, "gpu=2");
    uint64_t open[2] = {TAKE(1, .resources = "gpu"), TAKE(2, .resources = "gpu")};
    take();
    finish(1, epoch, open[0]);
    uint64_t large = TAKE(3, .resources = "gpu=2");
    uint64_t ticket = 4;
    open[0] = TAKE(4, .resources = "gpu");
    take();
    int passed = 0;
    for (; passed < 200 && !task_is_sent(large); passed++) {
        uint64_t next = TAKE(++ticket, .resources = "gpu");
        finish(1, epoch, open[passed % 2]);
        open[passed % 2] = next;
    }
    cr_assert(passed > 60 && passed < 80, "%d small ones passed it", passed);
    fixture_close();
}

Test(slots, what_a_peer_says_is_checked) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    const char *functions[] = {"f"};
    tine_hello hello = {.version = TINE_PROTOCOL_VERSION,
                        .host = "a",
                        .functions = functions,
                        .n_functions = 1,
                        .slots = "gpu=0"};
    tine_scheduler_peer_up(F.scheduler, 1, F.now);
    receive(1, (tine_message){.type = TINE_MSG_HELLO, .hello = &hello});
    take();
    cr_assert_not_null(found(TINE_SCHEDULER_DROP, 0));
    uint32_t epoch = join_offering(2, "gpu");
    uint64_t parent = TAKE(1, .name = "parent");
    take();
    tine_payload *p = payload_with(8, NULL, 0);
    receive(2, (tine_message){.type = TINE_MSG_SUBMIT_WITH,
                              .seq = 1,
                              .task = parent,
                              .target = {.name = "f"},
                              .terms = &(tine_terms){.resources = "gpu=x"},
                              .payload = p});
    take();
    cr_assert_eq(sent(2, TINE_MSG_RESULT, 0)->a.message.status, TINE_EINVAL);
    cr_assert_eq(tine_scheduler_fork(F.scheduler, 9, 0, &(tine_target){.name = "f"}, 0, p,
                                     &(tine_terms){.resources = ","}, NULL),
                 TINE_EINVAL);
    tine_payload_unref(p);
    finish(2, epoch, parent);
    fixture_close();
}

/* Runs a function; gives the object that its result becomes, which stays at the worker. */
static tine_object result_at(tine_peer peer, uint32_t epoch, uint64_t ticket, const char *name) {
    uint64_t task = fork_taking(ticket, name, 0, 0, NULL);
    tine_object id = tine_scheduler_result(F.scheduler, task);
    take();
    cr_assert_eq(tasks_at(peer), 1);
    done_keeping(peer, epoch, task, 1, id);
    return id;
}

/* It has slots and waits for credit while some other result is lost: its inputs are looked up
 * again. */
Test(slots, a_task_whose_inputs_are_looked_up_again_still_has_its_slots) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    uint32_t epoch = join_offering(1, "gpu");
    uint32_t second = join_as(2, (const char *const[]){"h"}, 1, NULL, 0);
    uint32_t third = join_as(3, (const char *const[]){"i"}, 1, NULL, 0);
    tine_object input = result_at(2, second, 1, "h"), other = result_at(3, third, 2, "i");
    teach(1, "f", 1000);
    uint64_t plain = TAKE(3, .name = "plain");
    TAKE_OF(4, input, .resources = "gpu");
    TAKE(5, .resources = "gpu");
    take();
    cr_assert_eq(tasks_at(1), 1, "the time of what takes slots is not known: the worker drains");
    tine_scheduler_peer_lost(F.scheduler, 3, "killed");
    const char *text;
    cr_assert_eq(tine_scheduler_object_error(F.scheduler, other, &text), TINE_ELOST);
    finish(1, epoch, plain);
    cr_assert_eq(tasks_at(1), 1);
    suspend(1, sent(1, TINE_MSG_TASK, 0));
    take();
    cr_assert_eq(tasks_at(1), 0, "two tasks have one slot");
    tine_scheduler_object_release(F.scheduler, input);
    tine_scheduler_object_release(F.scheduler, other);
    fixture_close();
}

/* It was sent and has not begun: what makes its input again may need its slots. */
Test(slots, a_task_that_waits_again_for_a_lost_input_gives_its_slots_back) {
    fixture_open((tine_scheduler_config){.workers_return = true, .max_attempts = 9});
    uint32_t first = join_offering(1, "gpu"), second = join_offering(2, "gpu");
    uint64_t makes = fork_taking(1, "f", TINE_REPEATABLE, 0, &(tine_terms){.resources = "gpu"});
    tine_object input = tine_scheduler_result(F.scheduler, makes);
    take();
    cr_assert_eq(tasks_at(1), 1);
    done_keeping(1, first, makes, 1, input);
    uint64_t task = TAKE_OF(2, input, .resources = "gpu", .worker = second);
    take();
    cr_assert_eq(tasks_at(2), 1);
    tine_scheduler_peer_lost(F.scheduler, 1, "killed");
    take();
    cr_assert_eq(tasks_at(2), 1, "the input is made again");
    done_keeping(2, second, makes, 2, input);
    TAKE(3, .resources = "gpu");
    take();
    cr_assert_eq(tasks_at(2), 0, "the task that waited has its slots again");
    finish(2, second, task);
    cr_assert_eq(tasks_at(2), 1);
    tine_scheduler_object_release(F.scheduler, input);
    fixture_close();
}

Test(slots, a_call_of_one_instance_fails_whose_worker_does_not_offer_what_it_takes) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    tine_object module;
    tine_payload *p = payload_with(8, NULL, 0);
    tine_target target = {.name = "C", .method = "add"};
    join(1);
    cr_assert_eq(tine_scheduler_object(F.scheduler, &module, "C", p), TINE_OK);
    target.object = module;
    for (uint64_t i = 1; i <= 2; i++)
        cr_assert_eq(tine_scheduler_fork(F.scheduler, i, 0, &target, TINE_MODULE_SINGLE, p,
                                         i == 2 ? &(tine_terms){.resources = "gpu"} : NULL, NULL),
                     TINE_OK);
    tine_payload_unref(p);
    take();
    done(1, sent(1, TINE_MSG_TASK, 0), 1000);
    take();
    cr_assert_eq(completed(2)->a.status, TINE_EINVAL);
    cr_assert(strstr(completed(2)->text, "does not have the label, or the slots"), "%s",
              completed(2)->text);
    tine_scheduler_object_release(F.scheduler, module);
    fixture_close();
}

Test(slots, the_same_resources_written_otherwise_are_one_queue) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    join_offering(1, "gpu");
    TAKE(1, .resources = "gpu=2,disk=1");
    TAKE(2, .resources = "disk, gpu=2");
    take();
    cr_assert_eq(lines_with("offers the slots \"disk=1,gpu=2\""), 1, "one line for both");
    fixture_close();
}
