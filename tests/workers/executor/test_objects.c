/* The executor's objects: tasks and results that wait for them, modules, drops. */
#include "tests/support/executor_fixture.h"

TestSuite(executor_objects, .timeout = 20);

Test(executor_objects, a_task_waits_for_the_values_it_mentions_which_come_by_themselves) {
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

Test(executor_objects, a_value_s_own_values_are_fetched_too) {
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

Test(executor_objects, a_task_whose_value_cannot_be_had_fails) {
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

Test(executor_objects, a_module_is_delivered_when_its_arguments_are_here) {
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

Test(executor_objects, a_drop_makes_it_forget_also_when_it_overtakes_the_object) {
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

Test(executor_objects, a_result_waits_for_the_values_it_mentions) {
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

Test(executor_objects, a_long_chain_of_values_settles_without_recursion) {
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

Test(executor_objects, one_that_waits_for_an_object_is_answered_at_once) {
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
