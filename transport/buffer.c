/* Buffers and frames. A buffer below MAP_FROM is one allocation, struct and data together; above it the data are
 * pages of their own, taken from the kernel untouched, so that a size which a peer claims and never fills costs only
 * address space. A frame is one allocation: struct, buffer pointers, header. */
#include "transport/buffer.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "transport/assert.h"

enum { ALIGN = 64, MAP_FROM = 1 << 20, HUGE_FROM = 4 << 20, PAGE = 4096 };

/* Pages that were given back are kept for the next buffer of about their size: a program that passes tensors of one size around
 * would else have the kernel clear them anew each time, which costs more than the copy into them (bench_transport).
 * The oldest make room; what is kept is bounded. The lock is a leaf. */
enum { KEPT = 16, KEEP_UP_TO = 32 << 20, KEEP_BYTES = 64 << 20 };

static pthread_mutex_t kept_lock = PTHREAD_MUTEX_INITIALIZER;
static struct kept {
    void *data;
    size_t mapped;
} kept[KEPT]; /* the oldest first */
static size_t kept_n, kept_bytes;

static struct kept kept_remove(size_t i) {
    struct kept k = kept[i];
    kept_bytes -= k.mapped;
    kept_n--;
    memmove(&kept[i], &kept[i + 1], (kept_n - i) * sizeof kept[0]);
    return k;
}

/* Pages for `size` bytes, not a quarter more; NULL where none are kept. */
static void *kept_take(size_t size, size_t *mapped) {
    struct kept k = {0};
    pthread_mutex_lock(&kept_lock);
    for (size_t i = kept_n; i-- > 0;)
        if (kept[i].mapped >= size && kept[i].mapped - size <= size / 4) {
            k = kept_remove(i);
            break;
        }
    pthread_mutex_unlock(&kept_lock);
    if (k.data) *mapped = k.mapped;
    return k.data;
}

static bool kept_put(struct kept k) {
    struct kept out[KEPT];
    size_t n = 0;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return false; /* which could not tell a use after the release */
#endif
    if (k.mapped > KEEP_UP_TO) return false;
    pthread_mutex_lock(&kept_lock);
    while (kept_n == KEPT || kept_bytes + k.mapped > KEEP_BYTES) out[n++] = kept_remove(0);
    kept[kept_n++] = k;
    kept_bytes += k.mapped;
    pthread_mutex_unlock(&kept_lock);
    while (n > 0) {
        n--;
        munmap(out[n].data, out[n].mapped);
    }
    return true;
}

static void unmap(void *data, size_t size, void *ctx) {
    struct kept k = {data, (size_t)(uintptr_t)ctx};
    (void)size;
    if (!kept_put(k)) munmap(k.data, k.mapped);
}

static tine_buffer *new_mapped(size_t size) {
    size_t mapped = (size + PAGE - 1) & ~(size_t)(PAGE - 1);
    if (mapped < size) return NULL;
    void *data = kept_take(size, &mapped);
    if (!data) {
        data = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (data == MAP_FAILED) return NULL;
        /* 2 MiB pages make the first touch 512 times rarer. */
        if (mapped >= HUGE_FROM) madvise(data, mapped, MADV_HUGEPAGE);
    }
    tine_buffer *b = tine_buffer_wrap(data, size, unmap, (void *)(uintptr_t)mapped);
    if (!b) munmap(data, mapped);
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
