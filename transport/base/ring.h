/* A queue of items of one size in a ring that grows: room is a power of two and doubles when it is
 * full. Memory past `keep` bytes is freed when the queue runs empty, so that a burst costs nothing
 * afterwards. Not thread-safe. */
#ifndef TINE_TRANSPORT_BASE_RING_H
#define TINE_TRANSPORT_BASE_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TINE_RING_KEEP = 256 << 10 };

typedef struct tine_ring {
    uint8_t *items;
    size_t item_size;
    size_t first, n, room; /* in items */
    size_t keep;
} tine_ring;

/* An empty queue: tine_ring q = TINE_RING(struct item); */
#define TINE_RING(type) ((tine_ring){.item_size = sizeof(type), .keep = TINE_RING_KEEP})

/* Makes room for `more` items, so that as many pushes cannot fail. 0 or -ENOMEM. */
int tine_ring_reserve(tine_ring *r, size_t more);
void tine_ring_fini(tine_ring *r); /* accepts a zeroed one; empty and usable afterwards */

/* Item i from the first, i < n. */
static inline void *tine_ring_at(const tine_ring *r, size_t i) {
    return r->items + ((r->first + i) & (r->room - 1)) * r->item_size;
}
static inline void *tine_ring_first(const tine_ring *r) { return r->n ? tine_ring_at(r, 0) : NULL; }

/* Appends an item and returns it, uninitialised; NULL: no memory. Items move when the ring grows:
 * a pointer is valid until the next push, pop or drop. */
static inline void *tine_ring_push(tine_ring *r) {
    if (r->n == r->room && tine_ring_reserve(r, 1)) return NULL;
    return tine_ring_at(r, r->n++);
}

/* Removes the first item; there is one. */
static inline void tine_ring_drop(tine_ring *r) {
    r->first = (r->first + 1) & (r->room - 1);
    if (--r->n == 0 && r->room * r->item_size > r->keep) tine_ring_fini(r);
}

/* Copies the first item to `out` and removes it. False: the queue is empty. */
bool tine_ring_pop(tine_ring *r, void *out);

#endif
