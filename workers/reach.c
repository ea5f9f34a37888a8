/* See reach.h. One lock, a leaf, guards what threads share: the kept results, the requests of each
 * source, and what was received. A link is used by its thread alone. */
#include "workers/reach.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/random.h>

#include "runtime/link/link.h"
#include "runtime/value/release.h"
#include "transport/base/clock.h"
#include "transport/base/memory.h"
#include "transport/base/process.h"
#include "transport/base/thread.h"

enum {
    SOURCES_MOST = 64, /* connections, each with a thread; results of further ones are relayed */
    /* Of an end, and left for others: libzmq aborts where it finds none. */
    END_DESCRIPTORS = 16 + 32,
};
static const int64_t CONNECT_NS = 2000000000, AVOID_NS = 30000000000;

typedef struct reach_request {
    STAILQ_ENTRY(reach_request) entry;
    tine_object id;
    uint64_t secret;
} reach_request;

typedef struct reach_arrival {
    STAILQ_ENTRY(reach_arrival) entry;
    tine_reached reached;
} reach_arrival;

STAILQ_HEAD(reach_requests, reach_request);

/* A thread and its link. */
typedef struct reach_end {
    tine_reach *reach;
    tine_link link;
    pthread_t thread;
    atomic_bool ending;
} reach_end;

/* A worker that results are fetched from. */
typedef struct reach_source {
    reach_end end; /* first */
    LIST_ENTRY(reach_source) entry;
    char *url;
    struct reach_requests wanted; /* under the lock: to be sent */
    struct reach_requests sent;   /* under the lock: without an answer yet */
    bool up;
    bool over;          /* under the lock: the connection has ended, and the thread ends */
    int64_t over_until; /* it is not tried again before */
} reach_source;

struct tine_reach {
    tine_transport_config config;
    void (*wake)(void *ctx);
    void *ctx;
    reach_end server;
    bool listens;
    uint64_t secret;
    pthread_mutex_t lock;
    tine_idmap kept; /* ids to payloads, with a reference each */
    LIST_HEAD(, reach_source) sources;
    size_t n_sources;
    STAILQ_HEAD(, reach_arrival) arrivals;
    atomic_bool any;       /* arrivals, or releases */
    tine_due_release *due; /* of users' memory, for the worker's thread */
};

/* ---- what the worker's thread takes ---- */

static void reach_put(tine_reach *r, tine_object id, tine_payload *payload, const char *why,
                      bool own) {
    reach_arrival *a = tine_must_alloc(sizeof *a);
    a->reached =
        (tine_reached){.id = id, .payload = payload ? tine_payload_ref(payload) : NULL, .own = own};
    snprintf(a->reached.why, sizeof a->reached.why, "%s", why);
    pthread_mutex_lock(&r->lock);
    STAILQ_INSERT_TAIL(&r->arrivals, a, entry);
    atomic_store(&r->any, true);
    pthread_mutex_unlock(&r->lock);
    r->wake(r->ctx);
}

static void reach_arrived(tine_reach *r, tine_object id, tine_payload *payload, const char *why) {
    reach_put(r, id, payload, why, false);
}

bool tine_reach_take(tine_reach *r, tine_reached *out) {
    if (!atomic_load_explicit(&r->any, memory_order_acquire)) return false;
    pthread_mutex_lock(&r->lock);
    reach_arrival *a = STAILQ_FIRST(&r->arrivals);
    if (a) STAILQ_REMOVE_HEAD(&r->arrivals, entry);
    if (!a && !r->due) atomic_store(&r->any, false);
    pthread_mutex_unlock(&r->lock);
    if (!a) return false;
    *out = a->reached;
    free(a);
    return true;
}

void tine_reach_release(tine_reach *r) {
    if (!atomic_load_explicit(&r->any, memory_order_acquire)) return;
    pthread_mutex_lock(&r->lock);
    tine_due_release *due = r->due;
    r->due = NULL;
    pthread_mutex_unlock(&r->lock);
    if (due) tine_releases_run_list(due);
}

/* ---- threads ---- */

/* Users' release callbacks are left to the worker's thread, as in progress.c. */
static void end_pass_releases(tine_reach *r) {
    if (!tine_releases_due()) return;
    tine_due_release *due = tine_releases_take();
    pthread_mutex_lock(&r->lock);
    tine_due_release **last = &r->due;
    while (*last) last = &(*last)->next;
    *last = due;
    atomic_store(&r->any, true);
    pthread_mutex_unlock(&r->lock);
    r->wake(r->ctx);
}

/* False: the thread is to end. */
static bool end_turn(reach_end *e) {
    int n = tine_link_receive(&e->link);
    end_pass_releases(e->reach);
    if (n < 0 || atomic_load(&e->ending)) return false;
    if (n == 0) tine_link_wait(&e->link, -1);
    return true;
}

static bool reach_has_descriptors(char *why, size_t why_size) {
    size_t limit;
    if (tine_process_descriptors(END_DESCRIPTORS, &limit) >= END_DESCRIPTORS) return true;
    snprintf(why, why_size,
             "this worker has no file descriptors left of its %zu; raise `ulimit -n`", limit);
    return false;
}

static void end_stop(reach_end *e) {
    atomic_store(&e->ending, true);
    tine_link_wake(&e->link);
    pthread_join(e->thread, NULL);
    tine_link_fini(&e->link);
}

/* ---- the server ---- */

static void server_up(void *ctx, tine_peer peer) { (void)ctx, (void)peer; }

static void server_message(void *ctx, tine_peer peer, const tine_message *m) {
    tine_reach *r = ctx;
    if (m->type != TINE_MSG_REACH || m->seq != r->secret) {
        tine_link_drop(&r->server.link, peer, true, "it does not ask for a result of this worker");
        return;
    }
    pthread_mutex_lock(&r->lock);
    tine_payload *p = tine_idmap_get(&r->kept, m->object);
    if (p) tine_payload_ref(p);
    pthread_mutex_unlock(&r->lock);
    tine_message answer = {.type = TINE_MSG_OBJECT, .object = m->object, .payload = p};
    if (!p) {
        answer.status = TINE_EINVAL;
        answer.text = "the worker does not keep it any more";
    }
    if (tine_link_send(&r->server.link, peer, &answer) != TINE_OK)
        tine_link_drop(&r->server.link, peer, false, "a result could not be sent");
    tine_payload_unref(p);
}

static void server_invalid(void *ctx, tine_peer peer, tine_error e, const char *why) {
    tine_link_drop(&((tine_reach *)ctx)->server.link, peer, e == TINE_EPROTO, why);
}

static void server_lost(void *ctx, tine_peer peer, bool bad, const char *reason) {
    (void)ctx, (void)peer, (void)bad, (void)reason;
}

static const tine_link_handler server_events = {server_up, server_message, server_invalid,
                                                server_lost};

static void *reach_server_main(void *arg) {
    tine_releases_hold();
    while (end_turn(arg)) {
    }
    return NULL;
}

const char *tine_reach_listen(tine_reach *r, const char *url, uint64_t *secret, char *why,
                              size_t why_size) {
    tine_transport *t;
    const tine_transport_ops *ops = tine_transport_for(url, why, why_size);
    tine_transport_config config = r->config;
    config.max_first_frame = TINE_MAX_HELLO;
    config.first_frame_ns = CONNECT_NS;
    if (!ops) return NULL;
    if (getrandom(&r->secret, sizeof r->secret, 0) != sizeof r->secret) {
        snprintf(why, why_size, "the system has no random numbers");
        return NULL;
    }
    if (!reach_has_descriptors(why, why_size)) return NULL;
    if (ops->listen(&t, url, &config, why, why_size) != 0) return NULL;
    tine_link_init(&r->server.link, t, &server_events, r);
    r->server.reach = r;
    if (tine_thread_start(&r->server.thread, "tine results", reach_server_main, &r->server)) {
        snprintf(why, why_size, "no thread can be started");
        tine_link_fini(&r->server.link);
        return NULL;
    }
    r->listens = true;
    *secret = r->secret;
    return ops->url(t);
}

void tine_reach_keep(tine_reach *r, tine_object id, tine_payload *payload) {
    pthread_mutex_lock(&r->lock);
    tine_idmap_put(&r->kept, id, tine_payload_ref(payload));
    pthread_mutex_unlock(&r->lock);
}

void tine_reach_forget(tine_reach *r, tine_object id) {
    pthread_mutex_lock(&r->lock);
    tine_payload *p = tine_idmap_remove(&r->kept, id);
    pthread_mutex_unlock(&r->lock);
    tine_payload_unref(p);
}

/* ---- sources ---- */

static void source_answered(reach_source *s, tine_object id, tine_payload *payload,
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
    reach_arrived(r, id, payload, why);
}

/* What is asked of it fails from now on. */
static void source_ended(reach_source *s, const char *why) {
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
        reach_arrived(r, q->id, NULL, why);
        free(q);
    }
}

static void source_up(void *ctx, tine_peer peer) {
    (void)peer;
    ((reach_source *)ctx)->up = true;
}

static void source_message(void *ctx, tine_peer peer, const tine_message *m) {
    (void)peer;
    if (m->type == TINE_MSG_OBJECT)
        source_answered(ctx, m->object, m->status ? NULL : m->payload, m->text ? m->text : "");
}

static void source_invalid(void *ctx, tine_peer peer, tine_error e, const char *why) {
    tine_link_drop(&((reach_source *)ctx)->end.link, peer, e == TINE_EPROTO, why);
}

static void source_lost(void *ctx, tine_peer peer, bool bad, const char *reason) {
    (void)peer, (void)bad;
    source_ended(ctx, reason);
}

static const tine_link_handler source_events = {source_up, source_message, source_invalid,
                                                source_lost};

/* False: the connection has ended. */
static bool source_send(reach_source *s) {
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
    reach_source *s = arg;
    tine_releases_hold();
    while (source_send(s) && end_turn(&s->end)) {
    }
    if (!s->over) source_ended(s, "the transport is broken");
    end_pass_releases(s->end.reach);
    return NULL;
}

static void source_free(tine_reach *r, reach_source *s) {
    LIST_REMOVE(s, entry);
    r->n_sources--;
    end_stop(&s->end);
    free(s->url);
    free(s);
}

static reach_source *source_new(tine_reach *r, const char *url, char *why, size_t why_size) {
    tine_transport *t;
    const tine_transport_ops *ops = tine_transport_for(url, why, why_size);
    tine_transport_config config = r->config;
    config.connect_ns = CONNECT_NS;
    config.beats_here = true;
    if (!reach_has_descriptors(why, why_size)) return NULL;
    if (!ops || ops->connect(&t, url, &config, why, why_size) != 0) return NULL;
    reach_source *s = tine_must_alloc(sizeof *s);
    s->url = tine_must_copy(url);
    s->end.reach = r;
    STAILQ_INIT(&s->wanted);
    STAILQ_INIT(&s->sent);
    tine_link_init(&s->end.link, t, &source_events, s);
    if (tine_thread_start(&s->end.thread, "tine results", reach_source_main, s)) {
        snprintf(why, why_size, "no thread can be started");
        tine_link_fini(&s->end.link);
        free(s->url);
        free(s);
        return NULL;
    }
    LIST_INSERT_HEAD(&r->sources, s, entry);
    r->n_sources++;
    return s;
}

/* Frees connections that have ended, once they may be tried again; where there are too many, any
 * that has, or over which nothing is fetched. */
static void sources_tidy(tine_reach *r) {
    int64_t now = tine_clock_ns();
    for (reach_source *s = LIST_FIRST(&r->sources), *next; s; s = next) {
        next = LIST_NEXT(s, entry);
        pthread_mutex_lock(&r->lock);
        bool idle = STAILQ_EMPTY(&s->wanted) && STAILQ_EMPTY(&s->sent);
        bool goes = (s->over && s->over_until <= now) || (idle && r->n_sources >= SOURCES_MOST);
        pthread_mutex_unlock(&r->lock);
        if (goes) source_free(r, s);
    }
}

static reach_source *source_for(tine_reach *r, const char *url, char *why, size_t why_size) {
    reach_source *s;
    sources_tidy(r);
    LIST_FOREACH (s, &r->sources, entry)
        if (!strcmp(s->url, url)) return s;
    snprintf(why, why_size, "this worker is connected to %d others", SOURCES_MOST);
    return r->n_sources < SOURCES_MOST ? source_new(r, url, why, why_size) : NULL;
}

/* False: its connection has ended. */
static bool source_want(tine_reach *r, reach_source *s, tine_object id, uint64_t secret) {
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
    reach_source *s = source_for(r, url, why, sizeof why);
    if (!s)
        reach_put(r, id, NULL, why, true);
    else if (!source_want(r, s, id, secret))
        reach_arrived(r, id, NULL, "it was not reached some seconds ago");
}

/* ---- life ---- */

tine_reach *tine_reach_new(const tine_transport_config *config, void (*wake)(void *ctx),
                           void *ctx) {
    tine_reach *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    r->config = *config;
    r->wake = wake;
    r->ctx = ctx;
    pthread_mutex_init(&r->lock, NULL);
    LIST_INIT(&r->sources);
    STAILQ_INIT(&r->arrivals);
    return r;
}

void tine_reach_free(tine_reach *r) {
    if (!r) return;
    while (!LIST_EMPTY(&r->sources)) source_free(r, LIST_FIRST(&r->sources));
    if (r->listens) end_stop(&r->server);
    for (tine_reached left; tine_reach_take(r, &left);) tine_payload_unref(left.payload);
    tine_reach_release(r);
    for (size_t i = 0; i < r->kept.room; i++)
        if (r->kept.entries[i].id) tine_payload_unref(r->kept.entries[i].item);
    tine_idmap_fini(&r->kept);
    pthread_mutex_destroy(&r->lock);
    free(r);
}
