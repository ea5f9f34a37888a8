/* The coordinator's life: see coordinator.h. */
#include "runtime/coordinator/coordinator.h"

#include <stdlib.h>

#include "runtime/api/cancel.h"
#include "runtime/api/instances.h"
#include "runtime/api/promise.h"
#include "runtime/coordinator/internal.h"
#include "runtime/settings/cores.h"
#include "transport/base/clock.h"
#include "transport/base/thread.h"

/* How many objects the coordinators of this process have made. The next one goes on counting, so
 * that a handle that outlives its coordinator never names a new object. */
static uint64_t objects_made;

tine_error tine_coordinator_over(void) {
    return tine_error_set(TINE_ESTATE, "Tine has been shut down");
}

tine_error tine_coordinator_refused(tine_error e, const char *what) {
    if (e == TINE_EINVAL)
        return tine_error_set(e, "an argument references a put value or module that has been "
                                 "freed; tine_shutdown frees all");
    return e == TINE_ESTATE ? tine_coordinator_over() : tine_error_set(e, "no memory for %s", what);
}

/* ---- making ---- */

static void coordinator_init_locks(tine_coordinator *c) {
    pthread_mutex_init(&c->lock, NULL);
    pthread_mutex_init(&c->handles_lock, NULL);
    pthread_mutex_init(&c->change_lock, NULL);
    tine_cond_init(&c->changed);
    tine_cond_init(&c->lock_taken);
    tine_cond_init(&c->progress_due);
    tine_cond_init(&c->instance_made);
}

static tine_error coordinator_make_scheduler(tine_coordinator *c, const tine_settings *s,
                                             int expected, bool workers_return) {
    const tine_transport *t = c->link.transport;
    bool here = !(tine_transport_flags(t->ops->url(t)) & TINE_TRANSPORT_REMOTE);
    tine_scheduler_config config = {.expected_workers = (uint32_t)expected,
                                    .cores = here ? (uint32_t)tine_cores_available() : 0,
                                    .max_attempts = 1 + (uint32_t)s->retries,
                                    .workers_return = workers_return,
                                    .workers_most = s->endpoint ? UINT32_MAX : (uint32_t)s->workers,
                                    .objects_made = objects_made};
    return tine_scheduler_new(&c->scheduler, &config);
}

tine_error tine_coordinator_new(tine_coordinator **out, const tine_settings *s,
                                tine_transport *transport, int expected, bool workers_return) {
    tine_coordinator *c = calloc(1, sizeof *c);
    if (!c) {
        transport->ops->fini(transport);
        return tine_error_set(TINE_ENOMEM, "no memory for a coordinator");
    }
    tine_link_init(&c->link, transport, &tine_coordinator_events, c);
    coordinator_init_locks(c);
    STAILQ_INIT(&c->callbacks);
    LIST_INIT(&c->deaths);
    LIST_INIT(&c->observers);
    c->began = tine_clock_coarse_ns();
    c->tell_at = INT64_MAX;
    c->max_pending = s->max_pending;
    c->max_pending_bytes = s->max_pending_bytes;
    bool threads = tine_transport_flags(transport->ops->url(transport)) & TINE_TRANSPORT_THREADS;
    c->max_memory = threads ? 0 : s->max_memory; /* threads have this process's memory */
    c->context.ops = &tine_coordinator_ops;
    atomic_store(&c->context.refs, 1);
    tine_coordinator_objects_init(c);
    tine_error e = coordinator_make_scheduler(c, s, expected, workers_return);
    if (e == TINE_OK)
        *out = c;
    else
        tine_coordinator_delete(c);
    return e;
}

/* ---- while it runs ---- */

/* After this many failed attempts in a row, some 2 s, the program's workers are taken to end at
 * once. Only tine_init gives up then. */
enum { OPEN_FAILURES = 9 };

typedef struct joining {
    tine_coordinator *c;
    size_t n;
} joining;

static bool have_joined(void *arg) {
    joining *j = arg;
    tine_scheduler_stats s = *tine_scheduler_stats_get(j->c->scheduler);
    return s.workers >= j->n || (s.workers == 0 && j->c->start_failures >= OPEN_FAILURES);
}

tine_error tine_coordinator_open(tine_coordinator *c, int n, double seconds) {
    tine_coordinator_set_owner(c);
    tine_context_install(&c->context);
    tine_error e = tine_coordinator_progress_start(c);
    if (e != TINE_OK) return e;
    joining j = {c, n > 0 ? (size_t)n : 0};
    tine_coordinator_lock(c);
    c->awaited = j.n;
    tine_coordinator_expect(c);
    e = tine_coordinator_until(c, have_joined, &j, tine_clock_ns() + (int64_t)(seconds * 1e9));
    size_t joined = tine_scheduler_workers(c->scheduler, NULL, 0);
    c->awaited = 0;
    c->tell_ns = 0;
    tine_coordinator_unlock(c);
    if (joined >= j.n) return TINE_OK;
    const char *last = c->start_failures > 0 ? "; the last one to be started " : "";
    if (e == TINE_OK)
        return tine_error_set(TINE_ELOST,
                              "the workers could not be started: %u attempts in a row failed%s%s",
                              c->start_failures, last, c->start_reason);
    return tine_error_set(e, "%zu of %d workers have joined within %g s (TINE_CONNECT_TIMEOUT)%s%s",
                          joined, n, seconds, last, c->start_reason);
}

int tine_coordinator_workers(tine_coordinator *c) {
    tine_coordinator_lock(c);
    size_t n = tine_scheduler_workers(c->scheduler, NULL, 0);
    tine_coordinator_unlock(c);
    return (int)n;
}

int tine_coordinator_endpoint_restore(tine_coordinator *c, char *why, size_t why_size) {
    int e = 0;
    tine_coordinator_lock(c);
    tine_coordinator_enter(c);
    if (!c->stopping) e = tine_link_restore(&c->link, why, why_size);
    tine_coordinator_leave(c);
    tine_coordinator_unlock(c);
    return e;
}

/* ---- the end ---- */

static void coordinator_stop_progress(tine_coordinator *c) {
    tine_coordinator_lock(c);
    c->stopping = true;
    pthread_cond_signal(&c->progress_due);
    tine_coordinator_enter(c);
    pthread_mutex_unlock(&c->lock);
    tine_coordinator_progress_join(c);
    pthread_mutex_lock(&c->lock);
}

void tine_coordinator_stop(tine_coordinator *c, double seconds) {
    int64_t deadline = tine_clock_ns() + (int64_t)(seconds * 1e9);
    coordinator_stop_progress(c);
    tine_scheduler_stop(c->scheduler);
    tine_coordinator_observers_stop(c);
    tine_promises_cancel(&c->context, "Tine was shut down before the promise was completed");
    do tine_coordinator_work(c);
    while (!STAILQ_EMPTY(&c->callbacks)); /* a callback's value may be due to another one */
    while (tine_link_has_backlog(&c->link) && tine_clock_ns() < deadline)
        tine_coordinator_turn(c, deadline);
    c->stopped = true;
    tine_coordinator_leave(c);
    while (c->n_waiting > 0) tine_coordinator_sleep(c, INT64_MAX);
    tine_coordinator_unlock(c);
    tine_link_close(&c->link);
    tine_context_install(NULL);
}

/* Frees all but the locks, which calls on futures that outlive it still take. */
static void coordinator_clear(tine_coordinator *c) {
    tine_link_fini(&c->link);
    if (c->scheduler) tine_coordinator_count_handles(c);
    tine_scheduler_free(c->scheduler);
    c->scheduler = NULL;
    tine_coordinator_deaths_free(c);
    tine_coordinator_ends_free(c);
    tine_coordinator_observers_free(c);
    tine_timers_fini(&c->context.deadlines);
}

void tine_coordinator_free(tine_coordinator *c) {
    if (!c) return;
    tine_instances_end(&c->context);
    tine_coordinator_set_owner(NULL);
    tine_scheduler_stats s = *tine_scheduler_stats_get(c->scheduler);
    objects_made = s.objects_made;
    tine_coordinator_lock(c); /* another thread may be inside a call, which will fail */
    coordinator_clear(c);
    tine_coordinator_unlock(c);
    tine_context_unref(&c->context);
}

void tine_coordinator_delete(tine_coordinator *c) {
    coordinator_clear(c);
    tine_instances_free(&c->context);
    free(c->handles);
    pthread_cond_destroy(&c->instance_made);
    pthread_cond_destroy(&c->lock_taken);
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->change_lock);
    pthread_cond_destroy(&c->progress_due);
    pthread_mutex_destroy(&c->lock);
    pthread_mutex_destroy(&c->handles_lock);
    free(c);
}
