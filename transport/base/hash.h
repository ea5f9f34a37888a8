/* FNV-1a, 64 bits (Fowler, Noll, Vo; draft-eastlake-fnv): for names and small keys, never against
 * an adversary. */
#ifndef TINE_TRANSPORT_BASE_HASH_H
#define TINE_TRANSPORT_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#define TINE_HASH_START UINT64_C(0xcbf29ce484222325)

/* Continues the hash `h` (at first TINE_HASH_START) with more bytes. */
static inline uint64_t tine_hash(uint64_t h, const void *data, size_t size) {
    const uint8_t *p = data;
    for (size_t i = 0; i < size; i++) h = (h ^ p[i]) * UINT64_C(0x100000001b3);
    return h;
}

#endif
