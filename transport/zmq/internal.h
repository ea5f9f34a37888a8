/* What the files of the ZeroMQ transport share: an end (listener or connector) and its peers.
 *
 *   zmq.c          opens and closes ends, waits, the operations table
 *   socket.c  the socket and its options, connecting, what libzmq's monitor tells
 *   peer.c     peers: finding, adding, losing them
 *   send.c     queues, pacing, chunks out
 *   receive.c     messages in, chunks put together
 *   framing.c     the bytes of the framing (FRAMING.md)
 *
 * All of it belongs to the one thread that drives the transport. Two things are touched by others:
 * `doorbell`, and a `flight`, whose bytes libzmq's I/O thread counts back when it has written a
 * message that was sent without a copy. */
#ifndef TINE_TRANSPORT_ZMQ_INTERNAL_H
#define TINE_TRANSPORT_ZMQ_INTERNAL_H

#include <zmq.h>

#include "transport/base/assert.h"
#include "transport/internal.h"
#include "transport/base/clock.h"
#include "transport/base/doorbell.h"
#include "transport/zmq/framing.h"

enum {
    TINE_ZMQ_BUCKETS = 1024,
    TINE_ZMQ_FRAME_COST = 64, /* what an empty frame counts for in max_queued */
    TINE_ZMQ_URL_MAX = 512,
    TINE_ZMQ_ROUTING_BYTES = 5, /* ROUTER's own ids: a zero byte, then a number */
    /* messages after which a loop that never runs dry looks at the rest */
    TINE_ZMQ_HOUSEKEEP_EVERY = 2048
};

typedef struct tine_zmq tine_zmq;

/* Bytes of one peer in libzmq's hands. Outlives the peer: the last message in flight frees it.
 * `end` stays valid, because the end is freed only after libzmq has given back everything. */
typedef struct tine_zmq_flight {
    atomic_size_t bytes;
    atomic_uint refs;
    tine_zmq *end;
} tine_zmq_flight;

/* A buffer that libzmq sends from, or one piece of it. */
typedef struct tine_zmq_loan {
    struct tine_zmq_loan *next;
    tine_buffer *buffer;
    tine_zmq_flight *flight;
    size_t size;
} tine_zmq_loan;

/* Frames waiting to go to libzmq, a ring. */
typedef struct tine_zmq_queue {
    tine_frame **at;
    size_t head, n, room; /* room: a power of two */
} tine_zmq_queue;

typedef enum tine_zmq_peer_state {
    TINE_ZMQ_PEER_UP,
    /* lost: whatever it still sends is thrown away until it disconnects, which we cannot make it
     * do */
    TINE_ZMQ_PEER_LOST,
} tine_zmq_peer_state;

typedef struct tine_zmq_peer {
    tine_peer id;
    uint64_t routing; /* listener: the id that ROUTER gave the connection, see tine_zmq_routing */
    int fd;           /* of the connection as libzmq names it; -1 unknown */
    tine_zmq_peer_state state;
    bool gone; /* its connection is closed: what it sent is read to the end, then LOST */

    tine_zmq_queue small, large;
    size_t queued; /* bytes in both queues, with TINE_ZMQ_FRAME_COST for each frame */
    tine_zmq_flight *flight;
    size_t chunk;       /* the smaller of ours and its: no message to it holds more bytes */
    uint32_t out_part;  /* where the first large frame stands: 0 header, i + 1 buffer i */
    size_t out_offset;  /* in that part */
    uint64_t out_total; /* in the frame */
    bool out_open;
    uint64_t spent, acked; /* cost of what was sent, and of what it has read (FRAMING.md, window) */
    uint32_t window;
    bool ack_due;
    uint64_t read, told; /* cost of what was read of it, and how much of that it has been told */
    bool blocked;        /* libzmq's own queue was full */
    bool want_writable;
    bool said_bye; /* by stop */

    tine_frame *in; /* the large frame that is arriving */
    uint64_t *in_sizes;
    uint32_t in_part;
    uint64_t in_offset, in_total, in_size;

    bool lost_due, writable_due, bad;
    bool suspect; /* a connection with its fd was closed */
    int64_t suspect_until;
    char reason[128];

    struct tine_zmq_peer *by_routing, *by_id; /* chains of the two tables */
    /* lists; on_… says whether it is on one */
    struct tine_zmq_peer *next_backlog, *next_due, *next_watch;
    bool on_backlog, on_due, on_watch;
} tine_zmq_peer;

typedef enum tine_zmq_phase {
    TINE_ZMQ_LISTENING,
    TINE_ZMQ_CONNECTING, /* connector: from open until the listener's hello */
    TINE_ZMQ_JOINED,
    TINE_ZMQ_OVER, /* connector: LOST was reported, or the end was stopped */
} tine_zmq_phase;

struct tine_zmq {
    tine_transport base;
    void *context, *socket, *monitor;
    int socket_fd, monitor_fd;
    bool listener, closed, tcp;
    tine_zmq_phase phase;
    bool dirty;         /* the socket may have something although its fd says nothing */
    bool monitor_ready; /* the monitor has something */
    unsigned messages;  /* since the last housekeeping */
    unsigned monitors;  /* how many were made: each needs a name */

    int64_t deadline;      /* connector: when it gives up; negative: never */
    int64_t attempt_until; /* connector: when the present attempt is replaced by another */
    int closed_fd;         /* listener: of a connection that was closed; -1 none, or dealt with */
    /* listener: that connection never came past its handshake, see last_error */
    bool failed_handshake;
    int8_t *silent; /* listener: by descriptor, see tine_zmq_silent */
    size_t n_silent;
    unsigned arriving;  /* peers of whom a large frame has come in part */
    unsigned anonymous; /* listener: peers whose descriptor is not known */
    bool hung_up;       /* connector: the connection ended before it was joined */
    int failures;       /* attempts that ended so far */

    tine_zmq_peer *by_routing[TINE_ZMQ_BUCKETS], *by_id[TINE_ZMQ_BUCKETS];
    tine_zmq_peer *last; /* whom the last message came from */
    tine_zmq_peer *backlog, **backlog_tail;
    tine_zmq_peer *due, **due_tail; /* events to report */
    tine_zmq_peer *watch;           /* suspects and the gone */
    tine_peer next_id;
    atomic_bool want_room;             /* a free callback is to wake the loop */
    atomic_bool room;                  /* a free callback made room since the last pump */
    _Atomic(tine_zmq_loan *) returned; /* last references that libzmq has given back */

    tine_doorbell doorbell;
    tine_transport_stats stats;
    tine_buffer *parts[TINE_FRAME_MAX_BUFFERS]; /* of the message being read */
    char url[TINE_ZMQ_URL_MAX];
    char last_error[96]; /* connector: how the last attempt ended; listener: the last handshake */
};

/* peer.c */
tine_zmq_peer *tine_zmq_peer_add(tine_zmq *t, uint64_t routing, int fd, uint32_t chunk,
                                 uint32_t window); /* NULL: no memory */
tine_zmq_peer *tine_zmq_peer_by_routing(tine_zmq *t, uint64_t routing);
tine_zmq_peer *tine_zmq_peer_by_id(tine_zmq *t, tine_peer id);
/* LOST is due for the peer, with this reason; its queue and what it sent of a frame are thrown
 * away. */
void tine_zmq_peer_lose(tine_zmq *t, tine_zmq_peer *p, bool bad, const char *reason);
void tine_zmq_peer_gone(tine_zmq *t, tine_zmq_peer *p); /* its connection is closed */
/* so is one with this fd, whose it was is to be seen */
void tine_zmq_closed(tine_zmq *t, int fd);
void tine_zmq_writable(tine_zmq *t, tine_zmq_peer *p); /* WRITABLE is due */
bool tine_zmq_due(tine_zmq *t, tine_event *ev);        /* takes the next event that is due */
bool tine_zmq_watch(tine_zmq *t); /* looks after the watch list; true: look again */
void tine_zmq_peers_free(tine_zmq *t);

/* socket.c */
int tine_zmq_open(tine_zmq *t, char *why, size_t why_size); /* socket and monitor, options set */
int tine_zmq_attempt(tine_zmq *t, char *why, size_t why_size);
void tine_zmq_disconnect(tine_zmq *t);
/* Reads the monitor and drives the connecting; true: `ev` is an event. */
bool tine_zmq_progress(tine_zmq *t, tine_event *ev);
void tine_zmq_silent(tine_zmq *t, int fd, int change);
void tine_zmq_joined(tine_zmq *t, tine_zmq_peer *p);

/* send.c */
int tine_zmq_send_frame(tine_zmq *t, tine_zmq_peer *p, tine_frame *f);
void tine_zmq_pump(tine_zmq *t, bool retry_blocked);
void tine_zmq_forget_queue(tine_zmq_peer *p);
uint32_t tine_zmq_window(const tine_zmq *t);
bool tine_zmq_acked(tine_zmq *t, tine_zmq_peer *p,
                    uint64_t read); /* false: it cannot have read that */
/* tells it what was read, when it is time to */
void tine_zmq_ack(tine_zmq *t, tine_zmq_peer *p);
/* A message of one small part. 0, -EAGAIN, -EPIPE. */
int tine_zmq_send_short(tine_zmq *t, uint64_t routing, const void *bytes, size_t size);
void tine_zmq_send_bye(tine_zmq *t, uint64_t routing, const char *reason);
void tine_zmq_flight_unref(tine_zmq_flight *f);
void tine_zmq_take_returned(tine_zmq *t); /* drops them */

/* receive.c */
enum { TINE_ZMQ_RECEIVED_DRY, TINE_ZMQ_RECEIVED_EVENT, TINE_ZMQ_RECEIVED_NOTHING };
int tine_zmq_receive(tine_zmq *t, tine_event *ev);
void tine_zmq_forget_incoming(tine_zmq *t, tine_zmq_peer *p);

#endif
