/* See pages.h. A short list, oldest first, searched for the block that fits best; the oldest blocks
 * make room for new ones. Pages come from the arena (arena.h) where there is one with room. */
#include "transport/base/pages.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "transport/base/arena.h"
#include "transport/base/clock.h"

enum { KEPT_MAX = 64, HUGE_FROM = 4 << 20, PAGE = 4096 };
static const int64_t KEEP_NS = 1000000000; /* pages of the arena */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* taken before the arena's */
static tine_pages kept[KEPT_MAX];
static int64_t kept_since[KEPT_MAX];
static size_t n_kept, bytes_kept;

static tine_pages pages_remove(size_t i) {
    tine_pages p = kept[i];
    bytes_kept -= p.size;
    n_kept--;
    memmove(&kept[i], &kept[i + 1], (n_kept - i) * sizeof kept[0]);
    memmove(&kept_since[i], &kept_since[i + 1], (n_kept - i) * sizeof kept_since[0]);
    return p;
}

static bool pages_are_shared(tine_pages p) {
    uint64_t offset;
    return tine_arena_holds(p.data, p.size, &offset);
}

static void pages_release(tine_pages p) {
    if (pages_are_shared(p))
        tine_arena_give(p.data, p.size);
    else
        munmap(p.data, p.size);
}

static bool pages_fit(tine_pages p, size_t size, bool shared) {
    return p.size >= size && p.size - size <= size / 4 && pages_are_shared(p) == shared;
}

/* The smallest kept block of at least `size` bytes that is not a quarter larger; of equal ones the
 * latest given back. */
static tine_pages pages_reuse(size_t size, bool shared) {
    tine_pages p = {0};
    size_t best = KEPT_MAX;
    pthread_mutex_lock(&lock);
    for (size_t i = n_kept; i-- > 0;)
        if (pages_fit(kept[i], size, shared) &&
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

/* Where address space is limited, kept blocks must not take what an allocation needs. */
static void pages_release_all(void) {
    pthread_mutex_lock(&lock);
    while (n_kept > 0) {
        tine_pages p = pages_remove(n_kept - 1);
        pages_release(p);
    }
    pthread_mutex_unlock(&lock);
}

/* What a forked process inherits of the arena is not its own: there the arena is not open. */
tine_pages tine_pages_take(size_t size) {
    tine_pages p = {0};
    if (tine_arena_is_open()) p = pages_reuse(size, true);
    if (!p.data) p.data = tine_arena_take(size, &p.size);
    return p.data ? p : tine_pages_take_untouched(size);
}

tine_pages tine_pages_take_untouched(size_t size) {
    size_t rounded = (size + PAGE - 1) & ~(size_t)(PAGE - 1);
    if (rounded < size) return (tine_pages){0};
    tine_pages p = pages_reuse(size, false);
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
    kept_since[n_kept] = tine_clock_ns();
    kept[n_kept++] = p;
    bytes_kept += p.size;
    pthread_mutex_unlock(&lock);
}

static bool pages_keepable(tine_pages p) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return false; /* the sanitizer could not detect a use after the release */
#endif
    if (p.size > TINE_PAGES_KEEP / 2) return false;
    /* From here on the kernel may reclaim the pages until they are written. It cannot reclaim the
     * arena's: tine_pages_tidy returns them. */
    if (pages_are_shared(p)) return tine_arena_is_open();
    return madvise(p.data, p.size, MADV_FREE) == 0;
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
        pages_release(out[n]);
    }
}

int64_t tine_pages_tidy(int64_t now_ns) {
    tine_pages out[KEPT_MAX];
    size_t n = 0;
    int64_t next = -1;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < n_kept;) {
        bool shared = pages_are_shared(kept[i]);
        int64_t left = kept_since[i] + KEEP_NS - now_ns;
        if (shared && left <= 0) {
            out[n++] = pages_remove(i);
            continue;
        }
        if (shared && (next < 0 || left < next)) next = left;
        i++;
    }
    pthread_mutex_unlock(&lock);
    while (n > 0) pages_release(out[--n]);
    return next;
}

size_t tine_pages_kept(void) {
    pthread_mutex_lock(&lock);
    size_t bytes = bytes_kept;
    pthread_mutex_unlock(&lock);
    return bytes;
}
