/* The end of a connection when libzmq's thread stops between its report and what follows: it hands
 * over the last messages, closes the descriptor, and tells ROUTER. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport/base/clock.h"
#include "transport/zmq/internal.h"

TestSuite(ends, .timeout = 60);

static const tine_transport_ops *ops;
static tine_transport *listener;
static tine_zmq *z;

/* ---- libzmq's thread ---- */

static pthread_t test_thread;
static atomic_int stop_at = -1; /* the descriptor that wakes the monitor's reader */
static sem_t stopped, go;

/* libzmq's calls come here. */
__attribute__((visibility("default"))) ssize_t write(int fd, const void *bytes, size_t size) {
    ssize_t (*next)(int, const void *, size_t);
    *(void **)&next = dlsym(RTLD_NEXT, "write");
    ssize_t n = next(fd, bytes, size);
    if (fd != atomic_load(&stop_at) || pthread_equal(pthread_self(), test_thread)) return n;
    atomic_store(&stop_at, -1);
    sem_post(&stopped);
    sem_wait(&go);
    return n;
}

/* ---- the two sides ---- */

static tine_event turn(void) {
    tine_event ev;
    cr_assert_eq(ops->recv(listener, &ev), 0);
    if (ev.kind == TINE_EVENT_NONE) ops->wait(listener, 1000000);
    return ev;
}

static tine_event next(void) {
    tine_event ev;
    do ev = turn();
    while (ev.kind == TINE_EVENT_NONE);
    return ev;
}

static void begin(void) {
    char why[200];
    ops = tine_transport_for("tcp://", why, sizeof why);
    cr_assert_eq(ops->listen(&listener, "tcp://127.0.0.1:0", NULL, why, sizeof why), 0, "%s", why);
    z = (tine_zmq *)listener;
    test_thread = pthread_self();
    cr_assert_eq(sem_init(&stopped, 0, 0) | sem_init(&go, 0, 0), 0);
}

static void send_all(int fd, const void *bytes, size_t n) {
    cr_assert_eq(send(fd, bytes, n, MSG_NOSIGNAL), (ssize_t)n);
}

static int socket_new(void) { return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); }

static void socket_connect(int fd) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    a.sin_port = htons((uint16_t)atoi(strrchr(ops->url(listener), ':') + 1));
    cr_assert_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
}

/* The handshake of ZMTP 3.1 with the NULL mechanism, as a DEALER. */
static void handshake(int fd) {
    static const char ready[] = "\4\x1c\5READY\13Socket-Type\0\0\0\6DEALER";
    uint8_t greeting[64] = {0xff, [9] = 0x7f, 3, 0, 'N', 'U', 'L', 'L'};
    send_all(fd, greeting, sizeof greeting);
    send_all(fd, ready, sizeof ready - 1);
}

enum { ANSWER = 64 + 30 }; /* libzmq's greeting and READY */

static int peer(void) {
    uint8_t answer[ANSWER];
    int fd = socket_new();
    socket_connect(fd);
    handshake(fd);
    while (recv(fd, answer, sizeof answer, MSG_PEEK | MSG_DONTWAIT) < (ssize_t)sizeof answer)
        cr_assert_eq(turn().kind, TINE_EVENT_NONE);
    return fd;
}

static size_t hello(uint8_t *to) {
    to[0] = 0;
    to[1] = FRAMING_HELLO_BYTES;
    tine_framing_hello(to + 2, &(tine_framing_peer){1 << 20, 1 << 25, 0});
    return 2 + FRAMING_HELLO_BYTES;
}

/* Returns when the end of a connection is reported and libzmq has done nothing further. */
static void await_stop(void) {
    sem_wait(&stopped);
    for (int i = 0; i < 10; i++) cr_assert_eq(turn().kind, TINE_EVENT_NONE);
}

/* What it had sent before is handed over after its end is reported. */
Test(ends, a_peer_that_breaks_off_behind_its_hello_is_a_peer) {
    static const uint8_t too_large[] = {2, 0, 0, 1, 0, 0, 0, 0, 0};
    uint8_t bytes[2 + FRAMING_HELLO_BYTES + sizeof too_large];
    size_t n = hello(bytes);
    begin();
    int fd = peer();
    while (!z->n_strangers) turn();
    memcpy(bytes + n, too_large, sizeof too_large);
    atomic_store(&stop_at, z->monitor_fd);
    send_all(fd, bytes, n + sizeof too_large);
    await_stop();
    sem_post(&go);
    tine_event ev = next();
    cr_assert_eq(ev.kind, TINE_EVENT_UP, "%s", ev.reason);
    tine_peer id = ev.peer;
    ev = next();
    cr_expect(ev.kind == TINE_EVENT_LOST && ev.peer == id, "%d: %s", ev.kind, ev.reason);
    close(fd);
    ops->fini(listener);
}

/* This process and libzmq's thread did not run for an hour: a paused virtual machine. */
Test(ends, a_pause_ends_no_suspicion) {
    uint8_t bytes[2 + FRAMING_HELLO_BYTES];
    begin();
    int fd = peer();
    send_all(fd, bytes, hello(bytes));
    tine_event ev = next();
    cr_assert_eq(ev.kind, TINE_EVENT_UP);
    tine_peer id = ev.peer;
    atomic_store(&stop_at, z->monitor_fd);
    close(fd);
    await_stop();
    tine_zmq_peer *p = tine_zmq_peer_by_id(z, id);
    cr_assert(p->suspect);
    p->probed_at -= INT64_C(3600000000000);
    for (int i = 0; i < 3; i++) cr_assert_eq(turn().kind, TINE_EVENT_NONE);
    sem_post(&go);
    ev = next();
    cr_expect(ev.kind == TINE_EVENT_LOST && ev.peer == id, "%d: %s", ev.kind, ev.reason);
    ops->fini(listener);
}

/* libzmq's thread has handed over what was sent before when it answers the second PING. */
static void until_handed_over(int fd) {
    static const char ping[] = "\4\7\4PING\0", pong[] = "\4\5\4PONG";
    uint8_t bytes[64];
    for (int i = 0; i < 2; i++) {
        size_t n = 0;
        send_all(fd, ping, sizeof ping);
        while (!memmem(bytes, n, pong, sizeof pong - 1)) {
            ssize_t more = recv(fd, bytes + n, sizeof bytes - n, 0);
            cr_assert_gt(more, 0);
            n += (size_t)more;
        }
    }
}

/* A stranger ends, and before the listener knows a peer has connected, with its descriptor, and has
 * sent its hello. */
Test(ends, a_stranger_is_not_taken_for_the_peer_that_has_its_descriptor) {
    uint8_t answer[ANSWER], bytes[2 + FRAMING_HELLO_BYTES];
    uint64_t gate = 1;
    begin();
    int stranger = socket_new(), fd = socket_new();
    socket_connect(stranger);
    while (!z->n_strangers) turn();
    int theirs = z->strangers[0].fd;
    while (dup(STDERR_FILENO) < theirs) { /* so that it is the lowest that becomes free */
    }
    atomic_store(&stop_at, z->monitor_fd);
    shutdown(stranger, SHUT_RDWR); /* its own number does not become free */
    sem_wait(&stopped);
    socket_connect(fd);
    cr_assert_eq(write(z->gate_fd, &gate, sizeof gate), sizeof gate);
    sem_post(&go);
    handshake(fd);
    cr_assert_eq(recv(fd, answer, sizeof answer, MSG_WAITALL), (ssize_t)sizeof answer);
    send_all(fd, bytes, hello(bytes));
    until_handed_over(fd);
    cr_assert_eq(read(z->gate_fd, &gate, sizeof gate), sizeof gate);
    tine_event first = next(), second = next();
    tine_event *up = first.kind == TINE_EVENT_UP ? &first : &second;
    cr_assert_eq(up->kind, TINE_EVENT_UP);
    cr_expect_eq(tine_zmq_peer_by_id(z, up->peer)->fd, theirs);
    const tine_event *lost = up == &first ? &second : &first;
    cr_expect(lost->kind == TINE_EVENT_LOST && lost->bad, "%d: %s", lost->kind, lost->reason);
    close(fd), close(stranger);
    tine_event end = next();
    cr_expect(end.kind == TINE_EVENT_LOST && end.peer == up->peer && !end.bad, "%s", end.reason);
    ops->fini(listener);
}
