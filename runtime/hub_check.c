/* What must hold in the hub between events, checked by walking everything: for the simulator and the tests. */
#include "runtime/hub_internal.h"

static hub_task *each(const tine_hub *h, size_t i) { return &h->chunks[i / HUB_CHUNK][i % HUB_CHUNK]; }

static void check_worker(const tine_hub *h, const hub_worker *w) {
    uint64_t ns = 0, bytes = 0, n = 0, parked = 0, unstarted = 0;
    for (const hub_task *t = w->run_first; t; t = t->run_next) {
        TINE_ASSERT(t->worker == w && (t->state == HUB_RUNNING || t->state == HUB_HELD), ==, 1);
        parked += t->state == HUB_RUNNING && t->parked;
        if (t->state == HUB_HELD || t->parked) continue;
        ns += t->charge_ns;
        bytes += t->bytes;
        n++;
    }
    TINE_ASSERT(w->load_ns, ==, ns);
    TINE_ASSERT(w->load_bytes, ==, bytes);
    TINE_ASSERT(w->outstanding, ==, n);
    TINE_ASSERT(w->parked, ==, parked);
    for (size_t i = 0; i < h->n_chunks * HUB_CHUNK; i++) {
        const hub_task *t = each(h, i);
        if (t->state != HUB_FREE && t->owner == w && t->windowed) unstarted++;
    }
    TINE_ASSERT(w->unstarted, ==, unstarted);
    TINE_ASSERT((uint64_t)w->window_left + w->unstarted + w->owed, ==, h->config.window);
    TINE_ASSERT(w->heap_at != 0, ==, !w->outstanding || w->load < (1 << 20));
}

static void count(const tine_hub *h, tine_object id) {
    hub_object *o = tine_hub_object_find(h, id);
    TINE_ASSERT(o != NULL, ==, 1);
    o->counted++;
}

static void count_refs(const tine_hub *h, const tine_payload *p) {
    for (uint32_t i = 0; p && i < p->n_refs; i++) count(h, p->refs[i]);
}

static void check_objects(const tine_hub *h) {
    for (hub_object *o = h->object_first; o; o = o->next) o->counted = o->handles;
    for (hub_object *o = h->object_first; o; o = o->next) count_refs(h, o->payload);
    for (size_t i = 0; i < h->n_chunks * HUB_CHUNK; i++) {
        const hub_task *t = each(h, i);
        if (t->state == HUB_FREE) continue;
        count_refs(h, t->payload);
        if (t->object) count(h, t->object);
        for (uint32_t j = 0; j < t->n_holds; j++) count(h, t->holds[j]);
    }
    for (const hub_object *o = h->object_first; o; o = o->next) {
        TINE_ASSERT(o->holders, ==, o->counted);
        TINE_ASSERT(o->holders > 0 || o->state == HUB_OBJECT_COMING, ==, 1);
    }
}

void tine_hub_check(const tine_hub *h) {
    uint64_t ready = 0, running = 0, parked = 0, queued = 0;
    for (size_t i = 0; i < h->n_chunks * HUB_CHUNK; i++) {
        const hub_task *t = each(h, i);
        TINE_ASSERT(t->link.queued, ==, t->state == HUB_READY);
        ready += t->state == HUB_READY;
        running += t->state == HUB_RUNNING && !t->parked;
        parked += t->state == HUB_RUNNING && t->parked;
        TINE_ASSERT(t->state == HUB_FREE || !t->parent || t->parent->worker == t->owner, ==, 1);
    }
    for (const hub_callable *c = h->active; c; c = c->next) {
        TINE_ASSERT(c->ready.n, >, 0);
        queued += c->ready.n;
    }
    TINE_ASSERT(queued, ==, ready);
    TINE_ASSERT(h->stats.ready, ==, ready);
    TINE_ASSERT(h->stats.running, ==, running);
    TINE_ASSERT(h->stats.parked, ==, parked);
    for (const hub_worker *w = h->workers; w; w = w->next) check_worker(h, w);
    check_objects(h);
}
