/* See ready.h. */
#include "transport/base/ready.h"

#include <stdlib.h>
#include <string.h>

#include "transport/base/memory.h"

enum { BLOCK = 64 };

static size_t level_index(const tine_ready_link *l) {
    return l->depth < TINE_READY_MAX_DEPTH ? l->depth : TINE_READY_MAX_DEPTH;
}

static struct tine_ready_block *block_new(void) {
    struct tine_ready_block *b = tine_must_alloc(sizeof *b);
    for (size_t i = 0; i < BLOCK; i++) TAILQ_INIT(&b->levels[i]);
    return b;
}

static void block_make(tine_ready *q, size_t i) {
    size_t before = q->room;
    q->blocks = tine_must_grow(q->blocks, &q->room, i + 1, sizeof *q->blocks);
    if (q->room > before) memset(q->blocks + before, 0, (q->room - before) * sizeof *q->blocks);
    q->blocks[i] = block_new();
}

static struct tine_ready_level *level_of(tine_ready *q, const tine_ready_link *l) {
    size_t at = level_index(l);
    return &q->blocks[at / BLOCK]->levels[at % BLOCK];
}

/* ---- the heap ---- */

static bool link_precedes(const tine_ready_link *a, const tine_ready_link *b) {
    size_t x = level_index(a), y = level_index(b);
    return x != y ? x > y : a->order < b->order;
}

static void link_place(tine_ready *q, size_t at, tine_ready_link *l) {
    q->heap[at - 1] = l;
    l->heap_at = at;
}

static void link_sift(tine_ready *q, tine_ready_link *l, size_t at) {
    for (; at > 1 && link_precedes(l, q->heap[at / 2 - 1]); at /= 2)
        link_place(q, at, q->heap[at / 2 - 1]);
    for (size_t child; (child = 2 * at) <= q->n_heap; at = child) {
        if (child < q->n_heap && link_precedes(q->heap[child], q->heap[child - 1])) child++;
        if (!link_precedes(q->heap[child - 1], l)) break;
        link_place(q, at, q->heap[child - 1]);
    }
    link_place(q, at, l);
}

static void heap_insert(tine_ready *q, tine_ready_link *l) {
    q->heap = tine_must_grow(q->heap, &q->heap_room, q->n_heap + 1, sizeof *q->heap);
    link_sift(q, l, ++q->n_heap);
}

static void heap_remove(tine_ready *q, tine_ready_link *l) {
    tine_ready_link *last = q->heap[--q->n_heap];
    if (last != l) link_sift(q, last, l->heap_at);
    l->heap_at = 0;
}

/* ---- the lists ---- */

static void list_insert(tine_ready *q, tine_ready_link *l, bool first) {
    size_t at = level_index(l), block = at / BLOCK;
    struct tine_ready_level *v = level_of(q, l);
    if (first)
        TAILQ_INSERT_HEAD(v, l, entry);
    else
        TAILQ_INSERT_TAIL(v, l, entry);
    q->blocks[block]->bits |= UINT64_C(1) << (at % BLOCK);
    if (block > q->top) q->top = block;
}

static void list_remove(tine_ready *q, tine_ready_link *l) {
    size_t at = level_index(l);
    struct tine_ready_level *v = level_of(q, l);
    TAILQ_REMOVE(v, l, entry);
    if (TAILQ_EMPTY(v)) q->blocks[at / BLOCK]->bits &= ~(UINT64_C(1) << (at % BLOCK));
}

static tine_ready_link *list_first(tine_ready *q) {
    if (q->n == q->n_heap) return NULL;
    while (!q->blocks[q->top] || !q->blocks[q->top]->bits) q->top--;
    struct tine_ready_block *b = q->blocks[q->top];
    return TAILQ_FIRST(&b->levels[BLOCK - 1 - __builtin_clzll(b->bits)]);
}

/* ---- the queue ---- */

void tine_ready_push(tine_ready *q, tine_ready_link *l) {
    TINE_ASSERT_TRUE(!l->queued);
    size_t block = level_index(l) / BLOCK;
    if (block >= q->room || !q->blocks[block]) block_make(q, block);
    const struct tine_ready_level *v = level_of(q, l);
    const tine_ready_link *first = TAILQ_FIRST(v), *last = TAILQ_LAST(v, tine_ready_level);
    l->heap_at = 0;
    if (!first || l->order < first->order || l->order > last->order)
        list_insert(q, l, first && l->order < first->order);
    else
        heap_insert(q, l);
    l->queued = true;
    q->n++;
}

void tine_ready_remove(tine_ready *q, tine_ready_link *l) {
    TINE_ASSERT_TRUE(l->queued);
    if (l->heap_at)
        heap_remove(q, l);
    else
        list_remove(q, l);
    l->queued = false;
    q->n--;
}

tine_ready_link *tine_ready_first(tine_ready *q) {
    tine_ready_link *l = list_first(q);
    return q->n_heap && (!l || link_precedes(q->heap[0], l)) ? q->heap[0] : l;
}

tine_ready_link *tine_ready_next(tine_ready *q, const tine_ready_link *l) {
    return l->heap_at ? TAILQ_FIRST(level_of(q, l)) : TAILQ_NEXT(l, entry);
}

void tine_ready_fini(tine_ready *q) {
    for (size_t i = 0; i < q->room; i++) free(q->blocks[i]);
    free(q->blocks);
    free(q->heap);
    *q = (tine_ready){0};
}
