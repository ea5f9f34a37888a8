/* A link: messages over a transport, for the coordinator and for workers alike.
 *
 * Sending encodes a message and gives the frame to the transport. While the transport has no room
 * for a peer (-EAGAIN), frames to that peer wait in its backlog, in order, until the transport
 * reports WRITABLE. Receiving takes events from the transport, decodes frames and calls the
 * handler, for a bounded number of events and bytes per call, so that the caller acts on what came
 * before it receives more.
 *
 * A link is used by one thread at a time, as its transport is; only tine_link_wake may be called
 * from any thread. While the thread that handles messages is busy, another thread may take its
 * place with tine_link_collect: events that it receives wait, undecoded, for the next
 * tine_link_receive, except messages of some types (early). */
#ifndef TINE_RUNTIME_LINK_LINK_H
#define TINE_RUNTIME_LINK_LINK_H

#include <sys/queue.h>

#include "runtime/wire/message.h"
#include "transport/base/idmap.h"
#include "transport/base/ring.h"
#include "transport/transport.h"

/* What tine_link_receive calls. Pointers are borrowed for the call. */
typedef struct tine_link_handler {
    void (*up)(void *ctx, tine_peer peer);
    void (*message)(void *ctx, tine_peer peer, const tine_message *m);
    /* A frame that is no message (EPROTO), or that could not be decoded (ENOMEM): `why`. The
     * handler drops the peer. */
    void (*invalid)(void *ctx, tine_peer peer, tine_error e, const char *why);
    /* bad: the peer broke the framing */
    void (*lost)(void *ctx, tine_peer peer, bool bad, const char *reason);
    /* As TINE_EVENT_SILENT; reason NULL: TINE_EVENT_HEARD. May be NULL. */
    void (*silent)(void *ctx, tine_peer peer, const char *reason);
} tine_link_handler;

typedef struct tine_backlog tine_backlog;

typedef struct tine_link {
    tine_transport *transport;
    const tine_link_handler *handler;
    void *ctx;
    bool receiving;     /* in tine_link_receive: its user must not change */
    tine_idmap by_peer; /* backlogs; only peers that have one */
    LIST_HEAD(, tine_backlog) backlogs;
    tine_ring collected; /* of tine_event */
    /* Types, as bits, that tine_link_collect handles at once: any_time always, early unless
     * something that was collected comes before it. */
    uint64_t any_time, early;
    uint64_t held; /* at least the types of the messages among `collected` */
    /* Whether one of `early` may be handled before collected messages of the types `held` all the
     * same; NULL: never. */
    bool (*overtakes)(void *ctx, const tine_message *m, uint64_t held);
} tine_link;

/* Takes over the transport. `handler` lives as long as the link. */
void tine_link_init(tine_link *l, tine_transport *t, const tine_link_handler *handler, void *ctx);
/* Frees the transport, the backlogs and what was collected. Accepts a zeroed link. */
void tine_link_fini(tine_link *l);

/* TINE_OK: the frame is sent or in the backlog, or the peer is gone and its LOST is on the way.
 * Else the message is not sent and the connection cannot be used any more: ENOMEM (no memory, or
 * past a frame's limits), EIO (refused by the transport). Never blocks. */
tine_error tine_link_send(tine_link *l, tine_peer peer, const tine_message *m);
/* To another connector, what need not come: false if it is not sent. Never blocks. */
bool tine_link_pass(tine_link *l, tine_peer peer, const tine_message *m);
bool tine_link_has_backlog(const tine_link *l);
bool tine_link_has_backlog_of(tine_link *l, tine_peer peer);
/* Sends what the transport takes now of all backlogs. */
void tine_link_flush(tine_link *l);
/* As the transport's hold. tine_link_collect and tine_link_wait end it. */
void tine_link_hold(tine_link *l, bool on);
/* Whether something makes progress only by calls of this link: a backlog, or a large frame that is
 * sent or received in part. */
bool tine_link_busy(tine_link *l);

/* Handles what has come, collected events first. How many events; 0: none has come; -EIO: the
 * transport is broken. Never blocks. */
int tine_link_receive(tine_link *l);

typedef enum tine_link_collected {
    TINE_LINK_NOTHING,   /* has come */
    TINE_LINK_COLLECTED, /* one event */
    TINE_LINK_FULL,      /* no memory, or the queue's limit: receive first */
    TINE_LINK_ENDED      /* peer 1 was lost, or the transport is broken: receive says so too */
} tine_link_collected;
/* Receives one event without handling it, and sends on what WRITABLE allows. What comes of another
 * connector (tine_peer_other) is in no order with the rest, and handled at once. Never blocks. */
tine_link_collected tine_link_collect(tine_link *l);

/* From now on messages of this type are handled at any time; those that were collected, now. */
void tine_link_handle_any_time(tine_link *l, tine_message_type type);

/* Blocks as the transport's wait; returns at once if collected events wait. */
void tine_link_wait(tine_link *l, int64_t timeout_ns);
/* Before tine_link_collect: blocks until it may have something, or tine_link_wake was called, for
 * at most so many ns; negative: no limit. */
void tine_link_await(tine_link *l, int64_t timeout_ns);
/* From any thread. */
void tine_link_wake(tine_link *l);
/* As the transport's restore. */
int tine_link_restore(tine_link *l, char *why, size_t why_size);
/* As the transport's pair. */
int tine_link_pair(tine_link *l, tine_peer a, tine_peer b);
/* Ends one connection: LOST follows with this reason. */
void tine_link_drop(tine_link *l, tine_peer peer, bool bad, const char *reason);
/* Sends nothing new, flushes what the transport has taken, for at most its linger time. Accepts a
 * zeroed link. */
void tine_link_close(tine_link *l);

#endif
