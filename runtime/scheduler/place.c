/* Where tasks may run: on one worker only, or on workers with a label or with slots (slots.c).
 *
 * A label belongs to the callable: tasks with it have a ready queue of their own, and groups of
 * workers that serve it (dispatch.c). A task of one worker is pinned: it is in that worker's ready
 * queue. A dispatch starts the first pinned task of a worker before a task that any worker could
 * run, unless that one precedes it and would go to this worker: so neither kind starves the other.
 * Where the first pinned task needs more credit than the worker has left, the worker is closed
 * until it has enough. A worker whose first pinned task cannot start leaves pin_queue until its
 * load, or what closes it, has changed: so a choice does not cost more with more workers. */
#include "runtime/scheduler/internal.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- the place of a task ---- */

sched_worker *tine_scheduler_worker_of_epoch(const tine_scheduler *s, uint32_t epoch) {
    sched_worker *w = tine_idmap_get(&s->epochs, epoch);
    return w && !w->lost ? w : NULL;
}

sched_worker *tine_scheduler_place(tine_scheduler *s, const sched_task *t) {
    sched_worker *w = t->flags & TINE_MODULE_SINGLE ? tine_scheduler_single_place(s, t) : NULL;
    if (w) return w;
    return t->terms && t->terms->worker ? tine_scheduler_worker_of_epoch(s, t->terms->worker)
                                        : NULL;
}

static void sched_task_end_misplaced(tine_scheduler *s, sched_task *t, tine_error e, char *why) {
    char *text = tine_scheduler_text_misplaced(t, why);
    free(why);
    tine_scheduler_task_end(s, t, e, NULL, text);
}

/* Of a task that names its worker. */
static bool sched_worker_check(tine_scheduler *s, sched_task *t) {
    uint32_t id = t->terms->worker;
    const sched_worker *w = tine_scheduler_worker_of_epoch(s, id);
    if (!w)
        sched_task_end_misplaced(
            s, t, id > s->last_epoch ? TINE_EINVAL : TINE_ELOST,
            tine_scheduler_text(id > s->last_epoch ? "there is no worker with the id %" PRIu32
                                                   : "worker %" PRIu32 " is not there any more",
                                id));
    else if (w->closed & SCHED_CLOSED_ENDING)
        sched_task_end_misplaced(s, t, TINE_ELOST,
                                 tine_scheduler_text("worker %" PRIu32 " is lost: %s", id,
                                                     tine_scheduler_text_ending(w)));
    else if (!tine_scheduler_serves(s, w, t->callable))
        sched_task_end_misplaced(
            s, t, TINE_EUNKNOWN,
            tine_scheduler_text("worker %" PRIu32 " does not serve %s%s", id, t->callable->display,
                                t->callable->chosen ? " with this label, or with what it takes"
                                                    : ""));
    else
        return true;
    return false;
}

bool tine_scheduler_place_check(tine_scheduler *s, sched_task *t) {
    if (t->callable->chosen) tine_scheduler_choice_tell(s, t->callable);
    return !t->terms->worker || sched_worker_check(s, t);
}

void tine_scheduler_choice_tell(tine_scheduler *s, sched_callable *c) {
    bool served = tine_scheduler_is_served(s, c, false);
    if (served == !c->told) return;
    c->told = !served;
    if (!served) tine_scheduler_log(s, 1, tine_scheduler_text_awaited(c));
}

/* ---- pinned tasks ---- */

void tine_scheduler_pin_enqueue(tine_scheduler *s, sched_worker *w) {
    if (w->pin_queued) return;
    w->pin_queued = true;
    TAILQ_INSERT_TAIL(&s->pin_queue, w, pin_link);
}

static void sched_pin_dequeue(tine_scheduler *s, sched_worker *w) {
    if (!w->pin_queued) return;
    w->pin_queued = false;
    TAILQ_REMOVE(&s->pin_queue, w, pin_link);
}

void tine_scheduler_pin(tine_scheduler *s, sched_task *t, sched_worker *w) {
    t->pinned = w;
    tine_ready_push(&w->pinned, &t->link);
    tine_scheduler_pin_enqueue(s, w);
}

void tine_scheduler_unpin(tine_scheduler *s, sched_task *t) {
    sched_worker *w = t->pinned;
    t->pinned = NULL;
    tine_ready_remove(&w->pinned, &t->link);
    if (w->granted == t) {
        w->granted = NULL;
        tine_scheduler_giver_update(w);
        tine_scheduler_slots_offer(s, w);
    }
    tine_scheduler_close(s, w, SCHED_CLOSED_DRAINING, false);
    if (w->pinned.n > 0)
        tine_scheduler_pin_enqueue(s, w); /* another one is the first */
    else
        sched_pin_dequeue(s, w);
}

void tine_scheduler_pins_lost(tine_scheduler *s, sched_worker *w, const char *reason) {
    while (w->pinned.n > 0 || !TAILQ_EMPTY(&w->wanting)) {
        sched_task *t = (sched_task *)tine_ready_first(
            w->pinned.n > 0 ? &w->pinned : &TAILQ_FIRST(&w->wanting)->ready);
        /* its module says what becomes of it, or it has only taken slots there */
        if (t->flags & TINE_MODULE_SINGLE || !t->terms->worker) {
            tine_scheduler_dequeue(s, t);
            if (t->terms) tine_scheduler_slots_return(s, t);
            tine_scheduler_enqueue(s, t);
            continue;
        }
        sched_task_end_misplaced(
            s, t, TINE_ELOST,
            tine_scheduler_text("worker %" PRIu32 " was lost: %s%.160s", w->epoch,
                                tine_scheduler_reason_subject(reason), reason));
    }
}

void tine_scheduler_close(tine_scheduler *s, sched_worker *w, unsigned why, bool on) {
    if (!(w->closed & why) == !on) return;
    w->closed = (uint8_t)(w->closed ^ why);
    tine_scheduler_worker_update(s, w);
}

bool tine_scheduler_task_precedes(const sched_task *a, const sched_task *b) {
    return a->link.depth != b->link.depth ? a->link.depth > b->link.depth
                                          : a->link.order < b->link.order;
}

static bool sched_task_initialises(const sched_task *t) {
    return t->terms && t->terms->initialiser;
}

/* The first pinned task, if only credit can keep it from starting. */
static sched_task *sched_pin_first(const sched_worker *w) {
    sched_task *t = (sched_task *)tine_ready_first((tine_ready *)&w->pinned);
    if (!t || !tine_scheduler_has_credit(w) || w->closed & SCHED_CLOSED_PAUSED) return NULL;
    return w->closed & SCHED_CLOSED_NEW && !sched_task_initialises(t) ? NULL : t;
}

sched_task *tine_scheduler_pin_choose(tine_scheduler *s, sched_worker *worker,
                                      const sched_task *next, bool *again) {
    sched_task *t = worker ? sched_pin_first(worker) : NULL;
    if (t && tine_scheduler_task_precedes(t, next)) {
        if (tine_scheduler_fits(s, worker, t)) return t;
        tine_scheduler_close(s, worker, SCHED_CLOSED_DRAINING, true);
        *again = true;
        return NULL;
    }
    for (sched_worker *w = TAILQ_FIRST(&s->pin_queue), *following; w; w = following) {
        following = TAILQ_NEXT(w, pin_link);
        if (w == worker) continue;
        t = sched_pin_first(w);
        if (t && tine_scheduler_fits(s, w, t)) return t;
        sched_pin_dequeue(s, w);
    }
    return NULL;
}
