/* What must hold in the scheduler between events, checked by walking everything: for the simulator
 * and the tests. */
#include "runtime/scheduler/internal.h"

static sched_task *each(const tine_scheduler *h, size_t i) {
    return &h->chunks[i / SCHED_CHUNK][i % SCHED_CHUNK];
}

static void check_worker(const tine_scheduler *h, const sched_worker *w) {
    uint64_t ns = 0, bytes = 0, n = 0, suspended = 0, unstarted = 0;
    for (const sched_task *t = w->run_first; t; t = t->run_next) {
        TINE_ASSERT_TRUE(t->worker == w && (t->state == SCHED_RUNNING || t->state == SCHED_HELD));
        suspended += t->state == SCHED_RUNNING && t->suspended;
        if (t->state == SCHED_HELD || t->suspended) continue;
        ns += t->charge_ns;
        bytes += t->bytes;
        n++;
    }
    TINE_ASSERT(w->load_ns, ==, ns);
    TINE_ASSERT(w->load_bytes, ==, bytes);
    TINE_ASSERT(w->outstanding, ==, n);
    TINE_ASSERT(w->suspended, ==, suspended);
    for (size_t i = 0; i < h->n_chunks * SCHED_CHUNK; i++) {
        const sched_task *t = each(h, i);
        if (t->state != SCHED_FREE && t->owner == w && t->windowed) unstarted++;
    }
    TINE_ASSERT(w->unstarted, ==, unstarted);
    TINE_ASSERT((uint64_t)w->window_left + w->unstarted + w->owed, ==, h->config.window);
    TINE_ASSERT(w->heap_at != 0, ==, !w->outstanding || w->load < (1 << 20));
}

static void count(const tine_scheduler *h, tine_object id) {
    sched_object *o = tine_scheduler_object_find(h, id);
    TINE_ASSERT_TRUE(o);
    o->counted++;
}

static void count_refs(const tine_scheduler *h, const tine_payload *p) {
    for (uint32_t i = 0; p && i < p->n_refs; i++) count(h, p->refs[i]);
}

static void check_objects(const tine_scheduler *h) {
    for (sched_object *o = h->object_first; o; o = o->next) o->counted = o->handles;
    for (sched_object *o = h->object_first; o; o = o->next) count_refs(h, o->payload);
    for (size_t i = 0; i < h->n_chunks * SCHED_CHUNK; i++) {
        const sched_task *t = each(h, i);
        if (t->state == SCHED_FREE) continue;
        count_refs(h, t->payload);
        if (t->object) count(h, t->object);
        for (uint32_t j = 0; j < t->n_holds; j++) count(h, t->holds[j]);
    }
    for (const sched_object *o = h->object_first; o; o = o->next) {
        TINE_ASSERT(o->holders, ==, o->counted);
        TINE_ASSERT_TRUE(o->holders > 0 || o->state == SCHED_OBJECT_COMING);
    }
}

void tine_scheduler_check(const tine_scheduler *h) {
    uint64_t ready = 0, running = 0, suspended = 0, queued = 0;
    for (size_t i = 0; i < h->n_chunks * SCHED_CHUNK; i++) {
        const sched_task *t = each(h, i);
        TINE_ASSERT(t->link.queued, ==, t->state == SCHED_READY);
        ready += t->state == SCHED_READY;
        running += t->state == SCHED_RUNNING && !t->suspended;
        suspended += t->state == SCHED_RUNNING && t->suspended;
        TINE_ASSERT_TRUE(t->state == SCHED_FREE || !t->parent || t->parent->worker == t->owner);
    }
    for (const sched_callable *c = h->active; c; c = c->next) {
        TINE_ASSERT(c->ready.n, >, 0);
        queued += c->ready.n;
    }
    TINE_ASSERT(queued, ==, ready);
    TINE_ASSERT(h->stats.ready, ==, ready);
    TINE_ASSERT(h->stats.running, ==, running);
    TINE_ASSERT(h->stats.suspended, ==, suspended);
    for (const sched_worker *w = h->workers; w; w = w->next) check_worker(h, w);
    check_objects(h);
}
