/* What reach.c and sources.c share. One lock, a leaf, guards what threads share: the kept results,
 * the requests of each source, and what was received. A link is used by its thread alone. */
#ifndef TINE_WORKERS_REACH_INTERNAL_H
#define TINE_WORKERS_REACH_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "runtime/link/link.h"
#include "runtime/value/release.h"
#include "workers/reach.h"

/* For a connection, or for the first message on it. */
#define TINE_REACH_CONNECT_NS INT64_C(2000000000)

/* A thread and its link. */
typedef struct tine_reach_end {
    tine_reach *reach;
    tine_link link;
    pthread_t thread;
    atomic_bool ending;
} tine_reach_end;

typedef struct tine_reach_source tine_reach_source;
typedef struct tine_reach_arrival tine_reach_arrival;

struct tine_reach {
    tine_transport_config config;
    void (*wake)(void *ctx);
    void *ctx;
    tine_reach_end server;
    bool listens;
    uint64_t secret;
    _Atomic uint64_t refused;
    pthread_mutex_t lock;
    tine_idmap kept; /* ids to payloads, with a reference each */
    LIST_HEAD(, tine_reach_source) sources;
    size_t n_sources;
    STAILQ_HEAD(, tine_reach_arrival) arrivals;
    atomic_bool any;       /* arrivals, or releases */
    tine_due_release *due; /* of users' memory, for the worker's thread */
};

/* An outcome of tine_reach_fetch, for tine_reach_take. */
void tine_reach_put(tine_reach *r, tine_object id, tine_payload *payload, const char *why,
                    bool own);
/* Whether there are descriptors for another end: libzmq aborts where it finds none. */
bool tine_reach_has_descriptors(char *why, size_t why_size);
/* Takes over the transport, which it frees on failure. */
bool tine_reach_end_start(tine_reach_end *e, tine_reach *r, tine_transport *t,
                          const tine_link_handler *handler, void *(*main)(void *), void *arg);
bool tine_reach_turn(tine_reach_end *e); /* false: the thread is to end */
void tine_reach_pass_releases(tine_reach *r);
void tine_reach_end_stop(tine_reach_end *e);

/* sources.c */
void tine_reach_sources_free(tine_reach *r);

#endif
