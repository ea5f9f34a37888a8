/* Which worker gives slots to which task. */
#include "tests/support/slots_fixture.h"

TestSuite(slots_choice, .timeout = 20);

/* Both are ready before a worker is looked for. */
Test(slots_choice, two_functions_that_become_ready_at_once_run_on_two_workers) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    join_offering(1, "gpu"), join_offering(2, "gpu");
    join_as(3, (const char *const[]){"h"}, 1, NULL, 0);
    tine_object input =
        tine_scheduler_result(F.scheduler, fork_taking(1, "h", 0, 0, &(tine_terms){.priority = 1}));
    fork_taking(2, "f", 0, input, &(tine_terms){.resources = "gpu"});
    fork_taking(3, "g", 0, input, &(tine_terms){.resources = "gpu"});
    take();
    done(3, sent(3, TINE_MSG_TASK, 0), 1000);
    take();
    cr_assert_eq(tasks_at(1), 1);
    cr_assert_eq(tasks_at(2), 1, "it is idle, and a task waits for its slot");
    tine_scheduler_object_release(F.scheduler, input);
    fixture_close();
}

/* Slots of a worker without credit are left to the next one that has some. */
Test(slots_choice, tasks_are_spread_over_the_workers_though_one_has_slots_for_all) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    join_offering(1, "mem=64");
    uint32_t second = join_offering(2, "mem=64");
    for (uint64_t i = 1; i <= 16; i++) TAKE(i, .resources = "mem");
    take();
    cr_assert_eq(tasks_at(1), 1, "their time is not known");
    for (int i = 1; i < 16; i++) {
        cr_assert_eq(tasks_at(2), 1, "it gets task %d", i);
        finish_after(2, second, sent(2, TINE_MSG_TASK, 0)->a.message.task, 1000000);
    }
    cr_assert_eq(tasks_at(2), 0);
    fixture_close();
}

/* Short tasks: it is given slots for as many as it has credit for. */
Test(slots_choice, a_worker_has_as_many_short_tasks_as_its_credit_allows) {
    fixture_open((tine_scheduler_config){.workers_return = true, .max_credit = 3});
    uint32_t epoch = join_offering(1, "mem=64");
    finish(1, epoch, TAKE(1, .resources = "mem"));
    for (uint64_t i = 2; i <= 9; i++) TAKE(i, .resources = "mem");
    take();
    cr_assert_eq(tasks_at(1), 3);
    finish(1, epoch, sent(1, TINE_MSG_TASK, 0)->a.message.task);
    cr_assert_eq(tasks_at(1), 1);
    fixture_close();
}

/* The long one may take an hour: nothing that waits is bound to its worker. */
Test(slots_choice, a_task_goes_to_the_worker_that_is_free_first) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    uint32_t first = join_offering(1, "gpu"), second = join_offering(2, "gpu");
    TAKE(1, .name = "long", .worker = first);
    uint64_t plain = TAKE(2, .name = "plain", .worker = second);
    TAKE(3, .resources = "gpu");
    take();
    finish(2, second, plain);
    cr_assert_eq(tasks_at(2), 1);
    fixture_close();
}

/* Tasks of one worker that take different things do not wait for each other. */
Test(slots_choice, a_task_of_one_worker_passes_one_whose_slots_are_taken_there) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    uint32_t epoch = join_offering(1, "gpu=2,disk=1");
    uint64_t parent = TAKE(1, .resources = "gpu");
    take();
    TAKE(2, .resources = "gpu=2", .worker = epoch, .priority = 1);
    take();
    suspend(1, &(action){.a.message.task = parent}); /* it waits for the next one */
    uint64_t child = TAKE(3, .resources = "disk", .worker = epoch);
    take();
    cr_assert_eq(tasks_at(1), 1);
    cr_assert(task_is_sent(child));
    finish(1, epoch, child);
    finish(1, epoch, parent);
    cr_assert_eq(tasks_at(1), 1);
    fixture_close();
}

Test(slots_choice, one_that_had_not_started_leaves_a_worker_that_is_held) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    uint32_t first = join_offering(1, "gpu");
    teach(1, "f", 1000);
    uint64_t plain = TAKE(1, .name = "plain");
    TAKE(2, .resources = "gpu");
    take();
    join_offering(2, "gpu");
    take();
    cr_assert_eq(tasks_at(2), 0, "the first worker drains for it");
    tine_scheduler_worker_hold(F.scheduler, first, true);
    take();
    cr_assert_eq(tasks_at(2), 1);
    tine_scheduler_worker_hold(F.scheduler, first, false);
    TAKE(3, .resources = "gpu", .worker = first);
    take();
    tine_scheduler_worker_hold(F.scheduler, first, true);
    finish(1, first, plain);
    cr_assert_eq(tasks_at(1) + tasks_at(2), 0, "one that names the worker stays");
    tine_scheduler_worker_hold(F.scheduler, first, false);
    take();
    cr_assert_eq(tasks_at(1), 1);
    fixture_close();
}

/* What waits for slots is no work for a worker that becomes idle. */
Test(slots_choice, nested_forks_are_asked_for_while_tasks_wait_for_slots) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    join_offering(1, "gpu"), join(2);
    for (uint64_t i = 1; i <= 40; i++) TAKE(i, .resources = "gpu");
    TAKE(41, .name = "plain");
    take();
    cr_assert_eq(tasks_at(1) + tasks_at(2), 2, "both are busy");
    receive(1, (tine_message){.type = TINE_MSG_DEMAND});
    take();
    cr_assert_gt(sent(1, TINE_MSG_DEMAND, 0)->a.message.seq, 0);
    cr_assert_eq(stats().ready, 39);
    fixture_close();
}

/* It saves its slots for an older task. */
Test(slots_choice, a_worker_that_saves_gives_slots_to_a_task_of_higher_priority) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    uint32_t epoch = join_offering(1, "gpu=3");
    finish(1, epoch, TAKE(1, .resources = "gpu"));
    TAKE(2, .resources = "gpu");
    TAKE(3, .resources = "gpu=3");
    take();
    bool saves = false;
    for (uint64_t i = 4; i < 200 && !saves; i++) {
        uint64_t small = TAKE(i, .resources = "gpu");
        take();
        saves = tasks_at(1) == 0;
        if (!saves) finish(1, epoch, small);
    }
    cr_assert(saves);
    TAKE(200, .resources = "gpu");
    take();
    cr_assert_eq(tasks_at(1), 0);
    TAKE(201, .resources = "gpu", .priority = 1);
    take();
    cr_assert_eq(tasks_at(1), 1);
    fixture_close();
}
