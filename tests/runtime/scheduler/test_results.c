/* Results as objects: tasks whose arguments are results of others, sent ahead or not, results that
 * stay at their workers, and what becomes of them when a worker is lost. */
#include "tests/support/scheduler_fixture.h"

static uint64_t fork_of(uint64_t ticket, const char *name, uint32_t flags, const tine_object *refs,
                        size_t n) {
    uint64_t task;
    tine_payload *p = payload_with(8, refs, n);
    cr_assert_eq(tine_scheduler_fork(F.scheduler, ticket, 0, &(tine_target){.name = name}, flags, p,
                                     NULL, &task),
                 TINE_OK);
    tine_payload_unref(p);
    return task;
}

/* A fork, and a handle on the object that its result becomes. */
static tine_object fork_result(uint64_t ticket, const char *name, uint32_t flags,
                               const tine_object *refs, size_t n) {
    tine_object id = tine_scheduler_result(F.scheduler, fork_of(ticket, name, flags, refs, n));
    cr_assert(id);
    return id;
}

static void done_keeping(tine_peer peer, const action *task, bool body) {
    tine_payload *p = body ? payload_with(8, NULL, 0) : NULL;
    receive(peer, (tine_message){.type = TINE_MSG_DONE,
                                 .task = task->a.message.task,
                                 .attempt = task->a.message.attempt,
                                 .epoch = task->a.message.epoch,
                                 .object = task->a.message.object,
                                 .run_ns = 1000,
                                 .payload = p});
    tine_payload_unref(p);
}

static void give_result(tine_peer peer, tine_object id) {
    tine_payload *p = payload_with(8, NULL, 0);
    receive(peer, (tine_message){.type = TINE_MSG_OBJECT, .object = id, .payload = p});
    tine_payload_unref(p);
}

static void release(tine_object id) { tine_scheduler_object_release(F.scheduler, id); }

static void lose(tine_peer peer) {
    tine_scheduler_peer_lost(F.scheduler, peer, "killed by signal 9 (SIGKILL)");
}

Test(results, a_dependent_task_is_sent_to_the_worker_before_its_input_is_there) {
    fixture_open((tine_scheduler_config){0});
    join(1);
    join(2);
    tine_object first = fork_result(1, "f", 0, NULL, 0);
    fork_of(2, "g", 0, &first, 1);
    take();
    action f = *sent(1, TINE_MSG_TASK, 0), *g = sent(1, TINE_MSG_TASK, 1);
    cr_assert(g, "it goes where its input is made");
    cr_assert_str_eq(g->name, "g");
    cr_assert_eq(stats().running, 1);
    cr_assert_eq(stats().waiting, 1);
    action task = *g;
    done_keeping(1, &f, true);
    take();
    cr_assert_eq(count_sent(0, TINE_MSG_OBJECT), 0, "the worker has it");
    cr_assert_eq(stats().running, 1);
    done(1, &task, 10);
    take();
    release(first);
    take();
    cr_assert_eq(sent(1, TINE_MSG_DROP, 0)->ids[0], first);
    fixture_close();
}

Test(results, a_result_that_its_worker_did_not_keep_is_sent_to_a_dependent_there) {
    fixture_open((tine_scheduler_config){0});
    join(1);
    tine_object first = fork_result(1, "f", 0, NULL, 0);
    fork_of(2, "g", 0, &first, 1);
    take();
    done(1, sent(1, TINE_MSG_TASK, 0), 10);
    take();
    cr_assert_eq(sent(1, TINE_MSG_OBJECT, 0)->a.message.object, first);
    cr_assert_eq(count_sent(1, TINE_MSG_OBJECT), 1);
    release(first);
    fixture_close();
}

Test(results, a_large_result_stays_and_is_fetched_once) {
    fixture_open((tine_scheduler_config){0});
    join(1);
    tine_object id = fork_result(1, "f", 0, NULL, 0);
    take();
    action f = *sent(1, TINE_MSG_TASK, 0);
    done_keeping(1, &f, false);
    take();
    cr_assert_eq(completed(1)->a.status, TINE_OK);
    cr_assert_null(completed(1)->a.payload);
    cr_assert_eq(completed(1)->a.object, id);
    release(id); /* the handle of COMPLETE */
    cr_assert_null(tine_scheduler_object_payload(F.scheduler, id, NULL));
    tine_scheduler_object_want(F.scheduler, id);
    tine_scheduler_object_want(F.scheduler, id);
    take();
    cr_assert_eq(count_sent(1, TINE_MSG_FETCH), 1);
    give_result(1, id);
    cr_assert(tine_scheduler_object_payload(F.scheduler, id, NULL));
    release(id);
    take();
    cr_assert_eq(sent(1, TINE_MSG_DROP, 0)->ids[0], id);
    cr_assert_eq(stats().objects, 0);
    fixture_close();
}

Test(results, a_large_result_goes_to_another_worker_once_for_all_its_tasks) {
    fixture_open((tine_scheduler_config){0});
    join(1);
    tine_object id = fork_result(1, "f", 0, NULL, 0);
    take();
    action f = *sent(1, TINE_MSG_TASK, 0);
    done_keeping(1, &f, false);
    take();
    release(id);
    fork_f(2, "f"); /* occupies worker 1 */
    take();
    join(2);
    fork_of(3, "g", 0, &id, 1);
    take();
    cr_assert(sent(2, TINE_MSG_TASK, 0));
    cr_assert_eq(sent(1, TINE_MSG_FETCH, 0)->a.message.object, id);
    action g = *sent(2, TINE_MSG_TASK, 0);
    cr_assert_eq(count_sent(2, TINE_MSG_OBJECT), 0);
    give_result(1, id);
    take();
    cr_assert_eq(sent(2, TINE_MSG_OBJECT, 0)->a.message.object, id);
    done(2, &g, 10);
    fork_of(4, "g", 0, &id, 1);
    take();
    cr_assert(sent(2, TINE_MSG_TASK, 0));
    cr_assert_eq(count_sent(2, TINE_MSG_OBJECT) + count_sent(1, TINE_MSG_FETCH), 0);
    release(id);
    fixture_close();
}

Test(results, a_failed_input_fails_a_chain_at_once_with_its_own_sentence) {
    enum { LENGTH = 20000 };
    fixture_open((tine_scheduler_config){0});
    join(1);
    tine_object id = fork_result(1, "f", 0, NULL, 0);
    take();
    action f = *sent(1, TINE_MSG_TASK, 0);
    for (uint64_t i = 2; i <= LENGTH; i++) {
        tine_object next = fork_result(i, "g", 0, &id, 1);
        release(id);
        id = next;
    }
    take();
    done_with(1, &f, TINE_EFAILED, "it broke", 10, 0, NULL, 0);
    size_t n = 0;
    for (; take() > 0 && F.n == MAX_ACTIONS;) n += F.n;
    cr_assert_geq(n + F.n, LENGTH);
    cr_assert_eq(stats().failed, LENGTH);
    const char *text;
    cr_assert_eq(tine_scheduler_object_error(F.scheduler, id, &text), TINE_EFAILED);
    cr_assert(strstr(text, "task \"f\" failed on") && strstr(text, "it broke"), "%s", text);
    release(id);
    fixture_close();
}

Test(results, a_lost_result_of_a_repeatable_task_is_made_again) {
    fixture_open((tine_scheduler_config){.max_attempts = 1, .workers_return = true});
    join(1);
    tine_object id = fork_result(1, "f", TINE_REPEATABLE, NULL, 0);
    take();
    action f = *sent(1, TINE_MSG_TASK, 0);
    done_keeping(1, &f, false);
    take();
    release(id);
    lose(1);
    take();
    cr_assert_null(completed(1), "it was completed before");
    join(2);
    take();
    action again = *sent(2, TINE_MSG_TASK, 0);
    cr_assert_eq(again.a.message.object, id);
    cr_assert_eq(again.a.message.attempt, 2);
    tine_scheduler_object_want(F.scheduler, id);
    done_keeping(2, &again, false);
    take();
    cr_assert_null(completed(1));
    cr_assert(sent(2, TINE_MSG_FETCH, 0));
    give_result(2, id);
    cr_assert(tine_scheduler_object_payload(F.scheduler, id, NULL));
    release(id);
    fixture_close();
}

Test(results, a_lost_result_that_cannot_be_made_again_fails_by_name) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    join(1);
    tine_object id = fork_result(1, "f", 0, NULL, 0);
    take();
    action f = *sent(1, TINE_MSG_TASK, 0);
    done_keeping(1, &f, false);
    take();
    release(id);
    lose(1);
    fork_of(2, "g", 0, &id, 1);
    take();
    const char *text;
    cr_assert_eq(tine_scheduler_object_error(F.scheduler, id, &text), TINE_ELOST);
    cr_assert(strstr(text, "the result of task \"f\" was lost on worker pid 11 (host a): the "
                           "worker was killed by signal 9 (SIGKILL); register the function with "
                           "TINE_REPEATABLE_FUNCTION"),
              "%s", text);
    cr_assert_eq(completed(2)->a.status, TINE_ELOST);
    cr_assert_str_eq(completed(2)->text, text);
    release(id);
    fixture_close();
}

Test(results, what_waits_for_inputs_does_not_take_a_worker_s_credit) {
    fixture_open((tine_scheduler_config){0});
    join(1);
    teach(1, "f", 100000);
    teach(1, "g", 100000);
    tine_object id = fork_result(1, "f", 0, NULL, 0);
    for (uint64_t i = 2; i < 8; i++) fork_of(i, "g", 0, &id, 1);
    take();
    cr_assert_gt(count_sent(1, TINE_MSG_TASK), 2);
    size_t ahead = count_sent(1, TINE_MSG_TASK) - 1;
    cr_assert_eq(stats().running, 1);
    for (uint64_t i = 10; i < 19; i++) fork_f(i, "f");
    take();
    cr_assert_eq(count_sent(1, TINE_MSG_TASK), 9, "its credit of 1 ms is not used by %zu tasks",
                 ahead);
    release(id);
    fixture_close();
}

/* Two columns of a stencil, both of whose tasks are at worker 1 when worker 2 joins. Returns how
 * many tasks of the next step are sent to worker 2. `stay`: results of "f" do. */
static size_t spread_of_stencil(uint64_t task_ns, bool stay) {
    fixture_open((tine_scheduler_config){0});
    join(1);
    if (stay) {
        tine_object large = fork_result(1, "f", 0, NULL, 0);
        take();
        done_keeping(1, sent(1, TINE_MSG_TASK, 0), false);
        take();
        release(large);
        take();
    }
    teach(1, "f", task_ns);
    tine_object step[] = {fork_result(1, "f", 0, NULL, 0), fork_result(2, "f", 0, NULL, 0)};
    take();
    cr_assert_eq(count_sent(1, TINE_MSG_TASK), 2);
    join(2);
    take();
    size_t first = 0, second = 0;
    for (uint64_t i = 3; i < 5; i++) {
        fork_of(i, "f", 0, step, 2);
        take();
        first += count_sent(1, TINE_MSG_TASK);
        second += count_sent(2, TINE_MSG_TASK);
    }
    cr_assert_eq(first + second, 2, "both are sent ahead");
    release(step[0]);
    release(step[1]);
    fixture_close();
    return second;
}

Test(results, a_stencil_whose_columns_are_at_one_worker_is_spread) {
    cr_assert_eq(spread_of_stencil(250000, false), 1);
}

Test(results, large_inputs_are_not_moved_for_the_time_of_a_task) {
    cr_assert_eq(spread_of_stencil(250000, true), 0);
}

/* Worker 2 has one task less, which waits for an input of worker 1: it is not free earlier. */
Test(results, columns_of_a_stencil_that_were_spread_stay_apart) {
    fixture_open((tine_scheduler_config){0});
    join(1);
    teach(1, "f", 100000);
    tine_object row[] = {fork_result(1, "f", 0, NULL, 0), fork_result(2, "f", 0, NULL, 0)};
    take();
    cr_assert_eq(count_sent(1, TINE_MSG_TASK), 2);
    join(2);
    take();
    for (uint64_t ticket = 3; ticket < 9; ticket += 2) {
        tine_object next[] = {fork_result(ticket, "f", 0, row, 2),
                              fork_result(ticket + 1, "f", 0, row, 2)};
        take();
        cr_assert_eq(count_sent(1, TINE_MSG_TASK), 1, "with ticket %d", (int)ticket);
        cr_assert_eq(count_sent(2, TINE_MSG_TASK), 1, "with ticket %d", (int)ticket);
        for (int i = 0; i < 2; i++) {
            release(row[i]);
            row[i] = next[i];
        }
    }
    release(row[0]);
    release(row[1]);
    fixture_close();
}

Test(results, tasks_shorter_than_the_way_of_an_input_stay_with_it) {
    cr_assert_eq(spread_of_stencil(1000, false), 0);
}

Test(results, a_chain_of_long_tasks_stays_at_its_worker_while_another_is_idle) {
    fixture_open((tine_scheduler_config){0});
    join(1);
    teach(1, "f", 250000);
    tine_object last = fork_result(1, "f", 0, NULL, 0);
    take();
    join(2);
    take();
    fork_of(2, "f", 0, &last, 1);
    take();
    cr_assert_eq(count_sent(1, TINE_MSG_TASK), 1);
    release(last);
    fixture_close();
}

/* It waited for g alone when the result of f was lost with its worker. */
Test(results, a_task_is_sent_ahead_with_the_inputs_that_were_lost_while_it_waited) {
    fixture_open((tine_scheduler_config){.workers_return = true, .max_credit = 2});
    join(1);
    teach(1, "f", 1000);
    teach(1, "g", 1000);
    tine_object inputs[] = {fork_result(1, "f", TINE_REPEATABLE, NULL, 0), 0};
    take();
    action f = *sent(1, TINE_MSG_TASK, 0);
    done_keeping(1, &f, false);
    fork_f(2, "f"); /* two occupy worker 1 */
    fork_f(3, "f");
    take();
    inputs[1] = fork_result(4, "g", 0, NULL, 0);
    fork_of(5, "g", 0, inputs, 2);
    lose(1);
    take();
    join(2);
    take();
    cr_assert_eq(count_sent(2, TINE_MSG_TASK), 3);
    f = *sent(2, TINE_MSG_TASK, 0);
    action g = *sent(2, TINE_MSG_TASK, 1), both = *sent(2, TINE_MSG_TASK, 2);
    cr_assert(f.a.message.object == inputs[0] && g.a.message.object == inputs[1]);
    done_keeping(2, &g, true);
    take();
    cr_assert_eq(stats().waiting, 1, "it waits for f as well, and takes no credit");
    done_keeping(2, &f, true);
    take();
    cr_assert_eq(stats().waiting, 0);
    done(2, &both, 10);
    take();
    cr_assert_eq(completed(5)->a.status, TINE_OK);
    fixture_close();
}

/* The DONE overtook an OBJECT of the task. What was noted of it was lost with the kept task. */
Test(results, a_deferred_result_that_stays_is_made_again) {
    fixture_open((tine_scheduler_config){.max_attempts = 1, .workers_return = true});
    for (tine_peer peer = 1; peer < 4; peer++) {
        uint32_t epoch = join(peer);
        if (peer == 1) fork_result(1, "f", TINE_REPEATABLE, NULL, 0);
        take();
        action f = *sent(peer, TINE_MSG_TASK, 0);
        receive(peer, (tine_message){.type = TINE_MSG_DONE,
                                     .task = f.a.message.task,
                                     .attempt = f.a.message.attempt,
                                     .epoch = epoch,
                                     .object = f.a.message.object,
                                     .seq = 1});
        take();
        cr_assert_null(completed(1));
        put(peer, f.a.message.task, (uint64_t)epoch << 40 | 2, NULL, NULL, 0);
        take();
        cr_assert_eq(completed(1) != NULL, peer == 1);
        lose(peer);
        take();
    }
    fixture_close();
}

/* Its DONE has arrived before a large put of the task: it is still to be settled. */
Test(results, a_kept_result_is_not_dropped_while_its_done_is_deferred) {
    fixture_open((tine_scheduler_config){0});
    join(1);
    tine_object id = fork_result(1, "f", 0, NULL, 0);
    fork_of(2, "g", 0, &id, 1);
    release(id);
    take();
    action f = *sent(1, TINE_MSG_TASK, 0), g = *sent(1, TINE_MSG_TASK, 1);
    receive(1, (tine_message){.type = TINE_MSG_DONE,
                              .task = f.a.message.task,
                              .attempt = 1,
                              .epoch = f.a.message.epoch,
                              .seq = 1,
                              .object = id});
    done(1, &g, 10);
    take();
    cr_assert(completed(2) && !completed(1));
    cr_assert_eq(count_sent(1, TINE_MSG_DROP), 0, "the result that DONE names was dropped");
    put(1, f.a.message.task, (uint64_t)f.a.message.epoch << 40 | 2, NULL, NULL, 0);
    take();
    cr_assert_eq(completed(1)->a.object, id);
    release(id);
    fixture_close();
}

/* Its task is cancelled while its DONE is under way. The worker has made c of it already. */
Test(results, a_kept_result_of_a_cancelled_task_stays_while_a_value_mentions_it) {
    fixture_open((tine_scheduler_config){0});
    join(1);
    uint64_t task = fork_of(1, "f", 0, NULL, 0);
    tine_object result = tine_scheduler_result(F.scheduler, task), c;
    tine_payload *p = payload_with(8, &result, 1);
    cr_assert_eq(tine_scheduler_object(F.scheduler, &c, NULL, p), TINE_OK);
    tine_payload_unref(p);
    release(result);
    fork_of(2, "g", 0, &c, 1);
    take();
    cr_assert(sent(1, TINE_MSG_OBJECT, 0), "c goes there before the result is made");
    action f = *sent(1, TINE_MSG_TASK, 0), g = *sent(1, TINE_MSG_TASK, 1);
    cr_assert(
        tine_scheduler_cancel(F.scheduler, task, TINE_ECANCELED, "the test says so", UINT64_MAX));
    f.a.message.object = result;
    done_keeping(1, &f, false);
    take();
    cr_assert_eq(count_sent(1, TINE_MSG_DROP), 0, "c mentions it");
    done(1, &g, 10);
    release(c);
    take();
    const action *drop = sent(1, TINE_MSG_DROP, 0);
    cr_assert(drop && drop->a.message.n_ids == 2);
    cr_assert_eq(stats().objects, 0);
    fixture_close();
}
