/* The transport contract: one operations table, one file a transport (inproc, zmq for ipc:// and
 * tcp://, mpi).
 *
 * A transport moves frames between one listener (the coordinator) and any number of connectors
 * (workers). It knows nothing of tasks. The loop that owns it calls it from one thread at a time
 * (it may change threads between calls, with a lock's ordering); only `wake` may be called from any
 * thread at any time. Errors are negative errno values, 0 is success.
 *
 * Order: frames to one peer whose bytes all fit in one chunk arrive in the order they were sent; so
 * do the frames that do not, among themselves. A small frame may overtake a large one, never the
 * other way round, and waits for at most one chunk of it: a large frame travels in pieces of
 * `chunk` bytes between which small ones pass.
 *
 * Delivery: a frame arrives once and whole, or its peer is reported lost. After TINE_EVENT_LOST
 * nothing more of that peer arrives. Peer ids are never used again.
 *
 * Trust: whatever a remote process sends, a transport never aborts, never reads out of bounds, and
 * allocates no more than `max_frame` for one frame and what has arrived for the rest; a peer that
 * breaks the framing is dropped with a reason (TINE_EVENT_LOST with `bad` set), counted, and leaves
 * the others untouched. */
#ifndef TINE_TRANSPORT_TRANSPORT_H
#define TINE_TRANSPORT_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "transport/base/buffer.h"

/* each transport's own struct begins with the fields below */
typedef struct tine_transport tine_transport;
/* 0 is no peer; on a connector the listener is peer 1 */
typedef uint64_t tine_peer;

typedef struct tine_transport_config {
    /* bytes of one piece of a large frame; 0: the transport's default (1 MiB) */
    size_t chunk;
    size_t max_frame; /* a received frame past this breaks the framing; 0: 64 GiB */
    /* bytes queued to one peer before send answers -EAGAIN; 0: 256 MiB. One frame is always taken
     * by an empty queue, whatever its size */
    size_t max_queued;
    /* connector: how long the listener may be unreachable before it counts as lost; 0: 10 s,
     * negative: for ever */
    int64_t connect_ns;
    int64_t heartbeat_ns; /* remote peers are asked for a sign of life this often; 0: 1 s */
    int64_t linger_ns;    /* how long `stop` may flush; 0: 1 s */
} tine_transport_config;

typedef enum tine_event_kind {
    TINE_EVENT_NONE, /* nothing now */
    TINE_EVENT_UP,   /* a peer is there: frames may be sent to it. Comes before its first frame */
    TINE_EVENT_FRAME,
    TINE_EVENT_LOST,     /* the peer is gone; `reason` says why in a few words */
    TINE_EVENT_WRITABLE, /* a peer that answered -EAGAIN takes frames again */
} tine_event_kind;

typedef struct tine_event {
    tine_event_kind kind;
    tine_peer peer;
    tine_frame *frame; /* FRAME: the receiver owns it */
    bool bad;          /* LOST: the peer broke the framing */
    char reason[128];  /* LOST */
} tine_event;

typedef struct tine_transport_stats {
    uint64_t frames_in, frames_out, bytes_in, bytes_out;
    uint64_t peers_lost, peers_bad; /* bad: dropped for breaking the framing */
} tine_transport_stats;

typedef struct tine_transport_ops {
    const char *name;             /* "inproc", "zmq", "mpi" */
    const char *schemes;          /* space-separated URL schemes: "ipc tcp" */
    const char *(*version)(void); /* the library beneath and its version: "libzmq 4.3.4" */

    /* Opens the listening end at `url`. Does not block. `tcp://127.0.0.1:0` (also `:*`) picks a
     * free port. Errors: -EINVAL (url), -EIO (taken, no permission), -ENOMEM; a sentence is left in
     * `why`. */
    int (*listen)(tine_transport **out, const char *url, const tine_transport_config *config,
                  char *why, size_t why_size);
    /* Opens the connecting end. Does not block: TINE_EVENT_UP (peer 1) comes when the listener is
     * reached, EVENT_LOST if it is not within connect_ns or when it goes away. A connector never
     * reconnects after LOST. Same errors. */
    int (*connect)(tine_transport **out, const char *url, const tine_transport_config *config,
                   char *why, size_t why_size);
    /* The address that a connector on this host can use, ports resolved. Lives as long as the
     * transport. */
    const char *(*url)(const tine_transport *t);

    /* Queues a frame. Never blocks. On 0 the transport owns `f`; on any error the caller still
     * does. Errors: -EAGAIN (max_queued reached: wait for EVENT_WRITABLE), -EPIPE (no such peer
     * now), -EINVAL (past a limit). */
    int (*send)(tine_transport *t, tine_peer peer, tine_frame *f);
    /* The next event, or NONE. Never blocks. Errors: -EIO (the transport itself is broken). */
    int (*recv)(tine_transport *t, tine_event *ev);
    /* Blocks until recv may have something, `wake` was called, or timeout_ns passed (negative: no
     * limit, 0: no wait). May return early. A wake that came before the call counts: it returns at
     * once. */
    void (*wait)(tine_transport *t, int64_t timeout_ns);
    /* Whether a large frame is part out or part in, so that only further calls of recv and wait
     * move it on, or a peer has been told -EAGAIN. Never blocks. */
    bool (*busy)(tine_transport *t);
    /* Makes a present or the next `wait` return. From any thread, and from signal handlers. */
    void (*wake)(tine_transport *t);
    /* Cuts one peer off: its queue is thrown away, EVENT_LOST for it follows with this reason.
     * `bad` as in the event. */
    void (*drop)(tine_transport *t, tine_peer peer, bool bad, const char *reason);

    /* Refuses new frames (send: -EPIPE) from here on; queued ones go on. Never blocks. */
    void (*close)(tine_transport *t);
    /* After close: flushes what is queued for at most linger_ns. Blocks. True when all of it is out
     * of our hands. */
    bool (*stop)(tine_transport *t);
    /* Frees everything, sent or not. Accepts NULL. Does not block longer than a system call. */
    void (*fini)(tine_transport *t);
    void (*stats)(const tine_transport *t, tine_transport_stats *out);
} tine_transport_ops;

struct tine_transport {
    const tine_transport_ops *ops;
};

/* The table that serves `url`'s scheme, or NULL with a sentence in `why` that names the schemes
 * there are. The mpi table is loaded from a module beside the library on first use, so that
 * programs start where Open MPI is missing. */
const tine_transport_ops *tine_transport_for(const char *url, char *why, size_t why_size);
/* All tables that are built in; each slot is asserted to be filled. n: how many. */
const tine_transport_ops *const *tine_transport_all(size_t *n);

#endif
