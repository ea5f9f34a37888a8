/* What the files of the mpi module share. The module is build/libtine-mpi.so, loaded on first use
 * of mpi://, so that a program starts where Open MPI is missing. In reading order:
 *
 *   world.c  MPI itself: initialising, the level of thread support, finalising, requests that
 *     outlive a transport
 *   doorbell.c   waking a rank that sleeps: a futex in memory shared with its peers
 *   message.c   the layout of a message, and its checks
 *   send.c    one peer's outgoing frames
 *   receive.c     one peer's incoming frames
 *   progress.c   one look at everything: control messages, peers that come and go
 *   wait.c   wait: when to poll, when to sleep
 *   watchdog.c  the end of the job when its daemon is gone, or a rank leaves in the middle
 *   mpi.c        the operations table: opening, events, closing
 *
 * The topology is a star: rank 0 listens, every other rank has it as its only peer. Small frames
 * are one eager message of at most TINE_MPI_SLOT bytes on the control tag, received by requests
 * posted beforehand. What does not fit is announced by such a message and follows on the data tag
 * of its lane in pieces of at most `chunk` bytes, straight from and into the tensors' own memory.
 * MPI matches messages of one sender and tag in order, so that both ends only have to walk the same
 * list. Lane 0 carries frames up to a chunk, in order; lane 1 those above. Because few pieces are
 * in flight at a time, a small frame finds the way free after at most those, whatever the size of
 * the frame they belong to.
 *
 * Back-pressure does not rely on MPI, whose eager messages pile up unseen at a receiver that does
 * not look: each peer may have TINE_MPI_WINDOW control messages that the other side's loop has not
 * taken; the count of those taken rides on whatever goes the other way. */
#ifndef TINE_TRANSPORT_MPI_INTERNAL_H
#define TINE_TRANSPORT_MPI_INTERNAL_H

#include <mpi.h>
#include <sched.h>
#include <stdatomic.h>

#include "transport/base/clock.h"
#include "transport/internal.h"

enum {
    /* a control message: below the 4096 bytes that vader sends eagerly with its own header */
    TINE_MPI_SLOT = 4000,
    TINE_MPI_SLOTS = 32,   /* receives posted beforehand */
    TINE_MPI_WINDOW = 256, /* control messages under way to one peer */
    TINE_MPI_PIECES = 4,   /* pieces of one lane in flight to one peer */
    TINE_MPI_LANES = 2,
    /* the only tag that does not belong to one opening of the transport */
    TINE_MPI_TAG_HELLO = 0,
    TINE_MPI_TAG_CONTROL = 1, /* + 4 x the receiver's opening */
    TINE_MPI_TAG_DATA = 2,    /* + lane + 4 x the connector's opening */
    TINE_MPI_TAGS = 4,
    TINE_MPI_VERSION = 1,
};

/* ---- message.c ---- */

typedef enum tine_mpi_kind {
    TINE_MPI_HELLO = 1,
    TINE_MPI_FRAME,
    TINE_MPI_ACK,
    TINE_MPI_BYE,
    TINE_MPI_OVERSUBSCRIBED
} tine_mpi_kind;

/* The head of every control message. The ranks of a job are one program on one architecture: native
 * layout. */
typedef struct tine_mpi_head {
    uint8_t kind;
    uint8_t lane;
    /* FRAME: the body is in this message; BYE: all was flushed; CROWD: more ranks than cores */
    uint8_t inlined;
    uint8_t version;
    uint32_t taken;   /* how many control messages of yours my loop has taken, modulo 2^32 */
    uint32_t opening; /* the connector's: which of its connections this is about */
    uint32_t header_size;
    uint32_t n_buffers;
    /* bytes of the body: the sizes of all buffers, the header, the buffers below TINE_MPI_SLOT
     * bytes */
    uint64_t body;
    uint64_t after; /* lane 1: so many frames of lane 0 come first */
    uint64_t chunk; /* pieces are this large; the last of each run may be shorter */
} tine_mpi_head;

/* Bytes of the body that goes with f. */
size_t tine_mpi_body_size(const tine_frame *f);
void tine_mpi_body_write(const tine_frame *f, uint8_t *to);
/* False: the announcement cannot be true; `why` says it in a few words. */
bool tine_mpi_head_ok(const tine_mpi_head *h, size_t got, size_t max_frame, char *why,
                      size_t why_size);
/* A frame from the body, with its large buffers allocated and still empty. NULL: the body lies
 * about its size (why), or there is no memory (why too). */
tine_frame *tine_mpi_body_read(const tine_mpi_head *h, const uint8_t *body, size_t max_frame,
                               char *why, size_t why_size);

/* ---- doorbell.c ---- */

/* Lies in a page shared with the peers on this host. `asleep` is set before a rank sleeps on
 * `word`; whoever clears it has to change `word` and wake the sleeper. */
typedef struct tine_mpi_doorbell {
    _Atomic uint32_t word;
    _Atomic uint32_t asleep;
    uint64_t token;
} tine_mpi_doorbell;

/* What a rank tells about itself, so that its peer can find its doorbell and count who shares which
 * cores. */
typedef struct tine_mpi_identity {
    uint64_t magic;
    uint64_t host; /* equal for ranks that share a kernel, a name, process ids and a network */
    uint64_t token;
    int32_t pid, fd;
    uint32_t opening; /* how many transports this process opened before this one */
    cpu_set_t cores;  /* on which this rank may run */
} tine_mpi_identity;

int tine_mpi_doorbell_open(tine_mpi_identity *identity, tine_mpi_doorbell **out);
/* The peer's doorbell, or NULL where it is on another host or hides its memory. */
tine_mpi_doorbell *tine_mpi_doorbell_of(const tine_mpi_identity *mine,
                                        const tine_mpi_identity *peer);
void tine_mpi_doorbell_close(tine_mpi_doorbell *b, int fd);
bool tine_mpi_doorbell_ring(tine_mpi_doorbell *b); /* true: it slept */
void tine_mpi_doorbell_sleep(tine_mpi_doorbell *b, uint32_t word, int64_t ns);
/* True if some ranks of `ranks` share so few cores that one polling takes a core from another. */
bool tine_mpi_oversubscribed(const tine_mpi_identity *ranks, size_t n);

/* ---- world.c ---- */

typedef struct tine_mpi_slot {
    struct tine_mpi_slot *next;
    MPI_Request req;
    int rank;
    _Alignas(64) uint8_t bytes[TINE_MPI_SLOT];
} tine_mpi_slot;

/* The part of MPI that all transports of a process share. */
typedef struct tine_mpi_world {
    int rank, size;
    MPI_Comm comm;     /* a duplicate: nothing that the user sends can be taken for ours */
    uint32_t openings; /* transports opened so far; stays below MPI's largest tag */
    /* at rank 0: posted all the time, so that a greeting waits for the next listener */
    tine_mpi_slot *hello;
} tine_mpi_world;

/* Initialises MPI if nobody has. The first call waits for all ranks to make it. -EIO with a
 * sentence in `why`. */
int tine_mpi_world_open(tine_mpi_world **out, char *why, size_t why_size);
bool tine_mpi_world_post_hello(tine_mpi_world *w);
void tine_mpi_world_close(void); /* a transport is gone in good order */
/* Keeps a request that cannot be ended and what it reads or writes until it is done or the process
 * ends. */
void tine_mpi_world_keep(MPI_Request req, void *thing, void (*free_thing)(void *));
void tine_mpi_world_sweep(void); /* frees what is done by now */
const char *tine_mpi_world_version(void);

/* ---- watchdog.c ---- */

void tine_mpi_watchdog_start(int rank); /* starts the watchdog, once */
void tine_mpi_end_job(int rank, int status);

/* ---- a peer ---- */

/* A frame on its way, in either direction. */
typedef struct tine_mpi_item {
    struct tine_mpi_item *next;
    tine_mpi_head head;
    tine_frame *frame;
    uint8_t *body;   /* NULL where it went inside the control message */
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

/* Items in order: those before `cursor` are posted and wait for their last pieces. */
typedef struct tine_mpi_lane {
    tine_mpi_item *head, *tail, *cursor;
    tine_mpi_piece pieces[TINE_MPI_PIECES]; /* a ring in the order of posting */
    unsigned first, n;
} tine_mpi_lane;

void tine_mpi_lane_add(tine_mpi_lane *lane, tine_mpi_item *it);
void tine_mpi_lane_pop(tine_mpi_lane *lane);
void tine_mpi_lane_clear(tine_mpi_lane *lane, bool receiving);
/* Where the next piece of an item lies and how long it is; 0: there is none left. Moves over runs
 * that are empty or went in the body. */
int tine_mpi_item_piece(tine_mpi_item *it, void **at);
void tine_mpi_item_free(void *it);

typedef enum tine_mpi_state { TINE_MPI_SILENT, TINE_MPI_UP, TINE_MPI_GONE } tine_mpi_state;

typedef struct tine_mpi_peer {
    int rank;
    tine_peer id; /* of the connection that is, or was last */
    tine_mpi_state state;
    bool greeted; /* a HELLO came that was not answered yet */
    bool blocked; /* was told -EAGAIN */
    bool leaving; /* said BYE: LOST follows what it still has under way */
    bool clean;   /* its BYE followed everything it sent */
    bool busy;    /* is in the list of peers with something to do */
    struct tine_mpi_peer *next_busy;
    tine_mpi_doorbell *doorbell;
    tine_mpi_identity identity;
    tine_mpi_lane out[TINE_MPI_LANES], in[TINE_MPI_LANES];
    size_t queued; /* bytes */
    /* control messages of ours that count, and those the peer has taken */
    uint32_t sent, taken;
    uint32_t received_taken, told; /* the peer's that our loop took, and what we last told it */
    uint64_t lane0_sent, lane0_delivered;
} tine_mpi_peer;

typedef struct tine_mpi_event { /* an event that waits for recv */
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
    int64_t give_up; /* when the listener counts as unreachable; 0: never */
    tine_mpi_peer *peers;
    int n_peers, n_met, n_far; /* met: said HELLO; far: those whose doorbell we do not have */
    tine_mpi_peer *busy;
    tine_mpi_slot *in_slots[TINE_MPI_SLOTS]; /* a ring in the order of posting */
    unsigned in_next;
    tine_mpi_slot *idle_slots, *flying_slots;
    tine_mpi_event *notes;
    size_t notes_first, notes_n, notes_room;
    tine_mpi_doorbell *doorbell;
    tine_mpi_identity identity;
    int doorbell_fd;
    bool oversubscribed;
    unsigned looks;
    bool woke; /* a peer was asleep when we sent to it, and nothing has come since */
    atomic_bool woken;
    tine_transport_stats stats;
} tine_mpi;

/* ---- send.c ---- */

int tine_mpi_send_queue(tine_mpi *t, tine_mpi_peer *p, tine_frame *f);
/* Puts in flight what may fly, lets go of what has landed. True if anything happened. */
bool tine_mpi_send_push(tine_mpi *t, tine_mpi_peer *p);
/* A control message without a frame. `extra` bytes follow the head. */
int tine_mpi_send_control(tine_mpi *t, tine_mpi_peer *p, tine_mpi_head h, const void *extra,
                          size_t extra_size);
/* Greets rank 0, or takes the greeting back. */
int tine_mpi_send_greet(tine_mpi *t, tine_mpi_peer *p, tine_mpi_kind kind);
int tine_mpi_data_tag(const tine_mpi *t, const tine_mpi_peer *p, unsigned lane);
void tine_mpi_send_reap_slots(tine_mpi *t);
void tine_mpi_send_clear(tine_mpi_peer *p);

/* ---- receive.c ---- */

/* Takes in one FRAME message. False: the peer broke the framing (why). */
bool tine_mpi_receive_frame(tine_mpi *t, tine_mpi_peer *p, const uint8_t *msg, size_t size,
                            char *why, size_t why_size);
/* Posts receives, takes what has come, delivers. 1: something happened, 0: nothing, -1: broken
 * framing (why). */
int tine_mpi_receive_pull(tine_mpi *t, tine_mpi_peer *p, char *why, size_t why_size);
void tine_mpi_receive_clear(tine_mpi_peer *p);

/* ---- progress.c ---- */

void tine_mpi_event_add(tine_mpi *t, tine_mpi_event note);
/* Looks at everything once. True if anything happened. */
bool tine_mpi_progress(tine_mpi *t);
/* The peer is gone, or shall be (it is told): what it has under way is let go, LOST follows. */
void tine_mpi_lose(tine_mpi *t, tine_mpi_peer *p, bool bad, const char *reason);
void tine_mpi_post_slot(tine_mpi *t, tine_mpi_slot *s);
void tine_mpi_mark_busy(tine_mpi *t, tine_mpi_peer *p);

/* ---- wait.c ---- */

void tine_mpi_wait(tine_mpi *t, int64_t timeout_ns);
void tine_mpi_wake(tine_mpi *t);

/* ---- bare.c, mpi.c: what the module exports ---- */

/* Bare MPI ping-pong of ranks 0 and 1 with `size` bytes, in seconds; every rank has to call it, and
 * all return together. -EIO with a sentence. Found with dlsym once the transport is loaded. */
__attribute__((visibility("default"))) int tine_mpi_bare(int rounds, int size, double *p50,
                                                         double *p99, char *why, size_t why_size);
__attribute__((visibility("default"))) const tine_transport_ops *tine_transport_mpi(void);

#endif
