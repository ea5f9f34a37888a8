/* A listener in a process that has no file descriptor left: peers are refused once the reserve is
 * used up, and all come in when descriptors are free again. libzmq alone aborts over ipc. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "transport/base/clock.h"
#include "transport/zmq/internal.h"

TestSuite(descriptors, .timeout = 60);

enum { PEERS = 10, LIMIT = 100 };

static char why[300];
static int taken[LIMIT], n_taken;

static void descriptors_take(void) {
    while (n_taken < LIMIT && (taken[n_taken] = fcntl(0, F_DUPFD_CLOEXEC, 0)) >= 0) n_taken++;
    cr_assert_eq(errno, EMFILE);
}

static void descriptors_free(void) {
    while (n_taken) close(taken[--n_taken]);
}

enum { URL_SIZE = 200 }; /* less than PIPE_BUF: each reader gets one whole */

/* A connector in a process of its own, which waits for the listener to read its goodbye. It is
 * forked before the listener has threads: a lock of AddressSanitizer's allocator that one of them
 * holds would stay locked in the child. */
static void connector_main(const int start[2]) {
    char url[URL_SIZE];
    tine_transport *c;
    tine_event ev;
    close(start[1]); /* so that it ends if the test does before it has written */
    if (read(start[0], url, sizeof url) != sizeof url) _exit(1);
    const tine_transport_ops *ops = tine_transport_for(url, why, sizeof why);
    const tine_transport_config config = {.connect_ns = -1};
    if (ops->connect(&c, url, &config, why, sizeof why)) _exit(1);
    do {
        ops->wait(c, -1);
        if (ops->recv(c, &ev)) _exit(2);
    } while (ev.kind != TINE_EVENT_UP);
    do {
        ops->wait(c, -1);
        if (ops->recv(c, &ev)) _exit(2);
    } while (ev.kind != TINE_EVENT_LOST);
    _exit(0);
}

static void await(tine_transport *t, int *up, int wanted, bool (*done)(tine_zmq *)) {
    int64_t end = tine_clock_ns() + INT64_C(30000000000);
    while (*up < wanted || (done && !done((tine_zmq *)t))) {
        tine_event ev;
        cr_assert_lt(tine_clock_ns(), end, "%d peers of %d", *up, wanted);
        cr_assert_eq(t->ops->recv(t, &ev), 0);
        *up += ev.kind == TINE_EVENT_UP;
        cr_assert_neq(ev.kind, TINE_EVENT_LOST, "%s", ev.reason);
        if (ev.kind == TINE_EVENT_NONE) t->ops->wait(t, 10000000);
    }
}

static bool is_scarce(tine_zmq *t) { return t->scarce; }

static void run_out(const char *url) {
    struct rlimit limit = {LIMIT, LIMIT};
    tine_transport *t;
    char to[URL_SIZE] = "";
    int start[2], up = 0, status;
    pid_t child[PEERS];
    const tine_transport_ops *ops = tine_transport_for(url, why, sizeof why);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    cr_assert_eq(pipe2(start, O_CLOEXEC), 0);
    for (int i = 0; i < PEERS; i++) {
        child[i] = fork();
        if (!child[i]) connector_main(start);
        cr_assert_gt(child[i], 0);
    }
    cr_assert_eq(ops->listen(&t, url, NULL, why, sizeof why), 0, "%s", why);
    snprintf(to, sizeof to, "%s", ops->url(t));
    await(t, &up, 0, NULL);
    tine_event ev;
    cr_assert_eq(ops->recv(t, &ev), 0);
    descriptors_take();
    for (int i = 0; i < PEERS; i++) cr_assert_eq(write(start[1], to, sizeof to), sizeof to);
    await(t, &up, 0, is_scarce);
    cr_assert_lt(up, PEERS, "all came in");
    descriptors_free();
    await(t, &up, PEERS, NULL);
    cr_assert_not(is_scarce((tine_zmq *)t));
    ops->stop(t);
    ops->fini(t);
    for (int i = 0; i < PEERS; i++) {
        cr_assert_eq(waitpid(child[i], &status, 0), child[i]);
        cr_assert_eq(status, 0, "connector %d: status %x", i, status);
    }
}

Test(descriptors, run_out_over_ipc) { run_out("ipc://*"); }
Test(descriptors, run_out_over_tcp) { run_out("tcp://127.0.0.1:0"); }
