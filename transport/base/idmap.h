/* A map from 64-bit ids (of peers, objects, tasks) to pointers: open addressing with linear probing
 * and backward-shift deletion, so that it has no tombstones and a long run of inserts and removals
 * does not slow it down. It cannot be iterated: where an order is needed, a list beside it gives
 * it, so that no decision depends on a hash. Id 0 is no id. */
#ifndef TINE_TRANSPORT_BASE_IDMAP_H
#define TINE_TRANSPORT_BASE_IDMAP_H

#include <stddef.h>
#include <stdint.h>

typedef struct tine_idmap_entry {
    uint64_t id;
    void *item;
} tine_idmap_entry;

/* Zeroed is empty. */
typedef struct tine_idmap {
    tine_idmap_entry *entries;
    size_t n, room; /* room: a power of two, or 0 */
} tine_idmap;

/* NULL: not there. */
void *tine_idmap_get(const tine_idmap *m, uint64_t id);
/* The id must not be there yet. Ends the process without memory: see memory.h. */
void tine_idmap_put(tine_idmap *m, uint64_t id, void *item);
/* Returns what was there, or NULL. */
void *tine_idmap_remove(tine_idmap *m, uint64_t id);
void tine_idmap_fini(tine_idmap *m); /* accepts a zeroed one */

#endif
