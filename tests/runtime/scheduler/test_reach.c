/* Results that workers fetch from each other: who is told where they are, and what happens when one
 * cannot be had there. */
#include "tests/support/scheduler_fixture.h"

#define URL "tcp://10.0.0.1:7"
enum { SECRET = 77 };

static void reachable(tine_peer peer, const char *url) {
    receive(peer, (tine_message){.type = TINE_MSG_REACH, .text = url, .seq = SECRET});
}

static uint64_t fork_on(uint64_t ticket, uint32_t worker, uint32_t flags, const tine_object *refs,
                        size_t n) {
    uint64_t task;
    tine_payload *p = payload_with(8, refs, n);
    tine_terms terms = {.worker = worker};
    cr_assert_eq(tine_scheduler_fork(F.scheduler, ticket, 0, &(tine_target){.name = "f"}, flags, p,
                                     &terms, &task),
                 TINE_OK);
    tine_payload_unref(p);
    return task;
}

static tine_object id;
static uint32_t epoch[4];

/* Worker 1 can be reached; 2 and 3 fetch only. */
static void open_three(void) {
    fixture_open((tine_scheduler_config){.max_attempts = 3});
    for (tine_peer p = 1; p <= 3; p++) {
        epoch[p] = join(p);
        reachable(p, p == 1 ? URL : "");
    }
    take();
}

static void done_staying(tine_peer peer, const action *task) {
    receive(peer, (tine_message){.type = TINE_MSG_DONE,
                                 .task = task->a.message.task,
                                 .attempt = task->a.message.attempt,
                                 .epoch = task->a.message.epoch,
                                 .object = task->a.message.object,
                                 .run_ns = 1000});
}

/* A result is made on worker 1, and stays there, and a task of worker 2 takes it. */
static void open_staying(uint32_t flags) {
    open_three();
    uint64_t made = fork_on(1, flags ? 0 : epoch[1], flags, NULL, 0);
    id = tine_scheduler_result(F.scheduler, made);
    fork_on(2, epoch[2], 0, &id, 1);
    take();
    action f = *sent(1, TINE_MSG_TASK, 0);
    done_staying(1, &f);
    take();
}

static void end_all(void) {
    tine_scheduler_object_release(F.scheduler, id);
    tine_scheduler_object_release(F.scheduler, id); /* of COMPLETE */
    fixture_close();
}

Test(reach, a_worker_is_told_that_tasks_take_its_result_before_the_task_comes) {
    open_three();
    uint64_t gate = fork_on(1, epoch[1], 0, NULL, 0);
    tine_object first = tine_scheduler_result(F.scheduler, gate), second;
    uint64_t made = fork_on(2, epoch[1], 0, &first, 1);
    second = tine_scheduler_result(F.scheduler, made);
    take();
    cr_assert_eq(sent(1, TINE_MSG_REACH, 0)->a.message.object, first, "one that runs already");
    fork_on(3, epoch[2], 0, &second, 1);
    action g = *sent(1, TINE_MSG_TASK, 0);
    take();
    cr_assert_eq(count_sent(0, TINE_MSG_REACH), 0, "it does not run yet");
    done(1, &g, 10);
    take();
    const action *told = sent(1, TINE_MSG_REACH, 0), *task = sent(1, TINE_MSG_TASK, 0);
    cr_assert(told && task && told < task);
    cr_assert_eq(told->a.message.object, second);
    cr_assert_eq(told->a.message.seq, task->a.message.task);
    cr_assert_null(told->a.message.text);
    tine_scheduler_object_release(F.scheduler, first);
    tine_scheduler_object_release(F.scheduler, second);
    fixture_close();
}

Test(reach, a_result_that_the_program_waits_for_does_not_stay) {
    open_three();
    uint64_t made = fork_on(1, epoch[1], 0, NULL, 0);
    tine_scheduler_result_want(F.scheduler, made);
    id = tine_scheduler_result(F.scheduler, made);
    fork_on(2, epoch[2], 0, &id, 1);
    take();
    cr_assert_eq(count_sent(0, TINE_MSG_REACH), 0);
    tine_scheduler_object_release(F.scheduler, id);
    fixture_close();
}

Test(reach, a_worker_fetches_from_the_source_and_counts_as_having_it) {
    open_staying(0);
    const action *told = sent(2, TINE_MSG_REACH, 0);
    cr_assert_eq(told->a.message.object, id);
    cr_assert_eq(told->a.message.seq, SECRET);
    cr_assert_str_eq(told->message_text, URL);
    cr_assert_eq(count_sent(0, TINE_MSG_FETCH) + count_sent(0, TINE_MSG_OBJECT), 0);
    action g = *sent(2, TINE_MSG_TASK, 0);
    fork_on(3, epoch[2], 0, &id, 1);
    take();
    cr_assert_eq(count_sent(0, TINE_MSG_REACH), 0, "once for each worker");
    action h = *sent(2, TINE_MSG_TASK, 0);
    done(2, &g, 10);
    done(2, &h, 10);
    tine_scheduler_object_release(F.scheduler, id);
    tine_scheduler_object_release(F.scheduler, id);
    take();
    cr_assert_eq(sent(1, TINE_MSG_DROP, 0)->ids[0], id);
    cr_assert_eq(sent(2, TINE_MSG_DROP, 0)->ids[0], id);
    cr_assert_eq(stats().objects, 0);
    fixture_close();
}

Test(reach, what_cannot_be_had_there_passes_the_coordinator) {
    open_staying(0);
    receive(2, (tine_message){.type = TINE_MSG_REACH, .object = id, .text = "a wall"});
    take();
    cr_assert_eq(sent(1, TINE_MSG_FETCH, 0)->a.message.object, id);
    cr_assert_eq(lines_with("cannot fetch one there: a wall"), 1);
    tine_payload *p = payload_with(8, NULL, 0);
    receive(1, (tine_message){.type = TINE_MSG_OBJECT, .object = id, .payload = p});
    tine_payload_unref(p);
    take();
    cr_assert_eq(sent(2, TINE_MSG_OBJECT, 0)->a.message.object, id);
    uint64_t made = fork_on(3, epoch[1], 0, NULL, 0);
    tine_object next = tine_scheduler_result(F.scheduler, made);
    fork_on(4, epoch[2], 0, &next, 1);
    take();
    cr_assert(sent(1, TINE_MSG_TASK, 0));
    cr_assert_eq(count_sent(1, TINE_MSG_REACH), 0, "further results come with their DONE");
    tine_scheduler_object_release(F.scheduler, next);
    end_all();
}

Test(reach, the_program_gets_it_from_the_worker_that_made_it) {
    fixture_open((tine_scheduler_config){0});
    epoch[1] = join(1);
    epoch[2] = join(2);
    reachable(1, "");
    reachable(2, URL);
    uint64_t made = fork_on(1, epoch[2], 0, NULL, 0);
    id = tine_scheduler_result(F.scheduler, made);
    fork_on(2, epoch[1], 0, &id, 1);
    take();
    action f = *sent(2, TINE_MSG_TASK, 0);
    done_staying(2, &f);
    take();
    cr_assert(sent(1, TINE_MSG_REACH, 0));
    tine_scheduler_object_want(F.scheduler, id);
    take();
    cr_assert_eq(count_sent(1, TINE_MSG_FETCH), 0, "it may wait for it itself");
    cr_assert_eq(sent(2, TINE_MSG_FETCH, 0)->a.message.object, id);
    end_all();
}

Test(reach, a_worker_that_cannot_fetch_for_a_reason_of_its_own_hinders_no_other) {
    open_staying(0);
    receive(2, (tine_message){.type = TINE_MSG_REACH, .object = id, .text = "no room", .seq = 1});
    take();
    cr_assert_eq(sent(1, TINE_MSG_FETCH, 0)->a.message.object, id);
    cr_assert_eq(lines_with("pass the coordinator from now on"), 0);
    uint64_t made = fork_on(3, epoch[1], 0, NULL, 0);
    tine_object next = tine_scheduler_result(F.scheduler, made);
    fork_on(4, epoch[3], 0, &next, 1);
    take();
    cr_assert(sent(1, TINE_MSG_REACH, 0), "further results stay");
    tine_scheduler_object_release(F.scheduler, next);
    end_all();
}

Test(reach, workers_are_sent_to_numeric_addresses_only) {
    static const char *const urls[] = {URL,
                                       "tcp://[fe80::1]:7",
                                       "mpi://1", /* its own number */
                                       "mpi://2",
                                       "mpi:// 1",
                                       "mpi://1x",
                                       "mpi://",
                                       "tcp://host:7",
                                       "ipc:///tmp/x",
                                       "tcp://10.0.0.1:70000",
                                       "tcp://10.0.0.1:7x",
                                       "tcp://10.0.0:7",
                                       "tcp://[::1:7",
                                       "tcp://10.0.0.1"};
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        fixture_open((tine_scheduler_config){0});
        epoch[1] = join(1);
        epoch[2] = join(2);
        reachable(1, urls[i]);
        uint64_t made = fork_on(1, epoch[1], 0, NULL, 0);
        id = tine_scheduler_result(F.scheduler, made);
        fork_on(2, epoch[2], 0, &id, 1);
        take();
        cr_expect_eq(count_sent(1, TINE_MSG_REACH), i < 3, "%s", urls[i]);
        tine_scheduler_object_release(F.scheduler, id);
        fixture_close();
    }
}

/* Workers were sent to an empty address for them. */
Test(reach, other_results_that_stay_there_are_relayed_too) {
    open_three();
    tine_object ids[2];
    for (int i = 0; i < 2; i++) {
        uint64_t made = fork_on(10 + i, epoch[1], 0, NULL, 0);
        ids[i] = tine_scheduler_result(F.scheduler, made);
        fork_on(20 + i, epoch[2], 0, &ids[i], 1);
        take();
        action f = *sent(1, TINE_MSG_TASK, 0);
        done_staying(1, &f);
        take();
        cr_assert_eq(sent(2, TINE_MSG_REACH, 0)->a.message.object, ids[i]);
    }
    receive(2, (tine_message){.type = TINE_MSG_REACH, .object = ids[0], .text = "a wall"});
    fork_on(4, epoch[3], 0, &ids[1], 1);
    take();
    cr_assert_eq(count_sent(0, TINE_MSG_REACH), 0);
    cr_assert_eq(count_sent(1, TINE_MSG_FETCH), 2);
    for (int i = 0; i < 2; i++) tine_scheduler_object_release(F.scheduler, ids[i]);
    fixture_close();
}

Test(reach, a_source_that_is_lost_is_made_again_when_nobody_has_fetched_it) {
    open_staying(TINE_REPEATABLE);
    cr_assert(sent(2, TINE_MSG_REACH, 0));
    tine_scheduler_peer_lost(F.scheduler, 1, "killed by signal 9 (SIGKILL)");
    take();
    cr_assert_eq(count_sent(0, TINE_MSG_TASK), 0, "worker 2 may have it");
    receive(2, (tine_message){.type = TINE_MSG_REACH, .object = id, .text = "it has gone"});
    take();
    const action *again = sent(3, TINE_MSG_TASK, 0);
    if (!again) again = sent(2, TINE_MSG_TASK, 0);
    cr_assert(again);
    cr_assert_eq(again->a.message.object, id);
    cr_assert_eq(again->a.message.attempt, 2);
    end_all();
}

Test(reach, one_that_cannot_be_made_again_fails_with_the_worker_that_had_it) {
    open_staying(0);
    tine_scheduler_peer_lost(F.scheduler, 1, "killed by signal 9 (SIGKILL)");
    receive(2, (tine_message){.type = TINE_MSG_REACH, .object = id, .text = "it has gone"});
    take();
    const action *failed = completed(2);
    cr_assert_eq(failed->a.status, TINE_ELOST);
    cr_assert(strstr(failed->text, "was lost on worker pid 11"), "%s", failed->text);
    end_all();
}
