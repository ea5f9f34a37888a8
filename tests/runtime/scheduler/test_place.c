/* Where tasks run: on workers with a label, and on one worker only. */
#include "tests/support/scheduler_fixture.h"

TestSuite(place, .timeout = 20);

static uint64_t fork_at(uint64_t ticket, const tine_terms *terms) {
    uint64_t task = 0;
    tine_payload *p = payload_with(8, NULL, 0);
    cr_assert_eq(tine_scheduler_fork(F.scheduler, ticket, 0, &(tine_target){.name = "f"}, 0, p,
                                     terms, &task),
                 TINE_OK);
    tine_payload_unref(p);
    return task;
}

static uint32_t join_labelled(tine_peer peer, const char *label) {
    const char *functions[] = {"f"}, *labels[] = {label};
    tine_hello hello = {.version = TINE_PROTOCOL_VERSION,
                        .host = "a",
                        .functions = functions,
                        .n_functions = 1,
                        .labels = labels,
                        .n_labels = 1};
    tine_scheduler_peer_up(F.scheduler, peer, F.now);
    receive(peer, (tine_message){.type = TINE_MSG_HELLO, .hello = &hello});
    return ++F.epochs;
}

Test(place, a_label_waits_for_a_worker_that_has_it_and_the_log_says_so_once) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    join(1);
    fork_at(1, &(tine_terms){.label = "big"});
    fork_at(2, &(tine_terms){.label = "big"});
    fork_at(3, NULL);
    take();
    cr_assert_eq(count_sent(1, TINE_MSG_TASK), 1, "an unlabelled task is not held up");
    cr_assert_eq(lines_with("no worker that serves it has the label \"big\""), 1);
    join_labelled(2, "bigger");
    take();
    cr_assert_eq(count_sent(2, TINE_MSG_TASK), 0);
    join_labelled(3, "big");
    take();
    cr_assert(count_sent(3, TINE_MSG_TASK) >= 1 && !lines_with("no worker"));
    tine_scheduler_peer_lost(F.scheduler, 3, "gone");
    fork_at(4, &(tine_terms){.label = "big"});
    take();
    cr_assert_eq(lines_with("no worker that serves it has the label \"big\""), 1);
    fixture_close();
}

Test(place, an_unknown_function_is_unknown_with_a_label_too) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    join(1);
    tine_payload *p = payload_with(8, NULL, 0);
    cr_assert_eq(tine_scheduler_fork(F.scheduler, 1, 0, &(tine_target){.name = "ff"}, 0, p,
                                     &(tine_terms){.label = "big"}, NULL),
                 TINE_OK);
    tine_payload_unref(p);
    take();
    cr_assert_eq(completed(1)->a.status, TINE_EUNKNOWN);
    fixture_close();
}

Test(place, a_worker_named_by_its_id_runs_the_task) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    join(1);
    uint32_t second = join(2);
    for (uint64_t i = 1; i <= 5; i++) fork_at(i, &(tine_terms){.worker = second});
    take();
    cr_assert(count_sent(2, TINE_MSG_TASK) >= 1);
    cr_assert_eq(count_sent(1, TINE_MSG_TASK), 0, "an idle worker took a task of another");
    fixture_close();
}

Test(place, a_worker_that_is_not_there_fails_the_task_by_name) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    uint32_t id = join(1);
    fork_at(1, &(tine_terms){.worker = id + 1});
    take();
    cr_assert_eq(completed(1)->a.status, TINE_EINVAL);
    cr_assert(strstr(completed(1)->text, "there is no worker with the id 2"), "%s",
              completed(1)->text);
    fork_at(2, NULL);
    for (uint64_t i = 3; i < 9; i++) fork_at(i, &(tine_terms){.worker = id});
    tine_scheduler_peer_lost(F.scheduler, 1, "killed by signal 9 (SIGKILL)");
    fork_at(9, &(tine_terms){.worker = id});
    take();
    for (uint64_t i = 3; i < 10; i++) {
        cr_assert(completed(i) && completed(i)->a.status == TINE_ELOST, "ticket %d", (int)i);
        cr_assert(strstr(completed(i)->text, "task \"f\""), "%s", completed(i)->text);
    }
    fixture_close();
}

Test(place, a_worker_that_does_not_serve_the_call_fails_it) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    join(1);
    const char *other[] = {"g"};
    uint32_t id = join_as(2, other, 1, NULL, 0);
    fork_at(1, &(tine_terms){.worker = id});
    fork_at(2, &(tine_terms){.worker = 1, .label = "big"});
    take();
    cr_assert_eq(completed(1)->a.status, TINE_EUNKNOWN);
    cr_assert(strstr(completed(1)->text, "worker 2 does not serve f"), "%s", completed(1)->text);
    cr_assert_eq(completed(2)->a.status, TINE_EUNKNOWN);
    cr_assert(strstr(completed(2)->text, "with this label"), "%s", completed(2)->text);
    fixture_close();
}

/* Neither kind of task starves the other: on one worker they start in the order of their forks. */
Test(place, pinned_tasks_and_others_start_in_order) {
    fixture_open((tine_scheduler_config){.max_credit = 1, .workers_return = true});
    uint32_t id = join(1);
    uint64_t tasks[8];
    for (int i = 0; i < 8; i++)
        tasks[i] = fork_at((uint64_t)i + 1, i % 2 ? &(tine_terms){.worker = id} : NULL);
    for (int i = 0; i < 8; i++) {
        take();
        cr_assert_eq(count_sent(1, TINE_MSG_TASK), 1);
        action task = *sent(1, TINE_MSG_TASK, 0);
        cr_assert_eq(task.a.message.task, tasks[i], "task %d is not next", i);
        done(1, &task, 100);
    }
    fixture_close();
}

/* The worker has credit for a short task and not for the long one in front of it. */
Test(place, what_is_behind_a_pinned_task_that_is_cancelled_starts_at_once) {
    fixture_open((tine_scheduler_config){.prefetch_ns = 1000, .workers_return = true});
    tine_payload *p = payload_with(8, NULL, 0);
    const tine_terms terms = {.worker = join(1)};
    uint64_t first = 0;
    teach(1, "f", 100);
    fork_at(1, &terms);
    cr_assert_eq(
        tine_scheduler_fork(F.scheduler, 2, 0, &(tine_target){.name = "g"}, 0, p, &terms, &first),
        TINE_OK);
    fork_at(3, &terms);
    take();
    cr_assert_eq(count_sent(1, TINE_MSG_TASK), 1, "the length of g is not known");
    cr_assert(tine_scheduler_cancel(F.scheduler, first, TINE_ECANCELED, "the test asks", 0));
    take();
    cr_assert_eq(count_sent(1, TINE_MSG_TASK), 1);
    cr_assert_str_eq(sent(1, TINE_MSG_TASK, 0)->name, "f");
    tine_payload_unref(p);
    fixture_close();
}
