/* What a worker says of its waits in a PONG, from which the coordinator finds deadlocks: whether
 * nothing but a message can make it go on, and for which forks its tasks wait.
 *
 * A promise may be completed by any thread, and a wait with a deadline ends by itself: while there
 * is one of them the worker says nothing. */
#include "runtime/api/cancel.h"
#include "runtime/api/promise.h"
#include "transport/base/memory.h"
#include "transport/base/process.h"
#include "workers/internal.h"

/* Forks that one PONG names; more are: any. */
enum { AWAITED_MAX = 65536 };

static bool worker_is_quiet(const tine_worker *w) {
    return !w->current && !w->calling && tine_worker_is_idle(w) && !w->n_timed &&
           !tine_executor_reaches(w->executor) &&
           tine_timers_next(&w->context.deadlines) == INT64_MAX && !tine_promises_open(&w->context);
}

static void worker_add(tine_worker *w, tine_message *pong, uint64_t seq) {
    if (pong->n_ids == AWAITED_MAX) { /* of some of them */
        w->awaited[AWAITED_MAX - 1] = 0;
        return;
    }
    w->awaited = tine_must_grow(w->awaited, &w->room_awaited, pong->n_ids + 1, sizeof seq);
    w->awaited[pong->n_ids++] = seq;
}

/* A future that is no open fork follows from others: 0 stands for any fork. */
static void worker_add_awaited(tine_worker *w, tine_message *pong, const tine_attempt *a) {
    if (a->finishing || (a->waits_for_credit && !a->yields)) worker_add(w, pong, 0);
    for (size_t i = 0; a->waits && i < a->n_awaited; i++) {
        const tine_future *f = a->awaited[i];
        bool open = f->ticket && tine_idmap_get(&w->tickets, f->ticket) == f;
        if (!tine_future_is_done(f)) worker_add(w, pong, open ? f->ticket : 0);
    }
}

void tine_worker_answer(tine_worker *w, tine_message *pong) {
    pong->memory = tine_process_memory();
    if (!worker_is_quiet(w)) {
        pong->received = pong->sent = 0;
        return;
    }
    const tine_attempt *a;
    if (!STAILQ_EMPTY(&w->forks)) worker_add(w, pong, 0); /* one that starts gives credit */
    LIST_FOREACH (a, &w->attempts, live) worker_add_awaited(w, pong, a);
    pong->ids = w->awaited;
}
