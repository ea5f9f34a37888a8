/* Initialisers, and workers that are to end. */
#include "tests/support/scheduler_fixture.h"

TestSuite(scheduler_pool, .timeout = 20);

static tine_payload *args(void) { return payload_with(8, NULL, 0); }

static void initialise(uint64_t ticket, const char *name) {
    tine_payload *p = args();
    cr_assert_eq(tine_scheduler_initialise(F.scheduler, ticket, name, 0, p), TINE_OK);
    tine_payload_unref(p);
}

/* The i-th TASK that a peer was sent, and its name. */
static action task_of(tine_peer peer, size_t i, const char *name) {
    cr_assert_gt(count_sent(peer, TINE_MSG_TASK), i);
    action a = *sent(peer, TINE_MSG_TASK, i);
    cr_assert_str_eq(a.name, name);
    return a;
}

Test(scheduler_pool, all_that_are_there_run_an_initialiser) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    join(1);
    join(2);
    initialise(9, "f");
    take();
    action a = task_of(1, 0, "f"), b = task_of(2, 0, "f");
    done(1, &a, 9);
    take();
    cr_assert(!completed(9));
    done_with(2, &b, TINE_EFAILED, "no", 9, 0, NULL, 0);
    take();
    cr_assert_eq(completed(9)->a.status, TINE_EFAILED);
    initialise(10, "f");
    take();
    a = task_of(1, 0, "f");
    tine_scheduler_peer_lost(F.scheduler, 2, "killed"); /* it is not there any more */
    done(1, &a, 9);
    take();
    cr_assert_eq(completed(10)->a.status, TINE_OK);
    initialise(11, "h");
    take();
    cr_assert_eq(completed(11)->a.status, TINE_EUNKNOWN);
    fixture_close();
}

Test(scheduler_pool, a_worker_that_joins_runs_its_initialisers_before_other_tasks) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    initialise(8, "f");
    initialise(9, "g");
    fork_f(1, "f");
    take();
    cr_assert_eq(completed(8)->a.status, TINE_OK, "there is no worker that could run it");
    join(1);
    take();
    cr_assert_eq(count_sent(1, TINE_MSG_TASK), 1);
    action f = task_of(1, 0, "f");
    done(1, &f, 9);
    take();
    action g = task_of(1, 0, "g");
    cr_assert_eq(count_sent(1, TINE_MSG_TASK), 1, "it runs a task before the second initialiser");
    done(1, &g, 9);
    take();
    action t = task_of(1, 0, "f");
    done(1, &t, 9);
    take();
    cr_assert_eq(completed(1)->a.status, TINE_OK);
    fixture_close();
}

Test(scheduler_pool, an_initialiser_that_waits_opens_its_worker) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    initialise(8, "f");
    join(1);
    fork_f(1, "g");
    take();
    action f = task_of(1, 0, "f");
    suspend(1, &f);
    take();
    task_of(1, 0, "g");
    fixture_close();
}

/* What the first waits for may need the worker. */
Test(scheduler_pool, a_later_initialiser_does_not_close_a_worker_that_one_has_opened) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    initialise(8, "f");
    join(1);
    take();
    action f = task_of(1, 0, "f");
    suspend(1, &f);
    initialise(9, "g");
    take();
    action g = task_of(1, 0, "g");
    done(1, &g, 9);
    fork_f(1, "g");
    take();
    task_of(1, 0, "g");
    fixture_close();
}

Test(scheduler_pool, a_worker_that_joins_and_fails_is_dropped) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    initialise(8, "f");
    join(1);
    fork_f(1, "g");
    take();
    action f = task_of(1, 0, "f");
    done_with(1, &f, TINE_EFAILED, "no model", 9, 0, NULL, 0);
    take();
    cr_assert(found(TINE_SCHEDULER_DROP, 0));
    cr_assert(strstr(found(TINE_SCHEDULER_DROP, 0)->text, "no model"));
    cr_assert(count_sent(1, TINE_MSG_TASK) == 0 && !completed(1));
    fixture_close();
}

/* A worker that runs it when it is withdrawn is kept, whatever comes of that; later ones, also
 * those that join before it has ended everywhere, do not run it. */
Test(scheduler_pool, an_initialiser_that_has_failed_is_withdrawn) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    join(1);
    join(2);
    initialise(9, "f");
    take();
    action a = task_of(1, 0, "f"), b = task_of(2, 0, "f");
    join(3);
    take();
    action c = task_of(3, 0, "f");
    done_with(1, &a, TINE_EFAILED, "no model", 9, 0, NULL, 0);
    join(4);
    fork_f(1, "g");
    fork_f(2, "g");
    take();
    task_of(1, 0, "g");
    task_of(4, 0, "g");
    done(2, &b, 9);
    take();
    cr_assert_eq(completed(9)->a.status, TINE_EFAILED);
    cr_assert(strstr(completed(9)->text, "no model"));
    done_with(3, &c, TINE_EFAILED, "no model", 9, 0, NULL, 0);
    join(5);
    for (uint64_t i = 3; i < 6; i++) fork_f(i, "g");
    take();
    cr_assert(!found(TINE_SCHEDULER_DROP, 0));
    task_of(2, 0, "g");
    task_of(3, 0, "g");
    task_of(5, 0, "g");
    fixture_close();
}

Test(scheduler_pool, a_worker_that_is_to_end_stops_after_its_tasks) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    join(1);
    fork_f(1, "f");
    take();
    action f = task_of(1, 0, "f");
    cr_assert(tine_scheduler_worker_end(F.scheduler, 1));
    cr_assert(tine_scheduler_worker_end(F.scheduler, 1));
    cr_assert(!tine_scheduler_worker_end(F.scheduler, 2));
    fork_f(2, "f");
    take();
    cr_assert_eq(count_sent(1, TINE_MSG_STOP) + count_sent(1, TINE_MSG_TASK), 0);
    done(1, &f, 9);
    take();
    cr_assert_eq(count_sent(1, TINE_MSG_STOP), 1);
    cr_assert_eq(count_sent(1, TINE_MSG_TASK), 0);
    tine_scheduler_peer_lost(F.scheduler, 1, "it has ended");
    join(2);
    take();
    task_of(2, 0, "f");
    fixture_close();
}

/* A result that stays there is fetched before it stops. */
Test(scheduler_pool, a_worker_that_is_to_end_gives_its_results_first) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    join(1);
    uint64_t task;
    tine_payload *p = args();
    tine_target target = {.name = "f"};
    tine_scheduler_fork(F.scheduler, 1, 0, &target, 0, p, NULL, &task);
    tine_object result = tine_scheduler_result(F.scheduler, task);
    take();
    action f = task_of(1, 0, "f");
    receive(1, (tine_message){.type = TINE_MSG_DONE,
                              .task = f.a.message.task,
                              .attempt = 1,
                              .epoch = 1,
                              .object = result});
    take();
    cr_assert_eq(completed(1)->a.status, TINE_OK);
    tine_scheduler_object_release(F.scheduler, completed(1)->a.object);
    cr_assert(tine_scheduler_worker_end(F.scheduler, 1));
    take();
    cr_assert_eq(count_sent(1, TINE_MSG_FETCH), 1);
    cr_assert_eq(count_sent(1, TINE_MSG_STOP), 0);
    receive(1, (tine_message){.type = TINE_MSG_OBJECT, .object = result, .payload = p});
    take();
    cr_assert_eq(count_sent(1, TINE_MSG_STOP), 1);
    cr_assert(tine_scheduler_object_payload(F.scheduler, result, NULL));
    tine_scheduler_object_release(F.scheduler, result);
    tine_payload_unref(p);
    fixture_close();
}

Test(scheduler_pool, a_worker_that_is_held_gets_no_tasks) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    join(1);
    tine_scheduler_worker_hold(F.scheduler, 1, true);
    tine_scheduler_worker_hold(F.scheduler, 2, true); /* there is none */
    fork_f(1, "f");
    tine_payload *p = args();
    tine_target target = {.name = "g"};
    cr_assert_eq(tine_scheduler_fork(F.scheduler, 2, 0, &target, 0, p,
                                     &(tine_terms){.worker = 1, .priority = 1}, NULL),
                 TINE_OK);
    tine_payload_unref(p);
    take();
    cr_assert_eq(count_sent(1, TINE_MSG_TASK), 0);
    tine_scheduler_worker_hold(F.scheduler, 1, false);
    take();
    action g = task_of(1, 0, "g");
    done(1, &g, 9);
    take();
    task_of(1, 0, "f");
    fixture_close();
}
