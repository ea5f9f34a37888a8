/* See pages.h. A short list, oldest first, searched for the block that fits best; the oldest blocks
 * make room for new ones. */
#include "transport/base/pages.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

enum { KEPT_MAX = 64, HUGE_FROM = 4 << 20, PAGE = 4096 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* a leaf */
static tine_pages kept[KEPT_MAX];
static size_t n_kept, bytes_kept;

static tine_pages pages_remove(size_t i) {
    tine_pages p = kept[i];
    bytes_kept -= p.size;
    n_kept--;
    memmove(&kept[i], &kept[i + 1], (n_kept - i) * sizeof kept[0]);
    return p;
}

/* The smallest kept block of at least `size` bytes that is not a quarter larger; of equal ones the
 * latest given back. */
static tine_pages pages_reuse(size_t size) {
    tine_pages p = {0};
    size_t best = KEPT_MAX;
    pthread_mutex_lock(&lock);
    for (size_t i = n_kept; i-- > 0;)
        if (kept[i].size >= size && kept[i].size - size <= size / 4 &&
            (best == KEPT_MAX || kept[i].size < kept[best].size))
            best = i;
    if (best < KEPT_MAX) p = pages_remove(best);
    pthread_mutex_unlock(&lock);
    return p;
}

static void *pages_map(size_t size) {
    return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                0);
}

/* Where address space is limited, kept blocks must not be what it lacks. */
static void pages_release_all(void) {
    pthread_mutex_lock(&lock);
    while (n_kept > 0) {
        tine_pages p = pages_remove(n_kept - 1);
        munmap(p.data, p.size);
    }
    pthread_mutex_unlock(&lock);
}

tine_pages tine_pages_take(size_t size) {
    size_t rounded = (size + PAGE - 1) & ~(size_t)(PAGE - 1);
    if (rounded < size) return (tine_pages){0};
    tine_pages p = pages_reuse(size);
    if (p.data) return p;
    p.data = pages_map(rounded);
    if (p.data == MAP_FAILED) {
        pages_release_all();
        p.data = pages_map(rounded);
    }
    if (p.data == MAP_FAILED) return (tine_pages){0};
    /* 2 MiB pages make the first touch 512 times rarer. */
    if (rounded >= HUGE_FROM) (void)madvise(p.data, rounded, MADV_HUGEPAGE);
    p.size = rounded;
    return p;
}

/* Puts `p` at the end of the list; `out` receives the n_out blocks that made room. */
static void pages_keep(tine_pages p, tine_pages out[KEPT_MAX], size_t *n_out) {
    pthread_mutex_lock(&lock);
    while (n_kept == KEPT_MAX || bytes_kept + p.size > TINE_PAGES_KEEP)
        out[(*n_out)++] = pages_remove(0);
    kept[n_kept++] = p;
    bytes_kept += p.size;
    pthread_mutex_unlock(&lock);
}

static bool pages_keepable(tine_pages p) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return false; /* the sanitizer could not tell a use after the release */
#endif
    /* From here on the kernel may reclaim the pages until they are written. */
    return p.size <= TINE_PAGES_KEEP / 2 && madvise(p.data, p.size, MADV_FREE) == 0;
}

void tine_pages_give(tine_pages p) {
    tine_pages out[KEPT_MAX];
    size_t n = 0;
    if (!p.data) return;
    if (pages_keepable(p))
        pages_keep(p, out, &n);
    else
        out[n++] = p;
    while (n > 0) {
        n--;
        munmap(out[n].data, out[n].size);
    }
}

size_t tine_pages_kept(void) {
    pthread_mutex_lock(&lock);
    size_t bytes = bytes_kept;
    pthread_mutex_unlock(&lock);
    return bytes;
}
