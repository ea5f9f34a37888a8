/* Breaking a deadlock: the way from a task that can never be done, along what it waits for, leads
 * into a circle, or ends at a task that waits for something at its own worker. One task of the
 * circle ends with EDEADLK and a sentence that names all of them; its owner, which waits for it,
 * goes on with that.
 *
 * Before that, all tasks end that need a label or slots that no worker has.
 *
 * A task that has not started is chosen where there is one: it has done nothing that would be lost.
 * Forks of the same task that wait likewise, and are waited for, end with it: their owner may wait
 * for thousands of them. */
#include "runtime/scheduler/internal.h"

#include <stdlib.h>

#include "transport/base/text.h"

enum { NAMED_MAX = 8 }; /* tasks of a circle that the sentence names */

typedef struct sched_step {
    sched_task *task;
    const char *how, *slots; /* it waits for: "its fork", of the next one; NULL: it is not known */
} sched_step;

typedef struct sched_way {
    sched_step *steps;
    size_t n, room;
} sched_way;

static bool sched_task_is_dead(const sched_task *t) {
    return t && t->state != SCHED_FREE && t->state != SCHED_KEPT && !t->live;
}

/* ---- what a task waits for ---- */

static sched_task *sched_input_dead(const sched_task *t) {
    const sched_input *i;
    LIST_FOREACH (i, &t->inputs, task_link)
        if (sched_task_is_dead(i->object->producer)) return i->object->producer;
    return NULL;
}

/* Of slots; or what keeps a worker from ending, which then is replaced. */
static sched_task *sched_holder_dead(const tine_scheduler *s, const sched_task *t) {
    const sched_worker *w;
    sched_task *holder;
    TAILQ_FOREACH (w, &s->workers, link) {
        if ((t->pinned && t->pinned != w) || !tine_scheduler_serves(s, w, t->callable)) continue;
        TAILQ_FOREACH (holder, &w->running, run_link)
            if (sched_task_is_dead(holder) && (w->closed & SCHED_CLOSED_ENDING ||
                                               (holder->terms && holder->terms->slots_of == w)))
                return holder;
    }
    TAILQ_FOREACH (w, &s->workers, link)
        LIST_FOREACH (holder, &w->detached, sibling)
            if (w->closed & SCHED_CLOSED_ENDING && sched_task_is_dead(holder)) return holder;
    return NULL;
}

static sched_task *sched_fork_dead(const sched_task *t) {
    sched_task *child;
    LIST_FOREACH (child, &t->children, sibling)
        if (sched_task_is_dead(child) && tine_scheduler_awaits(t->worker, child)) return child;
    return NULL;
}

/* An object without which a module, or a result, is not complete at the worker. */
static sched_task *sched_fetched_dead(const tine_scheduler *s, const sched_worker *w) {
    const sched_object *o;
    TAILQ_FOREACH (o, &s->object_list, link)
        if (o->state == SCHED_OBJECT_PENDING && w->slot / 64 < o->words &&
            o->fetchers[w->slot / 64] >> (w->slot % 64) & 1 && sched_task_is_dead(o->producer))
            return o->producer;
    return NULL;
}

/* A fork of another task there, to whose future it has come. */
static sched_task *sched_other_fork_dead(const tine_scheduler *s, const sched_worker *w) {
    for (size_t i = 0; i < tine_scheduler_task_slots(s); i++) {
        sched_task *t = tine_scheduler_task_at(s, i);
        if (sched_task_is_dead(t) && t->owner == w && tine_scheduler_awaits(w, t)) return t;
    }
    return NULL;
}

static sched_task *sched_running_next(const tine_scheduler *s, const sched_task *t,
                                      const char **how) {
    sched_task *next = sched_fork_dead(t);
    *how = "its fork";
    if (next) return next;
    *how = "the taking of its values by";
    if (tine_scheduler_stream_full(t) && sched_task_is_dead(t->parent)) return t->parent;
    *how = "a module or value that needs the result of";
    if ((next = sched_fetched_dead(s, t->worker))) return next;
    *how = "the fork";
    return sched_other_fork_dead(s, t->worker);
}

static sched_task *sched_step_next(tine_scheduler *s, sched_step *step) {
    const sched_task *t = step->task;
    if (t->n_missing > 0) {
        step->how = "the result of";
        return sched_input_dead(t);
    }
    if (t->state == SCHED_RUNNING) return sched_running_next(s, t, &step->how);
    if (t->state == SCHED_TURN) {
        const sched_object *o = tine_scheduler_object_find(s, t->object);
        step->how = "its turn after";
        return o && o->single ? o->single->current : NULL;
    }
    step->how = "slots of";
    step->slots = t->callable->resources;
    return sched_holder_dead(s, t);
}

/* ---- the way ---- */

static void sched_way_push(sched_way *way, sched_task *t) {
    way->steps = tine_scheduler_grow(way->steps, &way->room, way->n + 1, sizeof *way->steps);
    way->steps[way->n++] = (sched_step){.task = t};
    t->walked = true;
}

/* Follows what t waits for. The steps from *from on are a circle; *from is way->n where there is
 * none, because the way ends (*ends), or leads into an earlier one. */
static void sched_way_go(tine_scheduler *s, sched_way *way, sched_task *t, size_t *from,
                         bool *ends) {
    sched_task *next = t;
    way->n = 0;
    while (sched_task_is_dead(next) && !next->walked) {
        sched_way_push(way, next);
        next = sched_step_next(s, &way->steps[way->n - 1]);
    }
    *ends = !next;
    *from = 0;
    while (*from < way->n && way->steps[*from].task != next) ++*from;
}

/* Its owner can be told; the lower, the better it is ended. */
enum { RANK_NONE = 3 };

static int sched_task_rank(const sched_task *t) {
    if (t->reported || t->orphan) return RANK_NONE;
    return t->worker ? 2 : t->state == SCHED_WAITING;
}

static bool sched_task_ends_before(const sched_task *a, const sched_task *b) {
    int x = sched_task_rank(a), y = sched_task_rank(b);
    return x != y ? x < y : a->link.depth > b->link.depth;
}

static size_t sched_way_victim(const sched_way *way, size_t from) {
    size_t best = from;
    for (size_t i = from; i < way->n; i++)
        if (sched_task_ends_before(way->steps[i].task, way->steps[best].task)) best = i;
    return best;
}

/* ---- ending it ---- */

static void sched_text_append(char **text, const char *between, const sched_step *step,
                              const sched_task *next) {
    const char *name = tine_scheduler_task_name(next);
    char *longer = step->task == next ? tine_scheduler_text("%s%s its own result", *text, between)
                   : step->slots
                       ? tine_scheduler_text("%s%s the slots \"%.128s\" of \"%s\"", *text, between,
                                             step->slots, name)
                       : tine_scheduler_text("%s%s %s \"%s\"", *text, between, step->how, name);
    free(*text);
    *text = longer;
}

/* "task "b" can never be done: it waits for the slots "gpu=1" of "a", which waits for its fork
 * "b"". */
static char *sched_way_text(const sched_way *way, size_t from, size_t at) {
    char *text = tine_scheduler_text("task \"%s\" can never be done: it",
                                     tine_scheduler_task_name(way->steps[at].task));
    size_t n = way->n - from;
    for (size_t i = 0; i < n; i++) {
        size_t step = from + (at - from + i) % n, next = from + (at - from + i + 1) % n;
        if (i >= NAMED_MAX && i + 1 < n) continue;
        sched_text_append(&text,
                          !i              ? " waits for"
                          : i < NAMED_MAX ? ", which waits for"
                                          : ", and so on; the last one waits for",
                          &way->steps[step], way->steps[next].task);
    }
    return text;
}

static char *sched_end_text(const sched_task *t) {
    char where[160] = "";
    const sched_worker *w = t->worker;
    if (w) tine_worker_text(where, sizeof where, w->pid, w->host, w->rank);
    return tine_scheduler_text("task \"%s\" can never be done: it waits on %s for what only a task "
                               "that waits there itself could do",
                               tine_scheduler_task_name(t), where);
}

static void sched_task_break(tine_scheduler *s, sched_task *t, const char *text) {
    tine_scheduler_task_cancel(s, t, TINE_EDEADLK, tine_scheduler_copy(text), UINT64_MAX);
}

/* Ending one that waits for slots, or for its turn, ends no other such task. */
static bool sched_task_is_like(const sched_task *t, const sched_task *other) {
    return sched_task_is_dead(other) && other->state == t->state &&
           other->callable == t->callable && other->object == t->object &&
           other->pinned == t->pinned && (t->state == SCHED_READY || t->state == SCHED_TURN) &&
           tine_scheduler_awaits(t->owner, other);
}

/* t, and the forks of its parent that wait for the same, if they are waited for. */
static void sched_tasks_break(tine_scheduler *s, sched_task *t, const char *text) {
    uint64_t *ids = NULL;
    size_t n = 0, room = 0;
    sched_task *other;
    if (t->parent && t->owner) {
        LIST_FOREACH (other, &t->parent->children, sibling) {
            if (other == t || !sched_task_is_like(t, other)) continue;
            ids = tine_scheduler_grow(ids, &room, n + 1, sizeof *ids);
            ids[n++] = other->id;
        }
    }
    sched_task_break(s, t, text);
    for (size_t i = 0; i < n; i++)
        if ((other = tine_scheduler_task_find(s, ids[i]))) sched_task_break(s, other, text);
    free(ids);
}

/* Those that need a label or slots that no worker has. */
static bool sched_unserved_break(tine_scheduler *s) {
    bool broken = false;
    for (size_t i = 0; i < tine_scheduler_task_slots(s); i++) {
        sched_task *t = tine_scheduler_task_at(s, i);
        if (!sched_task_is_dead(t) || t->state != SCHED_READY || t->n_missing > 0 ||
            sched_task_rank(t) == RANK_NONE || tine_scheduler_is_served(s, t->callable, false))
            continue;
        char *text = tine_scheduler_text_unchosen(t);
        sched_task_break(s, t, text);
        free(text);
        broken = true;
    }
    return broken;
}

/* A circle, or the end of a way where there is none. */
static bool sched_way_break(tine_scheduler *s, sched_way *way, sched_task *t, bool circles) {
    size_t from;
    bool ends;
    sched_way_go(s, way, t, &from, &ends);
    bool circle = from < way->n;
    if (circle != circles || (!circle && !ends)) return false;
    size_t at = circle ? sched_way_victim(way, from) : way->n - 1;
    sched_task *victim = way->steps[at].task;
    if (sched_task_rank(victim) == RANK_NONE) return false;
    char *text = circle ? sched_way_text(way, from, at) : sched_end_text(victim);
    sched_tasks_break(s, victim, text);
    free(text);
    return true;
}

static bool sched_ways_break(tine_scheduler *s, bool circles) {
    sched_way way = {0};
    bool broken = false;
    for (size_t i = 0; i < tine_scheduler_task_slots(s); i++)
        tine_scheduler_task_at(s, i)->walked = false;
    for (size_t i = 0; i < tine_scheduler_task_slots(s) && !broken; i++) {
        sched_task *t = tine_scheduler_task_at(s, i);
        if (sched_task_is_dead(t) && !t->walked) broken = sched_way_break(s, &way, t, circles);
    }
    free(way.steps);
    return broken;
}

bool tine_scheduler_cycle_break(tine_scheduler *s) {
    return sched_unserved_break(s) || sched_ways_break(s, true) || sched_ways_break(s, false);
}
