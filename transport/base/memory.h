/* Allocation for the state machines' own tables: records of a few bytes without which they cannot
 * go on. Running out of memory for one ends the process with a message. Memory whose size a user or
 * a peer chooses (payloads, tensors, texts) is never allocated here: its failure is an error
 * code. */
#ifndef TINE_TRANSPORT_BASE_MEMORY_H
#define TINE_TRANSPORT_BASE_MEMORY_H

#include <string.h>

#include "transport/base/assert.h"
#include "transport/base/block.h"
#include "transport/base/vector.h"

/* Zeroed; to be freed with free(), or, where there are many, with tine_block_free(). */
static inline void *tine_must_alloc(size_t size) {
    void *p = tine_block_new(size);
    TINE_ASSERT_TRUE(p);
    return memset(p, 0, size);
}

/* A copy of `text`; NULL gives NULL. */
static inline char *tine_must_copy(const char *text) {
    char *p = text ? strdup(text) : NULL;
    TINE_ASSERT_TRUE(p || !text);
    return p;
}

/* tine_grow, never NULL. */
static inline void *tine_must_grow(void *array, size_t *room, size_t need, size_t item_size) {
    void *p = tine_grow(array, room, need, item_size);
    TINE_ASSERT_TRUE(p);
    return p;
}

#endif
