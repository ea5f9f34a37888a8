/* Keys: who does not have the job's is refused, in constant memory, counted, and reported once per
 * address; nothing readable is on the wire; what was recorded cannot be replayed. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zmq.h>

#include "tests/support/conformance.h"
#include "transport/base/clock.h"
#include "transport/transport.h"
#include "transport/zmq/framing.h"
#include "transport/zmq/internal.h"
#include "transport/zmq/key.h"

TestSuite(security, .timeout = 60);

static char why[300], key[TINE_ZMQ_KEY_SIZE];
static const tine_transport_ops *ops;
static const int64_t PATIENT_NS = 30000000000; /* on a busy machine nobody is cut off as silent */

static tine_transport *listen_with(const char *k, int64_t first_frame_ns) {
    tine_transport *t;
    ops = tine_transport_for("tcp://", why, sizeof why);
    const tine_transport_config config = {.key = k, .first_frame_ns = first_frame_ns};
    cr_assert(tine_zmq_key_make(key));
    cr_assert_eq(ops->listen(&t, "tcp://127.0.0.1:0", &config, why, sizeof why), 0, "%s", why);
    return t;
}

static tine_transport *connect_with(const char *url, const char *k, int64_t ns) {
    tine_transport *c;
    const tine_transport_config config = {.key = k, .connect_ns = ns};
    cr_assert_eq(ops->connect(&c, url, &config, why, sizeof why), 0, "%s", why);
    return c;
}

/* Drives both until the connector has an event; the listener has none of a peer. */
static tine_event outcome(tine_transport *t, tine_transport *c) {
    tine_event ev, other;
    int64_t end = tine_clock_ns() + INT64_C(20000000000);
    for (;;) {
        cr_assert_eq(ops->recv(c, &ev), 0);
        if (ev.kind != TINE_EVENT_NONE) return ev;
        cr_assert_eq(ops->recv(t, &other), 0);
        cr_assert_lt(tine_clock_ns(), end, "no event");
        ops->wait(t, 1000000);
    }
}

/* It gives up once an attempt has ended so, and the listener has counted the attempt. */
static void refused(const char *theirs, const char *ours, const char *words) {
    tine_transport *t = listen_with(theirs, PATIENT_NS), *c = connect_with(ops->url(t), ours, -1);
    tine_zmq *connector = (tine_zmq *)c;
    tine_event ev = {.kind = TINE_EVENT_NONE};
    tine_transport_stats stats = {0};
    for (; !strstr(connector->last_error, words) || !stats.peers_bad; ops->stats(t, &stats)) {
        cr_assert_eq(ops->recv(c, &ev), 0);
        cr_assert_eq(ev.kind, TINE_EVENT_NONE, "%d: %s", ev.kind, ev.reason);
        cr_assert_eq(ops->recv(t, &ev), 0);
        cr_expect_neq(ev.kind, TINE_EVENT_UP);
        ops->wait(t, 1000000);
    }
    connector->deadline = 0;
    ev = outcome(t, c);
    cr_expect(ev.kind == TINE_EVENT_LOST && strstr(ev.reason, words), "%d: %s", ev.kind, ev.reason);
    ops->fini(c);
    ops->fini(t);
}

Test(security, without_the_key_nobody_joins) {
    char one[TINE_ZMQ_KEY_SIZE], other[TINE_ZMQ_KEY_SIZE];
    cr_assert(tine_zmq_key_make(one) && tine_zmq_key_make(other));
    refused(one, other, "another");
    refused(one, NULL, "TINE_KEY_FILE");
    refused(NULL, one, "no key");
}

static int connections(const tine_zmq *t) {
    int n = 0;
    for (int fd = 0; fd < 256; fd++) n += fd != t->door_fd && tine_zmq_cookie(t, fd);
    return n;
}

/* One that knows the public half, from a recorded configuration say, and has a key pair of its own:
 * ZAP refuses it. Its address is known also where it is accepted and asks between two reads of the
 * monitor. */
Test(security, the_public_half_is_not_enough) {
    char job[TINE_ZMQ_KEY_SIZE], server[TINE_ZMQ_KEY_SIZE], mine[TINE_ZMQ_KEY_SIZE],
        secret[TINE_ZMQ_KEY_SIZE];
    tine_event ev;
    cr_assert(tine_zmq_key_make(job) && zmq_curve_public(server, job) == 0);
    cr_assert_eq(zmq_curve_keypair(mine, secret), 0);
    tine_transport *t = listen_with(job, PATIENT_NS);
    tine_zmq *z = (tine_zmq *)t;
    void *context = zmq_ctx_new(), *d = zmq_socket(context, ZMQ_DEALER);
    int zero = 0;
    uint64_t one = 1;
    zmq_setsockopt(d, ZMQ_LINGER, &zero, sizeof zero);
    zmq_setsockopt(d, ZMQ_CURVE_SERVERKEY, server, sizeof server);
    zmq_setsockopt(d, ZMQ_CURVE_PUBLICKEY, mine, sizeof mine);
    zmq_setsockopt(d, ZMQ_CURVE_SECRETKEY, secret, sizeof secret);
    cr_assert_eq(zmq_connect(d, ops->url(t)), 0);
    zmq_send(d, "\1TINE", 5, 0);
    zmq_pollitem_t asked = {.socket = z->zap, .events = ZMQ_POLLIN};
    cr_assert_eq(write(z->gate_fd, &one, sizeof one), sizeof one); /* libzmq accepts it */
    cr_assert_eq(zmq_poll(&asked, 1, 20000), 1);
    cr_assert_eq(read(z->gate_fd, &one, sizeof one), sizeof one);
    tine_zmq_zap(z);
    while (connections(z)) poll(NULL, 0, 1);
    do {
        cr_assert_eq(ops->recv(t, &ev), 0);
        ops->wait(t, 1000000);
    } while (ev.kind == TINE_EVENT_NONE);
    cr_expect(ev.kind == TINE_EVENT_LOST && strstr(ev.reason, "127.0.0.1: it has another key"),
              "%d: %s", ev.kind, ev.reason);
    zmq_close(d);
    zmq_ctx_term(context);
    ops->fini(t);
}

Test(security, a_key_that_is_none_is_refused_at_once) {
    tine_transport *t;
    static const char *const wrong[] = {
        "", "short", "0123456789012345678901234567890123456789x",
        "\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\""};
    ops = tine_transport_for("tcp://", why, sizeof why);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const tine_transport_config config = {.key = wrong[i]};
        cr_expect_eq(ops->listen(&t, "tcp://127.0.0.1:0", &config, why, sizeof why), -EINVAL);
        cr_expect(strstr(why, "tine key"), "%s", why);
    }
}

Test(security, a_key_for_others_is_not_used_on_this_host) {
    tine_transport *t;
    ops = tine_transport_for("tcp://", why, sizeof why);
    cr_assert(tine_zmq_key_make(key));
    const tine_transport_config config = {.key = key, .key_for_others_only = true};
    static const char *const here[] = {"tcp://127.0.0.1:0", "tcp://localhost:0", "tcp://lo:0"};
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(ops->listen(&t, here[i], &config, why, sizeof why), 0, "%s", why);
        cr_expect_not(ops->encrypted(t), "%s", here[i]);
        ops->fini(t);
    }
    cr_assert_eq(ops->listen(&t, "tcp://*:0", &config, why, sizeof why), 0, "%s", why);
    cr_expect(ops->encrypted(t));
    ops->fini(t);
}

/* ---- what is on the wire ---- */

static int socket_at(const char *url) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    a.sin_port = htons((uint16_t)atoi(strrchr(url, ':') + 1));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static int door(char url[64]) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&a, sizeof a) | listen(fd, 1), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&a, &size), 0);
    snprintf(url, 64, "tcp://127.0.0.1:%d", ntohs(a.sin_port));
    return fd;
}

typedef struct tape {
    uint8_t bytes[1 << 16];
    size_t n;
} tape;

static void pass(int from, int to, tape *heard) {
    uint8_t bytes[4096];
    ssize_t n = recv(from, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n <= 0) return;
    cr_assert_eq(send(to, bytes, (size_t)n, MSG_NOSIGNAL), n);
    for (ssize_t i = 0; i < n && heard->n < sizeof heard->bytes; i++)
        heard->bytes[heard->n++] = bytes[i];
}

static const char secret[] = "the weights of the model";

/* A frame passes; what was said on the way there is recorded. */
static void record(tine_transport *t, const char *k, tape *heard) {
    char url[64];
    struct pollfd p;
    tine_event ev = {0};
    int listener = door(url);
    tine_transport *c = connect_with(url, k, -1);
    p = (struct pollfd){.fd = listener, .events = POLLIN};
    cr_assert_eq(poll(&p, 1, 10000), 1);
    int in = accept(listener, NULL, NULL), out = socket_at(ops->url(t));
    while (ev.kind != TINE_EVENT_FRAME) {
        pass(in, out, heard);
        pass(out, in, &(struct tape){0});
        cr_assert_eq(ops->recv(c, &ev), 0);
        tine_frame *f = ev.kind == TINE_EVENT_UP ? tine_frame_new(sizeof secret, 0) : NULL;
        if (f) memcpy(f->header, secret, sizeof secret);
        if (f) cr_assert_eq(ops->send(c, 1, f), 0);
        cr_assert_eq(ops->recv(t, &ev), 0);
        cr_assert_neq(ev.kind, TINE_EVENT_LOST, "%s", ev.reason);
    }
    cr_expect_eq(memcmp(ev.frame->header, secret, sizeof secret), 0);
    tine_frame_free(ev.frame);
    ops->fini(c);
    close(in), close(out), close(listener);
}

Test(security, nothing_readable_is_on_the_wire_and_it_cannot_be_replayed) {
    static tape with, without;
    char job[TINE_ZMQ_KEY_SIZE];
    tine_event ev;
    cr_assert(tine_zmq_key_make(job));
    tine_transport *plain = listen_with(NULL, PATIENT_NS);
    record(plain, NULL, &without);
    cr_expect(memmem(without.bytes, without.n, secret, sizeof secret), "the control");
    ops->fini(plain);
    tine_transport *t = listen_with(job, PATIENT_NS);
    record(t, job, &with);
    cr_expect_null(memmem(with.bytes, with.n, secret, sizeof secret));
    cr_expect_null(memmem(with.bytes, with.n, "TINE", 4));
    int fd = socket_at(ops->url(t));
    cr_assert_eq(send(fd, with.bytes, with.n, MSG_NOSIGNAL), (ssize_t)with.n);
    for (int lost = 0; lost < 2;) { /* the recorded peer, and the replay */
        cr_assert_eq(ops->recv(t, &ev), 0);
        cr_assert(ev.kind == TINE_EVENT_NONE || ev.kind == TINE_EVENT_LOST, "event %d", ev.kind);
        lost += ev.kind == TINE_EVENT_LOST;
        ops->wait(t, 1000000);
    }
    close(fd);
    ops->fini(t);
}

/* Random bytes, silence, and handshakes that break off: all are counted, one is an event. */
Test(security, strangers_are_counted_and_reported_once) {
    char job[TINE_ZMQ_KEY_SIZE];
    uint8_t bytes[512];
    int events = 0, fds[30];
    tine_event ev;
    tine_transport_stats stats = {0};
    cr_assert(tine_zmq_key_make(job));
    tine_transport *t = listen_with(job, 500000000);
    for (int i = 0; i < 30; i++) {
        fds[i] = socket_at(ops->url(t));
        tine_conf_fill(bytes, sizeof bytes, (uint32_t)i);
        if (i % 3 == 1) memcpy(bytes, "\xff\0\0\0\0\0\0\0\1\x7f\3\1CURVE\0\0\0", 20);
        if (i % 3 < 2) send(fds[i], bytes, sizeof bytes, MSG_NOSIGNAL);
    }
    for (int64_t end = tine_clock_ns() + INT64_C(20000000000); stats.peers_bad < 30;) {
        cr_assert_eq(ops->recv(t, &ev), 0);
        cr_assert_neq(ev.kind, TINE_EVENT_UP);
        events += ev.kind == TINE_EVENT_LOST;
        ops->stats(t, &stats);
        cr_assert_lt(tine_clock_ns(), end, "%d counted", (int)stats.peers_bad);
        ops->wait(t, 1000000);
    }
    /* some random bytes are ZMTP 1.0 to libzmq, whose messages a listener reads and refuses */
    cr_expect(events >= 1 && events < 30, "%d events", events);
    for (int i = 0; i < 30; i++) close(fds[i]);
    ops->fini(t);
}

static long resident_kib(void) {
    long pages = 0, all;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%ld %ld", &all, &pages) != 2) pages = 0;
    if (f) fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* Greets without a key from an address of its own, until it is counted. */
static void stranger_comes(tine_transport *t, unsigned number) {
    uint8_t greeting[64] = {0xff, [9] = 0x7f, 3, 1, 'N', 'U', 'L', 'L'};
    struct sockaddr_in from = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(0x7f010000 + number)},
                       to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    tine_transport_stats stats = {0};
    tine_event ev;
    to.sin_port = htons((uint16_t)atoi(strrchr(ops->url(t), ':') + 1));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&from, sizeof from), 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    cr_assert_eq(send(fd, greeting, sizeof greeting, MSG_NOSIGNAL), (ssize_t)sizeof greeting);
    for (; stats.peers_bad < number; ops->stats(t, &stats)) {
        cr_assert_eq(ops->recv(t, &ev), 0);
        cr_expect_neq(ev.kind, TINE_EVENT_UP);
        if (stats.peers_bad < number) ops->wait(t, 1000000);
    }
    close(fd);
}

/* Each from another address, which is reported: what one took is gone before the next comes. */
Test(security, refusals_take_no_memory) {
    enum { WARM = 100, MORE = 500 };
    char job[TINE_ZMQ_KEY_SIZE];
    cr_assert(tine_zmq_key_make(job));
    tine_transport *t = listen_with(job, PATIENT_NS);
    for (unsigned i = 1; i <= WARM; i++) stranger_comes(t, i);
    long before = resident_kib();
    for (unsigned i = WARM + 1; i <= WARM + MORE; i++) stranger_comes(t, i);
#if !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__ /* which keep what was freed */
    cr_expect_lt(resident_kib(), before + 512, "%ld KiB before, %ld after", before, resident_kib());
#endif
    (void)before;
    ops->fini(t);
}
