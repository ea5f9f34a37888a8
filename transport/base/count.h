/* Counters that one thread changes at a time, and others read meanwhile: each is right by itself,
 * several need not fit each other. */
#ifndef TINE_TRANSPORT_BASE_COUNT_H
#define TINE_TRANSPORT_BASE_COUNT_H

#include <stddef.h>
#include <stdint.h>

/* A negative change, converted, is subtracted. */
static inline void tine_count_add(uint64_t *count, uint64_t change) {
    __atomic_store_n(count, __atomic_load_n(count, __ATOMIC_RELAXED) + change, __ATOMIC_RELAXED);
}

/* Copies a struct of such counters. */
static inline void tine_counts_copy(void *to, const void *from, size_t size) {
    for (size_t i = 0; i < size / sizeof(uint64_t); i++)
        ((uint64_t *)to)[i] = __atomic_load_n((const uint64_t *)from + i, __ATOMIC_RELAXED);
}

#endif
