/* What happens to a lane when one side is killed, in any phase. */
#include <poll.h>
#include <sched.h>
#include <sys/wait.h>

#include "tests/support/lane_peers.h"
#include "tests/support/leftovers.h"

/* ---- kill -9 of the connector, in each phase ---- */

enum phase { OFFERED, OPENED, SWITCHED, WRITING, WRITTEN, RUNG, FULL, READING, PHASES };

static void connector_dies(const order *o) {
    raw_peer r;
    uint8_t *to;
    raw_connect(&r, o->url);
    if (o->kind == OFFERED) die();
    raw_open(&r);
    if (o->kind == OPENED) die();
    raw_switch(&r);
    if (o->kind == SWITCHED) die();
    for (uint64_t i = 0; i < 3; i++) raw_frame(&r, i, 100);
    if (o->kind == WRITTEN) die();
    tine_shm_bell_ring(r.bell);
    if (o->kind == RUNG) die();
    if (o->kind == WRITING && (to = raw_reserve(&r, 100))) {
        memset(to, 0xff, 5);
        die();
    }
    if (o->kind == READING) {
        tine_shm_record record;
        while (tine_shm_next(&r.lane.in, &record) == TINE_SHM_NONE) {
        }
        die();
    }
    /* the listener reads meanwhile */
    for (uint64_t i = 3; r.lane.out.at < r.lane.out.capacity * 3;) i += raw_frame(&r, i, 60000);
    die();
}

/* How many frames came before the loss, all of them right. */
static uint64_t frames_until_lost(scene *s) {
    tine_peer peer = 0;
    for (uint64_t n = 0;;) {
        tine_event ev = scene_next(s);
        if (ev.kind == TINE_EVENT_UP) {
            peer = ev.peer;
        } else if (ev.kind == TINE_EVENT_FRAME) {
            uint64_t number;
            cr_assert(ev.peer == peer && ev.frame->header_size == 8);
            memcpy(&number, ev.frame->header, 8);
            cr_assert_eq(number, n, "frame %llu came as number %llu", (unsigned long long)number,
                         (unsigned long long)n);
            tine_frame_free(ev.frame);
            n++;
        } else {
            cr_assert_eq(ev.kind, TINE_EVENT_LOST);
            cr_assert(ev.peer == peer && !ev.bad, "%s", ev.reason);
            return n;
        }
        tine_frame *f = tine_conf_frame(8, SIZE_MAX, 1);
        if (s->ops->send(s->listener, peer, f)) tine_frame_free(f);
    }
}

/* 500 rounds take some minutes on a busy machine; tests/run bounds the executable. */
static int rounds(void) {
    const char *text = getenv("TEST_LANE_ROUNDS");
    return text ? atoi(text) : 50;
}

static void connector_dies_in(int first, int last) {
    actors a = actors_new(connector_dies);
    scene s;
    scene_open(&s, "ipc", true);
    unsigned files = leftover_files("/dev/shm", "tine"), fds = 0, maps = 0;
    for (int i = 0; i < rounds(); i++) {
        for (int phase = first; phase <= last; phase++) {
            actors_order(&a, s.ops->url(s.listener), phase, 0);
            uint64_t n = frames_until_lost(&s);
            int status = actors_status(&a);
            cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "phase %d: status 0x%x",
                      phase, (unsigned)status);
            uint64_t least = phase <= SWITCHED ? 0 : 3;
            cr_assert(phase == FULL ? n > 3 : n == least, "phase %d: %llu frames", phase,
                      (unsigned long long)n);
        }
        if (i == 0) fds = leftover_descriptors(), maps = leftover_mappings("tine-lane");
    }
    /* libzmq closes a connection a moment after it has reported its end */
    for (int64_t end = tine_clock_ns() + PATIENCE; leftover_descriptors() > fds; sched_yield())
        cr_assert_lt(tine_clock_ns(), end, "%u descriptors, %u before", leftover_descriptors(),
                     fds);
    cr_expect_eq(leftover_mappings("tine-lane"), maps);
    cr_expect_eq(leftover_files("/dev/shm", "tine"), files);
    scene_close(&s);
    cr_expect_eq(leftover_mappings("tine-lane"), 0);
    actors_fini(&a);
}

Test(zmq_lane_deaths, connector_is_killed_while_the_lane_is_opened, .timeout = 1200) {
    connector_dies_in(OFFERED, SWITCHED);
}
Test(zmq_lane_deaths, connector_is_killed_while_it_writes_or_reads, .timeout = 1200) {
    connector_dies_in(WRITING, READING);
}

/* ---- kill -9 of the listener ---- */

enum { AT_UP, IN_USE, SENT, UNREAD, LISTENER_PHASES };

static void until_answer(const tine_transport_ops *ops, tine_transport *t) {
    tine_event ev = {0};
    while (ev.kind != TINE_EVENT_FRAME) {
        ops->recv(t, &ev);
        if (!ev.kind) ops->wait(t, 100000000);
    }
    tine_frame_free(ev.frame);
}

static void listener_dies(const order *o) {
    char why[200];
    const tine_transport_ops *ops = tine_transport_for(o->url, why, sizeof why);
    tine_transport *t;
    tine_event ev = {0};
    if (ops->listen(&t, o->url, NULL, why, sizeof why)) _exit(1);
    while (ev.kind != TINE_EVENT_UP && ev.kind != TINE_EVENT_LOST) {
        ops->wait(t, 100000000);
        ops->recv(t, &ev);
    }
    tine_peer peer = ev.peer;
    if (o->kind == AT_UP) die();
    while (!ops->uses_lane(t, peer)) {
        ops->recv(t, &ev);
        if (!ev.kind) ops->wait(t, 100000000);
    }
    if (o->kind == IN_USE) die();
    /* that the lane is used from here on is said over the socket: libzmq's thread may die first */
    if (ops->send(t, peer, tine_conf_frame(8, 0, 0))) _exit(2);
    until_answer(ops, t);
    for (uint32_t i = 1; i < 100; i++)
        if (ops->send(t, peer, tine_conf_frame(8, i, i))) _exit(2);
    if (o->kind == SENT) die();
    until_answer(ops, t); /* it has read ours, and what follows is unread */
    die();
}

static bool actors_ended(const actors *a) {
    struct pollfd p = {.fd = a->from, .events = POLLIN};
    return poll(&p, 1, 0) > 0;
}

/* A listener that dies at once may take its hello with it. */
static bool is_up(tine_conf_end *e, const actors *a) {
    tine_event ev = {0};
    while (!ev.kind && !actors_ended(a)) {
        e->ops->wait(e->t, 10000000);
        e->ops->recv(e->t, &ev);
    }
    return ev.kind == TINE_EVENT_UP || (!ev.kind && tine_conf_next(e).kind == TINE_EVENT_UP);
}

static void connector_until_lost(const actors *a, const char *url, int phase) {
    char why[200];
    tine_conf_end e = {.ops = tine_transport_for(url, why, sizeof why),
                       .host = &(tine_conf_host){0}};
    tine_transport_config config = {.connect_ns = phase == AT_UP ? PATIENCE / 400 : PATIENCE};
    tine_event ev;
    while (access(url + 6, F_OK) != 0) sched_yield();
    cr_assert_eq(e.ops->connect(&e.t, url, &config, why, sizeof why), 0);
    bool up = is_up(&e, a);
    cr_assert(up || phase == AT_UP);
    for (uint32_t n = 0; up && (ev = tine_conf_next(&e)).kind != TINE_EVENT_LOST; n++) {
        cr_assert_eq(ev.kind, TINE_EVENT_FRAME);
        cr_assert(tine_conf_check(ev.frame, 8, n, n));
        tine_frame_free(ev.frame);
        for (int i = n == 0 ? 1 : n == 99 ? 50 : 0; i > 0; i--) {
            tine_frame *f = tine_conf_frame(8, SIZE_MAX, 1);
            if (e.ops->send(e.t, 1, f)) tine_frame_free(f);
        }
        if (n == 99) phase = -1;
    }
    cr_assert(!up || !ev.bad, "%s", ev.reason);
    cr_assert(phase < SENT, "all frames that were sent have come");
    e.ops->fini(e.t);
}

Test(zmq_lane_deaths, listener_is_killed_in_each_phase, .timeout = 1200) {
    actors a = actors_new(listener_dies);
    char dir[] = "/tmp/test-lane-XXXXXX", url[80];
    cr_assert(mkdtemp(dir));
    unsigned fds = leftover_descriptors(), files = leftover_files("/dev/shm", "tine");
    for (int i = 0; i < rounds(); i++)
        for (int phase = 0; phase < LISTENER_PHASES; phase++) {
            snprintf(url, sizeof url, "ipc://%s/s", dir);
            actors_order(&a, url, phase, 0);
            connector_until_lost(&a, url, phase);
            int status = actors_status(&a);
            cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "phase %d: 0x%x", phase,
                      (unsigned)status);
            unlink(url + 6);
        }
    cr_expect_eq(leftover_descriptors(), fds);
    cr_expect_eq(leftover_mappings("tine-lane"), 0);
    cr_expect_eq(leftover_files("/dev/shm", "tine"), files);
    rmdir(dir);
    actors_fini(&a);
}
