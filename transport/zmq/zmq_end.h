/* What the files of the ZeroMQ transport share: an end (listener or connector) and its peers.
 *
 *   zmq.c          opens and closes ends, waits, the operations table
 *   zmq_monitor.c  the socket and its options, connecting, what libzmq's monitor tells
 *   zmq_peer.c     peers: finding, adding, losing them
 *   zmq_send.c     queues, pacing, chunks out
 *   zmq_recv.c     messages in, chunks put together
 *   zmq_wire.c     the bytes of the framing (FRAMING.md)
 *
 * All of it belongs to the one thread that drives the transport. Two things are touched by others:
 * `doorbell`, and a `flight`, whose bytes libzmq's I/O thread counts back when it has written a
 * message that was sent without a copy. */
#ifndef TINE_TRANSPORT_ZMQ_ZMQ_END_H
#define TINE_TRANSPORT_ZMQ_ZMQ_END_H

#include <zmq.h>

#include "transport/base/assert.h"
#include "transport/internal.h"
#include "transport/base/clock.h"
#include "transport/base/doorbell.h"
#include "transport/zmq/zmq_wire.h"

enum {
    ZMQ_BUCKETS = 1024,
    ZMQ_FRAME_COST = 64, /* what an empty frame counts for in max_queued */
    ZMQ_URL_MAX = 512,
    ZMQ_ROUTING_BYTES = 5, /* ROUTER's own ids: a zero byte, then a number */
    /* messages after which a loop that never runs dry looks at the rest */
    ZMQ_HOUSEKEEP_EVERY = 2048
};

typedef struct zmq_end zmq_end;

/* Bytes of one peer in libzmq's hands. Outlives the peer: the last message in flight frees it.
 * `end` stays valid, because the end is freed only after libzmq has given back everything. */
typedef struct zmq_flight {
    atomic_size_t bytes;
    atomic_uint refs;
    zmq_end *end;
} zmq_flight;

/* A buffer that libzmq sends from, or one piece of it. */
typedef struct zmq_lent {
    struct zmq_lent *next;
    tine_buffer *buffer;
    zmq_flight *flight;
    size_t size;
} zmq_lent;

/* Frames waiting to go to libzmq, a ring. */
typedef struct zmq_queue {
    tine_frame **at;
    size_t head, n, room; /* room: a power of two */
} zmq_queue;

typedef enum zmq_peer_state {
    PEER_UP,
    /* lost: whatever it still sends is thrown away until it disconnects, which we cannot make it
     * do */
    PEER_MUTE,
} zmq_peer_state;

typedef struct zmq_peer {
    tine_peer id;
    uint64_t routing; /* listener: the id that ROUTER gave the connection, see tine_zmq_routing */
    int fd;           /* of the connection as libzmq names it; -1 unknown */
    zmq_peer_state state;
    bool gone; /* its connection is closed: what it sent is read to the end, then LOST */

    zmq_queue small, large;
    size_t queued; /* bytes in both queues, with ZMQ_FRAME_COST for each frame */
    zmq_flight *flight;
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

    struct zmq_peer *by_routing, *by_id; /* chains of the two tables */
    /* lists; on_… says whether it is on one */
    struct zmq_peer *next_backlog, *next_due, *next_watch;
    bool on_backlog, on_due, on_watch;
} zmq_peer;

typedef enum zmq_phase {
    PHASE_LISTENING,
    PHASE_CONNECTING, /* connector: from open until the listener's hello */
    PHASE_JOINED,
    PHASE_OVER, /* connector: LOST was reported, or the end was stopped */
} zmq_phase;

struct zmq_end {
    tine_transport base;
    void *context, *socket, *monitor;
    int socket_fd, monitor_fd;
    bool listener, closed, tcp;
    zmq_phase phase;
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

    zmq_peer *by_routing[ZMQ_BUCKETS], *by_id[ZMQ_BUCKETS];
    zmq_peer *last; /* whom the last message came from */
    zmq_peer *backlog, **backlog_tail;
    zmq_peer *due, **due_tail; /* events to report */
    zmq_peer *watch;           /* suspects and the gone */
    tine_peer next_id;
    atomic_bool want_room;        /* a free callback is to wake the loop */
    atomic_bool room;             /* a free callback made room since the last pump */
    _Atomic(zmq_lent *) returned; /* last references that libzmq has given back */

    tine_doorbell doorbell;
    tine_transport_stats stats;
    tine_buffer *parts[TINE_FRAME_MAX_BUFFERS]; /* of the message being read */
    char url[ZMQ_URL_MAX];
    char last_error[96]; /* connector: how the last attempt ended; listener: the last handshake */
};

/* zmq_peer.c */
zmq_peer *tine_zmq_peer_add(zmq_end *t, uint64_t routing, int fd, uint32_t chunk,
                            uint32_t window); /* NULL: no memory */
zmq_peer *tine_zmq_peer_by_routing(zmq_end *t, uint64_t routing);
zmq_peer *tine_zmq_peer_by_id(zmq_end *t, tine_peer id);
/* LOST is due for the peer, with this reason; its queue and what it sent of a frame are thrown
 * away. */
void tine_zmq_peer_lose(zmq_end *t, zmq_peer *p, bool bad, const char *reason);
void tine_zmq_peer_gone(zmq_end *t, zmq_peer *p); /* its connection is closed */
/* so is one with this fd, whose it was is to be seen */
void tine_zmq_closed(zmq_end *t, int fd);
void tine_zmq_writable(zmq_end *t, zmq_peer *p); /* WRITABLE is due */
bool tine_zmq_due(zmq_end *t, tine_event *ev);   /* takes the next event that is due */
bool tine_zmq_watch(zmq_end *t);                 /* looks after the watch list; true: look again */
void tine_zmq_peers_free(zmq_end *t);

/* zmq_monitor.c */
int tine_zmq_open(zmq_end *t, char *why, size_t why_size); /* socket and monitor, options set */
int tine_zmq_attempt(zmq_end *t, char *why, size_t why_size);
void tine_zmq_disconnect(zmq_end *t);
/* Reads the monitor and drives the connecting; true: `ev` is an event. */
bool tine_zmq_progress(zmq_end *t, tine_event *ev);
void tine_zmq_silent(zmq_end *t, int fd, int change);
void tine_zmq_joined(zmq_end *t, zmq_peer *p);

/* zmq_send.c */
int tine_zmq_send_frame(zmq_end *t, zmq_peer *p, tine_frame *f);
void tine_zmq_pump(zmq_end *t, bool retry_blocked);
void tine_zmq_forget_queue(zmq_peer *p);
uint32_t tine_zmq_window(const zmq_end *t);
bool tine_zmq_acked(zmq_end *t, zmq_peer *p, uint64_t read); /* false: it cannot have read that */
/* tells it what was read, when it is time to */
void tine_zmq_ack(zmq_end *t, zmq_peer *p);
/* A message of one small part. 0, -EAGAIN, -EPIPE. */
int tine_zmq_send_short(zmq_end *t, uint64_t routing, const void *bytes, size_t size);
void tine_zmq_send_bye(zmq_end *t, uint64_t routing, const char *reason);
void tine_zmq_flight_unref(zmq_flight *f);
void tine_zmq_take_returned(zmq_end *t); /* drops them */

/* zmq_recv.c */
enum { RECEIVE_DRY, RECEIVE_EVENT, RECEIVE_NOTHING };
int tine_zmq_receive(zmq_end *t, tine_event *ev);
void tine_zmq_forget_incoming(zmq_end *t, zmq_peer *p);

#endif
