/* Peers: a connection is a guest until its HELLO is accepted, then a worker, until it is lost or
 * cut off.
 *
 * Whoever is cut off is forgotten here at once, its tasks are queued again or failed; the
 * transport's own report of the loss then names a peer that nobody knows, and is ignored. A
 * rejected guest is left a moment to read why. */
#include "runtime/scheduler/internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { REJECT_GRACE_NS = 1000000000 };

/* ---- groups: what is served ---- */

static int by_text(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static char **copy_names(const char *const *names, uint32_t n) {
    char **copy = tine_scheduler_alloc(((size_t)n + 1) * sizeof *copy);
    for (uint32_t i = 0; i < n; i++) copy[i] = tine_scheduler_copy(names[i]);
    qsort(copy, n, sizeof *copy, by_text);
    return copy;
}

static bool same_list(char *const *a, char *const *b, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        if (strcmp(a[i], b[i])) return false;
    return true;
}

static void free_names(char **names, uint32_t n) {
    for (uint32_t i = 0; names && i < n; i++) free(names[i]);
    free(names);
}

void tine_scheduler_group_fini(sched_group *g) {
    free_names(g->functions, g->n_functions);
    free_names(g->classes, g->n_classes);
    free(g->open);
    *g = (sched_group){0};
}

bool tine_scheduler_group_serves(const sched_group *g, const sched_callable *c) {
    char **names = c->method ? g->classes : g->functions;
    return bsearch(&c->name, names, c->method ? g->n_classes : g->n_functions, sizeof *names,
                   by_text);
}

static void note_group(tine_scheduler *h, size_t i) {
    uint64_t bit = UINT64_C(1) << (i % 64);
    for (sched_callable *c = h->all; c; c = c->all_next) {
        if (tine_scheduler_group_serves(&h->groups[i], c))
            c->serves[i / 64] |= bit;
        else
            c->serves[i / 64] &= ~bit;
    }
}

static size_t free_group(tine_scheduler *h) {
    if (h->n_groups < SCHED_GROUPS) return h->n_groups++;
    size_t oldest = SCHED_GROUPS;
    for (size_t i = 0; i < SCHED_GROUPS; i++)
        if (!h->groups[i].workers &&
            (oldest == SCHED_GROUPS || h->groups[i].last_used < h->groups[oldest].last_used))
            oldest = i;
    if (oldest < SCHED_GROUPS) tine_scheduler_group_fini(&h->groups[oldest]);
    return oldest;
}

/* The group with these names, made if there is none; NULL when there are too many different
 * ones. */
static sched_group *group_for(tine_scheduler *h, const tine_hello *hello) {
    sched_group new = {.functions = copy_names(hello->functions, hello->n_functions),
                       .classes = copy_names(hello->classes, hello->n_classes),
                       .n_functions = hello->n_functions,
                       .n_classes = hello->n_classes};
    for (size_t i = 0; i < h->n_groups; i++) {
        sched_group *g = &h->groups[i];
        if (g->n_functions != new.n_functions || g->n_classes != new.n_classes) continue;
        if (!same_list(g->functions, new.functions, new.n_functions)) continue;
        if (!same_list(g->classes, new.classes, new.n_classes)) continue;
        tine_scheduler_group_fini(&new);
        return g;
    }
    size_t i = free_group(h);
    if (i == SCHED_GROUPS) {
        tine_scheduler_group_fini(&new);
        return NULL;
    }
    h->groups[i] = new;
    note_group(h, i);
    return &h->groups[i];
}

/* ---- guests and workers ---- */

sched_peer *tine_scheduler_peer(const tine_scheduler *h, tine_peer peer) {
    return tine_idmap_get(&h->peers, peer);
}

void tine_scheduler_peer_up(tine_scheduler *h, tine_peer peer, int64_t now) {
    if (!peer || tine_scheduler_peer(h, peer)) return;
    sched_guest *g = tine_scheduler_alloc(sizeof *g);
    g->peer = peer;
    g->deadline = now + h->config.hello_timeout_ns;
    sched_peer *p = tine_scheduler_alloc(sizeof *p);
    p->guest = g;
    tine_idmap_put(&h->peers, peer, p);
    SCHED_APPEND(h->guests, h->guests_last, g, prev, next);
}

void tine_scheduler_guest_free(tine_scheduler *h, sched_guest *g) {
    SCHED_UNLINK(h->guests, h->guests_last, g, prev, next);
    free(g);
}

static void reject(tine_scheduler *h, sched_guest *g, bool bad, char *text, int64_t now) {
    sched_action *a = tine_scheduler_send(h, g->peer, TINE_MSG_REJECT);
    a->a.message.text = a->memory = text;
    tine_scheduler_log(h, 1, tine_scheduler_text("peer %" PRIu64 " rejected: %s", g->peer, text));
    h->stats.peers_bad += bad;
    g->rejected = true;
    g->deadline = now + REJECT_GRACE_NS;
}

static uint32_t free_slot(tine_scheduler *h) {
    for (size_t i = 0; i < h->n_slots; i++)
        if (!h->slots[i]) return (uint32_t)i;
    size_t room = h->n_slots;
    h->slots = tine_scheduler_grow(h->slots, &room, h->n_slots + 1, sizeof(sched_worker *));
    memset(h->slots + h->n_slots, 0, (room - h->n_slots) * sizeof(sched_worker *));
    uint32_t slot = (uint32_t)h->n_slots;
    h->n_slots = room;
    return slot;
}

static void join(tine_scheduler *h, tine_peer peer, const tine_hello *hello, sched_group *group) {
    sched_worker *w = tine_scheduler_alloc(sizeof *w);
    w->peer = peer;
    w->epoch = ++h->epochs;
    w->pid = hello->pid;
    w->rank = hello->rank;
    w->host = tine_scheduler_copy(hello->host);
    w->token = tine_scheduler_copy(hello->token);
    w->kernel = tine_scheduler_copy(hello->kernel);
    w->group = group;
    w->window_left = h->config.window;
    w->slot = free_slot(h);
    h->slots[w->slot] = w;
    SCHED_APPEND(h->workers, h->workers_last, w, prev, next);
    tine_scheduler_peer(h, peer)->worker = w;
    group->workers++;
    group->last_used = ++h->joined;
    h->stats.workers++;
    tine_scheduler_worker_update(h, w);
    sched_action *a = tine_scheduler_send(h, peer, TINE_MSG_WELCOME);
    a->a.message.epoch = w->epoch;
    a->a.message.window = h->config.window;
    a->a.message.flags = h->trace;
    tine_scheduler_push(h, TINE_SCHEDULER_JOINED)->a.peer = peer;
    tine_scheduler_log(h, 2,
                       tine_scheduler_text("worker pid %u (host %.64s) joined", w->pid, w->host));
}

static bool complete_hello(const tine_hello *e) {
    if (!e || e->n_functions > SCHED_MAX_NAMES || e->n_classes > SCHED_MAX_NAMES) return false;
    for (uint32_t i = 0; i < e->n_functions; i++)
        if (!e->functions[i]) return false;
    for (uint32_t i = 0; i < e->n_classes; i++)
        if (!e->classes[i]) return false;
    return true;
}

void tine_scheduler_hello(tine_scheduler *h, sched_guest *g, const tine_hello *hello, int64_t now) {
    tine_peer peer = g->peer;
    sched_group *group = NULL;
    if (g->rejected) return;
    if (!complete_hello(hello)) {
        tine_scheduler_cut(h, peer, true, "its hello is incomplete or names too much");
    } else if (hello->version != TINE_PROTOCOL_VERSION) {
        reject(h, g, true,
               tine_scheduler_text("the worker speaks version %u of the protocol and the "
                                   "coordinator version %d; install "
                                   "the same Tine on both sides",
                                   hello->version, TINE_PROTOCOL_VERSION),
               now);
    } else if (h->stopped) {
        reject(h, g, false, tine_scheduler_copy("the coordinator is shutting down"), now);
    } else if (!(group = group_for(h, hello)) ||
               h->epochs >= (1u << (64 - SCHED_EPOCH_SHIFT)) - 1) {
        reject(h, g, false,
               tine_scheduler_text("more than %d different sets of functions are served at once",
                                   SCHED_GROUPS),
               now);
    } else {
        tine_scheduler_peer(h, peer)->guest = NULL;
        tine_scheduler_guest_free(h, g);
        join(h, peer, hello, group);
        tine_scheduler_sweep(h);
    }
}

void tine_scheduler_worker_free(tine_scheduler *h, sched_worker *w) {
    SCHED_UNLINK(h->workers, h->workers_last, w, prev, next);
    tine_scheduler_undirty(h, w);
    h->slots[w->slot] = NULL;
    free(w->host);
    free(w->token);
    free(w->kernel);
    free(w->drops);
    free(w->put_early);
    free(w);
}

/* First all forks of its tasks are cut loose, so that what they still do answers nobody; then its
 * own tasks are judged. */
void tine_scheduler_worker_lost(tine_scheduler *h, sched_worker *w, const char *reason) {
    w->dead = true;
    w->group->workers--;
    h->stats.workers--;
    tine_scheduler_worker_update(h, w);
    for (sched_task *t = w->run_first; t; t = t->run_next)
        while (t->children) tine_scheduler_task_orphan(h, t->children);
    while (w->strays) tine_scheduler_task_orphan(h, w->strays);
    tine_scheduler_objects_lost(h, w);
    while (w->run_first) tine_scheduler_task_lost(h, w->run_first, w, reason);
    TINE_ASSERT(w->outstanding, ==, 0);
    tine_scheduler_worker_free(h, w);
    tine_scheduler_sweep(h);
}

static void forget(tine_scheduler *h, tine_peer peer, const char *reason) {
    sched_peer *p = tine_idmap_remove(&h->peers, peer);
    if (!p) return;
    if (p->guest) tine_scheduler_guest_free(h, p->guest);
    if (p->worker) tine_scheduler_worker_lost(h, p->worker, reason);
    free(p);
}

void tine_scheduler_cut(tine_scheduler *h, tine_peer peer, bool bad, const char *why) {
    sched_peer *p = tine_scheduler_peer(h, peer);
    if (!p) return;
    bool rejected = p->guest && p->guest->rejected;
    h->stats.peers_bad += bad && !rejected;
    sched_action *a = tine_scheduler_push(h, TINE_SCHEDULER_CUT);
    a->a.peer = peer;
    a->a.bad = bad;
    a->a.text = a->memory = tine_scheduler_copy(why);
    if (bad && !rejected && p->worker)
        tine_scheduler_log(h, 1,
                           tine_scheduler_text("worker pid %u (host %.64s) is dropped: %s",
                                               p->worker->pid, p->worker->host, why));
    else if (bad && !rejected)
        tine_scheduler_log(h, 1, tine_scheduler_text("peer %" PRIu64 " is dropped: %s", peer, why));
    char *reason = tine_scheduler_text("dropped: %s", why);
    forget(h, peer, reason);
    free(reason);
}

void tine_scheduler_peer_lost(tine_scheduler *h, tine_peer peer, const char *reason, int64_t now) {
    (void)now;
    sched_peer *p = tine_scheduler_peer(h, peer);
    if (!p) return;
    if (!reason) reason = "the connection was closed";
    if (p->worker && !h->stopped)
        tine_scheduler_log(h, 1,
                           tine_scheduler_text("worker pid %u (host %.64s) is lost: %s",
                                               p->worker->pid, p->worker->host, reason));
    forget(h, peer, reason);
    tine_scheduler_dispatch(h);
}

void tine_scheduler_garbage(tine_scheduler *h, tine_peer peer, const char *why, int64_t now) {
    (void)now;
    char *text = tine_scheduler_text("it sent what is not of this protocol: %s",
                                     why ? why : "undecodable bytes");
    tine_scheduler_cut(h, peer, true, text);
    free(text);
    tine_scheduler_dispatch(h);
}

/* ---- what is known ---- */

static void describe(const sched_worker *w, tine_worker_info *out) {
    *out = (tine_worker_info){w->peer, w->epoch, w->pid,    w->rank,
                              w->host, w->token, w->kernel, w->tasks_done};
}

size_t tine_scheduler_workers(const tine_scheduler *h, tine_worker_info *out, size_t room) {
    size_t n = 0;
    for (const sched_worker *w = h->workers; w; w = w->next, n++)
        if (n < room) describe(w, &out[n]);
    return n;
}

bool tine_scheduler_worker(const tine_scheduler *h, tine_peer peer, tine_worker_info *out) {
    const sched_peer *p = tine_scheduler_peer(h, peer);
    if (!p || !p->worker) return false;
    describe(p->worker, out);
    return true;
}
