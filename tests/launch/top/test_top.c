/* `tine top`: the live view on a terminal of its own, with keys and sizes, and one snapshot as a
 * table, as JSON, as metrics. */
#include <criterion/criterion.h>
#include <json-c/json.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launch/top/rates.h"
#include "launch/top/view.h"
#include "tests/support/cluster.h"
#include "tests/support/metrics.h"
#include "tests/support/program.h"
#include "transport/base/clock.h"

TestSuite(top, .timeout = 60);

TINE_FUNCTION(top_spin, "") {
    while (!tine_cancelled(task)) continue;
    return tine_none();
}
TINE_FUNCTION(top_fail, "") { return tine_fail(task, "broken \033]0;title\a"); }
TINE_FUNCTION(top_pid, "") {
    (void)task;
    return tine_int(getpid());
}

/* ---- a terminal ---- */

static int screen;
static pid_t viewer;
static char seen[1 << 20]; /* since the last key */
static size_t n_seen;

/* The job is this process, so this thread must not wait inside of it. */
static void top_start(void) {
    char path[300], pid[20];
    struct winsize size = {.ws_row = 30, .ws_col = 160};
    snprintf(path, sizeof path, "%s/tine", tine_program_build());
    snprintf(pid, sizeof pid, "%d", getpid());
    viewer = forkpty(&screen, NULL, NULL, &size);
    cr_assert_geq(viewer, 0);
    if (viewer == 0) {
        execl(path, "tine", "top", pid, (char *)NULL);
        _exit(127);
    }
}

/* False: the viewer has ended. */
static bool top_read(void) {
    struct pollfd p = {.fd = screen, .events = POLLIN};
    cr_assert_eq(poll(&p, 1, 40000), 1, "the screen does not change: %s", seen);
    ssize_t n = read(screen, seen + n_seen, sizeof seen - 1 - n_seen);
    if (n <= 0) return false;
    n_seen += (size_t)n;
    seen[n_seen] = 0;
    return true;
}

static void top_shows(const char *words) {
    while (!strstr(seen, words)) cr_assert(top_read(), "no \"%s\" in: %s", words, seen);
}

static void top_press(const char *keys) {
    n_seen = 0;
    seen[0] = 0;
    cr_assert_eq(write(screen, keys, strlen(keys)), (ssize_t)strlen(keys));
}

static void top_ends(int code) {
    int status;
    while (top_read()) {
    }
    cr_assert_eq(waitpid(viewer, &status, 0), viewer);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == code, "status %x: %s", (unsigned)status,
              seen);
    close(screen);
}

/* ---- the live view ---- */

Test(top, shows_workers_tasks_and_failures_without_their_escapes) {
    cluster_start(NULL, 2);
    tine_future *bad = tine_fork("top_fail"), *spin = tine_fork("top_spin");
    cr_assert_eq(tine_wait(bad, NULL), TINE_EFAILED);
    top_start();
    top_shows("top_spin");
    top_shows("LAST FAILURES");
    top_shows("broken \\x1b]0;title\\x07");
    cr_expect(!strstr(seen, "\033]0;"));
    top_press("q");
    top_ends(0);
    cr_expect(strstr(seen, "\033[?1049l") && strstr(seen, "\033[?25h"), "the screen is left");
    tine_cancel(spin, 0);
    tine_release(bad);
    tine_release(spin);
    cluster_stop();
}

Test(top, sorts_and_cancels_a_task_once_it_is_confirmed) {
    cluster_start(NULL, 1);
    tine_future *spin = tine_fork("top_spin");
    top_start();
    top_shows("top_spin");
    top_press("s");
    top_shows("sorted by age");
    top_press("c");
    top_shows("cancel task \"top_spin\" on worker 1? y/n");
    top_press("n");
    top_shows("up/down select");
    cr_expect_eq(tine_wait_for(spin, 0, NULL), TINE_ETIMEDOUT);
    top_press("cy");
    top_shows("the task is cancelled");
    cr_expect_eq(tine_wait(spin, NULL), TINE_ECANCELED);
    top_shows("idle");
    top_press("c");
    top_shows("worker 1 runs no task");
    top_press("q");
    top_ends(0);
    tine_release(spin);
    cluster_stop();
}

Test(top, restarts_the_selected_worker) {
    cluster_start(NULL, 2);
    top_start();
    top_shows(">    1");
    top_press("\033[B");
    top_shows(">    2");
    top_press("r");
    top_shows("end worker 2");
    top_press("y");
    top_shows("another one started in its place");
    top_shows("    3 ");
    top_press("q");
    top_ends(0);
    cluster_stop();
}

/* The characters of the widest line of what is drawn from `at` on; escapes take no room. */
static size_t widest(const char *at) {
    size_t most = 0, n = 0;
    for (; *at; at++) {
        if (*at == '\033') {
            while (at[1] && !strchr("HJKmlh", *at)) at++;
            continue;
        }
        n = *at == '\n' || *at == '\r' ? 0 : n + 1;
        if (n > most) most = n;
    }
    return most;
}

Test(top, follows_the_size_of_its_terminal) {
    cluster_start(NULL, 1);
    top_start();
    top_shows("OUT/S");
    cr_expect_leq(widest(strstr(seen, "\033[H")), 160);
    struct winsize size = {.ws_row = 12, .ws_col = 40};
    n_seen = 0;
    seen[0] = 0;
    cr_assert_eq(ioctl(screen, TIOCSWINSZ, &size), 0);
    top_shows("\033[12;1H"); /* the last line */
    char *drawn = strstr(seen, "\033[12;1H");
    while (drawn > seen && strncmp(drawn, "\033[H", 3) != 0) drawn--;
    cr_expect_leq(widest(drawn), 40, "%s", drawn);
    cr_expect_gt(widest(drawn), 30);
    kill(viewer, SIGINT);
    top_ends(0);
    cluster_stop();
}

Test(top, ends_with_its_job) {
    cluster_start(NULL, 1);
    top_start();
    top_shows("idle");
    cluster_stop();
    top_shows("the job has ended");
    top_ends(0);
}

/* ---- one snapshot ---- */

/* By name: the kinds that scripts rely on. */
static void expect_fields(json_object *o, const char *numbers, const char *texts) {
    char *copy = strdup(numbers), *rest = NULL;
    for (char *key = strtok_r(copy, " ", &rest); key; key = strtok_r(NULL, " ", &rest)) {
        json_object *v = tine_rates_field(o, key);
        cr_expect(json_object_is_type(v, json_type_int) || json_object_is_type(v, json_type_double),
                  "%s is no number in %s", key, json_object_to_json_string(o));
    }
    free(copy);
    copy = strdup(texts);
    for (char *key = strtok_r(copy, " ", &rest); key; key = strtok_r(NULL, " ", &rest))
        cr_expect(json_object_is_type(tine_rates_field(o, key), json_type_string), "%s is no text",
                  key);
    free(copy);
}

Test(top, prints_json_of_one_form) {
    cluster_start(NULL, 2);
    tine_future *bad = tine_fork("top_fail");
    cr_assert_eq(tine_wait(bad, NULL), TINE_EFAILED);
    tine_program p = tine_program_run(40, "$B/tine top --once --json %d", getpid());
    cr_assert_eq(p.code, 0, "%s", p.error);
    json_object *o = json_tokener_parse(p.out);
    cr_assert(o, "%s", p.out);
    expect_fields(o, "pid time uptime refused", "version endpoint host");
    expect_fields(tine_rates_field(o, "tasks"),
                  "forked completed failed retried waiting ready running suspended objects "
                  "ready_bytes tasks_per_second bytes_in_per_second bytes_out_per_second",
                  "");
    expect_fields(tine_rates_field(o, "shared"), "bound used leases lent lent_on borrowed copied",
                  "");
    cr_assert_eq(tine_rates_rows(o, "workers"), 2);
    expect_fields(tine_rates_row(o, "workers", 1),
                  "id pid rank task_id age running suspended done bytes_in bytes_out memory "
                  "seconds tasks_per_second bytes_in_per_second bytes_out_per_second",
                  "host kernel state");
    expect_fields(tine_rates_row(o, "functions", 0), "ready running done failed seconds mean",
                  "name label");
    expect_fields(tine_rates_row(o, "failures", 0), "age", "task error text");
    cr_expect_gt(tine_rates_number(tine_rates_row(o, "workers", 0), "memory"), 0);
    json_object_put(o);
    tine_program_fini(&p);
    tine_release(bad);
    cluster_stop();
}

Test(top, prints_metrics_and_a_table) {
    cluster_start(NULL, 1);
    cr_assert_gt(cluster_take_int(tine_fork("top_pid")), 0);
    tine_program p = tine_program_run(40, "$B/tine top --prometheus %s", tine_endpoint());
    cr_assert_eq(p.code, 0, "%s", p.error);
    metrics_check(p.out);
    cr_expect_eq(metrics_value(p.out, "tine_tasks_forked_total"), 1);
    cr_expect_eq(metrics_value(p.out, "tine_leases"), 0);
    tine_program_fini(&p);
    p = tine_program_run(40, "$B/tine top %d", getpid()); /* no terminal: once */
    cr_assert_eq(p.code, 0, "%s", p.error);
    cr_expect(strstr(p.out, "top_pid") && !strchr(p.out, '\033'), "%s", p.out);
    tine_program_fini(&p);
    cluster_stop();
}

Test(top, says_what_it_cannot_find) {
    static const char *const lines[][3] = {
        {"$B/tine top nonsense", "2", "expected an endpoint"},
        {"$B/tine top $$", "2", "TINE_METRICS"}, /* of the shell: it has no workers */
        {"$B/tine top 2147483647", "2", "there is no process"},
        {"$B/tine top inproc://x", "2", "cannot connect to a job there"},
        {"$B/tine top --interval 0", "2", "--interval=0"},
        {"$B/tine top ipc:///nonexistent/socket", "", "tine top: "}};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        tine_program p = tine_program_run(40, "%s", lines[i][0]);
        if (*lines[i][1]) cr_expect_eq(p.code, atoi(lines[i][1]), "%s: %d", lines[i][0], p.code);
        cr_expect(p.code != 0 && strstr(p.error, lines[i][2]), "%s: %s", lines[i][0], p.error);
        tine_program_fini(&p);
    }
}

/* Drawn from what a job could send: nothing is written past the width, nothing is read that is not
 * there. */
Test(top, draws_any_snapshot) {
    static const char *const all[] = {
        "{}", "{\"workers\": 3, \"tasks\": [], \"functions\": \"x\", \"failures\": {}}",
        "{\"workers\": [1, null, {\"id\": -1e300, \"host\": \"\\u001b[2J\", \"task\": "
        "\"日本語日本語日本語日本語\"}]}",
        "{\"failures\": [null], \"functions\": [[]], \"uptime\": 1e308}"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        for (int columns = 1; columns < 120; columns += 7)
            for (int lines = 1; lines < 20; lines += 3) {
                json_object *o = json_tokener_parse(all[i]);
                char *text = NULL;
                size_t size;
                FILE *f = open_memstream(&text, &size);
                tine_view v = {.columns = columns, .lines = lines, .interactive = true};
                tine_rates_add(o, NULL);
                tine_view_draw(f, o, &v);
                tine_view_move(o, &v, 1);
                fclose(f);
                cr_assert(!strstr(text, "\033[2J"));
                size_t rows = 0;
                for (const char *c = text; *c; c++) rows += *c == '\n';
                cr_assert_leq(rows, (size_t)lines);
                free(text);
                json_object_put(o);
            }
}
