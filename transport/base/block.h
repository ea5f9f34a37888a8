/* Blocks: memory of small records that come and go with each task: frames, values, futures.
 *
 * A thread keeps what it frees, by size, and takes from there before it asks malloc. malloc's own
 * cache of a thread holds seven of a size, and a program has thousands of futures at a time: each
 * of them would be cut out of larger memory, and joined to it again (tine bench fork: a sixth of
 * the coordinator's instructions). A block that one thread takes and another one frees stays with
 * the latter. What a thread keeps is bounded, and is freed when it ends.
 *
 * A block is malloc's memory: free() takes it, too. Under a sanitizer nothing is kept. */
#ifndef TINE_TRANSPORT_BASE_BLOCK_H
#define TINE_TRANSPORT_BASE_BLOCK_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

enum {
    TINE_BLOCK_UNIT = 16,
    TINE_BLOCK_UNITS = 32,      /* of the largest one that is kept */
    TINE_BLOCK_KEEPS = 2 << 20, /* bytes of one size, by one thread */
};

/* The size in units, for a record that keeps it in a byte; 0: too large to be kept. */
static inline uint8_t tine_block_units(size_t size) {
    size_t units = (size + TINE_BLOCK_UNIT - 1) / TINE_BLOCK_UNIT;
    return (uint8_t)(units > TINE_BLOCK_UNITS ? 0 : units);
}

typedef struct tine_block {
    struct tine_block *next;
} tine_block;

typedef struct tine_block_list {
    tine_block *first;
    size_t room; /* for as many more */
} tine_block_list;

extern _Thread_local tine_block_list tine_block_lists[TINE_BLOCK_UNITS + 1]; /* by units */

/* For tine_block_free: the thread's list has no room, or there is none yet. */
void tine_block_spill(void *p, uint8_t units);

/* Uninitialised; NULL: no memory. */
static inline void *tine_block_new(size_t size) {
    uint8_t units = tine_block_units(size);
    tine_block_list *l = &tine_block_lists[units];
    tine_block *b = l->first;
    if (!b) return malloc(units ? (size_t)units * TINE_BLOCK_UNIT : size + !size);
    l->first = b->next;
    l->room++;
    return b;
}

/* `units` as its size has. */
static inline void tine_block_free_units(void *p, uint8_t units) {
    tine_block_list *l = &tine_block_lists[units];
    if (!l->room) {
        tine_block_spill(p, units);
        return;
    }
    tine_block *b = p;
    b->next = l->first;
    l->first = b;
    l->room--;
}

/* `size` as it was taken with. */
static inline void tine_block_free(void *p, size_t size) {
    tine_block_free_units(p, tine_block_units(size));
}

#endif
