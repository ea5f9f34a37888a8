/* Buffers and frames. A buffer below MAP_FROM is one allocation, struct and data together; above it the data are
 * pages of their own, taken from the kernel untouched, so that a size which a peer claims and never fills costs only
 * address space. A frame is one allocation: struct, buffer pointers, header. */
#include "transport/buffer.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "transport/assert.h"

enum { ALIGN = 64, MAP_FROM = 1 << 20, HUGE_FROM = 4 << 20 };

static void unmap(void *data, size_t size, void *ctx) {
    (void)ctx;
    munmap(data, size);
}

static tine_buffer *new_mapped(size_t size) {
    void *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED) return NULL;
    /* First touch is most of the cost of receiving a large tensor; 2 MiB pages make it 512 times rarer. */
    if (size >= HUGE_FROM) madvise(data, size, MADV_HUGEPAGE);
    tine_buffer *b = tine_buffer_wrap(data, size, unmap, NULL);
    if (!b) munmap(data, size);
    return b;
}

tine_buffer *tine_buffer_new(size_t size) {
    if (size >= MAP_FROM) return new_mapped(size);
    const size_t head = (sizeof(tine_buffer) + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    tine_buffer *b = aligned_alloc(ALIGN, head + ((size + ALIGN - 1) & ~(size_t)(ALIGN - 1)));
    if (!b) return NULL;
    b->data = (uint8_t *)b + head;
    b->size = size;
    b->release = NULL;
    b->ctx = NULL;
    atomic_init(&b->refs, 1);
    return b;
}

tine_buffer *tine_buffer_wrap(void *data, size_t size, void (*release)(void *, size_t, void *), void *ctx) {
    tine_buffer *b = malloc(sizeof *b);
    if (!b) return NULL;
    *b = (tine_buffer){.data = data, .size = size, .release = release, .ctx = ctx};
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
    /* Acquire and release: whoever frees must see everything the other holders did to the data. */
    unsigned before = atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel);
    TINE_ASSERT(before, >, 0);
    if (before != 1) return;
    if (b->release) b->release(b->data, b->size, b->ctx);
    free(b);
}

tine_frame *tine_frame_new(size_t header_size, size_t n_buffers) {
    if (header_size > TINE_FRAME_MAX_HEADER || n_buffers > TINE_FRAME_MAX_BUFFERS) return NULL;
    const size_t head = sizeof(tine_frame) + n_buffers * sizeof(tine_buffer *);
    tine_frame *f = malloc(head + header_size);
    if (!f) return NULL;
    f->header = (uint8_t *)f + head;
    f->header_size = (uint32_t)header_size;
    f->n_buffers = (uint32_t)n_buffers;
    for (size_t i = 0; i < n_buffers; i++) f->buffers[i] = NULL;
    return f;
}

void tine_frame_free(tine_frame *f) {
    if (!f) return;
    for (uint32_t i = 0; i < f->n_buffers; i++) tine_buffer_unref(f->buffers[i]);
    free(f);
}

size_t tine_frame_bytes(const tine_frame *f) {
    size_t sum = f->header_size;
    for (uint32_t i = 0; i < f->n_buffers; i++) sum += f->buffers[i]->size;
    return sum;
}
