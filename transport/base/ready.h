/* A queue of ready tasks, used by both roles: deepest first, oldest first within a depth.
 *
 * One list a depth and a bitmap of the depths that have tasks: taking the first costs a few
 * instructions whatever the length, where a heap of a hundred thousand tasks would miss the cache
 * at each level. Tasks deeper than MAX_DEPTH share the last list and are no longer ordered by
 * depth.
 *
 * A list is in the order of age because tasks come in it. Those that do not, which are tasks that
 * run again, are in a heap: when a host is lost there may be as many of them as of others
 * (tests/bench/bench_scale.c).
 *
 * The coordinator also keeps in one, all in one depth, what is due by time. */
#ifndef TINE_TRANSPORT_BASE_READY_H
#define TINE_TRANSPORT_BASE_READY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

enum { TINE_READY_MAX_DEPTH = 65535 };

/* Embedded in the task. */
typedef struct tine_ready_link {
    TAILQ_ENTRY(tine_ready_link) entry;
    uint64_t order; /* age: smaller starts earlier */
    uint32_t depth;
    bool queued;
    size_t heap_at; /* 0: it is in a list */
} tine_ready_link;

TAILQ_HEAD(tine_ready_level, tine_ready_link);

/* Zeroed is empty. */
typedef struct tine_ready {
    struct tine_ready_block {
        uint64_t bits; /* which of the levels have tasks */
        struct tine_ready_level levels[64];
    } * *blocks;            /* NULL where no task has been yet; a block never moves */
    size_t room;            /* of blocks */
    size_t top;             /* no block above this one has tasks */
    size_t n;               /* tasks queued */
    tine_ready_link **heap; /* n_heap of them; number i is at heap[i - 1] */
    size_t n_heap, heap_room;
} tine_ready;

void tine_ready_push(tine_ready *q, tine_ready_link *l);
void tine_ready_remove(tine_ready *q, tine_ready_link *l);
tine_ready_link *tine_ready_first(tine_ready *q); /* NULL: empty */
/* Another task of the same depth that comes later; NULL: none. From the first task on, it visits
 * every task of its list. */
tine_ready_link *tine_ready_next(tine_ready *q, const tine_ready_link *l);
/* Tasks that are still queued must not be used as members of this queue afterwards. */
void tine_ready_fini(tine_ready *q);

#endif
