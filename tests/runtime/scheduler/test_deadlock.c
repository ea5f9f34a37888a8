/* Deadlocks: what is one, what is none, who is told. Workers are quiet when the numbers of messages
 * that they tell are the ones that were sent and received. */
#include "tests/support/scheduler_fixture.h"

static uint64_t to[4], from[4]; /* messages of each worker, by peer */

static void took(void) {
    take();
    for (size_t i = 0; i < F.n; i++)
        if (F.actions[i].a.kind == TINE_SCHEDULER_SEND)
            to[F.actions[i].a.peer] += tine_message_counts(F.actions[i].a.message.type);
}

static void open_with(tine_scheduler_config c, tine_peer workers, const char *slots) {
    const char *functions[] = {"f", "g"}, *classes[] = {"C"};
    tine_hello hello = {.version = TINE_PROTOCOL_VERSION,
                        .host = "a",
                        .functions = functions,
                        .n_functions = 2,
                        .classes = classes,
                        .n_classes = 1,
                        .slots = slots};
    memset(to, 0, sizeof to);
    memset(from, 0, sizeof from);
    fixture_open(c);
    for (tine_peer peer = 1; peer <= workers; peer++) {
        tine_scheduler_peer_up(F.scheduler, peer, F.now);
        receive(peer, (tine_message){.type = TINE_MSG_HELLO, .hello = &hello});
    }
    took();
}

static action fork_terms(uint64_t ticket, tine_target target, uint32_t flags,
                         const tine_terms *terms) {
    tine_payload *p = payload_with(8, NULL, 0);
    cr_assert_eq(tine_scheduler_fork(F.scheduler, ticket, 0, &target, flags, p, terms, NULL), 0);
    tine_payload_unref(p);
    took();
    cr_assert(sent(0, TINE_MSG_TASK, 0));
    return *sent(0, TINE_MSG_TASK, 0);
}
static action fork_holding(uint64_t ticket) {
    return fork_terms(ticket, (tine_target){.name = "f"}, 0, &(tine_terms){.resources = "r"});
}

static void waits(tine_peer peer, const action *t) {
    suspend(peer, t);
    from[peer]++;
    took();
}
static void submits_with(tine_peer peer, const action *parent, uint64_t seq, tine_terms terms) {
    tine_payload *p = payload_with(8, NULL, 0);
    receive(peer, (tine_message){.type = TINE_MSG_SUBMIT_WITH,
                                 .task = parent->a.message.task,
                                 .seq = seq,
                                 .target = {.name = "g"},
                                 .terms = &terms,
                                 .payload = p});
    tine_payload_unref(p);
    from[peer]++;
    took();
}
static void submits(tine_peer peer, const action *parent, uint64_t seq, const char *resources) {
    submits_with(peer, parent, seq, (tine_terms){.resources = resources});
}
static void pongs(tine_peer peer, uint64_t received, const uint64_t *ids, size_t n) {
    receive(peer, (tine_message){.type = TINE_MSG_PONG,
                                 .received = received,
                                 .sent = from[peer],
                                 .ids = ids,
                                 .n_ids = n});
}
static void look(void) {
    F.now += 1000000000;
    tine_scheduler_tick(F.scheduler, F.now);
    took();
}
/* Until the workers are asked. */
static void asks(void) {
    look();
    cr_assert_eq(count_sent(0, TINE_MSG_PING), 0, "before anything was still");
    look();
    cr_assert_gt(count_sent(0, TINE_MSG_PING), 0);
}
static void end(tine_peer peer, const action *t) {
    done(peer, t, 1);
    took();
}

static void expect_result(tine_peer peer, size_t i, uint64_t seq, const char *sentence) {
    const action *r = sent(peer, TINE_MSG_RESULT, i);
    cr_assert(r, "fork %d has no answer", (int)seq);
    cr_assert_eq(r->a.message.seq, seq);
    cr_assert_eq(r->a.message.status, TINE_EDEADLK);
    cr_assert_str_eq(r->message_text, sentence);
}
static const char *const slots_text =
    "task \"g\" can never be done: it waits for the slots \"r=1\" of \"f\", which waits for its "
    "fork \"g\"";

Test(deadlock, forks_that_need_what_their_parent_has, .timeout = 30) {
    open_with((tine_scheduler_config){0}, 1, "r=1");
    action f = fork_holding(1);
    for (uint64_t seq = 5; seq <= 8; seq++) submits(1, &f, seq, "r");
    waits(1, &f);
    asks();
    pongs(1, to[1], (const uint64_t[]){5, 6, 8}, 3); /* it does not wait for 7 */
    look();
    cr_assert_eq(count_sent(1, TINE_MSG_RESULT), 3);
    for (size_t i = 0; i < 3; i++) {
        uint64_t seq = sent(1, TINE_MSG_RESULT, i)->a.message.seq;
        cr_assert_neq(seq, 7);
        expect_result(1, i, seq, slots_text);
    }
    end(1, &f);
    cr_assert(sent(1, TINE_MSG_TASK, 0), "fork 7 runs once the slot is free");
    action g = *sent(1, TINE_MSG_TASK, 0);
    end(1, &g);
    fixture_close();
}

/* The module of a method with slots needs a result, whose task forks one that needs these slots. */
Test(deadlock, a_module_that_needs_a_result, .timeout = 30) {
    open_with((tine_scheduler_config){0}, 1, "r=1");
    uint64_t task = 0;
    tine_object module;
    tine_payload *p = payload_with(8, NULL, 0);
    cr_assert_eq(
        tine_scheduler_fork(F.scheduler, 1, 0, &(tine_target){.name = "f"}, 0, p, NULL, &task), 0);
    tine_payload_unref(p);
    tine_object result = tine_scheduler_result(F.scheduler, task);
    took();
    action f = *sent(1, TINE_MSG_TASK, 0);
    p = payload_with(8, &result, 1);
    cr_assert_eq(tine_scheduler_object(F.scheduler, &module, "C", p), 0);
    tine_payload_unref(p);
    waits(1, &f);
    action m = fork_terms(2, (tine_target){"C", "m", module}, 0, &(tine_terms){.resources = "r"});
    fetch(1, module);
    fetch(1, result);
    from[1] += 2;
    waits(1, &m);
    submits(1, &f, 5, "r");
    asks();
    pongs(1, to[1], (const uint64_t[]){5}, 1);
    look();
    expect_result(1, 0, 5,
                  "task \"g\" can never be done: it waits for the slots \"r=1\" of \"C.m\", which "
                  "waits for a module or value that needs the result of \"f\", which waits for its "
                  "fork \"g\"");
    end(1, &f);
    end(1, &m);
    tine_scheduler_object_release(F.scheduler, module);
    tine_scheduler_object_release(F.scheduler, result);
    fixture_close();
}

/* Both have taken a slot and wait for a fork that needs another one. */
Test(deadlock, two_that_wait_for_each_other, .timeout = 30) {
    open_with((tine_scheduler_config){0}, 2, "r=1");
    action f = fork_holding(1), other = fork_holding(2);
    tine_peer at = f.a.peer, across = other.a.peer;
    cr_assert_neq(at, across);
    waits(at, &f);
    waits(across, &other);
    submits(at, &f, 5, "r");
    submits(across, &other, 6, "r");
    asks();
    pongs(at, to[at], (const uint64_t[]){5}, 1);
    look();
    cr_assert_eq(count_sent(0, TINE_MSG_RESULT), 0, "the other worker has not answered");
    pongs(across, to[across], (const uint64_t[]){6}, 1);
    look();
    cr_assert_eq(count_sent(0, TINE_MSG_RESULT), 1, "one ends, and the other one goes on");
    end(at, &f);
    end(across, &other);
    fixture_close();
}

/* Two of the same parent that are bound to different workers wait for different tasks. */
Test(deadlock, forks_at_different_workers_end_one_by_one, .timeout = 30) {
    open_with((tine_scheduler_config){0}, 2, "r=1");
    action f = fork_holding(1), other = fork_holding(2);
    tine_peer at = f.a.peer, across = other.a.peer;
    uint32_t own = f.a.message.epoch, others = other.a.message.epoch;
    submits_with(at, &f, 5, (tine_terms){.resources = "r", .worker = own});
    submits_with(at, &f, 6, (tine_terms){.resources = "r", .worker = others});
    submits_with(across, &other, 7, (tine_terms){.resources = "r", .worker = own});
    waits(at, &f);
    waits(across, &other);
    asks();
    pongs(at, to[at], (const uint64_t[]){5, 6}, 2);
    pongs(across, to[across], (const uint64_t[]){7}, 1);
    look();
    cr_assert_eq(count_sent(0, TINE_MSG_RESULT), 1);
    end(at, &f);
    end(across, &other);
    fixture_close();
}

/* The next one is found sooner than a look that finds the first one. */
Test(deadlock, one_after_the_other, .timeout = 30) {
    open_with((tine_scheduler_config){0}, 1, "r=1");
    action f = fork_holding(1);
    submits(1, &f, 5, "r");
    waits(1, &f);
    asks();
    pongs(1, to[1], (const uint64_t[]){5}, 1);
    look();
    expect_result(1, 0, 5, slots_text);
    submits(1, &f, 6, "r");
    pongs(1, to[1], (const uint64_t[]){6}, 1);
    int64_t before = F.now;
    do {
        F.now = tine_scheduler_deadline(F.scheduler);
        tine_scheduler_tick(F.scheduler, F.now);
        took();
    } while (!sent(1, TINE_MSG_RESULT, 0));
    expect_result(1, 0, 6, slots_text);
    cr_assert_lt(F.now - before, 1000000000, "by the clock of this test");
    end(1, &f);
    fixture_close();
}

/* ---- streams ---- */

/* The stream of a task waits for its values to be taken. */
static action begin_stream(bool timed, action *g) {
    open_with((tine_scheduler_config){0}, 1, NULL);
    action f = fork_terms(1, (tine_target){.name = "f"}, 0, &(tine_terms){.timed = timed});
    submits_with(1, &f, 5, (tine_terms){.stream = 1});
    waits(1, &f);
    cr_assert(sent(1, TINE_MSG_TASK, 0));
    *g = *sent(1, TINE_MSG_TASK, 0);
    tine_payload *p = payload_with(8, NULL, 0);
    receive(1, (tine_message){.type = TINE_MSG_YIELD,
                              .task = g->a.message.task,
                              .attempt = g->a.message.attempt,
                              .epoch = g->a.message.epoch,
                              .item = 1,
                              .payload = p});
    tine_payload_unref(p);
    from[1]++;
    waits(1, g);
    return f;
}
static void end_stream(const action *f, const action *g) {
    asks();
    pongs(1, to[1], (const uint64_t[]){5}, f != NULL);
    look();
    cr_assert_eq(count_sent(1, TINE_MSG_RESULT), 0);
    cr_assert_eq(count_sent(1, TINE_MSG_CANCEL), 0);
    if (f) end(1, f);
    end(1, g);
    fixture_close();
}

Test(deadlock, none_of_a_stream_that_a_later_task_may_take, .timeout = 30) {
    action g, f = begin_stream(false, &g);
    end(1, &f);
    from[1]++;
    end_stream(NULL, &g);
}
Test(deadlock, none_of_a_stream_of_a_task_with_a_deadline, .timeout = 30) {
    action g, f = begin_stream(true, &g);
    end_stream(&f, &g);
}

/* ---- labels that no worker has ---- */

static void fork_labelled(uint32_t workers_most) {
    tine_terms gold = {.label = "gold"};
    tine_payload *p = payload_with(8, NULL, 0);
    open_with((tine_scheduler_config){.workers_return = true, .workers_most = workers_most}, 1,
              NULL);
    cr_assert_eq(
        tine_scheduler_fork(F.scheduler, 1, 0, &(tine_target){.name = "f"}, 0, p, &gold, NULL), 0);
    tine_payload_unref(p);
    for (int i = 0; i < 2; i++) {
        took();
        cr_assert(!completed(1));
        F.now += 1000000000;
        tine_scheduler_tick(F.scheduler, F.now);
    }
    took();
}
Test(deadlock, a_label_that_no_worker_has, .timeout = 30) {
    fork_labelled(1);
    const action *f = completed(1);
    cr_assert(f);
    cr_assert_eq(f->a.status, TINE_EDEADLK);
    cr_assert_str_eq(f->text, "task \"f\" cannot run: no worker that serves it has the label "
                              "\"gold\" (TINE_LABELS), and no other worker can join");
    fixture_close();
}
Test(deadlock, none_where_a_worker_with_the_label_may_join, .timeout = 30) {
    fork_labelled(2);
    cr_assert(!completed(1));
    tine_scheduler_stop(F.scheduler);
    took();
    fixture_close();
}

/* ---- none ---- */

/* The deadlock of the first test, if nothing else were to come. */
static action nearly(tine_scheduler_config c, const tine_terms *terms) {
    open_with(c, 1, "r=1");
    action f = fork_terms(1, (tine_target){.name = "f"}, 0, terms);
    submits(1, &f, 5, "r");
    waits(1, &f);
    asks();
    return f;
}
static void expect_none(const action *f) {
    for (int i = 0; i < 3; i++) {
        look();
        cr_assert_eq(count_sent(1, TINE_MSG_RESULT), 0);
    }
    end(1, f);
    cr_assert(sent(1, TINE_MSG_TASK, 0));
    action g = *sent(1, TINE_MSG_TASK, 0);
    end(1, &g);
    fixture_close();
}
static const tine_terms holds = {.resources = "r"};

Test(deadlock, none_while_a_worker_says_nothing, .timeout = 30) {
    action f = nearly((tine_scheduler_config){0}, &holds);
    pongs(1, 0, NULL, 0);
    expect_none(&f);
}
Test(deadlock, none_while_messages_are_under_way, .timeout = 30) {
    action f = nearly((tine_scheduler_config){0}, &holds);
    pongs(1, to[1] - 1, (const uint64_t[]){5}, 1);
    expect_none(&f);
}
Test(deadlock, none_where_nothing_is_waited_for, .timeout = 30) {
    action f = nearly((tine_scheduler_config){0}, &holds);
    pongs(1, to[1], (const uint64_t[]){5}, 1);
    from[1]++; /* it has gone on meanwhile */
    receive(1, (tine_message){.type = TINE_MSG_RELEASE});
    expect_none(&f);
}
Test(deadlock, none_where_a_worker_with_slots_may_join, .timeout = 30) {
    for (uint32_t most = 2; most != 1; most = most == 2 ? UINT32_MAX : 1) {
        action f =
            nearly((tine_scheduler_config){.workers_return = true, .workers_most = most}, &holds);
        pongs(1, to[1], (const uint64_t[]){5}, 1);
        expect_none(&f);
    }
}
Test(deadlock, none_of_a_task_with_a_deadline, .timeout = 30) {
    action f = nearly((tine_scheduler_config){0}, &(tine_terms){.resources = "r", .timed = true});
    pongs(1, to[1], (const uint64_t[]){5}, 1);
    expect_none(&f);
}

/* While something runs or happens, no worker is sent a PING. */
Test(deadlock, looks_cost_nothing_while_work_goes_on, .timeout = 30) {
    open_with((tine_scheduler_config){0}, 1, "r=1");
    action f = fork_holding(1);
    cr_assert_eq(tine_scheduler_deadline(F.scheduler), INT64_MAX);
    waits(1, &f);
    for (uint64_t seq = 5; seq < 9; seq++) {
        look();
        cr_assert_eq(count_sent(0, TINE_MSG_PING), 0);
        submits(1, &f, seq, "r");
    }
    asks();
    pongs(1, 0, NULL, 0);
    end(1, &f);
    fixture_close();
}
