/* Promises, continuations, combinations, completers, waits, cancels, deadlines, retries,
 * priorities, places, names, streams and modules with one instance over mpi://:
 *   mpirun -n 1 build/mpi/tasks : -n 1 build/mpi/tasks --tine-labels=left : …
 *   (tests/runtime/api/test_promises.c) */
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/mpi/take.h"

TINE_FUNCTION(add, "a, b=1") { return tine_int(tine_arg_int(task, 0) + tine_arg_int(task, 1)); }

static tine_value *twice(tine_future *f, void *ctx) {
    (void)ctx;
    tine_value *v = NULL;
    if (tine_wait(f, &v)) return NULL;
    int64_t i = tine_as_int(v);
    tine_release(v);
    return tine_int(2 * i);
}

/* (5 + 1) * 2 twice over: 6 -> 12, and 12 + 30 */
static int64_t promises(void) {
    tine_future *f;
    tine_promise *p = tine_promise_new(&f);
    tine_future *a = tine_fork("add", f), *b = tine_then(a, twice, NULL), *two[] = {b, a},
                *all = tine_when_all(two, 2), *any = tine_when_any(&b, 1),
                *sum = tine_fork("add", any, 30);
    tine_value *five = tine_int(5);
    tine_promise_set(p, five);
    int64_t i = tine_wait(all, NULL) ? -1 : take(sum);
    tine_future *held[] = {f, a, b, all, any};
    for (int k = 0; k < 5; k++) tine_release(held[k]);
    tine_release(five);
    tine_release(p);
    return i;
}

static int completed(void) {
    tine_future *f[100];
    size_t index;
    int n = 0;
    for (int i = 0; i < 100; i++) f[i] = tine_fork("add", i);
    tine_completer *c = tine_as_completed(f, 100);
    while (tine_completer_next(c, INFINITY, &index) == TINE_OK)
        n += tine_done(f[index]) && take(f[index]) == (int64_t)index + 1;
    tine_release(c);
    return n;
}

/* A promise that nobody holds fails what waits for it; a value that waits for it is refused. */
static int broken(void) {
    tine_future *f, *g;
    tine_promise *p = tine_promise_new(&f), *q = tine_promise_new(&g);
    tine_future *a = tine_fork("add", f), *b = tine_fork("add", g);
    tine_value *circle = tine_list(b);
    int n = tine_promise_set(q, circle) == TINE_EDEADLK &&
            strstr(tine_error_message(), "task \"add\", which waits for it");
    tine_release(p);
    n += tine_wait(a, NULL) == TINE_ECANCELED &&
         strstr(tine_error_message(), "the promise was released before it was completed");
    n += tine_promise_fail(q, TINE_EIO, "no %s", "disk") == TINE_OK;
    n += tine_wait(b, NULL) == TINE_EIO && strstr(tine_error_message(), "no disk");
    tine_future *held[] = {f, g, a, b};
    for (int k = 0; k < 4; k++) tine_release(held[k]);
    tine_release(circle);
    tine_release(q);
    return n;
}

/* Until it is told. */
TINE_FUNCTION(spin, "") {
    while (!tine_cancelled(task))
        ;
    return tine_int(1);
}

/* One by tine_cancel, one by its deadline; then both workers are free again. */
static int cancelled(void) {
    tine_future *f[2] = {tine_fork("spin"),
                         tine_fork_with(TINE_FORK_OPTIONS(.deadline = 0.2), "spin")};
    int n = tine_wait(f[1], NULL) == TINE_ETIMEDOUT;
    n += tine_cancel(f[0], 0) == TINE_OK && tine_wait(f[0], NULL) == TINE_ECANCELED;
    for (int i = 0; i < 2; i++) tine_release(f[i]);
    for (int i = 0; i < 8; i++) n += take(tine_fork("add", i)) == i + 1;
    return n;
}

/* Its forks keep both workers busy until they are told. */
TINE_FUNCTION(spins, "") {
    (void)task;
    tine_future *f[2] = {tine_fork("spin"), tine_fork("spin")};
    return tine_wait_all(f, 2, NULL) ? NULL : tine_none();
}

/* With their forks, by tine_cancel and by the release of an owned one. */
static int nested(void) {
    tine_future *f[2] = {tine_fork("spins"),
                         tine_fork_with(TINE_FORK_OPTIONS(.owned = true), "spins")};
    int n = tine_wait_for(f[0], 0.05, NULL) == TINE_ETIMEDOUT;
    n += tine_cancel(f[0], 0) == TINE_OK && tine_wait(f[0], NULL) == TINE_ECANCELED;
    n += tine_wait_for(f[1], 0.05, NULL) == TINE_ETIMEDOUT;
    for (int i = 0; i < 2; i++) tine_release(f[i]);
    for (int i = 0; i < 8; i++) n += take(tine_fork("add", i)) == i + 1;
    return n;
}

TINE_FUNCTION(fails, "") { return tine_fail(task, "as it is to"); }

/* Deadlines of waits, the first failure, which are done, and a descriptor, while one runs. */
static int waited(void) {
    tine_future *f[2] = {tine_fork("spin"), tine_fork("fails")};
    size_t index;
    bool done[2];
    int n = tine_wait_failure(f, 2, 30, &index) == TINE_EFAILED && index == 1;
    n += tine_wait_any_for(f, 1, 0.05, NULL) == TINE_ETIMEDOUT;
    n += tine_wait_all_for(f, 2, 0.05, NULL) == TINE_ETIMEDOUT;
    n += tine_which_done(f, 2, done) == 1 && !done[0] && done[1];
    tine_completer *c = tine_as_completed(f, 1);
    struct pollfd fd = {.fd = tine_completer_fd(c), .events = POLLIN};
    n += poll(&fd, 1, 0) == 0 && tine_cancel(f[0], 0) == TINE_OK;
    n += poll(&fd, 1, 30000) == 1 && tine_completer_next(c, 0, &index) == TINE_OK;
    tine_release(c);
    for (int i = 0; i < 2; i++) tine_release(f[i]);
    return n;
}

TINE_REPEATABLE_FUNCTION(fails_at_first, "") {
    static int runs;
    return ++runs > 2 ? tine_int(runs) : tine_fail(task, "attempt %d", runs);
}
TINE_FUNCTION(turn, "") {
    static int turns;
    (void)task;
    return tine_int(++turns);
}

/* A name, further attempts, and a priority, all on one rank. */
static int opted(void) {
    tine_worker_status w[2];
    tine_workers(w, 2);
    const tine_fork_options low = {.worker = w[0].id}, high = {.worker = w[0].id, .priority = 9};
    tine_future *f = tine_fork_with(TINE_FORK_OPTIONS(.name = "stubborn"), "fails");
    int n = tine_wait(f, NULL) == TINE_EFAILED && strstr(tine_error_message(), "\"stubborn\"");
    tine_release(f);
    n += take(tine_fork_with(TINE_FORK_OPTIONS(.worker = w[0].id, .retry_on_failure = 2),
                             "fails_at_first")) == 3;
    tine_future *spins = tine_fork_with(&low, "spin"), *turns[20];
    for (int i = 0; i < 20; i++) turns[i] = tine_fork_with(&low, "turn");
    f = tine_fork_with(&high, "turn");
    n += tine_cancel(spins, 0) == TINE_OK;
    tine_release(spins);
    int64_t first = take(f), last = 0;
    for (int i = 0; i < 20; i++) last = take(turns[i]);
    return n + (first < last);
}

TINE_FUNCTION(where, "") { return tine_int(tine_worker_id()); }

/* Each worker by its id, and by the label that it alone has; then one that none has. */
static int placed(void) {
    tine_worker_status w[2];
    int n = tine_workers(w, 2) == 2;
    for (int i = 0; i < 10; i++) {
        const char *label = strstr(w[i % 2].labels, "left") ? "left" : "right";
        const tine_fork_options by_id = {.worker = w[i % 2].id}, by_label = {.label = label};
        n += take(tine_fork_with(i < 4 ? &by_id : &by_label, "where")) == w[i % 2].id;
    }
    tine_future *f = tine_fork_with(TINE_FORK_OPTIONS(.label = "none"), "where");
    n += tine_wait(f, NULL) == TINE_EUNKNOWN; /* no other rank can join */
    tine_release(f);
    return n;
}

TINE_FUNCTION(count, "n") {
    for (int64_t i = 1; i <= tine_arg_int(task, 0); i++)
        if (tine_yield(task, tine_int(i))) return NULL;
    return tine_none();
}
/* The same, taken in a task. */
TINE_FUNCTION(sum, "n") {
    tine_future *f = tine_fork_with(TINE_FORK_OPTIONS(.stream = 2), "count", tine_arg_int(task, 0));
    int64_t total = 0;
    tine_value *v;
    while (tine_next(f, &v) == TINE_OK) total += tine_as_int(v);
    return tine_int(total);
}

static int64_t streamed(void) {
    tine_future *f = tine_fork_with(TINE_FORK_OPTIONS(.stream = 3), "count", 10);
    int64_t total = 0;
    tine_value *v;
    for (; tine_next(f, &v) == TINE_OK; tine_release(v)) total += tine_as_int(v);
    tine_release(f);
    return total + take(tine_fork("sum", 10));
}

/* Yields until it is told. */
TINE_FUNCTION(endless, "") {
    int64_t i = 0;
    while (!tine_yield(task, tine_int(++i)))
        ;
    return NULL;
}
/* The first two attempts fail half-way. */
TINE_REPEATABLE_FUNCTION(stumbles, "") {
    static int attempts;
    attempts++;
    for (int i = 1; i <= 6; i++) {
        if (tine_yield(task, tine_int(i))) return NULL;
        if (attempts < 3 && i == 3) return tine_fail(task, "as it is to");
    }
    return tine_int(attempts);
}
/* The sum of a stream's values until it ends with e. */
static int64_t ends(tine_future *f, tine_error e) {
    int64_t total = 0;
    tine_value *v;
    tine_error got;
    for (; !(got = tine_next(f, &v)); tine_release(v)) total += tine_as_int(v);
    if (got != e) fprintf(stderr, "%s, not %s\n", tine_error_name(got), tine_error_name(e));
    return got == e ? total : -1;
}

/* Streams that end by a cancel, a deadline, a release, a value that is cancelled, and a failure. */
static int64_t ended(void) {
    tine_worker_status w;
    tine_workers(&w, 1);
    const tine_fork_options two = {.stream = 2}, soon = {.stream = 2, .deadline = 0.2},
                            again = {.stream = 1, .retry_on_failure = 2, .worker = w.id};
    tine_future *f = tine_fork_with(&two, "endless");
    int64_t n = tine_next(f, NULL) == TINE_OK && tine_cancel(f, 0) == TINE_OK;
    n += ends(f, TINE_ECANCELED) >= 0;
    tine_release(f);
    f = tine_fork_with(&soon, "endless");
    n += tine_wait(f, NULL) == TINE_ETIMEDOUT && ends(f, TINE_ETIMEDOUT) >= 0;
    tine_release(f);
    f = tine_fork_with(&two, "endless");
    n += tine_next(f, NULL) == TINE_OK;
    tine_release(f);
    f = tine_fork_with(&two, "count", 10);
    tine_future *first = tine_next_future(f);
    n += tine_cancel(first, 0) == TINE_OK || tine_wait(first, NULL) == TINE_OK;
    n += ends(f, TINE_ENDED) == 54;
    tine_release(first);
    tine_release(f);
    f = tine_fork_with(&again, "stumbles");
    n += ends(f, TINE_ENDED) == 21;
    return n + (take(f) == 3);
}

/* A task's name in the trace. */
static int traced(void) {
    char path[] = "/tmp/tine-mpi-trace-XXXXXX", text[1 << 16];
    int fd = mkstemp(path), n = tine_trace_start() == TINE_OK;
    n += take(tine_fork_with(TINE_FORK_OPTIONS(.name = "first step"), "add", 1)) == 2;
    n += tine_trace_write(path) == TINE_OK && tine_trace_stop() == TINE_OK;
    close(fd);
    FILE *file = fopen(path, "r");
    size_t size = file ? fread(text, 1, sizeof text - 1, file) : 0;
    text[size] = 0;
    if (file) fclose(file);
    unlink(path);
    return n + (strstr(text, "\"fork first step\"") && strstr(text, "\"first step\""));
}

/* A module with one instance: its calls see each other's state, on one rank. */
static void *counter_new(tine_task *task) {
    (void)task;
    return calloc(1, sizeof(int64_t));
}
static tine_value *counter_add(tine_task *task) {
    int64_t *n = tine_self(task);
    return tine_int((*n)++);
}
static const tine_method counter_methods[] = {{"forward", "", counter_add, 0}, {0}};
static const tine_class counter = {"counter", "", counter_new, free, counter_methods};
TINE_CLASS_FLAGS(counter, TINE_MODULE_SINGLE)

static int counted(void) {
    tine_value *one = tine_module("counter");
    tine_future *f[100];
    int n = 0;
    for (int i = 0; i < 100; i++) f[i] = tine_fork(one);
    for (int i = 0; i < 100; i++) n += take(f[i]) == i;
    tine_release(one);
    return n;
}

int main(int argc, char **argv) {
    if (tine_init(&argc, argv, NULL)) {
        fprintf(stderr, "%s\n", tine_error_message());
        return 1;
    }
    printf("promises: %d\n", (int)promises());
    printf("broken: %d\n", broken());
    printf("completed: %d\n", completed());
    printf("cancelled: %d\n", cancelled());
    printf("nested: %d\n", nested());
    printf("waited: %d\n", waited());
    printf("opted: %d\n", opted());
    printf("placed: %d\n", placed());
    printf("streamed: %d\n", (int)streamed());
    printf("ended: %d\n", (int)ended());
    printf("traced: %d\n", traced());
    printf("counted: %d\n", counted());
    tine_future *last = tine_fork("spin"); /* a shutdown cancels it */
    int code = tine_shutdown();
    printf("shut down: %d\n", tine_wait(last, NULL) == TINE_ECANCELED);
    tine_release(last);
    return code;
}
