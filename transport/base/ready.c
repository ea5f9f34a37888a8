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

static struct tine_ready_block *block_get(tine_ready *q, size_t i) {
    size_t before = q->room;
    q->blocks = tine_must_grow(q->blocks, &q->room, i + 1, sizeof *q->blocks);
    if (q->room > before) memset(q->blocks + before, 0, (q->room - before) * sizeof *q->blocks);
    if (!q->blocks[i]) q->blocks[i] = block_new();
    return q->blocks[i];
}

/* Tasks come in the order of their age, but for one that runs again: it is older than most, and its
 * place is sought from the front. */
static void level_insert(struct tine_ready_level *v, tine_ready_link *l) {
    tine_ready_link *first = TAILQ_FIRST(v), *after = TAILQ_LAST(v, tine_ready_level);
    if (first && l->order < first->order) after = NULL;
    while (after && after->order > l->order) after = TAILQ_PREV(after, tine_ready_level, entry);
    if (after)
        TAILQ_INSERT_AFTER(v, after, l, entry);
    else
        TAILQ_INSERT_HEAD(v, l, entry);
}

void tine_ready_push(tine_ready *q, tine_ready_link *l) {
    TINE_ASSERT_TRUE(!l->queued);
    size_t at = level_index(l), block = at / BLOCK;
    struct tine_ready_block *b = block_get(q, block);
    level_insert(&b->levels[at % BLOCK], l);
    b->bits |= UINT64_C(1) << (at % BLOCK);
    if (block > q->top) q->top = block;
    l->queued = true;
    q->n++;
}

void tine_ready_remove(tine_ready *q, tine_ready_link *l) {
    TINE_ASSERT_TRUE(l->queued);
    size_t at = level_index(l);
    struct tine_ready_block *b = q->blocks[at / BLOCK];
    struct tine_ready_level *v = &b->levels[at % BLOCK];
    TAILQ_REMOVE(v, l, entry);
    if (TAILQ_EMPTY(v)) b->bits &= ~(UINT64_C(1) << (at % BLOCK));
    l->queued = false;
    q->n--;
}

tine_ready_link *tine_ready_first(tine_ready *q) {
    if (!q->n) return NULL;
    while (!q->blocks[q->top] || !q->blocks[q->top]->bits) q->top--;
    struct tine_ready_block *b = q->blocks[q->top];
    return TAILQ_FIRST(&b->levels[BLOCK - 1 - __builtin_clzll(b->bits)]);
}

void tine_ready_fini(tine_ready *q) {
    for (size_t i = 0; i < q->room; i++) free(q->blocks[i]);
    free(q->blocks);
    *q = (tine_ready){0};
}
