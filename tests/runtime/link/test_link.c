/* A link over a transport that takes as many frames as the test allows: order and ends of
 * backlogs, what is collected for another thread, bounds of one receive. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "runtime/link/link.h"
#include "runtime/wire/wire.h"
#include "transport/base/ring.h"

#define test(name) Test(link, name, .timeout = 20)

enum { SENT_MAX = 256 };

/* The transport of these tests. */
typedef struct scripted {
    tine_transport base;
    int room;  /* frames that send still takes */
    int error; /* what send answers otherwise */
    tine_ring events;
    struct {
        tine_peer peer;
        uint64_t seq;
    } sent[SENT_MAX];
    size_t n_sent;
    bool broken;
} scripted;

static scripted transport;
static tine_link link_;

/* What the handler was called with. */
static struct {
    int up, messages, invalid, lost;
    uint64_t seqs[SENT_MAX];
    char why[160];
} seen;

static int scripted_send(tine_transport *t, tine_peer peer, tine_frame *f) {
    scripted *s = (scripted *)t;
    if (s->room == 0) return s->error;
    s->room--;
    tine_decoded d = {0};
    char why[160];
    cr_assert_eq(tine_wire_decode(f, &d, why, sizeof why), TINE_OK, "%s", why);
    s->sent[s->n_sent].peer = peer;
    s->sent[s->n_sent++].seq = d.message.seq;
    tine_decoded_fini(&d);
    tine_frame_free(f);
    return 0;
}

static int scripted_recv(tine_transport *t, tine_event *ev) {
    scripted *s = (scripted *)t;
    if (s->broken) return -EIO;
    if (!tine_ring_pop(&s->events, ev)) *ev = (tine_event){.kind = TINE_EVENT_NONE};
    return 0;
}

static bool scripted_busy(tine_transport *t) {
    (void)t;
    return false;
}

static void scripted_fini(tine_transport *t) { tine_ring_fini(&((scripted *)t)->events); }

static const tine_transport_ops scripted_ops = {
    .send = scripted_send, .recv = scripted_recv, .busy = scripted_busy, .fini = scripted_fini};

static void on_up(void *ctx, tine_peer peer) {
    (void)ctx, (void)peer;
    seen.up++;
}
static void on_message(void *ctx, tine_peer peer, const tine_message *m) {
    (void)ctx, (void)peer;
    seen.seqs[seen.messages++ % SENT_MAX] = m->seq;
}
static void on_invalid(void *ctx, tine_peer peer, tine_error e, const char *why) {
    (void)ctx, (void)peer;
    cr_expect_eq(e, TINE_EPROTO);
    snprintf(seen.why, sizeof seen.why, "%s", why);
    seen.invalid++;
}
static void on_lost(void *ctx, tine_peer peer, bool bad, const char *reason) {
    (void)ctx, (void)peer, (void)bad;
    snprintf(seen.why, sizeof seen.why, "%s", reason);
    seen.lost++;
}
static const tine_link_handler handler = {on_up, on_message, on_invalid, on_lost, NULL};

static void begin(int room) {
    transport = (scripted){
        .base.ops = &scripted_ops, .room = room, .error = -EAGAIN, .events = TINE_RING(tine_event)};
    memset(&seen, 0, sizeof seen);
    tine_link_init(&link_, &transport.base, &handler, NULL);
}

static tine_error ping(tine_peer peer, uint64_t seq) {
    tine_message m = {.type = TINE_MSG_PING, .seq = seq};
    return tine_link_send(&link_, peer, &m);
}

static void give(tine_event_kind kind, tine_peer peer) {
    *(tine_event *)tine_ring_push(&transport.events) =
        (tine_event){.kind = kind, .peer = peer, .reason = "it is gone"};
}

static void give_ping(uint64_t seq) {
    tine_message m = {.type = TINE_MSG_PING, .seq = seq};
    *(tine_event *)tine_ring_push(&transport.events) =
        (tine_event){.kind = TINE_EVENT_FRAME, .peer = 1, .frame = tine_wire_encode(&m)};
}

test(a_backlog_keeps_the_order_of_each_peer) {
    begin(1);
    for (uint64_t seq = 1; seq <= 6; seq++) cr_assert_eq(ping(1 + seq % 2, seq), TINE_OK);
    cr_assert_eq(transport.n_sent, 1);
    cr_assert(tine_link_has_backlog(&link_) && tine_link_busy(&link_));
    transport.room = 2;
    give(TINE_EVENT_WRITABLE, 2); /* the peer of 1, 3 and 5 */
    cr_assert_eq(tine_link_receive(&link_), 1);
    cr_assert_eq(transport.n_sent, 3);
    cr_expect_eq(transport.sent[1].seq, 3);
    cr_expect_eq(transport.sent[2].seq, 5);
    transport.room = SENT_MAX;
    cr_assert_eq(ping(1, 7), TINE_OK); /* behind 2, 4 and 6, though there is room now */
    cr_assert_eq(transport.n_sent, 3);
    give(TINE_EVENT_WRITABLE, 1);
    tine_link_receive(&link_);
    cr_assert_eq(transport.n_sent, 7);
    for (size_t i = 3; i < 7; i++) {
        cr_expect_eq(transport.sent[i].peer, 1);
        cr_expect_eq(transport.sent[i].seq, i < 6 ? 2 * (i - 2) : 7);
    }
    cr_expect_not(tine_link_has_backlog(&link_));
    tine_link_fini(&link_);
}

test(a_lost_peers_backlog_goes_and_others_stay) {
    begin(0);
    for (uint64_t seq = 1; seq <= 4; seq++) ping(1 + seq % 2, seq);
    give(TINE_EVENT_LOST, 2);
    cr_assert_eq(tine_link_receive(&link_), 1);
    cr_expect_eq(seen.lost, 1);
    cr_expect_str_eq(seen.why, "it is gone");
    transport.room = SENT_MAX;
    tine_link_flush(&link_);
    cr_assert_eq(transport.n_sent, 2);
    cr_expect_eq(transport.sent[0].seq, 2);
    cr_expect_eq(transport.sent[1].seq, 4);
    tine_link_fini(&link_);
}

test(sending_to_a_peer_that_is_gone_is_no_error_and_a_refusal_is) {
    begin(0);
    transport.error = -EPIPE;
    cr_expect_eq(ping(1, 1), TINE_OK);
    transport.error = -EINVAL;
    cr_expect_eq(ping(1, 1), TINE_EIO);
    cr_expect_not(tine_link_has_backlog(&link_));
    tine_link_fini(&link_);
}

test(what_is_collected_is_handled_first_and_once) {
    begin(0);
    ping(1, 9);
    give(TINE_EVENT_UP, 1);
    give_ping(1);
    cr_assert_eq(tine_link_collect(&link_), TINE_LINK_COLLECTED);
    transport.room = 1;
    give(TINE_EVENT_WRITABLE, 1); /* is acted on while collecting */
    give_ping(2);
    cr_assert_eq(tine_link_collect(&link_), TINE_LINK_COLLECTED);
    cr_assert_eq(tine_link_collect(&link_), TINE_LINK_COLLECTED);
    cr_assert_eq(transport.n_sent, 1);
    cr_assert_eq(tine_link_collect(&link_), TINE_LINK_NOTHING);
    cr_assert_eq(seen.up + seen.messages, 0, "collecting handles nothing");
    give_ping(3);
    give(TINE_EVENT_LOST, 1);
    cr_assert_eq(tine_link_collect(&link_), TINE_LINK_COLLECTED);
    cr_assert_eq(tine_link_collect(&link_), TINE_LINK_ENDED);
    cr_assert_eq(tine_link_receive(&link_), 5);
    cr_expect_eq(seen.up, 1);
    cr_expect_eq(seen.lost, 1);
    cr_assert_eq(seen.messages, 3);
    for (uint64_t i = 0; i < 3; i++) cr_expect_eq(seen.seqs[i], i + 1);
    cr_expect_eq(tine_link_receive(&link_), 0);
    transport.broken = true;
    cr_expect_eq(tine_link_collect(&link_), TINE_LINK_ENDED);
    cr_expect_eq(tine_link_receive(&link_), -EIO);
    tine_link_fini(&link_);
}

static void give_fetch(uint64_t object) {
    tine_message m = {.type = TINE_MSG_FETCH, .object = object};
    *(tine_event *)tine_ring_push(&transport.events) =
        (tine_event){.kind = TINE_EVENT_FRAME, .peer = 1, .frame = tine_wire_encode(&m)};
}

static bool odd_ones(void *ctx, const tine_message *m, uint64_t held) {
    (void)ctx;
    cr_expect_eq(held & ~(UINT64_C(1) << TINE_MSG_FETCH), UINT64_C(1) << TINE_MSG_PING);
    return m->object % 2;
}

test(an_early_message_waits_behind_what_was_collected_unless_it_overtakes) {
    begin(0);
    link_.early = UINT64_C(1) << TINE_MSG_FETCH;
    for (int overtakes = 0; overtakes < 2; overtakes++) {
        seen.messages = 0;
        if (overtakes) link_.overtakes = odd_ones;
        give_fetch(4); /* nothing was collected */
        give_ping(1);
        for (uint64_t object = 1; object <= 2; object++) give_fetch(object);
        for (int i = 0; i < 4; i++) cr_assert_eq(tine_link_collect(&link_), TINE_LINK_COLLECTED);
        cr_expect_eq(seen.messages, 1 + overtakes);
        tine_link_receive(&link_);
        cr_expect_eq(seen.messages, 4);
    }
    tine_link_fini(&link_);
}

static void give_other(tine_event_kind kind, uint64_t object, bool malformed) {
    tine_message fetch = {.type = TINE_MSG_FETCH, .object = object};
    tine_event ev = {.kind = kind, .peer = tine_peer_other(7)};
    if (kind == TINE_EVENT_FRAME) ev.frame = tine_wire_encode(&fetch);
    if (malformed) ev.frame->header_size--;
    *(tine_event *)tine_ring_push(&transport.events) = ev;
}

test(what_comes_of_another_connector_is_handled_while_collecting_and_ends_nothing) {
    begin(0);
    give_ping(1);
    give_other(TINE_EVENT_UP, 0, false);
    give_other(TINE_EVENT_FRAME, 8, false);
    give_other(TINE_EVENT_FRAME, 8, true);
    give_other(TINE_EVENT_LOST, 0, false);
    for (int i = 0; i < 5; i++) cr_assert_eq(tine_link_collect(&link_), TINE_LINK_COLLECTED);
    cr_expect(seen.up == 1 && seen.messages == 1 && seen.invalid == 1 && seen.lost == 1);
    cr_expect_eq(tine_link_receive(&link_), 1);
    cr_expect_eq(seen.messages, 2);
    tine_link_fini(&link_);
}

test(one_receive_is_bounded_and_bytes_that_are_no_message_are_reported) {
    begin(0);
    for (uint64_t seq = 1; seq <= 100; seq++) give_ping(seq);
    int first = tine_link_receive(&link_), then = tine_link_receive(&link_);
    cr_expect(first > 0 && first < 100, "%d of 100 events at once", first);
    cr_expect_eq(first + then, 100);
    tine_frame *f = tine_frame_new(3, 0);
    memcpy(f->header, "\xff\xff\xff", 3);
    *(tine_event *)tine_ring_push(&transport.events) =
        (tine_event){.kind = TINE_EVENT_FRAME, .peer = 1, .frame = f};
    give_ping(101); /* is freed with the link, as is what was collected */
    tine_link_collect(&link_);
    tine_link_collect(&link_);
    cr_expect_eq(tine_link_receive(&link_), 2);
    cr_expect_eq(seen.invalid, 1);
    cr_expect(seen.why[0]);
    give_ping(102);
    tine_link_collect(&link_);
    ping(1, 103);
    tine_link_fini(&link_);
}
