/* See timers.h. */
#include "transport/base/timers.h"

#include "transport/base/memory.h"

static void timer_place(tine_timers *h, size_t at, tine_timer *t) {
    h->items[at - 1] = t;
    t->at = at;
}

/* Moves t from place `at`, which is free, to where it belongs. */
static void timer_settle(tine_timers *h, size_t at, tine_timer *t) {
    for (; at > 1 && t->due < h->items[at / 2 - 1]->due; at /= 2)
        timer_place(h, at, h->items[at / 2 - 1]);
    for (size_t child; (child = at * 2) <= h->n; at = child) {
        if (child < h->n && h->items[child]->due < h->items[child - 1]->due) child++;
        if (t->due <= h->items[child - 1]->due) break;
        timer_place(h, at, h->items[child - 1]);
    }
    timer_place(h, at, t);
}

void tine_timers_add(tine_timers *h, tine_timer *t) {
    h->items = tine_must_grow(h->items, &h->room, h->n + 1, sizeof *h->items);
    h->n++;
    timer_settle(h, h->n, t);
}

void tine_timers_remove(tine_timers *h, tine_timer *t) {
    if (t->at == 0) return;
    tine_timer *last = h->items[--h->n];
    if (last != t) timer_settle(h, t->at, last);
    t->at = 0;
}

void tine_timers_fini(tine_timers *h) {
    free(h->items);
    *h = (tine_timers){0};
}
