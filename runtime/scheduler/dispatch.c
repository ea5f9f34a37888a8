/* Which task goes to which worker.
 *
 * Each callable (function, or method of a class) has a ready queue of its own, so that a task that
 * only some workers serve never blocks others. Workers that serve the same names form a group; a
 * group's workers with credit are in a heap by load. A dispatch takes the least loaded worker of
 * each group and the deepest, then oldest, task that the group serves. If that task does not fit
 * into the worker's credit, the worker drains first instead of taking a younger task: so a stream
 * of short tasks never starves a long one. An idle worker takes any task.
 *
 * Load is the largest share used of the three limits of credit (expected time, bytes, number).
 * Short tasks fill one worker before the next, where more workers than cores would have some. */
#include "runtime/scheduler/internal.h"

bool tine_scheduler_serves(const tine_scheduler *s, const sched_worker *w,
                           const sched_callable *c) {
    size_t i = (size_t)(w->group - s->groups);
    return c->serves[i / 64] >> (i % 64) & 1;
}

bool tine_scheduler_is_served(const tine_scheduler *s, const sched_callable *c, bool ever) {
    for (size_t i = 0; i < s->n_groups; i++)
        if (c->serves[i / 64] >> (i % 64) & 1 && (ever || s->groups[i].workers)) return true;
    return false;
}

/* Whether a worker that has joined serves it, whatever its labels and slots. */
static bool sched_callable_is_known(const tine_scheduler *s, const sched_callable *c) {
    sched_callable anywhere = {.name = c->name, .method = c->method};
    if (!c->chosen) return tine_scheduler_is_served(s, c, true);
    for (size_t i = 0; i < s->n_groups; i++)
        if (tine_scheduler_group_serves(&s->groups[i], &anywhere)) return true;
    return false;
}

/* ---- credit ---- */

/* The share of one limit that is used: below SCHED_LOAD_ONE until the limit is reached. */
static uint64_t sched_load_share(uint64_t used, uint64_t limit, double to_load) {
    if (used >= limit) return SCHED_LOAD_ONE;
    uint64_t share = (uint64_t)(int64_t)((double)(int64_t)used * to_load);
    return share < SCHED_LOAD_ONE ? share : SCHED_LOAD_ONE - 1;
}

/* Whether a worker died while the task ran, or may have run: then it runs alone on a worker. */
static bool sched_task_runs_alone(const sched_task *t) {
    return t->attempt - 1 > t->uncounted - t->suspected;
}

/* max_credit is not compared here: it is part of the worker's load. */
bool tine_scheduler_fits(const tine_scheduler *s, const sched_worker *w, const sched_task *t) {
    if (!w->outstanding) return true;
    if (sched_task_runs_alone(t)) return false;
    const tine_scheduler_config *c = &s->config;
    return w->load_ns + tine_scheduler_expected_ns(s, t->callable) <= c->prefetch_ns &&
           w->load_bytes < c->max_credit_bytes && t->bytes <= c->max_credit_bytes - w->load_bytes;
}

void tine_scheduler_worker_update(tine_scheduler *s, sched_worker *w) {
    const tine_scheduler_config *c = &s->config;
    uint64_t time = sched_load_share(w->load_ns, c->prefetch_ns, s->ns_to_load);
    uint64_t bytes = sched_load_share(w->load_bytes, c->max_credit_bytes, s->bytes_to_load);
    uint64_t number = sched_load_share(w->outstanding, c->max_credit, s->tasks_to_load);
    w->load = time > bytes ? time : bytes;
    if (number > w->load) w->load = number;
    bool open = !w->closed && tine_scheduler_has_credit(w), was = w->heap_at[SCHED_OPEN];
    tine_scheduler_heap_update(w, SCHED_OPEN, open);
    if (w->taken) tine_scheduler_giver_update(w);
    if (open && !was) tine_scheduler_slots_offer(s, w);
    if (w->pinned.n) tine_scheduler_pin_enqueue(s, w);
    tine_scheduler_aim_enqueue(s, w);
}

void tine_scheduler_charge(tine_scheduler *s, sched_task *t, sched_worker *w) {
    t->charge_ns = sched_task_runs_alone(t) ? s->config.prefetch_ns
                                            : tine_scheduler_expected_ns(s, t->callable);
    w->load_ns += t->charge_ns;
    w->load_bytes += t->bytes;
    s->n_behind += w->outstanding > 0 && w->outstanding <= SCHED_BEHIND_MAX;
    s->n_busy += !w->outstanding++;
    tine_scheduler_worker_update(s, w);
}

void tine_scheduler_uncharge(tine_scheduler *s, sched_task *t) {
    sched_worker *w = t->worker;
    TINE_ASSERT(w->outstanding, >, 0);
    w->load_ns -= t->charge_ns;
    w->load_bytes -= t->bytes;
    w->outstanding--;
    s->n_behind -= w->outstanding > 0 && w->outstanding <= SCHED_BEHIND_MAX;
    s->n_busy -= !w->outstanding;
    if (!w->outstanding && !w->n_ahead) w->free_at = 0;
    tine_scheduler_worker_update(s, w);
}

/* ---- ready queues ---- */

/* The error with which its tasks end because no worker can run it, now or later; TINE_OK if one
 * can. */
static tine_error sched_callable_serve_error(const tine_scheduler *s, const sched_callable *c) {
    uint32_t expected = s->config.expected_workers ? s->config.expected_workers : 1;
    if (tine_scheduler_is_served(s, c, false)) return TINE_OK;
    /* a worker that was started again counts once */
    if ((s->config.workers_return ? s->most_workers : s->n_joined) < expected) return TINE_OK;
    if (!s->config.workers_return && TAILQ_EMPTY(&s->workers)) return TINE_ELOST;
    if (!sched_callable_is_known(s, c)) return TINE_EUNKNOWN;
    if (s->config.workers_return) return TINE_OK; /* one may join */
    return c->chosen && !tine_scheduler_is_served(s, c, true) ? TINE_EUNKNOWN : TINE_ELOST;
}

static void sched_task_end_unservable(tine_scheduler *s, sched_task *t, tine_error e) {
    char *text = e != TINE_EUNKNOWN ? tine_scheduler_text_unserved(t)
                 : sched_callable_is_known(s, t->callable)
                     ? tine_scheduler_text_unchosen(t)
                     : tine_scheduler_text_unknown(s, t->callable);
    tine_scheduler_task_end(s, t, e, NULL, text);
}

static bool sched_task_needs_objects(const sched_task *t) {
    return t->object || (t->payload && t->payload->n_refs);
}

/* The arguments of a task that is not sent yet. */
void tine_scheduler_pending_bytes(tine_scheduler *s, const sched_task *t, bool more) {
    if (t->owner || t->orphan) return;
    s->stats.ready_bytes += more ? t->bytes : -t->bytes;
}

void tine_scheduler_waiting_end(tine_scheduler *s, sched_task *t) {
    tine_scheduler_aim_drop(t);
    s->stats.waiting--;
    tine_scheduler_pending_bytes(s, t, false);
    t->state = SCHED_READY;
}

/* False: the task waits for its inputs, or has ended because one of them has failed. */
static bool sched_task_inputs_there(tine_scheduler *s, sched_task *t) {
    t->lost_results = s->lost_results;
    if (!sched_task_needs_objects(t)) return true;
    const sched_object *failed = tine_scheduler_inputs_await(s, t);
    if (failed) {
        tine_scheduler_task_end(s, t, failed->status, NULL, tine_scheduler_copy(failed->text));
        return false;
    }
    if (!t->n_missing) return true;
    t->state = SCHED_WAITING;
    s->stats.waiting++;
    tine_scheduler_pending_bytes(s, t, true);
    tine_scheduler_aim(s, t);
    return false;
}

void tine_scheduler_queued(tine_scheduler *s, const sched_task *t) {
    s->stats.ready++;
    tine_scheduler_pending_bytes(s, t, true);
}

static void sched_task_queue(tine_scheduler *s, sched_task *t) {
    sched_callable *c = t->callable;
    bool placed = t->terms || t->flags & TINE_MODULE_SINGLE;
    sched_worker *place = placed ? tine_scheduler_place(s, t) : NULL;
    if (c->takes) {
        tine_scheduler_slots_queue(s, t, place);
    } else if (place) {
        tine_scheduler_pin(s, t, place);
    } else {
        if (!c->ready.n) TAILQ_INSERT_TAIL(&s->active, c, link);
        tine_ready_push(&c->ready, &t->link);
    }
    tine_scheduler_queued(s, t);
}

void tine_scheduler_enqueue(tine_scheduler *s, sched_task *t) {
    tine_error e = sched_callable_serve_error(s, t->callable);
    if (e) {
        sched_task_end_unservable(s, t, e);
        return;
    }
    if (t->flags & TINE_MODULE_SINGLE && !tine_scheduler_turn(s, t)) return;
    if (t->terms && !tine_scheduler_place_check(s, t)) return;
    if (sched_task_inputs_there(s, t)) sched_task_queue(s, t);
}

void tine_scheduler_leave_window(tine_scheduler *s, sched_task *t) {
    if (!t->windowed) return;
    t->windowed = false;
    if (!t->owner || t->owner->lost) return;
    t->owner->unstarted--;
    t->owner->ungranted++;
    tine_scheduler_flush_enqueue(s, t->owner);
}

void tine_scheduler_dequeue(tine_scheduler *s, sched_task *t) {
    sched_callable *c = t->callable;
    if (c->takes && !t->terms->slots_of) {
        tine_scheduler_slots_dequeue(s, t);
    } else if (t->pinned) {
        tine_scheduler_unpin(s, t);
    } else {
        tine_ready_remove(&c->ready, &t->link);
        if (!c->ready.n) TAILQ_REMOVE(&s->active, c, link);
    }
    s->stats.ready--;
    tine_scheduler_pending_bytes(s, t, false);
}

static void sched_queue_sweep(tine_scheduler *s, const struct sched_callable_queue *queue) {
    for (sched_callable *c = TAILQ_FIRST(queue), *next; c; c = next) {
        next = TAILQ_NEXT(c, link); /* ending a ready task ends no other one */
        if (c->chosen) tine_scheduler_choice_tell(s, c);
        for (tine_error e; c->ready.n && (e = sched_callable_serve_error(s, c));)
            sched_task_end_unservable(s, (sched_task *)tine_ready_first(&c->ready), e);
    }
}

void tine_scheduler_sweep(tine_scheduler *s) {
    sched_queue_sweep(s, &s->active);
    sched_queue_sweep(s, &s->wanting);
}

/* ---- choice ---- */

static uint64_t sched_object_bytes_at(tine_scheduler *s, const sched_worker *w, tine_object id,
                                      bool *anywhere) {
    const sched_object *o = tine_scheduler_object_find(s, id);
    if (!o) return 0;
    for (size_t i = 0; i < o->words; i++)
        if (o->replicas[i]) *anywhere = true;
    return tine_scheduler_object_replica_at(o, w) ? 1 + o->bytes : 0;
}

/* How many bytes of the task's objects w has. `anywhere`: some worker has one of them. */
static uint64_t sched_task_affinity(tine_scheduler *s, const sched_task *t, const sched_worker *w,
                                    bool *anywhere) {
    *anywhere = false;
    uint64_t bytes = t->object ? sched_object_bytes_at(s, w, t->object, anywhere) : 0;
    for (uint32_t i = 0; t->payload && i < t->payload->n_refs && i < SCHED_LOOK_REFS; i++)
        bytes += sched_object_bytes_at(s, w, t->payload->refs[i], anywhere);
    return bytes;
}

/* Chooses among the first few of the deepest tasks: the one for which w has most bytes of objects;
 * then one whose objects no worker has; then the oldest. */
static sched_task *sched_choose_task(tine_scheduler *s, sched_callable *c, const sched_worker *w) {
    sched_task *first = (sched_task *)tine_ready_first(&c->ready), *best = first, *fresh = NULL;
    if (!sched_task_needs_objects(first) || first->skips >= SCHED_MAX_SKIPS) return first;
    uint64_t best_bytes = 0, bytes = 0;
    bool anywhere = false;
    tine_object same = 0; /* bytes and anywhere are those of a task that needs this one only */
    int looked = 0;
    for (sched_task *t = first; t && looked < SCHED_LOOK_AHEAD;
         t = (sched_task *)tine_ready_next(&c->ready, &t->link), looked++) {
        bool single = !t->payload || !t->payload->n_refs;
        if (!single || !same || t->object != same) bytes = sched_task_affinity(s, t, w, &anywhere);
        same = single ? t->object : 0;
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

/* The worker with credit that has most bytes of the task's objects; w where none has more. */
static sched_worker *sched_choose_worker(tine_scheduler *s, const sched_task *t, sched_worker *w) {
    tine_object id = t->object ? t->object : t->payload->refs[0];
    const sched_object *o = tine_scheduler_object_find(s, id);
    bool anywhere;
    uint64_t best = sched_task_affinity(s, t, w, &anywhere);
    for (size_t i = 0; anywhere && o && i < o->words; i++) {
        for (uint64_t bits = o->replicas[i]; bits; bits &= bits - 1) {
            sched_worker *other = s->slots[i * 64 + (size_t)__builtin_ctzll(bits)];
            if (!other->heap_at[SCHED_OPEN] || !tine_scheduler_serves(s, other, t->callable) ||
                !tine_scheduler_fits(s, other, t))
                continue;
            uint64_t bytes = sched_task_affinity(s, t, other, &anywhere);
            if (bytes > best || (bytes == best && bytes && tine_scheduler_lighter(other, w))) {
                best = bytes;
                w = other;
            }
        }
    }
    return w;
}

static bool sched_callable_precedes(const sched_callable *a, const sched_callable *b) {
    const tine_ready_link *x = tine_ready_first((tine_ready *)&a->ready),
                          *y = tine_ready_first((tine_ready *)&b->ready);
    return x->depth != y->depth ? x->depth > y->depth : x->order < y->order;
}

static sched_callable *sched_choose_callable(const tine_scheduler *s, size_t group) {
    sched_callable *best = NULL;
    sched_callable *c;
    TAILQ_FOREACH (c, &s->active, link)
        if (c->serves[group / 64] >> (group % 64) & 1 &&
            (!best || sched_callable_precedes(c, best)))
            best = c;
    return best;
}

void tine_scheduler_start(tine_scheduler *s, sched_task *t, sched_worker *w) {
    if (t->state == SCHED_WAITING)
        tine_scheduler_waiting_end(s, t);
    else
        tine_scheduler_dequeue(s, t);
    tine_scheduler_leave_window(s, t);
    if (t->flags & TINE_MODULE_SINGLE) tine_scheduler_single_bind(s, t, w);
    if (t->n_missing) {
        tine_scheduler_ahead_begin(s, t, w);
    } else {
        tine_scheduler_charge(s, t, w);
        tine_scheduler_expect(s, t, w, s->now);
    }
    tine_scheduler_task_started(s, t, w);
}

/* A result that it needs was there when it was queued, and has been lost: it waits, or has ended.
 * One that takes slots has given them back, and is chosen again once it has some. */
static bool sched_task_unready(tine_scheduler *s, sched_task *t) {
    if (s->lost_results == t->lost_results) return false;
    tine_scheduler_dequeue(s, t);
    if (t->terms) tine_scheduler_slots_return(s, t);
    if (!sched_task_inputs_there(s, t)) return true;
    sched_task_queue(s, t);
    return t->callable->takes != NULL;
}

/* w, which is idle, or the worker that has got the last task, where waking w costs more. Not behind
 * a task that takes long although its function does not: it may even wait for this one. */
static sched_worker *sched_fill(const tine_scheduler *s, sched_worker *w, const sched_task *t) {
    sched_worker *last = w->group->filled;
    if (!last || s->n_busy < s->config.cores || !last->outstanding || !last->heap_at[SCHED_OPEN])
        return w;
    const int64_t began = TAILQ_FIRST(&last->running)->started;
    if (s->now - (last->turned > began ? last->turned : began) > SCHED_FILL_AGE_NS) return w;
    uint64_t ns = tine_scheduler_expected_ns(s, t->callable);
    bool fits = ns < SCHED_SHORT_NS && last->load_ns + ns <= SCHED_FILL_NS &&
                last->outstanding < SCHED_FILL_TASKS && tine_scheduler_fits(s, last, t);
    return fits ? last : w;
}

/* The least loaded worker over all groups that has a task to run and credit for it. */
static bool sched_dispatch_one(tine_scheduler *s) {
    sched_worker *worker = NULL;
    sched_task *task = NULL;
    bool again = false;
    for (size_t i = 0; i < s->n_groups; i++) {
        const sched_heap *open = &s->groups[i].heaps[SCHED_OPEN];
        if (!open->n || (worker && !tine_scheduler_lighter(open->of[0], worker))) continue;
        sched_callable *c = sched_choose_callable(s, i);
        if (!c) continue;
        sched_task *t = sched_choose_task(s, c, open->of[0]);
        if (!tine_scheduler_fits(s, open->of[0], t)) continue;
        worker = open->of[0];
        task = t;
    }
    sched_task *pinned = NULL;
    if (!TAILQ_EMPTY(&s->pin_queue)) pinned = tine_scheduler_pin_choose(s, worker, task, &again);
    if (pinned) {
        worker = pinned->pinned;
        task = pinned;
    }
    if (!worker || again) return again;
    if (sched_task_needs_objects(task)) {
        if (sched_task_unready(s, task)) return true;
        if (!pinned) worker = sched_choose_worker(s, task, worker);
    } else if (!pinned && s->config.cores && !worker->outstanding) {
        worker = sched_fill(s, worker, task);
    }
    worker->group->filled = worker;
    tine_scheduler_start(s, task, worker);
    return true;
}

/* Slots are given before each choice: what has them is pinned, and competes with the others. */
static bool sched_dispatch_next(tine_scheduler *s) {
    if (!TAILQ_EMPTY(&s->offer_queue)) tine_scheduler_slots_settle(s);
    return (!TAILQ_EMPTY(&s->active) || !TAILQ_EMPTY(&s->pin_queue)) && sched_dispatch_one(s);
}

/* Tasks end in a round, too, and the last one of a worker may be among them: no later event is sure
 * to come that would end the worker then. */
void tine_scheduler_dispatch(tine_scheduler *s) {
    s->at_rest = s->still = false;
    do {
        if (s->n_leaving > 0) tine_scheduler_leaving_settle(s);
        if (!TAILQ_EMPTY(&s->turns)) tine_scheduler_turns_begin(s);
        while (sched_dispatch_next(s)) {
        }
    } while ((!TAILQ_EMPTY(&s->aim_queue) && tine_scheduler_aim_send(s)) ||
             !TAILQ_EMPTY(&s->turns) || (s->n_leaving > 0 && tine_scheduler_leaving_settle(s)));
    if (s->stats.workers > 1 && !TAILQ_EMPTY(&s->demand_queue)) tine_scheduler_demand_all(s);
}
