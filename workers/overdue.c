/* Forks whose deadline has passed. The worker's loop ends them, and stands still while a task
 * computes, perhaps for ever: what computes may be the fork itself, or something that it waits for.
 * So the progress thread has the coordinator cancel those that have a grace, which ends the worker
 * of one that does not end by itself. If this worker survives, its loop completes their futures as
 * always: with results that came in time, if there are any.
 *
 * Forks are submitted, and completed, by the thread that has the link (progress.h), which therefore
 * needs no lock for their heap. */
#include "runtime/api/cancel.h"
#include "transport/base/clock.h"
#include "workers/internal.h"

/* ---- those with a grace ---- */

void tine_worker_overdue_watch(tine_worker *w, tine_future *f) {
    tine_timer *t = &f->extra->graced;
    *t = (tine_timer){.due = f->extra->deadline.due, .owner = f};
    tine_timers_add(&w->graced, t);
}

void tine_worker_overdue_forget(tine_worker *w, tine_future *f) {
    if (f->extra) tine_timers_remove(&w->graced, &f->extra->graced);
}

void tine_worker_overdue_report(tine_worker *w) {
    if (tine_timers_next(&w->graced) == INT64_MAX) return;
    for (int64_t now = tine_clock_ns(); tine_timers_next(&w->graced) <= now;) {
        const tine_future *f = tine_timers_first(&w->graced)->owner;
        tine_timers_remove(&w->graced, &f->extra->graced);
        tine_executor_cancel_early(w->executor, f->ticket, f->extra->grace_ns);
    }
}

/* ---- in the loop ---- */

/* Of one call, so that a peer that never stops sending does not hold up the worker. */
enum { LATE_RECEIVES_MAX = 1024 };

void tine_worker_end_late_forks(tine_worker *w, int64_t now) {
    const tine_timers *deadlines = &w->context.deadlines;
    if (tine_timers_next(deadlines) > now) return;
    for (int i = 0; i < LATE_RECEIVES_MAX && tine_timers_next(deadlines) <= now; i++) {
        tine_progress_reclaim(&w->progress);
        if (!tine_worker_receive(w)) break;
        tine_worker_act(w);
    }
    if (tine_deadlines_run(&w->context, now)) tine_worker_act(w);
}
