/* Futures that would wait for themselves: a promise, or a continuation, whose value holds a future
 * that waits for it. No wait may be silent for ever. And those that nothing here may wait for. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

#include "tests/support/cluster.h"
#include "tests/support/cpu.h"

TINE_FUNCTION(circle_add, "a, b=1") {
    return tine_int(tine_arg_int(task, 0) + tine_arg_int(task, 1));
}
TINE_FUNCTION(circle_count, "n") {
    for (int64_t i = 1; i <= tine_arg_int(task, 0); i++)
        if (tine_yield(task, tine_int(i))) return NULL;
    return tine_none();
}

/* Whether p refuses a value that holds f, and says so; nobody else has the value. */
static bool refuses(tine_promise *p, tine_future *f, const char *why) {
    tine_value *v = tine_list_of_futures(&f, 1);
    bool refused =
        tine_promise_set(p, v) == TINE_EDEADLK && strstr(tine_error_message(), why) != NULL;
    tine_release(v);
    return refused;
}

static bool gives(tine_promise *p, int64_t i) {
    tine_value *v = tine_int(i);
    tine_error e = tine_promise_set(p, v);
    tine_release(v);
    return e == TINE_OK;
}

static int64_t taken(tine_future *f) {
    tine_value *v = NULL;
    int64_t i = tine_wait(f, &v) ? -1 : tine_as_int(v);
    tine_release(v);
    return i;
}

static void release_all(tine_future *const *f, size_t n) {
    for (size_t i = 0; i < n; i++) tine_release(f[i]);
}

static tine_value *passes(tine_future *f, void *ctx) {
    (void)ctx;
    tine_value *v;
    return tine_wait(f, &v) ? NULL : v;
}

/* 1: each kind of future that waits for a promise is refused by it, and it can still be set. */
static int64_t follow_a_promise(void) {
    tine_future *f;
    tine_promise *p = tine_promise_new(&f);
    tine_future *sum = tine_fork("circle_add", f, 2), *after = tine_then(sum, passes, NULL),
                *all = tine_when_all(&after, 1), *any = tine_when_any(&all, 1),
                *stream = tine_fork_with(TINE_FORK_OPTIONS(.stream = 1), "circle_count", f),
                *value = tine_next_future(stream);
    int64_t good = refuses(p, f, "its own future") &&
                   refuses(p, sum, "the future of task \"circle_add\", which waits for it") &&
                   refuses(p, after, "a future that waits for it") && refuses(p, all, "for it") &&
                   refuses(p, any, "for it") && refuses(p, stream, "task \"circle_count\"") &&
                   refuses(p, value, "for it") && !tine_done(f);
    good = good && gives(p, 3) && taken(sum) == 5 && taken(after) == 5 && taken(value) == 1;
    release_all((tine_future *[]){f, sum, after, all, any, stream, value}, 7);
    tine_release(p);
    return good;
}

/* 1: the last of three promises that follow each other is refused. */
static int64_t follow_each_other(void) {
    tine_future *f[3];
    tine_promise *p[3];
    for (int i = 0; i < 3; i++) p[i] = tine_promise_new(&f[i]);
    int64_t good = 1;
    for (int i = 0; i < 2; i++) {
        tine_value *next = tine_future_value(f[i + 1]);
        good = good && tine_promise_set(p[i], next) == TINE_OK;
        tine_release(next);
    }
    good = good && refuses(p[2], f[0], "a future that waits for it") && gives(p[2], 7) &&
           taken(f[0]) == 7;
    release_all(f, 3);
    for (int i = 0; i < 3; i++) tine_release(p[i]);
    return good;
}

/* 1: what follows from the first of several can be done as long as another of them can. */
static int64_t follow_the_first(void) {
    tine_future *f[2], *same[2];
    tine_promise *p[2];
    for (int i = 0; i < 2; i++) p[i] = tine_promise_new(&f[i]);
    tine_future *any = tine_when_any(f, 2), *sum = tine_fork("circle_add", any);
    for (int i = 0; i < 2; i++) same[i] = tine_then(f[0], passes, NULL);
    tine_future *none = tine_when_any(same, 2);
    tine_value *v = tine_future_value(sum);
    int64_t good = refuses(p[0], none, "a future that waits for it") &&
                   tine_promise_set(p[0], v) == TINE_OK && gives(p[1], 4) && taken(sum) == 5 &&
                   taken(f[0]) == 5 && taken(none) == 5;
    tine_release(v);
    release_all((tine_future *[]){f[0], f[1], same[0], same[1], any, sum, none}, 7);
    for (int i = 0; i < 2; i++) tine_release(p[i]);
    return good;
}

static tine_value *future_of(tine_future *f, void *ctx) {
    (void)f;
    return tine_future_value(*(tine_future **)ctx);
}
/* 1: a continuation that returns its own future, or one that waits for it, fails. */
static int64_t follow_a_continuation(void) {
    tine_future *f, *own = NULL, *sum = NULL;
    tine_promise *p = tine_promise_new(&f);
    own = tine_then(f, future_of, &own);
    tine_future *after = tine_then(f, future_of, &sum);
    sum = tine_fork("circle_add", after);
    int64_t good = gives(p, 1) && tine_wait(own, NULL) == TINE_EDEADLK &&
                   strstr(tine_error_message(), "its own future") != NULL;
    good = good && tine_wait(sum, NULL) == TINE_EDEADLK &&
           strstr(tine_error_message(), "task \"circle_add\", which waits for it") != NULL;
    release_all((tine_future *[]){f, own, after, sum}, 4);
    tine_release(p);
    return good;
}

static int64_t follow(int64_t how) {
    return how == 0   ? follow_a_promise()
           : how == 1 ? follow_each_other()
           : how == 2 ? follow_the_first()
                      : follow_a_continuation();
}
TINE_FUNCTION(circle_follow, "how") { return tine_int(follow(tine_arg_int(task, 0))); }

TRANSPORT_TEST(circles, futures_that_would_wait_for_themselves_are_refused, 30) {
    cluster_start(endpoint, 1);
    for (int how = 0; how < 4; how++) {
        cr_expect_eq(follow(how), 1, "%d in the program: %s", how, tine_error_message());
        cr_expect_eq(cluster_take_int(tine_fork("circle_follow", how)), 1, "%d in a task", how);
    }
    cluster_stop();
}

typedef struct given {
    tine_promise *promise;
    tine_value *value;
} given;
static void *give(void *arg) {
    const given *g = arg;
    tine_promise_set(g->promise, g->value);
    tine_release(g->promise);
    return NULL;
}
/* Another thread cannot look at what waits in the task: the future fails instead. */
TINE_FUNCTION(circle_of_a_thread, "") {
    tine_future *f;
    pthread_t thread;
    given g = {tine_ref(tine_promise_new(&f)), NULL};
    tine_future *sum = tine_fork("circle_add", f);
    g.value = tine_list(sum);
    if (pthread_create(&thread, NULL, give, &g)) return tine_fail(task, "no thread");
    tine_error e = tine_wait(sum, NULL);
    pthread_join(thread, NULL);
    return tine_int(e == TINE_EDEADLK && tine_wait(f, NULL) == TINE_EDEADLK);
}
TRANSPORT_TEST(circles, one_that_a_thread_of_a_task_closes_fails, 30) {
    cluster_start(endpoint, 1);
    cr_assert_eq(cluster_take_int(tine_fork("circle_of_a_thread")), 1);
    cluster_stop();
}

/* Each value is looked at once, however many futures wait for the promise. */
Test(circles, many_futures_wait_for_one_that_follows_another, .timeout = 60) {
    enum { N = 100000 };
    static tine_future *sums[N];
    tine_future *f, *last;
    cluster_start("inproc://many-follow", 1);
    tine_promise *p = tine_promise_new(&f), *q = tine_promise_new(&last);
    for (int i = 0; i < N; i++) sums[i] = tine_fork("circle_add", f, i);
    tine_value *follows = tine_future_value(last);
    cr_assert(refuses(p, sums[N - 1], "for it"));
    cr_assert_eq(tine_promise_set(p, follows), TINE_OK);
    cr_assert(gives(q, 1));
    for (int i = 0; i < N; i++) cr_assert_eq(cluster_take_int(sums[i]), i + 1);
    tine_release(follows);
    release_all((tine_future *[]){f, last}, 2);
    tine_release(p);
    tine_release(q);
    cluster_stop();
}

/* A look for a circle at each promise would go through all of the chain before it. */
Test(circles, a_chain_of_promises_costs_in_proportion_to_its_length, .timeout = 60) {
    enum { N = 100000 };
    static tine_promise *p[N];
    static tine_future *f[N], *after[N];
    cluster_start("inproc://chain", 1);
    for (int i = 0; i < N; i++) p[i] = tine_promise_new(&f[i]);
    for (int i = 0; i < N; i++) after[i] = tine_when_any(&f[i], 1);
    for (int i = 0; i + 1 < N; i++) {
        tine_value *next = tine_future_value(after[i + 1]);
        cr_assert_eq(tine_promise_set(p[i], next), TINE_OK);
        tine_release(next);
    }
    cr_assert(gives(p[N - 1], 1));
    cr_assert_eq(tine_wait(f[0], NULL), TINE_OK);
    release_all(f, N);
    release_all(after, N);
    for (int i = 0; i < N; i++) tine_release(p[i]);
    cluster_stop();
}

/* N futures that wait for N promises: each look goes through all of them. */
Test(circles, one_through_hundreds_of_futures_is_found, .timeout = 60) {
    enum { N = 300 };
    static tine_promise *p[N];
    static tine_future *f[N], *after[N];
    tine_future *open;
    cluster_start("inproc://hundreds", 1);
    tine_promise *last = tine_promise_new(&open);
    for (int i = 0; i < N; i++) p[i] = tine_promise_new(&f[i]);
    tine_future *all = tine_when_all(f, N), *follows = tine_when_all(&open, 1);
    for (int i = 0; i < N; i++) after[i] = tine_then(all, passes, NULL);
    tine_value *v = tine_future_value(follows);
    for (int i = 1; i < N; i++) cr_assert_eq(tine_promise_set(p[i], v), TINE_OK);
    cr_assert(refuses(p[0], after[N - 1], "a future that waits for it"));
    cr_assert(gives(p[0], 1) && gives(last, 1));
    for (int i = 0; i < N; i++) cr_assert_eq(tine_wait(after[i], NULL), TINE_OK);
    tine_release(v);
    release_all(f, N);
    release_all(after, N);
    release_all((tine_future *[]){open, all, follows}, 3);
    for (int i = 0; i < N; i++) tine_release(p[i]);
    tine_release(last);
    cluster_stop();
}

static void does_nothing(tine_future *f, void *ctx) { (void)f, (void)ctx; }
/* The CPU time of completing n promises with a future for which 4 n others wait: the values of a
 * stream, or callbacks. */
static double seconds_of_sets(bool stream, size_t n) {
    enum { MOST = 8000 };
    static tine_promise *p[MOST];
    static tine_future *f[MOST], *values[4 * MOST], *open;
    tine_promise *last = tine_promise_new(&open);
    for (size_t i = 0; i < n; i++) p[i] = tine_promise_new(&f[i]);
    tine_future *all = tine_when_all(f, n), *follows = tine_when_all(&open, 1),
                *counts = tine_fork_with(TINE_FORK_OPTIONS(.stream = 1), "circle_count", all);
    for (size_t i = 0; i < 4 * n; i++) {
        values[i] = stream ? tine_next_future(counts) : NULL;
        if (!stream) tine_on_done(all, does_nothing, NULL);
    }
    tine_value *v = tine_future_value(follows);
    double seconds = -cpu_seconds();
    for (size_t i = 0; i < n; i++) cr_assert_eq(tine_promise_set(p[i], v), TINE_OK);
    seconds += cpu_seconds();
    tine_release(v);
    tine_cancel(counts, 0);
    cr_assert(gives(last, 1));
    release_all(values, stream ? 4 * n : 0);
    release_all(f, n);
    release_all((tine_future *[]){open, all, follows, counts}, 4);
    for (size_t i = 0; i < n; i++) tine_release(p[i]);
    tine_release(last);
    return seconds;
}
/* Looks that go through all that waits would take 64 times as long, not 8 times. */
Test(circles, looks_cost_in_proportion_to_what_waits, .timeout = 60) {
    cluster_start("inproc://much-waits", 1);
    for (int stream = 0; stream < 2; stream++) {
        seconds_of_sets(stream, 1000); /* after it nothing is left of what is free once */
        double few = seconds_of_sets(stream, 1000), many = seconds_of_sets(stream, 8000);
        cr_expect_lt(many, 28 * few, "%d: %g s with 1,000, %g s with 8,000", stream, few, many);
    }
    cluster_stop();
}

static tine_future *of_the_program;
/* On a worker that is a thread of the program. */
TINE_FUNCTION(circle_follows_the_program, "") {
    (void)task;
    tine_future *sum = tine_fork("circle_add", 1);
    if (tine_wait(sum, NULL)) return NULL;
    return tine_int(tine_wait_for(tine_then(sum, future_of, &of_the_program), 5, NULL));
}
Test(circles, a_continuation_takes_no_pending_future_of_another_context, .timeout = 30) {
    cluster_start("inproc://of-the-program", 1);
    tine_promise *p = tine_promise_new(&of_the_program);
    cr_assert_eq(cluster_take_int(tine_fork("circle_follows_the_program")), TINE_EINVAL);
    cr_assert(gives(p, 1));
    tine_release(of_the_program);
    tine_release(p);
    cluster_stop();
}

/* Nor does one of a fork that was refused, because Tine did not run: it is of no context. */
Test(circles, a_continuation_of_a_fork_without_a_context_takes_no_pending_future, .timeout = 30) {
    tine_future *f, *refused = tine_fork("circle_add", 1);
    cr_assert_eq(tine_wait(refused, NULL), TINE_ESTATE);
    cluster_start("inproc://no-context", 1);
    tine_promise *p = tine_promise_new(&f);
    tine_future *sum = tine_fork("circle_add", f), *after = tine_then(refused, future_of, &sum);
    cr_assert_eq(tine_wait(after, NULL), TINE_EINVAL);
    cr_assert(gives(p, 1));
    cr_assert_eq(taken(sum), 2);
    release_all((tine_future *[]){f, refused, sum, after}, 4);
    tine_release(p);
    cluster_stop();
}
