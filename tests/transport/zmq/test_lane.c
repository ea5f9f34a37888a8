/* Lanes of the ZeroMQ transport: where they are used and where not. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "tests/support/capture.h"
#include "tests/support/lane_peers.h"
#include "tests/support/leftovers.h"
#include "transport/base/log.h"
#include "transport/zmq/internal.h"
#include "transport/zmq/key.h"

/* ---- where it is used ---- */

static void try_pair(int listener, int connector, const char *key, bool used) {
    char why[200], url[] = "tcp://127.0.0.1:0";
    const tine_transport_ops *ops = tine_transport_for(url, why, sizeof why);
    tine_transport *l, *c;
    tine_transport_config lc = {.lane = listener, .key = key}, cc = {.lane = connector, .key = key};
    cr_assert_eq(ops->listen(&l, url, &lc, why, sizeof why), 0);
    cr_assert_eq(ops->connect(&c, ops->url(l), &cc, why, sizeof why), 0);
    unsigned sent = 0, came = 0;
    tine_event ev;
    int64_t end = tine_clock_ns() + PATIENCE;
    for (bool up = false; came < 200 || (used && !ops->uses_lane(c, 1));) {
        cr_assert_lt(tine_clock_ns(), end);
        ops->recv(c, &ev);
        up |= ev.kind == TINE_EVENT_UP;
        if (up && sent - came < 5) {
            tine_frame *f = tine_conf_frame(8, sent % 2 ? 100 : SIZE_MAX, sent);
            cr_assert_eq(ops->send(c, 1, f), 0);
            sent++;
        }
        ops->recv(l, &ev);
        if (ev.kind == TINE_EVENT_FRAME) {
            cr_assert(tine_conf_check(ev.frame, 8, came % 2 ? 100 : SIZE_MAX, came));
            tine_frame_free(ev.frame);
            came++;
        } else if (!ev.kind) {
            ops->wait(l, 100000);
        }
    }
    tine_transport_stats s;
    ops->stats(l, &s);
    cr_expect_eq(s.lanes, used);
    cr_expect_eq(ops->encrypted(l), key != NULL);
    cr_expect_eq(ops->uses_lane(l, 1), used);
    cr_expect_eq(ops->uses_lane(c, 1), used);
    ops->fini(c);
    ops->fini(l);
}

Test(zmq_lane, is_used_where_both_sides_allow_it, .timeout = 60) {
    unsigned before = leftover_descriptors();
    char key[TINE_ZMQ_KEY_SIZE];
    cr_assert(tine_zmq_key_make(key));
    try_pair(0, 0, NULL, true);
    try_pair(0, 0, key, true);
    try_pair(-1, 0, NULL, false);
    try_pair(0, -1, NULL, false);
    cr_expect_eq(leftover_descriptors(), before);
    cr_expect_eq(leftover_mappings("tine-lane"), 0);
}

/* ---- whether to poll ---- */

static void frame_exchange(const tine_transport_ops *ops, tine_transport *c, tine_transport *l) {
    tine_event ev = {0};
    cr_assert_eq(ops->send(c, 1, tine_conf_frame(8, 100, 0)), 0);
    for (int64_t end = tine_clock_ns() + PATIENCE; ev.kind != TINE_EVENT_FRAME;) {
        cr_assert_lt(tine_clock_ns(), end);
        ops->recv(l, &ev);
    }
    tine_frame_free(ev.frame);
}

/* It neither sleeps nor sends anything: its task may be blocked. */
Test(zmq_lane, a_silent_peer_is_not_taken_for_one_that_needs_a_core, .timeout = 60) {
    char why[200], url[] = "tcp://127.0.0.1:0";
    const tine_transport_ops *ops = tine_transport_for(url, why, sizeof why);
    tine_transport *l, *c;
    tine_event ev;
    cr_assert_eq(ops->listen(&l, url, &(tine_transport_config){0}, why, sizeof why), 0);
    cr_assert_eq(ops->connect(&c, ops->url(l), &(tine_transport_config){0}, why, sizeof why), 0);
    int64_t end = tine_clock_ns() + PATIENCE;
    while (!ops->uses_lane(c, 1) || !ops->uses_lane(l, 1)) {
        cr_assert_lt(tine_clock_ns(), end);
        ops->recv(c, &ev);
        ops->recv(l, &ev);
        if (!ev.kind) ops->wait(l, 100000);
    }
    const tine_shm_spin *spin = &((tine_zmq *)l)->spin;
    frame_exchange(ops, c, l);
    ops->wait(l, 0);
    cr_expect_eq(spin->others, 1);
    while (spin->others > 0 && tine_clock_ns() < end) ops->wait(l, 0);
    cr_expect_eq(spin->others, 0);
    frame_exchange(ops, c, l);
    ops->wait(l, 0);
    cr_expect_eq(spin->others, 1);
    ops->fini(c);
    ops->fini(l);
}

/* ---- where it is not possible: frames take the socket, and the log says why in one line ---- */

static void echo_by_socket(const order *o) {
    char why[200];
    const tine_transport_ops *ops = tine_transport_for(o->url, why, sizeof why);
    tine_transport *t;
    tine_event ev;
    tine_log_level_set(TINE_LOG_ERROR);
    if (o->kind && (setgid(65534) || setuid(65534))) _exit(9);
    if (ops->connect(&t, o->url, &(tine_transport_config){.checksums = -1}, why, sizeof why))
        _exit(1);
    for (int64_t end = tine_clock_ns() + PATIENCE; tine_clock_ns() < end;) {
        ops->recv(t, &ev);
        if (ev.kind == TINE_EVENT_FRAME) ops->send(t, 1, ev.frame);
        if (ev.kind == TINE_EVENT_LOST) _exit(ops->uses_lane(t, 1) ? 2 : 0);
        if (!ev.kind) ops->wait(t, 100000000);
    }
    _exit(3);
}

static void exchange_with_another_user(void) {
    actors a = actors_new(echo_by_socket);
    scene s;
    tine_log_level_set(TINE_LOG_INFO);
    scene_open(&s, "tcp", false);
    for (int i = 0; i < 2; i++) {
        actors_order(&a, s.ops->url(s.listener), 1, 0);
        tine_event ev = scene_next(&s);
        cr_assert_eq(ev.kind, TINE_EVENT_UP);
        for (uint32_t k = 0; k < 20; k++) {
            cr_assert_eq(s.ops->send(s.listener, ev.peer, tine_conf_frame(20, 100, k)), 0);
            tine_event f = scene_next(&s);
            cr_assert(f.kind == TINE_EVENT_FRAME && tine_conf_check(f.frame, 20, 100, k));
            tine_frame_free(f.frame);
        }
        cr_expect_not(s.ops->uses_lane(s.listener, ev.peer));
        s.ops->drop(s.listener, ev.peer, false, "enough");
        cr_assert_eq(scene_next(&s).kind, TINE_EVENT_LOST);
        cr_expect_eq(actors_status(&a), 0);
    }
    tine_log_flush();
    tine_log_level_set(TINE_LOG_WARN);
    scene_close(&s);
    actors_fini(&a);
}

Test(zmq_lane, another_users_process_uses_the_socket, .timeout = 60) {
    if (getuid() != 0) cr_skip_test("only root can start another user's process");
    char *text = capture_standard_error(exchange_with_another_user);
    cr_expect_eq(capture_count(text, "does not use shared memory"), 1, "%s", text);
    cr_expect_eq(capture_count(text, "the peer is another user's process"), 1, "%s", text);
    free(text);
}

/* A listener in a container that forbids memfd_create, until it has lost two peers. */
static void listen_without_memfd(const order *o) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_memfd_create, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};
    char why[200];
    const tine_transport_ops *ops = tine_transport_for(o->url, why, sizeof why);
    tine_transport *t;
    tine_event ev;
    int lost = 0;
    tine_log_level_set(TINE_LOG_INFO);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, 2, &program)) _exit(9);
    if (!tine_shm_obstacle()) _exit(8);
    if (ops->listen(&t, o->url, &(tine_transport_config){.arena = ARENA}, why, sizeof why))
        _exit(1);
    for (int64_t end = tine_clock_ns() + PATIENCE; lost < 2; lost += ev.kind == TINE_EVENT_LOST) {
        if (tine_clock_ns() > end) _exit(3);
        ops->recv(t, &ev);
        if (ev.kind == TINE_EVENT_FRAME) ops->send(t, ev.peer, ev.frame);
        if (!ev.kind) ops->wait(t, 100000000);
    }
    tine_log_flush();
    _exit(0);
}

static void exchange_by_socket(const char *url) {
    char why[200];
    const tine_transport_ops *ops = tine_transport_for(url, why, sizeof why);
    tine_conf_end e = {.ops = ops, .host = &(tine_conf_host){0}};
    cr_assert_eq(ops->connect(&e.t, url, NULL, why, sizeof why), 0);
    cr_assert_eq(tine_conf_next(&e).kind, TINE_EVENT_UP);
    for (uint32_t k = 0; k < 20; k++) {
        cr_assert(tine_conf_send(&e, 1, tine_conf_frame(20, 100, k)));
        tine_event f = tine_conf_next(&e);
        cr_assert(f.kind == TINE_EVENT_FRAME && tine_conf_check(f.frame, 20, 100, k));
        tine_frame_free(f.frame);
    }
    cr_expect_not(ops->uses_lane(e.t, 1));
    ops->fini(e.t);
}

static void exchange_without_memfd(void) {
    actors a = actors_new(listen_without_memfd);
    char dir[] = "/tmp/test-lane-XXXXXX", url[64];
    cr_assert(mkdtemp(dir));
    snprintf(url, sizeof url, "ipc://%s/s", dir);
    actors_order(&a, url, 0, 0);
    for (int i = 0; i < 2; i++) exchange_by_socket(url);
    cr_expect_eq(actors_status(&a), 0);
    actors_fini(&a);
    unlink(url + 6);
    rmdir(dir);
}

Test(zmq_lane, without_memfd_the_socket_is_used, .timeout = 60) {
    char *text = capture_standard_error(exchange_without_memfd);
    cr_expect_eq(capture_count(text, "does not use shared memory: no memfd can be made"), 1, "%s",
                 text);
    cr_expect_eq(capture_count(text, "\n"), 1, "%s", text);
    free(text);
}
