/* The connections to workers that results are fetched from: see reach.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport/base/clock.h"
#include "transport/base/memory.h"
#include "workers/reach_internal.h"

enum { SOURCES_MOST = 64 }; /* each with a thread; results of further ones are relayed */
static const int64_t AVOID_NS = 30000000000;

typedef struct reach_request {
    STAILQ_ENTRY(reach_request) entry;
    tine_object id;
    uint64_t secret;
} reach_request;

STAILQ_HEAD(reach_requests, reach_request);

struct tine_reach_source {
    tine_reach_end end; /* first */
    LIST_ENTRY(tine_reach_source) entry;
    char *url;
    struct reach_requests wanted; /* under the lock: to be sent */
    struct reach_requests sent;   /* under the lock: without an answer yet */
    bool up;
    bool over;          /* under the lock: the connection has ended, and the thread ends */
    int64_t over_until; /* it is not tried again before */
};

/* ---- one of them ---- */

static void source_answered(tine_reach_source *s, tine_object id, tine_payload *payload,
                            const char *why) {
    tine_reach *r = s->end.reach;
    reach_request *q;
    pthread_mutex_lock(&r->lock);
    STAILQ_FOREACH (q, &s->sent, entry)
        if (q->id == id) break;
    if (q) STAILQ_REMOVE(&s->sent, q, reach_request, entry);
    pthread_mutex_unlock(&r->lock);
    if (!q) return;
    free(q);
    tine_reach_put(r, id, payload, why, false);
}

/* What is asked of it fails from now on. */
static void source_ended(tine_reach_source *s, const char *why) {
    tine_reach *r = s->end.reach;
    struct reach_requests left = STAILQ_HEAD_INITIALIZER(left);
    pthread_mutex_lock(&r->lock);
    s->over = true;
    s->over_until = tine_clock_ns() + AVOID_NS;
    STAILQ_CONCAT(&left, &s->sent);
    STAILQ_CONCAT(&left, &s->wanted);
    pthread_mutex_unlock(&r->lock);
    for (reach_request *q; (q = STAILQ_FIRST(&left));) {
        STAILQ_REMOVE_HEAD(&left, entry);
        tine_reach_put(r, q->id, NULL, why, false);
        free(q);
    }
}

static void source_up(void *ctx, tine_peer peer) {
    (void)peer;
    ((tine_reach_source *)ctx)->up = true;
}

static void source_message(void *ctx, tine_peer peer, const tine_message *m) {
    (void)peer;
    if (m->type == TINE_MSG_OBJECT)
        source_answered(ctx, m->object, m->status ? NULL : m->payload, m->text ? m->text : "");
}

static void source_invalid(void *ctx, tine_peer peer, tine_error e, const char *why) {
    tine_link_drop(&((tine_reach_source *)ctx)->end.link, peer, e == TINE_EPROTO, why);
}

static void source_lost(void *ctx, tine_peer peer, bool bad, const char *reason) {
    (void)peer, (void)bad;
    source_ended(ctx, reason);
}

static const tine_link_handler source_events = {source_up, source_message, source_invalid,
                                                source_lost, NULL};

/* False: the connection has ended. */
static bool source_send(tine_reach_source *s) {
    tine_reach *r = s->end.reach;
    while (s->up) {
        pthread_mutex_lock(&r->lock);
        bool over = s->over;
        reach_request *q = over ? NULL : STAILQ_FIRST(&s->wanted);
        tine_message m = {.type = TINE_MSG_REACH};
        if (q) {
            STAILQ_REMOVE_HEAD(&s->wanted, entry);
            STAILQ_INSERT_TAIL(&s->sent, q, entry);
            m.object = q->id;
            m.seq = q->secret;
        }
        pthread_mutex_unlock(&r->lock);
        if (!q) return !over;
        if (tine_link_send(&s->end.link, 1, &m) != TINE_OK)
            source_ended(s, "a request could not be sent");
    }
    return !s->over;
}

static void *reach_source_main(void *arg) {
    tine_reach_source *s = arg;
    tine_releases_hold();
    while (source_send(s) && tine_reach_turn(&s->end)) {
    }
    if (!s->over) source_ended(s, "the transport is broken");
    tine_reach_pass_releases(s->end.reach);
    return NULL;
}

static void source_free(tine_reach *r, tine_reach_source *s) {
    LIST_REMOVE(s, entry);
    r->n_sources--;
    tine_reach_end_stop(&s->end);
    free(s->url);
    free(s);
}

static tine_reach_source *source_new(tine_reach *r, const char *url, char *why, size_t why_size) {
    tine_transport *t;
    if (tine_transport_flags(url) & TINE_TRANSPORT_RANKS) { /* it would load MPI */
        snprintf(why, why_size, "%.40s is a rank, and this worker is none", url);
        return NULL;
    }
    const tine_transport_ops *ops = tine_transport_for(url, why, why_size);
    tine_transport_config config = r->config;
    config.connect_ns = TINE_REACH_CONNECT_NS;
    config.beats_here = true;
    if (!tine_reach_has_descriptors(why, why_size)) return NULL;
    if (!ops || ops->connect(&t, url, &config, why, why_size) != 0) return NULL;
    tine_reach_source *s = tine_must_alloc(sizeof *s);
    s->url = tine_must_copy(url);
    STAILQ_INIT(&s->wanted);
    STAILQ_INIT(&s->sent);
    if (!tine_reach_end_start(&s->end, r, t, &source_events, reach_source_main, s)) {
        snprintf(why, why_size, "no thread can be started");
        free(s->url);
        free(s);
        return NULL;
    }
    LIST_INSERT_HEAD(&r->sources, s, entry);
    r->n_sources++;
    return s;
}

void tine_reach_sources_free(tine_reach *r) {
    while (!LIST_EMPTY(&r->sources)) source_free(r, LIST_FIRST(&r->sources));
}

/* ---- all of them ---- */

/* Frees connections that have ended, once they may be tried again; where there are too many, any
 * that has, or over which nothing is fetched. */
static void sources_tidy(tine_reach *r) {
    int64_t now = tine_clock_ns();
    for (tine_reach_source *s = LIST_FIRST(&r->sources), *next; s; s = next) {
        next = LIST_NEXT(s, entry);
        pthread_mutex_lock(&r->lock);
        bool idle = STAILQ_EMPTY(&s->wanted) && STAILQ_EMPTY(&s->sent);
        bool goes = (s->over && s->over_until <= now) || (idle && r->n_sources >= SOURCES_MOST);
        pthread_mutex_unlock(&r->lock);
        if (goes) source_free(r, s);
    }
}

static tine_reach_source *source_for(tine_reach *r, const char *url, char *why, size_t why_size) {
    tine_reach_source *s;
    sources_tidy(r);
    LIST_FOREACH (s, &r->sources, entry)
        if (!strcmp(s->url, url)) return s;
    snprintf(why, why_size, "this worker is connected to %d others", SOURCES_MOST);
    return r->n_sources < SOURCES_MOST ? source_new(r, url, why, why_size) : NULL;
}

/* False: its connection has ended. */
static bool source_want(tine_reach *r, tine_reach_source *s, tine_object id, uint64_t secret) {
    pthread_mutex_lock(&r->lock);
    bool over = s->over;
    if (!over) {
        reach_request *q = tine_must_alloc(sizeof *q);
        q->id = id;
        q->secret = secret;
        STAILQ_INSERT_TAIL(&s->wanted, q, entry);
    }
    pthread_mutex_unlock(&r->lock);
    if (!over) tine_link_wake(&s->end.link);
    return !over;
}

void tine_reach_fetch(tine_reach *r, tine_object id, uint64_t secret, const char *url) {
    char why[160];
    tine_reach_source *s = source_for(r, url, why, sizeof why);
    if (!s)
        tine_reach_put(r, id, NULL, why, true);
    else if (!source_want(r, s, id, secret))
        tine_reach_put(r, id, NULL, "it was not reached some seconds ago", false);
}
