/* What the files of the ZeroMQ transport share: the transport (listener or connector) and its
 * peers.
 *
 *   zmq.c      opening, closing, waiting; the operations table
 *   socket.c   the socket and its options, libzmq's monitor, a connector's attempts
 *   peer.c     peers: finding, adding, losing them
 *   address.c  what tcp://HOST:PORT names
 *   security.c  keys, encryption, which peers are refused
 *   listen.c   the listening socket, and when libzmq accepts at it
 *   strangers.c  connections whose first frame has not come
 *   path.c     the socket file of an ipc:// endpoint
 *   send.c     queues, pacing, chunks out
 *   message.c  the parts of one message out, and its checksum
 *   lane.c     shared memory with peers on this host
 *   lane_open.c  how it is offered, opened and closed
 *   lease.c    buffers that such peers read where they are
 *   neighbours.c  those that are lent on from one such peer to another
 *   pair.c     shared memory between two such peers
 *   record.c   frames in that memory
 *   beat.c     heartbeats of peers on other hosts
 *   receive.c  messages in
 *   incoming.c  large frames put together from chunks
 *   framing.c  the bytes of the framing (FRAMING.md)
 *
 * All of it belongs to the one thread that drives the transport, but for what libzmq's I/O thread
 * touches when it has written a message that was sent in place: `doorbell`, `room`, `returned` and
 * a peer's `flight`. */
#ifndef TINE_TRANSPORT_ZMQ_INTERNAL_H
#define TINE_TRANSPORT_ZMQ_INTERNAL_H

#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <zmq.h>

#include "transport/base/assert.h"
#include "transport/base/clock.h"
#include "transport/base/doorbell.h"
#include "transport/base/ring.h"
#include "transport/internal.h"
#include "transport/shm/spin.h"
#include "transport/zmq/framing.h"
#include "transport/zmq/key.h"

enum {
    TINE_ZMQ_BUCKETS = 1024,
    TINE_ZMQ_FRAME_COST = 64, /* what an empty frame counts for in max_queued */
    TINE_ZMQ_URL_MAX = 512,
    TINE_ZMQ_ADDRESSES = 4,     /* of one host that are tried in turn */
    TINE_ZMQ_ROUTING_BYTES = 5, /* ROUTER's own ids: a zero byte, then a number */
    /* messages after which a loop that keeps finding more does its other work */
    TINE_ZMQ_HOUSEKEEP_EVERY = 2048,
    /* bytes read after which recv says that there is nothing now: some milliseconds of a core */
    TINE_ZMQ_TURN_BYTES = 2 << 20,
    TINE_ZMQ_RESERVE = 8,   /* descriptors kept for refusing peers, and cutting them off */
    TINE_ZMQ_REFUSED = 256, /* addresses that are remembered */
    TINE_ZMQ_STRANGERS_AT_A_TIME = 64, /* more are not accepted */
    TINE_ZMQ_STRANGERS = 256,          /* room for those that came at once, and for the dropped */
};

typedef struct tine_zmq tine_zmq;
typedef struct tine_zmq_lane tine_zmq_lane; /* lane.c */

/* Bytes of one peer that libzmq sends from in place. Outlives the peer: the last reference frees
 * it. `transport` stays valid, because a transport is freed only after libzmq has returned every
 * message. */
typedef struct tine_zmq_flight {
    atomic_size_t bytes;
    atomic_uint refs;
    tine_zmq *transport;
} tine_zmq_flight;

/* A buffer that libzmq sends from in place, or one piece of it. */
typedef struct tine_zmq_in_place {
    struct tine_zmq_in_place *next;
    tine_buffer *buffer;
    tine_zmq_flight *flight;
    size_t size;
} tine_zmq_in_place;

typedef enum tine_zmq_peer_state {
    TINE_ZMQ_PEER_UP,
    /* What it still sends is discarded until it disconnects: libzmq has no call for that. */
    TINE_ZMQ_PEER_LOST,
} tine_zmq_peer_state;

typedef struct tine_zmq_peer {
    tine_peer id;
    uint64_t routing; /* listener: ROUTER's id of the connection, see routing_of in receive.c */
    int fd;           /* of the connection, as libzmq names it; -1: unknown */
    uint64_t cookie;  /* listener: the kernel's name of that connection; 0: unknown */
    uint32_t pid;     /* listener, ipc: the process that has connected; 0: unknown */
    tine_zmq_peer_state state;
    bool remote;     /* on another host: it has a heartbeat */
    bool patient;    /* ... and each side waits long for the other one */
    unsigned missed; /* beats in a row */
    /* Its connection is closed: what it sent is read to the end, then it is lost. */
    bool disconnected;
    uint64_t last_message; /* t->received when one of it came, or when it was disconnected */

    /* sending */
    tine_ring small, large; /* of tine_frame * */
    size_t queued;          /* bytes in both queues, with TINE_ZMQ_FRAME_COST for each frame */
    tine_zmq_flight *flight;
    size_t chunk;       /* the smaller of ours and its: no message to it holds more bytes */
    bool out_open;      /* OPEN of the first large frame was sent */
    uint32_t out_part;  /* where that frame stands: 0 header, i + 1 buffer i */
    size_t out_offset;  /* in that part */
    uint64_t out_total; /* in the frame */
    uint64_t spent;     /* cost of what was sent to it (FRAMING.md, window) */
    uint64_t acked;     /* of that, what it has read */
    uint32_t window;
    bool checked; /* messages of both sides carry checksums */
    bool blocked; /* libzmq's own queue was full */
    bool want_writable;
    bool bye_sent; /* by stop */
    bool leases;   /* its hello says that buffers may be lent */
    bool others;   /* ... also those of other peers */
    bool pairs;    /* ... and that it may get lanes to other peers */
    tine_zmq_lane *lane;

    /* receiving */
    bool heard;    /* its first frame has arrived */
    uint64_t read; /* cost of what was read of it */
    uint64_t told; /* of that, what it has been told */
    bool ack_due;
    tine_frame *in; /* the large frame that is arriving, and the sizes of its parts */
    uint64_t *in_sizes;
    uint32_t in_part;
    uint64_t in_offset, in_total, in_size;

    /* events to report */
    bool lost_due, writable_due, bad;
    tine_event_kind silence_due; /* SILENT or HEARD; NONE: neither */
    char reason[sizeof(((tine_event *)0)->reason)];

    bool suspect;      /* a connection with its fd was closed */
    unsigned probes;   /* since then, */
    int64_t probed_at; /* ... and when the last was sent */

    /* LIST: O(1) removal; the buckets of the two tables and the lists of tine_zmq */
    LIST_ENTRY(tine_zmq_peer) by_routing, by_id, watched;
    TAILQ_ENTRY(tine_zmq_peer) waiting, reporting;
    bool is_waiting, is_reporting, is_watched;
} tine_zmq_peer;

LIST_HEAD(tine_zmq_peer_list, tine_zmq_peer);
TAILQ_HEAD(tine_zmq_peer_queue, tine_zmq_peer);

/* A connection whose first frame has not come, or whose peer was dropped. */
typedef struct tine_zmq_stranger {
    int fd;
    uint64_t cookie;
    struct sockaddr_storage from;
    int64_t since, until; /* accepted; cut off. INT64_MAX: it was cut off */
    uint64_t most;        /* bytes that it may send */
    const char *why;      /* it is cut off; NULL: it is not yet */
} tine_zmq_stranger;

typedef enum tine_zmq_phase {
    TINE_ZMQ_LISTENING,
    TINE_ZMQ_CONNECTING, /* connector: until the listener's hello */
    TINE_ZMQ_JOINED,
    TINE_ZMQ_OVER, /* connector: LOST was reported, or the transport was stopped */
} tine_zmq_phase;

struct tine_zmq {
    tine_transport base;
    void *context, *socket, *monitor;
    int socket_fd, monitor_fd;
    bool listener, closed, tcp;
    bool encrypted; /* with this key */
    char key[TINE_ZMQ_KEY_SIZE];
    bool asks_checks; /* its hello asks for checksums */
    tine_zmq_phase phase;
    bool dirty;         /* the socket may be readable although its fd says nothing */
    bool monitor_ready; /* the monitor has something */
    unsigned messages;  /* since the last housekeeping */
    uint64_t received;  /* messages, in all */
    size_t turn_bytes;  /* since recv gave NONE */
    unsigned monitors;  /* how many were made: each needs a name */

    /* connector */
    int64_t deadline;      /* when it gives up; negative: never */
    int64_t attempt_until; /* when the present attempt is replaced by another; INT64_MAX: never */
    int failures;          /* attempts that ended so far */
    bool hung_up;          /* the connection ended before it was joined */
    char last_error[96];   /* how the last attempt ended; listener: the last failed handshake */

    /* listener */
    bool failed_handshake; /* of the connection that ends next, see last_error */
    int8_t *silent;        /* by descriptor, see tine_zmq_silent */
    size_t n_silent;
    tine_ring silent_ends; /* of those that did not send a message */
    unsigned anonymous;    /* peers whose descriptor is not known */

    void *zap; /* answers libzmq's questions about who may connect; NULL: there is no key */
    int zap_fd;
    uint64_t refused[TINE_ZMQ_REFUSED]; /* addresses whose refusal was reported */
    int gate_fd;                        /* the eventfd that libzmq watches; -1: none */
    int door_fd;       /* the listening socket, under the number that libzmq accepts at; -1: none */
    bool door_is_zmqs; /* libzmq closes that number */
    struct sockaddr_storage local;
    socklen_t local_size;
    bool knock;        /* the listening socket may be readable */
    int64_t look_at;   /* when it is looked at without a knock */
    uint64_t accepted; /* connections, so far */
    int backlog;
    bool scarce; /* peers are refused for want of descriptors */
    int64_t settled_at;
    int reserve[TINE_ZMQ_RESERVE];
    unsigned n_reserve;
    tine_zmq_stranger strangers[TINE_ZMQ_STRANGERS]; /* the oldest first */
    unsigned n_strangers;
    bool strangers_full;
    int64_t strangers_at; /* when they are checked */

    bool beats;      /* there is, or was, a peer on another host */
    int64_t beat_at; /* when the next look at their connections is due */
    bool bound;      /* an ipc endpoint's socket file was made: this one */
    dev_t bound_device;
    ino_t bound_inode;
    bool bound_alone; /* in a directory that was made for it */

    struct tine_zmq_peer_list by_routing[TINE_ZMQ_BUCKETS], by_id[TINE_ZMQ_BUCKETS];
    tine_zmq_peer *last;                  /* the last message came from it */
    struct tine_zmq_peer_queue waiting;   /* peers with something to send */
    struct tine_zmq_peer_queue reporting; /* peers with an event to report */
    struct tine_zmq_peer_list watched;    /* suspects, and those that are disconnected */
    /* that both sides have opened; a connector's pairs come behind the listener's */
    TAILQ_HEAD(tine_zmq_lane_queue, tine_zmq_lane) lanes;
    unsigned n_lanes;
    LIST_HEAD(, tine_zmq_pair) pairs; /* listener */
    bool pairs_told;                  /* the log has the reason why some have no lane */
    bool holding, owes; /* bells wait for the end of hold; the listener's is to be rung then */
    tine_zmq_lane *lane_turn; /* is read first: the last one that had a frame; NULL: the first */
    unsigned n_held;          /* of them that hold what the socket brought (lane.h) */
    unsigned lane_frames;     /* read of them so far */
    int bell;                 /* on which peers' lanes wake this process; -1: none */
    int64_t lanes_look_at;    /* with lanes: when the sockets are looked at unasked, */
    int64_t lanes_tidy_at;    /* ... and what is lent */
    int64_t lanes_looked;     /* when the sockets were, last */
    bool told_without_lane;   /* the log has the reason why a peer has none */
    bool told_apart;          /* ... and why no buffers are lent */
    bool has_arena;
    int arena_error; /* why not: negative errno; 0: none is wanted, or there is one */
    const char *arena_why;
    uint32_t arenas; /* of peers, so far */
    tine_shm_spin spin;
    unsigned arriving; /* peers of which a large frame has arrived in part */
    tine_peer next_id;
    atomic_bool want_room;                 /* returned messages are to wake the loop */
    atomic_bool room;                      /* a message was returned since the last flush */
    _Atomic(tine_zmq_in_place *) returned; /* by libzmq, with the last reference to their buffer */

    tine_doorbell doorbell;
    tine_transport_stats stats;                /* what wait may change by tine_count_add */
    bool checking;                             /* the message being read carries a checksum, */
    uint32_t crc, crc_expected;                /* its parts so far, and what it says */
    tine_buffer *parts[FRAMING_WHOLE_BUFFERS]; /* of the message being read */
    char url[TINE_ZMQ_URL_MAX];
    char addresses[TINE_ZMQ_ADDRESSES][192]; /* tcp: what libzmq is asked for, in numbers */
    unsigned n_addresses;
};

/* peer.c */
/* NULL: no memory. */
tine_zmq_peer *tine_zmq_peer_add(tine_zmq *t, uint64_t routing, int fd,
                                 const tine_framing_peer *hello);
tine_zmq_peer *tine_zmq_peer_by_routing(tine_zmq *t, uint64_t routing);
tine_zmq_peer *tine_zmq_peer_by_id(tine_zmq *t, tine_peer id);
/* LOST is to be reported, with this reason; its queues and a frame in part are discarded. */
void tine_zmq_peer_lose(tine_zmq *t, tine_zmq_peer *p, bool bad, const char *reason);
void tine_zmq_peer_disconnected(tine_zmq *t, tine_zmq_peer *p);
/* A connection with this descriptor is closed; which peer's is not known yet. */
void tine_zmq_suspect(tine_zmq *t, int fd);
void tine_zmq_peer_writable(tine_zmq *t, tine_zmq_peer *p); /* WRITABLE is to be reported */
/* SILENT, with this reason, or HEARD is. */
void tine_zmq_peer_silence(tine_zmq *t, tine_zmq_peer *p, tine_event_kind kind, const char *reason);
bool tine_zmq_next_report(tine_zmq *t, tine_event *ev); /* false: nothing to report */
/* Checks the suspects and the disconnected; true: read the socket and check again. `dry`: it has
 * been read to the end. */
bool tine_zmq_check_watched(tine_zmq *t, bool dry);
/* Whether all has been read that a connection sent before it was closed, when t->received was
 * `received`: the socket has been read to the end, or a load never lets that happen. */
bool tine_zmq_is_drained(const tine_zmq *t, uint64_t received, bool dry);
void tine_zmq_peers_free(tine_zmq *t);

/* socket.c */
int tine_zmq_open(tine_zmq *t, char *why, size_t why_size); /* socket and monitor, options set */
int tine_zmq_attempt(tine_zmq *t, char *why, size_t why_size);
void tine_zmq_disconnect(tine_zmq *t);
/* Reads the monitor and goes on connecting; true: `ev` is an event. `dry`: the socket has been read
 * to the end. */
bool tine_zmq_progress(tine_zmq *t, bool dry, tine_event *ev);
void tine_zmq_silent(tine_zmq *t, int fd, int change);
/* The monitor's next event; false: there is none. */
bool tine_zmq_monitor_next(tine_zmq *t, int *event, uint32_t *value);
void tine_zmq_monitor_read(tine_zmq *t);
void tine_zmq_silent_ends_init(tine_zmq *t);
void tine_zmq_joined(tine_zmq *t, tine_zmq_peer *p);

/* security.c */
/* Decides whether the key is used. 0, -EINVAL, -EIO with a sentence. */
int tine_zmq_key_take(tine_zmq *t, char *why, size_t why_size);
int tine_zmq_secure(tine_zmq *t); /* sets a new socket's options; -1 with errno */
void tine_zmq_zap(tine_zmq *t);   /* answers what libzmq has asked */
void tine_zmq_zap_close(tine_zmq *t);
/* What a failed handshake means; NULL: it does not speak ZeroMQ. */
const char *tine_zmq_handshake_error(const tine_zmq *t, int event, uint32_t value);
bool tine_zmq_refused_before(tine_zmq *t, const void *address, size_t size);

/* listen.c */
/* Listens at t->url (tcp: t->local), which is completed, and has libzmq accept there. -1 with
 * errno. */
int tine_zmq_listen(tine_zmq *t);
/* The same, when the socket's file has been removed. */
int tine_zmq_listen_again(tine_zmq *t);
/* After either has failed, with errno: the error, with a sentence. */
int tine_zmq_listen_failed(const tine_zmq *t, char *why, size_t why_size);
void tine_zmq_listen_end(tine_zmq *t); /* before the socket is closed */
/* Accepts a waiting peer, if there is one and there are descriptors for it. */
void tine_zmq_admit(tine_zmq *t);
bool tine_zmq_watches_door(const tine_zmq *t); /* whether wait is to return when a peer comes */
/* A copy of a descriptor, made of the reserve if necessary. -1 with errno. */
int tine_zmq_descriptor_copy(tine_zmq *t, int fd);

/* strangers.c */
/* The process that has connected, over ipc; 0: not known. */
uint32_t tine_zmq_pid(const tine_zmq *t, int fd);
uint64_t tine_zmq_cookie(const tine_zmq *t, int fd); /* 0: no connection that was accepted here */
void tine_zmq_stranger_accepted(tine_zmq *t, int fd);
bool tine_zmq_is_heard(const tine_zmq *t, const tine_zmq_peer *p); /* it is no stranger */
void tine_zmq_stranger_heard(tine_zmq *t, const tine_zmq_peer *p); /* ... any more */
void tine_zmq_stranger_parts(tine_zmq *t, const tine_zmq_peer *p); /* it was dropped */
/* Why it was cut off; NULL: it was not. */
const char *tine_zmq_stranger_closed(tine_zmq *t, int fd, struct sockaddr_storage *from);
/* Cuts off those whose time is over. Returns when the next check is due. */
int64_t tine_zmq_strangers_check(tine_zmq *t, int64_t now);
bool tine_zmq_strangers_room(tine_zmq *t, int64_t now); /* whether one more may be accepted */

/* path.c */
int tine_zmq_path_make(tine_zmq *t); /* where the URL leaves it open. -1 with errno */
/* The path of an endpoint that is a file; NULL: it is none. */
const char *tine_zmq_path(const tine_zmq *t);
/* True with errno: what is there must not be replaced. */
bool tine_zmq_path_in_use(const tine_zmq *t);
int tine_zmq_path_mark(int fd);           /* before the socket is bound */
void tine_zmq_path_remember(tine_zmq *t); /* after the socket file was made */
void tine_zmq_path_remove(tine_zmq *t);

/* beat.c */
/* Whether the connection leads to another host. */
bool tine_zmq_is_remote(const tine_zmq *t, int fd);
/* Once a beat: loses the peers that have missed too many. */
void tine_zmq_beat(tine_zmq *t, int64_t now);
/* Has the kernel keep the connection, and send again soon once a link is back. */
void tine_zmq_beat_patiently(const tine_zmq *t, int fd);
double tine_zmq_silent_for(const tine_zmq *t, const tine_zmq_peer *p); /* seconds; 0: it is not */

/* address.c */
/* Reads t->url and resolves its host, if it is tcp://; listener: into t->local. 0, -EINVAL, -EIO
 * with a sentence. Blocks as the resolver does. */
int tine_zmq_addresses(tine_zmq *t, char *why, size_t why_size);
/* As the transport's own_url. */
int tine_zmq_own_url(const tine_zmq *t, char *url, size_t size);
/* Listener: whether other hosts can connect. */
bool tine_zmq_is_reachable(const tine_zmq *t);
/* What libzmq is given in this attempt, from 0. */
const char *tine_zmq_address(const tine_zmq *t, int attempt);

/* send.c */
int tine_zmq_send_frame(tine_zmq *t, tine_zmq_peer *p, tine_frame *f);
/* Sends what the waiting peers have; `retry_blocked`: also to peers for which libzmq's queue was
 * full. */
void tine_zmq_flush(tine_zmq *t, bool retry_blocked);
void tine_zmq_queues_free(tine_zmq_peer *p);
uint32_t tine_zmq_window(const tine_zmq *t);
/* False: it cannot have read that. */
bool tine_zmq_acked(tine_zmq *t, tine_zmq_peer *p, uint64_t read);
/* Sends an ACK when enough was read since the last. */
void tine_zmq_ack(tine_zmq *t, tine_zmq_peer *p);
/* message.c; 0, -EAGAIN or -EPIPE where they may fail. What follows the first part does not. */
enum {
    /* From this size on libzmq sends a buffer from where it is, instead of from a copy; measured by
     * bench_transport. */
    TINE_ZMQ_IN_PLACE_FROM = 32 << 10
};
int tine_zmq_send_hello(tine_zmq *t, uint64_t routing);
/* A message of one part. */
int tine_zmq_send_short(tine_zmq *t, tine_zmq_peer *p, uint8_t kind, const void *fields,
                        size_t size);
void tine_zmq_send_bye(tine_zmq *t, tine_zmq_peer *p, const char *reason);
/* From the address ROUTER decides whether it takes the message. */
int tine_zmq_send_address(tine_zmq *t, uint64_t routing);
/* The first part; `crc`: of the whole message, if the peer's messages are checked. */
int tine_zmq_send_first(tine_zmq *t, const tine_zmq_peer *p, uint8_t kind, uint32_t crc,
                        const void *fields, size_t size, bool more);
int tine_zmq_send_copy(tine_zmq *t, const void *bytes, size_t size, bool more);
int tine_zmq_send_in_place(tine_zmq *t, tine_zmq_peer *p, tine_buffer *b, size_t offset,
                           size_t size, bool more);
/* The checksum of a message whose first part has these fields, up to its other parts. */
uint32_t tine_zmq_crc_of_first(uint8_t kind, const void *fields, size_t size);
uint32_t tine_zmq_crc_of_part(uint32_t crc, const void *bytes, size_t size);
void tine_zmq_flight_unref(tine_zmq_flight *f);
void tine_zmq_free_returned(tine_zmq *t);

/* receive.c */
enum { TINE_ZMQ_RECEIVED_NONE, TINE_ZMQ_RECEIVED_EVENT, TINE_ZMQ_RECEIVED_OTHER };
int tine_zmq_receive(tine_zmq *t, tine_event *ev);
void tine_zmq_incoming_free(tine_zmq *t, tine_zmq_peer *p);
/* The most bytes that the peer's next frame may have. */
size_t tine_zmq_frame_limit(const tine_zmq *t, const tine_zmq_peer *p);
int tine_zmq_deliver(tine_zmq *t, tine_zmq_peer *p, tine_frame *f, tine_event *ev);

#endif
