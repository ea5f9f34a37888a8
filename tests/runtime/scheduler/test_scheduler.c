/* The scheduler's rules of dispatch, credit and loss, one by one. The simulator (tests/sim) runs
 * them together. */
#include "tests/support/scheduler_fixture.h"

TestSuite(scheduler, .timeout = 20);

Test(scheduler, a_failure_names_function_worker_attempt_and_cause) {
    fixture_open((tine_scheduler_config){.max_attempts = 3});
    join(2);
    take();
    fork_with(1, (tine_target){.name = "f"}, TINE_REPEATABLE, 8, NULL, 0);
    take();
    done_with(2, sent(2, TINE_MSG_TASK, 0), TINE_EFAILED, "no such row 7", 100, 0, NULL, 0);
    take();
    cr_assert_eq(completed(1)->a.status, TINE_EFAILED);
    cr_assert_str_eq(completed(1)->text,
                     "task \"f\" failed on worker pid 12 (host a), attempt 1 of 3: no such row 7");
    fixture_close();
}

Test(scheduler, a_lost_worker_fails_tasks_that_cannot_be_repeated) {
    fixture_open((tine_scheduler_config){.max_attempts = 4});
    join(2);
    fork_f(1, "f");
    take();
    tine_scheduler_peer_lost(F.scheduler, 2, "killed by signal 9 (SIGKILL)");
    take();
    cr_assert_eq(completed(1)->a.status, TINE_ELOST);
    cr_assert_str_eq(
        completed(1)->text,
        "task \"f\" was lost on worker pid 12 (host a), attempt 1 of 1: the worker was killed by "
        "signal 9 (SIGKILL); register the function with TINE_REPEATABLE_FUNCTION to have it run "
        "again");
    fixture_close();
}

Test(scheduler, a_lost_worker_s_repeatable_task_runs_again_as_often_as_allowed) {
    fixture_open((tine_scheduler_config){.max_attempts = 2, .workers_return = true});
    join(1);
    take();
    fork_with(1, (tine_target){.name = "f"}, TINE_REPEATABLE, 8, NULL, 0);
    take();
    tine_scheduler_peer_lost(F.scheduler, 1, "killed by signal 11 (SIGSEGV)");
    take();
    cr_assert(!completed(1));
    join(2);
    take();
    cr_assert_eq(sent(2, TINE_MSG_TASK, 0)->a.message.attempt, 2);
    cr_assert_eq(stats().retried, 1);
    tine_scheduler_peer_lost(F.scheduler, 2, "the connection was closed");
    take();
    cr_assert_str_eq(completed(1)->text, "task \"f\" was lost on worker pid 12 (host a), attempt "
                                         "2 of 2: the connection was closed; 2 workers have "
                                         "died while it ran (TINE_RETRIES)");
    fixture_close();
}

Test(scheduler, stale_replies_are_dropped_and_counted) {
    fixture_open((tine_scheduler_config){.max_attempts = 3});
    join(1);
    join(2);
    take();
    fork_with(1, (tine_target){.name = "f"}, TINE_REPEATABLE, 8, NULL, 0);
    take();
    action t = *sent(1, TINE_MSG_TASK, 0), wrong = t;
    wrong.a.message.attempt = 2;
    done(1, &wrong, 1);
    wrong = t;
    wrong.a.message.epoch = 7;
    done(1, &wrong, 1);
    done(2, &t, 1);
    take();
    cr_assert(!completed(1));
    cr_assert_eq(stats().stale, 3);
    done(1, &t, 1);
    done(1, &t, 1);
    take();
    cr_assert(completed(1));
    cr_assert_eq(stats().stale, 4);
    cr_assert_eq(stats().peers_bad, 0);
    fixture_close();
}

Test(scheduler,
     an_unknown_function_waits_for_the_expected_workers_then_fails_with_the_nearest_name) {
    fixture_open((tine_scheduler_config){.expected_workers = 2});
    fork_f(1, "negg");
    join_as(1, (const char *const[]){"neg", "stack"}, 2, NULL, 0);
    take();
    cr_assert(!completed(1));
    join(2);
    take();
    cr_assert_eq(completed(1)->a.status, TINE_EUNKNOWN);
    cr_assert_str_eq(completed(1)->text,
                     "no worker serves a function named \"negg\"; did you mean \"neg\"?");
    fork_f(2, "something quite different");
    take();
    cr_assert_str_eq(
        completed(2)->text,
        "no worker serves a function named \"something quite different\"; register it with "
        "TINE_FUNCTION in the program that the workers run");
    fixture_close();
}

Test(scheduler, when_the_last_worker_is_lost_everything_pending_fails) {
    fixture_open((tine_scheduler_config){.expected_workers = 1});
    join(1);
    for (uint64_t i = 1; i <= 3; i++) fork_f(i, "f");
    take();
    tine_scheduler_peer_lost(F.scheduler, 1, "killed by signal 9 (SIGKILL)");
    fork_f(4, "f");
    take();
    for (uint64_t i = 1; i <= 4; i++) cr_assert_eq(completed(i)->a.status, TINE_ELOST);
    fixture_close();
}

Test(scheduler, tasks_wait_for_workers_that_return) {
    fixture_open((tine_scheduler_config){.expected_workers = 1, .workers_return = true});
    join(1);
    take();
    tine_scheduler_peer_lost(F.scheduler, 1, "killed by signal 9 (SIGKILL)");
    fork_f(1, "f");
    take();
    cr_assert(!completed(1));
    join(2);
    take();
    cr_assert_eq(count_sent(2, TINE_MSG_TASK), 1);
    fixture_close();
}

Test(scheduler, the_only_server_of_a_function_is_lost) {
    fixture_open((tine_scheduler_config){.expected_workers = 2});
    join(1);
    join_as(2, (const char *const[]){"py"}, 1, NULL, 0);
    fork_f(1, "py");
    fork_f(2, "py");
    take();
    tine_scheduler_peer_lost(F.scheduler, 2, "exited");
    take();
    cr_assert_eq(completed(1)->a.status, TINE_ELOST);
    cr_assert_eq(completed(2)->a.status, TINE_ELOST);
    fixture_close();
}

Test(scheduler, credit_for_forks_is_batched_except_for_a_worker_without_credit) {
    fixture_open((tine_scheduler_config){.window = 8});
    join(1);
    fork_f(1, "f");
    take();
    cr_assert_eq(sent(1, TINE_MSG_WELCOME, 0)->a.message.window, 8);
    action root = *sent(1, TINE_MSG_TASK, 0);
    suspend(1, &root);
    submit(1, &root, 1, "f"); /* starts at once: one to grant, a quarter of 8 is two */
    take();
    cr_assert_eq(count_sent(1, TINE_MSG_CREDIT), 0);
    for (uint64_t i = 2; i <= 8; i++) submit(1, &root, i, "f");
    take();
    cr_assert_eq(count_sent(1, TINE_MSG_CREDIT), 1, "its window is used up: even one is granted");
    cr_assert_eq(sent(1, TINE_MSG_CREDIT, 0)->a.message.window, 1);
    fixture_close();
}

Test(scheduler, a_worker_that_exceeds_its_window_is_dropped) {
    fixture_open((tine_scheduler_config){.window = 4});
    join(1);
    fork_f(1, "f");
    take();
    action root = *sent(1, TINE_MSG_TASK, 0);
    for (uint64_t i = 1; i <= 5; i++) submit(1, &root, i, "f");
    take();
    cr_assert(found(TINE_SCHEDULER_DROP, 0)->a.bad);
    cr_assert_eq(stats().peers_bad, 1);
    cr_assert_eq(completed(1)->a.status, TINE_ELOST);
    fixture_close();
}

Test(scheduler, forks_of_a_lost_worker_s_tasks_are_discarded) {
    fixture_open((tine_scheduler_config){0});
    join(1);
    join(2);
    fork_f(1, "f");
    take();
    action root = *sent(1, TINE_MSG_TASK, 0);
    for (uint64_t i = 1; i <= 5; i++) submit(1, &root, i, "f");
    take();
    action child = *sent(2, TINE_MSG_TASK, 0);
    submit(2, &child, 77, "f"); /* a fork of a future orphan */
    take();
    tine_scheduler_peer_lost(F.scheduler, 1, "killed by signal 9 (SIGKILL)");
    take();
    cr_assert_eq(completed(1)->a.status, TINE_ELOST);
    cr_assert_eq(stats().ready, 0);
    cr_assert_eq(stats().running, 1, "a running task cannot be stopped");
    cr_assert_eq(sent(2, TINE_MSG_RESULT, 0)->a.message.seq, 77);
    cr_assert_eq(sent(2, TINE_MSG_RESULT, 0)->a.message.status, TINE_ECANCELED);
    done_with(2, &child, TINE_OK, NULL, 1, 1, NULL, 0);
    take();
    cr_assert_eq(F.n, 0, "the result of an orphan is dropped");
    cr_assert_eq(stats().stale, 0);
    cr_assert_eq(stats().peers_bad, 0);
    fixture_close();
}

Test(scheduler, a_done_is_deferred_until_the_large_frames_that_it_overtook_arrive) {
    fixture_open((tine_scheduler_config){.window = 4});
    uint64_t epoch = join(1);
    fork_f(1, "f");
    take();
    action root = *sent(1, TINE_MSG_TASK, 0);
    tine_object id = epoch << 40 | 1 << 1;
    done_with(1, &root, TINE_OK, NULL, 1, 2, &id, 1);
    done_with(1, &root, TINE_OK, NULL, 1, 2, &id, 1);
    take();
    cr_assert(!completed(1));
    cr_assert_eq(stats().stale, 1);
    put(1, root.a.message.task, id, NULL, NULL, 0);
    take();
    cr_assert(!completed(1));
    submit_with(1, &root, 5, (tine_target){.name = "f"}, &id, 1);
    take();
    cr_assert(completed(1));
    cr_assert_eq(completed(1)->a.status, TINE_OK);
    action child = *sent(1, TINE_MSG_TASK, 0);
    cr_assert_eq(stats().objects, 1, "the fork that still runs holds it");
    done(1, &child, 1);
    take();
    cr_assert_eq(sent(1, TINE_MSG_RESULT, 0)->a.message.seq, 5);
    cr_assert_eq(stats().objects, 0);
    cr_assert_eq(sent(1, TINE_MSG_DROP, 0)->ids[0], id);
    fixture_close();
}

/* Else the task would be deferred until the peer is lost. */
Test(scheduler, a_done_that_counts_messages_past_the_window_is_refused) {
    fixture_open((tine_scheduler_config){.window = 4});
    for (tine_peer p = 1; p <= 2; p++) {
        join(p);
        fork_f(p, "f");
        take();
        action t = *sent(p, TINE_MSG_TASK, 0);
        done_with(p, &t, TINE_OK, NULL, 1, p == 1 ? 4 : UINT64_MAX, NULL, 0);
        take();
        cr_assert_eq(found(TINE_SCHEDULER_DROP, 0) != NULL, p == 2);
        if (p == 1) tine_scheduler_peer_lost(F.scheduler, p, "killed");
    }
    cr_assert_eq(completed(2)->a.status, TINE_ELOST);
    cr_assert_eq(stats().peers_bad, 1);
    fixture_close();
}

Test(scheduler, stop_completes_every_fork_once_and_refuses_later_ones) {
    fixture_open((tine_scheduler_config){0});
    join(1);
    for (uint64_t i = 1; i <= 3; i++) fork_f(i, "f");
    take();
    action root = *sent(1, TINE_MSG_TASK, 0);
    submit(1, &root, 9, "f");
    tine_scheduler_stop(F.scheduler);
    tine_scheduler_stop(F.scheduler);
    take();
    for (uint64_t i = 1; i <= 3; i++) cr_assert_eq(completed(i)->a.status, TINE_ECANCELED);
    cr_assert_eq(count_sent(1, TINE_MSG_STOP), 1);
    done(1, &root, 1);
    submit(1, &root, 10, "f");
    take();
    cr_assert(!found(TINE_SCHEDULER_COMPLETE, 0));
    tine_payload *p = payload_with(8, NULL, 0);
    cr_assert_eq(
        tine_scheduler_fork(F.scheduler, 4, 0, &(tine_target){.name = "f"}, 0, p, NULL, NULL),
        TINE_ESTATE);
    tine_payload_unref(p);
    fixture_close();
}

Test(scheduler, a_long_chain_of_nested_forks_is_cancelled_without_recursion) {
    enum { DEPTH = 50000 };
    fixture_open((tine_scheduler_config){.window = 1u << 20});
    join(1);
    join(2);
    fork_f(1, "f");
    take();
    action at = *sent(1, TINE_MSG_TASK, 0);
    tine_peer on = 1;
    for (uint64_t i = 0; i < DEPTH; i++) { /* each suspends and its fork runs on worker 2 */
        tine_payload *p = payload_with(8, NULL, 0);
        receive(on, (tine_message){.type = TINE_MSG_SUBMIT,
                                   .task = at.a.message.task,
                                   .seq = i + 1,
                                   .target = {.name = "f"},
                                   .payload = p});
        tine_payload_unref(p);
        tine_scheduler_action a;
        while (tine_scheduler_next(F.scheduler, &a))
            if (a.kind == TINE_SCHEDULER_SEND && a.message.type == TINE_MSG_TASK) {
                at.a = a;
                on = a.peer;
            }
        if (on == 2)
            suspend(2, &at);
        else
            suspend(1, &at);
    }
    tine_scheduler_peer_lost(F.scheduler, 1, "killed by signal 9 (SIGKILL)");
    tine_scheduler_action a;
    while (tine_scheduler_next(F.scheduler, &a)) {
    }
    tine_scheduler_stop(F.scheduler);
    tine_scheduler_free(F.scheduler);
}
