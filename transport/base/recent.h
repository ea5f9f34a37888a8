/* The last few ids of things to be recognised when they arrive, because a message that names one
 * may overtake it. The oldest is forgotten. */
#ifndef TINE_TRANSPORT_BASE_RECENT_H
#define TINE_TRANSPORT_BASE_RECENT_H

#include <stdbool.h>
#include <stdint.h>

enum { TINE_RECENT = 64 };

typedef struct tine_recent { /* zeroed is empty */
    uint64_t ids[TINE_RECENT];
    uint32_t added; /* at most TINE_RECENT */
    uint32_t next;
} tine_recent;

static inline void tine_recent_add(tine_recent *r, uint64_t id) {
    r->ids[r->next] = id;
    r->next = (r->next + 1) % TINE_RECENT;
    if (r->added < TINE_RECENT) r->added++;
}

/* Removes an id. False: it was not there. An id is not 0. */
static inline bool tine_recent_take(tine_recent *r, uint64_t id) {
    for (uint32_t i = 0; i < r->added; i++) {
        if (r->ids[i] != id) continue;
        r->ids[i] = 0;
        return true;
    }
    return false;
}

#endif
