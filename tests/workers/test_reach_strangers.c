/* Strangers at the port at which other workers fetch results. They have its address and nothing
 * else, or what they have recorded. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/wire/wire.h"
#include "tests/support/capture.h"
#include "tests/support/conformance.h"
#include "transport/zmq/key.h"
#include "workers/reach.h"

TestSuite(reach_strangers, .timeout = 60);

enum { ID = 6, BYTES = 200000 };
static const char secret_text[] = "the weights of the model";

static char key[TINE_ZMQ_KEY_SIZE], url[128];
static uint64_t secret;
static tine_reach *holder, *fetcher;
static int come; /* is readable when the fetcher has an outcome */

static void unheard(void *ctx) { (void)ctx; }
static void outcome_come(void *ctx) { eventfd_write(*(int *)ctx, 1); }

/* A worker that keeps a result, and one that may fetch it. */
static void begin(bool with_key) {
    char why[200];
    cr_assert(tine_zmq_key_make(key));
    tine_transport_config config = {.key = with_key ? key : NULL, .lane = -1};
    come = eventfd(0, EFD_CLOEXEC);
    holder = tine_reach_new(&config, unheard, NULL);
    fetcher = tine_reach_new(&config, outcome_come, &come);
    const char *at = tine_reach_listen(holder, "tcp://127.0.0.1:0", &secret, why, sizeof why);
    cr_assert(at, "%s", why);
    snprintf(url, sizeof url, "%s", at);
    static char text[BYTES];
    snprintf(text, sizeof text, "%s", secret_text);
    tine_value *v = tine_bytes(text, sizeof text);
    tine_payload *p;
    cr_assert_eq(tine_payload_of_value(v, NULL, &p), TINE_OK);
    tine_reach_keep(holder, ID, p);
    tine_payload_unref(p);
    tine_release(v);
}

static void end(void) {
    tine_reach_free(fetcher);
    tine_reach_free(holder);
    close(come);
}

static void fetch_ends(bool here) {
    tine_reached r;
    for (eventfd_t n; !tine_reach_take(fetcher, &r);) eventfd_read(come, &n);
    cr_assert_eq(r.id, ID);
    cr_assert_eq(r.payload != NULL, here, "%s", r.why);
    if (here) cr_expect_geq(tine_payload_bytes(r.payload), BYTES);
    tine_payload_unref(r.payload);
}

static void fetch(bool here) {
    tine_reach_fetch(fetcher, ID, secret, url);
    fetch_ends(here);
}

static int stranger(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    a.sin_port = htons((uint16_t)atoi(strrchr(url, ':') + 1));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

/* Blocks until the other side has closed it. */
static void closed(int fd) {
    uint8_t bytes[4096];
    ssize_t n;
    while ((n = recv(fd, bytes, sizeof bytes, 0)) > 0 || (n < 0 && errno == EINTR)) {
    }
    close(fd);
}

static void send_all(int fd, const void *bytes, size_t n) {
    cr_assert_eq(send(fd, bytes, n, MSG_NOSIGNAL), (ssize_t)n);
}

/* The transport reports a connection a little after it has ended, as it goes on. */
static void refused(uint64_t n) {
    while (tine_reach_refused(holder) < n) fetch(true);
}

static size_t lines_in(int log, const char *part) {
    static char text[1 << 16];
    ssize_t n = read(log, text, sizeof text - 1);
    text[n < 0 ? 0 : n] = 0;
    return capture_count(text, part);
}

/* More than are accepted at a time: random bytes, a handshake that breaks off, silence. */
Test(reach_strangers, all_are_cut_off_and_counted_and_an_address_is_logged_once) {
    enum { MANY = 99 };
    static int fds[MANY];
    uint8_t bytes[512];
    int log = capture_pipe();
    begin(true);
    for (int i = 0; i < MANY; i++) {
        fds[i] = stranger();
        tine_conf_fill(bytes, sizeof bytes, (uint32_t)i);
        if (i % 3 == 1) memcpy(bytes, "\xff\0\0\0\0\0\0\0\1\x7f\3\1CURVE\0\0\0", 20);
        if (i % 3 < 2) send_all(fds[i], bytes, sizeof bytes);
    }
    for (int i = 0; i < MANY; i++) closed(fds[i]);
    refused(MANY);
    size_t lines = lines_in(log, "refused a peer at tcp://127.0.0.1:");
    cr_expect(lines == 1 || lines == 2, "%zu lines", lines); /* one may be of an unknown address */
    fetch(true);
    end();
}

Test(reach_strangers, one_with_another_key_gets_nothing) {
    char other[TINE_ZMQ_KEY_SIZE];
    cr_assert(tine_zmq_key_make(other));
    int log = capture_pipe();
    begin(true);
    tine_reach_free(fetcher);
    fetcher = tine_reach_new(&(tine_transport_config){.key = other}, outcome_come, &come);
    fetch(false);
    cr_expect_geq(lines_in(log, "refused a peer at tcp://127.0.0.1:"), 1);
    cr_expect_geq(tine_reach_refused(holder), 1);
    end();
}

Test(reach_strangers, one_that_does_not_know_the_secret_gets_nothing) {
    int log = capture_pipe();
    begin(true);
    secret++;
    fetch(false);
    cr_expect_eq(lines_in(log, "it does not ask for a result of this worker"), 1);
    end();
}

/* ---- without a key ---- */

/* The handshake of ZMTP 3.1 with the NULL mechanism, as a DEALER. */
static int zmtp_stranger(void) {
    static const char ready[] = "\4\x1c\5READY\13Socket-Type\0\0\0\6DEALER";
    uint8_t greeting[64] = {0xff, [9] = 0x7f, 3, 0, 'N', 'U', 'L', 'L'}, answer[64 + 30];
    int fd = stranger();
    send_all(fd, greeting, sizeof greeting);
    send_all(fd, ready, sizeof ready - 1);
    cr_assert_eq(recv(fd, answer, sizeof answer, MSG_WAITALL), (ssize_t)sizeof answer);
    return fd;
}

/* libzmq answers its PING, so it seems to be alive. */
Test(reach_strangers, one_that_asks_for_nothing_is_cut_off) {
    begin(false);
    closed(zmtp_stranger());
    refused(1);
    fetch(true);
    end();
}

Test(reach_strangers, a_port_that_other_hosts_reach_without_a_key_is_warned_of) {
    static const char *const words = "can be reached from other hosts, and no key is needed";
    char why[200];
    int log = capture_pipe();
    cr_assert(tine_zmq_key_make(key));
    for (int encrypted = 0; encrypted < 2; encrypted++) {
        holder =
            tine_reach_new(&(tine_transport_config){.key = encrypted ? key : NULL}, unheard, NULL);
        cr_assert(tine_reach_listen(holder, "tcp://127.0.0.1:0", &secret, why, sizeof why));
        tine_reach_free(holder);
        holder =
            tine_reach_new(&(tine_transport_config){.key = encrypted ? key : NULL}, unheard, NULL);
        cr_assert(tine_reach_listen(holder, "tcp://*:0", &secret, why, sizeof why), "%s", why);
        tine_reach_free(holder);
        fprintf(stderr, "the end\n"); /* so that there is something to be read */
        cr_expect_eq(lines_in(log, words), !encrypted);
    }
}

/* ---- what was recorded ---- */

static int door(char at[64]) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&a, sizeof a) | listen(fd, 1), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&a, &size), 0);
    snprintf(at, 64, "tcp://127.0.0.1:%d", ntohs(a.sin_port));
    return fd;
}

typedef struct tape {
    uint8_t bytes[1 << 20];
    size_t n;
} tape;

/* False: that side has closed. */
static bool pass_on(int from, int to, tape *t) {
    ssize_t n = recv(from, t->bytes + t->n, sizeof t->bytes - t->n, MSG_DONTWAIT);
    if (n <= 0) return n < 0 && errno == EAGAIN;
    send_all(to, t->bytes + t->n, (size_t)n);
    t->n += (size_t)n;
    return true;
}

/* A fetch passes; *asked and *given are what the two sides have said. */
static void record_fetch(tape *asked, tape *given) {
    char at[64];
    int listener = door(at);
    tine_reach_fetch(fetcher, ID, secret, at);
    int in = accept(listener, NULL, NULL), out = stranger();
    struct pollfd p[3] = {{.fd = in, .events = POLLIN},
                          {.fd = out, .events = POLLIN},
                          {.fd = come, .events = POLLIN}};
    while (poll(p, 3, -1) < 0 || !p[2].revents) {
        cr_assert(pass_on(in, out, asked) && pass_on(out, in, given), "it is not passed on");
    }
    fetch_ends(true);
    close(in), close(out), close(listener);
}

Test(reach_strangers, what_is_recorded_is_not_readable_and_cannot_be_replayed) {
    static tape asked, given;
    begin(false);
    record_fetch(&asked, &given);
    cr_expect(memmem(given.bytes, given.n, secret_text, sizeof secret_text), "the control");
    end();
    asked.n = given.n = 0;
    begin(true);
    record_fetch(&asked, &given);
    cr_expect_null(memmem(given.bytes, given.n, secret_text, sizeof secret_text));
    uint64_t before = tine_reach_refused(holder);
    int fd = stranger();
    send(fd, asked.bytes, asked.n, MSG_NOSIGNAL);
    given.n = 0;
    for (ssize_t n; (n = recv(fd, given.bytes, sizeof given.bytes, 0)) > 0;) given.n += (size_t)n;
    close(fd);
    cr_expect_lt(given.n, BYTES, "it was given %zu bytes", given.n);
    refused(before + 1);
    fetch(true);
    end();
}
