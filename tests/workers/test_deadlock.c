/* Deadlocks: each kind is reported to those who wait, with the names of the tasks in it, and the
 * program goes on. */
#include <criterion/criterion.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/cluster.h"

/* Waits for f and releases it: it fails because of a deadlock, and the sentence says which. */
static void expect_deadlock(tine_future *f, const char *sentence) {
    cr_assert(f, "%s", tine_error_message());
    tine_error e = tine_wait(f, NULL);
    cr_assert(e == TINE_EDEADLK, "%s: %s", tine_error_name(e), tine_error_message());
    cr_assert(strstr(tine_error_message(), sentence), "\"%s\" lacks \"%s\"", tine_error_message(),
              sentence);
    tine_release(f);
}

static tine_value *waited(tine_future *f) {
    tine_value *v;
    return !f || tine_wait(f, &v) ? NULL : v;
}

TINE_FUNCTION(dead_one, "") {
    (void)task;
    return tine_int(1);
}

/* ---- slots ---- */

static tine_future *fork_with_slot(const char *function, double deadline) {
    const tine_fork_options takes = {.resources = "r=1", .deadline = deadline};
    return tine_fork_with(&takes, function);
}
/* Its forks need the slot that it has. */
TINE_FUNCTION(dead_parent, "n, deadline=0.0") {
    tine_future *forks[8];
    size_t n = (size_t)tine_arg_int(task, 0);
    for (size_t i = 0; i < n; i++) forks[i] = fork_with_slot("dead_one", tine_arg_float(task, 1));
    return tine_wait_all(forks, n, NULL) ? NULL : tine_none();
}
/* As above, and goes on without them. */
TINE_FUNCTION(dead_mindful, "") {
    (void)task;
    tine_future *f = fork_with_slot("dead_one", 0);
    return tine_int(tine_wait(f, NULL) == TINE_EDEADLK ? 5 : 0);
}

static void expect_slots(const char *endpoint) {
    const tine_fork_options holds = {.resources = "r=1"};
    cluster_start_with(&(tine_options){.endpoint = endpoint, .workers = 1, .slots = "r=1"});
    tine_future *several = tine_fork_with(&holds, "dead_parent", 8),
                *mindful = tine_fork_with(&holds, "dead_mindful");
    expect_deadlock(several, "task \"dead_one\" can never be done: it waits for the slots \"r=1\" "
                             "of \"dead_parent\", which waits for its fork \"dead_one\"");
    cr_assert_eq(cluster_take_int(mindful), 5);
    cr_assert_eq(cluster_take_int(fork_with_slot("dead_one", 0)), 1);
    tine_future *late = tine_fork_with(&holds, "dead_parent", 1, 3.0);
    cr_assert_eq(tine_wait(late, NULL), TINE_ETIMEDOUT, "%s", tine_error_message());
    tine_release(late);
    cluster_stop();
}
Test(deadlock, slots_inproc, .timeout = 60) { expect_slots("inproc://dead-slots"); }
Test(deadlock, slots_ipc, .timeout = 60) { expect_slots(NULL); }

/* The other worker is not replaced, so no slots come with it; and no label. */
Test(deadlock, slots_of_a_worker_that_is_ended, .timeout = 60) {
    tine_worker_status w[2];
    cluster_start_with(&(tine_options){.workers = 2, .slots = "r=1"});
    cr_assert_eq(tine_workers(w, 2), 2);
    cr_assert_eq(tine_worker_end(w[0].id, 0), TINE_OK, "%s", tine_error_message());
    const tine_fork_options holds = {.resources = "r=1"}, gold = {.label = "gold"};
    tine_future *parent = tine_fork_with(&holds, "dead_parent", 1),
                *labelled = tine_fork_with(&gold, "dead_one");
    expect_deadlock(parent, "waits for the slots \"r=1\" of \"dead_parent\"");
    expect_deadlock(labelled, "no worker that serves it has the label \"gold\" (TINE_LABELS)");
    cluster_stop();
}

/* ---- modules with one instance ---- */

static void *box_new(tine_task *task) {
    (void)task;
    return malloc(1);
}
static tine_value *box_inner(tine_task *task) {
    (void)task;
    return tine_int(1);
}
static tine_value *box_outer(tine_task *task) {
    return waited(tine_fork_method(tine_self_module(task), "inner"));
}
/* The other box calls this one back. */
static tine_value *box_call(tine_task *task) {
    return waited(
        tine_fork_method((tine_value *)tine_arg(task, 0), "back", tine_self_module(task)));
}
static tine_value *box_back(tine_task *task) {
    return waited(tine_fork_method((tine_value *)tine_arg(task, 0), "inner"));
}
static const tine_method methods[] = {{"inner", "", box_inner, 0},
                                      {"outer", "", box_outer, 0},
                                      {"call", "other", box_call, 0},
                                      {"back", "other", box_back, 0},
                                      {0}};
static const tine_class dead_box = {"dead_box", "", box_new, free, methods};
TINE_CLASS_FLAGS(dead_box, TINE_MODULE_SINGLE)

/* ---- streams and futures that are passed on ---- */

TINE_FUNCTION(dead_yields, "n") {
    for (int64_t i = 0; i < tine_arg_int(task, 0); i++)
        if (tine_yield(task, tine_int(i))) return NULL;
    return tine_none();
}
/* It waits for the result of a stream whose values it does not take. */
TINE_FUNCTION(dead_reader, "") {
    (void)task;
    return waited(tine_fork_with(&(tine_fork_options){.stream = 1}, "dead_yields", 3));
}
/* The same, beside a fork that it does not wait for: a worker that joins later may run that. */
TINE_FUNCTION(dead_beside, "") {
    const tine_fork_options later = {.label = "later"};
    if (!tine_fork_with(&later, "dead_one")) return NULL;
    return tine_yield(task, tine_int(1)) || tine_yield(task, tine_int(2)) ? NULL : tine_none();
}
TINE_FUNCTION(dead_reader_beside, "") {
    (void)task;
    return waited(tine_fork_with(&(tine_fork_options){.stream = 1}, "dead_beside"));
}
/* It waits for its own future, which its parent has left there. */
static tine_future *own;
TINE_FUNCTION(dead_own, "") {
    (void)task;
    return waited(tine_ref(own)); /* the parent may end first */
}
TINE_FUNCTION(dead_giver, "") {
    (void)task;
    own = tine_fork_with(&(tine_fork_options){.worker = tine_worker_id()}, "dead_own");
    return waited(own);
}

/* The same with a fork that may stay at the worker: then the coordinator does not know of it. */
TINE_FUNCTION(dead_keeper, "") {
    (void)task;
    own = tine_fork("dead_own");
    return waited(own);
}
Test(deadlock, local, .timeout = 60) {
    cluster_start("inproc://dead-local", 1);
    cr_assert_eq(cluster_take_int(tine_fork("dead_one")), 1);
    expect_deadlock(tine_fork("dead_keeper"), "can never be done");
    cr_assert_eq(cluster_take_int(tine_fork("dead_one")), 1);
    cluster_stop();
}

Test(deadlock, beside_a_fork_that_nothing_waits_for, .timeout = 60) {
    cluster_start("ipc://*", 1);
    expect_deadlock(tine_fork("dead_reader_beside"),
                    "task \"dead_beside\" can never be done: it waits for the taking of its "
                    "values by \"dead_reader_beside\"");
    cluster_stop();
}

TRANSPORT_TEST(deadlock, tasks, 60) {
    cluster_start(endpoint, 2);
    tine_value *a = tine_module("dead_box"), *b = tine_module("dead_box"),
               *c = tine_module("dead_box");
    tine_future *outer = tine_fork_method(a, "outer"), *call = tine_fork_method(b, "call", c),
                *reader = tine_fork("dead_reader"), *giver = tine_fork("dead_giver");
    expect_deadlock(outer, "task \"dead_box.inner\" can never be done: it waits for its turn after "
                           "\"dead_box.outer\", which waits for its fork \"dead_box.inner\"");
    expect_deadlock(call, "task \"dead_box.inner\" can never be done: it waits for its turn after "
                          "\"dead_box.call\", which waits for its fork \"dead_box.back\", which "
                          "waits for its fork \"dead_box.inner\"");
    expect_deadlock(reader,
                    "task \"dead_yields\" can never be done: it waits for the taking of its "
                    "values by \"dead_reader\", which waits for its fork \"dead_yields\"");
    expect_deadlock(giver, "task \"dead_own\" can never be done: it waits for its own result");
    cr_assert_eq(cluster_take_int(tine_fork_method(a, "inner")), 1);
    tine_release(a);
    tine_release(b);
    tine_release(c);
    cluster_stop();
}

/* ---- none ---- */

enum { WINDOW = 4096, NAMED = 65536 }; /* forks that a worker may have open, that PONG names */

/* It waits for a fork that is queued at the worker behind all that need slots. */
TINE_FUNCTION(dead_many, "") {
    (void)task;
    for (int i = 0; i < WINDOW; i++)
        if (!fork_with_slot("dead_one", 0)) return NULL;
    return waited(tine_fork("dead_one"));
}
static sem_t started; /* dead_any, dead_promised */

/* The one that ends is the last of more than a PONG names. */
TINE_FUNCTION(dead_any, "") {
    (void)task;
    static tine_future *f[NAMED + 1];
    size_t at = 0;
    tine_value *v;
    const tine_fork_options stream = {.stream = 1, .worker = tine_worker_id()};
    f[0] = tine_fork_with(&stream, "dead_yields", 3);
    for (size_t i = 1; i < NAMED; i++) f[i] = f[0];
    f[NAMED] = fork_with_slot("dead_one", 0);
    sem_post(&started);
    if (tine_wait_any(f, NAMED + 1, &at) || (at != NAMED && tine_wait(f[at], NULL))) return NULL;
    while (tine_next(f[0], &v) == TINE_OK) tine_release(v);
    return tine_none();
}
TINE_FUNCTION(dead_timed, "") {
    (void)task;
    const tine_fork_options own_slot = {.resources = "r=1", .worker = tine_worker_id()};
    return tine_bool(tine_wait_for(tine_fork_with(&own_slot, "dead_one"), 2.3, NULL) ==
                     TINE_ETIMEDOUT);
}
static tine_promise *promise;
TINE_FUNCTION(dead_promised, "") {
    (void)task;
    tine_future *f;
    promise = tine_promise_new(&f);
    sem_post(&started);
    return waited(f);
}

/* Each has the slot of a worker of its own. They go on when the first one ends. */
Test(deadlock, none, .timeout = 60) {
    static const char *const names[] = {"dead_any", "dead_promised", "dead_timed", "dead_many"};
    const tine_fork_options holds = {.resources = "r=1"},
                            stream = {.resources = "r=1", .stream = 1};
    tine_future *first, *f[4];
    tine_value *v;
    sem_init(&started, 0, 0);
    cluster_start_with(
        &(tine_options){.endpoint = "inproc://dead-none", .workers = 5, .slots = "r=1"});
    first = tine_fork_with(&stream, "dead_yields", 3);
    cr_assert_eq(tine_next(first, &v), TINE_OK);
    tine_release(v);
    for (size_t i = 0; i < 4; i++) {
        f[i] = tine_fork_with(&holds, names[i]);
        cr_assert(f[i], "%s", tine_error_message());
        if (i < 2) sem_wait(&started); /* before others take its slot */
    }
    cr_assert_eq(tine_wait(f[2], &v), TINE_OK, "%s", tine_error_message());
    cr_assert(tine_as_bool(v), "its fork ended before");
    tine_release(v);
    cr_assert_eq(tine_promise_set(promise, tine_int(5)), TINE_OK);
    while (tine_next(first, &v) == TINE_OK) tine_release(v);
    for (size_t i = 0; i < 4; i++)
        cr_assert_eq(tine_wait(f[i], NULL), TINE_OK, "%s: %s", names[i], tine_error_message());
    cluster_stop();
}

/* ---- none: tasks that wait for forks which wait for their arguments ---- */

static sem_t slots_taken;
TINE_FUNCTION(dead_second, "a, b=0") { return tine_ref((tine_value *)tine_arg(task, 0)); }
/* It has returned, and ends when its fork is submitted. */
TINE_FUNCTION(dead_leaver, "") {
    (void)task;
    sem_wait(&slots_taken);
    return tine_bool(tine_fork("dead_second", fork_with_slot("dead_one", 0)));
}
/* Its forks have arguments of 1 GiB in all, and another one has to wait for one of them. */
TINE_FUNCTION(dead_full, "") {
    (void)task;
    int64_t bytes = 1 << 26;
    void *data;
    sem_wait(&slots_taken);
    tine_value *large = tine_tensor_new(TINE_U8, 1, &bytes, &data);
    tine_future *f = fork_with_slot("dead_one", 0);
    for (int i = 0; i < 16; i++)
        if (!tine_fork("dead_second", f, large)) return NULL;
    return waited(tine_fork("dead_second", f));
}

/* Each has the slot of a worker of its own. The one of the third worker has a stream, which the
 * program takes late. */
Test(deadlock, none_where_forks_wait_for_their_arguments, .timeout = 60) {
    const tine_fork_options holds = {.resources = "r=1"},
                            stream = {.resources = "r=1", .stream = 1};
    sem_init(&slots_taken, 0, 0);
    cluster_start_with(
        &(tine_options){.endpoint = "inproc://dead-held", .workers = 3, .slots = "r=1"});
    tine_future *first = tine_fork_with(&stream, "dead_yields", 3),
                *f[] = {tine_fork_with(&holds, "dead_leaver"), tine_fork_with(&holds, "dead_full")};
    sem_post(&slots_taken);
    sem_post(&slots_taken);
    tine_error e = tine_wait_failure(f, 2, 2.3, NULL);
    cr_assert(e == TINE_ETIMEDOUT, "%s: %s", tine_error_name(e), tine_error_message());
    cr_assert(!tine_done(f[0]) && !tine_done(f[1]), "there was a slot for the forks");
    while (tine_next(first, NULL) == TINE_OK) {
    }
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(tine_wait(f[i], NULL), TINE_OK, "%s", tine_error_message());
        tine_release(f[i]);
    }
    tine_release(first);
    cluster_stop();
}
