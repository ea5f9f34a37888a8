/* Which task starts next, and on which worker: depth, idle workers, pipelining, and groups. */
#include "tests/support/scheduler_fixture.h"

TestSuite(dispatch, .timeout = 20);

Test(dispatch, the_deepest_starts_first_and_within_a_depth_the_oldest) {
    fixture_open((tine_scheduler_config){.prefetch_ns = 1});
    join(1);
    fork_f(1, "f");
    fork_f(2, "f");
    fork_f(3, "f");
    take();
    action root = *sent(1, TINE_MSG_TASK, 0);
    cr_assert_eq(root.a.message.depth, 0);
    submit(1, &root, 11, "f");
    submit(1, &root, 12, "f");
    cr_assert_eq(count_sent(1, TINE_MSG_TASK), 1, "one task of unknown length at a time");
    suspend(1, &root);
    take();
    action child = *sent(1, TINE_MSG_TASK, 0);
    cr_assert_eq(child.a.message.depth, 1);
    done(1, &child, 100);
    take();
    cr_assert_eq(sent(1, TINE_MSG_RESULT, 0)->a.message.seq, 11);
    done(1, sent(1, TINE_MSG_TASK, 0), 100);
    take();
    cr_assert_eq(sent(1, TINE_MSG_RESULT, 0)->a.message.seq, 12);
    action second = *sent(1, TINE_MSG_TASK, 0);
    done(1, &second, 100);
    take();
    cr_assert(completed(2), "ticket 2 is older than 3");
    fixture_close();
}

Test(dispatch, unknown_durations_are_spread_one_to_a_worker) {
    fixture_open((tine_scheduler_config){0});
    join(1);
    join(2);
    join(3);
    take();
    for (uint64_t i = 1; i <= 5; i++) fork_f(i, "f");
    take();
    for (tine_peer p = 1; p <= 3; p++) cr_assert_eq(count_sent(p, TINE_MSG_TASK), 1);
    cr_assert_eq(stats().ready, 2);
    fixture_close();
}

Test(dispatch, short_tasks_are_pipelined_within_time_number_and_bytes) {
    fixture_open(
        (tine_scheduler_config){.prefetch_ns = 1000, .max_credit = 4, .max_credit_bytes = 1000});
    join(1);
    teach(1, "f", 100);
    for (uint64_t i = 1; i <= 20; i++) fork_f(i, "f");
    take();
    cr_assert_eq(count_sent(1, TINE_MSG_TASK), 4, "max_credit");
    fixture_close();

    fixture_open((tine_scheduler_config){.prefetch_ns = 1000});
    join(1);
    teach(1, "f", 250);
    for (uint64_t i = 1; i <= 20; i++) fork_f(i, "f");
    take();
    cr_assert_eq(count_sent(1, TINE_MSG_TASK), 4, "4 x 250 ns are 1000 ns");
    fixture_close();

    fixture_open((tine_scheduler_config){.max_credit_bytes = 1000});
    join(1);
    teach(1, "f", 250);
    for (uint64_t i = 1; i <= 20; i++) fork_with(i, (tine_target){.name = "f"}, 0, 300, NULL, 0);
    take();
    cr_assert_eq(count_sent(1, TINE_MSG_TASK), 3, "3 x 300 bytes are under 1000");
    fixture_close();
}

Test(dispatch, short_tasks_go_to_the_least_loaded_worker) {
    fixture_open((tine_scheduler_config){.prefetch_ns = 10000});
    join(1);
    teach(1, "f", 100);
    join(2);
    join(3);
    for (uint64_t i = 1; i <= 9; i++) fork_f(i, "f");
    take();
    for (tine_peer p = 1; p <= 3; p++) cr_assert_eq(count_sent(p, TINE_MSG_TASK), 3);
    fixture_close();
}

Test(dispatch, one_task_larger_than_the_byte_limit_passes) {
    fixture_open((tine_scheduler_config){.max_credit_bytes = 10});
    join(1);
    fork_with(1, (tine_target){.name = "f"}, 0, 5000, NULL, 0);
    take();
    cr_assert_eq(count_sent(1, TINE_MSG_TASK), 1);
    fixture_close();
}

Test(dispatch, suspend_returns_credit_and_done_does_not_return_it_twice) {
    fixture_open((tine_scheduler_config){0});
    join(1);
    for (uint64_t i = 1; i <= 4; i++) fork_f(i, "f");
    take();
    action first = *sent(1, TINE_MSG_TASK, 0);
    suspend(1, &first);
    suspend(1, &first);
    take();
    cr_assert_eq(count_sent(1, TINE_MSG_TASK), 1, "one more for the one that suspended");
    cr_assert_eq(stats().suspended, 1);
    done(1, &first, 5000000);
    take();
    cr_assert_eq(count_sent(1, TINE_MSG_TASK), 0, "its credit was returned when it suspended");
    cr_assert_eq(stats().suspended, 0);
    fixture_close();
}

/* A task that has waited once computes again, and forks again: its worker does not idle. */
Test(dispatch, a_fork_goes_to_an_idle_worker_before_one_whose_task_has_suspended) {
    fixture_open((tine_scheduler_config){0});
    join(1);
    join(2);
    fork_f(1, "f");
    take();
    action root = *sent(1, TINE_MSG_TASK, 0);
    suspend(1, &root);
    for (uint64_t seq = 1; seq <= 2; seq++) {
        submit(1, &root, seq, "f");
        take();
        cr_assert_eq(count_sent(2, TINE_MSG_TASK), 1, "fork %d", (int)seq);
        action child = *sent(2, TINE_MSG_TASK, 0);
        done(2, &child, 5000000);
        take();
    }
    done(1, &root, 5000000);
    take();
    fork_f(2, "f");
    take();
    cr_assert_eq(count_sent(1, TINE_MSG_TASK), 1, "the first again, now that it has none");
    fixture_close();
}

Test(dispatch, a_long_task_is_not_starved_by_younger_short_ones) {
    fixture_open((tine_scheduler_config){.prefetch_ns = 1000});
    join(1);
    teach(1, "f", 100);
    fork_f(1, "f");
    fork_f(2, "g"); /* of unknown length */
    for (uint64_t i = 3; i < 10; i++) fork_f(i, "f");
    take();
    cr_assert_eq(count_sent(1, TINE_MSG_TASK), 1, "the worker drains before the long one");
    done(1, sent(1, TINE_MSG_TASK, 0), 100);
    take();
    cr_assert_eq(count_sent(1, TINE_MSG_TASK), 1);
    cr_assert_str_eq(sent(1, TINE_MSG_TASK, 0)->name, "g");
    fixture_close();
}

Test(dispatch, tasks_of_one_group_do_not_block_those_of_another) {
    fixture_open((tine_scheduler_config){0});
    join(1);
    join_as(2, (const char *const[]){"py"}, 1, NULL, 0);
    for (uint64_t i = 1; i <= 100; i++) fork_f(i, "py");
    fork_f(200, "f");
    take();
    cr_assert_eq(count_sent(1, TINE_MSG_TASK), 1);
    cr_assert_eq(count_sent(2, TINE_MSG_TASK), 1);
    fixture_close();
}

/* ---- more workers than cores ---- */

static void join_four(void) {
    for (tine_peer p = 1; p <= 4; p++) join(p);
}

static void expect_tasks(size_t first, size_t second, size_t third, size_t fourth) {
    size_t n[] = {first, second, third, fourth};
    take();
    for (tine_peer p = 1; p <= 4; p++)
        cr_expect_eq(count_sent(p, TINE_MSG_TASK), n[p - 1], "worker %d has %zu", (int)p,
                     count_sent(p, TINE_MSG_TASK));
}

Test(dispatch, short_tasks_fill_a_worker_once_all_cores_have_some) {
    fixture_open((tine_scheduler_config){.cores = 2});
    join_four();
    teach(1, "f", 1000);
    for (uint64_t i = 1; i <= 20; i++) fork_f(i, "f");
    expect_tasks(1, 19, 0, 0);
    for (uint64_t i = 21; i <= 40; i++) fork_f(i, "f");
    expect_tasks(0, 13, 7, 0); /* 32 are enough */
    fixture_close();
}

Test(dispatch, a_worker_is_filled_with_little_work_only) {
    fixture_open((tine_scheduler_config){.cores = 1});
    join_four();
    teach(1, "f", 15000);
    for (uint64_t i = 1; i <= 15; i++) fork_f(i, "f");
    expect_tasks(6, 6, 3, 0);
    fixture_close();
}

Test(dispatch, long_tasks_and_those_of_unknown_length_go_to_idle_workers) {
    fixture_open((tine_scheduler_config){.cores = 1});
    join_four();
    teach(1, "f", 1000);
    fork_f(1, "f");
    fork_f(2, "g");
    expect_tasks(1, 1, 0, 0);
    done(2, sent(2, TINE_MSG_TASK, 0), 50000);
    fork_f(3, "g");
    fork_f(4, "g");
    expect_tasks(0, 1, 1, 0);
    fixture_close();
}

Test(dispatch, each_idle_worker_gets_a_task_where_the_cores_are_not_known) {
    fixture_open((tine_scheduler_config){0});
    join_four();
    teach(1, "f", 1000);
    for (uint64_t i = 1; i <= 8; i++) fork_f(i, "f");
    expect_tasks(2, 2, 2, 2);
    fixture_close();
}

Test(dispatch, a_worker_that_was_being_filled_may_be_lost) {
    fixture_open((tine_scheduler_config){.cores = 1, .max_attempts = 1, .workers_return = true});
    join_four();
    teach(1, "f", 1000);
    for (uint64_t i = 1; i <= 3; i++) fork_f(i, "f");
    expect_tasks(3, 0, 0, 0);
    tine_scheduler_peer_lost(F.scheduler, 1, "it died");
    for (uint64_t i = 4; i <= 6; i++) fork_f(i, "f");
    expect_tasks(0, 3, 0, 0);
    fixture_close();
}

/* They waited for it, though others were idle. */
Test(dispatch, a_worker_whose_task_takes_long_this_time_is_not_filled) {
    fixture_open((tine_scheduler_config){.cores = 2});
    join_four();
    teach(1, "f", 1000);
    fork_f(1, "f");
    fork_f(2, "f");
    take();
    cr_assert_eq(count_sent(1, TINE_MSG_TASK) + count_sent(2, TINE_MSG_TASK), 2);
    for (uint64_t i = 3; i <= 4; i++) {
        F.now += 1000000000;
        tine_scheduler_time(F.scheduler, F.now);
        fork_f(i, "f");
        take();
        cr_expect_eq(count_sent(3, TINE_MSG_TASK) + count_sent(4, TINE_MSG_TASK), 1);
    }
    fixture_close();
}
