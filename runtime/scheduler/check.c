/* Checks the scheduler's invariants between events by walking everything: for the simulator and the
 * tests. */
#include "runtime/scheduler/internal.h"

/* What is taken of a worker is what its tasks have, and never more than there is, but for tasks
 * that have taken theirs again. */
static void sched_check_slots(const tine_scheduler *s, const sched_worker *w) {
    const tine_resources *slots = w->group->slots;
    uint64_t taken[TINE_RESOURCES_MAX] = {0}, given[TINE_RESOURCES_MAX] = {0}, granted = 0;
    for (size_t i = 0; i < tine_scheduler_task_slots(s); i++) {
        const sched_task *t = tine_scheduler_task_at(s, i);
        if (t->state == SCHED_FREE || !t->terms || t->terms->slots_of != w) continue;
        TINE_ASSERT_TRUE(t->worker == w || t == w->granted);
        granted += t->pinned == w;
        for (uint32_t k = 0; k < t->callable->takes->n; k++) {
            const struct tine_resource *r = &t->callable->takes->of[k];
            taken[tine_resources_find(slots, r->name)] += r->amount;
            if (!t->terms->retook) given[tine_resources_find(slots, r->name)] += r->amount;
        }
    }
    TINE_ASSERT(granted, ==, w->granted != NULL);
    const sched_callable *c;
    TAILQ_FOREACH (c, &s->wanting, link) /* none waits beside slots that it could have */
        TINE_ASSERT_TRUE(s->stopped || w->saves || !tine_scheduler_slots_fit(s, w, c));
    const sched_want *want;
    TAILQ_FOREACH (want, &w->wanting, link)
        TINE_ASSERT_TRUE(s->stopped || w->saves || !tine_scheduler_slots_fit(s, w, want->callable));
    bool some = false;
    for (uint32_t k = 0; k < slots->n; k++) {
        TINE_ASSERT(w->taken[k], ==, taken[k]);
        TINE_ASSERT(given[k], <=, slots->of[k].amount);
        some |= taken[k] < slots->of[k].amount;
    }
    TINE_ASSERT(w->heap_at[SCHED_GIVERS] != 0, ==,
                some && w->heap_at[SCHED_OPEN] && !w->granted && !w->saves);
}

static bool sched_check_has_slots(const sched_task *t) {
    return !t->callable->takes || t->terms->slots_of;
}

static uint64_t sched_check_wanting(const sched_worker *w) {
    uint64_t n = 0;
    const sched_want *want;
    TAILQ_FOREACH (want, &w->wanting, link) n += want->ready.n;
    return n;
}

static void sched_check_worker(const tine_scheduler *s, const sched_worker *w) {
    uint64_t ns = 0, bytes = 0, n = 0, suspended = 0, unstarted = 0, ahead = 0, wanting = 0;
    const sched_task *t;
    TAILQ_FOREACH (t, &w->running, run_link) {
        TINE_ASSERT_TRUE(t->worker == w &&
                         (t->state == SCHED_RUNNING || t->state == SCHED_DEFERRED));
        TINE_ASSERT_TRUE(t->ahead ? !t->terms || !t->terms->slots_of : sched_check_has_slots(t));
        suspended += t->state == SCHED_RUNNING && t->suspended;
        ahead += t->ahead;
        TINE_ASSERT_TRUE(!t->ahead || (t->state == SCHED_RUNNING && !t->suspended));
        TINE_ASSERT(t->ahead, ==, t->n_missing > 0);
        if (t->state == SCHED_DEFERRED || t->suspended || t->ahead) continue;
        ns += t->charge_ns;
        bytes += t->bytes;
        n++;
    }
    TINE_ASSERT(w->load_ns, ==, ns);
    TINE_ASSERT(w->load_bytes, ==, bytes);
    TINE_ASSERT(w->outstanding, ==, n);
    TINE_ASSERT(w->suspended, ==, suspended);
    TINE_ASSERT(w->n_ahead, ==, ahead);
    TAILQ_FOREACH (t, &w->aims, run_link)
        TINE_ASSERT_TRUE(t->aimed == w && t->state == SCHED_WAITING);
    for (size_t i = 0; i < tine_scheduler_task_slots(s); i++) {
        t = tine_scheduler_task_at(s, i);
        if (t->state == SCHED_FREE) continue;
        unstarted += t->owner == w && t->windowed;
        wanting += t->pinned == w && !sched_check_has_slots(t);
    }
    TINE_ASSERT(sched_check_wanting(w), ==, wanting);
    TINE_ASSERT(w->unstarted, ==, unstarted);
    TINE_ASSERT((uint64_t)w->window_left + w->unstarted + w->ungranted, ==, s->config.window);
    TINE_ASSERT(w->heap_at[SCHED_OPEN] != 0, ==, !w->closed && tine_scheduler_has_credit(w));
    TINE_ASSERT_TRUE(!w->pin_queued || w->pinned.n > 0);
    if (!w->outstanding && !(w->closed & (SCHED_CLOSED_PAUSED | SCHED_CLOSED_NEW)))
        TINE_ASSERT_TRUE(s->stopped || !w->pinned.n); /* none waits beside an idle worker */
    if (w->taken) sched_check_slots(s, w);
    TINE_ASSERT_TRUE(!w->stopped || TAILQ_EMPTY(&w->running));
}

static void sched_check_count(const tine_scheduler *s, tine_object id) {
    sched_object *o = tine_idmap_get(&s->objects, id);
    TINE_ASSERT_TRUE(o);
    o->counted++;
}

static void sched_check_count_refs(const tine_scheduler *s, const tine_payload *p) {
    for (uint32_t i = 0; p && i < p->n_refs; i++) sched_check_count(s, p->refs[i]);
}

/* A result is settled exactly when its task has ended, and its inputs wait for it. */
static void sched_check_result(const sched_object *o) {
    const sched_input *i;
    uint64_t tasks = 0;
    TAILQ_FOREACH (i, &o->inputs, link) {
        TINE_ASSERT_TRUE(i->object == o && i->task->n_missing > 0);
        TINE_ASSERT_TRUE(i->task->state == SCHED_WAITING || i->task->ahead);
        tasks++;
    }
    TINE_ASSERT_TRUE(!tasks || o->state == SCHED_OBJECT_PENDING);
    const sched_task *t = o->producer;
    TINE_ASSERT_TRUE(!t || (t->result == o && t->result_id == o->id));
    TINE_ASSERT(o->state == SCHED_OBJECT_PENDING, ==, t && t->state != SCHED_KEPT);
    TINE_ASSERT_TRUE(!t || t->state != SCHED_KEPT || o->state == SCHED_OBJECT_REMOTE);
    TINE_ASSERT_TRUE(o->state != SCHED_OBJECT_REMOTE || tine_scheduler_object_anywhere(o));
    for (size_t k = 0; k < o->words; k++)
        TINE_ASSERT_TRUE(!o->passed[k] || o->state == SCHED_OBJECT_PRESENT);
    for (size_t k = 0; k < o->words; k++) TINE_ASSERT(o->passed[k] & ~o->replicas[k], ==, 0);
    for (size_t k = 0; k < o->words; k++)
        TINE_ASSERT_TRUE(!o->fetchers[k] || o->answering || o->state == SCHED_OBJECT_EXPECTED ||
                         o->state == SCHED_OBJECT_PENDING ||
                         (o->state == SCHED_OBJECT_REMOTE && o->asked));
}

/* A call waits only for one that has its turn. */
static void sched_check_single(const sched_single *g) {
    const sched_task *t;
    TINE_ASSERT_TRUE(g->current || TAILQ_EMPTY(&g->queue));
    TINE_ASSERT_TRUE(!g->current || g->current->state != SCHED_RUNNING ||
                     g->current->worker == g->worker ||
                     g->current->worker->closed & SCHED_CLOSED_ENDING);
    TAILQ_FOREACH (t, &g->queue, run_link) TINE_ASSERT(t->state, ==, SCHED_TURN);
}

static void sched_check_objects(const tine_scheduler *s) {
    sched_object *o;
    TAILQ_FOREACH (o, &s->object_list, link) o->counted = o->handles;
    const sched_initialiser *n;
    STAILQ_FOREACH (n, &s->initialisers, link) sched_check_count_refs(s, n->payload);
    TAILQ_FOREACH (o, &s->object_list, link) sched_check_count_refs(s, o->payload);
    for (size_t i = 0; i < tine_scheduler_task_slots(s); i++) {
        const sched_task *t = tine_scheduler_task_at(s, i);
        if (t->state == SCHED_FREE || t->state == SCHED_KEPT) continue;
        sched_check_count_refs(s, t->payload);
        if (t->object) sched_check_count(s, t->object);
        for (uint32_t j = 0; j < t->n_holds; j++) sched_check_count(s, t->holds[j]);
    }
    TAILQ_FOREACH (o, &s->object_list, link) {
        for (size_t i = 0; i < o->words; i++)
            o->counted += (uint64_t)__builtin_popcountll(o->keepers[i]);
        TINE_ASSERT(o->holders, ==, o->counted);
        sched_check_result(o);
        if (o->single) sched_check_single(o->single);
        TINE_ASSERT_TRUE(o->holders > 0 || o->state == SCHED_OBJECT_EXPECTED);
    }
}

void tine_scheduler_check(const tine_scheduler *s) {
    uint64_t waiting = 0, ready = 0, running = 0, suspended = 0, queued = 0, sent = 0, shown = 0,
             wanting = 0;
    for (size_t i = 0; i < tine_scheduler_task_slots(s); i++) {
        const sched_task *t = tine_scheduler_task_at(s, i);
        TINE_ASSERT(t->link.queued, ==, t->state == SCHED_READY);
        ready += t->state == SCHED_READY;
        wanting += t->state == SCHED_READY && !sched_check_has_slots(t);
        waiting += t->state == SCHED_WAITING || t->state == SCHED_TURN || t->ahead;
        TINE_ASSERT_TRUE(t->state != SCHED_WAITING || t->n_missing > 0);
        running += t->state == SCHED_RUNNING && !t->suspended && !t->ahead;
        suspended += t->state == SCHED_RUNNING && t->suspended;
        TINE_ASSERT_TRUE(!t->pinned || t->state == SCHED_READY);
        sent += t->worker != NULL;
        TINE_ASSERT_TRUE(t->state == SCHED_FREE || !t->parent || t->parent->worker == t->owner);
    }
    const sched_callable *c;
    TAILQ_FOREACH (c, &s->active, link) {
        TINE_ASSERT_TRUE(c->ready.n > 0 && !c->takes);
        queued += c->ready.n;
    }
    TAILQ_FOREACH (c, &s->wanting, link) {
        TINE_ASSERT_TRUE(c->ready.n > 0 && c->takes);
        TINE_ASSERT_TRUE(s->stopped || c->starved);
        queued += c->ready.n;
    }
    TINE_ASSERT_TRUE(s->stopped || TAILQ_EMPTY(&s->offer_queue));
    const sched_worker *w;
    uint64_t behind = 0;
    uint32_t busy = 0;
    TAILQ_FOREACH (w, &s->workers, link) {
        queued += w->pinned.n + sched_check_wanting(w);
        if (w->outstanding)
            behind += w->outstanding <= SCHED_BEHIND_MAX ? w->outstanding - 1 : SCHED_BEHIND_MAX;
        busy += w->outstanding > 0;
    }
    TINE_ASSERT(s->n_behind, ==, behind);
    TINE_ASSERT(s->n_busy, ==, busy);
    TAILQ_FOREACH (c, &s->all, all_link) shown += c->running;
    TINE_ASSERT(shown, ==, sent);
    TINE_ASSERT(queued, ==, ready);
    TINE_ASSERT(s->stats.ready, ==, ready);
    TINE_ASSERT(s->n_wanting, ==, wanting);
    TINE_ASSERT(s->stats.waiting, ==, waiting);
    TINE_ASSERT(s->stats.running, ==, running);
    TINE_ASSERT(s->stats.suspended, ==, suspended);
    TAILQ_FOREACH (w, &s->workers, link) sched_check_worker(s, w);
    sched_check_objects(s);
    TINE_ASSERT_TRUE(TAILQ_EMPTY(&s->turns));
}
