/* Modules with one instance (TINE_MODULE_SINGLE): all calls run on one worker, one after another,
 * in the order of their forks.
 *
 * A call has its turn when the one before it has ended, and only then waits for its arguments and
 * for its place as other tasks do. The first call chooses the worker; the others are pinned to it.
 * When the worker is lost, so is the state: every later call fails with the reason, unless the
 * class allows a new instance (TINE_MODULE_RENEW), which any worker may have.
 *
 * The next turn begins in a dispatch, not where the last one ends: a row of calls that fail needs
 * no recursion. */
#include "runtime/scheduler/internal.h"

#include <inttypes.h>
#include <stdlib.h>

static sched_single *sched_single_of(tine_scheduler *s, const sched_task *t) {
    sched_object *o = tine_scheduler_object_find(s, t->object);
    TINE_ASSERT_TRUE(o);
    if (!o->single) {
        o->single = tine_scheduler_alloc(sizeof *o->single);
        o->single->renew = t->flags & TINE_MODULE_RENEW;
        TAILQ_INIT(&o->single->queue);
    }
    return o->single;
}

sched_worker *tine_scheduler_single_place(tine_scheduler *s, const sched_task *t) {
    return sched_single_of(s, t)->worker;
}

static void sched_turn_queue(tine_scheduler *s, sched_single *g, sched_task *t) {
    t->state = SCHED_TURN;
    TAILQ_INSERT_TAIL(&g->queue, t, run_link);
    s->stats.waiting++;
    tine_scheduler_pending_bytes(s, t, true);
}

void tine_scheduler_turn_leave(tine_scheduler *s, sched_task *t) {
    TAILQ_REMOVE(&sched_single_of(s, t)->queue, t, run_link);
    s->stats.waiting--;
    tine_scheduler_pending_bytes(s, t, false);
    t->state = SCHED_READY;
}

/* Whether it may run where the instance is. */
static bool sched_single_check(tine_scheduler *s, const sched_single *g, sched_task *t) {
    if (g->lost) {
        tine_scheduler_task_end(s, t, TINE_ELOST, NULL,
                                tine_scheduler_text("task \"%s\" cannot run: %s",
                                                    tine_scheduler_task_name(t), g->lost));
        return false;
    }
    const sched_worker *w = g->worker;
    bool elsewhere = w && t->terms && t->terms->worker && t->terms->worker != w->epoch;
    if (!w || (!elsewhere && tine_scheduler_serves(s, w, t->callable))) return true;
    char *why = tine_scheduler_text(elsewhere ? "the module's instance is on worker %" PRIu32
                                              : "the module's instance is on worker %" PRIu32
                                                ", which does not have the label, or the slots, "
                                                "that it asks for",
                                    w->epoch);
    char *text = tine_scheduler_text_misplaced(t, why);
    free(why);
    tine_scheduler_task_end(s, t, TINE_EINVAL, NULL, text);
    return false;
}

bool tine_scheduler_turn(tine_scheduler *s, sched_task *t) {
    sched_single *g = sched_single_of(s, t);
    if (g->current != t && (g->current || !TAILQ_EMPTY(&g->queue))) {
        sched_turn_queue(s, g, t);
        return false;
    }
    g->current = t;
    return sched_single_check(s, g, t);
}

void tine_scheduler_turn_end(tine_scheduler *s, const sched_task *t) {
    sched_single *g = sched_single_of(s, t);
    if (g->current != t) return;
    g->current = NULL;
    if (g->due || s->stopped || TAILQ_EMPTY(&g->queue)) return;
    g->due = true;
    TAILQ_INSERT_TAIL(&s->turns, g, turn_link);
}

void tine_scheduler_turns_begin(tine_scheduler *s) {
    for (sched_single *g; (g = TAILQ_FIRST(&s->turns));) {
        TAILQ_REMOVE(&s->turns, g, turn_link);
        g->due = false;
        if (g->current || TAILQ_EMPTY(&g->queue)) continue;
        sched_task *t = TAILQ_FIRST(&g->queue);
        tine_scheduler_turn_leave(s, t);
        g->current = t;
        tine_scheduler_enqueue(s, t);
    }
}

void tine_scheduler_single_bind(tine_scheduler *s, const sched_task *t, sched_worker *w) {
    sched_single *g = sched_single_of(s, t);
    g->used = g->worker;
    if (g->worker) return;
    g->worker = w;
    LIST_INSERT_HEAD(&w->singles, g, link);
}

/* The first call would have made the instance: there is none whose state is lost. */
void tine_scheduler_single_unbind(tine_scheduler *s, const sched_task *t) {
    sched_single *g = sched_single_of(s, t);
    if (g->used) return;
    if (g->worker) LIST_REMOVE(g, link);
    g->worker = NULL;
    free(g->lost);
    g->lost = NULL;
}

void tine_scheduler_singles_lost(sched_worker *w, const char *reason) {
    for (sched_single *g; (g = LIST_FIRST(&w->singles));) {
        LIST_REMOVE(g, link);
        g->worker = NULL;
        if (!g->renew)
            g->lost = tine_scheduler_text(
                "the state of its module was lost on worker pid %" PRIu32 " (host %.64s): %s%.160s",
                w->pid, w->host, tine_scheduler_reason_subject(reason), reason);
    }
}

void tine_scheduler_single_free(tine_scheduler *s, sched_single *g) {
    if (!g) return;
    TINE_ASSERT_TRUE(!g->current && TAILQ_EMPTY(&g->queue));
    if (g->worker) LIST_REMOVE(g, link);
    if (g->due) TAILQ_REMOVE(&s->turns, g, turn_link);
    free(g->lost);
    free(g);
}
