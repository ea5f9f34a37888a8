/* Workers by id, by label and by slots: the fork options `worker`, `label` and `resources`, and
 * labels and slots of workers. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/cluster.h"

TINE_FUNCTION(place_worker, "") { return tine_int(tine_worker_id()); }
/* The same, forked by a task; where 0 is the task's own worker. */
TINE_FUNCTION(place_nested, "id=0, label=''") {
    uint32_t id = (uint32_t)tine_arg_int(task, 0);
    const char *label = tine_arg_string(task, 1);
    tine_value *v = NULL;
    tine_future *f = tine_fork_with(
        TINE_FORK_OPTIONS(.worker = id || *label ? id : tine_worker_id(), .label = label),
        "place_worker");
    tine_wait(f, &v);
    return v;
}
TINE_FUNCTION(place_dies, "") {
    (void)task;
    raise(SIGKILL);
    return NULL;
}

int test_program(void) {
    tine_init(NULL, NULL, NULL); /* a worker */
    return 1;
}

/* Starts one more worker with labels. No other worker has the label `own`. Blocks until it has
 * joined. */
static pid_t labelled_worker(const char *labels, const char *own) {
    int out;
    setenv("TINE_WORKER", tine_endpoint(), 1);
    setenv("TINE_LABELS", labels, 1);
    pid_t pid = cluster_program(&out);
    unsetenv("TINE_WORKER");
    unsetenv("TINE_LABELS");
    close(out);
    cluster_take_int(tine_fork_with(TINE_FORK_OPTIONS(.label = own), "place_worker"));
    return pid;
}

static uint32_t id_of(pid_t pid) {
    tine_worker_status w[8];
    size_t n = tine_workers(w, 8);
    for (size_t i = 0; i < n; i++)
        if (w[i].pid == pid) return w[i].id;
    return 0;
}

TRANSPORT_TEST(placement, a_task_runs_on_the_worker_that_its_fork_names, 30) {
    tine_worker_status w[3];
    cr_assert_eq(tine_worker_id(), 0);
    cluster_start(endpoint, 3);
    cr_assert_eq(tine_workers(w, 3), 3);
    cr_assert_eq(tine_worker_id(), 0);
    tine_future *f[60];
    for (int i = 0; i < 60; i++)
        f[i] = tine_fork_with(TINE_FORK_OPTIONS(.worker = w[i % 3].id), "place_worker");
    for (int i = 0; i < 60; i++) cr_assert_eq(cluster_take_int(f[i]), w[i % 3].id);
    for (int i = 0; i < 3; i++) {
        tine_fork_options there = {.worker = w[i].id};
        cr_assert_eq(cluster_take_int(tine_fork_with(&there, "place_nested")), w[i].id);
        cr_assert_eq(
            cluster_take_int(tine_fork_with(&there, "place_nested", (int)w[(i + 1) % 3].id)),
            w[(i + 1) % 3].id);
    }
    tine_future *none = tine_fork_with(TINE_FORK_OPTIONS(.worker = 4711), "place_worker");
    cr_assert_eq(tine_wait(none, NULL), TINE_EINVAL);
    cr_assert(strstr(tine_error_message(), "there is no worker with the id 4711"), "%s",
              tine_error_message());
    tine_release(none);
    cluster_stop();
}

TRANSPORT_TEST_REMOTE(placement, a_lost_worker_fails_the_tasks_that_name_it, 30) {
    tine_worker_status w[2];
    cluster_start(endpoint, 2);
    cr_assert_eq(tine_workers(w, 2), 2);
    tine_fork_options there = {.worker = w[0].id};
    tine_future *dies = tine_fork_with(&there, "place_dies"),
                *behind = tine_fork_with(&there, "neg", dies);
    cr_assert_eq(tine_wait(dies, NULL), TINE_ELOST);
    cr_assert_eq(tine_wait(behind, NULL), TINE_ELOST);
    tine_future *late = tine_fork_with(&there, "place_worker");
    cr_assert_eq(tine_wait(late, NULL), TINE_ELOST);
    cr_assert(strstr(tine_error_message(), "is not there any more"), "%s", tine_error_message());
    cr_assert_eq(
        cluster_take_int(tine_fork_with(TINE_FORK_OPTIONS(.worker = w[1].id), "place_worker")),
        w[1].id);
    tine_release(dies);
    tine_release(behind);
    tine_release(late);
    cluster_stop();
}

TRANSPORT_TEST_REMOTE(placement, a_task_with_a_label_runs_on_a_worker_that_has_it, 60) {
    tine_worker_status w[8];
    cluster_start(endpoint ? endpoint : "ipc://*", 2); /* others are to join */
    tine_future *early = tine_fork_with(TINE_FORK_OPTIONS(.label = "left"), "place_worker");
    cr_assert_eq(tine_wait_for(early, 0.05, NULL), TINE_ETIMEDOUT);
    pid_t pid = labelled_worker("left, big", "left"), right = labelled_worker("big,right", "right");
    uint32_t left = id_of(pid);
    cr_assert(left);
    cr_assert_eq(cluster_take_int(early), left);
    tine_future *f[20];
    for (int i = 0; i < 20; i++)
        f[i] = tine_fork_with(TINE_FORK_OPTIONS(.label = i % 2 ? "left" : "big"), "place_worker");
    for (int i = 0; i < 20; i++) {
        int64_t id = cluster_take_int(f[i]);
        cr_assert(id == left || (i % 2 == 0 && id == id_of(right)));
    }
    cr_assert_eq(cluster_take_int(tine_fork("place_nested", 0, "left")), left);
    size_t n = tine_workers(w, 8);
    cr_assert_eq(n, 4);
    for (size_t i = 0; i < n; i++)
        cr_assert_str_eq(w[i].labels, w[i].id == left     ? "big,left"
                                      : w[i].pid == right ? "big,right"
                                                          : "");
    cluster_stop();
    cr_assert(waitpid(pid, NULL, 0) == pid && waitpid(right, NULL, 0) == right);
}

TRANSPORT_TEST_REMOTE(placement, a_label_that_nobody_serves_waits_until_its_deadline, 30) {
    tine_options o = {
        .endpoint = endpoint, .workers = 2, .labels = "all,here", .log_level = "error"};
    cluster_start_with(&o);
    tine_future *f =
        tine_fork_with(TINE_FORK_OPTIONS(.label = "nobody", .deadline = 0.1), "place_worker");
    for (int i = 0; i < 10; i++)
        cr_assert_gt(
            cluster_take_int(tine_fork_with(TINE_FORK_OPTIONS(.label = "here"), "place_worker")),
            0);
    cr_assert_eq(tine_wait(f, NULL), TINE_ETIMEDOUT);
    tine_release(f);
    f = tine_fork_with(TINE_FORK_OPTIONS(.label = "nobody"), "place_worker");
    cr_assert_eq(tine_wait_for(f, 0, NULL), TINE_ETIMEDOUT);
    tine_release(f);
    cluster_stop();
}

static void expect_nobody(tine_future *f, const char *sentence) {
    cr_assert_eq(tine_wait(f, NULL), TINE_EUNKNOWN);
    cr_assert(strstr(tine_error_message(), sentence), "%s", tine_error_message());
    tine_release(f);
}

/* Nobody can: a wait that would never end names what is missing. */
Test(placement, what_no_thread_has_fails_where_no_other_worker_can_join, .timeout = 30) {
    tine_options o = {.endpoint = "inproc://nobody", .workers = 2, .labels = "here"};
    cluster_start_with(&o);
    expect_nobody(tine_fork_with(TINE_FORK_OPTIONS(.label = "nobody"), "place_worker"),
                  "no worker that serves it has the label \"nobody\" (TINE_LABELS), and no other "
                  "worker can join");
    expect_nobody(
        tine_fork_with(TINE_FORK_OPTIONS(.label = "here", .resources = "gpu"), "place_worker"),
        "no worker that serves it has the label \"here\" and offers the slots \"gpu=1\"");
    expect_nobody(tine_fork("place_nested", 0, "nobody"), "has the label \"nobody\"");
    cluster_stop();
}

/* ---- resources ---- */

/* Each worker's: how many of its tasks are in place_takes, which are suspended, and the most. */
static _Thread_local int taking, most_taking;

TINE_FUNCTION(place_leaf, "x") { return tine_int(tine_arg_int(task, 0)); }
TINE_FUNCTION(place_takes, "") {
    (void)task;
    if (++taking > most_taking) most_taking = taking;
    tine_release(cluster_take(tine_fork("place_leaf", 1)));
    taking--;
    return tine_int(most_taking);
}
/* Forks tasks that take what it says. */
TINE_FUNCTION(place_forks_takers, "n, resources") {
    enum { MOST = 64 };
    tine_future *f[MOST];
    int64_t n = tine_arg_int(task, 0), most = 0;
    const tine_fork_options takes = {.resources = tine_arg_string(task, 1)};
    for (int64_t i = 0; i < n && i < MOST; i++) f[i] = tine_fork_with(&takes, "place_takes");
    for (int64_t i = 0; i < n && i < MOST; i++) {
        int64_t seen = cluster_take_int(f[i]);
        if (seen > most) most = seen;
    }
    return tine_int(most);
}

TRANSPORT_TEST(placement, a_worker_runs_no_more_tasks_than_its_slots_allow, 60) {
    tine_options options = {.endpoint = endpoint, .workers = 2, .slots = "gpu=2, disk=5"};
    tine_worker_status w[2];
    cluster_start_with(&options);
    cr_assert_eq(tine_workers(w, 2), 2);
    cr_assert_str_eq(w[0].slots, "gpu=2, disk=5");
    tine_future *f[200];
    for (int i = 0; i < 200; i++)
        f[i] = tine_fork_with(TINE_FORK_OPTIONS(.resources = "gpu"), "place_takes");
    for (int i = 0; i < 200; i++) {
        int64_t seen = cluster_take_int(f[i]);
        cr_assert(seen <= 2, "%d tasks with a gpu each at one worker", (int)seen);
    }
    cr_assert_leq(cluster_take_int(tine_fork("place_forks_takers", 64, "gpu=1,disk=1")), 2);
    cluster_stop();
}

TRANSPORT_TEST(placement, resources_that_are_wrong_are_refused_where_they_are_forked, 30) {
    cluster_start(endpoint, 1);
    tine_future *f = tine_fork_with(TINE_FORK_OPTIONS(.resources = "gpu=0"), "place_takes");
    cr_assert_eq(tine_wait(f, NULL), TINE_EINVAL);
    cr_assert(strstr(tine_error_message(), "an amount is not a number from 1"), "%s",
              tine_error_message());
    tine_release(f);
    /* nobody offers it; over inproc nobody can join that does */
    f = tine_fork_with(TINE_FORK_OPTIONS(.resources = "gpu", .deadline = 0.1), "place_takes");
    bool joins = !endpoint || strncmp(endpoint, "inproc", 6) != 0;
    cr_assert_eq(tine_wait(f, NULL), joins ? TINE_ETIMEDOUT : TINE_EUNKNOWN);
    tine_release(f);
    cluster_stop();
}
