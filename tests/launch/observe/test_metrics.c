/* Metrics: the exposition format, checked by a parser of its grammar; and the HTTP server. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <ctype.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "launch/observe/metrics.h"
#include "tests/support/capture.h"
#include "tests/support/cluster.h"
#include "tests/support/metrics.h"

TINE_FUNCTION(metrics_add, "a") { return tine_int(tine_arg_int(task, 0) + 1); }

TestSuite(metrics, .timeout = 40);

static char *metrics_of(tine_value *snapshot) {
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    tine_metrics_write(f, snapshot);
    fclose(f);
    return text;
}

static tine_value *dict(size_t n, const char *const *keys, tine_value *const *items) {
    return tine_dict_of(keys, items, n);
}

Test(metrics, of_hostile_names_are_still_in_the_format) {
    static const char *const nasty = "a\"b\\c\nd\033[31m{x=\"1\"} 7\n# TYPE x";
    tine_value *name = tine_string(nasty), *three = tine_int(3), *more = tine_float(1e300);
    tine_value *function = dict(3, (const char *const[]){"name", "done", "seconds"},
                                (tine_value *const[]){name, three, more});
    tine_value *worker = dict(3, (const char *const[]){"id", "host", "done"},
                              (tine_value *const[]){three, name, three});
    tine_value *snapshot =
        dict(4, (const char *const[]){"version", "host", "workers", "functions"},
             (tine_value *const[]){name, name, tine_list(worker, worker), tine_list(function)});
    char *text = metrics_of(snapshot);
    metrics_check(text);
    cr_expect(!strchr(text, '\033'));
    cr_expect_eq(metrics_value(text, "tine_workers"), 2);
    free(text);
}

/* What another process sends may be anything. */
Test(metrics, of_what_is_no_snapshot_are_in_the_format) {
    tine_value *all[] = {tine_none(), tine_int(1), tine_list(1, 2),
                         dict(3, (const char *const[]){"workers", "tasks", "uptime"},
                              (tine_value *const[]){tine_list(1, "x"), tine_int(2), tine_none()})};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char *text = metrics_of(all[i]);
        metrics_check(text);
        free(text);
    }
}

/* ---- HTTP ---- */

static int port;

static char *http(const char *request) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, "127.0.0.1", &a.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    cr_assert_eq(send(fd, request, strlen(request), MSG_NOSIGNAL), (ssize_t)strlen(request));
    char *answer = calloc(1, 1 << 20);
    size_t used = 0;
    for (ssize_t n; (n = recv(fd, answer + used, (1 << 20) - 1 - used, 0)) > 0;) used += (size_t)n;
    close(fd);
    return answer;
}

static void http_answers(const char *request, const char *status) {
    char *answer = http(request);
    cr_expect(strncmp(answer, status, strlen(status)) == 0, "%s: %s", request, answer);
    free(answer);
}

static tine_options options;
static void start(void) { cluster_start_with(&options); }

static void serve(tine_options o) {
    void *library = dlopen("libmicrohttpd.so.12", RTLD_NOW | RTLD_LOCAL);
    if (!library) cr_skip_test("SKIP: there is no libmicrohttpd");
    dlclose(library);
    o.workers = 2;
    o.log_level = "info";
    options = o;
    char *log = capture_standard_error(start), *at = strstr(log, "port ");
    cr_assert(at, "%s", log);
    port = atoi(at + strlen("port "));
    free(log);
}

TRANSPORT_TEST(metrics, are_served_over_http, 40) {
    serve((tine_options){.endpoint = endpoint, .metrics = ":0"});
    for (int i = 0; i < 7; i++) cluster_take_int(tine_fork("metrics_add", i));
    char *answer = http("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    char *body = strstr(answer, "\r\n\r\n");
    cr_assert(strncmp(answer, "HTTP/1.1 200", 12) == 0 && body, "%s", answer);
    cr_expect(strstr(answer, "text/plain; version=0.0.4"));
    metrics_check(body + 4);
    cr_expect_eq(metrics_value(body, "tine_workers"), 2);
    cr_expect_eq(metrics_value(body, "tine_tasks_forked_total"), 7);
    cr_expect_eq(metrics_value(body, "tine_tasks_ended_total{result=\"ok\"}"), 7);
    cr_expect_eq(
        metrics_value(body, "tine_function_tasks_total{function=\"metrics_add\",result=\"ok\"}"),
        7);
    free(answer);
    http_answers("GET / HTTP/1.0\r\n\r\n", "HTTP/1.1 404");
    http_answers("HEAD /metrics HTTP/1.0\r\n\r\n", "HTTP/1.1 200");
    http_answers("POST /metrics HTTP/1.0\r\nContent-Length: 2\r\n\r\nxx", "HTTP/1.1 405");
    cluster_stop();
}

Test(metrics, are_at_the_loopback_address_unless_told) {
    serve((tine_options){.metrics = "0"});
    char line[300], local[40], word[40];
    bool found = false;
    FILE *f = fopen("/proc/net/tcp", "r");
    snprintf(word, sizeof word, ":%04X", port);
    while (fgets(line, sizeof line, f))
        if (sscanf(line, " %*d: %39s", local) == 1 && strstr(local, word)) {
            found = true;
            cr_expect(strncmp(local, "0100007F:", 9) == 0, "%s", local);
        }
    fclose(f);
    cr_expect(found);
    cluster_stop();
}

static void serve_fails(const char *at, tine_error e, const char *words) {
    tine_options o = {.workers = 1, .metrics = at, .log_level = "error"};
    unsetenv("BXFI_MAP");
    cr_expect_eq(tine_init(NULL, NULL, &o), e, "%s: %s", at, tine_error_message());
    cr_expect(strstr(tine_error_message(), words), "%s: %s", at, tine_error_message());
}

Test(metrics, at_a_wrong_address_are_refused_by_name) {
    serve_fails("nonsense", TINE_EINVAL, "TINE_METRICS=nonsense: expected HOST:PORT");
    serve_fails("localhost:", TINE_EINVAL, "expected HOST:PORT");
    serve_fails("127.0.0.1:http", TINE_EINVAL, "expected HOST:PORT");
    serve_fails("192.0.2.1:0", TINE_EIO, "TINE_METRICS=192.0.2.1:0");
}
