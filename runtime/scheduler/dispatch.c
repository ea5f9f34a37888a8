/* Which task goes to which worker.
 *
 * Each callable (function, or method of a class) has a ready queue of its own, so that tasks that
 * only a foreign worker serves never stand in front of others. Workers that serve the same names
 * form a group; a group's workers with credit lie in a heap by load. A dispatch takes the least
 * loaded open worker of each group and the deepest, then oldest, task that the group serves; if
 * that does not fit into the worker's credit, the worker is left to drain rather than given
 * something younger, so that a long task is never starved by a stream of short ones. An idle worker
 * takes anything.
 *
 * Load is the largest share used of the three limits of credit (expected time, bytes, number). */
#include "runtime/scheduler/internal.h"

#include <stdlib.h>
#include <string.h>

enum { LOAD_ONE = 1 << 20, MIN_MEAN_NS = 100, MEAN_SHARE = 8 };

/* ---- callables ---- */

static uint64_t hash_names(const char *name, const char *method) {
    uint64_t x = 14695981039346656037u; /* FNV-1a */
    for (; *name; name++) x = (x ^ (uint8_t)*name) * 1099511628211u;
    for (x = (x ^ 0xff) * 1099511628211u; method && *method; method++)
        x = (x ^ (uint8_t)*method) * 1099511628211u;
    return x ? x : 1;
}

static bool same_names(const sched_callable *c, const char *name, const char *method) {
    return !strcmp(c->name, name) && !c->method == !method &&
           (!method || !strcmp(c->method, method));
}

void tine_scheduler_callable_free(tine_scheduler *h, sched_callable *c) {
    sched_callable *head = tine_idmap_get(&h->callables, c->hash);
    if (head == c) {
        tine_idmap_remove(&h->callables, c->hash);
        if (c->chain) tine_idmap_put(&h->callables, c->hash, c->chain);
    } else {
        while (head->chain != c) head = head->chain;
        head->chain = c->chain;
    }
    SCHED_UNLINK(h->all, h->all_last, c, all_prev, all_next);
    if (h->last_callable == c) h->last_callable = NULL;
    tine_ready_fini(&c->ready);
    free(c->name);
    free(c->method);
    free(c->shown);
    free(c);
}

static sched_callable *callable_new(tine_scheduler *h, const char *name, const char *method,
                                    uint64_t hash) {
    sched_callable *c = tine_scheduler_alloc(sizeof *c);
    c->hash = hash;
    c->name = tine_scheduler_copy(name);
    c->method = method ? tine_scheduler_copy(method) : NULL;
    c->shown = method ? tine_scheduler_text("%s.%s", name, method) : tine_scheduler_copy(name);
    for (size_t i = 0; i < h->n_groups; i++)
        if (tine_scheduler_group_serves(&h->groups[i], c))
            c->serves[i / 64] |= UINT64_C(1) << (i % 64);
    c->chain = tine_idmap_remove(&h->callables, hash);
    tine_idmap_put(&h->callables, hash, c);
    SCHED_APPEND(h->all, h->all_last, c, all_prev, all_next);
    SCHED_APPEND(h->idle, h->idle_last, c, prev, next);
    if (++h->n_idle > SCHED_IDLE_CALLABLES) { /* never c itself: it came last */
        sched_callable *oldest = h->idle;
        SCHED_UNLINK(h->idle, h->idle_last, oldest, prev, next);
        h->n_idle--;
        tine_scheduler_callable_free(h, oldest);
    }
    return c;
}

/* The caller counts its use itself. */
sched_callable *tine_scheduler_callable_get(tine_scheduler *h, const char *name,
                                            const char *method) {
    sched_callable *c = h->last_callable;
    if (!c || !same_names(c, name, method)) {
        uint64_t hash = hash_names(name, method);
        for (c = tine_idmap_get(&h->callables, hash); c && !same_names(c, name, method);)
            c = c->chain;
        if (!c) c = callable_new(h, name, method, hash);
        h->last_callable = c;
    }
    if (!c->uses) {
        SCHED_UNLINK(h->idle, h->idle_last, c, prev, next);
        h->n_idle--;
    }
    return c;
}

void tine_scheduler_callable_unuse(tine_scheduler *h, sched_callable *c) {
    TINE_ASSERT(c->uses, >, 0);
    if (--c->uses) return;
    SCHED_APPEND(h->idle, h->idle_last, c, prev, next);
    h->n_idle++;
}

static bool serves(const tine_scheduler *h, const sched_group *g, const sched_callable *c) {
    size_t i = (size_t)(g - h->groups);
    return c->serves[i / 64] >> (i % 64) & 1;
}

bool tine_scheduler_served(const tine_scheduler *h, const sched_callable *c, bool ever) {
    for (size_t i = 0; i < h->n_groups; i++)
        if (c->serves[i / 64] >> (i % 64) & 1 && (ever || h->groups[i].workers)) return true;
    return false;
}

void tine_scheduler_measure(sched_callable *c, uint64_t run_ns) {
    if (run_ns > INT64_MAX / MEAN_SHARE) run_ns = INT64_MAX / MEAN_SHARE; /* nonsense of a peer */
    if (run_ns < MIN_MEAN_NS) run_ns = MIN_MEAN_NS;
    if (!c->mean_ns)
        c->mean_ns = run_ns;
    else
        c->mean_ns = (c->mean_ns * (MEAN_SHARE - 1) + run_ns) / MEAN_SHARE;
}

/* ---- credit ---- */

static uint64_t expected_ns(const tine_scheduler *h, const sched_callable *c) {
    uint64_t ns = c->mean_ns ? c->mean_ns : h->config.prefetch_ns;
    return ns < h->config.prefetch_ns ? ns : h->config.prefetch_ns;
}

static uint64_t share(uint64_t used, uint64_t limit) {
    if (used >= limit) return LOAD_ONE;
    return limit < UINT64_MAX / LOAD_ONE ? used * LOAD_ONE / limit : used / (limit / LOAD_ONE);
}

/* For an open worker: their number is in its load. */
static bool fits(const tine_scheduler *h, const sched_worker *w, const sched_task *t) {
    if (!w->outstanding) return true;
    const tine_scheduler_config *c = &h->config;
    return w->load_ns + expected_ns(h, t->callable) <= c->prefetch_ns &&
           w->load_bytes < c->max_credit_bytes && t->bytes <= c->max_credit_bytes - w->load_bytes;
}

/* A task that has suspended may be computing again, which nobody is told: of two idle workers the
 * one without such tasks comes first. */
static bool lighter(const sched_worker *a, const sched_worker *b) {
    if (a->load != b->load) return a->load < b->load;
    return a->suspended != b->suspended ? a->suspended < b->suspended : a->epoch < b->epoch;
}

static void heap_set(sched_group *g, size_t at, sched_worker *w) {
    g->open[at - 1] = w;
    w->heap_at = at;
}

static void heap_sift(sched_group *g, sched_worker *w) {
    size_t at = w->heap_at;
    for (; at > 1 && lighter(w, g->open[at / 2 - 1]); at /= 2) heap_set(g, at, g->open[at / 2 - 1]);
    for (size_t child; (child = at * 2) <= g->n_open; at = child) {
        if (child < g->n_open && lighter(g->open[child], g->open[child - 1])) child++;
        if (!lighter(g->open[child - 1], w)) break;
        heap_set(g, at, g->open[child - 1]);
    }
    heap_set(g, at, w);
}

static void heap_remove(sched_group *g, sched_worker *w) {
    sched_worker *last = g->open[--g->n_open];
    size_t at = w->heap_at;
    w->heap_at = 0;
    if (last == w) return;
    heap_set(g, at, last);
    heap_sift(g, last);
}

void tine_scheduler_worker_update(tine_scheduler *h, sched_worker *w) {
    sched_group *g = w->group;
    const tine_scheduler_config *c = &h->config;
    uint64_t time = share(w->load_ns, c->prefetch_ns),
             bytes = share(w->load_bytes, c->max_credit_bytes);
    uint64_t number = share(w->outstanding, c->max_credit);
    w->load = time > bytes ? time : bytes;
    if (number > w->load) w->load = number;
    bool open = !w->dead && (!w->outstanding || w->load < LOAD_ONE);
    if (open && !w->heap_at) {
        g->open = tine_scheduler_grow(g->open, &g->room, g->n_open + 1, sizeof *g->open);
        heap_set(g, ++g->n_open, w);
    }
    if (open)
        heap_sift(g, w);
    else if (w->heap_at)
        heap_remove(g, w);
}

void tine_scheduler_charge(tine_scheduler *h, sched_task *t, sched_worker *w) {
    t->charge_ns = expected_ns(h, t->callable);
    w->load_ns += t->charge_ns;
    w->load_bytes += t->bytes;
    w->outstanding++;
    tine_scheduler_worker_update(h, w);
}

void tine_scheduler_uncharge(tine_scheduler *h, sched_task *t) {
    sched_worker *w = t->worker;
    TINE_ASSERT(w->outstanding, >, 0);
    w->load_ns -= t->charge_ns;
    w->load_bytes -= t->bytes;
    w->outstanding--;
    tine_scheduler_worker_update(h, w);
}

/* ---- ready queues ---- */

/* Can anybody run it, now or later? If not, the error that says so. */
static tine_error hopeless(const tine_scheduler *h, const sched_callable *c) {
    uint32_t expected = h->config.expected_workers ? h->config.expected_workers : 1;
    if (tine_scheduler_served(h, c, false)) return TINE_OK;
    if (h->joined < expected && !h->gone) return TINE_OK;
    if (!h->config.workers_return && !h->workers) return TINE_ELOST;
    if (!tine_scheduler_served(h, c, true)) return TINE_EUNKNOWN;
    return h->config.workers_return ? TINE_OK : TINE_ELOST;
}

static void end_hopeless(tine_scheduler *h, sched_task *t, tine_error e) {
    const char *reason = h->gone_reason ? h->gone_reason : "the last one was lost";
    char *text =
        e == TINE_EUNKNOWN
            ? tine_scheduler_text_unknown(h, t->callable)
            : tine_scheduler_text("task \"%s\" cannot run: no worker is left that serves it (%s)",
                                  t->callable->shown, reason);
    tine_scheduler_task_end(h, t, e, NULL, text);
}

void tine_scheduler_enqueue(tine_scheduler *h, sched_task *t) {
    sched_callable *c = t->callable;
    tine_error e = hopeless(h, c);
    if (e) {
        end_hopeless(h, t, e);
        return;
    }
    if (!c->ready.n) SCHED_APPEND(h->active, h->active_last, c, prev, next);
    tine_ready_push(&c->ready, &t->link);
    h->stats.ready++;
    if (!t->owner && !t->orphan) h->stats.ready_bytes += t->bytes;
}

void tine_scheduler_leave_window(tine_scheduler *h, sched_task *t) {
    if (!t->windowed) return;
    t->windowed = false;
    if (!t->owner || t->owner->dead) return;
    t->owner->unstarted--;
    t->owner->owed++;
    tine_scheduler_dirty(h, t->owner);
}

void tine_scheduler_dequeue(tine_scheduler *h, sched_task *t) {
    sched_callable *c = t->callable;
    tine_ready_remove(&c->ready, &t->link);
    if (!c->ready.n) SCHED_UNLINK(h->active, h->active_last, c, prev, next);
    h->stats.ready--;
    if (!t->owner && !t->orphan) h->stats.ready_bytes -= t->bytes;
}

void tine_scheduler_sweep(tine_scheduler *h) {
    for (sched_callable *c = h->active, *next; c; c = next) {
        next = c->next; /* ending a task that is not running touches no other one */
        for (tine_error e; c->ready.n && (e = hopeless(h, c));)
            end_hopeless(h, (sched_task *)tine_ready_first(&c->ready), e);
    }
}

/* ---- choice ---- */

static uint64_t held_bytes(const tine_scheduler *h, const sched_worker *w, tine_object id,
                           bool *anywhere) {
    const sched_object *o = tine_scheduler_object_find(h, id);
    if (!o) return 0;
    for (size_t i = 0; i < o->words; i++)
        if (o->at[i]) *anywhere = true;
    return tine_scheduler_object_at(o, w) ? 1 + tine_payload_bytes(o->payload) : 0;
}

/* How many bytes of the task's objects w has; `anywhere`: some worker has some. */
static uint64_t affinity(const tine_scheduler *h, const sched_task *t, const sched_worker *w,
                         bool *anywhere) {
    *anywhere = false;
    uint64_t bytes = t->object ? held_bytes(h, w, t->object, anywhere) : 0;
    for (uint32_t i = 0; t->payload && i < t->payload->n_refs && i < SCHED_LOOK_REFS; i++)
        bytes += held_bytes(h, w, t->payload->refs[i], anywhere);
    return bytes;
}

static bool needs_objects(const sched_task *t) {
    return t->object || (t->payload && t->payload->n_refs);
}

/* Among the first few of the deepest: the one of whose objects w has most, then one whose objects
 * nobody has, then the oldest. */
static sched_task *choose_task(const tine_scheduler *h, sched_callable *c, const sched_worker *w) {
    sched_task *first = (sched_task *)tine_ready_first(&c->ready), *best = first, *fresh = NULL;
    if (!needs_objects(first) || first->skips >= SCHED_MAX_SKIPS) return first;
    uint64_t best_bytes = 0;
    int looked = 0;
    for (sched_task *t = first; t && looked < SCHED_LOOK_AHEAD;
         t = (sched_task *)TAILQ_NEXT(&t->link, entry), looked++) {
        bool anywhere;
        uint64_t bytes = affinity(h, t, w, &anywhere);
        if (bytes > best_bytes) {
            best = t;
            best_bytes = bytes;
        }
        if (!anywhere && !fresh) fresh = t;
    }
    if (!best_bytes && fresh) best = fresh;
    if (best != first) first->skips++;
    return best;
}

/* Another open worker that has more of the task's objects than w. */
static sched_worker *better_worker(const tine_scheduler *h, const sched_task *t, sched_worker *w) {
    tine_object id = t->object ? t->object : t->payload->refs[0];
    const sched_object *o = tine_scheduler_object_find(h, id);
    bool anywhere;
    uint64_t best = affinity(h, t, w, &anywhere);
    for (size_t i = 0; anywhere && o && i < o->words; i++) {
        for (uint64_t bits = o->at[i]; bits; bits &= bits - 1) {
            sched_worker *other = h->slots[i * 64 + (size_t)__builtin_ctzll(bits)];
            if (!other->heap_at || !serves(h, other->group, t->callable) || !fits(h, other, t))
                continue;
            uint64_t bytes = affinity(h, t, other, &anywhere);
            if (bytes > best || (bytes == best && bytes && lighter(other, w))) {
                best = bytes;
                w = other;
            }
        }
    }
    return w;
}

static bool older(const sched_callable *a, const sched_callable *b) {
    const tine_ready_link *x = tine_ready_first((tine_ready *)&a->ready),
                          *y = tine_ready_first((tine_ready *)&b->ready);
    return x->depth != y->depth ? x->depth > y->depth : x->order < y->order;
}

static sched_callable *choose_callable(const tine_scheduler *h, size_t group) {
    sched_callable *best = NULL;
    for (sched_callable *c = h->active; c; c = c->next)
        if (c->serves[group / 64] >> (group % 64) & 1 && (!best || older(c, best))) best = c;
    return best;
}

static void start(tine_scheduler *h, sched_task *t, sched_worker *w) {
    tine_scheduler_dequeue(h, t);
    tine_scheduler_leave_window(h, t);
    tine_scheduler_charge(h, t, w);
    tine_scheduler_task_started(h, t, w);
}

/* The least loaded worker, over all groups, that has something to do and room for it. */
static bool dispatch_one(tine_scheduler *h) {
    sched_worker *worker = NULL;
    sched_task *task = NULL;
    for (size_t i = 0; i < h->n_groups; i++) {
        sched_group *g = &h->groups[i];
        if (!g->n_open || (worker && !lighter(g->open[0], worker))) continue;
        sched_callable *c = choose_callable(h, i);
        if (!c) continue;
        sched_task *t = choose_task(h, c, g->open[0]);
        if (!fits(h, g->open[0], t)) continue;
        worker = g->open[0];
        task = t;
    }
    if (!worker) return false;
    if (needs_objects(task)) worker = better_worker(h, task, worker);
    start(h, task, worker);
    return true;
}

void tine_scheduler_dispatch(tine_scheduler *h) {
    while (h->active && dispatch_one(h)) {
    }
}
