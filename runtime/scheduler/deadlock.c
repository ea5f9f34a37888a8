/* Deadlocks: finds tasks that can never be done because of what they wait for.
 *
 * Workers say in PONG when nothing but a message can make them go on, with the numbers of messages
 * that they have received and sent by then. While these are still the numbers that were sent to and
 * received from them here, nothing is under way either way: the worker is quiet, and stays so until
 * it is sent something. That holds however old the PONG is, so no round has to be closed.
 *
 * A look marks what can go on ("live"), beginning with the workers that are not quiet, and from
 * there to what waits for it. Whatever could also be helped by something outside of the scheduler
 * is live: a stream that this process reads, a task with a deadline, slots and labels that another
 * worker may bring, a worker that leaves, which ends when its grace is over. A worker that waits
 * for several forks is live if one of them is. So a task without a mark waits, however indirectly,
 * for nothing but tasks without one: only a cancel could change that. cycle.c ends one of them.
 *
 * Looks happen only once nothing has run and nothing has happened for config.look_ns, and not after
 * one of them has found that every worker is quiet and every task live. So they cost nothing while
 * work goes on. */
#include "runtime/scheduler/internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- what workers say ---- */

static int sched_seq_compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

void tine_scheduler_pinged_end(tine_scheduler *s, sched_worker *w) {
    if (!w->pinged) return;
    w->pinged = false;
    if (--s->n_pinged == 0) s->look_at = 0;
}

void tine_scheduler_pong(tine_scheduler *s, sched_worker *w, const tine_message *m) {
    w->memory = m->memory;
    tine_scheduler_pinged_end(s, w);
    s->told = true;
    w->told_received = m->received;
    w->told_sent = m->sent;
    free(w->awaited);
    w->awaited = NULL;
    w->n_awaited = m->received ? m->n_ids : 0;
    if (!w->n_awaited) return;
    w->awaited = tine_scheduler_alloc(w->n_awaited * sizeof *w->awaited);
    memcpy(w->awaited, m->ids, w->n_awaited * sizeof *w->awaited);
    qsort(w->awaited, w->n_awaited, sizeof *w->awaited, sched_seq_compare);
}

static bool sched_worker_is_quiet(const sched_worker *w) {
    return w->told_received && w->told_received == w->n_sent && w->told_sent == w->n_received &&
           !w->flush_queued;
}

/* 0 among the seqs stands for any fork. */
bool tine_scheduler_awaits(const sched_worker *w, const sched_task *fork) {
    return w->n_awaited > 0 && (!w->awaited[0] || bsearch(&fork->ticket, w->awaited, w->n_awaited,
                                                          sizeof *w->awaited, sched_seq_compare));
}

/* ---- marks ---- */

static bool sched_task_is_open(const sched_task *t) {
    return t->state != SCHED_FREE && t->state != SCHED_KEPT;
}

/* Of one that is to end: whether its tasks, and their forks, may be done. */
static bool sched_worker_ends(const sched_worker *w) {
    const sched_task *t;
    if (w->leaves) return true;
    LIST_FOREACH (t, &w->detached, sibling)
        if (!t->live) return false;
    return w->live || TAILQ_EMPTY(&w->running);
}

/* Whether w may give slots to t, or end and be replaced by one that may. */
static bool sched_worker_gives(const sched_worker *w, const sched_task *t) {
    if (w->closed & SCHED_CLOSED_ENDING) return sched_worker_ends(w);
    return w->gives || w->granted || w->closed & ~SCHED_CLOSED_DRAINING ||
           tine_scheduler_slots_free(w, t->callable->takes);
}

/* Of one that needs a label or slots: whether a worker that is there, or is to come, may run it.
 * Where none comes back, a sweep ends those that no worker can run. */
static bool sched_seeker_goes_on(const tine_scheduler *s, const sched_task *t) {
    const sched_worker *w;
    if (s->config.workers_return ? s->stats.workers < s->config.workers_most
                                 : !tine_scheduler_is_served(s, t->callable, false))
        return true;
    TAILQ_FOREACH (w, &s->workers, link) {
        if ((t->pinned && t->pinned != w) || !tine_scheduler_serves(s, w, t->callable)) continue;
        if (!t->callable->takes || sched_worker_gives(w, t)) return true;
    }
    return false;
}

static bool sched_turn_goes_on(tine_scheduler *s, const sched_task *t) {
    const sched_object *o = tine_scheduler_object_find(s, t->object);
    const sched_single *g = o ? o->single : NULL;
    return !g || g->due || !g->current || g->current->live;
}

/* Apart from one with missing inputs, which is marked when the last of them is. */
static bool sched_task_goes_on(tine_scheduler *s, const sched_task *t) {
    if (t->terms && t->terms->timed) return true;
    switch (t->state) {
    case SCHED_RUNNING: return !t->ahead && t->worker->live;
    case SCHED_TURN: return sched_turn_goes_on(s, t);
    case SCHED_READY:
        return !t->callable->chosen || t->terms->slots_of || sched_seeker_goes_on(s, t);
    default: return t->state == SCHED_DEFERRED;
    }
}

/* An explicit stack, not recursion: chains of tasks may be long. */
static void sched_task_mark(sched_task *t) {
    struct sched_task_stack stack = SLIST_HEAD_INITIALIZER(stack);
    t->live = true;
    SLIST_INSERT_HEAD(&stack, t, stacked);
    while ((t = SLIST_FIRST(&stack))) {
        SLIST_REMOVE_HEAD(&stack, stacked);
        const sched_input *i;
        if (!t->result) continue;
        TAILQ_FOREACH (i, &t->result->inputs, link) {
            if (--i->task->unmarked > 0 || i->task->live) continue;
            i->task->live = true;
            SLIST_INSERT_HEAD(&stack, i->task, stacked);
        }
    }
}

static bool sched_worker_mark(sched_worker *w) {
    if (!w || w->live) return false;
    return w->live = true;
}

/* What follows for workers from a task that is live. */
static bool sched_task_spread(const sched_task *t) {
    bool changed = false;
    if (t->owner && tine_scheduler_awaits(t->owner, t)) changed = sched_worker_mark(t->owner);
    if (t->terms && t->terms->slots_of && !t->terms->slots_of->gives)
        changed = t->terms->slots_of->gives = true;
    return changed;
}

/* It may yield more once its owner takes what it has yielded: this process, or a worker where a
 * later task may take over from the one that forked it. */
static bool sched_stream_spread(const sched_task *t) {
    if (t->state != SCHED_RUNNING || !tine_scheduler_stream_full(t)) return false;
    bool taken = !t->parent || t->owner->live || t->parent->live;
    return taken && sched_worker_mark(t->worker);
}

/* Workers that wait for the object, which is on its way or being made. */
static bool sched_object_spread(const tine_scheduler *s, const sched_object *o) {
    bool changed = false;
    if (o->state == SCHED_OBJECT_PENDING && !o->producer->live) return false;
    for (size_t i = 0; i < o->words; i++)
        for (uint64_t bits = o->fetchers[i]; bits; bits &= bits - 1)
            changed |= sched_worker_mark(s->slots[i * 64 + (size_t)__builtin_ctzll(bits)]);
    return changed;
}

static void sched_marks_begin(tine_scheduler *s) {
    sched_worker *w;
    TAILQ_FOREACH (w, &s->workers, link) {
        w->live = w->leaves || !sched_worker_is_quiet(w);
        w->gives = false;
    }
    for (size_t i = 0; i < tine_scheduler_task_slots(s); i++) {
        sched_task *t = tine_scheduler_task_at(s, i);
        t->live = false;
        t->unmarked = t->n_missing;
    }
}

static bool sched_marks_spread(tine_scheduler *s) {
    bool changed = false;
    for (size_t i = 0; i < tine_scheduler_task_slots(s); i++) {
        sched_task *t = tine_scheduler_task_at(s, i);
        if (!sched_task_is_open(t)) continue;
        if (!t->live && sched_task_goes_on(s, t)) {
            sched_task_mark(t);
            changed = true;
        }
        if (t->live) changed |= sched_task_spread(t);
        changed |= sched_stream_spread(t);
    }
    const sched_object *o;
    TAILQ_FOREACH (o, &s->object_list, link) changed |= sched_object_spread(s, o);
    return changed;
}

/* Whether every task is live. */
static bool sched_marks_make(tine_scheduler *s) {
    sched_marks_begin(s);
    while (sched_marks_spread(s)) {
    }
    bool all = true;
    for (size_t i = 0; i < tine_scheduler_task_slots(s) && all; i++) {
        const sched_task *t = tine_scheduler_task_at(s, i);
        all = !sched_task_is_open(t) || t->live;
    }
    return all;
}

/* ---- looking ---- */

enum {
    AGAIN_NS = 50000000,  /* after a deadlock, which others may have been behind, at most */
    CYCLES_PER_LOOK = 16, /* broken in one look; there may be more after it */
};

/* Asks the workers with tasks that are not quiet. Whether there are any. */
static bool sched_workers_ask(tine_scheduler *s) {
    bool any = false;
    sched_worker *w;
    TAILQ_FOREACH (w, &s->workers, link) {
        if (TAILQ_EMPTY(&w->running) || sched_worker_is_quiet(w)) continue;
        any = true;
        if (w->pinged) continue;
        tine_scheduler_send(s, w, TINE_MSG_PING);
        w->pinged = true;
        s->n_pinged++;
    }
    return any;
}

static bool sched_all_quiet(const tine_scheduler *s) {
    const sched_worker *w;
    TAILQ_FOREACH (w, &s->workers, link)
        if (!TAILQ_EMPTY(&w->running) && !sched_worker_is_quiet(w)) return false;
    return true;
}

static void sched_deadlocks_break(tine_scheduler *s) {
    int broken = 0;
    while (broken < CYCLES_PER_LOOK && !sched_marks_make(s) && tine_scheduler_cycle_break(s))
        broken++;
    s->at_rest = !broken && sched_all_quiet(s);
    if (!broken) return;
    tine_scheduler_dispatch(s);
    s->look_again = true;
}

/* Nothing has happened since the last look, if this one is to do anything. */
void tine_scheduler_look(tine_scheduler *s, int64_t now) {
    int64_t ns = s->config.look_ns, again = ns < AGAIN_NS ? ns : AGAIN_NS;
    bool still = s->still;
    s->still = true;
    s->look_at = now + (s->look_again ? again : ns);
    if (!still) return;
    s->look_again = false;
    if (!s->told && sched_workers_ask(s)) return;
    s->told = false;
    sched_deadlocks_break(s);
    if (s->look_again) s->look_at = now + again;
}
