/* Queues of ready tasks, on both sides: deepest first, and first come first served within a depth.
 *
 * One list per depth and a bitmap of the depths that have any: taking the first costs a few
 * instructions whatever the length, where a heap over a hundred thousand tasks would miss the cache
 * at each level. Past MAX_DEPTH tasks share the last list: such a chain of waits is still right,
 * only no longer ordered by depth. */
#ifndef TINE_TRANSPORT_BASE_READY_H
#define TINE_TRANSPORT_BASE_READY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TINE_READY_MAX_DEPTH = 65535 };

typedef struct tine_ready_link {
    /* next: the one to start after this one within its depth */
    struct tine_ready_link *next, *prev;
    uint64_t order; /* age: smaller starts earlier */
    uint32_t depth;
    bool queued;
} tine_ready_link; /* embedded in the task */

typedef struct tine_ready {
    struct tine_ready_level {
        tine_ready_link *head, *tail;
    } * levels;
    uint64_t *bits;
    size_t words, top, n; /* words of bits; no bit is set in a word above top; tasks queued */
} tine_ready;             /* zeroed is empty */

void tine_ready_push(tine_ready *q, tine_ready_link *l);
void tine_ready_remove(tine_ready *q, tine_ready_link *l);
tine_ready_link *tine_ready_first(tine_ready *q); /* NULL: empty */
void tine_ready_fini(tine_ready *q); /* the queue must be empty, or its tasks are no longer used */

#endif
