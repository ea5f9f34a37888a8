/* See reach.h. What has come, the server, and what both sides share; sources.c has the connections
 * to other workers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "transport/base/log.h"
#include "transport/base/memory.h"
#include "transport/base/process.h"
#include "transport/base/thread.h"
#include "workers/reach_internal.h"

/* Of an end, and left for others. */
enum { END_DESCRIPTORS = 16 + 32 };

struct tine_reach_arrival {
    STAILQ_ENTRY(tine_reach_arrival) entry;
    tine_reached reached;
};

/* ---- what the worker's thread takes ---- */

void tine_reach_put(tine_reach *r, tine_object id, tine_payload *payload, const char *why,
                    bool own) {
    tine_reach_arrival *a = tine_must_alloc(sizeof *a);
    a->reached =
        (tine_reached){.id = id, .payload = payload ? tine_payload_ref(payload) : NULL, .own = own};
    snprintf(a->reached.why, sizeof a->reached.why, "%s", why);
    pthread_mutex_lock(&r->lock);
    STAILQ_INSERT_TAIL(&r->arrivals, a, entry);
    atomic_store(&r->any, true);
    pthread_mutex_unlock(&r->lock);
    r->wake(r->ctx);
}

bool tine_reach_take(tine_reach *r, tine_reached *out) {
    if (!atomic_load_explicit(&r->any, memory_order_acquire)) return false;
    pthread_mutex_lock(&r->lock);
    tine_reach_arrival *a = STAILQ_FIRST(&r->arrivals);
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
void tine_reach_pass_releases(tine_reach *r) {
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

bool tine_reach_turn(tine_reach_end *e) {
    int n = tine_link_receive(&e->link);
    tine_reach_pass_releases(e->reach);
    if (n < 0 || atomic_load(&e->ending)) return false;
    if (n == 0) tine_link_wait(&e->link, -1);
    return true;
}

bool tine_reach_has_descriptors(char *why, size_t why_size) {
    size_t limit;
    if (tine_process_descriptors(END_DESCRIPTORS, &limit) >= END_DESCRIPTORS) return true;
    snprintf(why, why_size,
             "this worker has no file descriptors left of its %zu; raise `ulimit -n`", limit);
    return false;
}

bool tine_reach_end_start(tine_reach_end *e, tine_reach *r, tine_transport *t,
                          const tine_link_handler *handler, void *(*main)(void *), void *arg) {
    tine_link_init(&e->link, t, handler, arg);
    e->reach = r;
    if (!tine_thread_start(&e->thread, "tine results", main, arg)) return true;
    tine_link_fini(&e->link);
    return false;
}

void tine_reach_end_stop(tine_reach_end *e) {
    atomic_store(&e->ending, true);
    tine_link_wake(&e->link);
    pthread_join(e->thread, NULL);
    tine_link_fini(&e->link);
}

/* ---- the server ---- */

void tine_reach_answer(tine_reach *r, tine_link *l, tine_peer peer, const tine_message *m) {
    if (m->type != TINE_MSG_REACH || m->seq != r->secret) {
        tine_link_drop(l, peer, true, "it does not ask for a result of this worker");
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
    if (tine_link_send(l, peer, &answer) != TINE_OK)
        tine_link_drop(l, peer, false, "a result could not be sent");
    tine_payload_unref(p);
}

static void server_up(void *ctx, tine_peer peer) { (void)ctx, (void)peer; }

static void server_message(void *ctx, tine_peer peer, const tine_message *m) {
    tine_reach *r = ctx;
    tine_reach_answer(r, &r->server.link, peer, m);
}

static void server_invalid(void *ctx, tine_peer peer, tine_error e, const char *why) {
    tine_link_drop(&((tine_reach *)ctx)->server.link, peer, e == TINE_EPROTO, why);
}

static void server_count(tine_reach *r) {
    tine_transport_stats stats;
    r->server.link.transport->ops->stats(r->server.link.transport, &stats);
    atomic_store(&r->refused, stats.peers_bad);
}

/* Of strangers the transport reports each address once, and counts them all. */
static void server_lost(void *ctx, tine_peer peer, bool bad, const char *reason) {
    tine_reach *r = ctx;
    const tine_transport *t = r->server.link.transport;
    (void)peer;
    server_count(r);
    if (bad)
        tine_log(TINE_LOG_WARN,
                 "refused a peer at %s, where workers fetch results: %s (%llu so far)",
                 t->ops->url(t), reason, (unsigned long long)tine_reach_refused(r));
}

static const tine_link_handler server_events = {server_up, server_message, server_invalid,
                                                server_lost, NULL};

static void *reach_server_main(void *arg) {
    tine_releases_hold();
    while (tine_reach_turn(&((tine_reach *)arg)->server)) server_count(arg);
    return NULL;
}

static void server_warn(const tine_transport *t) {
    if (t->ops->exposed && t->ops->exposed(t))
        tine_log(TINE_LOG_WARN,
                 "%s can be reached from other hosts, and no key is needed: results that workers "
                 "fetch there can be read on their way; use `tine key FILE` and TINE_KEY_FILE",
                 t->ops->url(t));
}

bool tine_reach_open(tine_reach *r, uint64_t *secret, char *why, size_t why_size) {
    bool known = getrandom(&r->secret, sizeof r->secret, 0) == sizeof r->secret;
    if (!known) snprintf(why, why_size, "the system has no random numbers");
    *secret = known ? r->secret : 0;
    return known;
}

const char *tine_reach_listen(tine_reach *r, const char *url, uint64_t *secret, char *why,
                              size_t why_size) {
    tine_transport *t;
    const tine_transport_ops *ops = tine_transport_for(url, why, why_size);
    tine_transport_config config = r->config;
    config.max_first_frame = TINE_MAX_HELLO;
    config.first_frame_ns = TINE_REACH_CONNECT_NS;
    if (!ops) return NULL;
    if (!tine_reach_open(r, secret, why, why_size)) return NULL;
    if (!tine_reach_has_descriptors(why, why_size)) return NULL;
    if (ops->listen(&t, url, &config, why, why_size) != 0) return NULL;
    server_warn(t);
    r->listens = tine_reach_end_start(&r->server, r, t, &server_events, reach_server_main, r);
    if (!r->listens) {
        snprintf(why, why_size, "no thread can be started");
        return NULL;
    }
    return ops->url(t);
}

uint64_t tine_reach_refused(const tine_reach *r) { return atomic_load(&r->refused); }

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

/* ---- life ---- */

tine_reach *tine_reach_new(const tine_transport_config *config, void (*wake)(void *ctx),
                           void *ctx) {
    tine_reach *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    r->config = *config;
    r->config.patient = false; /* the coordinator has it made again elsewhere */
    r->wake = wake;
    r->ctx = ctx;
    pthread_mutex_init(&r->lock, NULL);
    LIST_INIT(&r->sources);
    STAILQ_INIT(&r->arrivals);
    return r;
}

void tine_reach_free(tine_reach *r) {
    if (!r) return;
    tine_reach_sources_free(r);
    if (r->listens) tine_reach_end_stop(&r->server);
    for (tine_reached left; tine_reach_take(r, &left);) tine_payload_unref(left.payload);
    tine_reach_release(r);
    for (size_t i = 0; i < r->kept.room; i++)
        if (r->kept.entries[i].id) tine_payload_unref(r->kept.entries[i].item);
    tine_idmap_fini(&r->kept);
    pthread_mutex_destroy(&r->lock);
    free(r);
}
