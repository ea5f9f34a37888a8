/* The transports beside bare libzmq, in one run and between two threads of one process: round trip
 * of a small frame, rate of small frames with many under way, GB/s of a 10 MB buffer there and
 * back; tcp without and with checksums. Judge by the ratio of neighbours: the load moves both.
 *   bench_transport [seconds for each figure, 1] */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <zmq.h>

#include "transport/base/assert.h"
#include "transport/base/clock.h"
#include "transport/transport.h"
#include "transport/zmq/key.h"

enum { SMALL = 64, LARGE = 10000000, MANY = 256, ROUNDS = 200000 };

static double seconds = 1;

/* What is measured: sends one message of `size` bytes (0: a small one); receives one, true when one
 * was there. */
typedef struct side {
    const tine_transport_ops *ops;
    tine_transport *t;
    tine_peer peer;
    void *socket;
    bool router;
    tine_frame *stuck; /* the echo's, when it could not be sent */
} side;

static void no_free(void *data, void *hint) {
    (void)data;
    (void)hint;
}

static char large[LARGE];

static void bare_send(side *s, size_t size) {
    zmq_msg_t m;
    if (s->router) zmq_send(s->socket, "peer", 4, ZMQ_SNDMORE);
    if (size) {
        zmq_send(s->socket, large, SMALL, ZMQ_SNDMORE);
        zmq_msg_init_data(&m, large, size, no_free, NULL);
        zmq_msg_send(&m, s->socket, 0);
    } else {
        zmq_send(s->socket, large, SMALL, 0);
    }
}

static bool bare_recv(side *s, bool block) {
    zmq_msg_t m;
    for (bool more = true, first = true; more; first = false) {
        zmq_msg_init(&m);
        if (zmq_msg_recv(&m, s->socket, block || !first ? 0 : ZMQ_DONTWAIT) < 0) return false;
        more = zmq_msg_more(&m);
        zmq_msg_close(&m);
    }
    return true;
}

/* The buffer is the program's for as long as it runs. */
static void keep(void *data, size_t size, void *ctx) {
    (void)data;
    (void)size;
    (void)ctx;
}

static tine_frame *make(size_t size) {
    tine_frame *f = tine_frame_new(SMALL, size ? 1 : 0);
    memset(f->header, 1, SMALL);
    if (size) f->buffers[0] = tine_buffer_wrap(large, size, keep, NULL);
    return f;
}

static bool tine_try_send(side *s, tine_frame *f) {
    int rc = s->ops->send(s->t, s->peer, f);
    TINE_ASSERT_TRUE(rc == 0 || rc == -EAGAIN);
    return rc == 0;
}

static void ours_send(side *s, size_t size) {
    tine_frame *f = make(size);
    while (!tine_try_send(s, f)) s->ops->wait(s->t, 1000000);
}

static bool ours_recv(side *s, bool block) {
    tine_event ev;
    for (;;) {
        s->ops->recv(s->t, &ev);
        if (ev.kind == TINE_EVENT_FRAME) {
            tine_frame_free(ev.frame);
            return true;
        }
        if (!block) return false;
        if (ev.kind == TINE_EVENT_NONE) s->ops->wait(s->t, -1);
    }
}

/* ---- the echo, a thread ---- */

static void *bare_echo(void *arg) {
    side *s = arg;
    for (;;) {
        zmq_msg_t m;
        bool more;
        zmq_msg_init(&m);
        if (zmq_msg_recv(&m, s->socket, 0) < 0) break;
        more = zmq_msg_more(&m);
        if (!more && zmq_msg_size(&m) == 1) break;
        zmq_msg_send(&m, s->socket, more ? ZMQ_SNDMORE : 0);
    }
    zmq_close(s->socket);
    return NULL;
}

static void *ours_echo(void *arg) {
    side *s = arg;
    for (;;) {
        tine_event ev;
        s->ops->recv(s->t, &ev);
        if (ev.kind == TINE_EVENT_LOST) break;
        if (ev.kind == TINE_EVENT_NONE) s->ops->wait(s->t, -1);
        if (ev.kind == TINE_EVENT_FRAME)
            while (!tine_try_send(s, ev.frame)) s->ops->wait(s->t, 1000000);
    }
    s->ops->fini(s->t);
    return NULL;
}

/* ---- what is printed ---- */

typedef void send_fn(side *, size_t);
typedef bool recv_fn(side *, bool);

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double round_trip(side *s, send_fn *put, recv_fn *get) {
    static double us[ROUNDS];
    int n = 0;
    for (int64_t end = tine_clock_ns() + (int64_t)(seconds * 1e9);
         n < ROUNDS && tine_clock_ns() < end; n++) {
        int64_t begin = tine_clock_ns();
        put(s, 0);
        get(s, true);
        us[n] = (double)(tine_clock_ns() - begin) / 1e3;
    }
    qsort(us, (size_t)n, sizeof us[0], ascending);
    return us[n / 2];
}

/* Frames per second, there and back, with up to `window` under way. */
static double rate(side *s, send_fn *put, recv_fn *get, size_t size, int window) {
    int64_t begin = tine_clock_ns(), end = begin + (int64_t)(seconds * 1e9);
    long out = 0, in = 0;
    while (tine_clock_ns() < end || in < out) {
        bool over = tine_clock_ns() >= end;
        for (int k = 0; k < 64 && !over && out - in < window; k++, out++) put(s, size);
        in += get(s, true);
        while (in < out && get(s, false)) in++;
    }
    return (double)in / ((double)(tine_clock_ns() - begin) / 1e9);
}

/* User and system time of all threads: the load of the machine moves it less than it moves the
 * clock. */
static double cpu(void) {
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
           (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

static void measure(const char *name, side *s, send_fn *put, recv_fn *get) {
    rate(s, put, get, 0, MANY);
    double us = round_trip(s, put, get), begin = cpu();
    double small = rate(s, put, get, 0, MANY),
           small_cpu = (cpu() - begin) / (small * seconds) * 1e6;
    double one = rate(s, put, get, LARGE, 1);
    begin = cpu();
    double four = rate(s, put, get, LARGE, 4), four_cpu = (cpu() - begin) / (four * seconds) * 1e3;
    printf("%-14s %9.1f us %11.0f /s %6.2f us %9.2f GB/s %9.2f GB/s %7.2f ms\n", name, us, small,
           small_cpu, one * LARGE / 1e9, four * LARGE / 1e9, four_cpu);
}

static void bare(const char *url) {
    void *a = zmq_ctx_new(), *b = zmq_ctx_new();
    char name[32], endpoint[256];
    size_t size = sizeof endpoint;
    pthread_t th;
    side s = {.socket = zmq_socket(a, ZMQ_ROUTER), .router = true},
         e = {.socket = zmq_socket(b, ZMQ_DEALER)};
    TINE_ASSERT(zmq_bind(s.socket, url), ==, 0);
    zmq_getsockopt(s.socket, ZMQ_LAST_ENDPOINT, endpoint, &size);
    zmq_setsockopt(e.socket, ZMQ_ROUTING_ID, "peer", 4);
    TINE_ASSERT(zmq_connect(e.socket, endpoint), ==, 0);
    zmq_send(e.socket, "up", 2, 0);
    bare_recv(&s, true);
    TINE_ASSERT(pthread_create(&th, NULL, bare_echo, &e), ==, 0);
    snprintf(name, sizeof name, "libzmq %.3s", url);
    measure(name, &s, bare_send, bare_recv);
    zmq_send(s.socket, "peer", 4, ZMQ_SNDMORE);
    zmq_send(s.socket, "x", 1, 0);
    pthread_join(th, NULL);
    zmq_close(s.socket);
    zmq_ctx_term(a);
    zmq_ctx_term(b);
}

static void ours(const char *url, int checksums, const char *key) {
    char why[200], name[32];
    pthread_t th;
    side s = {.ops = tine_transport_for(url, why, sizeof why)}, e = s;
    e.peer = 1;
    tine_transport_config config = {.checksums = checksums, .key = key};
    if (s.ops->listen(&s.t, url, &config, why, sizeof why) ||
        s.ops->connect(&e.t, s.ops->url(s.t), &config, why, sizeof why)) {
        fprintf(stderr, "%s\n", why);
        exit(1);
    }
    TINE_ASSERT(pthread_create(&th, NULL, ours_echo, &e), ==, 0);
    while (!s.peer) {
        tine_event ev;
        s.ops->recv(s.t, &ev);
        if (ev.kind == TINE_EVENT_UP) s.peer = ev.peer;
        if (ev.kind == TINE_EVENT_NONE) s.ops->wait(s.t, -1);
    }
    snprintf(name, sizeof name, "tine %.*s%s", (int)strcspn(url, ":"), url,
             key             ? "+key"
             : checksums > 0 ? "+crc"
                             : "");
    measure(name, &s, ours_send, ours_recv);
    s.ops->drop(s.t, s.peer, false, "done");
    s.ops->close(s.t);
    s.ops->stop(s.t);
    pthread_join(th, NULL);
    s.ops->fini(s.t);
}

int main(int argc, char **argv) {
    char dir[] = "/tmp/bench-transport-XXXXXX", ipc[64], key[TINE_ZMQ_KEY_SIZE];
    if (argc > 1) seconds = atof(argv[1]);
    if (!mkdtemp(dir) || !tine_zmq_key_make(key)) return 1;
    printf("%-14s %12s %14s %9s %14s %14s %10s\n", "", "round trip", "small frames", "CPU each",
           "10 MB, one", "10 MB, four", "CPU each");
    ours("inproc://bench", -1, NULL);
    snprintf(ipc, sizeof ipc, "ipc://%s/s", dir);
    for (int i = 0; i < 2; i++) {
        bare(ipc);
        ours(ipc, -1, NULL);
        bare("tcp://127.0.0.1:*");
        ours("tcp://127.0.0.1:0", -1, NULL);
        ours("tcp://127.0.0.1:0", 1, NULL);
        ours("tcp://127.0.0.1:0", -1, key);
    }
    unlink(ipc + 6);
    rmdir(dir);
    return 0;
}
