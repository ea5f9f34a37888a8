/* Observers of a job that is at work: what they see and may ask for, who is refused, and that none
 * of them harms the job. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launch/top/rates.h"
#include "launch/top/watch.h"
#include "runtime/wire/wire.h"
#include "tests/support/cluster.h"
#include "transport/base/clock.h"

#define SECRET "a value that nobody may see"

TINE_FUNCTION(observers_keep, "text") { return tine_list(tine_arg(task, 0), SECRET); }
TINE_FUNCTION(observers_fail, "text") { return tine_fail(task, "it \033[1mbroke\nline 2"); }
TINE_FUNCTION(observers_spin, "") {
    while (!tine_cancelled(task)) continue;
    return tine_none();
}
TINE_FUNCTION(observers_pid, "") {
    (void)task;
    return tine_int(getpid());
}

static tine_error watch_connect(tine_watch *w, const char *endpoint, double seconds) {
    tine_settings s;
    cr_assert_eq(tine_settings_resolve(&s, NULL, NULL, NULL), TINE_OK);
    tine_error e = tine_watch_open(w, endpoint, &s, seconds);
    tine_settings_fini(&s);
    return e;
}

static void watch_open(tine_watch *w, const char *endpoint) {
    cr_assert_eq(watch_connect(w, endpoint, 20), TINE_OK, "%s", tine_error_message());
    while (!w->up && !w->ended) tine_watch_run(w, -1);
}

/* Between two questions: the job takes 100 a second. */
static void watch_rest(tine_watch *w) { tine_watch_run(w, 20000000); }

static void watch_next(tine_watch *w, uint32_t what, uint64_t task, uint32_t worker) {
    size_t before = w->n;
    tine_watch_ask(w, what, task, worker);
    while (w->n == before && !w->ended) tine_watch_run(w, -1);
}

static void watch_end_of(tine_watch *w) {
    while (!w->ended) tine_watch_run(w, -1);
}

/* Asks until the job says so. */
static json_object *watch_until(tine_watch *w, bool (*ready)(json_object *now)) {
    do {
        watch_next(w, TINE_OBSERVE_STATE, 0, 0);
        watch_rest(w);
        cr_assert(!w->ended, "%s", w->why);
    } while (!ready(w->now));
    return w->now;
}

static json_object *first_worker(json_object *now) { return tine_rates_row(now, "workers", 0); }
static bool runs_spin(json_object *now) {
    return strcmp(tine_rates_text(first_worker(now), "task"), "observers_spin") == 0;
}
static bool shows_the_second_worker(json_object *now) {
    return tine_rates_number(first_worker(now), "id") == 2;
}
static bool knows_memory(json_object *now) {
    return tine_rates_number(first_worker(now), "memory") > 100000;
}

static bool counts_a_refusal(json_object *now) { return tine_rates_number(now, "refused") > 0; }

TRANSPORT_TEST_REMOTE(observers, see_the_job_and_no_value, 40) {
    cluster_start(endpoint, 1);
    tine_watch w;
    for (int i = 0; i < 5; i++) tine_release(cluster_take(tine_fork("observers_keep", SECRET)));
    tine_value *put = tine_put(tine_string(SECRET));
    tine_future *bad = tine_fork("observers_fail", put), *spin = tine_fork("observers_spin");
    cr_assert_eq(tine_wait(bad, NULL), TINE_EFAILED);
    watch_open(&w, tine_endpoint());
    watch_until(&w, runs_spin);
    json_object *now = watch_until(&w, knows_memory), *worker = first_worker(now);
    json_object *tasks = tine_rates_field(now, "tasks"),
                *failure = tine_rates_row(now, "failures", 0);
    cr_expect_eq(tine_rates_number(now, "pid"), getpid());
    cr_expect_str_eq(tine_rates_text(now, "endpoint"), tine_endpoint());
    cr_expect_eq(tine_rates_rows(now, "workers"), 1);
    cr_expect_str_eq(tine_rates_text(worker, "state"), "running");
    cr_expect_eq(tine_rates_number(worker, "done"), 6);
    cr_expect_gt(tine_rates_number(worker, "bytes_in"), 5 * strlen(SECRET));
    cr_expect_gt(tine_rates_number(worker, "bytes_out"), 5 * strlen(SECRET));
    cr_expect_eq(tine_rates_number(tasks, "completed"), 5);
    cr_expect_eq(tine_rates_number(tasks, "failed"), 1);
    cr_expect_eq(tine_rates_rows(now, "functions"), 3);
    cr_expect_str_eq(tine_rates_text(failure, "error"), "EFAILED");
    cr_expect_str_eq(tine_rates_text(failure, "task"), "observers_fail");
    cr_expect(strstr(tine_rates_text(failure, "text"), "it \\x1b[1mbroke"), "%s",
              tine_rates_text(failure, "text"));
    const char *all = json_object_to_json_string(now);
    cr_expect(!strstr(all, "nobody may see"), "%s", all);
    tine_watch_close(&w);
    tine_cancel(spin, 0);
    tine_release(put);
    tine_release(bad);
    tine_release(spin);
    cluster_stop();
}

Test(observers, may_cancel_a_task, .timeout = 40) {
    cluster_start(NULL, 1);
    tine_watch w;
    tine_future *spin = tine_fork("observers_spin");
    watch_open(&w, tine_endpoint());
    json_object *now = watch_until(&w, runs_spin);
    uint64_t task = (uint64_t)json_object_get_int64(tine_rates_field(first_worker(now), "task_id"));
    watch_next(&w, TINE_OBSERVE_CANCEL, task, 0);
    cr_assert_str_eq(w.answer, "the task is cancelled");
    cr_assert_eq(tine_wait(spin, NULL), TINE_ECANCELED);
    cr_expect(strstr(tine_error_message(), "tine top"), "%s", tine_error_message());
    watch_next(&w, TINE_OBSERVE_CANCEL, task, 0);
    cr_assert_str_eq(w.answer, "the task has ended already");
    watch_next(&w, TINE_OBSERVE_CANCEL, UINT64_MAX, 0);
    cr_assert_str_eq(w.answer, "the task has ended already");
    tine_watch_close(&w);
    tine_release(spin);
    cluster_stop();
}

Test(observers, may_restart_a_local_worker, .timeout = 40) {
    cluster_start(NULL, 1);
    tine_watch w;
    int64_t pid = cluster_take_int(tine_fork("observers_pid"));
    watch_open(&w, tine_endpoint());
    watch_next(&w, TINE_OBSERVE_STATE, 0, 0);
    cr_expect(json_object_get_boolean(tine_rates_field(first_worker(w.now), "local")));
    watch_next(&w, TINE_OBSERVE_RESTART, 0, 1);
    cr_assert(strstr(w.answer, "another one started in its place"), "%s", w.answer);
    int64_t other;
    do { /* a task may still have been sent to the old one */
        tine_future *f = tine_fork("observers_pid");
        tine_value *v = NULL;
        other = tine_wait(f, &v) == TINE_OK ? tine_as_int(v) : pid;
        tine_release(v);
        tine_release(f);
    } while (other == pid);
    watch_next(&w, TINE_OBSERVE_RESTART, 0, 1);
    cr_assert_str_eq(w.answer, "the worker has ended already");
    watch_until(&w, shows_the_second_worker); /* a snapshot may be one of a moment ago */
    cr_expect_gt(tine_rates_rows(w.now, "failures"), 0);
    tine_watch_close(&w);
    cluster_stop();
}

Test(observers, see_the_end_of_the_job, .timeout = 40) {
    tine_watch w, after;
    char endpoint[200];
    cluster_start(NULL, 1);
    snprintf(endpoint, sizeof endpoint, "%s", tine_endpoint());
    watch_open(&w, endpoint);
    watch_next(&w, TINE_OBSERVE_STATE, 0, 0);
    cluster_stop();
    watch_end_of(&w);
    cr_expect(!w.lost && strcmp(w.why, "the job has ended") == 0, "%s", w.why);
    tine_watch_close(&w);
    cr_assert_eq(watch_connect(&after, endpoint, 0.2), TINE_OK);
    watch_end_of(&after);
    cr_expect(after.lost && !after.up, "%s", after.why);
    tine_watch_close(&after);
}

/* ---- who is refused ---- */

static void send_and_be_dropped(const tine_message *m, int times, const char *why) {
    tine_watch w;
    watch_open(&w, tine_endpoint());
    watch_next(&w, TINE_OBSERVE_STATE, 0, 0);
    for (int i = 0; i < times && !w.ended; i++) tine_link_send(&w.link, 1, m);
    watch_end_of(&w);
    cr_expect(w.lost, "%s: %s", why, w.why);
    tine_watch_close(&w);
}

Test(observers, that_break_the_rules_are_dropped_and_the_job_goes_on, .timeout = 60) {
    cluster_start(NULL, 1);
    tine_message done = {.type = TINE_MSG_DONE, .task = 1, .status = TINE_EFAILED, .text = "x"};
    tine_message ask = {.type = TINE_MSG_OBSERVE}, stop = {.type = TINE_MSG_STOP};
    send_and_be_dropped(&done, 1, "a worker's message");
    send_and_be_dropped(&stop, 1, "a coordinator's message");
    send_and_be_dropped(&ask, 1000, "too many questions");
    cr_expect_gt(cluster_take_int(tine_fork("observers_pid")), 0);
    cr_expect_eq(tine_worker_count(), 1);
    cluster_stop();
}

Test(observers, are_at_most_sixteen, .timeout = 60) {
    enum { MOST = 16 };
    tine_watch all[MOST + 1];
    cluster_start(NULL, 1);
    for (int i = 0; i <= MOST; i++) {
        watch_open(&all[i], tine_endpoint());
        watch_next(&all[i], TINE_OBSERVE_STATE, 0, 0);
        cr_expect_eq(all[i].ended, i == MOST, "%d: %s", i, all[i].why);
    }
    cr_expect(strstr(all[MOST].why, "16 observers"), "%s", all[MOST].why);
    for (int i = 0; i < MOST; i++) {
        watch_next(&all[i], TINE_OBSERVE_STATE, 0, 0);
        cr_expect(!all[i].ended, "%s", all[i].why);
    }
    for (int i = 0; i <= MOST; i++) tine_watch_close(&all[i]);
    tine_watch again; /* there is room once they have gone */
    do {
        watch_open(&again, tine_endpoint());
        watch_next(&again, TINE_OBSERVE_STATE, 0, 0);
        bool came = !again.ended;
        tine_watch_close(&again);
        if (came) break;
    } while (true);
    cluster_stop();
}

Test(observers, without_the_key_are_refused, .timeout = 60) {
    tine_options o = {
        .endpoint = "tcp://127.0.0.1:0", .workers = 1, .security = "curve", .log_level = "error"};
    tine_watch w;
    cluster_start_with(&o);
    cr_assert_eq(watch_connect(&w, tine_endpoint(), 0.5), TINE_OK);
    watch_end_of(&w);
    cr_expect(!w.up && strstr(w.why, "TINE_KEY_FILE"), "%s", w.why);
    tine_watch_close(&w);
    /* the same user finds the key in the environment of a local worker */
    char pid[20];
    snprintf(pid, sizeof pid, "%d", getpid());
    char *endpoint = tine_watch_find(pid);
    cr_assert_str_eq(endpoint, tine_endpoint());
    watch_open(&w, endpoint);
    watch_until(&w, counts_a_refusal);
    tine_watch_close(&w);
    free(endpoint);
    cluster_stop();
}

Test(observers, are_told_where_they_cannot_connect, .timeout = 30) {
    tine_watch w;
    char self[16];
    snprintf(self, sizeof self, "%d", (int)getpid()); /* without children */
    cr_expect_eq(watch_connect(&w, "inproc://x", 1), TINE_EINVAL);
    cr_expect(strstr(tine_error_message(), "TINE_METRICS"), "%s", tine_error_message());
    cr_expect_eq(watch_connect(&w, "mpi://", 1), TINE_EINVAL);
    cr_expect_eq(watch_connect(&w, "nonsense://", 1), TINE_EINVAL);
    cr_expect(!tine_watch_find("nonsense"));
    cr_expect(strstr(tine_error_message(), "expected an endpoint"), "%s", tine_error_message());
    cr_expect(!tine_watch_find(self));
    cr_expect(strstr(tine_error_message(), "has no endpoint"), "%s", tine_error_message());
    cr_expect(!tine_watch_find("2147483647"));
    cr_expect(strstr(tine_error_message(), "there is no process"), "%s", tine_error_message());
}
