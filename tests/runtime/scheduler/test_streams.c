/* Streams in the scheduler: values go on once and in any order, credit, attempts, ends. */
#include "tests/support/scheduler_fixture.h"

static uint64_t stream(uint64_t ticket, uint32_t flags, tine_terms terms) {
    uint64_t task = 0;
    tine_payload *p = payload_with(8, NULL, 0);
    cr_assert_eq(tine_scheduler_fork(F.scheduler, ticket, 0, &(tine_target){.name = "f"}, flags, p,
                                     &terms, &task),
                 TINE_OK);
    tine_payload_unref(p);
    return task;
}

static void yield_with(tine_peer peer, const action *task, uint64_t item, const tine_object *refs,
                       size_t n) {
    tine_payload *p = payload_with(8, refs, n);
    receive(peer, (tine_message){.type = TINE_MSG_YIELD,
                                 .task = task->a.message.task,
                                 .attempt = task->a.message.attempt,
                                 .epoch = task->a.message.epoch,
                                 .item = item,
                                 .payload = p});
    tine_payload_unref(p);
}
static void yield(tine_peer peer, const action *task, uint64_t item) {
    yield_with(peer, task, item, NULL, 0);
}

/* The values among the actions taken, in order. */
static size_t yielded(uint64_t *items) {
    size_t n = 0;
    for (const action *a; (a = found(TINE_SCHEDULER_YIELD, n)); n++) {
        items[n] = a->a.item;
        tine_payload_unref(a->a.payload);
    }
    return n;
}
static void expect_yielded(size_t n, const uint64_t *expected) {
    uint64_t items[16];
    take();
    cr_assert_eq(yielded(items), n);
    for (size_t i = 0; i < n; i++) cr_assert_eq(items[i], expected[i]);
}
static uint64_t pulled(tine_peer peer) {
    const action *a = sent(peer, TINE_MSG_PULL, 0);
    return a ? a->a.message.item : UINT64_MAX;
}

static action begin(uint32_t flags, tine_terms terms, uint64_t *task) {
    fixture_open((tine_scheduler_config){.workers_return = true, .max_attempts = 3});
    join(1);
    *task = stream(1, flags, terms);
    take();
    return *sent(1, TINE_MSG_TASK, 0);
}

Test(streams, the_first_value_brings_the_credit_and_done_waits_for_all) {
    uint64_t task;
    action t = begin(0, (tine_terms){.stream = 3}, &task);
    yield(1, &t, 1);
    expect_yielded(1, (uint64_t[]){1});
    cr_assert_eq(pulled(1), 3);
    tine_scheduler_pull(F.scheduler, task, 4);
    tine_scheduler_pull(F.scheduler, task, 2); /* late */
    take();
    cr_assert(pulled(1) == 4 && count_sent(1, TINE_MSG_PULL) == 1);
    yield(1, &t, 3); /* has overtaken the second */
    done_with(1, &t, TINE_OK, NULL, 100, 3, NULL, 0);
    expect_yielded(1, (uint64_t[]){3});
    cr_assert(!completed(1));
    yield(1, &t, 2);
    expect_yielded(1, (uint64_t[]){2});
    cr_assert_eq(completed(1)->a.status, TINE_OK);
    cr_assert_gt(completed(1) - F.actions, found(TINE_SCHEDULER_YIELD, 0) - F.actions);
    fixture_close();
}

Test(streams, a_worker_that_yields_too_much_is_dropped) {
    uint64_t task;
    action t = begin(0, (tine_terms){.stream = 2}, &task);
    yield(1, &t, 3);
    take();
    cr_assert(strstr(found(TINE_SCHEDULER_DROP, 0)->text, "more values"));
    cr_assert(!found(TINE_SCHEDULER_YIELD, 0));
    fixture_close();
}

Test(streams, a_further_attempt_gives_what_is_new) {
    uint64_t task;
    action t = begin(TINE_REPEATABLE, (tine_terms){.stream = 4}, &task);
    yield(1, &t, 1);
    yield(1, &t, 3);
    expect_yielded(2, (uint64_t[]){1, 3});
    tine_scheduler_peer_lost(F.scheduler, 1, "killed");
    join(2);
    yield(1, &t, 2); /* of a peer that is lost */
    take();
    action again = *sent(2, TINE_MSG_TASK, 0);
    for (uint64_t i = 1; i <= 4; i++) yield(2, &again, i);
    expect_yielded(2, (uint64_t[]){2, 4});
    cr_assert_eq(pulled(2), 4);
    done_with(2, &again, TINE_OK, NULL, 100, 4, NULL, 0);
    take();
    cr_assert_eq(completed(1)->a.status, TINE_OK);
    fixture_close();
}

Test(streams, values_of_a_plain_fork_or_a_cancelled_task_are_dropped) {
    uint64_t task;
    action t = begin(0, (tine_terms){.stream = 2}, &task), plain;
    yield(1, &t, 1);
    expect_yielded(1, (uint64_t[]){1});
    cr_assert(tine_scheduler_cancel(F.scheduler, task, TINE_ECANCELED, "it is not needed", 0));
    take();
    cr_assert_eq(pulled(1), 0);
    yield(1, &t, 2);
    yield(1, &t, 3); /* there is no credit to exceed */
    expect_yielded(0, NULL);
    cr_assert(!sent(1, TINE_MSG_PULL, 0) && !found(TINE_SCHEDULER_DROP, 0));
    done_with(1, &t, TINE_OK, NULL, 100, 3, NULL, 0);
    fork_f(2, "f");
    take();
    plain = *sent(1, TINE_MSG_TASK, 0);
    yield(1, &plain, 1);
    yield(1, &plain, 2);
    expect_yielded(0, NULL);
    cr_assert(pulled(1) == 0 && count_sent(1, TINE_MSG_PULL) == 1);
    done_with(1, &plain, TINE_OK, NULL, 100, 2, NULL, 0);
    take();
    cr_assert_eq(completed(2)->a.status, TINE_OK);
    fixture_close();
}

static void submit_stream(tine_peer peer, const action *parent, uint64_t seq) {
    tine_payload *p = payload_with(8, NULL, 0);
    receive(peer, (tine_message){.type = TINE_MSG_SUBMIT_WITH,
                                 .task = parent->a.message.task,
                                 .seq = seq,
                                 .target = {.name = "g"},
                                 .terms = &(tine_terms){.stream = 1},
                                 .payload = p});
    tine_payload_unref(p);
}

Test(streams, a_worker_is_told_how_many_values_there_were) {
    fixture_open((tine_scheduler_config){0});
    join(1);
    fork_f(1, "f");
    take();
    action parent = *sent(1, TINE_MSG_TASK, 0);
    submit_stream(1, &parent, 7);
    suspend(1, &parent);
    take();
    action t = *sent(1, TINE_MSG_TASK, 0);
    yield(1, &t, 1);
    take();
    action *value = sent(1, TINE_MSG_YIELD, 0);
    cr_assert(value->a.message.seq == 7 && value->a.message.item == 1 && pulled(1) == 1);
    receive(1, (tine_message){
                   .type = TINE_MSG_PULL, .task = parent.a.message.task, .seq = 7, .item = 2});
    receive(1, (tine_message){.type = TINE_MSG_PULL, .seq = 8, .item = 2}); /* of no fork */
    take();
    cr_assert_eq(pulled(1), 2);
    yield(1, &t, 2);
    done_with(1, &t, TINE_OK, NULL, 100, 2, NULL, 0);
    take();
    action *end = sent(1, TINE_MSG_YIELD, 1);
    cr_assert(end->a.message.item == 3 && !end->a.message.payload);
    cr_assert_gt(sent(1, TINE_MSG_RESULT, 0), end);
    done_with(1, &parent, TINE_OK, NULL, 100, 1, NULL, 0);
    take();
    fixture_close();
}

Test(streams, a_value_may_overtake_what_it_mentions_but_not_mention_what_is_gone) {
    uint64_t task;
    action t = begin(0, (tine_terms){.stream = 4}, &task);
    tine_object own = UINT64_C(1) << 40 | 1 << 1;
    yield_with(1, &t, 1, &own, 1);
    take();
    tine_payload *p = found(TINE_SCHEDULER_YIELD, 0)->a.payload;
    const char *text;
    cr_assert_eq(tine_scheduler_object_error(F.scheduler, own, &text), TINE_EAGAIN);
    tine_payload_unref(p);
    put(1, t.a.message.task, own, NULL, NULL, 0);
    cr_assert(tine_scheduler_object_payload(F.scheduler, own, NULL));
    tine_scheduler_object_release(F.scheduler, own);
    yield_with(1, &t, 2, &(tine_object){4}, 1);
    take();
    cr_assert(completed(1)->a.status == TINE_EINVAL && strstr(completed(1)->text, "freed"));
    done_with(1, &t, TINE_OK, NULL, 100, 3, NULL, 0);
    take();
    fixture_close();
}
