/* The scheduler and its peers: HELLO, breaches of the protocol, and the objects that workers put,
 * fetch and drop. */
#include "tests/support/scheduler_fixture.h"

TestSuite(sched_peers, .timeout = 20);

Test(sched_peers, a_wrong_version_is_rejected_and_then_dropped) {
    fixture_open((tine_scheduler_config){0});
    tine_hello hello = {.version = 7, .host = "b"};
    tine_scheduler_peer_up(F.scheduler, 5, 0);
    receive(5, (tine_message){.type = TINE_MSG_HELLO, .hello = &hello});
    take();
    cr_assert_str_eq(sent(5, TINE_MSG_REJECT, 0)->message_text,
                     "the worker speaks version 7 of the protocol and the coordinator version 3; "
                     "install the same Tine on both sides");
    cr_assert(!found(TINE_SCHEDULER_DROP, 0), "there is a grace period for the REJECT");
    cr_assert_eq(stats().peers_bad, 1);
    receive(5, (tine_message){.type = TINE_MSG_DONE, .task = 1});
    tine_scheduler_peer_up(F.scheduler, 6, 0);
    receive(6, (tine_message){.type = TINE_MSG_HELLO, .hello = &hello});
    cr_assert_eq(stats().peers_bad, 2);
    tine_scheduler_garbage(F.scheduler, 6, "more");
    cr_assert_eq(stats().peers_bad, 2, "counted already");
    take();
    cr_assert_lt(tine_scheduler_deadline(F.scheduler), INT64_MAX);
    tine_scheduler_tick(F.scheduler, tine_scheduler_deadline(F.scheduler));
    take();
    cr_assert_eq(found(TINE_SCHEDULER_DROP, 0)->a.peer, 5);
    cr_assert_eq(stats().peers_bad, 2, "counted once");
    cr_assert_eq(tine_scheduler_deadline(F.scheduler), INT64_MAX);
    fixture_close();
}

Test(sched_peers, a_peer_without_hello_is_dropped) {
    fixture_open((tine_scheduler_config){.hello_timeout_ns = 100});
    tine_scheduler_peer_up(F.scheduler, 1, 50);
    cr_assert_eq(tine_scheduler_deadline(F.scheduler), 150);
    tine_scheduler_tick(F.scheduler, 149);
    take();
    cr_assert_eq(F.n, 0);
    tine_scheduler_tick(F.scheduler, 150);
    take();
    cr_assert(found(TINE_SCHEDULER_DROP, 0)->a.bad);
    fixture_close();
}

static void expect_drop(tine_peer peer, const char *why) {
    take();
    action *drop = found(TINE_SCHEDULER_DROP, 0);
    cr_assert(drop && drop->a.peer == peer && drop->a.bad);
    cr_assert_str_eq(drop->text, why);
    cr_assert(!found(TINE_SCHEDULER_DROP, 1));
    cr_assert(found(TINE_SCHEDULER_LOG, 0) && !found(TINE_SCHEDULER_LOG, 1), "logged once");
}

Test(sched_peers, a_peer_that_breaks_the_protocol_is_dropped_alone) {
    fixture_open((tine_scheduler_config){0});
    join(1);
    fork_f(1, "f");
    take();
    action t = *sent(1, TINE_MSG_TASK, 0);
    tine_scheduler_peer_up(F.scheduler, 2, 0);
    done(2, &t, 1);
    expect_drop(2, "its first message is not HELLO");
    done(2, &t, 1); /* still in flight when it was dropped */
    take();
    cr_assert_eq(F.n, 0);
    tine_scheduler_peer_up(F.scheduler, 3, 0);
    tine_scheduler_garbage(F.scheduler, 3, "not msgpack");
    expect_drop(3, "it sent bytes that are not a message: not msgpack");
    join(4);
    take();
    receive(4, (tine_message){.type = TINE_MSG_HELLO});
    expect_drop(4, "it sent HELLO twice");
    join(5);
    take();
    receive(5, (tine_message){.type = TINE_MSG_WELCOME});
    expect_drop(5, "it sent a message that only a coordinator may send");
    join(6);
    take();
    receive(6, (tine_message){.type = (tine_message_type)1000});
    expect_drop(6, "it sent a message that only a coordinator may send");
    tine_scheduler_peer_up(F.scheduler, 7, 0);
    receive(7, (tine_message){.type = TINE_MSG_HELLO});
    expect_drop(7, "its HELLO is incomplete, names too many functions or classes, or has "
                   "slots that are wrong");
    join(8);
    take();
    receive(8, (tine_message){.type = TINE_MSG_SUBMIT, .task = t.a.message.task});
    expect_drop(8, "it sent a SUBMIT without a function or arguments");
    cr_assert_eq(stats().peers_bad, 7);
    done(1, &t, 1);
    take();
    cr_assert_eq(completed(1)->a.status, TINE_OK, "the running task is untouched");
    fixture_close();
}

Test(sched_peers, events_of_an_unknown_peer_are_ignored) {
    fixture_open((tine_scheduler_config){0});
    receive(9, (tine_message){.type = TINE_MSG_DONE});
    tine_scheduler_peer_lost(F.scheduler, 9, "gone");
    tine_scheduler_garbage(F.scheduler, 9, "x");
    take();
    cr_assert_eq(F.n, 0);
    fixture_close();
}

Test(sched_peers, a_reply_without_a_value_or_with_an_unknown_status_fails_its_task) {
    fixture_open((tine_scheduler_config){0});
    join(1);
    fork_f(1, "f");
    take();
    action t = *sent(1, TINE_MSG_TASK, 0);
    receive(1, (tine_message){.type = TINE_MSG_DONE,
                              .task = t.a.message.task,
                              .attempt = 1,
                              .epoch = t.a.message.epoch});
    take();
    cr_assert_eq(completed(1)->a.status, TINE_EPROTO);
    fork_f(2, "f");
    take();
    done_with(1, sent(1, TINE_MSG_TASK, 0), (tine_error)99, NULL, UINT64_MAX, 0, NULL, 0);
    take();
    cr_assert_eq(completed(2)->a.status, TINE_EPROTO);
    cr_assert(strstr(completed(2)->text, "no reason given"));
    fixture_close();
}

Test(sched_peers, a_worker_is_described) {
    fixture_open((tine_scheduler_config){0});
    join(3);
    take();
    cr_assert(sent(3, TINE_MSG_WELCOME, 0));
    tine_worker_info info, two[2];
    cr_assert(tine_scheduler_worker(F.scheduler, 3, &info));
    cr_assert_eq(info.pid, 13);
    cr_assert_str_eq(info.host, "a");
    cr_assert(!tine_scheduler_worker(F.scheduler, 4, &info));
    cr_assert_eq(tine_scheduler_workers(F.scheduler, two, 2), 1);
    cr_assert_eq(tine_scheduler_workers(F.scheduler, NULL, 0), 1);
    fixture_close();
}

/* ---- objects ---- */

static tine_object new_object(const char *class_name, const tine_object *refs, size_t n) {
    tine_object id = 0;
    tine_payload *p = payload_with(100, refs, n);
    cr_assert_eq(tine_scheduler_object(F.scheduler, &id, class_name, p), TINE_OK);
    tine_payload_unref(p);
    return id;
}

Test(sched_peers, an_object_is_kept_while_it_is_held) {
    fixture_open((tine_scheduler_config){0});
    join(1);
    tine_object value = new_object(NULL, NULL, 0), module = new_object("C", &value, 1);
    cr_assert(!tine_object_is_module(value) && tine_object_is_module(module));
    tine_scheduler_object_release(F.scheduler, value); /* the module's argument now */
    fork_with(1, (tine_target){"C", "forward", module}, 0, 8, NULL, 0);
    tine_scheduler_object_release(F.scheduler, module); /* the task's target now */
    take();
    cr_assert_eq(stats().objects, 2);
    action t = *sent(1, TINE_MSG_TASK, 0);
    fetch(1, module);
    fetch(1, value);
    take();
    cr_assert_eq(sent(1, TINE_MSG_OBJECT, 0)->a.message.object, module);
    cr_assert_str_eq(sent(1, TINE_MSG_OBJECT, 0)->message_text, "C");
    cr_assert_eq(sent(1, TINE_MSG_OBJECT, 1)->a.message.object, value);
    done(1, &t, 1);
    take();
    cr_assert_eq(stats().objects, 0);
    cr_assert_eq(count_sent(1, TINE_MSG_DROP), 1, "both in one message");
    cr_assert_eq(sent(1, TINE_MSG_DROP, 0)->a.message.n_ids, 2);
    fixture_close();
}

Test(sched_peers, a_handle_is_released_as_often_as_it_was_retained) {
    fixture_open((tine_scheduler_config){0});
    tine_object id = new_object(NULL, NULL, 0);
    tine_scheduler_object_retain(F.scheduler, id);
    tine_scheduler_object_release(F.scheduler, id);
    const char *class_name;
    cr_assert(tine_scheduler_object_payload(F.scheduler, id, &class_name) && !class_name);
    tine_scheduler_object_release(F.scheduler, id);
    cr_assert(!tine_scheduler_object_payload(F.scheduler, id, NULL));
    tine_scheduler_object_release(F.scheduler, id);
    cr_assert_eq(stats().objects, 0);
    fixture_close();
}

Test(sched_peers, a_fetch_of_an_unknown_object_is_answered) {
    fixture_open((tine_scheduler_config){0});
    join(1);
    fetch(1, 4444);
    take();
    cr_assert_eq(sent(1, TINE_MSG_OBJECT, 0)->a.message.status, TINE_EINVAL);
    cr_assert_str_eq(sent(1, TINE_MSG_OBJECT, 0)->message_text,
                     "there is no put value or module 0x115c; it may have been released");
    fixture_close();
}

Test(sched_peers, a_fork_that_references_an_unknown_object_is_refused) {
    fixture_open((tine_scheduler_config){0});
    join(1);
    tine_object gone = 4444;
    tine_payload *p = payload_with(8, &gone, 1);
    cr_assert_eq(
        tine_scheduler_fork(F.scheduler, 1, 0, &(tine_target){.name = "f"}, 0, p, NULL, NULL),
        TINE_EINVAL);
    tine_payload_unref(p);
    fork_f(2, "f");
    take();
    submit_with(1, sent(1, TINE_MSG_TASK, 0), 3, (tine_target){.name = "f"}, &gone, 1);
    take();
    cr_assert_eq(sent(1, TINE_MSG_RESULT, 0)->a.message.status, TINE_EINVAL);
    cr_assert_eq(stats().peers_bad, 0);
    fixture_close();
}

/* A task at worker 1 forks one to worker 2, which fetches the object in its arguments before it has
 * arrived from worker 1. The object. */
static tine_object open_with_early_fetch(action *root, action *child) {
    fixture_open((tine_scheduler_config){0});
    tine_object id = (uint64_t)join(1) << 40 | 1 << 1;
    join(2);
    fork_f(1, "f");
    take();
    *root = *sent(1, TINE_MSG_TASK, 0);
    submit_with(1, root, 1, (tine_target){.name = "f"}, &id, 1);
    take();
    *child = *sent(2, TINE_MSG_TASK, 0);
    fetch(2, id);
    return id;
}

Test(sched_peers, a_fetch_of_an_expected_object_is_answered_when_it_arrives) {
    action root, child;
    tine_object id = open_with_early_fetch(&root, &child);
    take();
    cr_assert_eq(F.n, 0);
    put(1, root.a.message.task, id, NULL, NULL, 0);
    take();
    cr_assert_eq(sent(2, TINE_MSG_OBJECT, 0)->a.message.object, id);
    cr_assert_eq(sent(2, TINE_MSG_OBJECT, 0)->a.message.status, TINE_OK);
    done(2, &child, 1);
    done_with(1, &root, TINE_OK, NULL, 1, 2, NULL, 0);
    take();
    cr_assert_eq(stats().objects, 0);
    fixture_close();
}

Test(sched_peers, a_fetch_of_an_expected_object_fails_when_its_worker_is_lost) {
    action root, child;
    open_with_early_fetch(&root, &child);
    tine_scheduler_peer_lost(F.scheduler, 1, "killed by signal 9 (SIGKILL)");
    take();
    cr_assert_eq(sent(2, TINE_MSG_OBJECT, 0)->a.message.status, TINE_ELOST);
    done_with(2, &child, TINE_ELOST, "no object", 1, 0, NULL, 0);
    take();
    cr_assert_eq(stats().objects, 0);
    fixture_close();
}

Test(sched_peers, the_expected_objects_of_a_worker_are_bounded) {
    enum { MANY = 70000 };
    static tine_object ids[MANY];
    fixture_open((tine_scheduler_config){0});
    uint64_t epoch = join(1);
    fork_f(1, "f");
    take();
    for (uint64_t i = 0; i < MANY; i++) ids[i] = epoch << 40 | (i + 1) << 1;
    submit_with(1, sent(1, TINE_MSG_TASK, 0), 1, (tine_target){.name = "f"}, ids, MANY);
    take();
    cr_assert_eq(sent(1, TINE_MSG_RESULT, 0)->a.message.status, TINE_EINVAL);
    cr_assert_leq(stats().objects, 65536);
    tine_scheduler_peer_lost(F.scheduler, 1, "left");
    cr_assert_eq(stats().objects, 0);
    fixture_close();
}

Test(sched_peers, objects_may_arrive_out_of_order_but_not_twice_nor_under_another_s_id) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    uint64_t epoch = join(1);
    fork_f(1, "f");
    take();
    action root = *sent(1, TINE_MSG_TASK, 0);
    const uint64_t order[] = {3, 1, 4, 2};
    for (int i = 0; i < 4; i++)
        put(1, root.a.message.task, epoch << 40 | order[i] << 1 | 1, "C", NULL, 0);
    take();
    cr_assert_eq(stats().objects, 4);
    put(1, root.a.message.task, epoch << 40 | 4 << 1 | 1, "C", NULL, 0);
    take();
    cr_assert(found(TINE_SCHEDULER_DROP, 0)->a.bad);
    cr_assert_eq(stats().objects, 0);
    join(2);
    put(2, root.a.message.task, epoch << 40 | 5 << 1, NULL, NULL, 0);
    take();
    cr_assert(found(TINE_SCHEDULER_DROP, 0)->a.bad);
    fixture_close();
}

Test(sched_peers, the_receiver_of_a_result_releases_its_objects) {
    fixture_open((tine_scheduler_config){0});
    uint64_t epoch = join(1);
    fork_f(1, "f");
    take();
    action root = *sent(1, TINE_MSG_TASK, 0);
    tine_object id = epoch << 40 | 1 << 1;
    put(1, root.a.message.task, id, NULL, NULL, 0);
    done_with(1, &root, TINE_OK, NULL, 1, 1, &id, 1);
    cr_assert_eq(stats().objects, 1);
    tine_scheduler_check(F.scheduler);
    take(); /* releases it */
    cr_assert_eq(stats().objects, 0);
    fixture_close();
}

/* Runs a method of `module` once; the worker that gets it fetches the module. */
static tine_peer warm(tine_object module, uint64_t ticket) {
    fork_with(ticket, (tine_target){"C", "forward", module}, 0, 8, NULL, 0);
    take();
    action t = *sent(0, TINE_MSG_TASK, 0);
    fetch(t.a.peer, module);
    done(t.a.peer, &t, 5000000); /* too long to be pipelined */
    take();
    return t.a.peer;
}

Test(sched_peers, an_idle_worker_that_has_the_object_is_preferred) {
    fixture_open((tine_scheduler_config){0});
    for (tine_peer p = 1; p <= 4; p++) join(p);
    tine_object id = new_object("C", NULL, 0);
    fork_f(1, "f");
    take();
    action t = *sent(0, TINE_MSG_TASK, 0);
    tine_peer warmed = warm(id, 2);
    cr_assert_neq(warmed, t.a.peer);
    done(t.a.peer, &t, 100);
    for (uint64_t i = 3; i < 6; i++) cr_assert_eq(warm(id, i), warmed);
    fixture_close();
}

Test(sched_peers, a_task_is_passed_over_for_better_placed_ones_only_so_often) {
    fixture_open((tine_scheduler_config){0});
    join(1);
    tine_object cold = new_object("C", NULL, 0), hot = new_object("C", NULL, 0);
    warm(hot, 1);
    fork_f(2, "f"); /* occupies the worker */
    take();
    action busy = *sent(1, TINE_MSG_TASK, 0);
    fork_with(3, (tine_target){"C", "forward", cold}, 0, 8, NULL, 0);
    for (uint64_t i = 0; i < 200; i++)
        fork_with(4 + i, (tine_target){"C", "forward", hot}, 0, 8, NULL, 0);
    int before = 0;
    for (done(1, &busy, 5000000); take(); before++) {
        action t = *sent(1, TINE_MSG_TASK, 0);
        if (t.a.message.target.object == cold) break;
        done(1, &t, 5000000);
    }
    cr_assert_eq(before, 64);
    fixture_close();
}

Test(sched_peers, a_long_chain_of_objects_is_dropped_without_recursion) {
    fixture_open((tine_scheduler_config){0});
    tine_object last = new_object(NULL, NULL, 0);
    for (int i = 0; i < 200000; i++) {
        tine_object next = new_object(NULL, &last, 1);
        tine_scheduler_object_release(F.scheduler, last);
        last = next;
    }
    cr_assert_eq(stats().objects, 200001);
    tine_scheduler_object_release(F.scheduler, last);
    cr_assert_eq(stats().objects, 0);
    fixture_close();
}

Test(sched_peers, idle_callables_are_freed) {
    fixture_open((tine_scheduler_config){0});
    join(1);
    take();
    for (uint64_t i = 1; i <= 20000; i++) {
        char name[32];
        snprintf(name, sizeof name, "nobody%u", (unsigned)i);
        fork_f(i, name);
        take();
        cr_assert_eq(completed(i)->a.status, TINE_EUNKNOWN);
    }
    fixture_close();
}

Test(sched_peers, groups_without_workers_are_reused) {
    fixture_open((tine_scheduler_config){.workers_return = true});
    for (tine_peer p = 1; p <= 600; p++) {
        char name[32];
        const char *const names[] = {name};
        snprintf(name, sizeof name, "only%u", (unsigned)p);
        join_as(p, names, 1, NULL, 0);
        fork_f(p, name);
        take();
        action t = *sent(p, TINE_MSG_TASK, 0);
        done(p, &t, 1);
        take();
        cr_assert_eq(completed(p)->a.status, TINE_OK);
        if (p % 200 == 0) /* at most 256 groups at a time */
            for (tine_peer q = p - 199; q <= p; q++)
                tine_scheduler_peer_lost(F.scheduler, q, "left");
    }
    fixture_close();
}
