/* Which thread runs the event loop, and when: see coordinator.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/api/cancel.h"
#include "runtime/coordinator/internal.h"
#include "runtime/value/release.h"
#include "runtime/value/error.h"
#include "transport/base/clock.h"
#include "transport/base/log.h"
#include "transport/base/thread.h"

/* A wait for workers longer than this is logged, and again after twice, four times … this. */
enum { TELL_NS = 2000000000 };
enum {
    /* When no thread has run the loop for this long, the progress thread does; while others keep
     * running it, four times as long. It bounds how long a nested fork waits when the program
     * begins to compute. */
    TICK_NS = 1000000,
    TICK_MAX_NS = 4 * TICK_NS,
    /* While one thread stays in the transport's wait, the progress thread sleeps this long at
     * most and is woken when that thread leaves: a wake-up takes some 40 us from the task that
     * computes on the core (tine ensemble). */
    LONG_TICK_NS = 256000000,
    COARSE_NS = 20000000, /* the coarse clock is a tick of the kernel behind, 10 ms at most */
    /* A program that forks without waiting receives after this many forks. */
    FORKS_PER_RECEIVE = 32,
};

static _Thread_local bool in_callback;

bool tine_coordinator_in_callback(void) { return in_callback; }

void tine_coordinator_announce(tine_coordinator *c) {
    if (c->running && c->blocked) tine_link_wake(&c->link);
    if (!c->running && !STAILQ_EMPTY(&c->callbacks)) pthread_cond_signal(&c->progress_due);
    tine_coordinator_changed(c);
}

/* ---- callbacks ---- */

void tine_coordinator_defer(tine_coordinator *c, void (*fn)(void *arg), void *arg) {
    coordinator_callback *callback = malloc(sizeof *callback);
    if (!callback) {
        pthread_mutex_unlock(&c->lock);
        fn(arg);
        pthread_mutex_lock(&c->lock);
        return;
    }
    callback->fn = fn;
    callback->arg = arg;
    STAILQ_INSERT_TAIL(&c->callbacks, callback, entry);
}

/* Runs what is due, without the lock. */
static bool callbacks_run(tine_coordinator *c) {
    if (STAILQ_EMPTY(&c->callbacks)) return false;
    coordinator_callback *next = STAILQ_FIRST(&c->callbacks);
    STAILQ_INIT(&c->callbacks);
    bool nested = in_callback;
    in_callback = c->calling_back = true;
    tine_coordinator_changed(c); /* threads that preempt this one go on without */
    pthread_mutex_unlock(&c->lock);
    while (next) {
        coordinator_callback *callback = next;
        next = STAILQ_NEXT(callback, entry);
        callback->fn(callback->arg);
        free(callback);
    }
    in_callback = nested;
    pthread_mutex_lock(&c->lock);
    c->calling_back = nested;
    return true;
}

/* ---- one turn ---- */

static int64_t deadline_earlier(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t next_deadline(tine_coordinator *c) {
    int64_t next = deadline_earlier(c->tell_at, tine_coordinator_deaths_due(c));
    next = deadline_earlier(next, tine_scheduler_deadline(c->scheduler));
    next = deadline_earlier(next, tine_coordinator_ends_due(c));
    next = deadline_earlier(next, tine_timers_next(&c->context.deadlines));
    return deadline_earlier(next, tine_coordinator_memory_due(c));
}

void tine_coordinator_expect(tine_coordinator *c) {
    if (c->tell_ns == 0) c->tell_at = tine_clock_ns() + (c->tell_ns = TELL_NS);
}

/* Ever more rarely. Where local workers cannot be started, the supervisor logs why instead. */
static void tell_what_is_awaited(tine_coordinator *c, int64_t now) {
    tine_scheduler_stats s = *tine_scheduler_stats_get(c->scheduler);
    bool awaits = c->awaited > 0 ? s.workers < c->awaited : s.workers == 0 && s.ready > 0;
    if (c->start_failures > 0 || !awaits) {
        c->tell_at = INT64_MAX;
        c->tell_ns = 0;
        return;
    }
    c->tell_ns = c->tell_ns ? 2 * c->tell_ns : TELL_NS;
    c->tell_at = now + c->tell_ns;
    char remedy[600] = "";
    const tine_transport *t = c->link.transport;
    const char *url = t->ops->url(t);
    bool key = t->ops->encrypted && t->ops->encrypted(t);
    if (!(tine_transport_flags(url) & (TINE_TRANSPORT_THREADS | TINE_TRANSPORT_RANKS)))
        snprintf(remedy, sizeof remedy,
                 "; start `tine worker %.250s`, or this program with TINE_WORKER=%.250s%s", url,
                 url, key ? ", each with the job's key (TINE_KEY_FILE)" : "");
    if (c->awaited > 0)
        tine_log(TINE_LOG_WARN, "tine_init waits for %zu workers; %u have joined%s", c->awaited,
                 s.workers, remedy);
    else
        tine_log(TINE_LOG_WARN, "%llu task%s for a worker; none is connected%s",
                 (unsigned long long)s.ready, s.ready == 1 ? " waits" : "s wait", remedy);
}

/* Does what is due by the clock. True if a deadline has cancelled a fork, or the scheduler had a
 * tick. */
static bool deadlines_work(tine_coordinator *c, int64_t coarse) {
    int64_t next = next_deadline(c);
    if (next == INT64_MAX || next - COARSE_NS > coarse) return false;
    int64_t now = tine_clock_ns();
    tine_coordinator_settle_deaths(c, now);
    tine_coordinator_ends_run(c, now);
    tine_coordinator_memory_look(c, now);
    bool cancelled = tine_deadlines_run(&c->context, now);
    if (c->tell_at <= now) tell_what_is_awaited(c, now);
    if (tine_scheduler_deadline(c->scheduler) > now) return cancelled;
    tine_scheduler_tick(c->scheduler, now);
    return true;
}

static bool work_without_callbacks(tine_coordinator *c) {
    tine_coordinator_count_handles(c);
    int64_t now = tine_clock_coarse_ns();
    tine_scheduler_time(c->scheduler, now);
    bool did = tine_link_receive(&c->link) > 0;
    if (c->memory_wanted) tine_coordinator_memory_ask(c);
    did |= deadlines_work(c, now);
    return did | tine_coordinator_act(c);
}

bool tine_coordinator_work(tine_coordinator *c) {
    bool did = work_without_callbacks(c);
    return did | callbacks_run(c);
}

static void wake_for_release(void *link) { tine_link_wake(link); }

/* Release callbacks are not run here: they may need a lock that a thread has which waits for the
 * loop. One that becomes due while this thread is inside the transport wakes it. */
static void loop_block(tine_coordinator *c, int64_t deadline) {
    int64_t timeout = tine_timeout_until(deadline_earlier(next_deadline(c), deadline));
    c->blocked = true;
    pthread_mutex_unlock(&c->lock);
    tine_releases_notify(wake_for_release, &c->link);
    if (!tine_releases_due()) tine_link_wait(&c->link, timeout);
    tine_releases_notify(NULL, NULL);
    pthread_mutex_lock(&c->lock);
    c->blocked = false;
}

void tine_coordinator_turn(tine_coordinator *c, int64_t deadline) {
    if (!tine_coordinator_work(c)) loop_block(c, deadline);
    tine_coordinator_yield(c);
}

/* ---- who runs it ---- */

static void loop_free(tine_coordinator *c) {
    c->running = false;
    if (c->progress_long_tick) pthread_cond_signal(&c->progress_due);
    c->progress_long_tick = false;
    tine_coordinator_changed(c);
}

/* Not while it runs a callback, which may compute for a long time. */
static void preempt_until(tine_coordinator *c, int64_t deadline) {
    if (in_callback) return;
    while (c->progress_running && !c->calling_back &&
           (deadline == INT64_MAX || tine_clock_ns() < deadline)) {
        c->n_preempting++;
        tine_link_wake(&c->link);
        tine_coordinator_sleep(c, deadline);
        c->n_preempting--;
    }
    c->runs++;
}

void tine_coordinator_preempt(tine_coordinator *c) { preempt_until(c, INT64_MAX); }

void tine_coordinator_enter(tine_coordinator *c) {
    if (in_callback) return;
    c->n_entering++;
    while (c->running) {
        tine_link_wake(&c->link);
        tine_coordinator_sleep(c, INT64_MAX);
    }
    c->n_entering--;
    c->running = true;
}

void tine_coordinator_leave(tine_coordinator *c) {
    if (!in_callback) loop_free(c);
}

/* With the lock, while this thread does not run the loop. */
static void releases_run(tine_coordinator *c) {
    if (!tine_releases_due()) return;
    tine_coordinator_unlock(c);
    tine_coordinator_lock(c);
}

static tine_error run_until(tine_coordinator *c, bool (*ready)(void *arg), void *arg,
                            int64_t deadline) {
    while (!ready(arg)) {
        if (c->stopped) return tine_error_set(TINE_ECANCELED, "Tine has been shut down");
        if (deadline != INT64_MAX && tine_clock_ns() >= deadline) return TINE_ETIMEDOUT;
        if (in_callback)
            return tine_error_set(TINE_ESTATE, "a callback cannot wait: it runs on the "
                                               "thread that receives the result");
        preempt_until(c, deadline);
        if (c->running || c->n_entering > 0 || c->stopping) {
            tine_coordinator_sleep(c, deadline);
            continue;
        }
        c->running = true;
        tine_coordinator_turn(c, deadline);
        loop_free(c);
        releases_run(c);
    }
    return TINE_OK;
}

tine_error tine_coordinator_until(tine_coordinator *c, bool (*ready)(void *arg), void *arg,
                                  int64_t deadline) {
    c->n_waiting++;
    tine_error e = run_until(c, ready, arg, deadline);
    c->n_waiting--;
    if (c->stopped) tine_coordinator_changed(c);
    return e;
}

/* A callback runs in the thread that runs the loop, so this is that thread. */
static tine_error callback_until(tine_coordinator *c, bool (*ready)(void *arg), void *arg) {
    while (!ready(arg)) {
        if (c->stopping) return tine_error_set(TINE_ECANCELED, "Tine has been shut down");
        if (!work_without_callbacks(c)) loop_block(c, INT64_MAX);
        tine_coordinator_yield(c);
    }
    return TINE_OK;
}

tine_error tine_coordinator_until_fetched(tine_coordinator *c, bool (*ready)(void *arg),
                                          void *arg) {
    return in_callback ? callback_until(c, ready, arg)
                       : tine_coordinator_until(c, ready, arg, INT64_MAX);
}

/* Callbacks are left to the progress thread: the caller is inside a call that does not wait. */
static void act_once(tine_coordinator *c, bool receive) {
    c->running = true;
    if (receive) {
        tine_link_receive(&c->link);
        deadlines_work(c, tine_clock_coarse_ns());
    }
    tine_coordinator_act(c);
    if (!STAILQ_EMPTY(&c->callbacks)) pthread_cond_signal(&c->progress_due);
}

void tine_coordinator_poll(tine_coordinator *c) {
    if (c->running || c->n_entering > 0 || c->stopping) return;
    act_once(c, true);
    loop_free(c);
}

void tine_coordinator_receive_some(tine_coordinator *c) {
    if (++c->forks % FORKS_PER_RECEIVE == 0) tine_coordinator_poll(c);
}

void tine_coordinator_push(tine_coordinator *c) {
    if (c->running) {
        if (c->blocked) tine_link_wake(&c->link);
        return;
    }
    act_once(c, false);
    c->running = false;
    tine_coordinator_changed(c);
}

/* ---- the progress thread ---- */

static void progress_run(tine_coordinator *c) {
    c->running = c->progress_running = true;
    while (c->n_preempting == 0 && c->n_entering == 0 && !c->stopping && !tine_releases_due()) {
        tine_coordinator_turn(c, INT64_MAX);
        tine_coordinator_changed(c);
    }
    c->progress_running = false;
    loop_free(c);
    releases_run(c);
}

static void *coordinator_progress_main(void *arg) {
    tine_coordinator *c = arg;
    int64_t tick = TICK_NS;
    tine_coordinator_lock(c);
    while (!c->stopping) {
        uint64_t seen = c->runs;
        c->progress_long_tick = tick > TICK_MAX_NS;
        tine_cond_wait_until(&c->progress_due, &c->lock, tine_clock_ns() + tick);
        bool busy = c->running || c->n_preempting > 0 || c->n_entering > 0;
        bool same_run = c->blocked && c->runs == seen && tick >= TICK_MAX_NS;
        if (!busy && (c->runs == seen || !STAILQ_EMPTY(&c->callbacks))) {
            progress_run(c);
            tick = TICK_NS;
        } else {
            int64_t most = same_run ? LONG_TICK_NS : TICK_MAX_NS;
            tick = !busy ? TICK_NS : 2 * tick < most ? 2 * tick : most;
        }
    }
    tine_coordinator_unlock(c);
    return NULL;
}

tine_error tine_coordinator_progress_start(tine_coordinator *c) {
    int failed = tine_thread_start(&c->progress, "tine progress", coordinator_progress_main, c);
    if (failed != 0)
        return tine_error_set(TINE_EIO, "cannot start the progress thread: %s", strerror(failed));
    c->progress_started = true;
    return TINE_OK;
}

void tine_coordinator_progress_join(tine_coordinator *c) {
    if (c->progress_started) pthread_join(c->progress, NULL);
    c->progress_started = false;
}
