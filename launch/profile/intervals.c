/* See intervals.h. */
#include "launch/profile/intervals.h"

#include <stdlib.h>

#include "transport/base/memory.h"

void tine_intervals_add(tine_intervals *set, int64_t begin, int64_t end) {
    if (end <= begin) return;
    set->items = tine_must_grow(set->items, &set->room, set->n + 1, sizeof *set->items);
    set->items[set->n++] = (tine_interval){begin, end};
}

static int interval_compare(const void *a, const void *b) {
    const tine_interval *x = a, *y = b;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

void tine_intervals_merge(tine_intervals *set) {
    size_t kept = 0;
    if (set->n) qsort(set->items, set->n, sizeof *set->items, interval_compare);
    for (size_t i = 0; i < set->n; i++) {
        tine_interval *last = kept ? &set->items[kept - 1] : NULL, *now = &set->items[i];
        if (last && now->begin <= last->end) {
            if (now->end > last->end) last->end = now->end;
        } else {
            set->items[kept++] = *now;
        }
    }
    set->n = kept;
}

tine_intervals tine_intervals_minus(const tine_intervals *a, const tine_intervals *b) {
    tine_intervals out = {0};
    size_t k = 0;
    for (size_t i = 0; i < a->n; i++) {
        int64_t at = a->items[i].begin, end = a->items[i].end;
        while (k < b->n && b->items[k].end <= at) k++;
        for (size_t m = k; m < b->n && b->items[m].begin < end; m++) {
            tine_intervals_add(&out, at, b->items[m].begin);
            if (b->items[m].end > at) at = b->items[m].end;
        }
        tine_intervals_add(&out, at, end);
    }
    return out;
}

int64_t tine_intervals_length(const tine_intervals *set) {
    int64_t sum = 0;
    for (size_t i = 0; i < set->n; i++) sum += set->items[i].end - set->items[i].begin;
    return sum;
}

void tine_intervals_fini(tine_intervals *set) {
    free(set->items);
    *set = (tine_intervals){0};
}
