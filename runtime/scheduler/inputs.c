/* Tasks whose arguments are results of other tasks.
 *
 * Such a task waits here until its inputs are settled, or is sent ahead once workers are making all
 * of them. It then starts as soon as they are made: a chain of tasks has no round trip to the
 * coordinator in its latency. It goes to the worker where it is expected to start first: one that
 * makes an input, which then need not be moved, or one with less to do. A task sent ahead counts
 * against its worker's credit only when its inputs are there. At most SCHED_MAX_AHEAD tasks, and
 * about prefetch_ns of work, are sent ahead to a worker, so that a fan-out is spread once its input
 * is there.
 *
 * The tasks that wait for a settled result are updated from a queue, not by recursion: chains may
 * be long. */
#include "runtime/scheduler/internal.h"

#include "transport/base/block.h"

enum { AIM_LOOK = 8 }; /* arguments of one task that are looked at to choose its worker */

/* What a small result takes to another worker of the host, about (tine bench grain). */
static const int64_t MOVE_NS = 10000;

uint32_t tine_scheduler_task_refs(const sched_task *t, const tine_object **refs) {
    *refs = t->payload ? t->payload->refs : t->holds;
    return t->payload ? t->payload->n_refs : t->n_holds;
}

/* ---- waiting ---- */

static void sched_input_add(tine_scheduler *s, sched_task *t, sched_object *o) {
    sched_input *i = tine_scheduler_alloc(sizeof *i);
    *i = (sched_input){.task = t, .object = o};
    TAILQ_INSERT_TAIL(&o->inputs, i, link);
    LIST_INSERT_HEAD(&t->inputs, i, task_link);
    t->n_missing++;
    if (o->producer) tine_scheduler_reach_keep(s, o->producer);
}

static void sched_input_drop(sched_input *i) {
    TAILQ_REMOVE(&i->object->inputs, i, link);
    LIST_REMOVE(i, task_link);
    i->task->n_missing--;
    tine_block_free(i, sizeof *i);
}

static void sched_walk_push(tine_scheduler *s, struct sched_object_stack *stack,
                            const tine_object *refs, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        sched_object *o =
            tine_object_is_module(refs[i]) ? NULL : tine_scheduler_object_find(s, refs[i]);
        if (!o || o->walked == s->walks) continue;
        o->walked = s->walks;
        SLIST_INSERT_HEAD(stack, o, stacked);
    }
}

/* The values that the task's worker has to have before it begins, one by one: those that its
 * arguments mention, and those that these mention. NULL: there are no more. */
static sched_object *sched_walk_next(tine_scheduler *s, struct sched_object_stack *stack) {
    sched_object *o = SLIST_FIRST(stack);
    if (!o) return NULL;
    SLIST_REMOVE_HEAD(stack, stacked);
    if (o->payload) sched_walk_push(s, stack, o->payload->refs, o->payload->n_refs);
    return o;
}

static struct sched_object_stack sched_walk(tine_scheduler *s, const sched_task *t) {
    struct sched_object_stack stack = SLIST_HEAD_INITIALIZER(stack);
    const tine_object *refs;
    uint32_t n = tine_scheduler_task_refs(t, &refs);
    s->walks++;
    sched_walk_push(s, &stack, refs, n);
    return stack;
}

const sched_object *tine_scheduler_inputs_await(tine_scheduler *s, sched_task *t) {
    const sched_object *failed = tine_scheduler_inputs_failed(s, t);
    TINE_ASSERT(t->n_missing, ==, 0);
    if (failed) return failed;
    struct sched_object_stack stack = sched_walk(s, t);
    for (sched_object *o; (o = sched_walk_next(s, &stack));)
        if (o->state == SCHED_OBJECT_PENDING) sched_input_add(s, t, o);
    return NULL;
}

void tine_scheduler_inputs_forget(tine_scheduler *s, sched_task *t) {
    while (!LIST_EMPTY(&t->inputs)) sched_input_drop(LIST_FIRST(&t->inputs));
    if (t->ahead) tine_scheduler_ahead_end(s, t);
}

const sched_object *tine_scheduler_inputs_failed(tine_scheduler *s, const sched_task *t) {
    const tine_object *refs;
    uint32_t n = tine_scheduler_task_refs(t, &refs);
    for (uint32_t i = 0; i < n; i++) {
        const sched_object *o = tine_scheduler_object_find(s, refs[i]);
        if (o && o->state == SCHED_OBJECT_FAILED) return o;
    }
    return NULL;
}

/* A task at a worker fails there, too: the worker receives the failed object. */
static void sched_input_failed(tine_scheduler *s, sched_task *t, const sched_object *o) {
    char *text = tine_scheduler_copy(o->text);
    if (t->state == SCHED_WAITING) {
        tine_scheduler_task_end(s, t, o->status, NULL, text);
        return;
    }
    tine_scheduler_task_abandon(s, t, o->status, text);
    if (t->n_missing == 0) tine_scheduler_inputs_forget(s, t);
}

/* Looks the inputs up again: one that was there may have been lost while the task waited for
 * others. */
static void sched_inputs_again(tine_scheduler *s, sched_task *t) {
    tine_scheduler_inputs_forget(s, t);
    if (t->state != SCHED_WAITING) return;
    tine_scheduler_waiting_end(s, t);
    tine_scheduler_enqueue(s, t);
}

static void sched_settle_one(tine_scheduler *s, sched_object *o) {
    tine_scheduler_object_answer(s, o);
    while (o->state != SCHED_OBJECT_PENDING && !TAILQ_EMPTY(&o->inputs)) {
        sched_task *t = TAILQ_FIRST(&o->inputs)->task;
        sched_input_drop(TAILQ_FIRST(&o->inputs));
        if (o->state == SCHED_OBJECT_FAILED)
            sched_input_failed(s, t, o);
        else if (t->n_missing == 0)
            sched_inputs_again(s, t);
    }
}

void tine_scheduler_inputs_settle(tine_scheduler *s, sched_object *o) {
    if (o->settling) return;
    bool outermost = STAILQ_EMPTY(&s->settled);
    o->settling = true;
    o->holders++;
    STAILQ_INSERT_TAIL(&s->settled, o, settle_link);
    while (outermost && (o = STAILQ_FIRST(&s->settled))) {
        sched_settle_one(s, o);
        STAILQ_REMOVE_HEAD(&s->settled, settle_link);
        o->settling = false;
        tine_scheduler_unhold(s, o->id);
    }
}

/* ---- sent ahead ---- */

void tine_scheduler_ahead_begin(tine_scheduler *s, sched_task *t, sched_worker *w) {
    t->ahead = true;
    t->charge_ns = tine_scheduler_expected_ns(s, t->callable);
    w->n_ahead++;
    w->ahead_ns += t->charge_ns;
    w->ahead_bytes += t->bytes;
    tine_scheduler_pending_bytes(s, t, true);
}

void tine_scheduler_ahead_leave(tine_scheduler *s, sched_task *t) {
    sched_worker *w = t->worker;
    t->ahead = false;
    w->n_ahead--;
    w->ahead_ns -= t->charge_ns;
    w->ahead_bytes -= t->bytes;
    tine_scheduler_pending_bytes(s, t, false);
    s->stats.waiting--;
    tine_scheduler_aim_enqueue(s, w);
}

void tine_scheduler_ahead_end(tine_scheduler *s, sched_task *t) {
    tine_scheduler_ahead_leave(s, t);
    tine_scheduler_charge(s, t, t->worker);
    if (t->callable->takes) tine_scheduler_slots_retake(t);
    s->stats.running++;
}

static bool sched_task_needs(tine_scheduler *s, const sched_task *t, const sched_object *needed) {
    struct sched_object_stack stack = sched_walk(s, t);
    for (const sched_object *o; (o = sched_walk_next(s, &stack));)
        if (o == needed) return true;
    return false;
}

/* Tasks at w that have not begun because o was on its way wait for it again, do not count, and have
 * no slots: what makes it may need this worker. */
static void sched_running_wait_again(tine_scheduler *s, sched_object *o, sched_worker *w) {
    sched_task *t;
    TAILQ_FOREACH (t, &w->running, run_link) {
        if (t->state != SCHED_RUNNING || t->suspended || !sched_task_needs(s, t, o)) continue;
        if (!t->ahead) {
            s->stats.running--;
            tine_scheduler_uncharge(s, t);
            if (t->terms) tine_scheduler_slots_return(s, t);
            tine_scheduler_ahead_begin(s, t, w);
            s->stats.waiting++;
        }
        sched_input_add(s, t, o);
    }
}

void tine_scheduler_inputs_pend(tine_scheduler *s, sched_object *o) {
    sched_worker *w;
    TAILQ_FOREACH (w, &s->workers, link) sched_running_wait_again(s, o, w);
}

/* ---- choosing the worker ---- */

static sched_worker *sched_input_worker(const sched_object *o) {
    const sched_task *p = o->producer;
    return o->state == SCHED_OBJECT_PENDING && p && p->state == SCHED_RUNNING ? p->worker : NULL;
}

/* How many of the first arguments w has, or makes. */
static uint32_t sched_inputs_at(tine_scheduler *s, const sched_task *t, const sched_worker *w) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->payload->n_refs && i < AIM_LOOK; i++) {
        const sched_object *o = tine_scheduler_object_find(s, t->payload->refs[i]);
        n += sched_input_worker(o) == w || tine_scheduler_object_replica_at(o, w);
    }
    return n;
}

/* When w is expected to have finished the tasks that it has. */
static int64_t sched_free_at(const tine_scheduler *s, const sched_worker *w) {
    return w->free_at > s->now ? w->free_at : s->now;
}

void tine_scheduler_expect(tine_scheduler *s, sched_task *t, sched_worker *w, int64_t start) {
    int64_t free_at = sched_free_at(s, w);
    t->ends_at = w->free_at = (start > free_at ? start : free_at) + (int64_t)t->charge_ns;
}

/* A worker that a task may be sent ahead to. */
typedef struct sched_aim_choice {
    sched_worker *worker;
    uint32_t inputs; /* that are, or will be, there */
    int64_t start;   /* expected */
} sched_aim_choice;

static bool sched_aim_precedes(const tine_scheduler *s, const sched_aim_choice *a,
                               const sched_aim_choice *b) {
    if (!b->worker || a->start != b->start) return !b->worker || a->start < b->start;
    if (a->inputs != b->inputs) return a->inputs > b->inputs;
    return sched_free_at(s, a->worker) < sched_free_at(s, b->worker);
}

/* When a task's inputs are expected: where they are made, and elsewhere. */
typedef struct sched_aim_inputs {
    int64_t ready, moved;
} sched_aim_inputs;

/* The size of a result that stays is not known: it moves for more than a full queue. */
static sched_aim_inputs sched_aim_inputs_of(const tine_scheduler *s, const sched_task *t) {
    int64_t ready = s->now, move = MOVE_NS;
    const sched_input *i;
    LIST_FOREACH (i, &t->inputs, task_link) {
        const sched_task *p = i->object->producer;
        if (p->ends_at > ready) ready = p->ends_at;
        if (p->callable->stays) move = (int64_t)s->config.prefetch_ns;
    }
    return (sched_aim_inputs){ready, ready + move};
}

static void sched_aim_consider(tine_scheduler *s, const sched_task *t, sched_worker *w,
                               const sched_aim_inputs *in, sched_aim_choice *best) {
    if (w == best->worker || w->closed || !tine_scheduler_serves(s, w, t->callable)) return;
    uint32_t n = t->payload->n_refs < AIM_LOOK ? t->payload->n_refs : AIM_LOOK;
    sched_aim_choice c = {w, sched_inputs_at(s, t, w), sched_free_at(s, w)};
    int64_t ready = c.inputs < n ? in->moved : in->ready;
    if (c.start < ready) c.start = ready;
    if (sched_aim_precedes(s, &c, best)) *best = c;
}

static sched_aim_choice sched_aim_choose(tine_scheduler *s, const sched_task *t) {
    sched_aim_choice best = {0};
    const sched_aim_inputs in = sched_aim_inputs_of(s, t);
    const sched_input *i;
    int looked = 0;
    LIST_FOREACH (i, &t->inputs, task_link) {
        if (looked++ == AIM_LOOK) break;
        sched_aim_consider(s, t, sched_input_worker(i->object), &in, &best);
    }
    for (size_t g = 0; best.worker && best.start > in.ready && g < s->n_groups; g++)
        if (s->groups[g].heaps[SCHED_OPEN].n)
            sched_aim_consider(s, t, s->groups[g].heaps[SCHED_OPEN].of[0], &in, &best);
    return best;
}

void tine_scheduler_aim(tine_scheduler *s, sched_task *t) {
    if (t->state != SCHED_WAITING || t->aimed || t->flags & TINE_MODULE_SINGLE ||
        t->callable->takes || (t->terms && t->terms->worker))
        return;
    const sched_input *i;
    LIST_FOREACH (i, &t->inputs, task_link)
        if (!sched_input_worker(i->object)) return;
    sched_aim_choice c = sched_aim_choose(s, t);
    if (!c.worker) return;
    t->charge_ns = tine_scheduler_expected_ns(s, t->callable);
    tine_scheduler_expect(s, t, c.worker, c.start);
    t->aimed = c.worker;
    TAILQ_INSERT_TAIL(&c.worker->aims, t, run_link);
    tine_scheduler_aim_enqueue(s, c.worker);
}

void tine_scheduler_aim_drop(sched_task *t) {
    if (!t->aimed) return;
    TAILQ_REMOVE(&t->aimed->aims, t, run_link);
    t->aimed = NULL;
}

void tine_scheduler_aim_lost(tine_scheduler *s, sched_worker *w) {
    tine_scheduler_aim_dequeue(s, w);
    while (!TAILQ_EMPTY(&w->aims)) tine_scheduler_aim_drop(TAILQ_FIRST(&w->aims));
}

void tine_scheduler_aim_enqueue(tine_scheduler *s, sched_worker *w) {
    if (w->aim_queued || w->closed & (SCHED_CLOSED_LOST | SCHED_CLOSED_PAUSED) ||
        TAILQ_EMPTY(&w->aims))
        return;
    w->aim_queued = true;
    TAILQ_INSERT_TAIL(&s->aim_queue, w, aim_link);
}

void tine_scheduler_aim_dequeue(tine_scheduler *s, sched_worker *w) {
    if (!w->aim_queued) return;
    w->aim_queued = false;
    TAILQ_REMOVE(&s->aim_queue, w, aim_link);
}

/* One task always fits: otherwise a chain of long tasks would wait for the coordinator after each
 * of them. */
static bool sched_aim_fits(const tine_scheduler *s, const sched_worker *w, const sched_task *t) {
    const tine_scheduler_config *c = &s->config;
    if (w->n_ahead == 0) return true;
    return w->n_ahead < SCHED_MAX_AHEAD && w->ahead_bytes + t->bytes <= c->max_credit_bytes &&
           w->load_ns + w->ahead_ns + tine_scheduler_expected_ns(s, t->callable) <= c->prefetch_ns;
}

bool tine_scheduler_aim_send(tine_scheduler *s) {
    for (sched_worker *w; (w = TAILQ_FIRST(&s->aim_queue));) {
        sched_task *t = TAILQ_FIRST(&w->aims);
        if (t && s->lost_results != t->lost_results) {
            sched_inputs_again(s, t);
            return true;
        }
        if (t && sched_aim_fits(s, w, t)) {
            tine_scheduler_start(s, t, w);
            return true;
        }
        tine_scheduler_aim_dequeue(s, w);
    }
    return false;
}
