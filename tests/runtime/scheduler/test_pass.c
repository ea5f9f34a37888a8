/* Results that one worker passes to another one directly: who is told to, and that everything else
 * is as without it. */
#include "tests/support/pass_fixture.h"

Test(pass, a_direct_way_is_asked_for_once_and_used_once_it_is_there) {
    open_workers(false);
    fork_three();
    const action *pair = found(TINE_SCHEDULER_PAIR, 0);
    cr_assert(pair && !found(TINE_SCHEDULER_PAIR, 1));
    cr_expect_eq(pair->a.peer + pair->a.other, 3);
    cr_expect_eq(count_sent(0, TINE_MSG_PASS), 0, "there is none yet");
    tine_scheduler_paired(F.scheduler, pair->a.peer, pair->a.other);
    tine_object other = fork_at(4, 0, ids + 1, 2);
    take();
    cr_expect_null(found(TINE_SCHEDULER_PAIR, 0));
    cr_expect_leq(count_sent(0, TINE_MSG_PASS), 1, "one that was not told before");
    tine_scheduler_object_release(F.scheduler, other);
    release_and_close();
}

Test(pass, a_direct_way_that_cannot_be_yet_is_asked_for_again) {
    open_workers(false);
    fork_three();
    const action *pair = found(TINE_SCHEDULER_PAIR, 0);
    cr_assert(pair);
    tine_scheduler_pair_later(F.scheduler, pair->a.peer, pair->a.other);
    tine_scheduler_pair_later(F.scheduler, 1, 77); /* it has gone meanwhile */
    end_three();
    fork_three();
    cr_expect(found(TINE_SCHEDULER_PAIR, 0) && !found(TINE_SCHEDULER_PAIR, 1));
    release_and_close();
}

Test(pass, the_worker_that_makes_an_input_is_told_and_its_result_is_sent_on_too) {
    open_workers(true);
    fork_three();
    const action *pass = sent(0, TINE_MSG_PASS, 0);
    cr_assert(pass && count_sent(0, TINE_MSG_PASS) == 1);
    cr_expect_eq(pass->a.peer, elsewhere);
    cr_assert_eq(pass->a.message.n_ids, 2);
    cr_expect_eq(pass->ids[0], made[elsewhere].a.message.task);
    cr_expect_eq(pass->ids[1], here);
    done(elsewhere, &made[elsewhere], 1000);
    take();
    cr_expect_eq(sent(here, TINE_MSG_OBJECT, 0)->a.message.object, ids[elsewhere]);
    done(here, &made[here], 1000);
    done(here, &joined, 1000);
    take();
    cr_expect(completed(3));
    release_and_close();
}

/* Both DONEs are there before the actions are taken. */
Test(pass, a_result_is_not_sent_on_to_a_task_that_is_done) {
    open_workers(true);
    fork_three();
    done(elsewhere, &made[elsewhere], 1000);
    done(here, &made[here], 1000);
    done(here, &joined, 1000);
    take();
    cr_expect_eq(completed(3)->a.status, TINE_OK);
    cr_expect_eq(count_sent(here, TINE_MSG_OBJECT), 0);
    tine_scheduler_object_release(F.scheduler, ids[elsewhere]);
    take();
    const action *drop = sent(here, TINE_MSG_DROP, 0);
    cr_expect(drop && drop->a.message.n_ids == 1, "what was passed");
    ids[elsewhere] = 0;
    release_and_close();
}

/* It may have failed before its inputs were there. */
Test(pass, a_result_is_sent_on_to_a_worker_whose_task_has_failed) {
    open_workers(true);
    fork_three();
    done(elsewhere, &made[elsewhere], 1000);
    done(here, &made[here], 1000);
    done_with(here, &joined, TINE_EFAILED, "no", 1000, 0, NULL, 0);
    take();
    cr_expect_eq(completed(3)->a.status, TINE_EFAILED);
    cr_expect_eq(sent(here, TINE_MSG_OBJECT, 0)->a.message.object, ids[elsewhere]);
    release_and_close();
}

/* The task that ends has a module in its arguments, which only a call would have fetched. */
Test(pass, a_fetched_module_is_sent_though_a_task_with_it_in_its_arguments_is_done) {
    action root;
    fixture_open((tine_scheduler_config){0});
    tine_object module = (uint64_t)join(1) << 40 | 1 << 1 | 1;
    join(2);
    fork_f(1, "f");
    take();
    root = *sent(1, TINE_MSG_TASK, 0);
    submit_with(1, &root, 1, (tine_target){.name = "f"}, &module, 1);
    take();
    action child = *sent(2, TINE_MSG_TASK, 0);
    fetch(2, module); /* another task there calls it */
    put(1, root.a.message.task, module, "C", NULL, 0);
    done(2, &child, 1);
    take();
    const action *object = sent(2, TINE_MSG_OBJECT, 0);
    cr_assert(object && object->a.message.object == module);
    done_with(1, &root, TINE_OK, NULL, 1, 2, NULL, 0);
    take();
    cr_assert_eq(stats().objects, 0);
    fixture_close();
}

/* A task holds what the results of its forks mention, but its worker may not have it. */
Test(pass, a_fetched_value_is_sent_though_a_task_with_it_in_a_result_is_done) {
    fixture_open((tine_scheduler_config){0});
    join(1);
    tine_object id = (uint64_t)join(2) << 40 | 1 << 1;
    fork_f(1, "f");
    fork_f(2, "f");
    take();
    const action root = *sent(1, TINE_MSG_TASK, 0), putter = *sent(2, TINE_MSG_TASK, 0);
    suspend(2, &putter);
    submit(1, &root, 1, "f");
    suspend(1, &root);
    receive(2, (tine_message){.type = TINE_MSG_HOLD, .ids = &id, .n_ids = 1}); /* on its way */
    take();
    const action child = *sent(0, TINE_MSG_TASK, 0);
    done_with(child.a.peer, &child, TINE_OK, NULL, 1, 0, &id, 1);
    take();
    cr_assert_not_null(sent(1, TINE_MSG_RESULT, 0));
    fetch(1, id);
    put(2, putter.a.message.task, id, NULL, NULL, 0);
    done_with(1, &root, TINE_OK, NULL, 1, 1, NULL, 0);
    take();
    const action *object = sent(1, TINE_MSG_OBJECT, 0);
    cr_assert(object && object->a.message.object == id);
    receive(2, (tine_message){.type = TINE_MSG_RELEASE, .ids = &id, .n_ids = 1});
    done_with(2, &putter, TINE_OK, NULL, 1, 1, NULL, 0);
    take();
    cr_assert_eq(stats().objects, 0);
    fixture_close();
}

Test(pass, a_task_may_end_before_it_is_known_that_its_input_is_made) {
    open_workers(true);
    fork_three();
    done(here, &made[here], 1000);
    done(here, &joined, 1000);
    take();
    cr_assert_eq(completed(3)->a.status, TINE_OK);
    cr_expect_eq(stats().running, 1);
    tine_scheduler_object_release(F.scheduler, ids[elsewhere]); /* nothing needs it any more */
    take();
    cr_expect(sent(here, TINE_MSG_DROP, 0), "what has come, or will not be taken any more");
    done(elsewhere, &made[elsewhere], 1000);
    take();
    cr_expect_eq(completed(elsewhere)->a.status, TINE_OK);
    ids[elsewhere] = 0;
    release_and_close();
}

Test(pass, a_worker_that_dies_after_it_has_passed_a_result_fails_only_its_own_task) {
    open_workers(true);
    fork_three();
    done(here, &made[here], 1000);
    suspend(here, &joined); /* it has begun */
    tine_scheduler_peer_lost(F.scheduler, elsewhere, "killed by signal 9 (SIGKILL)");
    take();
    cr_expect_eq(completed(elsewhere)->a.status, TINE_ELOST);
    done(here, &joined, 1000);
    take();
    cr_expect_eq(completed(3)->a.status, TINE_OK);
    release_and_close();
}

Test(pass, workers_that_join_in_the_place_of_others_are_paired_anew) {
    open_workers(true);
    tine_scheduler_peer_lost(F.scheduler, 2, "killed by signal 9 (SIGKILL)");
    join(3);
    take();
    ids[1] = fork_at(1, 1, NULL, 0);
    ids[2] = fork_at(2, 3, NULL, 0);
    last = fork_at(3, 0, ids + 1, 2);
    take();
    cr_expect_eq(count_sent(0, TINE_MSG_PASS), 0);
    cr_expect(found(TINE_SCHEDULER_PAIR, 0));
    tine_scheduler_paired(F.scheduler, 1, 2); /* too late */
    release_and_close();
}
