/* Times at which something is due: a heap of records that are embedded in what is due. Adding and
 * removing one of n takes O(log n). Not thread-safe. */
#ifndef TINE_TRANSPORT_BASE_TIMERS_H
#define TINE_TRANSPORT_BASE_TIMERS_H

#include <stddef.h>
#include <stdint.h>

typedef struct tine_timer {
    int64_t due; /* constant while it is in a heap */
    size_t at;   /* in the heap, from 1; 0: in none */
    void *owner; /* what is due */
} tine_timer;

/* Zeroed is empty. */
typedef struct tine_timers {
    tine_timer **items;
    size_t n, room;
} tine_timers;

void tine_timers_add(tine_timers *h, tine_timer *t); /* it is in none */
/* Does nothing to one that is in none. */
void tine_timers_remove(tine_timers *h, tine_timer *t);
/* The one that is due first; NULL: there is none. */
static inline tine_timer *tine_timers_first(const tine_timers *h) {
    return h->n > 0 ? h->items[0] : NULL;
}
/* When that is; INT64_MAX: never. */
static inline int64_t tine_timers_next(const tine_timers *h) {
    return h->n > 0 ? h->items[0]->due : INT64_MAX;
}
void tine_timers_fini(tine_timers *h); /* leaves the records alone */

#endif
