/* Binary heaps of a group's workers, by load. */
#include "runtime/scheduler/internal.h"

/* A suspended task may have resumed, which the worker does not report. So of two workers with equal
 * load the one with fewer suspended tasks comes first. */
bool tine_scheduler_lighter(const sched_worker *a, const sched_worker *b) {
    if (a->load != b->load) return a->load < b->load;
    return a->suspended != b->suspended ? a->suspended < b->suspended : a->epoch < b->epoch;
}

static void sched_heap_set(sched_worker *w, sched_heap_kind kind, size_t at) {
    w->group->heaps[kind].of[at - 1] = w;
    w->heap_at[kind] = at;
}

static void sched_heap_sift(sched_worker *w, sched_heap_kind kind) {
    const sched_heap *h = &w->group->heaps[kind];
    size_t at = w->heap_at[kind];
    for (; at > 1 && tine_scheduler_lighter(w, h->of[at / 2 - 1]); at /= 2)
        sched_heap_set(h->of[at / 2 - 1], kind, at);
    for (size_t child; (child = at * 2) <= h->n; at = child) {
        if (child < h->n && tine_scheduler_lighter(h->of[child], h->of[child - 1])) child++;
        if (!tine_scheduler_lighter(h->of[child - 1], w)) break;
        sched_heap_set(h->of[child - 1], kind, at);
    }
    sched_heap_set(w, kind, at);
}

static void sched_heap_remove(sched_worker *w, sched_heap_kind kind) {
    sched_heap *h = &w->group->heaps[kind];
    sched_worker *last = h->of[--h->n];
    size_t at = w->heap_at[kind];
    w->heap_at[kind] = 0;
    if (last == w) return;
    sched_heap_set(last, kind, at);
    sched_heap_sift(last, kind);
}

void tine_scheduler_heap_update(sched_worker *w, sched_heap_kind kind, bool in) {
    sched_heap *h = &w->group->heaps[kind];
    if (!in) {
        if (w->heap_at[kind]) sched_heap_remove(w, kind);
        return;
    }
    if (!w->heap_at[kind]) {
        h->of = tine_scheduler_grow(h->of, &h->room, h->n + 1, sizeof(sched_worker *));
        sched_heap_set(w, kind, ++h->n);
    }
    sched_heap_sift(w, kind);
}
