/* Buffers that are lent over a lane: that nothing is copied, that all comes back, whoever ends and
 * how, and that a peer which lends or returns what it likes is dropped alone. The conformance suite
 * runs over them in tests/transport/test_transport.c. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/actors.h"
#include "tests/support/lease_ends.h"
#include "tests/support/leftovers.h"
#include "transport/base/log.h"
#include "transport/zmq/lane.h"

static void die(void) { kill(getpid(), SIGKILL); }

/* ---- what is lent ---- */

Test(leases, large_buffers_are_read_where_they_are, .timeout = 60) {
    unsigned fds = leftover_descriptors();
    end l, c;
    pair_open(&l, &c);
    for (uint32_t i = 0; i < 20; i++) {
        cr_assert(end_send(&l, 10 * MI, i));
        tine_event ev = end_next(&c);
        cr_assert(ev.kind == TINE_EVENT_FRAME && ev.frame->buffers[0]->foreign);
        cr_assert_eq(c.ops->send(c.t, c.peer, ev.frame), 0, "and lent back");
        ev = end_next(&l);
        cr_assert(ev.kind == TINE_EVENT_FRAME && ev.frame->buffers[0]->foreign);
        cr_assert(tine_conf_check(ev.frame, 8, 10 * MI, i));
        tine_frame_free(ev.frame);
    }
    cr_expect_eq(end_stats(&l).lent, 20);
    cr_expect_eq(end_stats(&c).borrowed, 20);
    cr_expect_eq(end_stats(&c).lent, 20);
    await_unused(&l, &c);
    end_fini(&c);
    end_fini(&l);
    cr_expect_eq(leftover_descriptors(), fds + 1, "the arena's");
    cr_expect_eq(leftover_mappings("tine-tensors"), 1);
}

Test(leases, all_but_small_buffers_are_lent, .timeout = 60) {
    end l, c;
    pair_open(&l, &c);
    for (uint32_t less = 0; less < 2; less++) {
        const size_t size = TINE_BUFFER_SHARED_FROM - less;
        cr_assert(end_send(&l, size, 7));
        tine_event ev = end_next(&c);
        cr_assert(ev.kind == TINE_EVENT_FRAME && tine_conf_check(ev.frame, 8, size, 7));
        cr_expect_eq(ev.frame->buffers[0]->foreign, !less);
        tine_frame_free(ev.frame);
    }
    cr_expect_eq(end_stats(&l).lent, 1);
    await_unused(&l, &c);
    end_fini(&c);
    end_fini(&l);
}

/* As a coordinator has it: what other threads do excludes all but wait. */
typedef struct statistician {
    end *l;
    pthread_mutex_t lock;
    bool over;
    uint64_t most; /* leases */
} statistician;

static void *statistics_read(void *ctx) {
    statistician *s = ctx;
    for (bool over = false; !over;) {
        pthread_mutex_lock(&s->lock);
        uint64_t leases = end_stats(s->l).leases;
        if (leases > s->most) s->most = leases;
        over = s->over;
        pthread_mutex_unlock(&s->lock);
    }
    return NULL;
}

/* Frames for which the ring has no room leave in wait, which collects what has come back, too. */
Test(leases, statistics_are_read_while_wait_runs, .timeout = 120) {
    enum { ROUNDS = 10, FRAMES = 100 };
    end l, c;
    pthread_t thread;
    pair_open(&l, &c);
    statistician s = {.l = &l, .lock = PTHREAD_MUTEX_INITIALIZER};
    cr_assert_eq(pthread_create(&thread, NULL, statistics_read, &s), 0);
    tine_buffer *b = tine_buffer_new(MI);
    memset(b->data, 0, MI);
    for (uint32_t i = 0, taken = 0; i < ROUNDS; i++) {
        pthread_mutex_lock(&s.lock);
        for (uint32_t k = 0; k < FRAMES; k++) {
            tine_frame *f = tine_frame_new(60000, 1);
            memset(f->header, 0, 60000);
            f->buffers[0] = tine_buffer_ref(b);
            cr_assert_eq(l.ops->send(l.t, l.peer, f), 0);
        }
        pthread_mutex_unlock(&s.lock);
        while (taken < FRAMES * (i + 1)) {
            tine_event ev;
            l.ops->wait(l.t, 0);
            c.ops->recv(c.t, &ev);
            taken += ev.kind == TINE_EVENT_FRAME;
            tine_frame_free(ev.frame);
            if (ev.kind) continue;
            pthread_mutex_lock(&s.lock);
            l.ops->recv(l.t, &ev);
            pthread_mutex_unlock(&s.lock);
        }
    }
    pthread_mutex_lock(&s.lock);
    s.over = true;
    pthread_mutex_unlock(&s.lock);
    pthread_join(thread, NULL);
    cr_expect_eq(end_stats(&l).lent, ROUNDS * FRAMES);
    tine_buffer_unref(b);
    await_unused(&l, &c);
    cr_expect(s.most > 0 && end_stats(&l).leases == 0);
    end_fini(&c);
    end_fini(&l);
}

static bool wrapped_released;

static void release_wrapped(void *data, size_t size, void *ctx) {
    (void)size, (void)ctx;
    free(data);
    wrapped_released = true;
}

Test(leases, memory_of_the_users_is_copied_once_for_all_peers, .timeout = 60) {
    end l, c;
    pair_open(&l, &c);
    uint8_t *own = malloc(4 * MI);
    tine_conf_fill(own, 4 * MI, 3);
    tine_buffer *b = tine_buffer_wrap(own, 4 * MI, release_wrapped, NULL);
    tine_event ev[3];
    for (int i = 0; i < 3; i++) {
        tine_frame *f = tine_frame_new(8, 1);
        memset(f->header, 0, 8);
        f->buffers[0] = tine_buffer_ref(b);
        cr_assert_eq(l.ops->send(l.t, l.peer, f), 0);
        ev[i] = end_next(&c);
        cr_assert(ev[i].kind == TINE_EVENT_FRAME && ev[i].frame->buffers[0]->foreign);
        cr_expect_eq(ev[i].frame->buffers[0]->data, ev[0].frame->buffers[0]->data);
        cr_expect(tine_conf_filled(ev[i].frame->buffers[0]->data, 4 * MI, 3));
    }
    cr_expect_eq(tine_arena_used(), 4 * MI);
    tine_buffer_unref(b);
    cr_expect(wrapped_released, "what is lent is the copy");
    for (int i = 0; i < 3; i++) {
        cr_expect(tine_conf_filled(ev[i].frame->buffers[0]->data, 4 * MI, 3));
        tine_frame_free(ev[i].frame);
    }
    await_unused(&l, &c);
    end_fini(&c);
    end_fini(&l);
}

/* A lane that waits for room is looked at without end while the process waits. */
Test(leases, a_frame_that_goes_on_the_socket_does_not_wait_for_the_ring, .timeout = 60) {
    end l, c;
    pair_open(&l, &c);
    tine_zmq *t = (tine_zmq *)l.t;
    tine_zmq_peer *p = tine_zmq_peer_by_id(t, l.peer);
    tine_frame *f = tine_conf_frame(2 * MI, SIZE_MAX, 1);
    p->lane->full = true; /* its last attempt found none */
    cr_expect_eq(tine_zmq_lane_send(t, p, f, tine_frame_bytes(f)), -E2BIG);
    cr_expect_not(p->lane->full);
    tine_frame_free(f);
    end_fini(&c);
    end_fini(&l);
}

/* Copying it in send would delay other peers. */
Test(leases, large_memory_of_the_users_is_copied_by_who_shares_it, .timeout = 60) {
    enum { LARGE = 20 * MI };
    end l, c;
    pair_open(&l, &c);
    uint8_t *own = malloc(LARGE);
    tine_conf_fill(own, LARGE, 3);
    tine_buffer *b = tine_buffer_wrap(own, LARGE, release_wrapped, NULL);
    for (int shared = 0; shared < 2; shared++) {
        tine_event ev, none;
        tine_frame *f = tine_frame_new(8, 1);
        memset(f->header, 0, 8);
        f->buffers[0] = tine_buffer_ref(b);
        if (shared) tine_buffer_share(b);
        cr_assert_eq(l.ops->send(l.t, l.peer, f), 0);
        do {
            l.ops->recv(l.t, &none);
            c.ops->recv(c.t, &ev);
        } while (!ev.kind);
        cr_assert_eq(ev.kind, TINE_EVENT_FRAME);
        cr_expect_eq(ev.frame->buffers[0]->foreign, shared == 1);
        cr_expect(tine_conf_filled(ev.frame->buffers[0]->data, LARGE, 3));
        tine_frame_free(ev.frame);
    }
    tine_buffer_unref(b);
    await_unused(&l, &c);
    end_fini(&c);
    end_fini(&l);
}

Test(leases, past_the_bound_frames_are_copied, .timeout = 60) {
    end l, c;
    pair_open(&l, &c);
    tine_event ev[50];
    uint64_t right = 0;
    for (uint32_t i = 0; i < 50; i++) cr_assert(end_send(&l, 8 * MI + i, i));
    for (int i = 0; i < 50; i++) {
        do {
            c.ops->recv(c.t, &ev[i]);
            tine_event none;
            l.ops->recv(l.t, &none);
        } while (!ev[i].kind);
        cr_assert_eq(ev[i].kind, TINE_EVENT_FRAME);
    }
    for (uint32_t i = 0; i < 50; i++) { /* those that are lent overtake those in pieces */
        uint32_t n = (uint32_t)(ev[i].frame->buffers[0]->size - 8 * MI);
        cr_assert(n < 50 && tine_conf_check(ev[i].frame, 8, 8 * MI + n, n));
        right |= UINT64_C(1) << n;
        tine_frame_free(ev[i].frame);
    }
    cr_expect_eq(right, (UINT64_C(1) << 50) - 1);
    uint64_t lent = end_stats(&l).lent;
    cr_expect(lent >= 10 && lent < 50, "%llu of 50 were lent", (unsigned long long)lent);
    cr_expect_eq(end_stats(&l).copied, 50 - lent);
    await_unused(&l, &c);
    end_fini(&c);
    end_fini(&l);
}

Test(leases, more_frames_than_leases_are_copied, .timeout = 60) {
    enum { MORE = TINE_SHM_LEASES + 3 };
    static tine_event ev[MORE];
    tine_buffer *b = NULL;
    end l, c;
    pair_open(&l, &c);
    b = tine_buffer_new(MI);
    memset(b->data, 5, MI);
    for (int i = 0; i < MORE; i++) {
        tine_frame *f = tine_frame_new(0, 1);
        f->buffers[0] = tine_buffer_ref(b);
        cr_assert_eq(l.ops->send(l.t, l.peer, f), 0);
        do {
            c.ops->recv(c.t, &ev[i]);
            tine_event none;
            l.ops->recv(l.t, &none);
        } while (!ev[i].kind);
        cr_assert_eq(((uint8_t *)ev[i].frame->buffers[0]->data)[MI - 1], 5);
        cr_assert_eq(ev[i].frame->buffers[0]->foreign, i < TINE_SHM_LEASES);
    }
    for (int i = 0; i < MORE; i++) tine_frame_free(ev[i].frame);
    tine_buffer_unref(b);
    await_unused(&l, &c);
    end_fini(&c);
    end_fini(&l);
}

Test(leases, small_buffers_leave_some_for_large_ones, .timeout = 60) {
    static tine_event ev[TINE_SHM_LEASES];
    end l, c;
    pair_open(&l, &c);
    tine_buffer *b = tine_buffer_new(TINE_BUFFER_SHARED_FROM);
    memset(b->data, 5, b->size);
    for (int i = 0; i < TINE_SHM_LEASES; i++) {
        tine_frame *f = tine_frame_new(0, 1);
        f->buffers[0] = tine_buffer_ref(b);
        cr_assert_eq(l.ops->send(l.t, l.peer, f), 0);
        ev[i] = end_next(&c);
        cr_assert_eq(ev[i].frame->buffers[0]->foreign, i < TINE_SHM_LEASES / 2);
    }
    cr_assert(end_send(&l, MI, 1));
    tine_event large = end_next(&c);
    cr_expect(large.frame->buffers[0]->foreign && tine_conf_check(large.frame, 8, MI, 1));
    tine_frame_free(large.frame);
    for (int i = 0; i < TINE_SHM_LEASES; i++) tine_frame_free(ev[i].frame);
    cr_assert(end_send(&l, TINE_BUFFER_SHARED_FROM, 2));
    large = end_next(&c);
    cr_expect(large.frame->buffers[0]->foreign, "they have come back");
    tine_frame_free(large.frame);
    tine_buffer_unref(b);
    await_unused(&l, &c);
    end_fini(&c);
    end_fini(&l);
}

/* ---- leases outlive the connection ---- */

Test(leases, what_is_borrowed_does_not_change_after_the_end, .timeout = 60) {
    end l, c;
    pair_open(&l, &c);
    cr_assert(end_send(&l, 8 * MI, 1));
    tine_event ev = end_next(&c);
    cr_assert(ev.kind == TINE_EVENT_FRAME && ev.frame->buffers[0]->foreign);
    end_fini(&l);
    end_fini(&c);
    tine_shm_aside_tidy();
    tine_pages_tidy(INT64_MAX);
    cr_expect_eq(tine_arena_used(), 8 * MI, "its lender waits for it");
    tine_buffer *more[8];
    for (int i = 0; i < 8; i++) {
        more[i] = tine_buffer_new(8 * MI);
        memset(more[i]->data, 0xee, 8 * MI);
    }
    cr_expect(tine_conf_check(ev.frame, 8, 8 * MI, 1));
    for (int i = 0; i < 8; i++) tine_buffer_unref(more[i]);
    tine_frame_free(ev.frame);
    cr_expect_not(tine_shm_aside_tidy());
    tine_pages_tidy(INT64_MAX);
    cr_expect_eq(tine_arena_used(), 0);
    cr_expect_eq(leftover_mappings("tine-lane"), 0);
    cr_expect_eq(leftover_mappings("tine-tensors"), 1);
}

/* ---- kill -9 in each phase ---- */

enum { AGREED, LENDS, BORROWS, LENDS_BACK, RETURNS, PHASES };

/* The part that dies: a connector or a listener. */
static void act(end *e, int kind) {
    tine_event ev;
    if (!end_ready(e)) _exit(2);
    if (kind == AGREED) die();
    if (kind == LENDS) {
        for (uint32_t i = 0; i < 3; i++)
            if (!end_send(e, 2 * MI, i)) _exit(3);
        die();
    }
    for (int i = 0; i < 3; i++) {
        ev = end_next(e);
        if (ev.kind != TINE_EVENT_FRAME || !ev.frame->buffers[0]->foreign) _exit(4);
        if (kind == LENDS_BACK && e->ops->send(e->t, e->peer, ev.frame)) _exit(5);
        if (kind == RETURNS && i < 2) tine_frame_free(ev.frame);
    }
    die();
}

static void connector_acts(const order *o) {
    end e;
    tine_log_level_set(TINE_LOG_ERROR);
    if (!end_connect(&e, o->url)) _exit(1);
    act(&e, o->kind);
}

static void listener_acts(const order *o) {
    char why[200] = "";
    end e = {.ops = tine_transport_for(o->url, why, sizeof why)};
    tine_log_level_set(TINE_LOG_ERROR);
    if (e.ops->listen(&e.t, o->url, &config, why, sizeof why)) _exit(1);
    act(&e, o->kind);
}

static int rounds(void) {
    const char *text = getenv("TEST_LANE_ROUNDS");
    return text ? atoi(text) : 50;
}

/* Plays the part that lives: what came before the loss is right, also after it. */
static void outlive(end *e, actors *a, int phase) {
    tine_frame *kept[3];
    uint32_t n = 0;
    tine_event ev = {0};
    bool ready = end_ready(e); /* one that dies may take with it that it has mapped the arena */
    cr_assert(ready || phase <= LENDS, "phase %d", phase);
    while (!ready && e->taken < e->n_early) kept[n++] = e->early[e->taken++].frame;
    for (uint32_t i = 0; ready && phase > LENDS && i < 3; i++) cr_assert(end_send(e, 2 * MI, i));
    while (ready && (ev = end_next(e)).kind == TINE_EVENT_FRAME) {
        cr_assert_lt(n, 3);
        kept[n++] = ev.frame;
    }
    cr_assert(!ready || (ev.kind == TINE_EVENT_LOST && !ev.bad), "event %d: %s", ev.kind,
              ev.reason);
    int status = actors_status(a);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "phase %d: status 0x%x", phase,
              (unsigned)status);
    cr_assert_eq(n, phase == LENDS || phase == LENDS_BACK ? 3 : 0, "phase %d: %u", phase, n);
    tine_buffer *others[3]; /* in what has been given back */
    tine_shm_aside_tidy();
    for (int i = 0; i < 3; i++) {
        others[i] = tine_buffer_new(2 * MI);
        memset(others[i]->data, 0xee, 2 * MI);
    }
    for (int i = 0; i < 3; i++) tine_buffer_unref(others[i]);
    for (uint32_t i = 0; i < n; i++) {
        cr_assert(tine_conf_check(kept[i], 8, 2 * MI, i), "phase %d", phase);
        tine_frame_free(kept[i]);
    }
}

static void expect_nothing_left(unsigned fds, unsigned files) {
    await_unused(NULL, NULL);
    for (int64_t until = tine_clock_ns() + PATIENCE; leftover_descriptors() > fds;)
        cr_assert_lt(tine_clock_ns(), until, "%u descriptors", leftover_descriptors());
    cr_expect_eq(leftover_mappings("tine-lane"), 0);
    cr_expect_eq(leftover_mappings("tine-tensors"), 1);
    cr_expect_eq(leftover_files("/dev/shm", "tine"), files);
}

Test(leases, connector_is_killed_in_each_phase, .timeout = 1200) {
    actors a = actors_new(connector_acts);
    unsigned fds = leftover_descriptors() + 1, files = leftover_files("/dev/shm", "tine");
    for (int i = 0; i < rounds(); i++)
        for (int phase = 0; phase < PHASES; phase++) {
            end e;
            end_listen(&e);
            actors_order(&a, e.url, phase, 0);
            outlive(&e, &a, phase);
            end_fini(&e);
        }
    expect_nothing_left(fds, files);
    actors_fini(&a);
}

Test(leases, listener_is_killed_in_each_phase, .timeout = 1200) {
    actors a = actors_new(listener_acts);
    unsigned fds = leftover_descriptors() + 1, files = leftover_files("/dev/shm", "tine");
    char dir[] = "/tmp/test-leases-XXXXXX", url[80];
    cr_assert(mkdtemp(dir));
    snprintf(url, sizeof url, "ipc://%s/s", dir);
    for (int i = 0; i < rounds(); i++)
        for (int phase = 0; phase < PHASES; phase++) {
            end e;
            actors_order(&a, url, phase, 0);
            while (access(url + 6, F_OK) != 0) tine_pages_tidy(INT64_MAX);
            cr_assert(end_connect(&e, url));
            outlive(&e, &a, phase);
            end_fini(&e);
            unlink(url + 6);
        }
    expect_nothing_left(fds, files);
    rmdir(dir);
    actors_fini(&a);
}
