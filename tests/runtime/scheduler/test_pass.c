/* Results that one worker passes to another one directly: who is told to, and that everything else
 * is as without it. */
#include "tests/support/scheduler_fixture.h"

static action made[3], joined;    /* a task at each of two workers, and one of both results */
static tine_object ids[3], last;  /* their results */
static tine_peer here, elsewhere; /* where the last one runs; where its other input is made */

static tine_object fork_at(uint64_t ticket, uint32_t worker, const tine_object *refs, size_t n) {
    uint64_t task;
    tine_payload *p = payload_with(8, refs, n);
    tine_terms terms = {.worker = worker};
    cr_assert_eq(tine_scheduler_fork(F.scheduler, ticket, 0, &(tine_target){.name = "f"}, 0, p,
                                     worker ? &terms : NULL, &task),
                 TINE_OK);
    tine_payload_unref(p);
    return tine_scheduler_result(F.scheduler, task);
}

static void open_workers(bool pair) {
    fixture_open((tine_scheduler_config){0});
    join(1);
    join(2);
    if (pair) tine_scheduler_paired(F.scheduler, 1, 2);
}

/* What was taken has the PASS, if there is one. */
static void fork_three(void) {
    for (uint32_t w = 1; w <= 2; w++) {
        ids[w] = fork_at(w, w, NULL, 0);
        take();
        made[w] = *sent(w, TINE_MSG_TASK, 0);
    }
    last = fork_at(3, 0, ids + 1, 2);
    take();
    joined = *sent(0, TINE_MSG_TASK, 0);
    here = joined.a.peer;
    elsewhere = 3 - here;
}

static void release_three(void) {
    for (int i = 1; i <= 2; i++) tine_scheduler_object_release(F.scheduler, ids[i]);
    tine_scheduler_object_release(F.scheduler, last);
    take();
}

static void end_three(void) {
    done(elsewhere, &made[elsewhere], 1000);
    done(here, &made[here], 1000);
    done(here, &joined, 1000);
    take();
    release_three();
}

static void release_and_close(void) {
    release_three();
    if (stats().running + stats().waiting == 0) cr_expect_eq(stats().objects, 0);
    fixture_close();
}

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

/* ---- a DONE that says to whom its result is passed ---- */

static void done_passed(tine_peer peer, const action *task, uint64_t to, size_t size) {
    tine_payload *p = payload_with(size, NULL, 0);
    receive(peer, (tine_message){.type = TINE_MSG_DONE_PASSED,
                                 .task = task->a.message.task,
                                 .attempt = task->a.message.attempt,
                                 .epoch = task->a.message.epoch,
                                 .run_ns = 1000,
                                 .ids = &to,
                                 .n_ids = 1,
                                 .payload = p});
    tine_payload_unref(p);
}

static void not_passed(tine_peer peer, tine_object object, uint64_t number) {
    const uint64_t pair[] = {object, number};
    receive(peer, (tine_message){.type = TINE_MSG_PASS, .ids = pair, .n_ids = 2});
}

/* What `elsewhere` has made was sent `here` since the last take. */
static bool sent_here(void) {
    const action *a = sent(here, TINE_MSG_OBJECT, 0);
    return a && a->a.message.object == ids[elsewhere] && !a->a.message.status &&
           count_sent(here, TINE_MSG_OBJECT) == 1;
}

static void pass_to_here(void) {
    open_workers(true);
    fork_three();
    done_passed(elsewhere, &made[elsewhere], here, 8);
    take();
    cr_assert_eq(count_sent(here, TINE_MSG_OBJECT), 0);
}

static void end_here(void) {
    done(here, &made[here], 1000);
    done(here, &joined, 1000);
    take();
    cr_expect_eq(completed(3)->a.status, TINE_OK);
}

Test(pass, what_was_passed_is_not_sent_and_is_dropped) {
    pass_to_here();
    end_here();
    cr_expect_eq(count_sent(here, TINE_MSG_OBJECT), 0);
    tine_scheduler_object_release(F.scheduler, ids[elsewhere]);
    take();
    const action *drop = sent(here, TINE_MSG_DROP, 0);
    cr_expect(drop && drop->a.message.n_ids == 1 && drop->ids[0] == ids[elsewhere]);
    cr_expect_eq(count_sent(here, TINE_MSG_OBJECT), 0);
    ids[elsewhere] = 0;
    release_and_close();
}

Test(pass, what_has_come_before_its_done_is_known_is_not_sent) {
    open_workers(true);
    fork_three();
    end_here();
    done(elsewhere, &made[elsewhere], 1000);
    take();
    cr_expect_eq(count_sent(here, TINE_MSG_OBJECT), 0);
    tine_scheduler_object_release(F.scheduler, ids[elsewhere]);
    take();
    cr_expect(sent(here, TINE_MSG_DROP, 0));
    ids[elsewhere] = 0;
    release_and_close();
}

Test(pass, what_could_not_be_passed_is_sent) {
    pass_to_here();
    not_passed(elsewhere, ids[elsewhere], here);
    not_passed(elsewhere, ids[elsewhere], here);
    not_passed(elsewhere, ids[elsewhere], 77);
    take();
    cr_expect(sent_here(), "once");
    end_here();
    release_and_close();
}

/* A small message may overtake the DONE. */
Test(pass, what_could_not_be_passed_is_sent_though_the_done_comes_later) {
    open_workers(true);
    fork_three();
    not_passed(elsewhere, ids[elsewhere], here);
    done_passed(elsewhere, &made[elsewhere], here, 8);
    take();
    cr_expect(sent_here());
    end_here();
    release_and_close();
}

Test(pass, what_was_passed_is_sent_to_a_worker_that_asks_for_it) {
    pass_to_here();
    fetch(here, ids[elsewhere]);
    fetch(here, ids[elsewhere]);
    take();
    cr_expect(sent_here(), "once");
    end_here();
    release_and_close();
}

Test(pass, a_worker_that_has_asked_is_sent_what_is_passed_to_it) {
    open_workers(true);
    fork_three();
    fetch(here, ids[elsewhere]); /* it came too early there */
    done_passed(elsewhere, &made[elsewhere], here, 8);
    take();
    cr_expect(sent_here());
    end_here();
    release_and_close();
}

Test(pass, what_was_passed_is_sent_when_its_maker_is_lost) {
    pass_to_here();
    tine_scheduler_peer_lost(F.scheduler, elsewhere, "killed by signal 9 (SIGKILL)");
    take();
    cr_expect(sent_here());
    end_here();
    release_and_close();
}

Test(pass, what_has_come_is_not_sent_when_its_maker_is_lost) {
    pass_to_here();
    end_here();
    tine_scheduler_peer_lost(F.scheduler, elsewhere, "killed by signal 9 (SIGKILL)");
    take();
    cr_expect_eq(count_sent(here, TINE_MSG_OBJECT), 0);
    release_and_close();
}

/* Its arguments, which tell what it has, are freed. */
Test(pass, what_a_suspended_task_has_is_not_sent) {
    pass_to_here();
    done(here, &made[here], 1000);
    suspend(here, &joined);
    tine_scheduler_peer_lost(F.scheduler, elsewhere, "killed by signal 9 (SIGKILL)");
    take();
    cr_expect_eq(count_sent(here, TINE_MSG_OBJECT), 0);
    done(here, &joined, 1000);
    take();
    release_and_close();
    open_workers(true);
    fork_three();
    done(here, &made[here], 1000);
    suspend(here, &joined);
    done_passed(elsewhere, &made[elsewhere], here, 8);
    take();
    tine_scheduler_peer_lost(F.scheduler, elsewhere, "killed by signal 9 (SIGKILL)");
    take();
    cr_expect_eq(count_sent(here, TINE_MSG_OBJECT), 0, "its DONE came later");
    done(here, &joined, 1000);
    take();
    release_and_close();
}

Test(pass, a_way_that_is_broken_is_used_no_more) {
    pass_to_here();
    not_passed(here, 0, elsewhere);
    take();
    cr_expect(sent_here());
    end_here();
    release_three();
    fork_three();
    cr_expect_eq(count_sent(0, TINE_MSG_PASS), 0);
    cr_expect_null(found(TINE_SCHEDULER_PAIR, 0));
    done_passed(elsewhere, &made[elsewhere], here, 8);
    take();
    cr_expect(sent_here(), "whatever is said");
    end_here();
    release_and_close();
}

/* The transport says that a pair is made, or cannot be yet, after a worker has ended it. */
Test(pass, a_way_that_is_broken_before_it_is_counted_is_used_no_more) {
    open_workers(false);
    fork_three();
    cr_assert(found(TINE_SCHEDULER_PAIR, 0));
    not_passed(here, 0, elsewhere);
    tine_scheduler_paired(F.scheduler, here, elsewhere);
    end_three();
    for (int later = 0; later < 2; later++) {
        fork_three();
        cr_expect_eq(count_sent(0, TINE_MSG_PASS), 0);
        cr_expect_null(found(TINE_SCHEDULER_PAIR, 0));
        done_passed(elsewhere, &made[elsewhere], here, 8);
        take();
        cr_expect(sent_here(), "whatever is said");
        end_here();
        release_three();
        tine_scheduler_pair_later(F.scheduler, here, elsewhere);
    }
    release_and_close();
}

/* A message may name each of thousands: none of them costs a walk over all objects. */
Test(pass, the_end_of_a_way_that_is_not_there_sends_nothing) {
    pass_to_here();
    join(3);
    take();
    not_passed(here, 0, 3);
    take();
    cr_expect_eq(count_sent(here, TINE_MSG_OBJECT), 0);
    not_passed(here, 0, elsewhere);
    not_passed(here, 0, elsewhere);
    take();
    cr_expect(sent_here(), "once");
    end_here();
    release_and_close();
}

Test(pass, what_is_said_of_a_large_result_or_of_others_is_not_taken) {
    open_workers(true);
    fork_three();
    done_passed(elsewhere, &made[elsewhere], here, TINE_MAX_PASSED + 1);
    take();
    cr_expect(sent_here(), "its DROP might overtake it");
    end_here();
    release_three();
    fork_three();
    done_passed(elsewhere, &made[elsewhere], elsewhere, 8);
    take();
    cr_expect(sent_here());
    end_here();
    release_and_close();
}

/* Its worker may wait for it still. */
Test(pass, what_was_passed_and_is_needed_no_more_is_refused_and_dropped) {
    pass_to_here();
    done(here, &made[here], 1000);
    done_with(here, &joined, TINE_EFAILED, "no", 1000, 0, NULL, 0);
    take();
    tine_scheduler_object_release(F.scheduler, ids[elsewhere]);
    take();
    const action *refused = sent(here, TINE_MSG_OBJECT, 0), *drop = sent(here, TINE_MSG_DROP, 0);
    cr_assert(refused && drop && refused < drop);
    cr_expect_eq(refused->a.message.status, TINE_ECANCELED);
    cr_expect_eq(drop->a.message.n_ids, 1);
    ids[elsewhere] = 0;
    release_and_close();
}
