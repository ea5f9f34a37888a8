/* How many of the nested forks that workers keep for themselves they are asked for. */
#include "tests/support/scheduler_fixture.h"

TestSuite(demand, .timeout = 20);

static void keeps(tine_peer peer) { receive(peer, (tine_message){.type = TINE_MSG_DEMAND}); }

Test(demand, welcome_says_that_it_is_answered) {
    fixture_open((tine_scheduler_config){0});
    join(1);
    take();
    cr_assert(sent(1, TINE_MSG_WELCOME, 0)->a.message.flags & TINE_WELCOME_DEMAND);
    fixture_close();
}

Test(demand, a_worker_that_does_not_ask_is_never_told) {
    fixture_open((tine_scheduler_config){0});
    join(1), join(2);
    fork_f(1, "f");
    take();
    action *t = sent(0, TINE_MSG_TASK, 0);
    submit(t->a.peer, t, 1, "f");
    take();
    cr_assert_eq(count_sent(0, TINE_MSG_DEMAND), 0);
    fixture_close();
}

Test(demand, a_single_worker_keeps_all_until_there_is_another) {
    fixture_open((tine_scheduler_config){.max_attempts = 3});
    join(1);
    keeps(1);
    take();
    cr_assert_eq(sent(1, TINE_MSG_DEMAND, 0)->a.message.seq, 0);
    cr_assert_eq(sent(1, TINE_MSG_DEMAND, 0)->a.message.attempt, 3);
    join(2);
    take();
    cr_assert_gt(sent(1, TINE_MSG_DEMAND, 0)->a.message.seq, 0);
    fixture_close();
}

Test(demand, nothing_is_asked_for_while_tasks_are_ready) {
    fixture_open((tine_scheduler_config){0});
    join(1), join(2);
    for (uint64_t i = 1; i <= 40; i++) fork_f(i, "f"); /* each may take long */
    take();
    keeps(1);
    take();
    cr_assert_eq(sent(1, TINE_MSG_DEMAND, 0)->a.message.seq, 0);
    fixture_close();
}

/* They are sent ahead to the workers at once: none of these is idle then, or will be soon. */
Test(demand, short_tasks_that_workers_have_before_them_count_as_ready) {
    fixture_open((tine_scheduler_config){0});
    join(1), join(2);
    teach(1, "f", 100);
    keeps(1);
    take();
    uint64_t seq = 0, allowed = sent(1, TINE_MSG_DEMAND, 0)->a.message.seq;
    fork_f(1, "f");
    take();
    action t = *sent(1, TINE_MSG_TASK, 0);
    while (seq < allowed && seq < 100) {
        submit(1, &t, ++seq, "f");
        take();
        cr_assert_eq(count_sent(0, TINE_MSG_TASK), 1);
        const action *d = sent(1, TINE_MSG_DEMAND, 0);
        if (d) allowed = d->a.message.seq;
    }
    cr_assert_lt(seq, 20, "%d are asked for, for two workers", (int)seq);
    fixture_close();
}

/* They are for it alone. */
Test(demand, a_long_queue_of_one_worker_does_not_count_for_all, .timeout = 20) {
    fixture_open((tine_scheduler_config){0});
    tine_terms terms = {.worker = join(1)};
    for (tine_peer i = 2; i <= 6; i++) join(i);
    teach(1, "f", 100);
    for (uint64_t ticket = 1; ticket <= 20; ticket++) {
        uint64_t task;
        tine_payload *p = payload_with(8, NULL, 0);
        cr_assert_eq(tine_scheduler_fork(F.scheduler, ticket, 0, &(tine_target){.name = "f"}, 0, p,
                                         &terms, &task),
                     TINE_OK);
        tine_payload_unref(p);
    }
    take();
    cr_assert_eq(count_sent(1, TINE_MSG_TASK), 20);
    keeps(2);
    take();
    cr_expect_gt(sent(2, TINE_MSG_DEMAND, 0)->a.message.seq, 4, "four workers are idle");
    fixture_close();
}

Test(demand, one_is_asked_for_while_a_worker_is_idle_that_cannot_run_what_is_ready) {
    fixture_open((tine_scheduler_config){0});
    uint32_t first = join(1);
    join(2);
    for (uint64_t i = 1; i <= 40; i++) {
        tine_payload *p = payload_with(8, NULL, 0);
        uint64_t task;
        cr_assert_eq(tine_scheduler_fork(F.scheduler, i, 0, &(tine_target){.name = "f"}, 0, p,
                                         &(tine_terms){.worker = first}, &task),
                     TINE_OK);
        tine_payload_unref(p);
    }
    take();
    cr_assert_eq(count_sent(2, TINE_MSG_TASK), 0);
    action t = *sent(1, TINE_MSG_TASK, 0);
    keeps(1);
    take();
    cr_assert_eq(sent(1, TINE_MSG_DEMAND, 0)->a.message.seq, 1);
    submit(1, &t, 1, "f");
    take();
    cr_assert_eq(count_sent(2, TINE_MSG_TASK), 1);
    cr_assert_eq(count_sent(1, TINE_MSG_DEMAND), 0, "none is idle");
    fixture_close();
}

Test(demand, it_counts_submits_and_is_raised_as_they_come) {
    fixture_open((tine_scheduler_config){0});
    join(1), join(2);
    keeps(1);
    fork_f(1, "f");
    take();
    action t = *sent(0, TINE_MSG_TASK, 0);
    uint64_t seq = 0, allowed = sent(1, TINE_MSG_DEMAND, 0)->a.message.seq, raised = 0;
    cr_assert_geq(allowed, 2);
    if (t.a.peer != 1) { /* the other one keeps nothing */
        done(t.a.peer, &t, 100);
        teach(1, "f", 100);
        fork_f(2, "f");
        take();
        t = *sent(1, TINE_MSG_TASK, 0);
    }
    while (seq < allowed &&
           seq < 100) { /* all run at once: more are wanted, then enough are here */
        submit(1, &t, ++seq, "f");
        take();
        const action *d = sent(1, TINE_MSG_DEMAND, 0);
        if (!d) continue;
        cr_assert_gt(d->a.message.seq, allowed);
        allowed = d->a.message.seq;
        raised++;
    }
    cr_assert_gt(raised, 0);
    cr_assert_lt(seq, 100, "it asks for more than the workers can need");
    fixture_close();
}

/* A task that waits for a value here has failed, so the value's own task, which runs here, is told;
 * a further attempt of that must find nothing of it. */
Test(demand, the_reason_why_a_value_is_withheld_is_dropped_before_the_next_attempt) {
    fixture_open((tine_scheduler_config){.max_attempts = 1});
    join(1);
    tine_payload *p = payload_with(8, NULL, 0);
    uint64_t maker;
    tine_terms terms = {.failure_retries = 1};
    cr_assert_eq(tine_scheduler_fork(F.scheduler, 1, 0, &(tine_target){.name = "f"},
                                     TINE_REPEATABLE, p, &terms, &maker),
                 TINE_OK);
    tine_payload_unref(p);
    tine_object id = tine_scheduler_result(F.scheduler, maker);
    take();
    action t = *sent(1, TINE_MSG_TASK, 0);
    p = payload_with(8, &id, 1);
    uint64_t user;
    cr_assert_eq(
        tine_scheduler_fork(F.scheduler, 2, 0, &(tine_target){.name = "g"}, 0, p, NULL, &user),
        TINE_OK);
    tine_payload_unref(p);
    take();
    cr_assert(sent(1, TINE_MSG_TASK, 0), "it is sent ahead");
    action ahead = *sent(1, TINE_MSG_TASK, 0);
    cr_assert(tine_scheduler_cancel(F.scheduler, user, TINE_ECANCELED, "the test says so", 0));
    done_with(1, &ahead, TINE_ECANCELED, "cancelled", 0, 0, NULL, 0);
    tine_scheduler_object_release(F.scheduler, id);
    take();
    if (!sent(1, TINE_MSG_OBJECT, 0)) cr_log_info("nothing was withheld");
    bool withheld = sent(1, TINE_MSG_OBJECT, 0);
    done_with(1, &t, TINE_EFAILED, "it broke", 100, 0, NULL, 0);
    take();
    size_t drop = 0, again = 0;
    for (size_t i = 0; i < F.n; i++) {
        if (F.actions[i].a.kind != TINE_SCHEDULER_SEND) continue;
        if (F.actions[i].a.message.type == TINE_MSG_DROP) drop = i + 1;
        if (F.actions[i].a.message.type == TINE_MSG_TASK) again = i + 1;
    }
    cr_assert(again);
    cr_assert(!withheld || (drop && drop < again));
    cr_assert(withheld);
    fixture_close();
}
