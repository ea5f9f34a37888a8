/* What the loss of a worker does to the tasks it was sent, with and without its run log. */
#include "tests/support/scheduler_fixture.h"

static const char *const reason = "killed by signal 11 (SIGSEGV)";

TestSuite(losses, .timeout = 20);

Test(losses, a_worker_that_rejoins_is_not_another_expected_worker) {
    fixture_open((tine_scheduler_config){.expected_workers = 2, .workers_return = true});
    join(1);
    tine_scheduler_peer_lost(F.scheduler, 1, reason);
    join(2); /* the replacement; the worker that serves py has not joined yet */
    fork_f(1, "py");
    take();
    cr_assert(!completed(1));
    join_as(3, (const char *const[]){"py"}, 1, NULL, 0);
    take();
    cr_assert_eq(count_sent(3, TINE_MSG_TASK), 1);
    fork_f(2, "other");
    take();
    cr_assert_eq(completed(2)->a.status, TINE_EUNKNOWN);
    fixture_close();
}

/* Tickets 1 to n, sent ahead to worker 1, which is killed. */
static void send_ahead(uint64_t n, uint32_t flags, size_t size, uint64_t *ids) {
    join(1);
    teach(1, "f", 100);
    for (uint64_t i = 1; i <= n; i++)
        fork_with(i, (tine_target){.name = "f"}, flags, size, NULL, 0);
    take();
    cr_assert_eq(count_sent(1, TINE_MSG_TASK), n);
    for (size_t i = 0; i < n; i++) ids[i] = sent(1, TINE_MSG_TASK, i)->a.message.task;
}

Test(losses, a_task_that_had_not_begun_survives_the_crash_of_another) {
    uint64_t ids[3];
    tine_run_log log = {0};
    fixture_open((tine_scheduler_config){.workers_return = true});
    send_ahead(3, 0, 8, ids);
    tine_run_log_begin(&log, ids[0]);
    tine_run_log_end(&log); /* its DONE was lost with the worker */
    tine_run_log_begin(&log, ids[1]);
    tine_run_log_run(&log, ids[1]);
    tine_scheduler_worker_died(F.scheduler, 1, reason, &log);
    take();
    cr_assert_eq(completed(1)->a.status, TINE_ELOST);
    cr_assert_eq(completed(2)->a.status, TINE_ELOST);
    cr_assert(!completed(3));
    join(2);
    take();
    cr_assert_eq(count_sent(2, TINE_MSG_TASK), 1);
    action again = *sent(2, TINE_MSG_TASK, 0);
    cr_assert_eq(again.a.message.attempt, 2);
    done(2, &again, 100);
    take();
    cr_assert_eq(completed(3)->a.status, TINE_OK);
    fixture_close();
}

Test(losses, a_task_sent_to_a_worker_that_had_died_already_runs_elsewhere) {
    uint64_t ids[1];
    tine_run_log log = {0};
    fixture_open((tine_scheduler_config){.workers_return = true});
    send_ahead(1, 0, 8, ids);
    tine_scheduler_worker_died(F.scheduler, 1, reason, &log);
    join(2);
    take();
    cr_assert(!completed(1));
    cr_assert_eq(count_sent(2, TINE_MSG_TASK), 1);
    fixture_close();
}

/* So many were sent later that the task may have left the ring of those begun. */
Test(losses, a_task_that_may_have_left_the_log_is_lost) {
    enum { MANY = TINE_RUN_LOG_RECENT };
    tine_run_log log = {0};
    fixture_open((tine_scheduler_config){.workers_return = true});
    join(1);
    teach(1, "f", 100);
    teach(1, "g", 100);
    fork_f(1, "g");
    take();
    uint64_t old = sent(1, TINE_MSG_TASK, 0)->a.message.task;
    tine_run_log_begin(&log, old);
    for (uint64_t i = 2; i < 2 + MANY; i++) {
        fork_f(i, "f");
        take();
        action t = *sent(1, TINE_MSG_TASK, 0);
        tine_run_log_begin(&log, t.a.message.task);
        done(1, &t, 100);
        take();
    }
    cr_assert(!tine_run_log_has(&log, old));
    tine_scheduler_worker_died(F.scheduler, 1, reason, &log);
    take();
    cr_assert_eq(completed(1)->a.status, TINE_ELOST);
    fixture_close();
}

/* The crashing task runs out of attempts; its neighbours do not. */
Test(losses, a_crash_counts_for_the_task_that_ran) {
    fixture_open((tine_scheduler_config){.workers_return = true, .max_attempts = 2});
    join(1);
    teach(1, "f", 100);
    teach(1, "g", 100);
    for (uint64_t i = 1; i <= 2; i++)
        fork_with(i, (tine_target){.name = i == 1 ? "f" : "g"}, TINE_REPEATABLE, 8, NULL, 0);
    for (tine_peer p = 1; p <= 2; p++) {
        tine_run_log log = {0};
        take();
        cr_assert_eq(count_sent(p, TINE_MSG_TASK), p == 1 ? 2 : 1, "f runs alone the second time");
        for (size_t i = 0; i < count_sent(p, TINE_MSG_TASK); i++) {
            const action *t = sent(p, TINE_MSG_TASK, i);
            if (p == 2) cr_assert_str_eq(t->name, "f");
            tine_run_log_begin(&log, t->a.message.task);
            if (!strcmp(t->name, "f")) tine_run_log_run(&log, t->a.message.task);
        }
        tine_scheduler_worker_died(F.scheduler, p, reason, &log);
        take();
        if (p < 2) join(p + 1);
    }
    cr_assert_str_eq(
        completed(1)->text,
        "task \"f\" was lost on worker pid 12 (host a), attempt 2 of 2: the worker was "
        "killed by signal 11 (SIGSEGV); 2 workers have died while it ran "
        "(TINE_RETRIES)");
    cr_assert(!completed(2), "%s", completed(2)->text);
    join(3);
    take();
    action g = *sent(3, TINE_MSG_TASK, 0);
    cr_assert_eq(g.a.message.attempt, 2);
    done_with(3, &g, TINE_EFAILED, "bad", 100, 0, NULL, 0);
    take();
    cr_assert(strstr(completed(2)->text, "attempt 2 of 3"), "%s", completed(2)->text);
    fixture_close();
}

/* A worker of another host has no log: of several tasks any may be the cause, until one is lost
 * that ran alone. */
Test(losses, without_a_log_the_neighbours_of_a_crashing_task_do_not_run_out_of_attempts) {
    enum { TASKS = 8, ATTEMPTS = 2 };
    uint64_t ids[TASKS];
    int died = 1, ended = 0;
    fixture_open((tine_scheduler_config){.workers_return = true, .max_attempts = ATTEMPTS});
    send_ahead(TASKS, TINE_REPEATABLE, 8, ids);
    tine_scheduler_peer_lost(F.scheduler, 1, reason);
    tine_peer p = 2;
    join(p);
    for (int i = 0; i < 2 * TASKS && ended < TASKS; i++) {
        take();
        for (uint64_t k = 1; k <= TASKS; k++) {
            if (!completed(k)) continue;
            ended++;
            cr_assert_eq(completed(k)->a.status, k == 3 ? TINE_ELOST : TINE_OK, "task %d", (int)k);
        }
        if (ended == TASKS) break;
        cr_assert_eq(count_sent(p, TINE_MSG_TASK), 1, "suspects run alone");
        action t = *sent(p, TINE_MSG_TASK, 0);
        if ((uint32_t)t.a.message.task == (uint32_t)ids[2]) {
            tine_scheduler_peer_lost(F.scheduler, p, reason);
            died++;
            join(++p);
        } else {
            done(p, &t, 100);
        }
    }
    cr_assert_eq(ended, TASKS);
    cr_assert_eq(died, ATTEMPTS, "the first loss counts for the cause as well");
    fixture_close();
}

/* It is alone with the task that waits for it: both count. */
Test(losses, without_a_log_a_fork_that_crashes_counts_for_what_forked_it) {
    fixture_open((tine_scheduler_config){.workers_return = true, .max_attempts = 2});
    fork_with(1, (tine_target){.name = "f"}, TINE_REPEATABLE, 8, NULL, 0);
    for (tine_peer p = 1; p <= 2; p++) {
        join(p);
        take();
        action above = *sent(p, TINE_MSG_TASK, 0);
        submit(p, &above, 1, "g");
        suspend(p, &above);
        take();
        cr_assert_eq(count_sent(p, TINE_MSG_TASK), 1);
        tine_scheduler_peer_lost(F.scheduler, p, reason);
    }
    take();
    cr_assert_eq(completed(1)->a.status, TINE_ELOST);
    fixture_close();
}

/* They share their workers, so that neither is ever alone; both end. */
Test(losses, without_a_log_tasks_that_wait_do_not_run_for_ever) {
    fixture_open((tine_scheduler_config){.workers_return = true, .max_attempts = 3});
    for (uint64_t i = 1; i <= 2; i++)
        fork_with(i, (tine_target){.name = "f"}, TINE_REPEATABLE, 8, NULL, 0);
    for (tine_peer p = 1; p <= 3; p++) {
        join(p);
        for (int i = 0; i < 2; i++) {
            take();
            action above = *sent(p, TINE_MSG_TASK, 0);
            suspend(p, &above);
        }
        tine_scheduler_peer_lost(F.scheduler, p, reason);
    }
    take();
    cr_assert_eq(completed(1)->a.status, TINE_ELOST);
    cr_assert_eq(completed(2)->a.status, TINE_ELOST);
    fixture_close();
}

/* Else it would fork the same crashing task for ever. */
Test(losses, a_crash_counts_for_the_tasks_that_forked_the_one_that_ran) {
    fixture_open((tine_scheduler_config){.workers_return = true, .max_attempts = 2});
    fork_with(1, (tine_target){.name = "f"}, TINE_REPEATABLE, 8, NULL, 0);
    for (tine_peer p = 1; p <= 2; p++) {
        tine_run_log log = {0};
        join(p);
        take();
        action above = *sent(p, TINE_MSG_TASK, 0);
        tine_run_log_begin(&log, above.a.message.task);
        submit(p, &above, 1, "g");
        suspend(p, &above);
        take();
        uint64_t below = sent(p, TINE_MSG_TASK, 0)->a.message.task;
        tine_run_log_begin(&log, below);
        tine_run_log_run(&log, below);
        tine_scheduler_worker_died(F.scheduler, p, reason, &log);
    }
    take();
    cr_assert_eq(completed(1)->a.status, TINE_ELOST);
    fixture_close();
}

Test(losses, without_a_running_task_the_loss_counts_for_all_that_had_begun) {
    uint64_t ids[2];
    fixture_open((tine_scheduler_config){.workers_return = true, .max_attempts = 1});
    send_ahead(2, TINE_REPEATABLE, 8, ids);
    tine_run_log log = {0};
    tine_run_log_begin(&log, ids[0]);
    tine_scheduler_worker_died(F.scheduler, 1, reason, &log);
    take();
    cr_assert_eq(completed(1)->a.status, TINE_ELOST);
    cr_assert(!completed(2));
    fixture_close();
}

/* Large arguments of a task that was sent to an idle worker are freed: it has begun as good as
 * certainly. Those of a task sent ahead are kept. */
Test(losses, arguments_sent_ahead_are_kept_until_the_task_begins) {
    uint64_t ids[2];
    tine_run_log log = {0};
    fixture_open((tine_scheduler_config){.workers_return = true});
    send_ahead(2, 0, 1 << 20, ids);
    tine_scheduler_worker_died(F.scheduler, 1, reason, &log);
    take();
    cr_assert_eq(completed(1)->a.status, TINE_ELOST);
    cr_assert(!completed(2));
    fixture_close();
}

/* It had fetched the reason, and was not told to drop it. */
Test(losses, the_reason_for_a_lost_object_is_dropped_with_its_last_holder) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    join(1);
    join(2);
    fork_f(1, "f");
    fork_f(2, "f");
    take();
    action a = *sent(1, TINE_MSG_TASK, 0), b = *sent(2, TINE_MSG_TASK, 0);
    tine_object own = UINT64_C(1) << 40 | 1 << 1;
    submit_with(1, &a, 5, (tine_target){.name = "g"}, &own, 1); /* the object has not arrived */
    fetch(2, own);
    tine_scheduler_peer_lost(F.scheduler, 1, "killed");
    done(2, &b, 100);
    take();
    cr_assert_eq(sent(2, TINE_MSG_OBJECT, 0)->a.message.object, own);
    cr_assert_eq(sent(2, TINE_MSG_DROP, 0)->ids[0], own);
    fixture_close();
}
