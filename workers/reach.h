/* Results that workers fetch from each other, without the coordinator in between.
 *
 * A worker that has kept results for others listens at an endpoint of its own, which the
 * coordinator names to those that need one. A thread answers them whatever the worker's tasks do.
 * Each source that this worker fetches from has a connection, made when it is first needed, and a
 * thread. What they receive is taken by the worker's thread. A source that cannot be reached is
 * not tried again for some time: the coordinator then relays its results.
 *
 * Where the transport to the coordinator connects workers to each other (its join; over mpi, rank
 * to rank) this keeps the results and answers for them, and joined.c fetches: no thread is needed.
 *
 * The transport, its key and its limits are those of the connection to the coordinator. A request
 * carries the secret that the source has told the coordinator: an endpoint may belong to another
 * process by now. */
#ifndef TINE_WORKERS_REACH_H
#define TINE_WORKERS_REACH_H

#include "runtime/link/link.h"

typedef struct tine_reach tine_reach;

typedef struct tine_reached {
    tine_object id;
    tine_payload *payload; /* a reference of the receiver's; NULL: it cannot be had there */
    char why[160];
    bool own; /* the reason is this worker's: others may fetch there */
} tine_reached;

/* `config` is copied, but for its key, which lives as long. wake(ctx) is called, from any thread,
 * when there is something to take. NULL: no memory. */
tine_reach *tine_reach_new(const tine_transport_config *config, void (*wake)(void *ctx), void *ctx);
/* Ends all connections and threads. Accepts NULL. */
void tine_reach_free(tine_reach *r);

/* Where others can fetch from now on, and the secret that they need. NULL: nowhere, with a sentence
 * in `why`. */
const char *tine_reach_listen(tine_reach *r, const char *url, uint64_t *secret, char *why,
                              size_t why_size);
/* Strangers so far, and peers that have asked for anything else than a result. From any thread. */
uint64_t tine_reach_refused(const tine_reach *r);
/* In place of that where the transport has a join: the secret alone. */
bool tine_reach_open(tine_reach *r, uint64_t *secret, char *why, size_t why_size);
/* Answers a request that came over a link, which the caller uses; anything else ends the peer. */
void tine_reach_answer(tine_reach *r, tine_link *l, tine_peer peer, const tine_message *m);
void tine_reach_keep(tine_reach *r, tine_object id, tine_payload *payload);
void tine_reach_forget(tine_reach *r, tine_object id); /* also one that is not kept */

/* Asks for an object at `url`. One tine_reached follows. Does not block. */
void tine_reach_fetch(tine_reach *r, tine_object id, uint64_t secret, const char *url);
bool tine_reach_take(tine_reach *r, tine_reached *out); /* false: there is nothing now */
void tine_reach_release(tine_reach *r); /* of users' memory: on the worker's thread */

#endif
