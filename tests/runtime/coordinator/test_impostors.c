/* Guests of a tcp:// coordinator that join as workers and lie: about who they are, and in the names
 * and texts that they send. They speak the wire, so that what they say gets through. */
#include <criterion/criterion.h>
#include <ctype.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/wire/wire.h"
#include "tests/support/capture.h"
#include "tests/support/cluster.h"
#include "transport/base/log.h"
#include "transport/transport.h"

TestSuite(impostors, .timeout = 60);

typedef struct guest {
    const tine_transport_ops *ops;
    tine_transport *t;
    uint32_t epoch;
    bool traced;       /* its events were asked for, and given */
    tine_message task; /* the last one: its numbers only */
    unsigned tasks;
} guest;

static void guest_say(guest *g, const tine_message *m) {
    tine_frame *f = tine_wire_encode(m);
    cr_assert(f);
    cr_assert_eq(g->ops->send(g->t, 1, f), 0);
}

/* The bytes of an empty batch. */
static void guest_give_events(guest *g) {
    tine_value *v = tine_bytes("", 0);
    tine_payload *none;
    cr_assert_eq(tine_payload_of_value(v, NULL, &none), TINE_OK);
    guest_say(g, &(tine_message){.type = TINE_MSG_EVENTS, .payload = none});
    tine_payload_unref(none);
    tine_release(v);
}

static void guest_hear(guest *g, tine_frame *f) {
    char why[128];
    tine_decoded d = {0};
    cr_assert_eq(tine_wire_decode(f, &d, why, sizeof why), TINE_OK, "%s", why);
    const tine_message *m = &d.message;
    cr_assert_neq(m->type, TINE_MSG_REJECT, "%s", m->text);
    if (m->type == TINE_MSG_WELCOME) g->epoch = m->epoch;
    if (m->type == TINE_MSG_PING)
        guest_say(g, &(tine_message){.type = TINE_MSG_PONG, .seq = m->seq, .clock = 1});
    if (m->type == TINE_MSG_TRACE && m->flags == 2) guest_give_events(g);
    if (m->type == TINE_MSG_TASK) {
        g->tasks++;
        g->task = (tine_message){.task = m->task, .attempt = m->attempt, .epoch = m->epoch};
    }
    tine_decoded_fini(&d);
    tine_frame_free(f);
}

/* One event, for which it waits. */
static void guest_turn(guest *g, const tine_hello *hello) {
    tine_event ev = {0};
    cr_assert_eq(g->ops->recv(g->t, &ev), 0);
    cr_assert_neq(ev.kind, TINE_EVENT_LOST, "%s", ev.reason);
    if (ev.kind == TINE_EVENT_UP)
        guest_say(g, &(tine_message){.type = TINE_MSG_HELLO, .hello = hello});
    if (ev.kind == TINE_EVENT_FRAME) guest_hear(g, ev.frame);
    if (ev.kind == TINE_EVENT_NONE) g->ops->wait(g->t, 100000000);
}

/* Joins; the coordinator's progress thread welcomes it. */
static guest guest_join(const tine_hello *hello) {
    char why[128];
    tine_transport_config config = {0};
    guest g = {.ops = tine_transport_for("tcp://", why, sizeof why)};
    cr_assert_eq(g.ops->connect(&g.t, tine_endpoint(), &config, why, sizeof why), 0, "%s", why);
    while (!g.epoch) guest_turn(&g, hello);
    return g;
}

static void guest_await_tasks(guest *g, unsigned n) {
    while (g->tasks < n) guest_turn(g, NULL);
}

/* Answers its last task. `text` NULL: with the value none. */
static void guest_answer(guest *g, tine_error status, const char *text) {
    tine_message done = g->task;
    tine_payload *none = NULL;
    tine_value *v = tine_none();
    done.type = TINE_MSG_DONE;
    done.status = status;
    done.text = text;
    if (!text) {
        cr_assert_eq(tine_payload_of_value(v, NULL, &none), TINE_OK);
        done.payload = none;
    }
    guest_say(g, &done);
    tine_payload_unref(none);
    tine_release(v);
}

/* Without a farewell, as a process that is killed. */
static void guest_vanish(guest *g) { g->ops->fini(g->t); }

static tine_hello hello_of(uint32_t pid, const char *token, const char *host,
                           const char *const *functions, size_t n) {
    return (tine_hello){.version = TINE_PROTOCOL_VERSION,
                        .pid = pid,
                        .rank = -1,
                        .host = host,
                        .token = token,
                        .kernel = "",
                        .functions = functions,
                        .n_functions = (uint32_t)n};
}

/* Two at once with one pid and one token. Each has begun a task when they vanish: the deaths were
 * counted as one, and the tasks of the other stalled for good. What they had not begun runs on
 * the next worker that serves it. */
static void claim_one_pid(const char *token) {
    static const char *const functions[] = {"impostors_only"};
    cluster_start("tcp://127.0.0.1:0", 1);
    tine_hello hello = hello_of(7, token, "nowhere", functions, 1);
    guest a = guest_join(&hello), b = guest_join(&hello);
    tine_future *f[4];
    for (int i = 0; i < 4; i++) f[i] = tine_fork("impostors_only");
    guest_await_tasks(&a, 1);
    guest_await_tasks(&b, 1);
    guest_vanish(&a);
    guest_vanish(&b);
    for (int i = 0; i < 2; i++) {
        cr_expect_eq(tine_wait(f[i], NULL), TINE_ELOST, "%s", tine_error_message());
        cr_expect(strstr(tine_error_message(), "worker pid 7"), "%s", tine_error_message());
    }
    while (tine_worker_count() > 1) tine_wait_for(f[2], 0.01, NULL);
    cr_expect_eq(tine_wait_for(f[2], 0.01, NULL), TINE_ETIMEDOUT);
    cr_expect(strstr(tine_error_message(), "has not started: no worker that serves it is"), "%s",
              tine_error_message());
    guest next = guest_join(&hello);
    for (unsigned n = 1; n <= 2; n++) {
        guest_await_tasks(&next, n);
        guest_answer(&next, TINE_OK, NULL);
    }
    for (int i = 2; i < 4; i++)
        cr_expect_eq(tine_wait(f[i], NULL), TINE_OK, "%s", tine_error_message());
    for (int i = 0; i < 4; i++) tine_release(f[i]);
    guest_vanish(&next);
    cluster_stop();
}

Test(impostors, two_hold_tasks_under_one_pid) { claim_one_pid(""); }
Test(impostors, two_hold_tasks_under_one_token) { claim_one_pid("abc"); }

/* ---- texts ---- */

/* Newlines may stand between lines of an error's text. */
static void has_no_control_characters(const char *what, const char *text, bool newlines) {
    for (const char *p = text; *p; p++)
        cr_expect(!iscntrl((unsigned char)*p) || (newlines && *p == '\n'), "%s: byte %#x in %s",
                  what, (unsigned char)*p, text);
    cr_expect(!strstr(text, "\xc2\x9b"), "%s: an 8-bit control character: %s", what, text);
    cr_expect(!strstr(text, "\xe2\x80\xae"), "%s: an override of the direction: %s", what, text);
}

/* The lines that are in the pipe now, one after the other. */
static unsigned check_lines(int log) {
    static char all[1 << 16];
    unsigned lines = 0;
    ssize_t n = read(log, all, sizeof all - 1);
    cr_assert_gt(n, 0);
    all[n] = 0;
    for (char *at = all, *line; (line = strsep(&at, "\n")); lines += *line != 0) {
        cr_expect(!*line || !strncmp(line, "tine[", 5), "a forged line: %s", line);
        cr_expect(!strstr(line, "tine[1]") || !strncmp(line, "tine[", 5));
        has_no_control_characters("log", line, false);
    }
    return lines;
}

static atomic_bool trace_written;

/* Answers what the trace asks for. */
static void *serve_trace(void *g) {
    while (!atomic_load(&trace_written)) guest_turn(g, NULL);
    return NULL;
}

static void check_trace(guest *g) {
    pthread_t thread;
    pthread_create(&thread, NULL, serve_trace, g);
    char path[] = "/tmp/tine-impostors-XXXXXX";
    int fd = mkstemp(path);
    cr_assert(fd >= 0);
    cr_assert_eq(tine_trace_write(path), TINE_OK, "%s", tine_error_message());
    atomic_store(&trace_written, true);
    pthread_join(thread, NULL);
    json_object *trace = json_object_from_file(path);
    cr_assert(trace, "the trace is not JSON: %s", json_util_get_last_err());
    const char *text = json_object_to_json_string_ext(trace, JSON_C_TO_STRING_PLAIN);
    cr_expect(strstr(text, "pwned"), "the guest is not in the trace");
    has_no_control_characters("trace", text, false);
    json_object_put(trace);
    unlink(path);
    close(fd);
}

Test(impostors, names_and_texts_reach_no_terminal_raw) {
    static const char *const functions[] = {"impostors_text", "sq\x1b[31mx\n\x07"};
    int log = capture_pipe();
    cluster_start("tcp://127.0.0.1:0", 1);
    tine_log_level_set(TINE_LOG_INFO);
    cr_assert_eq(tine_trace_start(), TINE_OK);
    tine_hello hello =
        hello_of(4242, "", "h\x1b]0;pwned\x07\n\x1b[2Ktine[1]: forged line", functions, 2);
    guest g = guest_join(&hello);
    tine_future *f = tine_fork("impostors_text"), *unknown = tine_fork("impostors_texts");
    guest_await_tasks(&g, 1);
    guest_answer(&g, TINE_EFAILED,
                 "reason\x1b[31m\r\nforged %s%n \u202e\xc2\x85\xc2\x9b"
                 "31m");
    cr_expect_eq(tine_wait(f, NULL), TINE_EFAILED);
    cr_expect(strstr(tine_error_message(), "reason\\x1b[31m"), "%s", tine_error_message());
    has_no_control_characters("error", tine_error_message(), true);
    cr_expect_eq(tine_wait(unknown, NULL), TINE_EUNKNOWN);
    has_no_control_characters("suggestion", tine_error_message(), true);
    check_trace(&g);
    tine_future *last = tine_fork("impostors_text");
    guest_await_tasks(&g, 2);
    guest_vanish(&g);
    cr_expect_eq(tine_wait(last, NULL), TINE_ELOST);
    has_no_control_characters("loss", tine_error_message(), true);
    cr_expect_geq(check_lines(log), 2, "joined, was lost");
    tine_release(f), tine_release(unknown), tine_release(last);
    cluster_stop();
}
