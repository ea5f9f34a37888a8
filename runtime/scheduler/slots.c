/* Tasks that take resources of their worker ("gpu=1"), which offers some slots of each.
 *
 * What a task takes belongs to its callable, like a label: tasks that take the same have a ready
 * queue of their own, which the general choice (dispatch.c) does not see, and another one at each
 * worker that some of them name: so what has to wait never blocks a task that takes less, or takes
 * something else. When a worker with credit has slots to give it is in offer_queue, and a
 * dispatch gives them to the oldest task that they are enough for, which is pinned to the worker
 * from then on (place.c). Until that one starts the worker gives no others. A task gives its slots
 * back when it leaves the worker; it keeps them while it is suspended. One that was sent, and waits
 * before it begins for a lost input to be made again, gives them back until then: only so may more
 * be taken than there is.
 *
 * When a task was passed over SCHED_MAX_SKIPS times, the worker saves its slots for it, unless a
 * task is suspended there: that may need another task in order to end. */
#include "runtime/scheduler/internal.h"

#include <stdlib.h>

static uint64_t *sched_slots_taken(const sched_worker *w, const char *name) {
    return &w->taken[tine_resources_find(w->group->slots, name)];
}

static void sched_slots_take(const sched_task *t, sched_worker *w) {
    const tine_resources *r = t->callable->takes;
    for (uint32_t i = 0; i < r->n; i++) *sched_slots_taken(w, r->of[i].name) += r->of[i].amount;
    t->terms->slots_of = w;
}

bool tine_scheduler_slots_free(const sched_worker *w, const tine_resources *r) {
    for (uint32_t i = 0; i < r->n; i++) {
        int at = tine_resources_find(w->group->slots, r->of[i].name);
        if (w->taken[at] + r->of[i].amount > w->group->slots->of[at].amount) return false;
    }
    return true;
}

/* It serves the task, and nothing but slots that are taken can be in the way. A worker that is
 * closed, has no credit, or has a task with slots that has not started, gives none: that would bind
 * tasks to it while another worker is idle. */
static bool sched_slots_offers(const tine_scheduler *s, const sched_worker *w,
                               const sched_callable *c) {
    return w->heap_at[SCHED_OPEN] && !w->granted && tine_scheduler_serves(s, w, c);
}

bool tine_scheduler_slots_fit(const tine_scheduler *s, const sched_worker *w,
                              const sched_callable *c) {
    return sched_slots_offers(s, w, c) && tine_scheduler_slots_free(w, c->takes);
}

void tine_scheduler_giver_update(sched_worker *w) {
    const tine_resources *slots = w->group->slots;
    bool gives = w->heap_at[SCHED_OPEN] && !w->granted && !w->saves, some = false;
    for (uint32_t i = 0; gives && !some && i < slots->n; i++)
        some = w->taken[i] < slots->of[i].amount;
    tine_scheduler_heap_update(w, SCHED_GIVERS, gives && some);
}

static void sched_slots_save(tine_scheduler *s, sched_worker *w, bool saves) {
    if (saves == w->saves) return;
    w->saves = saves;
    if (saves)
        TAILQ_INSERT_TAIL(&s->saving, w, saving_link);
    else
        TAILQ_REMOVE(&s->saving, w, saving_link);
    tine_scheduler_giver_update(w);
}

static void sched_slots_offer_saved(tine_scheduler *s) {
    for (sched_worker *w = TAILQ_FIRST(&s->saving), *next; w; w = next) {
        next = TAILQ_NEXT(w, saving_link); /* it may save them no more */
        tine_scheduler_slots_offer(s, w);
    }
}

/* A task for which slots were saved takes them elsewhere, or has ended. */
static void sched_slots_unsave(tine_scheduler *s, const sched_task *t) {
    if (t->skips >= SCHED_MAX_SKIPS) sched_slots_offer_saved(s);
}

void tine_scheduler_slots_return(tine_scheduler *s, const sched_task *t) {
    sched_worker *w = t->terms->slots_of;
    if (!t->callable->takes) return;
    if (!w) {
        sched_slots_unsave(s, t);
        return;
    }
    const tine_resources *r = t->callable->takes;
    for (uint32_t i = 0; i < r->n; i++) *sched_slots_taken(w, r->of[i].name) -= r->of[i].amount;
    t->terms->slots_of = NULL;
    t->terms->retook = false;
    tine_scheduler_giver_update(w);
    tine_scheduler_slots_offer(s, w);
}

void tine_scheduler_slots_retake(sched_task *t) {
    sched_slots_take(t, t->worker);
    t->terms->retook = true;
    tine_scheduler_giver_update(t->worker);
}

void tine_scheduler_slots_revoke(tine_scheduler *s, sched_task *t) {
    if (tine_scheduler_place(s, t)) return;
    tine_scheduler_dequeue(s, t);
    tine_scheduler_slots_return(s, t);
    tine_scheduler_enqueue(s, t);
}

/* ---- a task is queued ---- */

/* The lightest worker of the heap, from `at` on, that has what tasks of c take, if it is lighter
 * than *best. Those that have not are passed: they have slots free, but too few, or others. */
static void sched_giver_find(const sched_heap *givers, size_t at, const sched_callable *c,
                             sched_worker **best) {
    if (at > givers->n) return;
    sched_worker *w = givers->of[at - 1];
    if (*best && !tine_scheduler_lighter(w, *best)) return;
    if (tine_scheduler_slots_free(w, c->takes)) {
        *best = w;
        return;
    }
    sched_giver_find(givers, 2 * at, c, best);
    sched_giver_find(givers, 2 * at + 1, c, best);
}

/* A worker that has what tasks of c take is to give it. Where there is none it is not looked for
 * again while tasks of c wait: one that comes to have it is in offer_queue. One that is found may
 * give it to another callable: when it has no more to give, one is looked for again. */
static void sched_slots_seek(tine_scheduler *s, sched_callable *c) {
    sched_worker *best = NULL;
    if (c->starved) return;
    for (size_t i = 0; i < s->n_groups; i++)
        if (c->serves[i / 64] >> (i % 64) & 1)
            sched_giver_find(&s->groups[i].heaps[SCHED_GIVERS], 1, c, &best);
    c->starved = !best;
    if (best) tine_scheduler_slots_offer(s, best);
}

static sched_want *sched_want_find(const sched_worker *w, const sched_callable *c) {
    sched_want *want;
    TAILQ_FOREACH (want, &w->wanting, link)
        if (want->callable == c) return want;
    return NULL;
}

static void sched_want_push(sched_worker *w, sched_task *t) {
    sched_want *want = sched_want_find(w, t->callable);
    if (!want) {
        want = tine_scheduler_alloc(sizeof *want);
        want->callable = t->callable;
        TAILQ_INSERT_TAIL(&w->wanting, want, link);
    }
    t->pinned = w;
    tine_ready_push(&want->ready, &t->link);
}

static void sched_want_remove(sched_task *t) {
    sched_worker *w = t->pinned;
    sched_want *want = sched_want_find(w, t->callable);
    t->pinned = NULL;
    tine_ready_remove(&want->ready, &t->link);
    if (want->ready.n > 0) return;
    TAILQ_REMOVE(&w->wanting, want, link);
    tine_ready_fini(&want->ready);
    free(want);
}

void tine_scheduler_slots_queue(tine_scheduler *s, sched_task *t, sched_worker *place) {
    sched_callable *c = t->callable;
    s->n_wanting++;
    if (place) {
        sched_want_push(place, t);
        tine_scheduler_slots_offer(s, place);
        return;
    }
    if (!c->ready.n) {
        c->starved = false;
        TAILQ_INSERT_TAIL(&s->wanting, c, link);
    }
    tine_ready_push(&c->ready, &t->link);
    /* one of higher priority than those that slots are saved for may have them */
    if (tine_ready_first(&c->ready) == &t->link) sched_slots_offer_saved(s);
    sched_slots_seek(s, c);
}

void tine_scheduler_slots_dequeue(tine_scheduler *s, sched_task *t) {
    sched_callable *c = t->callable;
    s->n_wanting--;
    if (t->pinned) {
        sched_want_remove(t);
        return;
    }
    tine_ready_remove(&c->ready, &t->link);
    if (!c->ready.n) TAILQ_REMOVE(&s->wanting, c, link);
}

/* ---- a worker has slots to give ---- */

void tine_scheduler_slots_offer(tine_scheduler *s, sched_worker *w) {
    if (!w->taken || w->offer_queued || w->lost) return;
    if (TAILQ_EMPTY(&s->wanting) && TAILQ_EMPTY(&w->wanting)) {
        sched_slots_save(s, w, false);
        return;
    }
    w->offer_queued = true;
    TAILQ_INSERT_TAIL(&s->offer_queue, w, offer_link);
}

void tine_scheduler_offer_dequeue(tine_scheduler *s, sched_worker *w) {
    if (!w->offer_queued) return;
    w->offer_queued = false;
    TAILQ_REMOVE(&s->offer_queue, w, offer_link);
}

/* The oldest task that gets slots there, and the oldest that needs more. */
typedef struct sched_slots_choice {
    sched_task *fits, *misses;
} sched_slots_choice;

static void sched_slots_look(const tine_scheduler *s, const sched_worker *w, tine_ready *queue,
                             sched_slots_choice *choice) {
    sched_task *t = (sched_task *)tine_ready_first(queue);
    if (!t || !sched_slots_offers(s, w, t->callable)) return;
    sched_task **best =
        tine_scheduler_slots_free(w, t->callable->takes) ? &choice->fits : &choice->misses;
    if (!*best || tine_scheduler_task_precedes(t, *best)) *best = t;
}

static sched_task *sched_slots_choose(tine_scheduler *s, sched_worker *w) {
    sched_slots_choice choice = {0};
    sched_callable *c;
    sched_want *want;
    TAILQ_FOREACH (want, &w->wanting, link) sched_slots_look(s, w, &want->ready, &choice);
    TAILQ_FOREACH (c, &s->wanting, link) sched_slots_look(s, w, &c->ready, &choice);
    sched_task *passed = choice.misses;
    sched_slots_save(s, w, false);
    if (!passed || (choice.fits && tine_scheduler_task_precedes(choice.fits, passed)))
        return choice.fits;
    if (passed->skips < SCHED_MAX_SKIPS)
        passed->skips += choice.fits != NULL;
    else
        sched_slots_save(s, w, !w->suspended);
    return w->saves ? NULL : choice.fits;
}

void tine_scheduler_slots_settle(tine_scheduler *s) {
    for (sched_worker *w; (w = TAILQ_FIRST(&s->offer_queue));) {
        sched_task *t = sched_slots_choose(s, w);
        sched_callable *c;
        if (!t) {
            tine_scheduler_offer_dequeue(s, w);
            TAILQ_FOREACH (c, &s->wanting, link) sched_slots_seek(s, c);
            continue;
        }
        tine_scheduler_dequeue(s, t);
        sched_slots_unsave(s, t);
        sched_slots_take(t, w);
        w->granted = t;
        tine_scheduler_giver_update(w);
        tine_scheduler_pin(s, t, w);
        tine_scheduler_queued(s, t);
    }
}
