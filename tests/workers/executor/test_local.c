/* Forks that stay at the worker that made them, and how they leave it. */
#include "tests/support/executor_fixture.h"

TestSuite(local, .timeout = 20);

enum { PARENT = 7, SERVED = 2 };

static size_t queued_bytes = TINE_EXECUTOR_QUEUED; /* a fork of these tests has 8 */

static size_t n_sent(void) {
    size_t n = 0;
    while (found(TINE_EXECUTOR_SEND, n)) n++;
    return n;
}

static void demand(uint64_t allowed) {
    hear((tine_message){.type = TINE_MSG_DEMAND, .seq = allowed, .attempt = 3});
}

static tine_executor_task begin(void) {
    tine_executor_task t = {0};
    cr_assert(tine_executor_start(A, &t));
    return t;
}

/* A worker that serves f and g, whose task PARENT runs; it keeps its forks. */
static void open_with(uint32_t window) {
    tine_hello hello = {.version = 1,
                        .pid = 9,
                        .rank = -1,
                        .host = "h",
                        .functions = (const char *const[]){"f", "g"},
                        .n_functions = SERVED};
    cr_assert_eq(tine_executor_new(&A, &hello, TINE_EXECUTOR_STAYS, queued_bytes), TINE_OK);
    hear((tine_message){
        .type = TINE_MSG_WELCOME, .epoch = 3, .window = window, .flags = TINE_WELCOME_DEMAND});
    take();
    cr_assert(sent(TINE_MSG_DEMAND, 0), "it does not say that it keeps forks");
    demand(0);
    give(PARENT, 0);
    cr_assert_eq(begin().task, PARENT);
    take();
}

static tine_error fork_as(uint64_t parent, uint64_t ticket, const char *name, uint32_t flags,
                          const tine_terms *terms) {
    tine_payload *p = payload_with(NULL, 0);
    tine_error e =
        tine_executor_fork(A, parent, ticket, &(tine_target){.name = name}, flags, p, terms);
    tine_payload_unref(p);
    return e;
}
static void fork_g(uint64_t parent, uint64_t ticket) {
    cr_assert_eq(fork_as(parent, ticket, "g", 0, NULL), TINE_OK);
}

static tine_executor_stats stats(void) {
    tine_executor_stats s;
    tine_executor_stats_get(A, &s);
    return s;
}

Test(local, a_fork_that_runs_where_it_was_made_causes_no_message) {
    open_with(4);
    fork_g(PARENT, 1);
    fork_g(PARENT, 2);
    tine_executor_suspend(A, PARENT);
    for (uint64_t i = 1; i <= 2; i++) {
        tine_executor_task t = begin();
        cr_assert_eq(t.known, PARENT);
        cr_assert_str_eq(t.target.name, "g");
        cr_assert_eq(t.depth, 1);
        finish(t.task);
        take();
        cr_assert_eq(n_sent(), 0);
        cr_assert_eq(found(TINE_EXECUTOR_COMPLETE, 0)->a.ticket, i);
    }
    finish(PARENT);
    take();
    cr_assert_eq(n_sent(), 1);
    cr_assert_eq(sent(TINE_MSG_DONE, 0)->a.message.seq, 0);
    cr_assert_eq(sent(TINE_MSG_DONE, 0)->a.message.run_ns, 15, "it contains its forks' time");
    cr_assert_eq(stats().tasks + stats().forks, 0);
    close_executor();
}

Test(local, without_a_demand_message_forks_are_submitted) {
    tine_hello hello = {.functions = (const char *const[]){"f", "g"}, .n_functions = SERVED};
    cr_assert_eq(tine_executor_new(&A, &hello, TINE_EXECUTOR_STAYS, queued_bytes), TINE_OK);
    hear((tine_message){.type = TINE_MSG_WELCOME, .epoch = 3, .window = 4});
    give(PARENT, 0);
    begin();
    fork_g(PARENT, 1);
    take();
    cr_assert_null(sent(TINE_MSG_DEMAND, 0));
    cr_assert(sent(TINE_MSG_SUBMIT, 0));
    close_executor();
}

Test(local, the_oldest_forks_go_as_many_as_are_wanted) {
    open_with(8);
    for (uint64_t i = 1; i <= 4; i++) fork_g(PARENT, i);
    demand(2);
    take();
    cr_assert_eq(n_sent(), 2);
    cr_assert_eq(sent(TINE_MSG_SUBMIT, 0)->a.message.seq, 1);
    cr_assert_eq(sent(TINE_MSG_SUBMIT, 1)->a.message.seq, 2);
    cr_assert_eq(sent(TINE_MSG_SUBMIT, 1)->a.message.task, PARENT);
    demand(2); /* it crossed them */
    take();
    cr_assert_eq(n_sent(), 0);
    demand(5);
    take();
    cr_assert_eq(n_sent(), 2);
    fork_g(PARENT, 5); /* one is wanted still */
    take();
    cr_assert_eq(sent(TINE_MSG_SUBMIT, 0)->a.message.seq, 5);
    fork_g(PARENT, 6);
    take();
    cr_assert_eq(n_sent(), 0);
    close_executor();
}

Test(local, forks_of_a_local_task_belong_to_the_task_that_the_coordinator_knows) {
    open_with(8);
    fork_g(PARENT, 1);
    tine_executor_suspend(A, PARENT);
    tine_executor_task child = begin();
    tine_object id;
    tine_payload *p = payload_with(NULL, 0);
    cr_assert_eq(tine_executor_put(A, child.task, NULL, p, &id), TINE_OK);
    tine_payload_unref(p);
    fork_g(child.task, 2);
    demand(1);
    take();
    cr_assert_eq(sent(TINE_MSG_OBJECT, 0)->a.message.task, PARENT);
    cr_assert_eq(sent(TINE_MSG_SUBMIT, 0)->a.message.task, PARENT);
    finish(child.task);
    finish(PARENT);
    take();
    cr_assert_eq(sent(TINE_MSG_DONE, 0)->a.message.seq, 2);
    close_executor();
}

Test(local, what_is_queued_when_its_task_ends_is_submitted_first) {
    open_with(8);
    fork_g(PARENT, 1);
    fork_g(PARENT, 2);
    finish(PARENT);
    take();
    cr_assert_eq(n_sent(), 3);
    cr_assert_eq(acts[2].a.message.type, TINE_MSG_DONE);
    cr_assert_eq(acts[2].a.message.seq, 2);
    close_executor();
}

Test(local, the_done_of_a_task_waits_for_its_forks_that_have_begun) {
    open_with(8);
    fork_g(PARENT, 1);
    tine_executor_suspend(A, PARENT);
    tine_executor_task child = begin();
    fork_g(child.task, 2);
    finish(PARENT);
    take();
    cr_assert_null(sent(TINE_MSG_DONE, 0));
    finish(child.task);
    take();
    cr_assert_eq(sent(TINE_MSG_DONE, 0)->a.message.task, PARENT);
    cr_assert_eq(sent(TINE_MSG_DONE, 0)->a.message.seq, 1);
    cr_assert_eq(stats().tasks, 0);
    close_executor();
}

/* Its attempt was cancelled while it waited to yield. */
Test(local, a_task_that_has_ended_is_not_told_to_yield) {
    open_with(8);
    fork_g(PARENT, 1);
    tine_payload *p = payload_with(NULL, 0);
    cr_assert_eq(tine_executor_yield(A, PARENT, p), TINE_OK);
    cr_assert_eq(tine_executor_yield(A, PARENT, p), TINE_EAGAIN);
    tine_payload_unref(p);
    tine_executor_suspend(A, PARENT);
    tine_executor_task child = begin();
    finish(PARENT);
    hear((tine_message){.type = TINE_MSG_PULL, .task = PARENT, .item = 2});
    take();
    cr_assert_null(found(TINE_EXECUTOR_PULL, 0));
    finish(child.task);
    take();
    cr_assert_eq(sent(TINE_MSG_DONE, 0)->a.message.seq, 1);
    close_executor();
}

Test(local, a_queued_fork_takes_a_place_of_the_window_until_it_starts) {
    open_with(2);
    fork_g(PARENT, 1);
    fork_g(PARENT, 2);
    cr_assert_eq(fork_as(PARENT, 3, "g", 0, NULL), TINE_EAGAIN);
    begin();
    take();
    cr_assert(found(TINE_EXECUTOR_CREDIT, 0));
    cr_assert_eq(stats().window, 1);
    demand(1); /* what is sent takes it along */
    cr_assert_eq(stats().window, 1);
    close_executor();
}

static void is_refused_until(void (*makes_room)(void), uint64_t ticket) {
    cr_expect_eq(fork_as(PARENT, ticket, "g", 0, NULL), TINE_EAGAIN);
    take();
    makes_room();
    take();
    cr_expect(found(TINE_EXECUTOR_CREDIT, 0), "fork %u may not try again", (unsigned)ticket);
    fork_g(PARENT, ticket);
}
static void one_starts(void) { begin(); }
static void one_is_wanted(void) { demand(1); }
static void one_is_cancelled(void) { cr_assert(tine_executor_cancel(A, 4, 0)); }

Test(local, past_the_bytes_of_queued_forks_a_fork_waits_for_one_of_them) {
    queued_bytes = 16;
    open_with(99);
    fork_g(PARENT, 1);
    fork_g(PARENT, 2);
    is_refused_until(one_starts, 3);
    is_refused_until(one_is_wanted, 4);
    is_refused_until(one_is_cancelled, 5);
    close_executor();
}

Test(local, what_cannot_or_should_not_run_here_is_submitted) {
    open_with(8);
    tine_object elsewhere = 4;
    tine_payload *p = payload_with(&elsewhere, 1);
    cr_assert_eq(tine_executor_fork(A, PARENT, 1, &(tine_target){.name = "g"}, 0, p, NULL),
                 TINE_OK);
    tine_payload_unref(p);
    cr_assert_eq(fork_as(PARENT, 2, "h", 0, NULL), TINE_OK);
    cr_assert_eq(fork_as(PARENT, 3, "g", 0, &(tine_terms){.priority = 1}), TINE_OK);
    cr_assert_eq(fork_as(PARENT, 4, "g", TINE_MODULE_SINGLE, NULL), TINE_OK);
    take();
    cr_assert_eq(n_sent(), 4);
    fork_g(PARENT, 5);
    take();
    cr_assert_eq(n_sent(), 0);
    close_executor();
}

Test(local, a_failure_reads_as_the_coordinator_words_it_and_may_be_tried_again) {
    open_with(8);
    tine_terms terms = {.name = "mine", .failure_retries = 1};
    cr_assert_eq(fork_as(PARENT, 1, "g", TINE_REPEATABLE, &terms), TINE_OK);
    for (uint32_t i = 1; i <= 2; i++) {
        tine_executor_task t = begin();
        cr_assert_eq(t.attempt, i);
        tine_executor_done(A, t.task, TINE_EFAILED, NULL, "it broke", 5);
        take();
        cr_assert_eq(!found(TINE_EXECUTOR_COMPLETE, 0), i == 1);
    }
    act *c = found(TINE_EXECUTOR_COMPLETE, 0);
    cr_assert_eq(c->a.status, TINE_EFAILED);
    cr_assert_str_eq(c->text,
                     "task \"mine\" failed on worker pid 9 (host h), attempt 2 of 4: it broke");
    finish(PARENT);
    take();
    cr_assert(sent(TINE_MSG_DONE, 0));
    close_executor();
}

Test(local, a_cancelled_fork_does_not_start_and_one_that_runs_is_told) {
    open_with(8);
    fork_g(PARENT, 1);
    fork_g(PARENT, 2);
    tine_executor_suspend(A, PARENT);
    tine_executor_task child = begin();
    fork_g(child.task, 3);
    fork_g(child.task, 4);
    demand(1); /* 2 goes, as the oldest */
    demand(2); /* and 3, of the child */
    take();
    cr_assert(tine_executor_cancel(A, 1, UINT64_MAX));
    cr_assert(!tine_executor_cancel(A, 1, UINT64_MAX));
    take();
    cr_assert_eq(found(TINE_EXECUTOR_CANCEL, 0)->a.ticket, child.task);
    cr_assert_eq(n_sent(), 1);
    cr_assert_eq(sent(TINE_MSG_CANCEL, 0)->a.message.task, PARENT);
    cr_assert_eq(sent(TINE_MSG_CANCEL, 0)->a.message.seq, 3);
    cr_assert_eq(found(TINE_EXECUTOR_COMPLETE, 0)->a.status, TINE_ECANCELED);
    cr_assert_eq(found(TINE_EXECUTOR_COMPLETE, 1)->a.status, TINE_ECANCELED);
    cr_assert_eq(stats().ready, 0);
    cr_assert_eq(fork_as(child.task, 5, "g", 0, NULL), TINE_OK);
    take();
    cr_assert_eq(found(TINE_EXECUTOR_COMPLETE, 0)->a.ticket, 5);
    cr_assert_eq(n_sent(), 0);
    tine_executor_done(A, child.task, TINE_ECANCELED, NULL, "told", 1);
    take();
    cr_assert_null(found(TINE_EXECUTOR_COMPLETE, 0));
    finish(PARENT);
    take();
    cr_assert(sent(TINE_MSG_DONE, 0));
    close_executor();
}

Test(local, the_cancelling_of_a_task_reaches_all_below_it) {
    open_with(8);
    fork_g(PARENT, 1);
    tine_executor_suspend(A, PARENT);
    tine_executor_task child = begin();
    fork_g(child.task, 2);
    hear((tine_message){.type = TINE_MSG_CANCEL, .task = PARENT});
    take();
    cr_assert_eq(found(TINE_EXECUTOR_CANCEL, 0)->a.ticket, PARENT);
    cr_assert_eq(found(TINE_EXECUTOR_CANCEL, 1)->a.ticket, child.task);
    cr_assert_eq(found(TINE_EXECUTOR_COMPLETE, 0)->a.ticket, 1);
    cr_assert_eq(found(TINE_EXECUTOR_COMPLETE, 1)->a.ticket, 2);
    cr_assert(!tine_executor_has_ready(A));
    cr_assert_eq(stats().window, 8);
    close_executor();
}

/* The coordinator answers with CANCELED what is submitted for it from then on. */
Test(local, the_cancelling_of_a_task_that_has_ended_reaches_what_still_runs_below_it) {
    open_with(8);
    fork_g(PARENT, 1);
    tine_executor_suspend(A, PARENT);
    tine_executor_task child = begin();
    fork_g(child.task, 2);
    tine_executor_suspend(A, child.task);
    tine_executor_task grandchild = begin();
    finish(child.task);
    finish(PARENT);
    hear((tine_message){.type = TINE_MSG_CANCEL, .task = PARENT});
    take();
    cr_assert_eq(found(TINE_EXECUTOR_CANCEL, 0)->a.ticket, grandchild.task);
    cr_assert_null(found(TINE_EXECUTOR_CANCEL, 1));
    cr_assert_null(sent(TINE_MSG_DONE, 0));
    finish(grandchild.task);
    take();
    cr_assert(sent(TINE_MSG_DONE, 0));
    cr_assert_eq(stats().tasks, 0);
    close_executor();
}

Test(local, a_stop_cancels_them) {
    open_with(8);
    fork_g(PARENT, 1);
    fork_g(PARENT, 2);
    tine_executor_task child = begin();
    hear((tine_message){.type = TINE_MSG_STOP});
    take();
    cr_assert_eq(found(TINE_EXECUTOR_COMPLETE, 0)->a.status, TINE_ECANCELED);
    cr_assert_eq(found(TINE_EXECUTOR_COMPLETE, 1)->a.status, TINE_ECANCELED);
    finish(PARENT);
    finish(child.task);
    take();
    cr_assert_eq(n_sent(), 0);
    close_executor();
}
