/* A map from 64-bit ids to pointers, for what peers name by id (peers, objects, tasks): open
 * addressing with linear probing and backward-shift deletion, so that it has no tombstones and a
 * long run of inserts and removals does not slow it down. It cannot be iterated: whoever needs an
 * order keeps a list, so that no decision depends on where a hash fell. Id 0 is no id. */
#ifndef TINE_TRANSPORT_BASE_IDMAP_H
#define TINE_TRANSPORT_BASE_IDMAP_H

#include <stddef.h>
#include <stdint.h>

typedef struct tine_idmap_entry {
    uint64_t id;
    void *item;
} tine_idmap_entry;

typedef struct tine_idmap {
    tine_idmap_entry *entries;
    size_t n, room; /* room: a power of two, or 0 */
} tine_idmap;       /* zeroed is empty */

void *tine_idmap_get(const tine_idmap *m, uint64_t id); /* NULL: not there */
/* The id must not be there yet. Ends the process when there is no memory: see tine_idmap.c. */
void tine_idmap_put(tine_idmap *m, uint64_t id, void *item);
void *tine_idmap_remove(tine_idmap *m, uint64_t id); /* what was there, or NULL */
void tine_idmap_fini(tine_idmap *m);                 /* accepts a zeroed one */

#endif
