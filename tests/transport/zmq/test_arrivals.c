/* Frames that arrive in pieces from a peer that shares no memory: their large buffers lie where the
 * peers of this host can read them. */
#include "tests/support/lease_ends.h"

TestSuite(arrivals, .timeout = 60);

/* A connector without a lane, as one on another host; l.peer is its number then. */
static void connect_far(end *far, end *l) {
    char why[200] = "";
    tine_transport_config apart = config;
    tine_peer before = l->peer;
    tine_event ev;
    apart.lane = -1;
    *far = (end){.ops = l->ops};
    cr_assert_eq(far->ops->connect(&far->t, l->url, &apart, why, sizeof why), 0, "%s", why);
    for (int64_t until = tine_clock_ns() + PATIENCE; !far->peer || l->peer == before;) {
        cr_assert_lt(tine_clock_ns(), until);
        far->ops->recv(far->t, &ev);
        if (ev.kind == TINE_EVENT_UP) far->peer = ev.peer;
        l->ops->recv(l->t, &ev);
        if (ev.kind == TINE_EVENT_UP) l->peer = ev.peer;
    }
}

/* The next frame of `to`, while `from` moves, too. */
static tine_frame *frame_between(end *from, end *to) {
    tine_event none, ev = {0};
    for (int64_t until = tine_clock_ns() + PATIENCE; ev.kind != TINE_EVENT_FRAME;) {
        cr_assert_lt(tine_clock_ns(), until);
        from->ops->recv(from->t, &none);
        to->ops->recv(to->t, &ev);
    }
    return ev.frame;
}

static void expect_arrival(size_t size, bool shared) {
    end l, near, far;
    uint64_t at;
    pair_open(&l, &near);
    tine_peer local = l.peer;
    connect_far(&far, &l);
    size_t taken = 0;
    void *all = shared ? NULL : tine_arena_take(ARENA - 2 * MI, &taken);
    cr_assert(end_send(&far, size, 3));
    tine_frame *f = frame_between(&far, &l);
    cr_expect(tine_conf_check(f, 8, size, 3) && !f->buffers[0]->foreign);
    cr_expect_eq(tine_arena_holds(f->buffers[0]->data, size, &at), shared, "%zu bytes", size);
    if (all) tine_arena_give(all, taken);
    cr_assert_eq(l.ops->send(l.t, local, f), 0);
    f = frame_between(&l, &near);
    cr_expect(tine_conf_check(f, 8, size, 3) && f->buffers[0]->foreign == shared);
    cr_expect_eq(end_stats(&l).lent, shared);
    cr_expect_eq(end_stats(&l).copied, !shared);
    tine_frame_free(f);
    end_fini(&far);
    await_unused(&l, &near);
    end_fini(&near);
    end_fini(&l);
}

Test(arrivals, in_pieces_are_lent_to_others_without_a_copy) {
    expect_arrival(2 * MI - 1000, true);
    expect_arrival(33 * MI, true);
}

Test(arrivals, in_pieces_past_the_bound_are_not_shared) { expect_arrival(33 * MI, false); }

/* It may be hostile, or slow: what is made here meanwhile is shared all the same. */
Test(arrivals, a_large_buffer_that_does_not_come_leaves_the_arena_to_others) {
    end l, near, far;
    tine_event ev;
    pair_open(&l, &near);
    tine_peer local = l.peer;
    connect_far(&far, &l);
    size_t big = ARENA - 6 * MI;
    void *zeros = calloc(1, big);
    tine_frame *f = tine_frame_new(8, 1);
    memset(f->header, 0, 8);
    f->buffers[0] = tine_buffer_wrap(zeros, big, NULL, NULL);
    cr_assert_eq(far.ops->send(far.t, far.peer, f), 0);
    for (int64_t until = tine_clock_ns() + PATIENCE; !l.ops->busy(l.t);) {
        cr_assert_lt(tine_clock_ns(), until);
        far.ops->recv(far.t, &ev);
        l.ops->recv(l.t, &ev);
        cr_assert_eq(ev.kind, TINE_EVENT_NONE);
    }
    cr_assert_eq(l.ops->send(l.t, local, tine_conf_frame(8, 16 * MI, 4)), 0);
    tine_frame_free(frame_between(&l, &near));
    cr_expect_eq(end_stats(&l).lent, 1);
    end_fini(&far);
    free(zeros);
    await_unused(&l, &near);
    end_fini(&near);
    end_fini(&l);
}
