/* The cases of the conformance suite about sizes, order and bounds, each a listener's and a
 * connector's role, and the list of all. See conformance.h. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "tests/support/conformance_roles.h"
#include "transport/base/assert.h"
#include "transport/base/clock.h"

/* ---- sizes and shapes: the connector echoes ---- */

static bool zero_length(tine_conf_end *e) {
    tine_peer p;
    if (!start_one(e, &p)) return false;
    static const size_t headers[] = {0, 0, 1, 5}, buffers[] = {SIZE_MAX, 0, 0, 0};
    for (uint32_t i = 0; i < 4; i++)
        if (!send(e, p, headers[i], buffers[i], i)) return false;
    for (uint32_t i = 0; i < 4; i++)
        if (!expect_frame(e, p, headers[i], buffers[i], i)) return false;
    return true;
}

/* `each` bytes more in every buffer, some of them empty. */
static tine_frame *many(uint32_t n, size_t each) {
    tine_frame *f = tine_frame_new(3, n);
    TINE_ASSERT_TRUE(f);
    memcpy(f->header, "abc", 3);
    for (uint32_t i = 0; i < n; i++) {
        size_t size = i % 7 == 0 ? 0 : (i % 100) * each;
        f->buffers[i] = tine_buffer_new(size);
        TINE_ASSERT_TRUE(f->buffers[i]);
        tine_conf_fill(f->buffers[i]->data, size, i);
    }
    return f;
}

static bool same_many(const tine_frame *f, uint32_t n, size_t each) {
    if (f->n_buffers != n || f->header_size != 3 || memcmp(f->header, "abc", 3)) return false;
    for (uint32_t i = 0; i < n; i++) {
        size_t size = i % 7 == 0 ? 0 : (i % 100) * each;
        if (f->buffers[i]->size != size || !tine_conf_filled(f->buffers[i]->data, size, i))
            return false;
    }
    return true;
}

static bool many_buffers(tine_conf_end *e) {
    tine_peer p;
    if (!start_one(e, &p)) return false;
    /* within a chunk; beyond it, with more sizes than one part holds; each too large to copy */
    static const size_t each[] = {1, 3, 2000};
    for (int i = 0; i < 3; i++) {
        tine_event ev;
        uint32_t n = i == 0 ? 4096 : i == 1 ? 20000 : 64;
        if (!tine_conf_send(e, p, many(n, each[i])) || !expect(e, TINE_EVENT_FRAME, &ev))
            return false;
        bool same = same_many(ev.frame, n, each[i]);
        tine_frame_free(ev.frame);
        REQUIRE(e, same, "%u buffers of up to %zu bytes came back changed", n, 99 * each[i]);
    }
    return true;
}

static bool large(tine_conf_end *e) {
    tine_peer p;
    return start_one(e, &p) && send(e, p, 10, 64 * MI, 7) && expect_frame(e, p, 10, 64 * MI, 7);
}

static bool large_header(tine_conf_end *e) {
    tine_peer p;
    return start_one(e, &p) && send(e, p, 5 * MI + 3, 9, 7) &&
           expect_frame(e, p, 5 * MI + 3, 9, 7) && send(e, p, 5 * MI, SIZE_MAX, 8) &&
           expect_frame(e, p, 5 * MI, SIZE_MAX, 8);
}

static void free_block(void *data, size_t size, void *ctx) {
    (void)data;
    (void)size;
    free(ctx);
}

static tine_frame *unaligned_frame(size_t size, uint32_t shift) {
    uint8_t *block = malloc(size + 64);
    tine_frame *f = tine_frame_new(1, 1);
    TINE_ASSERT_TRUE(block && f);
    f->header[0] = 'u';
    tine_conf_fill(block + shift, size, shift);
    f->buffers[0] = tine_buffer_wrap(block + shift, size, free_block, block);
    TINE_ASSERT_TRUE(f->buffers[0]);
    return f;
}

static bool unaligned(tine_conf_end *e) {
    tine_peer p;
    if (!start_one(e, &p)) return false;
    static const size_t sizes[] = {1,      63,     4095, 32767,  32769,      262143,
                                   MI - 2, MI - 1, MI,   MI + 1, 2 * MI + 1, 5 * MI - 7};
    for (uint32_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        tine_event ev;
        uint32_t shift = 1 + i % 13;
        if (!tine_conf_send(e, p, unaligned_frame(sizes[i], shift)) ||
            !expect(e, TINE_EVENT_FRAME, &ev))
            return false;
        const tine_buffer *b = ev.frame->buffers[0];
        bool same = ev.frame->n_buffers == 1 && b->size == sizes[i] &&
                    tine_conf_filled(b->data, b->size, shift);
        tine_frame_free(ev.frame);
        REQUIRE(e, same, "%zu bytes at an odd address came back changed", sizes[i]);
    }
    return true;
}

/* ---- order ---- */

enum { ORDER_FRAMES = 20000 };

/* Both directions at once: sends as much as is taken, checks what comes. `peers` are told apart by
 * id. */
static bool stream(tine_conf_end *e, const tine_peer *peers, int n) {
    uint32_t out[TINE_CONF_CONNECTORS] = {0}, in[TINE_CONF_CONNECTORS] = {0};
    for (int done = 0; done < 2 * n;) {
        done = 0;
        for (int i = 0; i < n; i++) {
            for (int burst = 0; burst < 100 && out[i] < ORDER_FRAMES; burst++) {
                tine_frame *f =
                    tine_conf_frame(1 + out[i] % 60, out[i] % 5 ? SIZE_MAX : out[i] % 900, out[i]);
                int rc = e->ops->send(e->t, peers[i], f);
                if (rc) tine_frame_free(f);
                if (rc == -EAGAIN) break;
                REQUIRE(e, rc == 0, "send: %d", rc);
                out[i]++;
            }
            done += (out[i] == ORDER_FRAMES) + (in[i] == ORDER_FRAMES);
        }
        if (done == 2 * n) return true;
        tine_event ev = tine_conf_next(e);
        if (ev.kind == TINE_EVENT_WRITABLE) continue;
        REQUIRE(e, ev.kind == TINE_EVENT_FRAME, "event %d: %.80s", ev.kind, ev.reason);
        int i = 0;
        while (i < n && peers[i] != ev.peer) i++;
        bool same = i < n && tine_conf_check(ev.frame, 1 + in[i] % 60,
                                             in[i] % 5 ? SIZE_MAX : in[i] % 900, in[i]);
        tine_frame_free(ev.frame);
        REQUIRE(e, same, "not the frame whose turn it was");
        in[i]++;
    }
    return true;
}

static bool order(tine_conf_end *e) {
    tine_peer peers[2];
    for (int i = 0; i < 2; i++) {
        tine_conf_go(e, i);
        if (!expect_up(e, &peers[i])) return false;
    }
    REQUIRE(e, peers[0] != peers[1], "two peers, one id");
    for (int i = 0; i < 2; i++)
        if (!send(e, peers[i], 1, SIZE_MAX, 0)) return false; /* all are there: begin */
    if (!stream(e, peers, 2)) return false;
    tine_transport_stats s;
    const int64_t until = tine_clock_ns() + INT64_C(20000000000);
    for (e->ops->stats(e->t, &s); /* over mpi what is queued counts once it is sent */
         s.frames_out < 2 * ORDER_FRAMES + 2 && tine_clock_ns() < until; e->ops->stats(e->t, &s)) {
        tine_event ev;
        REQUIRE(e, e->ops->recv(e->t, &ev) == 0 && ev.kind != TINE_EVENT_FRAME, "one more frame");
        e->ops->wait(e->t, 1000000);
    }
    REQUIRE(e,
            s.frames_in == 2 * ORDER_FRAMES && s.frames_out == 2 * ORDER_FRAMES + 2 &&
                s.bytes_in > s.frames_in,
            "counted %llu in, %llu out", (unsigned long long)s.frames_in,
            (unsigned long long)s.frames_out);
    return true;
}

static bool order_connector(tine_conf_end *e) {
    tine_peer p;
    return up_at_listener(e, &p) && expect_frame(e, p, 1, SIZE_MAX, 0) && stream(e, &p, 1) &&
           until_lost(e);
}

/* A small frame that is sent after a large one comes before it. */
static bool overtaking(tine_conf_end *e) {
    tine_peer p;
    return start_one(e, &p) && expect_frame(e, p, 4, SIZE_MAX, 2) &&
           expect_frame(e, p, 9, 64 * MI, 1) && send(e, p, 9, 64 * MI, 3) &&
           send(e, p, 4, SIZE_MAX, 4) && expect_frame(e, p, 1, SIZE_MAX, 5);
}

static bool overtaking_connector(tine_conf_end *e) {
    tine_peer p;
    return up_at_listener(e, &p) && send(e, p, 9, 64 * MI, 1) && send(e, p, 4, SIZE_MAX, 2) &&
           expect_frame(e, p, 4, SIZE_MAX, 4) && expect_frame(e, p, 9, 64 * MI, 3) &&
           send(e, p, 1, SIZE_MAX, 5) && until_lost(e);
}

/* Large frames of several peers at once; each peer's in order, small ones between them. */
static bool parallel_large(tine_conf_end *e) {
    tine_peer peers[3], p;
    uint32_t next[3] = {0};
    for (int i = 0; i < 3; i++) {
        tine_conf_go(e, i);
        if (!expect_up(e, &p)) return false;
        peers[i] = p;
    }
    for (int i = 0; i < 3; i++)
        if (!send(e, peers[i], 1, SIZE_MAX, 0)) return false;
    for (int left = 9; left > 0; left--) {
        tine_event ev;
        if (!expect(e, TINE_EVENT_FRAME, &ev)) return false;
        int i = 0;
        while (i < 2 && peers[i] != ev.peer) i++;
        bool same = tine_conf_check(ev.frame, 8, 16 * MI + next[i], next[i]);
        tine_frame_free(ev.frame);
        REQUIRE(e, same, "frame %u of connector %d is not the one that was sent", next[i], i);
        next[i]++;
    }
    return true;
}

static bool parallel_large_connector(tine_conf_end *e) {
    tine_peer p;
    if (!up_at_listener(e, &p) || !expect_frame(e, p, 1, SIZE_MAX, 0)) return false;
    for (uint32_t i = 0; i < 3; i++)
        if (!send(e, p, 8, 16 * MI + i, i)) return false;
    return until_lost(e);
}

/* ---- bounds ---- */

/* A frame past the listener's max_frame loses its sender, and nobody else. */
static bool max_frame(tine_conf_end *e) {
    tine_peer bad, other;
    tine_conf_go(e, 1);
    if (!expect_up(e, &other) || !start_one(e, &bad) || !expect_lost(e, bad, true)) return false;
    tine_transport_stats s;
    e->ops->stats(e->t, &s);
    REQUIRE(e, s.peers_bad == 1 && s.peers_lost == 1, "%llu bad, %llu lost",
            (unsigned long long)s.peers_bad, (unsigned long long)s.peers_lost);
    return send(e, other, 3, 1 * MI, 3) && expect_frame(e, other, 3, 1 * MI, 3);
}

static bool max_frame_connector(tine_conf_end *e) {
    tine_peer p;
    if (e->index == 1) return echo(e);
    return up_at_listener(e, &p) && send(e, p, 1, 4 * MI, 1) && until_lost(e);
}

/* ---- the rest of the table ---- */

static bool drop(tine_conf_end *e) {
    tine_peer p, other;
    tine_conf_go(e, 1);
    if (!expect_up(e, &other) || !start_one(e, &p)) return false;
    e->ops->drop(e->t, p, false, "the test says so");
    tine_event ev;
    if (!expect(e, TINE_EVENT_LOST, &ev)) return false;
    REQUIRE(e, ev.peer == p && !ev.bad && strstr(ev.reason, "the test says so"), "reason: %s",
            ev.reason);
    e->ops->drop(e->t, p, false, "twice is once");
    e->ops->drop(e->t, 12345, false, "nobody");
    tine_frame *f = tine_conf_frame(1, SIZE_MAX, 1);
    int rc = e->ops->send(e->t, p, f);
    tine_frame_free(f);
    REQUIRE(e, rc == -EPIPE, "send to the dropped: %d", rc);
    return send(e, other, 3, 100, 3) && expect_frame(e, other, 3, 100, 3);
}

static bool drop_connector(tine_conf_end *e) {
    tine_peer p;
    if (e->index == 1) return echo(e);
    return up_at_listener(e, &p) && until_lost(e);
}

static tine_conf_end *woken_end;

static void *wake_main(void *arg) {
    tine_conf_end *e = arg;
    e->ops->wake(e->t);
    return NULL;
}

static void on_signal(int number) {
    (void)number;
    woken_end->ops->wake(woken_end->t);
}

/* A wake before the wait, from another thread and from a signal handler; each wait has no limit of
 * its own. */
static bool wake(tine_conf_end *e) {
    pthread_t th;
    e->ops->wake(e->t);
    e->ops->wake(e->t);
    e->ops->wait(e->t, -1);
    for (int i = 0; i < 100; i++) {
        TINE_ASSERT(pthread_create(&th, NULL, wake_main, e), ==, 0);
        e->ops->wait(e->t, -1);
        pthread_join(th, NULL);
        e->ops->wait(e->t, 0);
    }
    woken_end = e;
    struct sigaction sa = {.sa_handler = on_signal}, old;
    sigaction(SIGUSR1, &sa, &old);
    for (int i = 0; i < 100; i++) {
        pthread_kill(pthread_self(), SIGUSR1);
        e->ops->wait(e->t, -1);
    }
    sigaction(SIGUSR1, &old, NULL);
    int64_t begin = tine_clock_ns();
    e->ops->wait(e->t, 0); /* early returns are allowed: the last wake may still count */
    e->ops->wait(e->t, 20000000);
    REQUIRE(e, tine_clock_ns() - begin < 10000000000, "a wait of 20 ms went on");
    return true;
}

static bool unknown_peer(tine_conf_end *e) {
    tine_peer p;
    tine_event ev;
    tine_frame *f = tine_conf_frame(1, SIZE_MAX, 1);
    int rc = e->ops->send(e->t, 1, f), rc0 = e->ops->send(e->t, 0, f);
    tine_frame_free(f);
    REQUIRE(e, rc == -EPIPE && rc0 == -EPIPE, "send to nobody: %d, %d", rc, rc0);
    TINE_ASSERT(e->ops->recv(e->t, &ev), ==, 0);
    REQUIRE(e, ev.kind == TINE_EVENT_NONE, "event %d on an idle listener", ev.kind);
    return start_one(e, &p) && send(e, p, 1, 1, 1) && expect_frame(e, p, 1, 1, 1);
}

/* What transport.h says of a configuration whose fields are 0. */
static bool has_defaults(tine_conf_end *e) {
    const tine_transport_config *c = &e->t->config;
    REQUIRE(e, c->chunk == 1 * MI, "chunk %zu", c->chunk);
    REQUIRE(e, c->max_frame == (size_t)64 << 30, "max_frame %zu", c->max_frame);
    REQUIRE(e, c->max_queued == 256 * MI, "max_queued %zu", c->max_queued);
    REQUIRE(e, c->connect_ns == NS(10000), "connect_ns %lld", (long long)c->connect_ns);
    REQUIRE(e, c->heartbeat_ns == NS(1000), "heartbeat_ns %lld", (long long)c->heartbeat_ns);
    REQUIRE(e, c->linger_ns == NS(1000), "linger_ns %lld", (long long)c->linger_ns);
    return true;
}

static bool defaults(tine_conf_end *e) {
    tine_peer p;
    return has_defaults(e) && start_one(e, &p) && send(e, p, 1, 1, 1) &&
           expect_frame(e, p, 1, 1, 1);
}

static bool defaults_connector(tine_conf_end *e) { return has_defaults(e) && echo(e); }

/* A frame larger than the sender's own limit is refused where it is sent, and its peer lives. */
static bool sending_past_max_frame(tine_conf_end *e) {
    tine_peer p;
    if (!start_one(e, &p)) return false;
    tine_frame *f = tine_conf_frame(1, 3 * MI, 1);
    int rc = e->ops->send(e->t, p, f);
    tine_frame_free(f);
    REQUIRE(e, rc == -EINVAL, "send: %d", rc);
    return send(e, p, 1, MI, 1) && expect_frame(e, p, 1, MI, 1);
}

/* Headers around the limits within which a transport packs a frame into one message. */
static bool header_sizes(tine_conf_end *e) {
    static const size_t sizes[] = {0,    1,    56,   135,  136,  137,  1943, 1944,    1999,
                                   2000, 2001, 3943, 3944, 3945, 4000, 4096, 64 * KI, 1};
    enum { N = sizeof sizes / sizeof *sizes };
    tine_peer p;
    if (!start_one(e, &p)) return false;
    for (uint32_t i = 0; i < N; i++)
        if (!send(e, p, sizes[i], SIZE_MAX, i)) return false;
    for (uint32_t i = 0; i < N; i++)
        if (!expect_frame(e, p, sizes[i], SIZE_MAX, i)) return false;
    return true;
}

static const tine_conf_case cases[] = {
    {"order", 2, 0, {0}, {0}, order, order_connector},
    {"zero_length", 1, 0, {0}, {0}, zero_length, echo},
    {"many_buffers", 1, 0, {0}, {0}, many_buffers, echo},
    {"large", 1, 0, {0}, {0}, large, echo},
    {"unaligned", 1, 0, {0}, {0}, unaligned, echo},
    {"large_header", 1, 0, {0}, {0}, large_header, echo},
    {"overtaking", 1, TINE_CONF_OVERTAKES, {0}, {0}, overtaking, overtaking_connector},
    {"parallel_large", 3, 0, {0}, {0}, parallel_large, parallel_large_connector},
    {"max_frame", 2, 0, {.max_frame = 2 * MI}, {0}, max_frame, max_frame_connector},
    {"drop", 2, 0, {0}, {0}, drop, drop_connector},
    {"wake", 0, 0, {0}, {0}, wake, NULL},
    {"unknown_peer", 1, 0, {0}, {0}, unknown_peer, echo},
    {"defaults", 1, 0, {0}, {0}, defaults, defaults_connector},
    {"header_sizes", 1, 0, {0}, {0}, header_sizes, echo},
    {"sending_past_max_frame", 1, 0, {.max_frame = 2 * MI}, {0}, sending_past_max_frame, echo},
    {0},
};

static const tine_conf_case *find(const tine_conf_case *c, const char *name) {
    while (c->name && strcmp(c->name, name) != 0) c++;
    return c->name ? c : NULL;
}

const tine_conf_case *tine_conf_find(const char *name) {
    const tine_conf_case *c = find(cases, name);
    if (!c) c = find(tine_conf_flow, name);
    return c ? c : find(tine_conf_endings, name);
}
