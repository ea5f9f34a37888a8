/* The loop's hands: frames in to the scheduler, actions of the scheduler out to the transport and
 * to futures. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/api/future.h"
#include "runtime/api/instances.h"
#include "transport/base/log.h"
#include "runtime/coordinator/loop_internal.h"
#include "runtime/trace/trace.h"
#include "runtime/wire/wire.h"
#include "transport/base/assert.h"
#include "transport/base/clock.h"

/* Events taken in one go before the scheduler's decisions are carried out: enough to batch, few
 * enough that workers are not kept waiting. */
enum { EVENTS_PER_TURN = 64 };

static void frame_came(tine_loop *l, tine_peer peer, tine_frame *f) {
    tine_decoded d = {0};
    char why[160];
    int64_t now = tine_clock_ns(), began = tine_trace_begin();
    tine_error e = tine_wire_decode(f, &d, why, sizeof why);
    if (e == TINE_EPROTO) {
        tine_scheduler_garbage(l->scheduler, peer, why);
    } else if (e != TINE_OK) {
        tine_scheduler_garbage(l->scheduler, peer, "no memory for what it sent");
    } else if (d.message.type == TINE_MSG_PONG || d.message.type == TINE_MSG_EVENTS) {
        if (l->listener) l->listener(l->listener_arg, peer, &d.message);
    } else {
        tine_scheduler_message(l->scheduler, peer, &d.message, now);
    }
    tine_trace_end(TINE_TRACE_RECEIVE, began,
                   e == TINE_OK ? tine_message_name(&d.message) : "garbage");
    tine_decoded_fini(&d);
    tine_frame_free(f);
}

static void transmit(tine_loop *l, tine_peer peer, tine_frame *f) {
    bool queued = false;
    for (tine_unsent *u = l->unsent; u && !queued; u = u->next) queued = u->peer == peer;
    int e = queued ? -EAGAIN : l->transport->ops->send(l->transport, peer, f);
    if (e == 0) return;
    if (e == -EAGAIN) {
        tine_unsent *u = malloc(sizeof *u);
        if (u) {
            *u = (tine_unsent){NULL, peer, f};
            tine_unsent **at = &l->unsent;
            while (*at) at = &(*at)->next;
            *at = u;
            return;
        }
    }
    tine_frame_free(f); /* -EPIPE: LOST is on its way */
    if (e != -EPIPE)
        l->transport->ops->drop(l->transport, peer, false, "a frame could not be sent to it");
}

static void send_again(tine_loop *l, tine_peer peer) {
    for (tine_unsent **at = &l->unsent; *at;) {
        tine_unsent *u = *at;
        if (u->peer != peer) {
            at = &u->next;
            continue;
        }
        int e = l->transport->ops->send(l->transport, peer, u->frame);
        if (e == -EAGAIN) return;
        if (e != 0) tine_frame_free(u->frame);
        *at = u->next;
        free(u);
    }
}

static void forget_unsent(tine_loop *l, tine_peer peer) {
    for (tine_unsent **at = &l->unsent; *at;) {
        tine_unsent *u = *at;
        if (u->peer != peer) {
            at = &u->next;
            continue;
        }
        *at = u->next;
        tine_frame_free(u->frame);
        free(u);
    }
}

bool tine_loop_receive(tine_loop *l) {
    for (int n = 0; n < EVENTS_PER_TURN; n++) {
        tine_event ev;
        if (l->transport->ops->recv(l->transport, &ev) != 0 || ev.kind == TINE_EVENT_NONE)
            return n > 0;
        switch (ev.kind) {
        case TINE_EVENT_UP: tine_scheduler_peer_up(l->scheduler, ev.peer, tine_clock_ns()); break;
        case TINE_EVENT_FRAME: frame_came(l, ev.peer, ev.frame); break;
        case TINE_EVENT_LOST:
            forget_unsent(l, ev.peer);
            if (ev.bad)
                tine_log(TINE_LOG_WARN, "dropped a peer at %s: %s",
                         l->transport->ops->url(l->transport), ev.reason);
            tine_loop_peer_lost(l, ev.peer, ev.reason);
            break;
        case TINE_EVENT_WRITABLE: send_again(l, ev.peer); break;
        case TINE_EVENT_NONE: break;
        }
    }
    return true;
}

void tine_loop_send(tine_loop *l, tine_peer peer, const tine_message *m) {
    int64_t began = tine_trace_begin();
    tine_frame *f = tine_wire_encode(m);
    tine_trace_end(TINE_TRACE_ENCODE, began, tine_message_name(m));
    if (!f) {
        tine_log(TINE_LOG_ERROR, "a message of type %d could not be encoded: its worker is dropped",
                 m->type);
        l->transport->ops->drop(l->transport, peer, false, "a message to it could not be encoded");
        return;
    }
    began = tine_trace_begin();
    transmit(l, peer, f);
    tine_trace_end(TINE_TRACE_SEND, began, tine_message_name(m));
}

static void complete(tine_loop *l, const tine_scheduler_action *a) {
    tine_future *f = tine_idmap_remove(&l->tickets, a->ticket);
    TINE_ASSERT_TRUE(f);
    tine_future_complete(f, a->status, a->payload, a->text);
    tine_future_unref(f);
}

bool tine_loop_act(tine_loop *l) {
    tine_scheduler_action a;
    bool did = false;
    while (tine_scheduler_next(l->scheduler, &a)) {
        did = true;
        switch (a.kind) {
        case TINE_SCHEDULER_SEND: tine_loop_send(l, a.peer, &a.message); break;
        case TINE_SCHEDULER_COMPLETE: complete(l, &a); break;
        case TINE_SCHEDULER_DROP:
            l->transport->ops->drop(l->transport, a.peer, a.bad, a.text);
            break;
        case TINE_SCHEDULER_LOG: tine_log(a.level, "%s", a.text); break;
        }
    }
    return did;
}

void tine_loop_count_handles(tine_loop *l) {
    pthread_mutex_lock(&l->handles_lock);
    struct tine_handle_change *changes = l->handles;
    size_t n = l->n_handles;
    l->handles = NULL;
    l->n_handles = l->room_handles = 0;
    pthread_mutex_unlock(&l->handles_lock);
    for (size_t i = 0; i < n; i++) {
        if (changes[i].change > 0)
            tine_scheduler_object_retain(l->scheduler, changes[i].id);
        else
            tine_scheduler_object_release(l->scheduler, changes[i].id);
    }
    free(changes);
}
