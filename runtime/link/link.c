/* See link.h. */
#include "runtime/link/link.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime/trace/trace.h"
#include "runtime/wire/wire.h"

enum {
    /* Limits of one tine_link_receive: large enough to batch, and small enough that answers are not
     * delayed and deadlines hold where a process has a small share of a core. */
    EVENTS_PER_RECEIVE = 64,
    BYTES_PER_RECEIVE = 2 << 20,
    /* Collected events: more than a worker's tasks and open forks cause. */
    COLLECTED_MAX = 1 << 14,
};

/* Frames to one peer that the transport had no room for. */
typedef struct waiting_frame {
    STAILQ_ENTRY(waiting_frame) entry;
    tine_frame *frame;
} waiting_frame;

struct tine_backlog {
    LIST_ENTRY(tine_backlog) entry;
    tine_peer peer;
    STAILQ_HEAD(, waiting_frame) frames;
};

/* ---- backlogs ---- */

static tine_backlog *backlog_of(tine_link *l, tine_peer peer) {
    return LIST_EMPTY(&l->backlogs) ? NULL : tine_idmap_get(&l->by_peer, peer);
}

static tine_backlog *backlog_new(tine_link *l, tine_peer peer) {
    tine_backlog *b = malloc(sizeof *b);
    if (!b) return NULL;
    b->peer = peer;
    STAILQ_INIT(&b->frames);
    LIST_INSERT_HEAD(&l->backlogs, b, entry);
    tine_idmap_put(&l->by_peer, peer, b);
    return b;
}

static void backlog_drop_first(tine_backlog *b, bool free_frame) {
    waiting_frame *w = STAILQ_FIRST(&b->frames);
    STAILQ_REMOVE_HEAD(&b->frames, entry);
    if (free_frame) tine_frame_free(w->frame);
    free(w);
}

static void backlog_free(tine_link *l, tine_backlog *b) {
    if (!b) return;
    while (!STAILQ_EMPTY(&b->frames)) backlog_drop_first(b, true);
    LIST_REMOVE(b, entry);
    tine_idmap_remove(&l->by_peer, b->peer);
    free(b);
}

/* Takes over the frame on success. */
static tine_error backlog_add(tine_link *l, tine_peer peer, tine_frame *f) {
    tine_backlog *b = backlog_of(l, peer);
    waiting_frame *w = malloc(sizeof *w);
    if (w && !b) b = backlog_new(l, peer);
    if (!w || !b) {
        free(w);
        return TINE_ENOMEM;
    }
    w->frame = f;
    STAILQ_INSERT_TAIL(&b->frames, w, entry);
    return TINE_OK;
}

static void backlog_send(tine_link *l, tine_backlog *b) {
    while (!STAILQ_EMPTY(&b->frames)) {
        int e = l->transport->ops->send(l->transport, b->peer, STAILQ_FIRST(&b->frames)->frame);
        if (e == -EAGAIN) return;
        backlog_drop_first(b, e != 0);
    }
    backlog_free(l, b);
}

bool tine_link_has_backlog(const tine_link *l) { return !LIST_EMPTY(&l->backlogs); }

bool tine_link_has_backlog_of(tine_link *l, tine_peer peer) { return backlog_of(l, peer); }

void tine_link_flush(tine_link *l) {
    for (tine_backlog *b = LIST_FIRST(&l->backlogs), *next; b; b = next) {
        next = LIST_NEXT(b, entry);
        backlog_send(l, b);
    }
}

static void link_writable(tine_link *l, tine_peer peer) {
    tine_backlog *b = backlog_of(l, peer);
    if (b) backlog_send(l, b);
}

/* ---- sending ---- */

/* Takes over the frame. */
static tine_error link_send_frame(tine_link *l, tine_peer peer, tine_frame *f) {
    int sent = backlog_of(l, peer) ? -EAGAIN : l->transport->ops->send(l->transport, peer, f);
    if (sent == 0) return TINE_OK;
    tine_error e = TINE_EIO;
    if (sent == -EAGAIN) e = backlog_add(l, peer, f);
    if (sent == -EAGAIN && e == TINE_OK) return TINE_OK;
    tine_frame_free(f);
    return sent == -EPIPE ? TINE_OK : e;
}

tine_error tine_link_send(tine_link *l, tine_peer peer, const tine_message *m) {
    int64_t began = tine_trace_begin();
    tine_frame *f = tine_wire_encode(m);
    if (began) tine_trace_end(TINE_TRACE_ENCODE, began, tine_message_name(m));
    if (!f) return TINE_ENOMEM;
    began = tine_trace_begin();
    size_t bytes = began ? tine_frame_bytes(f) : 0;
    tine_error e = link_send_frame(l, peer, f);
    if (began) tine_trace_end_bytes(TINE_TRACE_SEND, began, tine_message_name(m), bytes);
    return e;
}

bool tine_link_pass(tine_link *l, tine_peer peer, const tine_message *m) {
    tine_frame *f = tine_wire_encode(m);
    if (!f) return false;
    if (l->transport->ops->send(l->transport, peer, f) == 0) return true;
    tine_frame_free(f);
    return false;
}

/* ---- receiving ---- */

static void link_frame_received(tine_link *l, tine_peer peer, tine_frame *f) {
    tine_decoded d;
    char why[160];
    int64_t began = tine_trace_begin();
    size_t bytes = began ? tine_frame_bytes(f) : 0;
    tine_error e = tine_wire_decode(f, &d, why, sizeof why);
    if (e == TINE_OK)
        l->handler->message(l->ctx, peer, &d.message);
    else
        l->handler->invalid(l->ctx, peer, e, e == TINE_EPROTO ? why : "no memory for a message");
    if (began)
        tine_trace_end_bytes(TINE_TRACE_RECEIVE, began,
                             e == TINE_OK ? tine_message_name(&d.message) : "invalid", bytes);
    tine_decoded_fini(&d);
    tine_frame_free(f);
}

/* How many bytes the event brought. */
static size_t event_handle(tine_link *l, tine_event *ev) {
    size_t bytes = 0;
    switch (ev->kind) {
    case TINE_EVENT_NONE: break;
    case TINE_EVENT_UP: l->handler->up(l->ctx, ev->peer); break;
    case TINE_EVENT_FRAME:
        bytes = tine_frame_bytes(ev->frame);
        link_frame_received(l, ev->peer, ev->frame);
        break;
    case TINE_EVENT_LOST:
        backlog_free(l, backlog_of(l, ev->peer));
        l->handler->lost(l->ctx, ev->peer, ev->bad, ev->reason);
        break;
    case TINE_EVENT_WRITABLE: link_writable(l, ev->peer); break;
    case TINE_EVENT_SILENT:
    case TINE_EVENT_HEARD:
        if (l->handler->silent)
            l->handler->silent(l->ctx, ev->peer, ev->kind == TINE_EVENT_SILENT ? ev->reason : NULL);
        break;
    }
    return bytes;
}

static int event_next(tine_link *l, tine_event *ev) {
    if (l->collected.n > 0 && tine_ring_pop(&l->collected, ev)) return 0;
    return l->transport->ops->recv(l->transport, ev);
}

int tine_link_receive(tine_link *l) {
    size_t bytes = 0;
    int n = 0, failed = 0;
    l->receiving = true;
    while (n < EVENTS_PER_RECEIVE && bytes < BYTES_PER_RECEIVE) {
        tine_event ev;
        failed = event_next(l, &ev);
        if (failed != 0 || ev.kind == TINE_EVENT_NONE) break;
        bytes += event_handle(l, &ev);
        n++;
    }
    l->receiving = false;
    return n == 0 && failed != 0 ? -EIO : n;
}

/* ---- receiving in place of the thread that handles ---- */

static bool link_is(uint64_t types, const tine_event *ev) {
    return types && ev->kind == TINE_EVENT_FRAME && types >> tine_wire_type(ev->frame) & 1;
}

static bool link_is_early(const tine_link *l, const tine_event *ev) {
    bool some = l->collected.n == 0 || l->overtakes;
    return link_is(l->any_time | (some ? l->early : 0), ev);
}

static bool link_must_wait(const tine_link *l, const tine_message *m) {
    bool any_time = l->any_time >> m->type & 1;
    return !any_time && l->collected.n > 0 && !l->overtakes(l->ctx, m, l->held);
}

/* Handles an early message, unless it has to wait. What cannot be decoded becomes the loss of its
 * peer, which is not handled here. */
static bool link_take_early(tine_link *l, tine_event *ev) {
    tine_decoded d;
    char why[sizeof ev->reason];
    tine_peer peer = ev->peer;
    tine_error e = tine_wire_decode(ev->frame, &d, why, sizeof why);
    bool waits = e == TINE_OK && link_must_wait(l, &d.message);
    if (e == TINE_OK && !waits) l->handler->message(l->ctx, peer, &d.message);
    tine_decoded_fini(&d);
    if (waits) return false;
    tine_frame_free(ev->frame);
    if (e == TINE_OK) return true;
    *ev = (tine_event){.kind = TINE_EVENT_LOST, .peer = peer, .bad = true};
    snprintf(ev->reason, sizeof ev->reason, "%s", e == TINE_EPROTO ? why : "no memory");
    return false;
}

void tine_link_handle_any_time(tine_link *l, tine_message_type type) {
    if (l->any_time >> type & 1) return;
    l->any_time |= UINT64_C(1) << type;
    tine_event ev;
    for (size_t n = l->collected.n; n > 0 && tine_ring_pop(&l->collected, &ev); n--)
        if (!link_is(l->any_time, &ev) || !link_take_early(l, &ev))
            *(tine_event *)tine_ring_push(&l->collected) = ev;
}

static void link_hold_event(tine_link *l, const tine_event *ev) {
    if (l->collected.n == 0) l->held = 0;
    if (ev->kind == TINE_EVENT_FRAME) l->held |= UINT64_C(1) << tine_wire_type(ev->frame);
    *(tine_event *)tine_ring_push(&l->collected) = *ev;
}

/* Room is made before an event is received, so that none is lost for want of memory. */
tine_link_collected tine_link_collect(tine_link *l) {
    tine_event ev;
    if (l->collected.n >= COLLECTED_MAX || tine_ring_reserve(&l->collected, 1) != 0)
        return TINE_LINK_FULL;
    tine_link_hold(l, false);
    do {
        if (l->transport->ops->recv(l->transport, &ev) != 0) return TINE_LINK_ENDED;
        if (ev.kind == TINE_EVENT_WRITABLE) link_writable(l, ev.peer);
    } while (ev.kind == TINE_EVENT_WRITABLE);
    if (ev.kind == TINE_EVENT_NONE) return TINE_LINK_NOTHING;
    if (ev.peer & tine_peer_other(0)) {
        event_handle(l, &ev);
        return TINE_LINK_COLLECTED;
    }
    if (link_is_early(l, &ev) && link_take_early(l, &ev)) return TINE_LINK_COLLECTED;
    link_hold_event(l, &ev);
    return ev.kind == TINE_EVENT_LOST ? TINE_LINK_ENDED : TINE_LINK_COLLECTED;
}

/* ---- the rest ---- */

void tine_link_hold(tine_link *l, bool on) {
    const tine_transport_ops *ops = l->transport->ops;
    if (ops->hold) ops->hold(l->transport, on);
}

bool tine_link_busy(tine_link *l) {
    return tine_link_has_backlog(l) || l->transport->ops->busy(l->transport);
}

void tine_link_wait(tine_link *l, int64_t timeout_ns) {
    if (l->collected.n == 0) l->transport->ops->wait(l->transport, timeout_ns);
}

void tine_link_await(tine_link *l, int64_t timeout_ns) {
    l->transport->ops->wait(l->transport, timeout_ns);
}

void tine_link_wake(tine_link *l) { l->transport->ops->wake(l->transport); }

int tine_link_pair(tine_link *l, tine_peer a, tine_peer b) {
    const tine_transport_ops *ops = l->transport->ops;
    return ops->pair ? ops->pair(l->transport, a, b) : -EINVAL;
}

void tine_link_drop(tine_link *l, tine_peer peer, bool bad, const char *reason) {
    l->transport->ops->drop(l->transport, peer, bad, reason);
}

int tine_link_restore(tine_link *l, char *why, size_t why_size) {
    const tine_transport_ops *ops = l->transport->ops;
    return ops->restore ? ops->restore(l->transport, why, why_size) : 0;
}

void tine_link_init(tine_link *l, tine_transport *t, const tine_link_handler *handler, void *ctx) {
    *l = (tine_link){
        .transport = t, .handler = handler, .ctx = ctx, .collected = TINE_RING(tine_event)};
    LIST_INIT(&l->backlogs);
}

void tine_link_close(tine_link *l) {
    if (!l->transport) return;
    l->transport->ops->close(l->transport);
    l->transport->ops->stop(l->transport);
}

void tine_link_fini(tine_link *l) {
    while (!LIST_EMPTY(&l->backlogs)) backlog_free(l, LIST_FIRST(&l->backlogs));
    tine_idmap_fini(&l->by_peer);
    for (tine_event ev; tine_ring_pop(&l->collected, &ev);)
        if (ev.kind == TINE_EVENT_FRAME) tine_frame_free(ev.frame);
    tine_ring_fini(&l->collected);
    if (l->transport) l->transport->ops->fini(l->transport);
    *l = (tine_link){0};
}
