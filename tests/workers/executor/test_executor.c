/* The executor's rules, one by one. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "workers/executor/executor.h"

TestSuite(executor, .timeout = 20);

enum { MAX_ACTS = 256 };

typedef struct act {
    tine_executor_action a;
    char text[128], name[32];
    uint64_t ids[8];
} act;

static tine_executor *A;
static act acts[MAX_ACTS];
static size_t n_acts;

static size_t take(void) {
    tine_executor_action a;
    for (n_acts = 0; n_acts < MAX_ACTS && tine_executor_next(A, &a); n_acts++) {
        act *t = &acts[n_acts];
        memset(t, 0, sizeof *t);
        t->a = a;
        const char *text = a.text ? a.text : a.message.text;
        if (text) snprintf(t->text, sizeof t->text, "%s", text);
        if (a.message.target.name) snprintf(t->name, sizeof t->name, "%s", a.message.target.name);
        for (size_t i = 0; i < a.message.n_ids && i < 8; i++) t->ids[i] = a.message.ids[i];
        if (a.kind == TINE_EXECUTOR_COMPLETE) tine_payload_unref(a.payload);
    }
    return n_acts;
}

static act *sent(tine_message_type type, size_t i) {
    for (size_t j = 0; j < n_acts; j++)
        if (acts[j].a.kind == TINE_EXECUTOR_SEND && acts[j].a.message.type == type && i-- == 0)
            return &acts[j];
    return NULL;
}

static act *found(tine_executor_action_kind kind, size_t i) {
    for (size_t j = 0; j < n_acts; j++)
        if (acts[j].a.kind == kind && i-- == 0) return &acts[j];
    return NULL;
}

static void hear(tine_message m) { tine_executor_message(A, &m, 77); }

static tine_payload *payload_with(const tine_object *refs, size_t n) {
    tine_payload *p = tine_payload_new(8, 0, n);
    memset(p->body, 0, 8);
    for (size_t i = 0; i < n; i++) p->refs[i] = refs[i];
    return p;
}

static void hear_with(tine_message m, const tine_object *refs, size_t n) {
    m.payload = payload_with(refs, n);
    hear(m);
    tine_payload_unref(m.payload);
}

static void open_executor(uint32_t window) {
    tine_hello hello = {
        .version = 1, .pid = 9, .functions = (const char *const[]){"f"}, .n_functions = 1};
    cr_assert_eq(tine_executor_new(&A, &hello, TINE_EXECUTOR_STAYS), TINE_OK);
    take();
    hear((tine_message){.type = TINE_MSG_WELCOME, .epoch = 3, .window = window});
    take();
}

static void give_with(uint64_t task, uint32_t depth, const tine_object *refs, size_t n) {
    hear_with((tine_message){.type = TINE_MSG_TASK,
                             .task = task,
                             .attempt = 1,
                             .epoch = 3,
                             .depth = depth,
                             .target = {.name = "f"}},
              refs, n);
}
static void give(uint64_t task, uint32_t depth) { give_with(task, depth, NULL, 0); }

static uint64_t start(void) {
    tine_executor_task t;
    return tine_executor_start(A, &t) ? t.task : 0;
}

static void finish(uint64_t task) {
    tine_payload *p = payload_with(NULL, 0);
    tine_executor_done(A, task, TINE_OK, p, NULL, 5);
    tine_payload_unref(p);
}

static tine_error fork_from(uint64_t task, uint64_t ticket) {
    tine_payload *p = payload_with(NULL, 0);
    tine_error e = tine_executor_fork(A, task, ticket, &(tine_target){.name = "g"}, 1, p, NULL);
    tine_payload_unref(p);
    return e;
}

static void give_object(tine_object id, const tine_object *refs, size_t n) {
    hear_with((tine_message){.type = TINE_MSG_OBJECT,
                             .object = id,
                             .text = tine_object_is_module(id) ? "C" : NULL},
              refs, n);
}

static void close_executor(void) {
    tine_executor_free(A);
    A = NULL;
}

Test(executor, hello_comes_first_and_is_a_copy) {
    char name[] = "f";
    tine_hello hello = {.version = 1, .functions = (const char *const[]){name}, .n_functions = 1};
    cr_assert_eq(tine_executor_new(&A, &hello, TINE_EXECUTOR_STAYS), TINE_OK);
    name[0] = 'x';
    tine_executor_action a;
    cr_assert(tine_executor_next(A, &a));
    cr_assert_eq(a.message.type, TINE_MSG_HELLO);
    cr_assert_str_eq(a.message.hello->functions[0], "f");
    cr_assert_str_eq(a.message.hello->host, "");
    cr_assert_eq(tine_executor_epoch(A), 0);
    close_executor();
}

Test(executor, the_deepest_task_starts_first_then_the_oldest) {
    open_executor(4);
    give(1, 0);
    give(2, 2);
    give(3, 1);
    give(4, 2);
    cr_assert(tine_executor_has_ready(A));
    cr_assert_eq(start(), 2);
    cr_assert_eq(start(), 4);
    cr_assert_eq(start(), 3);
    cr_assert_eq(start(), 1);
    cr_assert_eq(start(), 0);
    close_executor();
}

Test(executor, a_task_waits_for_the_values_it_mentions_which_come_by_themselves) {
    open_executor(4);
    tine_object refs[] = {2, 4, 5, 2};
    give_with(1, 0, refs, 4);
    give_with(2, 0, refs, 1);
    take();
    cr_assert(!sent(TINE_MSG_FETCH, 0));
    cr_assert_eq(start(), 0);
    give_object(2, NULL, 0);
    cr_assert_eq(start(), 2);
    cr_assert_eq(start(), 0);
    give_object(4, NULL, 0);
    cr_assert_eq(start(), 1);
    tine_payload *p;
    const char *class_name;
    cr_assert(tine_executor_fetch(A, 2, &p, &class_name));
    cr_assert_null(class_name);
    close_executor();
}

Test(executor, a_value_s_own_values_are_fetched_too) {
    open_executor(4);
    tine_object outer = 2, middle = 4, inner = 6;
    give_with(1, 0, &outer, 1);
    give_object(outer, &middle, 1);
    give_object(middle, &inner, 1);
    take();
    cr_assert_eq(sent(TINE_MSG_FETCH, 0)->a.message.object, middle);
    cr_assert_eq(sent(TINE_MSG_FETCH, 1)->a.message.object, inner);
    cr_assert_eq(start(), 0);
    give_object(inner, NULL, 0);
    cr_assert_eq(start(), 1);
    close_executor();
}

Test(executor, a_task_whose_value_cannot_be_had_fails) {
    open_executor(4);
    tine_object outer = 2, inner = 4;
    give_with(1, 0, &outer, 1);
    give_object(outer, &inner, 1);
    hear((tine_message){.type = TINE_MSG_OBJECT,
                        .object = inner,
                        .status = TINE_ELOST,
                        .text = "its maker is gone"});
    take();
    act *d = sent(TINE_MSG_DONE, 0);
    cr_assert_eq(d->a.message.task, 1);
    cr_assert_eq(d->a.message.status, TINE_ELOST);
    cr_assert_str_eq(d->text, "its maker is gone");
    hear((tine_message){.type = TINE_MSG_DROP, .ids = (tine_object[]){outer, inner}, .n_ids = 2});
    tine_executor_stats s;
    tine_executor_stats_get(A, &s);
    cr_assert_eq(s.tasks + s.objects, 0);
    close_executor();
}

Test(executor, a_module_is_delivered_when_its_arguments_are_here) {
    open_executor(4);
    tine_object module = 3, weights = 2;
    cr_assert(!tine_executor_fetch(A, module, NULL, NULL));
    cr_assert(!tine_executor_fetch(A, module, NULL, NULL));
    give_object(module, &weights, 1);
    take();
    cr_assert(!found(TINE_EXECUTOR_OBJECT, 0));
    cr_assert(sent(TINE_MSG_FETCH, 1) && !sent(TINE_MSG_FETCH, 2));
    give_object(weights, NULL, 0);
    take();
    cr_assert_eq(found(TINE_EXECUTOR_OBJECT, 0)->a.object, module);
    cr_assert_str_eq(found(TINE_EXECUTOR_OBJECT, 0)->text, "C");
    cr_assert(!found(TINE_EXECUTOR_OBJECT, 1));
    cr_assert(tine_executor_fetch(A, module, NULL, NULL));
    close_executor();
}

Test(executor, a_drop_makes_it_forget_also_when_it_overtakes_the_object) {
    open_executor(4);
    uint64_t id = 2;
    cr_assert(!tine_executor_fetch(A, id, NULL, NULL));
    hear((tine_message){.type = TINE_MSG_DROP, .ids = &id, .n_ids = 1});
    take();
    cr_assert(!found(TINE_EXECUTOR_FORGET, 0));
    give_object(id, NULL, 0);
    take();
    cr_assert(found(TINE_EXECUTOR_OBJECT, 0), "who asked for it gets it");
    cr_assert_eq(found(TINE_EXECUTOR_FORGET, 0)->a.object, id);
    tine_executor_stats s;
    tine_executor_stats_get(A, &s);
    cr_assert_eq(s.objects, 0);
    uint64_t unknown = 8;
    hear((tine_message){.type = TINE_MSG_DROP, .ids = &unknown, .n_ids = 1});
    give_object(10, NULL, 0); /* nobody asked */
    cr_assert_eq(take(), 0);
    close_executor();
}

Test(executor, suspensions_are_gathered_and_those_of_finished_tasks_left_out) {
    open_executor(4);
    for (uint64_t i = 1; i <= 3; i++) give(i, 0), start();
    tine_executor_suspend(A, 1);
    tine_executor_suspend(A, 2);
    tine_executor_suspend(A, 2);
    tine_executor_suspend(A, 3);
    finish(2);
    cr_assert(take() && !sent(TINE_MSG_SUSPEND, 0));
    tine_executor_flush(A);
    take();
    act *p = sent(TINE_MSG_SUSPEND, 0);
    cr_assert_eq(p->a.message.n_ids, 2);
    cr_assert(p->ids[0] == 1 && p->ids[1] == 3);
    tine_executor_flush(A);
    cr_assert_eq(take(), 0);
    close_executor();
}

Test(executor, forks_stop_at_the_window_and_credit_is_news_to_who_was_refused) {
    open_executor(2);
    give(1, 0);
    start();
    hear((tine_message){.type = TINE_MSG_CREDIT, .window = 1});
    cr_assert_eq(take(), 0, "nobody was refused");
    for (uint64_t t = 1; t <= 3; t++) cr_assert_eq(fork_from(1, t), TINE_OK);
    cr_assert_eq(fork_from(1, 4), TINE_EAGAIN);
    take();
    act *s = sent(TINE_MSG_SUBMIT, 0);
    cr_assert(s->a.message.seq == 1 && s->a.message.task == 1 && s->a.message.flags == 1);
    cr_assert_str_eq(s->name, "g");
    hear((tine_message){.type = TINE_MSG_CREDIT, .window = 1});
    take();
    cr_assert(found(TINE_EXECUTOR_CREDIT, 0));
    cr_assert_eq(fork_from(1, 4), TINE_OK);
    close_executor();
}

Test(executor, a_fork_completes_once_and_done_counts_what_was_sent) {
    open_executor(4);
    give(1, 0);
    start();
    cr_assert_eq(fork_from(1, 41), TINE_OK);
    tine_payload *p = payload_with(NULL, 0);
    tine_object value = 0, module = 0;
    cr_assert_eq(tine_executor_put(A, 1, NULL, p, &value), TINE_OK);
    cr_assert_eq(tine_executor_put(A, 1, "C", p, &module), TINE_OK);
    tine_payload_unref(p);
    cr_assert_eq(value, (UINT64_C(3) << 40) | 1 << 1);
    cr_assert_eq(module, (UINT64_C(3) << 40) | 2 << 1 | 1);
    cr_assert(tine_executor_fetch(A, module, NULL, NULL));
    hear_with((tine_message){.type = TINE_MSG_RESULT, .seq = 41}, NULL, 0);
    hear_with((tine_message){.type = TINE_MSG_RESULT, .seq = 41}, NULL, 0);
    hear_with((tine_message){.type = TINE_MSG_RESULT, .seq = 0}, NULL, 0);
    take();
    cr_assert_eq(found(TINE_EXECUTOR_COMPLETE, 0)->a.ticket, 41);
    cr_assert(!found(TINE_EXECUTOR_COMPLETE, 1));
    finish(1);
    take();
    cr_assert_eq(sent(TINE_MSG_DONE, 0)->a.message.seq, 3);
    cr_assert_eq(sent(TINE_MSG_DONE, 0)->a.message.run_ns, 5);
    close_executor();
}

Test(executor, a_result_waits_for_the_values_it_mentions) {
    open_executor(4);
    give(1, 0);
    start();
    fork_from(1, 41);
    fork_from(1, 42);
    tine_object a = 2, b = 4;
    hear_with((tine_message){.type = TINE_MSG_RESULT, .seq = 41}, &a, 1);
    hear_with((tine_message){.type = TINE_MSG_RESULT, .seq = 42}, &b, 1);
    take();
    cr_assert(!found(TINE_EXECUTOR_COMPLETE, 0));
    give_object(a, NULL, 0);
    hear((tine_message){
        .type = TINE_MSG_OBJECT, .object = b, .status = TINE_EINVAL, .text = "gone"});
    take();
    cr_assert_eq(found(TINE_EXECUTOR_COMPLETE, 0)->a.ticket, 41);
    cr_assert_eq(found(TINE_EXECUTOR_COMPLETE, 0)->a.status, TINE_OK);
    cr_assert_eq(found(TINE_EXECUTOR_COMPLETE, 1)->a.ticket, 42);
    cr_assert_eq(found(TINE_EXECUTOR_COMPLETE, 1)->a.status, TINE_EINVAL);
    cr_assert_str_eq(found(TINE_EXECUTOR_COMPLETE, 1)->text, "gone");
    close_executor();
}

Test(executor, stop_cancels_open_forks_and_starts_nothing_more) {
    open_executor(4);
    give(1, 0);
    give(2, 0);
    start();
    fork_from(1, 41);
    fork_from(1, 42);
    tine_object a = 2;
    hear_with((tine_message){.type = TINE_MSG_RESULT, .seq = 42}, &a, 1);
    cr_assert(!tine_executor_fetch(A, 3, NULL, NULL));
    take();
    hear((tine_message){.type = TINE_MSG_STOP});
    hear((tine_message){.type = TINE_MSG_STOP});
    take();
    cr_assert_eq(found(TINE_EXECUTOR_COMPLETE, 0)->a.status, TINE_ECANCELED);
    cr_assert_eq(found(TINE_EXECUTOR_COMPLETE, 1)->a.status, TINE_ECANCELED);
    cr_assert_eq(found(TINE_EXECUTOR_OBJECT, 0)->a.status, TINE_ECANCELED);
    cr_assert(found(TINE_EXECUTOR_STOP, 0) && !found(TINE_EXECUTOR_STOP, 1));
    cr_assert(!tine_executor_has_ready(A));
    cr_assert_eq(start(), 0);
    cr_assert_eq(fork_from(1, 43), TINE_ECANCELED);
    tine_payload *p = payload_with(NULL, 0);
    tine_object id;
    cr_assert_eq(tine_executor_put(A, 1, NULL, p, &id), TINE_ECANCELED);
    tine_payload_unref(p);
    cr_assert(!tine_executor_fetch(A, 5, NULL, NULL));
    take();
    cr_assert_eq(found(TINE_EXECUTOR_OBJECT, 0)->a.status, TINE_ECANCELED);
    finish(1);
    close_executor();
}

static void expect_stop(tine_message m, bool welcomed, const char *why) {
    tine_hello hello = {.version = 1};
    cr_assert_eq(tine_executor_new(&A, &hello, TINE_EXECUTOR_STAYS), TINE_OK);
    if (welcomed) hear((tine_message){.type = TINE_MSG_WELCOME, .epoch = 1});
    take();
    hear(m);
    take();
    act *s = found(TINE_EXECUTOR_STOP, 0);
    cr_assert(s);
    cr_assert_eq(s->a.status, TINE_EPROTO);
    cr_assert_str_eq(s->text, why);
    close_executor();
}

Test(executor, nonsense_of_the_coordinator_stops_it) {
    expect_stop((tine_message){.type = TINE_MSG_REJECT, .text = "wrong version"}, false,
                "wrong version");
    expect_stop((tine_message){.type = TINE_MSG_TASK, .task = 1}, false,
                "the coordinator's first message is not WELCOME");
    expect_stop((tine_message){.type = TINE_MSG_WELCOME, .epoch = 2}, true,
                "the coordinator sent a second WELCOME, or one without an epoch");
    expect_stop((tine_message){.type = TINE_MSG_TASK, .task = 1}, true,
                "the coordinator sent an incomplete task");
    expect_stop((tine_message){.type = TINE_MSG_HELLO}, true,
                "the coordinator sent a message that only a worker may send");
    expect_stop((tine_message){.type = (tine_message_type)999}, true,
                "the coordinator sent a message that only a worker may send");
}

Test(executor, pings_are_answered_and_trace_is_passed_on) {
    open_executor(4);
    hear((tine_message){.type = TINE_MSG_PING, .seq = 5});
    hear((tine_message){.type = TINE_MSG_TRACE, .flags = 2});
    take();
    cr_assert_eq(sent(TINE_MSG_PONG, 0)->a.message.seq, 5);
    cr_assert_eq(sent(TINE_MSG_PONG, 0)->a.message.clock, 77);
    cr_assert_eq(found(TINE_EXECUTOR_TRACE, 0)->a.flags, 2);
    close_executor();
}

Test(executor, a_long_chain_of_values_settles_without_recursion) {
    open_executor(4);
    enum { N = 100000 };
    tine_object first = 2;
    give_with(1, 0, &first, 1);
    for (tine_object id = 2; id <= 2 * N; id += 2) {
        tine_object next = id + 2;
        give_object(id, &next, id < 2 * N);
        tine_executor_action a;
        while (tine_executor_next(A, &a)) {
        }
    }
    cr_assert_eq(start(), 1);
    close_executor();
}

Test(executor, a_cancelled_task_does_not_start_and_is_answered) {
    open_executor(4);
    give(1, 0);
    give(2, 0);
    cr_assert_eq(start(), 1);
    hear((tine_message){.type = TINE_MSG_CANCEL, .task = 2});
    take();
    cr_assert_eq(sent(TINE_MSG_DONE, 0)->a.message.task, 2);
    cr_assert_eq(sent(TINE_MSG_DONE, 0)->a.message.status, TINE_ECANCELED);
    cr_assert_eq(start(), 0);
    hear((tine_message){.type = TINE_MSG_CANCEL, .task = 1}); /* it runs: it is told */
    hear((tine_message){.type = TINE_MSG_CANCEL, .task = 3}); /* has overtaken the task */
    take();
    cr_assert_eq(found(TINE_EXECUTOR_CANCEL, 0)->a.ticket, 1);
    give(3, 0);
    take();
    cr_assert_eq(sent(TINE_MSG_DONE, 0)->a.message.task, 3);
    finish(1);
    close_executor();
}

Test(executor, one_that_waits_for_an_object_is_answered_at_once) {
    open_executor(4);
    give_with(1, 0, &(tine_object){2}, 1);
    hear((tine_message){.type = TINE_MSG_CANCEL, .task = 1});
    take();
    cr_assert_eq(sent(TINE_MSG_DONE, 0)->a.message.status, TINE_ECANCELED);
    give_object(2, NULL, 0);
    take();
    cr_assert(!sent(TINE_MSG_DONE, 0));
    cr_assert_eq(start(), 0);
    close_executor();
}

static tine_error yield(uint64_t task) {
    tine_payload *p = tine_payload_new(8, 0, 0);
    tine_error e = tine_executor_yield(A, task, p);
    tine_payload_unref(p);
    return e;
}

Test(executor, a_task_yields_as_many_values_as_are_taken) {
    open_executor(4);
    give(1, 0);
    give(2, 0);
    cr_assert_eq(start(), 1);
    cr_assert_eq(start(), 2);
    cr_assert_eq(yield(1), TINE_OK); /* the first one in any case */
    cr_assert_eq(yield(1), TINE_EAGAIN);
    take();
    cr_assert_eq(sent(TINE_MSG_YIELD, 0)->a.message.item, 1);
    hear((tine_message){.type = TINE_MSG_PULL, .task = 1, .item = 3});
    hear((tine_message){.type = TINE_MSG_PULL, .task = 1, .item = 2}); /* is no step back */
    hear((tine_message){.type = TINE_MSG_PULL, .task = 9, .item = 2});
    take();
    cr_assert(found(TINE_EXECUTOR_PULL, 0)->a.ticket == 1 && !found(TINE_EXECUTOR_PULL, 1));
    cr_assert_eq(yield(1), TINE_OK);
    cr_assert_eq(yield(1), TINE_OK);
    cr_assert_eq(yield(1), TINE_EAGAIN);
    cr_assert_eq(yield(2), TINE_OK);
    hear((tine_message){.type = TINE_MSG_PULL, .task = 2}); /* nobody takes them */
    take();
    for (int i = 0; i < 5; i++) cr_assert_eq(yield(2), TINE_OK);
    take();
    cr_assert(!sent(TINE_MSG_YIELD, 0));
    finish(2);
    take();
    cr_assert_eq(sent(TINE_MSG_DONE, 0)->a.message.seq, 1);
    finish(1);
    take();
    cr_assert_eq(sent(TINE_MSG_DONE, 0)->a.message.seq, 3);
    close_executor();
}

static void give_value(uint64_t seq, uint64_t item, const tine_object *refs, size_t n) {
    hear_with((tine_message){.type = TINE_MSG_YIELD, .seq = seq, .item = item}, refs, n);
}

Test(executor, a_stream_ends_when_its_values_are_here) {
    open_executor(4);
    give(1, 0);
    start();
    tine_payload *p = tine_payload_new(8, 0, 0);
    const tine_terms terms = {.stream = 4};
    cr_assert_eq(tine_executor_fork(A, 1, 7, &(tine_target){.name = "f"}, 0, p, &terms), TINE_OK);
    tine_payload_unref(p);
    give_value(7, 2, &(tine_object){4}, 1); /* waits for what it mentions */
    give_value(7, 1, NULL, 0);
    hear_with((tine_message){.type = TINE_MSG_RESULT, .seq = 7}, NULL, 0);
    hear_with((tine_message){.type = TINE_MSG_RESULT, .seq = 7}, NULL, 0); /* a duplicate */
    take();
    cr_assert_eq(found(TINE_EXECUTOR_YIELD, 0)->a.item, 1);
    cr_assert(!found(TINE_EXECUTOR_YIELD, 1) && !found(TINE_EXECUTOR_COMPLETE, 0));
    tine_payload_unref(found(TINE_EXECUTOR_YIELD, 0)->a.payload);
    tine_executor_pull(A, 7, 5);
    hear((tine_message){.type = TINE_MSG_YIELD, .seq = 7, .item = 3}); /* there were two */
    give_object(4, NULL, 0);
    take();
    cr_assert(sent(TINE_MSG_PULL, 0)->a.message.seq == 7 &&
              sent(TINE_MSG_PULL, 0)->a.message.item == 5);
    cr_assert_eq(found(TINE_EXECUTOR_YIELD, 0)->a.item, 2);
    tine_payload_unref(found(TINE_EXECUTOR_YIELD, 0)->a.payload);
    cr_assert_eq(found(TINE_EXECUTOR_COMPLETE, 0)->a.ticket, 7);
    give_value(7, 3, NULL, 0); /* of a fork that has ended */
    tine_executor_pull(A, 7, 6);
    take();
    cr_assert(!found(TINE_EXECUTOR_YIELD, 0) && !sent(TINE_MSG_PULL, 0));
    finish(1);
    hear((tine_message){.type = TINE_MSG_DROP, .ids = (uint64_t[]){4}, .n_ids = 1});
    close_executor();
}

Test(executor, a_fork_is_cancelled_once_and_its_answer_ignored) {
    open_executor(4);
    give(1, 0);
    start();
    cr_assert_eq(fork_from(1, 7), TINE_OK);
    cr_assert(tine_executor_cancel(A, 7, 5));
    cr_assert(!tine_executor_cancel(A, 7, 5));
    take();
    cr_assert(sent(TINE_MSG_CANCEL, 0)->a.message.seq == 7 &&
              sent(TINE_MSG_CANCEL, 0)->a.message.grace_ns == 5);
    hear_with((tine_message){.type = TINE_MSG_RESULT, .seq = 7}, NULL, 0);
    take();
    cr_assert(!found(TINE_EXECUTOR_COMPLETE, 0));
    finish(1);
    close_executor();
}
