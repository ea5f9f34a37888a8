/* The coordinator's lock, and sleeping until something changes.
 *
 * While a large frame arrives, the thread that runs the event loop releases the lock for moments
 * only, and a mutex may be taken again and again by the thread that has just released it. So
 * threads that want the lock are counted, also those that wake up from a sleep, and the loop lets
 * one of them have it between two turns. That is why a sleep is not on the lock itself: a condition
 * variable would take it without being counted. */
#include "runtime/coordinator/internal.h"

#include "runtime/value/release.h"
#include "transport/base/clock.h"
#include "transport/base/thread.h"

/* How long a thread waits for the lock before the loop yields it after a turn. To yield costs two
 * thread switches, and as a rule the loop soon blocks. */
enum { LOCKED_NS = 1000000 };

static void lock_wait(tine_coordinator *c) {
    atomic_fetch_add(&c->n_locking, 1);
    pthread_mutex_lock(&c->lock);
    atomic_fetch_sub(&c->n_locking, 1);
    pthread_cond_signal(&c->lock_taken);
}

static void lock_take(tine_coordinator *c) {
    if (pthread_mutex_trylock(&c->lock)) lock_wait(c);
}

void tine_coordinator_lock(tine_coordinator *c) {
    lock_take(c);
    tine_releases_hold();
}

void tine_coordinator_unlock(tine_coordinator *c) {
    pthread_mutex_unlock(&c->lock);
    tine_releases_run();
}

void tine_coordinator_sleep(tine_coordinator *c, int64_t deadline) {
    bool in_time = true;
    c->n_sleeping++;
    pthread_mutex_lock(&c->change_lock);
    uint64_t seen = c->n_changes;
    pthread_mutex_unlock(&c->lock);
    while (c->n_changes == seen && in_time)
        in_time = tine_cond_wait_until(&c->changed, &c->change_lock, deadline);
    pthread_mutex_unlock(&c->change_lock);
    lock_take(c);
    c->n_sleeping--;
}

void tine_coordinator_changed(tine_coordinator *c) {
    if (c->n_sleeping == 0) return;
    pthread_mutex_lock(&c->change_lock);
    c->n_changes++;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->change_lock);
}

/* The caller has the lock, so a thread that is counted has not taken it yet: it signals lock_taken
 * when it does. */
void tine_coordinator_yield(tine_coordinator *c) {
    if (atomic_load_explicit(&c->n_locking, memory_order_relaxed) == 0) {
        c->wanted_since = 0;
        return;
    }
    int64_t now = tine_clock_ns();
    if (!c->wanted_since) c->wanted_since = now;
    if (now - c->wanted_since < LOCKED_NS) return;
    pthread_cond_wait(&c->lock_taken, &c->lock);
    c->wanted_since = 0;
}
