/* Peers: a connection is a handshake until its HELLO is accepted, then a worker, until it is lost
 * or dropped.
 *
 * The record of a dropped peer is freed at once, and its tasks are queued again or fail. What the
 * transport reports of it later names an unknown peer and is ignored. A rejected peer is dropped
 * after a grace period in which it can receive the REJECT. */
#include "runtime/scheduler/internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "transport/base/text.h"

enum { REJECT_GRACE_NS = 1000000000 };

/* ---- handshakes and workers ---- */

sched_peer *tine_scheduler_peer(const tine_scheduler *s, tine_peer peer) {
    return tine_idmap_get(&s->peers, peer);
}

void tine_scheduler_peer_up(tine_scheduler *s, tine_peer peer, int64_t now) {
    if (!peer || tine_scheduler_peer(s, peer)) return;
    sched_handshake *g = tine_scheduler_alloc(sizeof *g);
    g->peer = peer;
    g->deadline = now + s->config.hello_timeout_ns;
    sched_peer *p = tine_scheduler_alloc(sizeof *p);
    p->handshake = g;
    tine_idmap_put(&s->peers, peer, p);
    TAILQ_INSERT_TAIL(&s->handshakes, g, link);
}

void tine_scheduler_handshake_free(tine_scheduler *s, sched_handshake *g) {
    TAILQ_REMOVE(&s->handshakes, g, link);
    free(g);
}

static void sched_handshake_reject(tine_scheduler *s, sched_handshake *g, bool bad, char *text,
                                   int64_t now) {
    sched_action *a = tine_scheduler_push(s, TINE_SCHEDULER_SEND);
    a->a.peer = g->peer;
    a->a.message.type = TINE_MSG_REJECT;
    a->a.message.text = a->owned.memory = text;
    tine_scheduler_log(s, 1,
                       tine_scheduler_text("peer %" PRIu64 " was rejected: %s", g->peer, text));
    s->stats.peers_bad += bad;
    g->rejected = true;
    g->deadline = now + REJECT_GRACE_NS;
}

void tine_scheduler_refuse(tine_scheduler *s, tine_peer peer, const char *why, int64_t now) {
    const sched_peer *p = tine_scheduler_peer(s, peer);
    if (p && p->handshake && !p->handshake->rejected)
        sched_handshake_reject(s, p->handshake, true, tine_scheduler_copy(why), now);
}

static uint32_t sched_worker_slot(tine_scheduler *s) {
    for (; s->slots_taken < s->n_slots; s->slots_taken++)
        if (!s->slots[s->slots_taken]) return (uint32_t)s->slots_taken;
    size_t room = s->n_slots;
    s->slots = tine_scheduler_grow(s->slots, &room, s->n_slots + 1, sizeof(sched_worker *));
    memset(s->slots + s->n_slots, 0, (room - s->n_slots) * sizeof(sched_worker *));
    uint32_t slot = (uint32_t)s->n_slots;
    s->n_slots = room;
    return slot;
}

static void sched_worker_join(tine_scheduler *s, tine_peer peer, const tine_hello *hello,
                              sched_group *group) {
    sched_worker *w = tine_scheduler_alloc(sizeof *w);
    w->peer = peer;
    w->epoch = ++s->last_epoch;
    w->pid = hello->pid;
    w->rank = hello->rank;
    w->host = tine_text_printable(hello->host, false);
    TINE_ASSERT_TRUE(w->host);
    w->token = tine_scheduler_copy(hello->token);
    w->kernel = tine_scheduler_copy(hello->kernel);
    w->group = group;
    w->window_left = s->config.window;
    w->joined = w->turned = s->now;
    w->slot = sched_worker_slot(s);
    s->slots[w->slot] = w;
    TAILQ_INIT(&w->running);
    TAILQ_INIT(&w->aims);
    TAILQ_INIT(&w->wanting);
    LIST_INIT(&w->detached);
    LIST_INIT(&w->singles);
    if (group->slots) w->taken = tine_scheduler_alloc(group->slots->n * sizeof *w->taken);
    TAILQ_INSERT_TAIL(&s->workers, w, link);
    tine_idmap_put(&s->epochs, w->epoch, w);
    tine_scheduler_peer(s, peer)->worker = w;
    group->workers++;
    group->last_used = ++s->n_joined;
    s->stats.workers++;
    if (s->stats.workers > s->most_workers) s->most_workers = s->stats.workers;
    tine_scheduler_worker_update(s, w);
    sched_action *a = tine_scheduler_send(s, w, TINE_MSG_WELCOME);
    a->a.message.epoch = w->epoch;
    a->a.message.window = s->config.window;
    a->a.message.flags = TINE_WELCOME_DEMAND | TINE_WELCOME_REACH | TINE_WELCOME_PASSED |
                         (s->trace ? TINE_WELCOME_TRACE : 0);
    tine_scheduler_log(s, 2,
                       tine_scheduler_text("worker pid %u (host %.64s) joined", w->pid, w->host));
    tine_scheduler_worker_initialise(s, w);
}

static bool sched_hello_complete(const tine_hello *e) {
    if (!e || e->n_functions > SCHED_MAX_NAMES || e->n_classes > SCHED_MAX_NAMES ||
        e->n_labels > SCHED_MAX_NAMES)
        return false;
    for (uint32_t i = 0; i < e->n_functions; i++)
        if (!e->functions[i]) return false;
    for (uint32_t i = 0; i < e->n_classes; i++)
        if (!e->classes[i]) return false;
    for (uint32_t i = 0; i < e->n_labels; i++)
        if (!e->labels[i]) return false;
    tine_resources slots;
    return !tine_resources_parse(e->slots, &slots);
}

void tine_scheduler_hello(tine_scheduler *s, sched_handshake *g, const tine_hello *hello,
                          int64_t now) {
    tine_peer peer = g->peer;
    sched_group *group = NULL;
    if (g->rejected) return;
    if (!sched_hello_complete(hello)) {
        tine_scheduler_drop(s, peer, true,
                            "its HELLO is incomplete, names too many functions or classes, or has "
                            "slots that are wrong");
    } else if (hello->version != TINE_PROTOCOL_VERSION) {
        sched_handshake_reject(
            s, g, true,
            tine_scheduler_text("the worker speaks version %u of the protocol and the "
                                "coordinator version %d; install "
                                "the same Tine on both sides",
                                hello->version, TINE_PROTOCOL_VERSION),
            now);
    } else if (s->stopped) {
        sched_handshake_reject(s, g, false, tine_scheduler_copy("the coordinator is shutting down"),
                               now);
    } else if (!(group = tine_scheduler_group_for(s, hello)) ||
               s->last_epoch >= (1u << (64 - SCHED_EPOCH_SHIFT)) - 1) {
        sched_handshake_reject(
            s, g, false,
            tine_scheduler_text(
                "more than %d different sets of functions and labels are served at once; use "
                "fewer different worker programs",
                SCHED_GROUPS),
            now);
    } else {
        tine_scheduler_peer(s, peer)->handshake = NULL;
        tine_scheduler_handshake_free(s, g);
        sched_worker_join(s, peer, hello, group);
        tine_scheduler_sweep(s);
    }
}

void tine_scheduler_worker_free(tine_scheduler *s, sched_worker *w) {
    TAILQ_REMOVE(&s->workers, w, link);
    tine_idmap_remove(&s->epochs, w->epoch);
    tine_scheduler_flush_dequeue(s, w);
    tine_scheduler_aim_dequeue(s, w);
    tine_scheduler_demand_dequeue(s, w);
    tine_scheduler_offer_dequeue(s, w);
    if (w->saves) TAILQ_REMOVE(&s->saving, w, saving_link);
    tine_scheduler_pinged_end(s, w);
    tine_scheduler_unpair(s, w);
    s->slots[w->slot] = NULL;
    if (w->slot < s->slots_taken) s->slots_taken = w->slot;
    tine_scheduler_leaving_forget(s, w);
    free(w->host);
    free(w->token);
    free(w->kernel);
    free(w->reach);
    free(w->drops);
    free(w->passes);
    free(w->awaited);
    tine_ready_fini(&w->pinned);
    free(w->taken);
    tine_scheduler_arrivals_fini(&w->puts);
    tine_scheduler_singles_lost(w, "");
    free(w);
}

/* Blames the task that ran, and those above it on this worker: a task whose fork kills the worker
 * would otherwise fork it again and again. Without a log the deepest task is taken to have run.
 * Returns how many are blamed. */
static size_t sched_worker_blame(tine_scheduler *s, const sched_worker *w,
                                 const tine_run_log *log) {
    sched_task *ran = log ? tine_scheduler_task_find(s, atomic_load(&log->running)) : NULL, *t;
    if (!log) {
        TAILQ_FOREACH (t, &w->running, run_link)
            if (!ran || t->link.depth > ran->link.depth) ran = t;
    }
    size_t n = 0;
    if (!ran || ran->worker != w) return 0;
    for (t = ran; t; t = t->parent) n += t->blamed = t->worker == w;
    return n;
}

/* The log holds the last TINE_RUN_LOG_RECENT tasks begun. A task that began and is no longer in it
 * was followed by as many others. Of these at most max_credit, and those that were sent ahead, were
 * sent before it. */
static bool sched_task_is_queued(const tine_scheduler *s, const sched_task *t,
                                 const tine_run_log *log) {
    uint64_t later = t->worker->tasks_sent - t->sent_number;
    return !t->suspended && t->state == SCHED_RUNNING &&
           later + s->config.max_credit + 2 * SCHED_MAX_AHEAD < TINE_RUN_LOG_RECENT &&
           !tine_run_log_has(log, t->id);
}

/* `certain`: the blamed ones are the cause. */
static sched_part sched_task_part(const tine_scheduler *s, const sched_task *t,
                                  const tine_run_log *log, bool certain) {
    if (log && sched_task_is_queued(s, t, log)) return SCHED_PART_QUEUED;
    return !certain ? SCHED_PART_SUSPECT : t->blamed ? SCHED_PART_BLAMED : SCHED_PART_BEGUN;
}

/* Without a log the cause is certain where no other task could have run. */
static bool sched_worker_cause(tine_scheduler *s, const sched_worker *w, const tine_run_log *log) {
    size_t blamed = sched_worker_blame(s, w, log), tasks = 0;
    const sched_task *t;
    TAILQ_FOREACH (t, &w->running, run_link) tasks++;
    return log ? blamed > 0 : blamed == tasks;
}

/* The forks of its tasks become orphans first, so that their ends complete nothing; then its own
 * tasks are queued again or fail. */
static void sched_worker_lost(tine_scheduler *s, sched_worker *w, const char *reason,
                              const tine_run_log *log) {
    bool certain = sched_worker_cause(s, w, log);
    if (!s->stopped && !w->stopped) {
        char *text =
            tine_scheduler_text("worker pid %u (host %.64s) was lost: %s", w->pid, w->host, reason);
        tine_scheduler_failed(s, "", TINE_ELOST, text);
        free(text);
    }
    w->lost = true;
    w->closed |= SCHED_CLOSED_LOST;
    w->group->workers--;
    if (w->group->filled == w) w->group->filled = NULL;
    s->stats.workers--;
    tine_scheduler_worker_update(s, w);
    tine_scheduler_aim_lost(s, w);
    tine_scheduler_singles_lost(w, reason);
    tine_scheduler_pins_lost(s, w, reason);
    sched_task *t;
    TAILQ_FOREACH (t, &w->running, run_link)
        for (sched_task *child; (child = LIST_FIRST(&t->children));)
            tine_scheduler_task_orphan(s, child);
    while ((t = LIST_FIRST(&w->detached))) tine_scheduler_task_orphan(s, t);
    tine_scheduler_objects_lost(s, w, reason);
    while ((t = TAILQ_FIRST(&w->running)))
        tine_scheduler_task_lost(s, t, w, sched_task_part(s, t, log, certain), reason);
    TINE_ASSERT(w->outstanding + w->n_ahead, ==, 0);
    tine_scheduler_worker_free(s, w);
    tine_scheduler_groups_trim(s);
    tine_scheduler_sweep(s);
}

static void sched_peer_forget(tine_scheduler *s, tine_peer peer, const char *reason,
                              const tine_run_log *log) {
    sched_peer *p = tine_idmap_remove(&s->peers, peer);
    if (!p) return;
    if (p->handshake) tine_scheduler_handshake_free(s, p->handshake);
    if (p->worker) sched_worker_lost(s, p->worker, reason, log);
    free(p);
}

bool tine_scheduler_peer_forget(tine_scheduler *s, tine_peer peer) {
    const sched_peer *p = tine_scheduler_peer(s, peer);
    if (!p || !p->handshake || p->handshake->rejected) return false;
    sched_peer_forget(s, peer, "", NULL);
    return true;
}

void tine_scheduler_drop(tine_scheduler *s, tine_peer peer, bool bad, const char *why) {
    sched_peer *p = tine_scheduler_peer(s, peer);
    if (!p) return;
    bool rejected = p->handshake && p->handshake->rejected;
    s->stats.peers_bad += bad && !rejected;
    sched_action *a = tine_scheduler_push(s, TINE_SCHEDULER_DROP);
    a->a.peer = peer;
    a->a.bad = bad;
    a->a.text = a->owned.memory = tine_scheduler_copy(why);
    if (bad && !rejected && p->worker)
        tine_scheduler_log(s, 1,
                           tine_scheduler_text("worker pid %u (host %.64s) was dropped: %s",
                                               p->worker->pid, p->worker->host, why));
    else if (bad && !rejected)
        tine_scheduler_log(s, 1,
                           tine_scheduler_text("peer %" PRIu64 " was dropped: %s", peer, why));
    char *reason = tine_scheduler_text("dropped: %s", why);
    sched_peer_forget(s, peer, reason, NULL);
    free(reason);
}

void tine_scheduler_worker_died(tine_scheduler *s, tine_peer peer, const char *reason,
                                const tine_run_log *log) {
    sched_peer *p = tine_scheduler_peer(s, peer);
    if (!p) return;
    if (!reason) reason = "the connection was closed";
    /* with a log, its supervisor has logged the death */
    if (p->worker && !s->stopped && !p->worker->stopped && !log)
        tine_scheduler_log(s, 1,
                           tine_scheduler_text("worker pid %u (host %.64s) was lost: %s",
                                               p->worker->pid, p->worker->host, reason));
    sched_peer_forget(s, peer, reason, log);
    tine_scheduler_dispatch(s);
}

void tine_scheduler_peer_lost(tine_scheduler *s, tine_peer peer, const char *reason) {
    tine_scheduler_worker_died(s, peer, reason, NULL);
}

void tine_scheduler_garbage(tine_scheduler *s, tine_peer peer, const char *why) {
    char *text = tine_scheduler_text("it sent bytes that are not a message: %s",
                                     why ? why : "they cannot be decoded");
    tine_scheduler_drop(s, peer, true, text);
    free(text);
    tine_scheduler_dispatch(s);
}
