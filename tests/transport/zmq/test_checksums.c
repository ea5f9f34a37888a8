/* Bytes that change on their way: no frame with a wrong bit is delivered, and the connection ends
 * with that reason. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zmq.h>

#include "tests/support/conformance.h"
#include "transport/base/assert.h"
#include "transport/base/clock.h"
#include "transport/base/crc32c.h"
#include "transport/zmq/framing.h"

TestSuite(checksums, .timeout = 60);

static char why[200];

static tine_event next_of(const tine_transport_ops *ops, tine_transport *t) {
    tine_event ev;
    int64_t end = tine_clock_ns() + INT64_C(20000000000);
    for (;;) {
        cr_assert_eq(ops->recv(t, &ev), 0);
        if (ev.kind != TINE_EVENT_NONE) return ev;
        cr_assert_lt(tine_clock_ns(), end, "no event within 20 s");
        ops->wait(t, 1000000);
    }
}

static tine_transport *listen_at(const tine_transport_ops **ops, const char *url, int checksums) {
    tine_transport *t;
    *ops = tine_transport_for(url, why, sizeof why);
    tine_transport_config config = {.checksums = checksums};
    cr_assert_eq((*ops)->listen(&t, url, &config, why, sizeof why), 0, "%s", why);
    return t;
}

/* ---- each bit of a message ---- */

static void *dealer(void *context, const char *url) {
    int zero = 0;
    uint8_t hello[FRAMING_HELLO_BYTES];
    void *d = zmq_socket(context, ZMQ_DEALER);
    zmq_setsockopt(d, ZMQ_LINGER, &zero, sizeof zero);
    cr_assert_eq(zmq_connect(d, url), 0);
    tine_framing_hello(hello, &(tine_framing_peer){1 << 20, 1 << 25, 0});
    cr_assert_eq(zmq_send(d, hello, sizeof hello, 0), (int)sizeof hello);
    return d;
}

enum { FIRST = FRAMING_CHECKED_HEAD + 3, SECOND = 4 };

/* A frame of the header "abc" and the buffer "data", one of its bits flipped. */
static void send_flipped(void *d, int flip) {
    uint8_t first[FIRST] = {0}, second[SECOND] = {'d', 'a', 't', 'a'};
    memcpy(first + FRAMING_CHECKED_HEAD, "abc", 3);
    first[0] = FRAMING_FRAME;
    uint32_t crc = tine_framing_crc_size(0, 4);
    crc = tine_crc32c(tine_crc32c(crc, first, 1), "abc", 3);
    crc = tine_crc32c(tine_framing_crc_size(crc, SECOND), second, SECOND);
    tine_framing_head(first, FRAMING_FRAME, true, crc);
    if (flip >= 8 * FIRST)
        second[(flip - 8 * FIRST) / 8] ^= (uint8_t)(1 << flip % 8);
    else if (flip >= 0)
        first[flip / 8] ^= (uint8_t)(1 << flip % 8);
    zmq_send(d, first, FIRST, ZMQ_SNDMORE);
    zmq_send(d, second, SECOND, 0);
}

Test(checksums, every_bit_of_a_message) {
    const tine_transport_ops *ops;
    tine_transport *t = listen_at(&ops, "tcp://127.0.0.1:0", 0);
    void *context = zmq_ctx_new();
    for (int flip = -1; flip < 8 * (FIRST + SECOND); flip++) {
        void *d = dealer(context, ops->url(t));
        cr_assert_eq(next_of(ops, t).kind, TINE_EVENT_UP);
        send_flipped(d, flip);
        tine_event ev = next_of(ops, t);
        cr_assert_eq(ev.kind, flip < 0 ? TINE_EVENT_FRAME : TINE_EVENT_LOST, "bit %d: %d %s", flip,
                     ev.kind, ev.reason);
        cr_assert(flip < 0 || (ev.bad && strstr(ev.reason, "checksum")), "bit %d: %s", flip,
                  ev.reason);
        if (flip < 0) {
            cr_assert_eq(memcmp(ev.frame->header, "abc", 3), 0);
            tine_frame_free(ev.frame);
        }
        zmq_close(d);
        if (flip < 0) cr_assert_eq(next_of(ops, t).kind, TINE_EVENT_LOST);
    }
    ops->fini(t);
    zmq_ctx_term(context);
}

/* ---- a connection that flips bits ---- */

typedef struct proxy {
    int listener, port, to_port;
    long flip_at; /* byte of the way to the listener */
    bool flipped;
    pthread_t thread;
} proxy;

static int socket_to(int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    a.sin_port = htons((uint16_t)port);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    TINE_ASSERT(connect(fd, (struct sockaddr *)&a, sizeof a), ==, 0);
    return fd;
}

static bool pump(int from, int to, proxy *p, long *passed) {
    static _Thread_local uint8_t bytes[65536];
    ssize_t n = recv(from, bytes, sizeof bytes, 0);
    if (n <= 0) return false;
    if (passed && *passed <= p->flip_at && p->flip_at < *passed + n) {
        bytes[p->flip_at - *passed] ^= 4;
        p->flipped = true;
    }
    if (passed) *passed += n;
    for (ssize_t at = 0, now; at < n; at += now)
        if ((now = send(to, bytes + at, (size_t)(n - at), MSG_NOSIGNAL)) <= 0) return false;
    return true;
}

static void *proxy_main(void *arg) {
    proxy *p = arg;
    long passed = 0;
    int in = accept(p->listener, NULL, NULL), out = socket_to(p->to_port);
    struct pollfd both[2] = {{.fd = in, .events = POLLIN}, {.fd = out, .events = POLLIN}};
    for (bool open = true; open && poll(both, 2, -1) > 0;) {
        if (both[0].revents) open = pump(in, out, p, &passed);
        if (open && both[1].revents) open = pump(out, in, p, NULL);
    }
    close(in), close(out);
    return NULL;
}

static void proxy_start(proxy *p, const char *url, long flip_at) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof a;
    *p = (proxy){.flip_at = flip_at, .to_port = atoi(strrchr(url, ':') + 1)};
    p->listener = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(bind(p->listener, (struct sockaddr *)&a, sizeof a), 0);
    cr_assert_eq(listen(p->listener, 1), 0);
    cr_assert_eq(getsockname(p->listener, (struct sockaddr *)&a, &size), 0);
    p->port = ntohs(a.sin_port);
    cr_assert_eq(pthread_create(&p->thread, NULL, proxy_main, p), 0);
}

/* A connector sends a frame of `size` bytes through a proxy that flips a bit of it. The event that
 * the listener sees. */
static tine_event through_proxy(size_t size, long flip_at, int checksums) {
    const tine_transport_ops *ops;
    tine_transport *t = listen_at(&ops, "tcp://127.0.0.1:0", checksums), *c;
    proxy p;
    proxy_start(&p, ops->url(t), flip_at);
    char url[64];
    snprintf(url, sizeof url, "tcp://127.0.0.1:%d", p.port);
    tine_transport_config config = {.checksums = checksums};
    cr_assert_eq(ops->connect(&c, url, &config, why, sizeof why), 0, "%s", why);
    tine_event ev = next_of(ops, t), up;
    cr_assert_eq(ev.kind, TINE_EVENT_UP);
    do cr_assert_eq(ops->recv(c, &up), 0);
    while (up.kind == TINE_EVENT_NONE);
    cr_assert_eq(ops->send(c, 1, tine_conf_frame(10, size, 3)), 0);
    do {
        tine_event at_sender;
        cr_assert_eq(ops->recv(t, &ev), 0);
        cr_assert_eq(ops->recv(c, &at_sender), 0);
    } while (ev.kind == TINE_EVENT_NONE);
    ops->fini(c);
    ops->fini(t);
    pthread_join(p.thread, NULL);
    close(p.listener);
    cr_assert(p.flipped);
    return ev;
}

Test(checksums, a_bit_of_a_whole_frame) {
    tine_event ev = through_proxy(500000, 250000, 0);
    cr_assert(ev.kind == TINE_EVENT_LOST && ev.bad && strstr(ev.reason, "checksum"), "%s",
              ev.reason);
}

Test(checksums, a_bit_of_a_frame_in_pieces) {
    tine_event ev = through_proxy(10 << 20, 6 << 20, 0);
    cr_assert(ev.kind == TINE_EVENT_LOST && ev.bad && strstr(ev.reason, "checksum"), "%s",
              ev.reason);
}

/* The proof that the bit is flipped: without checksums the frame is delivered, and is wrong. */
Test(checksums, without_them_a_wrong_frame_is_delivered) {
    tine_event ev = through_proxy(500000, 250000, -1);
    cr_assert_eq(ev.kind, TINE_EVENT_FRAME, "%s", ev.reason);
    cr_assert_not(tine_conf_check(ev.frame, 10, 500000, 3));
    tine_frame_free(ev.frame);
}

/* A peer that does not ask for them sends and takes them where the other side asks. */
Test(checksums, one_side_asks) {
    for (int asks = 0; asks < 2; asks++) {
        const tine_transport_ops *ops;
        tine_transport *t = listen_at(&ops, "tcp://127.0.0.1:0", asks ? 1 : -1), *c;
        tine_transport_config config = {.checksums = asks ? -1 : 1};
        cr_assert_eq(ops->connect(&c, ops->url(t), &config, why, sizeof why), 0, "%s", why);
        cr_assert_eq(next_of(ops, t).kind, TINE_EVENT_UP);
        cr_assert_eq(next_of(ops, c).kind, TINE_EVENT_UP);
        cr_assert_eq(ops->send(c, 1, tine_conf_frame(10, 100000, 3)), 0);
        tine_event ev = next_of(ops, t);
        cr_assert_eq(ev.kind, TINE_EVENT_FRAME, "%s", ev.reason);
        cr_assert(tine_conf_check(ev.frame, 10, 100000, 3));
        cr_assert_eq(ops->send(t, ev.peer, ev.frame), 0);
        ev = next_of(ops, c);
        cr_assert_eq(ev.kind, TINE_EVENT_FRAME, "%s", ev.reason);
        tine_frame_free(ev.frame);
        ops->fini(c), ops->fini(t);
    }
}

/* ---- borrowed bytes ---- */

static void nothing(void *data, size_t size, void *ctx) { (void)data, (void)size, (void)ctx; }

/* What a peer lends it may change at any time: that must not look like damage on the way. */
static void change_while_sent(size_t size, size_t chunk) {
    static uint8_t bytes[32 << 20];
    const tine_transport_ops *ops;
    tine_transport *c, *t = listen_at(&ops, "tcp://127.0.0.1:0", 1);
    tine_transport_config config = {.checksums = 1, .lane = -1, .chunk = chunk};
    cr_assert_eq(ops->connect(&c, ops->url(t), &config, why, sizeof why), 0, "%s", why);
    tine_buffer *b = tine_buffer_wrap(bytes, size, nothing, NULL);
    b->foreign = true;
    tine_event ev = {0}, other;
    while (ev.kind != TINE_EVENT_UP) {
        ops->recv(c, &other);
        ops->recv(t, &ev);
    }
    for (int i = 0; i < 5; i++) {
        tine_frame *f = tine_frame_new(8, 1);
        memset(f->header, 0, 8);
        f->buffers[0] = tine_buffer_ref(b);
        cr_assert_eq(ops->send(t, ev.peer, f), 0);
        do {
            for (size_t at = 0; at < size; at += 512) bytes[at]++;
            ops->recv(t, &other);
            cr_assert_eq(other.kind, TINE_EVENT_NONE, "%s", other.reason);
            do ops->recv(c, &other);
            while (other.kind == TINE_EVENT_UP);
        } while (!other.kind);
        cr_assert_eq(other.kind, TINE_EVENT_FRAME, "%s", other.reason);
        cr_expect(!bytes[1] && other.frame->buffers[0]->size == size);
        tine_frame_free(other.frame);
    }
    tine_buffer_unref(b);
    ops->fini(c);
    ops->fini(t);
}

Test(checksums, borrowed_bytes_change_while_they_are_sent_in_pieces) {
    change_while_sent(32 << 20, 1 << 20);
}

Test(checksums, borrowed_bytes_change_while_they_are_sent_whole) {
    change_while_sent(8 << 20, 16 << 20);
}
