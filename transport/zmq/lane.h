/* The lane of a peer on the same host: frames that fit go through shared memory (transport/shm)
 * instead of the socket.
 *
 * The listener offers a lane behind its hello, the connector opens it and answers (FRAMING.md,
 * LANE), and each side says once on the socket that from there on its small frames are in the lane.
 * What was sent before that on the socket is read before. Large frames stay on the socket, unless
 * their large buffers are lent (lease.h); so does everything where no lane can be made or opened.
 *
 * Order: frames in pieces, and BYE, are on the socket; small frames sent before them may still be
 * in the ring. So what the socket completes is held until the ring has been read up to where it
 * stood then. Likewise a closed connection counts only when the ring is empty. */
#ifndef TINE_TRANSPORT_ZMQ_LANE_H
#define TINE_TRANSPORT_ZMQ_LANE_H

#include "transport/zmq/lease.h"

struct tine_zmq_lane {
    tine_shm_lane shm;
    tine_shm_offer offer; /* listener: what it offered */
    tine_zmq_peer *peer;  /* NULL: it is a pair's */
    uint32_t other;       /* of a pair: the other connector's number */
    bool parted;          /* ... which does not use it any more: it is read to its end */
    bool broken;          /* ... whose memory is, or which was dropped: LOST is to be reported */
    bool told;            /* ... it was: the lane is about to be closed */
    bool bad;             /* LOST's */
    char reason[sizeof(((tine_event *)0)->reason)];
    int bell;       /* the peer's; -1: none */
    bool opened;    /* by both sides */
    bool sends;     /* the peer has been told that small frames are in the ring */
    bool receives;  /* the peer has said the same */
    bool full;      /* the last frame found no room */
    unsigned taken; /* in this turn */
    int64_t heard;  /* when it last sent something: the last look at the load before */
    tine_frame *held;
    bool held_bye;
    uint64_t held_until; /* of the ring */
    tine_zmq_leases leases;
    TAILQ_ENTRY(tine_zmq_lane) entry;
};

/* lane_open.c */
tine_zmq_lane *tine_zmq_lane_new(tine_zmq_peer *p); /* NULL: no memory */
void tine_zmq_lane_free(tine_zmq_lane *l);
void tine_zmq_lane_join(tine_zmq *t, tine_zmq_lane *l); /* both sides have opened it */
void tine_zmq_lane_end(tine_zmq *t, tine_zmq_lane *l);  /* closes one, however far it came */
/* Listener: offers a lane to a peer whose hello asks for one. */
void tine_zmq_lane_offer(tine_zmq *t, tine_zmq_peer *p);
/* A LANE message's fields. NULL, or what is wrong with it. */
const char *tine_zmq_lane_message(tine_zmq *t, tine_zmq_peer *p, const uint8_t *bytes, size_t size);
void tine_zmq_lane_close(tine_zmq *t, tine_zmq_peer *p);
void tine_zmq_lanes_fini(tine_zmq *t);

/* lane.c */
bool tine_zmq_lane_is_used(const tine_zmq_peer *p); /* both ways */
bool tine_zmq_lane_lends(const tine_zmq_peer *p);   /* large buffers, to this peer */
/* How many of a frame's `bytes` have to be sent: those of buffers that can be lent do not. */
size_t tine_zmq_lane_bytes(const tine_zmq_peer *p, const tine_frame *f, size_t bytes);
/* Whether small frames to this peer go through its lane from here on. */
bool tine_zmq_lane_sends(tine_zmq *t, tine_zmq_peer *p);
/* 0: sent, the frame is still the caller's; -EAGAIN: no room now; -E2BIG: too large now, because a
 * buffer cannot be lent any more; -EPIPE: the peer is lost now. */
int tine_zmq_lane_send(tine_zmq *t, tine_zmq_peer *p, const tine_frame *f, size_t bytes);
/* Connector: as tine_transport_ops.hold. Frames are in the ring at once; what waits is the bell, if
 * the listener sleeps. */
void tine_zmq_bells_hold(tine_zmq *t, bool on);
void tine_zmq_bells_ring(tine_zmq *t); /* what waits */
/* The large buffers of a frame that is sent on the socket, though the peer borrows. */
uint64_t tine_zmq_lane_copies(const tine_zmq_peer *p, const tine_frame *f);
/* Whether a lane that had no room has some. */
bool tine_zmq_lanes_have_room(const tine_zmq *t);

/* Reads one frame of the lanes; true: `ev` is an event. *look: the socket is to be read next. */
bool tine_zmq_lanes_receive(tine_zmq *t, tine_event *ev, bool *look);
/* Whether the peer's lane has something that was sent before what comes from the socket now. */
bool tine_zmq_lane_pending(const tine_zmq_peer *p);
/* Holds what has come from the socket until that has been read: a frame, or, if NULL, a BYE with
 * this reason. The sockets are not read meanwhile. */
void tine_zmq_lane_hold(tine_zmq *t, tine_zmq_peer *p, tine_frame *f, const char *reason);

/* Polls the lanes before the caller waits for the sockets. True: something has come. False: the
 * caller sleeps, for at most timeout_ns, also on t->bell, and then calls tine_zmq_lanes_awake. */
bool tine_zmq_lanes_wait(tine_zmq *t, int64_t timeout_ns);
void tine_zmq_lanes_awake(tine_zmq *t);
/* The sleep has ended by t->bell alone, which shows that the sockets have nothing. */
void tine_zmq_lanes_rung(tine_zmq *t);
/* Returns unused memory to the system. Result: ns until it is due again; -1: it is not. */
int64_t tine_zmq_lanes_tidy(tine_zmq *t, int64_t now);

#endif
