/* What all workers run, and the end of a worker that is asked for. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/coordinator/internal.h"
#include "tests/support/cluster.h"
#include "tests/support/marks.h"

static _Thread_local int64_t level; /* of a worker: inproc's are threads */

TINE_FUNCTION(level_set, "n") {
    level += tine_arg_int(task, 0);
    return tine_int(getpid());
}
TINE_FUNCTION(level_get, "") { return tine_list((int64_t)tine_worker_id(), level); }
TINE_FUNCTION(level_fail, "") { return tine_fail(task, "there is no level"); }
/* On a worker that is started in the place of another one. */
TINE_FUNCTION(level_fail_later, "first") {
    if (tine_worker_id() <= (uint32_t)tine_arg_int(task, 0)) return tine_none();
    return tine_fail(task, "worker %u is late", tine_worker_id());
}
TINE_FUNCTION(initialise_nested, "") {
    tine_value *v;
    tine_future *f = tine_initialise("level_set", 1), *g = tine_fork_everywhere("level_get");
    bool refused = tine_wait(f, &v) == TINE_ESTATE && tine_wait(g, &v) == TINE_ESTATE;
    tine_counts counts;
    return tine_list(refused, tine_count(&counts) == TINE_ESTATE,
                     tine_worker_end(1, 0) == TINE_ESTATE, tine_tasks(NULL, 0) == 0);
}
TINE_FUNCTION(pool_computes_on, "") {
    while (!tine_cancelled(task))
        ;
    return tine_none();
}
/* Computes until it is told, and after. */
TINE_FUNCTION(pool_marks, "began, told") {
    marks_add(tine_arg_string(task, 0), "x");
    while (!tine_cancelled(task))
        ;
    marks_add(tine_arg_string(task, 1), "x");
    return tine_none();
}
/* Never looks. */
TINE_FUNCTION(pool_hangs, "began") {
    marks_add(tine_arg_string(task, 0), "x");
    for (volatile int i = 0;; i++)
        ;
    return NULL;
}
TINE_FUNCTION(pool_waits_for, "x") { return tine_ref(tine_arg(task, 0)); }

/* level_get of each worker: their sum, and that there are n of them. */
static int64_t levels(size_t n) {
    int64_t sum = 0;
    tine_worker_status w[8];
    tine_value *all = cluster_take(tine_fork_everywhere("level_get"));
    cr_assert(tine_length(all) == n && tine_workers(w, 8) == n);
    for (size_t i = 0; i < n; i++) {
        cr_assert_eq(tine_as_int(tine_at(tine_at(all, i), 0)), w[i].id, "another worker ran it");
        sum += tine_as_int(tine_at(tine_at(all, i), 1));
    }
    tine_release(all);
    return sum;
}

TRANSPORT_TEST(initialise, every_worker_runs_it_once, 30) {
    cluster_start(endpoint, 3);
    tine_release(cluster_take(tine_initialise("level_set", 5)));
    cr_assert_eq(levels(3), 15);
    tine_future *argument, *f;
    tine_promise *p = tine_promise_new(&argument);
    f = tine_initialise("level_set", argument);
    cr_assert_eq(levels(3), 15);
    tine_value *two = tine_int(2);
    tine_promise_set(p, two);
    cr_assert_eq(tine_wait(f, NULL), TINE_OK);
    cr_assert_eq(levels(3), 21);
    tine_future *open;
    tine_promise *q = tine_promise_new(&open);
    tine_future *withdrawn = tine_initialise("level_set", open);
    cr_assert_eq(tine_cancel(withdrawn, 0), TINE_OK);
    cr_assert_eq(tine_promise_set(q, two), TINE_OK);
    cr_assert_eq(tine_wait(withdrawn, NULL), TINE_ECANCELED);
    cr_assert_eq(levels(3), 21);
    tine_release(q);
    tine_release(open);
    tine_release(withdrawn);
    tine_value *v = cluster_take(tine_fork("initialise_nested"));
    for (size_t i = 0; i < 4; i++) cr_assert(tine_as_bool(tine_at(v, i)), "check %zu", i);
    tine_release(v);
    tine_release(two);
    tine_release(p);
    tine_release(argument);
    tine_release(f);
    cluster_stop();
}

static void fails(tine_future *f, tine_error e, const char *text) {
    cr_assert_eq(tine_wait(f, NULL), e, "%s", tine_error_message());
    cr_assert(strstr(tine_error_message(), text), "%s", tine_error_message());
    tine_release(f);
}

TRANSPORT_TEST(initialise, failures_are_told, 30) {
    cluster_start(endpoint, 2);
    fails(tine_initialise("level_fail"), TINE_EFAILED, "there is no level");
    fails(tine_initialise("level_gett"), TINE_EUNKNOWN, "level_get");
    fails(tine_fork_everywhere("level_fail"), TINE_EFAILED, "there is no level");
    tine_value *module = tine_module("level_class");
    fails(tine_initialise(module), TINE_EINVAL, "must be a function's name");
    tine_future *f = tine_initialise("level_set", 1);
    cr_assert_eq(tine_cancel(f, 0), tine_done(f) ? TINE_ESTATE : TINE_EINVAL);
    cr_assert_eq(tine_wait(f, NULL), TINE_OK);
    cr_assert_eq(tine_cancel(f, 0), TINE_ESTATE);
    tine_release(f);
    tine_release(module);
    cluster_stop();
}

TRANSPORT_TEST(initialise, a_cancel_of_a_fork_on_every_worker_cancels_its_tasks, 30) {
    marks_start();
    const char *began = marks_path("began"), *told = marks_path("told");
    cluster_start(endpoint, 2);
    tine_future *argument;
    tine_promise *p = tine_promise_new(&argument);
    tine_future *runs = tine_fork_everywhere("pool_marks", began, told),
                *queued = tine_fork_everywhere("pool_marks", began, told),
                *held = tine_fork_everywhere("pool_marks", argument, told);
    marks_await("began", 2);
    cr_assert_eq(tine_cancel(held, 0), TINE_OK);
    cr_assert_eq(tine_cancel(queued, 0), TINE_OK);
    cr_assert_eq(tine_cancel(runs, 0), TINE_OK);
    cr_assert_eq(tine_cancel(runs, 0), TINE_ESTATE);
    marks_await("told", 2);
    fails(held, TINE_ECANCELED, "tine_cancel was called");
    fails(queued, TINE_ECANCELED, "tine_cancel was called");
    fails(runs, TINE_ECANCELED, "tine_cancel was called");
    tine_value *path = tine_string(began);
    cr_assert_eq(tine_promise_set(p, path), TINE_OK);
    cr_assert_eq(levels(2), 0);
    cr_assert_eq(marks_size("began"), 2, "a task ran that was cancelled before it began");
    tine_release(path);
    tine_release(p);
    tine_release(argument);
    cluster_stop();
    marks_end();
}

/* The id of the first worker. */
static uint32_t first_worker(void) {
    tine_worker_status w;
    cr_assert_geq(tine_workers(&w, 1), 1);
    return w.id;
}

TRANSPORT_TEST_REMOTE(initialise, a_worker_in_the_place_of_another_runs_it_first, 30) {
    cluster_start(endpoint, 1);
    tine_release(cluster_take(tine_initialise("level_set", 4)));
    for (int i = 0; i < 3; i++) {
        uint32_t id = first_worker();
        cr_assert_eq(
            tine_worker_end(id, i ? TINE_WORKER_REPLACE | TINE_WORKER_NOW : TINE_WORKER_REPLACE),
            TINE_OK);
        tine_value *v;
        do v = cluster_take(tine_fork_with(TINE_FORK_OPTIONS(.retries = 9), "level_get"));
        while (tine_as_int(tine_at(v, 0)) == id);
        cr_assert_eq(tine_as_int(tine_at(v, 1)), 4, "it has not run the initialiser");
        tine_release(v);
    }
    cluster_stop();
}

int test_program(void) {
    tine_init(NULL, NULL, NULL); /* a worker */
    return 1;
}

TRANSPORT_TEST_REMOTE(initialise, a_worker_that_joins_by_hand_runs_it_first, 40) {
    int out;
    cluster_start(endpoint ? endpoint : "ipc://*", 1);
    tine_release(cluster_take(tine_initialise("level_set", 4)));
    setenv("TINE_WORKER", tine_endpoint(), 1);
    setenv("TINE_LABELS", "late", 1);
    pid_t pid = cluster_program(&out);
    unsetenv("TINE_WORKER");
    unsetenv("TINE_LABELS");
    tine_value *v = cluster_take(tine_fork_with(TINE_FORK_OPTIONS(.label = "late"), "level_get"));
    cr_assert_eq(tine_as_int(tine_at(v, 1)), 4, "it has not run the initialiser");
    tine_release(v);
    cluster_stop();
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    close(out);
}

TRANSPORT_TEST_REMOTE(initialise, a_worker_that_fails_it_later_is_replaced, 30) {
    cluster_start(endpoint, 1);
    uint32_t id = first_worker();
    tine_release(cluster_take(tine_initialise("level_fail_later", (int64_t)id + 2)));
    for (int i = 0; i < 2; i++) { /* the second one runs it well, the fourth one never comes */
        cr_assert_eq(tine_worker_end(first_worker(), TINE_WORKER_REPLACE), TINE_OK);
        tine_release(cluster_take(tine_fork("level_get")));
    }
    tine_future *f = tine_fork("level_get");
    cr_assert_eq(tine_worker_end(first_worker(), TINE_WORKER_REPLACE), TINE_OK);
    tine_future *late = tine_fork("level_get");
    tine_task_status t[4];
    tine_wait(f, NULL);
    cr_assert_eq(tine_wait_for(late, 0.3, NULL), TINE_ETIMEDOUT, "a refused worker ran a task");
    while (!strstr(tine_error_message(), "the last one to join was dropped: an initialiser failed"))
        cr_assert_eq(tine_wait_for(late, 0.3, NULL), TINE_ETIMEDOUT);
    bool waits = false;
    for (size_t n = tine_tasks(t, 4), i = 0; i < n && i < 4; i++)
        waits |= !strcmp(t[i].name, "level_get") && !strcmp(t[i].state, "ready");
    cr_assert(waits);
    tine_release(f);
    tine_release(late);
    cluster_stop();
}

TRANSPORT_TEST_REMOTE(initialise, a_cancel_with_force_ends_every_worker_that_does_not_look, 40) {
    tine_worker_status w[2];
    marks_start();
    cluster_start(endpoint, 2);
    cr_assert_eq(tine_workers(w, 2), 2);
    tine_future *f = tine_fork_everywhere("pool_hangs", marks_path("began"));
    marks_await("began", 2);
    cr_assert_eq(tine_cancel(f, TINE_CANCEL_FORCE), TINE_OK);
    fails(f, TINE_ECANCELED, "tine_cancel was called");
    for (int i = 0; i < 4; i++) {
        tine_value *v = cluster_take(tine_fork("level_get"));
        int64_t id = tine_as_int(tine_at(v, 0));
        cr_assert(id != w[0].id && id != w[1].id, "it was not replaced");
        tine_release(v);
    }
    cluster_stop();
    marks_end();
}

/* A worker in the place of one of those that failed it, or did not know it, comes and works. */
TRANSPORT_TEST_REMOTE(initialise, a_call_that_has_failed_is_withdrawn, 30) {
    cluster_start(endpoint, 1);
    tine_release(cluster_take(tine_initialise("level_set", 4)));
    fails(tine_initialise("level_fail"), TINE_EFAILED, "there is no level");
    fails(tine_initialise("level_nowhere"), TINE_EUNKNOWN, "level_nowhere");
    uint32_t id = first_worker();
    cr_assert_eq(tine_worker_end(id, TINE_WORKER_NOW | TINE_WORKER_REPLACE), TINE_OK);
    tine_value *v = cluster_take(tine_fork("level_get"));
    cr_assert_neq(tine_as_int(tine_at(v, 0)), id);
    cr_assert_eq(tine_as_int(tine_at(v, 1)), 4, "the one that succeeded is not in force");
    tine_release(v);
    cluster_stop();
}

TRANSPORT_TEST_REMOTE(initialise, a_worker_that_is_to_end_ends_its_tasks_first, 30) {
    cluster_start(endpoint, 2);
    tine_worker_status w[2];
    cr_assert_eq(tine_workers(w, 2), 2);
    tine_future *f = tine_fork_with(TINE_FORK_OPTIONS(.worker = w[0].id), "pool_computes_on");
    cr_assert_eq(tine_worker_end(w[0].id, 0), TINE_OK);
    cr_assert_eq(tine_worker_end(w[0].id, 0), TINE_OK);
    for (int i = 0; i < 20; i++) {
        tine_value *v = cluster_take(tine_fork("level_get"));
        cr_assert_eq(tine_as_int(tine_at(v, 0)), w[1].id, "a worker that ends got a task");
        tine_release(v);
    }
    fails(tine_fork_with(TINE_FORK_OPTIONS(.worker = w[0].id), "level_get"), TINE_ELOST, "ended");
    cr_assert_eq(tine_workers(w, 2), 2);
    cr_assert_str_eq(w[0].state, "ending");
    cr_assert_eq(tine_cancel(f, 0), TINE_OK);
    while (tine_worker_count() == 2) tine_release(cluster_take(tine_fork("level_get")));
    cr_assert_eq(levels(1), 0);
    cr_assert_eq(tine_worker_end(w[0].id, 0), TINE_EINVAL);
    cr_assert_eq(tine_worker_end(w[1].id, 64), TINE_EINVAL);
    tine_release(f);
    cluster_stop();
}

static bool process_is_gone(uint32_t pid, const char *token) {
    (void)token;
    return pid == 0;
}

/* Between the end of its process, which the supervisor has seen, and that of its connection. */
TRANSPORT_TEST_REMOTE(initialise, a_worker_whose_process_is_gone_has_ended, 30) {
    cluster_start(endpoint, 1);
    uint32_t id = first_worker();
    tine_coordinator *c = (tine_coordinator *)tine_context_installed();
    bool (*known)(uint32_t pid, const char *token) = c->known_local;
    tine_coordinator_know_local(c, process_is_gone);
    for (int flags = 0; flags < 4; flags++) {
        cr_assert_eq(tine_worker_end(id, flags), TINE_EINVAL);
        cr_assert(strstr(tine_error_message(), "has ended: its process"), "%s",
                  tine_error_message());
    }
    tine_coordinator_know_local(c, known);
    cr_assert_eq(tine_worker_end(id, TINE_WORKER_NOW | TINE_WORKER_REPLACE), TINE_OK);
    cluster_stop();
}

Test(initialise, a_thread_cannot_be_ended, .timeout = 30) {
    cluster_start("inproc://a_thread_cannot_be_ended", 1);
    cr_assert_eq(tine_worker_end(first_worker(), 0), TINE_EINVAL);
    cr_assert(strstr(tine_error_message(), "ipc://"), "%s", tine_error_message());
    cluster_stop();
    cr_assert_eq(tine_worker_end(1, 0), TINE_ESTATE);
}

TRANSPORT_TEST(initialise, tasks_are_listed_and_counted, 30) {
    tine_counts n;
    tine_task_status t[8];
    cr_assert_eq(tine_count(&n), TINE_ESTATE);
    cr_assert_eq(tine_tasks(t, 8), 0);
    cluster_start(endpoint, 1);
    tine_future *promised;
    tine_promise *p = tine_promise_new(&promised);
    tine_release(cluster_take(tine_fork("level_get")));
    tine_future *runs = tine_fork_with(TINE_FORK_OPTIONS(.name = "spin"), "pool_computes_on");
    tine_future *after = tine_fork("pool_waits_for", runs);
    tine_future *held = tine_fork("pool_waits_for", promised);
    cr_assert_eq(tine_tasks(NULL, 0), 3);
    memset(t, 7, sizeof t);
    cr_assert_eq(tine_tasks(t, 1), 3);
    cr_assert_eq(t[1].attempt, 0x07070707, "one more than there is room for was written");
    cr_assert_eq(tine_tasks(t, 8), 3);
    for (int i = 0; i < 3; i++) {
        bool spins = !strcmp(t[i].name, "spin");
        cr_assert_str_eq(t[i].state, spins ? "running" : "waiting");
        cr_assert(spins ? t[i].worker == first_worker() && t[i].id : true);
        cr_assert(t[i].attempt == 1 && t[i].parent == 0 && t[i].seconds >= 0);
    }
    tine_worker_status w;
    cr_assert_eq(tine_workers(&w, 1), 1);
    cr_assert(!strcmp(w.state, "running") && !strcmp(w.task, "spin") && w.memory > 1 << 20);
    cr_assert(w.bytes_sent > 0 && w.bytes_received > 0 && w.seconds >= 0);
    cr_assert_eq(tine_count(&n), TINE_OK);
    cr_assert(n.forked == 3 && n.completed == 1 && n.failed == 0 && n.waiting == 2);
    cr_assert(n.running == 1 && n.ready == 0 && n.suspended == 0);
    cr_assert_eq(tine_count(NULL), TINE_EINVAL);
    tine_cancel(runs, 0);
    tine_release(p);
    cr_assert_eq(tine_drain(20), TINE_OK);
    cr_assert_eq(tine_count(&n), TINE_OK);
    cr_assert(n.failed == 2 && n.waiting == 0);
    tine_release(promised);
    tine_release(runs);
    tine_release(after);
    tine_release(held);
    cluster_stop();
}

/* Waits for a fork on another worker. */
TINE_FUNCTION(pool_forks_on, "worker, began, told") {
    const tine_fork_options there = {.name = "child", .worker = (uint32_t)tine_arg_int(task, 0)};
    tine_value *v;
    tine_future *f = tine_fork_with(&there, "pool_marks", tine_arg(task, 1), tine_arg(task, 2));
    return tine_wait(f, &v) ? NULL : v;
}
TRANSPORT_TEST(initialise, a_fork_of_a_task_is_listed_with_its_parent, 30) {
    tine_worker_status w[2];
    tine_task_status t[2];
    marks_start();
    cluster_start(endpoint, 2);
    cr_assert_eq(tine_workers(w, 2), 2);
    const tine_fork_options here = {.name = "parent", .worker = w[0].id};
    tine_future *f = tine_fork_with(&here, "pool_forks_on", (int64_t)w[1].id, marks_path("began"),
                                    marks_path("told"));
    marks_await("began", 1);
    do cr_assert_eq(tine_tasks(t, 2), 2);
    while (strcmp(t[!strcmp(t[1].name, "parent")].state, "suspended") != 0);
    bool second = !strcmp(t[1].name, "parent");
    const tine_task_status *parent = &t[second], *child = &t[!second];
    cr_assert_str_eq(child->name, "child");
    cr_assert_str_eq(child->state, "running");
    cr_assert(parent->worker == w[0].id && child->worker == w[1].id);
    cr_assert(parent->id && child->parent == parent->id && parent->parent == 0);
    cr_assert_eq(tine_workers(w, 2), 2);
    cr_assert_str_eq(w[0].state, "waiting");
    cr_assert(w[0].suspended == 1 && w[1].suspended == 0 && w[1].running == 1);
    cr_assert_eq(tine_cancel(f, 0), TINE_OK);
    tine_release(f);
    cluster_stop();
    marks_end();
}

TRANSPORT_TEST(initialise, a_shutdown_lets_all_be_done_first, 30) {
    cluster_start(endpoint, 1);
    tine_future *f[50];
    for (int i = 0; i < 50; i++) f[i] = tine_fork("level_get");
    cr_assert_eq(tine_shutdown_after(INFINITY), 0);
    for (int i = 0; i < 50; i++) {
        cr_assert_eq(tine_wait(f[i], NULL), TINE_OK);
        tine_release(f[i]);
    }
    cr_assert_eq(tine_shutdown_after(1), 0, "it has been shut down");
    cluster_start(endpoint, 1);
    f[0] = tine_fork("pool_computes_on");
    cr_assert_eq(tine_shutdown_after(0.01), 1);
    cr_assert_eq(tine_wait(f[0], NULL), TINE_ECANCELED);
    tine_release(f[0]);
}
