/* Growing arrays: an array, its room and its number of items belong to the owner; this is the one
 * way to make the array larger. */
#ifndef TINE_TRANSPORT_BASE_VECTOR_H
#define TINE_TRANSPORT_BASE_VECTOR_H

#include <stddef.h>

/* Makes room for at least `need` items of `item_size` bytes in a malloc'ed array (NULL with *room
 * 0: none yet). Room at least doubles, so that appending costs constant time on average. Returns
 * the array, which may have moved, and updates *room. NULL: no memory; array and *room are as
 * before. New items are not initialised.
 *
 *     int *more = tine_grow(v->items, &v->room, v->n + 1, sizeof *v->items);
 *     if (!more) return -ENOMEM;
 *     v->items = more; */
void *tine_grow(void *array, size_t *room, size_t need, size_t item_size);

/* The same for an array that begins as `first`, memory of the owner's that is not malloc'ed (inside
 * a struct, say): its *room items are copied out of it when the array grows for the first time. */
void *tine_grow_from(void *array, const void *first, size_t *room, size_t need, size_t item_size);

#endif
