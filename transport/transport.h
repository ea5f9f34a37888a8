/* The transport contract: one operations table, one folder a transport (inproc, zmq for ipc:// and
 * tcp://, mpi) and one row of the table in transport.c.
 *
 * A transport moves frames between one listener (the coordinator) and any number of connectors
 * (workers). It knows nothing of tasks. Its event loop calls it from one thread at a time; it may
 * call from another thread later, if a lock orders the two. Only `wake` may be called from any
 * thread at any time. Errors are negative errno values, 0 is success.
 *
 * Order: frames to one peer whose bytes all fit in one chunk, in at most 4096 buffers, arrive in
 * the order they were sent; so do the frames that do not, among themselves. A small frame may
 * overtake a large one, never the other way round, and waits for at most one chunk of it: a large
 * frame travels in pieces of `chunk` bytes, and small frames pass between two pieces. A frame whose
 * large buffers the peer reads where they are (TINE_LANE_BUFFERS) counts as small.
 *
 * Delivery: a frame arrives once and whole, or its peer is reported lost. After TINE_EVENT_LOST
 * nothing more of that peer arrives. Peer ids are never used again.
 *
 * Trust: whatever a remote process sends, a transport never aborts, never reads out of bounds, and
 * allocates no more than `max_frame` for one frame and what has arrived for the rest. A peer that
 * breaks the framing is dropped with a reason (TINE_EVENT_LOST with `bad` set) and counted; other
 * peers are not affected. */
#ifndef TINE_TRANSPORT_TRANSPORT_H
#define TINE_TRANSPORT_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "transport/base/frame.h"

/* ---- what a transport is like ---- */

/* Capabilities. A caller asks for these and never compares schemes. */
enum {
    /* peers are threads of this process; without it they are processes */
    TINE_TRANSPORT_THREADS = 1 << 0,
    /* peers may be on other hosts; without it all are on this host */
    TINE_TRANSPORT_REMOTE = 1 << 1,
    /* peers are the ranks of an MPI job: its launcher has started them, rank 0 listens */
    TINE_TRANSPORT_RANKS = 1 << 2,
    /* a peer that dies ends the whole job, at once or when the listener ends: none is replaced */
    TINE_TRANSPORT_KILLS_JOB = 1 << 3,
    /* behind scheme:// stands the path of a file, which listening makes */
    TINE_TRANSPORT_PATH = 1 << 4,
    /* a frame of any size is handed over whole: none is in pieces, none overtakes another */
    TINE_TRANSPORT_WHOLE = 1 << 5,
};

/* Known without loading the transport. */
typedef struct tine_transport_info {
    const char *scheme; /* "ipc": its URLs begin with ipc:// */
    unsigned flags;     /* TINE_TRANSPORT_… */
    /* a URL to listen at where any address of this host will do; NULL: the caller chooses one */
    const char *any;
} tine_transport_info;

/* The transport that serves `url`'s scheme; NULL: none does. */
const tine_transport_info *tine_transport_info_of(const char *url);
/* All transports, i from 0; NULL past the last. */
const tine_transport_info *tine_transport_info_at(size_t i);
/* The first transport with all of these flags; NULL: none has them. */
const tine_transport_info *tine_transport_info_with(unsigned flags);
/* The flags of the transport that serves `url` (may be NULL); 0: none does. */
unsigned tine_transport_flags(const char *url);

/* ---- configuration, events ---- */

/* 0 is no peer; on a connector the listener is peer 1. */
typedef uint64_t tine_peer;
/* On a connector: another one (tine_transport_ops.pair, join), by its peer id at the listener. */
static inline tine_peer tine_peer_other(uint64_t id) { return id | UINT64_C(1) << 63; }
static inline uint64_t tine_peer_number(tine_peer other) { return other & ~tine_peer_other(0); }

/* A field that is 0 stands for the default. */
typedef struct tine_transport_config {
    /* Bytes of one piece of a large frame; default 1 MiB. A transport may have bounds of its
     * own. */
    size_t chunk;
    /* A larger frame is refused by send, and breaks the framing when it is received; default
     * 64 GiB. */
    size_t max_frame;
    /* Listener: bytes of the first frame of a peer, which identifies it; a larger one breaks the
     * framing. Default: max_frame. Where all peers are of this program (threads, ranks) it is not
     * enforced. */
    size_t max_first_frame;
    /* Listener: a peer whose first frame has not come after so long breaks the framing. Default:
     * never; but a connection that does not become a peer is closed after 10 s. Where all peers are
     * of this program it is not enforced. */
    int64_t first_frame_ns;
    /* Bytes queued to one peer before send answers -EAGAIN; default 256 MiB. An empty queue takes
     * one frame of any size. */
    size_t max_queued;
    /* The secret key of the job (transport/zmq/key.h), read during the call; NULL: none. Over tcp
     * messages are encrypted with it, and a peer without it is refused. */
    const char *key;
    bool key_for_others_only; /* listener: used only where other hosts can connect */
    /* Connector: how long the listener may be unreachable before it counts as lost; default 10 s,
     * negative: for ever. */
    int64_t connect_ns;
    /* The interval of heartbeats, where a peer's death can go unnoticed; default 1 s. */
    int64_t heartbeat_ns;
    /* Connector: the listener is lost as well if it is on this host and stopped. */
    bool beats_here;
    /* Connector: where heartbeats find that the other side is silent, neither side takes it for
     * lost at once (TINE_EVENT_SILENT). */
    bool patient;
    /* Whether messages carry checksums: positive, always; negative, only where the other side asks
     * for them; default: where bytes may leave the machine and nothing beneath protects them (tcp
     * without a key). */
    int checksums;
    /* Negative: no shared memory with peers on this host, where a transport could use it. */
    int lane;
    /* The most bytes of tensors that this process keeps where such peers can map them, so that they
     * are not copied; default: none. The first transport of a process decides. */
    size_t arena;
    /* How long `stop` may flush; default 1 s. */
    int64_t linger_ns;
} tine_transport_config;

typedef enum tine_event_kind {
    TINE_EVENT_NONE, /* nothing now */
    TINE_EVENT_UP,   /* a peer has come: frames may be sent to it. Precedes its first frame */
    TINE_EVENT_FRAME,
    TINE_EVENT_LOST,     /* the peer is gone; `reason` says why in a few words */
    TINE_EVENT_WRITABLE, /* a peer for which send answered -EAGAIN takes frames again */
    /* Nothing has come of the peer for so long that one without `patient` is lost: `reason` says
     * how long. Reported ever more rarely, until it is heard again, or is lost after fifteen times
     * as long. It may be dropped; what is sent to it waits. */
    TINE_EVENT_SILENT,
    TINE_EVENT_HEARD, /* again, with nothing lost */
} tine_event_kind;

typedef struct tine_event {
    tine_event_kind kind;
    tine_peer peer;
    tine_frame *frame; /* FRAME: the receiver owns it */
    bool bad;          /* LOST: the peer broke the framing */
    char reason[128];  /* LOST, SILENT */
} tine_event;

typedef struct tine_transport_stats {
    uint64_t frames_in, frames_out, bytes_in, bytes_out;
    /* in which they went: one may hold several small frames, or a piece of a large one; 0: not
     * counted */
    uint64_t messages_out;
    uint64_t lanes;                 /* peers with which shared memory has been used so far */
    uint64_t lent, borrowed;        /* buffers that were sent, and received, without a copy */
    uint64_t lent_on;               /* listener: beside `lent`, borrowed from another peer */
    uint64_t copied;                /* large ones that could not be lent to a peer that borrows */
    uint64_t leases;                /* out now */
    uint64_t peers_lost, peers_bad; /* bad: dropped for breaking the framing */
} tine_transport_stats;

typedef enum tine_lane_use {
    TINE_LANE_UNUSED,
    TINE_LANE_FRAMES,  /* small frames go through shared memory */
    TINE_LANE_BUFFERS, /* and large buffers are read where they are */
} tine_lane_use;

/* ---- the operations table ---- */

typedef struct tine_transport tine_transport;

typedef struct tine_transport_ops {
    /* The library beneath and its version: "libzmq 4.3.4". */
    const char *(*version)(void);

    /* Opens the listening end at `url`. Does not block, but for TINE_TRANSPORT_RANKS, where the
     * first call in a process waits until every rank makes it. `tcp://127.0.0.1:0` (also `:*`)
     * picks a free port, `inproc://` with `*` a free name. Errors: -EINVAL (url), -EIO (taken, no
     * permission), -ENOMEM; a sentence is left in `why`. */
    int (*listen)(tine_transport **out, const char *url, const tine_transport_config *config,
                  char *why, size_t why_size);
    /* Opens the connecting end. Blocks as `listen` does: TINE_EVENT_UP (peer 1) comes when the
     * listener is reached, TINE_EVENT_LOST if it is not reached within connect_ns or goes away. A
     * connector never reconnects after LOST. Same errors. */
    int (*connect)(tine_transport **out, const char *url, const tine_transport_config *config,
                   char *why, size_t why_size);
    /* The URL that a connector on this host can use, ports resolved. Valid until `fini`. */
    const char *(*url)(const tine_transport *t);

    /* Connector that has reached its listener: a URL, for any free port, at which this process can
     * listen so that the other peers of that listener reach it: the address from which it is
     * connected. 1: the listener is on another host; 0: on this one; negative: there is no such
     * URL. NULL: there never is. */
    int (*own_url)(const tine_transport *t, char *url, size_t size);
    /* Connector: connects to another one of its listener, at that one's own_url, within this
     * transport. 1: it is connected to *peer; 0: UP of *peer follows, or LOST. Either of the two
     * may ask, and the other one finds a peer that has come. Never blocks. Errors: -EINVAL (url),
     * -EPIPE (it was lost, or never can be). NULL: own_url is a URL to listen at. */
    int (*join)(tine_transport *t, const char *url, tine_peer *peer);

    /* Whether messages are encrypted and peers without the key refused. NULL: they never are. */
    bool (*encrypted)(const tine_transport *t);
    /* Listener: whether other hosts can connect and nothing keeps them out. NULL: never. */
    bool (*exposed)(const tine_transport *t);

    /* Listener: makes the endpoint anew if the file it needs has been removed (by a cleaner of
     * /tmp), so that peers can connect again; those that are connected are not affected. Does not
     * block. NULL where an endpoint is no file. Errors as listen. */
    int (*restore)(tine_transport *t, char *why, size_t why_size);

    /* Queues a frame. Never blocks. On 0 the transport owns `f`; on any error the caller still
     * does. Errors: -EAGAIN (max_queued reached, or no memory: wait for TINE_EVENT_WRITABLE),
     * -EPIPE (no such peer now), -EINVAL (larger than a limit). */
    int (*send)(tine_transport *t, tine_peer peer, tine_frame *f);
    /* On: more frames follow soon, and small ones may wait for each other, to leave in fewer
     * messages, or with fewer wake-ups. Off, also by `stop`, and by `wait` before it blocks: what
     * waits leaves now, in the order of the sends. A listener may let small frames to a peer on
     * another host wait of itself, until the next `recv`, behind some that the peer has not taken.
     * Never blocks. NULL where a frame never waits. */
    void (*hold)(tine_transport *t, bool on);
    /* Listener: lets two peers on this host send small frames to each other without it. Either is
     * then peer tine_peer_other(its id here) to the other one; UP of it comes only where there is a
     * join. Until then, and where there is no room for a frame or the other has ended, its send
     * gives -EPIPE. What is sent arrives unless the sender ends, or LOST comes at one of the two
     * while both live: not where the listener reports the loss of either. Never blocks. Errors:
     * -EINVAL (it cannot be), -EAGAIN (not yet: one of them has just come, or has not answered: ask
     * again), -ENOMEM, -EIO. NULL: it never can. */
    int (*pair)(tine_transport *t, tine_peer a, tine_peer b);
    /* The next event, or NONE. Never blocks. Errors: -EIO (the transport itself is broken). */
    int (*recv)(tine_transport *t, tine_event *ev);
    /* Blocks until recv may have something, `wake` was called, or timeout_ns passed (negative: no
     * limit, 0: no wait). May return early. A wake before the call counts: it returns at once. */
    void (*wait)(tine_transport *t, int64_t timeout_ns);
    /* True while only further calls of recv and wait make progress: a large frame is partly sent or
     * partly received, or a peer has been answered -EAGAIN. Never blocks. */
    bool (*busy)(tine_transport *t);
    /* Makes the present or the next `wait` return. From any thread, and from signal handlers. */
    void (*wake)(tine_transport *t);
    /* Cuts one peer off: its queue is discarded, TINE_EVENT_LOST for it follows with this reason.
     * `bad` as in the event. */
    void (*drop)(tine_transport *t, tine_peer peer, bool bad, const char *reason);

    /* Refuses new frames (send: -EPIPE) from here on; queued ones are still sent. Never blocks. */
    void (*close)(tine_transport *t);
    /* After close: flushes what is queued for at most linger_ns. Blocks. True when every frame was
     * sent. */
    bool (*stop)(tine_transport *t);
    /* Frees everything, sent or not. Accepts NULL. Does not block longer than a system call. */
    void (*fini)(tine_transport *t);
    /* From any thread, also while another one is in `wait`; the caller excludes the other calls.
     * Never blocks. */
    void (*stats)(const tine_transport *t, tine_transport_stats *out);
    /* Listener: the process that has connected, as the kernel says, not the peer; 0: not known.
     * NULL: it never is. */
    uint32_t (*pid)(const tine_transport *t, tine_peer peer);
    /* What goes through shared memory to this peer now; NULL: nothing, ever. */
    tine_lane_use (*uses_lane)(const tine_transport *t, tine_peer peer);
} tine_transport_ops;

/* Each transport's own struct begins with this one. */
struct tine_transport {
    const tine_transport_ops *ops;
    tine_transport_config config; /* in force: only first_frame_ns, key and checksums may be 0 */
};

/* The table that serves `url`'s scheme, or NULL with a sentence in `why`. A transport in a module
 * (mpi) is loaded on first use, so that programs start where its library is missing. */
const tine_transport_ops *tine_transport_for(const char *url, char *why, size_t why_size);

#endif
