/* A small buffer is one allocation, struct and data together; the data of a large one are pages of
 * their own (pages.h). Between them lie those that are pages where these can be shared with other
 * processes: elsewhere they would only be more mappings, whose number is limited. */
#include "transport/base/buffer.h"

#include <stdlib.h>
#include <string.h>

#include "transport/base/arena.h"
#include "transport/base/assert.h"
#include "transport/base/pages.h"

enum { ALIGN = 64 };

static void give_pages(void *data, size_t size, void *ctx) {
    (void)size;
    tine_pages_give((tine_pages){data, (size_t)(uintptr_t)ctx});
}

static tine_buffer *buffer_over_pages(tine_pages p, size_t size) {
    if (!p.data) return NULL;
    tine_buffer *b = tine_buffer_wrap(p.data, size, give_pages, (void *)(uintptr_t)p.size);
    if (!b) tine_pages_give(p);
    return b;
}

static tine_buffer *buffer_small(size_t size) {
    const size_t head = (sizeof(tine_buffer) + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    tine_buffer *b = aligned_alloc(ALIGN, head + ((size + ALIGN - 1) & ~(size_t)(ALIGN - 1)));
    if (!b) return NULL;
    b->data = (uint8_t *)b + head;
    b->size = size;
    b->foreign = false;
    b->release = NULL;
    b->ctx = NULL;
    atomic_init(&b->copy, NULL);
    atomic_init(&b->refs, 1);
    return b;
}

static tine_buffer *buffer_below_large(size_t size) {
    tine_pages shared = {0};
    if (size >= TINE_BUFFER_SHARED_FROM) shared = tine_pages_take_shared(size);
    return shared.data ? buffer_over_pages(shared, size) : buffer_small(size);
}

tine_buffer *tine_buffer_new(size_t size) {
    return size < TINE_BUFFER_LARGE ? buffer_below_large(size)
                                    : buffer_over_pages(tine_pages_take(size), size);
}

tine_buffer *tine_buffer_new_untouched(size_t size) {
    return size < TINE_BUFFER_LARGE ? buffer_below_large(size)
                                    : buffer_over_pages(tine_pages_take_untouched(size), size);
}

tine_buffer *tine_buffer_wrap(void *data, size_t size, void (*release)(void *, size_t, void *),
                              void *ctx) {
    tine_buffer *b = malloc(sizeof *b);
    if (!b) return NULL;
    *b = (tine_buffer){.data = data, .size = size, .release = release, .ctx = ctx};
    atomic_init(&b->copy, NULL);
    atomic_init(&b->refs, 1);
    return b;
}

tine_buffer *tine_buffer_ref(tine_buffer *b) {
    unsigned before = atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    TINE_ASSERT(before, >, 0);
    return b;
}

void tine_buffer_unref(tine_buffer *b) {
    if (!b) return;
    /* Acquire and release: the thread that frees has to see all that other holders did. */
    unsigned before = atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel);
    TINE_ASSERT(before, >, 0);
    if (before != 1) return;
    tine_buffer_unref(atomic_load_explicit(&b->copy, memory_order_relaxed));
    if (b->release) b->release(b->data, b->size, b->ctx);
    free(b);
}

void tine_buffer_share(tine_buffer *b) {
    tine_buffer *copy, *none = NULL;
    uint64_t at;
    if (b->size < TINE_BUFFER_SHARED_FROM || !tine_arena_has_readers() || atomic_load(&b->copy))
        return;
    if (tine_arena_holds(b->data, b->size, &at) || !tine_arena_has(b->size)) return;
    if (!(copy = tine_buffer_new(b->size))) return;
    if (tine_arena_holds(copy->data, copy->size, &at)) {
        memcpy(copy->data, b->data, b->size);
        if (atomic_compare_exchange_strong(&b->copy, &none, copy)) return;
    }
    tine_buffer_unref(copy);
}

bool tine_buffer_unref_unless_last(tine_buffer *b) {
    unsigned refs = atomic_load(&b->refs);
    while (refs > 1)
        if (atomic_compare_exchange_weak(&b->refs, &refs, refs - 1)) return true;
    return false;
}
