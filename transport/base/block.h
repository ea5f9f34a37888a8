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

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TINE_BLOCK_CHECKED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TINE_BLOCK_CHECKED
#endif
#endif

enum {
    TINE_BLOCK_UNIT = 16,
    TINE_BLOCK_MORE = 8,        /* malloc's blocks have so much more than whole units */
    TINE_BLOCK_UNITS = 32,      /* of the largest one that is kept */
    TINE_BLOCK_KEEPS = 4 << 20, /* bytes of all sizes, by one thread */
};

/* The size in units, for a record that keeps it in a byte; 0: too large to be kept. */
static inline uint8_t tine_block_units(size_t size) {
    size_t units = size <= TINE_BLOCK_UNIT + TINE_BLOCK_MORE
                       ? size > 0
                       : (size + TINE_BLOCK_UNIT - 1 - TINE_BLOCK_MORE) / TINE_BLOCK_UNIT;
    return (uint8_t)(units > TINE_BLOCK_UNITS ? 0 : units);
}

typedef struct tine_block {
    struct tine_block *next;
} tine_block;

/* Of the thread: what it keeps, by units; in units, for how much more there is room. */
extern _Thread_local tine_block *tine_block_kept[TINE_BLOCK_UNITS + 1];
extern _Thread_local size_t tine_block_room;

/* For tine_block_free: the thread has no room, or none yet. */
void tine_block_spill(void *p, uint8_t units);

/* Uninitialised; NULL: no memory. */
static inline void *tine_block_new(size_t size) {
#ifndef TINE_BLOCK_CHECKED
    uint8_t units = tine_block_units(size);
    tine_block *b = tine_block_kept[units];
    if (b) {
        tine_block_kept[units] = b->next;
        tine_block_room += units;
        return b;
    }
    if (units) size = (size_t)units * TINE_BLOCK_UNIT + TINE_BLOCK_MORE;
#endif
    return malloc(size + !size);
}

/* `units` as its size has. */
static inline void tine_block_free_units(void *p, uint8_t units) {
    if (!units || tine_block_room < units) {
        tine_block_spill(p, units);
        return;
    }
    tine_block *b = p;
    b->next = tine_block_kept[units];
    tine_block_kept[units] = b;
    tine_block_room -= units;
}

/* `size` as it was taken with. */
static inline void tine_block_free(void *p, size_t size) {
    tine_block_free_units(p, tine_block_units(size));
}

#endif
