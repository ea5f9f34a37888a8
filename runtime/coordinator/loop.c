/* The loop: who drives when. See loop.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/coordinator/loop_internal.h"
#include "runtime/value/release.h"
#include "runtime/value/state.h"
#include "transport/base/assert.h"
#include "transport/base/clock.h"

/* How long nobody must have driven before the progress thread does; while it keeps finding others
 * at it, it looks in four times less often. It bounds what a nested fork waits for when the program
 * begins to compute. */
enum { TICK_NS = 1000000, TICK_MAX_NS = 4000000 };
/* While the same thread stays in the transport's wait it looks in ever more rarely, and is woken
 * when that thread leaves: a look takes some 40 us from whoever computes on the core (tine
 * ensemble). */
enum { LONG_TICK_NS = 256000000 };
/* Forks that the program makes without waiting are interleaved with a look at what came in. */
enum { PUSHES_PER_RECEIVE = 32 };

static _Thread_local bool in_callback;

bool tine_loop_in_callback(void) { return in_callback; }

void tine_loop_lock(tine_loop *l) {
    pthread_mutex_lock(&l->lock);
    tine_releases_hold();
}

void tine_loop_unlock(tine_loop *l) {
    pthread_mutex_unlock(&l->lock);
    tine_releases_run();
}
tine_scheduler *tine_loop_scheduler(tine_loop *l) { return l->scheduler; }
tine_transport *tine_loop_transport(tine_loop *l) { return l->transport; }

static void wait_changed(tine_loop *l, int64_t deadline) {
    l->waiting++;
    if (deadline == INT64_MAX) {
        pthread_cond_wait(&l->changed, &l->lock);
    } else {
        struct timespec t = tine_timespec(deadline);
        pthread_cond_timedwait(&l->changed, &l->lock, &t);
    }
    l->waiting--;
}

static void announce(tine_loop *l) {
    if (l->waiting > 0) pthread_cond_broadcast(&l->changed);
}

/* Runs callbacks that are due, without the lock. */
static bool run_later(tine_loop *l) {
    if (!l->later) return false;
    tine_later *all = l->later;
    l->later = NULL;
    l->later_end = &l->later;
    pthread_mutex_unlock(&l->lock);
    bool was = in_callback;
    in_callback = true;
    while (all) {
        tine_later *next = all->next;
        all->fn(all->arg);
        free(all);
        all = next;
    }
    in_callback = was;
    pthread_mutex_lock(&l->lock);
    return true;
}

static int64_t earlier(int64_t a, int64_t b) { return a < b ? a : b; }

/* Everything that can be done without blocking. True if anything was. */
static bool work(tine_loop *l, int64_t *next) {
    tine_loop_count_handles(l);
    bool did = tine_loop_receive(l);
    int64_t now = tine_clock_ns();
    int64_t deaths = tine_loop_settle_deaths(l, now);
    if (tine_scheduler_deadline(l->scheduler) <= now) {
        tine_scheduler_tick(l->scheduler, now);
        did = true;
    }
    /* a death that was settled may have completed what the caller waits for */
    did |= tine_loop_act(l);
    did |= run_later(l);
    *next = earlier(deaths, tine_scheduler_deadline(l->scheduler));
    return did;
}

static void release_is_due(void *transport) {
    tine_transport *t = transport;
    t->ops->wake(t);
}

/* One turn of the driver: works, or blocks until there is work. Releases stay held: the driver has
 * what others wait for. */
static void turn(tine_loop *l, int64_t deadline) {
    int64_t next;
    if (work(l, &next)) return;
    next = earlier(next, deadline);
    int64_t timeout = -1;
    if (next != INT64_MAX) {
        int64_t left = next - tine_clock_ns();
        timeout = left > 0 ? left : 0;
    }
    l->blocked = true;
    pthread_mutex_unlock(&l->lock);
    tine_releases_notify(release_is_due, l->transport);
    if (!tine_releases_due()) l->transport->ops->wait(l->transport, timeout);
    tine_releases_notify(NULL, NULL);
    pthread_mutex_lock(&l->lock);
    l->blocked = false;
}

void tine_loop_take(tine_loop *l) {
    if (in_callback) return;
    while (l->progress_drives) {
        l->wanting++;
        l->transport->ops->wake(l->transport);
        wait_changed(l, INT64_MAX);
        l->wanting--;
    }
    l->driven++;
}

void tine_loop_claim(tine_loop *l) {
    if (in_callback) return;
    l->claims++;
    while (l->driving) {
        l->transport->ops->wake(l->transport);
        wait_changed(l, INT64_MAX);
    }
    l->claims--;
    l->driving = true;
}

void tine_loop_yield(tine_loop *l) {
    if (in_callback) return;
    l->driving = false;
    if (l->long_tick) pthread_cond_signal(&l->progress_due);
    l->long_tick = false;
    announce(l);
}

/* With the lock, not driving. */
static void run_releases(tine_loop *l) {
    if (!tine_releases_due()) return;
    tine_loop_unlock(l);
    tine_loop_lock(l);
}

static tine_error until(tine_loop *l, bool (*ready)(void *arg), void *arg, int64_t deadline) {
    while (!ready(arg)) {
        if (l->stopped) return tine_error_set(TINE_ECANCELED, "Tine has been shut down");
        if (in_callback)
            return tine_error_set(
                TINE_ESTATE,
                "a callback cannot wait: it runs on the thread that would have to answer");
        if (deadline != INT64_MAX && tine_clock_ns() >= deadline) return TINE_ETIMEDOUT;
        tine_loop_take(l);
        if (l->driving || l->claims > 0 || l->stopping) {
            wait_changed(l, deadline);
            continue;
        }
        l->driving = true;
        turn(l, deadline);
        tine_loop_yield(l);
        run_releases(l);
    }
    return TINE_OK;
}

tine_error tine_loop_until(tine_loop *l, bool (*ready)(void *arg), void *arg, int64_t deadline) {
    l->inside++;
    tine_error e = until(l, ready, arg, deadline);
    l->inside--;
    if (l->stopped) announce(l);
    return e;
}

void tine_loop_poll(tine_loop *l) {
    if (l->driving || l->claims > 0 || l->stopping) return;
    l->driving = true;
    tine_loop_receive(l);
    tine_loop_act(l);
    if (l->later) pthread_cond_signal(&l->progress_due);
    tine_loop_yield(l);
}

void tine_loop_push(tine_loop *l) {
    if (l->driving) {
        if (l->blocked) l->transport->ops->wake(l->transport);
        return;
    }
    l->driving = true;
    if (++l->pushes % PUSHES_PER_RECEIVE == 0) tine_loop_receive(l);
    tine_loop_act(l);
    l->driving = false;
    if (l->later) pthread_cond_signal(&l->progress_due);
    announce(l);
}

void tine_loop_later(tine_loop *l, void (*fn)(void *arg), void *arg) {
    tine_later *later = malloc(sizeof *later);
    if (!later) {
        pthread_mutex_unlock(&l->lock);
        fn(arg);
        pthread_mutex_lock(&l->lock);
        return;
    }
    *later = (tine_later){NULL, fn, arg};
    *l->later_end = later;
    l->later_end = &later->next;
}

/* ---- the progress thread ---- */

static void progress_drive(tine_loop *l) {
    l->driving = l->progress_drives = true;
    while (l->wanting == 0 && l->claims == 0 && !l->stopping && !tine_releases_due()) {
        turn(l, INT64_MAX);
        announce(l);
    }
    l->progress_drives = false;
    tine_loop_yield(l);
    run_releases(l);
}

static void *progress_main(void *arg) {
    tine_loop *l = arg;
    int64_t tick = TICK_NS;
    tine_loop_lock(l);
    while (!l->stopping) {
        uint64_t seen = l->driven;
        l->long_tick = tick > TICK_MAX_NS;
        struct timespec t = tine_timespec(tine_clock_ns() + tick);
        pthread_cond_timedwait(&l->progress_due, &l->lock, &t);
        bool busy = l->driving || l->wanting > 0 || l->claims > 0;
        bool stays = l->blocked && l->driven == seen && tick >= TICK_MAX_NS;
        if (!busy && (l->driven == seen || l->later)) {
            progress_drive(l);
            tick = TICK_NS;
        } else {
            int64_t most = stays ? LONG_TICK_NS : TICK_MAX_NS;
            tick = !busy ? TICK_NS : 2 * tick < most ? 2 * tick : most;
        }
    }
    tine_loop_unlock(l);
    return NULL;
}

/* ---- life ---- */

tine_error tine_loop_new(tine_loop **out, tine_scheduler *scheduler, tine_transport *transport) {
    tine_loop *l = calloc(1, sizeof *l);
    if (!l) return tine_error_set(TINE_ENOMEM, "no memory for the loop");
    l->later_end = &l->later;
    pthread_mutex_init(&l->lock, NULL);
    pthread_mutex_init(&l->handles_lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&l->changed, &monotonic);
    pthread_cond_init(&l->progress_due, &monotonic);
    pthread_condattr_destroy(&monotonic);
    l->scheduler = scheduler;
    l->transport = transport;
    int failed = pthread_create(&l->progress, NULL, progress_main, l);
    if (failed != 0) {
        l->scheduler = NULL;
        l->transport = NULL;
        tine_loop_free(l);
        return tine_error_set(TINE_EIO, "cannot start the progress thread: %s", strerror(failed));
    }
    l->progress_started = true;
    *out = l;
    return TINE_OK;
}

void tine_loop_stop(tine_loop *l, int64_t deadline) {
    tine_loop_lock(l);
    l->stopping = true;
    pthread_cond_signal(&l->progress_due);
    tine_loop_claim(l);
    pthread_mutex_unlock(&l->lock);
    if (l->progress_started) pthread_join(l->progress, NULL);
    l->progress_started = false;

    pthread_mutex_lock(&l->lock);
    tine_scheduler_stop(l->scheduler);
    int64_t next;
    work(l, &next);
    while (l->unsent && tine_clock_ns() < deadline) turn(l, deadline);
    l->stopped = true;
    tine_loop_yield(l);
    while (l->inside > 0) wait_changed(l, INT64_MAX);
    tine_loop_unlock(l);
    l->transport->ops->close(l->transport);
    l->transport->ops->stop(l->transport);
}

void tine_loop_clear(tine_loop *l) {
    if (l->transport) l->transport->ops->fini(l->transport);
    if (l->scheduler) tine_loop_count_handles(l);
    tine_scheduler_free(l->scheduler);
    l->transport = NULL;
    l->scheduler = NULL;
    while (l->unsent) {
        tine_unsent *u = l->unsent;
        l->unsent = u->next;
        tine_frame_free(u->frame);
        free(u);
    }
    tine_loop_deaths_free(l);
    tine_idmap_fini(&l->tickets); /* empty: tine_scheduler_stop has completed every fork */
}

void tine_loop_free(tine_loop *l) {
    if (!l) return;
    tine_loop_clear(l);
    free(l->handles);
    pthread_cond_destroy(&l->changed);
    pthread_cond_destroy(&l->progress_due);
    pthread_mutex_destroy(&l->lock);
    pthread_mutex_destroy(&l->handles_lock);
    free(l);
}

void tine_loop_listen(tine_loop *l, void (*fn)(void *arg, tine_peer peer, const tine_message *m),
                      void *arg) {
    l->listener = fn;
    l->listener_arg = arg;
}

void tine_loop_object_held(tine_loop *l, tine_object id, int change) {
    pthread_mutex_lock(&l->handles_lock);
    if (l->n_handles == l->room_handles) {
        size_t room = l->room_handles != 0 ? 2 * l->room_handles : 64;
        struct tine_handle_change *more = realloc(l->handles, room * sizeof *more);
        if (more) {
            l->handles = more;
            l->room_handles = room;
        }
    }
    bool first = l->n_handles == 0; /* who drives may be asleep, with much to be freed */
    if (l->n_handles < l->room_handles)
        l->handles[l->n_handles++] = (struct tine_handle_change){id, change};
    if (first) l->transport->ops->wake(l->transport);
    pthread_mutex_unlock(&l->handles_lock);
}
