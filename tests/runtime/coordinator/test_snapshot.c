/* A snapshot of a large job: it is encoded whole, bounded, and can be read. */
#include "runtime/coordinator/snapshot.h"
#include "runtime/wire/wire.h"
#include "tests/support/scheduler_fixture.h"

TestSuite(snapshot, .timeout = 20);

enum { WORKERS = 1000 };

static tine_value *snapshot_now(int64_t now, size_t *bytes) {
    tine_snapshot_place place = {.endpoint = "ipc:///x", .host = "a", .now = now};
    tine_payload *p = NULL;
    tine_value *v = NULL;
    cr_assert_eq(tine_snapshot_encode(F.scheduler, &place, &p), TINE_OK);
    *bytes = tine_payload_bytes(p);
    cr_assert_eq(tine_payload_value(p, NULL, &v), TINE_OK, "%s", tine_error_message());
    tine_payload_unref(p);
    return v;
}

static int64_t count(const tine_value *v, const char *key) { return tine_as_int(tine_get(v, key)); }

Test(snapshot, of_a_thousand_workers) {
    fixture_open((tine_scheduler_config){.prefetch_ns = 1});
    size_t bytes;
    tine_scheduler_time(F.scheduler, 5000000000);
    for (tine_peer i = 1; i <= WORKERS; i++) join(i);
    for (uint64_t i = 1; i <= 3 * WORKERS; i++) fork_f(i, i % 2 ? "f" : "g");
    take();
    tine_value *v = snapshot_now(7000000000, &bytes);
    const tine_value *workers = tine_get(v, "workers"), *tasks = tine_get(v, "tasks");
    cr_expect_eq(tine_length(workers), WORKERS);
    cr_expect_eq(count(tasks, "running"), WORKERS);
    cr_expect_eq(count(tasks, "ready"), 2 * WORKERS);
    cr_expect_lt(bytes, 400 * WORKERS);
    for (size_t i = 0; i < WORKERS; i++) {
        const tine_value *w = tine_at(workers, i);
        cr_assert_eq(count(w, "id"), (int64_t)i + 1);
        cr_assert_eq(count(w, "running"), 1);
        cr_assert_str_eq(tine_as_string(tine_get(w, "state")), "running");
        cr_assert_float_eq(tine_as_float(tine_get(w, "age")), 2, 1e-6);
    }
    const tine_value *functions = tine_get(v, "functions");
    cr_assert_eq(tine_length(functions), 2);
    for (size_t i = 0; i < 2; i++) {
        cr_expect_eq(count(tine_at(functions, i), "running"), WORKERS / 2);
        cr_expect_eq(count(tine_at(functions, i), "ready"), WORKERS);
    }
    tine_value_unref(v);
    fixture_close();
}

Test(snapshot, the_task_that_is_shown_is_the_one_that_does_not_wait) {
    fixture_open((tine_scheduler_config){0});
    size_t bytes;
    join(1);
    fork_f(1, "f");
    take();
    action parent = *sent(1, TINE_MSG_TASK, 0);
    submit(1, &parent, 1, "g");
    suspend(1, &parent);
    tine_scheduler_time(F.scheduler, 3000000000);
    take();
    tine_value *v = snapshot_now(3000000000, &bytes);
    const tine_value *w = tine_at(tine_get(v, "workers"), 0);
    cr_expect_str_eq(tine_as_string(tine_get(w, "task")), "g");
    cr_expect_eq(count(w, "suspended"), 1);
    tine_value_unref(v);
    action child = *sent(1, TINE_MSG_TASK, 0);
    cr_assert_str_eq(child.name, "g");
    done(1, &child, 1000);
    take();
    v = snapshot_now(4000000000, &bytes);
    w = tine_at(tine_get(v, "workers"), 0);
    cr_expect_str_eq(tine_as_string(tine_get(w, "task")), "f", "it has resumed");
    cr_expect_float_eq(tine_as_float(tine_get(w, "age")), 1, 1e-6);
    tine_value_unref(v);
    fixture_close();
}

/* Names are the user's, errors a task's: long ones, and ones that end inside a character. */
Test(snapshot, texts_are_cut_between_characters) {
    fixture_open((tine_scheduler_config){0});
    char name[401] = "", text[801] = "";
    size_t bytes;
    for (int i = 0; i < 200; i++) strcat(name, "ä");
    for (int i = 0; i < 400; i++) strcat(text, "ö");
    const char *const functions[] = {name};
    join_as(1, functions, 1, NULL, 0);
    for (uint64_t i = 1; i <= 40; i++) {
        fork_f(i, name);
        take();
        action task = *sent(1, TINE_MSG_TASK, 0);
        done_with(1, &task, TINE_EFAILED, text, 5, 0, NULL, 0);
        take();
    }
    tine_value *v = snapshot_now(1, &bytes);
    const tine_value *failures = tine_get(v, "failures");
    cr_expect_eq(tine_length(failures), 16, "only the last are kept");
    cr_expect_eq(count(tine_at(tine_get(v, "functions"), 0), "failed"), 40);
    cr_expect_lt(bytes, 16 * 400 + 2000);
    tine_value_unref(v);
    fixture_close();
}
