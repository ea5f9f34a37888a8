/* Buffers that a listener has borrowed from one connector and lends on to another: that nothing is
 * copied, and that what is read stays as it is, whoever of the three dies. */
#include <criterion/criterion.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/actors.h"
#include "tests/support/lease_ends.h"
#include "tests/support/leftovers.h"
#include "transport/base/log.h"

enum { SIZE = 20 * MI }; /* it would not be copied, but sent in pieces */

/* A listener and the connectors from which, and to which, it passes buffers on. */
typedef struct chain {
    end l, from, to;
    tine_peer from_peer, to_peer;
} chain;

/* The next event of one of the ends, while all of them go on. */
static tine_event chain_next(chain *c, end *of) {
    end *ends[] = {&c->l, &c->from, &c->to};
    for (int64_t until = tine_clock_ns() + PATIENCE; tine_clock_ns() < until;)
        for (int i = 0; i < 3; i++) {
            tine_event ev = {0};
            if (!ends[i]->t || ends[i]->ops->recv(ends[i]->t, &ev)) continue;
            if (ev.kind == TINE_EVENT_UP) ends[i]->peer = ev.peer;
            if (ends[i] == of && ev.kind) return ev;
            cr_assert(ev.kind != TINE_EVENT_FRAME && ev.kind != TINE_EVENT_LOST, "%s", ev.reason);
        }
    cr_assert_fail("nothing came");
    return (tine_event){0};
}

static bool chain_lends(const end *e, tine_peer peer) {
    return peer && e->ops->uses_lane(e->t, peer) == TINE_LANE_BUFFERS;
}

/* Another connector of this process. */
static tine_peer chain_join(chain *c, end *e) {
    c->l.peer = 0;
    cr_assert(end_connect(e, c->l.url));
    for (int64_t until = tine_clock_ns() + PATIENCE;
         !chain_lends(e, e->peer) || !chain_lends(&c->l, c->l.peer);) {
        tine_event ev = {0};
        cr_assert_lt(tine_clock_ns(), until);
        c->l.ops->recv(c->l.t, &ev);
        if (ev.kind == TINE_EVENT_UP) c->l.peer = ev.peer;
        e->ops->recv(e->t, &ev);
        if (ev.kind == TINE_EVENT_UP) e->peer = ev.peer;
    }
    return c->l.peer;
}

/* One more frame of the other side, at the listener. */
static tine_frame *chain_take(chain *c) {
    tine_event ev = chain_next(c, &c->l);
    while (ev.kind == TINE_EVENT_UP) ev = chain_next(c, &c->l);
    cr_assert_eq(ev.kind, TINE_EVENT_FRAME, "%s", ev.reason);
    return ev.frame;
}

/* Passes on what the listener was sent until that needs no copy any more: the connector has to map
 * the neighbour's arena before. */
static bool chain_pass(chain *c, tine_frame *f) {
    uint64_t before = end_stats(&c->l).lent_on;
    cr_assert(f->buffers[0]->foreign);
    cr_assert_eq(c->l.ops->send(c->l.t, c->to_peer, f), 0);
    return end_stats(&c->l).lent_on > before;
}

static tine_frame *chain_receive(chain *c) {
    tine_event ev = chain_next(c, &c->to);
    cr_assert_eq(ev.kind, TINE_EVENT_FRAME);
    return ev.frame;
}

static void chain_open(chain *c) {
    *c = (chain){0};
    end_listen(&c->l);
    c->from_peer = chain_join(c, &c->from);
    c->to_peer = chain_join(c, &c->to);
}

/* The first frame that is lent on, at its reader. */
static tine_frame *chain_until_lent_on(chain *c) {
    for (int64_t until = tine_clock_ns() + PATIENCE;;) {
        cr_assert_lt(tine_clock_ns(), until);
        cr_assert(end_send(&c->from, SIZE, 7));
        bool on = chain_pass(c, chain_take(c));
        tine_frame *f = chain_receive(c);
        cr_assert(tine_conf_check(f, 8, SIZE, 7));
        if (on) cr_assert(f->buffers[0]->foreign);
        if (on) return f;
        tine_frame_free(f);
    }
}

Test(neighbours, what_one_connector_lends_another_reads, .timeout = 60) {
    chain c;
    unsigned fds = leftover_descriptors();
    chain_open(&c);
    tine_frame_free(chain_until_lent_on(&c));
    uint64_t bytes_used = tine_arena_used(), on = end_stats(&c.l).lent_on,
             own = end_stats(&c.l).lent;
    for (uint32_t i = 0; i < 20; i++) {
        cr_assert(end_send(&c.from, SIZE, i));
        cr_assert(chain_pass(&c, chain_take(&c)));
        tine_frame *f = chain_receive(&c);
        cr_assert(tine_conf_check(f, 8, SIZE, i) && f->buffers[0]->foreign);
        /* and back to where it came from */
        cr_assert_eq(c.to.ops->send(c.to.t, c.to.peer, f), 0);
        f = chain_take(&c);
        cr_assert(tine_conf_check(f, 8, SIZE, i) && f->buffers[0]->foreign);
        cr_assert_eq(c.l.ops->send(c.l.t, c.from_peer, f), 0);
        tine_event ev = chain_next(&c, &c.from);
        cr_assert(ev.kind == TINE_EVENT_FRAME && ev.frame->buffers[0]->foreign);
        cr_assert(tine_conf_check(ev.frame, 8, SIZE, i));
        tine_frame_free(ev.frame);
    }
    cr_expect_eq(end_stats(&c.l).lent_on, on + 20);
    cr_expect_eq(end_stats(&c.l).lent, own + 20, "each is counted one way: those that went back");
    cr_expect_leq(tine_arena_used(), bytes_used + 20 * SIZE);
    cr_expect_eq(end_stats(&c.to).lent, 20);
    end_fini(&c.from);
    end_fini(&c.to);
    await_unused(&c.l, NULL);
    end_fini(&c.l);
    cr_expect_eq(leftover_descriptors(), fds + 1, "the arena's");
    cr_expect_eq(leftover_mappings("tine-tensors"), 1);
    cr_expect_not(tine_arena_is_watched());
}

/* ---- deaths ---- */

static void die(void) { kill(getpid(), SIGKILL); }

/* Sends until it is told that one was lent on, and dies. */
static void owner_acts(const order *o) {
    end e;
    tine_log_level_set(TINE_LOG_ERROR);
    if (!end_connect(&e, o->url) || !end_ready(&e)) _exit(1);
    do {
        if (!end_send(&e, SIZE, 7)) _exit(2);
        tine_event ev = end_next(&e);
        if (ev.kind != TINE_EVENT_FRAME) _exit(3);
        uint8_t on = ((uint8_t *)ev.frame->header)[0];
        tine_frame_free(ev.frame);
        if (on) die();
    } while (true);
}

static void chain_answer(chain *c, bool on) {
    tine_frame *f = tine_frame_new(8, 0);
    cr_assert(f);
    memset(f->header, on, 8);
    cr_assert_eq(c->l.ops->send(c->l.t, c->from_peer, f), 0);
}

Test(neighbours, owner_dies_while_its_buffer_is_read, .timeout = 60) {
    actors a = actors_new(owner_acts);
    chain c = {0};
    tine_frame *f = NULL;
    end_listen(&c.l);
    c.to_peer = chain_join(&c, &c.to);
    actors_order(&a, c.l.url, 0, 0);
    tine_event ev = chain_next(&c, &c.l);
    cr_assert_eq(ev.kind, TINE_EVENT_UP);
    c.from_peer = ev.peer;
    for (bool on = false; !on; chain_answer(&c, on)) {
        tine_frame_free(f);
        on = chain_pass(&c, chain_take(&c));
        f = chain_receive(&c);
    }
    unsigned mapped = leftover_mappings("tine-tensors");
    int status = actors_status(&a);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "status 0x%x", (unsigned)status);
    do ev = chain_next(&c, &c.l);
    while (ev.kind != TINE_EVENT_LOST);
    cr_assert(ev.peer == c.from_peer && !ev.bad, "%s", ev.reason);
    cr_expect(tine_conf_check(f, 8, SIZE, 7) && f->buffers[0]->foreign);
    tine_frame_free(f);
    /* its memory goes with the last mapping: the listener's, and the neighbour's */
    for (int64_t until = tine_clock_ns() + PATIENCE;
         leftover_mappings("tine-tensors") != mapped - 2;) {
        cr_assert_lt(tine_clock_ns(), until, "%u mappings", leftover_mappings("tine-tensors"));
        c.l.ops->recv(c.l.t, &ev);
        c.l.ops->wait(c.l.t, 0);
        c.to.ops->recv(c.to.t, &ev);
        c.to.ops->wait(c.to.t, 0);
    }
    end_fini(&c.to);
    end_fini(&c.l);
    actors_fini(&a);
}

/* Keeps what is a neighbour's, answers each frame, and dies when it is told to. */
static void reader_acts(const order *o) {
    end e;
    tine_log_level_set(TINE_LOG_ERROR);
    if (!end_connect(&e, o->url) || !end_ready(&e)) _exit(1);
    for (;;) {
        tine_event ev = end_next(&e);
        if (ev.kind != TINE_EVENT_FRAME) _exit(2);
        if (!ev.frame->n_buffers) die();
        if (!tine_conf_check(ev.frame, 8, SIZE, 7)) _exit(3);
        if (e.ops->send(e.t, e.peer, tine_frame_new(8, 0))) _exit(4);
        if (!ev.frame->buffers[0]->foreign) tine_frame_free(ev.frame);
    }
}

Test(neighbours, reader_dies_while_it_reads, .timeout = 60) {
    actors a = actors_new(reader_acts);
    chain c = {0};
    end_listen(&c.l);
    c.from_peer = chain_join(&c, &c.from);
    actors_order(&a, c.l.url, 0, 0);
    tine_event ev = chain_next(&c, &c.l);
    cr_assert_eq(ev.kind, TINE_EVENT_UP);
    c.to_peer = ev.peer;
    for (bool on = false; !on; tine_frame_free(chain_take(&c))) {
        cr_assert(end_send(&c.from, SIZE, 7));
        on = chain_pass(&c, chain_take(&c));
    }
    tine_frame *last = tine_frame_new(8, 0);
    cr_assert_eq(c.l.ops->send(c.l.t, c.to_peer, last), 0);
    do ev = chain_next(&c, &c.l);
    while (ev.kind != TINE_EVENT_LOST);
    int status = actors_status(&a);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "status 0x%x", (unsigned)status);
    cr_expect_geq(tine_arena_used(), SIZE, "it died while it read");
    await_unused(&c.l, &c.from);
    end_fini(&c.from);
    end_fini(&c.l);
    actors_fini(&a);
}

/* Passes on what the first connector sends to the second, and dies when it has lent something on
 * and the second has said that it reads it. */
static void listener_acts(const order *o) {
    char why[200] = "";
    tine_peer peers[2] = {0};
    tine_log_level_set(TINE_LOG_ERROR);
    end e = {.ops = tine_transport_for(o->url, why, sizeof why)};
    if (e.ops->listen(&e.t, o->url, &config, why, sizeof why)) _exit(1);
    for (;;) {
        tine_event ev = end_next(&e);
        if (ev.kind == TINE_EVENT_UP) peers[peers[0] != 0] = ev.peer;
        if (ev.kind == TINE_EVENT_LOST || !ev.kind) _exit(2);
        if (ev.kind != TINE_EVENT_FRAME) continue;
        if (ev.peer == peers[1]) {
            if (end_stats(&e).lent_on) die();
            tine_frame_free(ev.frame);
        } else if (e.ops->send(e.t, peers[1], ev.frame)) {
            _exit(3);
        }
    }
}

Test(neighbours, listener_dies_while_a_neighbour_reads, .timeout = 60) {
    actors a = actors_new(listener_acts);
    end from, to;
    tine_frame *kept = NULL;
    char dir[] = "/tmp/test-neighbours-XXXXXX", url[80];
    cr_assert(mkdtemp(dir));
    snprintf(url, sizeof url, "ipc://%s/s", dir);
    actors_order(&a, url, 0, 0);
    while (access(url + 6, F_OK) != 0) tine_pages_tidy(INT64_MAX);
    cr_assert(end_connect(&from, url) && end_ready(&from));
    cr_assert(end_connect(&to, url) && end_ready(&to));
    for (tine_event ev; end_send(&from, SIZE, 7);) { /* until the listener is dead */
        while ((ev = end_next(&to)).kind && ev.kind != TINE_EVENT_FRAME)
            if (ev.kind == TINE_EVENT_LOST) break;
        if (ev.kind != TINE_EVENT_FRAME) break;
        tine_frame_free(kept);
        kept = ev.frame;
        tine_frame *told = tine_frame_new(8, 0);
        if (to.ops->send(to.t, to.peer, told)) tine_frame_free(told);
        from.ops->recv(from.t, &ev);
        if (ev.kind == TINE_EVENT_LOST) break;
    }
    int status = actors_status(&a);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "status 0x%x", (unsigned)status);
    cr_assert(kept && kept->buffers[0]->foreign);
    end_fini(&from);
    cr_expect(tine_shm_aside_tidy(), "its reader is a neighbour, which lives");
    (void)tine_pages_tidy(INT64_MAX);
    cr_expect_geq(tine_arena_used(), SIZE);
    tine_buffer *other = tine_buffer_new(SIZE);
    memset(other->data, 0xee, SIZE);
    tine_buffer_unref(other);
    cr_expect(tine_conf_check(kept, 8, SIZE, 7));
    tine_frame_free(kept);
    end_fini(&to);
    await_unused(NULL, NULL);
    cr_expect_eq(leftover_mappings("tine-tensors"), 1);
    cr_expect_eq(leftover_mappings("tine-lane"), 0);
    unlink(url + 6);
    rmdir(dir);
    actors_fini(&a);
}
