/* The structures of inproc://; inproc.c has the design. */
#ifndef TINE_TRANSPORT_INPROC_INTERNAL_H
#define TINE_TRANSPORT_INPROC_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "transport/base/doorbell.h"
#include "transport/base/ring.h"
#include "transport/internal.h"

#define INPROC_SCHEME "inproc://"
enum { INPROC_NAME_MAX = 200 };

typedef struct inproc_transport inproc_transport;

/* A connection's sides, and the index of what it keeps for each. */
enum { INPROC_LISTENER, INPROC_CONNECTOR, INPROC_SIDES };

typedef struct inproc_connection {
    /* NULL once that transport has released the connection */
    inproc_transport *sides[INPROC_SIDES];
    tine_peer id;                     /* of the connector, at the listener */
    size_t queued[INPROC_SIDES];      /* bytes in the inbox of this side */
    bool want_writable[INPROC_SIDES]; /* this side's send was answered with -EAGAIN */
    bool lost[INPROC_SIDES];          /* LOST is in the inbox of this side: nothing follows it */
    bool dropped[INPROC_SIDES]; /* by this side: what is in its inbox before LOST is discarded */
    bool bad[INPROC_SIDES];
    char reason[INPROC_SIDES][sizeof(((tine_event *)0)->reason)];
    int refs; /* one a side, and one for each event in an inbox */
} inproc_connection;

typedef struct inproc_event {
    tine_event_kind kind;
    inproc_connection *connection; /* NULL: the LOST of a connector that found no listener */
    tine_frame *frame;
} inproc_event;

struct inproc_transport {
    tine_transport base;
    int side;
    bool closed;
    bool searching;   /* connector: its listener has not been found yet */
    int64_t deadline; /* connector: when it stops searching; negative: never */
    /* Listener: by peer id - 1, NULL where a peer is lost; connector: the one. */
    inproc_connection **connections;
    size_t n_connections, room;
    tine_ring inbox; /* of inproc_event */
    /* events added to the inbox so far: recv takes no lock while none follows those it took */
    atomic_size_t added;
    size_t taken;
    tine_doorbell doorbell;
    tine_transport_stats stats;
    LIST_ENTRY(inproc_transport) entry; /* of listeners, or of searchers while it searches */
    char url[sizeof INPROC_SCHEME + INPROC_NAME_MAX];
};

extern pthread_mutex_t tine_inproc_lock;

/* connect.c; with the lock held, but for the first three */
int tine_inproc_listen(tine_transport **out, const char *url, const tine_transport_config *config,
                       char *why, size_t why_size);
int tine_inproc_connect(tine_transport **out, const char *url, const tine_transport_config *config,
                        char *why, size_t why_size);
void tine_inproc_free(inproc_transport *t);
inproc_transport *tine_inproc_find(const char *url); /* NULL: there is none */
void tine_inproc_search(inproc_transport *t);
void tine_inproc_unref(inproc_connection *c);
/* NULL: no such peer, or it is lost. */
inproc_connection *tine_inproc_connection(const inproc_transport *t, tine_peer peer);
bool tine_inproc_add(inproc_transport *t, inproc_event e); /* false: no memory */
/* Tells one side that the other is gone. Without memory for that the process cannot go on. */
void tine_inproc_lose(inproc_connection *c, int side, bool bad, const char *reason);

#endif
