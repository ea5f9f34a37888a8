/* What a worker does on its progress thread (progress.h) while a task computes: it answers what the
 * coordinator asks for at once, and fetches results for the tasks that come next. */
#include "workers/internal.h"

/* The coordinator may ask for something that is here, or a result is being fetched. */
static bool worker_waits(void *ctx) {
    const tine_worker *w = ctx;
    return tine_executor_has_local(w->executor) || tine_executor_keeps(w->executor) ||
           tine_executor_reaches(w->executor);
}

/* A result that is here, or is fetched, can be sent whatever was collected. One can be fetched
 * unless what was collected may end or drop an object of the same id. */
static bool worker_overtakes(void *ctx, const tine_message *m, uint64_t held) {
    const tine_worker *w = ctx;
    if (m->type == TINE_MSG_FETCH) return tine_executor_has(w->executor, m->object);
    return !(held & (UINT64_C(1) << TINE_MSG_OBJECT | UINT64_C(1) << TINE_MSG_DROP));
}

/* A DEMAND, FETCH or REACH was handled: sends the forks, or the result, that it asks for, or has a
 * result fetched. Says what could not be fetched. Gives tasks back, if this worker is to leave, and
 * cancels forks that are overdue. */
static void worker_act_early(void *ctx) {
    tine_worker *w = ctx;
    tine_executor_action a;
    if (tine_leave_asked(w->leave)) {
        tine_executor_leave(w->executor);
        tine_link_handle_any_time(&w->link, TINE_MSG_TASK); /* those are given back */
    }
    if (w->reach) tine_worker_reached(w);
    tine_worker_overdue_report(w);
    while (tine_executor_next_early(w->executor, &a)) {
        if (a.kind == TINE_EXECUTOR_REACH)
            tine_worker_reach(w, &a);
        else if (!w->send_error)
            w->send_error = tine_link_send(&w->link, 1, &a.message);
    }
}

static int64_t worker_due(void *ctx) { return tine_timers_next(&((tine_worker *)ctx)->graced); }

void tine_worker_progress_init(tine_worker *w) {
    w->link.early = UINT64_C(1) << TINE_MSG_FETCH | UINT64_C(1) << TINE_MSG_REACH;
    tine_link_handle_any_time(&w->link, TINE_MSG_DEMAND);
    w->link.overtakes = worker_overtakes;
    tine_progress_init(&w->progress, &w->link,
                       &(tine_progress_handler){worker_waits, worker_act_early, worker_due, w});
}
