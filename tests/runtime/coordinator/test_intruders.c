/* Strangers at a tcp:// coordinator that is at work: each is dropped with a reason, the job's
 * results stay right, memory stays flat. What is sent here passes, or tries to pass, for a worker:
 * below ZeroMQ, as ZeroMQ, and as a worker that lies. */
#include <criterion/criterion.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

#include "runtime/coordinator/coordinator.h"
#include "runtime/settings/settings.h"
#include "runtime/wire/wire.h"
#include "tests/support/cluster.h"
#include "transport/base/clock.h"
#include "transport/transport.h"

TINE_REPEATABLE_FUNCTION(intruders_double, "i") { return tine_int(2 * tine_arg_int(task, 0)); }

static atomic_bool enough;
static char url[128];
static atomic_uint visits;

static int tcp_connect(void) {
    struct sockaddr_in a = {.sin_family = AF_INET};
    int port = 0;
    cr_assert_eq(sscanf(url, "tcp://127.0.0.1:%d", &port), 1);
    a.sin_port = htons((uint16_t)port);
    inet_pton(AF_INET, "127.0.0.1", &a.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

/* Sends and reads until the other side closes, or has had a second to. */
static void tcp_visit(const void *data, size_t size) {
    struct timeval second = {1, 0};
    char answer[512];
    int fd = tcp_connect();
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second);
    ssize_t n = send(fd, data, size, MSG_NOSIGNAL);
    while (n > 0 && (n = recv(fd, answer, sizeof answer, 0)) > 0) {
    }
    close(fd);
}

static void random_bytes(void) {
    unsigned char junk[4096];
    unsigned seed = 7 + atomic_load(&visits);
    for (size_t i = 0; i < sizeof junk; i++) junk[i] = (unsigned char)(rand_r(&seed) >> 7);
    tcp_visit(junk, sizeof junk);
}
static void http_request(void) {
    static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    tcp_visit(request, sizeof request - 1);
}

/* A ZeroMQ peer that sends one message and waits to be cut off or ignored. */
static void zmq_visit(const void *first, size_t n_first, const void *second, size_t n_second) {
    void *context = zmq_ctx_new(), *socket = zmq_socket(context, ZMQ_DEALER);
    int linger = 0, patience = 300;
    zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(socket, ZMQ_RCVTIMEO, &patience, sizeof patience);
    cr_assert_eq(zmq_connect(socket, url), 0);
    zmq_send(socket, first, n_first, second ? ZMQ_SNDMORE : 0);
    if (second) zmq_send(socket, second, n_second, 0);
    char answer[512];
    while (zmq_recv(socket, answer, sizeof answer, 0) >= 0) {
    }
    zmq_close(socket);
    zmq_ctx_term(context);
}
static void wrong_greeting(void) { zmq_visit("hello?", 6, "\xdd\xff\xff\xff\xff", 5); }
static void claims_four_billion(void) { zmq_visit("\xdd\xff\xff\xff\xff", 5, NULL, 0); }

/* A peer that speaks the transport's framing and then lies in messages. */
static void lying_worker(const tine_message *lies, size_t n) {
    char why[128];
    tine_transport_config config = {0};
    const tine_transport_ops *ops = tine_transport_for(url, why, sizeof why);
    tine_transport *t = NULL;
    tine_event ev = {0};
    cr_assert_eq(ops->connect(&t, url, &config, why, sizeof why), 0, "%s", why);
    for (bool lost = false; !lost;) {
        cr_assert_eq(ops->recv(t, &ev), 0);
        if (ev.kind == TINE_EVENT_UP)
            for (size_t i = 0; i < n; i++) {
                tine_frame *f = tine_wire_encode(&lies[i]);
                if (f && ops->send(t, 1, f) != 0) tine_frame_free(f);
            }
        if (ev.kind == TINE_EVENT_FRAME) tine_frame_free(ev.frame);
        lost = ev.kind == TINE_EVENT_LOST;
        if (ev.kind == TINE_EVENT_NONE) ops->wait(t, 100000000);
    }
    ops->close(t);
    ops->stop(t);
    ops->fini(t);
}
static tine_hello worker_hello(uint32_t version) {
    static const char *const functions[] = {"intruders_never_called"};
    return (tine_hello){.version = version,
                        .pid = 1,
                        .rank = -1,
                        .host = "nowhere",
                        .token = "",
                        .kernel = "",
                        .functions = functions,
                        .n_functions = 1};
}
static void wrong_version(void) {
    tine_hello hello = worker_hello(99);
    lying_worker(&(tine_message){.type = TINE_MSG_HELLO, .hello = &hello}, 1);
}
static void speaks_before_hello(void) {
    lying_worker(&(tine_message){.type = TINE_MSG_DONE,
                                 .task = 1,
                                 .attempt = 1,
                                 .epoch = 1,
                                 .status = TINE_EFAILED,
                                 .text = "x"},
                 1);
}
static void says_hello_twice(void) {
    tine_hello hello = worker_hello(TINE_PROTOCOL_VERSION);
    tine_message m = {.type = TINE_MSG_HELLO, .hello = &hello};
    lying_worker((tine_message[]){m, m}, 2);
}

static void *intrude(void *arg) {
    static void (*const ways[])(void) = {random_bytes,        http_request,  wrong_greeting,
                                         claims_four_billion, wrong_version, speaks_before_hello,
                                         says_hello_twice};
    (void)arg;
    while (!atomic_load(&enough)) {
        ways[atomic_load(&visits) % (sizeof ways / sizeof *ways)]();
        atomic_fetch_add(&visits, 1);
    }
    return NULL;
}

static long resident_kib(void) {
    long pages = 0, all;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%ld %ld", &all, &pages) != 2) pages = 0;
    if (f) fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

Test(intruders, a_job_goes_on_beside_them, .timeout = 120) {
    pthread_t thread;
    cluster_start("tcp://127.0.0.1:0", 2);
    snprintf(url, sizeof url, "%s", tine_endpoint());
    for (int i = 0; i < 20000; i++)
        cr_assert_eq(cluster_take_int(tine_fork("intruders_double", 1)), 2);
    long before = resident_kib();
    pthread_create(&thread, NULL, intrude, NULL);
    for (int i = 0; atomic_load(&visits) < 21; i++) {
        tine_future *f[100];
        for (int k = 0; k < 100; k++) f[k] = tine_fork("intruders_double", i + k);
        for (int k = 0; k < 100; k++) cr_assert_eq(cluster_take_int(f[k]), 2 * (i + k));
    }
    atomic_store(&enough, true);
    pthread_join(thread, NULL);
#if !defined __SANITIZE_ADDRESS__ &&                                                               \
    !defined __SANITIZE_THREAD__ /* they keep freed memory for a while */
    cr_assert_lt(resident_kib() - before, 16 << 10);
#else
    (void)before;
#endif
    cr_assert_eq(tine_worker_count(), 2);
    cluster_stop();
}

/* ---- claims ---- */

TINE_REPEATABLE_FUNCTION(intruders_pid, "") {
    (void)task;
    return tine_int(getpid());
}
TINE_REPEATABLE_FUNCTION(intruders_token, "") {
    (void)task;
    char environment[1 << 16], *at = environment;
    FILE *f = fopen("/proc/self/environ", "r");
    size_t n = f ? fread(environment, 1, sizeof environment - 1, f) : 0;
    if (f) fclose(f);
    environment[n] = 0;
    for (; at < environment + n; at += strlen(at) + 1)
        if (!strncmp(at, "TINE_TOKEN=", 11)) return tine_string(at + 11);
    return tine_fail(task, "no token");
}

/* Says HELLO, waits for WELCOME, and goes. */
static void ghost_visit(const tine_hello *hello) {
    char why[128];
    tine_transport_config config = {0};
    const tine_transport_ops *ops = tine_transport_for(url, why, sizeof why);
    tine_transport *t = NULL;
    tine_event ev = {0};
    cr_assert_eq(ops->connect(&t, url, &config, why, sizeof why), 0, "%s", why);
    while (ev.kind != TINE_EVENT_FRAME && ev.kind != TINE_EVENT_LOST) {
        cr_assert_eq(ops->recv(t, &ev), 0);
        if (ev.kind == TINE_EVENT_UP) {
            tine_frame *f =
                tine_wire_encode(&(tine_message){.type = TINE_MSG_HELLO, .hello = hello});
            cr_assert_eq(ops->send(t, 1, f), 0);
        }
        if (ev.kind == TINE_EVENT_NONE) ops->wait(t, 100000000);
    }
    cr_assert_eq(ev.kind, TINE_EVENT_FRAME, "%s", ev.reason);
    tine_frame_free(ev.frame);
    ops->fini(t);
}

/* The HELLO of a local worker, replayed from another connection, which then ends: the worker is not
 * killed for it. A death that is taken for its own would be settled within a second. */
Test(intruders, a_replayed_hello_kills_nobody, .timeout = 60) {
    cluster_start("tcp://127.0.0.1:0", 1);
    snprintf(url, sizeof url, "%s", tine_endpoint());
    int64_t pid = cluster_take_int(tine_fork("intruders_pid"));
    tine_value *token = cluster_take(tine_fork("intruders_token"));
    tine_hello hello = worker_hello(TINE_PROTOCOL_VERSION);
    hello.pid = (uint32_t)pid;
    hello.token = tine_as_string(token);
    ghost_visit(&hello);
    for (int64_t end = tine_clock_ns() + 2 * INT64_C(1000000000); tine_clock_ns() < end;)
        cr_assert_eq(cluster_take_int(tine_fork("intruders_pid")), pid);
    tine_release(token);
    cluster_stop();
}

/* The text with which a worker of this token is refused; "": it is not. The caller frees it. */
static char *refusal(const char *token) {
    char why[128], *text = NULL;
    tine_transport_config config = {0};
    const tine_transport_ops *ops = tine_transport_for(url, why, sizeof why);
    tine_transport *t = NULL;
    tine_hello hello = worker_hello(TINE_PROTOCOL_VERSION);
    hello.token = token;
    cr_assert_eq(ops->connect(&t, url, &config, why, sizeof why), 0, "%s", why);
    while (!text) {
        tine_event ev;
        cr_assert_eq(ops->recv(t, &ev), 0);
        cr_assert_neq(ev.kind, TINE_EVENT_LOST, "%s", ev.reason);
        if (ev.kind == TINE_EVENT_UP) {
            tine_frame *f =
                tine_wire_encode(&(tine_message){.type = TINE_MSG_HELLO, .hello = &hello});
            cr_assert_eq(ops->send(t, 1, f), 0);
        }
        if (ev.kind == TINE_EVENT_FRAME) {
            tine_decoded d;
            cr_assert_eq(tine_wire_decode(ev.frame, &d, why, sizeof why), TINE_OK, "%s", why);
            text = strdup(d.message.type == TINE_MSG_REJECT ? d.message.text : "");
            tine_decoded_fini(&d);
            tine_frame_free(ev.frame);
        }
        if (ev.kind == TINE_EVENT_NONE) ops->wait(t, 100000000);
    }
    ops->fini(t);
    return text;
}

static void joins(const char *token, const char *why) {
    char *text = refusal(token);
    cr_expect(*why ? strstr(text, why) != NULL : !*text, "token \"%s\": \"%s\"", token, text);
    free(text);
}

/* Its directory keeps other users out; this user's other processes have no token. */
Test(intruders, a_private_pool_takes_no_worker_that_it_has_not_started, .timeout = 60) {
    cluster_start(NULL, 1);
    snprintf(url, sizeof url, "%s", tine_endpoint());
    tine_value *token = cluster_take(tine_fork("intruders_token"));
    joins("", "only workers that the program has started");
    joins("abc", "only workers that the program has started");
    cr_expect_eq(tine_worker_count(), 1);
    joins(tine_as_string(token), ""); /* a wrapper may stand between */
    tine_release(token);
    cluster_stop();
}

Test(intruders, a_pool_with_an_endpoint_takes_others, .timeout = 60) {
    cluster_start("ipc://*", 1);
    snprintf(url, sizeof url, "%s", tine_endpoint());
    joins("", "");
    cluster_stop();
}

/* Two strangers with one pid and token: their tasks do not stall when both have gone. */
Test(intruders, two_strangers_claim_one_pid, .timeout = 60) {
    cluster_start("tcp://127.0.0.1:0", 1);
    snprintf(url, sizeof url, "%s", tine_endpoint());
    tine_hello hello = worker_hello(TINE_PROTOCOL_VERSION);
    hello.pid = 7;
    hello.token = "abc";
    for (int i = 0; i < 4; i++) ghost_visit(&hello);
    while (tine_worker_count() > 1) cluster_take_int(tine_fork("intruders_pid"));
    cluster_stop();
}

static int claims;
static bool claim_refused(uint32_t pid, const char *token) {
    claims += pid == 7 && !strcmp(token, "abc");
    return false;
}
static void *visit_early(void *hello) {
    ghost_visit(hello);
    return NULL;
}

/* One that listens, at `url`, and has no workers. */
static tine_coordinator *coordinator_new(tine_settings *s, const char *at) {
    char why[128];
    tine_transport *t;
    tine_coordinator *c;
    const tine_transport_ops *ops = tine_transport_for(at, why, sizeof why);
    cr_assert_eq(tine_settings_resolve(s, NULL, NULL, NULL), TINE_OK);
    cr_assert_eq(ops->listen(&t, at, NULL, why, sizeof why), 0, "%s", why);
    snprintf(url, sizeof url, "%s", ops->url(t));
    cr_assert_eq(tine_coordinator_new(&c, s, t, 1, true), TINE_OK);
    return c;
}

static void coordinator_end(tine_coordinator *c, tine_settings *s) {
    tine_coordinator_stop(c, 1);
    tine_coordinator_free(c);
    tine_settings_fini(s);
}

/* Who connects before the first workers are started is served, and asked, only after that. */
Test(intruders, an_early_claim_is_checked_too, .timeout = 60) {
    tine_settings s;
    tine_coordinator *c = coordinator_new(&s, "tcp://127.0.0.1:0");
    tine_hello hello = worker_hello(TINE_PROTOCOL_VERSION);
    hello.pid = 7;
    hello.token = "abc";
    pthread_t thread;
    pthread_create(&thread, NULL, visit_early, &hello);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 200000000;
    until.tv_sec += until.tv_nsec / 1000000000, until.tv_nsec %= 1000000000;
    cr_expect_eq(pthread_timedjoin_np(thread, NULL, &until), ETIMEDOUT, "it was served");
    tine_coordinator_know_local(c, claim_refused);
    cr_assert_eq(tine_coordinator_open(c, 1, 20), TINE_OK, "%s", tine_error_message());
    pthread_join(thread, NULL);
    cr_expect_eq(claims, 1);
    coordinator_end(c, &s);
}

static bool claim_taken(uint32_t pid, const char *token) {
    (void)pid, (void)token;
    claims++;
    return true;
}

/* A token that was stolen before its worker has joined: over ipc the kernel says who has connected,
 * so it is of no use to another process. */
Test(intruders, a_token_counts_for_the_process_that_was_given_it, .timeout = 60) {
    tine_settings s;
    tine_coordinator *c = coordinator_new(&s, "ipc://*");
    tine_coordinator_know_local(c, claim_taken);
    cr_assert_eq(tine_coordinator_open(c, 0, 20), TINE_OK, "%s", tine_error_message());
    tine_hello hello = worker_hello(TINE_PROTOCOL_VERSION);
    hello.token = "abc";
    hello.pid = (uint32_t)getppid();
    ghost_visit(&hello);
    cr_expect_eq(claims, 0, "another process's token was taken");
    hello.pid = (uint32_t)getpid();
    ghost_visit(&hello);
    cr_expect_eq(claims, 1);
    coordinator_end(c, &s);
}

/* A HELLO past 64 KiB is refused before it is held. */
Test(intruders, a_large_hello_is_refused, .timeout = 60) {
    cluster_start("tcp://127.0.0.1:0", 1);
    snprintf(url, sizeof url, "%s", tine_endpoint());
    enum { N = 20000 };
    static char names[N][80];
    static const char *pointers[N];
    for (int i = 0; i < N; i++)
        snprintf(names[i], sizeof names[i], "%070d", i), pointers[i] = names[i];
    tine_hello hello = worker_hello(TINE_PROTOCOL_VERSION);
    hello.functions = pointers;
    hello.n_functions = N;
    long before = resident_kib();
    for (int i = 0; i < 30; i++)
        lying_worker(&(tine_message){.type = TINE_MSG_HELLO, .hello = &hello}, 1);
#if !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__
    cr_assert_lt(resident_kib() - before, 16 << 10);
#else
    (void)before;
#endif
    cr_assert_eq(tine_worker_count(), 1);
    cluster_stop();
}
