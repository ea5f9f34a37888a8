/* Forks with a grace whose deadline passes while a task computes. The worker's loop, which ends
 * forks at their deadlines, stands still meanwhile, perhaps for ever: what computes may be the fork
 * itself, or something that it waits for. So the progress thread has the coordinator cancel them,
 * which ends the worker of one that does not end by itself. If the worker survives, its loop
 * completes their futures as always. */
#include "runtime/api/cancel.h"
#include "transport/base/clock.h"
#include "workers/internal.h"

void tine_worker_overdue_prepare(tine_worker *w) {
    const tine_context *c = &w->context;
    w->n_overdue = 0;
    for (size_t i = 0; c->n_graced > 0 && i < c->n_deadlines && w->n_overdue < OVERDUE_MAX; i++) {
        const tine_future_extra *x = c->deadlines[i];
        if (x->grace_ns == UINT64_MAX || !x->future->ticket) continue;
        w->overdue[w->n_overdue++] = (worker_overdue){x->due, x->future->ticket, x->grace_ns};
    }
}

void tine_worker_overdue_report(tine_worker *w) {
    int64_t now = w->n_overdue > 0 ? tine_clock_ns() : 0;
    for (size_t i = w->n_overdue; i-- > 0;) {
        const worker_overdue late = w->overdue[i];
        if (late.due > now) continue;
        w->overdue[i] = w->overdue[--w->n_overdue];
        w->reported |= tine_executor_cancel_early(w->executor, late.ticket, late.grace_ns);
    }
}

void tine_worker_overdue_settle(tine_worker *w) {
    if (!w->reported) return;
    w->reported = false;
    (void)tine_deadlines_run(&w->context, tine_clock_ns());
}
