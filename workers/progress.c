/* See progress.h. While something large is under way the thread sleeps in the transport; else it
 * wakes up every few milliseconds, because a transport that its peers cannot wake (mpi between
 * hosts) would poll on the core that the task computes on. */
#include "workers/progress.h"

#include <string.h>

#include "transport/base/assert.h"
#include "transport/base/clock.h"
#include "transport/base/thread.h"

/* Who uses the link. OFFERED: either thread may take it, by compare-and-swap. */
enum { WORKER, OFFERED, PROGRESS };
enum {
    /* between the first wake-ups after an idle time, and then twice as long each time, up to */
    TICK_NS = 4000000,
    TICK_MAX_NS = 32000000, /* this: a wake-up takes some 40 us from the task (tine ensemble) */
    IDLE_NS = 100000000,    /* without an offer, after which the thread sleeps until one */
};

/* ---- the thread ---- */

static void sleep_in_transport(tine_progress *p) {
    atomic_store(&p->in_transport, true);
    if (!atomic_load(&p->reclaiming)) {
        tine_link_await(p->link, tine_timeout_until(p->handler.due(p->handler.ctx)));
        p->slept = true;
    }
    atomic_store(&p->in_transport, false);
}

/* Until the link is reclaimed or nothing large is under way any more. */
static void move_link(tine_progress *p) {
    while (!atomic_load(&p->reclaiming) && !p->ended) {
        tine_link_collected collected = tine_link_collect(p->link);
        p->ended = collected == TINE_LINK_ENDED;
        if (!p->ended) p->handler.handled(p->handler.ctx);
        if (collected == TINE_LINK_COLLECTED) continue;
        if (collected != TINE_LINK_NOTHING) break;
        if (!tine_link_busy(p->link) && !p->handler.waits(p->handler.ctx)) break;
        sleep_in_transport(p);
    }
    tine_due_release **end = &p->due;
    while (*end) end = &(*end)->next;
    *end = tine_releases_take();
}

static void accept_offer(tine_progress *p) {
    int offered = OFFERED;
    if (!atomic_compare_exchange_strong(&p->user, &offered, PROGRESS)) return;
    move_link(p);
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->user, OFFERED);
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

/* Until the next tick, or an urgent offer. False: the thread is to end. */
static bool sleep_until_due(tine_progress *p, unsigned seen, bool idle, int64_t tick) {
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->idle, idle);
    if (!p->ending && idle && atomic_load(&p->offers) == seen) {
        pthread_cond_wait(&p->changed, &p->lock);
    } else if (!p->ending && !atomic_load(&p->urgent)) {
        tine_cond_wait_until(&p->changed, &p->lock, tine_clock_ns() + tick);
    }
    atomic_store(&p->idle, false);
    bool go_on = !p->ending;
    pthread_mutex_unlock(&p->lock);
    return go_on;
}

static void *worker_progress_main(void *arg) {
    tine_progress *p = arg;
    unsigned seen = atomic_load(&p->offers) - 1; /* differs from the offer that started it */
    int64_t tick = TICK_NS, without_offer = 0, since_accept = 0;
    tine_releases_hold();
    while (sleep_until_due(p, seen, without_offer >= IDLE_NS, tick)) {
        unsigned offers = atomic_load(&p->offers);
        bool same = offers == seen, was_idle = without_offer >= IDLE_NS,
             waits = atomic_load(&p->waits);
        without_offer = !same || atomic_load(&p->user) == OFFERED ? 0 : without_offer + tick;
        tick = was_idle || waits ? TICK_NS : 2 * tick < TICK_MAX_NS ? 2 * tick : TICK_MAX_NS;
        since_accept += tick;
        /* A task that forks often makes a new offer before each tick: it is accepted by time. */
        if (atomic_exchange(&p->urgent, false) || same || waits || since_accept > TICK_MAX_NS) {
            accept_offer(p);
            since_accept = 0;
        }
        seen = offers;
    }
    return NULL;
}

static void progress_start(tine_progress *p) {
    p->tried = true;
    p->started = tine_thread_start(&p->thread, "tine progress", worker_progress_main, p) == 0;
}

/* ---- the worker's thread ---- */

void tine_progress_init(tine_progress *p, tine_link *link, const tine_progress_handler *handler) {
    memset(p, 0, sizeof *p);
    p->link = link;
    p->handler = *handler;
    pthread_mutex_init(&p->lock, NULL);
    tine_cond_init(&p->changed);
}

void tine_progress_offer(tine_progress *p) {
    if (p->offered || p->ending || !p->link) return;
    TINE_ASSERT_TRUE(!p->link->receiving);
    if (!p->tried) progress_start(p);
    bool urgent = tine_link_busy(p->link);
    p->offered = true;
    atomic_fetch_add(&p->offers, 1);
    if (urgent) atomic_store(&p->urgent, true);
    atomic_store_explicit(&p->waits, p->handler.waits(p->handler.ctx), memory_order_relaxed);
    atomic_store(&p->user, OFFERED);
    /* The thread stores `idle` before it loads `offers`, so one of the two threads sees the
     * other's store. */
    if (!urgent && !atomic_load(&p->idle)) return;
    pthread_mutex_lock(&p->lock);
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

static bool is_reclaimed(tine_progress *p) {
    int offered = OFFERED;
    return atomic_compare_exchange_strong(&p->user, &offered, WORKER);
}

static void await_thread(tine_progress *p) {
    atomic_store(&p->reclaiming, true);
    if (atomic_load(&p->in_transport)) tine_link_wake(p->link);
    pthread_mutex_lock(&p->lock);
    while (!is_reclaimed(p)) pthread_cond_wait(&p->changed, &p->lock);
    pthread_mutex_unlock(&p->lock);
    atomic_store(&p->reclaiming, false);
}

void tine_progress_reclaim(tine_progress *p) {
    if (!p->offered) return;
    p->offered = false;
    if (!is_reclaimed(p)) await_thread(p);
    if (p->slept) { /* a wake-up for this thread may have ended there */
        p->slept = false;
        tine_link_wake(p->link);
    }
    if (!p->due) return;
    tine_due_release *due = p->due;
    p->due = NULL;
    tine_releases_run_list(due);
}

void tine_progress_stop(tine_progress *p) {
    if (!p->link || p->ending) return;
    tine_progress_reclaim(p);
    pthread_mutex_lock(&p->lock);
    p->ending = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    if (p->started) pthread_join(p->thread, NULL);
    tine_link_flush(p->link);
}

void tine_progress_fini(tine_progress *p) {
    if (!p->link) return;
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    memset(p, 0, sizeof *p);
}
