/* What the event loop moves: events of the link to the scheduler, actions of the scheduler to
 * the link and to futures. */
#include <errno.h>

#include "runtime/api/stream.h"
#include "runtime/coordinator/internal.h"
#include "transport/base/clock.h"
#include "transport/base/log.h"

/* ---- from the link ---- */

static void coordinator_on_up(void *ctx, tine_peer peer) {
    tine_coordinator *c = ctx;
    tine_scheduler_peer_up(c->scheduler, peer, tine_clock_ns());
}

/* A token that is not the peer's own is not passed on. */
static void coordinator_on_hello(tine_coordinator *c, tine_peer peer, const tine_message *m) {
    tine_hello hello = *m->hello;
    tine_message copy = *m;
    copy.hello = &hello;
    if (c->admits && !c->admits(hello.token)) {
        tine_scheduler_refuse(
            c->scheduler, peer,
            "only workers that the program has started may join its private pool; "
            "for others set an endpoint (TINE_ENDPOINT)",
            tine_clock_ns());
        return;
    }
    if (tine_coordinator_is_local(c, peer, &hello))
        c->start_failures = 0;
    else
        hello.token = "";
    tine_scheduler_message(c->scheduler, peer, &copy, tine_clock_ns());
}

static void coordinator_on_message(void *ctx, tine_peer peer, const tine_message *m) {
    tine_coordinator *c = ctx;
    bool observers = m->type == TINE_MSG_OBSERVE || !LIST_EMPTY(&c->observers);
    if (m->type == TINE_MSG_PONG || m->type == TINE_MSG_EVENTS) {
        if (c->listener) c->listener(c->listener_arg, peer, m);
    } else if (observers && tine_coordinator_observe(c, peer, m)) {
        return;
    }
    if (m->type == TINE_MSG_HELLO)
        coordinator_on_hello(c, peer, m);
    else
        tine_scheduler_message(c->scheduler, peer, m, 0); /* the time of a HELLO alone counts */
}

static void coordinator_on_invalid(void *ctx, tine_peer peer, tine_error e, const char *why) {
    tine_coordinator *c = ctx;
    (void)e;
    if (tine_coordinator_observer_gone(c, peer)) tine_link_drop(&c->link, peer, true, why);
    tine_scheduler_garbage(c->scheduler, peer, why);
}

static void coordinator_on_lost(void *ctx, tine_peer peer, bool bad, const char *reason) {
    tine_coordinator *c = ctx;
    if (bad)
        tine_log(TINE_LOG_WARN, "dropped a peer at %s: %s",
                 c->link.transport->ops->url(c->link.transport), reason);
    if (tine_coordinator_observer_gone(c, peer)) return;
    tine_coordinator_peer_lost(c, peer, reason);
    tine_coordinator_expect(c);
}

static void coordinator_on_silent(void *ctx, tine_peer peer, const char *reason) {
    tine_coordinator *c = ctx;
    if (!reason)
        tine_scheduler_worker_heard(c->scheduler, peer);
    else if (!tine_scheduler_worker_silent(c->scheduler, peer, reason))
        tine_link_drop(&c->link, peer, false, reason);
}

const tine_link_handler tine_coordinator_events = {coordinator_on_up, coordinator_on_message,
                                                   coordinator_on_invalid, coordinator_on_lost,
                                                   coordinator_on_silent};

/* ---- from the scheduler ---- */

void tine_coordinator_send(tine_coordinator *c, tine_peer peer, const tine_message *m) {
    tine_error e = tine_link_send(&c->link, peer, m);
    if (e == TINE_OK) return;
    const char *why = e == TINE_ENOMEM ? "a message to it could not be encoded"
                                       : "a frame could not be sent to it";
    tine_log(TINE_LOG_ERROR, "a worker is dropped: %s (%s)", why, tine_message_name(m));
    tine_link_drop(&c->link, peer, false, why);
}

static void complete_future(tine_coordinator *c, const tine_scheduler_action *a) {
    tine_future *f = (tine_future *)(uintptr_t)a->ticket;
    c->n_open--;
    if (a->object && f->reference)
        tine_scheduler_object_release(c->scheduler, a->object); /* the reference has a handle */
    else if (a->object)
        f->reference = tine_value_of_object(a->object, c->context.owner);
    else if (a->status == TINE_OK && !a->payload)
        f->value = tine_none(); /* of an initialiser */
    bool lost = a->object && !f->reference;
    if (lost) tine_scheduler_object_release(c->scheduler, a->object);
    tine_future_complete(f, lost ? TINE_ENOMEM : a->status, a->payload, a->text);
    tine_future_unref(f);
}

/* Taking the value may call the scheduler (PULL). The action is not used after that. */
static void stream_value(const tine_scheduler_action *a) {
    tine_stream_arrived((tine_future *)(uintptr_t)a->ticket, a->item, TINE_OK, a->payload, NULL);
}

static void pair_workers(tine_coordinator *c, const tine_scheduler_action *a) {
    int rc = tine_link_pair(&c->link, a->peer, a->other);
    if (rc == 0)
        tine_scheduler_paired(c->scheduler, a->peer, a->other);
    else if (rc == -EAGAIN)
        tine_scheduler_pair_later(c->scheduler, a->peer, a->other);
}

bool tine_coordinator_act(tine_coordinator *c) {
    tine_scheduler_action a;
    bool did = false, several = tine_scheduler_actions(c->scheduler) > 1;
    if (several) tine_link_hold(&c->link, true);
    while (tine_scheduler_next(c->scheduler, &a)) {
        did = true;
        switch (a.kind) {
        case TINE_SCHEDULER_SEND: tine_coordinator_send(c, a.peer, &a.message); break;
        case TINE_SCHEDULER_COMPLETE: complete_future(c, &a); break;
        case TINE_SCHEDULER_YIELD: stream_value(&a); break;
        case TINE_SCHEDULER_DROP: tine_link_drop(&c->link, a.peer, a.bad, a.text); break;
        case TINE_SCHEDULER_LOG: tine_log(a.level, "%s", a.text); break;
        case TINE_SCHEDULER_PAIR: pair_workers(c, &a); break;
        case TINE_SCHEDULER_END: tine_coordinator_end_later(c, a.ticket, a.grace_ns); break;
        }
    }
    if (several) tine_link_hold(&c->link, false);
    return did;
}
