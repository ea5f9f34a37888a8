/* See ready.h. */
#include "transport/base/ready.h"

#include <stdlib.h>
#include <string.h>

#include "transport/base/assert.h"

static size_t level_of(const tine_ready_link *l) {
    return l->depth < TINE_READY_MAX_DEPTH ? l->depth : TINE_READY_MAX_DEPTH;
}

static void grow(tine_ready *q, size_t level) {
    size_t words = q->words ? q->words : 1;
    while (words * 64 <= level) words *= 2;
    q->levels = realloc(q->levels, words * 64 * sizeof *q->levels);
    q->bits = realloc(q->bits, words * sizeof *q->bits);
    TINE_ASSERT_TRUE(q->levels && q->bits);
    memset(q->levels + q->words * 64, 0, (words - q->words) * 64 * sizeof *q->levels);
    memset(q->bits + q->words, 0, (words - q->words) * sizeof *q->bits);
    q->words = words;
}

void tine_ready_push(tine_ready *q, tine_ready_link *l) {
    TINE_ASSERT(l->queued, ==, 0);
    size_t at = level_of(l);
    if (at >= q->words * 64) grow(q, at);
    struct tine_ready_level *v = &q->levels[at];
    tine_ready_link *after =
        v->tail; /* a task that is run again is older than most: look from the front then */
    if (v->head && l->order < v->head->order) after = NULL;
    while (after && after->order > l->order) after = after->prev;
    l->prev = after;
    l->next = after ? after->next : v->head;
    *(l->prev ? &l->prev->next : &v->head) = l;
    *(l->next ? &l->next->prev : &v->tail) = l;
    l->queued = true;
    q->bits[at / 64] |= UINT64_C(1) << (at % 64);
    if (at / 64 > q->top) q->top = at / 64;
    q->n++;
}

void tine_ready_remove(tine_ready *q, tine_ready_link *l) {
    TINE_ASSERT_TRUE(l->queued);
    size_t at = level_of(l);
    struct tine_ready_level *v = &q->levels[at];
    *(l->prev ? &l->prev->next : &v->head) = l->next;
    *(l->next ? &l->next->prev : &v->tail) = l->prev;
    if (!v->head) q->bits[at / 64] &= ~(UINT64_C(1) << (at % 64));
    l->next = l->prev = NULL;
    l->queued = false;
    q->n--;
}

tine_ready_link *tine_ready_first(tine_ready *q) {
    if (!q->n) return NULL;
    while (!q->bits[q->top]) q->top--;
    int bit = 63 - __builtin_clzll(q->bits[q->top]);
    return q->levels[q->top * 64 + (size_t)bit].head;
}

void tine_ready_fini(tine_ready *q) {
    free(q->levels);
    free(q->bits);
    *q = (tine_ready){0};
}
