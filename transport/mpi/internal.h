/* What the files of the mpi module share. The module is build/libtine-mpi.so, loaded on first use
 * of mpi://, so that a program starts where Open MPI is missing. In reading order:
 *
 *   world.c     MPI itself: initialising, thread support, finalising, requests that outlive a
 *               transport
 *   barrier.c   all ranks together: none sends to one that is inside MPI_Init or MPI_Finalize
 *   doorbell.c  waking a rank that sleeps: a futex in memory shared with its peers
 *   message.c   the layout of a message, and its checks
 *   send.c      one peer's outgoing frames
 *   receive.c   one peer's incoming frames
 *   progress.c  polling everything once: control messages, peers that come and go
 *   cross.c     connections between two ranks other than 0
 *   beat.c      heartbeats between hosts
 *   wait.c      when to poll, when to sleep
 *   watchdog.c  the end of the job when its daemon is gone, or when a rank leaves in the middle
 *   mpi.c       the operations table: opening, events, closing
 *   bare.c      ping-pong over bare MPI, for benchmarks
 *
 * The topology is a star: rank 0 listens, every other rank connects to it. Two of these connect to
 * each other as well, when one of them, or rank 0, asks for it (join, pair). A small frame
 * is one eager message of at most TINE_MPI_SLOT bytes on the control tag, received by requests that
 * are posted in advance. A larger one is announced by such a message and follows on the data tag of
 * its lane, in pieces of at most `chunk` bytes, from and into the tensors' own memory. MPI matches
 * messages of one sender and tag in order, so both sides walk the same list. Lane 0 carries frames
 * up to a chunk, in order; lane 1 carries larger ones. Few pieces are in flight at a time, so a
 * small frame waits for at most those, whatever the size of the frame they belong to.
 *
 * Between hosts, and for short tasks on one, a message costs more than what is in it. So while its
 * user holds (transport.h), frames of at most TINE_MPI_HELD bytes gather in one control message for
 * each peer, each with its head, and leave when it is full, when another message is to be sent to
 * that peer, or when the holding ends. So do, until the next poll, frames to a rank of another host
 * that has some to take already, and those that were queued while the window was closed.
 *
 * Back-pressure does not rely on MPI, which queues eager messages without limit at a receiver that
 * does not poll. A peer may have TINE_MPI_WINDOW control messages that the other side's event loop
 * has not taken; each message carries the number of those taken so far. */
#ifndef TINE_TRANSPORT_MPI_INTERNAL_H
#define TINE_TRANSPORT_MPI_INTERNAL_H

#include <mpi.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "transport/base/clock.h"
#include "transport/base/ring.h"
#include "transport/internal.h"

enum {
    /* a control message: below the 4096 bytes that vader sends eagerly with its own header */
    TINE_MPI_SLOT = 4000,
    TINE_MPI_SLOTS = 32,  /* receives posted in advance */
    TINE_MPI_HELD = 1000, /* the largest frame, with its head, that is held to leave with others */
    /* Frames that a rank of another host has not taken: it has enough to do. A program that forks
     * fewer and then computes would leave the others to the progress thread, 1 to 5 ms later. Two
     * network namespaces, forks by the thousand: 8 and 32 are equal within a tenth. */
    TINE_MPI_AHEAD = 32,
    TINE_MPI_WINDOW = 256, /* control messages to one peer that it has not taken */
    TINE_MPI_PIECES = 4,   /* pieces of one lane in flight to one peer */
    /* for which receives are posted at once, beside one piece of each lane */
    TINE_MPI_TURN_BYTES = 2 << 20,
    TINE_MPI_MISSED = 10, /* beats missed in a row, after which a worker is lost */
    TINE_MPI_LANES = 2,
    /* the only tag that does not belong to one opening of the transport */
    TINE_MPI_TAG_HELLO = 0,
    TINE_MPI_TAG_CONTROL = 1, /* + 4 x the receiver's opening */
    TINE_MPI_TAG_DATA = 2,    /* + lane + 4 x the connector's opening */
    TINE_MPI_TAGS = 4,
    TINE_MPI_VERSION = 3,
};

/* ---- message.c ---- */

typedef enum tine_mpi_kind {
    TINE_MPI_HELLO = 1,
    TINE_MPI_FRAME,
    TINE_MPI_ACK,
    TINE_MPI_BYE,
    TINE_MPI_OVERSUBSCRIBED,
    TINE_MPI_JOIN
} tine_mpi_kind;

/* The head of every control message, in the native layout: the ranks of a job are one program on
 * one architecture. */
typedef struct tine_mpi_head {
    uint8_t kind;
    uint8_t lane;
    /* FRAME: the body is in this message; BYE: everything was flushed; OVERSUBSCRIBED: yes */
    uint8_t inlined;
    uint8_t version;
    uint32_t taken;   /* control messages of the receiver that the sender has taken, mod 2^32 */
    uint32_t opening; /* the connector's: which of its connections this is about (cross.c) */
    uint32_t header_size;
    uint32_t n_buffers;
    /* bytes of the body: the sizes of all buffers, the header, the buffers below TINE_MPI_SLOT
     * bytes. JOIN: the number of the connector that the receiver connects to, whose identity
     * follows */
    uint64_t body;
    uint64_t after; /* lane 1: delivered after this many frames of lane 0 */
    uint64_t chunk; /* pieces are this large; the last of each run may be shorter */
} tine_mpi_head;

/* Bytes of the body of `f`. */
size_t tine_mpi_body_size(const tine_frame *f);
void tine_mpi_body_write(const tine_frame *f, uint8_t *to);
/* False: the announcement is impossible; `why` says why in a few words. */
bool tine_mpi_head_ok(const tine_mpi_head *h, size_t got, size_t max_frame, char *why,
                      size_t why_size);
/* A frame from the body, with its large buffers allocated and not filled. NULL: the body does not
 * match its head, or no memory (why). */
tine_frame *tine_mpi_body_read(const tine_mpi_head *h, const uint8_t *body, size_t max_frame,
                               char *why, size_t why_size);

/* ---- doorbell.c ---- */

/* In a page shared with the peers on this host. A rank sets `asleep` before it sleeps on `word`; a
 * peer that clears `asleep` changes `word` and wakes the sleeper. */
typedef struct tine_mpi_doorbell {
    _Atomic uint32_t word;
    _Atomic uint32_t asleep;
    uint64_t token;
} tine_mpi_doorbell;

/* What a rank says about itself in its HELLO: its peer finds its doorbell by this, and rank 0
 * compares the cores of all ranks. */
typedef struct tine_mpi_identity {
    uint64_t magic;
    uint64_t host; /* equal for ranks that share a kernel, a name, process ids and a network */
    uint64_t token;
    int32_t pid, fd;
    uint32_t opening; /* the number of this transport in its process */
    cpu_set_t cores;  /* on which this rank may run */
} tine_mpi_identity;

int tine_mpi_doorbell_open(tine_mpi_identity *identity, tine_mpi_doorbell **out);
/* The peer's doorbell; NULL: it is on another host, or its memory cannot be mapped. */
tine_mpi_doorbell *tine_mpi_doorbell_of(const tine_mpi_identity *mine,
                                        const tine_mpi_identity *peer);
void tine_mpi_doorbell_close(tine_mpi_doorbell *b, int fd);
bool tine_mpi_doorbell_ring(tine_mpi_doorbell *b); /* true: it slept */
void tine_mpi_doorbell_sleep(tine_mpi_doorbell *b, uint32_t word, int64_t ns);
/* True if some of the ranks share fewer cores than there are of them, so that one that polls takes
 * a core from another. */
bool tine_mpi_oversubscribed(const tine_mpi_identity *ranks, size_t n);

/* ---- world.c ---- */

typedef struct tine_mpi_slot {
    struct tine_mpi_slot *next;
    MPI_Request req;
    int rank;
    tine_frame *frame; /* the message is in this frame's memory, and not in `bytes`; or NULL */
    _Alignas(64) uint8_t bytes[TINE_MPI_SLOT];
} tine_mpi_slot;

/* The part of MPI that all transports of a process share. */
typedef struct tine_mpi_world {
    int rank, size;
    MPI_Comm comm;     /* a duplicate: separate from the user's own messages */
    uint32_t openings; /* transports opened so far; stays below MPI's largest tag */
    /* at rank 0: always posted, so that a HELLO waits for the next listener */
    tine_mpi_slot *hello;
} tine_mpi_world;

/* Initialises MPI if it is not. The first call waits until all ranks make it. -EIO with a sentence
 * in `why`. */
int tine_mpi_world_open(tine_mpi_world **out, char *why, size_t why_size);
bool tine_mpi_world_post_hello(tine_mpi_world *w);
void tine_mpi_world_close(void); /* once for each transport */
/* Keeps a request that cannot be completed now, and the memory it uses, until it is done or the
 * process ends. */
void tine_mpi_world_keep(MPI_Request req, void *thing, void (*free_thing)(void *));
void tine_mpi_world_sweep(void); /* frees what is done by now */
const char *tine_mpi_world_version(void);

/* ---- barrier.c ---- */

/* Waits until every rank has left MPI_Init. */
void tine_mpi_started(void);
/* From here on MPI_Finalize first waits until every rank calls it, also where the program calls it.
 * False: MPI refused. */
bool tine_mpi_finalise_together(MPI_Comm comm);
/* A rank is lost while the job goes on: MPI_Finalize ends the job instead. */
void tine_mpi_end_together_never(void);
bool tine_mpi_ends_together(void);
/* Holds SIGPIPE back from this thread, and from threads that it starts: MPI writes to the sockets
 * of peers that may have ended. */
void tine_mpi_sigpipe_block(sigset_t *before);
void tine_mpi_sigpipe_restore(const sigset_t *before);

/* ---- watchdog.c ---- */

void tine_mpi_watchdog_start(int rank); /* starts the watchdog, once */
/* Ends all ranks, and says why; host_lost: some of them on a host that cannot be reached. Does not
 * return. */
void tine_mpi_end_job(int rank, const char *why, int status, bool host_lost);

/* ---- a peer ---- */

/* A frame on its way, in either direction. */
typedef struct tine_mpi_item {
    struct tine_mpi_item *next;
    tine_mpi_head head;
    tine_frame *frame;
    uint8_t *body;   /* NULL: inside the control message */
    size_t cost;     /* out: bytes it counts for in the queue */
    size_t offset;   /* of the next piece in its run */
    uint32_t run;    /* 0: the body, 1 + i: buffer i */
    uint32_t flying; /* pieces in flight */
    bool announced;  /* out */
    bool posted;     /* every piece is in flight or done */
} tine_mpi_item;

typedef struct tine_mpi_piece {
    MPI_Request req;
    tine_mpi_item *item;
    int bytes;
} tine_mpi_piece;

/* Items in order. Of those before `cursor` every piece is posted. */
typedef struct tine_mpi_lane {
    tine_mpi_item *head, *tail, *cursor;
    tine_mpi_piece pieces[TINE_MPI_PIECES]; /* a ring in the order of posting */
    unsigned first, n;
} tine_mpi_lane;

void tine_mpi_lane_add(tine_mpi_lane *lane, tine_mpi_item *it);
void tine_mpi_lane_pop(tine_mpi_lane *lane);
void tine_mpi_lane_clear(tine_mpi_lane *lane, bool receiving);
/* Where the next piece of an item is, and its size; 0: there is none left. Skips runs that are
 * empty or part of the body. */
int tine_mpi_item_piece(tine_mpi_item *it, void **at);
void tine_mpi_item_free(void *it);

typedef enum tine_mpi_state { TINE_MPI_SILENT, TINE_MPI_UP, TINE_MPI_GONE } tine_mpi_state;

typedef struct tine_mpi_peer {
    int rank;
    tine_peer id; /* of the connection that is, or was last */
    tine_mpi_state state;
    bool greeted;         /* a HELLO came that is not answered yet */
    bool blocked;         /* send was answered with -EAGAIN */
    bool leaving;         /* it sent BYE: LOST follows what is still in flight */
    bool clean;           /* its BYE followed everything it sent */
    bool busy;            /* is in the list of peers with something to do */
    bool heard;           /* something has arrived since the last beat */
    int missed;           /* beats in a row in which nothing had */
    int64_t called_until; /* of another connector: it has to answer our HELLO by then; 0: none */
    struct tine_mpi_peer *next_busy;
    tine_mpi_doorbell *doorbell;
    tine_mpi_identity identity;
    tine_mpi_slot *held; /* one message with frames that wait for more; NULL: none */
    size_t held_size;
    TAILQ_ENTRY(tine_mpi_peer) holder;
    tine_mpi_lane out[TINE_MPI_LANES], in[TINE_MPI_LANES];
    size_t queued;                 /* bytes */
    uint32_t sent, taken;          /* control messages to it; of those, taken by it */
    uint32_t received_taken, told; /* its messages that our event loop took; what it was told */
    uint64_t lane0_sent, lane0_delivered;
} tine_mpi_peer;

typedef struct tine_mpi_event { /* an event that recv has not returned yet */
    tine_event_kind kind;
    tine_mpi_peer *peer;
    tine_peer id;
    tine_frame *frame;
    bool bad;
    char *reason;
} tine_mpi_event;

typedef struct tine_mpi {
    tine_transport base;
    int rank, size;
    MPI_Comm comm;
    tine_mpi_world *world;
    uint32_t opening;
    bool closed, broken, listener;
    int64_t give_up;      /* when the listener counts as unreachable; 0: never */
    tine_mpi_peer *peers; /* a listener's: of ranks 1, 2, …; a connector's: of ranks 0, 1, … */
    int n_peers;
    int n_joined; /* have sent HELLO */
    int n_called; /* other connectors that have not answered this one's HELLO yet */
    int n_silent; /* their doorbell cannot be mapped */
    tine_mpi_peer *busy;
    /* Control messages to come, a ring in the order of posting. Each is received into the memory of
     * a frame, so that its header lies where a frame's header does. */
    struct tine_mpi_receive {
        MPI_Request req;
        tine_frame *frame;
    } receives[TINE_MPI_SLOTS];
    struct tine_mpi_receive *unposted; /* the one before the next; NULL: it is posted */
    unsigned next_receive;
    bool ran_dry; /* the last poll found none */
    tine_mpi_slot *idle_slots, *flying_slots;
    bool holding;                        /* small frames wait for more to the same peer */
    TAILQ_HEAD(, tine_mpi_peer) holders; /* peers for which some do */
    tine_ring events;                    /* of tine_mpi_event */
    bool drained;                        /* recv has just given the last of them */
    tine_mpi_doorbell *doorbell;
    tine_mpi_identity identity;
    int doorbell_fd;
    bool oversubscribed;
    int64_t beat_at;   /* the next heartbeat */
    unsigned polls;    /* since HELLOs were last polled for */
    bool woke;         /* a peer slept when a message was sent to it, and nothing has come since */
    atomic_bool woken; /* wake was called */
    tine_transport_stats stats;
} tine_mpi;

/* NULL: this transport never has such a peer. */
static inline tine_mpi_peer *tine_mpi_peer_at(const tine_mpi *t, int rank) {
    int i = t->listener ? rank - 1 : rank;
    return i >= 0 && i < t->n_peers && rank != t->rank ? &t->peers[i] : NULL;
}

/* Whether the other side has this connection, or will when it reads our HELLO: so it is to be told
 * when it ends. */
static inline bool tine_mpi_awaits_bye(const tine_mpi_peer *p) {
    return (p->state == TINE_MPI_UP || p->called_until) && !p->leaving;
}

/* A connector's number, by which rank 0 and other connectors know its connection: 1 + rank, plus
 * the number of ranks for each opening before this one. So it is not used again. */
static inline tine_peer tine_mpi_number(const tine_mpi *t, int rank, uint32_t opening) {
    return 1 + (tine_peer)rank + (tine_peer)t->size * (opening - 1);
}

/* ---- cross.c ---- */

static inline bool tine_mpi_is_cross(const tine_mpi *t, const tine_mpi_peer *p) {
    return !t->listener && p->rank != 0;
}
/* The number that all messages of a connection carry: its connector's opening. Between two
 * connectors it is the sum of both: another one when either has opened the transport anew. */
uint32_t tine_mpi_connection(const tine_mpi *t, const tine_mpi_peer *p);
/* As the transport's operations of these names. */
int tine_mpi_own_url(const tine_mpi *t, char *url, size_t size);
int tine_mpi_join(tine_mpi *t, const char *url, tine_peer *peer);
int tine_mpi_pair(tine_mpi *t, tine_mpi_peer *a, tine_mpi_peer *b);
/* What follows the head of rank 0's JOIN. NULL, or what is wrong with it. */
const char *tine_mpi_cross_told(tine_mpi *t, tine_peer number, const uint8_t *extra, size_t size);
/* A message of another connector. False: it is of a connection that is up. */
bool tine_mpi_cross_message(tine_mpi *t, tine_mpi_peer *p, const tine_mpi_head *h,
                            const uint8_t *extra, size_t size);
void tine_mpi_cross_check(tine_mpi *t); /* gives up those that have not answered in time */

/* ---- send.c ---- */

int tine_mpi_send_queue(tine_mpi *t, tine_mpi_peer *p, tine_frame *f);
/* Sends what waits for more frames: to this peer, to any. */
void tine_mpi_send_held_to(tine_mpi *t, tine_mpi_peer *p);
void tine_mpi_send_held(tine_mpi *t);
/* Starts sends and completes sends; small frames that it announces are held. True if anything
 * happened. */
bool tine_mpi_send_push(tine_mpi *t, tine_mpi_peer *p);
/* A control message without a frame. `extra` bytes follow the head. */
int tine_mpi_send_control(tine_mpi *t, tine_mpi_peer *p, tine_mpi_head h, const void *extra,
                          size_t extra_size);
/* HELLO to rank 0, or the BYE that withdraws it. */
int tine_mpi_send_hello(tine_mpi *t, tine_mpi_peer *p, tine_mpi_kind kind);
/* Starts to send, or to receive, the next piece of `it`. False: none is left, or as many as may be
 * are in flight. */
bool tine_mpi_piece_start(tine_mpi *t, tine_mpi_peer *p, tine_mpi_lane *lane, tine_mpi_item *it,
                          bool receive);
/* The same for the item at the cursor while it can; *moved: any was started. True: all of them
 * are, and the cursor is at the next item. */
bool tine_mpi_lane_start(tine_mpi *t, tine_mpi_peer *p, tine_mpi_lane *lane, bool receive,
                         bool *moved);
void tine_mpi_send_reap_slots(tine_mpi *t);
void tine_mpi_slot_free(void *slot);
void tine_mpi_send_clear(tine_mpi_peer *p);

/* ---- receive.c ---- */

/* A frame in a message. */
typedef struct tine_mpi_span {
    size_t at, size;
    bool whole; /* the message has no other frame */
} tine_mpi_span;

/* Handles one frame of a message. It may keep the message's memory, and then *message is replaced.
 * False: the peer broke the framing (why). */
bool tine_mpi_receive_frame(tine_mpi *t, tine_mpi_peer *p, tine_frame **message, tine_mpi_span span,
                            char *why, size_t why_size);
/* The memory of a control message of at most TINE_MPI_SLOT bytes; NULL: no memory. */
tine_frame *tine_mpi_message_new(void);
static inline uint8_t *tine_mpi_message_bytes(tine_frame *message) {
    return message->header - sizeof(tine_mpi_head);
}
/* Posts receives, completes receives, delivers frames. 1: something happened, 0: nothing, -1: the
 * peer broke the framing (why). */
int tine_mpi_receive_pull(tine_mpi *t, tine_mpi_peer *p, char *why, size_t why_size);
void tine_mpi_receive_clear(tine_mpi_peer *p);

/* ---- progress.c ---- */

void tine_mpi_event_add(tine_mpi *t, tine_mpi_event note);
/* Polls everything once. True if anything happened. */
bool tine_mpi_progress(tine_mpi *t);
/* The peer is gone, or is dropped and told so: what is in flight is released, LOST follows. */
void tine_mpi_lose(tine_mpi *t, tine_mpi_peer *p, bool bad, const char *reason);
void tine_mpi_post_receive(tine_mpi *t, struct tine_mpi_receive *r);
void tine_mpi_mark_busy(tine_mpi *t, tine_mpi_peer *p);
/* A new connection with a rank, whose earlier one, if any, is over. Its id is of its identity. */
void tine_mpi_peer_renew(tine_mpi *t, tine_mpi_peer *p);
void tine_mpi_peer_up(tine_mpi *t, tine_mpi_peer *p);

/* ---- beat.c ---- */

/* Sends heartbeats and looks for those of peers, when they are due. True: a peer is lost. */
bool tine_mpi_beat(tine_mpi *t);

/* ---- wait.c ---- */

void tine_mpi_wait(tine_mpi *t, int64_t timeout_ns);
void tine_mpi_wake(tine_mpi *t);

/* ---- bare.c, mpi.c: what the module exports ---- */

/* Round trips of `size` bytes between ranks 0 and 1 over bare MPI: in each of the two the seconds
 * of each. Every rank calls it, and all return together. -EIO with a sentence. Found with dlsym
 * once the transport is loaded. */
__attribute__((visibility("default"))) int tine_mpi_round_trips(double *took, int rounds, int size,
                                                                char *why, size_t why_size);
__attribute__((visibility("default"))) const tine_transport_ops *tine_transport_mpi(void);

#endif
