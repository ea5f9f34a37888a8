/* The executor's small results that go to other workers directly, and those that come from them. */
#include "tests/support/executor_fixture.h"

enum { RESULT = 20, INPUT = 22, OTHER = 5 };

static void give_task(uint64_t task) {
    hear_with((tine_message){.type = TINE_MSG_TASK,
                             .task = task,
                             .attempt = 1,
                             .epoch = 3,
                             .object = RESULT,
                             .target = {.name = "f"}},
              NULL, 0);
}

static void told_to_pass(uint64_t task, uint64_t number) {
    const uint64_t pair[] = {task, number};
    hear((tine_message){.type = TINE_MSG_PASS, .ids = pair, .n_ids = 2});
}

static void end_with(uint64_t task, size_t bytes, const tine_object *refs, size_t n) {
    tine_payload *p = tine_payload_new(bytes, 0, n);
    memset(p->body, 0, bytes);
    for (size_t i = 0; i < n; i++) p->refs[i] = refs[i];
    cr_assert_eq(start(), task);
    tine_executor_done(A, task, TINE_OK, p, NULL, 5);
    tine_payload_unref(p);
    take();
}

static bool comes(tine_object id, tine_error status, const tine_object *refs, size_t n) {
    tine_payload *p = status ? NULL : payload_with(refs, n);
    tine_message m = {.type = TINE_MSG_OBJECT, .object = id, .status = status, .payload = p};
    m.text = status ? "lost" : NULL;
    bool taken = tine_executor_passed(A, &m);
    tine_payload_unref(p);
    return taken;
}

static void open_unwelcome(void) {
    tine_hello hello = {
        .version = 1, .pid = 9, .functions = (const char *const[]){"f"}, .n_functions = 1};
    cr_assert_eq(tine_executor_new(&A, &hello, TINE_EXECUTOR_STAYS, TINE_EXECUTOR_QUEUED), TINE_OK);
}

/* By a coordinator that is told to whom results are passed. */
static void open_telling(void) {
    open_unwelcome();
    hear((tine_message){
        .type = TINE_MSG_WELCOME, .epoch = 3, .window = 4, .flags = TINE_WELCOME_PASSED});
    take();
}

static bool says(const act *pass, tine_object object, uint64_t number) {
    return pass && pass->a.message.n_ids == 2 && pass->ids[0] == object && pass->ids[1] == number;
}

Test(executor_pass, a_done_says_to_whom_its_result_is_passed, .timeout = 20) {
    open_telling();
    give_task(1);
    told_to_pass(1, OTHER);
    told_to_pass(1, OTHER + 1);
    end_with(1, 8, NULL, 0);
    const act *done = sent(TINE_MSG_DONE_PASSED, 0), *pass = found(TINE_EXECUTOR_PASS, 0);
    cr_assert(done && done->a.message.payload && pass && done < pass);
    cr_assert_eq(done->a.message.n_ids, 2);
    cr_expect(done->ids[0] == OTHER && done->ids[1] == OTHER + 1);
    cr_expect_null(sent(TINE_MSG_DONE, 0));
    give_task(2);
    told_to_pass(2, OTHER);
    end_with(2, TINE_MAX_PASSED + 1, NULL, 0);
    cr_expect(sent(TINE_MSG_DONE, 0), "it is too large");
    give_task(3);
    end_with(3, 8, NULL, 0);
    cr_expect(sent(TINE_MSG_DONE, 0), "to nobody");
    close_executor();
}

Test(executor_pass, what_could_not_be_passed_is_said, .timeout = 20) {
    open_telling();
    tine_executor_not_passed(A, RESULT, OTHER);
    tine_executor_not_passed(A, 0, OTHER);
    take();
    cr_expect(says(sent(TINE_MSG_PASS, 0), RESULT, OTHER));
    cr_expect(says(sent(TINE_MSG_PASS, 1), 0, OTHER));
    close_executor();
    open_executor(4);
    tine_executor_not_passed(A, RESULT, OTHER);
    take();
    cr_expect_null(sent(TINE_MSG_PASS, 0), "this coordinator sends everything");
    close_executor();
}

/* The coordinator sends it only if it is asked to. */
Test(executor_pass, what_comes_too_early_or_damaged_is_asked_for, .timeout = 20) {
    tine_object early = INPUT, damaged = INPUT + 2;
    open_telling();
    cr_expect_not(comes(early, TINE_OK, NULL, 0), "its task has not come");
    take();
    cr_assert(sent(TINE_MSG_FETCH, 0) && sent(TINE_MSG_FETCH, 0)->a.message.object == early);
    give_with(1, 0, &early, 1);
    give_object(early, NULL, 0);
    cr_expect_eq(start(), 1);
    cr_expect_not(comes(early, TINE_OK, NULL, 0), "it is here");
    give_with(2, 0, &damaged, 1);
    cr_expect_not(comes(damaged, TINE_OK, &early, 1), "it mentions another one");
    take();
    cr_assert(sent(TINE_MSG_FETCH, 0) && !sent(TINE_MSG_FETCH, 1));
    cr_expect_eq(sent(TINE_MSG_FETCH, 0)->a.message.object, damaged);
    give_object(damaged, NULL, 0);
    cr_expect_eq(start(), 2);
    finish(1);
    finish(2);
    drop(early);
    drop(damaged);
    cr_expect_not(comes(0, TINE_OK, NULL, 0), "no object");
    cr_expect_eq(objects(), 0);
    close_executor();
}

/* The coordinator counts it as passed: the task that needs it would wait for ever. */
Test(executor_pass, what_comes_before_welcome_is_asked_for, .timeout = 20) {
    tine_object early = INPUT;
    open_unwelcome();
    cr_expect_not(comes(early, TINE_OK, NULL, 0));
    take();
    const act *hello = sent(TINE_MSG_HELLO, 0), *fetch = sent(TINE_MSG_FETCH, 0);
    cr_assert(hello && fetch && hello < fetch && !sent(TINE_MSG_FETCH, 1));
    cr_expect_eq(fetch->a.message.object, early);
    hear((tine_message){
        .type = TINE_MSG_WELCOME, .epoch = 3, .window = 4, .flags = TINE_WELCOME_PASSED});
    give_with(1, 0, &early, 1);
    cr_expect_eq(start(), 0);
    give_object(early, NULL, 0);
    cr_expect_eq(start(), 1);
    finish(1);
    drop(early);
    cr_expect_eq(objects(), 0);
    close_executor();
}

Test(executor_pass, a_small_result_is_passed_once_to_each_behind_its_done, .timeout = 20) {
    open_executor(4);
    give_task(1);
    told_to_pass(1, OTHER);
    told_to_pass(1, OTHER);
    told_to_pass(1, OTHER + 1);
    end_with(1, 8, NULL, 0);
    const act *done = sent(TINE_MSG_DONE, 0), *pass = found(TINE_EXECUTOR_PASS, 0);
    cr_assert(done && done->a.message.payload && pass && done < pass);
    cr_expect_eq(pass->a.ticket, OTHER);
    cr_expect_eq(pass->a.object, RESULT);
    cr_expect_eq(found(TINE_EXECUTOR_PASS, 1)->a.ticket, OTHER + 1);
    cr_expect_null(found(TINE_EXECUTOR_PASS, 2));
    told_to_pass(1, OTHER); /* it has ended */
    take();
    cr_expect_null(found(TINE_EXECUTOR_PASS, 0));
    close_executor();
}

Test(executor_pass, a_large_result_or_one_that_mentions_objects_or_an_error_is_not, .timeout = 20) {
    tine_object mentioned = 8;
    open_executor(4);
    for (uint64_t task = 1; task <= 3; task++) {
        give_task(task);
        told_to_pass(task, OTHER);
        if (task < 3) end_with(task, task == 1 ? TINE_MAX_PASSED + 1 : 8, &mentioned, task - 1);
    }
    cr_assert_eq(start(), 3);
    tine_executor_done(A, 3, TINE_EFAILED, NULL, "no", 5);
    take();
    cr_expect(sent(TINE_MSG_DONE, 0) && !found(TINE_EXECUTOR_PASS, 0));
    close_executor();
}

/* The coordinator defers such a DONE until it has what was sent before. */
Test(executor_pass, a_result_of_a_task_that_has_sent_something_is_not, .timeout = 20) {
    tine_payload *p = payload_with(NULL, 0);
    tine_object id;
    open_executor(4);
    give_task(1);
    told_to_pass(1, OTHER);
    cr_assert_eq(start(), 1);
    cr_assert_eq(tine_executor_put(A, 1, NULL, p, &id), TINE_OK);
    tine_executor_done(A, 1, TINE_OK, p, NULL, 5);
    tine_payload_unref(p);
    take();
    cr_assert(sent(TINE_MSG_OBJECT, 0) && sent(TINE_MSG_DONE, 0));
    cr_expect_eq(sent(TINE_MSG_DONE, 0)->a.message.seq, 1);
    cr_expect_null(found(TINE_EXECUTOR_PASS, 0));
    close_executor();
}

/* The coordinator is woken later only for a result that whoever waits for it has already. */
Test(executor_pass, only_a_result_that_is_passed_is_held_back, .timeout = 20) {
    tine_payload *small = payload_with(NULL, 0);
    tine_payload *large = tine_payload_new(TINE_MAX_PASSED + 1, 0, 0);
    tine_object id;
    open_executor(4);
    give_task(1);
    cr_assert_eq(start(), 1);
    cr_expect_not(tine_executor_passes(A, 1, small), "nobody waits for it");
    told_to_pass(1, OTHER);
    cr_expect_not(tine_executor_passes(A, 1, small), "no further task is here");
    give(2, 0);
    cr_expect(tine_executor_passes(A, 1, small));
    cr_expect_not(tine_executor_passes(A, 1, large));
    cr_assert_eq(tine_executor_put(A, 1, NULL, small, &id), TINE_OK);
    cr_expect_not(tine_executor_passes(A, 1, small), "its DONE may be deferred");
    tine_payload_unref(small);
    tine_payload_unref(large);
    take();
    close_executor();
}

Test(executor_pass, a_module_is_not_taken, .timeout = 20) {
    tine_object module = INPUT + 1;
    cr_assert(tine_object_is_module(module));
    open_executor(4);
    cr_assert_not(tine_executor_fetch(A, module, NULL, NULL));
    cr_expect_not(comes(module, TINE_OK, NULL, 0), "only the coordinator names its class");
    give_object(module, NULL, 0);
    take();
    cr_expect_str_eq(found(TINE_EXECUTOR_OBJECT, 0)->text, "C");
    drop(module);
    close_executor();
}

Test(executor_pass, a_task_starts_with_what_another_worker_passed, .timeout = 20) {
    tine_object id = INPUT;
    open_executor(4);
    give_with(1, 0, &id, 1);
    cr_assert_eq(start(), 0);
    cr_assert(comes(INPUT, TINE_OK, NULL, 0));
    cr_assert_eq(start(), 1);
    give_object(INPUT, NULL, 0); /* from the coordinator, too */
    cr_expect_not(comes(INPUT, TINE_OK, NULL, 0), "it is here");
    finish(1);
    drop(INPUT);
    cr_expect_eq(objects(), 0);
    close_executor();
}

Test(executor_pass, what_is_not_awaited_is_not_taken, .timeout = 20) {
    tine_object ids[] = {INPUT, INPUT + 2};
    open_executor(4);
    cr_expect_not(comes(INPUT, TINE_OK, NULL, 0), "no task needs it");
    give_with(1, 0, ids, 2);
    cr_expect_not(comes(INPUT, TINE_ELOST, NULL, 0), "only the coordinator says that it is lost");
    cr_expect_not(comes(INPUT, TINE_OK, &ids[1], 1), "it mentions another one");
    hear((tine_message){.type = TINE_MSG_REACH, .object = INPUT, .seq = 9, .text = "tcp://h:1"});
    cr_expect_not(comes(INPUT, TINE_OK, NULL, 0), "it is fetched");
    cr_expect(comes(INPUT + 2, TINE_OK, NULL, 0));
    cr_expect_eq(start(), 0);
    tine_executor_reached(A, INPUT, NULL, "it has gone", false);
    give_object(INPUT, NULL, 0);
    cr_assert_eq(start(), 1);
    finish(1);
    drop(INPUT);
    drop(INPUT + 2);
    cr_expect_not(comes(INPUT, TINE_OK, NULL, 0), "it was dropped");
    cr_expect_eq(objects(), 0);
    close_executor();
}
