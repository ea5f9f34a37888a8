/* The simulator's event queue: see queue.h. */
#include "queue.h"

#include <stdlib.h>
#include <string.h>

/* ---- the event queue: a heap by time, then by age ---- */

static bool before(const event *a, const event *b) {
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

event *sim_push(sim_queue *q, int64_t now, int64_t at, event_kind kind, size_t index) {
    if (q->n == q->room) {
        q->room = q->room ? q->room * 2 : 256;
        q->heap = realloc(q->heap, q->room * sizeof *q->heap);
    }
    event e = {.at = at < now ? now : at, .order = ++q->orders, .kind = kind, .seat = index};
    size_t i = q->n++;
    for (; i && before(&e, &q->heap[(i - 1) / 2]); i = (i - 1) / 2)
        q->heap[i] = q->heap[(i - 1) / 2];
    q->heap[i] = e;
    return &q->heap[i];
}

event sim_pop(sim_queue *q) {
    event first = q->heap[0], last = q->heap[--q->n];
    size_t i = 0;
    for (size_t child; (child = i * 2 + 1) < q->n; i = child) {
        if (child + 1 < q->n && before(&q->heap[child + 1], &q->heap[child])) child++;
        if (!before(&q->heap[child], &last)) break;
        q->heap[i] = q->heap[child];
    }
    q->heap[i] = last;
    return first;
}

void sim_queue_fini(sim_queue *q) {
    for (; q->n; q->n--) sim_free_message(q->heap[q->n - 1].message);
    free(q->heap);
    *q = (sim_queue){0};
}

/* ---- messages in flight ---- */

static char *copy_text(const char *s) { return s ? strdup(s) : NULL; }

static tine_terms *copy_terms(const tine_terms *t) {
    tine_terms *c = t ? malloc(sizeof *c + tine_terms_size(t)) : NULL;
    if (c) *c = tine_terms_copy((char *)(c + 1), t);
    return c;
}

tine_message *sim_copy_message(const tine_message *m) {
    tine_message *c = malloc(sizeof *c);
    *c = *m;
    c->target.name = copy_text(m->target.name);
    c->target.method = copy_text(m->target.method);
    c->terms = copy_terms(m->terms);
    c->text = copy_text(m->text);
    c->payload = tine_payload_ref(m->payload);
    uint64_t *ids = m->n_ids ? malloc(m->n_ids * sizeof *ids) : NULL;
    if (ids) memcpy(ids, m->ids, m->n_ids * sizeof *ids);
    c->ids = ids;
    return c; /* hello: static names, and memory of the executor */
}

void sim_free_message(tine_message *m) {
    if (!m) return;
    free((char *)m->target.name);
    free((char *)m->target.method);
    free((tine_terms *)m->terms);
    free((char *)m->text);
    free((uint64_t *)m->ids);
    tine_payload_unref(m->payload);
    free(m);
}
