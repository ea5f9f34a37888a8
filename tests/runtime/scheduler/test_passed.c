/* A DONE that says to whom its result is passed: it is sent only to who has not got it. */
#include "tests/support/pass_fixture.h"

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

Test(passed, what_was_passed_is_not_sent_and_is_dropped) {
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

Test(passed, what_has_come_before_its_done_is_known_is_not_sent) {
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

Test(passed, what_could_not_be_passed_is_sent) {
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
Test(passed, what_could_not_be_passed_is_sent_though_the_done_comes_later) {
    open_workers(true);
    fork_three();
    not_passed(elsewhere, ids[elsewhere], here);
    done_passed(elsewhere, &made[elsewhere], here, 8);
    take();
    cr_expect(sent_here());
    end_here();
    release_and_close();
}

Test(passed, what_was_passed_is_sent_to_a_worker_that_asks_for_it) {
    pass_to_here();
    fetch(here, ids[elsewhere]);
    fetch(here, ids[elsewhere]);
    take();
    cr_expect(sent_here(), "once");
    end_here();
    release_and_close();
}

Test(passed, a_worker_that_has_asked_is_sent_what_is_passed_to_it) {
    open_workers(true);
    fork_three();
    fetch(here, ids[elsewhere]); /* it came too early there */
    done_passed(elsewhere, &made[elsewhere], here, 8);
    take();
    cr_expect(sent_here());
    end_here();
    release_and_close();
}

Test(passed, what_was_passed_is_sent_when_its_maker_is_lost) {
    pass_to_here();
    tine_scheduler_peer_lost(F.scheduler, elsewhere, "killed by signal 9 (SIGKILL)");
    take();
    cr_expect(sent_here());
    end_here();
    release_and_close();
}

Test(passed, what_has_come_is_not_sent_when_its_maker_is_lost) {
    pass_to_here();
    end_here();
    tine_scheduler_peer_lost(F.scheduler, elsewhere, "killed by signal 9 (SIGKILL)");
    take();
    cr_expect_eq(count_sent(here, TINE_MSG_OBJECT), 0);
    release_and_close();
}

/* Its arguments, which tell what it has, are freed. */
Test(passed, what_a_suspended_task_has_is_not_sent) {
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

/* Whatever is said of the way. */
static void passes_no_more(void) {
    fork_three();
    cr_expect_eq(count_sent(0, TINE_MSG_PASS), 0);
    cr_expect_null(found(TINE_SCHEDULER_PAIR, 0));
    done_passed(elsewhere, &made[elsewhere], here, 8);
    take();
    cr_expect(sent_here());
    end_here();
}

Test(passed, a_way_that_is_broken_is_used_no_more) {
    pass_to_here();
    not_passed(here, 0, elsewhere);
    take();
    cr_expect(sent_here());
    end_here();
    release_three();
    passes_no_more();
    release_and_close();
}

/* The transport says that a pair is made, or cannot be yet, after a worker has ended it. */
Test(passed, a_way_that_is_broken_before_it_is_counted_is_used_no_more) {
    open_workers(false);
    fork_three();
    cr_assert(found(TINE_SCHEDULER_PAIR, 0));
    not_passed(here, 0, elsewhere);
    tine_scheduler_paired(F.scheduler, here, elsewhere);
    end_three();
    for (int later = 0; later < 2; later++) {
        passes_no_more();
        release_three();
        tine_scheduler_pair_later(F.scheduler, here, elsewhere);
    }
    release_and_close();
}

/* A message may name each of thousands: none of them costs a walk over all objects. */
Test(passed, the_end_of_a_way_that_is_not_there_sends_nothing) {
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

Test(passed, what_is_said_of_a_large_result_or_of_others_is_not_taken) {
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
Test(passed, what_was_passed_and_is_needed_no_more_is_refused_and_dropped) {
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
